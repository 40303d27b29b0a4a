//! The hours in which a message may be sent where its recipient is: rules in a TOML file that a user can read and edit.
//!
//! In: the built-in rules (`legal_hours.toml`, whose head explains a rule) and, laid over them, a user's file. A rule of the
//! same id replaces the built-in one, and ids are taken out by name:
//!
//! ```toml
//! remove = ["CN-HOURS-ALIYUN"]
//!
//! [[rule]]
//! id = "AT-HOURS"
//! country = "AT"
//! hours = [{ days = "mon-fri", from = "09:00", to = "20:00" }, { days = "sat", from = "10:00", to = "18:00" }]
//! holidays = false
//! citation = "our own rule"
//! version = "2026-11"
//! status = "convention"
//! ```
//!
//! Out: whether a local time, or a whole stretch of a day, is legal, and which rules forbid it. What is not known is taken
//! at its strictest: without a state all states' rules of the country bind, without a country all rules there are, without
//! a message type those of promotions.

use std::ops::Range;

use jiff::civil::{DateTime, Weekday};
use serde::Deserialize;
use toml::Spanned;

use super::slots::{DAY, Slot, clock, read_clock};
use super::user_file::UserFile;
use super::{country, zones};
use crate::error::Result;

const BUILT_IN: &str = include_str!("legal_hours.toml");
/// The country of the rules for all countries that have none.
const ANY_OTHER: &str = "*";
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const PROMOTION: &str = "promo";
const MESSAGE_TYPES: [&str; 4] = [PROMOTION, "notice", "care", "interactive"];

/// How well a rule is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleStatus {
    /// Read in the official text.
    Verified,
    /// Read in somebody's account of it.
    Secondary,
    /// Said, with no text seen.
    Unverified,
    /// No law, but what is done.
    Convention,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What findings call it.
    pub id: String,
    /// ISO 3166 code, or `*` for all countries that have no rule.
    pub country: String,
    /// Codes of the states that it binds; all of them if the list is empty.
    pub states: Vec<String>,
    /// What it binds: `promo`, `notice`, `care`, `interactive`.
    pub message_types: Vec<String>,
    /// By day from Monday, the minutes since local midnight that it allows, in order and apart; their ends are left out.
    pub hours: [Vec<Range<u16>>; 7],
    /// Whether public holidays are days like others; else it forbids them.
    pub holidays: bool,
    /// Where it stands.
    pub citation: String,
    /// When it was last looked at.
    pub version: String,
    /// How well it is known.
    pub status: RuleStatus,
}

impl Rule {
    fn allows(&self, weekday: Weekday, is_holiday: bool, minutes: &Range<u16>) -> bool {
        let hours = self.on(weekday, is_holiday);
        hours.iter().any(|legal| legal.start <= minutes.start && minutes.end <= legal.end)
    }

    fn on(&self, weekday: Weekday, is_holiday: bool) -> &[Range<u16>] {
        let forbidden = is_holiday && !self.holidays;
        if forbidden { &[] } else { &self.hours[usize::from(weekday.to_monday_zero_offset().unsigned_abs())] }
    }
}

/// Whom a message goes to and what it is: which rules bind it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Jurisdiction<'a> {
    /// ISO 3166 code of the recipient's country; `UK` is taken for `GB`.
    pub country: Option<&'a str>,
    /// The state's code, as `TX` or `US-TX`.
    pub state: Option<&'a str>,
    /// The canonical word; without one a promotion.
    pub message_type: Option<&'a str>,
}

/// Whether a moment is legal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Legal {
    /// Every rule that binds allows it.
    Legal,
    /// These rules, by id, forbid it.
    Illegal(Vec<String>),
}

/// All rules on hours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegalHours {
    rules: Vec<Rule>,
}

impl LegalHours {
    /// The built-in rules.
    ///
    /// # Errors
    /// Never: a test reads them.
    pub fn built_in() -> Result<Self> {
        Self::read(BUILT_IN, "the built-in legal hours")
    }

    /// The rules of a file alone; `source` names it in errors.
    ///
    /// # Errors
    /// With the line, when the file is no TOML, has an unknown key, or says something that cannot be.
    pub fn read(text: &str, source: &str) -> Result<Self> {
        Self::default().with_file(text, source)
    }

