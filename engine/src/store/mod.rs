//! The store: one folder (or `s3://` prefix) with a Delta table a log, one for the quarantine and one for the facts.
//!
//! **Architecture invariants:** one atomic commit a batch; the same batch twice changes nothing; every answer names the table
//! versions it read and can be asked again at those versions. Any Delta reader can open the tables.

mod append;
pub mod care;
mod commit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

pub use append::{Appended, Appender};
pub(crate) use append::{GroupAppender, Member, Standing, align, delta_writer};
pub use commit::{Replacement, commit_replacement};
pub(crate) use commit::{commit_actions, is_data_change, merged_schema, plain_schema};

use crate::error::{EngineError, Result};
use crate::event::{Log, provenance_fields, timestamp_type};

/// The table of rejected rows.
pub const QUARANTINE: &str = "quarantine";
/// The table with one row a message.
pub const MESSAGE_FACTS: &str = "message_facts";
/// Message ids that the sends log holds more than once.
pub const CORRECTIONS: &str = "send_corrections";

/// The table versions that an answer was made from, by table name.
pub type Versions = BTreeMap<String, u64>;

/// A point in the store's history to read at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    /// A version of the facts; each log is read at the version that those facts were made from.
    Version(u64),
    /// The latest version of each table that is not younger.
    Time(Timestamp),
}

impl std::str::FromStr for At {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        let parser = crate::ingest::times::TimeParser::new(&[], jiff::tz::TimeZone::UTC);
        let microseconds = parser.parse(text).ok_or_else(|| {
            EngineError::usage(format!(
                "\"{text}\" is neither a version number nor a time such as 2026-03-02T10:00:00Z"
            ))
        })?;
        Timestamp::from_microsecond(microseconds)
            .map(Self::Time)
            .map_err(|error| EngineError::usage(format!("\"{text}\": {error}")))
    }
}

/// A store at some place. Cheap to clone; every read opens the tables as they are then.
#[derive(Debug, Clone)]
pub struct Store {
    root: Url,
    location: Arc<str>,
}

impl Store {
    /// Opens the store at a folder or URL. Nothing is created until something is written.
    ///
    /// # Errors
    /// When the place is no valid path or URL, or its kind of storage is not built in.
    pub fn open(location: &str) -> Result<Self> {
        let root = if location.contains("://") {
            let mut url = Url::parse(location)
                .map_err(|error| EngineError::usage(format!("\"{location}\" is not a valid URL: {error}")))?;
            if !url.path().ends_with('/') {
                url.set_path(&format!("{}/", url.path()));
            }
            check_scheme(&url)?;
            url
        } else {
            let path = std::path::absolute(Path::new(location)).map_err(EngineError::io("find", location))?;
            if path.is_file() {
                return Err(EngineError::usage(format!("{location} is a file; a store is a folder")));
            }
            Url::from_directory_path(&path)
                .map_err(|()| EngineError::usage(format!("{location} cannot be the folder of a store")))?
        };
        Ok(Self { root, location: location.into() })
    }

