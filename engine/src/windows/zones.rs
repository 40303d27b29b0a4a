//! Where a recipient's clock may stand: the candidates of an unknown time zone, the moments of a local slot, and the local
//! stretches of moments.
//!
//! In: a country and perhaps a state (`zones.txt`, made from the IANA database; its script tells the sources). Out: zones,
//! moments in UTC, minutes of local days. A zone that is not known is never guessed: what must hold has to hold in each of
//! its candidates.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Span, Timestamp};

use super::country;
use super::slots::DAY;
use crate::error::{EngineError, Result};

/// Country or country-state to zones.
static TABLE: LazyLock<BTreeMap<&str, Vec<&str>>> = LazyLock::new(|| {
    let lines = include_str!("zones.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(place, zones)| (place, zones.split(' ').collect())).collect()
});

/// Whether a text may be a state of the country: one of those listed, or any where none is.
pub(super) fn may_be_state(country: &str, state: &str) -> bool {
    let prefix = format!("{country}-");
    let mut listed = TABLE.range(prefix.as_str()..).map(|(place, _)| *place);
    let has_states = listed.next().is_some_and(|place| place.starts_with(&prefix));
    !has_states || TABLE.contains_key(format!("{prefix}{state}").as_str())
}

/// The zones in which a recipient may live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    zones: Vec<(&'static str, TimeZone)>,
}

impl Candidates {
    /// All zones of the state, or of the country where the state is unknown; none where the country is.
    ///
    /// # Errors
    /// When the time zone database lacks a zone of the table.
    pub fn of(country: Option<&str>, state: Option<&str>) -> Result<Self> {
        let names = country.and_then(|country| {
            let country = country::code(country);
            let of_state =
                state.and_then(|state| TABLE.get(format!("{country}-{}", country::state(&country, state)).as_str()));
            of_state.or_else(|| TABLE.get(country.as_str()))
        });
        let zones = names.into_iter().flatten().map(|name| Ok((*name, zone(name)?))).collect::<Result<Vec<_>>>()?;
        Ok(Self { zones })
    }

    /// Their IANA names, in the order of the database.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.zones.iter().map(|(name, _)| *name)
    }

    /// The zone where there is but one.
    pub fn only(&self) -> Option<&TimeZone> {
        if let [(_, zone)] = self.zones.as_slice() { Some(zone) } else { None }
    }

    /// Whether all clocks show the same at that moment: then it does not matter which zone it is.
    pub fn agree_at(&self, moment: Timestamp) -> bool {
        let mut offsets = self.zones.iter().map(|(_, zone)| zone.to_offset(moment));
        offsets.next().is_some_and(|first| offsets.all(|offset| offset == first))
    }

    /// Whether those moments are legal in every candidate: `is_legal` is asked about the minutes of each local day that
    /// they fall on. Without a candidate nothing is legal.
    pub fn all_legal(&self, moments: &Range<Timestamp>, mut is_legal: impl FnMut(Date, &Range<u16>) -> bool) -> bool {
        let mut in_zone = |zone| local_stretches(zone, moments).iter().all(|(date, minutes)| is_legal(*date, minutes));
        !self.zones.is_empty() && self.zones.iter().all(|(_, zone)| in_zone(zone))
    }
}

/// A zone by its IANA name.
///
/// # Errors
/// When the time zone database has none of that name.
pub fn zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|_| EngineError::usage(format!("\"{name}\" is no IANA time zone")))
}

