//! Honest numbers for what was picked because it looked good.
//!
//! Enters: the comparisons with their adjusted p values, and the statistics that they were made from. Leaves: for those
//! that were significant among others that were not, intervals of which no more than alpha miss (false coverage rate,
//! Benjamini and Yekutieli 2005); and of several arms the best one's difference from the control without its luck
//! (Andrews, Kitagawa and `McCloskey` 2024).

use serde::Serialize;

use super::analysis::MetricAnalysis;
use super::comparisons::ArmsComparison;
use super::exact::exact_difference;
use super::options::AnalysisOptions;
use super::sample::{ByArm, MetricSample};
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::selection::false_coverage_alpha;
use crate::stats::{Contender, Estimate, Interval, best_arm};

const REPORT_THIS: &str = "report the hybrid estimate: the naive one is too high on average, as the best of several";

const NO_EXACT_LIFT: &str = "an exact test of shares has an interval of their difference alone";

/// The intervals of a comparison that was picked for being significant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FalseCoverage {
    /// The difference, in the metric's own units.
    pub difference: Estimate,
    /// The lift.
    pub lift: Estimate,
    /// The error of each interval, alpha × picked / comparisons.
    pub alpha: f64,
    /// Comparisons that were picked.
    pub picked: usize,
    /// Comparisons that could have been.
    pub comparisons: usize,
}

/// The best of several arms, and what to expect of it.
#[derive(Debug, Clone, Serialize)]
pub struct BestOfArms {
    /// The arm.
    pub arm: String,
    /// The control that it is held against.
    pub control: String,
    /// Its difference as if it had been the only arm.
    pub naive: Estimate,
    /// Its difference given that it was the best: exact, and long where the race was close.
    pub conditional: Estimate,
    /// Its difference, nearly median-unbiased and bounded: the one to report.
    pub hybrid: Estimate,
    /// The methods, in words.
    pub method: String,
    /// Which estimate to report.
    pub note: &'static str,
}

/// Adds intervals to the comparisons that were significant among others that were not, family by family.
pub(crate) fn add_false_coverage(
    metrics: &mut [MetricAnalysis],
    samples: &[MetricSample],
    options: &AnalysisOptions,
) -> Result<()> {
    // Intervals of several looks are not those of one fixed test at another alpha; nor are adjusted ones, whose numbers the
    // plain statistics do not have.
    let is_other = |found: &ArmsComparison| {
        let adjusted = [&found.adjusted, &found.post_stratified];
        found.planned_look.is_some()
            || found.always_valid.is_some()
            || adjusted.into_iter().flatten().any(|found| found.decides)
    };
    if metrics.iter().flat_map(|metric| &metric.comparisons).any(is_other) {
        return Ok(());
    }
    for guardrails in [false, true] {
        let family = metrics
            .iter_mut()
            .zip(samples)
            .filter(|(metric, _)| metric.is_guardrail() == guardrails)
            .flat_map(|(metric, sample)| metric.comparisons.iter_mut().map(move |found| (found, &sample.overall)));
        widen(family.collect(), options)?;
    }
    for (metric, sample) in metrics.iter_mut().zip(samples) {
        let family = metric
            .segments
            .iter_mut()
            .zip(sample.segments.values())
            .flat_map(|(segment, arms)| segment.comparisons.iter_mut().map(move |found| (found, arms)));
        widen(family.collect(), options)?;
        widen(metric.pairs.iter_mut().map(|found| (found, &sample.overall)).collect(), options)?;
    }
    Ok(())
}

fn widen(family: Vec<(&mut ArmsComparison, &ByArm)>, options: &AnalysisOptions) -> Result<()> {
    let alpha = options.alpha;
    let selected: Vec<bool> =
        family.iter().map(|(found, _)| found.decisive_p_value().is_some_and(|p_value| p_value < alpha)).collect();
    let picked = selected.iter().filter(|is_selected| **is_selected).count();
    let comparisons = selected.len();
    // All of them picked is no selection.
    if picked == comparisons {
        return Ok(());
    }
    let Some(false_coverage_alpha) = false_coverage_alpha(&selected, alpha)? else { return Ok(()) };
    for ((found, arms), is_selected) in family.into_iter().zip(selected) {
        let (Some(control), Some(arm)) = (arms.get(&found.control), arms.get(&found.arm)) else { continue };
        if !is_selected {
            continue;
        }
        let wider = ArmStatistic::compare_with(control, arm, options.proportions.correction, false_coverage_alpha)?;
        // Of the test that picked it; an exact one has no lift.
        let exact = found.exact.as_ref().and_then(|found| found.difference.as_ref()).is_some();
        let exact =
            if exact { exact_difference(control, arm, options.proportions.exact, false_coverage_alpha)? } else { None };
        let (difference, lift) = match exact {
            Some(difference) => (difference, Estimate::undefined(NO_EXACT_LIFT)),
            None => (wider.difference, wider.lift),
        };
        found.false_coverage =
            Some(FalseCoverage { difference, lift, alpha: false_coverage_alpha, picked, comparisons });
    }
    Ok(())
}

