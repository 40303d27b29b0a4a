//! Do segments differ, and by how much should their effects be drawn together?
//!
//! Enters: the effect of each segment with its variance (squared standard error). Leaves: Cochran's Q with its p value,
//! I², the variance between segments τ², the mean effect, and each effect shrunk towards that mean.
//!
//! Cochran (1954), Biometrics 10(1); Higgins and Thompson (2002), Statistics in Medicine 21, for I²; `DerSimonian` and
//! Laird (1986), Controlled Clinical Trials 7(3), for τ²; Morris (1983), Journal of the American Statistical
//! Association 78(381), for the variance of a shrunk effect.

use crate::distribution::{chi_squared, normal};
use crate::error::{StatsError, check_alpha, check_finite, check_positive};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// Segments below which the spread between them is too poorly known to give a shrunk effect an interval: Morris's
/// variance divides by the number of segments less three.
const FEWEST_FOR_INTERVALS: usize = 4;

/// The effect in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SegmentEffect {
    /// The effect, such as a difference or a lift, in any units shared by all segments.
    pub estimate: f64,
    /// Its squared standard error; above zero.
    pub variance: f64,
}

/// How far the effects of segments spread beyond chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Heterogeneity {
    /// Cochran's Q, a chi-square if all segments share one effect.
    pub q: f64,
    /// Segments less one.
    pub degrees_of_freedom: u64,
    /// Probability, 0 to 1, of a Q at least this large if all segments share one effect.
    pub p_value: f64,
    /// Share of the spread, 0 to 1, that is not chance: max(0, (Q − df) / Q).
    pub i_squared: f64,
    /// Variance of the true effects between segments, in squared units of the effect; zero when the spread is no more
    /// than chance gives.
    pub tau_squared: f64,
    /// Mean weighted by 1 / variance: the one effect, if there is one.
    pub fixed_mean: f64,
    /// Squared standard error of `fixed_mean`.
    pub fixed_variance: f64,
    /// Mean weighted by 1 / (variance + τ²): the centre of the effects, and what they shrink towards.
    pub mean: f64,
    /// Squared standard error of `mean`.
    pub variance: f64,
}

/// An effect drawn towards the mean of all segments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shrunk {
    /// m + (y − m) τ² / (τ² + s²).
    pub estimate: f64,
    /// Its squared standard error by Morris (1983); none with fewer than four segments.
    pub variance: Option<f64>,
}

impl Shrunk {
    /// The shrunk effect with a normal interval at confidence 1 − `alpha`.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`].
    pub fn to_estimate(self, alpha: f64) -> Result<Estimate, StatsError> {
        check_alpha(alpha)?;
        let interval = match self.variance {
            Some(variance) => {
                let half_width = normal::critical_value(alpha) * variance.sqrt();
                Interval::from_ends(self.estimate - half_width, self.estimate + half_width)
            }
            None => Interval::undefined("fewer than four segments: how far their effects spread is too poorly known"),
        };
        Ok(Estimate::new(self.estimate, interval))
    }
}

/// Measures how far the effects of segments spread beyond chance.
///
/// # Errors
///
/// [`StatsError::TooFewEffects`] with fewer than two; [`StatsError::NotFinite`] for an effect or a variance that is NaN
/// or infinite; [`StatsError::NotPositive`] for a variance of zero or less.
pub fn heterogeneity(effects: &[SegmentEffect]) -> Result<Heterogeneity, StatsError> {
    if effects.len() < 2 {
        return Err(StatsError::TooFewEffects { effects: effects.len() });
    }
    for effect in effects {
        check_finite("the effect of a segment", effect.estimate)?;
        check_positive("the variance of a segment's effect", effect.variance)?;
        check_finite("one over the variance of a segment's effect", 1.0 / effect.variance)?;
    }
    let (fixed_mean, fixed_variance) = weighted_mean(effects, 0.0);
    let q: f64 = effects.iter().map(|effect| (effect.estimate - fixed_mean).powi(2) / effect.variance).sum();
    let degrees_of_freedom = effects.len() - 1;
    let beyond_chance = (q - length(degrees_of_freedom)).max(0.0);
    let i_squared = if beyond_chance > 0.0 { beyond_chance / q } else { 0.0 };
    // Sum of weights less the sum of their squares over the sum, written so that it cannot come out negative.
    let spread_per_tau: f64 = effects
        .iter()
        .map(|effect| {
            let weight = 1.0 / effect.variance;
            weight * (1.0 - weight * fixed_variance).max(0.0)
        })
        .sum();
    let tau_squared = if beyond_chance > 0.0 && spread_per_tau > 0.0 { beyond_chance / spread_per_tau } else { 0.0 };
    let (mean, variance) = weighted_mean(effects, tau_squared);
    Ok(Heterogeneity {
        q,
        degrees_of_freedom: degrees_of_freedom as u64,
        p_value: chi_squared::upper_tail(q, length(degrees_of_freedom)),
        i_squared,
        tau_squared,
        fixed_mean,
        fixed_variance,
        mean,
        variance,
    })
}

