//! What an arm is worth: the value of the primary metric's difference, less what opt-outs and messages cost.

use super::{Rule, difference, interval_level};
use crate::experiment::analysis::MetricAnalysis;
use crate::experiment::comparisons::ArmsComparison;

/// What an arm is expected to bring.
pub(super) struct Worth {
    /// For each recipient, in the currency of the costs.
    pub(super) estimate: f64,
    pub(super) words: String,
}

/// Whether a metric's difference is one for each unit, which a value can be put on: a share or a mean as it is, and neither a
/// logarithm nor a quantile, a ratio or a mean whose tail is cut off.
fn is_of_each_unit(metric: &MetricAnalysis) -> bool {
    metric.detail.is_none()
}

/// What is said in the place of a worth that cannot be told.
pub(super) fn no_worth(primary: &MetricAnalysis, rule: &Rule) -> Option<String> {
    (rule.costs.value.is_some() && !is_of_each_unit(primary)).then(|| {
        format!(
            "costs are not held against it: {} is no amount for each recipient; have {} itself as a metric beside it",
            primary.label(),
            primary.metric
        )
    })
}

/// The worth of an arm against the control for each recipient: what the primary metric is worth, less opt-outs and the
/// cost of messages. Nobody knows how the metrics go together within a recipient: the interval, made of those that decide, is
/// as wide as if they rose and fell together.
pub(super) fn worth(
    metrics: &[MetricAnalysis],
    primary: &MetricAnalysis,
    winner: &ArmsComparison,
    rule: &Rule,
) -> Option<Worth> {
    let value = rule.costs.value.filter(|_| is_of_each_unit(primary))?;
    let effect = |name: &str| {
        let metric = metrics.iter().find(|metric| metric.metric == name && metric.detail.is_none())?;
        metric.comparisons.iter().find(|comparison| comparison.arm == winner.arm)
    };
    // Of what is better lower, a unit less is what is worth something.
    let mut parts: Vec<(f64, &ArmsComparison)> = vec![(if primary.lower_is_better { -value } else { value }, winner)];
    let mut less = Vec::new();
    // What the primary metric is itself has its value there.
    let counted = primary.metric.as_str();
    if let (Some(cost), Some(comparison)) = (rule.costs.opt_out.filter(|_| counted != "opt_out"), effect("opt_out")) {
        parts.push((-cost, comparison));
        less.push("opt-outs");
    }
    let costs_are_counted = matches!(counted, "cost" | "messages");
    if let Some(comparison) = effect("cost").filter(|_| !costs_are_counted) {
        parts.push((-1.0, comparison));
        less.push("the cost of messages");
    } else if let (Some(cost), Some(comparison)) =
        (rule.costs.message.filter(|_| !costs_are_counted), effect("messages"))
    {
        parts.push((-cost, comparison));
        less.push("messages");
    }
    let left_out: Vec<&str> = [
        (
            rule.costs.opt_out.is_some() && counted != "opt_out" && effect("opt_out").is_none(),
            "opt-outs, for opt_out is no metric of the experiment",
        ),
        (
            rule.costs.message.is_some()
                && !costs_are_counted
                && effect("cost").is_none()
                && effect("messages").is_none(),
            "messages, for neither messages nor cost is a metric of the experiment",
        ),
    ]
    .into_iter()
    .filter_map(|(left_out, what)| left_out.then_some(what))
    .collect();
    let left_out =
        if left_out.is_empty() { String::new() } else { format!("; without {}", left_out.join(" and without ")) };
    let estimate: f64 = parts.iter().map(|(weight, comparison)| weight * difference(comparison)).sum();
    let end = |upper: bool| -> Option<f64> {
        let of_part = |(weight, comparison): &(f64, &ArmsComparison)| {
            let held = comparison.deciding().difference;
            let end = if upper == (*weight > 0.0) { held.high } else { held.low };
            end.map(|end| weight * end)
        };
        parts.iter().map(of_part).sum()
    };
    let (low, high) = (end(false), end(true));
    let decimals = decimals_of(estimate);
    let shown =
        |end: Option<f64>| end.map_or_else(|| "an unknown amount".to_owned(), |end| format!("{end:+.decimals$}"));
    let words = format!(
        "{} brings {estimate:+.decimals$} for each recipient, between {} and {} ({} interval): {} at {value} each{}{}{left_out}",
        winner.arm,
        shown(low),
        shown(high),
        interval_level(rule.alpha),
        primary.metric,
        if primary.lower_is_better { " that is spared" } else { "" },
        if less.is_empty() { String::new() } else { format!(", less {}", less.join(" and ")) }
    );
    Some(Worth { estimate, words })
}

/// As many decimals as an amount has to have to show two digits that are no zeros; four of those that are not small.
fn decimals_of(amount: f64) -> usize {
    let least = |decimals: usize| std::iter::repeat_n(0.1, decimals - 1).product::<f64>();
    (4..12).find(|decimals| amount.abs() >= least(*decimals)).unwrap_or(4)
}
