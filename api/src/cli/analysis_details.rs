//! What was asked for beside the headline of an analysis, a line each; and how its numbers are written.

use sendlift_engine::experiment::{ArmsComparison, ExperimentAnalysis, MetricAnalysis, MetricKind, p_value_in_words};
use sendlift_engine::stats::Estimate;

use super::output::say;

/// Prints what stands beside the headline, metric by metric.
pub(super) fn print_details(analysis: &ExperimentAnalysis) {
    for metric in &analysis.metrics {
        for comparison in &metric.comparisons {
            print_exact(metric, comparison);
            print_adjusted(metric, comparison);
            print_planned_look(metric, comparison);
            print_always_valid(metric, comparison);
            if let Some(margin) = &comparison.margin {
                say!("{}", margin.words);
            }
            if let Some(equivalence) = &comparison.equivalence {
                say!("{}", equivalence.words);
            }
            print_false_coverage(metric, comparison);
            if let Some(found) = &comparison.among_reached {
                let point = |end: Option<f64>| end.map_or_else(dash, |end| format!("{:+.2}", end * 100.0));
                say!(
                    "{}, among those whom both reach: {} to {} pp, with chance [{}, {}] ({})",
                    subject(metric, comparison),
                    point(found.bounds.low),
                    point(found.bounds.high),
                    point(found.bounds_interval.low),
                    point(found.bounds_interval.high),
                    found.note
                );
            }
            if let Some(found) = &comparison.complier {
                let effect = difference_in_words(metric.kind, &found.effect);
                say!("{}, on the delivered: {effect} ({})", subject(metric, comparison), found.note);
                say!("  if {}", found.assumptions.join("; "));
            }
        }
        for pair in &metric.pairs {
            say!(
                "{}, pair: {}, p {}, adjusted p {}",
                subject(metric, pair),
                difference_in_words(metric.kind, &pair.comparison.difference),
                p_value_or_dash(pair.comparison.p_value),
                p_value_or_dash(pair.p_value_adjusted)
            );
        }
        print_path(metric);
        print_search(metric);
        if let Some(cut) = &metric.cut {
            let units: Vec<String> = cut.units.iter().map(|(arm, n)| format!("{n} of {arm}")).collect();
            say!(
                "{}: values above {} are set to it: {}, {:.4} taken away in all",
                metric.label(),
                cut.limit,
                if units.is_empty() { "none".to_owned() } else { units.join(", ") },
                cut.amount
            );
        }
        if let Some(best) = &metric.best_arm {
            let difference = difference_in_words(metric.kind, &best.hybrid);
            say!(
                "{}: of the arms beside {}, {} is the best; without its luck {difference} against {}",
                metric.label(),
                best.control,
                best.arm,
                best.control
            );
        }
        print_bayesian(metric);
    }
}

/// `click: B against A`.
fn subject(metric: &MetricAnalysis, comparison: &ArmsComparison) -> String {
    format!("{}: {} against {}", metric.label(), comparison.arm, comparison.control)
}

fn print_exact(metric: &MetricAnalysis, comparison: &ArmsComparison) {
    let Some(found) = &comparison.exact else { return };
    let difference = found.difference.as_ref().map(|difference| difference_in_words(metric.kind, difference));
    let ratio = found.odds_ratio.as_ref().map(|ratio| {
        let ratio = estimate_in_words(ratio, "", |odds| format!("{odds:.3}"));
        format!("odds ratio {ratio}")
    });
    say!(
        "{}, exact: {}, p {}, adjusted p {} ({}; {})",
        subject(metric, comparison),
        difference.or(ratio).unwrap_or_else(dash),
        p_value_or_dash(found.p_value),
        p_value_or_dash(found.p_value_adjusted),
        found.reason,
        found.note
    );
}

fn print_always_valid(metric: &MetricAnalysis, comparison: &ArmsComparison) {
    let Some(found) = &comparison.always_valid else { return };
    say!(
        "{}, always valid: {}, lift {}, p {}, adjusted p {}",
        subject(metric, comparison),
        difference_in_words(metric.kind, &found.difference),
        lift_in_words(&found.lift),
        p_value_or_dash(found.p_value),
        p_value_or_dash(found.p_value_adjusted)
    );
}

fn print_false_coverage(metric: &MetricAnalysis, comparison: &ArmsComparison) {
    let Some(found) = &comparison.false_coverage else { return };
    say!(
        "{}, one of {} significant among {}: {}, lift {}",
        subject(metric, comparison),
        found.picked,
        found.comparisons,
        difference_in_words(metric.kind, &found.difference),
        lift_in_words(&found.lift)
    );
}

fn print_bayesian(metric: &MetricAnalysis) {
    let Some(bayesian) = &metric.bayesian else { return };
    if let Some(note) = bayesian.note {
        say!("{}, Bayesian: {note}", metric.label());
        return;
    }
    say!("{}, Bayesian (prior {}):", metric.label(), bayesian.prior);
    for arm in &bayesian.arms {
        let ends =
            [arm.posterior.low, arm.posterior.high].map(|end| end.map_or_else(dash, |end| value(metric.kind, end)));
        say!(
            "  {} is the best with chance {:.1} %, expected loss {}; {} [{}, {}]",
            arm.arm,
            arm.chance_to_win * 100.0,
            value(metric.kind, arm.expected_loss),
            arm.posterior.estimate.map_or_else(dash, |mean| value(metric.kind, mean)),
            ends[0],
            ends[1]
        );
    }
}

