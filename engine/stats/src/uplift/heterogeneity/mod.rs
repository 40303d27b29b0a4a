//! Is there any difference between units in what treatment does, and do the predictions find it?
//!
//! Enters: randomised units, and for each the effect that was predicted without it, beside what was expected of it if not
//! treated. Leaves: the best linear predictor of the effect, the effects of groups by prediction, and what many splits
//! say together. Chernozhukov, Demirer, Duflo and Fernández-Val (2018), "Generic machine learning inference on
//! heterogeneous treatment effects in randomized experiments", NBER working paper 24678:
//!
//! ```text
//! best linear predictor   y = α₀ + α₁ B + β₁ (d − e) + β₂ (d − e)(S − S̄) + error
//! effects of groups       y = α₀ + α₁ B + Σ γ_g (d − e) 1(group g) + error           weights 1 / (e (1 − e))
//! ```
//!
//! with e the known probability of treatment, d whether treated, S the predicted effect and B the expected outcome. β₁ is
//! the average effect. β₂ is one where predictions are right as they stand, between zero and one where they exaggerate,
//! zero where they know nothing: an interval without zero says that effects differ **and** that the model sees it. Both
//! hold however poor the models are; B only sharpens. Intervals are normal, from HC2 (heteroskedasticity-robust) errors.
//!
//! Cross-fitted predictions use every unit once, and the intervals are **conditional on that split**: on the models that
//! were fitted. Another split gives other models; [`combine_splits`] puts several together by their medians.

mod regression;
mod splits;

pub use splits::{CombinedSplits, SplitEstimate, combine_splits};

use super::units::{RandomisedUnits, check_lengths};
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha, check_finite};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use regression::{Regression, regress};
use serde::{Deserialize, Serialize};

/// Groups that effects are given for unless others are asked for: fifths.
pub const GROUPS: u32 = 5;
/// Predictions whose range is a smaller share than this of the largest are all the same.
const SAME_TO: f64 = 1e-12;

const ALL_THE_SAME: &str = "every prediction is the same: it tells no unit from another";
const NOT_SEPARABLE: &str = "the units are too few to tell this effect from the rest";
const ONE_GROUP: &str = "the predictions make a single group: too many are the same";
const ONE_ARM: &str = "the group has units of one arm only";

/// An estimate of a regression, with its heteroskedasticity-robust error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RobustEstimate {
    /// The value and its normal interval.
    #[serde(flatten)]
    pub value: Estimate,
    /// HC2, in units of the value.
    pub standard_error: Option<f64>,
    /// Two-sided, of a value of zero.
    pub p_value: Option<f64>,
}

/// The best linear predictor of the effect given the predicted one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestLinearPredictor {
    /// β₁: the average effect, in units of the outcome.
    pub average_effect: RobustEstimate,
    /// β₂: by how much the effect grows for each unit of predicted effect; one if predictions are right, zero if they
    /// know nothing.
    pub heterogeneity: RobustEstimate,
}

/// Units of similar predicted effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectGroup {
    /// Units in the group.
    pub units: u64,
    /// Those of them that were treated.
    pub treated: u64,
    /// Their mean predicted effect, in units of the outcome.
    pub predicted: f64,
    /// Their average effect, in units of the outcome.
    pub effect: RobustEstimate,
}

/// Average effects of groups by predicted effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupEffects {
    /// From the lowest predicted effect to the highest; fewer than were asked for where predictions are equal.
    pub groups: Vec<EffectGroup>,
    /// The effect on the last group less that on the first.
    pub difference: RobustEstimate,
}

impl RobustEstimate {
    fn new(value: f64, standard_error: f64, alpha: f64) -> Self {
        let half_width = normal::critical_value(alpha) * standard_error;
        let interval = Interval::from_ends(value - half_width, value + half_width);
        let known = standard_error.is_finite() && standard_error > 0.0;
        Self {
            value: Estimate::new(value, interval),
            standard_error: standard_error.is_finite().then_some(standard_error),
            p_value: known.then(|| normal::two_sided_p_value(value / standard_error)),
        }
    }

    fn undefined(note: &str) -> Self {
        Self { value: Estimate::undefined(note), standard_error: None, p_value: None }
    }
}

