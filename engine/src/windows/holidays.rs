//! Public holidays and their eves: days on which people answer messages unlike on other days of the week.
//!
//! In: the built-in table (`holidays.toml`, whose head and script tell the sources) and, laid over it, a user's file:
//!
//! ```toml
//! [DE]
//! "2026-10-31" = "Reformation Day"             # one day more
//! "2026-12-24/2026-12-31" = "Works holidays"   # a run of days, both included
//! "Carnival" = ["2026-02-16", "2027-02-08"]    # a name and its days
//! "2026-05-01" = false                         # a day less
//! "Ascension Day" = false                      # all days of that name less
//! ```
//!
//! Out: the kind of a date in a country, one at a time or as rows to join on. Holidays are those of the whole country; a
//! state's own are for the user's file.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use toml::de::{DeTable, DeValue};

use super::country;
use super::user_file::UserFile;
use crate::error::Result;

const BUILT_IN: &str = include_str!("holidays.toml");
/// A longer run is a mistake in a date.
const LONGEST_RUN: i32 = 62;

/// What kind of day a date is in a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DayKind {
    /// Neither of the others.
    Ordinary,
    /// The day before a holiday, where it is none itself.
    Eve,
    /// A public holiday.
    Holiday,
}

impl DayKind {
    /// The word for it in tables and queries.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Eve => "eve",
            Self::Holiday => "holiday",
        }
    }
}

impl fmt::Display for DayKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// The holidays of countries, by ISO 3166 code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holidays {
    countries: BTreeMap<String, BTreeMap<Date, String>>,
}

impl Holidays {
    /// The built-in table: CN, CY, DE, FR, GB (England and Wales), IN, JP and US, 2015 to 2035.
    ///
    /// # Errors
    /// Never: a test reads the table.
    pub fn built_in() -> Result<Self> {
        Self::default().with_file(BUILT_IN, "the built-in holidays")
    }

    /// These holidays with a user's file laid over them; `source` names the file in errors.
    ///
    /// # Errors
    /// With the line, when the file is no TOML, or a country, a date or what is said of it cannot be.
    pub fn with_file(mut self, text: &str, source: &str) -> Result<Self> {
        let file = UserFile::new(text, source);
        for (code, days) in file.table()?.into_inner() {
            if !country::is_code(code.get_ref()) {
                let why = format!("\"{}\" is no country's code of two capitals such as DE", code.get_ref());
                return Err(file.wrong(code.span(), &why));
            }
            let span = days.span();
            let DeValue::Table(days) = days.into_inner() else {
                return Err(file.wrong(span, &format!("write [{}] and its days on the lines below", code.get_ref())));
            };
            let known = self.countries.entry(country::code(code.get_ref())).or_default();
            lay_over(known, days, code.get_ref(), file)?;
        }
        Ok(self)
    }

    /// The kind of a date in a country; ordinary where the table does not reach (see [`Holidays::covers`]).
    pub fn day_kind(&self, country: &str, date: Date) -> DayKind {
        let is_holiday = |date: Date| self.name(country, date).is_some();
        if is_holiday(date) {
            DayKind::Holiday
        } else if date.tomorrow().is_ok_and(is_holiday) {
            DayKind::Eve
        } else {
            DayKind::Ordinary
        }
    }

    /// What the holiday is called; none on other days. Several names of a day are parted by `; `.
    pub fn name(&self, country: &str, date: Date) -> Option<&str> {
        self.countries.get(&country::code(country))?.get(&date).map(String::as_str)
    }

    /// Whether the table has that country's holidays of that year.
    pub fn covers(&self, country: &str, year: i16) -> bool {
        let days = self.countries.get(&country::code(country));
        let ends = days.and_then(|days| Some((days.first_key_value()?.0, days.last_key_value()?.0)));
        ends.is_some_and(|(first, last)| (first.year()..=last.year()).contains(&year))
    }

