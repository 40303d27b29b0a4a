//! From sufficient statistics to the analysis that is shown: comparisons, segments, adjustment, checks, decision.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::bayesian::{BayesianComparison, BayesianMetric, outlook_against, outlook_of_arms};
use super::checks::{Check, checks};
use super::decision::{Decision, decide};
use super::exact::{ExactResult, Place, exact};
use super::margins::{MarginResult, hold_against_margin};
use super::on_delivered::{EffectOnDelivered, effect_on_delivered};
use super::options::{AnalysisOptions, MetricKind};
use super::sample::{ArmStatistic, ByArm, ExperimentSample, MetricRole, MetricSample};
use super::selection::{BestOfArms, FalseCoverage, add_false_coverage, best_of_arms};
use super::sequential::{AlwaysValid, always_valid};
use crate::error::{EngineError, Result};
use crate::stats::{Comparison, Estimate, SegmentEffect, heterogeneity, shrink};
use crate::store::Versions;

/// The analysis of one experiment, as the contract has it.
#[derive(Debug, Clone, Serialize)]
pub struct ExperimentAnalysis {
    /// The experiment, or the file that was analysed.
    pub experiment: String,
    /// Always `intention_to_treat`: every assigned unit counts.
    pub estimand: &'static str,
    /// What was randomised.
    pub unit: String,
    /// The control arm.
    pub control: String,
    /// Two-sided error.
    pub alpha: f64,
    /// Where the numbers come from.
    pub source: SourceOfAnalysis,
    /// Whether they can be trusted.
    pub checks: Vec<Check>,
    /// Units of each arm.
    pub arms: Vec<ArmCount>,
    /// The metrics, the primary one first.
    pub metrics: Vec<MetricAnalysis>,
    /// What to do.
    pub decision: Decision,
    /// Assumptions that were made where nothing was said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where an analysis read its numbers.
#[derive(Debug, Clone, Serialize)]
pub struct SourceOfAnalysis {
    /// `store`, `units` or `arms`.
    pub kind: Cow<'static, str>,
    /// The table versions that were read; empty for files.
    pub versions: Versions,
}

/// Units of an arm.
#[derive(Debug, Clone, Serialize)]
pub struct ArmCount {
    /// The arm.
    pub arm: String,
    /// Its units.
    pub n: u64,
    /// Whether it is shown and not compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kept_apart: bool,
}

/// One metric.
#[derive(Debug, Clone, Serialize)]
pub struct MetricAnalysis {
    /// Its name.
    pub metric: String,
    /// Its kind.
    pub kind: MetricKind,
    /// What it is for.
    pub role: MetricRole,
    /// Its statistics in each arm.
    pub arms: Vec<ArmSummary>,
    /// Each other arm against the control.
    pub comparisons: Vec<ArmsComparison>,
    /// The Bayesian reading of all arms, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bayesian: Option<BayesianMetric>,
    /// The best of several arms beside the control, without its luck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_arm: Option<BestOfArms>,
    /// Every arm against every other, where it was asked for; a family of its own for the adjustment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<ArmsComparison>,
    /// The same in each segment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentAnalysis>,
    /// Whether the effect of the first arm differs between the values of the first segment column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heterogeneity: Option<HeterogeneityOf>,
    /// The same for every arm and segment column, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heterogeneities: Vec<HeterogeneityOf>,
}

/// A metric in one arm.
#[derive(Debug, Clone, Serialize)]
pub struct ArmSummary {
    /// The arm.
    pub arm: String,
    /// Units with a value.
    pub n: u64,
    /// The mean, which for a proportion is the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// The sample variance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
}

/// An arm held against the control.
#[derive(Debug, Clone, Serialize)]
pub struct ArmsComparison {
    /// The arm.
    pub arm: String,
    /// The control.
    pub control: String,
    /// Test, difference and lift.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The p value adjusted for the comparisons that belong together.
    pub p_value_adjusted: Option<f64>,
    /// Exact, where a share's counts are too small for the headline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactResult>,
    /// What holds at every look, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_valid: Option<AlwaysValid>,
    /// The Bayesian reading, where it was asked for and the data say how sure to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bayesian: Option<BayesianComparison>,
    /// Whether the arm is not worse by a margin, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<MarginResult>,
    /// Intervals that allow for its having been picked, where it was significant among others that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_coverage: Option<FalseCoverage>,
    /// The effect on the delivered, a secondary, where the control was hardly delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complier: Option<EffectOnDelivered>,
}

impl ArmsComparison {
    /// The p value that decides, adjusted for the comparisons that belong together: the always-valid one where it was
    /// asked for, else the exact one where counts are small.
    #[must_use]
    pub fn decisive_p_value(&self) -> Option<f64> {
        match (&self.always_valid, &self.exact) {
            (Some(found), _) => found.p_value_adjusted,
            (None, Some(found)) => found.p_value_adjusted,
            (None, None) => self.p_value_adjusted,
        }
    }

