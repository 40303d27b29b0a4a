//! Log files as tables, read straight: the same readers and the same validation as an ingest, with nothing kept. A row that
//! an ingest would reject is not in the table.
//!
//! A query reads a log several times. Parquet files whose soundness can be shown beforehand are read where they are
//! ([`super::parquet_logs`]); every other file goes through the validator once, into a temporary Parquet file that is gone
//! when the table is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::parquet_logs::{ParquetPart, ParquetTable, Provenance};
use crate::bridge;
use crate::error::{EngineError, Result};
use crate::event::{INGESTED_AT, Log, SOURCE_FILE};
use crate::ingest::input::{Input, Layout, Origin};
use crate::ingest::load::{LogOutcome, over_limit, received_after};
use crate::ingest::read;
use crate::ingest::validate::{Validator, ValidatorOptions};
use crate::store::log_schema;

/// The column of ids that nearly all rows of nearly all logs have: views of them are hashed where they are, without a copy.
const MESSAGE_ID: &str = "message_id";

/// The files of one log.
#[derive(Debug, Clone)]
pub struct LogFiles {
    log: Log,
    inputs: Vec<Input>,
    validator: Arc<Validator>,
    /// Whether the files' columns are the canonical ones, as far as the caller says.
    unmapped: bool,
    now: Timestamp,
    /// The share of rows that may be bad before nothing is told of the rest.
    max_rejected: f64,
}

/// The rows of a log's files.
pub(crate) struct OpenedLog {
    pub(crate) table: Arc<dyn TableProvider>,
    /// Which rows are left out and why, if any are.
    pub(crate) left_out: Option<String>,
}

impl LogFiles {
    /// Files of a log, validated under these options at this moment.
    ///
    /// # Errors
    /// When the mapping is wrong.
    pub fn new(log: Log, inputs: Vec<Input>, options: &ValidatorOptions, now: Timestamp) -> Result<Self> {
        let validator = Arc::new(Validator::new(log, options, now.as_microsecond())?);
        Ok(Self { log, inputs, validator, unmapped: options.mapping.is_empty(), now, max_rejected: 1.0 })
    }

