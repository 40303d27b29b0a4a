//! The data files of tables: there, whole, with the rows that the log says; and files that nothing refers to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use deltalake::{DeltaTable, ObjectMeta, Path};
use futures::StreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::super::listing::{data_files, milliseconds, unfinished};
use super::super::rewrite::{LiveFile, live_files};
use super::log::Commits;
use super::{A_DAY, Depth, Finding, NAMED_FILES, TableState, fault, made_anew_or_restored, note};
use crate::error::Result;
use crate::store::Store;

/// Files looked at at a time; of whole files fewer, since each is held in memory.
const FOOTERS_AT_A_TIME: usize = 16;
const FILES_AT_A_TIME: usize = 2;
/// Bytes at a file's end that mostly hold its footer.
const FOOTER_BYTES: u64 = 64 << 10;

/// What was found in a table's data.
pub(super) struct Checked {
    pub(super) state: Option<TableState>,
    pub(super) findings: Vec<Finding>,
}

/// Looks at every data file of a table's newest version, and for those that nothing refers to.
pub(super) async fn examine(
    name: &str,
    table: &DeltaTable,
    commits: &Commits,
    depth: Depth,
    now: i64,
) -> Result<Checked> {
    let objects = table.object_store();
    let listed = data_files(objects.as_ref()).await?;
    let files = live_files(table)?;
    let mut state = TableState {
        table: name.to_owned(),
        version: table.version().unwrap_or_default(),
        files: files.len() as u64,
        bytes: 0,
        rows: Some(0),
    };
    let mut live: HashMap<Path, LiveFile> = HashMap::with_capacity(files.len());
    for file in files {
        state.bytes += file.bytes;
        state.rows = state.rows.zip(file.rows).map(|(sum, rows)| sum + rows);
        let path = Path::parse(&file.path).unwrap_or_else(|_| Path::from(file.path.as_str()));
        live.insert(path, file);
    }
    let at_a_time = if depth == Depth::Deep { FILES_AT_A_TIME } else { FOOTERS_AT_A_TIME };
    let checks: Vec<(Path, LiveFile, Option<ObjectMeta>)> =
        live.iter().map(|(path, file)| (path.clone(), file.clone(), listed.get(path).cloned())).collect();
    let check = |(path, file, entry): (Path, LiveFile, Option<ObjectMeta>)| {
        let objects = Arc::clone(&objects);
        async move {
            let wrong = wrong_with(objects, &path, &file, entry.as_ref(), depth).await;
            (file.path, wrong)
        }
    };
    let wrong: Vec<(String, Option<String>)> =
        futures::stream::iter(checks).map(check).buffer_unordered(at_a_time).collect().await;
    let mut wrong: Vec<(String, String)> = wrong.into_iter().filter_map(|(path, what)| Some((path, what?))).collect();
    wrong.sort_unstable();
    let mut findings: Vec<Finding> = wrong
        .iter()
        .take(NAMED_FILES)
        .map(|(path, what)| fault(name, Some(path), what.clone(), made_anew_or_restored(name)))
        .collect();
    if wrong.len() > NAMED_FILES {
        let what = format!("{} more files are missing or damaged", wrong.len() - NAMED_FILES);
        findings.push(fault(name, None, what, made_anew_or_restored(name)));
    }
    let removed = removed_files(table).await?;
    let unreferenced = listed
        .iter()
        .filter(|(path, _)| !live.contains_key(*path) && !removed.contains(*path) && !commits.added.contains(*path))
        .map(|(path, entry)| (path.to_string(), entry.size, milliseconds(entry)));
    findings.extend(leftovers(name, unreferenced.collect(), "no version refers to it: an ingest was killed", now));
    Ok(Checked { state: Some(state), findings })
}

/// What is wrong with a data file of the newest version, if anything is.
async fn wrong_with(
    objects: Arc<dyn ObjectStore>,
    path: &Path,
    file: &LiveFile,
    entry: Option<&ObjectMeta>,
    depth: Depth,
) -> Option<String> {
    let Some(entry) = entry else { return Some("the data file is missing".to_owned()) };
    if entry.size != file.bytes {
        return Some(format!("the data file has {} bytes, and the log says {}", entry.size, file.bytes));
    }
    let metadata = match footer(objects.as_ref(), path, entry.size).await {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("the data file's footer cannot be read: {error}")),
    };
    let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
    if let Some(told) = file.rows.filter(|told| *told != rows) {
        return Some(format!("the data file has {rows} rows, and the log says {told}"));
    }
    if depth == Depth::Quick {
        return None;
    }
    match read_pages(objects.as_ref(), path).await {
        Ok(found) if found == rows => None,
        Ok(found) => Some(format!("the data file's pages hold {found} rows, and its footer says {rows}")),
        Err(error) => Some(format!("the data file's pages cannot be read: {error}")),
    }
}

