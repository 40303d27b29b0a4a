//! Asymptotic confidence sequences: intervals that hold at every look at once.
//!
//! Enters: an effect with its standard error, the units of both arms so far, the sample size at which the interval
//! should be tightest, and alpha. Leaves: an interval for the difference and the lift, and an always-valid p value.
//!
//! Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence
//! sequences", Annals of Statistics 52(6), theorem 2.2 and appendix B.2; Robbins (1970) for the Gaussian mixture. With n
//! units so far, N planned, z the difference over its standard error, and x = n ρ²:
//!
//! ```text
//! ρ² = (−2 ln α + ln(1 − 2 ln α)) / N              tightest near n = N
//! critical value c = √(2 (x + 1) / x · ln(√(x + 1) / α))
//! p = min(1, √(x + 1) · exp(−x z² / (2 (x + 1))))   so that p < α exactly when |z| > c
//! ```
//!
//! The lift keeps every θ for which treatment − (1 + θ) control, itself a mean with a confidence sequence, is not told
//! from zero: Fieller's interval at the same critical value.
//!
//! The coverage is asymptotic, as Welch's is: an arm of fewer than [`FEWEST_UNITS`] is not tested, and of one that is much
//! smaller than the other the spread is at least that of both ([`with_spread_of_both`]). Values that were
//! already seen must not change afterwards (analyse matured units only), and units arrive in an order that has nothing
//! to do with their outcome.

use crate::comparison::Comparison;
use crate::effect::Effect;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::mean::with_spread_of_both;
use crate::moments::Moments;
use crate::numeric::count;
use crate::proportion::Proportion;
use serde::{Deserialize, Serialize};

/// What an always-valid comparison says it was made by.
pub const ALWAYS_VALID_METHOD: &str = "asymptotic confidence sequence (Waudby-Smith et al. 2024), Gaussian mixture; \
                                       Fieller interval for the lift at the same critical value";

/// Units that each arm needs before its first always-valid test.
pub const FEWEST_UNITS: u64 = 20;

const TOO_FEW_UNITS: &str = "an arm has fewer than 20 units: an always-valid test starts there";
const NO_LOOK: &str = "no units so far: there is no look yet";
const LOOKS_DISAGREE: &str =
    "the intervals of different looks have no value in common: the effect or the units changed between them";

/// The boundary that every look is held against; made once, before the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MixtureBoundary {
    alpha: f64,
    rho_squared: f64,
}

impl MixtureBoundary {
    /// The boundary at `alpha` that is tightest near `planned_units`, the units of both arms together.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] for a plan of no units.
    pub fn new(planned_units: u64, alpha: f64) -> Result<Self, StatsError> {
        check_alpha(alpha)?;
        if planned_units == 0 {
            return Err(StatsError::NotPositive { quantity: "the planned number of units", value: 0.0 });
        }
        let twice_log = -2.0 * alpha.ln();
        Ok(Self { alpha, rho_squared: (twice_log + twice_log.ln_1p()) / count(planned_units) })
    }

    /// The statistic that has to be exceeded after `units` of both arms: never below the ordinary critical value; none
    /// before the first unit.
    #[must_use]
    pub fn critical_value(&self, units: u64) -> Option<f64> {
        let time = self.time(units)?;
        let log_bound = 0.5 * time.ln_1p() - self.alpha.ln();
        Some((2.0 * (time + 1.0) / time * log_bound).sqrt())
    }

    /// The always-valid p value, 0 to 1, of a difference of `statistic` standard errors after `units` of both arms; one
    /// before the first unit.
    ///
    /// Below alpha exactly when the statistic is past [`critical_value`](Self::critical_value).
    #[must_use]
    pub fn p_value(&self, statistic: f64, units: u64) -> f64 {
        let Some(time) = self.time(units) else {
            return 1.0;
        };
        let log_p_value = 0.5 * time.ln_1p() - time / (time + 1.0) * (statistic * statistic) / 2.0;
        log_p_value.min(0.0).exp()
    }

    /// The always-valid comparison of any effect after `units` of both arms.
    #[must_use]
    pub fn compare(&self, effect: &Effect, units: u64) -> Comparison {
        let Some(critical) = self.critical_value(units) else {
            return Effect::untestable(NO_LOOK).comparison_at(f64::INFINITY, None, ALWAYS_VALID_METHOD);
        };
        let p_value = effect.statistic().map(|statistic| self.p_value(statistic, units));
        effect.look_at(critical, p_value, ALWAYS_VALID_METHOD)
    }

    /// Units so far on the scale of the mixture.
    fn time(&self, units: u64) -> Option<f64> {
        (units > 0).then(|| count(units) * self.rho_squared)
    }
}

