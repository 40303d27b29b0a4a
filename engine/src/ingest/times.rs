//! Moments as vendors write them, to UTC microseconds.
//!
//! A text with an offset needs no zone; one without is a civil time in the mapping's zone, by IANA rules: in the hour that
//! a clock change repeats the earlier instant is taken, in the hour that it skips the time is moved forward by the gap
//! (RFC 5545's rule, which jiff calls "compatible").

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::{rfc2822, strtime, temporal};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::error::{EngineError, Result};

/// One way in which a file writes moments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TimeFormat {
    /// ISO 8601 and its everyday relatives: `2026-03-02T10:15:30.123Z`, `2026-03-02 10:15:30`, `2026-03-02`.
    Iso8601,
    /// RFC 2822: `Mon, 02 Mar 2026 10:15:30 +0000`.
    Rfc2822,
    /// Seconds since 1970.
    UnixSeconds,
    /// Milliseconds since 1970.
    UnixMilliseconds,
    /// Microseconds since 1970.
    UnixMicroseconds,
    /// A `strptime` pattern such as `%y%m%d%H%M`.
    Pattern(String),
}

impl TryFrom<String> for TimeFormat {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.as_str() {
            "iso8601" => Ok(Self::Iso8601),
            "rfc2822" => Ok(Self::Rfc2822),
            "unix_seconds" => Ok(Self::UnixSeconds),
            "unix_milliseconds" => Ok(Self::UnixMilliseconds),
            "unix_microseconds" => Ok(Self::UnixMicroseconds),
            pattern if pattern.contains('%') => Ok(Self::Pattern(text)),
            other => Err(format!(
                "\"{other}\" is not a time format: use iso8601, rfc2822, unix_seconds, unix_milliseconds, \
                 unix_microseconds or a pattern such as %d/%m/%Y %H:%M:%S"
            )),
        }
    }
}

/// A parser of one column's moments: the formats to try in turn, and the zone of texts without an offset.
#[derive(Debug, Clone)]
pub struct TimeParser {
    formats: Vec<TimeFormat>,
    zone: TimeZone,
}

static ISO: temporal::DateTimeParser = temporal::DateTimeParser::new();

impl TimeParser {
    /// A parser of the given formats, ISO 8601 if none is given.
    #[must_use]
    pub fn new(formats: &[TimeFormat], zone: TimeZone) -> Self {
        let formats = if formats.is_empty() { vec![TimeFormat::Iso8601] } else { formats.to_vec() };
        Self { formats, zone }
    }

    /// Microseconds since 1970 in UTC, or `None` when no format fits.
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        self.formats.iter().find_map(|format| self.parse_as(format, text)).map(Timestamp::as_microsecond)
    }

    /// The instant of a civil time given as microseconds since 1970 on the local clock.
    #[must_use]
    pub fn local_to_utc(&self, local_microseconds: i64) -> Option<i64> {
        if self.zone == TimeZone::UTC {
            return Some(local_microseconds);
        }
        let civil = Timestamp::from_microsecond(local_microseconds).ok()?.to_zoned(TimeZone::UTC).datetime();
        self.instant(civil).map(Timestamp::as_microsecond)
    }

    fn parse_as(&self, format: &TimeFormat, text: &str) -> Option<Timestamp> {
        match format {
            TimeFormat::Iso8601 => self.parse_iso(text),
            TimeFormat::Rfc2822 => rfc2822::DateTimeParser::new().parse_timestamp(text).ok(),
            TimeFormat::UnixSeconds => unix(text, 1e6, 1_000_000),
            TimeFormat::UnixMilliseconds => unix(text, 1e3, 1_000),
            TimeFormat::UnixMicroseconds => unix(text, 1.0, 1),
            TimeFormat::Pattern(pattern) => {
                let parsed = strtime::parse(pattern, text).ok()?;
                parsed.to_timestamp().ok().or_else(|| {
                    let civil = parsed.to_datetime().ok().or_else(|| Some(parsed.to_date().ok()?.into()))?;
                    self.instant(civil)
                })
            }
        }
    }

    fn parse_iso(&self, text: &str) -> Option<Timestamp> {
        // A date alone, or a time without an offset, fails the first parser quickly.
        if let Ok(timestamp) = ISO.parse_timestamp(text) {
            return Some(timestamp);
        }
        // A time with the name of its zone and no offset.
        if text.ends_with(']') {
            return text.parse::<jiff::Zoned>().ok().map(|zoned| zoned.timestamp());
        }
        if let Ok(civil) = ISO.parse_datetime(text) {
            // `parse_datetime` accepts and drops an offset; such a text was refused above for a reason (a bad zone).
            let has_offset = text.ends_with(['Z', 'z']);
            return if has_offset { None } else { self.instant(civil) };
        }
        Date::from_str(text).ok().and_then(|date| self.instant(date.into()))
    }

    fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        self.zone.to_timestamp(civil).ok()
    }
}