    /// The same files, of which at most this share of rows may be bad; any may be unless this is said.
    #[must_use]
    pub fn with_max_rejected(self, max_rejected: f64) -> Self {
        Self { max_rejected, ..self }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> Log {
        self.log
    }

    /// The files as a table.
    ///
    /// # Errors
    /// When a file cannot be read, too many rows are bad, or the temporary folder cannot be written.
    pub(crate) async fn table(&self) -> Result<OpenedLog> {
        let files = self.clone();
        tokio::task::spawn_blocking(move || files.open()).await?
    }

    fn open(&self) -> Result<OpenedLog> {
        let mut outcome = LogOutcome::new(self.log);
        let mut parts = Vec::new();
        let mut spool = None;
        for (position, input) in self.inputs.iter().enumerate() {
            let now = received_after(self.now, position);
            if let Some(part) = self.sound_part(input, now)? {
                outcome.accepted += part.rows().unsigned_abs();
                parts.push(part);
                continue;
            }
            let spool = match &spool {
                Some(spool) => spool,
                None => spool.insert(temporary_folder()?),
            };
            parts.extend(self.validated_parts(input, now, spool.path(), parts.len(), &mut outcome)?);
        }
        let parts = parts.into_iter().map(|part| part.with_views(MESSAGE_ID)).collect::<Result<Vec<_>>>()?;
        let mut fields: Vec<Field> = log_schema(self.log).fields().iter().map(|field| field.as_ref().clone()).collect();
        for field in fields.iter_mut().filter(|field| field.name() == MESSAGE_ID) {
            field.set_data_type(DataType::Utf8View);
        }
        for name in parts.iter().flat_map(ParquetPart::columns) {
            if !fields.iter().any(|field| field.name() == name) {
                fields.push(Field::new(name, DataType::Utf8, true));
            }
        }
        if let Some(refusal) = over_limit(&outcome, self.max_rejected, "nothing is told of the rest") {
            return Err(refusal);
        }
        let left_out = (outcome.rejected > 0).then(|| {
            let (bad, all) = (outcome.rejected, outcome.rejected + outcome.accepted);
            format!("{bad} of {all} rows of the {} are bad and left out: {}", self.log, outcome.why_rejected())
        });
        Ok(OpenedLog { table: Arc::new(ParquetTable::new(Arc::new(Schema::new(fields)), parts, spool)), left_out })
    }

    fn sound_part(&self, input: &Input, now: Timestamp) -> Result<Option<ParquetPart>> {
        let Origin::File(path) = &input.origin else { return Ok(None) };
        // Seen from the stored bytes: what is compressed as a whole is not read in place.
        if !self.unmapped || input.layout()? != Layout::Parquet || !starts_as_parquet(path)? {
            return Ok(None);
        }
        let provenance = Provenance { file: input.name.clone(), ingested_at: now.as_microsecond() };
        ParquetPart::of_sound_file(self.log, path, self.validator.latest(), provenance)
    }

    /// Writes an input's good rows to temporary files: one, or where attributes turn up on the way one more for each time.
    fn validated_parts(
        &self,
        input: &Input,
        now: Timestamp,
        folder: &Path,
        number: usize,
        outcome: &mut LogOutcome,
    ) -> Result<Vec<ParquetPart>> {
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut writer: Option<(SchemaRef, ArrowWriter<File>)> = None;
        for chunk in read::open(input, self.validator.times())? {
            let chunk = self.validator.check(&chunk?)?;
            outcome.count(&input.name, &chunk);
            let batch = bridge::to_record_batch(&chunk.frame)?;
            let fits = writer.as_ref().is_some_and(|(schema, _)| {
                batch.schema().fields().iter().all(|field| schema.column_with_name(field.name()).is_some())
            });
            if !fits {
                let schema = self.schema_with_attributes(&batch, writer.as_ref().map(|(schema, _)| schema));
                let path = folder.join(format!("{}-{number}-{}.parquet", self.log, paths.len()));
                let file = File::create(&path).map_err(EngineError::io("create", &path))?;
                let properties = WriterProperties::builder().set_compression(Compression::LZ4_RAW).build();
                let next = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
                if let Some((_, done)) = writer.replace((schema, next)) {
                    done.close()?;
                }
                paths.push(path);
            }
            if let Some((schema, writer)) = &mut writer {
                writer.write(&to_schema(&batch, schema, &input.name, now)?)?;
            }
        }
        if let Some((_, done)) = writer {
            done.close()?;
        }
        paths.iter().map(|path| ParquetPart::of_own_file(path)).collect()
    }

    fn schema_with_attributes(&self, batch: &RecordBatch, before: Option<&SchemaRef>) -> SchemaRef {
        let canonical = log_schema(self.log);
        let mut fields: Vec<Field> =
            before.unwrap_or(&canonical).fields().iter().map(|field| field.as_ref().clone()).collect();
        for field in batch.schema().fields() {
            if !fields.iter().any(|known| known.name() == field.name()) {
                fields.push(Field::new(field.name(), DataType::Utf8, true));
            }
        }
        Arc::new(Schema::new(fields))
    }
}

fn temporary_folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("sendlift-")
        .tempdir()
        .map_err(EngineError::io("create a temporary folder in", std::env::temp_dir()))
}

fn starts_as_parquet(path: &Path) -> Result<bool> {
    let mut start = [0_u8; 4];
    let mut file = File::open(path).map_err(EngineError::io("read", path))?;
    let filled = crate::ingest::input::fill(&mut file, &mut start).map_err(EngineError::io("read", path))?;
    Ok(&start[..filled] == b"PAR1")
}

fn to_schema(batch: &RecordBatch, schema: &SchemaRef, file: &str, now: Timestamp) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef> {
            Ok(match (field.name().as_str(), batch.column_by_name(field.name())) {
                (_, Some(column)) => arrow::compute::cast(column, field.data_type())?,
                (INGESTED_AT, None) => {
                    Arc::new(TimestampMicrosecondArray::from(vec![now.as_microsecond(); rows]).with_timezone("UTC"))
                }
                (SOURCE_FILE, None) => Arc::new(StringArray::from(vec![file; rows])),
                (_, None) => arrow::array::new_null_array(field.data_type(), rows),
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
