//! Units with their features and outcomes as of a moment, read into memory to learn from.

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::Float64Type;

use super::features::{FeatureSet, Recipients, TextFeatures};
use super::labels::labels;
use super::request::Target;
use crate::error::Result;
use crate::query::QuerySession;
use crate::report::cell_number;

/// Units that a model learns from at most; more are drawn from.
pub(super) const MOST_UNITS: u64 = 1_000_000;
/// Into how many parts units are drawn.
const PARTS: u64 = 1_000_000;

/// Units in the order of their ids.
pub(super) struct Units {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) outcome: Vec<f64>,
}

impl Units {
    pub(super) fn positives(&self) -> u64 {
        self.outcome.iter().filter(|outcome| **outcome > 0.5).count() as u64
    }
}

/// A draw of units: a share of all, by a hash of their ids and a seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    pub(super) seed: u64,
    /// Of a million parts, those that are drawn.
    parts: u64,
}

impl Draw {
    /// As many as may be learnt from.
    pub(super) fn of(units: u64, seed: u64) -> Self {
        let parts = if units <= MOST_UNITS { PARTS } else { (MOST_UNITS * PARTS) / units };
        Self { seed, parts }
    }

    /// The share that is drawn.
    #[allow(clippy::cast_precision_loss)] // At most a million.
    pub(super) fn share(self) -> f64 {
        self.parts as f64 / PARTS as f64
    }

    pub(super) fn condition(self, id: &str) -> String {
        if self.parts >= PARTS {
            return "TRUE".to_owned();
        }
        format!("unit_draw({id}, 'score {}') % {PARTS} < {}", self.seed, self.parts)
    }
}

/// Up to when features are counted, and what the logs tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// What is asked for; else the end of the logs.
    pub(super) as_of: jiff::Timestamp,
    /// The last event that the logs tell of.
    pub(super) end_of_logs: jiff::Timestamp,
}

impl Moment {
    pub(super) async fn of(session: &QuerySession, asked: Option<jiff::Timestamp>) -> Result<Self> {
        let end_of_logs = session.end_of_logs().await?;
        Ok(Self { as_of: asked.unwrap_or(end_of_logs), end_of_logs })
    }
}

/// How many units there are, and how many have the outcome; without those that only a condition on absent rows would find.
pub(super) async fn count_units(session: &QuerySession, target: &Target, from: i64, to: i64) -> Result<(u64, u64)> {
    let labels = labels(session, target, from, to).await?;
    let query = format!("SELECT count(*) * 1.0, coalesce(sum(outcome), 0.0) FROM ({})", labels.query);
    let found = numbers(session, &query).await?;
    let (mut units, outcomes) = (found[0], found[1]);
    if labels.otherwise.is_some() {
        let at = crate::facts::moment(from);
        let known = numbers(
            session,
            &format!(
                "SELECT (SELECT count(DISTINCT recipient_id) FROM recipients) * 1.0, \
                 (SELECT count(DISTINCT recipient_id) FROM message_facts WHERE sent_at <= {at}) * 1.0"
            ),
        )
        .await?;
        units = known[0].max(known[1]);
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts.
    Ok((units as u64, outcomes as u64))
}

async fn numbers(session: &QuerySession, query: &str) -> Result<Vec<f64>> {
    let found = session.collect(query).await?;
    let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(vec![0.0; 2]) };
    (0..batch.num_columns()).map(|column| Ok(cell_number(batch, column, 0)?.unwrap_or(0.0))).collect()
}

/// Reads the units of a target: features as of `from`, outcomes from then to `to`.
pub(super) async fn read_units(
    session: &QuerySession,
    set: &FeatureSet,
    target: &Target,
    (from, to): (i64, i64),
    draw: Draw,
) -> Result<Units> {
    if set.has_texts {
        TextFeatures::count(session, from).await?;
    }
    let labels = labels(session, target, from, to).await?;
    let (recipients, join) = if labels.otherwise.is_some() {
        (Recipients::All, "LEFT JOIN")
    } else {
        (Recipients::Of(format!("SELECT recipient_id FROM ({})", labels.query)), "INNER JOIN")
    };
    let query = format!(
        "SELECT q.*, coalesce(l.outcome, {:?}) AS \"=outcome\" FROM ({}) AS q {join} ({}) AS l ON l.recipient_id = q.recipient_id \
         ORDER BY q.recipient_id",
        labels.otherwise.unwrap_or(0.0),
        set.query(session, from, &recipients, &|id| draw.condition(id)).await?,
        labels.query,
    );
    let batches = session.collect(&query).await?;
    let mut outcome = Vec::new();
    for batch in &batches {
        let column = batch.column(batch.num_columns() - 1);
        let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Float64)?;
        outcome.extend(column.as_primitive::<Float64Type>().values());
    }
    Ok(Units { batches, outcome })
}
