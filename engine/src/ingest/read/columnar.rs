//! Parquet and Arrow IPC: columns keep their types; moments become UTC microseconds here, where the file's own zone is known.

use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, PrimitiveArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polars::prelude::{DataFrame, IntoLazy};

use super::{CHUNK_ROWS, Chunks, RawChunk, RawRows};
use crate::bridge;
use crate::error::Result;
use crate::ingest::identity::hexadecimal;
use crate::ingest::input::{Input, Origin};
use crate::ingest::times::TimeParser;

/// Chunks of a Parquet file.
pub(super) fn parquet_chunks(input: &Input, times: &TimeParser) -> Result<Chunks> {
    let unreadable =
        |error: parquet::errors::ParquetError| input.unreadable(&format!("{error} (is the Parquet file cut off?)"));
    let batches: Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send> = match &input.origin {
        Origin::File(path) if !is_compressed(path) => {
            let file = File::open(path).map_err(|error| input.unreadable(&error.to_string()))?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
            Box::new(builder.with_batch_size(CHUNK_ROWS).build().map_err(unreadable)?)
        }
        // Parquet is read from its end: what is compressed as a whole must be in memory.
        Origin::File(_) | Origin::Memory(_) => {
            let mut bytes = Vec::new();
            input.open()?.read_to_end(&mut bytes).map_err(|error| input.unreadable(&error.to_string()))?;
            let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(unreadable)?;
            Box::new(builder.with_batch_size(CHUNK_ROWS).build().map_err(unreadable)?)
        }
    };
    Ok(chunks(input, times, batches))
}

/// Chunks of an Arrow IPC file or stream, possibly compressed as a whole.
pub(super) fn arrow_chunks(input: &Input, times: &TimeParser) -> Result<Chunks> {
    let unreadable = |error: ArrowError| input.unreadable(&format!("{error} (is the Arrow file cut off?)"));
    let mut start = [0_u8; 6];
    let mut reader = input.open()?;
    let filled =
        crate::ingest::input::fill(&mut reader, &mut start).map_err(|error| input.unreadable(&error.to_string()))?;
    let whole = Cursor::new(start[..filled].to_vec()).chain(reader);
    let batches: Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send> =
        if start.starts_with(b"ARROW1") {
            // The file format is read from its end.
            match &input.origin {
                Origin::File(path) if !is_compressed(path) => {
                    let file = File::open(path).map_err(|error| input.unreadable(&error.to_string()))?;
                    Box::new(arrow::ipc::reader::FileReader::try_new_buffered(file, None).map_err(unreadable)?)
                }
                _ => {
                    let mut bytes = Vec::new();
                    let mut whole = whole;
                    whole.read_to_end(&mut bytes).map_err(|error| input.unreadable(&error.to_string()))?;
                    let cursor = Cursor::new(Bytes::from(bytes));
                    Box::new(arrow::ipc::reader::FileReader::try_new(cursor, None).map_err(unreadable)?)
                }
            }
        } else {
            Box::new(arrow::ipc::reader::StreamReader::try_new(whole, None).map_err(unreadable)?)
        };
    Ok(chunks(input, times, batches))
}

fn is_compressed(path: &std::path::Path) -> bool {
    let mut start = [0_u8; 4];
    let filled = File::open(path).and_then(|mut file| crate::ingest::input::fill(&mut file, &mut start));
    filled.is_err() || start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd]
}

fn chunks(
    input: &Input,
    times: &TimeParser,
    batches: Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send>,
) -> Chunks {
    let (input, times) = (input.clone(), times.clone());
    let mut next_row = 1_i64;
    Box::new(batches.map(move |batch| {
        let batch = batch.map_err(|error| input.unreadable(&format!("{error} (is the file cut off or damaged?)")))?;
        let frame = bridge::to_frame(&to_plain_types(&batch, &times)?)?;
        let count = i64::try_from(frame.height()).unwrap_or(i64::MAX);
        let rows = (next_row..next_row + count).collect();
        next_row += count;
        Ok(RawChunk { frame: text_for_categories(frame)?, rows, raw: RawRows::Frame, broken: Vec::new() })
    }))
}

/// Dictionary columns cross as plain text.
fn text_for_categories(frame: DataFrame) -> Result<DataFrame> {
    Ok(frame.lazy().collect()?)
}

/// The members of a structure as columns with dotted names (`contact.phone`), as those of JSON objects are, so that a name says
/// what a column holds; any other column as it is.
fn members(name: &str, array: &ArrayRef) -> Result<Vec<(String, ArrayRef)>> {
    let Some(structure) = array.as_struct_opt().filter(|structure| structure.num_columns() > 0) else {
        return Ok(vec![(name.to_owned(), Arc::clone(array))]);
    };
    let is_missing = arrow::compute::is_null(array)?;
    let mut found = Vec::new();
    for (field, member) in structure.fields().iter().zip(structure.columns()) {
        // Where the whole is missing, its members are.
        let member =
            if array.null_count() > 0 { arrow::compute::nullif(member, &is_missing)? } else { Arc::clone(member) };
        found.extend(members(&format!("{name}.{}", field.name()), &member)?);
    }
    Ok(found)
}

