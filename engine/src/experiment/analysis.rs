//! From sufficient statistics to the analysis that is shown: comparisons, segments, adjustment, checks, decision.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::among_reached::add_effects_among_reached;
use super::arm_checks::{missing_by_arm, spread_of_smaller_arm};
use super::balance::balance_checks;
use super::bayesian::{BayesianMetric, outlook_of_arms};
use super::checks::{Check, checks};
use super::comparisons::{ArmsComparison, adjust, all_pairs, compare_arms};
use super::decision::{Decision, Rule, decide};
use super::definition::MinimumEffect;
use super::exact::Place;
use super::incrementality::{Incrementality, incrementality};
use super::margins::MarginSpec;
use super::metric::{MetricKind, labelled};
use super::options::AnalysisOptions;
use super::path::{PathPoint, path_of};
use super::sample::{ByArm, Cut, ExperimentSample, MetricRole, MetricSample};
use super::search::{SearchResult, search_segments};
use super::selection::{BestOfArms, add_false_coverage, best_of_arms};
use super::sensitivity::{ClickSensitivity, click_check, click_sensitivity, outlier_check};
use super::statistic::ArmStatistic;
use crate::error::{EngineError, Result};
use crate::stats::{Direction, Estimate, SegmentEffect, heterogeneity, shrink};
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
    /// What the messages brought beyond what would have come anyway, where some were held out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incrementality: Option<Incrementality>,
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
    /// What tells it from other metrics of the same name: `per clicks`, `quantile 0.9`, `winsorised 0.01`, `log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What it is for.
    pub role: MetricRole,
    /// Whether less of it is better.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lower_is_better: bool,
    /// What was cut, of a winsorised mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
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
    /// The same under other rules for machines' clicks, of clicks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitivity: Vec<ClickSensitivity>,
    /// The path over the days, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<PathPoint>,
    /// The same in each segment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentAnalysis>,
    /// The segments in which an arm works, found on one half of the units and measured on the other, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<SearchResult>,
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
    /// The mean, which for a proportion is the share; of a ratio the ratio, of a quantile the quantile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// The sample variance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
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
    /// The same of each arm, where there are several beside the control.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shrunk_by_arm: BTreeMap<String, Estimate>,
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
pub(crate) fn analyze(mut sample: ExperimentSample, options: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let control = sample.control(options.control.as_deref())?;
    let treatments: Vec<String> =
        sample.arms.iter().map(|(arm, _)| arm.clone()).filter(|arm| *arm != control).collect();
    options.check()?;
    set_margins(&mut sample, options)?;
    check_minimum_effect(&sample, options)?;
    let mut metrics = Vec::with_capacity(sample.metrics.len());
    for metric in &sample.metrics {
        metrics.push(analyze_metric(metric, &control, &treatments, options)?);
    }
    adjust(&mut metrics, options)?;
    add_false_coverage(&mut metrics, &sample.metrics, options)?;
    add_effects_among_reached(&mut metrics, &sample, options.alpha)?;
    let mut checks = checks(&sample, options)?;
    let (kind, arms) = (sample.kind.clone(), sample.arms.clone());
    checks.extend(balance_checks(&sample, &options.segments, options.strata.as_deref())?);
    for (metric, sample) in metrics.iter().zip(&sample.metrics) {
        checks.extend(click_check(&metric.metric, &metric.sensitivity, options.alpha));
        checks.extend(outlier_check(sample, &control, &treatments)?);
        // An always-valid result has that spread; where nothing was concluded there is nothing to doubt.
        let concluded = |comparison: &&ArmsComparison| {
            options.sequential.is_none() && comparison.decisive_p_value().is_some_and(|p_value| p_value < options.alpha)
        };
        let concluded: Vec<String> =
            metric.comparisons.iter().filter(concluded).map(|comparison| comparison.arm.clone()).collect();
        checks.extend(spread_of_smaller_arm(sample, &control, &concluded, options.alpha)?);
        // Of aggregates as of a table: a metric of buyers alone has fewer units than there are, by the arm.
        if matches!(kind.as_ref(), "units" | "arms") && options.randomised_by.is_none() {
            checks.extend(missing_by_arm(sample, &arms, &control, &treatments)?);
        }
    }
    let mut notes = sample.notes;
    if let Some(planned_units) = options.sequential {
        let what = if options.randomised_by.is_some() { "clusters" } else { "units" };
        notes.push(format!(
            "always-valid intervals are tightest near {planned_units} {what} of both arms; keep that number at every look"
        ));
    }
    notes.extend(what_is_unadjusted(&metrics, options));
    let decision = decide(&metrics, &checks, &control, &Rule::new(options, sample.days));
    let incrementality = incrementality(&sample.held_out, options.alpha)?;
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
        incrementality,
        decision,
        notes,
    })
}

