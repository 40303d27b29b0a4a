//! What to do, by one stated rule, with the numbers that speak for it.
//!
//! The rule: a failed check means the numbers are not to be trusted. Then a guardrail that got worse keeps the control;
//! with a margin, one that got worse by the margin does, and one that is not shown to be within it waits.
//! Then an arm whose primary metric is better than the control's (adjusted p below alpha) is shipped, the one with the
//! greatest difference if there are several; unless conversion windows are still open. If every arm is worse the control
//! is kept. Otherwise the experiment goes on. Where always-valid results were asked for,
//! their p values decide, as do those of a planned look; else where counts are small, those of the exact tests; else where
//! covariates or strata were named, those of the adjusted comparison.

use serde::Serialize;

use super::analysis::{ExperimentAnalysis, MetricAnalysis};
use super::checks::{Check, Verdict};
use super::comparisons::ArmsComparison;
use super::metric::MetricKind;
use super::sample::MetricRole;
use crate::stats::MarginVerdict;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recommendation {
    /// Send the winning arm to everybody.
    Ship,
    /// Stay with the control.
    KeepControl,
    /// Collect more.
    KeepRunning,
    /// Find out first what went wrong.
    DoNotTrust,
}

/// What to do and why.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// What to do.
    pub recommendation: Recommendation,
    /// The arm that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    /// Why, in plain words with the numbers.
    pub why: Vec<String>,
}

impl MetricAnalysis {
    /// Whether the decision rests on this metric.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.role == MetricRole::Primary
    }

    /// Whether this metric can only alarm; less of it is better.
    #[must_use]
    pub fn is_guardrail(&self) -> bool {
        self.role == MetricRole::Guardrail
    }
}

impl ExperimentAnalysis {
    /// The level of its intervals in words, such as `95 %`.
    #[must_use]
    pub fn interval_level(&self) -> String {
        interval_level(self.alpha)
    }
}

/// `95 %` of alpha 0.05, `99.9 %` of alpha 0.001.
fn interval_level(alpha: f64) -> String {
    let points = format!("{:.4}", (1.0 - alpha) * 100.0);
    format!("{} %", points.trim_end_matches('0').trim_end_matches('.'))
}

pub(crate) fn decide(metrics: &[MetricAnalysis], checks: &[Check], control: &str, alpha: f64) -> Decision {
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Fail)
        .map(|check| {
            let stage = check.stage.as_ref().map(|stage| format!(" ({stage})")).unwrap_or_default();
            format!("check {}{stage} failed: {}", check.check, check.detail)
        })
        .collect();
    if !failed.is_empty() {
        return Decision { recommendation: Recommendation::DoNotTrust, arm: None, why: failed };
    }
    let Some(primary) = metrics.iter().find(|metric| metric.is_primary()) else {
        let why = vec!["there is no metric to decide by: guardrails can alarm, they cannot win".to_owned()];
        return Decision { recommendation: Recommendation::KeepRunning, arm: None, why };
    };
    let is_certain = |comparison: &&ArmsComparison| is_certain(comparison, alpha);
    let mut why: Vec<String> = primary
        .comparisons
        .iter()
        .map(|comparison| format!("{}: {}", primary.metric, in_words(primary, comparison, alpha)))
        .collect();
    let mut winners: Vec<&ArmsComparison> =
        primary.comparisons.iter().filter(is_certain).filter(|comparison| difference(comparison) > 0.0).collect();
    winners.sort_by(|left, right| difference(right).total_cmp(&difference(left)));
    let (mut harm, mut waiting) = (Vec::new(), Vec::new());
    for winner in winners {
        match guard(metrics, &winner.arm, alpha) {
            Guard::Harmed(reason) => harm.push(reason),
            Guard::Unproven(reason) => waiting.push((winner.arm.clone(), reason)),
            Guard::Clear => {
                let arm = Some(winner.arm.clone());
                let open = checks.iter().find(|check| check.check == "maturity" && check.verdict != Verdict::Ok);
                if let Some(open) = open {
                    why.push(format!("it is early: {}", open.detail));
                    return Decision { recommendation: Recommendation::KeepRunning, arm, why };
                }
                why.extend(within_margins(metrics, &winner.arm));
                return Decision { recommendation: Recommendation::Ship, arm, why };
            }
        }
    }
    why.extend(harm.iter().cloned());
    if let Some((arm, _)) = waiting.first().cloned() {
        why.extend(waiting.into_iter().map(|(_, reason)| reason));
        return Decision { recommendation: Recommendation::KeepRunning, arm: Some(arm), why };
    }
    if !harm.is_empty() {
        return Decision { recommendation: Recommendation::KeepControl, arm: Some(control.to_owned()), why };
    }
    let all_worse = !primary.comparisons.is_empty()
        && primary.comparisons.iter().all(|comparison| is_certain(&comparison) && difference(comparison) < 0.0);
    if all_worse {
        return Decision { recommendation: Recommendation::KeepControl, arm: Some(control.to_owned()), why };
    }
    why.push(format!("no arm is certain to be better than {control} on {}", primary.metric));
    Decision { recommendation: Recommendation::KeepRunning, arm: None, why }
}

