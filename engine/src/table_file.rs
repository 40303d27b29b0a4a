//! Files out: record batches of one table in, one file in the chosen format out, under its name only when it is whole.
//!
//! A file is written under a temporary name in the same folder and renamed at the end, so that nobody ever reads
//! half a table, and is removed again if the work fails.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::{csv, ipc};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::error::EngineError;
use crate::generate::OutputFormat;
use crate::ingest::input::{Input, Origin};

/// Columns whose values hardly repeat within a file: a dictionary of them would only be built to be thrown away.
const UNREPEATED: [&str; 7] =
    ["message_id", "recipient_id", "click_id", "conversion_id", "reply_id", "opt_out_id", "consent_id"];

/// Why a file could not be written. It does not appear under its own name then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableFileError {
    /// The file system refused something.
    #[error("cannot {action} {}: {source}; check that the folder can be written and has room", .path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: io::Error,
    },
    /// Rows could not be put together or written as CSV or NDJSON.
    #[error("cannot write rows to {}: {source}; check that the disk has room", .path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// Arrow's error.
        #[source]
        source: ArrowError,
    },
    /// Rows could not be written as Parquet.
    #[error("cannot write Parquet to {}: {source}; check that the disk has room", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Parquet's error.
        #[source]
        source: ParquetError,
    },
}