    /// These rules with a file laid over them.
    ///
    /// # Errors
    /// As [`LegalHours::read`], and when an id to remove is not there.
    pub fn with_file(mut self, text: &str, source: &str) -> Result<Self> {
        let user_file = UserFile::new(text, source);
        let file: RuleFile = user_file.read()?;
        for id in file.remove {
            let before = self.rules.len();
            self.rules.retain(|rule| rule.id != *id.get_ref());
            if self.rules.len() == before {
                return Err(user_file.wrong(id.span(), &format!("there is no rule \"{}\"", id.get_ref())));
            }
        }
        let mut ids = Vec::new();
        for table in file.rule {
            if ids.contains(table.id.get_ref()) {
                return Err(user_file.wrong(table.id.span(), &format!("\"{}\" is there twice", table.id.get_ref())));
            }
            ids.push(table.id.get_ref().clone());
            let rule = table.checked(user_file)?;
            match self.rules.iter_mut().find(|known| known.id == rule.id) {
                Some(known) => *known = rule,
                None => self.rules.push(rule),
            }
        }
        Ok(self)
    }

    /// The rules in the order of the files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule of that id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The rules that bind a message.
    pub fn binding(&self, whose: Jurisdiction<'_>) -> Vec<&Rule> {
        let message_type = whose.message_type.unwrap_or(PROMOTION);
        let of_type = self.rules.iter().filter(|rule| rule.message_types.iter().any(|bound| bound == message_type));
        // A text that is no country's code or name says nothing: all rules bind.
        let known = whose.country.map(country::code).filter(|code| country::is_code(code));
        let Some(country) = known else { return of_type.collect() };
        let state = whose.state.map(|state| country::state(&country, state));
        let state = state.filter(|state| zones::may_be_state(&country, state));
        let binds_state = |rule: &Rule| match &state {
            Some(state) => rule.states.is_empty() || rule.states.contains(state),
            None => true,
        };
        let own: Vec<&Rule> = of_type.clone().filter(|rule| rule.country == country && binds_state(rule)).collect();
        if own.is_empty() { of_type.filter(|rule| rule.country == ANY_OTHER).collect() } else { own }
    }

    /// Whether a message may be sent at that local time; `is_holiday` tells a public holiday where the recipient is.
    pub fn allows(&self, whose: Jurisdiction<'_>, local: DateTime, is_holiday: bool) -> Legal {
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let minutes = minute..minute + 1;
        let forbids = |rule: &&Rule| !rule.allows(local.date().weekday(), is_holiday, &minutes);
        let against: Vec<String> =
            self.binding(whose).into_iter().filter(forbids).map(|rule| rule.id.clone()).collect();
        if against.is_empty() { Legal::Legal } else { Legal::Illegal(against) }
    }

    /// Whether all of those minutes of a day are legal.
    pub fn allows_all(
        &self,
        whose: Jurisdiction<'_>,
        weekday: Weekday,
        is_holiday: bool,
        minutes: &Range<u16>,
    ) -> bool {
        self.binding(whose).iter().all(|rule| rule.allows(weekday, is_holiday, minutes))
    }

    /// Whether a slot is legal: all of it, on all its days. One that straddles a boundary is not, since its estimate is of
    /// all its sends; [`LegalHours::legal_part`] tells what of it may be used.
    pub fn slot_legal(&self, whose: Jurisdiction<'_>, slot: &Slot, is_holiday: bool) -> bool {
        slot.weekdays.iter().all(|weekday| self.allows_all(whose, *weekday, is_holiday, &slot.minutes))
    }

    /// The longest legal stretch of a slot, in minutes since local midnight, on all its days; none where there is none.
    pub fn legal_part(&self, whose: Jurisdiction<'_>, slot: &Slot, is_holiday: bool) -> Option<Range<u16>> {
        let mut parts = vec![slot.minutes.clone()];
        for rule in self.binding(whose) {
            for weekday in slot.weekdays {
                parts = common(&parts, rule.on(*weekday, is_holiday));
            }
        }
        // Of stretches of one length the earliest.
        parts.into_iter().rev().max_by_key(|part| part.end - part.start)
    }
}

