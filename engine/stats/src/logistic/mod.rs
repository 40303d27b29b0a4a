//! Ridge logistic regression: probabilities of a binary outcome from features.
//!
//! Enters: features (NaN where missing), outcomes of 0 and 1, optional weights, a penalty or the wish to have one
//! chosen. Leaves: [`LogisticModel`], ready to serialise: probabilities, and what each feature of a unit contributes to
//! its log-odds.
//!
//! Minimised is Σ weight · log loss + ½ λ Σ coefficient² over standardised features, the intercept unpenalised (le
//! Cessie and van Houwelingen 1992, Applied Statistics 41(1)); scikit-learn's `C` is 1 / λ. How features are
//! standardised and missing values treated: [`crate::linear_predictor`]. The coefficients predict; with a penalty they
//! have no valid standard errors, so none are given.

mod line;
mod newton;

pub(crate) use line::{Slope, fit_line};
pub(crate) use newton::{log_odds, probability};

use crate::error::{StatsError, check_probability};
use crate::learner::{FeatureMatrix, Learner, Predictor};
use crate::linear_predictor::{
    CrossValidation, Design, LinearPredictor, NO_FEATURE_VARIES, PENALTY_PATH, Penalty, at_rows, check_training_data,
    folds, least_loss, rows_to_validate_with,
};
use crate::numeric::length;
use newton::{Minimum, Problem, UnitLoss};
use serde::{Deserialize, Serialize};

/// With more units than this the fit starts from that of a part of them.
const START_FROM_A_PART: usize = 50_000;
/// Every so manieth unit is of that part.
const PART: usize = 16;

/// A ridge logistic regression that is to be fitted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RidgeLogistic {
    /// How strong the penalty is, or how it is chosen.
    pub penalty: Penalty,
}

/// A fitted logistic regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogisticModel {
    /// Log-odds as a sum over features.
    pub log_odds: LinearPredictor,
    /// λ of the fit.
    pub penalty: f64,
    /// Units that it was fitted on.
    pub units: usize,
    /// Their mean log loss, in nats; that of other units is larger.
    pub log_loss: f64,
    /// Steps of Newton's method.
    pub steps: u32,
    /// How the penalty was chosen; none where it was given.
    pub cross_validation: Option<CrossValidation>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

impl RidgeLogistic {
    /// Fits the probability of `outcome`. Shares between 0 and 1 are taken as outcomes too.
    ///
    /// ```
    /// use sendlift_stats::learner::{FeatureMatrix, Predictor};
    /// use sendlift_stats::linear_predictor::Penalty;
    /// use sendlift_stats::logistic::RidgeLogistic;
    ///
    /// let features = FeatureMatrix::new(vec![1.0, 2.0, 3.0, 4.0, f64::NAN, 6.0], 6, 1)?;
    /// let outcome = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
    /// let model = RidgeLogistic { penalty: Penalty::Fixed(1.0) }.fit_model(&features, &outcome, None)?;
    /// let probabilities = model.predict(&features);
    /// assert!(probabilities[0] < 0.5 && probabilities[5] > 0.5);
    /// assert!(model.contributions(&[6.0])[0] > 0.0);
    /// # Ok::<(), sendlift_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] for an outcome or an infinite feature value;
    /// [`StatsError::InvalidProbability`] for an outcome outside 0 to 1; [`StatsError::NotPositive`] for a weight;
    /// [`StatsError::OneClass`]; [`StatsError::NotFitted`] without units, without a best fit (penalty zero and an
    /// outcome that features tell without fail), or with fewer units of a class than folds.
    pub fn fit_model(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<LogisticModel, StatsError> {
        self.penalty.check()?;
        let total_weight = check_training_data(features, outcome, weights)?;
        for &value in outcome {
            check_probability("an outcome", value)?;
        }
        if let Some(value) = only_class(outcome) {
            return Err(StatsError::OneClass { value });
        }
        let measured = LinearPredictor::measured(features, weights)?;
        let data = TrainingData { features, outcome, weights, total_weight, measured: &measured };
        let (penalty, cross_validation) = match self.penalty {
            Penalty::Fixed(penalty) => (penalty, None),
            Penalty::CrossValidated { folds, seed } => {
                let (penalty, choice) = data.cross_validate(folds, seed)?;
                (penalty, Some(choice))
            }
        };
        let minimum = data.fit(penalty)?;
        let varies = Design::new(features, &measured).size() > 1;
        Ok(LogisticModel {
            log_odds: measured.with_coefficients(&minimum.coefficients),
            penalty,
            units: outcome.len(),
            log_loss: minimum.log_loss,
            steps: minimum.steps,
            cross_validation,
            notes: if varies { Vec::new() } else { vec![NO_FEATURE_VARIES.to_owned()] },
        })
    }
}

impl LogisticModel {
    /// What each feature of one unit adds to its log-odds, against the mean training unit: coefficient · (value − mean) /
    /// standard deviation, and its missing indicator's. With the intercept they add up to the log-odds.
    ///
    /// # Panics
    /// When there are not as many values as the model has features.
    pub fn contributions(&self, values: &[f64]) -> Vec<f64> {
        self.log_odds.contributions(values)
    }
}

impl Predictor for LogisticModel {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        let mut scores = self.log_odds.scores(features);
        for score in &mut scores {
            *score = probability(*score);
        }
        scores
    }
}

