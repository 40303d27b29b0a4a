//! `compact`: many small data files become few large ones, in the order of time, and the log gets a checkpoint.
//!
//! Each ingest leaves a file, however small. A query opens every file whose range of times it cannot rule out, so that
//! a store of many small batches grows slow; after compaction it opens few, and of these only those of the time it asks
//! about. No row changes. The rows that are rearranged are those that the facts reflect: newer ones stay where they are
//! until the next time, since the facts tell new rows by the files that brought them. Other writers go on meanwhile.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use deltalake::protocol::DeltaOperation;
use deltalake::{DeltaTable, checkpoints};
use serde::Serialize;

use super::listing::LogListing;
use super::rewrite::{Account, LiveFile, Partition, Rewrite, commit, live_files, remove_files, rewrite};
use super::{TABLES, log_of, time_column};
use crate::error::{EngineError, Result};
use crate::facts::{FEEDING_LOGS, reflected_version, refresh};
use crate::settings::Settings;
use crate::store::append::TARGET_FILE_SIZE;
use crate::store::{MESSAGE_FACTS, Store, of_table};

/// Bytes that are written into one file: somewhat less than where a file is closed, so that none leaves a splinter
/// behind.
const FULL: u64 = TARGET_FILE_SIZE.get() / 8 * 7;
/// Files with fewer bytes are put together. Two of them always fit into one, so that a second compaction finds nothing.
const SMALL: u64 = FULL / 2;
/// Files written before a commit: what a compaction that is killed has to do again.
const FILES_A_COMMIT: usize = 64;
/// Entries of a log after a checkpoint that are worth a new one.
const ENTRIES_WORTH_A_CHECKPOINT: u64 = 10;

/// What a compaction did.
#[derive(Debug, Clone, Serialize)]
pub struct Compaction {
    /// The tables, in the order of their logs.
    pub tables: Vec<CompactedTable>,
    /// The version of the facts, which reflect the compacted logs.
    pub facts_version: Option<u64>,
}

/// What became of one table.
#[derive(Debug, Clone, Serialize)]
pub struct CompactedTable {
    /// The table.
    pub table: String,
    /// Its data files before.
    pub files_before: u64,
    /// Its data files afterwards.
    pub files_after: u64,
    /// The bytes of its data files before.
    pub bytes_before: u64,
    /// The bytes of its data files afterwards.
    pub bytes_after: u64,
    /// Rows that were rearranged.
    pub rows_rearranged: u64,
    /// The version that has the new files, if any were written.
    pub version: Option<u64>,
    /// Whether the log got a checkpoint.
    pub checkpoint: bool,
    /// Entries of the log that were older than a month, and not needed any more.
    pub log_entries_removed: u64,
}

/// Puts the small files of every table together and writes checkpoints, so that opening stays quick. Brings the facts
/// up to date first and tells them afterwards that nothing changed.
///
/// # Errors
/// When the store fails, or other writers win every race.
pub async fn compact(store: &Store, settings: &Settings) -> Result<Compaction> {
    refresh(store, settings).await?;
    let mut tables = Vec::new();
    for name in TABLES {
        let Some(table) = settled(store, name).await? else { continue };
        tables.push(compact_table(store, name, table).await?);
    }
    // The rows are where they were, which this notes in one commit without looking at any.
    let refreshed = refresh(store, settings).await?;
    for outcome in &mut tables {
        let Some(table) = store.table(&outcome.table).await? else { continue };
        outcome.checkpoint = write_checkpoint(&table, outcome.version.is_some()).await?;
        outcome.log_entries_removed = checkpoints::cleanup_metadata(&table, None).await? as u64;
    }
    Ok(Compaction { tables, facts_version: refreshed.version })
}

