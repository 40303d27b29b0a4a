//! Whom to send to: the audience of the greatest expected profit within a budget and a number of messages, and what it may
//! be promised to bring.
//!
//! Enters: for each unit the expected incremental profit of a message (what the message brings, less what it costs) and
//! the cost; a budget, a cap on units. Leaves: [`Audience`], never with a unit whose expected profit is zero or less,
//! however much budget is left.
//!
//! ```text
//! maximise Σ profit x   with   Σ cost x ≤ budget,   Σ x ≤ cap,   x 0 or 1
//! ```
//!
//! Where only the cap binds, the most profitable units; where only the budget binds, those that bring the most for each
//! unit of currency; where both do, those of the greatest profit − λ cost, with the shadow price λ at which the budget is
//! just spent (Lagrangian relaxation: Fisher 1981, Management Science 27(1)). What is then left of the budget goes to
//! swaps between units at the margin and to whatever still fits. Units come whole, so that the profit may fall short of
//! [`best_possible_profit`](Audience::best_possible_profit), which no audience exceeds, by less than that of one unit.
//!
//! **The profit that the choice was made by is no promise**: whoever is picked for looking profitable looks better than
//! he is. [`policy_value`] says what the choice is worth on randomised units that the model has not seen.

mod choice;
mod policy_value;

pub use policy_value::{PolicyUnits, PolicyWorth, policy_value};

use crate::binomial::index;
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite, check_not_negative};
use crate::interval::{Estimate, Interval};
use crate::numeric::CarefulSum;
use crate::uplift::check_lengths;
use choice::{Choice, Search};
use serde::{Deserialize, Serialize};

/// How sure the expected profits are, in their currency: a standard error a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Uncertainty<'a> {
    /// Nothing is known of it.
    Unknown,
    /// Errors of different units have nothing to do with each other: they even out in large audiences.
    Independent(&'a [f64]),
    /// All units err together, as those of one model do: errors add up. The widest interval there is.
    Common(&'a [f64]),
}

/// Units that could be sent to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AudienceUnits<'a> {
    /// Expected incremental profit of a message, its cost taken off: any number, in the currency of the budget.
    pub profit: &'a [f64],
    /// Cost of the message, zero or more, in the same currency.
    pub cost: &'a [f64],
    /// How sure the profits are.
    pub uncertainty: Uncertainty<'a>,
}

/// What may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AudienceLimits {
    /// The most that all messages together may cost; none for no limit. Kept to one part in 10^12, for rounding.
    pub budget: Option<f64>,
    /// The most units; none for no limit.
    pub most_units: Option<u64>,
}

/// An audience.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audience {
    /// For each unit whether it is chosen.
    pub chosen: Vec<bool>,
    /// Units chosen.
    pub units: u64,
    /// Cost of all messages, in the currency of the budget.
    pub total_cost: f64,
    /// Sum of the expected profits of those chosen; its interval knows nothing of their having been picked by them.
    pub expected_profit: Estimate,
    /// No audience within the limits can be expected to bring more.
    pub best_possible_profit: f64,
    /// What another unit of currency would bring: profit for each unit of budget; zero where money is left.
    pub budget_price: f64,
    /// What one more unit allowed would bring, its share of the budget paid for; zero where the cap does not bind.
    pub unit_price: f64,
    /// Why nobody is chosen; none where somebody is.
    pub note: Option<String>,
}

/// Chooses the audience of the greatest expected profit. Time grows as n log n; ten million units are no trouble.
///
/// ```
/// use sendlift_stats::audience::{AudienceLimits, AudienceUnits, Uncertainty, choose_audience};
///
/// // The first brings most, but for its cost the other two bring more together.
/// let units = AudienceUnits {
///     profit: &[5.0, 4.0, 3.0, -1.0],
///     cost: &[3.0, 1.5, 1.5, 0.0],
///     uncertainty: Uncertainty::Unknown,
/// };
/// let limits = AudienceLimits { budget: Some(3.0), most_units: None };
/// let audience = choose_audience(units, limits, 0.05)?;
/// assert_eq!(audience.chosen, [false, true, true, false]);
/// assert_eq!(audience.expected_profit.estimate, Some(7.0));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for a
/// profit, cost, standard error or budget that cannot be.
pub fn choose_audience(units: AudienceUnits<'_>, limits: AudienceLimits, alpha: f64) -> Result<Audience, StatsError> {
    check(units, limits, alpha)?;
    let profitable: Vec<usize> = (0..units.profit.len()).filter(|&unit| units.profit[unit] > 0.0).collect();
    let most_units = limits.most_units.map_or(usize::MAX, index);
    let search = Search { profit: units.profit, cost: units.cost };
    let found = match limits.budget {
        Some(budget) => search.within(&profitable, budget, most_units),
        None => search.without_budget(&profitable, most_units),
    };
    let note = found.units.is_empty().then(|| why_nobody(units, limits, &profitable).to_owned());
    Ok(describe(units, &found, alpha, note))
}

fn describe(units: AudienceUnits<'_>, found: &Choice, alpha: f64, note: Option<String>) -> Audience {
    let mut chosen = vec![false; units.profit.len()];
    for &unit in &found.units {
        chosen[unit] = true;
    }
    let total = |values: &[f64]| -> f64 { CarefulSum::of(found.units.iter().map(|&unit| values[unit])).value() };
    let standard_error = match units.uncertainty {
        Uncertainty::Unknown => None,
        Uncertainty::Independent(errors) => {
            Some(found.units.iter().map(|&unit| errors[unit] * errors[unit]).sum::<f64>().sqrt())
        }
        Uncertainty::Common(errors) => Some(total(errors)),
    };
    let profit = total(units.profit);
    let interval = standard_error.map_or_else(
        || Interval::undefined("nothing is known of how sure the profits are"),
        |standard_error| {
            let half_width = normal::critical_value(alpha) * standard_error;
            Interval::from_ends(profit - half_width, profit + half_width)
        },
    );
    Audience {
        chosen,
        units: found.units.len() as u64,
        total_cost: total(units.cost),
        expected_profit: Estimate::new(profit, interval),
        // Rounding must not put the bound below what was reached.
        best_possible_profit: found.bound.max(profit),
        budget_price: found.budget_price,
        unit_price: found.unit_price,
        note,
    }
}

fn why_nobody(units: AudienceUnits<'_>, limits: AudienceLimits, profitable: &[usize]) -> &'static str {
    if units.profit.is_empty() {
        "there is nobody to choose from"
    } else if profitable.is_empty() {
        "nobody is expected to bring more than the message costs"
    } else if limits.most_units == Some(0) {
        "the cap on units is zero"
    } else {
        "the budget does not pay for one message to anybody who would bring a profit"
    }
}

fn check(units: AudienceUnits<'_>, limits: AudienceLimits, alpha: f64) -> Result<(), StatsError> {
    check_alpha(alpha)?;
    let number = units.profit.len();
    check_lengths("the expected profit", number, "the cost", units.cost.len())?;
    for (&profit, &cost) in units.profit.iter().zip(units.cost) {
        check_finite("an expected profit", profit)?;
        check_not_negative("the cost of a message", cost)?;
    }
    if let Uncertainty::Independent(errors) | Uncertainty::Common(errors) = units.uncertainty {
        check_lengths("the expected profit", number, "the standard error", errors.len())?;
        for &error in errors {
            check_not_negative("the standard error of a profit", error)?;
        }
    }
    limits.budget.map_or(Ok(()), |budget| check_not_negative("the budget", budget))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
