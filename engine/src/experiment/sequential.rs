//! Always-valid results, for experiments that are looked at whenever somebody likes.
//!
//! Enters: the statistics of two arms, and the size at which the intervals should be tightest, chosen before the first
//! look. Leaves: intervals and a p value that hold at all looks together (asymptotic confidence sequences). Where they are
//! asked for, the decision rests on them.

use serde::Serialize;

use super::sample::ArmStatistic;
use crate::error::Result;
use crate::stats::{Estimate, always_valid_means};

/// Units of both arms together at which the intervals are tightest where no plan says it. It must not follow the data: a
/// boundary that moves with every look is none.
pub const DEFAULT_PLANNED_UNITS: u64 = 10_000;

/// A comparison that stays valid however often one looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlwaysValid {
    /// The difference, in the metric's own units.
    pub difference: Estimate,
    /// The lift.
    pub lift: Estimate,
    /// The always-valid p value.
    pub p_value: Option<f64>,
    /// The same, adjusted for the comparisons that belong together.
    pub p_value_adjusted: Option<f64>,
    /// Units of both arms at which the intervals are tightest.
    pub planned_units: u64,
    /// The method, in words.
    pub method: String,
}

/// Holds an arm against the control at one of any number of looks.
pub(crate) fn always_valid(
    control: &ArmStatistic,
    treatment: &ArmStatistic,
    planned_units: u64,
    alpha: f64,
) -> Result<AlwaysValid> {
    // Of zeros and ones these are the sequences of proportions.
    let found = always_valid_means(&control.moments()?, &treatment.moments()?, planned_units, alpha)?;
    Ok(AlwaysValid {
        difference: found.difference,
        lift: found.lift,
        p_value: found.p_value,
        p_value_adjusted: found.p_value,
        planned_units,
        method: found.method,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Moments, Proportion};

    #[test]
    fn means_and_shares_have_one() {
        // stats/tests/oracle/sequential.py: the formulas in NumPy, the lift by inverting z with brentq.
        let mean = |n, mean, variance| ArmStatistic::Mean(Moments::from_n_mean_variance(n, mean, variance).unwrap());
        let look = always_valid(&mean(3407, 0.41, 15.21), &mean(3461, 0.7, 38.44), 10_000, 0.05).unwrap();
        for (actual, expected) in [
            (look.p_value, 0.259_290_720_710),
            (look.difference.low, -0.090_475_184_591),
            (look.difference.high, 0.670_475_184_591),
            (look.lift.low, -0.176_759_523_663),
            (look.lift.high, 2.710_883_625_145),
        ] {
            assert!((actual.unwrap() - expected).abs() < 1e-9, "{actual:?} is not {expected}");
        }
        let share = |n, successes| ArmStatistic::Proportion(Proportion::new(n, successes).unwrap());
        let look = always_valid(&share(5_000, 500), &share(5_000, 750), 10_000, 0.05).unwrap();
        assert!(look.p_value.unwrap() < 1e-6 && !look.difference.contains_zero() && !look.lift.contains_zero());
        let thin = always_valid(&share(5_000, 500), &share(0, 0), 10_000, 0.05).unwrap();
        assert!(thin.p_value.is_none() && thin.difference.note.is_some());
    }
}