/// The footer of a Parquet file.
pub(super) async fn footer(objects: &dyn ObjectStore, path: &Path, size: u64) -> Result<ParquetMetaData, String> {
    let mut wanted = FOOTER_BYTES.min(size);
    loop {
        if wanted == 0 {
            return Err("the file is empty".to_owned());
        }
        let end = objects.get_range(path, size - wanted..size).await.map_err(|error| error.to_string())?;
        // Apart, so that a footer at which the reader panics is a finding and not the end.
        let parsed = tokio::task::spawn_blocking(move || parse_footer(&end, size)).await;
        match parsed.map_err(|error| error.to_string())? {
            Ok(metadata) => return Ok(metadata),
            Err(ParquetError::NeedMoreData(needed)) if needed as u64 > wanted && wanted < size => {
                wanted = (needed as u64).min(size);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn parse_footer(end: &Bytes, size: u64) -> Result<ParquetMetaData, ParquetError> {
    let mut reader = ParquetMetaDataReader::new();
    reader.try_parse_sized(end, size)?;
    reader.finish()
}

/// Reads every page of a file, and counts its rows.
async fn read_pages(objects: &dyn ObjectStore, path: &Path) -> Result<u64, String> {
    let read = async { objects.get(path).await?.bytes().await };
    let bytes = read.await.map_err(|error| error.to_string())?;
    let counted = tokio::task::spawn_blocking(move || -> Result<u64> {
        let mut rows = 0;
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
            rows += batch?.num_rows() as u64;
        }
        Ok(rows)
    });
    counted.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Files that earlier versions may refer to.
async fn removed_files(table: &DeltaTable) -> Result<HashSet<Path>> {
    let log_store = table.log_store();
    let mut tombstones = table.snapshot()?.all_tombstones(log_store.as_ref());
    let mut removed = HashSet::new();
    while let Some(tombstone) = tombstones.next().await {
        let tombstone = tombstone?;
        let path = tombstone.path();
        removed.insert(Path::parse(&*path).unwrap_or_else(|_| Path::from(&*path)));
    }
    Ok(removed)
}

/// Findings about files that nothing needs: path, bytes, and when they were written.
fn leftovers(name: &str, mut files: Vec<(String, u64, i64)>, what: &str, now: i64) -> Vec<Finding> {
    files.sort_unstable();
    let (old, young): (Vec<_>, Vec<_>) = files.into_iter().partition(|(_, _, written)| now - written >= A_DAY);
    let mut findings: Vec<Finding> = old
        .iter()
        .take(NAMED_FILES)
        .map(|(path, bytes, _)| {
            fault(name, Some(path), format!("{what} ({bytes} bytes)"), "`sendlift vacuum` removes it".to_owned())
        })
        .collect();
    if old.len() > NAMED_FILES {
        let what = format!("{} more files of this kind", old.len() - NAMED_FILES);
        findings.push(fault(name, None, what, "`sendlift vacuum` removes them".to_owned()));
    }
    if !young.is_empty() {
        let what = format!("{} files that no version refers to are younger than a day", young.len());
        let remedy = "an ingest may be writing them; if none runs, `sendlift vacuum` removes them tomorrow".to_owned();
        findings.push(note(name, None, what, remedy));
    }
    findings
}

/// Files of a local store that were never finished.
pub(super) async fn unfinished_files(store: &Store, name: &str, now: i64) -> Vec<Finding> {
    let Some(folder) = store.folder().map(|folder| folder.join(name)) else { return Vec::new() };
    let searched = folder.clone();
    let found = tokio::task::spawn_blocking(move || unfinished(&searched)).await;
    let found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let remedy = "give the user that runs sendlift the right to read the store's folder".to_owned();
            return vec![fault(name, None, format!("its folder cannot be looked through: {error}"), remedy)];
        }
        Err(error) => return vec![fault(name, None, error.to_string(), made_anew_or_restored(name))],
    };
    let files = found.into_iter().map(|file| {
        let written = file.modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let path = file.path.strip_prefix(&folder).unwrap_or(&file.path).display().to_string();
        (path, file.bytes, i64::try_from(written).unwrap_or(i64::MAX))
    });
    leftovers(name, files.collect(), "it was never finished: its writer was killed", now)
}
