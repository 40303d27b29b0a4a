//! What makes a commit to a local store outlast a power cut.
//!
//! `object_store` writes a local file and gives it its name, and leaves it to the system when the bytes reach the disk. Here
//! data files are on the disk before the commit that refers to them is, and an entry of the log is on the disk before it gets
//! its name, so that no reader ever finds half of one. A remote store answers only when it has what it was sent.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Result as IoResult, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::kernel::Add;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef};
use deltalake::{DeltaResult, DeltaTable, ObjectStore};
use uuid::Uuid;

use crate::error::{EngineError, Result};

/// The folder of a table's log.
const LOG: &str = "_delta_log";
/// The log store of tables whose entries are put under their names only where there are none.
const DEFAULT_LOG_STORE: &str = "DefaultLogStore";

/// The folder of a table of a local store.
fn folder_of(table: &DeltaTable) -> Option<PathBuf> {
    let url = table.table_url();
    if url.scheme() == "file" { url.to_file_path().ok() } else { None }
}

/// Waits until the data files of a local table are on the disk.
pub(in crate::store) async fn sync_files(table: &DeltaTable, files: &[Add]) -> Result<()> {
    let Some(folder) = folder_of(table).filter(|_| !files.is_empty()) else { return Ok(()) };
    // Paths in Add actions are URL-encoded; those of unpartitioned tables have nothing to decode.
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(&file.path)).collect();
    let synced = tokio::task::spawn_blocking(move || {
        for path in &paths {
            sync_file(path).map_err(EngineError::io("write to the disk", path))?;
        }
        sync_folder(&folder).map_err(EngineError::io("write to the disk", &folder))
    });
    synced.await?
}

/// The log of a table; that of a local one is on the disk when a commit returns.
pub(in crate::store) fn log_store(table: &DeltaTable) -> LogStoreRef {
    let log = table.log_store();
    match folder_of(table) {
        Some(folder) if log.name() == DEFAULT_LOG_STORE => Arc::new(DurableLog { log, folder }),
        _ => log,
    }
}

fn sync_file(path: &Path) -> IoResult<()> {
    // Some systems write nothing through a handle that may only read.
    File::options().write(true).open(path)?.sync_all()
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> IoResult<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened like a file, and names are the system's own business.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)] // So that it has the type of its namesake.
fn sync_folder(_: &Path) -> IoResult<()> {
    Ok(())
}

/// The log of a table in a local folder.
struct DurableLog {
    log: LogStoreRef,
    /// The table's.
    folder: PathBuf,
}

/// Puts an entry under its name unless there is one, and returns when it is on the disk.
fn write_entry(table: &Path, version: u64, bytes: &[u8]) -> IoResult<()> {
    let log = table.join(LOG);
    let name = format!("{version:020}.json");
    // No listing shows such a name, and vacuum knows that its writer never finished.
    let unfinished = log.join(format!("{name}#{}", Uuid::new_v4().as_fields().0));
    let linked = File::create_new(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::hard_link(&unfinished, log.join(&name))
    });
    if let Err(error) = std::fs::remove_file(&unfinished)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %unfinished.display(), "a temporary file could not be removed; vacuum will");
    }
    linked?;
    if version == 1 {
        // Whoever created the table did not wait for the disk.
        sync_file(&log.join(format!("{:020}.json", 0)))?;
        sync_folder(table)?;
        table.parent().map_or(Ok(()), sync_folder)?;
    }
    sync_folder(&log)
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TransactionError {
    let source = object_store::Error::Generic { store: "LocalFileSystem", source: error.into() };
    TransactionError::ObjectStore { source }
}

#[async_trait::async_trait]
impl LogStore for DurableLog {
    fn name(&self) -> String {
        self.log.name()
    }

    async fn refresh(&self) -> DeltaResult<()> {
        self.log.refresh().await
    }

    async fn read_commit_entry(&self, version: u64) -> DeltaResult<Option<Bytes>> {
        self.log.read_commit_entry(version).await
    }

    async fn write_commit_entry(
        &self,
        version: u64,
        entry: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        let bytes = match entry {
            CommitOrBytes::LogBytes(bytes) => bytes,
            other @ CommitOrBytes::TmpCommit(_) => return self.log.write_commit_entry(version, other, operation).await,
        };
        let table = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || write_entry(&table, version, &bytes)).await;
        written.unwrap_or_else(|error| Err(IoError::other(error))).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => TransactionError::VersionAlreadyExists(version),
            _ => failed(error),
        })
    }

    async fn abort_commit_entry(
        &self,
        version: u64,
        entry: CommitOrBytes,
        operation: Uuid,
    ) -> Result<(), TransactionError> {
        self.log.abort_commit_entry(version, entry, operation).await
    }

    async fn get_latest_version(&self, start_version: u64) -> DeltaResult<u64> {
        self.log.get_latest_version(start_version).await
    }

    fn object_store(&self, operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.log.object_store(operation)
    }

    fn root_object_store(&self, operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.log.root_object_store(operation)
    }

    fn config(&self) -> &LogStoreConfig {
        self.log.config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_once_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(LOG);
        std::fs::create_dir(&log).unwrap();
        write_entry(folder.path(), 0, b"created").unwrap();
        write_entry(folder.path(), 1, b"first").unwrap();
        let again = write_entry(folder.path(), 1, b"second").unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let mut names: Vec<_> = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["00000000000000000000.json", "00000000000000000001.json"]);
        assert_eq!(std::fs::read(log.join(&names[1])).unwrap(), b"first");
    }
}
