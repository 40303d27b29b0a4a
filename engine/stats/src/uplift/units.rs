//! Units of a randomised trial, and what can be said of each one's effect without a model of effects.
//!
//! Enters: outcome, arm and known assignment probability of each unit. Leaves: [`RandomisedUnits`], checked, and scores
//! whose mean over any set of units, chosen without looking at their outcomes, is an unbiased estimate of the effect there.

use crate::error::{StatsError, check_finite};
use crate::numeric::length;

/// Units whose arm was drawn at random with probabilities that are known by design.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomisedUnits<'a> {
    outcome: &'a [f64],
    treated: &'a [bool],
    assignment_probability: &'a [f64],
}

/// What models expect of each unit in either arm, in units of the outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedOutcomes {
    /// If treated.
    pub treated: Vec<f64>,
    /// If not.
    pub control: Vec<f64>,
}

impl<'a> RandomisedUnits<'a> {
    /// Units with their `outcome` (any number: 0 and 1 for a conversion, or money), whether they were `treated`, and
    /// the probability, strictly between 0 and 1, with which each could have been.
    ///
    /// # Errors
    /// [`StatsError::UnevenLists`] for lists of different lengths; [`StatsError::NotFinite`] for an outcome that is no
    /// number; [`StatsError::NotRandomised`] for a probability of 0, of 1, or none; [`StatsError::OneArm`] without
    /// treated or without control units.
    pub fn new(outcome: &'a [f64], treated: &'a [bool], assignment_probability: &'a [f64]) -> Result<Self, StatsError> {
        for (right, right_length) in
            [("the arm", treated.len()), ("the assignment probability", assignment_probability.len())]
        {
            check_lengths("the outcome", outcome.len(), right, right_length)?;
        }
        for &value in outcome {
            check_finite("an outcome", value)?;
        }
        for &probability in assignment_probability {
            if !(probability > 0.0 && probability < 1.0) {
                return Err(StatsError::NotRandomised { probability });
            }
        }
        for (arm, missing) in [(true, "treated"), (false, "control")] {
            if !treated.contains(&arm) {
                return Err(StatsError::OneArm { missing });
            }
        }
        Ok(Self { outcome, treated, assignment_probability })
    }

    /// Number of units.
    #[allow(clippy::len_without_is_empty, reason = "there are always units in both arms")]
    pub fn len(&self) -> usize {
        self.outcome.len()
    }

