//! An effect with its standard error, however it was estimated.
//!
//! Enters: the difference of a treatment and a control, its standard error, and the control's own value with what the
//! two have in common. Leaves: the test, the interval of the difference and Fieller's interval of the lift, all at one
//! critical value, so that they cannot contradict one another. Ratios, clusters, covariate adjustment and sequential
//! looks all end here.
//!
//! A lift θ is kept when (d − θ |C|)² ≤ c² Var(d − θ |C|): d the difference, C the control's value, c the critical value
//! of the difference (Fieller 1954, Journal of the Royal Statistical Society B 16(2)). The two may be correlated; for
//! independent arms their covariance is minus the control's variance. Divided by C², with V and W the variances of d
//! and C, K their covariance, and s the sign of C, it is a quadratic in θ, `a θ² − 2 b θ + k ≤ 0`:
//!
//! ```text
//! a = 1 − g,              g = c² W / C²
//! b = d / |C| − s c² K / C²
//! k = (d² − c² V) / C²    above zero when the difference is significant
//! b² − a k = (1 − g) c² (V − K²/W) / C² + g (d / |C| − s K / W)²
//! ```
//!
//! With g ≥ 1 the control's value itself could be zero, and the lift is unbounded.

use crate::comparison::Comparison;
use crate::distribution::{normal, students_t};
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::numeric::count;
use serde::{Deserialize, Serialize};

/// Note where an arm holds nothing.
pub(crate) const NO_UNITS: &str = "an arm has no units";
/// Note where an arm has no second unit to show a variance.
pub(crate) const ONE_UNIT: &str = "an arm has a single unit: its variance is unknown";
const EQUAL_CONSTANTS: &str = "no value varies in either arm, and the arms are equal";
const UNEQUAL_CONSTANTS: &str = "no value varies in either arm: there is nothing to hold the difference against";
const ZERO_BASELINE: &str = "the control's value is zero: a lift relative to it is not defined";

/// What every note of an unbounded lift says first.
const UNSURE_BASELINE: &str = "the control's value cannot be told from zero at this alpha, so the lift is unbounded";

/// The value of one arm, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmValue {
    /// A mean, a rate, a ratio or a quantile, in its own units.
    pub value: f64,
    /// Its squared standard error, in squared units.
    pub variance: f64,
}

/// A difference that can be tested.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EstimatedEffect {
    /// Treatment − control, in the metric's units.
    pub difference: f64,
    /// Its standard error; above zero.
    pub standard_error: f64,
    /// Degrees of freedom of the standard error, seldom whole; none where the normal distribution is used.
    pub degrees_of_freedom: Option<f64>,
    /// The control's value.
    pub baseline: f64,
    /// Squared standard error of the control's value.
    pub baseline_variance: f64,
    /// Covariance of the difference and the control's value: minus the control's variance where arms are independent.
    pub covariance: f64,
}

/// A difference that can be tested, or what is left to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A difference with a standard error.
    Estimated(EstimatedEffect),
    /// Nothing varies in either arm, and their values are the same.
    Identical {
        /// The value of both arms.
        baseline: f64,
    },
    /// There is no standard error.
    Untestable {
        /// (control, treatment) where both have a value.
        values: Option<(f64, f64)>,
        /// Why there is none.
        note: String,
    },
}

impl Effect {
    /// The effect from its parts. A standard error of zero is an effect that cannot be tested, or no effect at all.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`], [`StatsError::Negative`] or [`StatsError::NotPositive`] for parts that no data have.
    pub fn new(parts: EstimatedEffect) -> Result<Self, StatsError> {
        check_finite("the difference", parts.difference)?;
        check_finite("the control's value", parts.baseline)?;
        check_not_negative("the standard error", parts.standard_error)?;
        check_not_negative("the variance of the control's value", parts.baseline_variance)?;
        check_finite("the covariance of the difference and the control's value", parts.covariance)?;
        // Infinitely many are the normal distribution; NaN and zero are none.
        if let Some(value) = parts.degrees_of_freedom
            && (value.is_nan() || value <= 0.0)
        {
            return Err(StatsError::NotPositive { quantity: "degrees of freedom", value });
        }
        if parts.standard_error > 0.0 {
            return Ok(Self::Estimated(parts));
        }
        if parts.difference == 0.0 {
            return Ok(Self::Identical { baseline: parts.baseline });
        }
        let values = Some((parts.baseline, parts.baseline + parts.difference));
        Ok(Self::Untestable { values, note: UNEQUAL_CONSTANTS.to_owned() })
    }

