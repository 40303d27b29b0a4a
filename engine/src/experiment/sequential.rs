//! Always-valid results, for experiments that are looked at whenever somebody likes.
//!
//! Enters: the statistics of two arms, and the size at which the intervals should be tightest, chosen before the first
//! look. Leaves: intervals and a p value that hold at all looks together (asymptotic confidence sequences). Or the looks
//! so far as shares of the planned size; leaves what holds at the last of them, alpha being spent by a function that was
//! fixed beforehand. Where they are asked for, the decision rests on them.

use serde::Serialize;

use super::adjusted::AdjustedResult;
use super::statistic::ArmStatistic;
use crate::error::{EngineError, Result};
use crate::stats::distribution::normal;
use crate::stats::effect::EstimatedEffect;
use crate::stats::sequential::Spending;
use crate::stats::{Effect, Estimate, GroupSequential, MixtureBoundary, always_valid_means};

/// Units of both arms together at which the intervals are tightest where no plan says it. It must not follow the data: a
/// boundary that moves with every look is none.
pub const DEFAULT_PLANNED_UNITS: u64 = 10_000;

const NO_ADJUSTED_LIFT: &str = "of an adjusted difference there is no always-valid lift";
const NO_SEQUENCE: &str = "there is no always-valid result for quantiles: choose a mean, or looks that are planned";

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

impl AlwaysValid {
    /// Puts a result that is adjusted for what was known before in place of the plain one: its estimate is as asymptotically
    /// linear as a difference of means, which is all that the sequence takes (Waudby-Smith and others 2024, section 2). Where
    /// one arm is much the smaller, or there is no sequence, the plain one stays: its spread is that of both arms.
    pub(crate) fn adjust(
        &mut self,
        adjusted: &AdjustedResult,
        (control, treatment): (&ArmStatistic, &ArmStatistic),
        alpha: f64,
    ) -> Result<()> {
        let (control, treatment) = (control.moments()?.n, treatment.moments()?.n);
        if control.max(treatment) > control.min(treatment).saturating_mul(2) || self.p_value.is_none() {
            self.method.push_str("; of the difference as it is");
            return Ok(());
        }
        let boundary = MixtureBoundary::new(self.planned_units, alpha)?;
        let effect = effect_with(&adjusted.difference, adjusted.p_value, alpha)?;
        let found = boundary.compare(&effect, control.saturating_add(treatment));
        self.difference = found.difference;
        self.lift = Estimate::undefined(NO_ADJUSTED_LIFT);
        (self.p_value, self.p_value_adjusted) = (found.p_value, found.p_value);
        self.method = format!("{}; of the difference by {}", found.method, adjusted.method);
        Ok(())
    }
}

/// The looks made so far at a plan by alpha spending.
#[derive(Debug, Clone, PartialEq)]
pub struct LooksSpec {
    /// The share of the planned units that was there at each look, this one last: ascending, above 0.
    pub shares: Vec<f64>,
    /// How alpha is spent over them; the same at every look.
    pub spending: Spending,
}

impl LooksSpec {
    /// Reads the shares, as in `0.25,0.5`, and the spending function: `obrien-fleming`, `pocock` or `even`.
    ///
    /// # Errors
    /// When a share is no number above the one before it, or there is no such function.
    pub fn read(shares: &str, spending: &str) -> Result<Self> {
        let wrong = || {
            EngineError::usage(format!(
                "looks \"{shares}\": write the share of the planned units at each look so far, ascending, as in 0.25,0.5"
            ))
        };
        let shares = shares
            .split(',')
            .map(|share| share.trim().parse::<f64>().map_err(|_| wrong()))
            .collect::<Result<Vec<_>>>()?;
        let ascending = shares.first().is_some_and(|first| *first > 0.0)
            && shares.iter().all(|share| share.is_finite())
            && shares.windows(2).all(|pair| matches!(pair, [before, after] if before < after));
        if !ascending {
            return Err(wrong());
        }
        Ok(Self { shares, spending: parse_spending(spending)? })
    }
}

/// Reads how alpha is spent over looks: `obrien-fleming`, `pocock` or `even`.
///
/// # Errors
/// When it is none of these.
pub fn parse_spending(text: &str) -> Result<Spending> {
    match text {
        "obrien-fleming" => Ok(Spending::OBrienFleming),
        "pocock" => Ok(Spending::Pocock),
        "even" => Ok(Spending::Power { exponent: 1.0 }),
        other => {
            Err(EngineError::usage(format!("spending \"{other}\" is not known: use obrien-fleming, pocock or even")))
        }
    }
}

/// What holds at a look among those of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedLook {
    /// Which look it is, the first being 1.
    pub look: usize,
    /// The share of the planned units that is there.
    pub information_fraction: f64,
    /// The z that stops the experiment; none where no alpha is spent yet.
    pub critical_value: Option<f64>,
    /// The z that has the p value of the test without looks.
    pub statistic: Option<f64>,
    /// Whether it lies beyond the critical value.
    pub crossed: bool,
    /// The difference: when the experiment stops, median-unbiased; before, with an interval that holds at every look.
    pub difference: Estimate,
    /// By stage-wise ordering, where the experiment stops; none before.
    pub p_value: Option<f64>,
    /// The least alpha at which a plan of the same looks would have stopped here: it holds at every look.
    pub repeated_p_value: Option<f64>,
    /// The repeated p value, adjusted for the comparisons that belong together.
    pub p_value_adjusted: Option<f64>,
    /// The boundaries, in words.
    pub method: String,
}

