//! How good predicted probabilities of a binary outcome are: do they rank units, and do they mean what they say?
//!
//! Enters: a prediction and an outcome for each unit, one unit a recipient who was not used to fit the model. Leaves:
//! [`PredictionQuality`], every figure with an interval; and for two models on the same units, [`compare_predictions`].
//!
//! | figure | interval |
//! | --- | --- |
//! | area under the ROC curve | `DeLong` et al. (1988, Biometrics 44(3)), on the scale of log-odds, which stays inside 0 to 1 and is nearer its confidence when the area is near 1 (Pepe 2003, section 5.2) |
//! | log loss, Brier score | normal, of a mean over units |
//! | their skill: the share of the base rate's loss that is avoided | delta method of a ratio of means |
//! | reliability table | Wilson, for each bin |
//! | calibration in the large, intercept and slope | Wald's, of a logistic recalibration (Cox 1958, Biometrika 45(3/4)) |
//! | lift of a decile over all units | Koopman's score interval of the decile against the rest, carried over |
//! | difference of two models' areas, losses | normal, of what differs on the same units |
//!
//! Without units, or with one class of outcome, what cannot be computed is `None` with a note.

mod area;
mod comparison;
mod lift;
mod losses;
mod reliability;

pub use comparison::{PairedDifference, PredictionComparison, compare_predictions};
pub use lift::LiftDecile;
pub use losses::MeanLoss;
pub use reliability::{Reliability, ReliabilityBin};

use crate::error::{StatsError, check_alpha, check_probability};
use crate::interval::Estimate;
use crate::proportion::{Proportion, wilson_interval};
use losses::{Loss, mean_loss};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Note where there is nobody.
const NO_UNITS: &str = "there are no units";
/// Note of what needs units with the outcome and without.
const ONE_CLASS: &str = "every unit has the same outcome";

/// How to judge predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QualityOptions {
    /// Of all intervals; a share in (0, 1).
    pub alpha: f64,
    /// Bins of the reliability table, of equal counts; one or more.
    pub bins: usize,
}

impl Default for QualityOptions {
    /// Alpha 5 %, ten bins.
    fn default() -> Self {
        Self { alpha: 0.05, bins: 10 }
    }
}

/// How good predictions are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionQuality {
    /// Units.
    pub units: u64,
    /// Units with the outcome.
    pub outcomes: u64,
    /// Share of units with the outcome, 0 to 1, with Wilson's interval.
    pub base_rate: Estimate,
    /// Area under the ROC curve: the chance that a unit with the outcome has a higher prediction than one without, ties
    /// counted half. 0.5 is no ranking, 1 a perfect one.
    pub area_under_curve: Estimate,
    /// Mean of −ln(probability given to what happened), in nats; zero is best.
    pub log_loss: MeanLoss,
    /// Mean of (prediction − outcome)²; zero is best (Brier 1950, Monthly Weather Review 78(1)).
    pub brier_score: MeanLoss,
    /// Whether predictions mean what they say.
    pub reliability: Reliability,
    /// Tenths of the units, those of the highest predictions first.
    pub lift: Vec<LiftDecile>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Judges predictions of one model.
///
/// ```
/// use sendlift_stats::prediction_quality::{QualityOptions, prediction_quality};
///
/// let predictions: Vec<f64> = (0..200).map(|unit| f64::from(unit) / 200.0).collect();
/// let outcomes: Vec<bool> = (0..200).map(|unit| unit % 7 * 30 < unit).collect();
/// let quality = prediction_quality(&predictions, &outcomes, QualityOptions::default())?;
/// assert!(quality.area_under_curve.low.is_some_and(|low| low > 0.7));
/// assert_eq!(quality.lift.len(), 10);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::UnevenLists`]; [`StatsError::InvalidProbability`] for a prediction;
/// [`StatsError::NotPositive`] for no bins.
pub fn prediction_quality(
    predictions: &[f64],
    outcomes: &[bool],
    options: QualityOptions,
) -> Result<PredictionQuality, StatsError> {
    let QualityOptions { alpha, bins } = options;
    check_alpha(alpha)?;
    if bins == 0 {
        return Err(StatsError::NotPositive { quantity: "the number of bins", value: 0.0 });
    }
    check_predictions(predictions, outcomes)?;
    let order = descending(predictions);
    let all = group(outcomes, &order);
    let wrong = losses::certain_and_wrong(predictions, outcomes);
    let notes = if wrong > 0 {
        vec![format!("{wrong} predictions of exactly 0 or 1 were wrong: each is taken as off by {:.1e}", f64::EPSILON)]
    } else {
        Vec::new()
    };
    Ok(PredictionQuality {
        units: all.n,
        outcomes: all.successes,
        base_rate: share(all, alpha)?,
        area_under_curve: area::estimate(predictions, outcomes, &order, alpha),
        log_loss: mean_loss(Loss::Log, predictions, outcomes, all, alpha),
        brier_score: mean_loss(Loss::Brier, predictions, outcomes, all, alpha),
        reliability: reliability::reliability(predictions, outcomes, &order, bins, alpha)?,
        lift: lift::lift_by_decile(predictions, outcomes, &order, alpha)?,
        notes,
    })
}

