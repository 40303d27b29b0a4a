//! The slots of the local week in which messages may be sent: what a send window is.
//!
//! A day has N windows of as equal a length as whole hours allow between 09:00 and 21:00, and two more, the early one from
//! midnight and the late one up to it: those are estimated where there are sends, and are hardly ever legal or wanted. 09:00
//! to 21:00 is the stretch that the laws on hours share (`legal_hours`), so that few windows straddle a legal boundary.
//! The days of the week stand alone or in three groups; groups are the default, because a window needs many sends.
//!
//! Slots are of the clock on the recipient's wall. On the night of a change of time a slot is an hour shorter or longer.

use std::ops::Range;

use jiff::civil::{DateTime, Weekday};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::stats::send_windows::WindowSlot;

/// Windows a day between 09:00 and 21:00 unless the caller asks for another number.
pub const DEFAULT_PER_DAY: u32 = 4;
/// Minutes in a day.
pub(super) const DAY: u16 = 24 * 60;
/// When the first and the last of the equal windows begins and ends, in minutes.
const EQUAL_WINDOWS: Range<u16> = 9 * 60..21 * 60;

/// Which days of the week share their windows. In JSON whether each day stands by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum DayGroups {
    /// Monday to Friday, Saturday, Sunday.
    #[default]
    Week,
    /// Every day of the week alone.
    Days,
}

impl From<bool> for DayGroups {
    fn from(each_day: bool) -> Self {
        if each_day { Self::Days } else { Self::Week }
    }
}

impl From<DayGroups> for bool {
    fn from(days: DayGroups) -> Self {
        days == DayGroups::Days
    }
}

const GROUPS_OF_THE_WEEK: [(&str, &[Weekday]); 3] = [
    ("weekday", &[Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday]),
    ("saturday", &[Weekday::Saturday]),
    ("sunday", &[Weekday::Sunday]),
];
const SINGLE_DAYS: [(&str, &[Weekday]); 7] = [
    ("monday", &[Weekday::Monday]),
    ("tuesday", &[Weekday::Tuesday]),
    ("wednesday", &[Weekday::Wednesday]),
    ("thursday", &[Weekday::Thursday]),
    ("friday", &[Weekday::Friday]),
    ("saturday", &[Weekday::Saturday]),
    ("sunday", &[Weekday::Sunday]),
];

impl DayGroups {
    fn all(self) -> &'static [(&'static str, &'static [Weekday])] {
        match self {
            Self::Week => &GROUPS_OF_THE_WEEK,
            Self::Days => &SINGLE_DAYS,
        }
    }

    /// The group's number for an ISO day of the week (1 is Monday).
    fn of(self, weekday: i64) -> usize {
        let from_monday = usize::try_from(weekday - 1).unwrap_or_default();
        match self {
            Self::Week => from_monday.saturating_sub(4),
            Self::Days => from_monday,
        }
    }
}

/// One window of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its number, from 0: by day group, then by time.
    pub index: usize,
    /// What its days are called: `weekday`, `saturday`, `sunday`, or a day's own name.
    pub day: &'static str,
    /// The days of the week that it has.
    pub weekdays: &'static [Weekday],
    /// Its minutes since local midnight, the end left out; a day ends at 1440.
    pub minutes: Range<u16>,
}

impl Slot {
    /// As files have it: `weekday 18:00-21:00`.
    pub(crate) fn plain_name(&self) -> String {
        format!("{} {}-{}", self.day, self.start(), self.end())
    }

    /// When it starts, as `18:00`.
    pub fn start(&self) -> String {
        clock(self.minutes.start)
    }

    /// When it ends, as `21:00`; the end of the day is `24:00`.
    pub fn end(&self) -> String {
        clock(self.minutes.end)
    }

    /// Its middle on the circle of the day, in hours from local midnight, 0 up to 24.
    pub fn hour_of_day(&self) -> f64 {
        f64::from(self.minutes.start + self.minutes.end) / 120.0
    }

    /// Its middle on the circle of the week, in hours from Monday 00:00, 0 up to 168. The middle of several days is that of
    /// the middle one: Wednesday for Monday to Friday.
    pub fn hour_of_week(&self) -> f64 {
        let middle = self.weekdays[self.weekdays.len() / 2];
        f64::from(middle.to_monday_zero_offset()) * 24.0 + self.hour_of_day()
    }

