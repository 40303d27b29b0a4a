//! Files out: record batches of one log in, one file in the chosen format out, under its name only when it is whole.
//!
//! A file is written under a temporary name in the same folder and renamed at the end, so that nobody ever reads
//! half a log, and is removed again if the generator fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::error::GenerateError;
use super::options::OutputFormat;

/// Columns whose values hardly repeat within a file: a dictionary of them would only be built to be thrown away.
const UNREPEATED: [&str; 7] =
    ["message_id", "recipient_id", "click_id", "conversion_id", "reply_id", "opt_out_id", "consent_id"];

/// A file that has its temporary name until it is kept, and is removed if it never is.
pub(super) struct PendingFile {
    temporary: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl PendingFile {
    /// Creates the file under its temporary name.
    pub(super) fn create(directory: &Path, name: &str) -> Result<(Self, File), GenerateError> {
        let temporary = directory.join(format!(".{name}.partial"));
        let file = File::create(&temporary).map_err(|source| GenerateError::File {
            action: "create",
            path: temporary.clone(),
            source,
        })?;
        Ok((Self { temporary, target: directory.join(name), kept: false }, file))
    }

    /// The name that the file will have.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its own name, in place of an older file of that name.
    pub(super) fn keep(mut self) -> Result<PathBuf, GenerateError> {
        fs::rename(&self.temporary, &self.target).map_err(|source| GenerateError::File {
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

/// The three ways of writing a batch.
enum Sink {
    Csv(Box<csv::Writer<File>>),
    Ndjson(LineDelimitedWriter<File>),
    Parquet(Box<ArrowWriter<File>>),
}

/// One log's file.
pub(super) struct LogFile {
    file: PendingFile,
    sink: Sink,
    rows: u64,
}

impl LogFile {
    /// Opens the file of a log with those columns.
    pub(super) fn create(
        directory: &Path,
        log: &str,
        schema: SchemaRef,
        format: OutputFormat,
    ) -> Result<Self, GenerateError> {
        let (pending, file) = PendingFile::create(directory, &format!("{log}.{}", format.name()))?;
        let sink = match format {
            OutputFormat::Csv => {
                let mut writer = csv::WriterBuilder::new().with_header(true).build(file);
                // Even a log without rows gets its header.
                writer.write(&RecordBatch::new_empty(schema)).map_err(|source| rows_error(&pending, source))?;
                Sink::Csv(Box::new(writer))
            }
            OutputFormat::Ndjson => Sink::Ndjson(LineDelimitedWriter::new(file)),
            OutputFormat::Parquet => {
                let properties = parquet_properties(&schema);
                let writer = ArrowWriter::try_new(file, schema, Some(properties))
                    .map_err(|source| GenerateError::Parquet { path: pending.target().to_path_buf(), source })?;
                Sink::Parquet(Box::new(writer))
            }
        };
        Ok(Self { file: pending, sink, rows: 0 })
    }

    /// An error about the rows of this log.
    pub(super) fn rows_error(&self, source: arrow::error::ArrowError) -> GenerateError {
        rows_error(&self.file, source)
    }

    /// Appends the rows of a batch.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), GenerateError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match &mut self.sink {
            Sink::Csv(writer) => writer.write(batch).map_err(|source| rows_error(&self.file, source))?,
            Sink::Ndjson(writer) => writer.write(batch).map_err(|source| rows_error(&self.file, source))?,
            Sink::Parquet(writer) => writer
                .write(batch)
                .map_err(|source| GenerateError::Parquet { path: self.file.target().to_path_buf(), source })?,
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the file, still under its temporary name, and says how many rows it has.
    pub(super) fn finish(self) -> Result<(PendingFile, u64), GenerateError> {
        let Self { file, sink, rows } = self;
        match sink {
            // This writer hands on all its bytes with every batch.
            Sink::Csv(_) => {}
            Sink::Ndjson(mut writer) => writer.finish().map_err(|source| rows_error(&file, source))?,
            Sink::Parquet(writer) => {
                writer
                    .close()
                    .map_err(|source| GenerateError::Parquet { path: file.target().to_path_buf(), source })?;
            }
        }
        Ok((file, rows))
    }
}

fn rows_error(file: &PendingFile, source: arrow::error::ArrowError) -> GenerateError {
    GenerateError::Rows { path: file.target().to_path_buf(), source }
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
    fn a_finished_file_takes_the_place_of_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("sends.csv"), "old").unwrap();
        let (pending, _) = PendingFile::create(directory.path(), "sends.csv").unwrap();
        let path = pending.keep().unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
