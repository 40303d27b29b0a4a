//! The path of an experiment over its days: what the analysis would have said of the units that had entered by each.
//!
//! Enters: the statistics of the units that entered on each day. Leaves: for each day the comparison of all that had
//! entered by then. A unit's outcome is that known now, so that a path is no replay: late conversions of early units are
//! in it. Looking at it is looking every day: only always-valid results license a stop on the way.

use serde::Serialize;

use super::options::AnalysisOptions;
use super::sample::{ByArm, MetricSample};
use super::sequential::{AlwaysValid, always_valid};
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::Estimate;

/// One day of a path.
#[derive(Debug, Clone, Serialize)]
pub struct PathPoint {
    /// The day, as the units have it.
    pub day: String,
    /// Each other arm against the control, over the units that had entered by the end of the day.
    pub comparisons: Vec<PathComparison>,
}

/// One arm against the control on one day of a path.
#[derive(Debug, Clone, Serialize)]
pub struct PathComparison {
    /// The arm.
    pub arm: String,
    /// Units of the arm by then.
    pub n: u64,
    /// Units of the control by then.
    pub control_n: u64,
    /// The difference, in the metric's own units, as if this had been the only look.
    pub difference: Estimate,
    /// Its p value.
    pub p_value: Option<f64>,
    /// What holds at every look, where it was asked for: of this day's units, as the interval beside it, so that the last
    /// day's is the headline's. A day on which it is below alpha licensed a stop on that day, whatever came later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_valid: Option<AlwaysValid>,
}

/// The path of a metric; empty where its units have no days.
pub(crate) fn path_of(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    options: &AnalysisOptions,
) -> Result<Vec<PathPoint>> {
    let mut so_far = ByArm::new();
    let mut points = Vec::with_capacity(metric.path.len());
    // Days that are numbers go by their size, dates as they are written.
    let mut days: Vec<(&String, &ByArm)> = metric.path.iter().collect();
    days.sort_by(|(left, _), (right, _)| match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.total_cmp(&right),
        _ => left.cmp(right),
    });
    for (day, arms) in days {
        for (arm, more) in arms {
            let merged = match so_far.remove(arm) {
                Some(known) => known.merge(more)?,
                None => more.clone(),
            };
            so_far.insert(arm.clone(), merged);
        }
        let Some(baseline) = so_far.get(control) else { continue };
        let mut comparisons = Vec::with_capacity(treatments.len());
        for arm in treatments {
            let Some(treated) = so_far.get(arm) else { continue };
            let found = ArmStatistic::compare(baseline, treated, options.alpha)?;
            let valid = match options.sequential {
                Some(planned_units) => always_valid(baseline, treated, planned_units, options.alpha)?,
                None => None,
            };
            comparisons.push(PathComparison {
                arm: arm.clone(),
                n: treated.n(),
                control_n: baseline.n(),
                difference: found.difference,
                p_value: found.p_value,
                always_valid: valid,
            });
        }
        points.push(PathPoint { day: day.clone(), comparisons });
    }
    Ok(points)
}
