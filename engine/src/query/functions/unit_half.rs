//! `unit_draw(id, seed)`: a number drawn for a unit, the same wherever and whenever it is drawn.
//! `unit_half(id)`: 0 or 1, by the hash of a unit's id, so that a search among segments may find on one half and measure
//! on the other.
//!
//! In: ids as text. Out: the half of each; null where the id is missing. The hash has a seed of its own: an assignment that
//! was made by another hash of the same id is no other for either half.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, UInt64Array};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// "honestly", in bytes.
const SEED: u64 = 0x686f_6e65_7374_6c79;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct UnitHalf {
    signature: Signature,
}

impl UnitHalf {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for UnitHalf {
    fn name(&self) -> &'static str {
        "unit_half"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let ids = arrow::compute::cast(&arrays[0], &DataType::Utf8View)?;
        let half = |id: &str| i64::from(xxh3_64_with_seed(id.as_bytes(), SEED) & 1 == 1);
        let halves: Int64Array = ids.as_string_view().iter().map(|id| id.map(half)).collect();
        Ok(ColumnarValue::Array(Arc::new(halves) as ArrayRef))
    }
}

/// The function that draws.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct UnitDraw {
    signature: Signature,
}

impl UnitDraw {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for UnitDraw {
    fn name(&self) -> &'static str {
        "unit_draw"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let ids = arrow::compute::cast(&arrays[0], &DataType::Utf8View)?;
        let seeds = arrow::compute::cast(&arrays[1], &DataType::Utf8View)?;
        let draw = |(id, seed): (Option<&str>, Option<&str>)| {
            id.zip(seed).map(|(id, seed)| xxh3_64_with_seed(id.as_bytes(), xxh3_64(seed.as_bytes())))
        };
        let drawn: UInt64Array = ids.as_string_view().iter().zip(seeds.as_string_view()).map(draw).collect();
        Ok(ColumnarValue::Array(Arc::new(drawn) as ArrayRef))
    }
}
