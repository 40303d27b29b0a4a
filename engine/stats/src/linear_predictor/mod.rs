//! Sums of standardised features: what the penalised regressions have in common, whatever their outcome.
//!
//! Enters: feature values, NaN where missing. Leaves: [`LinearPredictor`], an intercept and a [`FeatureTerm`] a feature,
//! and from it a score for each unit and what each feature contributes to it.
//!
//! Each feature is taken as (value − mean) / standard deviation, so that one penalty suits all. A missing value is
//! replaced by the mean, and a feature that had missing values in training has an indicator of them beside it,
//! standardised too (Rubin's "missing-indicator method"; right for prediction, not for reading a coefficient as an
//! effect). A feature that does not vary has coefficient zero. An intercept is never penalised.

mod blocks;
mod cholesky;
mod penalty;

pub(crate) use blocks::{Design, Products};
pub(crate) use cholesky::solve;
pub use penalty::{CROSS_VALIDATION_MOST_UNITS, CrossValidation, PENALTY_PATH, PathPoint, Penalty};
pub(crate) use penalty::{folds, least_loss, rows_to_validate_with};

use crate::error::{StatsError, check_finite, check_positive};
use crate::learner::FeatureMatrix;
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// Note of a model in which no feature varies.
pub(crate) const NO_FEATURE_VARIES: &str = "no feature varies: the model is its intercept alone";

/// The indicator of a feature's missing values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MissingTerm {
    /// Share of training units without a value, between 0 and 1.
    pub share: f64,
    /// Change of the linear predictor for one standard deviation of the indicator, √(share · (1 − share)).
    pub coefficient: f64,
}

impl MissingTerm {
    fn contribution(self, is_missing: bool) -> f64 {
        let indicator = f64::from(u8::from(is_missing));
        self.coefficient * (indicator - self.share) / (self.share * (1.0 - self.share)).sqrt()
    }
}

/// One feature's part in a linear predictor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FeatureTerm {
    /// Mean of the training units that have a value, in the feature's units; zero where none has.
    pub mean: f64,
    /// Standard deviation over all training units, the missing at the mean, in the feature's units; zero where the
    /// feature does not vary.
    pub scale: f64,
    /// Change of the linear predictor for one standard deviation; zero where the feature does not vary.
    pub coefficient: f64,
    /// The indicator; none where training had no missing value, or nothing else.
    pub missing: Option<MissingTerm>,
}

impl FeatureTerm {
    /// What this value adds to the linear predictor, against that of the mean unit. A value that is no finite number is
    /// missing.
    pub fn contribution(&self, value: f64) -> f64 {
        let is_missing = !value.is_finite();
        let of_value =
            if is_missing || self.scale <= 0.0 { 0.0 } else { self.coefficient * (value - self.mean) / self.scale };
        of_value + self.missing.map_or(0.0, |missing| missing.contribution(is_missing))
    }

    /// The term of a feature, coefficients still zero.
    fn measured(values: &[f64], weights: Option<&[f64]>) -> Result<Self, StatsError> {
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
        let (mut present, mut missing, mut sum) = (0.0, 0.0, 0.0);
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for (row, &value) in values.iter().enumerate() {
            if value.is_nan() {
                missing += weight(row);
                continue;
            }
            check_finite("a feature value", value)?;
            present += weight(row);
            sum += weight(row) * value;
            least = least.min(value);
            most = most.max(value);
        }
        let all = present + missing;
        let (mut mean, mut scale) = (0.0, 0.0);
        if present > 0.0 {
            mean = sum / present;
        }
        if least < most {
            let mut squares = 0.0;
            for (row, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
                squares += weight(row) * (value - mean) * (value - mean);
            }
            scale = (squares / all).sqrt();
        }
        check_finite("a mean of feature values", mean)?;
        check_finite("a standard deviation of feature values", scale)?;
        let share = missing / all;
        let varies = missing > 0.0 && present > 0.0 && share < 1.0;
        Ok(Self { mean, scale, coefficient: 0.0, missing: varies.then_some(MissingTerm { share, coefficient: 0.0 }) })
    }
}

/// An intercept and a term a feature: the log-odds of a logistic regression, the mean of a linear one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearPredictor {
    /// The value of the unit that is average in every feature.
    pub intercept: f64,
    /// In the order of the features' columns.
    pub terms: Vec<FeatureTerm>,
}

impl LinearPredictor {
    /// Means and scales of the features; intercept and coefficients still zero.
    pub(crate) fn measured(features: &FeatureMatrix, weights: Option<&[f64]>) -> Result<Self, StatsError> {
        let terms = (0..features.columns())
            .map(|column| FeatureTerm::measured(features.column(column), weights))
            .collect::<Result<_, _>>()?;
        Ok(Self { intercept: 0.0, terms })
    }

