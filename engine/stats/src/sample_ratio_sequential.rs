//! Sample ratio mismatch, looked at as often as anyone likes.
//!
//! Enters: the units that each arm gained between looks, and each arm's intended weight. Leaves: at every look an e
//! value and a p value that stay valid however many looks there are and whatever decides when to stop.
//!
//! Lindon and Malek (2022), "Anytime-valid inference for multinomial count data", `NeurIPS` 35. The e value is the
//! Bayes factor of shares with a Dirichlet(c w₁, c w₂, …) distribution against the intended shares w themselves:
//!
//! ```text
//! e = Γ(c) / Γ(c + n) × Π Γ(c wᵢ + nᵢ) / Γ(c wᵢ) × Π wᵢ^−nᵢ
//! ```
//!
//! If the intended shares are the true ones, e exceeds 1/α at any look ever with probability α at most (Ville's
//! inequality), so p = 1 / (greatest e so far), at most 1. The concentration c says how near the true shares are
//! believed to lie if they are not the intended ones: 100, the default, is as sure as a hundred units would make one.
//!
//! ln e is put together from a deviance and the errors of Stirling's formula, so that a thousand million units keep
//! their digits.

use crate::binomial::{deviance, stirling_error};
use crate::error::{StatsError, check_not_negative, check_positive};
use crate::numeric::count;
use serde::{Deserialize, Serialize};

/// The concentration of the authors' examples.
pub const DEFAULT_CONCENTRATION: f64 = 100.0;

/// One look at the units assigned so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRatioLook {
    /// Units of all arms at this look.
    pub units: u64,
    /// ln of the e value of this look: above zero where the counts speak against the intended shares. None where an arm
    /// of weight zero holds units, which makes it infinite.
    pub log_e_value: Option<f64>,
    /// Always-valid p value, 0 to 1: one over the greatest e value of this look and all before it.
    pub p_value: f64,
    /// Why the e value is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Tests at one look whether `counts` units fell into the arms in the shares of `weights`, arm by arm in the same
/// order.
///
/// The weights may be on any scale. A single look has the p value of a path with one look.
///
/// ```
/// use sendlift_stats::sample_ratio_sequential::{DEFAULT_CONCENTRATION, anytime_sample_ratio_test};
///
/// let look = anytime_sample_ratio_test(&[600, 400], &[1.0, 1.0], DEFAULT_CONCENTRATION)?;
/// assert!(look.p_value < 1e-7);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// As [`sequential_sample_ratio_test`].
pub fn anytime_sample_ratio_test(
    counts: &[u64],
    weights: &[f64],
    concentration: f64,
) -> Result<SampleRatioLook, StatsError> {
    Multinomial::new(weights, concentration)?.look(counts, 0.0)
}

/// Tests at every look whether units fall into the arms in the shares of `weights`. Each item of `gained` has the units
/// that each arm gained since the look before (a day's, say); each look counts all of them up to it.
///
/// Before the first unit, e and p are 1. Without looks the path is empty.
///
/// # Errors
///
/// [`StatsError::LengthsDiffer`] unless each arm has one count at each look and one weight; [`StatsError::NotFinite`]
/// or [`StatsError::Negative`] for a weight that is no weight; [`StatsError::TooFewArms`] with fewer than two weights
/// above zero; [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for a concentration that is not above zero.
pub fn sequential_sample_ratio_test<Counts: AsRef<[u64]>>(
    gained: &[Counts],
    weights: &[f64],
    concentration: f64,
) -> Result<Vec<SampleRatioLook>, StatsError> {
    let multinomial = Multinomial::new(weights, concentration)?;
    let mut totals = vec![0_u64; weights.len()];
    let mut greatest_log_e_value: f64 = 0.0;
    let mut looks = Vec::with_capacity(gained.len());
    for gains in gained {
        let gains = gains.as_ref();
        if gains.len() != weights.len() {
            return Err(StatsError::LengthsDiffer { counts: gains.len(), weights: weights.len() });
        }
        for (total, gain) in totals.iter_mut().zip(gains) {
            *total = total.saturating_add(*gain);
        }
        let look = multinomial.look(&totals, greatest_log_e_value)?;
        greatest_log_e_value =
            look.log_e_value.map_or(f64::INFINITY, |log_e_value| greatest_log_e_value.max(log_e_value));
        looks.push(look);
    }
    Ok(looks)
}

