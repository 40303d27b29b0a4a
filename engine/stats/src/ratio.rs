//! Ratio metrics by the delta method: revenue per click, clicks per message, with the recipient as the unit.
//!
//! Enters: for each randomised unit a numerator y and a denominator z (a recipient's revenue and clicks), as mergeable
//! moments. Leaves: the ratio R = ȳ / z̄ of an arm, the difference of two arms' ratios, and its lift.
//!
//! Messages, clicks and sessions of one recipient hang together, so that dividing totals and treating each click as an
//! observation understates the error. The delta method takes the recipient as the unit. Deng, Knoblich and Lu (2018),
//! "Applying the Delta Method in Metric Analytics", KDD; Cochran (1977), "Sampling Techniques", section 6.4:
//!
//! ```text
//! Var(R) = (v_y + R² v_z − 2 R c_yz) / (n z̄²)      v, c: sample variances and covariance over the n units
//! ```
//!
//! The difference has Welch–Satterthwaite degrees of freedom; the lift is Fieller's with the same critical value, so the
//! two cannot contradict one another. The linearisation needs a denominator that is well away from zero: where its mean
//! is not told from zero no interval is given, and where it is less than [`ROUGH_BELOW`] standard errors away a note
//! says that the interval is rough.

use crate::comparison::Comparison;
use crate::distribution::students_t;
use crate::effect::{ArmValue, Effect, NO_UNITS, ONE_UNIT, welch_degrees_of_freedom};
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;
use crate::numeric::count;
use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::Add;

/// What a comparison of ratios says it was made by.
pub const RATIOS_METHOD: &str =
    "delta method with Welch-Satterthwaite degrees of freedom; Fieller interval for the lift";

/// Standard errors between the mean denominator and zero below which an interval is noted as rough.
pub const ROUGH_BELOW: f64 = 10.0;

const NO_DENOMINATOR: &str = "the denominator is zero in an arm: its ratio is not defined";
const UNSURE_DENOMINATOR: &str = "the denominator of an arm cannot be told from zero: too few units to linearise";
const ROUGH: &str = "the denominator of an arm is within ten standard errors of zero: the interval is rough";

/// Counts, means and centred second moments of a numerator and a denominator over the units of one group.
///
/// The default is the empty group.
///
/// ```
/// use sendlift_stats::RatioMoments;
///
/// // Revenue and clicks of four recipients.
/// let group = RatioMoments::from_values([(10.0, 2.0), (0.0, 1.0), (0.0, 0.0), (6.0, 1.0)])?;
/// assert_eq!(group.ratio(), Some(4.0));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RatioMoments {
    /// Units observed.
    pub n: u64,
    /// Mean of the numerator over all units.
    pub numerator_mean: f64,
    /// Mean of the denominator over all units.
    pub denominator_mean: f64,
    /// Sum of squared deviations of the numerator.
    pub numerator_squares: f64,
    /// Sum of squared deviations of the denominator.
    pub denominator_squares: f64,
    /// Sum of products of the two deviations.
    pub products: f64,
}

impl RatioMoments {
    /// Moments of `(numerator, denominator)` of each unit, by Welford's update.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`] at the first value that is NaN or infinite.
    pub fn from_values(values: impl IntoIterator<Item = (f64, f64)>) -> Result<Self, StatsError> {
        let mut moments = Self::default();
        for (numerator, denominator) in values {
            check_finite("a numerator", numerator)?;
            check_finite("a denominator", denominator)?;
            moments.n += 1;
            let n = count(moments.n);
            let numerator_step = numerator - moments.numerator_mean;
            let denominator_step = denominator - moments.denominator_mean;
            moments.numerator_mean += numerator_step / n;
            moments.denominator_mean += denominator_step / n;
            let denominator_rest = denominator - moments.denominator_mean;
            moments.numerator_squares += numerator_step * (numerator - moments.numerator_mean);
            moments.denominator_squares += denominator_step * denominator_rest;
            moments.products += numerator_step * denominator_rest;
        }
        Ok(moments)
    }

    /// Moments from an aggregate: the moments of each, and their *sample* covariance (divided by n − 1), as SQL's
    /// `covar_samp` gives it. With fewer than two units the covariance is ignored.
    ///
    /// # Errors
    ///
    /// [`StatsError::LengthsDiffer`] unless both count the same units; [`StatsError::NotFinite`] or
    /// [`StatsError::Negative`] for moments that no data can have.
    pub fn from_moments(numerator: &Moments, denominator: &Moments, covariance: f64) -> Result<Self, StatsError> {
        if numerator.n != denominator.n {
            let lengths = (usize::try_from(numerator.n), usize::try_from(denominator.n));
            return Err(StatsError::LengthsDiffer {
                counts: lengths.0.unwrap_or(usize::MAX),
                weights: lengths.1.unwrap_or(usize::MAX),
            });
        }
        let products = if numerator.n < 2 { 0.0 } else { covariance * count(numerator.n - 1) };
        let moments = Self {
            n: numerator.n,
            numerator_mean: numerator.mean,
            denominator_mean: denominator.mean,
            numerator_squares: numerator.sum_squared_deviations,
            denominator_squares: denominator.sum_squared_deviations,
            products,
        };
        moments.check()?;
        Ok(moments)
    }

