//! `vacuum`: removes the data files that no kept version needs.
//!
//! A file is needed by the newest version, and by those that were the newest within the hours that are kept: whoever
//! asks for one of them (`--at`), or still reads it, finds it whole. A file that no version refers to may be a killed
//! ingest's, or may belong to an ingest that runs and will commit it: it stays for a day at least, however little is
//! kept. Nothing is written to any table, so that the facts and the answers of a server stay as they are.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use deltalake::{DeltaTable, DeltaTableError, ObjectMeta, Path};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::ObjectStore;
use serde::Serialize;

use super::TABLES;
use super::listing::{LogListing, Unfinished, data_files, milliseconds, unfinished};
use crate::error::{EngineError, Result};
use crate::store::Store;

/// Hours of history that are kept unless said otherwise: a week.
pub const DEFAULT_KEEP_HOURS: u64 = 168;
/// The least that may be kept: a query that runs reads the files of a version that may no longer be the newest. Nobody
/// needs less: disks fill up over weeks, and what must go at once goes with `forget --vacuum`.
const LEAST_KEEP_HOURS: u64 = 1;
/// Hours for which a file that no version refers to may belong to an ingest that still runs.
const UNCOMMITTED_HOURS: u64 = 24;
/// Hours for which a table's log remembers what was removed, even if its entries are cleaned up.
const REMEMBERED_HOURS: u64 = 168;
const HOUR_MILLISECONDS: i64 = 3_600_000;

/// What to remove.
#[derive(Debug, Clone)]
pub struct VacuumOptions {
    /// Versions that were the newest within so many hours stay whole.
    pub keep_hours: u64,
    /// Only say what would be removed.
    pub dry_run: bool,
    /// The clock.
    pub now: Timestamp,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Vacuumed {
    /// Whether it was only said.
    pub dry_run: bool,
    /// Hours of history that are kept.
    pub keep_hours: u64,
    /// The tables.
    pub tables: Vec<VacuumedTable>,
}

/// What was removed of one table.
#[derive(Debug, Clone, Serialize)]
pub struct VacuumedTable {
    /// The table.
    pub table: String,
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first version that can still be read, where earlier ones lost files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable_from: Option<u64>,
    /// When that version was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable_since: Option<Timestamp>,
    /// The files, by path.
    pub removed: Vec<RemovedFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedFile {
    /// Relative to the table.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Why nothing needs it.
    pub why: WhyRemoved,
}

/// Why nothing needs a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyRemoved {
    /// Only versions that are not kept refer to it.
    OldVersion,
    /// No version refers to it: its writer was killed, or the version is forgotten.
    Unreferenced,
    /// It was never finished.
    Unfinished,
}

/// Removes data files that no kept version needs.
///
/// # Errors
/// When less than an hour is to be kept, or the store fails.
pub async fn vacuum(store: &Store, options: &VacuumOptions) -> Result<Vacuumed> {
    if options.keep_hours < LEAST_KEEP_HOURS {
        return Err(EngineError::usage(format!(
            "--keep {}: keep an hour at least, for the queries that run now; to erase recipients at once there is \
             `sendlift forget RECIPIENT --vacuum`",
            options.keep_hours
        )));
    }
    let hours = |hours: u64| i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(HOUR_MILLISECONDS);
    let now = options.now.as_millisecond();
    sweep(store, &Sweep { removed_before: now.saturating_sub(hours(options.keep_hours)), options: options.clone() })
        .await
}

/// Removes every file that the newest versions do not need, whoever may be reading the earlier ones.
///
/// # Errors
/// When the store fails.
pub(super) async fn vacuum_all(store: &Store, now: Timestamp) -> Result<Vacuumed> {
    let options = VacuumOptions { keep_hours: 0, dry_run: false, now };
    sweep(store, &Sweep { removed_before: i64::MAX, options }).await
}

struct Sweep {
    /// Files that left their table before this moment go, in milliseconds since 1970.
    removed_before: i64,
    options: VacuumOptions,
}

impl Sweep {
    /// Files that no version refers to go if they are older than this moment.
    fn uncommitted_before(&self) -> i64 {
        let hours = i64::try_from(self.options.keep_hours.max(UNCOMMITTED_HOURS)).unwrap_or(i64::MAX);
        self.options.now.as_millisecond().saturating_sub(hours.saturating_mul(HOUR_MILLISECONDS))
    }
}

async fn sweep(store: &Store, sweep: &Sweep) -> Result<Vacuumed> {
    let mut tables = Vec::new();
    for name in TABLES {
        if let Some(table) = sweep_table(store, name, sweep).await? {
            tables.push(table);
        }
    }
    Ok(Vacuumed { dry_run: sweep.options.dry_run, keep_hours: sweep.options.keep_hours, tables })
}

async fn sweep_table(store: &Store, name: &str, sweep: &Sweep) -> Result<Option<VacuumedTable>> {
    let Some(known) = store.table(name).await? else { return Ok(None) };
    let objects = known.object_store();
    // Listed first: whatever is committed from here on was either listed and is referred to by the version read next,
    // or is not in the list.
    let listed = data_files(objects.as_ref()).await?;
    let Some(table) = store.table(name).await? else { return Ok(None) };
    let log = LogListing::of(objects.as_ref()).await?;
    let references = References::of(&table, &log, sweep).await?;
    let (mut removed, mut paths, mut last_removal) = (Vec::new(), Vec::new(), None);
    for (path, entry) in listed {
        let Some(why) = references.why(&path, &entry, sweep) else { continue };
        if why == WhyRemoved::OldVersion {
            last_removal = last_removal.max(references.removed_at.get(&path).copied());
        }
        removed.push(RemovedFile { path: path.to_string(), bytes: entry.size, why });
        paths.push(path);
    }
    let readable_from = last_removal.and_then(|moment| log.first_since(moment).or(table.version()));
    let readable_since = readable_from
        .and_then(|version| log.committed_at(version))
        .and_then(|moment| Timestamp::from_millisecond(moment).ok());
    let half_written = half_written(store, name, sweep).await?;
    if !sweep.options.dry_run {
        remove(objects.as_ref(), paths).await?;
        for file in &half_written {
            // Whoever wrote it may have come back and finished it.
            if let Err(error) = std::fs::remove_file(&file.path) {
                tracing::warn!(%error, path = %file.path.display(), "an unfinished file could not be removed");
            }
        }
    }
    let folder = store.folder().map(|folder| folder.join(name)).unwrap_or_default();
    removed.extend(half_written.into_iter().map(|file| RemovedFile {
        path: file.path.strip_prefix(&folder).unwrap_or(&file.path).display().to_string(),
        bytes: file.bytes,
        why: WhyRemoved::Unfinished,
    }));
    Ok(Some(VacuumedTable {
        table: name.to_owned(),
        files: removed.len() as u64,
        bytes: removed.iter().map(|file| file.bytes).sum(),
        readable_from,
        readable_since,
        removed,
    }))
}

/// Which versions of a table refer to which files.
struct References {
    live: HashSet<Path>,
    /// When files left the table, in milliseconds since 1970.
    removed_at: HashMap<Path, i64>,
}

impl References {
    async fn of(table: &DeltaTable, log: &LogListing, sweep: &Sweep) -> Result<Self> {
        let snapshot = table.snapshot()?;
        let live = snapshot.log_data().iter().map(|file| file.object_store_path()).collect();
        let mut references = Self { live, removed_at: HashMap::new() };
        let log_store = table.log_store();
        let mut tombstones = snapshot.all_tombstones(log_store.as_ref());
        while let Some(tombstone) = tombstones.next().await {
            let tombstone = tombstone?;
            references.note(&tombstone.path(), tombstone.deletion_timestamp().unwrap_or_default());
        }
        drop(tombstones);
        if sweep.options.keep_hours > REMEMBERED_HOURS {
            references.read_commits(table, log, sweep.removed_before).await?;
        }
        Ok(references)
    }

