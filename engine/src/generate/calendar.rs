//! When campaigns run: a campaign, a day, a local hour and a time zone in, a moment in UTC out.
//!
//! A campaign takes two days; each recipient gets a day and a local hour at random, from 09:00 up to 20:00, which is
//! lawful everywhere the recipients live. The hour is therefore randomised within a campaign, and its share is the
//! propensity.
//!
//! Campaigns start every second week, not every week. Then a recipient's sends are at least twelve days apart, and
//! the seven days after one send hold nothing that another send caused: the true effects stay exact.

use jiff::Span;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::options::Scenario;
use super::places::ZONES;

/// First local hour in which messages go out.
pub(super) const FIRST_HOUR: usize = 9;
/// Number of local hours in which messages go out: the last message leaves before 20:00.
pub(super) const HOURS: usize = 11;
/// Number of days that a campaign takes.
pub(super) const CAMPAIGN_DAYS: usize = 2;
/// Share of each local hour among a campaign's sends.
pub(super) const HOUR_PROPENSITY: f64 = 1.0 / HOURS as f64;
/// Milliseconds in a second, an hour and a day.
pub(super) const SECOND: i64 = 1_000;
pub(super) const HOUR: i64 = 3_600 * SECOND;
pub(super) const DAY: i64 = 24 * HOUR;

/// The Monday on which the first campaign starts.
const FIRST_DAY: Date = date(2026, 3, 2);
/// Weeks from the start of one campaign to the start of the next.
const CAMPAIGN_WEEKS: i64 = 2;
/// Conversions that no message caused are logged from this long before the first campaign.
const HISTORY: i64 = 28 * DAY;

/// How many campaigns a story has.
pub(super) const fn campaign_count(scenario: Scenario) -> usize {
    match scenario {
        Scenario::Retail => 6,
        Scenario::Bank => 4,
    }
}

/// The number of the week, from 1, in which a campaign runs.
pub(super) const fn week_number(campaign: usize) -> usize {
    campaign * CAMPAIGN_WEEKS as usize + 1
}

/// The moments at which local hours begin. All times are milliseconds since 1970 in UTC.
pub(super) struct Calendar {
    /// Midnight UTC on the first campaign's first day.
    start: i64,
    /// By time zone, campaign, day and hour: computed once, because a time zone's rules are too slow to ask for each
    /// message.
    hour_starts: Vec<i64>,
    campaigns: usize,
}

impl Calendar {
    /// Works out the calendar of so many campaigns.
    ///
    /// # Errors
    /// A time zone that the bundled database lacks.
    pub(super) fn new(campaigns: usize) -> Result<Self, jiff::Error> {
        let mut hour_starts = Vec::with_capacity(ZONES.len() * campaigns * CAMPAIGN_DAYS * HOURS);
        for name in ZONES {
            let zone = TimeZone::get(name)?;
            for campaign in 0..campaigns {
                for day in 0..CAMPAIGN_DAYS {
                    let days = campaign as i64 * CAMPAIGN_WEEKS * 7 + day as i64;
                    let local_day = FIRST_DAY.checked_add(Span::new().try_days(days)?)?;
                    for hour in 0..HOURS {
                        let local = local_day.at((FIRST_HOUR + hour) as i8, 0, 0, 0);
                        hour_starts.push(local.to_zoned(zone.clone())?.timestamp().as_millisecond());
                    }
                }
            }
        }
        let start = FIRST_DAY.to_zoned(TimeZone::UTC)?.timestamp().as_millisecond();
        Ok(Self { start, hour_starts, campaigns })
    }

    /// The moment at which that local hour (from 0) of that day of the campaign begins in the zone.
    pub(super) fn hour_start(&self, zone: usize, campaign: usize, day: usize, hour: usize) -> i64 {
        self.hour_starts[((zone * self.campaigns + campaign) * CAMPAIGN_DAYS + day) * HOURS + hour]
    }

    /// The moment of the assignment: before any recipient's first send.
    pub(super) fn assigned_at(&self) -> i64 {
        self.start - DAY / 2
    }

    /// The stretch of time whose organic conversions are logged with a campaign: from its start to the next one's,
    /// for the first with four weeks of history.
    pub(super) fn organic_period(&self, campaign: usize) -> (i64, i64) {
        let begin = self.start + campaign as i64 * CAMPAIGN_WEEKS * 7 * DAY;
        let end = begin + CAMPAIGN_WEEKS * 7 * DAY;
        (if campaign == 0 { begin - HISTORY } else { begin }, end)
    }
}

/// The date so many days before the assignment, as `1990-05-17`; none where the calendar does not reach.
pub(super) fn date_before_assignment(days: i64) -> Option<Date> {
    let span = Span::new().try_days(-days - 1).ok()?;
    FIRST_DAY.checked_add(span).ok()
}

/// The same moment, or one millisecond later where it falls on a whole second: so that the times of a column are all
/// written with three decimals, and no reader takes the column for two formats.
pub(super) const fn with_fraction(moment: i64) -> i64 {
    if moment % SECOND == 0 { moment + 1 } else { moment }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(calendar: &Calendar, zone: &str, campaign: usize) -> String {
        let index = ZONES.iter().position(|name| *name == zone).unwrap();
        jiff::Timestamp::from_millisecond(calendar.hour_start(index, campaign, 0, 0)).unwrap().to_string()
    }

    #[test]
    fn local_nine_o_clock_follows_zones_and_summer_time() {
        let calendar = Calendar::new(3).unwrap();
        assert_eq!(utc(&calendar, "Asia/Kathmandu", 0), "2026-03-02T03:15:00Z");
        assert_eq!(utc(&calendar, "Asia/Shanghai", 0), "2026-03-02T01:00:00Z");
        assert_eq!(utc(&calendar, "America/New_York", 0), "2026-03-02T14:00:00Z");
        // Summer time began in New York on 8 March and in London on 29 March.
        assert_eq!(utc(&calendar, "America/New_York", 1), "2026-03-16T13:00:00Z");
        assert_eq!(utc(&calendar, "Europe/London", 1), "2026-03-16T09:00:00Z");
        assert_eq!(utc(&calendar, "Europe/London", 2), "2026-03-30T08:00:00Z");
    }

    #[test]
    fn assignment_comes_before_every_send() {
        let calendar = Calendar::new(1).unwrap();
        assert!((0..ZONES.len()).all(|zone| calendar.hour_start(zone, 0, 0, 0) > calendar.assigned_at()));
        assert_eq!(calendar.organic_period(0).1 - calendar.organic_period(0).0, 42 * DAY);
    }

    #[test]
    fn a_birthday_is_counted_back_from_the_assignment() {
        assert_eq!(date_before_assignment(365).unwrap().to_string(), "2025-03-01");
    }
}
