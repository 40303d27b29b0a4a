//! Can the experiment be trusted? Checks that come before any result is believed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::options::AnalysisOptions;
use super::sample::ExperimentSample;
use crate::error::Result;
use crate::stats::sample_ratio_test;

/// Below this p value a sample ratio is a mismatch: chance alone gives one experiment in a thousand such counts.
const MISMATCH: f64 = 0.001;
/// Below this p value it is worth a look.
const SUSPICIOUS: f64 = 0.01;
/// Arms whose sizes differ by more than this factor were hardly meant to be equal.
const PLAINLY_UNEQUAL: f64 = 1.5;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing to see.
    Ok,
    /// Worth a look.
    Warn,
    /// The result is not to be trusted.
    Fail,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// What is checked, such as `sample_ratio`.
    pub check: Cow<'static, str>,
    /// At which stage of the message's way, where that matters: `assigned`, `sent`, `delivered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Cow<'static, str>>,
    /// The test's p value, where there is a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, with the numbers.
    pub detail: String,
}

impl Check {
    pub(crate) fn new(check: &'static str, verdict: Verdict, detail: String) -> Self {
        Self { check: Cow::Borrowed(check), stage: None, p_value: None, verdict, detail }
    }
}

/// All checks of an experiment: the sample ratio at each stage, and those that the source made.
pub(crate) fn checks(sample: &ExperimentSample, options: &AnalysisOptions) -> Result<Vec<Check>> {
    let mut checks = vec![sample_ratio(sample, options, "assigned", &sample.arms)?];
    for (stage, counts) in &sample.stages {
        let units: Vec<(String, u64)> =
            sample.arms.iter().map(|(arm, _)| (arm.clone(), counts.get(arm).copied().unwrap_or(0))).collect();
        checks.push(sample_ratio(sample, options, stage, &units)?);
    }
    checks.extend(sample.checks.iter().cloned());
    Ok(checks)
}

fn sample_ratio(
    sample: &ExperimentSample,
    options: &AnalysisOptions,
    stage: &str,
    arms: &[(String, u64)],
) -> Result<Check> {
    let check = |p_value, verdict, detail| Check {
        check: "sample_ratio".into(),
        stage: Some(stage.to_owned().into()),
        p_value,
        verdict,
        detail,
    };
    let counts: Vec<u64> = arms.iter().map(|(_, n)| *n).collect();
    let shown = arms.iter().map(|(arm, n)| format!("{arm} {n}")).collect::<Vec<_>>().join(", ");
    if arms.len() < 2 || counts.iter().sum::<u64>() == 0 {
        return Ok(check(None, Verdict::Warn, format!("{shown}: nothing to compare")));
    }
    let planned = if options.allocation.is_empty() { &sample.allocation } else { &options.allocation };
    let weights: Vec<f64> = if planned.is_empty() {
        vec![1.0; arms.len()]
    } else {
        arms.iter()
            .map(|(arm, _)| planned.iter().find(|(name, _)| name == arm).map_or(0.0, |(_, share)| *share))
            .collect()
    };
    if planned.is_empty() && plainly_unequal(&counts) {
        let detail = format!(
            "{shown}: the planned shares are not known and the arms are far from equal; give --allocation to test them"
        );
        return Ok(check(None, Verdict::Warn, detail));
    }
    let test = sample_ratio_test(&counts, &weights)?;
    let verdict = if test.p_value < MISMATCH {
        Verdict::Fail
    } else if test.p_value < SUSPICIOUS {
        Verdict::Warn
    } else {
        Verdict::Ok
    };
    let plan = if planned.is_empty() { "equal shares" } else { "the planned shares" };
    let detail = match verdict {
        Verdict::Ok => format!("{shown}: agrees with {plan}"),
        Verdict::Warn | Verdict::Fail => {
            format!("{shown}: does not agree with {plan} (chi-square {:.1})", test.statistic.unwrap_or(f64::INFINITY))
        }
    };
    Ok(check(Some(test.p_value), verdict, detail))
}

#[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
fn plainly_unequal(counts: &[u64]) -> bool {
    let (Some(most), Some(fewest)) = (counts.iter().max(), counts.iter().min()) else { return false };
    *most as f64 > *fewest as f64 * PLAINLY_UNEQUAL
}
