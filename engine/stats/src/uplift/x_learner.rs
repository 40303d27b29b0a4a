//! The X-learner: each unit's missing outcome imputed by the model of the other arm, and the effects so found learnt.
//!
//! Enters: features, randomised units, an outcome learner and an effect learner. Leaves: an effect model from each arm
//! and the share that mixes them. Künzel et al. (2019), PNAS 116(10):
//!
//! ```text
//! τ₁ learns y − μ₀(x) of the treated,  τ₀ learns μ₁(x) − y of the control,  τ(x) = g τ₀(x) + (1 − g) τ₁(x)
//! ```
//!
//! with g the known probability of treatment: the model from the larger arm was imputed by the smaller, and counts less.
//! Where probabilities differ between units g is their mean, for any g serves and those who are scored later have none.

use super::cross_fitting::{CrossFitted, CrossFitting, Fitting, place};
use super::t_learner::{TLearnerModel, fit_arms};
use super::units::{ExpectedOutcomes, RandomisedUnits};
use crate::error::StatsError;
use crate::learner::{FeatureMatrix, Learner, Predictor};
use serde::{Deserialize, Serialize};

/// Two models of the effect, mixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct XLearnerModel<M> {
    /// The effect as learnt from the treated.
    pub from_treated: M,
    /// The effect as learnt from the control.
    pub from_control: M,
    /// The weight, 0 to 1, of the latter: the mean probability of treatment.
    pub assignment_probability: f64,
}

impl<M: Predictor> Predictor for XLearnerModel<M> {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        let share = self.assignment_probability;
        let mut effects = self.from_treated.predict(features);
        for (effect, from_control) in effects.iter_mut().zip(self.from_control.predict(features)) {
            *effect = share * from_control + (1.0 - share) * *effect;
        }
        effects
    }
}

/// Learns effects that the other arm's outcome model imputes: 4 (folds + 1) fits.
///
/// # Errors
/// As [`fit_t_learner`](super::fit_t_learner).
pub fn fit_x_learner<O: Learner, E: Learner>(
    outcome: &O,
    effect: &E,
    features: &FeatureMatrix,
    units: RandomisedUnits<'_>,
    cross_fitting: CrossFitting<'_>,
) -> Result<CrossFitted<XLearnerModel<E::Model>>, StatsError> {
    let fits = 4 * (cross_fitting.folds as usize + 1);
    let fitting = Fitting::new(features, units, cross_fitting, 2, fits)?;
    let mut expected = ExpectedOutcomes { treated: fitting.blank(), control: fitting.blank() };
    let mut effects = fitting.blank();
    for fold in 0..fitting.folds {
        let kept = |unit: usize| fitting.fold[unit] != fold;
        let outcomes = fit_arms(&fitting, outcome, kept)?;
        let model = fit_effects(&fitting, &outcomes, effect, kept)?;
        let rows = fitting.rows_of(fold);
        place(&mut expected.treated, &rows, &fitting.predict(&outcomes.treated, &rows)?);
        place(&mut expected.control, &rows, &fitting.predict(&outcomes.control, &rows)?);
        place(&mut effects, &rows, &fitting.predict(&model, &rows)?);
    }
    let outcomes = fit_arms(&fitting, outcome, |_| true)?;
    let model = fit_effects(&fitting, &outcomes, effect, |_| true)?;
    fitting.finish(model, effects, expected)
}

/// Effects of the units that `kept` says yes to. The model that imputes was fitted to the other arm, so that no unit is
/// compared with a model of itself.
fn fit_effects<M: Predictor, E: Learner>(
    fitting: &Fitting<'_>,
    outcomes: &TLearnerModel<M>,
    effect: &E,
    kept: impl Fn(usize) -> bool,
) -> Result<XLearnerModel<E::Model>, StatsError> {
    let fit_arm = |treated: bool| -> Result<E::Model, StatsError> {
        let rows = fitting.rows(|unit| fitting.units.treated()[unit] == treated && kept(unit));
        let other = if treated { &outcomes.control } else { &outcomes.treated };
        let imputed: Vec<f64> = rows
            .iter()
            .zip(fitting.predict(other, &rows)?)
            .map(|(&unit, other)| {
                let own = fitting.units.outcome()[unit];
                if treated { own - other } else { other - own }
            })
            .collect();
        fitting.fit(effect, &rows, &imputed, true)
    };
    Ok(XLearnerModel {
        from_treated: fit_arm(true)?,
        from_control: fit_arm(false)?,
        assignment_probability: fitting.units.mean_assignment_probability(),
    })
}
