//! The hinge between data and statistics: two arms in, one comparison out.
//!
//! Enters: the counts or moments of a control and a treatment, one observation a randomised unit, and alpha. Leaves:
//! the difference, the lift, the statistic and the p value that a report shows side by side.
//!
//! **Invariant**: `p_value < alpha` exactly when zero lies outside the difference's interval, exactly when it lies
//! outside the lift's interval wherever a lift is defined. Proportions: the pooled z test and the score intervals that
//! invert it. Means: Welch's t test, its interval, and Fieller's with the same critical value.
//!
//! Which of the arms is treatment only turns the sign. No combination of counts panics, gives NaN, or gives a zero that
//! was not observed: what cannot be computed is missing, and a note says why.

use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::mean::{ZERO_BASELINE, fieller_interval_lift, lift, welch_interval_difference, welch_t_test};
use crate::moments::Moments;
use crate::proportion::{
    NO_UNITS, Proportion, VarianceCorrection, pooled_z_test, score_interval_difference, score_interval_ratio,
};
use serde::{Deserialize, Serialize};
use statrs::function::factorial::ln_binomial;

/// What a comparison of proportions says it was made by.
pub const PROPORTIONS_METHOD: &str =
    "pooled z test; score intervals (Mee 1984 for the difference, Koopman 1984 for the lift)";

/// What a comparison of means says it was made by.
pub const MEANS_METHOD: &str = "Welch t test; Welch interval for the difference, Fieller interval for the lift";
/// How [`compare_means`] compares arms within which no value varies.
pub const CONSTANTS_METHOD: &str = "randomisation test: no value varies within an arm, so that the difference is known";

/// A treatment held against a control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Treatment − control, in the metric's own units (a share for a proportion, not percentage points).
    pub difference: Estimate,
    /// (treatment − control) / |control|: 0.1 is +10 %.
    pub lift: Estimate,
    /// z for proportions, t for means; its sign is the difference's. None where no test can be made.
    pub statistic: Option<f64>,
    /// Two-sided, 0 to 1. None where no test can be made: the difference's note says why.
    pub p_value: Option<f64>,
    /// The test and the intervals, in words.
    pub method: String,
}

impl Comparison {
    /// Whether the test finds a difference at `alpha`. No test finds none.
    #[must_use]
    pub fn is_significant(&self, alpha: f64) -> bool {
        self.p_value.is_some_and(|p_value| p_value < alpha)
    }
}

/// Compares the shares of successes of two arms.
///
/// ```
/// use sendlift_stats::{Proportion, compare_proportions};
///
/// let control = Proportion::new(80, 48)?;
/// let treatment = Proportion::new(70, 56)?;
/// let comparison = compare_proportions(control, treatment, 0.05)?;
/// assert!(comparison.is_significant(0.05));
/// assert!(!comparison.difference.contains_zero());
/// assert!(!comparison.lift.contains_zero());
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn compare_proportions(control: Proportion, treatment: Proportion, alpha: f64) -> Result<Comparison, StatsError> {
    compare_proportions_with(control, treatment, VarianceCorrection::Uncorrected, alpha)
}

/// The same with Miettinen and Nurminen's correction of the variance where it is asked for: the test and both intervals are
/// then a little more cautious, by n / (n - 1), and agree as they do without it.
///
/// # Errors
///
/// As [`compare_proportions`].
pub fn compare_proportions_with(
    control: Proportion,
    treatment: Proportion,
    correction: VarianceCorrection,
    alpha: f64,
) -> Result<Comparison, StatsError> {
    let interval = score_interval_difference(control, treatment, alpha, correction)?;
    let ratio_interval = score_interval_ratio(control, treatment, alpha, correction)?;
    let test = pooled_z_test(control, treatment, correction)?;
    let method = match correction {
        VarianceCorrection::Uncorrected => PROPORTIONS_METHOD.to_owned(),
        VarianceCorrection::MiettinenNurminen => {
            format!("{PROPORTIONS_METHOD}; variances corrected by n / (n - 1) (Miettinen and Nurminen 1985)")
        }
    };
    let (Some(control_rate), Some(treatment_rate)) = (control.rate(), treatment.rate()) else {
        return Ok(Comparison {
            difference: Estimate::undefined(NO_UNITS),
            lift: Estimate::undefined(NO_UNITS),
            statistic: None,
            p_value: None,
            method,
        });
    };
    let difference = treatment_rate - control_rate;
    let lift = (control.successes > 0).then(|| difference / control_rate);
    Ok(Comparison {
        difference: Estimate::new(difference, interval),
        lift: Estimate::from_parts(lift, lift_of(ratio_interval)),
        statistic: test.map(|test| test.statistic),
        p_value: test.map(|test| test.p_value),
        method,
    })
}

