//! Parquet files of logs as a table that reads only the columns a query wants, all cores at once.
//!
//! A file whose columns are canonical is read as it is, if it can be shown beforehand that an ingest would reject none of its
//! rows ([`super::parquet_proof`]). Anything else goes through the validator first (see [`super::files`]).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use tempfile::TempDir;

use super::parquet_proof::{is_sound, prove};
use super::stream::{Batches, OpenPartition, Partition};
use crate::error::Result;
use crate::event::{ColumnKind, INGESTED_AT, Log, SOURCE_FILE, SOURCE_ROW};

/// Rows read at a time.
const BATCH_ROWS: usize = 16_384;

/// Which of a file's columns (by position) feeds which column of the table (by name).
pub(super) type Sources = Vec<(String, usize)>;

/// One Parquet file of a table.
#[derive(Debug, Clone)]
pub(super) struct ParquetPart {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    sources: Sources,
    /// The columns to give every row, where the file does not hold its own provenance.
    provenance: Option<Provenance>,
}

/// Where the rows of a file come from, told for all of them.
#[derive(Debug, Clone)]
pub(super) struct Provenance {
    pub(super) file: String,
    pub(super) ingested_at: i64,
}

impl ParquetPart {
    /// A file that the engine wrote: its columns are those of the table.
    pub(super) fn of_own_file(path: &Path) -> Result<Self> {
        let metadata = load_metadata(path)?;
        let fields = metadata.schema().fields();
        let sources = fields.iter().enumerate().map(|(index, field)| (field.name().clone(), index)).collect();
        Ok(Self { path: path.to_path_buf(), metadata, sources, provenance: None })
    }

    /// A file of a log as somebody else wrote it; `None` when it must go through the validator.
    pub(super) fn of_sound_file(log: Log, path: &Path, latest: i64, provenance: Provenance) -> Result<Option<Self>> {
        let metadata = load_metadata(path)?;
        let Some((sources, doubtful)) = prove(log, &metadata, latest) else { return Ok(None) };
        let part = Self { path: path.to_path_buf(), metadata, sources, provenance: Some(provenance) };
        Ok(part.passes(log, &doubtful)?.then_some(part))
    }