fn is_certain(comparison: &ArmsComparison, alpha: f64) -> bool {
    comparison.decisive_p_value().is_some_and(|p_value| p_value < alpha)
}

fn difference(comparison: &ArmsComparison) -> f64 {
    let deciding = comparison.deciding().difference.estimate;
    deciding.or(comparison.comparison.difference.estimate).unwrap_or(0.0)
}

/// What guards an arm from being shipped.
enum Guard {
    /// Nothing.
    Clear,
    /// A guardrail, or a metric with a margin, got worse.
    Harmed(String),
    /// A margin that the data cannot tell to be kept.
    Unproven(String),
}

/// The guardrails, and all metrics with a margin but the primary one.
fn guard(metrics: &[MetricAnalysis], arm: &str, alpha: f64) -> Guard {
    let mut unproven = None;
    for metric in metrics.iter().filter(|metric| !metric.is_primary()) {
        let Some(comparison) = metric.comparisons.iter().find(|comparison| comparison.arm == arm) else { continue };
        if let Some(margin) = &comparison.margin {
            match margin.test.verdict {
                MarginVerdict::NonInferior => {}
                MarginVerdict::Inferior => return Guard::Harmed(margin.words.clone()),
                _ => unproven = unproven.or_else(|| Some(margin.words.clone())),
            }
        } else if metric.is_guardrail() && is_certain(comparison, alpha) && difference(comparison) > 0.0 {
            let words = in_words(metric, comparison, alpha);
            return Guard::Harmed(format!("guardrail {} got worse: {words}", metric.metric));
        }
    }
    unproven.map_or(Guard::Clear, Guard::Unproven)
}

/// The margins that an arm keeps, in words.
fn within_margins(metrics: &[MetricAnalysis], arm: &str) -> Vec<String> {
    let others = metrics.iter().filter(|metric| !metric.is_primary());
    let comparisons = others.flat_map(|metric| &metric.comparisons).filter(|comparison| comparison.arm == arm);
    comparisons.filter_map(|comparison| comparison.margin.as_ref()).map(|margin| margin.words.clone()).collect()
}

/// A comparison in words: arm, the two means, difference with interval, p value.
fn in_words(metric: &MetricAnalysis, comparison: &ArmsComparison, alpha: f64) -> String {
    let mean = |arm: &str| metric.arms.iter().find(|summary| summary.arm == arm).and_then(|summary| summary.mean);
    let (Some(treated), Some(baseline)) = (mean(&comparison.arm), mean(&comparison.control)) else {
        return format!("{} has no units", comparison.arm);
    };
    let found = &comparison.comparison;
    let deciding = comparison.deciding();
    let held = deciding.difference;
    type Words = fn(f64) -> String;
    let (value, step): (Words, Words) = match metric.kind {
        MetricKind::Proportion => (|share| format!("{:.2} %", share * 100.0), |share| format!("{:+.2}", share * 100.0)),
        _ => (|number| format!("{number:.4}"), |number| format!("{number:+.4}")),
    };
    let points = if metric.kind == MetricKind::Proportion { " points" } else { "" };
    let end = |end: Option<f64>| end.map_or_else(|| "unbounded".to_owned(), step);
    let interval = format!(
        "{}{points} [{}, {}] ({} interval)",
        held.estimate.or(found.difference.estimate).map_or_else(|| "no difference".to_owned(), step),
        end(held.low),
        end(held.high),
        interval_level(alpha)
    );
    let p_value = deciding
        .p_value
        .map_or_else(|| "no test".to_owned(), |p_value| format!("{} {}", deciding.name, p_value_in_words(p_value)));
    format!(
        "{} {} against {} {}: {interval}, {p_value}",
        comparison.arm,
        value(treated),
        comparison.control,
        value(baseline)
    )
}

/// A p value: plain where that can be read, with an exponent where it is small, a bound where its digits say nothing.
#[must_use]
pub fn p_value_in_words(p_value: f64) -> String {
    if p_value >= 0.0001 {
        format!("{p_value:.4}")
    } else if p_value >= 1e-15 {
        format!("{p_value:.2e}")
    } else {
        "< 1e-15".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_and_levels_are_readable() {
        for (p_value, words) in [
            (0.04123, "0.0412"),
            (0.0412, "0.0412"),
            (1.0, "1.0000"),
            (3.664e-14, "3.66e-14"),
            (1e-15, "1.00e-15"),
            (9e-16, "< 1e-15"),
            (1e-40, "< 1e-15"),
            (0.0, "< 1e-15"),
        ] {
            assert_eq!(p_value_in_words(p_value), words);
        }
        for (alpha, level) in [(0.05, "95 %"), (0.1, "90 %"), (0.001, "99.9 %"), (0.5, "50 %")] {
            assert_eq!(interval_level(alpha), level);
        }
    }
}