/// Compares the means of two arms at one of any number of looks; `planned_units`, of both arms, is where the interval
/// is tightest.
///
/// ```
/// use sendlift_stats::{Moments, sequential::always_valid_means};
///
/// let control = Moments::from_n_mean_variance(3407, 0.41, 15.21)?;
/// let treatment = Moments::from_n_mean_variance(3461, 1.20, 38.44)?;
/// let look = always_valid_means(&control, &treatment, 10_000, 0.05)?;
/// assert!(look.is_significant(0.05));
/// assert!(!look.difference.contains_zero());
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] for a plan of no units; [`StatsError::NotFinite`] or
/// [`StatsError::Negative`] for moments that no data can have.
pub fn always_valid_means(
    control: &Moments,
    treatment: &Moments,
    planned_units: u64,
    alpha: f64,
) -> Result<Comparison, StatsError> {
    let boundary = MixtureBoundary::new(planned_units, alpha)?;
    let (control, treatment) = with_spread_of_both(control, treatment)?;
    let effect = Effect::of_means(&control, &treatment)?;
    let too_few = control.n.min(treatment.n) < FEWEST_UNITS;
    let effect = match effect {
        Effect::Estimated(parts) if too_few => Effect::Untestable {
            values: Some((parts.baseline, parts.baseline + parts.difference)),
            note: TOO_FEW_UNITS.to_owned(),
        },
        other => other,
    };
    Ok(boundary.compare(&effect, control.n.saturating_add(treatment.n)))
}

/// Compares the shares of successes of two arms at one of any number of looks, as [`always_valid_means`] of zeros and
/// ones.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotPositive`] for a plan of no units;
/// [`StatsError::SuccessesExceedUnits`].
pub fn always_valid_proportions(
    control: Proportion,
    treatment: Proportion,
    planned_units: u64,
    alpha: f64,
) -> Result<Comparison, StatsError> {
    always_valid_means(&control.to_moments()?, &treatment.to_moments()?, planned_units, alpha)
}

/// What may be said at each look in the light of all looks before it: the smallest p value and the intersection of the
/// intervals so far. The estimates stay those of each look, and may lie outside.
///
/// A sequence stays significant once it was. Where the intervals of different looks have no value in common the ends
/// are missing, and a note says so.
#[must_use]
pub fn running_comparisons(looks: &[Comparison]) -> Vec<Comparison> {
    let mut so_far: Vec<Comparison> = Vec::with_capacity(looks.len());
    let mut smallest: Option<f64> = None;
    let (mut difference, mut lift) = (Ends::default(), Ends::default());
    for look in looks {
        smallest = match (smallest, look.p_value) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        difference = difference.narrowed(&look.difference);
        lift = lift.narrowed(&look.lift);
        so_far.push(Comparison {
            difference: difference.around(&look.difference),
            lift: lift.around(&look.lift),
            statistic: look.statistic,
            p_value: smallest,
            method: look.method.clone(),
        });
    }
    so_far
}

/// The ends of an intersection of intervals.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    low: Option<f64>,
    high: Option<f64>,
}

impl Ends {
    fn narrowed(self, estimate: &Estimate) -> Self {
        Self { low: pick(self.low, estimate.low, f64::max), high: pick(self.high, estimate.high, f64::min) }
    }

    /// The estimate of a look, within these ends.
    fn around(self, estimate: &Estimate) -> Estimate {
        let disagree = matches!((self.low, self.high), (Some(low), Some(high)) if low > high);
        if disagree {
            return Estimate::from_parts(estimate.estimate, Interval::undefined(LOOKS_DISAGREE));
        }
        let interval = Interval { low: self.low, high: self.high, note: estimate.note.clone() };
        Estimate::from_parts(estimate.estimate, interval)
    }
}

