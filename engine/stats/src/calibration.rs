//! Scores made into probabilities that mean what they say.
//!
//! Enters: scores and outcomes of units that the model was not fitted on, optional weights. Leaves: [`Calibration`], a
//! rising function from a score to a probability, ready to serialise beside the model.
//!
//! - **Isotonic**: the rising step function nearest to the outcomes, by pooling adjacent violators (Ayer et al. 1955,
//!   Annals of Mathematical Statistics 26(4); Zadrozny and Elkan 2002, KDD), equal scores pooled first. Each block stands
//!   at the mean of its scores, and probabilities between two blocks are interpolated: unlike steps, this keeps the
//!   ranks of scores between the first block and the last. Below and above them all scores share one probability.
//!   For a thousand units or more.
//! - **Platt**: a line on the scale of log-odds (Platt 1999, "Probabilistic outputs for support vector machines"), with
//!   his targets (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2) in place of one and zero. Keeps all ranks; for a few hundred units.
//!
//! No probability that leaves is exactly 0 or 1.

use crate::error::{StatsError, check_finite, check_positive, check_probability};
use crate::logistic::{Slope, fit_line, log_odds, probability};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// A rising function from scores to probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// Interpolated between blocks of pooled units.
    Isotonic {
        /// Mean score of each block, rising.
        scores: Vec<f64>,
        /// Probability at each of them, rising; as many.
        probabilities: Vec<f64>,
    },
    /// Log-odds = intercept + slope · log-odds of the score.
    Platt {
        /// Log-odds of a score of one half.
        intercept: f64,
        /// Below one where scores were too extreme; below zero where they ranked the wrong way round.
        slope: f64,
    },
}

/// Units whose scores are equal, or that were pooled.
#[derive(Debug, Clone, Copy)]
struct Block {
    weight: f64,
    weighted_score: f64,
    weighted_outcomes: f64,
}

impl Block {
    fn share(self) -> f64 {
        self.weighted_outcomes / self.weight
    }

    fn merge(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            weighted_score: self.weighted_score + other.weighted_score,
            weighted_outcomes: self.weighted_outcomes + other.weighted_outcomes,
        }
    }
}

impl Calibration {
    /// The isotonic function of scores of any scale. Blocks without an outcome, or with nothing else, have half an
    /// outcome in all weight plus one for their probability, or as much less than one.
    ///
    /// ```
    /// use sendlift_stats::calibration::Calibration;
    ///
    /// let scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
    /// let outcomes = [false, false, true, false, true, true];
    /// let calibration = Calibration::fit_isotonic(&scores, &outcomes, None)?;
    /// // The third and the fourth are pooled.
    /// assert!((calibration.apply(0.35) - 0.5).abs() < 1e-12);
    /// assert!(calibration.apply(0.0) > 0.0 && calibration.apply(9.0) < 1.0);
    /// # Ok::<(), sendlift_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] for a score; [`StatsError::NotPositive`] for a weight;
    /// [`StatsError::OneClass`]; [`StatsError::NotFitted`] without units.
    pub fn fit_isotonic(scores: &[f64], outcomes: &[bool], weights: Option<&[f64]>) -> Result<Self, StatsError> {
        check(scores, outcomes, weights)?;
        scores.iter().try_for_each(|&score| check_finite("a score", score))?;
        let mut units: Vec<(f64, usize)> = scores.iter().map(|score| score + 0.0).zip(0..).collect();
        units.sort_unstable_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
        let mut blocks: Vec<Block> = Vec::new();
        for tied in units.chunk_by(|left, right| left.0.total_cmp(&right.0).is_eq()) {
            let mut next = Block { weight: 0.0, weighted_score: 0.0, weighted_outcomes: 0.0 };
            for &(score, unit) in tied {
                let weight = weights.map_or(1.0, |weights| weights[unit]);
                next = next.merge(Block {
                    weight,
                    weighted_score: weight * score,
                    weighted_outcomes: weight * f64::from(u8::from(outcomes[unit])),
                });
            }
            // Blocks of equal shares are pooled too: what is left rises.
            while let Some(last) = blocks.pop_if(|last| last.share() >= next.share()) {
                next = last.merge(next);
            }
            blocks.push(next);
        }
        let total: f64 = blocks.iter().map(|block| block.weight).sum();
        let least = (0.5 / (total + 1.0)).max(f64::EPSILON);
        Ok(Self::Isotonic {
            scores: blocks.iter().map(|block| block.weighted_score / block.weight).collect(),
            probabilities: blocks.iter().map(|block| block.share().clamp(least, 1.0 - least)).collect(),
        })
    }

