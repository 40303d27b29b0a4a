//! The table against algorithms and rules that it was not made with.

use jiff::civil::{Weekday, date};

use super::*;

const YEARS: std::ops::RangeInclusive<i16> = 2015..=2035;

fn small<T: TryFrom<i32>>(number: impl Into<i32>) -> T {
    T::try_from(number.into()).ok().unwrap()
}

/// Meeus, Astronomical Algorithms, chapter 8: Easter of the Gregorian calendar.
#[allow(clippy::many_single_char_names)] // the book's own letters
fn western_easter(year: i16) -> Date {
    let year = i32::from(year);
    let (a, b, c) = (year % 19, year / 100, year % 100);
    let (d, e, g) = (b / 4, b % 4, (8 * b + 13) / 25);
    let h = (19 * a + b - d - g + 15) % 30;
    let l = (32 + 2 * e + 2 * (c / 4) - h - c % 4) % 7;
    let m = (a + 11 * h + 19 * l) / 433;
    let month = (h + l - 7 * m + 90) / 25;
    let day = (h + l - 7 * m + 33 * month + 19) % 32;
    date(small(year), small(month), small(day))
}

/// The same chapter: Easter of the Julian calendar, thirteen days on.
#[allow(clippy::many_single_char_names)] // the book's own letters
fn orthodox_easter(year: i16) -> Date {
    let (a, b, c) = (year % 4, year % 7, year % 19);
    let d = (19 * c + 15) % 30;
    let e = (2 * a + 4 * b - d + 34) % 7;
    let (month, day) = ((d + e + 114) / 31, (d + e + 114) % 31 + 1);
    date(year, small(month), small(day)) + jiff::Span::new().days(13)
}

fn assert_named(holidays: &Holidays, country: &str, day: Date, name: &str) {
    let found = holidays.name(country, day).unwrap_or_default();
    assert!(found.split("; ").any(|part| part.starts_with(name)), "{country} {day} {name}: \"{found}\"");
}

#[test]
fn easter_is_where_the_algorithms_put_it() {
    assert_eq!((western_easter(2026), orthodox_easter(2026)), (date(2026, 4, 5), date(2026, 4, 12)));
    let holidays = Holidays::built_in().unwrap();
    for year in YEARS {
        for (country, easter, feasts) in [
            ("DE", western_easter(year), &[(-2, "Good Friday"), (1, "Easter Monday"), (39, "Asc"), (50, "Pent")][..]),
            ("FR", western_easter(year), &[(1, "Easter Monday"), (39, "Ascension"), (50, "Pentecost Monday")]),
            ("GB", western_easter(year), &[(-2, "Good Friday"), (1, "Easter Monday")]),
            ("IN", western_easter(year), &[(-2, "Good Friday")]),
            (
                "CY",
                orthodox_easter(year),
                &[(-48, "Green"), (-2, "Good Friday"), (0, "Easter Sunday"), (1, "Easter Monday"), (50, "Pentecost")],
            ),
        ] {
            for (days, name) in feasts {
                assert_named(&holidays, country, easter + jiff::Span::new().days(*days), name);
            }
        }
    }
}

/// By 5 U.S.C. 6103, the British Banking and Financial Dealings Act 1971 with its proclamations, and Japan's Act on
/// National Holidays.
#[test]
fn days_fixed_by_their_weekday_are_where_the_laws_put_them() {
    let holidays = Holidays::built_in().unwrap();
    for year in YEARS {
        for (country, month, nth, weekday, name, exceptions) in [
            ("US", 1, 3, Weekday::Monday, "Martin Luther King", &[][..]),
            ("US", 2, 3, Weekday::Monday, "Washington's Birthday", &[]),
            ("US", 5, -1, Weekday::Monday, "Memorial Day", &[]),
            ("US", 9, 1, Weekday::Monday, "Labor Day", &[]),
            ("US", 10, 2, Weekday::Monday, "Columbus Day", &[]),
            ("US", 11, 4, Weekday::Thursday, "Thanksgiving Day", &[]),
            ("GB", 5, 1, Weekday::Monday, "May Day", &[(2020, date(2020, 5, 8))]),
            ("GB", 5, -1, Weekday::Monday, "Spring Bank Holiday", &[(2022, date(2022, 6, 2))]),
            ("GB", 8, -1, Weekday::Monday, "Late Summer Bank Holiday", &[]),
            ("JP", 1, 2, Weekday::Monday, "Coming of Age Day", &[]),
            ("JP", 7, 3, Weekday::Monday, "Marine Day", &[(2020, date(2020, 7, 23)), (2021, date(2021, 7, 22))]),
            ("JP", 9, 3, Weekday::Monday, "Respect for the Aged Day", &[]),
        ] {
            let rule = date(year, month, 1).nth_weekday_of_month(nth, weekday).unwrap();
            let moved = exceptions.iter().find(|(moved, _)| *moved == year);
            assert_named(&holidays, country, moved.map_or(rule, |(_, day)| *day), name);
        }
        // The equinoxes of Japan's calendar by the usual approximation for 1980 to 2099.
        let since = f64::from(year - 1980);
        for (month, at_1980, name) in [(3, 20.8431, "Vernal Equinox Day"), (9, 23.2488, "Autumnal Equinox Day")] {
            let moment = at_1980 + 0.242_194 * since - (since / 4.0).floor();
            let day = (19..25).find(|day| f64::from(*day) + 1.0 > moment).unwrap();
            assert_named(&holidays, "JP", date(year, month, day), name);
        }
    }
}

