//! Post-stratification: the difference within groups that were known before assignment, averaged.
//!
//! Enters: for each stratum (a region, a tariff, a decile of past spend) the moments of both arms. Leaves: the
//! difference and the lift with what lies between strata taken out.
//!
//! Miratrix, Sekhon and Yu (2013), "Adjusting treatment effect estimates by post-stratification in randomized
//! experiments", Journal of the Royal Statistical Society B 75(2). With W = the stratum's units / N and d its
//! difference of means:
//!
//! ```text
//! difference = Σ W d
//! Var = Σ W² (v_T/n_T + v_C/n_C) + Σ W (d − difference)² / N
//! ```
//!
//! The second part is that of the shares W, which another list of recipients would have slightly otherwise. Strata with
//! fewer than [`UNITS_PER_STRATUM`] units in an arm are put together into one.

use crate::comparison::Comparison;
use crate::effect::{Effect, EstimatedEffect, welch_degrees_of_freedom};
use crate::error::{StatsError, check_alpha};
use crate::moments::Moments;
use crate::numeric::count;
use serde::{Deserialize, Serialize};

/// Units that a stratum needs in each arm to stand alone.
pub const UNITS_PER_STRATUM: u64 = 5;

/// What a post-stratified comparison says it was made by.
pub const POST_STRATIFIED_METHOD: &str =
    "post-stratification (Miratrix, Sekhon and Yu 2013); Fieller interval for the lift";

/// The arms of one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stratum {
    /// Moments of the control's units in the stratum; [`Proportion::to_moments`](crate::Proportion::to_moments) for a
    /// proportion.
    pub control: Moments,
    /// Moments of the treatment's units in the stratum.
    pub treatment: Moments,
}

impl Stratum {
    fn units(&self) -> u64 {
        self.control.n.saturating_add(self.treatment.n)
    }

    fn smaller_arm(&self) -> u64 {
        self.control.n.min(self.treatment.n)
    }

    fn merge(self, other: Self) -> Self {
        Self { control: self.control.merge(other.control), treatment: self.treatment.merge(other.treatment) }
    }

    /// (variance of the control's mean, variance of the treatment's mean). Expects two units in each arm.
    fn variances(&self) -> (f64, f64) {
        (self.control.squared_standard_error().unwrap_or(0.0), self.treatment.squared_standard_error().unwrap_or(0.0))
    }
}

/// A post-stratified comparison, and what the strata did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostStratified {
    /// Difference, lift and test.
    pub comparison: Comparison,
    /// What the comparison was made of, to be held against a margin.
    pub effect: Effect,
    /// Of the difference, in the metric's units; none where there is no test.
    pub standard_error: Option<f64>,
    /// Welch–Satterthwaite's over all strata and arms; none where there is no test.
    pub degrees_of_freedom: Option<f64>,
    /// 1 − (post-stratified / plain variance of the difference); none without a test.
    pub variance_removed: Option<f64>,
    /// Strata that were used, those put together counting as one.
    pub strata_used: usize,
    /// How many strata were put together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Compares two arms within strata.
///
/// ```
/// use sendlift_stats::{Moments, adjust::{Stratum, compare_post_stratified}};
///
/// let stratum = |control: f64, treatment: f64| -> Result<Stratum, sendlift_stats::StatsError> {
///     Ok(Stratum {
///         control: Moments::from_n_mean_variance(100, control, 1.0)?,
///         treatment: Moments::from_n_mean_variance(100, treatment, 1.0)?,
///     })
/// };
/// let result = compare_post_stratified(&[stratum(2.0, 2.5)?, stratum(9.0, 9.5)?], 0.05)?;
/// assert_eq!(result.comparison.difference.estimate, Some(0.5));
/// assert!(result.variance_removed > Some(0.9));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn compare_post_stratified(strata: &[Stratum], alpha: f64) -> Result<PostStratified, StatsError> {
    check_alpha(alpha)?;
    for stratum in strata {
        stratum.control.check()?;
        stratum.treatment.check()?;
    }
    let all = strata.iter().copied().fold(Stratum::default(), Stratum::merge);
    let plain = Effect::of_means(&all.control, &all.treatment)?;
    let (strata, put_together) = usable(strata);
    let Effect::Estimated(plain_parts) = &plain else {
        return Ok(PostStratified {
            comparison: plain.comparison(alpha, POST_STRATIFIED_METHOD)?,
            effect: plain,
            standard_error: None,
            degrees_of_freedom: None,
            variance_removed: None,
            strata_used: strata.len(),
            note: None,
        });
    };
    let effect = effect_within(&strata, count(all.units()))?;
    let variance_removed = effect.standard_error().map(|standard_error| {
        let ratio = standard_error / plain_parts.standard_error;
        1.0 - ratio * ratio
    });
    Ok(PostStratified {
        comparison: effect.comparison(alpha, POST_STRATIFIED_METHOD)?,
        standard_error: effect.standard_error(),
        degrees_of_freedom: effect.degrees_of_freedom(),
        variance_removed,
        strata_used: strata.len(),
        note: (put_together > 0)
            .then(|| format!("{put_together} strata with fewer than {UNITS_PER_STRATUM} units in an arm put together")),
        effect,
    })
}

