//! Were the arms alike before the first message? Covariates by arm, and columns on which the arm may depend.

use std::collections::BTreeMap;

use super::checks::{Check, Verdict};
use super::metric::MetricKind;
use super::sample::{ByArm, ExperimentSample, MetricSample};
use crate::error::Result;
use crate::stats::CrossMoments;
use crate::stats::imbalance::{BALANCE_ALPHA, BalanceVerdict, CategoryBalance, category_balance, covariate_balance};

/// By which the arms are looked at where the log tells it.
pub(crate) const DAY_OF_ASSIGNMENT: &str = "day of the assignment";

/// All that the sample tells of the time before the assignment. The columns by which the results are post-stratified may
/// well have planned shares of their own: of these only that each value has units of every arm is asked, and what other columns
/// tell of the arm may come from there.
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
    if let Some(strata) = strata {
        checks.extend(of_strata(strata, &counts_by_arm(sample, first.strata.values()))?);
    }
    let others =
        sample.contact_columns.iter().filter(|(name, _)| !segments.contains(name) && Some(name.as_str()) != strata);
    checks.extend(of_contacts(&others.collect::<Vec<_>>(), strata.is_some())?);
    Ok(checks)
}

/// One check of all columns of the contacts that nobody named, and one more for each that tells the arm.
fn of_contacts(columns: &[&(String, Vec<Vec<u64>>)], are_stratified: bool) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let mut alike = Vec::new();
    for (name, counts) in columns {
        if counts.len() < 2 {
            continue;
        }
        let found = category_balance(counts)?;
        // Many columns are looked at (Bonferroni).
        #[allow(clippy::cast_precision_loss)] // A few columns.
        let by_chance = found.p_value.is_none_or(|p_value| p_value * columns.len() as f64 >= BALANCE_ALPHA);
        let verdict = match found.verdict {
            BalanceVerdict::Imbalanced if by_chance => BalanceVerdict::Balanced,
            // Where shares were planned by a stratum, what goes with the stratum goes with the arm.
            BalanceVerdict::NotRandomised if are_stratified => BalanceVerdict::Imbalanced,
            verdict => verdict,
        };
        if matches!(verdict, BalanceVerdict::Imbalanced | BalanceVerdict::NotRandomised) {
            checks.push(column_check(name, &found, verdict));
        } else {
            alike.push(name.as_str());
        }
    }
    if !alike.is_empty() {
        let detail = format!("arm by {}: no more than chance gives", alike.join(", "));
        checks.push(Check::new("arm_by_column", Verdict::Ok, detail));
    }
    Ok(checks)
}

/// Whether every stratum of some size has units of every arm: one that has not compares nothing, and what it adds to one arm
/// is no effect.
fn of_strata(column: &str, counts: &[Vec<u64>]) -> Result<Option<Check>> {
    if counts.len() < 2 {
        return Ok(None);
    }
    let found = category_balance(counts)?;
    if found.determined.is_empty() {
        return Ok(None);
    }
    let units: u64 = found.determined.iter().map(|category| category.units).sum();
    let detail = format!(
        "{} values of {column} with {units} units have units of one arm alone: they cannot be compared, and weighing strata does \
         not make up for it. Leave these units out, or stratify by what was drawn by",
        found.determined.len()
    );
    Ok(Some(Check::new("strata_overlap", Verdict::Fail, detail)))
}

/// Units by arm, a row for each.
fn counts_by_arm<'a>(sample: &ExperimentSample, values: impl Iterator<Item = &'a ByArm>) -> Vec<Vec<u64>> {
    let count = |arms: &ByArm, arm: &str| arms.get(arm).map_or(0, super::statistic::ArmStatistic::randomised_units);
    values.map(|arms| sample.arms.iter().map(|(arm, _)| count(arms, arm)).collect()).collect()
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
    let worst = worst.unwrap_or_else(|| "nothing varies within an arm".to_owned());
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
    let counts = counts_by_arm(sample, values);
    if counts.len() < 2 || sample.arms.len() < 2 {
        return Ok(None);
    }
    let found = category_balance(&counts)?;
    Ok(Some(column_check(column, &found, found.verdict)))
}

fn column_check(column: &str, found: &CategoryBalance, verdict: BalanceVerdict) -> Check {
    let (verdict, words) = words(verdict);
    let explained = found.share_explained.unwrap_or(0.0) * 100.0;
    let size = found.cramers_v.map(|v| format!("Cramér's V {v:.3}, ")).unwrap_or_default();
    let advice = if verdict == Verdict::Fail && column == DAY_OF_ASSIGNMENT {
        ". Leave out the days on which not all arms were drawn".to_owned()
    } else if verdict == Verdict::Fail {
        format!(". If shares were planned by {column}, give --post-stratify {column}")
    } else {
        String::new()
    };
    let detail = format!("arm by {column}: {size}it tells {explained:.1} % of the arm; {words}{advice}");
    let mut check = Check::new("arm_by_column", verdict, detail);
    check.p_value = found.p_value;
    check
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