/// Either end where only one exists, the chosen of two.
fn pick(before: Option<f64>, now: Option<f64>, choose: fn(f64, f64) -> f64) -> Option<f64> {
    match (before, now) {
        (Some(before), Some(now)) => Some(choose(before, now)),
        (before, now) => before.or(now),
    }
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

    #[test]
    fn a_small_arm_without_a_success_proves_nothing() {
        // 0 of 50 against 11 of 450: Boschloo's p value is 0.52 (SciPy).
        let look = |control: (u64, u64), treatment: (u64, u64)| {
            let arm = |(n, successes)| Proportion::new(n, successes).unwrap();
            always_valid_proportions(arm(control), arm(treatment), 1_000, 0.05).unwrap()
        };
        assert!(look((50, 0), (450, 11)).p_value.unwrap() > 0.5);
        assert!(look((450, 11), (50, 0)).p_value.unwrap() > 0.5);
        assert!(look((500, 10), (4_500, 700)).is_significant(0.05));
    }

    fn moments(n: u64, mean: f64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, mean, variance).unwrap()
    }

    #[test]
    fn the_boundary_is_the_papers() {
        // tests/oracle/sequential.py, by the formula: 3.0352 at the planned size, as in design/statistics.md.
        let boundary = MixtureBoundary::new(1_000, 0.05).unwrap();
        for (units, critical) in [
            (1, 27.60350640729614),
            (100, 3.8550546335303104),
            (1_000, 3.035208990376253),
            (10_000, 3.2417231454054374),
            (10_000_000, 4.156135707964611),
        ] {
            assert_close(boundary.critical_value(units).unwrap(), critical, 1e-12);
        }
        assert_eq!(boundary.critical_value(0), None);
        assert_eq!(boundary.p_value(10.0, 0), 1.0);
    }

    #[test]
    fn the_p_value_and_the_boundary_say_the_same() {
        for alpha in [0.2, 0.05, 1e-6] {
            for planned in [100, 1_000_000] {
                let boundary = MixtureBoundary::new(planned, alpha).unwrap();
                for units in [1, 50, 5_000, 100_000_000] {
                    let critical = boundary.critical_value(units).unwrap();
                    assert_close(boundary.p_value(critical, units), alpha, 1e-9);
                    assert!(boundary.p_value(-1.0001 * critical, units) < alpha);
                    assert!(boundary.p_value(0.9999 * critical, units) > alpha);
                }
            }
        }
    }

    #[test]
    fn a_difference_of_means() {
        // tests/oracle/sequential.py: the formulas of the module in NumPy, the lift by inverting z with brentq.
        let control = moments(3407, 0.41, 15.21);
        let nothing = always_valid_means(&control, &moments(3461, 0.7, 38.44), 10_000, 0.05).unwrap();
        assert_close(nothing.p_value.unwrap(), 0.25929072071016485, 1e-10);
        assert_close(nothing.difference.low.unwrap(), -0.09047518459123255, 1e-10);
        assert_close(nothing.difference.high.unwrap(), 0.6704751845912325, 1e-10);
        assert_close(nothing.lift.low.unwrap(), -0.17675952366291364, 1e-9);
        assert_close(nothing.lift.high.unwrap(), 2.710883625144811, 1e-9);
        let found = always_valid_means(&control, &moments(3461, 1.2, 38.44), 10_000, 0.05).unwrap();
        assert_close(found.p_value.unwrap(), 1.1235035692965522e-7, 1e-10);
        assert_close(found.lift.low.unwrap(), 0.7545193216675415, 1e-9);
        assert_close(found.lift.high.unwrap(), 5.018264852301425, 1e-9);
    }

    #[test]
    fn thin_data_is_explained() {
        let some = moments(100, 1.0, 1.0);
        for other in [Moments::default(), moments(1, 2.0, 0.0), moments(19, 2.0, 1.0)] {
            let look = always_valid_means(&some, &other, 1_000, 0.05).unwrap();
            assert_eq!(look.p_value, None);
            assert_eq!((look.difference.low, look.lift.high), (None, None));
            assert!(look.difference.note.is_some() && look.lift.note.is_some());
        }
        let none = always_valid_proportions(Proportion::default(), Proportion::default(), 1_000, 0.05).unwrap();
        assert_eq!((none.p_value, none.difference.estimate), (None, None));
        let still = Proportion { n: 50, successes: 0 };
        let nothing = always_valid_proportions(still, still, 1_000, 0.05).unwrap();
        assert_eq!(
            (nothing.p_value, nothing.difference.estimate, nothing.difference.low),
            (Some(1.0), Some(0.0), None)
        );
        // What comes after it is not held against it.
        let boundary = MixtureBoundary::new(1_000, 0.05).unwrap();
        let later = boundary.compare(&Effect::of_means(&moments(9_000, 2.0, 1.0), &some).unwrap(), 9_100);
        let path = running_comparisons(&[nothing, later.clone()]);
        assert_eq!((path[1].difference.low, path[1].difference.high), (later.difference.low, later.difference.high));
        assert!(always_valid_means(&some, &some, 0, 0.05).is_err());
        assert!(always_valid_means(&some, &some, 10, 1.0).is_err());
    }

    #[test]
    fn looks_add_up() {
        let boundary = MixtureBoundary::new(1_000, 0.05).unwrap();
        let looks: Vec<Comparison> = [(100_u64, 0.1), (400, 0.5), (900, 0.2)]
            .into_iter()
            .map(|(n, difference)| {
                let effect = Effect::of_means(&moments(n, 2.0, 1.0), &moments(n, 2.0 + difference, 1.0)).unwrap();
                boundary.compare(&effect, 2 * n)
            })
            .collect();
        let path = running_comparisons(&looks);
        assert_eq!(path[0], looks[0]);
        assert_eq!(path[2].p_value, looks[1].p_value);
        assert_eq!(path[2].difference.low, looks[1].difference.low);
        assert_eq!(path[2].difference.high, looks[2].difference.high);
        assert!(!path[2].difference.contains_zero());
        let apart = Effect::of_means(&moments(9_000, 2.0, 1.0), &moments(9_000, 1.0, 1.0)).unwrap();
        let changed = [looks[1].clone(), boundary.compare(&apart, 18_000)];
        let last = running_comparisons(&changed).pop().unwrap();
        assert_eq!((last.difference.low, last.difference.high), (None, None));
        assert_eq!(last.difference.note.as_deref(), Some(LOOKS_DISAGREE));
        assert!(running_comparisons(&[]).is_empty());
    }
}