    /// The interval of the difference that goes with it; that of the headline where Fisher's test has none.
    #[must_use]
    pub fn decisive_difference(&self) -> &Estimate {
        let headline = &self.comparison.difference;
        match (&self.always_valid, &self.exact) {
            (Some(found), _) => &found.difference,
            (None, Some(found)) => found.difference.as_ref().unwrap_or(headline),
            (None, None) => headline,
        }
    }
}

/// A metric in one segment.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentAnalysis {
    /// The column and its value.
    pub segment: Map<String, Value>,
    /// Units in the segment by arm.
    pub arms: Vec<ArmSummary>,
    /// Each other arm against the control.
    pub comparisons: Vec<ArmsComparison>,
    /// The difference of the first arm, drawn towards the mean of all segments as far as their noise demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Estimate>,
}

/// Whether an effect differs between segments (Cochran 1954).
#[derive(Debug, Clone, Serialize)]
pub struct HeterogeneityOf {
    /// The segment column.
    pub column: String,
    /// The arm that is held against the control.
    pub arm: String,
    /// Cochran's Q.
    pub q: f64,
    /// Its p value.
    pub p_value: f64,
    /// The share of the variation that is not noise, 0 to 1.
    pub i_squared: f64,
}

/// Analyses a sample.
pub(crate) fn analyze(sample: ExperimentSample, options: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let control = sample.control(options.control.as_deref())?;
    let treatments: Vec<String> =
        sample.arms.iter().map(|(arm, _)| arm.clone()).filter(|arm| *arm != control).collect();
    check_margins(&sample, options)?;
    let mut metrics = Vec::with_capacity(sample.metrics.len());
    for metric in &sample.metrics {
        metrics.push(analyze_metric(metric, &control, &treatments, options)?);
    }
    adjust(&mut metrics, options)?;
    add_false_coverage(&mut metrics, &sample.metrics, options.alpha)?;
    let checks = checks(&sample, options)?;
    let mut notes = sample.notes;
    if let Some(planned_units) = options.sequential {
        notes.push(format!(
            "always-valid intervals are tightest near {planned_units} units of both arms; keep that number at every look"
        ));
    }
    let decision = decide(&metrics, &checks, &control, options.alpha);
    let kept_apart = sample.kept_apart.iter().map(|(arm, n)| ArmCount { arm: arm.clone(), n: *n, kept_apart: true });
    let arms = sample.arms.iter().map(|(arm, n)| ArmCount { arm: arm.clone(), n: *n, kept_apart: false });
    Ok(ExperimentAnalysis {
        arms: arms.chain(kept_apart).collect(),
        experiment: sample.experiment,
        estimand: "intention_to_treat",
        unit: sample.unit,
        control,
        alpha: options.alpha,
        source: SourceOfAnalysis { kind: sample.kind, versions: sample.versions },
        checks,
        metrics,
        decision,
        notes,
    })
}

/// Refuses margins of metrics that are not there, or that the kind of metric does not have.
fn check_margins(sample: &ExperimentSample, options: &AnalysisOptions) -> Result<()> {
    for spec in &options.margins {
        let Some(metric) = sample.metrics.iter().find(|metric| metric.name == spec.metric) else {
            let names: Vec<&str> = sample.metrics.iter().map(|metric| metric.name.as_str()).collect();
            return Err(EngineError::usage(format!(
                "margin {}={}: the analysis has no such metric; it has {}",
                spec.metric,
                spec.text,
                names.join(", ")
            )));
        };
        spec.check(metric.kind)?;
    }
    Ok(())
}