fn print_adjusted(metric: &MetricAnalysis, comparison: &ArmsComparison) {
    for (found, how) in [(&comparison.adjusted, "adjusted for"), (&comparison.post_stratified, "post-stratified by")] {
        let Some(found) = found else { continue };
        let removed = found
            .variance_reduction
            .map(|share| format!("; {:.1} % of the variance removed", share * 100.0))
            .unwrap_or_default();
        let covariates = if found.covariates.is_empty() { "nothing".to_owned() } else { found.covariates.join(", ") };
        say!(
            "{}, {how} {covariates}: {}, p {}, adjusted p {}{removed}",
            subject(metric, comparison),
            difference_in_words(metric.kind, &found.difference),
            p_value_or_dash(found.p_value),
            p_value_or_dash(found.p_value_adjusted)
        );
        if let Some(note) = &found.note {
            say!("  {note}");
        }
    }
}

fn print_path(metric: &MetricAnalysis) {
    for point in &metric.path {
        for found in &point.comparisons {
            let valid = found.always_valid.as_ref().map(|valid| {
                format!(
                    "; at every look {}, p {}",
                    difference_in_words(metric.kind, &valid.difference),
                    p_value_or_dash(valid.p_value)
                )
            });
            say!(
                "{}, by {}: {} ({}) against {} units: {}, p {}{}",
                metric.label(),
                point.day,
                found.arm,
                found.n,
                found.control_n,
                difference_in_words(metric.kind, &found.difference),
                p_value_or_dash(found.p_value),
                valid.unwrap_or_default()
            );
        }
    }
}

fn print_search(metric: &MetricAnalysis) {
    for result in &metric.search {
        say!("{}, search by {} for {}: {}", metric.label(), result.column, result.arm, result.search.summary);
        for found in &result.found {
            let value = found.segment.values().next().and_then(|value| value.as_str()).unwrap_or("(none)");
            say!(
                "  {value}: {} on the half that did not find it, adjusted p {} ({} on the half that did)",
                difference_in_words(metric.kind, &found.result.honest.difference),
                p_value_or_dash(found.result.adjusted_p_value),
                difference_in_words(metric.kind, &found.result.naive.difference)
            );
        }
    }
}

fn print_planned_look(metric: &MetricAnalysis, comparison: &ArmsComparison) {
    let Some(found) = &comparison.planned_look else { return };
    let state = match (found.crossed, found.p_value) {
        (true, Some(p_value)) => format!("stop: p {}", p_value_in_words(p_value)),
        _ if found.information_fraction >= 1.0 => "the plan is at its end: not told apart".to_owned(),
        _ => "go on".to_owned(),
    };
    say!(
        "{}, look {} at {:.0} % of the plan: |z| {:.3} against {}, {state}; {}, repeated p {}, adjusted {}",
        subject(metric, comparison),
        found.look,
        found.information_fraction * 100.0,
        found.statistic.unwrap_or(0.0).abs(),
        found.critical_value.map_or_else(|| "no boundary yet".to_owned(), |value| format!("{value:.3}")),
        difference_in_words(metric.kind, &found.difference),
        p_value_or_dash(found.repeated_p_value),
        p_value_or_dash(found.p_value_adjusted)
    );
}

/// A difference in the metric's own units with its interval.
pub(super) fn difference_in_words(kind: MetricKind, difference: &Estimate) -> String {
    match kind {
        MetricKind::Proportion => estimate_in_words(difference, " pp", |share| format!("{:+.2}", share * 100.0)),
        _ => estimate_in_words(difference, "", |number| format!("{number:+.4}")),
    }
}

/// A lift in percent with its interval.
pub(super) fn lift_in_words(lift: &Estimate) -> String {
    estimate_in_words(lift, " %", |share| format!("{:+.1}", share * 100.0))
}

fn estimate_in_words(estimate: &Estimate, unit: &str, text: impl Fn(f64) -> String) -> String {
    let end = |end: Option<f64>, open: &str| end.map_or_else(|| open.to_owned(), &text);
    match estimate.estimate {
        Some(number) => format!("{}{unit} [{}, {}]", text(number), end(estimate.low, "-∞"), end(estimate.high, "∞")),
        None => dash(),
    }
}

/// A value of the metric.
pub(super) fn value(kind: MetricKind, mean: f64) -> String {
    match kind {
        MetricKind::Proportion => format!("{:.2} %", mean * 100.0),
        _ => format!("{mean:.4}"),
    }
}

fn p_value_or_dash(p_value: Option<f64>) -> String {
    p_value.map_or_else(dash, p_value_in_words)
}

fn dash() -> String {
    "-".to_owned()
}