impl Learner for RidgeLogistic {
    type Model = LogisticModel;

    fn fit(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<LogisticModel, StatsError> {
        self.fit_model(features, outcome, weights)
    }
}

/// Zero or one where every outcome is that; none where they differ.
fn only_class(outcome: &[f64]) -> Option<f64> {
    if outcome.iter().all(|value| *value <= 0.0) {
        Some(0.0)
    } else if outcome.iter().all(|value| *value >= 1.0) {
        Some(1.0)
    } else {
        None
    }
}

/// Checked data, and how its features are standardised.
struct TrainingData<'a> {
    features: &'a FeatureMatrix,
    outcome: &'a [f64],
    weights: Option<&'a [f64]>,
    total_weight: f64,
    measured: &'a LinearPredictor,
}

/// Some of the units.
struct Part {
    features: FeatureMatrix,
    outcome: Vec<f64>,
    weights: Option<Vec<f64>>,
    total_weight: f64,
}

impl Part {
    fn minimise(
        &self,
        measured: &LinearPredictor,
        penalty: f64,
        start: Option<Vec<f64>>,
    ) -> Result<Minimum, StatsError> {
        let problem = Problem {
            design: &Design::new(&self.features, measured),
            outcome: &self.outcome,
            weights: self.weights.as_deref(),
            total_weight: self.total_weight,
            penalty,
        };
        problem.minimise(start.unwrap_or_else(|| problem.base_rate()))
    }

    /// Mean log loss of a model.
    fn log_loss(&self, model: &LinearPredictor) -> f64 {
        let scores = model.scores(&self.features);
        let losses = scores.iter().zip(&self.outcome).map(|(&score, &outcome)| UnitLoss::of(score, outcome).loss);
        let sum: f64 = match &self.weights {
            Some(weights) => losses.zip(weights).map(|(loss, weight)| loss * weight).sum(),
            None => losses.sum(),
        };
        sum / self.total_weight
    }
}

