//! Can the experiment be trusted? Checks that come before any result is believed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::options::AnalysisOptions;
use super::sample::ExperimentSample;
use crate::error::Result;
use crate::stats::{Proportion, anytime_sample_ratio_test, compare_proportions, sample_ratio_test};

/// Below this p value a sample ratio is a mismatch: chance alone gives one experiment in a thousand such counts.
pub(super) const MISMATCH: f64 = 0.001;
/// Below this p value it is worth a look.
const SUSPICIOUS: f64 = 0.01;
/// Arms whose sizes differ by more than this factor were hardly meant to be equal.
const PLAINLY_UNEQUAL: f64 = 1.5;

/// Units' worth of belief in the planned shares before the first look of the anytime test.
const ANYTIME_CONCENTRATION: f64 = 100.0;

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
    let mut assigned = sample.arms.clone();
    // An arm that was planned and that nobody is in is the plainest mismatch.
    assigned.extend(planned(sample, options).iter().filter_map(|(arm, share)| {
        let mut known = sample.arms.iter().chain(&sample.kept_apart);
        let is_missing = *share > 0.0 && !known.any(|(known, _)| known == arm);
        is_missing.then(|| (arm.clone(), 0))
    }));
    let mut checks = vec![sample_ratio(sample, options, "assigned", &assigned)?];
    let sent = sample.stages.iter().find(|(stage, _)| stage == "sent").map(|(_, counts)| counts);
    // An arm to which nothing was sent at all is one that was to get nothing.
    let gets_nothing = |arm: &str| sent.is_some_and(|sent| sent.get(arm).copied().unwrap_or(0) == 0);
    for (stage, counts) in &sample.stages {
        let units: Vec<(String, u64)> = sample
            .arms
            .iter()
            .filter(|(arm, _)| !gets_nothing(arm))
            .map(|(arm, _)| (arm.clone(), counts.get(arm).copied().unwrap_or(0)))
            .collect();
        if units.len() > 1 || sample.arms.iter().all(|(arm, _)| gets_nothing(arm)) {
            checks.push(of_stage(sample_ratio(sample, options, stage, &units)?, stage));
        }
    }
    if options.sequential.is_some() || options.path.is_some() {
        checks.extend(anytime_sample_ratio(sample, options)?);
    }
    checks.extend(differential_delivery(sample)?);
    checks.extend(sample.checks.iter().cloned());
    Ok(checks)
}

/// What carriers deliver is what becomes of the units and no part of the draw: all who were assigned count, and stay those
/// that were drawn.
fn of_stage(mut check: Check, stage: &str) -> Check {
    if stage == "delivered" && check.verdict == Verdict::Fail {
        check.verdict = Verdict::Warn;
        check
            .detail
            .push_str("; all who were assigned count, so that the headline stays fair: see differential_delivery");
    }
    check
}

/// The planned shares by arm; nothing where nothing was planned.
fn planned<'a>(sample: &'a ExperimentSample, options: &'a AnalysisOptions) -> &'a [(String, f64)] {
    if options.allocation.is_empty() { &sample.allocation } else { &options.allocation }
}

/// The planned weights of some arms, in their order; none where nothing was planned.
fn planned_weights(sample: &ExperimentSample, options: &AnalysisOptions, arms: &[(String, u64)]) -> Option<Vec<f64>> {
    let planned = planned(sample, options);
    let share = |arm: &str| planned.iter().find(|(name, _)| name == arm).map_or(0.0, |(_, share)| *share);
    (!planned.is_empty()).then(|| arms.iter().map(|(arm, _)| share(arm)).collect())
}

/// The sample ratio by a test that may be looked at every day.
fn anytime_sample_ratio(sample: &ExperimentSample, options: &AnalysisOptions) -> Result<Option<Check>> {
    let counts: Vec<u64> = sample.arms.iter().map(|(_, n)| *n).collect();
    let known = planned_weights(sample, options, &sample.arms);
    // Units of an arm without a share have failed the plain check already.
    let has_unplanned = known.as_ref().is_some_and(|weights| weights.iter().any(|weight| *weight <= 0.0));
    if has_unplanned
        || counts.len() < 2
        || counts.iter().sum::<u64>() == 0
        || (known.is_none() && plainly_unequal(&counts))
    {
        return Ok(None);
    }
    let plan = if known.is_none() { "equal shares" } else { "the planned shares" };
    let weights = known.unwrap_or_else(|| vec![1.0; counts.len()]);
    let look = anytime_sample_ratio_test(&counts, &weights, ANYTIME_CONCENTRATION)?;
    let (verdict, words) = if look.p_value < MISMATCH {
        (Verdict::Fail, format!("does not agree with {plan}, however often it was looked at"))
    } else {
        (Verdict::Ok, format!("agrees with {plan}, looked at as often as one likes"))
    };
    let shown = shown(sample.arms.iter().map(|(arm, n)| (arm, *n)));
    let mut check = Check::new("sample_ratio_anytime", verdict, format!("{shown}: {words}"));
    check.stage = Some("assigned".into());
    check.p_value = Some(look.p_value);
    Ok(Some(check))
}