/// A file that has its temporary name until it is kept, and is removed if it never is.
pub(crate) struct PendingFile {
    temporary: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl PendingFile {
    /// Creates the file under its temporary name.
    pub(crate) fn create(directory: &Path, name: &str) -> Result<(Self, File), TableFileError> {
        // A name of its own: two runs may write one file.
        let temporary = directory.join(format!(".{name}.{}.partial", uuid::Uuid::new_v4().simple()));
        let file = File::create(&temporary).map_err(|source| TableFileError::File {
            action: "create",
            path: temporary.clone(),
            source,
        })?;
        Ok((Self { temporary, target: directory.join(name), kept: false }, file))
    }

    /// The name that the file will have.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its own name, in place of an older file of that name.
    pub(crate) fn keep(mut self) -> Result<PathBuf, TableFileError> {
        fs::rename(&self.temporary, &self.target).map_err(|source| TableFileError::File {
            action: "rename a finished file to",
            path: self.target.clone(),
            source,
        })?;
        self.kept = true;
        Ok(self.target.clone())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.kept {
            // The failure that brought us here matters more than one in tidying up.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file by which a scratch folder is known to be in use: its maker holds a lock on it.
const IN_USE: &str = "in_use";

/// A folder for what is written on the way to a file. It is removed with its content when it is dropped; what a killed process
/// left is removed by the next that needs one there.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    _in_use: File,
}

impl Scratch {
    /// A folder beside a file to come.
    pub(crate) fn beside(path: &Path, prefix: &str) -> Result<Self, EngineError> {
        let folder = folder_of(path);
        remove_abandoned(folder, prefix);
        let failed = || EngineError::io("write to the folder", folder);
        let made = tempfile::Builder::new().prefix(prefix).tempdir_in(folder).map_err(failed())?;
        // Locked before it has the name by which others find it.
        let unnamed = made.path().join("new");
        let in_use = File::create(&unnamed).map_err(failed())?;
        if in_use.lock().is_ok() {
            fs::rename(unnamed, made.path().join(IN_USE)).map_err(failed())?;
        }
        Ok(Self { folder: made, _in_use: in_use })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the scratch folders that nobody holds. What cannot be removed stays: it is in nobody's way.
fn remove_abandoned(folder: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_scratch = entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix));
        let in_use = is_scratch.then(|| File::open(entry.path().join(IN_USE))).and_then(io::Result::ok);
        if in_use.is_some_and(|in_use| in_use.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The ways of writing a batch.
enum Sink {
    Csv(Box<csv::Writer<File>>),
    Ndjson(LineDelimitedWriter<File>),
    Parquet(Box<ArrowWriter<File>>),
    Arrow(Box<ipc::writer::FileWriter<File>>),
}

/// One table's file.
pub(crate) struct TableFile {
    file: PendingFile,
    sink: Sink,
    rows: u64,
}

impl TableFile {
    /// Opens a file at a path that [`check_name`] accepts.
    pub(crate) fn at(path: &Path, schema: SchemaRef) -> Result<Self, EngineError> {
        let (name, format) = check_name(path)?;
        let directory = folder_of(path);
        Ok(Self::create(directory, name, schema, format)?)
    }

    /// Opens the file of a table with those columns.
    pub(crate) fn create(
        directory: &Path,
        name: &str,
        schema: SchemaRef,
        format: OutputFormat,
    ) -> Result<Self, TableFileError> {
        let (pending, file) = PendingFile::create(directory, &format!("{name}.{}", format.name()))?;
        let sink = match format {
            OutputFormat::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(file);
                // Even a table without rows gets its header.
                writer.write(&RecordBatch::new_empty(schema)).map_err(|source| rows_error(&pending, source))?;
                Sink::Csv(Box::new(writer))
            }
            OutputFormat::Ndjson => Sink::Ndjson(LineDelimitedWriter::new(file)),
            OutputFormat::Parquet => {
                let properties = parquet_properties(&schema);
                let writer = ArrowWriter::try_new(file, schema, Some(properties))
                    .map_err(|source| TableFileError::Parquet { path: pending.target().to_path_buf(), source })?;
                Sink::Parquet(Box::new(writer))
            }
            OutputFormat::Arrow => {
                let writer = ipc::writer::FileWriter::try_new(file, &schema);
                Sink::Arrow(Box::new(writer.map_err(|source| rows_error(&pending, source))?))
            }
        };
        Ok(Self { file: pending, sink, rows: 0 })
    }

    /// An error about the rows of this table.
    pub(crate) fn rows_error(&self, source: arrow::error::ArrowError) -> TableFileError {
        rows_error(&self.file, source)
    }

    /// Appends the rows of a batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), TableFileError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match &mut self.sink {
            Sink::Csv(writer) => writer.write(batch).map_err(|source| rows_error(&self.file, source))?,
            Sink::Ndjson(writer) => writer.write(batch).map_err(|source| rows_error(&self.file, source))?,
            Sink::Arrow(writer) => writer.write(batch).map_err(|source| rows_error(&self.file, source))?,
            Sink::Parquet(writer) => writer
                .write(batch)
                .map_err(|source| TableFileError::Parquet { path: self.file.target().to_path_buf(), source })?,
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the file, still under its temporary name, and says how many rows it has.
    pub(crate) fn finish(self) -> Result<(PendingFile, u64), TableFileError> {
        let Self { file, sink, rows } = self;
        match sink {
            // This writer hands on all its bytes with every batch.
            Sink::Csv(_) => {}
            Sink::Ndjson(mut writer) => writer.finish().map_err(|source| rows_error(&file, source))?,
            Sink::Arrow(mut writer) => writer.finish().map_err(|source| rows_error(&file, source))?,
            Sink::Parquet(writer) => {
                writer
                    .close()
                    .map_err(|source| TableFileError::Parquet { path: file.target().to_path_buf(), source })?;
            }
        }
        Ok((file, rows))
    }
}

/// Refuses to write over the file that is read.
pub(crate) fn check_not_input(out: &Path, input: &Input) -> Result<(), EngineError> {
    if let Origin::File(path) = &input.origin
        && let (Ok(read), Ok(written)) = (path.canonicalize(), out.canonicalize())
        && read == written
    {
        let out = out.display();
        return Err(EngineError::usage(format!("{out} is the file that is read: name another one to write")));
    }
    Ok(())
}

/// The name of a file without its ending, and the format that this says: `.csv`, `.ndjson` or `.parquet`.
pub(crate) fn check_name(path: &Path) -> Result<(&str, OutputFormat), EngineError> {
    let format = match path.extension().and_then(OsStr::to_str) {
        Some("csv") => Some(OutputFormat::Csv),
        Some("ndjson") => Some(OutputFormat::Ndjson),
        Some("parquet") => Some(OutputFormat::Parquet),
        Some("arrow") => Some(OutputFormat::Arrow),
        _ => None,
    };
    let named = path.file_stem().and_then(OsStr::to_str).zip(format).ok_or_else(|| {
        EngineError::usage(format!(
            "{}: the name of the file must end in .csv, .ndjson, .parquet or .arrow",
            path.display()
        ))
    })?;
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(EngineError::usage(format!(
            "{}: there is no folder {}: make it first",
            path.display(),
            folder.display()
        )));
    }
    Ok(named)
}

fn rows_error(file: &PendingFile, source: arrow::error::ArrowError) -> TableFileError {
    TableFileError::Rows { path: file.target().to_path_buf(), source }
}

/// Zstandard's quickest level, and dictionaries only where values repeat.
fn parquet_properties(schema: &SchemaRef) -> WriterProperties {
    let mut builder = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    for field in schema.fields() {
        let is_time = matches!(field.data_type(), DataType::Timestamp(_, _));
        if is_time || UNREPEATED.contains(&field.name().as_str()) {
            builder = builder.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (pending, _) = PendingFile::create(directory.path(), "sends.csv").unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(pending);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("scores.csv");
        let held = Scratch::beside(&out, ".scratch-").unwrap();
        let (abandoned, other) =
            (directory.path().join(".scratch-left"), directory.path().join(".scratch-of-another-kind"));
        fs::create_dir(&abandoned).unwrap();
        File::create(abandoned.join(IN_USE)).unwrap();
        fs::create_dir(&other).unwrap();
        let next = Scratch::beside(&out, ".scratch-").unwrap();
        assert!(!abandoned.exists() && other.exists() && held.path().exists() && next.path().exists());
        drop((held, next));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_ending_says_the_format() {
        for (path, format) in [("./b.csv", OutputFormat::Csv), ("b.c.parquet", OutputFormat::Parquet)] {
            assert_eq!(check_name(Path::new(path)).unwrap().1, format);
        }
        for path in ["b.xlsx", "b", "csv", ".csv", "no-such-folder/b.csv"] {
            assert!(matches!(check_name(Path::new(path)), Err(EngineError::Usage(_))), "{path}");
        }
    }

    #[test]
    fn a_finished_file_takes_the_place_of_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("sends.csv"), "old").unwrap();
        let (pending, _) = PendingFile::create(directory.path(), "sends.csv").unwrap();
        let path = pending.keep().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
