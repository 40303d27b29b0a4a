//! The care of a store: what an operator does now and then so that it stays quick, small, lawful and sound.
//!
//! [`compact()`] puts small files together, [`vacuum()`] removes what no kept version needs, [`forget()`] erases
//! recipients, [`examine`] looks for damage and changes nothing. All of them may run beside ingests, reports and each
//! other.
//!
//! **Architecture invariants:** a data file is replaced on the very version on which it was seen, or not at all
//! ([`rewrite`]); a file that a running ingest may have written is never removed ([`vacuum()`]); the facts are brought
//! up to date and not made anew, since each commit here says what it did to them.

mod compact;
mod doctor;
mod forget;
mod listing;
mod rewrite;
mod vacuum;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;

use crate::error::Result;
use crate::event::{INGESTED_AT, Log};
use crate::query::QuerySession;
use crate::store::{CORRECTIONS, MESSAGE_FACTS, QUARANTINE};

pub use compact::{CompactedTable, Compaction, compact};
pub(super) use doctor::broken_entry;
pub use doctor::{Depth, Diagnosis, Finding, Severity, TableState, examine};
pub(crate) use forget::ERASED_DAYS;
pub use forget::{ForgetOptions, Forgotten, ForgottenTable, Person, forget};
pub(super) use listing::{LogListing, entry_of, told_time};
pub use vacuum::{DEFAULT_KEEP_HOURS, RemovedFile, VacuumOptions, Vacuumed, VacuumedTable, WhyRemoved, vacuum};

/// Every table that a store may have.
const TABLES: [&str; 13] = [
    Log::Recipients.name(),
    Log::Assignments.name(),
    Log::Sends.name(),
    Log::Deliveries.name(),
    Log::Opens.name(),
    Log::Clicks.name(),
    Log::Conversions.name(),
    Log::Replies.name(),
    Log::OptOuts.name(),
    Log::Consents.name(),
    QUARANTINE,
    MESSAGE_FACTS,
    CORRECTIONS,
];

/// The log that a table holds.
fn log_of(table: &str) -> Option<Log> {
    Log::ALL.into_iter().find(|log| log.name() == table)
}

/// The column by which a table's files are ordered, so that queries skip those of other times.
fn time_column(table: &str) -> &'static str {
    match (log_of(table), table) {
        (Some(log), _) => log.time_column(),
        (None, MESSAGE_FACTS) => Log::Sends.time_column(),
        (None, CORRECTIONS) => "message_id",
        (None, _) => INGESTED_AT,
    }
}

/// The number that a query gives.
async fn count(session: &QuerySession, query: &str) -> Result<u64> {
    let batches = session.collect(query).await?;
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    let count = batch.map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0));
    Ok(u64::try_from(count).unwrap_or(0))
}