/// Columns in the few types that the validator knows: text, whole and floating numbers, decimals, Booleans and moments as
/// microseconds of UTC; structures become columns, anything else that is nested text.
fn to_plain_types(batch: &RecordBatch, times: &TimeParser) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        for (name, array) in members(field.name(), array)? {
            let plain = plain_array(&array, times)?;
            fields.push(Field::new(name, plain.data_type().clone(), true));
            arrays.push(plain);
        }
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

fn plain_array(array: &ArrayRef, times: &TimeParser) -> Result<ArrayRef> {
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
    Ok(match array.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            let utc = arrow::compute::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            reinterpret_utc(&utc)?
        }
        // A day stays a day: the time of day and the zone that a moment needs are added where one is asked for.
        DataType::Date32 | DataType::Date64 => as_text(&arrow::compute::cast(array, &DataType::Date32)?)?,
        DataType::Timestamp(_, None) => {
            let local = arrow::compute::cast(array, &microseconds)?;
            local_to_utc(&local, times)?
        }
        DataType::Utf8View | DataType::Boolean | DataType::Int64 | DataType::Decimal128(_, _) => Arc::clone(array),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            arrow::compute::cast(array, &DataType::Int64)?
        }
        DataType::UInt64 => {
            let numbers = arrow::compute::cast(array, &DataType::Int64)?;
            // A number that has no room stays as it is written, so that it can be told.
            let has_room = numbers.null_count() == array.null_count();
            if has_room { numbers } else { as_text(array)? }
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let numbers = arrow::compute::cast(array, &DataType::Float64)?;
            // Some writers have no other word for a missing number.
            let filled = numbers
                .as_primitive::<Float64Type>()
                .unary_opt::<_, Float64Type>(|number| (!number.is_nan()).then_some(number));
            Arc::new(filled)
        }
        DataType::Utf8 | DataType::LargeUtf8 => arrow::compute::cast(array, &DataType::Utf8View)?,
        DataType::Dictionary(_, _) => as_text(array)?,
        // Some writers leave texts as bytes. What is none is an id all the same: in hexadecimal digits it stays another than others.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let bytes = arrow::compute::cast(array, &DataType::LargeBinary)?;
            let text = |bytes| std::str::from_utf8(bytes).map_or_else(|_| hexadecimal(bytes), str::to_owned);
            let texts = bytes.as_binary::<i64>().iter().map(|bytes| bytes.map(text));
            Arc::new(texts.collect::<StringViewArray>())
        }
        DataType::FixedSizeBinary(_) => {
            let texts = array.as_fixed_size_binary().iter().map(|bytes| bytes.map(of_fixed_bytes));
            Arc::new(texts.collect::<StringViewArray>())
        }
        DataType::Null => arrow::array::new_null_array(&DataType::Utf8View, array.len()),
        _ => {
            let options = arrow::util::display::FormatOptions::default();
            let formatter = arrow::util::display::ArrayFormatter::try_new(array, &options)?;
            let texts: StringViewArray =
                (0..array.len()).map(|row| (!array.is_null(row)).then(|| formatter.value(row).to_string())).collect();
            Arc::new(texts)
        }
    })
}

fn as_text(array: &dyn Array) -> Result<ArrayRef> {
    Ok(arrow::compute::cast(&arrow::compute::cast(array, &DataType::Utf8)?, &DataType::Utf8View)?)
}

/// Sixteen bytes as the UUID that they are, others in hexadecimal digits.
fn of_fixed_bytes(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes).map_or_else(|_| hexadecimal(bytes), |uuid| uuid.hyphenated().to_string())
}

/// The same microseconds without the label UTC, which Polars would need a zone table for.
fn reinterpret_utc(array: &ArrayRef) -> Result<ArrayRef> {
    let numbers = arrow::compute::cast(array, &DataType::Int64)?;
    Ok(arrow::compute::cast(&numbers, &DataType::Timestamp(TimeUnit::Microsecond, None))?)
}

fn local_to_utc(array: &ArrayRef, times: &TimeParser) -> Result<ArrayRef> {
    let numbers = arrow::compute::cast(array, &DataType::Int64)?;
    let Some(local) = numbers.as_any().downcast_ref::<PrimitiveArray<Int64Type>>() else {
        return Ok(Arc::clone(array));
    };
    let instants: TimestampMicrosecondArray =
        local.unary_opt::<_, TimestampMicrosecondType>(|microseconds| times.local_to_utc(microseconds));
    Ok(Arc::new(instants))
}