/// A table at the version that the facts reflect, or else at its newest.
async fn settled(store: &Store, name: &str) -> Result<Option<DeltaTable>> {
    let Some(table) = store.table(name).await? else { return Ok(None) };
    let feeding = log_of(name).filter(|log| FEEDING_LOGS.contains(log));
    let (Some(log), Some(facts)) = (feeding, store.table(MESSAGE_FACTS).await?) else { return Ok(Some(table)) };
    match reflected_version(&facts, log).await? {
        Some(version) if table.version() == Some(version) => Ok(Some(table)),
        Some(version) => Ok(Some(store.table_at_version(name, version).await?)),
        // The log came after the facts were made.
        None => Ok(None),
    }
}

async fn compact_table(store: &Store, name: &str, mut table: DeltaTable) -> Result<CompactedTable> {
    let groups = groups(live_files(&table)?, time_column(name));
    let before = totals(store, name).await?;
    let planned = table.clone();
    let account = Account {
        operation: DeltaOperation::Optimize {
            predicate: None,
            target_size: i64::try_from(TARGET_FILE_SIZE.get()).unwrap_or(i64::MAX),
        },
        is_data_changed: false,
        notes: Vec::new(),
    };
    let (mut version, mut rows_rearranged) = (None, 0);
    for some in groups.chunks(FILES_A_COMMIT) {
        let mut rewrites = Vec::with_capacity(some.len());
        for group in some {
            match rearranged(&planned, group, time_column(name)).await {
                Ok(rewrite) => rewrites.push(rewrite),
                Err(error) => {
                    remove_files(&planned, rewrites.into_iter().flat_map(|rewrite| rewrite.added)).await;
                    return Err(error);
                }
            }
        }
        let (committed, rewrites) = commit(&mut table, rewrites, &account).await?;
        version = committed.or(version);
        rows_rearranged += rewrites.iter().map(|rewrite| rewrite.rows).sum::<u64>();
    }
    let after = if version.is_some() { totals(store, name).await? } else { before };
    Ok(CompactedTable {
        table: name.to_owned(),
        files_before: before.0,
        files_after: after.0,
        bytes_before: before.1,
        bytes_after: after.1,
        rows_rearranged,
        version,
        checkpoint: false,
        log_entries_removed: 0,
    })
}

/// Files of a table's newest version, and their bytes.
async fn totals(store: &Store, name: &str) -> Result<(u64, u64)> {
    let Some(table) = store.table(name).await? else { return Ok((0, 0)) };
    let files = live_files(&table)?;
    Ok((files.len() as u64, files.iter().map(|file| file.bytes).sum()))
}

async fn rearranged(table: &DeltaTable, group: &[LiveFile], order: &str) -> Result<Rewrite> {
    let rewritten = rewrite(table, group, order, &Ok::<RecordBatch, EngineError>, false).await?;
    // Not a row may get lost on the way, whatever goes wrong elsewhere.
    let known: Option<u64> = group.iter().map(|file| file.rows).sum();
    if known.is_some_and(|known| known != rewritten.rows) {
        let found = rewritten.rows;
        remove_files(table, rewritten.added).await;
        return Err(EngineError::refused(format!(
            "{} files hold {found} rows, and the log says {}: nothing was changed; `sendlift doctor --deep` looks \
             closer",
            group.len(),
            known.unwrap_or_default()
        )));
    }
    Ok(rewritten)
}