/// Shrinks each effect towards the mean of all, in the order given: the less a segment's own data say, the more.
///
/// The variance allows for the segment's own noise, for the mean being estimated, and for τ² being estimated (Morris
/// 1983, section 5, with one common mean). It uses the plain shrinkage factor s² / (s² + τ²), and so is wider, if
/// anything, than with Morris's reduced one.
///
/// # Errors
///
/// As [`heterogeneity`].
pub fn shrink(effects: &[SegmentEffect]) -> Result<Vec<Shrunk>, StatsError> {
    let spread = heterogeneity(effects)?;
    let tau_squared = spread.tau_squared;
    let weight = |effect: &SegmentEffect| 1.0 / (effect.variance + tau_squared);
    let typical_variance = spread.variance * effects.iter().map(|effect| weight(effect) * effect.variance).sum::<f64>();
    let enough = effects.len() >= FEWEST_FOR_INTERVALS;
    Ok(effects
        .iter()
        .map(|effect| {
            let drawn_in = effect.variance * weight(effect);
            let distance = effect.estimate - spread.mean;
            let variance = enough.then(|| {
                let own_noise = effect.variance * (1.0 - drawn_in);
                let of_the_mean = drawn_in * drawn_in * spread.variance;
                let of_tau_squared = 2.0 / (length(effects.len()) - 3.0)
                    * drawn_in
                    * drawn_in
                    * (typical_variance + tau_squared)
                    * weight(effect)
                    * distance
                    * distance;
                own_noise + of_the_mean + of_tau_squared
            });
            Shrunk { estimate: spread.mean + distance * (1.0 - drawn_in), variance }
        })
        .collect())
}

