//! Arms held against one another: the headline test and all that was asked for beside it, adjusted for their number.
//!
//! Enters: the statistics of a metric by arm. Leaves: an [`ArmsComparison`] for each pair, whose parts are made in files of
//! their own (`exact`, `sequential`, `bayesian`, `margins`, `on_delivered`, `selection`).

use serde::Serialize;

use super::analysis::MetricAnalysis;
use super::bayesian::{BayesianComparison, outlook_against};
use super::exact::{ExactResult, Place, exact};
use super::margins::{MarginResult, hold_against_margin};
use super::on_delivered::{EffectOnDelivered, effect_on_delivered};
use super::options::AnalysisOptions;
use super::sample::{ArmStatistic, ByArm, MetricRole, MetricSample};
use super::selection::FalseCoverage;
use super::sequential::{AlwaysValid, always_valid};
use crate::error::Result;
use crate::stats::{Comparison, Estimate};

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

/// Each other arm against the control.
pub(crate) fn compare_arms(
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
pub(crate) fn all_pairs(
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

/// Adjusts p values: over all arms and metrics, guardrails apart (they are there to alarm); and for each metric over all
/// its segments.
pub(crate) fn adjust(metrics: &mut [MetricAnalysis], options: &AnalysisOptions) -> Result<()> {
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