    /// The moments of both groups together. An empty group changes nothing.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if other.n == 0 {
            return self;
        }
        if self.n == 0 {
            return other;
        }
        let n = self.n.saturating_add(other.n);
        let share_of_other = count(other.n) / count(n);
        let weight = count(self.n) * share_of_other;
        let numerator_gap = other.numerator_mean - self.numerator_mean;
        let denominator_gap = other.denominator_mean - self.denominator_mean;
        Self {
            n,
            numerator_mean: self.numerator_mean + numerator_gap * share_of_other,
            denominator_mean: self.denominator_mean + denominator_gap * share_of_other,
            numerator_squares: self.numerator_squares
                + other.numerator_squares
                + numerator_gap * numerator_gap * weight,
            denominator_squares: self.denominator_squares
                + other.denominator_squares
                + denominator_gap * denominator_gap * weight,
            products: self.products + other.products + numerator_gap * denominator_gap * weight,
        }
    }

    /// Mean numerator over mean denominator; none without units or with a denominator of zero.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let ratio = self.numerator_mean / self.denominator_mean;
        (self.n > 0 && self.denominator_mean != 0.0 && ratio.is_finite()).then_some(ratio)
    }

    /// Squared standard error of the ratio; none where there is no ratio, or fewer than two units.
    #[must_use]
    pub fn squared_standard_error(&self) -> Option<f64> {
        let ratio = self.ratio()?;
        if self.n < 2 {
            return None;
        }
        // In units of the denominator first, so that neither square overflows where the result does not.
        let squares = self.numerator_squares + ratio * (ratio * self.denominator_squares - 2.0 * self.products);
        let variance = squares.max(0.0) / count(self.n - 1);
        Some(variance / count(self.n) / self.denominator_mean / self.denominator_mean)
    }

    /// The ratio with its interval at confidence 1 − `alpha`, Student's t with n − 1 degrees of freedom.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
    /// have.
    pub fn estimate(&self, alpha: f64) -> Result<Estimate, StatsError> {
        check_alpha(alpha)?;
        self.check()?;
        if self.n == 0 {
            return Ok(Estimate::undefined(NO_UNITS));
        }
        let Some(ratio) = self.ratio() else {
            return Ok(Estimate::undefined(NO_DENOMINATOR));
        };
        let Some(square) = self.squared_standard_error() else {
            return Ok(Estimate::new(ratio, Interval::undefined(ONE_UNIT)));
        };
        let critical = students_t::critical_value(alpha, count(self.n - 1));
        let distance = self.denominator_distance();
        if distance <= critical {
            return Ok(Estimate::new(ratio, Interval::undefined(UNSURE_DENOMINATOR)));
        }
        let half_width = critical * square.sqrt();
        let interval = Interval::from_ends(ratio - half_width, ratio + half_width);
        Ok(Estimate::new(ratio, if distance < ROUGH_BELOW { interval.with_note(ROUGH) } else { interval }))
    }

    /// Standard errors between the mean denominator and zero; infinite for a constant denominator.
    fn denominator_distance(&self) -> f64 {
        if self.n < 2 || self.denominator_squares <= 0.0 {
            return f64::INFINITY;
        }
        let standard_error = (self.denominator_squares / count(self.n - 1) / count(self.n)).sqrt();
        self.denominator_mean.abs() / standard_error
    }

    /// Refuses moments that no data can have: the fields are public, and may come from a file.
    pub(crate) fn check(&self) -> Result<(), StatsError> {
        if self.n == 0 {
            return Ok(());
        }
        check_finite("the mean numerator", self.numerator_mean)?;
        check_finite("the mean denominator", self.denominator_mean)?;
        check_not_negative("the numerator's sum of squared deviations", self.numerator_squares)?;
        check_not_negative("the denominator's sum of squared deviations", self.denominator_squares)?;
        check_finite("the sum of products of deviations", self.products)?;
        // Cauchy and Schwarz, with room for the rounding of sums that were not centred.
        let (numerator, denominator) = (self.numerator_squares.sqrt(), self.denominator_squares.sqrt());
        let raw = numerator * self.denominator_mean.abs() + denominator * self.numerator_mean.abs();
        let most = numerator * denominator + 1e-9 * raw * count(self.n).sqrt();
        check_not_negative(
            "the largest possible covariance of numerator and denominator, less the one given,",
            most * (1.0 + 1e-9) - self.products.abs() + f64::MIN_POSITIVE,
        )
    }
}

