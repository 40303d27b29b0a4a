//! The rows of the file: scores with what is known beside them, those left out counted by reason.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};

use super::summary::IneligibleCount;
use crate::error::{EngineError, Result};
use crate::score::deciles::Deciles;
use crate::score::model::{ScoreModel, Scorer};
use crate::score::request::ScoreRequest;

/// Columns of the file that an audience is chosen by.
pub(super) const SCORE: &str = "score";
pub(super) const EXPECTED_PROFIT: &str = "expected_profit";
pub(super) const ELIGIBLE: &str = "eligible";
pub(super) const IN_AUDIENCE: &str = "in_audience";
pub(super) const OPT_OUT_PROBABILITY: &str = "opt_out_probability";

/// Makes rows of the file out of scored recipients.
pub(super) struct RowMaker<'a> {
    request: &'a ScoreRequest,
    model: &'a ScoreModel,
    deciles: Deciles,
    channel: String,
    schema: SchemaRef,
    /// Recipients who may not be sent to, by reason.
    pub(super) left_out: Vec<IneligibleCount>,
    /// How many may be sent to, and the sum of their scores.
    eligible: (u64, f64),
}

impl<'a> RowMaker<'a> {
    pub(super) fn new(request: &'a ScoreRequest, model: &'a ScoreModel, deciles: Deciles, channel: String) -> Self {
        Self { request, model, deciles, channel, schema: out_schema(), left_out: Vec::new(), eligible: (0, 0.0) }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The mean score of those who may be sent to; none without any.
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    pub(super) fn mean_score(&self) -> Option<f64> {
        let (n, sum) = self.eligible;
        (n > 0).then(|| sum / n as f64)
    }

    /// The rows of a batch that belong into the file.
    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let reason = cast(column(batch, "ineligible_reason")?, &DataType::Utf8)?;
        let scores = column(batch, SCORE)?.as_primitive::<Float64Type>();
        for (score, reason) in scores.iter().zip(reason.as_string::<i32>()) {
            match reason {
                Some(reason) => self.leave_out(reason),
                None => self.eligible = (self.eligible.0 + 1, self.eligible.1 + score.unwrap_or(0.0)),
            }
        }
        let eligible = arrow::compute::is_null(&reason)?;
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match field.name().as_str() {
                "decile" => {
                    Arc::new(scores.iter().map(|score| Some(self.deciles.tenth(score?))).collect::<Int32Array>())
                }
                ELIGIBLE => Arc::new(eligible.clone()) as ArrayRef,
                IN_AUDIENCE => arrow::array::new_null_array(&DataType::Boolean, rows),
                "channel" => repeated(Some(&self.channel), rows),
                "variant" => better_arm(self.model, scores),
                "model_id" => repeated(Some(&self.model.id), rows),
                name => cast(column(batch, name)?, field.data_type())?,
            });
        }
        let rows = RecordBatch::try_new(self.schema(), columns)?;
        Ok(if self.request.include_ineligible { rows } else { arrow::compute::filter_record_batch(&rows, &eligible)? })
    }

    fn leave_out(&mut self, reason: &str) {
        match self.left_out.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.n += 1,
            None => self.left_out.push(IneligibleCount { reason: reason.to_owned(), n: 1 }),
        }
    }
}

fn out_schema() -> SchemaRef {
    let (text, number) =
        (|name: &str| Field::new(name, DataType::Utf8, true), |name: &str| Field::new(name, DataType::Float64, true));
    let whole = |name: &str| Field::new(name, DataType::Int32, true);
    Arc::new(Schema::new(vec![
        text("recipient_id"),
        number(SCORE),
        whole("decile"),
        number("uplift"),
        number(OPT_OUT_PROBABILITY),
        number(EXPECTED_PROFIT),
        Field::new(IN_AUDIENCE, DataType::Boolean, true),
        text("variant"),
        text("channel"),
        text("window"),
        text("life_cycle"),
        whole("rfm_recency"),
        whole("rfm_frequency"),
        whole("rfm_monetary"),
        Field::new(ELIGIBLE, DataType::Boolean, true),
        text("ineligible_reason"),
        text("reasons"),
        text("model_id"),
    ]))
}

/// One text in every row, or nothing.
fn repeated(text: Option<&str>, rows: usize) -> ArrayRef {
    Arc::new(std::iter::repeat_n(text, rows).collect::<StringArray>())
}

/// The arm that is better for each recipient, where the model compares two.
fn better_arm(model: &ScoreModel, scores: &Float64Array) -> ArrayRef {
    let arms = match &model.scorer {
        Scorer::Uplift(scorer) if !scorer.treatment.contains(", ") => Some((&scorer.treatment, &scorer.control)),
        _ => None,
    };
    let better = |score: Option<f64>| -> Option<&str> {
        let (treatment, control) = arms?;
        score.map(|score| if score > 0.0 { treatment.as_str() } else { control.as_str() })
    };
    Arc::new(scores.iter().map(better).collect::<StringArray>())
}

/// A column by its name.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| EngineError::usage(format!("there is no column \"{name}\"")))
}
