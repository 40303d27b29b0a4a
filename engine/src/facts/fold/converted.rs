//! The rows of messages with a conversion, kept from one reading of the sends for the next.
//!
//! A report counts all messages, and then asks which of the few that converted saw their recipient come back. What the first
//! question has read to its end answers the second from memory.

use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, Scalar};
use arrow::datatypes::SchemaRef;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::{column, stopped};
use crate::error::Result;

/// More bytes than this are not kept: memory is for the folded messages.
const MOST_BYTES: usize = 256 << 20;

/// Whether a condition asks for messages with a conversion and no others.
pub(super) fn asks_for_converted(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Gt, right }) = condition else { return false };
    matches!(left.as_ref(), Expr::Column(Column { name, .. }) if name == column::CONVERSIONS)
        && matches!(right.as_ref(), Expr::Literal(ScalarValue::Int64(Some(0)), _))
}

/// The rows of one reading, which is of some parts side by side.
#[derive(Debug)]
pub(super) struct Collecting {
    schema: SchemaRef,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Parts that are not at their end.
    parts: usize,
    bytes: usize,
    /// `None` once there are too many.
    batches: Option<Vec<RecordBatch>>,
}

/// All rows of messages with a conversion, in the columns that a query wanted.
#[derive(Debug)]
pub(super) struct Converted {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Collecting {
    pub(super) fn new(schema: SchemaRef, parts: usize) -> Self {
        Self { schema, state: Mutex::new(State { parts, bytes: 0, batches: Some(Vec::new()) }) }
    }

    /// Keeps those rows of a batch whose messages have a conversion.
    pub(super) fn add(&self, batch: &RecordBatch) -> Result<()> {
        let Some(conversions) = batch.column_by_name(column::CONVERSIONS) else { return Ok(()) };
        let none = Scalar::new(arrow::array::Int64Array::from(vec![0]));
        let converted =
            arrow::compute::filter_record_batch(batch, &arrow::compute::kernels::cmp::gt(conversions, &none)?)?;
        if converted.num_rows() == 0 {
            return Ok(());
        }
        // Views of texts would keep all texts of the batch.
        let own = |column: &ArrayRef| -> ArrayRef {
            column.as_string_view_opt().map_or_else(|| Arc::clone(column), |texts| Arc::new(texts.gc()))
        };
        let columns = converted.columns().iter().map(own).collect();
        let converted = RecordBatch::try_new(converted.schema(), columns)?;
        let mut state = self.state.lock().map_err(|_| stopped())?;
        state.bytes += converted.get_array_memory_size();
        if state.bytes > MOST_BYTES {
            state.batches = None;
        } else if let Some(batches) = &mut state.batches {
            batches.push(converted);
        }
        Ok(())
    }

    /// Notes that a part has been read to its end; all rows when it was the last one.
    pub(super) fn finish_part(&self) -> Option<Converted> {
        let mut state = self.state.lock().ok()?;
        state.parts = state.parts.saturating_sub(1);
        if state.parts > 0 || self.schema.column_with_name(column::CONVERSIONS).is_none() {
            return None;
        }
        Some(Converted { schema: Arc::clone(&self.schema), batches: state.batches.take()? })
    }
}

impl Converted {
    /// Whether it answers all that another one does.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.schema.fields().iter().all(|field| self.schema.column_with_name(field.name()).is_some())
    }

    /// The rows in the columns of a schema, if it has no others.
    pub(super) fn in_columns(&self, schema: &SchemaRef) -> Option<Vec<RecordBatch>> {
        let places: Option<Vec<usize>> =
            schema.fields().iter().map(|field| self.schema.index_of(field.name()).ok()).collect();
        let places = places?;
        self.batches.iter().map(|batch| batch.project(&places).ok()).collect()
    }
}