    /// The names of the table's columns that the file feeds.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(name, _)| name.as_str())
    }

    /// How many rows the file has.
    pub(super) fn rows(&self) -> i64 {
        self.metadata.metadata().file_metadata().num_rows()
    }

    /// The file's columns as a table of units has them, texts as such; `None` where a column is neither a text, a number, a
    /// yes or no nor a time, or where a text column begins with numbers.
    pub(super) fn plain_schema(&self) -> Result<Option<SchemaRef>> {
        let mut fields = Vec::new();
        for field in self.metadata.schema().fields() {
            let kind = match field.data_type() {
                DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
                DataType::Dictionary(_, value) if matches!(value.as_ref(), DataType::Utf8 | DataType::LargeUtf8) => {
                    DataType::Utf8
                }
                kind @ (DataType::Boolean
                | DataType::Date32
                | DataType::Timestamp(_, _)
                | DataType::Decimal128(_, _)) => kind.clone(),
                kind if kind.is_primitive() && kind.is_numeric() => kind.clone(),
                _ => return Ok(None),
            };
            fields.push(Field::new(field.name(), kind, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let texts: Vec<usize> =
            (0..schema.fields().len()).filter(|index| schema.field(*index).data_type() == &DataType::Utf8).collect();
        if texts.is_empty() || self.rows() == 0 {
            return Ok(Some(schema));
        }
        let Some(first) = self.reader(&[0], &texts)?.next().transpose()? else { return Ok(Some(schema)) };
        for column in first.columns() {
            let texts = arrow::compute::cast(column, &DataType::Utf8)?;
            let filled = texts.len() - texts.null_count();
            let numbers = arrow::compute::cast(&texts, &DataType::Float64)?;
            if filled > 0 && numbers.len() - numbers.null_count() == filled {
                return Ok(None);
            }
        }
        Ok(Some(schema))
    }

    /// Looks through the columns that the statistics leave in doubt.
    fn passes(&self, log: Log, doubtful: &[String]) -> Result<bool> {
        if doubtful.is_empty() {
            return Ok(true);
        }
        let wanted: Vec<usize> =
            self.sources.iter().filter(|(name, _)| doubtful.contains(name)).map(|(_, index)| *index).collect();
        let groups: Vec<usize> = (0..self.metadata.metadata().num_row_groups()).collect();
        let metadata = self.with_words_as_dictionaries(log)?;
        let check = |groups: &[usize]| -> Result<bool> {
            for batch in self.reader_of(metadata.clone(), groups, &wanted)? {
                let batch = batch?;
                for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                    let name = self
                        .sources
                        .iter()
                        .find(|(_, index)| self.metadata.schema().field(*index).name() == field.name());
                    let spec = name.and_then(|(name, _)| log.column(name));
                    if !spec.is_some_and(|spec| is_sound(spec, column)) {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        };
        let halves = split(&groups, threads());
        std::thread::scope(|scope| {
            let running: Vec<_> = halves.iter().map(|half| scope.spawn(|| check(half))).collect();
            running.into_iter().try_fold(true, |sound, half| match half.join() {
                Ok(result) => Ok(sound && result?),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// The file's metadata with the columns of words read as dictionaries, so that a word is looked at once and not in each row.
    fn with_words_as_dictionaries(&self, log: Log) -> Result<ArrowReaderMetadata> {
        let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let is_word = |name: &str| log.column(name).is_some_and(|spec| matches!(spec.kind, ColumnKind::Word(_)));
        read_as(&self.metadata, &self.sources, is_word, &words)
    }

    /// The same file with a column as views of its texts, which are then not copied on the way.
    pub(super) fn with_views(self, column: &str) -> Result<Self> {
        let metadata = read_as(&self.metadata, &self.sources, |name| name == column, &DataType::Utf8View)?;
        Ok(Self { metadata, ..self })
    }

    fn reader(&self, row_groups: &[usize], columns: &[usize]) -> Result<ParquetRecordBatchReader> {
        self.reader_of(self.metadata.clone(), row_groups, columns)
    }

    fn reader_of(
        &self,
        metadata: ArrowReaderMetadata,
        row_groups: &[usize],
        columns: &[usize],
    ) -> Result<ParquetRecordBatchReader> {
        let file = File::open(&self.path).map_err(crate::error::EngineError::io("read", &self.path))?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_row_groups(row_groups.to_vec())
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()?)
    }

    /// The rows of some row groups in the columns of `schema`.
    fn batches(&self, row_groups: &[usize], schema: &SchemaRef) -> Result<Batches> {
        let source_of = |name: &str| self.sources.iter().find(|(of, _)| of == name).map(|(_, index)| *index);
        let mut wanted: Vec<usize> = schema.fields().iter().filter_map(|field| source_of(field.name())).collect();
        wanted.sort_unstable();
        wanted.dedup();
        // Where each column of the schema stands among those read.
        let places: Vec<Option<usize>> = schema
            .fields()
            .iter()
            .map(|field| source_of(field.name()).and_then(|index| wanted.binary_search(&index).ok()))
            .collect();
        let first_row: i64 = (0..row_groups.first().copied().unwrap_or(0))
            .map(|group| self.metadata.metadata().row_group(group).num_rows())
            .sum();
        let (schema, provenance) = (Arc::clone(schema), self.provenance.clone());
        let mut row = first_row + 1;
        let batches = self.reader(row_groups, &wanted)?.map(move |batch| {
            let batch = batch?;
            let count = batch.num_rows();
            let columns = schema
                .fields()
                .iter()
                .zip(&places)
                .map(|(field, place)| -> Result<ArrayRef> {
                    if let Some(place) = place {
                        return canonical(batch.column(*place), field.data_type());
                    }
                    Ok(match (field.name().as_str(), &provenance) {
                        (INGESTED_AT, Some(told)) => Arc::new(
                            TimestampMicrosecondArray::from(vec![told.ingested_at; count]).with_timezone("UTC"),
                        ),
                        (SOURCE_FILE, Some(told)) => Arc::new(StringArray::from(vec![told.file.as_str(); count])),
                        (SOURCE_ROW, Some(_)) => {
                            let end = row + i64::try_from(count).unwrap_or(0);
                            Arc::new(Int64Array::from_iter_values(row..end))
                        }
                        _ => arrow::array::new_null_array(field.data_type(), count),
                    })
                })
                .collect::<Result<Vec<ArrayRef>>>()?;
            row += i64::try_from(count).unwrap_or(0);
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
        });
        Ok(Box::new(batches))
    }
}

fn load_metadata(path: &Path) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(crate::error::EngineError::io("read", path))?;
    ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| {
        crate::error::EngineError::UnreadableFile {
            path: path.to_path_buf(),
            reason: format!("{error} (is the Parquet file cut off?)"),
        }
    })
}

/// A file's metadata with some columns of texts in another type of Arrow.
fn read_as(
    metadata: &ArrowReaderMetadata,
    sources: &Sources,
    is_meant: impl Fn(&str) -> bool,
    kind: &DataType,
) -> Result<ArrowReaderMetadata> {
    let fields = metadata.schema().fields().iter().enumerate().map(|(index, field)| {
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        let field = field.as_ref().clone();
        let is_meant = is_text && sources.iter().any(|(name, of)| *of == index && is_meant(name));
        if is_meant { field.with_data_type(kind.clone()) } else { field }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    Ok(ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?)
}

/// A column in the type of the table. Blank texts are nothing, as everywhere.
fn canonical(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let column = arrow::compute::cast(column, wanted)?;
    // Only a text that starts with a space, or a letter that may be an exotic one, can be blank.
    let may_be_blank = |text: &str| text.as_bytes().first().is_none_or(|byte| *byte <= b' ' || !byte.is_ascii());
    if let Some(texts) = column.as_string_view_opt() {
        if !texts.iter().flatten().any(|text| may_be_blank(text) && text.trim().is_empty()) {
            return Ok(column);
        }
        let kept: StringViewArray = texts.iter().map(|text| text.filter(|text| !text.trim().is_empty())).collect();
        return Ok(Arc::new(kept));
    }
    if wanted == &DataType::Utf8 {
        let texts = column.as_string::<i32>();
        if texts.iter().flatten().any(|text| may_be_blank(text) && text.trim().is_empty()) {
            let kept: StringArray = texts.iter().map(|text| text.filter(|text| !text.trim().is_empty())).collect();
            return Ok(Arc::new(kept));
        }
    }
    Ok(column)
}

/// The table of some Parquet files.
#[derive(Debug)]
pub(super) struct ParquetTable {
    schema: SchemaRef,
    parts: Vec<Arc<ParquetPart>>,
    /// The folder of temporary files among the parts, which goes when the table goes.
    _spool: Option<TempDir>,
}

impl ParquetTable {
    pub(super) fn new(schema: SchemaRef, parts: Vec<ParquetPart>, spool: Option<TempDir>) -> Self {
        Self { schema, parts: parts.into_iter().map(Arc::new).collect(), _spool: spool }
    }
}

#[async_trait]
impl TableProvider for ParquetTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => Arc::clone(&self.schema),
        };
        let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::new();
        for part in &self.parts {
            let groups: Vec<usize> = (0..part.metadata.metadata().num_row_groups()).collect();
            for groups in split(&groups, threads()) {
                let (part, schema_of) = (Arc::clone(part), Arc::clone(&schema));
                let open: OpenPartition = Arc::new(move || part.batches(&groups, &schema_of));
                partitions.push(Arc::new(Partition::new(Arc::clone(&schema), open)));
            }
        }
        if partitions.is_empty() {
            // The planner wants one partition at least.
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?))
    }
}

/// Threads that this machine runs at a time.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Consecutive pieces, at most so many, none empty; one empty piece of nothing.
fn split(groups: &[usize], pieces: usize) -> Vec<Vec<usize>> {
    let size = groups.len().div_ceil(pieces.max(1)).max(1);
    let split: Vec<Vec<usize>> = groups.chunks(size).map(<[usize]>::to_vec).collect();
    if split.is_empty() { vec![Vec::new()] } else { split }
}