/// The intended shares, and how sure one is that the true ones are near.
#[derive(Debug, Clone)]
struct Multinomial {
    /// Adding up to one; zero for an arm that should receive none.
    shares: Vec<f64>,
    concentration: f64,
}

impl Multinomial {
    fn new(weights: &[f64], concentration: f64) -> Result<Self, StatsError> {
        check_positive("the concentration", concentration)?;
        for &weight in weights {
            check_not_negative("the weight of an arm", weight)?;
        }
        let arms = weights.iter().filter(|weight| **weight > 0.0).count();
        if arms < 2 {
            return Err(StatsError::TooFewArms { arms });
        }
        // Relative to the largest, so that weights of any scale add up without overflow.
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let total: f64 = weights.iter().map(|weight| weight / largest).sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / largest / total).collect();
        for (&weight, &share) in weights.iter().zip(&shares) {
            if weight > 0.0 {
                check_positive("the concentration times the share of an arm", share * concentration)?;
            }
        }
        Ok(Self { shares, concentration })
    }

    /// The look at `counts`, after looks whose greatest ln e, zero or more, is `greatest_before`.
    fn look(&self, counts: &[u64], greatest_before: f64) -> Result<SampleRatioLook, StatsError> {
        if counts.len() != self.shares.len() {
            return Err(StatsError::LengthsDiffer { counts: counts.len(), weights: self.shares.len() });
        }
        let units = counts.iter().copied().fold(0_u64, u64::saturating_add);
        let misplaced = counts.iter().zip(&self.shares).any(|(&observed, &share)| observed > 0 && share <= 0.0);
        if misplaced {
            let note = Some("units were counted in an arm that should receive none".to_owned());
            return Ok(SampleRatioLook { units, log_e_value: None, p_value: 0.0, note });
        }
        let log_e_value = self.log_e_value(counts);
        let p_value = (-greatest_before.max(log_e_value).max(0.0)).exp();
        Ok(SampleRatioLook { units, log_e_value: Some(log_e_value), p_value, note: None })
    }

    /// With a = c w + count and A its sum: Σ a ln(a / (A w)), half the logarithms, and the errors of Stirling's
    /// formula. The first is written as deviances, whose linear parts cancel in the sum.
    fn log_e_value(&self, counts: &[u64]) -> f64 {
        let units: f64 = counts.iter().copied().map(count).sum();
        if units <= 0.0 {
            return 0.0;
        }
        let before = self.concentration;
        let after = before + units;
        let of_all = 0.5 * (after / before).ln() + stirling_error(before) - stirling_error(after);
        let of_arms = self.shares.iter().zip(counts).filter(|(share, _)| **share > 0.0).map(|(&share, &observed)| {
            let arm_before = before * share;
            let arm_after = arm_before + count(observed);
            deviance(arm_after, after * share) - 0.5 * (arm_after / arm_before).ln() + stirling_error(arm_after)
                - stirling_error(arm_before)
        });
        of_all + of_arms.sum::<f64>()
    }
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

    fn check(counts: &[u64], weights: &[f64], log_e_value: f64, p_value: f64) {
        let look = anytime_sample_ratio_test(counts, weights, DEFAULT_CONCENTRATION).unwrap();
        assert_close(look.log_e_value.unwrap(), log_e_value, 1e-11);
        assert_close(look.p_value, p_value, 1e-9);
        assert_eq!(look.note, None);
    }

    #[test]
    fn agrees_with_the_definition() {
        // mpmath 1.4.1, 40 digits: the formula of the module with loggamma (tests/oracle/sample_ratio_sequential.py).
        // design/statistics.md prints p 3.75e-8 and .10935 for the first two.
        check(&[600, 400], &[1.0, 1.0], 17.0989404164511, 3.749941828647242e-08);
        check(&[44000, 45000], &[1.0, 1.0], 2.213183715153154, 0.1093519482741795);
        check(&[185179, 9939], &[0.95, 0.05], -2.016709944302866, 1.0);
        check(&[500010000, 499990000], &[1.0, 1.0], -7.861547853354154, 1.0);
        check(&[21307, 21387, 21306], &[1.0, 1.0, 1.0], -6.368617718745184, 1.0);
    }

    #[test]
    fn over_looks_the_p_value_never_rises() {
        let gained = [[60_u64, 40], [55, 45], [50, 50], [45, 55], [600, 400]];
        let looks = sequential_sample_ratio_test(&gained, &[1.0, 1.0], DEFAULT_CONCENTRATION).unwrap();
        assert_eq!(looks.last().unwrap().units, 1_400);
        for pair in looks.windows(2) {
            assert!(pair[1].p_value <= pair[0].p_value);
        }
        let first = anytime_sample_ratio_test(&[60, 40], &[1.0, 1.0], DEFAULT_CONCENTRATION).unwrap();
        assert_eq!(looks[0], first);
        // At 210 against 190 the evidence of the first days has gone, and their p value stays.
        assert!(looks[3].log_e_value.unwrap() < 0.0);
        assert_close(looks[3].p_value, looks[1].p_value.min(looks[2].p_value), 0.0);
    }

    #[test]
    fn nothing_seen_is_no_evidence() {
        let look = anytime_sample_ratio_test(&[0, 0], &[1.0, 3.0], DEFAULT_CONCENTRATION).unwrap();
        assert_eq!((look.units, look.log_e_value, look.p_value), (0, Some(0.0), 1.0));
        let none: [[u64; 2]; 0] = [];
        assert_eq!(sequential_sample_ratio_test(&none, &[1.0, 1.0], 100.0), Ok(vec![]));
    }

    #[test]
    fn a_zero_weight_arm_may_hold_nothing() {
        let without = anytime_sample_ratio_test(&[600, 500], &[1.0, 1.0], 100.0).unwrap();
        let with = anytime_sample_ratio_test(&[600, 500, 0], &[1.0, 1.0, 0.0], 100.0).unwrap();
        assert_eq!(with, without);
        let gained = [[5_u64, 5, 0], [5, 5, 1], [5, 5, 0]];
        let looks = sequential_sample_ratio_test(&gained, &[1.0, 1.0, 0.0], 100.0).unwrap();
        assert_eq!(looks[0].p_value, 1.0);
        for look in &looks[1..] {
            assert_eq!((look.log_e_value, look.p_value), (None, 0.0));
            assert!(look.note.is_some());
        }
    }

    #[test]
    fn questions_without_an_answer_are_refused() {
        assert!(anytime_sample_ratio_test(&[1, 2], &[1.0], 100.0).is_err());
        assert!(anytime_sample_ratio_test(&[1, 2, 3], &[1.0, 1.0], 100.0).is_err());
        assert!(anytime_sample_ratio_test(&[1, 2], &[1.0, 0.0], 100.0).is_err());
        assert!(anytime_sample_ratio_test(&[1, 2], &[1.0, f64::NAN], 100.0).is_err());
        assert!(anytime_sample_ratio_test(&[1, 2], &[1.0, -1.0], 100.0).is_err());
        for concentration in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(anytime_sample_ratio_test(&[1, 2], &[1.0, 1.0], concentration).is_err(), "{concentration}");
        }
        assert!(sequential_sample_ratio_test(&[vec![1_u64], vec![1, 2]], &[1.0, 1.0], 100.0).is_err());
    }
}
