//! Arms held against one another: the headline test and all that was asked for beside it, adjusted for their number.
//!
//! Enters: the statistics of a metric by arm. Leaves: an [`ArmsComparison`] for each pair, whose parts are made in files of
//! their own (`exact`, `sequential`, `bayesian`, `margins`, `on_delivered`, `selection`).

use serde::Serialize;

use super::adjusted::{AdjustedResult, adjusted_for_covariates, post_stratified};
use super::among_reached::EffectAmongReached;
use super::analysis::MetricAnalysis;
use super::bayesian::{BayesianComparison, outlook_against};
use super::exact::{ExactResult, Place, exact};
use super::margins::{EquivalenceResult, HeldAgainst, MarginResult, hold_against_margin, hold_within_margin};
use super::on_delivered::{EffectOnDelivered, effect_on_delivered};
use super::options::AnalysisOptions;
use super::sample::{ByArm, MetricRole, MetricSample};
use super::selection::FalseCoverage;
use super::sequential::{AlwaysValid, PlannedLook, always_valid, at_planned_look};
use super::statistic::{ArmStatistic, lift_of_logarithms};
use crate::error::Result;
use crate::stats::proportion::newcombe_interval;
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
    /// Of shares, the difference with Newcombe's interval (1998, method 10) beside the headline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newcombe: Option<Estimate>,
    /// Exact, where a share's counts are too small for the headline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactResult>,
    /// Adjusted for what was known of the units before: CUPED or Lin's regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjusted: Option<AdjustedResult>,
    /// Adjusted by strata, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_stratified: Option<AdjustedResult>,
    /// What holds at this look among those of a plan, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_look: Option<PlannedLook>,
    /// What holds at every look, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always_valid: Option<AlwaysValid>,
    /// The Bayesian reading, where it was asked for and the data say how sure to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bayesian: Option<BayesianComparison>,
    /// Whether the arm is not worse by a margin, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<MarginResult>,
    /// Whether the arm is the same as the control within a margin, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equivalence: Option<EquivalenceResult>,
    /// Intervals that allow for its having been picked, where it was significant among others that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_coverage: Option<FalseCoverage>,
    /// Bounds on the effect among those whom both arms reach, a secondary, where delivery differs and only the delivered can
    /// respond.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub among_reached: Option<EffectAmongReached>,
    /// The effect on the delivered, a secondary, where the control was hardly delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complier: Option<EffectOnDelivered>,
}

/// The result on which a decision rests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deciding<'a> {
    /// Adjusted for the comparisons that belong together.
    pub(crate) p_value: Option<f64>,
    /// With its interval; that of the headline where the deciding test has none.
    pub(crate) difference: &'a Estimate,
    /// What the p value is called.
    pub(crate) name: &'static str,
    /// The odds ratio, where the interval that agrees with the p value is its and not the difference's.
    pub(crate) odds_ratio: Option<&'a Estimate>,
}

