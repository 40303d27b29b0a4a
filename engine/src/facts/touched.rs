//! Which send days do new rows touch? Every day whose facts could change, and few others.
//!
//! A new row can change the facts of: the messages it names; the messages sent to its recipient in the window before it,
//! if it names none; where it is a send, the earlier messages to that recipient that would lose an event to it; where it
//! is a click, the other messages that were clicked from the same address in the same hour; where it is a contact, the
//! messages whose local hour it changes. A row that replaces an older one touches what the older one touched.

use arrow::array::AsArray as _;
use arrow::datatypes::{Date32Type, Int64Type};
use std::collections::BTreeSet;

use super::sql::{event_key, micros};
use crate::error::Result;
use crate::event::Log;
use crate::query::QuerySession;

/// The name under which the rows of a log that are new to the facts are registered.
pub(super) fn new_rows(log: Log) -> String {
    format!("new_{log}")
}

/// Days since 1970-01-01 (UTC) whose facts must be redone. Needs the tables `message_facts` and `new_LOG` beside the logs.
pub(super) async fn touched_days(session: &QuerySession, changed: &[Log]) -> Result<BTreeSet<i32>> {
    let window = session.settings.attribution.window_microseconds();
    let mut days = BTreeSet::new();
    for log in changed {
        for query in queries(*log, window) {
            for batch in session.collect(&query).await? {
                let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Date32)?;
                days.extend(column.as_primitive::<Date32Type>().iter().flatten());
            }
        }
    }
    Ok(days)
}

fn queries(log: Log, window: i64) -> Vec<String> {
    let fresh = new_rows(log);
    let facts_of = |ids: &str| format!("SELECT DISTINCT sent_date FROM message_facts WHERE message_id IN ({ids})");
    // Messages to the event's recipient in the window before it.
    let before = |events: &str, time: &str, condition: &str| {
        format!(
            "SELECT DISTINCT f.sent_date FROM message_facts AS f JOIN ({events}) AS e ON e.recipient_id = f.recipient_id \
             AND {sent} <= {happened} AND {happened} - {sent} <= {window} WHERE {condition}",
            sent = micros("f.sent_at"),
            happened = micros(&format!("e.{time}")),
        )
    };
    const HAS_EVENTS: &str = "(f.conversions > 0 OR f.opt_outs > 0 OR f.replies > 0)";
    match log {
        Log::Sends => vec![
            format!("SELECT DISTINCT arrow_cast(sent_at, 'Date32') FROM {fresh}"),
            facts_of(&format!("SELECT message_id FROM {fresh}")),
            before(&format!("SELECT recipient_id, sent_at FROM {fresh}"), "sent_at", HAS_EVENTS),
            // A corrected send gives back the events that its older row had taken.
            before(
                &format!(
                    "SELECT f.recipient_id, f.sent_at + INTERVAL '{window} microseconds' AS last_event FROM message_facts AS f \
                     WHERE {HAS_EVENTS} AND f.message_id IN (SELECT message_id FROM {fresh})"
                ),
                "last_event",
                "TRUE",
            )
            .replace(&format!("<= {window} WHERE"), &format!("<= {} WHERE", window * 2)),
        ],
        Log::Deliveries => vec![facts_of(&format!("SELECT message_id FROM {fresh}"))],
        Log::Clicks => vec![
            facts_of(&format!("SELECT message_id FROM ({}) WHERE message_id IS NOT NULL", rows_of_new_events(log, "message_id"))),
            facts_of(&format!(
                "SELECT c.message_id FROM clicks AS c JOIN (SELECT DISTINCT ip_hash, date_trunc('hour', clicked_at) AS clicked_hour \
                 FROM {fresh} WHERE ip_hash IS NOT NULL) AS n ON n.ip_hash = c.ip_hash AND n.clicked_hour = date_trunc('hour', c.clicked_at) \
                 WHERE c.message_id IS NOT NULL"
            )),
        ],
        Log::Conversions | Log::Replies | Log::OptOuts => {
            let time = log.time_column();
            let events = rows_of_new_events(log, &format!("message_id, recipient_id, {time}"));
            vec![
                facts_of(&format!("SELECT message_id FROM ({events}) WHERE message_id IS NOT NULL")),
                before(&events, time, "TRUE"),
            ]
        }
        Log::Recipients => vec![format!(
            "SELECT DISTINCT f.sent_date FROM message_facts AS f JOIN {fresh} AS n ON n.recipient_id = f.recipient_id \
             WHERE (f.time_zone IS DISTINCT FROM n.time_zone) OR (f.country IS DISTINCT FROM n.country) OR (f.region IS DISTINCT FROM n.region)"
        )],
        Log::Assignments | Log::Opens | Log::Consents => Vec::new(),
    }
}

/// All rows, old ones included, of the events that have a new row.
fn rows_of_new_events(log: Log, columns: &str) -> String {
    let key = event_key(log);
    format!("SELECT {columns} FROM {log} WHERE {key} IN (SELECT {key} FROM {})", new_rows(log))
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
