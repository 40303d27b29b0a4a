//! A model as it is kept in the store: what it predicts, from what, how well, and everything needed to predict again.
//!
//! A model is one JSON file of the folder `_models`, named by its id. The id holds a hash of the content: another training
//! range, table or option is another model, and a file that was changed by hand is noticed.

use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

use deltalake::Path as ObjectPath;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};

use super::drift::DriftReference;
use super::features::{Encoding, FeatureSet};
use super::learn::{BaseLearner, Classifier, ClassifierLearner, EffectLearner, EffectModel};
use super::request::Target;
use crate::error::{EngineError, Result};
use crate::stats::calibration::Calibration;
use crate::stats::prediction_quality::{PredictionComparison, PredictionQuality};
use crate::stats::uplift::by_prediction::EffectsByPrediction;
use crate::stats::uplift::heterogeneity::{BestLinearPredictor, GroupEffects};
use crate::stats::uplift::ranking::{RankingDifference, RankingQuality};
use crate::stats::uplift::{UpliftMethod, UpliftModel};
use crate::stats::{FeatureMatrix, Predictor as _};
use crate::store::{Store, Versions};

/// Where models are kept, a folder of the store that Delta readers do not look into.
const FOLDER: &str = "_models";

/// How a model's file is laid out; a newer one is not read by an older program.
pub const MODEL_FORMAT: u32 = 2;

/// A model of one of two kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Scorer {
    /// The probability of the target.
    Propensity(Box<PropensityScorer>),
    /// What a message adds to the probability of the target.
    Uplift(Box<UpliftScorer>),
}

/// The probability of an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PropensityScorer {
    /// The model.
    pub classifier: Classifier,
    /// What makes its probabilities right on units that it did not learn from.
    pub calibration: Calibration,
    /// How good it is on a later period than that it learnt from.
    pub quality: PredictionQuality,
    /// The one that was not chosen, on the same units.
    pub other: Option<OtherModel>,
}

impl PropensityScorer {
    /// Probabilities of the classifier as they were found to be right.
    fn calibrated(&self, mut probabilities: Vec<f64>) -> Vec<f64> {
        for probability in &mut probabilities {
            *probability = self.calibration.apply(*probability);
        }
        probabilities
    }
}

/// A model that was tried and not chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OtherModel {
    /// Its kind.
    pub learner: BaseLearner,
    /// How good it is.
    pub quality: PredictionQuality,
    /// The chosen one against it.
    pub comparison: PredictionComparison,
}

/// What a message adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpliftScorer {
    /// How the effect was learnt.
    pub method: UpliftMethod,
    /// By which models.
    pub learner: BaseLearner,
    /// The model, fitted on all units.
    pub model: UpliftModel<Classifier, EffectModel>,
    /// How well effects that were predicted for units unseen rank them.
    pub quality: RankingQuality,
    /// Whether effects differ at all, and by how much what is predicted is to be believed.
    pub best_linear_predictor: BestLinearPredictor,
    /// Effects by fifth of what is predicted.
    pub group_effects: GroupEffects,
    /// What the units of each part of the predicted effect really brought.
    pub effects_by_prediction: EffectsByPrediction,
    /// Messages that a unit of the treatment got within the horizon beyond those of the control: an effect is of all of
    /// them. None for a table of units.
    pub messages: Option<f64>,
    /// The ways that were not chosen.
    pub others: Vec<OtherUplift>,
    /// The arm that is compared with the control.
    pub treatment: String,
    /// Those who got no message, or another.
    pub control: String,
}

/// A way to learn effects that was tried and not chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OtherUplift {
    /// How.
    pub method: UpliftMethod,
    /// By which models.
    pub learner: BaseLearner,
    /// How well it ranks.
    pub quality: RankingQuality,
    /// The chosen one less this one.
    pub comparison: RankingDifference,
}

/// When and from what a model was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The moment that features were counted up to; none for a table of units.
    pub features_at: Option<Timestamp>,
    /// The end of the outcomes that it learnt from.
    pub outcomes_until: Option<Timestamp>,
    /// The end of the outcomes that it was judged by.
    pub judged_until: Option<Timestamp>,
    /// Units that it learnt from, those for calibration and stopping included.
    pub units: u64,
    /// Of those, how many have the outcome.
    pub outcomes: u64,
    /// The share of all units that was drawn to learn from.
    pub share_drawn: f64,
    /// The seed of the draw.
    pub seed: u64,
    /// Versions of the tables that were read.
    pub table_versions: Versions,
    /// The program's version.
    pub software: String,
}