impl ArmsComparison {
    /// The result that decides: that of the planned look or the always-valid one where they were asked for, else the
    /// exact one where counts are small, else the adjusted one where the analyst named what to adjust for.
    pub(crate) fn deciding(&self) -> Deciding<'_> {
        if let Some(found) = &self.planned_look {
            return Deciding {
                p_value: found.p_value_adjusted,
                difference: &found.difference,
                name: "repeated adjusted p",
                odds_ratio: None,
            };
        }
        if let Some(found) = &self.always_valid {
            return Deciding {
                p_value: found.p_value_adjusted,
                difference: &found.difference,
                name: "always-valid adjusted p",
                odds_ratio: None,
            };
        }
        self.of_fixed_sample()
    }

    /// The result that decides where nobody looks before the end.
    pub(crate) fn of_fixed_sample(&self) -> Deciding<'_> {
        let headline = &self.comparison.difference;
        if let Some(found) = self.deciding_exact() {
            let difference = found.difference.as_ref().unwrap_or(headline);
            return Deciding {
                p_value: found.p_value_adjusted,
                difference,
                name: "exact adjusted p",
                odds_ratio: found.odds_ratio.as_ref().filter(|_| found.difference.is_none()),
            };
        }
        if let Some((found, name)) = self.deciding_adjustment() {
            let difference = &found.difference;
            return Deciding { p_value: found.p_value_adjusted, difference, name, odds_ratio: None };
        }
        Deciding { p_value: self.p_value_adjusted, difference: headline, name: "adjusted p", odds_ratio: None }
    }

    /// The exact result where it decides among those of a fixed sample.
    fn deciding_exact(&self) -> Option<&ExactResult> {
        self.exact.as_ref().filter(|found| found.p_value.is_some())
    }

    /// The adjusted result where it decides among those of a fixed sample, and what its p value is called.
    fn deciding_adjustment(&self) -> Option<(&AdjustedResult, &'static str)> {
        let adjusted = [
            (&self.adjusted, "covariate-adjusted, adjusted p"),
            (&self.post_stratified, "post-stratified, adjusted p"),
        ];
        let mut deciding = adjusted.into_iter().filter_map(|(found, name)| Some((found.as_ref()?, name)));
        deciding.find(|(found, _)| found.decides && self.deciding_exact().is_none())
    }

    /// The lift beside the difference on which a decision rests; that of the headline where the deciding test has none, as of
    /// planned looks and of exact tests.
    pub(crate) fn deciding_lift(&self) -> &Estimate {
        match (&self.planned_look, &self.always_valid) {
            (None, Some(found)) => &found.lift,
            _ => self.deciding_adjustment().map_or(&self.comparison.lift, |(found, _)| &found.lift),
        }
    }

    /// What a margin is held against.
    fn held_against_margins(&self) -> HeldAgainst<'_> {
        HeldAgainst {
            comparison: &self.comparison,
            adjusted: self.deciding_adjustment().map(|(found, _)| &found.effect),
            exact: self.exact.as_ref(),
            always_valid: self.always_valid.as_ref(),
            planned_look: self.planned_look.as_ref(),
        }
    }

    /// The p value that decides, adjusted for the comparisons that belong together.
    #[must_use]
    pub fn decisive_p_value(&self) -> Option<f64> {
        self.deciding().p_value
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
    let of_arm = |arm: &str| arms.get(arm).unwrap_or(&empty);
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
    let of_arm = |arm: &str| metric.overall.get(arm).unwrap_or(&empty);
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
    (control, baseline): (&str, &ArmStatistic),
    (arm, treated): (&str, &ArmStatistic),
    options: &AnalysisOptions,
) -> Result<ArmsComparison> {
    let alpha = options.alpha;
    let mut comparison = ArmStatistic::compare_with(baseline, treated, options.proportions.correction, alpha)?;
    if metric.cut.is_some() {
        comparison.method = format!("{}; values above one limit for all arms cut to it", comparison.method);
    }
    let overall = place == Place::Overall;
    let adjusted = if overall { adjusted_for_covariates(metric, control, arm, alpha)? } else { None };
    let post_stratified =
        if overall { post_stratified(metric, options.strata.as_deref(), control, arm, alpha)? } else { None };
    let mut always = None;
    if let Some(planned_units) = options.sequential {
        always = always_valid(baseline, treated, planned_units, alpha)?;
        let named = [&adjusted, &post_stratified].into_iter().flatten().find(|found| found.decides);
        if let (Some(named), Some(always)) = (named, &mut always) {
            always.adjust(named, (baseline, treated), alpha)?;
        }
    }
    let bayesian = if options.bayesian {
        let higher_is_better = !metric.lower_is_better;
        outlook_against(metric.kind, baseline, treated, higher_is_better, alpha)?
    } else {
        None
    };
    let exact = exact(baseline, treated, place, options.proportions.exact, alpha)?;
    let newcombe = match (baseline, treated) {
        (ArmStatistic::Proportion(control), ArmStatistic::Proportion(treatment)) if overall => {
            let interval = newcombe_interval(*control, *treatment, alpha)?;
            Some(Estimate::from_parts(comparison.difference.estimate, interval))
        }
        _ => None,
    };
    let mut found = ArmsComparison {
        arm: arm.to_owned(),
        control: control.to_owned(),
        p_value_adjusted: comparison.p_value,
        comparison,
        newcombe,
        exact,
        adjusted,
        post_stratified,
        planned_look: None,
        always_valid: always,
        bayesian,
        margin: None,
        equivalence: None,
        false_coverage: None,
        among_reached: None,
        complier: if overall { effect_on_delivered(metric, control, arm, alpha)? } else { None },
    };
    if matches!(baseline, ArmStatistic::Logarithm(_)) {
        // A lift of logarithms is that of the geometric mean, whichever way the difference was found.
        for adjusted in [&mut found.adjusted, &mut found.post_stratified].into_iter().flatten() {
            adjusted.lift = lift_of_logarithms(&adjusted.difference);
        }
        if let Some(always) = &mut found.always_valid {
            always.lift = lift_of_logarithms(&always.difference);
        }
    }
    if let Some(looks) = options.looks.as_ref().filter(|_| overall) {
        let fixed = found.of_fixed_sample();
        found.planned_look = at_planned_look(looks, fixed.difference, fixed.p_value, alpha)?;
    } else if options.sequential.is_some() {
        // The sequence decides, of the adjusted difference where that was asked for.
        for adjusted in [&mut found.adjusted, &mut found.post_stratified].into_iter().flatten() {
            adjusted.decides = false;
        }
    }
    if overall {
        let (left, right) = ((control, baseline), (arm, treated));
        let margin = metric.margin.as_ref();
        found.margin = margin
            .map(|spec| hold_against_margin(spec, metric, left, right, found.held_against_margins(), alpha))
            .transpose()?;
        let equivalence = metric.equivalence.as_ref();
        found.equivalence = equivalence
            .map(|spec| hold_within_margin(spec, metric, left, right, found.held_against_margins(), alpha))
            .transpose()?;
    }
    Ok(found)
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
    let headline = options.correction.adjust(&headline)?;
    for (comparison, adjusted) in family.iter_mut().zip(headline) {
        comparison.p_value_adjusted = adjusted;
    }
    // Each other way of testing is a family of its own; where a comparison has not got it, its headline stands in.
    adjust_kind(family, options, |comparison| {
        comparison.exact.as_mut().map(|found| (found.p_value, &mut found.p_value_adjusted))
    })?;
    adjust_kind(family, options, |comparison| {
        comparison.adjusted.as_mut().map(|found| (found.p_value, &mut found.p_value_adjusted))
    })?;
    adjust_kind(family, options, |comparison| {
        comparison.post_stratified.as_mut().map(|found| (found.p_value, &mut found.p_value_adjusted))
    })?;
    adjust_kind(family, options, |comparison| {
        comparison.planned_look.as_mut().map(|found| (found.repeated_p_value, &mut found.p_value_adjusted))
    })?;
    adjust_kind(family, options, |comparison| {
        comparison.always_valid.as_mut().map(|found| (found.p_value, &mut found.p_value_adjusted))
    })
}

/// A p value, and where it is to stand once adjusted.
type PValues<'a> = (Option<f64>, &'a mut Option<f64>);

fn adjust_kind(
    family: &mut [&mut ArmsComparison],
    options: &AnalysisOptions,
    of: impl for<'a> Fn(&'a mut ArmsComparison) -> Option<PValues<'a>>,
) -> Result<()> {
    let mut found = Vec::with_capacity(family.len());
    for comparison in family.iter_mut() {
        let headline = comparison.comparison.p_value;
        found.push(of(comparison).map_or(headline, |(p_value, _)| p_value));
    }
    for (comparison, adjusted) in family.iter_mut().zip(options.correction.adjust(&found)?) {
        if let Some((_, place)) = of(comparison) {
            *place = adjusted;
        }
    }
    Ok(())
}
