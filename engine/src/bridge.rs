//! The one bridge between the two Arrow implementations in the tree: arrow-rs (`DataFusion`, Parquet, Delta) and Polars.
//!
//! A column crosses by the Arrow C data interface: pointers move, buffers are not copied.
//! <https://arrow.apache.org/docs/format/CDataInterface.html>
#![allow(unsafe_code)] // The C data interface is a pair of `#[repr(C)]` structs; handing them over is unsafe by nature.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, make_array};
use arrow::datatypes::{Field, Schema};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use polars::prelude::{Column, CompatLevel, DataFrame, IntoColumn, Series};

use crate::error::Result;

/// Turns a Polars frame into one record batch with the same columns; a frame of many chunks is made one chunk first.
///
/// # Errors
/// When a Polars type has no Arrow counterpart.
pub fn to_record_batch(frame: &DataFrame) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(frame.width());
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(frame.width());
    for column in frame.columns() {
        let series = column.as_materialized_series().rechunk();
        let array = to_array(&series)?;
        fields.push(Field::new(series.name().as_str(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(frame.height()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

/// Turns one record batch into a Polars frame with the same columns.
///
/// # Errors
/// When an Arrow type is unknown to Polars.
pub fn to_frame(batch: &RecordBatch) -> Result<DataFrame> {
    let columns = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| to_column(field.name(), array))
        .collect::<Result<Vec<Column>>>()?;
    Ok(DataFrame::new(batch.num_rows(), columns)?)
}

fn to_array(series: &Series) -> Result<ArrayRef> {
    let level = CompatLevel::newest();
    let exported_field =
        polars_arrow::ffi::export_field_to_c(&series.dtype().to_arrow_field(series.name().clone(), level));
    let exported_array = polars_arrow::ffi::export_array_to_c(series.to_arrow(0, level));
    // SAFETY: both crates define these structs after the C data interface, field for field; ownership moves with the value.
    let data = unsafe {
        let schema: FFI_ArrowSchema = std::mem::transmute(exported_field);
        let array: FFI_ArrowArray = std::mem::transmute(exported_array);
        from_ffi(array, &schema)?
    };
    Ok(make_array(data))
}

fn to_column(name: &str, array: &ArrayRef) -> Result<Column> {
    let data = array.to_data();
    let exported_array = FFI_ArrowArray::new(&data);
    let exported_schema = FFI_ArrowSchema::try_from(array.data_type())?;
    // SAFETY: as above; Polars takes the array's ownership and releases it through the exporter's callback.
    let series = unsafe {
        let schema: polars_arrow::ffi::ArrowSchema = std::mem::transmute(exported_schema);
        let c_array: polars_arrow::ffi::ArrowArray = std::mem::transmute(exported_array);
        let field = polars_arrow::ffi::import_field_from_c(&schema)?;
        let imported = polars_arrow::ffi::import_array_from_c(c_array, field.dtype)?;
        Series::from_arrow(name.into(), imported)?
    };
    Ok(series.into_column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};

    #[test]
    fn a_batch_crosses_and_comes_back() {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef),
            (
                "text",
                Arc::new(StringArray::from(vec![Some("短信"), Some("a long text that is not inlined"), None]))
                    as ArrayRef,
            ),
        ])
        .unwrap();
        let frame = to_frame(&batch).unwrap();
        assert_eq!(frame.height(), 3);
        let back = to_record_batch(&frame).unwrap();
        assert_eq!(back.num_rows(), 3);
        let text = arrow::compute::cast(back.column(1), &arrow::datatypes::DataType::Utf8).unwrap();
        assert_eq!(text.as_ref(), batch.column(1).as_ref());
        assert_eq!(back.column(0).as_ref(), batch.column(0).as_ref());
    }

    #[test]
    fn an_empty_frame_keeps_its_columns() {
        let frame = DataFrame::new(0, vec![Column::new("x".into(), Vec::<i64>::new())]).unwrap();
        let batch = to_record_batch(&frame).unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, 1));
    }
}
