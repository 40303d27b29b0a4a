//! Exact tests of shares whose counts are too small for the headline's pooled z.
//!
//! Enters: the counts of two arms. Leaves: nothing where the least expected count is five or more (Cochran 1954); else
//! Boschloo's test with the difference, or Fisher's with the odds ratio, and the reason. Segments are many, and have
//! Fisher's, which is quick.

use serde::Serialize;

use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::Estimate;
use crate::stats::proportion::{
    LEAST_EXPECTED_COUNT, ProportionTest, barnard_exact_test, boschloo_exact_test, fisher_exact_test, recommended_for,
};

const READ_THIS: &str = "read this p value and this interval: at such counts those of the pooled z are not right";

const ASKED_FOR: &str = "it decides, for it was asked for";
const TOO_MANY: &str = "of so many units there is no such exact test: the headline decides";
const NO_INTERVAL: &str = "its p value decides, for it was asked for; of so many units it has no interval: the one beside it is \
                           that of the headline";

/// An exact comparison of two shares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExactResult {
    /// Which test.
    pub test: ProportionTest,
    /// Its two-sided p value.
    pub p_value: Option<f64>,
    /// The same, adjusted for the comparisons that belong together.
    pub p_value_adjusted: Option<f64>,
    /// The difference with the exact interval that agrees with Boschloo's test: zero lies outside exactly when the p
    /// value is below alpha.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Estimate>,
    /// The odds ratio with Cornfield's exact interval, beside Fisher's test; one means no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub odds_ratio: Option<Estimate>,
    /// The rule that chose the test, with the numbers.
    pub reason: String,
    /// Which result to read.
    pub note: &'static str,
}

/// Where a comparison stands, which says how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Of all units.
    Overall,
    /// Of all units, one of all pairs of arms.
    Pair,
    /// Of one segment among many.
    Segment,
}

/// The exact comparison of two shares, where the counts are small; none of means.
pub(crate) fn exact(
    control: &ArmStatistic,
    treatment: &ArmStatistic,
    place: Place,
    chosen: Option<ProportionTest>,
    alpha: f64,
) -> Result<Option<ExactResult>> {
    let (ArmStatistic::Proportion(control), ArmStatistic::Proportion(treatment)) = (control, treatment) else {
        return Ok(None);
    };
    let recommended = recommended_for(*control, *treatment)?;
    // Segments are many, and have the quick test of the rule.
    let chosen = chosen.filter(|_| place != Place::Segment);
    let Some(least) =
        recommended.least_expected_count.filter(|least| chosen.is_some() || *least < LEAST_EXPECTED_COUNT)
    else {
        return Ok(None);
    };
    let (test, reason) = match (chosen.unwrap_or(recommended.test), place) {
        (test, _) if chosen.is_some() => (test, "the exact test that was asked for".to_owned()),
        (ProportionTest::Boschloo, Place::Segment) => {
            let reason =
                format!("the least expected count is {least:.1}, below five: Fisher's exact test, of a segment");
            (ProportionTest::Fisher, reason)
        }
        (test, _) => (test, recommended.reason),
    };
    let mut result = ExactResult {
        test,
        p_value: None,
        p_value_adjusted: None,
        difference: None,
        odds_ratio: None,
        reason,
        note: if chosen.is_some() { ASKED_FOR } else { READ_THIS },
    };
    match test {
        // Too many units for any exact test.
        ProportionTest::PooledZ => return Ok(None),
        ProportionTest::Barnard => {
            let found = barnard_exact_test(*control, *treatment, alpha)?;
            result.p_value = found.p_value;
            result.difference = Some(found.difference);
        }
        ProportionTest::Boschloo => {
            let found = boschloo_exact_test(*control, *treatment, alpha)?;
            result.p_value = found.p_value;
            result.difference = Some(found.difference);
        }
        ProportionTest::Fisher => {
            let found = fisher_exact_test(*control, *treatment, alpha)?;
            result.p_value = found.p_value;
            result.odds_ratio = Some(found.odds_ratio);
        }
    }
    // Without any end it would hold everything: the headline's interval says more.
    result.difference = result.difference.filter(|difference| difference.low.is_some() || difference.high.is_some());
    if chosen.is_some() {
        match (result.p_value, &result.difference, &result.odds_ratio) {
            (None, ..) => result.note = TOO_MANY,
            (Some(_), None, None) => result.note = NO_INTERVAL,
            _ => {}
        }
    }
    result.p_value_adjusted = result.p_value;
    Ok(Some(result))
}

/// The difference with its exact interval at another alpha.
pub(crate) fn exact_difference(
    control: &ArmStatistic,
    treatment: &ArmStatistic,
    chosen: Option<ProportionTest>,
    alpha: f64,
) -> Result<Option<Estimate>> {
    Ok(exact(control, treatment, Place::Overall, chosen, alpha)?.and_then(|found| found.difference))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Proportion;

    fn share(n: u64, successes: u64) -> ArmStatistic {
        ArmStatistic::Proportion(Proportion::new(n, successes).unwrap())
    }

    #[test]
    fn small_counts_are_tested_exactly() {
        // SciPy 1.17.1: scipy.stats.boschloo_exact([[9, 3], [1, 7]]); the interval by tests/oracle/exact_interval.py.
        let found = exact(&share(10, 3), &share(10, 9), Place::Overall, None, 0.05).unwrap().unwrap();
        assert_eq!(found.test, ProportionTest::Boschloo);
        assert!((found.p_value.unwrap() - 0.007_955_551_147).abs() < 1e-9);
        let difference = found.difference.unwrap();
        assert!((difference.low.unwrap() - 0.160_764_368).abs() < 1e-5);
        assert!(found.reason.contains("4.0, below five") && found.odds_ratio.is_none());
    }

    #[test]
    fn segments_have_fishers_test_and_large_counts_none() {
        // SciPy: scipy.stats.fisher_exact([[8, 2], [1, 5]]) has p 0.0350 (the example of its documentation).
        let found = exact(&share(6, 1), &share(10, 8), Place::Segment, None, 0.05).unwrap().unwrap();
        assert_eq!(found.test, ProportionTest::Fisher);
        assert!((found.p_value.unwrap() - 0.034_965).abs() < 1e-6);
        assert!(found.odds_ratio.is_some() && found.difference.is_none());
        let many = exact(&share(20_000, 1), &share(20_000, 3), Place::Overall, None, 0.05).unwrap().unwrap();
        assert_eq!(many.test, ProportionTest::Fisher);
        assert!(exact(&share(100, 50), &share(100, 60), Place::Overall, None, 0.05).unwrap().is_none());
        assert!(exact(&share(0, 0), &share(100, 60), Place::Overall, None, 0.05).unwrap().is_none());
    }
}