/// The interval of a ratio as that of a lift.
fn lift_of(ratio: Interval) -> Interval {
    ratio.shifted(-1.0)
}

/// Compares the means of a metric in two arms.
///
/// Where no value varies within either arm, such as a price, and the arms differ, no standard error is there to test by. The
/// assignment is: of all ways to draw the arms, only the one that came out, and its mirror where the arms are as large, lets
/// them differ by as much. Where that is rarer than alpha, the difference is the one seen, with an interval of no width.
///
/// ```
/// use sendlift_stats::{Moments, compare_means};
///
/// let control = Moments::from_n_mean_variance(3407, 0.41, 15.21)?;
/// let treatment = Moments::from_n_mean_variance(3461, 0.70, 38.44)?;
/// let comparison = compare_means(&control, &treatment, 0.05)?;
/// assert!(comparison.is_significant(0.05));
/// assert!(!comparison.lift.contains_zero());
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn compare_means(control: &Moments, treatment: &Moments, alpha: f64) -> Result<Comparison, StatsError> {
    if let Some(comparison) = compare_constants(control, treatment, alpha)? {
        return Ok(comparison);
    }
    let test = welch_t_test(control, treatment)?;
    Ok(Comparison {
        difference: welch_interval_difference(control, treatment, alpha)?,
        lift: fieller_interval_lift(control, treatment, alpha)?,
        statistic: test.statistic,
        p_value: test.p_value,
        method: MEANS_METHOD.to_owned(),
    })
}

