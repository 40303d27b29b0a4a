//! A table with one row a unit, in any format, as a `DataFusion` table: columns keep the file's names, and text formats get
//! the narrowest type that all of a column's cells have (whole number, number, else text). Columns that name something (units,
//! arms, segments) are numbers only where each is written as that number is: `007`, `+49…` and twenty digits are names.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use jiff::tz::TimeZone;

use super::parquet_logs::{ParquetPart, ParquetTable};
use super::stream::{Batches, OpenPartition, streaming_table};
use crate::bridge;
use crate::error::{EngineError, Result};
use crate::ingest::input::{Input, Layout, Origin};
use crate::ingest::read::{self, RawChunk};
use crate::ingest::times::TimeParser;

/// Texts that mean "nothing" in a column of numbers.
const NOTHING: [&str; 6] = ["NaN", "nan", "NA", "NULL", "null", "None"];

/// Opens a unit table. A Parquet file says its columns' types; any other is read once to learn them and again by each
/// query.
///
/// `names` are the columns that name something.
pub(crate) fn unit_table(input: &Input, names: &[String]) -> Result<Arc<dyn TableProvider>> {
    if let Some(table) = parquet_table(input)? {
        return Ok(table);
    }
    let schema = infer_schema(input, names)?;
    let (input, partition_schema) = (input.clone(), Arc::clone(&schema));
    let open: OpenPartition = Arc::new(move || {
        let (schema, name) = (Arc::clone(&partition_schema), input.clone());
        let chunks = read::open(&input, &utc())?;
        Ok(Box::new(chunks.map(move |chunk| typed_batch(&sound(chunk?, &name)?, &schema))) as Batches)
    });
    streaming_table(schema, vec![open])
}

/// A Parquet file as a table that reads only the columns that a query wants, on all cores; `None` for anything else, and
/// for a file whose columns need a second look: numbers written as texts, lists.
fn parquet_table(input: &Input) -> Result<Option<Arc<dyn TableProvider>>> {
    let Origin::File(path) = &input.origin else { return Ok(None) };
    if input.layout()? != Layout::Parquet {
        return Ok(None);
    }
    let part = ParquetPart::of_own_file(path)?;
    let Some(schema) = part.plain_schema()? else { return Ok(None) };
    if part.rows() == 0 {
        return Ok(None);
    }
    Ok(Some(Arc::new(ParquetTable::new(schema, vec![part], None))))
}

/// Whether a query reads of a unit table the columns alone that it wants, on all cores.
pub(crate) fn is_cheap_to_read(table: &dyn TableProvider) -> bool {
    (table as &dyn Any).is::<ParquetTable>()
}

/// Whether a column of a unit table holds texts.
pub(crate) fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

fn utc() -> TimeParser {
    TimeParser::new(&[], TimeZone::UTC)
}

/// A unit table has no quarantine: a row that cannot be taken apart stops the analysis, which would else be of fewer units.
fn sound(chunk: RawChunk, input: &Input) -> Result<RawChunk> {
    match chunk.broken.first() {
        None => Ok(chunk),
        Some(row) => Err(input.unreadable(&format!("row {} {}", row.row, row.reason))),
    }
}

fn infer_schema(input: &Input, names: &[String]) -> Result<SchemaRef> {
    let mut types: Vec<(String, DataType)> = Vec::new();
    let is_name = |column: &str| names.iter().any(|name| name.eq_ignore_ascii_case(column.trim()));
    let mut rows = 0;
    for chunk in read::open(input, &utc())? {
        let chunk = sound(chunk?, input)?;
        rows += chunk.rows.len();
        let batch = bridge::to_record_batch(&chunk.frame)?;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let kind = kind_of(column, is_name(field.name()))?;
            match types.iter_mut().find(|(name, _)| name == field.name()) {
                Some((_, known)) => *known = wider(known, &kind),
                None => types.push((field.name().clone(), kind)),
            }
        }
    }
    if rows == 0 {
        return Err(EngineError::refused(format!("{} has no rows: there is nothing to analyse", input.name)));
    }
    let kind = |kind: DataType| if kind == DataType::Null { DataType::Utf8View } else { kind };
    Ok(Arc::new(Schema::new(
        types.into_iter().map(|(name, found)| Field::new(name, kind(found), true)).collect::<Vec<_>>(),
    )))
}

/// The narrowest type of a column's cells; `Null` where all are empty. A column that names something is of whole numbers only
/// where its texts come out again as they were.
fn kind_of(column: &ArrayRef, is_name: bool) -> Result<DataType> {
    let DataType::Utf8View = column.data_type() else { return Ok(column.data_type().clone()) };
    if is_name && column.null_count() < column.len() {
        let whole = arrow::compute::cast(column, &DataType::Int64)?;
        let again = arrow::compute::cast(&whole, &DataType::Utf8View)?;
        return Ok(if again.as_string_view() == column.as_string_view() {
            DataType::Int64
        } else {
            DataType::Utf8View
        });
    }
    let texts = without_nothing(column);
    let filled = texts.len() - texts.null_count();
    if filled == 0 {
        return Ok(DataType::Null);
    }
    for kind in [DataType::Int64, DataType::Float64] {
        let cast = arrow::compute::cast(&texts, &kind)?;
        if cast.len() - cast.null_count() == filled {
            return Ok(kind);
        }
    }
    Ok(DataType::Utf8View)
}

fn wider(left: &DataType, right: &DataType) -> DataType {
    match (left, right) {
        (same, other) if same == other => same.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
        _ => DataType::Utf8View,
    }
}

fn without_nothing(column: &ArrayRef) -> ArrayRef {
    let texts = column.as_string_view();
    if !texts.iter().flatten().any(|text| NOTHING.contains(&text)) {
        return Arc::clone(column);
    }
    let kept: arrow::array::StringViewArray =
        texts.iter().map(|text| text.filter(|text| !NOTHING.contains(text))).collect();
    Arc::new(kept)
}

fn typed_batch(chunk: &RawChunk, schema: &SchemaRef) -> Result<RecordBatch> {
    let batch = bridge::to_record_batch(&chunk.frame)?;
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef> {
            let Some(column) = batch.column_by_name(field.name()) else {
                return Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows()));
            };
            let text_to_number = column.data_type() == &DataType::Utf8View && field.data_type() != &DataType::Utf8View;
            let column = if text_to_number { without_nothing(column) } else { Arc::clone(column) };
            Ok(arrow::compute::cast(&column, field.data_type())?)
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