    /// All days that are not ordinary, by country and date: rows to join sends on by country and local date.
    pub fn dates(&self) -> Vec<(&str, Date, DayKind)> {
        let mut rows = Vec::new();
        for (country, days) in &self.countries {
            for date in days.keys() {
                if let Some(eve) = date.yesterday().ok().filter(|eve| !days.contains_key(eve)) {
                    rows.push((country.as_str(), eve, DayKind::Eve));
                }
                rows.push((country.as_str(), *date, DayKind::Holiday));
            }
        }
        rows
    }
}

/// Lays one country's section over what is known of it.
fn lay_over(known: &mut BTreeMap<Date, String>, section: DeTable<'_>, code: &str, file: UserFile<'_>) -> Result<()> {
    for (key, value) in section {
        let key_span = key.span();
        let days = run(key.get_ref()).map_err(|why| file.wrong(key_span.clone(), &why))?;
        let span = value.span();
        match (days, value.into_inner()) {
            (Some(days), DeValue::String(name)) => add(known, &days, &name),
            (Some(days), DeValue::Boolean(false)) => {
                for day in days {
                    if known.remove(&day).is_none() {
                        return Err(file.wrong(key_span, &format!("{day} is no holiday of {code}")));
                    }
                }
            }
            (Some(_), _) => return Err(file.wrong(span, "write the holiday's name, or false to take the day away")),
            (None, DeValue::Boolean(false)) => {
                let before = known.len();
                known.retain(|_, name| !name.split("; ").any(|part| part == key.get_ref()));
                if known.len() == before {
                    return Err(file.wrong(key_span, &format!("{code} has no holiday \"{}\"", key.get_ref())));
                }
            }
            (None, DeValue::Array(dates)) => {
                for date in dates {
                    let span = date.span();
                    let days = dates_of(&date.into_inner()).map_err(|why| file.wrong(span, &why))?;
                    add(known, &days, key.get_ref());
                }
            }
            (None, date) => {
                let days = dates_of(&date).map_err(|why| file.wrong(span, &why))?;
                add(known, &days, key.get_ref());
            }
        }
    }
    Ok(())
}

fn add(known: &mut BTreeMap<Date, String>, days: &[Date], name: &str) {
    for day in days {
        let names = known.entry(*day).or_default();
        if names.is_empty() {
            name.clone_into(names);
        } else if !names.split("; ").any(|part| part == name) {
            names.push_str("; ");
            names.push_str(name);
        }
    }
}

/// The days of a value that must be a date or a run of days.
fn dates_of(value: &DeValue<'_>) -> Result<Vec<Date>, String> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        _ => String::new(),
    };
    let wrong = || format!("{text:?} is no date such as \"2026-10-31\" or \"2026-10-31/2026-11-01\"");
    run(&text)?.ok_or_else(wrong)
}

/// The days of a text such as `2026-10-31` or `2026-10-31/2026-11-01`; none where it is a name.
///
/// # Errors
/// When it begins as a date does and is none, or the run cannot be.
fn run(text: &str) -> Result<Option<Vec<Date>>, String> {
    let looks_like_a_date = text
        .get(..5)
        .is_some_and(|start| start.ends_with('-') && start.bytes().take(4).all(|byte| byte.is_ascii_digit()));
    if !looks_like_a_date {
        return Ok(None);
    }
    let date = |text: &str| text.parse::<Date>().map_err(|_| format!("\"{text}\" is no date such as 2026-10-31"));
    let (first, last) = text.split_once('/').unwrap_or((text, text));
    let (first, last) = (date(first)?, date(last)?);
    let length = (last - first).get_days();
    if !(0..LONGEST_RUN).contains(&length) {
        return Err(format!("{first} to {last} is no run of 1 to {LONGEST_RUN} days"));
    }
    Ok(Some(first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last).collect()))
}

#[cfg(test)]
mod tests;
