//! Appends batches to a table: data files first, which no reader sees, then one commit that makes them all visible at once.
//!
//! Each batch of a file or request carries that file's digest as a Delta application transaction, so that a batch that was
//! committed before is recognised in the same atomic step that would commit it again; a writer that is killed leaves only
//! files that nothing refers to, which vacuum removes. New attributes widen the table's schema in the same commit. [`group`]
//! does the same for many small batches at a time.

pub(super) mod durable;
mod group;
mod markers;

use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::transaction::{CommitBuilder, CommitConflictError, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, MetadataExt as _, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};
use object_store::ObjectStoreExt as _;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

pub(crate) use group::{GroupAppender, Member, Standing};

use super::commit::{delta_schema, holds_any, merged_schema};
use super::{Store, of_table};
use crate::error::{EngineError, Result};

/// Data files are closed at about this size.
pub(super) const TARGET_FILE_SIZE: NonZeroU64 = NonZeroU64::new(256 << 20).unwrap();
/// Rows of a Parquet row group: enough to compress well, few enough that an open writer stays small.
const ROW_GROUP_ROWS: usize = 262_144;
/// Attempts at a commit that loses races with other writers.
const ATTEMPTS: usize = 20;

/// How an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Committed as this version.
    Committed(u64),
    /// Every batch had been committed before; nothing was changed.
    AlreadyThere(u64),
    /// Another batch had been committed under this one's name; nothing was changed.
    NameTaken(u64),
}

/// An append under way.
pub struct Appender {
    table: DeltaTable,
    schema: SchemaRef,
    writer: Option<DeltaWriter>,
    written: Vec<Add>,
}