/// Lunar New Year as almanacs have it; the script finds the new moon on each of these days.
#[test]
fn lunar_new_year_is_in_the_spring_festival() {
    let holidays = Holidays::built_in().unwrap();
    let days = "2015-02-19 2016-02-08 2017-01-28 2018-02-16 2019-02-05 2020-01-25 2021-02-12 2022-02-01 2023-01-22 \
                2024-02-10 2025-01-29 2026-02-17 2027-02-06 2028-01-26 2029-02-13 2030-02-03 2031-01-23 2032-02-11 \
                2033-01-31 2034-02-19 2035-02-08";
    let days: Vec<Date> = days.split(' ').map(|day| day.parse().unwrap()).collect();
    for (year, new_year) in YEARS.zip(days) {
        for day in new_year.series(jiff::Span::new().days(1)).take(5) {
            assert_named(&holidays, "CN", day, "Spring Festival");
        }
        for day in date(year, 10, 1).series(jiff::Span::new().days(1)).take(6) {
            assert_eq!(holidays.day_kind("CN", day), DayKind::Holiday, "{day}");
        }
    }
    for (first, last) in [("2020-01-24", "2020-02-02"), ("2026-02-15", "2026-02-23"), ("2023-09-29", "2023-10-06")] {
        let (first, last): (Date, Date) = (first.parse().unwrap(), last.parse().unwrap());
        assert_eq!(holidays.day_kind("CN", first.yesterday().unwrap()), DayKind::Eve);
        assert_eq!(holidays.day_kind("CN", last), DayKind::Holiday);
        assert_eq!(holidays.day_kind("CN", last.tomorrow().unwrap()), DayKind::Ordinary);
    }
}

#[test]
fn a_date_has_its_kind_and_rows_say_the_same() {
    let holidays = Holidays::built_in().unwrap();
    for (country, day, kind) in [
        ("US", date(2026, 11, 26), DayKind::Holiday),
        ("US", date(2026, 11, 25), DayKind::Eve),
        ("US", date(2026, 11, 27), DayKind::Ordinary),
        ("us", date(2026, 7, 3), DayKind::Holiday), // observed, the 4th is a Saturday
        ("UK", date(2026, 8, 31), DayKind::Holiday),
        ("DE", date(2026, 12, 24), DayKind::Eve),
        ("DE", date(2026, 12, 26), DayKind::Holiday),
        ("DE", date(2026, 12, 31), DayKind::Eve),
        ("FR", date(2026, 7, 13), DayKind::Eve),
        ("IN", date(2026, 11, 8), DayKind::Holiday),
        ("NP", date(2026, 12, 25), DayKind::Ordinary),
    ] {
        assert_eq!(holidays.day_kind(country, day), kind, "{country} {day}");
    }
    assert!(holidays.covers("uk", 2015) && holidays.covers("CN", 2035));
    assert!(!holidays.covers("CN", 2036) && !holidays.covers("NP", 2026));
    let rows = holidays.dates();
    assert!(rows.is_sorted_by_key(|(country, date, _)| (*country, *date)));
    assert!(rows.iter().all(|(country, date, kind)| holidays.day_kind(country, *date) == *kind));
    assert_eq!(rows.iter().filter(|(country, day, _)| *country == "FR" && day.year() == 2026).count(), 22);
}

#[test]
fn a_file_of_ones_own_adds_and_takes_away() {
    let text = "[DE]\n\"2026-10-31\" = \"Reformation Day\"\n\"2026-05-01\" = false\n\"Ascension Day\" = false\n\
                \"Works holidays\" = [2026-08-03, \"2026-12-24/2026-12-31\"]\n[NP]\n\"Dashain\" = \"2026-10-18/2026-10-22\"\n";
    let holidays = Holidays::built_in().unwrap().with_file(text, "days.toml").unwrap();
    assert_eq!(holidays.name("DE", date(2026, 10, 31)), Some("Reformation Day"));
    assert_eq!(holidays.name("DE", date(2026, 12, 25)), Some("Christmas Day; Works holidays"));
    assert_eq!(holidays.day_kind("DE", date(2026, 12, 31)), DayKind::Holiday);
    assert_eq!(holidays.day_kind("DE", date(2026, 5, 1)), DayKind::Ordinary);
    assert_eq!(holidays.day_kind("DE", date(2026, 5, 14)), DayKind::Ordinary);
    assert_eq!(holidays.day_kind("NP", date(2026, 10, 17)), DayKind::Eve);
    for (line, wrong, word) in [
        (1, "[Germany]", "two capitals"),
        (1, "DE = 1", "[DE]"),
        (2, "[DE]\n\"2026-13-01\" = \"x\"", "2026-13-01"),
        (2, "[DE]\n\"2026-05-01\" = true", "false"),
        (3, "[DE]\n\"A day\" = [\n\"31.10.2026\"]", "31.10.2026"),
        (2, "[DE]\n\"2026-05-03/2026-05-01\" = \"x\"", "no run"),
        (2, "[DE]\n\"2026-05-01/2027-05-01\" = \"x\"", "no run"),
        (2, "[DE]\n\"2026-05-04\" = false", "no holiday"),
        (2, "[DE]\n\"Diwali\" = false", "Diwali"),
        (2, "[DE]\n\"Diwali\" = 3", "no date"),
        (2, "[DE]\n2026-05-04 = ", ""),
    ] {
        let error = Holidays::built_in().unwrap().with_file(wrong, "days.toml").unwrap_err().to_string();
        assert!(error.starts_with(&format!("days.toml line {line}:")) && error.contains(word), "{error}");
    }
}
