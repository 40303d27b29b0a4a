//! Replaces data files of a table by others, whatever other writers do meanwhile.
//!
//! In: files that leave, with those that hold their rows from now on. Out: one commit of all whose files are still
//! there. Delta's own check for conflicts lets a writer remove a file that another has rearranged since, which would
//! double its rows. So a replacement is committed on the very version on which all its files were seen, or not at all;
//! when another commit comes first, the files are looked for anew, which costs no writing.

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::delta_datafusion::FileSelection;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, Remove};
use deltalake::protocol::DeltaOperation;
use deltalake::{DeltaTable, Path};
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;

use crate::error::{EngineError, Result};
use crate::query::{new_context, quoted};
use crate::store::append::{durable, is_race};
use crate::store::commit::holds_any;
use crate::store::{align, delta_writer, of_table, plain_schema};

/// Attempts at a commit that loses races with other writers.
const ATTEMPTS: usize = 30;

/// The values of the columns by which a table is partitioned, in one partition.
pub(super) type Partition = Vec<(String, Option<String>)>;

/// A live data file of a table.
#[derive(Debug, Clone)]
pub(super) struct LiveFile {
    /// Relative to the table.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Rows, if the commit that brought the file says so.
    pub(super) rows: Option<u64>,
    /// When the rows were received, in milliseconds since 1970.
    pub(super) modified: i64,
    pub(super) partition: Partition,
    /// What the commit says about the rows, as JSON.
    pub(super) statistics: Option<String>,
}

/// The data files of the version that a table is loaded at.
pub(super) fn live_files(table: &DeltaTable) -> Result<Vec<LiveFile>> {
    let log = table.snapshot()?.log_data();
    let files = log.iter().map(|file| {
        let mut partition: Partition = file.partition_values_map().into_iter().collect();
        partition.sort();
        LiveFile {
            path: file.path().into_owned(),
            bytes: u64::try_from(file.size()).unwrap_or(0),
            rows: file.num_records().and_then(|rows| u64::try_from(rows).ok()),
            modified: file.modification_time(),
            partition,
            statistics: file.stats(),
        }
    });
    Ok(files.collect())
}

/// Files that leave a table, and those that take their place.
#[derive(Debug)]
pub(super) struct Rewrite {
    /// Paths of the files that leave.
    pub(super) old: BTreeSet<String>,
    /// The files that come.
    pub(super) added: Vec<Add>,
    /// Rows in the files that come.
    pub(super) rows: u64,
}

/// Writes the rows of some files anew, in the order of a column, each batch as `change` makes it. Nothing refers to
/// what is written yet.
pub(super) async fn rewrite(
    table: &DeltaTable,
    files: &[LiveFile],
    order: &str,
    change: &(dyn Fn(RecordBatch) -> Result<RecordBatch> + Send + Sync),
    is_data_changed: bool,
) -> Result<Rewrite> {
    let context = new_context()?;
    table.update_datafusion_session(&context.state())?;
    let selection = FileSelection::from_file_paths(files.iter().map(|file| file.path.clone()));
    let provider = table.table_provider().with_file_selection(selection).await?;
    context.register_table("files", provider)?;
    let schema = plain_schema(&table.snapshot()?.snapshot().arrow_schema());
    let frame = context.sql(&format!("SELECT * FROM files ORDER BY {}", quoted(order))).await?;
    let mut batches = frame.execute_stream().await?;
    let partition_by: Vec<String> =
        files.first().into_iter().flat_map(|file| &file.partition).map(|(name, _)| name.clone()).collect();
    let mut writer = delta_writer(table, &schema, &partition_by);
    let mut rows = 0;
    let mut failure: Option<EngineError> = None;
    while let Some(batch) = batches.next().await {
        let changed = batch.map_err(EngineError::from).and_then(|batch| aligned(change(batch)?, &schema));
        let written = match changed {
            Ok(batch) => {
                rows += batch.num_rows() as u64;
                writer.write(&batch).await.map_err(of_table("write to", table))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            failure = Some(error);
            break;
        }
    }
    if let Some(failure) = failure {
        if let Err(error) = writer.abort().await {
            tracing::warn!(%error, "an unfinished data file could not be removed; vacuum will");
        }
        return Err(failure);
    }
    let modified = files.iter().map(|file| file.modified).max();
    let mut added = writer.close().await.map_err(of_table("write to", table))?;
    for add in &mut added {
        add.data_change = is_data_changed;
        // The rows were received when they were, not now: reports say up to when the logs tell.
        add.modification_time = modified.unwrap_or(add.modification_time);
    }
    Ok(Rewrite { old: files.iter().map(|file| file.path.clone()).collect(), added, rows })
}

fn aligned(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema() == *schema { Ok(batch) } else { align(&batch, schema) }
}

/// How a commit of rewritten files is told in the table's log.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// What was done.
    pub(super) operation: DeltaOperation,
    /// Whether rows were taken away, or only rearranged.
    pub(super) is_data_changed: bool,
    /// What the commit says beyond that.
    pub(super) notes: Vec<(String, serde_json::Value)>,
}