/// The moments at which the clock of a zone shows those minutes of that date: from the first to the last such moment.
///
/// Where the clock is put forward over a boundary, the moment of the change stands for it, so that the stretch is shorter or
/// empty; where the clock is put back, the stretch has both passes.
///
/// # Errors
/// When the date is at the end of time.
pub fn moments_of(date: Date, minutes: &Range<u16>, zone: &TimeZone) -> Result<Range<Timestamp>> {
    let moment = |minute: u16, is_end: bool| -> Result<Timestamp, jiff::Error> {
        let local = date.at(0, 0, 0, 0).checked_add(Span::new().minutes(i64::from(minute)))?;
        let ambiguous = zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier()?;
                Ok(zone.following(before).next().map_or(before, |change| change.timestamp()))
            }
            _ if is_end => ambiguous.later(),
            _ => ambiguous.earlier(),
        }
    };
    let range = moment(minutes.start, false).and_then(|start| Ok(start..moment(minutes.end, true)?));
    range.map_err(|error| EngineError::usage(format!("{date}: {error}")))
}

/// The local days and the minutes of them that those moments fall on, in order of time. Minutes that have begun count whole,
/// and the passes of an hour that comes twice stand alone.
pub fn local_stretches(zone: &TimeZone, moments: &Range<Timestamp>) -> Vec<(Date, Range<u16>)> {
    const MINUTE: i64 = 60_000_000_000;
    // A day has at most 1440 minutes, which fits.
    let minute = |nanoseconds: i64| u16::try_from(nanoseconds / MINUTE).unwrap_or(DAY);
    let mut stretches = Vec::new();
    let mut at = moments.start;
    while at < moments.end {
        let local = zone.to_datetime(at);
        let seconds = i64::from(local.hour()) * 3600 + i64::from(local.minute()) * 60 + i64::from(local.second());
        let since_midnight = seconds * 1_000_000_000 + i64::from(local.subsec_nanosecond());
        // Within a day and between two changes of the offset, the clock runs as UTC does.
        let left_of_day = SignedDuration::from_nanos(i64::from(DAY) * MINUTE - since_midnight);
        let midnight = at.saturating_add(left_of_day).unwrap_or(moments.end);
        let change = zone.following(at).next().map_or(moments.end, |change| change.timestamp());
        let stop = moments.end.min(midnight).min(change);
        let length = i64::try_from(stop.duration_since(at).as_nanos()).unwrap_or_default();
        stretches.push((local.date(), minute(since_midnight)..minute(since_midnight + length + MINUTE - 1)));
        at = stop;
    }
    stretches
}

