//! What an audience is worth, from randomised units: the honest side of a promise.
//!
//! Enters: doubly robust scores of units whose arm was drawn at random, whether the policy would send to each, margin and
//! cost. Leaves: [`PolicyWorth`]. The value of a policy π is the mean of π (margin × score − cost), with the error of a
//! mean (Dudík, Langford and Li 2011, ICML; Athey and Wager 2021, Econometrica 89(1)).
//!
//! **The units must not have trained the model that chose**, nor the models in their scores: take the out-of-fold
//! predictions and scores of a cross-fit ([`CrossFitted`](crate::uplift::CrossFitted)), or units held back. On units that
//! the model learnt from the value is too high by as much as it learnt their noise. The rule itself (which limit, which
//! threshold) must come from elsewhere than their outcomes, too.

use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use crate::uplift::check_lengths;
use serde::{Deserialize, Serialize};

const NOBODY: &str = "the policy sends to nobody";
const ONE_UNIT: &str = "a single unit: nothing says how sure the value is";

/// Randomised units, and what a policy would do with them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyUnits<'a> {
    /// Each unit's effect, unbiased and without the unit in the models
    /// ([`doubly_robust_scores`](crate::uplift::CrossFitted::doubly_robust_scores)), in units of the outcome.
    pub scores: &'a [f64],
    /// Whether the policy sends to the unit.
    pub chosen: &'a [bool],
    /// What one unit of outcome is worth, in currency: the margin of a conversion, or the share of revenue that is left.
    pub margin: f64,
    /// Cost of the message to each unit, zero or more, in the same currency.
    pub cost: &'a [f64],
}

/// The incremental profit of a policy, in currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyWorth {
    /// Units.
    pub units: u64,
    /// Units that the policy sends to.
    pub chosen: u64,
    /// Against sending to nobody, for each unit of the population: times the size of a list like it, the promise.
    pub per_unit: Estimate,
    /// Against sending to nobody, for each message: times the size of an audience chosen alike, its promise.
    pub per_message: Estimate,
    /// Against sending to everybody, for each unit of the population.
    pub against_everybody: Estimate,
}

/// The worth of a policy on units that its model has not seen.
///
/// # Errors
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for
/// a score, margin or cost that cannot be; [`StatsError::NoUnits`].
pub fn policy_value(units: PolicyUnits<'_>, alpha: f64) -> Result<PolicyWorth, StatsError> {
    check_alpha(alpha)?;
    let number = units.scores.len();
    check_lengths("the score", number, "the choice", units.chosen.len())?;
    check_lengths("the score", number, "the cost", units.cost.len())?;
    check_finite("the margin", units.margin)?;
    for (&score, &cost) in units.scores.iter().zip(units.cost) {
        check_finite("a score", score)?;
        check_not_negative("the cost of a message", cost)?;
    }
    if number == 0 {
        return Err(StatsError::NoUnits);
    }
    let profit: Vec<f64> =
        units.scores.iter().zip(units.cost).map(|(score, cost)| units.margin * score - cost).collect();
    let decided = || profit.iter().copied().zip(units.chosen.iter().copied());
    let per_message: Vec<f64> = decided().filter(|(_, chosen)| *chosen).map(|(profit, _)| profit).collect();
    let per_unit: Vec<f64> = decided().map(|(profit, chosen)| if chosen { profit } else { 0.0 }).collect();
    let against: Vec<f64> = decided().map(|(profit, chosen)| if chosen { 0.0 } else { -profit }).collect();
    Ok(PolicyWorth {
        units: number as u64,
        chosen: per_message.len() as u64,
        per_unit: mean(&per_unit, alpha),
        per_message: mean(&per_message, alpha),
        against_everybody: mean(&against, alpha),
    })
}

/// The mean with its normal interval.
fn mean(values: &[f64], alpha: f64) -> Estimate {
    if values.is_empty() {
        return Estimate::undefined(NOBODY);
    }
    let number = length(values.len());
    let mean = values.iter().sum::<f64>() / number;
    if values.len() == 1 {
        return Estimate::new(mean, Interval::undefined(ONE_UNIT));
    }
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let half_width = normal::critical_value(alpha) * (squares / (number - 1.0) / number).sqrt();
    Estimate::new(mean, Interval::from_ends(mean - half_width, mean + half_width))
}