/// A model with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreModel {
    /// How the file is laid out.
    pub format: u32,
    /// Kind, target and a hash of the content.
    pub id: String,
    /// What it predicts.
    pub target: Target,
    /// Days ahead.
    pub horizon_days: u32,
    /// When and from what it was made.
    pub training: Training,
    /// The features of a store's recipients; none for a table of units.
    pub features: Option<FeatureSet>,
    /// What a feature's column becomes.
    pub(crate) encoding: Encoding,
    /// The model itself.
    pub scorer: Scorer,
    /// What features and scores were like, to tell later whether they still are.
    pub(crate) reference: DriftReference,
    /// The probability that a message is followed by an opt-out, beside an uplift that opt-outs are held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opt_out: Option<Box<ScoreModel>>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// A model without what only a program wants to know of it.
#[derive(Debug, Clone, Serialize)]
pub struct ModelSummary {
    /// Its id.
    pub id: String,
    /// `propensity` or `uplift`.
    pub kind: &'static str,
    /// What it predicts.
    pub target: String,
    /// Days ahead.
    pub horizon_days: u32,
    /// How it was learnt.
    pub method: String,
    /// When and from what it was made.
    pub training: Training,
    /// Area under the ROC curve of a propensity, Qini coefficient of an uplift, on units that it did not learn from.
    pub quality: crate::stats::Estimate,
    /// Its features.
    pub features: Vec<String>,
}

impl ScoreModel {
    /// Gives the model its id.
    pub(crate) fn named(mut self) -> Result<Self> {
        self.id = String::new();
        let content = serde_json::to_vec(&self)?;
        let hash = xxhash_rust::xxh3::xxh3_64(&content);
        let target: String =
            self.target.name().chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' }).collect();
        self.id = format!("{}-{target}-{hash:016x}", self.kind());
        Ok(self)
    }

