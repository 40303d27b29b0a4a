//! Were the arms alike before the first message? Covariates by arm, and columns on which the arm may depend.

use std::collections::BTreeMap;

use super::checks::{Check, Verdict};
use super::metric::MetricKind;
use super::sample::{ByArm, ExperimentSample, MetricSample};
use crate::error::Result;
use crate::stats::CrossMoments;
use crate::stats::imbalance::{BalanceVerdict, category_balance, covariate_balance};

/// All that the sample tells of the time before the assignment. A column by which the results are post-stratified may
/// well have planned shares of its own, and is left out.
pub(crate) fn balance_checks(
    sample: &ExperimentSample,
    segments: &[String],
    strata: Option<&str>,
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut known: Vec<&[String]> = Vec::new();
    for metric in &sample.metrics {
        let Some(covariates) = &metric.covariates else { continue };
        if known.contains(&covariates.names.as_slice()) {
            continue;
        }
        known.push(&covariates.names);
        checks.extend(of_covariates(sample, metric)?);
    }
    let Some(first) = sample.metrics.first() else { return Ok(checks) };
    for column in segments.iter().filter(|column| Some(column.as_str()) != strata) {
        let values = first.segments.iter().filter(|((name, value), _)| name == column && value.is_some());
        checks.extend(of_column(sample, column, values.map(|(_, arms)| arms))?);
    }
    Ok(checks)
}

fn of_covariates(sample: &ExperimentSample, metric: &MetricSample) -> Result<Option<Check>> {
    let Some(covariates) = &metric.covariates else { return Ok(None) };
    let outcome = if metric.kind == MetricKind::Ratio { 2 } else { 1 };
    let arms: Vec<CrossMoments> = sample
        .arms
        .iter()
        .map(|(arm, _)| covariates.moments.get(arm).map_or_else(CrossMoments::default, |found| without(found, outcome)))
        .collect();
    if arms.len() < 2 || arms.iter().any(|arm| arm.n < 2) {
        return Ok(None);
    }
    let found = covariate_balance(&arms)?;
    let worst = found
        .differences
        .iter()
        .max_by(|left, right| size(left.standardised_difference).total_cmp(&size(right.standardised_difference)));
    let worst = worst.and_then(|worst| {
        let name = covariates.names.get(worst.covariate)?;
        let (arm, _) = sample.arms.get(worst.arm)?;
        Some(format!("{name} of {arm} is {:+.3} standard deviations off", worst.standardised_difference?))
    });
    let worst = worst.unwrap_or_else(|| "nothing varies".to_owned());
    let (verdict, words) = words(found.verdict);
    let mut check =
        Check::new("pre_experiment_balance", verdict, format!("{}: {worst}; {words}", covariates.names.join(", ")));
    check.p_value = found.p_value;
    Ok(Some(check))
}

fn size(difference: Option<f64>) -> f64 {
    difference.map_or(0.0, f64::abs)
}

fn words(verdict: BalanceVerdict) -> (Verdict, &'static str) {
    match verdict {
        BalanceVerdict::Balanced => (Verdict::Ok, "no more than chance gives"),
        BalanceVerdict::Imbalanced => {
            (Verdict::Warn, "more than chance gives: adjust for it, and look for what the assignment went by")
        }
        BalanceVerdict::NotRandomised => {
            (Verdict::Fail, "the arms were not drawn at random: differences between them are no effect of the messages")
        }
        BalanceVerdict::CannotTell => (Verdict::Ok, "too little to tell"),
    }
}

fn of_column<'a>(
    sample: &ExperimentSample,
    column: &str,
    values: impl Iterator<Item = &'a ByArm>,
) -> Result<Option<Check>> {
    let count = |arms: &ByArm, arm: &str| arms.get(arm).map_or(0, super::statistic::ArmStatistic::randomised_units);
    let counts: Vec<Vec<u64>> =
        values.map(|arms| sample.arms.iter().map(|(arm, _)| count(arms, arm)).collect()).collect();
    if counts.len() < 2 || sample.arms.len() < 2 {
        return Ok(None);
    }
    let found = category_balance(&counts)?;
    let (verdict, words) = words(found.verdict);
    let explained = found.share_explained.unwrap_or(0.0) * 100.0;
    let size = found.cramers_v.map(|v| format!("Cramér's V {v:.3}, ")).unwrap_or_default();
    let advice = if verdict == Verdict::Fail {
        format!(". If shares were planned by {column}, give --post-stratify {column}")
    } else {
        String::new()
    };
    let detail = format!("arm by {column}: {size}it tells {explained:.1} % of the arm; {words}{advice}");
    let mut check = Check::new("arm_by_column", verdict, detail);
    check.p_value = found.p_value;
    Ok(Some(check))
}

/// The moments of the columns after the first ones.
fn without(moments: &CrossMoments, columns: usize) -> CrossMoments {
    let width = moments.means.len();
    let kept = columns.min(width)..width;
    let products = kept.clone().flat_map(|row| kept.clone().map(move |column| (row, column)));
    CrossMoments {
        n: moments.n,
        means: moments.means.get(kept.clone()).map(<[f64]>::to_vec).unwrap_or_default(),
        products: products.map(|(row, column)| moments.product(row, column)).collect(),
    }
}

/// Statistics of either half of the units by the values of a column.
pub(crate) type Halves = BTreeMap<Option<String>, [ByArm; 2]>;
