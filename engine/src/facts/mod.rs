//! `message_facts`: one row a message, with everything that became of it. Reports and experiments read this table, not the
//! logs, which is where their speed comes from.
//!
//! In: the logs, in any order of arrival. Out: a Delta table partitioned by the UTC day of the send. [`sql`] says what a fact is;
//! [`fold`] brings the logs together by message, of all days or of some; [`new_rows`] are those that the facts do not
//! reflect yet; [`touched`] finds the days that they touch; [`refresh`] redoes those days, and only those, in one commit. Since a
//! day is always made from the logs as they are, late receipts, late clicks, corrected sends and late conversions all end right.

mod fold;
mod new_rows;
mod refresh;
mod sql;
mod touched;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::DataFrame;
use deltalake::DeltaTable;

pub(crate) use fold::{IdsSeen, look_through_ids};
pub(crate) use refresh::{DAY_MICROSECONDS, days_since_1970};
pub use refresh::{Refreshed, refresh};
pub(crate) use sql::{
    IS_STOP, LATEST_FIRST, OUTCOMES, contact_periods, converted_recipients, counted_events, has_several_currencies,
    latest_contacts, latest_of, latest_rows, moment, owned_conversions, recipient_places,
};

use crate::error::Result;
use crate::event::{Log, timestamp_type};
use crate::query::QuerySession;

/// The logs that facts are made from.
pub const FEEDING_LOGS: [Log; 7] =
    [Log::Recipients, Log::Sends, Log::Deliveries, Log::Clicks, Log::Conversions, Log::Replies, Log::OptOuts];

/// The version of the rules in [`sql`]. Raise it with every change of what a fact means, so that stores are brought along.
pub(crate) const RULES_VERSION: u32 = 8;

/// The column by which the table is partitioned: the UTC day of the send.
pub const PARTITION: &str = "sent_date";

/// The version of a log that the facts were made from; `None` when they were made without that log.
///
/// # Errors
/// When the table's log cannot be read.
pub async fn reflected_version(facts: &DeltaTable, log: Log) -> Result<Option<u64>> {
    let log_store = facts.log_store();
    let version = facts.snapshot()?.transaction_version(log_store.as_ref(), source_id(log)).await?;
    Ok(version.and_then(|version| u64::try_from(version).ok()))
}

/// The application id under which the facts remember which files a log had.
fn content_id(log: Log) -> String {
    format!("content:{log}")
}

/// A number that stands for the data files of a table: after a broken commit was removed, another may take its version
/// number. The order of the files does not matter.
fn content_of(table: &DeltaTable) -> Result<i64> {
    let files = table.snapshot()?.log_data();
    let sum =
        files.iter().fold(0_u64, |sum, file| sum.wrapping_add(xxhash_rust::xxh3::xxh3_64(file.path().as_bytes())));
    // Application transactions want a version that is not negative.
    Ok(i64::from_be_bytes(sum.to_be_bytes()) & i64::MAX)
}

fn source_id(log: Log) -> String {
    format!("source:{log}")
}

/// The facts of a session's logs, as a query that is made anew each time it runs.
///
/// # Errors
/// When the query cannot be planned.
pub(crate) async fn view(logs: &QuerySession, into: &QuerySession) -> Result<DataFrame> {
    let inputs = sql::Inputs::of(logs).await?;
    fold_into(logs, into, &inputs, None).await?;
    into.sql(&sql::facts_query(&inputs)).await
}

/// Registers `folded_messages` over the logs of one session in another.
async fn fold_into(
    logs: &QuerySession,
    into: &QuerySession,
    inputs: &sql::Inputs,
    range: Option<sql::Range>,
) -> Result<()> {
    let messages = fold::FoldedMessages::new(logs.clone(), inputs.clone(), range).await?;
    into.context().deregister_table(sql::FOLDED)?;
    into.context().register_table(sql::FOLDED, Arc::new(fold::FoldedTable(Arc::new(messages))))?;
    Ok(())
}

/// The columns of a facts table in a store without any sends.
pub(crate) fn minimal_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let count = |name: &str| Field::new(name, DataType::Int64, true);
    let moment = |name: &str| Field::new(name, timestamp_type(), true);
    let money = |name: &str| Field::new(name, sql::MONEY_SUM, true);
    let mut fields: Vec<Field> =
        ["message_id", "campaign_id", "variant", "experiment_id", "recipient_id"].map(text).into();
    fields.extend(["channel", "message_type", "country", "region", "time_zone", "currency"].map(text));
    fields.extend(
        ["status", "delivery", "error_code", "carrier", "first_click_device", "machine_click_reason"].map(text),
    );
    fields.extend(["revenue_currency", "revenue_other"].map(text));
    fields.extend(
        ["sent_at", "scheduled_at", "delivered_at", "first_click_at", "converted_at", "opted_out_at"].map(moment),
    );
    fields.extend(["local_hour", "local_weekday", "parts", "receipts", "clicks", "machine_clicks"].map(count));
    fields.extend(["conversions", "conversions_outside_window", "opt_outs", "replies"].map(count));
    fields.extend(["cost", "revenue", "margin"].map(money));
    fields.push(Field::new(PARTITION, DataType::Date32, true));
    Arc::new(Schema::new(fields))
}