/// What two lists of stretches share.
fn common(left: &[Range<u16>], right: &[Range<u16>]) -> Vec<Range<u16>> {
    let pairs = left.iter().flat_map(|left| right.iter().map(move |right| (left, right)));
    let shared = pairs.map(|(left, right)| left.start.max(right.start)..left.end.min(right.end));
    shared.filter(|part| part.start < part.end).collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    remove: Vec<Spanned<String>>,
    #[serde(default)]
    rule: Vec<RuleTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    id: Spanned<String>,
    country: Spanned<String>,
    #[serde(default)]
    states: Vec<Spanned<String>>,
    #[serde(default)]
    message_types: Vec<Spanned<String>>,
    hours: Vec<HoursTable>,
    #[serde(default = "yes")]
    holidays: bool,
    citation: String,
    version: String,
    status: RuleStatus,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoursTable {
    days: Spanned<String>,
    from: Spanned<String>,
    to: Spanned<String>,
}

fn yes() -> bool {
    true
}

impl RuleTable {
    fn checked(self, file: UserFile<'_>) -> Result<Rule> {
        let country = self.country.get_ref().clone();
        if country != ANY_OTHER && !country::is_code(&country) {
            let why = format!("\"{country}\" is no country's code of two capitals such as DE, nor *");
            return Err(file.wrong(self.country.span(), &why));
        }
        let country = country::code(&country);
        let mut states = Vec::new();
        for state in self.states {
            let code = country::state(&country, state.get_ref());
            if !zones::may_be_state(&country, &code) {
                return Err(file.wrong(state.span(), &format!("{country} has no state \"{}\"", state.get_ref())));
            }
            states.push(code);
        }
        let mut message_types = Vec::new();
        for word in self.message_types {
            if !MESSAGE_TYPES.contains(&word.get_ref().as_str()) {
                let why = format!("\"{}\" is none of {}", word.get_ref(), MESSAGE_TYPES.join(", "));
                return Err(file.wrong(word.span(), &why));
            }
            message_types.push(word.into_inner());
        }
        if message_types.is_empty() {
            message_types.push(PROMOTION.to_owned());
        }
        let mut hours: [Vec<Range<u16>>; 7] = std::array::from_fn(|_| Vec::new());
        for table in self.hours {
            let days = days(table.days.get_ref()).map_err(|why| file.wrong(table.days.span(), &why))?;
            let minutes = |text: &Spanned<String>| {
                read_clock(text.get_ref()).ok_or_else(|| {
                    file.wrong(text.span(), &format!("\"{}\" is no time from 00:00 to 24:00", text.get_ref()))
                })
            };
            let (from, to) = (minutes(&table.from)?, minutes(&table.to)?);
            if from >= to {
                let why = format!("{} is not before {}; write a stretch over midnight as two", clock(from), clock(to));
                return Err(file.wrong(table.from.span(), &why));
            }
            for day in days {
                hours[day].push(from..to);
            }
        }
        for day in &mut hours {
            joined(day);
        }
        Ok(Rule {
            id: self.id.into_inner(),
            country,
            states,
            message_types,
            hours,
            holidays: self.holidays,
            citation: self.citation,
            version: self.version,
            status: self.status,
        })
    }
}

/// Puts stretches in order and joins those that touch.
fn joined(stretches: &mut Vec<Range<u16>>) {
    stretches.sort_by_key(|stretch| stretch.start);
    stretches.dedup_by(|later, earlier| {
        let touches = later.start <= earlier.end;
        if touches {
            earlier.end = earlier.end.max(later.end);
        }
        touches
    });
    debug_assert!(stretches.iter().all(|stretch| stretch.end <= DAY));
}

/// The days, from Monday as 0, of a text such as `mon-fri` or `sat, sun`.
fn days(text: &str) -> Result<Vec<usize>, String> {
    let number = |day: &str| {
        let found = WEEKDAYS.iter().position(|known| known.eq_ignore_ascii_case(day.trim()));
        found.ok_or_else(|| format!("\"{}\" is none of the days {}", day.trim(), WEEKDAYS.join(", ")))
    };
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        // From Saturday to Monday goes over the end of the week.
        let length = (last + 7 - first) % 7;
        days.extend((0..=length).map(|step| (first + step) % 7));
    }
    Ok(days)
}

#[cfg(test)]
mod tests;
