//! Whom a message moves: the effect of treatment unit by unit, learnt from units whose arm was drawn at random.
//!
//! Enters: features from before the assignment ([`FeatureMatrix`]), and for each unit its outcome, its arm and the
//! probability with which it could have been treated ([`RandomisedUnits`]); a way to fit a model ([`Learner`]). Leaves:
//! a model that scores anyone ([`UpliftModel`]), and beside it, for every unit that it learnt from, an effect predicted
//! by models that had not seen the unit ([`CrossFitted`]). **Only the latter may be evaluated**: how a model does on
//! what it learnt from says nothing.
//!
//! | method | effect of a unit x | source |
//! | --- | --- | --- |
//! | [`UpliftMethod::TLearner`] | μ₁(x) − μ₀(x), an outcome model an arm | Künzel et al. (2019), "T-learner" |
//! | [`UpliftMethod::XLearner`] | g τ₀(x) + (1 − g) τ₁(x), effects imputed by the other arm's model | Künzel et al. (2019) |
//! | [`UpliftMethod::DoublyRobust`] | regression of doubly robust scores on x | Kennedy (2023) |
//!
//! Künzel, Sekhon, Bickel and Yu (2019), "Metalearners for estimating heterogeneous treatment effects using machine
//! learning", PNAS 116(10); Kennedy (2023), "Towards optimal doubly robust estimation of heterogeneous causal effects",
//! Electronic Journal of Statistics 17(2). The assignment probabilities e are known by design, never estimated; where
//! they differ between units, models of an arm's outcome weigh its units by 1/e or 1/(1 − e), so that they describe
//! everyone and not those who were likely to be in the arm.
//!
//! When which: the doubly robust learner by default. With few units in one arm the T-learner's two models differ in how
//! much they smooth, and the difference of what they smoothed away looks like an effect.

pub mod by_prediction;
mod cross_fitting;
mod doubly_robust;
pub mod heterogeneity;
pub mod ranking;
mod t_learner;
pub mod targeting;
mod units;
mod x_learner;

#[cfg(test)]
mod simulated;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

pub use cross_fitting::{CrossFitted, CrossFitting, Progress};
pub use doubly_robust::{DoublyRobustModel, fit_doubly_robust};
pub use t_learner::{TLearnerModel, fit_t_learner};
pub(crate) use units::check_lengths;
pub use units::{ExpectedOutcomes, RandomisedUnits};
pub use x_learner::{XLearnerModel, fit_x_learner};

use crate::error::StatsError;
use crate::learner::{FeatureMatrix, Learner, Predictor};
use serde::{Deserialize, Serialize};

/// How effects are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpliftMethod {
    /// A model of the outcome in each arm; the effect is their difference.
    TLearner,
    /// Effects imputed by the other arm's outcome model, learnt by arm and mixed.
    XLearner,
    /// A model of doubly robust scores.
    DoublyRobust,
}

/// A model of the effect, whichever way it was learnt: made of the learner's own models, so that whoever can save those
/// can save this. `O` is the model of an outcome, `E` that of an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpliftModel<O, E> {
    /// Two outcome models.
    TLearner(TLearnerModel<O>),
    /// Two effect models.
    XLearner(XLearnerModel<E>),
    /// One effect model.
    DoublyRobust(DoublyRobustModel<E>),
}

impl<O: Predictor, E: Predictor> Predictor for UpliftModel<O, E> {
    /// The effect of treatment on each row, in units of the outcome.
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        match self {
            Self::TLearner(model) => model.predict(features),
            Self::XLearner(model) => model.predict(features),
            Self::DoublyRobust(model) => model.predict(features),
        }
    }
}

/// What [`fit_uplift`] leaves for an outcome learner `O` and an effect learner `E`.
pub type FittedUplift<O, E> = CrossFitted<UpliftModel<<O as Learner>::Model, <E as Learner>::Model>>;

/// Learns effects by `method`. The T-learner has no use for `effect`.
///
/// # Errors
/// As [`fit_t_learner`], [`fit_x_learner`] and [`fit_doubly_robust`].
pub fn fit_uplift<O: Learner, E: Learner>(
    method: UpliftMethod,
    outcome: &O,
    effect: &E,
    features: &FeatureMatrix,
    units: RandomisedUnits<'_>,
    cross_fitting: CrossFitting<'_>,
) -> Result<FittedUplift<O, E>, StatsError> {
    Ok(match method {
        UpliftMethod::TLearner => {
            fit_t_learner(outcome, features, units, cross_fitting)?.map_model(UpliftModel::TLearner)
        }
        UpliftMethod::XLearner => {
            fit_x_learner(outcome, effect, features, units, cross_fitting)?.map_model(UpliftModel::XLearner)
        }
        UpliftMethod::DoublyRobust => {
            fit_doubly_robust(outcome, effect, features, units, cross_fitting)?.map_model(UpliftModel::DoublyRobust)
        }
    })
}