/// How Parquet files of the store are written.
pub(super) fn writer_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("sendlift ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

/// A writer of data files in the store's format, partitioned by some columns.
pub(crate) fn delta_writer(table: &DeltaTable, schema: &SchemaRef, partition_by: &[String]) -> DeltaWriter {
    let (indexed_columns, _) =
        deltalake::operations::get_num_idx_cols_and_stats_columns(None, std::collections::HashMap::new());
    let config = WriterConfig::new(
        Arc::clone(schema),
        partition_by.to_vec(),
        Some(writer_properties()),
        Some(TARGET_FILE_SIZE),
        None,
        indexed_columns,
        Some(statistics_columns(schema)),
    );
    DeltaWriter::new(table.object_store(), config)
}

/// Texts whose least and greatest value may stand in the table's log: names that many rows share.
const SHARED_NAMES: [&str; 9] =
    ["campaign_id", "variant", "experiment_id", "arm", "channel", "message_type", "country", "status", "event"];

/// The columns whose least and greatest values a commit tells, so that queries skip files. Who a row is about is not
/// told: the log outlives the data files, and the erasure of a recipient could not take back what it says. Nor would it
/// help, for every file holds hashes of all values.
fn statistics_columns(schema: &Schema) -> Vec<String> {
    let is_told = |field: &&Arc<Field>| {
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        !is_text || SHARED_NAMES.contains(&field.name().as_str())
    };
    schema.fields().iter().filter(is_told).map(|field| field.name().clone()).collect()
}

impl Appender {
    /// Starts an append to a table, which is created with `schema` if it is not there.
    ///
    /// # Errors
    /// When the table cannot be created or read.
    pub async fn open(store: &Store, name: &str, schema: &SchemaRef) -> Result<Self> {
        let table = store.create_table(name, schema, &[]).await?;
        let stored = table.snapshot()?.snapshot().arrow_schema();
        let schema = merged_schema(&super::commit::plain_schema(&stored), schema);
        Ok(Self { table, schema, writer: None, written: Vec::new() })
    }

    /// Whether a batch of this identity was committed to the table before.
    ///
    /// # Errors
    /// When the table's log cannot be read.
    // `&mut` because a data file under construction may move between threads, but not be shared by them.
    pub async fn has(&mut self, batch_id: &str) -> Result<bool> {
        let log_store = self.table.log_store();
        Ok(self.table.snapshot()?.transaction_version(log_store.as_ref(), batch_id).await?.is_some())
    }

    /// Writes rows to data files that no reader sees yet. Columns that the table lacks widen it; columns that the batch
    /// lacks are null.
    ///
    /// # Errors
    /// When the disk or the object store fails.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let wider = merged_schema(&self.schema, &batch.schema());
        if wider.fields().len() != self.schema.fields().len() {
            // A data file has one schema: the open one ends here.
            self.close_writer().await?;
            self.schema = wider;
        }
        let aligned = align(batch, &self.schema)?;
        let writer = self.writer.get_or_insert_with(|| delta_writer(&self.table, &self.schema, &[]));
        writer.write(&aligned).await.map_err(of_table("write to", &self.table))
    }

    async fn close_writer(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.written.extend(writer.close().await.map_err(of_table("write to", &self.table))?);
        }
        Ok(())
    }

    /// Makes all written rows visible in one commit, unless every one of the batches had been committed before.
    ///
    /// # Errors
    /// When the commit fails for another reason than a race, which is tried again.
    pub async fn commit(mut self, batch_ids: &[String]) -> Result<Appended> {
        self.close_writer().await?;
        durable::sync_files(&self.table, &self.written).await?;
        for attempt in 0.. {
            self.table.update_state().await?;
            if attempt > 0 && holds_any(&self.table, &self.written)? {
                // The attempt before was committed, though the store did not say so.
                return Ok(Appended::Committed(self.table.version().unwrap_or_default()));
            }
            let mut known = 0;
            for batch_id in batch_ids {
                known += usize::from(self.has(batch_id).await?);
            }
            let version = self.table.version().unwrap_or_default();
            let all_known = known == batch_ids.len() && (known > 0 || self.written.is_empty());
            if all_known {
                self.remove_written().await;
                return Ok(Appended::AlreadyThere(version));
            }
            if known > 0 {
                // The rows of the batches that are there cannot be told from the others' in the files written.
                self.remove_written().await;
                return Err(EngineError::refused(
                    "another ingest took some of these files in at the same time; run this one again for the rest",
                ));
            }
            match self.try_commit(batch_ids).await {
                Ok(version) => return Ok(Appended::Committed(version)),
                Err(error) if attempt < ATTEMPTS && is_race(&error) => {}
                // Perhaps it was committed all the same, and something failed afterwards: the files stay, and if
                // nothing refers to them vacuum removes them.
                Err(error) => return Err(of_table("write to", &self.table)(error)),
            }
        }
        unreachable!("the loop above returns")
    }

    async fn try_commit(&mut self, batch_ids: &[String]) -> std::result::Result<u64, DeltaTableError> {
        let snapshot = self.table.snapshot()?;
        let mut actions: Vec<Action> = self.written.iter().cloned().map(Action::Add).collect();
        let stored = super::commit::plain_schema(&snapshot.snapshot().arrow_schema());
        let wider = merged_schema(&stored, &self.schema);
        if wider.fields().len() != stored.fields().len() {
            let metadata = snapshot.metadata().clone().with_schema(&delta_schema(&wider)?)?;
            actions.push(Action::Metadata(metadata));
        }
        let transactions = batch_ids.iter().map(|batch_id| Transaction::new(batch_id, 1)).collect();
        let properties = CommitProperties::default().with_application_transactions(transactions);
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let commit = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(snapshot), durable::log_store(&self.table), operation)
            .await?;
        Ok(commit.version())
    }

    /// Gives the append up and removes what it wrote.
    pub async fn abandon(mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.abort().await
        {
            tracing::warn!(%error, "an unfinished data file could not be removed; vacuum will");
        }
        self.remove_written().await;
    }

    async fn remove_written(&mut self) {
        let store = self.table.object_store();
        for add in std::mem::take(&mut self.written) {
            // Paths in Add actions are URL-encoded; those of unpartitioned tables have nothing to decode.
            if let Err(error) = store.delete(&deltalake::Path::from(add.path.as_str())).await {
                tracing::warn!(%error, path = add.path, "an uncommitted data file could not be removed; vacuum will");
            }
        }
    }
}

/// Whether a commit lost a race that a fresh attempt can win.
pub(super) fn is_race(error: &DeltaTableError) -> bool {
    let DeltaTableError::Transaction { source } = error else { return false };
    matches!(
        source,
        TransactionError::CommitConflict(
            CommitConflictError::MetadataChanged
                | CommitConflictError::ConcurrentTransaction
                | CommitConflictError::ConcurrentAppend
                | CommitConflictError::ConcurrentDeleteRead
                | CommitConflictError::ConcurrentDeleteDelete
        ) | TransactionError::VersionAlreadyExists(_)
            | TransactionError::MaxCommitAttempts(_)
    )
}

/// A batch with exactly the columns of a schema, in its order and types.
pub(crate) fn align(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns =
        schema.fields().iter().map(|field| aligned_column(batch, field)).collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn aligned_column(batch: &RecordBatch, field: &Field) -> Result<ArrayRef> {
    match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => Ok(arrow::compute::cast(column, field.data_type())?),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    }
}
