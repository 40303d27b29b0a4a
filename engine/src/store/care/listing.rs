//! What lies in a table's folder, as a listing gives it: the entries of its log, its data files, and what killed
//! writers of a local store left half-written.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::time::SystemTime;

use deltalake::{DeltaTableError, ObjectMeta, Path};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::error::Result;

/// The folder of a table's log.
const LOG: &str = "_delta_log";
/// Digits of a version in the name of a log entry.
const VERSION_DIGITS: usize = 20;

/// The entries of a table's log.
#[derive(Debug, Default)]
pub(in crate::store) struct LogListing {
    /// Commits by version.
    pub(in crate::store) commits: BTreeMap<u64, ObjectMeta>,
    /// Checkpoints by version; one may consist of several files.
    pub(in crate::store) checkpoints: BTreeMap<u64, Vec<ObjectMeta>>,
    /// The hint at the last checkpoint, unfinished entries, and whatever else lies there.
    pub(in crate::store) others: Vec<ObjectMeta>,
}

impl LogListing {
    /// Lists the log of the table at the root of a store.
    pub(in crate::store) async fn of(store: &dyn ObjectStore) -> Result<Self> {
        let entries: Vec<ObjectMeta> =
            store.list(Some(&Path::from(LOG))).try_collect().await.map_err(DeltaTableError::from)?;
        let mut listing = Self::default();
        for entry in entries {
            match kind(&entry.location) {
                Kind::Commit(version) => {
                    listing.commits.insert(version, entry);
                }
                Kind::Checkpoint(version) => listing.checkpoints.entry(version).or_default().push(entry),
                Kind::Other => listing.others.push(entry),
            }
        }
        Ok(listing)
    }

    /// The latest version that was committed.
    pub(in crate::store) fn latest(&self) -> Option<u64> {
        self.commits.keys().chain(self.checkpoints.keys()).max().copied()
    }

    /// The first version that can still be opened: entries before a checkpoint may have been cleaned up.
    pub(in crate::store) fn first(&self) -> Option<u64> {
        if self.commits.contains_key(&0) { Some(0) } else { self.checkpoints.keys().min().copied() }
    }

    /// The version that was the newest at a moment, in milliseconds since 1970, by what the entries themselves tell: a copy
    /// of a store has files as old as the copy.
    pub(in crate::store) async fn version_at(&self, store: &dyn ObjectStore, moment: i64) -> Result<Option<u64>> {
        let commits: Vec<(&u64, &ObjectMeta)> = self.commits.iter().collect();
        let (mut until, mut after) = (0, commits.len());
        while until < after {
            let middle = usize::midpoint(until, after);
            let (_, entry) = commits[middle];
            let told = told_time(store, &entry.location).await?.unwrap_or_else(|| milliseconds(entry));
            if told <= moment {
                until = middle + 1;
            } else {
                after = middle;
            }
        }
        Ok(until.checked_sub(1).map(|newest| *commits[newest].0))
    }

    /// The first version committed at a moment or after it.
    pub(super) fn first_since(&self, moment: i64) -> Option<u64> {
        self.commits.iter().find(|(_, entry)| milliseconds(entry) >= moment).map(|(version, _)| *version)
    }

    /// When a version was committed, in milliseconds since 1970.
    pub(super) fn committed_at(&self, version: u64) -> Option<i64> {
        self.commits.get(&version).map(milliseconds)
    }
}

enum Kind {
    Commit(u64),
    Checkpoint(u64),
    Other,
}

fn kind(path: &Path) -> Kind {
    let Some((digits, rest)) = path.filename().and_then(|name| name.split_once('.')) else { return Kind::Other };
    let version = Some(digits).filter(|digits| digits.len() == VERSION_DIGITS).and_then(|digits| digits.parse().ok());
    // Entries lie in the folder itself; what is below it (sidecars, say) is none.
    let is_entry = path.parts_count() == 2;
    match version {
        Some(version) if is_entry && rest == "json" => Kind::Commit(version),
        Some(version) if is_entry && rest.starts_with("checkpoint.") => Kind::Checkpoint(version),
        _ => Kind::Other,
    }
}

