//! Checks of one metric over the arms: who has no value, and whether a small arm shows the spread that it has.

use super::checks::{Check, MISMATCH, Verdict};
use super::decision::p_value_in_words;
use super::metric::labelled;
use super::sample::{MetricRole, MetricSample};
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::mean::with_spread_of_both;
use crate::stats::{Proportion, compare_means, compare_proportions};

/// Whether units of a table lack a value in one arm more often than in another: who has one was then chosen after the draw.
pub(crate) fn missing_by_arm(
    metric: &MetricSample,
    units: &[(String, u64)],
    control: &str,
    treatments: &[String],
) -> Result<Option<Check>> {
    let missing = |arm: &str| -> Option<Proportion> {
        let n = units.iter().find(|(name, _)| name == arm)?.1;
        let known = metric.overall.get(arm).map_or(0, ArmStatistic::n);
        Proportion::new(n, n.saturating_sub(known)).ok()
    };
    let Some(of_control) = missing(control) else { return Ok(None) };
    for arm in treatments {
        let Some(of_arm) = missing(arm) else { continue };
        let p_value = compare_proportions(of_control, of_arm, MISMATCH)?.p_value;
        if p_value.is_some_and(|p_value| p_value < MISMATCH) {
            let detail = format!(
                "{}: {} of {} units of {control} have no value, and {} of {} of {arm}: who has one hangs on the arm, and those that \
                 are left are no longer those that were drawn",
                labelled(&metric.name, metric.detail.as_deref()),
                of_control.successes,
                of_control.n,
                of_arm.successes,
                of_arm.n
            );
            let mut check = Check::new("missing_by_arm", Verdict::Fail, detail);
            check.p_value = p_value;
            return Ok(Some(check));
        }
    }
    Ok(None)
}

/// Whether a mean differs only because the much smaller arm happens to show hardly any spread.
pub(crate) fn spread_of_smaller_arm(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    alpha: f64,
) -> Result<Option<Check>> {
    let mean = |arm: &str| match metric.overall.get(arm) {
        Some(ArmStatistic::Mean(moments) | ArmStatistic::Logarithm(moments)) => Some(*moments),
        _ => None,
    };
    let Some(of_control) = mean(control) else { return Ok(None) };
    for arm in treatments {
        let Some(of_arm) = mean(arm) else { continue };
        let plain = compare_means(&of_control, &of_arm, alpha)?.p_value;
        let (left, right) = with_spread_of_both(&of_control, &of_arm)?;
        let held = compare_means(&left, &right, alpha)?.p_value;
        let (Some(plain), Some(held)) = (plain, held) else { continue };
        if plain < alpha && held >= alpha {
            let verdict = if metric.role == MetricRole::Primary { Verdict::Fail } else { Verdict::Warn };
            let smaller = if of_control.n < of_arm.n { control } else { arm };
            let detail = format!(
                "{}: {smaller} is much the smaller arm and shows less spread than both together, as a few rare values do; with the \
                 spread of both the p value is {} and not {}: it takes more units in {smaller}",
                labelled(&metric.name, metric.detail.as_deref()),
                p_value_in_words(held),
                p_value_in_words(plain)
            );
            let mut check = Check::new("spread_of_smaller_arm", verdict, detail);
            check.p_value = Some(held);
            return Ok(Some(check));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::metric::MetricKind;
    use crate::stats::Moments;

    fn metric(control: ArmStatistic, arm: ArmStatistic) -> MetricSample {
        let mut metric = MetricSample::new("revenue".to_owned(), MetricKind::Mean, MetricRole::Primary);
        metric.overall.insert("A".to_owned(), control);
        metric.overall.insert("B".to_owned(), arm);
        metric
    }

    fn mean(n: u64, mean: f64, variance: f64) -> ArmStatistic {
        ArmStatistic::Mean(Moments::from_n_mean_variance(n, mean, variance).unwrap())
    }

    #[test]
    fn values_that_one_arm_lacks_are_told() {
        let treatments = ["B".to_owned()];
        let units = [("A".to_owned(), 2_000), ("B".to_owned(), 2_000)];
        let found = |of_arm| missing_by_arm(&metric(mean(2_000, 1.0, 1.0), of_arm), &units, "A", &treatments).unwrap();
        let check = found(mean(1_553, 1.0, 1.0)).unwrap();
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.detail.contains("0 of 2000 units of A have no value, and 447 of 2000 of B"), "{}", check.detail);
        assert!(found(mean(1_995, 1.0, 1.0)).is_none());
    }

    #[test]
    fn a_small_arm_without_rare_values_decides_nothing() {
        let found = |control, arm| {
            spread_of_smaller_arm(&metric(control, arm), "A", &["B".to_owned()], 0.05)
                .unwrap()
                .map(|check| check.verdict)
        };
        // Nobody of 100 spends anything, 27 of 900 do.
        assert_eq!(found(mean(100, 0.0, 0.0), mean(900, 1.2, 52.0)), Some(Verdict::Fail));
        assert_eq!(found(mean(900, 0.0, 0.0), mean(900, 1.2, 52.0)), None);
        assert_eq!(found(mean(100, 1.0, 60.0), mean(900, 9.0, 52.0)), None);
    }
}