/// The comparison of arms within which nothing varies, by Fisher's randomisation test (1935, The Design of Experiments); none
/// where something varies, nothing differs, or the units are too few.
fn compare_constants(control: &Moments, treatment: &Moments, alpha: f64) -> Result<Option<Comparison>, StatsError> {
    check_alpha(alpha)?;
    control.check()?;
    treatment.check()?;
    let is_constant = |arm: &Moments| arm.squared_standard_error() == Some(0.0);
    let difference = treatment.mean - control.mean;
    if !is_constant(control) || !is_constant(treatment) || difference == 0.0 {
        return Ok(None);
    }
    let mirrors = if control.n == treatment.n { 2.0 } else { 1.0 };
    let p_value = mirrors * (-ln_binomial(control.n.saturating_add(treatment.n), control.n)).exp();
    if p_value > alpha {
        return Ok(None);
    }
    let known = |value: f64| Estimate::new(value, Interval::from_ends(value, value));
    let lift = lift(control.mean, difference);
    Ok(Some(Comparison {
        difference: known(difference),
        lift: lift.map_or_else(|| Estimate::undefined(ZERO_BASELINE), known),
        statistic: None,
        p_value: Some(p_value),
        method: CONSTANTS_METHOD.to_owned(),
    }))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::unreadable_literal,
    reason = "golden numbers as the oracle prints them"
)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn proportions(treatment: (u64, u64), control: (u64, u64)) -> Comparison {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        compare_proportions(control, treatment, 0.05).unwrap()
    }

    #[test]
    fn what_varies_in_no_arm_is_tested_by_the_assignment() {
        // 1 / C(12, 5) = 1 / 792, and 2 / C(6, 3) = 2 / 20: by hand.
        let constant = |n, mean| Moments::from_n_mean_variance(n, mean, 0.0).unwrap();
        let found = compare_means(&constant(5, 0.05), &constant(7, 0.10), 0.05).unwrap();
        assert_close(found.p_value.unwrap(), 1.0 / 792.0, 1e-12);
        assert_eq!((found.difference.low, found.difference.high), (Some(0.05), Some(0.05)));
        assert_eq!((found.lift.low, found.lift.high), (Some(1.0), Some(1.0)));
        let few = compare_means(&constant(3, 0.05), &constant(3, 0.10), 0.05).unwrap();
        assert_eq!((few.p_value, few.difference.estimate, few.difference.low), (None, Some(0.05), None));
        let same = compare_means(&constant(300, 0.05), &constant(300, 0.05), 0.05).unwrap();
        assert_eq!(same.p_value, Some(1.0));
        let many = compare_means(&constant(2_000_000, 0.0), &constant(2_000_000, 0.10), 0.05).unwrap();
        assert_eq!((many.p_value, many.lift.estimate), (Some(0.0), None));
    }

    #[test]
    fn proportions_of_a_real_campaign() {
        // Hillstrom (2008), men's e-mail against none, visits: +7.66 points, z 22.49 (README of the real data); the
        // lift's interval is statsmodels 0.15.0's score interval of the ratio less one.
        let comparison = proportions((3894, 21307), (2262, 21306));
        assert_close(comparison.difference.estimate.unwrap(), 0.0766, 1e-3);
        assert_close(comparison.statistic.unwrap(), 22.48604082719282, 1e-11);
        assert_close(comparison.p_value.unwrap(), 5.685165482802317e-112, 1e-10);
        assert_close(comparison.lift.low.unwrap(), 0.6404376185188903, 1e-9);
        assert_close(comparison.lift.high.unwrap(), 0.806467564762454, 1e-9);
    }

    #[test]
    fn a_text_message_trial_that_found_nothing() {
        // Outvote (Schein et al. 2021), all rows: +0.40 points, z 0.851, p 0.395.
        let comparison = proportions((132105, 185179), (7051, 9939));
        assert_close(comparison.difference.estimate.unwrap(), 0.0040, 2e-2);
        assert_close(comparison.p_value.unwrap(), 0.39471730257954807, 1e-10);
        assert!(comparison.difference.contains_zero());
        assert!(comparison.lift.contains_zero());
        assert!(!comparison.is_significant(0.05));
    }

    #[test]
    fn means_of_a_real_campaign() {
        // Hillstrom (2008), men's e-mail against none, spend: +0.770, t 5.300, p 1.16e-7 (README of the real data);
        // digits by SciPy 1.17.1.
        let control = Moments::from_n_mean_variance(21306, 0.6527893551112361, 134.28637185302165);
        let treatment = Moments::from_n_mean_variance(21307, 1.422616511005773, 315.21179886555484);
        let comparison = compare_means(&control.unwrap(), &treatment.unwrap(), 0.05).unwrap();
        assert_close(comparison.difference.estimate.unwrap(), 0.770, 1e-3);
        assert_close(comparison.statistic.unwrap(), 5.300140358411669, 1e-11);
        assert_close(comparison.p_value.unwrap(), 1.1638149682254824e-7, 1e-10);
        assert_close(comparison.lift.low.unwrap(), 0.6436753843630645, 1e-9);
        assert!(comparison.is_significant(1e-6));
    }

    #[test]
    fn an_empty_arm_gives_notes_and_no_zeros() {
        let some = Proportion { n: 10, successes: 3 };
        let none = Proportion::default();
        for (control, treatment) in [(some, none), (none, some), (none, none)] {
            let comparison = compare_proportions(control, treatment, 0.05).unwrap();
            let moments = (control.to_moments().unwrap(), treatment.to_moments().unwrap());
            let of_means = compare_means(&moments.0, &moments.1, 0.05).unwrap();
            for comparison in [comparison, of_means] {
                assert_eq!(comparison.statistic, None);
                assert_eq!(comparison.p_value, None);
                for estimate in [comparison.difference, comparison.lift] {
                    assert_eq!((estimate.estimate, estimate.low, estimate.high), (None, None, None));
                    assert!(estimate.note.is_some());
                }
            }
        }
    }

    #[test]
    fn a_control_without_success_has_a_difference_and_no_lift() {
        let comparison = proportions((9, 10), (0, 10));
        assert!(comparison.difference.low.unwrap() > 0.0);
        assert_eq!(comparison.lift.estimate, None);
        assert!(comparison.lift.low.unwrap() > 0.0);
        assert_eq!(comparison.lift.high, None);
        assert!(comparison.lift.note.is_some());

        let nothing = proportions((0, 10), (0, 20));
        assert_eq!(nothing.difference.estimate, Some(0.0));
        assert!(nothing.difference.low.unwrap() < 0.0);
        assert_eq!(nothing.p_value, Some(1.0));
        assert_eq!(nothing.lift.estimate, None);
        assert_eq!(nothing.lift.low, None);
        assert!(nothing.lift.note.is_some());
    }

    #[test]
    fn losing_every_success_is_a_lift_of_minus_one() {
        let comparison = proportions((0, 10), (9, 10));
        assert_eq!(comparison.lift.estimate, Some(-1.0));
        assert_eq!(comparison.lift.low, Some(-1.0));
        assert!(comparison.lift.high.unwrap() < 0.0);
    }

    #[test]
    fn impossible_input_is_refused() {
        let some = Proportion { n: 10, successes: 3 };
        assert!(compare_proportions(some, some, 0.0).is_err());
        assert!(compare_proportions(some, Proportion { n: 1, successes: 2 }, 0.05).is_err());
        assert!(compare_proportions(Proportion::default(), some, f64::NAN).is_err());
        let broken = Moments { n: 3, mean: 1.0, sum_squared_deviations: -1.0 };
        assert!(compare_means(&broken, &Moments::default(), 0.05).is_err());
        assert!(compare_means(&Moments::default(), &Moments::default(), 1.0).is_err());
    }
}
