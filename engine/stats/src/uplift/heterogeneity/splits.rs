//! What several random splits of the same units say together.
//!
//! Enters: an estimate and its standard error from each split, each with its own folds and models. Leaves: one estimate,
//! one interval and one p value that allow for the luck of the split. Chernozhukov et al. (2018), section 3.3: medians
//! over the splits, of estimates as they are, of interval ends at half the error rate, of p values doubled.
//!
//! With an even number of splits there are two middle values; the estimate is their mean, and the ends and the p value
//! are the less favourable ones, so that the interval is never too short by choice.

use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use serde::{Deserialize, Serialize};

/// One split's estimate of something, such as a coefficient of the best linear predictor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SplitEstimate {
    /// The estimate.
    pub estimate: f64,
    /// Its standard error, given the split.
    pub standard_error: f64,
}

/// The medians over splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CombinedSplits {
    /// Number of splits.
    pub splits: u64,
    /// Median estimate, and an interval of confidence 1 − alpha over units and splits.
    #[serde(flatten)]
    pub value: Estimate,
    /// Twice the median p value, at most one; none where a standard error is zero.
    pub p_value: Option<f64>,
}

/// Puts the estimates of several splits together, at error rate `alpha` (each split at half of it).
///
/// # Errors
/// [`StatsError::InvalidAlpha`]; [`StatsError::NoUnits`] without a split; [`StatsError::NotFinite`] or
/// [`StatsError::Negative`] for an estimate or a standard error that cannot be.
pub fn combine_splits(splits: &[SplitEstimate], alpha: f64) -> Result<CombinedSplits, StatsError> {
    check_alpha(alpha)?;
    if splits.is_empty() {
        return Err(StatsError::NoUnits);
    }
    for split in splits {
        check_finite("the estimate of a split", split.estimate)?;
        check_not_negative("the standard error of a split", split.standard_error)?;
    }
    let critical_value = normal::critical_value(alpha / 2.0);
    let middle = |of: &dyn Fn(&SplitEstimate) -> f64| medians(splits.iter().map(of).collect());
    let (lower, upper) = middle(&|split| split.estimate);
    let (low, _) = middle(&|split| split.estimate - critical_value * split.standard_error);
    let (_, high) = middle(&|split| split.estimate + critical_value * split.standard_error);
    let p_value = splits.iter().all(|split| split.standard_error > 0.0).then(|| {
        let (_, p_value) = middle(&|split| normal::two_sided_p_value(split.estimate / split.standard_error));
        (2.0 * p_value).min(1.0)
    });
    Ok(CombinedSplits {
        splits: splits.len() as u64,
        value: Estimate::new(f64::midpoint(lower, upper), Interval::from_ends(low, high)),
        p_value,
    })
}

/// The lower and the upper median: the same for an odd number.
fn medians(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[(values.len() - 1) / 2], values[values.len() / 2])
}