    /// The outcome of each unit.
    pub fn outcome(&self) -> &'a [f64] {
        self.outcome
    }

    /// Whether each unit was treated.
    pub fn treated(&self) -> &'a [bool] {
        self.treated
    }

    /// The probability, strictly between 0 and 1, with which each unit could have been treated.
    pub fn assignment_probability(&self) -> &'a [f64] {
        self.assignment_probability
    }

    /// Whether every unit had the same probability.
    pub fn evenly_randomised(&self) -> bool {
        self.assignment_probability.windows(2).all(|pair| (pair[0] - pair[1]).abs() <= f64::EPSILON)
    }

    /// Whether every outcome is 0 or 1.
    pub fn binary(&self) -> bool {
        self.outcome.iter().all(|value| value.abs() <= 0.0 || (value - 1.0).abs() <= 0.0)
    }

    /// Units treated.
    pub fn number_treated(&self) -> usize {
        self.treated.iter().filter(|treated| **treated).count()
    }

    /// The mean probability of treatment.
    pub fn mean_assignment_probability(&self) -> f64 {
        self.assignment_probability.iter().sum::<f64>() / length(self.len())
    }

    /// One over the probability of the arm that the unit was in.
    pub(crate) fn weight(&self, unit: usize) -> f64 {
        let probability = self.assignment_probability[unit];
        if self.treated[unit] { 1.0 / probability } else { 1.0 / (1.0 - probability) }
    }

    /// Each unit's effect by inverse probability alone: y/e if treated, −y/(1 − e) if not (Horvitz and Thompson 1952).
    /// Unbiased, and noisy: where models of the outcome exist, [`Self::doubly_robust_scores`].
    pub fn inverse_probability_scores(&self) -> Vec<f64> {
        (0..self.len())
            .map(|unit| {
                let weighted = self.weight(unit) * self.outcome[unit];
                if self.treated[unit] { weighted } else { -weighted }
            })
            .collect()
    }

    /// Each unit's doubly robust score, in units of the outcome: what the models expect, put right by how far the one of
    /// the unit's own arm was off,
    ///
    /// ```text
    /// μ₁ − μ₀ + (y − μ₁)/e  if treated,    μ₁ − μ₀ − (y − μ₀)/(1 − e)  if not
    /// ```
    ///
    /// (Robins, Rotnitzky and Zhao 1994, JASA 89). Unbiased for the effect, however poor the models, so long as they
    /// were not fitted to the unit itself.
    ///
    /// # Errors
    /// [`StatsError::UnevenLists`] unless there is an expectation a unit; [`StatsError::NotFinite`] for one that is no
    /// number.
    pub fn doubly_robust_scores(&self, expected: &ExpectedOutcomes) -> Result<Vec<f64>, StatsError> {
        for (right, values) in [
            ("the outcome expected if treated", &expected.treated),
            ("the outcome expected if not treated", &expected.control),
        ] {
            check_lengths("the outcome", self.len(), right, values.len())?;
            for &value in values {
                check_finite(right, value)?;
            }
        }
        let expectations = expected.treated.iter().zip(&expected.control);
        Ok(expectations.enumerate().map(|(unit, (&treated, &control))| self.score(unit, treated, control)).collect())
    }

    /// The doubly robust score of one unit.
    pub(crate) fn score(&self, unit: usize, expected_treated: f64, expected_control: f64) -> f64 {
        let effect = expected_treated - expected_control;
        if self.treated[unit] {
            effect + self.weight(unit) * (self.outcome[unit] - expected_treated)
        } else {
            effect - self.weight(unit) * (self.outcome[unit] - expected_control)
        }
    }
}

/// Refuses two lists of different lengths.
pub(crate) fn check_lengths(
    left: &'static str,
    left_length: usize,
    right: &'static str,
    right_length: usize,
) -> Result<(), StatsError> {
    if left_length == right_length {
        Ok(())
    } else {
        Err(StatsError::UnevenLists { left, left_length, right, right_length })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn what_was_not_randomised_is_refused() {
        let (outcome, treated) = ([1.0, 0.0], [true, false]);
        assert!(RandomisedUnits::new(&outcome, &treated, &[0.5, 0.2]).is_ok());
        for probability in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
            let error = RandomisedUnits::new(&outcome, &treated, &[0.5, probability]).unwrap_err();
            assert!(matches!(error, StatsError::NotRandomised { .. }), "{error}");
        }
        let error = RandomisedUnits::new(&outcome, &[true, true], &[0.5, 0.5]).unwrap_err();
        assert_eq!(error.to_string(), "no control unit: an effect needs treated units and control units");
        let error = RandomisedUnits::new(&[], &[], &[]).unwrap_err();
        assert_eq!(error, StatsError::OneArm { missing: "treated" });
        assert!(RandomisedUnits::new(&outcome, &treated, &[0.5]).is_err());
        assert!(RandomisedUnits::new(&[1.0, f64::NAN], &treated, &[0.5, 0.5]).is_err());
    }

    #[test]
    fn scores_are_their_definition() {
        let units = RandomisedUnits::new(&[3.0, 1.0], &[true, false], &[0.25, 0.2]).unwrap();
        assert!(!units.binary() && !units.evenly_randomised());
        let plain = units.inverse_probability_scores();
        assert_close(plain[0], 12.0, 1e-15);
        assert_close(plain[1], -1.25, 1e-15);
        let expected = ExpectedOutcomes { treated: vec![2.0, 2.0], control: vec![1.5, 0.5] };
        let scores = units.doubly_robust_scores(&expected).unwrap();
        assert_close(scores[0], 0.5 + 4.0, 1e-15);
        assert_close(scores[1], 1.5 - 0.625, 1e-15);
        let short = ExpectedOutcomes { treated: vec![2.0], control: vec![1.5, 0.5] };
        assert!(units.doubly_robust_scores(&short).is_err());
    }
}
