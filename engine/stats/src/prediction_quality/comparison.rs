//! Which of two models predicts the same units better.
//!
//! Enters: the predictions of two models for the same units, and their outcomes. Leaves: the differences of areas
//! (`DeLong` et al. 1988, with the covariance of the two), log losses and Brier scores, each with an interval that knows
//! that the units are the same.

use super::area::Placements;
use super::losses::{Loss, mean_estimate, standard_error};
use super::{NO_UNITS, ONE_CLASS, check_predictions, descending};
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

const NO_DIFFERENCE: &str = "the models do not differ on these units";
const NO_ERROR: &str = "the difference has no error in these units: there is nothing to hold it against";
const ONE_UNIT: &str = "too few units to know the difference's error";

/// A figure of two models on the same units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// That of the first model; none where it is not defined.
    pub first: Option<f64>,
    /// That of the second.
    pub second: Option<f64>,
    /// Second − first, with a normal interval.
    pub difference: Estimate,
    /// Two-sided p value of no difference; none where the difference has no error.
    pub p_value: Option<f64>,
}

/// Two models on the same units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionComparison {
    /// Units.
    pub units: u64,
    /// Areas under the ROC curve: a difference above zero says that the second ranks better.
    pub area_under_curve: PairedDifference,
    /// Mean log losses in nats: a difference **below** zero says that the second predicts better.
    pub log_loss: PairedDifference,
    /// Brier scores: a difference **below** zero says that the second predicts better.
    pub brier_score: PairedDifference,
}

/// Compares two models on the same units. To choose one, look at the log loss: it sees ranking and calibration.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`]; [`StatsError::InvalidProbability`] for a prediction.
pub fn compare_predictions(
    first: &[f64],
    second: &[f64],
    outcomes: &[bool],
    alpha: f64,
) -> Result<PredictionComparison, StatsError> {
    check_alpha(alpha)?;
    check_predictions(first, outcomes)?;
    check_predictions(second, outcomes)?;
    Ok(PredictionComparison {
        units: outcomes.len() as u64,
        area_under_curve: compare_areas(first, second, outcomes, alpha),
        log_loss: compare_losses(Loss::Log, first, second, outcomes, alpha),
        brier_score: compare_losses(Loss::Brier, first, second, outcomes, alpha),
    })
}

fn undefined(note: &str) -> PairedDifference {
    PairedDifference { first: None, second: None, difference: Estimate::undefined(note), p_value: None }
}

fn compare_areas(first: &[f64], second: &[f64], outcomes: &[bool], alpha: f64) -> PairedDifference {
    let placements = |predictions: &[f64]| Placements::of(predictions, outcomes, &descending(predictions));
    let Some((first, second)) = placements(first).zip(placements(second)) else {
        return undefined(ONE_CLASS);
    };
    let variance = |(own, other, both): (f64, f64, f64)| (own + other - 2.0 * both).max(0.0);
    let covariances = || Some((first.covariance(&first)?, second.covariance(&second)?, first.covariance(&second)?));
    // What is left of variances that cancel is rounding.
    let error = covariances().map(|parts| {
        let left = variance(parts);
        if left > 1e-14 * (parts.0 + parts.1) { left.sqrt() } else { 0.0 }
    });
    let (own, other) = (first.area(), second.area());
    let critical = normal::critical_value(alpha);
    let around = |error: f64| {
        Estimate::new(other - own, Interval::from_ends(other - own - critical * error, other - own + critical * error))
    };
    paired(own, other, error, error.map_or_else(Estimate::default, around))
}

fn compare_losses(loss: Loss, first: &[f64], second: &[f64], outcomes: &[bool], alpha: f64) -> PairedDifference {
    if outcomes.is_empty() {
        return undefined(NO_UNITS);
    }
    let losses = |predictions: &[f64]| -> Vec<f64> {
        predictions.iter().zip(outcomes).map(|(&own, &outcome)| loss.of(own, outcome)).collect()
    };
    let (first, second) = (losses(first), losses(second));
    let differences: Vec<f64> = second.iter().zip(&first).map(|(second, first)| second - first).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / length(losses.len());
    paired(mean(&first), mean(&second), standard_error(&differences), mean_estimate(&differences, alpha))
}

/// `estimate` is used where there is an error above zero.
fn paired(first: f64, second: f64, error: Option<f64>, estimate: Estimate) -> PairedDifference {
    let difference = second - first;
    let without = |interval: Interval| (Estimate::new(difference, interval), None);
    let (difference, p_value) = match error {
        None => without(Interval::undefined(ONE_UNIT)),
        Some(error) if error > 0.0 => {
            let p_value = normal::two_sided_p_value(difference / error);
            (estimate, Some(p_value))
        }
        // The same numbers were subtracted: exact.
        Some(_) if difference.abs() <= 0.0 => without(Interval::from_ends(0.0, 0.0).with_note(NO_DIFFERENCE)),
        Some(_) => without(Interval::undefined(NO_ERROR)),
    };
    PairedDifference { first: Some(first), second: Some(second), difference, p_value }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;

    const OUTCOMES: [bool; 6] = [true, true, true, false, false, false];

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let predictions = [0.9, 0.3, 0.6, 0.4, 0.2, 0.7];
        let same = compare_predictions(&predictions, &predictions, &OUTCOMES, 0.05).unwrap();
        for figure in [&same.area_under_curve, &same.log_loss, &same.brier_score] {
            assert_eq!((figure.difference.low, figure.difference.high), (Some(0.0), Some(0.0)));
            assert_eq!(figure.difference.note.as_deref(), Some(NO_DIFFERENCE));
            assert_eq!(figure.p_value, None);
        }
        // The same ranking by other probabilities.
        let halved = predictions.map(|prediction| prediction / 2.0);
        let other = compare_predictions(&predictions, &halved, &OUTCOMES, 0.05).unwrap();
        assert_eq!(other.area_under_curve.difference.estimate, Some(0.0));
        assert!(other.log_loss.p_value.is_some());
    }

    #[test]
    fn thin_data_have_notes() {
        let nobody = compare_predictions(&[], &[], &[], 0.05).unwrap();
        assert_eq!(nobody.log_loss.difference.note.as_deref(), Some(NO_UNITS));
        let one = compare_predictions(&[0.2], &[0.4], &[true], 0.05).unwrap();
        assert_eq!(one.area_under_curve.difference.note.as_deref(), Some(ONE_CLASS));
        assert_eq!(one.log_loss.difference.note.as_deref(), Some(ONE_UNIT));
        assert!(one.log_loss.difference.estimate.is_some());
        // Perfect against perfectly wrong.
        let (right, wrong) = ([0.9, 0.9, 0.9, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.9, 0.9, 0.9]);
        let sure = compare_predictions(&wrong, &right, &OUTCOMES, 0.05).unwrap().area_under_curve;
        assert_eq!((sure.difference.estimate, sure.difference.note.as_deref()), (Some(1.0), Some(NO_ERROR)));
        assert!(compare_predictions(&right, &wrong[1..], &OUTCOMES, 0.05).is_err());
    }
}