    /// The effect between two arms that do not depend on one another.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`], [`StatsError::Negative`] or [`StatsError::NotPositive`] for parts that no data have.
    pub fn of_independent_arms(
        control: ArmValue,
        treatment: ArmValue,
        degrees_of_freedom: Option<f64>,
    ) -> Result<Self, StatsError> {
        check_not_negative("the variance of the control's value", control.variance)?;
        check_not_negative("the variance of the treatment's value", treatment.variance)?;
        Self::new(EstimatedEffect {
            difference: treatment.value - control.value,
            standard_error: (control.variance + treatment.variance).sqrt(),
            degrees_of_freedom,
            baseline: control.value,
            baseline_variance: control.variance,
            covariance: -control.variance,
        })
    }

    /// The difference of two means, with Welch–Satterthwaite degrees of freedom: what
    /// [`compare_means`](crate::compare_means) tests.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can have.
    pub fn of_means(control: &Moments, treatment: &Moments) -> Result<Self, StatsError> {
        control.check()?;
        treatment.check()?;
        if control.n == 0 || treatment.n == 0 {
            return Ok(Self::untestable(NO_UNITS));
        }
        let (Some(control_square), Some(treatment_square)) =
            (control.squared_standard_error(), treatment.squared_standard_error())
        else {
            return Ok(Self::Untestable { values: Some((control.mean, treatment.mean)), note: ONE_UNIT.to_owned() });
        };
        let degrees_of_freedom =
            welch_degrees_of_freedom(&[(control_square, control.n), (treatment_square, treatment.n)]);
        Self::of_independent_arms(
            ArmValue { value: control.mean, variance: control_square },
            ArmValue { value: treatment.mean, variance: treatment_square },
            degrees_of_freedom,
        )
    }

    /// No value and no standard error, and why.
    pub(crate) fn untestable(note: impl Into<String>) -> Self {
        Self::Untestable { values: None, note: note.into() }
    }

    /// Treatment − control over its standard error; zero where nothing varies and nothing differs, none without a
    /// standard error.
    #[must_use]
    pub fn statistic(&self) -> Option<f64> {
        match self {
            Self::Estimated(effect) => Some(effect.difference / effect.standard_error),
            Self::Identical { .. } => Some(0.0),
            Self::Untestable { .. } => None,
        }
    }

    /// Standard error of the difference, in the metric's units; none where there is none above zero.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        match self {
            Self::Estimated(effect) => Some(effect.standard_error),
            Self::Identical { .. } | Self::Untestable { .. } => None,
        }
    }

    /// Degrees of freedom of the standard error; none where the normal distribution is used, or nothing.
    #[must_use]
    pub fn degrees_of_freedom(&self) -> Option<f64> {
        match self {
            Self::Estimated(effect) => effect.degrees_of_freedom,
            Self::Identical { .. } | Self::Untestable { .. } => None,
        }
    }

    /// The two-sided p value, 0 to 1: Student's t with the effect's degrees of freedom, or normal without.
    #[must_use]
    pub fn p_value(&self) -> Option<f64> {
        let statistic = self.statistic()?;
        match self.degrees_of_freedom() {
            Some(degrees_of_freedom) => Some(students_t::two_sided_p_value(statistic, degrees_of_freedom)),
            None => Some(normal::two_sided_p_value(statistic)),
        }
    }

    /// The test and both intervals at confidence 1 − `alpha`; `method` says in words what they are.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`].
    pub fn comparison(&self, alpha: f64, method: impl Into<String>) -> Result<Comparison, StatsError> {
        check_alpha(alpha)?;
        let critical = match self.degrees_of_freedom() {
            Some(degrees_of_freedom) => students_t::critical_value(alpha, degrees_of_freedom),
            None => normal::critical_value(alpha),
        };
        Ok(self.comparison_at(critical, self.p_value(), method))
    }

    /// Both intervals at a critical value that another theory gives, beside that theory's p value.
    pub(crate) fn comparison_at(&self, critical: f64, p_value: Option<f64>, method: impl Into<String>) -> Comparison {
        Comparison {
            difference: self.difference_at(critical),
            lift: self.lift_at(critical),
            statistic: self.statistic(),
            p_value,
            method: method.into(),
        }
    }

    /// The same at a look before the last: where nothing has varied yet, the difference is not known to be nothing, and
    /// an interval of no width would exclude whatever comes.
    pub(crate) fn look_at(&self, critical: f64, p_value: Option<f64>, method: impl Into<String>) -> Comparison {
        let mut look = self.comparison_at(critical, p_value, method);
        if matches!(self, Self::Identical { .. }) {
            let unknown =
                |estimate: &Estimate| Estimate::from_parts(estimate.estimate, Interval::undefined(NOTHING_YET));
            (look.difference, look.lift) = (unknown(&look.difference), unknown(&look.lift));
        }
        look
    }

    fn difference_at(&self, critical: f64) -> Estimate {
        match self {
            Self::Estimated(effect) => {
                let half_width = critical * effect.standard_error;
                let difference = effect.difference;
                Estimate::new(difference, Interval::from_ends(difference - half_width, difference + half_width))
            }
            Self::Identical { .. } => no_difference(),
            Self::Untestable { values, note } => {
                Estimate::from_parts(values.map(|(control, treatment)| treatment - control), Interval::undefined(note))
            }
        }
    }

    fn lift_at(&self, critical: f64) -> Estimate {
        match self {
            Self::Estimated(effect) => match lift(effect.baseline, effect.difference) {
                Some(estimate) => Estimate::new(estimate, lifts_kept(effect, estimate, critical)),
                None => Estimate::undefined(ZERO_BASELINE),
            },
            Self::Identical { baseline } if *baseline == 0.0 => Estimate::undefined(ZERO_BASELINE),
            Self::Identical { .. } => no_difference(),
            Self::Untestable { values: None, note } => Estimate::undefined(note),
            Self::Untestable { values: Some((control, treatment)), note } => {
                match lift(*control, treatment - control) {
                    Some(estimate) => Estimate::new(estimate, Interval::undefined(note)),
                    None => Estimate::undefined(ZERO_BASELINE),
                }
            }
        }
    }
}