fn analyze_metric(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    options: &AnalysisOptions,
) -> Result<MetricAnalysis> {
    let compare = |arms: &ByArm, place| compare_arms(metric, arms, place, control, treatments, options);
    let higher_is_better = metric.role != MetricRole::Guardrail;
    let bayesian = options
        .bayesian
        .then(|| outlook_of_arms(metric.kind, &metric.overall, higher_is_better, options.alpha))
        .transpose()?;
    let mut segments = Vec::with_capacity(metric.segments.len());
    for ((column, value), arms) in &metric.segments {
        let value = value.as_ref().map_or(Value::Null, |value| Value::from(value.as_str()));
        segments.push(SegmentAnalysis {
            segment: Map::from_iter([(column.clone(), value)]),
            arms: summaries(arms)?,
            comparisons: compare(arms, Place::Segment)?,
            shrunk: None,
        });
    }
    let mut heterogeneities = Vec::new();
    for column in &options.segments {
        for (position, arm) in treatments.iter().enumerate() {
            let found = across_segments(metric, column, control, arm, options.alpha)?;
            if position == 0 {
                for segment in &mut segments {
                    if let Some(value) = segment.segment.get(column) {
                        segment.shrunk = found.shrunk.get(&value.as_str().map(str::to_owned)).cloned();
                    }
                }
            }
            heterogeneities.extend(found.heterogeneity);
        }
    }
    let first = heterogeneities.first().cloned();
    if heterogeneities.len() < 2 {
        heterogeneities.clear();
    }
    Ok(MetricAnalysis {
        metric: metric.name.clone(),
        kind: metric.kind,
        role: metric.role,
        arms: summaries(&metric.overall)?,
        comparisons: compare(&metric.overall, Place::Overall)?,
        bayesian,
        best_arm: best_of_arms(metric, control, treatments, options.alpha)?,
        pairs: if options.all_pairs { all_pairs(metric, control, treatments, options)? } else { Vec::new() },
        segments,
        heterogeneity: first,
        heterogeneities,
    })
}

fn summaries(arms: &ByArm) -> Result<Vec<ArmSummary>> {
    arms.iter()
        .map(|(arm, statistic)| {
            let moments = statistic.moments()?;
            let mean = (moments.n > 0).then_some(moments.mean);
            Ok(ArmSummary { arm: arm.clone(), n: moments.n, mean, variance: moments.variance() })
        })
        .collect()
}

fn compare_arms(
    metric: &MetricSample,
    arms: &ByArm,
    place: Place,
    control: &str,
    treatments: &[String],
    options: &AnalysisOptions,
) -> Result<Vec<ArmsComparison>> {
    let empty = ArmStatistic::empty(metric.kind);
    let of_arm = |arm: &str| *arms.get(arm).unwrap_or(&empty);
    let baseline = of_arm(control);
    treatments
        .iter()
        .map(|arm| compare_pair(metric, place, (control, baseline), (arm.as_str(), of_arm(arm)), options))
        .collect()
}

/// Every arm against every other, the control first.
fn all_pairs(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    options: &AnalysisOptions,
) -> Result<Vec<ArmsComparison>> {
    let empty = ArmStatistic::empty(metric.kind);
    let of_arm = |arm: &str| *metric.overall.get(arm).unwrap_or(&empty);
    let arms: Vec<&str> = std::iter::once(control).chain(treatments.iter().map(String::as_str)).collect();
    let mut pairs = Vec::new();
    for (position, first) in arms.iter().copied().enumerate() {
        for second in arms.iter().copied().skip(position + 1) {
            let (left, right) = ((first, of_arm(first)), (second, of_arm(second)));
            pairs.push(compare_pair(metric, Place::Pair, left, right, options)?);
        }
    }
    let mut family: Vec<&mut ArmsComparison> = pairs.iter_mut().collect();
    adjust_family(&mut family, options)?;
    Ok(pairs)
}

/// One arm against another, with all that was asked for.
fn compare_pair(
    metric: &MetricSample,
    place: Place,
    (control, baseline): (&str, ArmStatistic),
    (arm, treated): (&str, ArmStatistic),
    options: &AnalysisOptions,
) -> Result<ArmsComparison> {
    let alpha = options.alpha;
    let comparison = ArmStatistic::compare(&baseline, &treated, alpha)?;
    let sequential = options.sequential.map(|planned_units| always_valid(&baseline, &treated, planned_units, alpha));
    let bayesian = if options.bayesian {
        let higher_is_better = metric.role != MetricRole::Guardrail;
        outlook_against(metric.kind, &baseline, &treated, higher_is_better, alpha)?
    } else {
        None
    };
    let margin = match (place, options.margins.iter().find(|spec| spec.metric == metric.name)) {
        (Place::Overall, Some(spec)) => {
            Some(hold_against_margin(spec, metric.role, (control, &baseline), (arm, &treated), alpha)?)
        }
        _ => None,
    };
    Ok(ArmsComparison {
        arm: arm.to_owned(),
        control: control.to_owned(),
        p_value_adjusted: comparison.p_value,
        comparison,
        exact: exact(&baseline, &treated, place, alpha)?,
        always_valid: sequential.transpose()?,
        bayesian,
        margin,
        false_coverage: None,
        complier: if place == Place::Overall { effect_on_delivered(metric, control, arm, alpha)? } else { None },
    })
}