/// Refuses lists that differ in length, and what is no probability.
fn check_predictions(predictions: &[f64], outcomes: &[bool]) -> Result<(), StatsError> {
    if predictions.len() != outcomes.len() {
        return Err(StatsError::UnevenLists {
            left: "the predictions",
            left_length: predictions.len(),
            right: "the outcomes",
            right_length: outcomes.len(),
        });
    }
    predictions.iter().try_for_each(|&prediction| check_probability("a prediction", prediction))
}

/// Units in order of their predictions, the highest first; equal ones in their own order. Expects no NaN.
fn descending(predictions: &[f64]) -> Vec<usize> {
    // Adding zero makes a negative zero a plain one: they are equal.
    let mut keyed: Vec<(f64, usize)> = predictions.iter().map(|prediction| prediction + 0.0).zip(0..).collect();
    keyed.sort_unstable_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
    keyed.into_iter().map(|(_, unit)| unit).collect()
}

/// Runs of units with the same prediction, of units in order.
fn ties<'a>(predictions: &'a [f64], order: &'a [usize]) -> impl Iterator<Item = &'a [usize]> {
    order.chunk_by(|&left, &right| predictions[left].partial_cmp(&predictions[right]) == Some(Ordering::Equal))
}

/// Units and outcomes among some.
fn group(outcomes: &[bool], units: &[usize]) -> Proportion {
    let successes = units.iter().filter(|&&unit| outcomes[unit]).count();
    Proportion { n: units.len() as u64, successes: successes as u64 }
}

/// A share with Wilson's interval.
fn share(group: Proportion, alpha: f64) -> Result<Estimate, StatsError> {
    match group.rate() {
        Some(rate) => Ok(Estimate::new(rate, wilson_interval(group.successes, group.n, alpha)?)),
        None => Ok(Estimate::undefined(NO_UNITS)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;

    fn quality(predictions: &[f64], outcomes: &[bool]) -> PredictionQuality {
        prediction_quality(predictions, outcomes, QualityOptions::default()).unwrap()
    }

    #[test]
    fn thin_data_have_notes_in_place_of_numbers() {
        let nobody = quality(&[], &[]);
        assert_eq!(nobody.base_rate, Estimate::undefined(NO_UNITS));
        assert_eq!(nobody.area_under_curve.note.as_deref(), Some(ONE_CLASS));
        assert_eq!(nobody.log_loss.mean.note.as_deref(), Some(NO_UNITS));
        assert!(nobody.reliability.bins.is_empty() && nobody.lift.is_empty());
        assert_eq!(nobody.reliability.expected_calibration_error, None);

        let alone = quality(&[0.3], &[true]);
        assert!(alone.log_loss.mean.estimate.is_some() && alone.log_loss.mean.low.is_none());
        assert_eq!(alone.log_loss.skill.note.as_deref(), Some(ONE_CLASS));
        assert_eq!(alone.lift.len(), 1);
    }

    #[test]
    fn certainty_that_was_wrong_is_counted_and_finite() {
        let wrong = quality(&[1.0, 0.0, 0.5], &[false, false, true]);
        assert!(wrong.log_loss.mean.estimate.is_some_and(|loss| loss > 10.0));
        assert!(wrong.notes[0].starts_with("1 predictions of exactly 0 or 1 were wrong"), "{:?}", wrong.notes);
        assert!(quality(&[1.0, 0.0], &[true, false]).notes.is_empty());
    }

    #[test]
    fn mistakes_of_the_caller_are_refused() {
        let options = QualityOptions::default();
        assert!(matches!(prediction_quality(&[0.5], &[], options), Err(StatsError::UnevenLists { .. })));
        assert!(prediction_quality(&[1.5], &[true], options).is_err());
        assert!(prediction_quality(&[f64::NAN], &[true], options).is_err());
        assert!(prediction_quality(&[0.5], &[true], QualityOptions { bins: 0, ..options }).is_err());
        assert!(prediction_quality(&[0.5], &[true], QualityOptions { alpha: 0.0, ..options }).is_err());
    }

    #[test]
    fn equal_predictions_stay_in_their_own_order() {
        let order = descending(&[0.2, 0.9, 0.2, -0.0, 0.0]);
        assert_eq!(order, [1, 0, 2, 3, 4]);
        let runs: Vec<&[usize]> = ties(&[0.2, 0.9, 0.2, -0.0, 0.0], &order).collect();
        assert_eq!(runs, [&[1][..], &[0, 2], &[3, 4]]);
    }
}
