//! The models that scores are made by: boosted trees and penalised regressions, behind one type for probabilities and one
//! for effects, both of which can be kept.

mod boosted_trees;

pub use boosted_trees::{BoostedTrees, BoostedTreesLearner, TreeOutcome};

use serde::{Deserialize, Serialize};

use crate::stats::linear_predictor::Penalty;
use crate::stats::linear_regression::{LinearModel, RidgeLinear};
use crate::stats::logistic::{LogisticModel, RidgeLogistic};
use crate::stats::{FeatureMatrix, Learner, Predictor, StatsError};

/// Which kind of model is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseLearner {
    /// Gradient-boosted trees.
    BoostedTrees,
    /// A regression with a ridge penalty that cross-validation chooses.
    Ridge,
}

impl BaseLearner {
    /// Both.
    pub const ALL: [Self; 2] = [Self::BoostedTrees, Self::Ridge];

    /// Its name, as models have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BoostedTrees => "boosted_trees",
            Self::Ridge => "ridge",
        }
    }
}

/// Fits probabilities.
#[derive(Debug, Clone, Copy)]
pub struct ClassifierLearner(pub BaseLearner);

impl Learner for ClassifierLearner {
    type Model = Classifier;

    fn fit(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Classifier, StatsError> {
        Ok(match self.0 {
            BaseLearner::BoostedTrees => Classifier::BoostedTrees(
                BoostedTreesLearner::new(TreeOutcome::Probability).fit(features, outcome, weights)?,
            ),
            BaseLearner::Ridge => Classifier::Logistic(
                RidgeLogistic { penalty: Penalty::default() }.fit_model(features, outcome, weights)?,
            ),
        })
    }
}

/// Fits effects. An effect is smaller than what it is the difference of: trees for it are few, flat and with large leaves.
#[derive(Debug, Clone, Copy)]
pub struct EffectLearner(pub BaseLearner);

impl Learner for EffectLearner {
    type Model = EffectModel;

    fn fit(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<EffectModel, StatsError> {
        Ok(match self.0 {
            BaseLearner::BoostedTrees => {
                #[allow(clippy::cast_precision_loss)] // A size.
                let leaf_weight = (features.rows() as f32 / 100.0).clamp(50.0, 1_000.0);
                let learner = BoostedTreesLearner {
                    trees: 100,
                    learning_rate: 0.05,
                    depth: 3,
                    leaf_weight,
                    ..BoostedTreesLearner::new(TreeOutcome::Mean)
                };
                EffectModel::BoostedTrees(learner.fit(features, outcome, weights)?)
            }
            BaseLearner::Ridge => {
                EffectModel::Linear(RidgeLinear { penalty: Penalty::default() }.fit_model(features, outcome, weights)?)
            }
        })
    }
}

/// A fitted model of an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectModel {
    /// Gradient-boosted trees.
    BoostedTrees(BoostedTrees),
    /// Penalised linear regression.
    Linear(LinearModel),
}

impl EffectModel {
    /// What each column of the matrix adds to each row's effect, row after row.
    pub fn contributions(&self, features: &FeatureMatrix) -> Vec<f64> {
        match self {
            Self::BoostedTrees(trees) => trees.explain(features).1,
            Self::Linear(model) => by_rows(features, |values| model.contributions(values)),
        }
    }
}

impl Predictor for EffectModel {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        match self {
            Self::BoostedTrees(trees) => trees.predict(features),
            Self::Linear(model) => model.predict(features),
        }
    }
}

/// What is made of each row, one after another.
fn by_rows(features: &FeatureMatrix, of: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut values = vec![0.0; features.columns()];
    let mut made = Vec::with_capacity(features.rows() * features.columns());
    for row in 0..features.rows() {
        for (column, value) in values.iter_mut().enumerate() {
            *value = features.column(column)[row];
        }
        made.extend(of(&values));
    }
    made
}

/// A fitted model of a probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classifier {
    /// Gradient-boosted trees.
    BoostedTrees(BoostedTrees),
    /// Penalised logistic regression.
    Logistic(LogisticModel),
}

impl Classifier {
    /// What kind it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BoostedTrees(_) => BaseLearner::BoostedTrees.name(),
            Self::Logistic(_) => BaseLearner::Ridge.name(),
        }
    }

    /// Each row's probability, and what each column of the matrix adds to its log-odds, row after row.
    pub fn explain(&self, features: &FeatureMatrix) -> (Vec<f64>, Vec<f64>) {
        match self {
            Self::BoostedTrees(trees) => trees.explain(features),
            Self::Logistic(model) => (model.predict(features), by_rows(features, |values| model.contributions(values))),
        }
    }
}

impl Predictor for Classifier {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        match self {
            Self::BoostedTrees(trees) => trees.predict(features),
            Self::Logistic(model) => model.predict(features),
        }
    }
}