/// Holds the result of a fixed sample, whatever test it is of, against the boundary of the last of some looks: by the z that
/// has its p value (the significance-level approach, Jennison and Turnbull 2000, section 3.3). One look at the whole sample
/// is the fixed test again.
pub(crate) fn at_planned_look(
    spec: &LooksSpec,
    difference: &Estimate,
    p_value: Option<f64>,
    alpha: f64,
) -> Result<Option<PlannedLook>> {
    let plan = GroupSequential::alpha_spending(spec.spending, &spec.shares, alpha)?;
    let look = spec.shares.len();
    let effect = effect_with(difference, p_value, alpha)?;
    let found = plan.analyse(look, &effect)?;
    let repeated_p_value = effect
        .statistic()
        .map(|statistic| GroupSequential::repeated_p_value(spec.spending, &spec.shares, statistic))
        .transpose()?;
    let Some(information_fraction) = spec.shares.last().copied() else { return Ok(None) };
    // The last of the looks so far is the end only where all planned units are there.
    let stops = found.crossed || information_fraction >= 1.0;
    let (difference, p_value) = match found.stopped.filter(|_| stops) {
        Some(stopped) => (stopped.difference, Some(stopped.p_value)),
        None => (found.repeated.difference, None),
    };
    Ok(Some(PlannedLook {
        look,
        information_fraction,
        critical_value: found.critical_value,
        statistic: effect.statistic(),
        crossed: found.crossed,
        difference,
        p_value,
        repeated_p_value,
        p_value_adjusted: repeated_p_value,
        method: plan.method,
    }))
}

/// A normal effect with the difference and the two-sided p value of another test.
fn effect_with(difference: &Estimate, p_value: Option<f64>, alpha: f64) -> Result<Effect> {
    let Some((estimate, p_value)) = difference.estimate.zip(p_value) else {
        let note = difference.note.clone().unwrap_or_else(|| "there is no test".to_owned());
        return Ok(Effect::Untestable { values: None, note });
    };
    let width = difference.low.zip(difference.high).map_or(0.0, |(low, high)| high - low);
    let statistic = if p_value < 1.0 { normal::critical_value(p_value.max(f64::MIN_POSITIVE)) } else { 0.0 };
    let standard_error = if estimate != 0.0 && statistic > 0.0 {
        estimate.abs() / statistic
    } else {
        // Of no difference the width of the interval tells how sure that is.
        width / (2.0 * normal::critical_value(alpha))
    };
    Ok(Effect::new(EstimatedEffect {
        difference: if statistic > 0.0 { estimate } else { 0.0 },
        standard_error,
        degrees_of_freedom: None,
        baseline: 0.0,
        baseline_variance: 0.0,
        covariance: 0.0,
    })?)
}

/// Holds an arm against the control at one of any number of looks; none where the metric has no standard error.
pub(crate) fn always_valid(
    control: &ArmStatistic,
    treatment: &ArmStatistic,
    planned_units: u64,
    alpha: f64,
) -> Result<Option<AlwaysValid>> {
    if matches!(control, ArmStatistic::Quantile { .. } | ArmStatistic::ClusteredQuantile { .. }) {
        let none = || Estimate::undefined(NO_SEQUENCE);
        return Ok(Some(AlwaysValid {
            difference: none(),
            lift: none(),
            p_value: None,
            p_value_adjusted: None,
            planned_units,
            method: NO_SEQUENCE.to_owned(),
        }));
    }
    // Of zeros and ones these are the sequences of proportions.
    let found = always_valid_means(&control.moments()?, &treatment.moments()?, planned_units, alpha)?;
    Ok(Some(AlwaysValid {
        difference: found.difference,
        lift: found.lift,
        p_value: found.p_value,
        p_value_adjusted: found.p_value,
        planned_units,
        method: found.method,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Moments, Proportion};

    #[test]
    fn means_and_shares_have_one() {
        // stats/tests/oracle/sequential.py: the formulas in NumPy, the lift by inverting z with brentq.
        let mean = |n, mean, variance| ArmStatistic::Mean(Moments::from_n_mean_variance(n, mean, variance).unwrap());
        let look = always_valid(&mean(3407, 0.41, 15.21), &mean(3461, 0.7, 38.44), 10_000, 0.05).unwrap().unwrap();
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
        let look = always_valid(&share(5_000, 500), &share(5_000, 750), 10_000, 0.05).unwrap().unwrap();
        assert!(look.p_value.unwrap() < 1e-6 && !look.difference.contains_zero() && !look.lift.contains_zero());
        let thin = always_valid(&share(5_000, 500), &share(0, 0), 10_000, 0.05).unwrap().unwrap();
        assert!(thin.p_value.is_none() && thin.difference.note.is_some());
    }
}
