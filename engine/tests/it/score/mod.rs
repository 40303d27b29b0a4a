//! Scores: features counted by hand and blind to what comes later, models that recover a known truth, who may be sent to,
//! promises that hold, and what cannot be asked.

mod features;
mod recipients;
mod units;

use std::path::Path;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Float64Type;
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The columns of a Parquet file, all rows in one batch.
fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn numbers(batch: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    batch.column_by_name(column).unwrap().as_primitive::<Float64Type>().iter().collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column =
        arrow::compute::cast(batch.column_by_name(column).unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.unwrap_or("∅").to_owned()).collect()
}

/// A number in [0, 1) for a unit and a purpose, the same in every run.
fn draw(unit: usize, purpose: u64) -> f64 {
    // SplitMix64 (Steele, Lea and Flood 2014).
    let mut mixed =
        (unit as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(purpose.wrapping_mul(0xD134_2543_DE82_EF95));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    #[allow(clippy::cast_precision_loss)]
    let share = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    share
}