/// Names what was asked for beside comparisons that were adjusted, and is itself of the plain values.
fn what_is_unadjusted(metrics: &[MetricAnalysis], options: &AnalysisOptions) -> Option<String> {
    let is_adjusted = |metric: &&MetricAnalysis| {
        let named = !options.covariates.is_empty() || options.strata.is_some();
        named && metric.comparisons.iter().any(|found| found.adjusted.is_some() || found.post_stratified.is_some())
    };
    let any = |has: fn(&MetricAnalysis) -> bool| metrics.iter().filter(is_adjusted).any(has);
    let plain: Vec<&str> = [
        (any(|metric| metric.bayesian.is_some()), "the Bayesian reading"),
        (any(|metric| !metric.pairs.is_empty()), "every pair"),
        (any(|metric| !metric.path.is_empty()), "the path"),
        (any(|metric| metric.best_arm.is_some()), "the best arm"),
        (any(|metric| !metric.segments.is_empty()), "segments"),
    ]
    .into_iter()
    .filter_map(|(there, what)| there.then_some(what))
    .collect();
    (!plain.is_empty())
        .then(|| format!("of the plain values, not adjusted for what was known before: {}", plain.join(", ")))
}

/// Gives each metric its margins; refuses those of metrics that are not there, or that the kind of metric does not have, and
/// a second one of one metric.
fn set_margins(sample: &mut ExperimentSample, options: &AnalysisOptions) -> Result<()> {
    if let Some(spec) = options.equivalences.iter().find(|spec| spec.direction.is_some()) {
        return Err(EngineError::usage(format!("equivalence {}: a margin on either side has no sign", spec.metric)));
    }
    for spec in options.margins.iter().chain(&options.equivalences) {
        let Some(metric) = sample.metrics.iter().find(|metric| spec.is_of(metric, &sample.metrics)) else {
            let names: Vec<String> =
                sample.metrics.iter().map(|metric| labelled(&metric.name, metric.detail.as_deref())).collect();
            return Err(EngineError::usage(format!(
                "margin {}={}: the analysis has no such metric; it has {}",
                spec.metric,
                spec.text,
                names.join(", ")
            )));
        };
        spec.check(metric.kind)?;
        let is_worse_when_it_rises = spec.direction == Some(Direction::LowerIsBetter);
        let is_decided_by = metric.role != MetricRole::Secondary;
        if is_decided_by && spec.direction.is_some() && is_worse_when_it_rises != metric.lower_is_better {
            let (says, goes) = if is_worse_when_it_rises { ("rise", "fall") } else { ("fall", "rise") };
            return Err(EngineError::usage(format!(
                "margin {}: its sign says that a {says} is worse, and the decision takes a {goes} of this {} for worse: leave the sign \
                 out, or take another metric to decide by",
                spec.metric,
                if metric.role == MetricRole::Guardrail { "guardrail" } else { "primary metric" }
            )));
        }
    }
    let of = |metric: &MetricSample, specs: &[MarginSpec]| -> Result<Option<MarginSpec>> {
        let mut found = specs.iter().filter(|spec| spec.is_of(metric, &sample.metrics));
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => Err(EngineError::usage(format!(
                "two margins of {}, {} and {}: give one",
                labelled(&metric.name, metric.detail.as_deref()),
                one.text,
                other.text
            ))),
            (found, _) => Ok(found.cloned()),
        }
    };
    let margins = sample
        .metrics
        .iter()
        .map(|metric| Ok((of(metric, &options.margins)?, of(metric, &options.equivalences)?)))
        .collect::<Result<Vec<_>>>()?;
    for (metric, (margin, equivalence)) in sample.metrics.iter_mut().zip(margins) {
        (metric.margin, metric.equivalence) = (margin, equivalence);
    }
    Ok(())
}

