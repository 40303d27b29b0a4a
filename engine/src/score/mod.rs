//! Audience scoring: whom should the next campaign reach, and what is each contact worth?
//!
//! ```text
//! features as of a moment ─► model (trained, or kept in the store) ─► scores ─► who may be sent to ─► file
//! ```
//!
//! - [`request`]: what is asked; [`features`]: what is known of a recipient at a moment, from the logs alone;
//! - [`labels`], [`data`]: what became of them after it, to learn from; [`learn`]: boosted trees and penalised regressions;
//! - [`propensity`]: the probability of an outcome, judged on a later period; [`uplift`]: what a message adds, from an
//!   experiment whose [`arms`] were drawn at random;
//! - [`model`]: a model as it is kept; [`drift`]: whether features and scores are still what they were;
//! - [`apply`]: from a model to a file; [`economics`], [`eligibility`], [`life_cycle`], [`segments`]: what is in it;
//! - [`feature_table`]: the features alone; [`units`]: the same from a table with one row a unit.
//!
//! **Architecture invariant:** nothing that features are counted from lies after their moment.

mod apply;
mod arms;
mod data;
mod deciles;
mod drift;
mod economics;
mod eligibility;
mod feature_table;
pub mod features;
mod labels;
pub mod learn;
mod life_cycle;
mod model;
mod model_details;
mod propensity;
mod request;
mod segments;
mod units;
mod uplift;

/// Intervals cover with a probability of one less this; of drift, what chance brings so often is none.
const ALPHA: f64 = 0.05;

pub use apply::{AudienceSummary, IneligibleCount, ScoreSummary, check_score_request, score};
pub use drift::{Drift, FeatureDrift};
pub use economics::PolicyProfit;
pub use feature_table::{FeatureColumn, FeatureTable, known_features, write_features};
pub use life_cycle::LIFE_CYCLE_DAYS;
pub use model::{
    MODEL_FORMAT, ModelSummary, OtherModel, OtherUplift, PropensityScorer, ScoreModel, Scorer, Training, UpliftScorer,
};
pub use model_details::ModelDetails;
pub use request::{Economics, EligibilityRules, ModelChoice, ScoreRequest, Target};
pub use segments::SegmentScore;
pub use units::{UnitScoreRequest, UnitScoreSummary, score_units};
