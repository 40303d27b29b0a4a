//! Which batches a table holds, remembered from commit to commit.
//!
//! A commit carries the identity of each of its batches as an application transaction. The library finds one by reading
//! the table's whole log, which is fine for a file and not for hundreds of small batches a second: here the log is read
//! once, and after that only what it gained.

use std::collections::HashSet;

use arrow::array::{AsArray as _, StructArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use deltalake::{DeltaTable, DeltaTableError, ObjectStoreError, Path};
use object_store::ObjectStoreExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::Result;

/// The hint at the last checkpoint, which stands for all entries before it.
const LAST_CHECKPOINT: &str = "_delta_log/_last_checkpoint";
/// The column of a checkpoint that holds the identities.
const IDENTITIES: &str = "txn.appId";

/// The first half of an identity's SHA-256: a million batches take some 30 MB, whatever their callers name them.
type Mark = [u8; 16];

fn mark(batch_id: &str) -> Mark {
    let digest = Sha256::digest(batch_id.as_bytes());
    std::array::from_fn(|index| digest[index])
}

/// The batches that a table holds.
#[derive(Debug, Default)]
pub(super) struct Markers {
    known: HashSet<Mark>,
    /// The first version whose entry was not read yet; none before the first reading.
    next: Option<u64>,
    /// Whether a batch that is not known is none of the table's. False where the log has a form that is not read here.
    is_complete: bool,
}

/// The part of a log's line that counts here.
#[derive(Deserialize)]
struct Line {
    txn: Option<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    app_id: String,
}

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
struct Hint {
    version: u64,
    /// Files of the checkpoint, if they are several.
    parts: Option<u64>,
}

impl Markers {
    /// Learns what the log gained, up to the version that the table is loaded at.
    pub(super) async fn catch_up(&mut self, table: &DeltaTable) -> Result<()> {
        if self.next.is_some() && self.read_entries(table).await? {
            return Ok(());
        }
        // It is the first time, or entries were cleaned up unread: only a checkpoint knows what they said.
        *self = Self::default();
        let has_beginning = self.read_checkpoint(table).await?;
        self.is_complete = has_beginning && self.read_entries(table).await?;
        // Where the log cannot be followed, the library is asked each time.
        self.next = Some(table.version().map_or(0, |version| version + 1));
        Ok(())
    }

    /// Whether the table holds a batch, as far as was read.
    pub(super) async fn hold(&self, table: &DeltaTable, batch_id: &str) -> Result<bool> {
        if self.is_complete || self.known.contains(&mark(batch_id)) {
            return Ok(self.known.contains(&mark(batch_id)));
        }
        let log_store = table.log_store();
        Ok(table.snapshot()?.transaction_version(log_store.as_ref(), batch_id).await?.is_some())
    }

    /// Learns what a commit added.
    pub(super) fn add<'a>(&mut self, version: u64, batch_ids: impl Iterator<Item = &'a str>) {
        self.known.extend(batch_ids.map(mark));
        if self.next == Some(version) {
            self.next = Some(version + 1);
        }
    }

    /// Reads the entries from the first unread one on. False when one is not there.
    async fn read_entries(&mut self, table: &DeltaTable) -> Result<bool> {
        let latest = table.version().unwrap_or_default();
        let first = self.next.unwrap_or_default();
        for version in first..=latest {
            let Some(entry) = table.log_store().read_commit_entry(version).await? else { return Ok(false) };
            for line in entry.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                let line: Line = serde_json::from_slice(line)?;
                self.known.extend(line.txn.map(|transaction| mark(&transaction.app_id)));
            }
            self.next = Some(version + 1);
        }
        Ok(true)
    }

    /// Reads the last checkpoint, if there is one. False when it has a form that is not read here.
    async fn read_checkpoint(&mut self, table: &DeltaTable) -> Result<bool> {
        let Some(hint) = read(table, &Path::from(LAST_CHECKPOINT)).await? else { return Ok(true) };
        let Ok(hint) = serde_json::from_slice::<Hint>(&hint) else { return Ok(false) };
        if hint.parts.is_some() {
            return Ok(false);
        }
        let path = format!("_delta_log/{:020}.checkpoint.parquet", hint.version);
        let Some(checkpoint) = read(table, &Path::from(path)).await? else { return Ok(false) };
        self.known = tokio::task::spawn_blocking(move || marks_of_checkpoint(checkpoint)).await??;
        self.next = Some(hint.version + 1);
        Ok(true)
    }
}

/// The bytes of an object of the table; none when it is not there.
async fn read(table: &DeltaTable, path: &Path) -> Result<Option<Bytes>> {
    match table.object_store().get(path).await {
        Ok(found) => Ok(Some(found.bytes().await.map_err(DeltaTableError::from)?)),
        Err(ObjectStoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(DeltaTableError::from(error).into()),
    }
}

fn marks_of_checkpoint(checkpoint: Bytes) -> Result<HashSet<Mark>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(checkpoint)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [IDENTITIES]);
    let mut marks = HashSet::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        // A table that never had a transaction may have a checkpoint without the column.
        let Some(transactions) = batch.columns().first().and_then(|column| column.as_struct_opt()) else { break };
        let Some(identities) = StructArray::column_by_name(transactions, "appId") else { break };
        let identities = arrow::compute::cast(identities, &DataType::Utf8)?;
        marks.extend(identities.as_string::<i32>().iter().flatten().map(mark));
    }
    Ok(marks)
}