/// Welch–Satterthwaite degrees of freedom of a sum of variances, each `(variance, units it was estimated from)`; none
/// where the sum is zero or a single unit has a variance.
pub(crate) fn welch_degrees_of_freedom(parts: &[(f64, u64)]) -> Option<f64> {
    let total: f64 = parts.iter().map(|part| part.0).sum();
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    // As shares of their sum, the variances cannot underflow when squared.
    let mut sum = 0.0;
    for &(variance, n) in parts {
        let share = variance / total;
        if share > 0.0 {
            if n < 2 {
                return None;
            }
            sum += share * share / count(n - 1);
        }
    }
    Some(1.0 / sum)
}

/// The difference relative to the size of the baseline; none where that is zero.
fn lift(baseline: f64, difference: f64) -> Option<f64> {
    (baseline != 0.0).then(|| difference / baseline.abs())
}

/// Note of a look at arms in which nothing varies.
const NOTHING_YET: &str = "nothing varies in either arm so far";

fn no_difference() -> Estimate {
    Estimate::new(0.0, Interval::from_ends(0.0, 0.0).with_note(EQUAL_CONSTANTS))
}

/// The interval of the lift, and where the set of lifts is no interval, the part of it to report.
fn lifts_kept(effect: &EstimatedEffect, estimate: f64, critical: f64) -> Interval {
    if !critical.is_finite() {
        return Interval::undefined("no critical value at this look: no lift is excluded");
    }
    // All in units of the baseline, so that the currency cannot matter.
    let baseline = effect.baseline.abs();
    let baseline_noise = critical * effect.baseline_variance.sqrt() / baseline;
    let g = baseline_noise * baseline_noise;
    // Slope of the difference on the baseline, and what of the difference's noise it leaves over.
    let slope = if effect.baseline_variance > 0.0 { effect.covariance / effect.baseline_variance } else { 0.0 };
    let noise = critical * effect.standard_error / baseline;
    let explained = slope * baseline_noise;
    let left_over = ((noise - explained) * (noise + explained)).max(0.0);
    let signed_slope = slope * effect.baseline.signum();

    // The same difference of two numbers that the interval of the difference is made of, so that their signs agree.
    let half_width = critical * effect.standard_error;
    let size = effect.difference.abs();
    let constant = (size - half_width) / baseline * ((size + half_width) / baseline);
    let leading = 1.0 - g;
    let middle = estimate - signed_slope * g;
    let distance = estimate - signed_slope;
    let discriminant = left_over * leading + distance * distance * g;
    if !(constant.is_finite() && middle.is_finite() && discriminant.is_finite()) {
        return Interval::undefined(format!("{UNSURE_BASELINE}: the lift is too large to compute"));
    }
    // Adding magnitudes only: one root is found as sum / leading, the other as constant / sum.
    let sum = middle + discriminant.max(0.0).sqrt().copysign(middle);
    if discriminant < 0.0 || sum == 0.0 {
        if leading > 0.0 {
            return Interval::from_ends(0.0, 0.0);
        }
        return Interval::undefined(format!("{UNSURE_BASELINE}: no lift is excluded"));
    }
    // At a leading coefficient of zero the far root has just gone off to infinity on the other side.
    let far = if leading == 0.0 { f64::INFINITY.copysign(-sum) } else { sum / leading };
    let near = constant / sum;
    let (lesser, greater) = (far.min(near), far.max(near));
    if leading > 0.0 {
        return Interval::from_ends(lesser, greater);
    }

    // Everything is kept but what lies between the roots. The part with the estimate is reported, unless zero is kept
    // in the other part: an interval without zero would then speak against a test that found nothing.
    let significant = constant > 0.0;
    if estimate >= greater && (significant || greater <= 0.0) {
        let other = excluded_elsewhere(lesser, "below");
        return Interval::from_ends(greater, f64::INFINITY).with_note(format!("{UNSURE_BASELINE} above{other}"));
    }
    if estimate <= lesser && (significant || lesser >= 0.0) {
        let other = excluded_elsewhere(greater, "above");
        return Interval::from_ends(f64::NEG_INFINITY, lesser).with_note(format!("{UNSURE_BASELINE} below{other}"));
    }
    Interval::undefined(format!("{UNSURE_BASELINE}: only lifts between {lesser:.4} and {greater:.4} are excluded"))
}

