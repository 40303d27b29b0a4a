//! How much a result rests on a few units, or on what is taken for a machine's click.

use serde::Serialize;

use super::checks::{Check, Verdict};
use super::sample::MetricSample;
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::Estimate;

/// One unit that moves a difference by this many of its standard errors is worth a look: it makes up half of the variance.
const INFLUENTIAL: f64 = 0.7;

/// The result under another rule for machines' clicks.
#[derive(Debug, Clone, Serialize)]
pub struct ClickSensitivity {
    /// Which clicks are left out: `none`, `certain` (previews of links, HEAD requests) or `probable` (those, too, that
    /// are suspected), which the headline is.
    pub machine_clicks_removed: &'static str,
    /// Each other arm against the control.
    pub comparisons: Vec<SensitiveComparison>,
}

/// One arm against the control under a rule.
#[derive(Debug, Clone, Serialize)]
pub struct SensitiveComparison {
    /// The arm.
    pub arm: String,
    /// The difference, in the metric's own units.
    pub difference: Estimate,
    /// The lift.
    pub lift: Estimate,
    /// Not adjusted.
    pub p_value: Option<f64>,
}

/// The metric under each rule, if clicks were read under several.
pub(crate) fn click_sensitivity(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    alpha: f64,
) -> Result<Vec<ClickSensitivity>> {
    let mut found = Vec::new();
    if metric.other_click_rules.is_empty() {
        return Ok(found);
    }
    let headline = ("probable".to_owned(), metric.overall.clone());
    for (rule, arms) in metric.other_click_rules.iter().chain([&headline]) {
        let machine_clicks_removed = match rule.as_str() {
            "none" => "none",
            "certain" => "certain",
            _ => "probable",
        };
        let mut comparisons = Vec::with_capacity(treatments.len());
        for arm in treatments {
            let (Some(baseline), Some(treated)) = (arms.get(control), arms.get(arm)) else { continue };
            let comparison = ArmStatistic::compare(baseline, treated, alpha)?;
            comparisons.push(SensitiveComparison {
                arm: arm.clone(),
                difference: comparison.difference,
                lift: comparison.lift,
                p_value: comparison.p_value,
            });
        }
        found.push(ClickSensitivity { machine_clicks_removed, comparisons });
    }
    Ok(found)
}

/// Whether the rules for machines' clicks agree on what is significant and in which direction, on which arm is best, and on
/// how large differences are: within the interval of the headline.
pub(crate) fn click_check(metric: &str, rules: &[ClickSensitivity], alpha: f64) -> Option<Check> {
    let verdict = |comparison: &SensitiveComparison| {
        let difference = comparison.difference.estimate.unwrap_or(0.0);
        comparison.p_value.is_some_and(|p_value| p_value < alpha).then_some(difference > 0.0)
    };
    let best = |rule: &ClickSensitivity| {
        let significant = rule.comparisons.iter().enumerate().filter(|(_, found)| verdict(found) == Some(true));
        let estimate = |found: &SensitiveComparison| found.difference.estimate.unwrap_or(0.0);
        significant.max_by(|left, right| estimate(left.1).total_cmp(&estimate(right.1))).map(|(position, _)| position)
    };
    let (headline, others) = rules.split_last()?;
    let named = |rule: &ClickSensitivity| if rule.machine_clicks_removed == "none" { "none" } else { "certain ones" };
    for (position, comparison) in headline.comparisons.iter().enumerate() {
        for rule in others {
            let Some(other) = rule.comparisons.get(position) else { continue };
            let held = &comparison.difference;
            let elsewhere = other.difference.estimate.is_some_and(|found| {
                held.low.is_some_and(|low| found < low) || held.high.is_some_and(|high| found > high)
            });
            if verdict(other) != verdict(comparison) || elsewhere {
                let points = |found: &SensitiveComparison| found.difference.estimate.unwrap_or(0.0) * 100.0;
                let detail = format!(
                    "{metric} of {} depends on what is taken for a machine's click: {:+.2} points with {} left out, {:+.2} with \
                     all suspected ones",
                    comparison.arm,
                    points(other),
                    named(rule),
                    points(comparison)
                );
                return Some(Check::new("machine_clicks", Verdict::Warn, detail));
            }
        }
    }
    for rule in others {
        let arm =
            |rule: &ClickSensitivity| best(rule).and_then(|position| Some(rule.comparisons.get(position)?.arm.clone()));
        if let (Some(now), Some(then)) = (arm(headline), arm(rule))
            && now != then
        {
            let detail = format!(
                "{metric}: which arm is best depends on what is taken for a machine's click: {then} with {} left out, {now} with \
                 all suspected ones",
                named(rule)
            );
            return Some(Check::new("machine_clicks", Verdict::Warn, detail));
        }
    }
    let detail = format!("{metric}: the same conclusion whichever clicks are taken for machines'");
    Some(Check::new("machine_clicks", Verdict::Ok, detail))
}