/// The zone of a recipient at a moment, from what was known since when, in order of time: that of the latest entry not after
/// the moment, or the first one where the moment is before all.
pub fn zone_at<'a>(history: &[(Timestamp, &'a str)], moment: Timestamp) -> Option<&'a str> {
    let known = history.partition_point(|(since, _)| *since <= moment);
    history.get(known.saturating_sub(1)).map(|(_, zone)| *zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn names(country: &str, state: Option<&str>) -> String {
        let candidates = Candidates::of(Some(country), state).unwrap();
        candidates.names().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_zone_of_the_table_is_in_the_database() {
        for place in TABLE.keys() {
            let (country, state) =
                place.split_once('-').map_or((*place, None), |(country, state)| (country, Some(state)));
            assert!(country::is_code(country), "{place}");
            assert!(Candidates::of(Some(country), state).unwrap().names().count() > 0, "{place}");
        }
        assert_eq!(TABLE.keys().filter(|place| place.starts_with("US-")).count(), 56);
    }

    /// States against the zones of their telephone area codes, as libphonenumber's data have them.
    #[test]
    fn candidates_follow_country_and_state() {
        assert_eq!(names("US", Some("NY")), "America/New_York");
        assert_eq!(names("us", Some("us-tx")), "America/Chicago America/Denver");
        assert_eq!(names("UK", None), "Europe/London");
        assert_eq!(names("CN", Some("GD")), "Asia/Shanghai");
        assert_eq!(names("NP", None), "Asia/Kathmandu");
        assert_eq!(names("DE", Some("BY")), "Europe/Berlin Europe/Busingen");
        assert_eq!(names("US", Some("Texas")), names("US", None));
        assert_eq!(names("US", None).split(' ').count(), 29);
        assert_eq!(Candidates::of(None, Some("TX")).unwrap().names().count(), 0);
        assert_eq!(Candidates::of(Some("XX"), None).unwrap().names().count(), 0);
        for (state, zones) in [
            ("FL", &["New_York", "Chicago"][..]),
            ("ID", &["Boise", "Los_Angeles"]),
            ("NV", &["Boise", "Los_Angeles"]),
            ("ND", &["Denver", "North_Dakota/Center"]),
            ("SD", &["Denver", "Chicago"]),
            ("TN", &["Chicago", "New_York"]),
            ("AK", &["Adak", "Anchorage"]),
            ("OR", &["Los_Angeles"]),
            ("AZ", &["Phoenix"]),
        ] {
            let known = names("US", Some(state));
            assert!(zones.iter().all(|zone| known.split(' ').any(|name| name == format!("America/{zone}"))), "{state}");
        }
        assert!(may_be_state("US", "TX") && !may_be_state("US", "Texas") && may_be_state("DE", "anything"));
        let germany = Candidates::of(Some("DE"), None).unwrap();
        assert!(germany.only().is_none() && germany.agree_at(moment("2026-07-01T12:00:00Z")));
        assert!(!Candidates::of(Some("US"), None).unwrap().agree_at(moment("2026-07-01T12:00:00Z")));
        // Northern Cyprus kept summer time for a winter.
        let cyprus = Candidates::of(Some("CY"), None).unwrap();
        assert!(cyprus.agree_at(moment("2026-01-01T12:00:00Z")) && !cyprus.agree_at(moment("2017-01-01T12:00:00Z")));
    }

    /// Changes of the clock by the IANA database, seen with Python's zoneinfo.
    #[test]
    fn a_local_slot_has_its_moments_on_nights_of_change() {
        for (name, date, hours, expected) in [
            ("America/New_York", "2026-03-07", 120..180, "2026-03-07T07:00:00Z 2026-03-07T08:00:00Z"),
            // 02:00 to 03:00 does not exist: the slot from 02:30 begins with the change, one of 02:00 to 02:30 is empty.
            ("America/New_York", "2026-03-08", 150..240, "2026-03-08T07:00:00Z 2026-03-08T08:00:00Z"),
            ("America/New_York", "2026-03-08", 120..150, "2026-03-08T07:00:00Z 2026-03-08T07:00:00Z"),
            ("America/New_York", "2026-03-08", 0..1440, "2026-03-08T05:00:00Z 2026-03-09T04:00:00Z"),
            // 01:00 to 02:00 comes twice.
            ("America/New_York", "2026-11-01", 60..120, "2026-11-01T05:00:00Z 2026-11-01T07:00:00Z"),
            ("America/New_York", "2026-11-01", 0..90, "2026-11-01T04:00:00Z 2026-11-01T06:30:00Z"),
            ("America/New_York", "2026-11-01", 90..180, "2026-11-01T05:30:00Z 2026-11-01T08:00:00Z"),
            // Half an hour of summer time: 02:00 becomes 02:30 in October, 02:00 becomes 01:30 in April.
            ("Australia/Lord_Howe", "2026-10-04", 120..180, "2026-10-03T15:30:00Z 2026-10-03T16:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-05", 90..120, "2026-04-04T14:30:00Z 2026-04-04T15:30:00Z"),
            ("Asia/Kathmandu", "2026-07-02", 540..720, "2026-07-02T03:15:00Z 2026-07-02T06:15:00Z"),
            ("Asia/Kathmandu", "2026-07-02", 1260..1440, "2026-07-02T15:15:00Z 2026-07-02T18:15:00Z"),
        ] {
            let range = moments_of(date.parse().unwrap(), &hours, &zone(name).unwrap()).unwrap();
            assert_eq!(format!("{} {}", range.start, range.end), expected, "{name} {date} {hours:?}");
        }
        assert!(zone("Mars/Olympus").unwrap_err().to_string().contains("Mars/Olympus"));
    }

    #[test]
    fn moments_have_their_local_stretches() {
        for (name, from, to, expected) in [
            ("Asia/Kathmandu", "2026-07-01T18:00:00Z", "2026-07-01T19:00:00Z", "2026-07-01 1425-1440, 2026-07-02 0-45"),
            (
                "America/New_York",
                "2026-03-08T06:30:00Z",
                "2026-03-08T07:30:00Z",
                "2026-03-08 90-120, 2026-03-08 180-210",
            ),
            ("America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01 90-120, 2026-11-01 60-90"),
            ("Europe/London", "2026-01-01T08:00:30.5Z", "2026-01-01T08:01:00.000001Z", "2026-01-01 480-482"),
            ("Europe/London", "2026-01-01T23:59:59.999Z", "2026-01-02T00:00:00Z", "2026-01-01 1439-1440"),
            ("Europe/London", "2026-01-01T08:00:00Z", "2026-01-01T08:00:00Z", ""),
            ("America/Los_Angeles", "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00.5Z", "1969-12-31 959-961"),
            (
                "America/Los_Angeles",
                "1969-12-31T07:59:59.5Z",
                "1969-12-31T08:00:00.5Z",
                "1969-12-30 1439-1440, 1969-12-31 0-1",
            ),
        ] {
            let found = local_stretches(&zone(name).unwrap(), &(moment(from)..moment(to)));
            let found: Vec<String> =
                found.iter().map(|(date, minutes)| format!("{date} {}-{}", minutes.start, minutes.end)).collect();
            assert_eq!(found.join(", "), expected, "{name} {from}");
        }
    }

    #[test]
    fn an_unknown_zone_allows_what_all_its_candidates_allow() {
        let waking = |_: Date, minutes: &Range<u16>| 480 <= minutes.start && minutes.end <= 1260;
        let hour = |text: &str| moment(text)..moment(text) + SignedDuration::from_hours(1);
        let us = Candidates::of(Some("US"), None).unwrap();
        // From 18:00 UTC it is 08:00 in Honolulu and Adak at the latest in winter, and 20:00 in New York from 01:00 UTC.
        for (at, legal) in [
            ("2026-01-12T17:00:00Z", false),
            ("2026-01-12T18:00:00Z", true),
            ("2026-01-13T01:00:00Z", true),
            ("2026-01-13T02:00:00Z", false),
            // In summer New York is at 20:00 an hour earlier.
            ("2026-07-14T00:00:00Z", true),
            ("2026-07-14T01:00:00Z", false),
        ] {
            assert_eq!(us.all_legal(&hour(at), waking), legal, "{at}");
        }
        let texas = Candidates::of(Some("US"), Some("TX")).unwrap();
        assert!(texas.all_legal(&hour("2026-01-12T15:00:00Z"), waking));
        assert!(!texas.all_legal(&hour("2026-01-12T14:00:00Z"), waking));
        let nowhere = Candidates::of(None, None).unwrap();
        assert!(!nowhere.all_legal(&hour("2026-01-12T18:00:00Z"), |_, _| true));
    }

    #[test]
    fn a_recipient_who_moves_takes_the_new_clock_along() {
        let history =
            [(moment("2026-01-01T00:00:00Z"), "America/New_York"), (moment("2026-06-01T00:00:00Z"), "Asia/Kathmandu")];
        for (sent_at, local) in [
            ("2025-12-31T15:00:00Z", "2025-12-31T10:00:00"),
            ("2026-05-31T23:59:59Z", "2026-05-31T19:59:59"),
            ("2026-06-01T00:00:00Z", "2026-06-01T05:45:00"),
            ("2026-07-01T18:30:00Z", "2026-07-02T00:15:00"),
        ] {
            let name = zone_at(&history, moment(sent_at)).unwrap();
            assert_eq!(zone(name).unwrap().to_datetime(moment(sent_at)).to_string(), local, "{sent_at}");
        }
        assert_eq!(zone_at(&[], moment("2026-01-01T00:00:00Z")), None);
    }
}
