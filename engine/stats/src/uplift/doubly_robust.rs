//! The doubly robust learner: a regression of doubly robust scores on the features.
//!
//! Enters: features, randomised units, an outcome learner and an effect learner. Leaves: one effect model. Kennedy
//! (2023), Electronic Journal of Statistics 17(2), with the propensity known: the scores are unbiased for each unit's
//! effect whatever the outcome models miss, which then costs precision only.
//!
//! Whose outcomes went where: the score of a unit comes from outcome models fitted without its fold, as Kennedy asks.
//! The model that predicts fold k out of fold learns from scores whose outcome models left out fold k **too**, one pair
//! of models for each pair of folds; otherwise the outcomes of fold k would have shaped their own predictions.

use super::cross_fitting::{CrossFitted, CrossFitting, Fitting, place};
use super::t_learner::fit_arms;
use super::units::{ExpectedOutcomes, RandomisedUnits};
use crate::error::StatsError;
use crate::learner::{FeatureMatrix, Learner, Predictor};
use serde::{Deserialize, Serialize};

/// A model of the effect itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoublyRobustModel<M> {
    /// The effect.
    pub effect: M,
}

impl<M: Predictor> Predictor for DoublyRobustModel<M> {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        self.effect.predict(features)
    }
}

/// Learns effects from doubly robust scores: folds (folds + 1) fits of the outcome, folds + 1 of the effect.
///
/// # Errors
/// As [`fit_t_learner`](super::fit_t_learner), and [`StatsError::InvalidFolds`] for fewer than three folds.
pub fn fit_doubly_robust<O: Learner, E: Learner>(
    outcome: &O,
    effect: &E,
    features: &FeatureMatrix,
    units: RandomisedUnits<'_>,
    cross_fitting: CrossFitting<'_>,
) -> Result<CrossFitted<DoublyRobustModel<E::Model>>, StatsError> {
    let folds = cross_fitting.folds as usize;
    let fitting = Fitting::new(features, units, cross_fitting, 3, (folds + 1).saturating_mul(folds + 1))?;
    let rows: Vec<Vec<usize>> = (0..fitting.folds).map(|fold| fitting.rows_of(fold)).collect();
    let mut expected = ExpectedOutcomes { treated: fitting.blank(), control: fitting.blank() };
    // For each fold, the scores of the units outside it by models that left it out.
    let mut scores_without: Vec<Vec<f64>> = vec![fitting.blank(); folds];
    for (first, rows_of_first) in (0..fitting.folds).zip(&rows) {
        let outcomes = fit_arms(&fitting, outcome, |unit| fitting.fold[unit] != first)?;
        place(&mut expected.treated, rows_of_first, &fitting.predict(&outcomes.treated, rows_of_first)?);
        place(&mut expected.control, rows_of_first, &fitting.predict(&outcomes.control, rows_of_first)?);
        for (second, rows_of_second) in (0..first).zip(&rows) {
            let outcomes =
                fit_arms(&fitting, outcome, |unit| fitting.fold[unit] != first && fitting.fold[unit] != second)?;
            for (scored, without) in [(rows_of_first, second), (rows_of_second, first)] {
                let treated = fitting.predict(&outcomes.treated, scored)?;
                let control = fitting.predict(&outcomes.control, scored)?;
                let into = &mut scores_without[without as usize];
                for ((&unit, treated), control) in scored.iter().zip(treated).zip(control) {
                    into[unit] = units.score(unit, treated, control);
                }
            }
        }
    }
    let mut effects = fitting.blank();
    for ((fold, rows_of_fold), scores) in (0..fitting.folds).zip(&rows).zip(&scores_without) {
        let others = fitting.rows(|unit| fitting.fold[unit] != fold);
        let learnt: Vec<f64> = others.iter().map(|&unit| scores[unit]).collect();
        let model = fitting.fit(effect, &others, &learnt, false)?;
        place(&mut effects, rows_of_fold, &fitting.predict(&model, rows_of_fold)?);
    }
    let everyone = fitting.rows(|_| true);
    let scores = units.doubly_robust_scores(&expected)?;
    let model = DoublyRobustModel { effect: fitting.fit(effect, &everyone, &scores, false)? };
    fitting.finish(model, effects, expected)
}
