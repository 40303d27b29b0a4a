//! The hinge between data and statistics: sufficient statistics of each metric by arm, overall and by segment.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::balance::Halves;
use super::checks::Check;
use super::incrementality::HeldOutMetric;
use super::margins::MarginSpec;
use super::metric::MetricKind;
use super::statistic::ArmStatistic;
use crate::error::{EngineError, Result};
use crate::report::precise::{cross_moments, pairs, shares};
use crate::stats::CrossMoments;

/// What a metric is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricRole {
    /// The decision rests on it.
    Primary,
    /// It is looked at beside the primary one.
    Secondary,
    /// It must not get worse; less of it is better.
    Guardrail,
}

/// Statistics by arm.
pub(crate) type ByArm = BTreeMap<String, ArmStatistic>;

/// A segment: a column and one of its values.
pub(crate) type Segment = (String, Option<String>);

/// What winsorising did to a metric.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cut {
    /// Greater values were set to it, in the metric's units.
    pub limit: f64,
    /// Of the values that are not zero, the share that was to lie beyond it.
    pub share_cut: f64,
    /// Units whose value was changed, by arm.
    pub units: BTreeMap<String, u64>,
    /// By how much all values were lowered together, in the metric's units.
    pub amount: f64,
}

/// The covariates of a metric's units, by arm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Covariates {
    /// Their names, in the order of the columns after those of the outcome.
    pub(crate) names: Vec<String>,
    /// Outcome (numerator and denominator of a ratio) and covariates.
    #[serde(with = "cross_moments")]
    pub(crate) moments: BTreeMap<String, CrossMoments>,
    /// The same of each unit, row after row, where there are several covariates and not too many units.
    #[serde(skip)]
    pub(crate) units: BTreeMap<String, Vec<f64>>,
    /// Whether the analyst named them, so that the adjusted result decides.
    pub(crate) named: bool,
}

/// One metric of an experiment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MetricSample {
    pub(crate) name: String,
    pub(crate) kind: MetricKind,
    /// What tells it from other metrics of the same name.
    #[serde(default)]
    pub(crate) detail: Option<String>,
    pub(crate) role: MetricRole,
    /// Whether less of it is better.
    #[serde(default)]
    pub(crate) lower_is_better: bool,
    pub(crate) overall: ByArm,
    #[serde(with = "pairs")]
    pub(crate) segments: BTreeMap<Segment, ByArm>,
    /// Of the units that were delivered to, where delivery tells the arms apart.
    #[serde(default)]
    pub(crate) delivered: ByArm,
    /// Of those that were not.
    #[serde(default)]
    pub(crate) undelivered: ByArm,
    /// What was cut, of a winsorised mean.
    #[serde(default)]
    pub(crate) cut: Option<Cut>,
    /// Of the units that entered on each day, where days were asked for.
    #[serde(default)]
    pub(crate) path: BTreeMap<String, ByArm>,
    /// On either half of the units, for a search among the segments of a column.
    #[serde(skip)]
    pub(crate) halves: BTreeMap<String, Halves>,
    /// Of clicks, under other rules for machines: `none` or `certain` ones left out.
    #[serde(default)]
    pub(crate) other_click_rules: Vec<(String, ByArm)>,
    /// The least and the greatest value of each arm, of a plain mean.
    #[serde(default)]
    pub(crate) extremes: BTreeMap<String, (f64, f64)>,
    /// What was known of the units before.
    #[serde(default)]
    pub(crate) covariates: Option<Covariates>,
    /// How much worse an arm may be, if that was asked.
    #[serde(skip)]
    pub(crate) margin: Option<MarginSpec>,
    /// Within how much of the control an arm counts as the same, if that was asked.
    #[serde(skip)]
    pub(crate) equivalence: Option<MarginSpec>,
    /// By the values of the column of the strata.
    #[serde(default, with = "pairs")]
    pub(crate) strata: BTreeMap<Option<String>, ByArm>,
}

impl MetricSample {
    /// A metric without any statistics yet.
    pub(crate) fn new(name: String, kind: MetricKind, role: MetricRole) -> Self {
        Self {
            name,
            kind,
            detail: None,
            role,
            // Where nothing else is known a guardrail is something bad.
            lower_is_better: role == MetricRole::Guardrail,
            overall: ByArm::new(),
            segments: BTreeMap::new(),
            delivered: ByArm::new(),
            undelivered: ByArm::new(),
            cut: None,
            path: BTreeMap::new(),
            halves: BTreeMap::new(),
            other_click_rules: Vec::new(),
            extremes: BTreeMap::new(),
            covariates: None,
            margin: None,
            equivalence: None,
            strata: BTreeMap::new(),
        }
    }

    /// Whether all that it holds can be written and read back to the last bit.
    pub(crate) fn can_be_kept(&self) -> bool {
        let arms = self.overall.values().chain(self.segments.values().flat_map(ByArm::values));
        let plain = |statistic: &ArmStatistic| matches!(statistic, ArmStatistic::Proportion(_) | ArmStatistic::Mean(_));
        let units_kept = self.covariates.as_ref().is_some_and(|covariates| !covariates.units.is_empty());
        arms.chain(self.strata.values().flat_map(ByArm::values)).all(plain)
            && self.cut.is_none()
            && !units_kept
            && self.halves.is_empty()
    }
}

/// Everything that an analysis needs of an experiment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ExperimentSample {
    pub(crate) experiment: String,
    pub(crate) unit: String,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) versions: crate::store::Versions,
    /// Arms in the order of their names with their units; arms that are not compared are in `kept_apart`.
    pub(crate) arms: Vec<(String, u64)>,
    /// Arms that are shown and not compared (a holdout that gets no message).
    pub(crate) kept_apart: Vec<(String, u64)>,
    pub(crate) metrics: Vec<MetricSample>,
    /// Checks that only the source can make.
    pub(crate) checks: Vec<Check>,
    /// Units by arm at each later stage (sent, delivered).
    pub(crate) stages: Vec<(Cow<'static, str>, BTreeMap<String, u64>)>,
    /// Planned shares that the source knows.
    #[serde(with = "shares")]
    pub(crate) allocation: Vec<(String, f64)>,
    /// Metrics of the assigned and of those held out from any message.
    #[serde(default)]
    pub(crate) held_out: Vec<HeldOutMetric>,
    /// Days from the first unit's to the last unit's, both included, where they are known.
    #[serde(default)]
    pub(crate) days: Option<u32>,
    /// Units by arm (in their order) for each value of the contacts' columns, as the contacts were before.
    #[serde(default)]
    pub(crate) contact_columns: Vec<(String, Vec<Vec<u64>>)>,
    /// Assumptions that the source made.
    pub(crate) notes: Vec<String>,
}

impl ExperimentSample {
    /// The control arm: the one asked for, else the one named control or A, else the first.
    pub(crate) fn control(&self, wanted: Option<&str>) -> Result<String> {
        let names: Vec<&str> = self.arms.iter().map(|(arm, _)| arm.as_str()).collect();
        let listed = || names.join(", ");
        if let Some(wanted) = wanted {
            let found = names.iter().find(|name| **name == wanted);
            return found.map(|name| (*name).to_owned()).ok_or_else(|| {
                EngineError::usage(format!("there is no arm \"{wanted}\" to be the control; the arms are {}", listed()))
            });
        }
        let named = |wanted: &str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted));
        let found = named("control").or_else(|| named("A")).or_else(|| names.first());
        found.map(|name| (*name).to_owned()).ok_or_else(|| EngineError::usage("the experiment has no arms"))
    }
}
