//! The kind of a message's local day as SQL: a holiday where its recipient lives, the eve of one, or neither.

use std::collections::BTreeMap;

use super::country::code;
use super::holidays::{DayKind, Holidays};
use crate::facts::DAY_MICROSECONDS;
use crate::query::text_literal;

/// The first day that is counted.
const EPOCH: jiff::civil::Date = jiff::civil::date(1970, 1, 1);
/// So many days apart are the dates of one country from those of the next, so that one number is a date in a country.
const COUNTRY: i64 = 1_000_000;

/// SQL for a message's kind of day (0 ordinary, 1 a holiday, 2 an eve), of messages that went out in a span of moments to
/// some countries, as the logs write them.
///
/// One number says country and date, and is looked for among those of the span: no join, which would go through a hash of
/// two columns a message and took half of the time of a question.
pub(super) fn day_kind_sql<'a>(
    holidays: &Holidays,
    countries: impl Iterator<Item = &'a str>,
    span: Option<(i64, i64)>,
) -> String {
    const ORDINARY: &str = "arrow_cast(0, 'Int64')";
    let Some((first, last)) = span else { return ORDINARY.to_owned() };
    // A local day is the UTC day, the one before or the one after.
    let days = first.div_euclid(DAY_MICROSECONDS) - 1..=last.div_euclid(DAY_MICROSECONDS) + 1;
    let mut of_country: BTreeMap<&str, Vec<(i64, DayKind)>> = BTreeMap::new();
    for (country, date, kind) in holidays.dates() {
        let day = i64::from(EPOCH.until(date).map_or(0, |span| span.get_days()));
        if days.contains(&day) {
            of_country.entry(country).or_default().push((day, kind));
        }
    }
    let (mut cases, mut kinds) = (String::new(), BTreeMap::<DayKind, Vec<String>>::new());
    // In every spelling that the logs have of the country.
    for (place, country) in countries.filter(|country| of_country.contains_key(code(country).as_str())).enumerate() {
        let offset = i64::try_from(place).unwrap_or(i64::MAX / COUNTRY) * COUNTRY;
        cases.push_str(&format!(" WHEN {} THEN {offset}", text_literal(country)));
        for (day, kind) in &of_country[code(country).as_str()] {
            kinds.entry(*kind).or_default().push((offset + day).to_string());
        }
    }
    if cases.is_empty() {
        return ORDINARY.to_owned();
    }
    // 1970-01-01 was a Thursday. The local day is the one nearest to the UTC day that has the local day of the week.
    let utc = "arrow_cast(f.sent_date, 'Int64')";
    let date = format!("({utc} + (f.local_weekday - ({utc} + 3) % 7 + 9) % 7 - 3)");
    let is = |kind: DayKind, number: u8| {
        let dates = kinds.get(&kind).map(|dates| dates.join(", "));
        dates.map_or_else(String::new, |dates| {
            format!(" WHEN (CASE f.country{cases} END + {date}) IN ({dates}) THEN {number}")
        })
    };
    format!("CASE{}{} ELSE 0 END", is(DayKind::Holiday, 1), is(DayKind::Eve, 2))
}