impl Add for RatioMoments {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.merge(other)
    }
}

impl Sum for RatioMoments {
    fn sum<I: Iterator<Item = Self>>(groups: I) -> Self {
        groups.fold(Self::default(), Self::merge)
    }
}

impl<'a> Sum<&'a RatioMoments> for RatioMoments {
    fn sum<I: Iterator<Item = &'a RatioMoments>>(groups: I) -> Self {
        groups.copied().sum()
    }
}

/// The effect on a ratio: what [`compare_ratios`] tests, for use by sequential methods too.
///
/// # Errors
///
/// [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can have.
pub fn ratio_effect(control: &RatioMoments, treatment: &RatioMoments) -> Result<Effect, StatsError> {
    control.check()?;
    treatment.check()?;
    if control.n == 0 || treatment.n == 0 {
        return Ok(Effect::untestable(NO_UNITS));
    }
    let (Some(control_ratio), Some(treatment_ratio)) = (control.ratio(), treatment.ratio()) else {
        return Ok(Effect::untestable(NO_DENOMINATOR));
    };
    let values = Some((control_ratio, treatment_ratio));
    let (Some(control_square), Some(treatment_square)) =
        (control.squared_standard_error(), treatment.squared_standard_error())
    else {
        return Ok(Effect::Untestable { values, note: ONE_UNIT.to_owned() });
    };
    // Two standard errors: whatever alpha is asked for, below that the linearisation means nothing.
    if control.denominator_distance().min(treatment.denominator_distance()) < 2.0 {
        return Ok(Effect::Untestable { values, note: UNSURE_DENOMINATOR.to_owned() });
    }
    Effect::of_independent_arms(
        ArmValue { value: control_ratio, variance: control_square },
        ArmValue { value: treatment_ratio, variance: treatment_square },
        welch_degrees_of_freedom(&[(control_square, control.n), (treatment_square, treatment.n)]),
    )
}

