//! What is told of a list of scores once it is written.

use jiff::Timestamp;
use serde::Serialize;

use crate::score::drift::Drift;
use crate::score::economics::PolicyProfit;
use crate::score::model::ModelSummary;
use crate::score::segments::SegmentScore;
use crate::stats::audience::Audience;

/// What was scored.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreSummary {
    /// The model.
    pub model: ModelSummary,
    /// The moment that features were counted up to.
    pub as_of: Timestamp,
    /// Recipients that were scored.
    pub recipients: u64,
    /// Recipients in the file.
    pub written: u64,
    /// Recipients who may not be sent to, by reason.
    pub ineligible: Vec<IneligibleCount>,
    /// Mean score of those who may be sent to; none without any.
    pub mean_score: Option<f64>,
    /// Whom to send to, where effects and amounts are known.
    pub audience: Option<AudienceSummary>,
    /// Segments in sum, where they were asked for.
    pub segments: Vec<SegmentScore>,
    /// Whether features and scores are still what they were.
    pub drift: Drift,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Recipients who may not be sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IneligibleCount {
    /// Why.
    pub reason: String,
    /// How many.
    pub n: u64,
}

/// The audience that is worth its cost.
#[derive(Debug, Clone, Serialize)]
pub struct AudienceSummary {
    /// Recipients in it.
    pub recipients: u64,
    /// What its messages cost.
    pub cost: f64,
    /// What they are expected to bring beyond that.
    pub expected_profit: f64,
    /// What they bring according to the experiment's own units: the mean of what is expected can flatter whom it chose.
    pub by_experiment: Option<PolicyProfit>,
    /// What another unit of budget would bring; zero where money is left.
    pub budget_price: f64,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

impl AudienceSummary {
    pub(in crate::score) fn new(audience: &Audience, by_experiment: Option<PolicyProfit>, notes: Vec<String>) -> Self {
        Self {
            recipients: audience.units,
            cost: audience.total_cost,
            expected_profit: audience.expected_profit.estimate.unwrap_or(0.0),
            by_experiment,
            budget_price: audience.budget_price,
            notes,
        }
    }
}
