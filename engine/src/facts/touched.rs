//! Which send days do new rows touch? Every day whose facts could change, and few others.
//!
//! A new row can change the facts of: the messages it names; the messages sent to its recipient in the window before it,
//! if it names none; where it is a send, the earlier messages to that recipient that would lose an event to it; where it
//! is a click, the other messages that were clicked from the same address in the same hour; where it is a contact, the
//! messages whose local hour it changes. A row that replaces an older one touches what the older one touched.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use std::collections::BTreeSet;

use super::new_rows::{NewRows, new_rows};
use super::refresh::DAY_MICROSECONDS;
use super::sql::{event_key, micros, moment};
use crate::error::Result;
use crate::event::Log;
use crate::query::QuerySession;

/// Days since 1970-01-01 (UTC) whose facts must be redone. Needs the table `message_facts` beside the logs; `corrected` are
/// the days of the messages that have a new row among the sends.
pub(super) async fn touched_days(
    session: &QuerySession,
    gained: &[NewRows],
    facts_days: &BTreeSet<i32>,
    corrected: BTreeSet<i32>,
) -> Result<BTreeSet<i32>> {
    let window = session.settings.attribution.window_microseconds();
    let mut touched = Touched { session, window, facts_days, knows_new_sends: false, days: corrected };
    // Of sends first: other rows may be of them.
    for sends in gained.iter().filter(|gained| gained.log == Log::Sends) {
        sends.register_all(session).await?;
        touched.add(&format!("SELECT DISTINCT arrow_cast(sent_at, 'Date32') FROM {}", new_rows(Log::Sends))).await?;
        touched.look_through(sends).await?;
        // To compare with more of them than a part would take more memory than looking through all days.
        touched.knows_new_sends = sends.parts.len() == 1;
    }
    for other in gained.iter().filter(|gained| gained.log != Log::Sends) {
        touched.look_through(other).await?;
    }
    Ok(touched.days)
}

/// Days of a first look for messages; each further look goes over more of them.
const FIRST_LOOK: usize = 8;
const LOOKS_GROW: usize = 8;

struct Touched<'a> {
    session: &'a QuerySession,
    /// The attribution window in microseconds.
    window: i64,
    /// The days that have facts.
    facts_days: &'a BTreeSet<i32>,
    /// Whether the new rows of the sends are registered and few.
    knows_new_sends: bool,
    days: BTreeSet<i32>,
}