/// Refuses a smallest effect worth having that no share can have.
fn check_minimum_effect(sample: &ExperimentSample, options: &AnalysisOptions) -> Result<()> {
    let primary = sample.metrics.iter().find(|metric| metric.role == MetricRole::Primary);
    match (options.minimum_effect, primary) {
        (Some(MinimumEffect::Difference(size)), Some(metric))
            if metric.kind == MetricKind::Proportion && size >= 1.0 =>
        {
            Err(EngineError::usage(format!(
                "the minimum effect of {}, {size}: a share cannot rise by all there is; 0.01 is one percentage point",
                metric.name
            )))
        }
        _ => Ok(()),
    }
}

fn analyze_metric(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    options: &AnalysisOptions,
) -> Result<MetricAnalysis> {
    let compare = |arms: &ByArm, place| compare_arms(metric, arms, place, control, treatments, options);
    let higher_is_better = !metric.lower_is_better;
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
            shrunk_by_arm: BTreeMap::new(),
        });
    }
    let mut heterogeneities = Vec::new();
    for column in &options.segments {
        for (position, arm) in treatments.iter().enumerate() {
            let found = across_segments(metric, column, control, arm, options.alpha)?;
            for segment in &mut segments {
                let Some(value) = segment.segment.get(column) else { continue };
                let shrunk = found.shrunk.get(&value.as_str().map(str::to_owned)).cloned();
                if treatments.len() > 1
                    && let Some(shrunk) = &shrunk
                {
                    segment.shrunk_by_arm.insert(arm.clone(), shrunk.clone());
                }
                if position == 0 {
                    segment.shrunk = shrunk;
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
        detail: metric.detail.clone(),
        role: metric.role,
        lower_is_better: metric.lower_is_better,
        cut: metric.cut.clone(),
        arms: summaries(&metric.overall)?,
        comparisons: compare(&metric.overall, Place::Overall)?,
        bayesian,
        best_arm: best_of_arms(metric, control, treatments, options.alpha)?,
        pairs: if options.all_pairs { all_pairs(metric, control, treatments, options)? } else { Vec::new() },
        sensitivity: click_sensitivity(metric, control, treatments, options.alpha)?,
        path: if options.path.is_some() { path_of(metric, control, treatments, options)? } else { Vec::new() },
        segments,
        search: search_segments(metric, control, treatments, options.alpha)?,
        heterogeneity: first,
        heterogeneities,
    })
}

fn summaries(arms: &ByArm) -> Result<Vec<ArmSummary>> {
    arms.iter()
        .map(|(arm, statistic)| {
            let shown = statistic.shown()?;
            Ok(ArmSummary { arm: arm.clone(), n: shown.n, mean: shown.value, variance: shown.variance })
        })
        .collect()
}

#[derive(Default)]
struct AcrossSegments {
    heterogeneity: Option<HeterogeneityOf>,
    shrunk: BTreeMap<Option<String>, Estimate>,
}

/// The difference in a segment; none without a spread. A share's variance is the pooled one, as in its test: that of each arm
/// by itself is next to nothing where a few units have no success or nothing else, and one such segment would outweigh all.
fn segment_effect(control: &ArmStatistic, treated: &ArmStatistic) -> Result<Option<SegmentEffect>> {
    let (left, right) = (control.moments()?, treated.moments()?);
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    let variance = if let (ArmStatistic::Proportion(control), ArmStatistic::Proportion(treated)) = (control, treated) {
        let (one, other) = (control.n as f64, treated.n as f64);
        let pooled = (control.successes + treated.successes) as f64 / (one + other);
        (control.n > 1 && treated.n > 1).then(|| pooled * (1.0 - pooled) * (1.0 / one + 1.0 / other))
    } else {
        left.squared_standard_error().zip(right.squared_standard_error()).map(|(left, right)| left + right)
    };
    let variance = variance.filter(|variance| *variance > 0.0);
    Ok(variance.map(|variance| SegmentEffect { estimate: right.mean - left.mean, variance }))
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
        if let Some(effect) = segment_effect(baseline, treated)? {
            values.push(value.clone());
            effects.push(effect);
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