/// Whether one unit alone moves the difference of a mean: what it adds to its arm's mean, in standard errors of the
/// difference from the control.
pub(crate) fn outlier_check(metric: &MetricSample, control: &str, treatments: &[String]) -> Result<Option<Check>> {
    if metric.extremes.is_empty() {
        return Ok(None);
    }
    let mut worst: Option<(f64, &str, f64)> = None;
    let Some(baseline) = metric.overall.get(control) else { return Ok(None) };
    let baseline = baseline.moments()?;
    for treatment in treatments {
        let Some(treated) = metric.overall.get(treatment) else { continue };
        let treated = treated.moments()?;
        let (Some(left), Some(right)) = (baseline.squared_standard_error(), treated.squared_standard_error()) else {
            continue;
        };
        let standard_error = (left + right).sqrt();
        if standard_error <= 0.0 {
            continue;
        }
        for (arm, moments) in [(control, &baseline), (treatment.as_str(), &treated)] {
            let Some((least, greatest)) = metric.extremes.get(arm) else { continue };
            for value in [*least, *greatest] {
                #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
                let moved = (value - moments.mean).abs() / (moments.n.max(2) - 1) as f64 / standard_error;
                if worst.is_none_or(|(most, _, _)| moved > most) {
                    worst = Some((moved, arm, value));
                }
            }
        }
    }
    Ok(worst.map(|(moved, arm, value)| {
        let name = &metric.name;
        if moved >= INFLUENTIAL {
            let detail = format!(
                "{name}: without one unit of {arm}, of value {value}, the difference is another by {moved:.1} standard errors; \
                 compare with {name}:winsorised"
            );
            Check::new("outliers", Verdict::Warn, detail)
        } else {
            let detail = format!("{name}: no unit moves the difference by more than {moved:.2} standard errors");
            Check::new("outliers", Verdict::Ok, detail)
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::experiment::metric::MetricKind;
    use crate::experiment::sample::{ByArm, MetricRole};
    use crate::stats::{Moments, Proportion};

    #[test]
    fn a_unit_that_decides_alone_is_named() {
        let mut metric = MetricSample::new("spend".to_owned(), MetricKind::Mean, MetricRole::Primary);
        let values = [1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 900.0];
        for (arm, values) in [("A", &values[..6]), ("B", &values[..])] {
            let moments = Moments::from_values(values.iter().copied()).unwrap();
            metric.overall.insert(arm.to_owned(), ArmStatistic::Mean(moments));
            let greatest = values.iter().copied().fold(0.0, f64::max);
            metric.extremes.insert(arm.to_owned(), (1.0, greatest));
        }
        let check = outlier_check(&metric, "A", &["B".to_owned()]).unwrap().unwrap();
        // Leaving it out: the mean of B falls from 911 / 7 to 11 / 6, by 1.0 of the standard error of the difference.
        let (all, rest) = (911.0 / 7.0, 11.0 / 6.0);
        let moments = |arm: &str| metric.overall[arm].moments().unwrap();
        let square = |arm: &str| moments(arm).squared_standard_error().unwrap();
        let expected = (all - rest) / (square("A") + square("B")).sqrt();
        assert!(
            check.verdict == Verdict::Warn && check.detail.contains(&format!("by {expected:.1} standard errors")),
            "{check:?}"
        );
    }

    #[test]
    fn rules_that_disagree_are_called_out() {
        let arms = |control: u64, treated: u64| -> ByArm {
            BTreeMap::from([("A", control), ("B", treated)].map(|(arm, clicks)| {
                (arm.to_owned(), ArmStatistic::Proportion(Proportion::new(1_000, clicks).unwrap()))
            }))
        };
        let mut metric = MetricSample::new("click".to_owned(), MetricKind::Proportion, MetricRole::Primary);
        metric.overall = arms(100, 101);
        let check = |metric: &MetricSample| {
            let rules = click_sensitivity(metric, "A", &["B".to_owned()], 0.05).unwrap();
            click_check("click", &rules, 0.05)
        };
        assert!(check(&metric).is_none());
        metric.other_click_rules = vec![("none".to_owned(), arms(110, 190)), ("certain".to_owned(), arms(105, 108))];
        let found = check(&metric).unwrap();
        assert!(
            found.verdict == Verdict::Warn && found.detail.contains("+8.00 points with none left out"),
            "{found:?}"
        );
        metric.other_click_rules = vec![("none".to_owned(), arms(110, 112)), ("certain".to_owned(), arms(105, 108))];
        assert_eq!(check(&metric).unwrap().verdict, Verdict::Ok);
        // Significant either way, and of another size.
        metric.overall = arms(100, 180);
        metric.other_click_rules = vec![("none".to_owned(), arms(150, 300))];
        assert!(check(&metric).unwrap().detail.contains("+15.00 points with none left out, +8.00 with all"));
        // Two arms better than the control, and another one of them best.
        let three = |treated: u64, other: u64| {
            let mut three = arms(100, treated);
            three.extend(arms(100, other).remove("B").map(|statistic| ("C".to_owned(), statistic)));
            three
        };
        metric.overall = three(180, 170);
        metric.other_click_rules = vec![("none".to_owned(), three(175, 185))];
        let rules = click_sensitivity(&metric, "A", &["B".to_owned(), "C".to_owned()], 0.05).unwrap();
        let detail = click_check("click", &rules, 0.05).unwrap().detail;
        assert!(detail.contains("C with none left out, B with all suspected ones"), "{detail}");
    }
}