impl Touched<'_> {
    /// Adds the days that what a log gained touches.
    async fn look_through(&mut self, gained: &NewRows) -> Result<()> {
        for part in &gained.parts {
            if self.are_all() {
                return Ok(());
            }
            gained.register(self.session, part).await?;
            self.look_through_part(gained.log).await?;
        }
        Ok(())
    }

    /// Whether every day that has facts is touched.
    fn are_all(&self) -> bool {
        self.facts_days.is_subset(&self.days)
    }

    async fn look_through_part(&mut self, log: Log) -> Result<()> {
        let fresh = new_rows(log);
        match log {
            Log::Sends => {
                self.before(&format!("SELECT recipient_id, sent_at FROM {fresh}"), "sent_at", HAS_EVENTS, self.window)
                    .await?;
                // A corrected send gives back the events that its older row had taken.
                let (first, last) = match (self.days.first(), self.days.last()) {
                    (Some(first), Some(last)) => (*first, *last),
                    _ => return Ok(()),
                };
                let last_event = format!(
                    "SELECT f.recipient_id, f.sent_at + INTERVAL '{} microseconds' AS last_event FROM message_facts AS f \
                     WHERE {HAS_EVENTS} AND {} AND f.message_id IN (SELECT message_id FROM {fresh})",
                    self.window,
                    between("f.sent_date", first, last),
                );
                self.before(&last_event, "last_event", "TRUE", self.window * 2).await?;
            }
            Log::Deliveries => self.facts_of(&format!("SELECT message_id FROM {fresh}")).await?,
            Log::Clicks => {
                let events = rows_of_new_events(log, "message_id");
                self.facts_of(&format!("SELECT message_id FROM ({events}) WHERE message_id IS NOT NULL")).await?;
                let hours = "SELECT ip_hash, date_trunc('hour', clicked_at) AS clicked_hour";
                // A row that is replaced leaves the crowd that it belonged to.
                let events = rows_of_new_events(log, "ip_hash, clicked_at");
                let fresh_hours = format!("{hours} FROM ({events}) WHERE ip_hash IS NOT NULL");
                let Some((first, last)) = self.ends(&fresh_hours, "clicked_hour").await? else { return Ok(()) };
                let within = format!(
                    "clicked_at >= {} AND clicked_at < {}",
                    moment(first),
                    moment(last.saturating_add(HOUR_MICROSECONDS))
                );
                self.facts_of(&format!(
                    "SELECT c.message_id FROM (SELECT message_id, ip_hash, date_trunc('hour', clicked_at) AS clicked_hour \
                     FROM clicks WHERE message_id IS NOT NULL AND {within}) AS c \
                     JOIN (SELECT DISTINCT * FROM ({fresh_hours})) AS n \
                     ON n.ip_hash = c.ip_hash AND n.clicked_hour = c.clicked_hour"
                ))
                .await?;
            }
            Log::Conversions | Log::Replies | Log::OptOuts => {
                let time = log.time_column();
                let events = rows_of_new_events(log, &format!("message_id, recipient_id, {time}"));
                self.facts_of(&format!("SELECT message_id FROM ({events}) WHERE message_id IS NOT NULL")).await?;
                self.before(&events, time, "TRUE", self.window).await?;
            }
            Log::Recipients => {
                self.add(&format!(
                    "SELECT DISTINCT f.sent_date FROM message_facts AS f JOIN {fresh} AS n ON n.recipient_id = f.recipient_id \
                     WHERE (f.time_zone IS DISTINCT FROM n.time_zone) OR (f.country IS DISTINCT FROM n.country) \
                     OR (f.region IS DISTINCT FROM n.region)"
                ))
                .await?;
            }
            Log::Assignments | Log::Opens | Log::Consents => {}
        }
        Ok(())
    }

    /// Adds the days in the first column of a query.
    async fn add(&mut self, query: &str) -> Result<()> {
        for batch in self.session.collect(query).await? {
            add_days(&mut self.days, batch.column(0))?;
        }
        Ok(())
    }

    /// Adds the days in the first column of a query, whose second column is how many rows each has; returns the sum of that.
    async fn add_counted(&mut self, query: &str) -> Result<i64> {
        let mut rows = 0;
        for batch in self.session.collect(query).await? {
            add_days(&mut self.days, batch.column(0))?;
            rows += batch.column(1).as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        }
        Ok(rows)
    }

    /// Adds the days of the messages that a query names. Most are of the last days: the days before are only looked through
    /// for those that are not found there. The days of new sends are known in any case.
    async fn facts_of(&mut self, ids: &str) -> Result<()> {
        let sent_now = if self.knows_new_sends {
            format!(" WHERE message_id NOT IN (SELECT message_id FROM {})", new_rows(Log::Sends))
        } else {
            String::new()
        };
        let wanted = format!("SELECT DISTINCT message_id FROM ({ids}){sent_now}");
        let mut missing = count_rows(self.session, &wanted).await?;
        let newest_first: Vec<i32> = self.facts_days.iter().rev().copied().collect();
        let (mut rest, mut look) = (newest_first.as_slice(), FIRST_LOOK);
        while let (true, Some(last)) = (missing > 0 && !self.are_all(), rest.first()) {
            let (days, older) = rest.split_at(look.min(rest.len()));
            let within = between("sent_date", days.last().copied().unwrap_or(*last), *last);
            let found = self
                .add_counted(&format!(
                    "SELECT sent_date, count(*) FROM message_facts WHERE {within} AND message_id IN ({wanted}) GROUP BY sent_date"
                ))
                .await?;
            missing -= found;
            (rest, look) = (older, look.saturating_mul(LOOKS_GROW));
        }
        Ok(())
    }

    /// Adds the days of the messages to an event's recipient in so many microseconds before it.
    async fn before(&mut self, events: &str, time: &str, condition: &str, window: i64) -> Result<()> {
        let Some((first, last)) = self.ends(events, time).await? else { return Ok(()) };
        let day = |moment: i64| i32::try_from(moment.div_euclid(DAY_MICROSECONDS)).unwrap_or(i32::MAX);
        let within = between("f.sent_date", day(first.saturating_sub(window)), day(last));
        self.add(&format!(
            "SELECT DISTINCT f.sent_date FROM message_facts AS f JOIN ({events}) AS e ON e.recipient_id = f.recipient_id \
             AND {sent} <= {happened} AND {happened} - {sent} <= {window} WHERE {condition} AND {within}",
            sent = micros("f.sent_at"),
            happened = micros(&format!("e.{time}")),
        ))
        .await?;
        Ok(())
    }

    /// The first and the last moment of a query's rows, in microseconds.
    async fn ends(&self, rows: &str, time: &str) -> Result<Option<(i64, i64)>> {
        let time = micros(time);
        let batches = self.session.collect(&format!("SELECT min({time}), max({time}) FROM ({rows})")).await?;
        let end = |place: usize| {
            let batch = batches.iter().find(|batch| batch.num_rows() > 0)?;
            let column = batch.column(place).as_primitive::<Int64Type>();
            column.is_valid(0).then(|| column.value(0))
        };
        Ok(end(0).zip(end(1)))
    }
}

const HAS_EVENTS: &str = "(f.conversions > 0 OR f.opt_outs > 0 OR f.replies > 0)";
const HOUR_MICROSECONDS: i64 = 3_600_000_000;

/// The condition that a day is one of these or between them.
fn between(column: &str, first: i32, last: i32) -> String {
    format!("{column} >= arrow_cast({first}, 'Date32') AND {column} <= arrow_cast({last}, 'Date32')")
}

/// All rows, old ones included, of the events that have a new row.
fn rows_of_new_events(log: Log, columns: &str) -> String {
    let key = event_key(log);
    format!("SELECT {columns} FROM {log} WHERE {key} IN (SELECT {key} FROM {})", new_rows(log))
}

/// Adds the days of a column, since 1970-01-01.
pub(super) fn add_days(days: &mut BTreeSet<i32>, column: &ArrayRef) -> Result<()> {
    let found = arrow::compute::cast(column, &DataType::Date32)?;
    days.extend(found.as_primitive::<Date32Type>().iter().flatten());
    Ok(())
}

/// How many rows a query has.
pub(super) async fn count_rows(session: &QuerySession, query: &str) -> Result<i64> {
    let batches = session.collect(&format!("SELECT count(*) FROM ({query})")).await?;
    let count = batches.first().filter(|batch| batch.num_rows() > 0).map(|batch| {
        let column = batch.column(0).as_primitive::<Int64Type>();
        column.value(0)
    });
    Ok(count.unwrap_or(0))
}
