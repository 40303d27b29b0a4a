//! Results adjusted for what was known of the units before the experiment.
//!
//! Enters: for each arm the cross moments of a metric and its covariates, or its moments in each stratum. Leaves: the
//! difference, the lift and the test of the adjusted values, and how much variance that removed. One covariate is
//! CUPED's, several are Lin's regression; groups are post-stratified.
//!
//! A covariate must have been known before the assignment: what the messages themselves can change would take part of
//! their effect away.

use serde::Serialize;

use super::metric::MetricKind;
use super::sample::{Covariates, MetricSample};
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::adjust::Stratum;
use crate::stats::{
    Adjusted, CrossMoments, Effect, Estimate, Outcome, Slopes, compare_adjusted, compare_adjusted_units,
    compare_post_stratified,
};

/// A comparison adjusted for what was known before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdjustedResult {
    /// The difference, in the metric's own units.
    pub difference: Estimate,
    /// The lift.
    pub lift: Estimate,
    /// Its p value.
    pub p_value: Option<f64>,
    /// The same, adjusted for the comparisons that belong together.
    pub p_value_adjusted: Option<f64>,
    /// The share of the variance of the difference that the adjustment removed: 0.5 is as good as twice the units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance_reduction: Option<f64>,
    /// What it is adjusted for.
    pub covariates: Vec<String>,
    /// Whether the decision rests on it: where the analyst named what to adjust for.
    pub decides: bool,
    /// The method, in words.
    pub method: String,
    /// What all that was made of, to be held against a margin.
    #[serde(skip)]
    pub(crate) effect: Effect,
    /// What was left out, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Adjusts for the covariates of a metric; none without any.
pub(crate) fn adjusted_for_covariates(
    metric: &MetricSample,
    control: &str,
    arm: &str,
    alpha: f64,
) -> Result<Option<AdjustedResult>> {
    let Some(covariates) = &metric.covariates else { return Ok(None) };
    let empty = CrossMoments::default();
    let of_arm = |arm: &str| covariates.moments.get(arm).unwrap_or(&empty);
    let outcome = if metric.kind == MetricKind::Ratio { Outcome::Ratio } else { Outcome::Mean };
    let found = if let (Some(control), Some(treatment)) = (rows_of(covariates, control), rows_of(covariates, arm)) {
        compare_adjusted_units(&control, &treatment, alpha)?
    } else {
        let one_mean = covariates.names.len() == 1 && outcome == Outcome::Mean;
        let slopes = if one_mean { Slopes::Common } else { Slopes::ByArm };
        compare_adjusted(of_arm(control), of_arm(arm), outcome, slopes, alpha)?
    };
    Ok(Some(result_of(found, covariates)))
}

fn rows_of<'a>(covariates: &'a Covariates, arm: &str) -> Option<Vec<&'a [f64]>> {
    let values = covariates.units.get(arm)?;
    Some(values.chunks_exact(1 + covariates.names.len()).collect())
}

fn result_of(found: Adjusted, covariates: &Covariates) -> AdjustedResult {
    let named = |places: &[usize]| -> Vec<String> {
        places.iter().filter_map(|place| covariates.names.get(*place)).cloned().collect()
    };
    let left_out: Vec<String> = [
        ("as constant in an arm or a combination of others", &found.covariates_without_use),
        ("as more than the units or the method allow", &found.covariates_beyond_the_limit),
    ]
    .into_iter()
    .filter(|(_, places)| !places.is_empty())
    .map(|(why, places)| format!("covariates left out {why}: {}", named(places).join(", ")))
    .collect();
    let used = named(&found.covariates_used);
    AdjustedResult {
        difference: found.comparison.difference,
        lift: found.comparison.lift,
        p_value: found.comparison.p_value,
        p_value_adjusted: found.comparison.p_value,
        variance_reduction: found.variance_removed,
        covariates: used,
        decides: covariates.named && found.variance_removed.is_some(),
        method: found.comparison.method,
        effect: found.effect,
        note: if left_out.is_empty() { found.note } else { Some(left_out.join("; ")) },
    }
}

/// Post-stratifies by the values of a column; none where the metric has no strata.
pub(crate) fn post_stratified(
    metric: &MetricSample,
    column: Option<&str>,
    control: &str,
    arm: &str,
    alpha: f64,
) -> Result<Option<AdjustedResult>> {
    // A ratio or a quantile of all is no mean of those of the strata.
    let is_mean = matches!(metric.kind, MetricKind::Proportion | MetricKind::Mean);
    let Some(column) = column.filter(|_| is_mean && !metric.strata.is_empty()) else { return Ok(None) };
    let mut strata = Vec::with_capacity(metric.strata.len());
    for arms in metric.strata.values() {
        let of_arm =
            |arm: &str| arms.get(arm).map_or_else(|| Ok(crate::stats::Moments::default()), ArmStatistic::moments);
        strata.push(Stratum { control: of_arm(control)?, treatment: of_arm(arm)? });
    }
    let found = compare_post_stratified(&strata, alpha)?;
    Ok(Some(AdjustedResult {
        difference: found.comparison.difference,
        lift: found.comparison.lift,
        p_value: found.comparison.p_value,
        p_value_adjusted: found.comparison.p_value,
        variance_reduction: found.variance_removed,
        covariates: vec![column.to_owned()],
        decides: !metric.covariates.as_ref().is_some_and(|covariates| covariates.named)
            && found.variance_removed.is_some(),
        method: found.comparison.method,
        effect: found.effect,
        note: found.note,
    }))
}