/// Commits those rewrites whose old files are all still there, and removes what was written for the others. Gives the
/// version, unless there was nothing left to commit, and the rewrites that were.
///
/// # Errors
/// When the store fails, or other writers win every race.
pub(super) async fn commit(
    table: &mut DeltaTable,
    rewrites: Vec<Rewrite>,
    account: &Account,
) -> Result<(Option<u64>, Vec<Rewrite>)> {
    let mut rewrites = rewrites;
    for attempt in 0..ATTEMPTS {
        let added: Vec<Add> = rewrites.iter().flat_map(|rewrite| rewrite.added.iter().cloned()).collect();
        if attempt == 0 {
            // The files that go were on the disk: so are those that come.
            durable::sync_files(table, &added).await?;
        }
        table.update_state().await?;
        if attempt > 0 && holds_any(table, &added)? {
            // The attempt before was committed, though the store did not say so.
            return Ok((table.version(), rewrites));
        }
        let mut live = removes(table, &rewrites, account.is_data_changed)?;
        let (current, outdated): (Vec<Rewrite>, Vec<Rewrite>) =
            rewrites.into_iter().partition(|rewrite| rewrite.old.iter().all(|path| live.contains_key(path)));
        remove_files(table, outdated.into_iter().flat_map(|rewrite| rewrite.added)).await;
        rewrites = current;
        if rewrites.is_empty() {
            return Ok((None, rewrites));
        }
        let mut actions = Vec::new();
        for rewrite in &rewrites {
            actions.extend(rewrite.old.iter().filter_map(|path| live.remove(path)).map(Action::Remove));
            actions.extend(rewrite.added.iter().cloned().map(Action::Add));
        }
        // A checkpoint is its own step: a commit that is followed by one may have been made although it seems to fail.
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
            .with_metadata(account.notes.clone());
        let commit = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(table.snapshot()?), durable::log_store(table), account.operation.clone())
            .await;
        match commit {
            Ok(commit) => return Ok((Some(commit.version()), rewrites)),
            Err(error) if is_race(&error) => {}
            // Perhaps it was committed all the same: the files stay, and if nothing refers to them vacuum removes them.
            Err(error) => return Err(of_table("write to", table)(error)),
        }
    }
    Err(EngineError::refused(
        "the rewritten files could not be committed: other writers were faster each time; try again",
    ))
}

/// The removals of those of the files that a table still has, by path.
fn removes(table: &DeltaTable, rewrites: &[Rewrite], is_data_changed: bool) -> Result<HashMap<String, Remove>> {
    let wanted: HashSet<&str> = rewrites.iter().flat_map(|rewrite| rewrite.old.iter().map(String::as_str)).collect();
    let mut removes = HashMap::with_capacity(wanted.len());
    for file in table.snapshot()?.log_data().iter() {
        if wanted.contains(&*file.path()) {
            removes.insert(file.path().into_owned(), file.remove_action(is_data_changed));
        }
    }
    Ok(removes)
}

/// Removes files that nothing refers to.
pub(super) async fn remove_files(table: &DeltaTable, files: impl IntoIterator<Item = Add>) {
    let store = table.object_store();
    for file in files {
        if let Ok(path) = Path::from_url_path(&file.path)
            && let Err(error) = store.delete(&path).await
        {
            tracing::warn!(%error, path = file.path, "an outdated data file could not be removed; vacuum will");
        }
    }
}