    /// The same terms with coefficients as the design orders them: intercept, then each feature's value and indicator
    /// where they vary.
    pub(crate) fn with_coefficients(&self, coefficients: &[f64]) -> Self {
        let mut rest = coefficients.iter().copied();
        let mut next = || rest.next().unwrap_or(0.0);
        let intercept = next();
        let terms = self.terms.iter().map(|term| FeatureTerm {
            coefficient: if term.scale > 0.0 { next() } else { 0.0 },
            missing: term.missing.map(|missing| MissingTerm { coefficient: next(), ..missing }),
            ..*term
        });
        Self { intercept, terms: terms.collect() }
    }

    /// The score of each unit.
    ///
    /// # Panics
    /// When there are not as many features as the model was fitted with.
    pub fn scores(&self, features: &FeatureMatrix) -> Vec<f64> {
        assert_eq!(features.columns(), self.terms.len(), "a model needs the features that it was fitted with");
        let mut scores = vec![self.intercept; features.rows()];
        for (column, term) in self.terms.iter().enumerate() {
            for (score, &value) in scores.iter_mut().zip(features.column(column)) {
                *score += term.contribution(value);
            }
        }
        scores
    }

    /// What each feature of one unit adds to its score, in the order of `values`: with the intercept they add up to the
    /// score. A feature's missing indicator is part of it. The mean over the training units is zero for each feature.
    ///
    /// # Panics
    /// When there are not as many values as the model has features.
    pub fn contributions(&self, values: &[f64]) -> Vec<f64> {
        assert_eq!(values.len(), self.terms.len(), "a model needs the features that it was fitted with");
        self.terms.iter().zip(values).map(|(term, &value)| term.contribution(value)).collect()
    }
}

/// Refuses lists that do not go with the features, outcomes that are no numbers, and weights of zero or less. Leaves
/// the sum of the weights.
pub(crate) fn check_training_data(
    features: &FeatureMatrix,
    outcome: &[f64],
    weights: Option<&[f64]>,
) -> Result<f64, StatsError> {
    let uneven = |right, right_length| StatsError::UnevenLists {
        left: "the feature matrix",
        left_length: features.rows(),
        right,
        right_length,
    };
    if outcome.len() != features.rows() {
        return Err(uneven("the outcome", outcome.len()));
    }
    if outcome.is_empty() {
        return Err(StatsError::NotFitted { reason: "there are no units to learn from".to_owned() });
    }
    for &value in outcome {
        check_finite("an outcome", value)?;
    }
    let Some(weights) = weights else {
        return Ok(length(outcome.len()));
    };
    if weights.len() != features.rows() {
        return Err(uneven("the weights", weights.len()));
    }
    for &weight in weights {
        check_positive("a unit's weight", weight)?;
    }
    let total = weights.iter().sum();
    check_finite("the sum of weights", total)?;
    Ok(total)
}

/// The entries of `values` at `rows`.
pub(crate) fn at_rows(values: &[f64], rows: &[usize]) -> Vec<f64> {
    rows.iter().map(|&row| values[row]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn features_are_standardised_with_the_missing_at_the_mean() {
        let term = FeatureTerm::measured(&[1.0, 5.0, f64::NAN, 3.0], None).unwrap();
        assert_eq!(term.mean, 3.0);
        assert_close(term.scale, 2.0_f64.sqrt(), 1e-15);
        assert_eq!(term.missing.unwrap().share, 0.25);
        let weighted = FeatureTerm::measured(&[1.0, 5.0], Some(&[3.0, 1.0])).unwrap();
        assert_eq!(weighted.mean, 2.0);
        assert_close(weighted.scale, 3.0_f64.sqrt(), 1e-15);
        assert!(FeatureTerm::measured(&[1.0, f64::INFINITY], None).is_err());
    }

    #[test]
    fn what_does_not_vary_has_no_term() {
        let constant = FeatureTerm::measured(&[0.1; 7], None).unwrap();
        assert_eq!((constant.scale, constant.missing), (0.0, None));
        let missing = FeatureTerm::measured(&[f64::NAN; 3], None).unwrap();
        assert_eq!((missing.mean, missing.scale, missing.missing), (0.0, 0.0, None));
        let present_or_not = FeatureTerm::measured(&[f64::NAN, 2.0], None).unwrap();
        assert_eq!(present_or_not.scale, 0.0);
        assert!(present_or_not.missing.is_some());
    }

    #[test]
    fn contributions_add_up_to_the_score() {
        let features = FeatureMatrix::new(vec![1.0, 5.0, f64::NAN, 3.0, 7.0, 7.0, 7.0, 7.0], 4, 2).unwrap();
        let predictor = LinearPredictor::measured(&features, None).unwrap().with_coefficients(&[0.5, 2.0, -1.0]);
        let scores = predictor.scores(&features);
        for (row, score) in scores.iter().enumerate() {
            let values = [features.column(0)[row], features.column(1)[row]];
            let contributions = predictor.contributions(&values);
            assert_eq!(contributions[1], 0.0);
            assert_close(predictor.intercept + contributions.iter().sum::<f64>(), *score, 1e-15);
        }
        assert_close(scores.iter().sum::<f64>(), 2.0, 1e-14);
    }
}