/// Small files that become one: neighbours in time, of one partition.
fn groups(files: Vec<LiveFile>, order: &str) -> Vec<Vec<LiveFile>> {
    let mut small: BTreeMap<Partition, Vec<(String, LiveFile)>> = BTreeMap::new();
    for file in files.into_iter().filter(|file| file.bytes < SMALL) {
        let first = least(&file, order).unwrap_or_default();
        small.entry(file.partition.clone()).or_default().push((first, file));
    }
    let mut groups: Vec<Vec<LiveFile>> = Vec::new();
    for mut files in small.into_values() {
        files.sort_by(|one, other| (&one.0, &one.1.path).cmp(&(&other.0, &other.1.path)));
        let mut group: Vec<LiveFile> = Vec::new();
        let mut bytes = 0;
        for (_, file) in files {
            if bytes + file.bytes > FULL {
                groups.push(std::mem::take(&mut group));
                bytes = 0;
            }
            bytes += file.bytes;
            group.push(file);
        }
        groups.push(group);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// The least value of a column in a file, as the log writes it (moments as ISO 8601, which sorts).
fn least(file: &LiveFile, column: &str) -> Option<String> {
    let statistics: serde_json::Value = serde_json::from_str(file.statistics.as_deref()?).ok()?;
    Some(statistics["minValues"][column].as_str()?.to_owned())
}

/// Writes a checkpoint of the newest version, if it has none and many entries would have to be read without one.
async fn write_checkpoint(table: &DeltaTable, is_wanted: bool) -> Result<bool> {
    let Some(version) = table.version() else { return Ok(false) };
    let log = LogListing::of(table.object_store().as_ref()).await?;
    let last = log.checkpoints.keys().max().copied();
    let entries = last.map_or(version + 1, |last| version.saturating_sub(last));
    if last == Some(version) || !(is_wanted || entries >= ENTRIES_WORTH_A_CHECKPOINT) {
        return Ok(false);
    }
    checkpoints::create_checkpoint(table, None).await.map_err(of_table("write a checkpoint of", table))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: u64, first: &str, day: Option<&str>) -> LiveFile {
        LiveFile {
            path: path.to_owned(),
            bytes,
            rows: None,
            modified: 0,
            partition: day.map(|day| ("sent_date".to_owned(), Some(day.to_owned()))).into_iter().collect(),
            statistics: Some(format!(r#"{{"numRecords":1,"minValues":{{"sent_at":"{first}"}}}}"#)),
        }
    }

    fn shape(files: Vec<LiveFile>) -> Vec<String> {
        let join = |group: Vec<LiveFile>| group.into_iter().map(|file| file.path).collect::<Vec<_>>().join("+");
        groups(files, "sent_at").into_iter().map(join).collect()
    }

    #[test]
    fn neighbours_in_time_go_together_until_a_file_is_full() {
        let third = FULL / 3;
        let files = vec![
            file("d", third, "2026-03-04T00:00:00Z", None),
            file("b", third, "2026-03-02T00:00:00Z", None),
            file("large", SMALL, "2026-03-01T00:00:00Z", None),
            file("a", third, "2026-03-01T00:00:00Z", None),
            file("e", third, "2026-03-05T00:00:00Z", None),
            file("c", third, "2026-03-03T00:00:00Z", None),
        ];
        assert_eq!(shape(files), ["a+b+c", "d+e"]);
        assert_eq!(shape(vec![file("alone", 1, "2026-03-01T00:00:00Z", None)]), Vec::<String>::new());
    }

    #[test]
    fn days_of_the_facts_stay_apart() {
        let files = vec![
            file("a", 1, "2026-03-01T00:00:00Z", Some("2026-03-01")),
            file("b", 1, "2026-03-02T00:00:00Z", Some("2026-03-02")),
            file("c", 1, "2026-03-02T01:00:00Z", Some("2026-03-02")),
        ];
        assert_eq!(shape(files), ["b+c"]);
    }

    #[test]
    fn what_was_put_together_is_not_touched_again() {
        // Files of any sizes below the limit: the sums are full enough not to be small, all but the last.
        let sizes = [SMALL - 1, 5, SMALL / 2, SMALL - 1, SMALL / 3, SMALL - 7, 1, 1];
        let moment = |place: usize| format!("2026-03-01T00:00:{place:02}Z");
        let files =
            sizes.iter().enumerate().map(|(place, bytes)| file(&format!("f{place}"), *bytes, &moment(place), None));
        let sums: Vec<u64> =
            groups(files.collect(), "sent_at").iter().map(|group| group.iter().map(|file| file.bytes).sum()).collect();
        assert!(sums.iter().rev().skip(1).all(|sum| *sum >= SMALL) && sums.iter().all(|sum| *sum <= FULL), "{sums:?}");
    }
}
