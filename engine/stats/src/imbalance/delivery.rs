//! Did as many messages arrive in each arm, and if not, how much of the effect could come of that?
//!
//! Enters: of each arm the units assigned, those delivered, and those delivered that met an outcome which only delivery
//! makes possible (a click). Leaves: the test of delivery, the effect by intention to treat, how many of its points
//! could come of the additional deliveries alone, and bounds on the effect among those whom both arms would have
//! reached.
//!
//! Carriers filter one text more than another, so that those delivered in the two arms are different people. If
//! delivering to more people adds people and takes none away (monotonicity), the arm with more deliveries consists of
//! those whom both arms reach, and a share `p = 1 − q_low / q_high` of additional ones, who may be its best or its
//! worst. Trimming them away gives the sharpest bounds: Lee (2009), "Training, wages, and sample selection", Review of
//! Economic Studies 76(3). For an outcome of zero or one they are closed: with s and f the shares of *assigned* units
//! that are delivered with and without success, and more delivered in the treatment,
//!
//! ```text
//! low = (f_C − f_T) / q_C,   high = (s_T − s_C) / q_C
//! ```
//!
//! cut off where the trimmed rate would leave 0 to 1. Standard errors by the delta method over both arms' counts; the
//! interval reaches from the low bound's lower to the high bound's upper end.

use crate::comparison::{Comparison, compare_proportions};
use crate::distribution::normal;
use crate::error::StatsError;
use crate::interval::Interval;
use crate::numeric::count;
use crate::proportion::Proportion;
use serde::{Deserialize, Serialize};

/// One arm, from assignment to outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeliveredArm {
    /// Units assigned.
    pub assigned: u64,
    /// Units among them that received the message.
    pub delivered: u64,
    /// Units among those that met the outcome.
    pub successes: u64,
}

/// What delivery means for the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryVerdict {
    /// No difference in delivery was found.
    Alike,
    /// Delivery differs, and the effect among those whom both arms reach is there all the same.
    EffectRemains,
    /// Delivery differs enough that it could make the effect, or hide one.
    CouldExplain,
    /// An arm has no deliveries.
    CannotTell,
}

/// Delivery in two arms, and what it could do to the effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryBalance {
    /// What it means.
    pub verdict: DeliveryVerdict,
    /// Delivered shares of assigned units, treatment − control.
    pub delivery: Comparison,
    /// Cohen's h of the two shares, `2 asin √q_T − 2 asin √q_C`: 0.2 is small, 0.5 medium. None without units.
    pub cohens_h: Option<f64>,
    /// The effect by intention to treat: successes of assigned units.
    pub effect: Comparison,
    /// Points of that effect that the additional deliveries alone could make, from least to most: a count of what was
    /// observed, without sampling error.
    pub due_to_delivery: Interval,
    /// Share, 0 to 1, trimmed from the delivered units of the arm that has more.
    pub trimmed_share: Option<f64>,
    /// Lowest and highest difference of rates among those whom both arms reach that the counts allow.
    pub bounds: Interval,
    /// The same with sampling error, at confidence 1 − alpha.
    pub bounds_interval: Interval,
}

