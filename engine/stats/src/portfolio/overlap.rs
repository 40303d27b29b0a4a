//! Recipients that two experiments share.
//!
//! Enters: for pairs of experiments the recipients of each and of both. Leaves: the pairs that share more than a stated
//! part, and, where it is known how their assignments and outcomes go together, the correlation of their estimates.
//!
//! An estimate is a sum over recipients of a term with the sign of their arm. Shared recipients correlate two estimates
//! by ρ(arm) · ρ(outcome) · shared / √(n₁ n₂), with ρ(arm) the correlation of the two arm indicators and ρ(outcome)
//! that of the two outcomes among those shared, arms taken out. **Arms drawn independently (ρ(arm) = 0) leave the
//! estimates uncorrelated**, however many recipients are shared; what remains is that each effect was then measured in
//! the mixture of the other's arms. The same hash without a salt of its own gives ρ(arm) = ±1.

use crate::error::{StatsError, check_finite, check_positive, check_probability};
use crate::numeric::count;
use serde::{Deserialize, Serialize};

/// Recipients of a pair of experiments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RecipientOverlap {
    /// Place of the first experiment in the caller's list, from zero.
    pub first: usize,
    /// Place of the second.
    pub second: usize,
    /// Recipients in both.
    pub shared: u64,
    /// Recipients in the first.
    pub first_recipients: u64,
    /// Recipients in the second.
    pub second_recipients: u64,
    /// Correlation, −1 to 1, of the two arm indicators (treatment 1, control 0) among the shared; none where unknown.
    pub arm_correlation: Option<f64>,
    /// Correlation, −1 to 1, of the two outcomes within arms among the shared; none where unknown.
    pub outcome_correlation: Option<f64>,
}

/// A pair that shares more recipients than the stated part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlaggedPair {
    /// Place of the first experiment.
    pub first: usize,
    /// Place of the second.
    pub second: usize,
    /// Shared recipients over those of the smaller experiment, 0 to 1.
    pub share_of_smaller: f64,
    /// Correlation of the two estimates that the sharing implies; none where a correlation that it needs is unknown.
    pub implied_correlation: Option<f64>,
    /// What that means for the reader.
    pub note: String,
}

/// The pairs that share at least `least_share` of the smaller experiment's recipients, those that share most first.
/// 0.1 is a sensible part: below it even ρ = 1 twice over moves a correlation by less than 0.1.
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] for a share outside 0 to 1; [`StatsError::SuccessesExceedUnits`] for more shared
/// recipients than an experiment has; [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for a correlation
/// outside −1 to 1.
pub fn flag_overlaps(pairs: &[RecipientOverlap], least_share: f64) -> Result<Vec<FlaggedPair>, StatsError> {
    check_probability("the share of recipients to flag", least_share)?;
    let mut flagged = Vec::new();
    for pair in pairs {
        let smaller = pair.first_recipients.min(pair.second_recipients);
        if pair.shared > smaller {
            return Err(StatsError::SuccessesExceedUnits { successes: pair.shared, n: smaller });
        }
        for correlation in [pair.arm_correlation, pair.outcome_correlation].into_iter().flatten() {
            check_finite("a correlation", correlation)?;
            if correlation.abs() > 1.0 {
                check_positive("one less the size of a correlation", 1.0 - correlation.abs())?;
            }
        }
        if pair.shared == 0 {
            continue;
        }
        let share_of_smaller = count(pair.shared) / count(smaller);
        if share_of_smaller >= least_share {
            flagged.push(flag(pair, share_of_smaller));
        }
    }
    flagged.sort_by(|left, right| right.share_of_smaller.total_cmp(&left.share_of_smaller));
    Ok(flagged)
}

fn flag(pair: &RecipientOverlap, share_of_smaller: f64) -> FlaggedPair {
    let geometric = count(pair.first_recipients).sqrt() * count(pair.second_recipients).sqrt();
    let shared = count(pair.shared) / geometric;
    let implied_correlation = match (pair.arm_correlation, pair.outcome_correlation) {
        (Some(0.0), _) => Some(0.0),
        (Some(arms), Some(outcomes)) => Some(arms * outcomes * shared),
        _ => None,
    };
    let note = match (pair.arm_correlation, implied_correlation) {
        (Some(0.0), _) => {
            "arms were drawn independently: the estimates are uncorrelated, but each effect is that in the mixture of \
             the other's arms"
        }
        (_, Some(_)) => "the estimates are correlated: sums over both are less sure than they look",
        _ => "how the two assignments go together is not known: pass it, or count the two as one experiment",
    };
    FlaggedPair { first: pair.first, second: pair.second, share_of_smaller, implied_correlation, note: note.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn pair(shared: u64, arm_correlation: Option<f64>, outcome_correlation: Option<f64>) -> RecipientOverlap {
        RecipientOverlap {
            first: 0,
            second: 1,
            shared,
            first_recipients: 10_000,
            second_recipients: 2_500,
            arm_correlation,
            outcome_correlation,
        }
    }

    #[test]
    fn pairs_that_share_enough_are_flagged() {
        let pairs =
            [pair(200, None, None), pair(300, None, None), pair(2_500, Some(1.0), Some(0.4)), pair(0, None, None)];
        let flagged = flag_overlaps(&pairs, 0.1).unwrap();
        assert_eq!(flagged.len(), 2);
        assert_close(flagged[0].share_of_smaller, 1.0, 1e-15);
        // 0.4 of 2,500 over the root of 25,000,000.
        assert_close(flagged[0].implied_correlation.unwrap(), 0.4 * 0.5, 1e-12);
        assert_eq!(flagged[1].implied_correlation, None);
        assert!(flag_overlaps(&[], 0.1).unwrap().is_empty());
    }

    #[test]
    fn independent_arms_do_not_correlate() {
        let flagged = flag_overlaps(&[pair(2_000, Some(0.0), None)], 0.1).unwrap();
        assert_eq!(flagged[0].implied_correlation, Some(0.0));
        assert!(flagged[0].note.contains("independently"));
    }

    #[test]
    fn impossible_overlaps_are_refused() {
        assert!(flag_overlaps(&[pair(2_501, None, None)], 0.1).is_err());
        assert!(flag_overlaps(&[pair(1, Some(1.1), None)], 0.1).is_err());
        assert!(flag_overlaps(&[pair(1, Some(f64::NAN), None)], 0.1).is_err());
        assert!(flag_overlaps(&[pair(1, None, None)], 1.5).is_err());
    }
}