/// Whether the arms that were sent to were delivered to alike: carriers filter texts. The headline, of all assigned
/// units, stays fair; what is told per delivered message does not.
fn differential_delivery(sample: &ExperimentSample) -> Result<Option<Check>> {
    let stage = |name: &str| sample.stages.iter().find(|(stage, _)| stage == name).map(|(_, counts)| counts);
    let (Some(sent), Some(delivered)) = (stage("sent"), stage("delivered")) else { return Ok(None) };
    let rates: Vec<(&str, Proportion)> = sample
        .arms
        .iter()
        .filter_map(|(arm, _)| {
            let n = sent.get(arm).copied().filter(|n| *n > 0)?;
            let reached = delivered.get(arm).copied().unwrap_or(0).min(n);
            Some((arm.as_str(), Proportion::new(n, reached).ok()?))
        })
        .collect();
    let rate = |found: &Proportion| found.rate().unwrap_or(0.0);
    let ordered = |left: &&(&str, Proportion), right: &&(&str, Proportion)| rate(&left.1).total_cmp(&rate(&right.1));
    let (Some(least), Some(most)) = (rates.iter().min_by(ordered), rates.iter().max_by(ordered)) else {
        return Ok(None);
    };
    if rates.len() < 2 {
        return Ok(None);
    }
    // The two farthest apart of several arms: Bonferroni over the pairs.
    let comparison = compare_proportions(least.1, most.1, 0.05)?;
    #[allow(clippy::cast_precision_loss)] // Arms are few.
    let pairs = (rates.len() * (rates.len() - 1) / 2) as f64;
    let p_value = comparison.p_value.map(|p_value| (p_value * pairs).min(1.0));
    let gap = (rate(&most.1) - rate(&least.1)) * 100.0;
    let shown: Vec<String> = rates.iter().map(|(arm, found)| format!("{arm} {:.2} %", rate(found) * 100.0)).collect();
    let differs = p_value.is_some_and(|p_value| p_value < MISMATCH);
    let detail = if differs {
        format!(
            "of those sent to, {}: {} reaches {gap:.2} points more than {}; a carrier may filter a text. All assigned count in the \
             headline, which stays fair; nothing per delivered message does",
            shown.join(", "),
            most.0,
            least.0
        )
    } else {
        format!("of those sent to, {}: no difference to speak of", shown.join(", "))
    };
    let mut check = Check::new("differential_delivery", if differs { Verdict::Warn } else { Verdict::Ok }, detail);
    check.p_value = p_value;
    Ok(Some(check))
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
    let shown = shown(arms.iter().map(|(arm, n)| (arm, *n)));
    if arms.len() < 2 || counts.iter().sum::<u64>() == 0 {
        return Ok(check(None, Verdict::Warn, format!("{shown}: nothing to compare")));
    }
    let planned = planned_weights(sample, options, arms);
    if planned.is_none() && plainly_unequal(&counts) {
        let detail = format!(
            "{shown}: the planned shares are not known and the arms are far from equal; give --allocation to test them"
        );
        return Ok(check(None, Verdict::Warn, detail));
    }
    if let Some(weights) = &planned {
        let unplanned: Vec<&str> = arms
            .iter()
            .zip(weights)
            .filter(|((_, n), weight)| *n > 0 && **weight <= 0.0)
            .map(|((arm, _), _)| arm.as_str())
            .collect();
        if !unplanned.is_empty() {
            let detail = format!("{shown}: no share was planned for {}", unplanned.join(", "));
            return Ok(check(None, Verdict::Fail, detail));
        }
    }
    let plan = if planned.is_none() { "equal shares" } else { "the planned shares" };
    let weights = planned.unwrap_or_else(|| vec![1.0; counts.len()]);
    let test = sample_ratio_test(&counts, &weights)?;
    let verdict = verdict_of(test.p_value);
    let detail = match verdict {
        Verdict::Ok => format!("{shown}: agrees with {plan}"),
        Verdict::Warn | Verdict::Fail => {
            format!("{shown}: does not agree with {plan} (chi-square {:.1})", test.statistic.unwrap_or(f64::INFINITY))
        }
    };
    Ok(check(Some(test.p_value), verdict, detail))
}

/// What the p value of a sample ratio says.
fn verdict_of(p_value: f64) -> Verdict {
    match p_value {
        p_value if p_value < MISMATCH => Verdict::Fail,
        p_value if p_value < SUSPICIOUS => Verdict::Warn,
        _ => Verdict::Ok,
    }
}

/// Arms with their units, in words.
pub(super) fn shown<'a>(arms: impl Iterator<Item = (&'a String, u64)>) -> String {
    arms.map(|(arm, n)| format!("{arm} {n}")).collect::<Vec<_>>().join(", ")
}

/// Whether those who were held out are as many as the logged probabilities say, beside the arms: what messages bring is
/// measured against them. Nothing where the log has no probability that is the same throughout each arm.
pub(crate) fn sample_ratio_with_holdout(drawn: &[(String, u64, Option<f64>)]) -> Result<Option<Check>> {
    let Some(shares) = drawn.iter().map(|(.., share)| *share).collect::<Option<Vec<f64>>>() else { return Ok(None) };
    let counts: Vec<u64> = drawn.iter().map(|(_, n, _)| *n).collect();
    if counts.len() < 2 || counts.iter().sum::<u64>() == 0 || shares.iter().filter(|share| **share > 0.0).count() < 2 {
        return Ok(None);
    }
    let test = sample_ratio_test(&counts, &shares)?;
    let verdict = verdict_of(test.p_value);
    let words = if verdict == Verdict::Ok { "agrees" } else { "does not agree" };
    let shown = shown(drawn.iter().map(|(arm, n, _)| (arm, *n)));
    let detail = format!("{shown}: {words} with the logged probabilities");
    let mut check = Check::new("sample_ratio_with_holdout", verdict, detail);
    check.p_value = Some(test.p_value);
    Ok(Some(check))
}

#[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
fn plainly_unequal(counts: &[u64]) -> bool {
    let (Some(most), Some(fewest)) = (counts.iter().max(), counts.iter().min()) else { return false };
    *most as f64 > *fewest as f64 * PLAINLY_UNEQUAL
}