/// Tests whether messages arrived alike in both arms, and bounds what a difference does to the effect.
///
/// ```
/// use sendlift_stats::imbalance::{DeliveredArm, DeliveryVerdict, delivery_balance};
///
/// let control = DeliveredArm { assigned: 10_000, delivered: 9_800, successes: 900 };
/// let treatment = DeliveredArm { assigned: 10_000, delivered: 9_000, successes: 880 };
/// let balance = delivery_balance(control, treatment, 0.05)?;
/// assert_eq!(balance.verdict, DeliveryVerdict::CouldExplain);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`] for more deliveries than assigned units, or more
/// successes than deliveries.
pub fn delivery_balance(
    control: DeliveredArm,
    treatment: DeliveredArm,
    alpha: f64,
) -> Result<DeliveryBalance, StatsError> {
    let delivered = |arm: DeliveredArm| Proportion::new(arm.assigned, arm.delivered);
    let succeeded = |arm: DeliveredArm| {
        Proportion::new(arm.delivered, arm.successes)?;
        Proportion::new(arm.assigned, arm.successes)
    };
    let delivery = compare_proportions(delivered(control)?, delivered(treatment)?, alpha)?;
    let effect = compare_proportions(succeeded(control)?, succeeded(treatment)?, alpha)?;
    let (Some(first), Some(second)) = (Shares::of(control), Shares::of(treatment)) else {
        let none = || Interval::undefined("an arm has no deliveries");
        return Ok(DeliveryBalance {
            verdict: DeliveryVerdict::CannotTell,
            delivery,
            cohens_h: None,
            effect,
            due_to_delivery: none(),
            trimmed_share: None,
            bounds: none(),
            bounds_interval: none(),
        });
    };
    let treatment_has_more = second.delivered >= first.delivered;
    let (fewer, more) = if treatment_has_more { (first, second) } else { (second, first) };
    // The bounds of (more − fewer), turned where the control has more.
    let turn = |low: f64, high: f64| {
        if treatment_has_more { Interval::from_ends(low, high) } else { Interval::from_ends(-high, -low) }
    };
    let (low, low_error) = low_bound(fewer, more);
    let (high, high_error) = high_bound(fewer, more);
    let critical = normal::critical_value(alpha);
    let bounds_interval = turn((low - critical * low_error).max(-1.0), (high + critical * high_error).min(1.0));
    let additional = more.delivered - fewer.delivered;
    let verdict = if !delivery.is_significant(alpha) {
        DeliveryVerdict::Alike
    } else if bounds_interval.contains_zero() {
        DeliveryVerdict::CouldExplain
    } else {
        DeliveryVerdict::EffectRemains
    };
    Ok(DeliveryBalance {
        verdict,
        cohens_h: Some(2.0 * (second.delivered.sqrt().asin() - first.delivered.sqrt().asin())),
        due_to_delivery: turn((additional - more.failed).max(0.0), additional.min(more.succeeded)),
        trimmed_share: Some((additional / more.delivered).clamp(0.0, 1.0)),
        bounds: turn(low, high),
        bounds_interval,
        delivery,
        effect,
    })
}

/// Shares of the assigned units of an arm that has deliveries.
#[derive(Debug, Clone, Copy)]
struct Shares {
    assigned: f64,
    delivered: f64,
    succeeded: f64,
    failed: f64,
}

impl Shares {
    fn of(arm: DeliveredArm) -> Option<Self> {
        let assigned = count(arm.assigned);
        (arm.delivered > 0).then(|| Self {
            assigned,
            delivered: count(arm.delivered) / assigned,
            succeeded: count(arm.successes) / assigned,
            failed: count(arm.delivered - arm.successes) / assigned,
        })
    }

    /// Variance of the mean of a value that is one number for successes, another for failures, and zero for those that
    /// were not delivered.
    fn variance_of(self, of_success: f64, of_failure: f64) -> f64 {
        let mean = self.succeeded * of_success + self.failed * of_failure;
        let square = self.succeeded * of_success * of_success + self.failed * of_failure * of_failure;
        (square - mean * mean).max(0.0) / self.assigned
    }

    fn rate(self) -> f64 {
        self.succeeded / self.delivered
    }
}

/// The additional units are all successes: (bound, standard error).
fn low_bound(fewer: Shares, more: Shares) -> (f64, f64) {
    if more.failed >= fewer.delivered {
        // Nothing is left but failures.
        return (-fewer.rate(), (fewer.variance_of(1.0 - fewer.rate(), -fewer.rate())).sqrt() / fewer.delivered);
    }
    let bound = (fewer.failed - more.failed) / fewer.delivered;
    let variance = fewer.variance_of(-bound, 1.0 - bound) + more.variance_of(0.0, 1.0);
    (bound, variance.sqrt() / fewer.delivered)
}