    /// The hours of a week that it covers, over all its days.
    pub fn hours_a_week(&self) -> f64 {
        let a_day = f64::from(self.minutes.end - self.minutes.start) / 60.0;
        self.weekdays.iter().map(|_| a_day).sum()
    }
}

impl Slot {
    /// In words: `weekday 18:00–21:00`.
    pub fn name(&self) -> String {
        format!("{} {}–{}", self.day, self.start(), self.end())
    }

    /// As the statistics want it: hours from Monday 00:00, and whether it may be recommended.
    pub(crate) fn position(&self, legal: bool) -> WindowSlot {
        let hours = f64::from(self.minutes.end - self.minutes.start) / 60.0;
        WindowSlot { start_hour: self.hour_of_week() - hours / 2.0, hours, legal }
    }
}

/// Minutes of a day as `09:30`.
pub(super) fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// All slots of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    groups: DayGroups,
    /// Minutes at which a day's slots begin, from 0 upwards.
    starts: Vec<u16>,
    slots: Vec<Slot>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::of_starts(equal_starts(DEFAULT_PER_DAY), DayGroups::default())
    }
}

impl Slots {
    /// That many equal windows between 09:00 and 21:00, with an early and a late one around them.
    ///
    /// # Errors
    /// When there are to be none or more than 12, which is one an hour.
    pub fn new(per_day: u32, groups: DayGroups) -> Result<Self> {
        if !(1..=12).contains(&per_day) {
            return Err(EngineError::usage(format!("{per_day} windows a day: take 1 to 12, best 4 to 6")));
        }
        Ok(Self::of_starts(equal_starts(per_day), groups))
    }