    /// Checkpoints forget what was removed more than a week ago; the commits themselves know.
    async fn read_commits(&mut self, table: &DeltaTable, log: &LogListing, since: i64) -> Result<()> {
        for (version, _) in log.commits.iter().filter(|(_, entry)| milliseconds(entry) >= since) {
            let Some(entry) = table.log_store().read_commit_entry(*version).await? else { continue };
            for line in entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let action: serde_json::Value = serde_json::from_slice(line)?;
                let Some(path) = action["remove"]["path"].as_str() else { continue };
                let moment = action["remove"]["deletionTimestamp"].as_i64();
                if let Ok(path) = Path::from_url_path(path) {
                    self.note(path.as_ref(), moment.or_else(|| log.committed_at(*version)).unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &str, moment: i64) {
        let path = Path::parse(path).unwrap_or_else(|_| Path::from(path));
        let latest = self.removed_at.entry(path).or_insert(moment);
        *latest = moment.max(*latest);
    }

    /// Why nothing needs a file, if nothing does.
    fn why(&self, path: &Path, entry: &ObjectMeta, sweep: &Sweep) -> Option<WhyRemoved> {
        if self.live.contains(path) {
            return None;
        }
        match self.removed_at.get(path) {
            Some(moment) => (*moment < sweep.removed_before).then_some(WhyRemoved::OldVersion),
            None => (milliseconds(entry) < sweep.uncommitted_before()).then_some(WhyRemoved::Unreferenced),
        }
    }
}

/// Files of a local store that were never finished, and have not been written to for a day.
async fn half_written(store: &Store, name: &str, sweep: &Sweep) -> Result<Vec<Unfinished>> {
    let Some(folder) = store.folder().map(|folder| folder.join(name)) else { return Ok(Vec::new()) };
    let before = u64::try_from(sweep.uncommitted_before()).unwrap_or(0);
    let before = SystemTime::UNIX_EPOCH + Duration::from_millis(before);
    let searched = folder.clone();
    let found = tokio::task::spawn_blocking(move || unfinished(&searched)).await?;
    let mut found = found.map_err(EngineError::io("look through", folder))?;
    found.retain(|file| file.modified < before);
    Ok(found)
}

async fn remove(objects: &dyn ObjectStore, paths: Vec<Path>) -> Result<()> {
    let mut removed = objects.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
    loop {
        match removed.try_next().await {
            Ok(None) => return Ok(()),
            // What is not there, somebody else removed.
            Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(DeltaTableError::from(error).into()),
        }
    }
}