/// The best linear predictor of the effect. `predicted` is the effect predicted without the unit, `expected` what is
/// expected of it if not treated (none to do without), one value a unit.
///
/// # Errors
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`]; [`StatsError::NotFinite`].
pub fn best_linear_predictor(
    units: RandomisedUnits<'_>,
    expected: Option<&[f64]>,
    predicted: &[f64],
    alpha: f64,
) -> Result<BestLinearPredictor, StatsError> {
    check(units, expected, predicted, alpha)?;
    let mean = predicted.iter().sum::<f64>() / length(units.len());
    let range = predicted.iter().fold(0.0_f64, |widest, value| widest.max((value - mean).abs()));
    let largest = predicted.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let departures = departures(units);
    let mut columns = vec![departures.clone()];
    let differs = range > SAME_TO * largest;
    if differs {
        columns.push(departures.iter().zip(predicted).map(|(departure, own)| departure * (own - mean)).collect());
    }
    let fitted = regress(units, expected, &columns);
    Ok(BestLinearPredictor {
        average_effect: estimate(fitted.as_ref(), 0, alpha),
        heterogeneity: if differs {
            estimate(fitted.as_ref(), 1, alpha)
        } else {
            RobustEstimate::undefined(ALL_THE_SAME)
        },
    })
}

/// Average effects of `groups` groups of equal size (at least two) by predicted effect. Units of equal prediction are in
/// one group: a group ends at the smallest prediction that g / `groups` of the units do not exceed.
///
/// # Errors
/// As [`best_linear_predictor`]; [`StatsError::TooFewEffects`] for fewer than two groups.
pub fn group_effects(
    units: RandomisedUnits<'_>,
    expected: Option<&[f64]>,
    predicted: &[f64],
    groups: u32,
    alpha: f64,
) -> Result<GroupEffects, StatsError> {
    check(units, expected, predicted, alpha)?;
    if groups < 2 {
        return Err(StatsError::TooFewEffects { effects: groups as usize });
    }
    let ends = ends_of_groups(predicted, groups as usize);
    let group_of: Vec<usize> = predicted.iter().map(|own| ends.partition_point(|end| end < own)).collect();
    let departures = departures(units);
    let columns: Vec<Vec<f64>> = (0..ends.len())
        .map(|group| {
            let own = departures.iter().zip(&group_of);
            own.map(|(departure, own)| if *own == group { *departure } else { 0.0 }).collect()
        })
        .collect();
    let mut described: Vec<EffectGroup> =
        vec![
            EffectGroup { units: 0, treated: 0, predicted: 0.0, effect: RobustEstimate::undefined(ONE_ARM) };
            ends.len()
        ];
    for ((&group, &treated), &own) in group_of.iter().zip(units.treated()).zip(predicted) {
        let described = &mut described[group];
        described.units += 1;
        described.treated += u64::from(treated);
        described.predicted += (own - described.predicted) / crate::numeric::count(described.units);
    }
    let fitted = regress(units, expected, &columns);
    for (place, group) in described.iter_mut().enumerate() {
        if group.treated > 0 && group.treated < group.units {
            group.effect = estimate(fitted.as_ref(), place, alpha);
        }
    }
    let last = described.len() - 1;
    let difference = if last == 0 {
        RobustEstimate::undefined(ONE_GROUP)
    } else if let (Some(low), Some(high)) = (described[0].effect.value.estimate, described[last].effect.value.estimate)
        && let Some(fitted) = &fitted
    {
        RobustEstimate::new(high - low, fitted.error_of_difference(last, 0), alpha)
    } else {
        RobustEstimate::undefined(ONE_ARM)
    };
    Ok(GroupEffects { groups: described, difference })
}

/// How far each unit's arm was from what was to be expected: treated less probability of treatment.
fn departures(units: RandomisedUnits<'_>) -> Vec<f64> {
    units
        .treated()
        .iter()
        .zip(units.assignment_probability())
        .map(|(treated, probability)| f64::from(u8::from(*treated)) - probability)
        .collect()
}

fn estimate(fitted: Option<&Regression>, place: usize, alpha: f64) -> RobustEstimate {
    fitted.map_or_else(
        || RobustEstimate::undefined(NOT_SEPARABLE),
        |fitted| RobustEstimate::new(fitted.coefficient(place), fitted.error(place), alpha),
    )
}

/// The highest prediction of each group, rising, without repetition; there is a unit in each.
fn ends_of_groups(predicted: &[f64], groups: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = predicted.iter().map(|own| own + 0.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut ends: Vec<f64> =
        (1..=groups).map(|group| sorted[(group * sorted.len()).div_ceil(groups).max(1) - 1]).collect();
    ends.dedup_by(|left, right| left.total_cmp(right).is_eq());
    ends
}

fn check(
    units: RandomisedUnits<'_>,
    expected: Option<&[f64]>,
    predicted: &[f64],
    alpha: f64,
) -> Result<(), StatsError> {
    check_alpha(alpha)?;
    for (what, values) in [("the predicted effect", Some(predicted)), ("the expected outcome", expected)] {
        let Some(values) = values else { continue };
        check_lengths("the outcome", units.len(), what, values.len())?;
        for &value in values {
            check_finite(what, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