/// When a commit was made, in milliseconds since 1970, by its own words; none where it says nothing.
pub(in crate::store) async fn told_time(store: &dyn ObjectStore, entry: &Path) -> Result<Option<i64>> {
    let bytes = store.get(entry).await.map_err(DeltaTableError::from)?.bytes().await.map_err(DeltaTableError::from)?;
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut told = lines.filter(|line| line.starts_with(b"{\"commitInfo\"")).filter_map(|line| {
        let action: serde_json::Value = serde_json::from_slice(line).ok()?;
        action["commitInfo"]["timestamp"].as_i64()
    });
    Ok(told.next())
}

/// Where a version's entry lies, from the root of its table.
pub(in crate::store) fn entry_of(version: u64) -> Path {
    Path::from(format!("{LOG}/{version:0VERSION_DIGITS$}.json"))
}

/// When an object was written, in milliseconds since 1970.
pub(super) fn milliseconds(entry: &ObjectMeta) -> i64 {
    entry.last_modified.timestamp_millis()
}

/// The data files of the table at the root of a store, whether a version refers to them or not.
pub(super) async fn data_files(store: &dyn ObjectStore) -> Result<BTreeMap<Path, ObjectMeta>> {
    let log = Path::from(LOG);
    let all: Vec<ObjectMeta> = store.list(None).try_collect().await.map_err(DeltaTableError::from)?;
    let is_data = |entry: &ObjectMeta| {
        !entry.location.prefix_matches(&log) && entry.location.extension().is_some_and(|kind| kind == "parquet")
    };
    Ok(all.into_iter().filter(is_data).map(|entry| (entry.location.clone(), entry)).collect())
}

/// A file that its writer never finished.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// What killed writers left in a local folder: files whose names end with `#` and a number, under which they are
/// written before they get their names, and which no listing of the store shows.
pub(super) fn unfinished(folder: &FilePath) -> std::io::Result<Vec<Unfinished>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_unfinished(&entry.file_name().to_string_lossy()) {
                // It may have been finished in the meantime.
                let Ok(metadata) = entry.metadata() else { continue };
                found.push(Unfinished { path: entry.path(), bytes: metadata.len(), modified: metadata.modified()? });
            }
        }
    }
    Ok(found)
}

fn is_unfinished(name: &str) -> bool {
    let number = name.rsplit_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_by_their_names() {
        let version = |name: &str| match kind(&Path::from(name)) {
            Kind::Commit(version) => format!("commit {version}"),
            Kind::Checkpoint(version) => format!("checkpoint {version}"),
            Kind::Other => "other".to_owned(),
        };
        assert_eq!(version("_delta_log/00000000000000000012.json"), "commit 12");
        assert_eq!(version("_delta_log/00000000000000000012.checkpoint.parquet"), "checkpoint 12");
        assert_eq!(
            version("_delta_log/00000000000000000012.checkpoint.0000000001.0000000002.parquet"),
            "checkpoint 12"
        );
        assert_eq!(version("_delta_log/_last_checkpoint"), "other");
        assert_eq!(version("_delta_log/00000000000000000012.crc"), "other");
        assert_eq!(version("_delta_log/12.json"), "other");
        assert_eq!(version("_delta_log/_sidecars/00000000000000000012.json"), "other");
    }

    #[test]
    fn half_written_files_are_told_by_their_names() {
        assert!(is_unfinished("part-00000-x-c000.zstd.parquet#1") && is_unfinished("a#12"));
        assert!(!is_unfinished("part-00000-x-c000.zstd.parquet") && !is_unfinished("a#") && !is_unfinished("a#1b"));
    }
}
