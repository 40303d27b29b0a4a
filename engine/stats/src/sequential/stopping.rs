//! What may be said at a look of a group-sequential plan.
//!
//! Enters: a plan, the number of the look, and the effect there. Leaves: whether the boundary is crossed; the repeated
//! intervals, valid at every look whether one stops or not; and once the experiment stops, a p value, an estimate and an
//! interval that know of the stopping rule.
//!
//! - Repeated intervals (Jennison and Turnbull 1989, Journal of the Royal Statistical Society B 51(3)): the estimate ±
//!   the look's critical value × its standard error; for the lift Fieller's at the same critical value.
//! - At the stop (Tsiatis, Rosner and Mehta 1984, Biometrics 40(3); Kim and `DeMets` 1987, Biometrics 43(4)): outcomes
//!   are ordered by stage, an earlier crossing being the more extreme. P is the probability of an outcome at least as
//!   extreme when nothing differs, twice the smaller side; the interval keeps the differences under which that
//!   probability is at least alpha / 2 on each side; the estimate is the difference under which it is one half, and is
//!   as often too large as too small, where the plain estimate of an early stop is too large. So p ≤ alpha exactly when
//!   a boundary was crossed and exactly when zero lies outside the interval.
//!
//! The normal distribution is used throughout: looks need some hundred units an arm, or a conversion of t to z first.

use super::group_sequential::GroupSequential;
use super::walk::Walk;
use crate::comparison::Comparison;
use crate::effect::Effect;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::root::find_root;
use serde::{Deserialize, Serialize};

const NO_BOUNDARY: &str = "no alpha is spent at this look: nothing is excluded yet";

/// The state of an experiment at one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookAnalysis {
    /// One for the first look.
    pub look: usize,
    /// The z that had to be exceeded; none where no alpha is spent at this look.
    pub critical_value: Option<f64>,
    /// Whether the difference lies beyond it: the experiment stops.
    pub crossed: bool,
    /// Whether no look is left in the plan.
    pub last: bool,
    /// Repeated intervals, valid at every look. Without a p value: a look that does not stop has none.
    pub repeated: Comparison,
    /// What to report when the experiment stops here; none before.
    pub stopped: Option<StoppedResult>,
}

/// What a stopped experiment found, the looks before it taken into account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoppedResult {
    /// Two-sided, 0 to 1, by stage-wise ordering.
    pub p_value: f64,
    /// The median-unbiased difference and its interval, in the metric's units.
    pub difference: Estimate,
}

impl GroupSequential {
    /// The analysis at a look, `look` being 1 for the first: no earlier look has crossed.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotPositive`] for a look that the plan does not have, or for looks that no plan has;
    /// [`StatsError::InvalidAlpha`].
    pub fn analyse(&self, look: usize, effect: &Effect) -> Result<LookAnalysis, StatsError> {
        check_alpha(self.alpha)?;
        let (fractions, bounds) = self.checked_boundaries()?;
        let Some(index) = look.checked_sub(1) else {
            return Err(StatsError::NotPositive { quantity: "the number of the look", value: 0.0 });
        };
        if index >= fractions.len() {
            return Err(StatsError::NotPositive { quantity: "the number of looks left in the plan", value: 0.0 });
        }
        let (fractions_so_far, bound) = (&fractions[..=index], bounds[index]);
        let last = index + 1 == fractions.len();
        let statistic = effect.statistic();
        let crossed = statistic.is_some_and(|statistic| statistic.abs() > bound);
        let method = format!("repeated intervals; {}", self.method);
        let mut repeated =
            if last { effect.comparison_at(bound, None, method) } else { effect.look_at(bound, None, method) };
        if bound.is_infinite() && effect.standard_error().is_some() {
            repeated.difference = Estimate::from_parts(repeated.difference.estimate, Interval::undefined(NO_BOUNDARY));
        }
        let stopped = match effect {
            Effect::Estimated(parts) if crossed || last => {
                let path = Path { fractions: fractions_so_far, bounds: &bounds };
                let z = parts.difference / parts.standard_error;
                // The drift is the difference in units of the standard error at the full information.
                let unit = parts.standard_error * fractions[index].sqrt();
                Some(path.result(z, unit, self.alpha))
            }
            Effect::Identical { .. } if last => {
                Some(StoppedResult { p_value: 1.0, difference: repeated.difference.clone() })
            }
            _ => None,
        };
        Ok(LookAnalysis { look, critical_value: bound.is_finite().then_some(bound), crossed, last, repeated, stopped })
    }
}

