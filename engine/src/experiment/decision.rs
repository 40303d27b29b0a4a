//! What to do, by one stated rule, with the numbers that speak for it.
//!
//! The rule, in this order:
//!
//! 1. A failed check: the numbers are not to be trusted.
//! 2. An arm wins whose primary metric is better than the control's (adjusted p below alpha); the one with the greatest
//!    difference first.
//! 3. A winner is held back by a guardrail that got worse, or a metric that got worse by its margin: the control is kept. So
//!    is it by any other metric that got worse (adjusted p below alpha) and has no margin, unless a definition says which
//!    metric decides: then the winner is shipped, and what got worse is named. A margin that the data cannot tell to be kept
//!    waits.
//! 4. With a minimum effect: a winner whose whole interval lies below it is not worth having. With costs: nor is one that
//!    is expected to cost more than it brings.
//! 5. A winner whose conversion windows are still open waits, else it is shipped.
//! 6. Without a winner the control is kept if every arm is worse, on the primary metric (once all windows have closed) or on a
//!    guardrail, or if no arm can be better by the minimum effect any more. Otherwise the experiment goes on, and the rule
//!    says for how long, and which guardrail got worse.
//!
//! Where always-valid results were asked for, their p values decide, as do those of a planned look; else where counts are
//! small, those of the exact tests; else where covariates or strata were named, those of the adjusted comparison.

mod worth;

use serde::Serialize;

use self::worth::{no_worth, worth};

use super::analysis::{ExperimentAnalysis, MetricAnalysis};
use super::checks::{Check, Verdict};
use super::comparisons::ArmsComparison;
use super::definition::{Costs, MinimumEffect};
use super::metric::{MetricKind, labelled};
use super::options::{AnalysisOptions, Correction};
use super::plan::DEFAULT_POWER;
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
    /// Its name, with what tells it from others of the same name.
    #[must_use]
    pub fn label(&self) -> String {
        labelled(&self.metric, self.detail.as_deref())
    }

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

/// Times the units that there are beyond which a plan is none.
const MOST_TIMES: f64 = 1e6;

/// What a decision goes by besides the results.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    alpha: f64,
    minimum_effect: Option<MinimumEffect>,
    costs: Costs,
    /// Whether a definition says what each metric is for.
    has_roles: bool,
    /// Whether more than units was randomised.
    has_clusters: bool,
    /// Whether comparisons share alpha.
    shares_alpha: bool,
    /// Days that the experiment has taken in units.
    days: Option<u32>,
}

impl Rule {
    pub(crate) fn new(options: &AnalysisOptions, days: Option<u32>) -> Self {
        Self {
            alpha: options.alpha,
            minimum_effect: options.minimum_effect,
            costs: options.costs,
            has_roles: options.guardrails.is_some(),
            has_clusters: options.randomised_by.is_some(),
            shares_alpha: options.correction != Correction::None,
            days,
        }
    }
}