/// The rest of the note: the part of the set on the other side of the gap.
fn excluded_elsewhere(end: f64, side: &str) -> String {
    if end.is_finite() { format!("; lifts {side} {end:.4} are not excluded either") } else { String::new() }
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
    use crate::comparison::compare_means;
    use crate::numeric::assert_close;

    fn moments(n: u64, mean: f64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, mean, variance).unwrap()
    }

    #[test]
    fn of_means_it_is_the_comparison_of_means() {
        for (control, treatment) in [
            (moments(3407, 0.41, 15.21), moments(3461, 0.7, 38.44)),
            (moments(8, 10.0, 9.0), moments(5, 12.0, 4.0)),
            (moments(400, -10.0, 9.0), moments(400, -8.0, 9.0)),
        ] {
            let expected = compare_means(&control, &treatment, 0.05).unwrap();
            let actual = Effect::of_means(&control, &treatment).unwrap().comparison(0.05, "here").unwrap();
            assert_close(actual.p_value.unwrap(), expected.p_value.unwrap(), 1e-12);
            for (actual, expected) in [(actual.difference, expected.difference), (actual.lift, expected.lift)] {
                assert_close(actual.estimate.unwrap(), expected.estimate.unwrap(), 1e-12);
                assert_close(actual.low.unwrap(), expected.low.unwrap(), 1e-10);
                assert_close(actual.high.unwrap(), expected.high.unwrap(), 1e-10);
            }
        }
    }

    #[test]
    fn correlated_parts_give_the_lifts_that_are_not_rejected() {
        // Each end of Fieller's interval is a lift whose own z is exactly the critical value.
        let parts = EstimatedEffect {
            difference: 0.8,
            standard_error: 0.3,
            degrees_of_freedom: None,
            baseline: -5.0,
            baseline_variance: 0.09,
            covariance: -0.02,
        };
        let lift = Effect::new(parts).unwrap().comparison(0.05, "here").unwrap().lift;
        assert_close(lift.estimate.unwrap(), 0.16, 1e-12);
        for end in [lift.low.unwrap(), lift.high.unwrap()] {
            let distance = 0.8 - end * 5.0;
            // |C| = −C: its covariance with the difference is +0.02.
            let variance = 0.09 - 2.0 * end * 0.02 + end * end * 0.09;
            assert_close(distance.abs() / variance.sqrt(), 1.9599639845400545, 1e-10);
        }
    }

    #[test]
    fn what_cannot_be_tested_says_why() {
        let still = ArmValue { value: 2.0, variance: 0.0 };
        let other = ArmValue { value: 3.0, variance: 0.0 };
        let same = Effect::of_independent_arms(still, still, None).unwrap().comparison(0.05, "here").unwrap();
        assert_eq!((same.p_value, same.difference.low, same.lift.high), (Some(1.0), Some(0.0), Some(0.0)));
        let unlike = Effect::of_independent_arms(still, other, None).unwrap().comparison(0.05, "here").unwrap();
        assert_eq!((unlike.p_value, unlike.difference.estimate, unlike.lift.estimate), (None, Some(1.0), Some(0.5)));
        assert!(unlike.difference.note.is_some() && unlike.lift.note.is_some());
        let zero = ArmValue { value: 0.0, variance: 1.0 };
        let no_lift = Effect::of_independent_arms(zero, other, None).unwrap().comparison(0.05, "here").unwrap();
        assert_eq!(no_lift.lift.estimate, None);
        assert!(no_lift.difference.low.unwrap() > 0.0);
    }

    #[test]
    fn impossible_parts_are_refused() {
        let some = ArmValue { value: 1.0, variance: 1.0 };
        let broken = ArmValue { value: f64::NAN, variance: 1.0 };
        let negative = ArmValue { value: 1.0, variance: -5.0 };
        assert!(Effect::of_independent_arms(some, broken, None).is_err());
        assert!(Effect::of_independent_arms(negative, some, None).is_err());
        assert!(Effect::of_independent_arms(some, some, Some(0.0)).is_err());
        assert!(Effect::of_independent_arms(some, some, Some(f64::INFINITY)).is_ok());
        assert!(Effect::of_independent_arms(some, some, None).unwrap().comparison(1.0, "here").is_err());
    }
}
