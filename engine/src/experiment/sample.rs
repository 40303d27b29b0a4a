//! The hinge between data and statistics: sufficient statistics of each metric by arm, overall and by segment.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use serde::{Deserialize, Serialize};

use super::checks::Check;
use super::options::MetricKind;
use crate::error::{EngineError, Result};
use crate::report::precise::{moments, pairs, shares};
use crate::stats::{Comparison, Moments, Proportion, compare_means, compare_proportions};

/// The statistics of one metric in one arm.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum ArmStatistic {
    /// Successes among units.
    Proportion(Proportion),
    /// Count, mean and spread over units.
    Mean(#[serde(with = "moments")] Moments),
}

impl ArmStatistic {
    /// Statistics from what an aggregation gives: count, mean and sample variance of the values.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(crate) fn from_aggregate(kind: MetricKind, n: u64, mean: f64, variance: f64) -> Result<Self> {
        if n == 0 {
            return Ok(Self::empty(kind));
        }
        Ok(match kind {
            // A mean of zeros and ones is successes / n, exact in a double for every n that fits into memory.
            MetricKind::Proportion => Self::Proportion(Proportion::new(n, (mean * n as f64).round() as u64)?),
            MetricKind::Mean => {
                let variance = if n == 1 { 0.0 } else { variance };
                Self::Mean(Moments::from_n_mean_variance(n, mean, variance)?)
            }
        })
    }

    pub(crate) fn empty(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Proportion => Self::Proportion(Proportion::default()),
            MetricKind::Mean => Self::Mean(Moments::default()),
        }
    }

    pub(crate) fn n(&self) -> u64 {
        match self {
            Self::Proportion(proportion) => proportion.n,
            Self::Mean(moments) => moments.n,
        }
    }

    pub(crate) fn moments(&self) -> Result<Moments> {
        Ok(match self {
            Self::Proportion(proportion) => proportion.to_moments()?,
            Self::Mean(moments) => *moments,
        })
    }

    pub(crate) fn compare(control: &Self, treatment: &Self, alpha: f64) -> Result<Comparison> {
        Ok(match (control, treatment) {
            (Self::Proportion(control), Self::Proportion(treatment)) => {
                compare_proportions(*control, *treatment, alpha)?
            }
            _ => compare_means(&control.moments()?, &treatment.moments()?, alpha)?,
        })
    }
}

/// The aggregates of a column of values, which [`read_statistic`] reads: count, mean, sample variance.
pub(crate) fn statistic_sql(column: &str) -> String {
    format!("count({column}), avg({column}), var_samp({column})")
}

/// Reads the aggregates of one row, which begin at a column.
pub(crate) fn read_statistic(batch: &RecordBatch, row: usize, first: usize, kind: MetricKind) -> Result<ArmStatistic> {
    let n = batch.column(first).as_primitive::<Int64Type>().value(row).unsigned_abs();
    let number = |column: usize| {
        let column = batch.column(column).as_primitive::<Float64Type>();
        if column.is_null(row) { 0.0 } else { column.value(row) }
    };
    ArmStatistic::from_aggregate(kind, n, number(first + 1), number(first + 2))
}

/// Adds the rows of an aggregation by arm and, after it, by the column of a segment if one is named, to the metrics in
/// their order.
pub(crate) fn add_statistics(
    metrics: &mut [MetricSample],
    batches: &[RecordBatch],
    segment: Option<&str>,
) -> Result<()> {
    let first = if segment.is_some() { 2 } else { 1 };
    for batch in batches {
        for row in 0..batch.num_rows() {
            let arm = crate::report::cell_text(batch, 0, row)?.unwrap_or_default();
            let value = if segment.is_some() { crate::report::cell_text(batch, 1, row)? } else { None };
            for (position, metric) in metrics.iter_mut().enumerate() {
                let statistic = read_statistic(batch, row, first + 3 * position, metric.kind)?;
                let arms = match segment {
                    Some(name) => metric.segments.entry((name.to_owned(), value.clone())).or_default(),
                    None => &mut metric.overall,
                };
                arms.insert(arm.clone(), statistic);
            }
        }
    }
    Ok(())
}

/// What a metric is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricRole {
    /// The decision rests on it.
    Primary,
    /// It is looked at beside the primary one.
    Secondary,
    /// It must not get worse; less of it is better.
    Guardrail,
}

/// Statistics by arm.
pub(crate) type ByArm = BTreeMap<String, ArmStatistic>;

/// A segment: a column and one of its values.
pub(crate) type Segment = (String, Option<String>);

/// One metric of an experiment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MetricSample {
    pub(crate) name: String,
    pub(crate) kind: MetricKind,
    pub(crate) role: MetricRole,
    pub(crate) overall: ByArm,
    #[serde(with = "pairs")]
    pub(crate) segments: BTreeMap<Segment, ByArm>,
    /// Of the units that were delivered to, where delivery tells the arms apart.
    #[serde(default)]
    pub(crate) delivered: ByArm,
    /// Of those that were not.
    #[serde(default)]
    pub(crate) undelivered: ByArm,
}

impl MetricSample {
    /// A metric without any statistics yet.
    pub(crate) fn new(name: String, kind: MetricKind, role: MetricRole) -> Self {
        Self {
            name,
            kind,
            role,
            overall: ByArm::new(),
            segments: BTreeMap::new(),
            delivered: ByArm::new(),
            undelivered: ByArm::new(),
        }
    }
}

/// Everything that an analysis needs of an experiment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ExperimentSample {
    pub(crate) experiment: String,
    pub(crate) unit: String,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) versions: crate::store::Versions,
    /// Arms in the order of their names with their units; arms that are not compared are in `kept_apart`.
    pub(crate) arms: Vec<(String, u64)>,
    /// Arms that are shown and not compared (a holdout that gets no message).
    pub(crate) kept_apart: Vec<(String, u64)>,
    pub(crate) metrics: Vec<MetricSample>,
    /// Checks that only the source can make.
    pub(crate) checks: Vec<Check>,
    /// Units by arm at each later stage (sent, delivered).
    pub(crate) stages: Vec<(Cow<'static, str>, BTreeMap<String, u64>)>,
    /// Planned shares that the source knows.
    #[serde(with = "shares")]
    pub(crate) allocation: Vec<(String, f64)>,
    /// Assumptions that the source made.
    pub(crate) notes: Vec<String>,
}

impl ExperimentSample {
    /// The control arm: the one asked for, else the one named control or A, else the first.
    pub(crate) fn control(&self, wanted: Option<&str>) -> Result<String> {
        let names: Vec<&str> = self.arms.iter().map(|(arm, _)| arm.as_str()).collect();
        let listed = || names.join(", ");
        if let Some(wanted) = wanted {
            let found = names.iter().find(|name| **name == wanted);
            return found.map(|name| (*name).to_owned()).ok_or_else(|| {
                EngineError::usage(format!("there is no arm \"{wanted}\" to be the control; the arms are {}", listed()))
            });
        }
        let named = |wanted: &str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted));
        let found = named("control").or_else(|| named("A")).or_else(|| names.first());
        found.map(|name| (*name).to_owned()).ok_or_else(|| EngineError::usage("the experiment has no arms"))
    }
}