#[derive(Default)]
struct AcrossSegments {
    heterogeneity: Option<HeterogeneityOf>,
    shrunk: BTreeMap<Option<String>, Estimate>,
}

/// Cochran's Q of the difference over a column's values, and each difference drawn towards their mean. Segments in which
/// an arm has fewer than two units, or nothing varies, have no standard error and take no part.
fn across_segments(
    metric: &MetricSample,
    column: &str,
    control: &str,
    arm: &str,
    alpha: f64,
) -> Result<AcrossSegments> {
    let (mut values, mut effects) = (Vec::new(), Vec::new());
    for ((name, value), arms) in &metric.segments {
        let (Some(baseline), Some(treated)) = (arms.get(control), arms.get(arm)) else { continue };
        if name != column {
            continue;
        }
        let (baseline, treated) = (baseline.moments()?, treated.moments()?);
        let (Some(left), Some(right)) = (baseline.squared_standard_error(), treated.squared_standard_error()) else {
            continue;
        };
        if left + right > 0.0 {
            values.push(value.clone());
            effects.push(SegmentEffect { estimate: treated.mean - baseline.mean, variance: left + right });
        }
    }
    if effects.len() < 2 {
        return Ok(AcrossSegments::default());
    }
    let found = heterogeneity(&effects)?;
    let heterogeneity = HeterogeneityOf {
        column: column.to_owned(),
        arm: arm.to_owned(),
        q: found.q,
        p_value: found.p_value,
        i_squared: found.i_squared,
    };
    let mut shrunk = BTreeMap::new();
    for (value, estimate) in values.into_iter().zip(shrink(&effects)?) {
        shrunk.insert(value, estimate.to_estimate(alpha)?);
    }
    Ok(AcrossSegments { heterogeneity: Some(heterogeneity), shrunk })
}

/// Adjusts p values: over all arms and metrics, guardrails apart (they are there to alarm); and for each metric over all
/// its segments.
fn adjust(metrics: &mut [MetricAnalysis], options: &AnalysisOptions) -> Result<()> {
    for guardrails in [false, true] {
        let mut family: Vec<&mut ArmsComparison> = metrics
            .iter_mut()
            .filter(|metric| (metric.role == MetricRole::Guardrail) == guardrails)
            .flat_map(|metric| metric.comparisons.iter_mut())
            .collect();
        adjust_family(&mut family, options)?;
    }
    for metric in metrics {
        let mut family: Vec<&mut ArmsComparison> =
            metric.segments.iter_mut().flat_map(|segment| segment.comparisons.iter_mut()).collect();
        adjust_family(&mut family, options)?;
    }
    Ok(())
}

fn adjust_family(family: &mut [&mut ArmsComparison], options: &AnalysisOptions) -> Result<()> {
    let headline: Vec<Option<f64>> = family.iter().map(|comparison| comparison.comparison.p_value).collect();
    // Of small counts the exact test is read, in the same family.
    let read: Vec<Option<f64>> = family
        .iter()
        .map(|comparison| comparison.exact.as_ref().map_or(comparison.comparison.p_value, |found| found.p_value))
        .collect();
    let looks: Vec<Option<f64>> =
        family.iter().map(|comparison| comparison.always_valid.as_ref().and_then(|found| found.p_value)).collect();
    let headline = options.correction.adjust(&headline)?;
    let read = options.correction.adjust(&read)?;
    let looks = options.correction.adjust(&looks)?;
    for (position, comparison) in family.iter_mut().enumerate() {
        let of = |adjusted: &[Option<f64>]| adjusted.get(position).copied().flatten();
        comparison.p_value_adjusted = of(&headline);
        if let Some(found) = &mut comparison.exact {
            found.p_value_adjusted = of(&read);
        }
        if let Some(found) = &mut comparison.always_valid {
            found.p_value_adjusted = of(&looks);
        }
    }
    Ok(())
}