pub(crate) fn decide(metrics: &[MetricAnalysis], checks: &[Check], control: &str, rule: &Rule) -> Decision {
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
        return without_winner(metrics, metrics.first(), control, rule, why);
    };
    let alpha = rule.alpha;
    let is_certain = |comparison: &&ArmsComparison| is_certain(comparison, alpha);
    let better = |comparison: &ArmsComparison| gain(primary, comparison);
    let mut why: Vec<String> = primary
        .comparisons
        .iter()
        .map(|comparison| format!("{}: {}", primary.label(), in_words(primary, comparison, alpha)))
        .collect();
    let mut winners: Vec<&ArmsComparison> =
        primary.comparisons.iter().filter(is_certain).filter(|comparison| better(comparison) > 0.0).collect();
    winners.sort_by(|left, right| better(right).total_cmp(&better(left)));
    let (mut held_back, mut waiting) = (Vec::new(), Vec::new());
    let open = checks.iter().find(|check| check.check == "maturity" && check.verdict != Verdict::Ok);
    for winner in winners {
        match guard(metrics, &winner.arm, rule) {
            Guard::Harmed(reason) => held_back.push(reason),
            Guard::Unproven(reason) => waiting.push((winner.arm.clone(), reason)),
            Guard::Clear => {
                if let Some(reason) = not_worth_having(primary, winner, rule) {
                    held_back.push(reason);
                    continue;
                }
                let worth = worth(metrics, primary, winner, rule);
                if let Some(loss) = worth.as_ref().filter(|worth| worth.estimate < 0.0) {
                    held_back.push(format!("{} costs more than it brings: {}", winner.arm, loss.words));
                    continue;
                }
                let arm = Some(winner.arm.clone());
                why.extend(held_back);
                why.extend(waiting.into_iter().map(|(_, reason)| reason));
                if let Some(open) = open {
                    why.push(format!("it is early: {}", open.detail));
                    return Decision { recommendation: Recommendation::KeepRunning, arm, why };
                }
                why.extend(within_margins(metrics, &winner.arm));
                why.extend(worse(metrics, &winner.arm, alpha).map(|words| format!("although {words}")));
                why.extend(worth.map(|worth| worth.words).or_else(|| no_worth(primary, rule)));
                return Decision { recommendation: Recommendation::Ship, arm, why };
            }
        }
    }
    let is_held_back = !held_back.is_empty();
    why.extend(held_back);
    if let Some((arm, _)) = waiting.first().cloned() {
        why.extend(waiting.into_iter().map(|(_, reason)| reason));
        return Decision { recommendation: Recommendation::KeepRunning, arm: Some(arm), why };
    }
    let keep = |why| Decision { recommendation: Recommendation::KeepControl, arm: Some(control.to_owned()), why };
    if is_held_back {
        return keep(why);
    }
    let each = &primary.comparisons;
    if !each.is_empty() && each.iter().all(|comparison| is_certain(&comparison) && better(comparison) < 0.0) {
        if let Some(open) = open {
            why.push(format!("it is early: {}", open.detail));
            return Decision { recommendation: Recommendation::KeepRunning, arm: None, why };
        }
        return keep(why);
    }
    let cannot = each.iter().map(|comparison| not_worth_having(primary, comparison, rule)).collect::<Option<Vec<_>>>();
    if let Some(reasons) = cannot.filter(|reasons| !reasons.is_empty()) {
        why.extend(reasons);
        return keep(why);
    }
    why.push(format!("no arm is certain to be better than {control} on {}", primary.label()));
    let mut decision = without_winner(metrics, Some(primary), control, rule, why);
    if decision.recommendation == Recommendation::KeepRunning {
        // Comparisons with a test that share alpha with those of the primary metric.
        let family = metrics.iter().filter(|metric| !metric.is_guardrail()).flat_map(|metric| &metric.comparisons);
        let tested = family.filter(|comparison| comparison.comparison.p_value.is_some()).count();
        decision.why.extend(how_long(primary, if rule.shares_alpha { tested } else { 1 }, rule));
    }
    decision
}

/// Goes on, unless a guardrail or a metric with a margin got worse in every arm of a metric; tells of each that did.
fn without_winner(
    metrics: &[MetricAnalysis],
    of: Option<&MetricAnalysis>,
    control: &str,
    rule: &Rule,
    mut why: Vec<String>,
) -> Decision {
    let arms = of.map_or(&[][..], |metric| &metric.comparisons);
    let before = why.len();
    why.extend(arms.iter().filter_map(|comparison| match guard(metrics, &comparison.arm, rule) {
        Guard::Harmed(reason) => Some(format!("{}: {reason}", comparison.arm)),
        Guard::Clear | Guard::Unproven(_) => None,
    }));
    if !arms.is_empty() && why.len() - before == arms.len() {
        return Decision { recommendation: Recommendation::KeepControl, arm: Some(control.to_owned()), why };
    }
    Decision { recommendation: Recommendation::KeepRunning, arm: None, why }
}