    /// The place as the user named it.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The folder of the store where it is a local one.
    #[must_use]
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        self.root.to_file_path().ok()
    }

    fn table_url(&self, name: &str) -> Result<Url> {
        self.root
            .join(&format!("{name}/"))
            .map_err(|error| EngineError::usage(format!("{} has no place for table {name}: {error}", self.location)))
    }

    fn builder(&self, name: &str) -> Result<DeltaTableBuilder> {
        Ok(DeltaTableBuilder::from_url(self.table_url(name)?)?)
    }

    /// A place for files beside the tables, which Delta readers do not look into. `None` when it is not there and not
    /// to be made.
    ///
    /// # Errors
    /// When the place cannot be reached.
    pub(crate) fn side_files(&self, name: &str, make: bool) -> Result<Option<Arc<dyn object_store::ObjectStore>>> {
        if let Some(folder) = self.folder() {
            let path = folder.join(name);
            if make {
                std::fs::create_dir_all(&path).map_err(EngineError::io("create a folder of the store", &path))?;
            } else if !path.is_dir() {
                return Ok(None);
            }
        }
        Ok(Some(self.builder(name)?.build()?.object_store()))
    }

    /// The latest version of a table, or `None` when it was never written.
    ///
    /// # Errors
    /// When the table is there and cannot be read.
    pub async fn table(&self, name: &str) -> Result<Option<DeltaTable>> {
        if let Some(folder) = self.folder()
            && !folder.join(name).join("_delta_log").is_dir()
        {
            return Ok(None);
        }
        let mut table = self.builder(name)?.build()?;
        match table.load().await {
            Ok(()) if self.newest_entry_is_empty(name, &table).await => {
                let error =
                    DeltaTableError::generic("the newest entry of its log is empty: a crash may have cut it off");
                Err(self.unreadable(name, &table, error).await)
            }
            Ok(()) => Ok(Some(table)),
            Err(DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_)) => Ok(None),
            Err(error) => Err(self.unreadable(name, &table, error).await),
        }
    }

    /// Whether Delta took an entry without a byte for a commit of nothing: that of the version that a table is loaded at.
    async fn newest_entry_is_empty(&self, name: &str, table: &DeltaTable) -> bool {
        let (Some(folder), Some(version)) = (self.folder(), table.version()) else { return false };
        let entry = folder.join(name).join("_delta_log").join(format!("{version:020}.json"));
        tokio::fs::metadata(entry).await.is_ok_and(|entry| entry.len() == 0)
    }

    /// Why a table cannot be opened: the broken file of its log and what to do about it, or Delta's own words.
    async fn unreadable(&self, name: &str, table: &DeltaTable, error: DeltaTableError) -> EngineError {
        match care::broken_entry(name, table.object_store().as_ref()).await {
            Some((file, why)) => EngineError::io("read", place_of(table).join(file))(std::io::Error::other(why)),
            None => of_table("read", table)(error),
        }
    }

    /// Whether these are the newest versions of the store's tables; one that they do not name must not be there. Looks for
    /// single commits, which costs the same however long a table's history is.
    ///
    /// # Errors
    /// When the place cannot be read.
    pub async fn is_newest(&self, versions: &Versions) -> Result<bool> {
        for name in Log::ALL.into_iter().map(Log::name).chain([QUARANTINE, MESSAGE_FACTS]) {
            let version = versions.get(name).copied();
            if self.has_commit(name, version.map_or(0, |version| version + 1)).await? {
                return Ok(false);
            }
            // A folder may have been replaced by another store; a remote one is not asked twice as much for that.
            if let Some(version) = version
                && self.folder().is_some()
                && !self.has_commit(name, version).await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn has_commit(&self, name: &str, version: u64) -> Result<bool> {
        if let Some(folder) = self.folder() {
            let entry = folder.join(name).join("_delta_log").join(format!("{version:020}.json"));
            return tokio::fs::try_exists(&entry).await.map_err(EngineError::io("look for", entry));
        }
        Ok(self.builder(name)?.build()?.log_store().read_commit_entry(version).await?.is_some())
    }

    /// A table at a version.
    ///
    /// # Errors
    /// When the table has no such version, or it was vacuumed away.
    pub async fn table_at_version(&self, name: &str, version: u64) -> Result<DeltaTable> {
        let mut table = self.builder(name)?.build()?;
        table.load_version(version).await.map_err(of_table("read", &table))?;
        Ok(table)
    }

    /// A table as it was at a moment, or `None` when it did not exist then.
    ///
    /// # Errors
    /// When the table cannot be read, or its log no longer reaches back that far.
    pub async fn table_at_time(&self, name: &str, moment: Timestamp) -> Result<Option<DeltaTable>> {
        let Some(table) = self.table(name).await? else { return Ok(None) };
        let objects = table.object_store();
        let log = care::LogListing::of(objects.as_ref()).await?;
        match log.version_at(objects.as_ref(), moment.as_millisecond()).await? {
            Some(version) => Ok(Some(self.table_at_version(name, version).await?)),
            None if log.first() == Some(0) => Ok(None),
            None => Err(EngineError::usage(format!(
                "what {name} was at {moment} is no longer kept: its log begins with version {}",
                log.first().unwrap_or_default()
            ))),
        }
    }

    /// A table that is created, with these columns, if it is not there.
    ///
    /// # Errors
    /// When the place cannot be written.
    pub async fn create_table(&self, name: &str, schema: &Schema, partition_by: &[&str]) -> Result<DeltaTable> {
        if let Some(table) = self.table(name).await? {
            return Ok(table);
        }
        if let Some(folder) = self.folder() {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).map_err(EngineError::io("create the store's folder", &path))?;
        }
        let table = self.builder(name)?.build()?;
        let created = table
            .create()
            .with_table_name(name)
            .with_columns(commit::delta_fields(schema)?)
            .with_partition_columns(partition_by.iter().copied())
            .await;
        match (created, self.table(name).await?) {
            // Another process may have been faster; its table is as good.
            (_, Some(table)) | (Ok(table), None) => Ok(table),
            (Err(error), None) => Err(of_table("create", &table)(error)),
        }
    }
}