    fn of_starts(starts: Vec<u16>, groups: DayGroups) -> Self {
        let mut slots = Vec::with_capacity(starts.len() * groups.all().len());
        for (day, weekdays) in groups.all() {
            for (part, start) in starts.iter().enumerate() {
                let end = starts.get(part + 1).copied().unwrap_or(DAY);
                slots.push(Slot { index: slots.len(), day, weekdays, minutes: *start..end });
            }
        }
        Self { groups, starts, slots }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Never: a day has an early and a late slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slots in the order of their index.
    pub fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// The index of the slot that a local time falls into.
    pub fn of(&self, local: DateTime) -> usize {
        self.of_hour(i64::from(local.date().weekday().to_monday_one_offset()), i64::from(local.hour()))
    }

    /// The index of the slot of an hour of the clock on an ISO day of the week (1 is Monday).
    pub(super) fn of_hour(&self, weekday: i64, hour: i64) -> usize {
        // Slots begin on whole hours.
        let part = self.starts.partition_point(|start| i64::from(*start) <= hour * 60) - 1;
        self.groups.of(weekday) * self.starts.len() + part
    }

    /// The same as an expression in SQL over columns of the local ISO day of the week (1 is Monday) and the local hour; null
    /// where they are.
    pub fn sql(&self, day: &str, hour: &str) -> String {
        let group = match self.groups {
            DayGroups::Week => format!("(CASE WHEN {day} > 5 THEN {day} - 5 ELSE {day} - {day} END)"),
            DayGroups::Days => format!("({day} - 1)"),
        };
        let part: String = self.starts[1..]
            .iter()
            .map(|start| format!(" + CASE WHEN {hour} >= {} THEN 1 ELSE 0 END", start / 60))
            .collect();
        format!("({group} * {}{part})", self.starts.len())
    }
}

/// Midnight, the boundaries of the equal windows on whole hours, and the end of the last.
fn equal_starts(per_day: u32) -> Vec<u16> {
    let hours = u32::from((EQUAL_WINDOWS.end - EQUAL_WINDOWS.start) / 60);
    let boundary = |number: u32| {
        // Halves are rounded up; at most 12 hours fit into the type.
        let hour = u16::try_from((2 * number * hours + per_day) / (2 * per_day)).unwrap_or_default();
        EQUAL_WINDOWS.start + 60 * hour
    };
    std::iter::once(0).chain((0..=per_day).map(boundary)).collect()
}

/// Minutes of a text such as `09:30` or `24:00`.
pub(super) fn read_clock(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(slots: &Slots, local: &str) -> String {
        let slot = &slots.all()[slots.of(local.parse().unwrap())];
        format!("{} {}-{}", slot.day, slot.start(), slot.end())
    }

    #[test]
    fn a_time_falls_into_its_slot() {
        let slots = Slots::default();
        assert_eq!(slots.all().len(), 18);
        for (local, expected) in [
            ("2026-03-02T00:00:00", "weekday 00:00-09:00"),
            ("2026-03-02T08:59:59.999999", "weekday 00:00-09:00"),
            ("2026-03-02T09:00:00", "weekday 09:00-12:00"),
            ("2026-03-06T20:59:59", "weekday 18:00-21:00"),
            ("2026-03-06T23:59:59.999999", "weekday 21:00-24:00"),
            ("2026-03-07T00:00:00", "saturday 00:00-09:00"),
            ("2026-03-07T18:00:00", "saturday 18:00-21:00"),
            ("2026-03-08T00:00:00", "sunday 00:00-09:00"),
            ("2026-03-08T23:59:59.999999", "sunday 21:00-24:00"),
            ("2026-03-09T00:00:00", "weekday 00:00-09:00"),
        ] {
            assert_eq!(named(&slots, local), expected, "{local}");
        }
        let days = Slots::new(2, DayGroups::Days).unwrap();
        assert_eq!(days.all().len(), 28);
        assert_eq!(named(&days, "2026-03-08T15:00:00"), "sunday 15:00-21:00");
        assert_eq!(named(&days, "2026-03-09T14:59:59"), "monday 09:00-15:00");
        assert_eq!(named(&days, "2026-03-12T09:00:00"), "thursday 09:00-15:00");
    }

    #[test]
    fn every_number_of_windows_covers_the_day_without_a_gap() {
        for groups in [DayGroups::Week, DayGroups::Days] {
            for per_day in 1..=12 {
                let slots = Slots::new(per_day, groups).unwrap();
                let parts = per_day as usize + 2;
                assert_eq!(slots.all().len(), parts * groups.all().len());
                for day in slots.all().chunks(parts) {
                    assert_eq!((day[0].minutes.start, day[parts - 1].minutes.end), (0, DAY));
                    assert_eq!((day[1].start().as_str(), day[parts - 2].end().as_str()), ("09:00", "21:00"));
                    for pair in day.windows(2) {
                        assert_eq!(pair[0].minutes.end, pair[1].minutes.start);
                    }
                    let lengths = day[1..parts - 1].iter().map(|slot| slot.minutes.end - slot.minutes.start);
                    let (shortest, longest) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
                    assert!(shortest >= 60 && longest - shortest <= 60, "{per_day}: {shortest} to {longest}");
                }
                for (index, slot) in slots.all().iter().enumerate() {
                    assert_eq!(slot.index, index);
                }
                let hours: f64 = slots.all().iter().map(Slot::hours_a_week).sum();
                assert!((hours - 168.0).abs() < 1e-9, "{hours}");
            }
        }
        assert!(Slots::new(0, DayGroups::Week).is_err() && Slots::new(13, DayGroups::Week).is_err());
    }

    #[test]
    fn places_on_the_circles_are_the_middles() {
        let slots = Slots::default();
        let evening = &slots.all()[slots.of("2026-03-03T19:00:00".parse().unwrap())];
        assert!((evening.hour_of_day() - 19.5).abs() < 1e-12);
        assert!((evening.hour_of_week() - (48.0 + 19.5)).abs() < 1e-12);
        let last = slots.all().last().unwrap();
        assert!((last.hour_of_week() - 166.5).abs() < 1e-12, "{}", last.hour_of_week());
    }

    #[test]
    fn the_expression_names_each_boundary() {
        let hours = |start: u32| format!(" + CASE WHEN h >= {start} THEN 1 ELSE 0 END");
        let days = Slots::new(1, DayGroups::Days).unwrap().sql("d", "h");
        assert_eq!(days, format!("((d - 1) * 3{}{})", hours(9), hours(21)));
        let week = Slots::new(1, DayGroups::Week).unwrap().sql("d", "h");
        assert_eq!(week, format!("((CASE WHEN d > 5 THEN d - 5 ELSE d - d END) * 3{}{})", hours(9), hours(21)));
    }
}