/// How much better an arm is on a metric.
fn gain(metric: &MetricAnalysis, comparison: &ArmsComparison) -> f64 {
    let difference = difference(comparison);
    if metric.lower_is_better { -difference } else { difference }
}

/// Why an arm cannot have the minimum effect: the whole interval lies below it.
fn not_worth_having(primary: &MetricAnalysis, comparison: &ArmsComparison, rule: &Rule) -> Option<String> {
    let baseline = mean_of(primary, &comparison.control)?;
    let least = rule.minimum_effect?.difference(baseline);
    let held = comparison.deciding().difference;
    let most = if primary.lower_is_better { held.low.map(|low| -low) } else { held.high };
    most.filter(|most| *most < least).map(|most| {
        format!(
            "{} is better by {} at the most, less than the {} worth having",
            comparison.arm,
            amount(primary.kind, most),
            amount(primary.kind, least)
        )
    })
}

/// For how long the experiment has to go on to see the minimum effect, or the effect that it shows now: from the width of
/// the interval that decides, which has the spread of both arms in it, clusters, covariates and looks too. A width falls
/// with the root of the units.
fn how_long(primary: &MetricAnalysis, comparisons: usize, rule: &Rule) -> Option<String> {
    let comparison =
        primary.comparisons.iter().max_by(|left, right| gain(primary, left).total_cmp(&gain(primary, right)))?;
    let baseline = mean_of(primary, &comparison.control)?;
    let (effect, which) = match rule.minimum_effect {
        Some(minimum) => (minimum.difference(baseline), "the minimum effect"),
        None => (gain(primary, comparison), "the difference that shows now"),
    };
    // The interval of an early look is as wide as its alpha is small, which says nothing of the end.
    let held = match &comparison.planned_look {
        Some(_) => comparison.of_fixed_sample().difference,
        None => comparison.deciding().difference,
    };
    let half = held.low.zip(held.high).map(|(low, high)| (high - low) / 2.0).filter(|half| *half > 0.0)?;
    if effect <= 0.0 {
        return None;
    }
    // A fixed interval is seen to exclude zero with 80 % power where its half width is z / (z of the comparison + z of the
    // power) of the effect: where several comparisons share alpha, each has its part of it.
    let critical = crate::stats::distribution::normal::critical_value(rule.alpha);
    #[allow(clippy::cast_precision_loss)] // A handful.
    let of_comparison = crate::stats::distribution::normal::critical_value(rule.alpha / comparisons.max(1) as f64);
    let allowed = effect * critical / (of_comparison + crate::stats::distribution::normal::quantile(DEFAULT_POWER));
    let there = primary.arms.iter().map(|arm| arm.n).min()?;
    let times = (half / allowed).powi(2);
    let shown = amount(primary.kind, effect);
    if !times.is_finite() || times > MOST_TIMES {
        return Some(format!("{which}, {shown}, is too small to be seen with any number of units like these"));
    }
    if rule.has_clusters && times > 1.0 {
        return Some(format!(
            "to see {which}, {shown}, with 80 % power takes about {times:.1} times the clusters: more units of the same ones help \
             little"
        ));
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let needed = (there as f64 * times).ceil() as u64;
    if needed <= there {
        return Some(format!("with {there} units an arm, {which}, {shown}, would have been seen with 80 % power"));
    }
    let more = needed - there;
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    let days = rule.days.filter(|days| *days > 1).map(|days| {
        let per_day = there as f64 / f64::from(days);
        format!(", about {:.0} days at the rate so far", (more as f64 / per_day).ceil())
    });
    Some(format!(
        "to see {which}, {shown}, with 80 % power takes about {needed} units an arm: {more} more{}",
        days.unwrap_or_default()
    ))
}

fn amount(kind: MetricKind, number: f64) -> String {
    if kind == MetricKind::Proportion { format!("{:+.2} points", number * 100.0) } else { format!("{number:+.4}") }
}

fn mean_of(metric: &MetricAnalysis, arm: &str) -> Option<f64> {
    metric.arms.iter().find(|summary| summary.arm == arm).and_then(|summary| summary.mean)
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

/// The guardrails, and all other metrics but the primary one that have a margin, or of which nobody said that they decide
/// nothing.
fn guard(metrics: &[MetricAnalysis], arm: &str, rule: &Rule) -> Guard {
    let alpha = rule.alpha;
    let mut unproven = None;
    for metric in metrics.iter().filter(|metric| !metric.is_primary()) {
        let Some(comparison) = metric.comparisons.iter().find(|comparison| comparison.arm == arm) else { continue };
        if let Some(margin) = &comparison.margin {
            match margin.test.verdict {
                MarginVerdict::NonInferior => {}
                MarginVerdict::Inferior => return Guard::Harmed(margin.words.clone()),
                _ => unproven = unproven.or_else(|| Some(margin.words.clone())),
            }
        } else if metric.is_guardrail() && is_certain(comparison, alpha) && gain(metric, comparison) < 0.0 {
            let words = in_words(metric, comparison, alpha);
            return Guard::Harmed(format!("guardrail {} got worse: {words}", metric.label()));
        }
    }
    if !rule.has_roles
        && let Some(words) = worse(metrics, arm, alpha).next()
    {
        return Guard::Harmed(format!("{words}; if that is no harm, leave the metric out or give it a margin"));
    }
    unproven.map_or(Guard::Clear, Guard::Unproven)
}

/// The secondary metrics without a margin on which an arm is certainly worse, in words.
fn worse<'a>(metrics: &'a [MetricAnalysis], arm: &'a str, alpha: f64) -> impl Iterator<Item = String> + 'a {
    metrics.iter().filter(|metric| metric.role == MetricRole::Secondary).filter_map(move |metric| {
        let comparison = metric.comparisons.iter().find(|comparison| comparison.arm == arm)?;
        let is_worse = comparison.margin.is_none() && is_certain(comparison, alpha) && gain(metric, comparison) < 0.0;
        is_worse.then(|| format!("{} got worse: {}", metric.label(), in_words(metric, comparison, alpha)))
    })
}

/// The margins that an arm keeps, in words.
fn within_margins(metrics: &[MetricAnalysis], arm: &str) -> Vec<String> {
    let others = metrics.iter().filter(|metric| !metric.is_primary());
    let comparisons = others.flat_map(|metric| &metric.comparisons).filter(|comparison| comparison.arm == arm);
    comparisons.filter_map(|comparison| comparison.margin.as_ref()).map(|margin| margin.words.clone()).collect()
}

/// A comparison in words: arm, the two means, difference with interval, p value.
fn in_words(metric: &MetricAnalysis, comparison: &ArmsComparison, alpha: f64) -> String {
    let means = (mean_of(metric, &comparison.arm), mean_of(metric, &comparison.control));
    let (Some(treated), Some(baseline)) = means else {
        let empty = if means.0.is_none() { &comparison.arm } else { &comparison.control };
        let units = metric.arms.iter().find(|summary| summary.arm == *empty).map_or(0, |summary| summary.n);
        let why = if units == 0 { "no units" } else { "nothing to divide by" };
        return format!("{empty} has {why}");
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
    let estimate = held.estimate.or(found.difference.estimate).map_or_else(|| "no difference".to_owned(), step);
    let level = interval_level(alpha);
    let interval = match deciding.odds_ratio {
        // The interval of the difference is that of another test, and may say otherwise than this p value.
        Some(ratio) => {
            let end = |end: Option<f64>| end.map_or_else(|| "unbounded".to_owned(), |end| format!("{end:.2}"));
            let (low, high) = (end(ratio.low), end(ratio.high));
            format!("{estimate}{points}, odds ratio {} [{low}, {high}] ({level} interval)", end(ratio.estimate))
        }
        None => format!("{estimate}{points} [{}, {}] ({level} interval)", end(held.low), end(held.high)),
    };
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
