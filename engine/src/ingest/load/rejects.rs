//! Rejected rows on their way to the quarantine: those of each file once, whatever other files come in the same call.
//!
//! A file's rejected rows have an identity of their own, made from the file's. A call that is killed after the quarantine's
//! commit leaves its files out of the log; when they come again, together or apart, their rejected rows are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Fresh, received_at};
use crate::error::Result;
use crate::event::Log;
use crate::ingest::identity::hexadecimal;
use crate::ingest::read::BrokenRow;
use crate::store::{Appender, QUARANTINE, Store, quarantine_schema};

/// The rejected rows of one log in a call, written and not committed yet.
pub(super) struct Rejects {
    log: Log,
    quarantine: Appender,
    /// The identities that have rejected rows, and whether these are new to the quarantine.
    are_new: BTreeMap<String, bool>,
}

impl Rejects {
    /// Starts with none.
    pub(super) async fn open(store: &Store, log: Log) -> Result<Self> {
        let quarantine = Appender::open(store, QUARANTINE, &quarantine_schema()).await?;
        Ok(Self { log, quarantine, are_new: BTreeMap::new() })
    }

    /// Writes rejected rows of a file, unless the quarantine has them.
    pub(super) async fn write(&mut self, file: &Fresh, rejected: &[BrokenRow], now: Timestamp) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let id = quarantine_id(self.log, &file.batch_id);
        let is_new = if let Some(is_new) = self.are_new.get(&id).copied() {
            is_new
        } else {
            let is_new = !self.quarantine.has(&id).await?;
            self.are_new.insert(id, is_new);
            is_new
        };
        if is_new {
            self.quarantine.write(&quarantine_batch(self.log, &file.input.name, rejected, now)?).await?;
        }
        Ok(())
    }

    /// Makes them visible.
    pub(super) async fn commit(self) -> Result<()> {
        let ids: Vec<String> = self.are_new.into_iter().filter(|(_, is_new)| *is_new).map(|(id, _)| id).collect();
        if ids.is_empty() {
            self.quarantine.abandon().await;
        } else {
            self.quarantine.commit(&ids).await?;
        }
        Ok(())
    }

    /// Gives them up.
    pub(super) async fn abandon(self) {
        self.quarantine.abandon().await;
    }
}

/// The rows of the quarantine's table for rejected rows of one file.
pub(super) fn quarantine_batch(log: Log, file: &str, rejected: &[BrokenRow], now: Timestamp) -> Result<RecordBatch> {
    let count = rejected.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![log.name(); count])),
        Arc::new(StringArray::from(vec![file; count])),
        Arc::new(Int64Array::from_iter_values(rejected.iter().map(|row| row.row))),
        Arc::new(StringArray::from_iter_values(rejected.iter().map(|row| &row.reason))),
        Arc::new(StringArray::from_iter_values(rejected.iter().map(|row| &row.raw))),
        received_at(count, now),
    ];
    Ok(RecordBatch::try_new(quarantine_schema(), columns)?)
}

/// The identity of the rejected rows of one file, or of one batch that its caller named: a log's name and the SHA-256 of
/// the identity under which the accepted rows are in the log.
pub(crate) fn quarantine_id(log: Log, batch_id: &str) -> String {
    format!("{log}:{}", hexadecimal(&Sha256::digest(batch_id.as_bytes())))
}