/// The mean weighted by 1 / (variance + `tau_squared`), and its squared standard error.
fn weighted_mean(effects: &[SegmentEffect], tau_squared: f64) -> (f64, f64) {
    let mut total_weight = 0.0;
    let mut mean = 0.0;
    for effect in effects {
        let weight = 1.0 / (effect.variance + tau_squared);
        total_weight += weight;
        mean += (effect.estimate - mean) * (weight / total_weight);
    }
    (mean, 1.0 / total_weight)
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

    fn effects(pairs: &[(f64, f64)]) -> Vec<SegmentEffect> {
        pairs.iter().map(|&(estimate, variance)| SegmentEffect { estimate, variance }).collect()
    }

    /// Rubin (1981), the eight schools: effects and squared standard errors.
    fn eight_schools() -> Vec<SegmentEffect> {
        effects(&[
            (28.0, 225.0),
            (8.0, 100.0),
            (-3.0, 256.0),
            (7.0, 121.0),
            (-1.0, 81.0),
            (1.0, 121.0),
            (18.0, 100.0),
            (12.0, 324.0),
        ])
    }

    fn spread_out() -> Vec<SegmentEffect> {
        effects(&[(0.1, 0.003), (0.3, 0.03), (0.35, 0.05), (0.65, 0.01), (0.45, 0.05)])
    }

    #[test]
    fn eight_schools_do_not_differ() {
        // statsmodels 0.15.0: combine_effects, method_re="chi2" (its τ² and I² before they are cut off at zero are
        // negative); p by SciPy 1.17.1. design/statistics.md: mean 7.6856, Q 4.7071, τ² 0.
        let spread = heterogeneity(&eight_schools()).unwrap();
        assert_close(spread.fixed_mean, 7.685616724956035, 1e-12);
        assert_close(spread.fixed_variance, 16.580525632563663, 1e-12);
        assert_close(spread.q, 4.707078864400158, 1e-12);
        assert_close(spread.p_value, 0.6956591666351959, 1e-11);
        assert_eq!(spread.degrees_of_freedom, 7);
        assert_eq!(spread.tau_squared, 0.0);
        assert_eq!(spread.i_squared, 0.0);
        assert_close(spread.mean, spread.fixed_mean, 1e-14);
    }

    #[test]
    fn segments_that_differ() {
        // statsmodels 0.15.0, as above.
        let spread = heterogeneity(&spread_out()).unwrap();
        assert_close(spread.q, 24.572587719298248, 1e-12);
        assert_close(spread.p_value, 6.13104109948976e-5, 1e-11);
        assert_close(spread.i_squared, 0.8372169815530428, 1e-12);
        assert_close(spread.tau_squared, 0.07796791888297873, 1e-12);
        assert_close(spread.mean, 0.36318754084989957, 1e-12);
        assert_close(spread.variance, 0.02057220398441929, 1e-12);
    }

    #[test]
    fn without_spread_every_effect_becomes_the_mean() {
        let shrunk = shrink(&eight_schools()).unwrap();
        // tests/oracle/golden_numbers.py: Morris's formulas in NumPy 2.4.6.
        let variances = [113.89401353097864, 16.632966170778232, 40.24557925071943];
        for (shrunk, variance) in shrunk.iter().zip(variances) {
            assert_close(shrunk.estimate, 7.685616724956035, 1e-12);
            assert_close(shrunk.variance.unwrap(), variance, 1e-11);
        }
    }

    #[test]
    fn with_spread_the_surest_effect_moves_least() {
        let effects = spread_out();
        let shrunk = shrink(&effects).unwrap();
        // tests/oracle/golden_numbers.py: Morris's formulas in NumPy 2.4.6.
        let expected = [
            (0.10975154892755529, 0.003037892031084372),
            (0.3175573100334699, 0.02354617384999711),
            (0.35515267457852423, 0.033625837918142845),
            (0.6173957889657888, 0.010372077131420937),
            (0.41608038174415934, 0.03452930501210023),
        ];
        for (shrunk, (estimate, variance)) in shrunk.iter().zip(expected) {
            assert_close(shrunk.estimate, estimate, 1e-11);
            assert_close(shrunk.variance.unwrap(), variance, 1e-11);
        }
        let first = shrunk.first().unwrap().to_estimate(0.05).unwrap();
        assert_close(
            first.high.unwrap() - first.low.unwrap(),
            2.0 * 1.959963984540054 * 0.003037892031084372_f64.sqrt(),
            1e-9,
        );
    }

    #[test]
    fn few_segments_get_no_interval() {
        let shrunk = shrink(&effects(&[(1.0, 1.0), (5.0, 1.0), (9.0, 1.0)])).unwrap();
        for shrunk in shrunk {
            let estimate = shrunk.to_estimate(0.05).unwrap();
            assert!(estimate.estimate.is_some());
            assert_eq!((estimate.low, estimate.high), (None, None));
            assert!(estimate.note.is_some());
        }
    }

    #[test]
    fn equal_effects_have_no_heterogeneity() {
        let spread = heterogeneity(&effects(&[(2.0, 1.0), (2.0, 3.0)])).unwrap();
        assert_eq!((spread.q, spread.p_value, spread.i_squared), (0.0, 1.0, 0.0));
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(heterogeneity(&effects(&[(1.0, 1.0)])).is_err());
        assert!(heterogeneity(&effects(&[(1.0, 1.0), (1.0, 0.0)])).is_err());
        assert!(heterogeneity(&effects(&[(1.0, 1.0), (f64::NAN, 1.0)])).is_err());
        assert!(shrink(&[]).is_err());
    }
}
