//! A table with one row a unit, in any format, as a `DataFusion` table: columns keep the file's names, and text formats get
//! the narrowest type that all of a column's cells have (whole number, number, else text).

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use jiff::tz::TimeZone;

use super::stream::{Batches, OpenPartition, streaming_table};
use crate::bridge;
use crate::error::{EngineError, Result};
use crate::ingest::input::Input;
use crate::ingest::read::{self, RawChunk};
use crate::ingest::times::TimeParser;

/// Texts that mean "nothing" in a column of numbers.
const NOTHING: [&str; 6] = ["NaN", "nan", "NA", "NULL", "null", "None"];

/// Opens a unit table. The file is read once to learn its columns' types and again by each query.
pub(crate) fn unit_table(input: &Input) -> Result<Arc<dyn TableProvider>> {
    let schema = infer_schema(input)?;
    let (input, partition_schema) = (input.clone(), Arc::clone(&schema));
    let open: OpenPartition = Arc::new(move || {
        let (schema, name) = (Arc::clone(&partition_schema), input.clone());
        let chunks = read::open(&input, &utc())?;
        Ok(Box::new(chunks.map(move |chunk| typed_batch(&sound(chunk?, &name)?, &schema))) as Batches)
    });
    streaming_table(schema, vec![open])
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

fn infer_schema(input: &Input) -> Result<SchemaRef> {
    let mut types: Vec<(String, DataType)> = Vec::new();
    let mut rows = 0;
    for chunk in read::open(input, &utc())? {
        let chunk = sound(chunk?, input)?;
        rows += chunk.rows.len();
        let batch = bridge::to_record_batch(&chunk.frame)?;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let kind = kind_of(column)?;
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

/// The narrowest type of a column's cells; `Null` where all are empty.
fn kind_of(column: &ArrayRef) -> Result<DataType> {
    let DataType::Utf8View = column.data_type() else { return Ok(column.data_type().clone()) };
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
    use arrow::array::AsArray as _;
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
