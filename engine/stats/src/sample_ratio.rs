//! Sample ratio mismatch: were the arms filled in the shares that were intended?
//!
//! Enters: the units counted in each arm, and each arm's intended weight on any scale. Leaves: Pearson's chi-square
//! test (Pearson 1900). A small p value says that something moved units between or out of the arms, and that no other
//! number of the experiment can be trusted. Run it at every stage (assigned, sent, delivered).
//!
//! The degrees of freedom are the arms with a weight above zero less one. An arm of weight zero that holds units is a
//! mismatch by itself: its expected count is zero, the statistic has no bound, and the p value is zero.

use crate::distribution::chi_squared;
use crate::error::{StatsError, check_not_negative};
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};

/// Result of the sample ratio test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Pearson's chi-square; none where an arm of weight zero holds units, which makes it infinite.
    pub statistic: Option<f64>,
    /// Arms with a weight above zero, less one.
    pub degrees_of_freedom: u64,
    /// Probability, 0 to 1, of shares at least this far from the intended ones.
    pub p_value: f64,
    /// Why the statistic is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Tests whether `counts` units fell into the arms in the shares of `weights`, arm by arm in the same order.
///
/// The weights may be on any scale: `[1.0, 1.0]`, `[0.5, 0.5]` and `[50.0, 50.0]` ask the same.
///
/// ```
/// let split = sendlift_stats::sample_ratio_test(&[600, 400], &[0.5, 0.5])?;
/// assert!(split.p_value < 1e-9);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::LengthsDiffer`] unless each arm has one count and one weight; [`StatsError::NotFinite`] or
/// [`StatsError::Negative`] for a weight that is no weight; [`StatsError::TooFewArms`] with fewer than two weights
/// above zero; [`StatsError::NoUnits`] when every count is zero.
pub fn sample_ratio_test(counts: &[u64], weights: &[f64]) -> Result<SampleRatio, StatsError> {
    if counts.len() != weights.len() {
        return Err(StatsError::LengthsDiffer { counts: counts.len(), weights: weights.len() });
    }
    for &weight in weights {
        check_not_negative("the weight of an arm", weight)?;
    }
    // Relative to the largest, so that weights of any scale add up without overflow.
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let shares: Vec<f64> = weights.iter().map(|&weight| if weight > 0.0 { weight / largest } else { 0.0 }).collect();
    let arms = shares.iter().filter(|share| **share > 0.0).count();
    if arms < 2 {
        return Err(StatsError::TooFewArms { arms });
    }
    let total: f64 = counts.iter().copied().map(count).sum();
    if total <= 0.0 {
        return Err(StatsError::NoUnits);
    }
    let all_shares: f64 = shares.iter().sum();

    let mut statistic = 0.0;
    for (&observed, &share) in counts.iter().zip(&shares) {
        if share > 0.0 {
            let expected = total * (share / all_shares);
            let excess = count(observed) - expected;
            statistic += excess * excess / expected;
        } else if observed > 0 {
            statistic = f64::INFINITY;
        }
    }
    let degrees_of_freedom = arms - 1;
    let bounded = statistic.is_finite();
    Ok(SampleRatio {
        statistic: bounded.then_some(statistic),
        degrees_of_freedom: degrees_of_freedom as u64,
        p_value: chi_squared::upper_tail(statistic, length(degrees_of_freedom)),
        note: (!bounded).then(|| "units were counted in an arm that should receive none".to_owned()),
    })
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::unreadable_literal,
    reason = "golden numbers as the oracle prints them"
)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn check(counts: &[u64], weights: &[f64], statistic: f64, p_value: f64) {
        let result = sample_ratio_test(counts, weights).unwrap();
        assert_close(result.statistic.unwrap(), statistic, 1e-9);
        assert_close(result.p_value, p_value, 1e-9);
    }

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.chisquare.
        check(&[502, 498], &[0.5, 0.5], 0.016, 0.8993431885613663);
        check(&[600, 400], &[1.0, 1.0], 40.0, 2.5396285894708634e-10);
        check(&[44000, 45000], &[50.0, 50.0], 11.235955056179776, 0.0008022781177678721);
        // Hillstrom (2008), three arms meant to be equal: README of the real data says p 0.904.
        check(&[21307, 21387, 21306], &[1.0, 1.0, 1.0], 0.20253125, 0.9036929575604196);
        // Outvote (Schein et al. 2021), 95/5.
        check(&[185179, 9939], &[0.95, 0.05], 3.6173101189509866, 0.05718125547475063);
    }

    #[test]
    fn a_zero_weight_arm_takes_no_degree_of_freedom() {
        let without = sample_ratio_test(&[600, 500], &[1.0, 1.0]).unwrap();
        let with = sample_ratio_test(&[600, 500, 0], &[1.0, 1.0, 0.0]).unwrap();
        assert_eq!(with, without);
        assert_eq!(with.degrees_of_freedom, 1);
    }

    #[test]
    fn units_in_a_zero_weight_arm_are_a_mismatch() {
        let result = sample_ratio_test(&[500, 500, 1], &[1.0, 1.0, 0.0]).unwrap();
        assert_eq!(result.p_value, 0.0);
        assert_eq!(result.statistic, None);
        assert!(result.note.is_some());
    }

    #[test]
    fn questions_without_an_answer_are_refused() {
        assert_eq!(sample_ratio_test(&[0, 0], &[1.0, 1.0]), Err(StatsError::NoUnits));
        assert!(sample_ratio_test(&[1, 2], &[1.0]).is_err());
        assert!(sample_ratio_test(&[1, 2], &[1.0, 0.0]).is_err());
        assert!(sample_ratio_test(&[1, 2], &[1.0, f64::NAN]).is_err());
        assert!(sample_ratio_test(&[1, 2], &[1.0, -1.0]).is_err());
    }
}