/// The additional units are all failures: (bound, standard error).
fn high_bound(fewer: Shares, more: Shares) -> (f64, f64) {
    if more.succeeded >= fewer.delivered {
        return (1.0 - fewer.rate(), (fewer.variance_of(1.0 - fewer.rate(), -fewer.rate())).sqrt() / fewer.delivered);
    }
    let bound = (more.succeeded - fewer.succeeded) / fewer.delivered;
    let variance = fewer.variance_of(-1.0 - bound, -bound) + more.variance_of(1.0, 0.0);
    (bound, variance.sqrt() / fewer.delivered)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn arm(assigned: u64, delivered: u64, successes: u64) -> DeliveredArm {
        DeliveredArm { assigned, delivered, successes }
    }

    #[test]
    fn trimming_is_closed_for_shares() {
        // By hand: 1,000 each, 800 and 1,000 delivered, 200 and 400 successes. Of the treatment's thousand 200 are
        // additional: 400 − 200 or 400 of the 800 left succeed, 25 % or 50 %, against the control's 25 %.
        let balance = delivery_balance(arm(1_000, 800, 200), arm(1_000, 1_000, 400), 0.05).unwrap();
        assert_close(balance.bounds.low.unwrap(), 0.0, 1e-12);
        assert_close(balance.bounds.high.unwrap(), 0.25, 1e-12);
        assert_close(balance.trimmed_share.unwrap(), 0.2, 1e-12);
        assert_close(balance.due_to_delivery.low.unwrap(), 0.0, 1e-12);
        assert_close(balance.due_to_delivery.high.unwrap(), 0.2, 1e-12);
        assert_eq!(balance.verdict, DeliveryVerdict::CouldExplain);
        let turned = delivery_balance(arm(1_000, 1_000, 400), arm(1_000, 800, 200), 0.05).unwrap();
        assert_close(turned.bounds.low.unwrap(), -0.25, 1e-12);
        assert_close(turned.due_to_delivery.low.unwrap(), -0.2, 1e-12);
        assert_close(turned.cohens_h.unwrap(), -balance.cohens_h.unwrap(), 1e-12);
    }

    #[test]
    fn a_large_effect_outlives_a_small_gap() {
        let balance = delivery_balance(arm(20_000, 19_000, 1_000), arm(20_000, 19_300, 3_000), 0.05).unwrap();
        assert_eq!(balance.verdict, DeliveryVerdict::EffectRemains);
        assert!(balance.bounds_interval.low.unwrap() > 0.05);
    }

    #[test]
    fn equal_delivery_needs_no_bounds() {
        let balance = delivery_balance(arm(1_000, 900, 90), arm(1_000, 900, 120), 0.05).unwrap();
        assert_eq!(balance.verdict, DeliveryVerdict::Alike);
        assert_close(balance.bounds.low.unwrap(), 30.0 / 900.0, 1e-12);
        assert_close(balance.bounds.high.unwrap(), 30.0 / 900.0, 1e-12);
    }

    #[test]
    fn the_ends_are_handled() {
        for (control, treatment) in [
            (arm(10, 1, 1), arm(10, 10, 0)),
            (arm(10, 1, 0), arm(10, 10, 10)),
            (arm(10, 10, 10), arm(10, 10, 10)),
            (arm(u64::MAX, 1, 1), arm(u64::MAX, u64::MAX, 7)),
        ] {
            for balance in [
                delivery_balance(control, treatment, 0.05).unwrap(),
                delivery_balance(treatment, control, 0.05).unwrap(),
            ] {
                assert!(balance.bounds.low.unwrap() >= -1.0 && balance.bounds.high.unwrap() <= 1.0);
                assert!(balance.bounds.low <= balance.bounds.high);
            }
        }
        let none = delivery_balance(arm(10, 0, 0), arm(10, 5, 1), 0.05).unwrap();
        assert_eq!((none.verdict, none.bounds.low), (DeliveryVerdict::CannotTell, None));
        assert_eq!(delivery_balance(arm(0, 0, 0), arm(0, 0, 0), 0.05).unwrap().verdict, DeliveryVerdict::CannotTell);
        assert!(delivery_balance(arm(5, 6, 0), arm(5, 5, 5), 0.05).is_err());
        assert!(delivery_balance(arm(5, 3, 4), arm(5, 5, 5), 0.05).is_err());
        assert!(delivery_balance(arm(5, 3, 1), arm(5, 5, 5), 0.0).is_err());
    }
}