    /// Platt's line for scores that are probabilities; those of exactly 0 or 1 are moved inside by 2⁻⁵².
    ///
    /// # Errors
    ///
    /// [`StatsError::UnevenLists`]; [`StatsError::InvalidProbability`] for a score; [`StatsError::NotPositive`] for a
    /// weight; [`StatsError::OneClass`]; [`StatsError::NotFitted`] without units, or where all scores are the same.
    pub fn fit_platt(scores: &[f64], outcomes: &[bool], weights: Option<&[f64]>) -> Result<Self, StatsError> {
        let (with, without) = check(scores, outcomes, weights)?;
        scores.iter().try_for_each(|&score| check_probability("a score", score))?;
        let scores: Vec<f64> = scores.iter().map(|&score| inner_log_odds(score)).collect();
        let targets = [1.0 / (without + 2.0), (with + 1.0) / (with + 2.0)];
        let target = |unit: usize| targets[usize::from(outcomes[unit])];
        let line = fit_line(&scores, target, weights, Slope::Free).ok_or_else(|| StatsError::NotFitted {
            reason: "every score is the same, or nearly: there is nothing to calibrate".to_owned(),
        })?;
        Ok(Self::Platt { intercept: line.intercept, slope: line.slope })
    }

    /// The probability of a score, above 0 and below 1. A score that is NaN has none, and stays NaN.
    pub fn apply(&self, score: f64) -> f64 {
        let calibrated = match self {
            Self::Isotonic { scores, probabilities } => interpolated(scores, probabilities, score),
            Self::Platt { intercept, slope } => probability(intercept + slope * inner_log_odds(score)),
        };
        calibrated.clamp(f64::EPSILON, 1.0 - f64::EPSILON)
    }
}

/// On the line between the two places that `score` lies between; at the ends their own value.
fn interpolated(scores: &[f64], probabilities: &[f64], score: f64) -> f64 {
    if score.is_nan() {
        return score;
    }
    let above = scores.partition_point(|place| *place <= score);
    let value = |place: usize| scores.get(place).copied().zip(probabilities.get(place).copied());
    match (above.checked_sub(1).and_then(value), value(above)) {
        (Some((left, low)), Some((right, high))) => {
            let share = (score - left) / (right - left);
            (low + share * (high - low)).clamp(low, high)
        }
        (Some((_, only)), None) | (None, Some((_, only))) => only,
        // No block at all does not come of a fit.
        (None, None) => f64::NAN,
    }
}

fn inner_log_odds(score: f64) -> f64 {
    log_odds(score.clamp(f64::EPSILON, 1.0 - f64::EPSILON))
}