    /// `propensity` or `uplift`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.scorer {
            Scorer::Propensity(_) => "propensity",
            Scorer::Uplift(_) => "uplift",
        }
    }

    /// How it was learnt.
    #[must_use]
    pub fn method(&self) -> String {
        match &self.scorer {
            Scorer::Propensity(scorer) => scorer.classifier.name().to_owned(),
            Scorer::Uplift(scorer) => format!("{} of {}", method_name(scorer.method), scorer.learner.name()),
        }
    }

    /// The score of each unit: a probability, or what a message adds to one.
    pub(crate) fn scores(&self, features: &FeatureMatrix) -> Vec<f64> {
        match &self.scorer {
            Scorer::Propensity(scorer) => scorer.calibrated(scorer.classifier.predict(features)),
            Scorer::Uplift(scorer) => scorer.model.predict(features),
        }
    }

    /// The score of each unit, and how far each feature moved it, unit after unit: in log-odds for a probability, in units
    /// of the outcome for what a message adds.
    pub(crate) fn explained(&self, features: &FeatureMatrix) -> (Vec<f64>, Vec<f64>) {
        let (scores, by_column) = match &self.scorer {
            Scorer::Propensity(scorer) => {
                let (probabilities, by_column) = scorer.classifier.explain(features);
                (scorer.calibrated(probabilities), by_column)
            }
            Scorer::Uplift(scorer) => (scorer.model.predict(features), uplift_contributions(&scorer.model, features)),
        };
        let feature_of = self.encoding.features();
        let (columns, count) = (features.columns(), self.encoding.columns.len());
        if columns == count {
            return (scores, by_column);
        }
        let mut moved = vec![0.0; features.rows() * count];
        for (by_column, moved) in by_column.chunks(columns.max(1)).zip(moved.chunks_mut(count.max(1))) {
            for (value, feature) in by_column.iter().zip(&feature_of) {
                moved[*feature] += value;
            }
        }
        (scores, moved)
    }

    /// The model in short.
    #[must_use]
    pub fn summary(&self) -> ModelSummary {
        ModelSummary {
            id: self.id.clone(),
            kind: self.kind(),
            target: self.target.name().to_owned(),
            horizon_days: self.horizon_days,
            method: self.method(),
            training: self.training.clone(),
            quality: match &self.scorer {
                Scorer::Propensity(scorer) => scorer.quality.area_under_curve.clone(),
                Scorer::Uplift(scorer) => scorer.quality.qini.value.clone(),
            },
            features: self.encoding.names().into_iter().map(str::to_owned).collect(),
        }
    }

    /// Keeps the model in a store.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn keep_in(&self, store: &Store) -> Result<()> {
        let Some(objects) = store.side_files(FOLDER, true)? else { return Ok(()) };
        let written = objects.put(&path(&self.id), serde_json::to_vec(self)?.into()).await;
        written.map_err(deltalake::DeltaTableError::from)?;
        Ok(())
    }

    /// The model of that id.
    ///
    /// # Errors
    /// When there is none, the file was made by a newer version, or is damaged.
    pub async fn of(store: &Store, id: &str) -> Result<Self> {
        let missing = || {
            EngineError::NotFound(format!(
                "there is no model \"{id}\": `sendlift models list` lists those of the store"
            ))
        };
        let Some(objects) = store.side_files(FOLDER, false)? else { return Err(missing()) };
        if id.contains(['/', '\\']) {
            return Err(missing());
        }
        let bytes = match objects.get(&path(id)).await {
            Ok(got) => got.bytes().await.map_err(deltalake::DeltaTableError::from)?,
            Err(object_store::Error::NotFound { .. }) => return Err(missing()),
            Err(error) => return Err(deltalake::DeltaTableError::from(error).into()),
        };
        Self::read(&bytes, id)
    }

    /// A model from its file.
    fn read(bytes: &[u8], id: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            EngineError::refused(format!(
                "the file of model \"{id}\" is damaged ({error}): train it again, or bring the file back from a copy"
            ))
        };
        let head: Head = serde_json::from_slice(bytes).map_err(damaged)?;
        if head.format > MODEL_FORMAT {
            return Err(EngineError::refused(format!(
                "model \"{id}\" was made by a newer version of sendlift (format {}, this one reads up to {MODEL_FORMAT}): \
                 update sendlift, or train a model with this one",
                head.format
            )));
        }
        if head.format < MODEL_FORMAT {
            return Err(EngineError::refused(format!(
                "model \"{id}\" was made by an older version of sendlift (format {}, this one reads {MODEL_FORMAT}): train it again",
                head.format
            )));
        }
        let model: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        if model.clone().named()?.id != id {
            return Err(EngineError::refused(format!(
                "the file of model \"{id}\" is not what was kept under that name: its content has changed; train it again, or \
                 bring the file back from a copy"
            )));
        }
        Ok(model)
    }

    /// Every model of a store, by id; one that cannot be read has its error.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(store: &Store) -> Result<BTreeMap<String, Result<Self>>> {
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(BTreeMap::new()) };
        let files: Vec<_> = objects.list(None).try_collect().await.map_err(deltalake::DeltaTableError::from)?;
        let mut found = BTreeMap::new();
        for file in files {
            let name = file.location.filename().map(|name| percent_decode_str(name).decode_utf8_lossy().into_owned());
            if let Some(id) = name.as_deref().and_then(|name| name.strip_suffix(".json")) {
                found.insert(id.to_owned(), Self::of(store, id).await);
            }
        }
        Ok(found)
    }
}

fn path(id: &str) -> ObjectPath {
    ObjectPath::from(format!("{id}.json"))
}

/// A method as models name it.
pub(crate) fn method_name(method: UpliftMethod) -> &'static str {
    match method {
        UpliftMethod::TLearner => "t_learner",
        UpliftMethod::XLearner => "x_learner",
        UpliftMethod::DoublyRobust => "doubly_robust",
    }
}

fn uplift_contributions(model: &UpliftModel<Classifier, EffectModel>, features: &FeatureMatrix) -> Vec<f64> {
    let less = |mut first: Vec<f64>, second: Vec<f64>, (of_first, of_second): (f64, f64)| {
        for (left, right) in first.iter_mut().zip(second) {
            *left = *left * of_first + right * of_second;
        }
        first
    };
    match model {
        // Log-odds of two models, where their difference is the nearest thing to a sum over features.
        UpliftModel::TLearner(model) => {
            less(model.treated.explain(features).1, model.control.explain(features).1, (1.0, -1.0))
        }
        UpliftModel::XLearner(model) => less(
            model.from_control.contributions(features),
            model.from_treated.contributions(features),
            (model.assignment_probability, 1.0 - model.assignment_probability),
        ),
        UpliftModel::DoublyRobust(model) => model.effect.contributions(features),
    }
}

/// What is asked to fit an uplift.
pub(crate) fn learners(learner: BaseLearner) -> (ClassifierLearner, EffectLearner) {
    (ClassifierLearner(learner), EffectLearner(learner))
}