/// The looks up to the one where the experiment stopped.
struct Path<'a> {
    fractions: &'a [f64],
    bounds: &'a [f64],
}

impl Path<'_> {
    fn result(&self, z: f64, unit: f64, alpha: f64) -> StoppedResult {
        let p_value = (2.0 * self.more_extreme(z.abs(), 0.0)).min(1.0);
        let low = self.drift_with(z, alpha / 2.0);
        let high = self.drift_with(z, 1.0 - alpha / 2.0);
        let middle = self.drift_with(z, 0.5);
        let difference = Estimate::new(middle * unit, Interval::from_ends(low * unit, high * unit));
        StoppedResult { p_value, difference }
    }

    /// Probability of an outcome at least as far up as a z at the last of these looks, at `drift`: an upward crossing
    /// before, or a greater z there. It rises with the drift.
    fn more_extreme(&self, z: f64, drift: f64) -> f64 {
        let mut walk = Walk::new(drift);
        let mut probability = 0.0;
        for (index, &fraction) in self.fractions.iter().enumerate() {
            let Some(&next) = self.fractions.get(index + 1) else {
                probability += walk.above(fraction, z);
                break;
            };
            let bound = self.bounds[index];
            probability += walk.above(fraction, bound);
            walk.advance(fraction, bound, next);
        }
        probability
    }

    /// The drift at which [`more_extreme`](Self::more_extreme) is `probability`.
    fn drift_with(&self, z: f64, probability: f64) -> f64 {
        let fraction = self.fractions.last().copied().unwrap_or(1.0);
        let centre = z / fraction.sqrt();
        let excess = |drift: f64| self.more_extreme(z, drift) - probability;
        let mut reach = 4.0 / fraction.sqrt();
        while reach < 1e6 && excess(centre - reach) > 0.0 {
            reach *= 2.0;
        }
        let low = centre - reach;
        reach = 4.0 / fraction.sqrt();
        while reach < 1e6 && excess(centre + reach) < 0.0 {
            reach *= 2.0;
        }
        find_root(excess, low, centre + reach)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::effect::ArmValue;
    use crate::numeric::assert_close;
    use crate::sequential::{BoundaryShape, Spending};

    /// An effect whose z is `z`, with a standard error of 0.5.
    fn effect(z: f64) -> Effect {
        let control = ArmValue { value: 10.0, variance: 0.125 };
        let treatment = ArmValue { value: 10.0 + 0.5 * z, variance: 0.125 };
        Effect::of_independent_arms(control, treatment, None).unwrap()
    }

    fn spent() -> GroupSequential {
        GroupSequential::alpha_spending(Spending::OBrienFleming, &[0.2, 0.4, 0.6, 0.8, 1.0], 0.05).unwrap()
    }

    #[test]
    fn an_early_stop_is_corrected() {
        // tests/oracle/sequential.py: the same ordering by Gauss-Legendre quadrature; drift × 0.5 × √0.6.
        let stop = spent().analyse(3, &effect(2.9)).unwrap();
        assert!(stop.crossed && !stop.last);
        let result = stop.stopped.unwrap();
        let unit = 0.5 * 0.6_f64.sqrt();
        assert_close(result.p_value, 0.004101418525720407, 1e-5);
        assert_close(result.difference.estimate.unwrap(), 3.7285543072358225 * unit, 2e-6);
        assert_close(result.difference.low.unwrap(), 1.1867035239449415 * unit, 2e-6);
        assert_close(result.difference.high.unwrap(), 6.263790155948814 * unit, 3e-6);
        // The plain estimate, 1.45, is larger.
        assert!(result.difference.estimate.unwrap() < 1.45);
    }

    #[test]
    fn at_the_last_look_there_is_always_a_result() {
        let stop = spent().analyse(5, &effect(1.5)).unwrap();
        assert!(!stop.crossed && stop.last);
        let result = stop.stopped.unwrap();
        assert_close(result.p_value, 0.13538897191592706, 1e-6);
        assert_close(result.difference.estimate.unwrap(), 1.4951226178228971 * 0.5, 2e-6);
        assert_close(result.difference.low.unwrap(), -0.46771595344074746 * 0.5, 1e-5);
        assert_close(result.difference.high.unwrap(), 3.456441166885415 * 0.5, 3e-6);
    }

    #[test]
    fn turning_the_sign_turns_the_result() {
        let plan = spent();
        let up = plan.analyse(4, &effect(2.5)).unwrap().stopped.unwrap();
        let down = plan.analyse(4, &effect(-2.5)).unwrap().stopped.unwrap();
        assert_close(down.p_value, up.p_value, 1e-9);
        assert_close(down.difference.estimate.unwrap(), -up.difference.estimate.unwrap(), 1e-5);
        assert_close(down.difference.low.unwrap(), -up.difference.high.unwrap(), 1e-5);
    }

    #[test]
    fn without_a_crossing_only_the_repeated_interval_speaks() {
        let plan = GroupSequential::planned(BoundaryShape::Pocock, &[0.5, 1.0], 0.05).unwrap();
        let look = plan.analyse(1, &effect(2.0)).unwrap();
        assert!(!look.crossed);
        assert_eq!(look.stopped, None);
        assert_eq!(look.repeated.p_value, None);
        assert!(look.repeated.difference.contains_zero() && look.repeated.lift.contains_zero());
        let half_width = look.critical_value.unwrap() * 0.5;
        assert_close(look.repeated.difference.high.unwrap(), 1.0 + half_width, 1e-12);
        assert!(plan.analyse(0, &effect(2.0)).is_err());
        assert!(plan.analyse(3, &effect(2.0)).is_err());
    }

    #[test]
    fn one_look_is_the_ordinary_test() {
        let plan = GroupSequential::planned(BoundaryShape::Pocock, &[1.0], 0.05).unwrap();
        let result = plan.analyse(1, &effect(3.0)).unwrap().stopped.unwrap();
        assert_close(result.p_value, 0.0026997960632601866, 1e-12);
        assert_close(result.difference.estimate.unwrap(), 1.5, 1e-9);
        assert_close(result.difference.low.unwrap(), 1.5 - 0.5 * 1.959963984540054, 1e-9);
    }

    #[test]
    fn looks_without_alpha_or_variance_are_explained() {
        let plan = GroupSequential::alpha_spending(Spending::OBrienFleming, &[0.01, 1.0], 0.05).unwrap();
        let look = plan.analyse(1, &effect(6.0)).unwrap();
        assert_eq!((look.crossed, look.critical_value), (false, None));
        assert_eq!((look.repeated.difference.low, look.repeated.lift.high), (None, None));
        assert!(look.repeated.difference.note.is_some() && look.repeated.lift.note.is_some());
        let still = ArmValue { value: 1.0, variance: 0.0 };
        let same = Effect::of_independent_arms(still, still, None).unwrap();
        assert_close(plan.analyse(2, &same).unwrap().stopped.unwrap().p_value, 1.0, 0.0);
        let empty = Effect::untestable("an arm has no units");
        assert_eq!(plan.analyse(2, &empty).unwrap().stopped, None);
    }
}
