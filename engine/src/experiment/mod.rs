//! Experiments: which arm did better, by how much, how sure is that, and can the data be trusted?
//!
//! Three sources give the same thing, the sufficient statistics of each metric by arm and segment ([`sample`]): the store
//! ([`from_store`]), a table with one row a unit ([`from_units`]), a table of aggregates ([`from_arms`]). [`analysis`] turns
//! them into comparisons with `sendlift-stats`, [`checks`] asks whether they can be trusted, [`decision`] says what to do.
//!
//! [`plan_experiment`] and [`plan_list`] come before: how many units, what power, which effect can be seen.
//!
//! The headline is the intention to treat: every assigned unit counts, whatever happened to its message.

mod adjusted;
mod among_reached;
mod analysis;
mod arm_checks;
mod assign;
mod balance;
mod bayesian;
mod checks;
mod comparisons;
mod covariates;
mod decision;
mod definition;
mod exact;
mod from_arms;
mod from_store;
mod from_units;
mod incrementality;
mod margins;
mod metric;
mod on_delivered;
mod options;
mod past_rates;
mod path;
mod plan;
mod portfolio;
mod proportion_methods;
mod sample;
mod search;
mod selection;
mod sensitivity;
mod sequential;
mod statistic;
mod test_then_roll;
mod unit_columns;

pub use adjusted::AdjustedResult;
pub use among_reached::EffectAmongReached;
pub use analysis::{ArmCount, ArmSummary, ExperimentAnalysis, MetricAnalysis, SegmentAnalysis, SourceOfAnalysis};
pub use assign::{AssignedArm, AssignmentRequest, AssignmentSummary, assign_list};
pub use bayesian::{BayesianArm, BayesianComparison, BayesianMetric};
pub use checks::{Check, Verdict};
pub use comparisons::ArmsComparison;
pub use decision::{Decision, Recommendation, p_value_in_words};
pub use definition::{Costs, ExperimentDefinition, MinimumEffect};
pub use exact::ExactResult;
pub use from_arms::analyze_arms;
pub use from_store::{ExperimentSummary, analyze_store, list_experiments};
pub use from_units::{UnitRequest, analyze_units};
pub use incrementality::{IncrementalMetric, Incrementality};
pub use margins::{EquivalenceResult, MarginResult, MarginSpec};
pub use metric::{MetricForm, MetricKind, MetricSpec};
pub use on_delivered::EffectOnDelivered;
pub use options::{AnalysisOptions, Correction, parse_allocation};
pub use past_rates::{PAST_DAYS, PastRates, past_rates};
pub use path::{PathComparison, PathPoint};
pub use plan::{
    DEFAULT_POWER, ExperimentPlan, LookPlanned, PlanQuestion, PlanRequest, PlannedEffect, PlannedLooks, PlannedSize,
    plan_experiment,
};
pub use portfolio::{ExperimentPortfolio, NamedEffect, PortfolioRequest, SharedRecipients, experiment_portfolio};
pub use proportion_methods::ProportionMethods;
pub use sample::Cut;
pub use search::{NamedSegment, SearchResult};
pub use selection::{BestOfArms, FalseCoverage};
pub use sensitivity::{ClickSensitivity, SensitiveComparison};
pub use sequential::{AlwaysValid, DEFAULT_PLANNED_UNITS, LooksSpec, PlannedLook, parse_spending};
pub use test_then_roll::{ListPlan, ListRequest, plan_list};
