//! The T-learner: a model of the outcome in each arm, and their difference.
//!
//! Enters: features, randomised units, an outcome learner. Leaves: two outcome models. Künzel et al. (2019), PNAS 116(10).

use super::cross_fitting::{CrossFitted, CrossFitting, Fitting, place};
use super::units::{ExpectedOutcomes, RandomisedUnits};
use crate::error::StatsError;
use crate::learner::{FeatureMatrix, Learner, Predictor};
use serde::{Deserialize, Serialize};

/// What is expected if treated less what is expected if not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TLearnerModel<M> {
    /// The outcome of the treated.
    pub treated: M,
    /// The outcome of the control.
    pub control: M,
}

impl<M: Predictor> Predictor for TLearnerModel<M> {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        let mut effects = self.treated.predict(features);
        for (effect, control) in effects.iter_mut().zip(self.control.predict(features)) {
            *effect -= control;
        }
        effects
    }
}

/// Learns effects as the difference of two outcome models: 2 (folds + 1) fits.
///
/// # Errors
/// [`StatsError::UnevenLists`] unless features and units go together; [`StatsError::InvalidFolds`] for fewer than two
/// folds or more than units of an arm; [`StatsError::NotFinite`] for a prediction that is no number; what the learner
/// refuses.
pub fn fit_t_learner<L: Learner>(
    outcome: &L,
    features: &FeatureMatrix,
    units: RandomisedUnits<'_>,
    cross_fitting: CrossFitting<'_>,
) -> Result<CrossFitted<TLearnerModel<L::Model>>, StatsError> {
    let fits = 2 * (cross_fitting.folds as usize + 1);
    let fitting = Fitting::new(features, units, cross_fitting, 2, fits)?;
    let mut expected = ExpectedOutcomes { treated: fitting.blank(), control: fitting.blank() };
    for fold in 0..fitting.folds {
        let models = fit_arms(&fitting, outcome, |unit| fitting.fold[unit] != fold)?;
        let rows = fitting.rows_of(fold);
        place(&mut expected.treated, &rows, &fitting.predict(&models.treated, &rows)?);
        place(&mut expected.control, &rows, &fitting.predict(&models.control, &rows)?);
    }
    let effects = expected.treated.iter().zip(&expected.control).map(|(treated, control)| treated - control).collect();
    let model = fit_arms(&fitting, outcome, |_| true)?;
    fitting.finish(model, effects, expected)
}

/// The outcome models of both arms at the units that `kept` says yes to.
pub(super) fn fit_arms<L: Learner>(
    fitting: &Fitting<'_>,
    outcome: &L,
    kept: impl Fn(usize) -> bool,
) -> Result<TLearnerModel<L::Model>, StatsError> {
    Ok(TLearnerModel {
        treated: fitting.fit_arm(outcome, true, &kept)?,
        control: fitting.fit_arm(outcome, false, &kept)?,
    })
}
