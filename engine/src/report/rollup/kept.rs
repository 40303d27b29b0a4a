//! A rollup as a file of the store: `_rollups/` and a name made of what it is a rollup of.
//!
//! It is written whole and replaced whole. It is nobody's only copy of anything: what cannot be written is made again
//! the next time, and what cannot be read is not there.

use deltalake::{DeltaTableError, Path};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Rollups;
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::store::{MESSAGE_FACTS, QUARANTINE, Store, Versions};

/// The folder, which Delta readers do not look into.
const FOLDER: &str = "_rollups";

/// Something that was counted, with what it was made from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept<T> {
    /// What it is: everything that it depends on besides the tables.
    pub(super) name: String,
    /// The id of the facts table: a store may be replaced by another one.
    pub(super) facts: String,
    pub(super) versions: Versions,
    pub(super) as_of: Timestamp,
    pub(super) content: T,
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// The rollup of that name, if there is one that can be read.
    pub(super) async fn read(store: &Store, name: &str) -> Option<Self> {
        let objects = store.side_files(FOLDER, false).ok()??;
        let bytes = objects.get(&path(name)).await.ok()?.bytes().await.ok()?;
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(kept) => (kept.name == name).then_some(kept),
            Err(error) => {
                tracing::warn!(%error, "a rollup cannot be read, and is made anew");
                None
            }
        }
    }

    /// Keeps it. A store that cannot be written to is reported on all the same.
    pub(super) async fn write(&self, store: &Store) {
        let written = async {
            let bytes = serde_json::to_vec(self)?;
            if let Some(objects) = store.side_files(FOLDER, true)? {
                objects.put(&path(&self.name), bytes.into()).await.map_err(DeltaTableError::from)?;
            }
            Ok::<(), EngineError>(())
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "a rollup could not be kept");
        }
    }
}

fn path(name: &str) -> Path {
    let digest = Sha256::digest(name.as_bytes());
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Path::from(format!("{hex}.json"))
}

/// Removes all rollups of a store.
///
/// # Errors
/// When one that is there cannot be removed.
pub(crate) async fn drop_all(store: &Store) -> Result<()> {
    let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(()) };
    let all = objects.list(None).map_ok(|object| object.location).boxed();
    let removed = objects.delete_stream(all);
    removed.try_for_each(|_| async { Ok(()) }).await.map_err(DeltaTableError::from)?;
    Ok(())
}

/// The versions that sums depend on: rejected rows are in no report.
pub(super) fn versions_of(session: &QuerySession) -> Versions {
    let mut versions = session.versions.clone();
    versions.remove(QUARANTINE);
    versions
}

/// The id of the facts table that is read.
pub(super) fn table_id(rollups: &Rollups) -> Option<String> {
    let facts = rollups.tables.get(MESSAGE_FACTS)?;
    Some(facts.snapshot().ok()?.metadata().id().to_owned())
}