/// Compares the ratios of two arms.
///
/// ```
/// use sendlift_stats::{RatioMoments, compare_ratios};
///
/// // Revenue and clicks of each recipient.
/// let control = RatioMoments::from_values((0..400).map(|i| (f64::from(i % 7), f64::from(1 + i % 3))))?;
/// let treatment = RatioMoments::from_values((0..400).map(|i| (f64::from(i % 9), f64::from(1 + i % 3))))?;
/// let comparison = compare_ratios(&control, &treatment, 0.05)?;
/// assert!(comparison.is_significant(0.05));
/// assert!(!comparison.lift.contains_zero());
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn compare_ratios(control: &RatioMoments, treatment: &RatioMoments, alpha: f64) -> Result<Comparison, StatsError> {
    let mut comparison = ratio_effect(control, treatment)?.comparison(alpha, RATIOS_METHOD)?;
    let rough = control.denominator_distance().min(treatment.denominator_distance()) < ROUGH_BELOW;
    if rough && comparison.p_value.is_some() {
        for estimate in [&mut comparison.difference, &mut comparison.lift] {
            estimate.note.get_or_insert_with(|| ROUGH.to_owned());
        }
    }
    Ok(comparison)
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

    /// From raw sums, as the published example gives them.
    fn from_sums(n: u32, y: (f64, f64), z: (f64, f64), products: f64) -> RatioMoments {
        let size = f64::from(n);
        RatioMoments {
            n: u64::from(n),
            numerator_mean: y.0 / size,
            denominator_mean: z.0 / size,
            numerator_squares: y.1 - y.0 * y.0 / size,
            denominator_squares: z.1 - z.0 * z.0 / size,
            products: products - y.0 * z.0 / size,
        }
    }

    fn published() -> (RatioMoments, RatioMoments) {
        let treatment = from_sums(2034, (99673.9364269569, 11298745.182728939), (947.0, 947.0), 99673.9364269569);
        let control = from_sums(1966, (94605.79858780127, 10463129.505392816), (936.0, 936.0), 94605.79858780127);
        (control, treatment)
    }

    #[test]
    fn the_published_example() {
        // The sums of gbstats' ratio example (design/statistics.md), which prints a lift of .041333.
        // Errors, degrees of freedom, p and Fieller's ends by tests/oracle/ratio.py (NumPy, SciPy 1.17.1).
        let (control, treatment) = published();
        let comparison = compare_ratios(&control, &treatment, 0.05).unwrap();
        assert_close(comparison.lift.estimate.unwrap(), 0.041333, 2e-5);
        assert_close(comparison.difference.estimate.unwrap(), 4.1777376521718, 1e-9);
        assert_close(comparison.difference.low.unwrap(), 1.4540016505548192, 1e-8);
        assert_close(comparison.difference.high.unwrap(), 6.901473653788781, 1e-8);
        assert_close(comparison.p_value.unwrap(), 0.002653526036389713, 1e-8);
        assert_close(comparison.lift.low.unwrap(), 0.014181059639700233, 1e-8);
        assert_close(comparison.lift.high.unwrap(), 0.06929188591657999, 1e-8);
        let effect = ratio_effect(&control, &treatment).unwrap();
        assert_close(effect.standard_error().unwrap(), 1.3892631386717411, 1e-9);
        assert_close(effect.degrees_of_freedom().unwrap(), 3970.5615240253373, 1e-9);
    }

    #[test]
    fn a_constant_denominator_is_a_mean() {
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0];
        let as_ratio = RatioMoments::from_values(values.map(|value| (value, 1.0))).unwrap();
        let as_mean = Moments::from_values(values).unwrap();
        assert_close(as_ratio.ratio().unwrap(), as_mean.mean, 1e-15);
        assert_close(as_ratio.squared_standard_error().unwrap(), as_mean.squared_standard_error().unwrap(), 1e-13);
        let estimate = as_ratio.estimate(0.05).unwrap();
        assert_eq!(estimate.note, None);
        // scipy 1.17.1: stats.t.interval(0.95, 5, mean, sem).
        assert_close(estimate.low.unwrap(), 0.6908620199963944, 1e-9);
    }

    #[test]
    fn merging_equals_pooling() {
        let values = [(1.0, 2.0), (4.0, 1.0), (-2.0, 3.0), (0.5, 0.0), (9.0, 5.0)];
        let whole = RatioMoments::from_values(values).unwrap();
        let parts: RatioMoments =
            values.chunks(2).map(|chunk| RatioMoments::from_values(chunk.iter().copied()).unwrap()).sum();
        assert_eq!(parts.n, whole.n);
        assert_close(parts.products, whole.products, 1e-13);
        assert_close(parts.numerator_squares, whole.numerator_squares, 1e-13);
        assert_close(parts.denominator_squares, whole.denominator_squares, 1e-13);
        assert_eq!(whole + RatioMoments::default(), whole);
        assert_eq!(RatioMoments::default() + whole, whole);
    }

    #[test]
    fn thin_data_is_explained() {
        let some = RatioMoments::from_values([(1.0, 1.0), (2.0, 1.0), (4.0, 2.0)]).unwrap();
        let one = RatioMoments::from_values([(1.0, 2.0)]).unwrap();
        let no_clicks = RatioMoments::from_values([(0.0, 0.0); 9]).unwrap();
        for other in [RatioMoments::default(), one, no_clicks] {
            let comparison = compare_ratios(&some, &other, 0.05).unwrap();
            assert_eq!((comparison.p_value, comparison.difference.low), (None, None));
            assert!(comparison.difference.note.is_some() && comparison.lift.note.is_some());
            let alone = other.estimate(0.05).unwrap();
            assert_eq!((alone.low, alone.high), (None, None));
            assert!(alone.note.is_some());
        }
        // One click among twenty recipients: the denominator is one standard error from zero.
        let rare = RatioMoments::from_values((0..20).map(|i| if i == 0 { (5.0, 1.0) } else { (0.0, 0.0) })).unwrap();
        assert_eq!(rare.estimate(0.05).unwrap().note.as_deref(), Some(UNSURE_DENOMINATOR));
        assert_eq!(compare_ratios(&some, &rare, 0.05).unwrap().p_value, None);
    }

    #[test]
    fn large_money_keeps_its_digits() {
        let small = RatioMoments::from_values([(1.0, 1.0), (2.0, 1.0), (4.0, 2.0), (3.0, 1.0)]).unwrap();
        let large = RatioMoments::from_values([(1e12, 1.0), (2e12, 1.0), (4e12, 2.0), (3e12, 1.0)]).unwrap();
        let ratio = large.squared_standard_error().unwrap() / small.squared_standard_error().unwrap();
        assert_close(ratio, 1e24, 1e-12);
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(RatioMoments::from_values([(f64::NAN, 1.0)]).is_err());
        let (control, mut treatment) = published();
        treatment.products = 1e12;
        assert!(compare_ratios(&control, &treatment, 0.05).is_err());
        treatment.numerator_squares = -1.0;
        assert!(treatment.estimate(0.05).is_err());
        let (three, two) = (Moments { n: 3, ..Moments::default() }, Moments { n: 2, ..Moments::default() });
        assert!(RatioMoments::from_moments(&three, &two, 0.0).is_err());
        assert!(control.estimate(0.0).is_err());
    }
}