/// Weights of the units with the outcome and without it, where lists go together and both classes are there.
fn check(scores: &[f64], outcomes: &[bool], weights: Option<&[f64]>) -> Result<(f64, f64), StatsError> {
    let uneven = |right, right_length| StatsError::UnevenLists {
        left: "the scores",
        left_length: scores.len(),
        right,
        right_length,
    };
    if outcomes.len() != scores.len() {
        return Err(uneven("the outcomes", outcomes.len()));
    }
    let Some(&first) = outcomes.first() else {
        return Err(StatsError::NotFitted { reason: "there are no units to calibrate with".to_owned() });
    };
    if outcomes.iter().all(|&outcome| outcome == first) {
        return Err(StatsError::OneClass { value: f64::from(u8::from(first)) });
    }
    let Some(weights) = weights else {
        let with = length(outcomes.iter().filter(|&&outcome| outcome).count());
        return Ok((with, length(outcomes.len()) - with));
    };
    if weights.len() != scores.len() {
        return Err(uneven("the weights", weights.len()));
    }
    let (mut with, mut without) = (0.0, 0.0);
    for (&weight, &outcome) in weights.iter().zip(outcomes) {
        check_positive("a unit's weight", weight)?;
        *(if outcome { &mut with } else { &mut without }) += weight;
    }
    Ok((with, without))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn violators_are_pooled_and_ends_are_clamped() {
        let scores = [3.0, 1.0, 2.0, 4.0, 4.0, 5.0];
        let outcomes = [false, false, true, true, true, true];
        let fitted = Calibration::fit_isotonic(&scores, &outcomes, None).unwrap();
        let least = 0.5 / 7.0;
        let expected =
            Calibration::Isotonic { scores: vec![1.0, 2.5, 13.0 / 3.0], probabilities: vec![least, 0.5, 1.0 - least] };
        assert_eq!(fitted, expected);
        assert_eq!(fitted.apply(-7.0), least);
        assert_eq!(fitted.apply(f64::INFINITY), 1.0 - least);
        assert_close(fitted.apply(1.75), f64::midpoint(least, 0.5), 1e-15);
        assert!(fitted.apply(f64::NAN).is_nan());
    }

    #[test]
    fn equal_scores_are_pooled_first() {
        let fitted = Calibration::fit_isotonic(&[1.0, 1.0, 2.0, -0.0, 0.0], &[true, false, true, false, false], None);
        let Calibration::Isotonic { scores, probabilities } = fitted.unwrap() else { panic!("isotonic") };
        assert_eq!(scores, [0.0, 1.0, 2.0]);
        assert_eq!(probabilities[1], 0.5);
    }

    #[test]
    fn perfect_scores_stay_inside() {
        let (scores, outcomes) = ([0.0, 0.0, 1.0, 1.0], [false, false, true, true]);
        let platt = Calibration::fit_platt(&scores, &outcomes, None).unwrap();
        // Two of each: targets of 1/4 and 3/4, met exactly.
        assert_close(platt.apply(1.0), 0.75, 1e-9);
        assert_close(platt.apply(0.0), 0.25, 1e-9);
        let steep = Calibration::Platt { intercept: 900.0, slope: 1.0 };
        assert!(steep.apply(0.5) < 1.0);
        assert!(Calibration::Platt { intercept: -900.0, slope: 1.0 }.apply(0.5) > 0.0);
    }

    #[test]
    fn what_cannot_be_calibrated_is_said() {
        let outcomes = [true, false, true];
        for fit in [Calibration::fit_isotonic, Calibration::fit_platt] {
            assert!(matches!(fit(&[0.5], &outcomes, None), Err(StatsError::UnevenLists { .. })));
            assert!(matches!(fit(&[0.1, 0.2, 0.3], &outcomes, Some(&[1.0])), Err(StatsError::UnevenLists { .. })));
            assert!(matches!(fit(&[0.1, 0.2, 0.3], &outcomes, Some(&[0.0; 3])), Err(StatsError::NotPositive { .. })));
            assert_eq!(fit(&[0.1, 0.2], &[true; 2], None), Err(StatsError::OneClass { value: 1.0 }));
            assert!(matches!(fit(&[], &[], None), Err(StatsError::NotFitted { .. })));
            assert!(fit(&[0.1, f64::NAN, 0.3], &outcomes, None).is_err());
        }
        assert!(matches!(Calibration::fit_platt(&[0.5; 3], &outcomes, None), Err(StatsError::NotFitted { .. })));
        assert!(Calibration::fit_isotonic(&[0.5; 3], &outcomes, None).is_ok());
    }
}