impl TrainingData<'_> {
    fn part(&self, rows: &[usize]) -> Part {
        let weights = self.weights.map(|weights| at_rows(weights, rows));
        let total_weight = weights.as_ref().map_or(length(rows.len()), |weights| weights.iter().sum());
        Part { features: self.features.select(rows), outcome: at_rows(self.outcome, rows), weights, total_weight }
    }

    fn fit(&self, penalty: f64) -> Result<Minimum, StatsError> {
        let problem = Problem {
            design: &Design::new(self.features, self.measured),
            outcome: self.outcome,
            weights: self.weights,
            total_weight: self.total_weight,
            penalty,
        };
        let start = (self.outcome.len() > START_FROM_A_PART).then(|| self.start_from_a_part(penalty)).flatten();
        problem.minimise(start.unwrap_or_else(|| problem.base_rate()))
    }

    /// Where a fit of a part of the units ends, at the same penalty for each: a few passes less over all of them. None
    /// where the part does not allow a fit.
    fn start_from_a_part(&self, penalty: f64) -> Option<Vec<f64>> {
        let rows: Vec<usize> = (0..self.outcome.len()).step_by(PART).collect();
        let part = self.part(&rows);
        let share = part.total_weight / self.total_weight;
        if only_class(&part.outcome).is_some() {
            return None;
        }
        part.minimise(self.measured, penalty * share, None).ok().map(|minimum| minimum.coefficients)
    }

    /// Features stay standardised as on all units: means and deviations say nothing of the outcome.
    fn cross_validate(&self, number: usize, seed: u64) -> Result<(f64, CrossValidation), StatsError> {
        let rows = rows_to_validate_with(self.outcome.len(), seed);
        let is_success = |place: usize| self.outcome[rows[place]] > 0.5;
        let successes = (0..rows.len()).filter(|&place| is_success(place)).count();
        let fewer = successes.min(rows.len() - successes);
        if fewer < number {
            return Err(StatsError::NotFitted {
                reason: format!(
                    "{number} folds need {number} units of each class, and there are {fewer}: give a penalty"
                ),
            });
        }
        let mut losses = vec![Vec::with_capacity(number); PENALTY_PATH.len()];
        for held_out in folds(is_success, rows.len(), number, seed) {
            let mut is_held_out = vec![false; rows.len()];
            for &place in &held_out {
                is_held_out[place] = true;
            }
            let chosen = |held: bool| -> Vec<usize> {
                rows.iter().zip(&is_held_out).filter(|&(_, own)| *own == held).map(|(&row, _)| row).collect()
            };
            let (training, validation) = (self.part(&chosen(false)), self.part(&chosen(true)));
            let mut start = None;
            for (penalty, of_penalty) in PENALTY_PATH.iter().zip(&mut losses) {
                let minimum = training.minimise(self.measured, *penalty, start)?;
                let model = self.measured.with_coefficients(&minimum.coefficients);
                of_penalty.push((validation.log_loss(&model), validation.total_weight));
                start = Some(minimum.coefficients);
            }
        }
        Ok(least_loss(&losses, rows.len()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    const FREE: RidgeLogistic = RidgeLogistic { penalty: Penalty::Fixed(0.0) };

    fn one_feature(values: &[f64]) -> FeatureMatrix {
        FeatureMatrix::new(values.to_vec(), values.len(), 1).unwrap()
    }

    #[test]
    fn two_groups_have_their_own_rates() {
        let features = one_feature(&[1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
        let outcome = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0];
        let model = FREE.fit_model(&features, &outcome, None).unwrap();
        let predictions = model.predict(&features);
        assert_close(predictions[0], 0.25, 1e-9);
        assert_close(predictions[8], 0.6, 1e-9);
    }

    #[test]
    fn a_weight_of_two_is_a_unit_twice() {
        let learner = RidgeLogistic { penalty: Penalty::Fixed(2.0) };
        let twice = learner.fit_model(&one_feature(&[1.0, 2.0, 2.0, 5.0, 0.0]), &[0.0, 1.0, 1.0, 0.0, 1.0], None);
        let weighted =
            learner.fit_model(&one_feature(&[1.0, 2.0, 5.0, 0.0]), &[0.0, 1.0, 0.0, 1.0], Some(&[1.0, 2.0, 1.0, 1.0]));
        let (twice, weighted) = (twice.unwrap().log_odds, weighted.unwrap().log_odds);
        assert_close(weighted.intercept, twice.intercept, 1e-10);
        assert_close(weighted.terms[0].coefficient, twice.terms[0].coefficient, 1e-10);
    }

    #[test]
    fn what_cannot_be_fitted_is_said() {
        let features = one_feature(&[1.0, 2.0, 3.0, 4.0]);
        let error = |outcome: &[f64]| FREE.fit_model(&features, outcome, None).unwrap_err();
        assert_eq!(error(&[1.0; 4]), StatsError::OneClass { value: 1.0 });
        assert!(matches!(error(&[1.0; 3]), StatsError::UnevenLists { right_length: 3, .. }));
        assert!(matches!(error(&[1.0, f64::NAN, 0.0, 0.0]), StatsError::NotFinite { .. }));
        assert!(matches!(error(&[1.0, 2.0, 0.0, 0.0]), StatsError::InvalidProbability { .. }));
        // Perfectly told apart: without a penalty coefficients have no end.
        assert!(matches!(error(&[0.0, 0.0, 1.0, 1.0]), StatsError::NotFitted { .. }));
        let repeated = FeatureMatrix::new(vec![1.0, 2.0, 3.0, 4.0, 2.0, 4.0, 6.0, 8.0], 4, 2).unwrap();
        let outcome = [0.0, 1.0, 0.0, 1.0];
        assert!(matches!(FREE.fit_model(&repeated, &outcome, None), Err(StatsError::NotFitted { .. })));
        let penalised = RidgeLogistic { penalty: Penalty::Fixed(1e-3) }.fit_model(&repeated, &outcome, None).unwrap();
        assert_close(penalised.log_odds.terms[0].coefficient, penalised.log_odds.terms[1].coefficient, 1e-9);
        let few = RidgeLogistic::default().fit_model(&features, &outcome, None).unwrap_err();
        assert!(few.to_string().contains("5 folds need 5 units of each class, and there are 2"), "{few}");
        let nobody = FREE.fit_model(&one_feature(&[]), &[], None).unwrap_err();
        assert!(matches!(nobody, StatsError::NotFitted { .. }));
    }

    #[test]
    fn without_a_feature_that_varies_it_is_the_base_rate() {
        let model = FREE.fit_model(&one_feature(&[7.0; 4]), &[1.0, 0.0, 0.0, 0.0], None).unwrap();
        assert_eq!(model.notes, [NO_FEATURE_VARIES]);
        assert_close(model.predict(&one_feature(&[9.0, f64::NAN]))[1], 0.25, 1e-12);
        assert_eq!(model.contributions(&[9.0]), [0.0]);
    }
}