/// The best of two or more arms beside the control; none where an arm's spread is not known. Of a guardrail the least is
/// the best.
pub(crate) fn best_of_arms(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    alpha: f64,
) -> Result<Option<BestOfArms>> {
    if treatments.len() < 2 {
        return Ok(None);
    }
    let lower_is_better = metric.lower_is_better;
    let spread = |arm: &str| -> Result<Option<(f64, f64)>> {
        let Some(statistic) = metric.overall.get(arm) else { return Ok(None) };
        let moments = statistic.moments()?;
        Ok(moments.squared_standard_error().map(|square| (moments.mean, square)))
    };
    let Some((baseline, shared)) = spread(control)? else { return Ok(None) };
    let mut contenders = Vec::with_capacity(treatments.len());
    for arm in treatments {
        // An arm without noise of its own, or next to none, is no contender that chance could have lifted.
        let Some((mean, own)) = spread(arm)?.filter(|(_, own)| *own > 1e-9 * shared) else { return Ok(None) };
        let difference = if lower_is_better { baseline - mean } else { mean - baseline };
        contenders.push(Contender { estimate: difference, standard_error: (own + shared).sqrt() });
    }
    let best = best_arm(&contenders, shared, alpha)?;
    let Some(arm) = treatments.get(best.index) else { return Ok(None) };
    let turn = |estimate: Estimate| if lower_is_better { turned(estimate) } else { estimate };
    Ok(Some(BestOfArms {
        arm: arm.clone(),
        control: control.to_owned(),
        naive: turn(best.naive),
        conditional: turn(best.conditional),
        hybrid: turn(best.hybrid),
        method: best.method,
        note: REPORT_THIS,
    }))
}

/// The same estimate with the opposite sign.
fn turned(estimate: Estimate) -> Estimate {
    let negative = |value: Option<f64>| value.map(|value| 0.0 - value);
    let interval = Interval { low: negative(estimate.high), high: negative(estimate.low), note: estimate.note };
    Estimate::from_parts(negative(estimate.estimate), interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::MetricKind;
    use crate::experiment::sample::MetricRole;
    use crate::stats::Moments;

    fn metric(role: MetricRole, sign: f64) -> MetricSample {
        let mut metric = MetricSample::new("m".to_owned(), MetricKind::Mean, role);
        // Standard errors of one, and next to none in the control.
        for (arm, n, mean, variance) in
            [("A", 1_000_000, 0.0, 1e-12), ("B", 100, 1.0, 100.0), ("C", 100, 2.0, 100.0), ("D", 100, 2.5, 100.0)]
        {
            let moments = Moments::from_n_mean_variance(n, sign * mean, variance).unwrap();
            metric.overall.insert(arm.to_owned(), ArmStatistic::Mean(moments));
        }
        metric
    }

    #[test]
    fn the_best_arm_loses_its_luck() {
        // stats/tests/oracle/selection.py: arms 1.0, 2.0, 2.5 with standard errors of one, by mpmath with 30 digits.
        let treatments = ["B", "C", "D"].map(str::to_owned);
        let close = |actual: Option<f64>, expected: f64| {
            assert!((actual.unwrap() - expected).abs() < 1e-7, "{actual:?} is not {expected}");
        };
        let best = best_of_arms(&metric(MetricRole::Primary, 1.0), "A", &treatments, 0.05).unwrap().unwrap();
        assert_eq!(best.arm, "D");
        close(best.naive.estimate, 2.5);
        close(best.conditional.estimate, 1.427_464_895);
        close(best.hybrid.estimate, 1.434_961_564);
        // Of a guardrail the least is the best, and its ends change places.
        let least = best_of_arms(&metric(MetricRole::Guardrail, -1.0), "A", &treatments, 0.05).unwrap().unwrap();
        assert_eq!(least.arm, "D");
        close(least.hybrid.estimate, -1.434_961_564);
        assert!(least.hybrid.low.unwrap() < least.hybrid.high.unwrap());
        assert!(best_of_arms(&metric(MetricRole::Primary, 1.0), "A", &treatments[..1], 0.05).unwrap().is_none());
    }
}