fn unix(text: &str, factor: f64, whole_factor: i64) -> Option<Timestamp> {
    if let Ok(whole) = text.parse::<i64>() {
        return Timestamp::from_microsecond(whole.checked_mul(whole_factor)?).ok();
    }
    let number: f64 = text.parse().ok()?;
    let microseconds = (number * factor).round();
    // Timestamps end in the year 9999, far inside the exact range of a double.
    #[allow(clippy::cast_possible_truncation)]
    (microseconds.abs() < 9e15).then(|| Timestamp::from_microsecond(microseconds as i64).ok()).flatten()
}

/// The IANA zone of that name.
///
/// # Errors
/// When there is no such zone.
pub fn zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        EngineError::usage(format!("\"{name}\" is not a time zone: use an IANA name such as Asia/Shanghai, or UTC"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(formats: &[TimeFormat], zone_name: &str, text: &str) -> Option<String> {
        let parser = TimeParser::new(formats, zone(zone_name).unwrap());
        parser.parse(text).map(|microseconds| Timestamp::from_microsecond(microseconds).unwrap().to_string())
    }

    #[test]
    fn everyday_spellings() {
        for (text, expected) in [
            ("2026-03-02T10:15:30.123456Z", "2026-03-02T10:15:30.123456Z"),
            ("2026-03-02T10:15:30+08:00", "2026-03-02T02:15:30Z"),
            ("2026-03-02 10:15:30", "2026-03-02T10:15:30Z"),
            ("2021-04-30 07:22:36.615023", "2021-04-30T07:22:36.615023Z"),
            ("2026-03-02 10:15", "2026-03-02T10:15:00Z"),
            ("2026-03-02", "2026-03-02T00:00:00Z"),
            ("2026-07-01T10:00:00[America/New_York]", "2026-07-01T14:00:00Z"),
            ("2026-07-01T10:00:00-04:00[America/New_York]", "2026-07-01T14:00:00Z"),
        ] {
            assert_eq!(parse(&[], "UTC", text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "31/02/2026",
            "2026-02-30",
            "2026-13-01T00:00:00Z",
            "2026-07-01T10:00:00[No/Where]",
            "NaN",
        ] {
            assert_eq!(parse(&[], "UTC", text), None, "{text}");
        }
    }

    #[test]
    fn vendors_spellings() {
        let rfc = [TimeFormat::Rfc2822];
        assert_eq!(parse(&rfc, "UTC", "Fri, 24 May 2019 17:18:27 +0000").as_deref(), Some("2019-05-24T17:18:27Z"));
        let twilio = [TimeFormat::Pattern("%y%m%d%H%M".to_owned())];
        assert_eq!(parse(&twilio, "UTC", "2603021015").as_deref(), Some("2026-03-02T10:15:00Z"));
        assert_eq!(parse(&[TimeFormat::UnixSeconds], "UTC", "1772446530").as_deref(), Some("2026-03-02T10:15:30Z"));
        assert_eq!(
            parse(&[TimeFormat::UnixMilliseconds], "UTC", "1772446530123").as_deref(),
            Some("2026-03-02T10:15:30.123Z")
        );
        let day_first = [TimeFormat::Pattern("%d/%m/%Y %H:%M:%S".to_owned())];
        assert_eq!(parse(&day_first, "Europe/London", "02/07/2026 10:15:30").as_deref(), Some("2026-07-02T09:15:30Z"));
    }

    #[test]
    fn zones_without_offset_follow_iana_rules() {
        assert_eq!(parse(&[], "Asia/Shanghai", "2026-03-02 10:15:30").as_deref(), Some("2026-03-02T02:15:30Z"));
        assert_eq!(parse(&[], "Asia/Kathmandu", "2026-03-02 10:15:30").as_deref(), Some("2026-03-02T04:30:30Z"));
        // New York, 8 March 2026: 02:30 does not exist; 1 November 2026: 01:30 happens twice, the first is taken.
        assert_eq!(parse(&[], "America/New_York", "2026-03-08 02:30:00").as_deref(), Some("2026-03-08T07:30:00Z"));
        assert_eq!(parse(&[], "America/New_York", "2026-11-01 01:30:00").as_deref(), Some("2026-11-01T05:30:00Z"));
        assert!(zone("Mars/Olympus").is_err());
    }
}