/// The strata that can stand alone, and how many were put together with others.
fn usable(strata: &[Stratum]) -> (Vec<Stratum>, usize) {
    let (mut alone, thin): (Vec<Stratum>, Vec<Stratum>) = strata
        .iter()
        .copied()
        .filter(|stratum| stratum.units() > 0)
        .partition(|stratum| stratum.smaller_arm() >= UNITS_PER_STRATUM);
    let put_together = thin.len();
    if put_together > 0 {
        let rest = thin.into_iter().fold(Stratum::default(), Stratum::merge);
        if rest.smaller_arm() < UNITS_PER_STRATUM && !alone.is_empty() {
            // Still too thin: with the smallest of the others, which it changes least.
            if let Some(smallest) = alone.iter_mut().min_by_key(|stratum| stratum.units()) {
                *smallest = smallest.merge(rest);
            }
        } else {
            alone.push(rest);
        }
    }
    (alone, put_together)
}

/// The weighted difference. Expects strata with two units in each arm, or a single one as large as the experiment.
fn effect_within(strata: &[Stratum], units: f64) -> Result<Effect, StatsError> {
    let (mut difference, mut baseline) = (0.0, 0.0);
    for stratum in strata {
        let weight = count(stratum.units()) / units;
        difference += weight * (stratum.treatment.mean - stratum.control.mean);
        baseline += weight * stratum.control.mean;
    }
    let mut parts = Vec::with_capacity(2 * strata.len());
    let (mut between, mut baseline_variance, mut covariance) = (0.0, 0.0, 0.0);
    for stratum in strata {
        let weight = count(stratum.units()) / units;
        let (control, treatment) = stratum.variances();
        parts.push((weight * weight * control, stratum.control.n));
        parts.push((weight * weight * treatment, stratum.treatment.n));
        let difference_apart = stratum.treatment.mean - stratum.control.mean - difference;
        let baseline_apart = stratum.control.mean - baseline;
        between += weight * difference_apart * difference_apart / units;
        baseline_variance += weight * weight * control + weight * baseline_apart * baseline_apart / units;
        covariance += weight * difference_apart * baseline_apart / units - weight * weight * control;
    }
    let within: f64 = parts.iter().map(|part| part.0).sum();
    Effect::new(EstimatedEffect {
        difference,
        standard_error: (within + between).sqrt(),
        degrees_of_freedom: welch_degrees_of_freedom(&parts),
        baseline,
        baseline_variance,
        covariance,
    })
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

    fn stratum(control: (u64, f64, f64), treatment: (u64, f64, f64)) -> Stratum {
        let moments = |(n, mean, variance)| Moments::from_n_mean_variance(n, mean, variance).unwrap();
        Stratum { control: moments(control), treatment: moments(treatment) }
    }

    #[test]
    fn agrees_with_the_formula() {
        // tests/oracle/adjust.py: the formula in NumPy.
        let strata = [
            stratum((120, 2.0, 1.5), (100, 2.4, 2.0)),
            stratum((60, 5.0, 4.0), (80, 5.3, 3.0)),
            stratum((30, 9.0, 2.5), (25, 10.0, 6.0)),
        ];
        let result = compare_post_stratified(&strata, 0.05).unwrap();
        let difference = &result.comparison.difference;
        assert_close(difference.estimate.unwrap(), 0.44578313253012036, 1e-12);
        assert_close(result.standard_error.unwrap(), 0.16366182965724838, 1e-12);
        assert_close(result.degrees_of_freedom.unwrap(), 291.06175437297804, 1e-11);
        assert_close(result.comparison.p_value.unwrap(), 0.006843493342169552, 1e-9);
        assert_close(result.comparison.lift.low.unwrap(), 0.03028174700016261, 1e-9);
        assert_close(result.comparison.lift.high.unwrap(), 0.20339081962348557, 1e-9);
        assert_eq!((result.strata_used, result.note), (3, None));
    }

    #[test]
    fn one_stratum_is_welchs_test() {
        let only = stratum((12, 2.0, 1.5), (10, 2.4, 2.0));
        let result = compare_post_stratified(&[only], 0.05).unwrap();
        let welch = compare_means(&only.control, &only.treatment, 0.05).unwrap();
        assert_close(result.comparison.p_value.unwrap(), welch.p_value.unwrap(), 1e-10);
        assert_close(result.comparison.lift.high.unwrap(), welch.lift.high.unwrap(), 1e-9);
        assert_close(1.0 + result.variance_removed.unwrap(), 1.0, 1e-12);
    }

    #[test]
    fn thin_strata_are_put_together() {
        let strata = [
            stratum((100, 2.0, 1.5), (100, 2.4, 2.0)),
            stratum((3, 5.0, 4.0), (4, 5.3, 3.0)),
            stratum((0, 0.0, 0.0), (6, 5.0, 1.0)),
            Stratum::default(),
        ];
        let result = compare_post_stratified(&strata, 0.05).unwrap();
        // Three and no control units make three: too thin still, so they join the first.
        assert_eq!(result.strata_used, 1);
        assert!(result.note.unwrap().starts_with("2 strata"));
        assert!(result.comparison.p_value.is_some());
    }

    #[test]
    fn thin_or_impossible_data_is_explained() {
        for strata in [vec![], vec![Stratum::default()], vec![stratum((1, 2.0, 0.0), (50, 1.0, 1.0))]] {
            let result = compare_post_stratified(&strata, 0.05).unwrap();
            assert_eq!((result.comparison.p_value, result.standard_error), (None, None));
            assert!(result.comparison.difference.note.is_some());
        }
        let still = [stratum((50, 2.0, 0.0), (50, 2.0, 0.0))];
        assert_eq!(compare_post_stratified(&still, 0.05).unwrap().comparison.p_value, Some(1.0));
        let broken = Stratum { control: Moments { n: 3, mean: f64::NAN, sum_squared_deviations: 1.0 }, ..still[0] };
        assert!(compare_post_stratified(&[broken], 0.05).is_err());
        assert!(compare_post_stratified(&still, 1.0).is_err());
    }
}