/// The folder of a table, without a slash at its end, or its URL.
fn place_of(table: &DeltaTable) -> PathBuf {
    let url = table.table_url();
    let folder = (url.scheme() == "file").then(|| url.to_file_path().ok()).flatten();
    folder.map_or_else(|| PathBuf::from(url.as_str()), |folder| folder.components().collect())
}

/// A failure with the place of the table that it is about, which Delta does not name.
pub(crate) fn of_table(
    action: &'static str,
    table: &DeltaTable,
) -> impl FnOnce(DeltaTableError) -> EngineError + use<> {
    let place = place_of(table);
    move |error| EngineError::io(action, place)(std::io::Error::other(error))
}

/// Up to when the version that a table is loaded at tells, in milliseconds since 1970: a log by its newest data file, since
/// a commit that only rearranges rows tells nothing new (its files keep the time of those that they replace); the facts,
/// the one table with partitions, by the commit, which also says how far they reflect the logs.
pub async fn commit_time(table: &DeltaTable) -> Option<i64> {
    let version = table.version()?;
    let (newest, has_partitions) = {
        let snapshot = table.snapshot().ok()?;
        let newest = snapshot.log_data().iter().map(|file| file.modification_time()).max();
        let first = snapshot.log_data().iter().next();
        (newest, first.is_some_and(|file| !file.partition_values_map().is_empty()))
    };
    if newest.is_some() && !has_partitions {
        return newest;
    }
    // Not known where a checkpoint took the place of the commit.
    care::told_time(table.object_store().as_ref(), &care::entry_of(version)).await.ok().flatten().or(newest)
}

#[cfg(not(feature = "s3"))]
fn check_scheme(url: &Url) -> Result<()> {
    match url.scheme() {
        "file" | "memory" => Ok(()),
        other => Err(EngineError::usage(format!(
            "stores on {other}:// are not built in: build with `--features s3`, or name a folder"
        ))),
    }
}

#[cfg(feature = "s3")]
fn check_scheme(url: &Url) -> Result<()> {
    match url.scheme() {
        "file" | "memory" => Ok(()),
        "s3" | "s3a" => {
            deltalake::aws::register_handlers(None);
            Ok(())
        }
        other => Err(EngineError::usage(format!("stores on {other}:// are not supported: use a folder or s3://"))),
    }
}

/// The columns that the table of a log is created with: the canonical ones and where each row came from.
#[must_use]
pub fn log_schema(log: Log) -> SchemaRef {
    let canonical = log.columns().iter().map(crate::event::ColumnSpec::field);
    Arc::new(Schema::new(canonical.chain(provenance_fields()).collect::<Vec<Field>>()))
}

/// The columns of the quarantine.
#[must_use]
pub fn quarantine_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("log"),
        text("source_file"),
        Field::new("source_row", DataType::Int64, true),
        text("reason"),
        text("raw"),
        Field::new("ingested_at", timestamp_type(), true),
    ]))
}
