//! Barnard's unconditional exact test, and the interval of the difference that inverts it.
//!
//! Enters: two arms, alpha. Leaves: a p value that holds whatever the common rate is, and an interval. Barnard (1947),
//! Biometrika 34; tables are ordered by the size of the pooled z (Suissa and Shuster 1985, Journal of the Royal
//! Statistical Society A 148), and the p value is the greatest probability, over the common rate, of a z as far from
//! zero as the one seen.
//!
//! The interval is that of Agresti and Min (2001, Biometrics 57): every difference d for which the same test, with the
//! score statistic of "treatment rate − control rate = d" in place of z and the greatest probability over all rates d
//! apart, has a p value of alpha or more. At d = 0 that is Barnard's test, so zero lies outside exactly when p < alpha.
//! What is kept may have gaps; the interval reaches from the outermost difference found on one side to that on the
//! other, in a walk of 24 steps refined by halving, without crossing a zero that the test rejects.
//!
//! The order of tables is decided in whole numbers: tables that are mirror images have the same z, which rounding would
//! hide. (`SciPy` 1.17 compares rounded z, leaves such tables out now and then, and its p value is then too small:
//! 22/49 v 16/20 has p .008283, not .007948.)

use super::hypergeometric::Hypergeometric;
use super::unconditional::{Region, boundary, greatest_at_common_rate, score};
use super::{UnconditionalTest, pooled_parts, squared_pooled_order};
use crate::binomial::{index, whole};
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::numeric::length;
use crate::proportion::{Arm, NO_UNITS, Proportion, VarianceCorrection, pooled_z_test};

/// Units of both arms together up to which Barnard's test is offered.
pub const BARNARD_MOST_UNITS: u64 = 10_000;

/// Units of both arms together up to which its interval is offered: it takes some tenths of a second there, and a few
/// milliseconds at a hundred units.
pub const BARNARD_MOST_UNITS_FOR_INTERVAL: u64 = 1_000;

const TOO_MANY_UNITS: &str = "more than 10,000 units: use Fisher's exact test, or the pooled z test";
const TOO_MANY_FOR_INTERVAL: &str = "no exact interval beyond 1,000 units: use Boschloo's, or the score interval";

/// Scores that differ by less than this share of them are the same.
const TIE: f64 = 1e-9;

/// Steps of the walk from the outermost difference towards the estimate.
const WALK: usize = 24;

/// Barnard's test of equal rates, with treatment rate − control rate at confidence 1 − `alpha`.
///
/// The statistic is the pooled z. With an empty arm, or past [`BARNARD_MOST_UNITS`] units, nothing is tested; past
/// [`BARNARD_MOST_UNITS_FOR_INTERVAL`] there is a test and no interval. The difference's note says why.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn barnard_exact_test(
    control: Proportion,
    treatment: Proportion,
    alpha: f64,
) -> Result<UnconditionalTest, StatsError> {
    check_alpha(alpha)?;
    let Some(z_test) = pooled_z_test(control, treatment, VarianceCorrection::Uncorrected)? else {
        return Ok(UnconditionalTest::missing(None, NO_UNITS));
    };
    let (Some(control_arm), Some(treatment_arm)) = (Arm::new(control), Arm::new(treatment)) else {
        return Ok(UnconditionalTest::missing(None, NO_UNITS));
    };
    let difference = treatment_arm.rate - control_arm.rate;
    let units = control.n.saturating_add(treatment.n);
    if units > BARNARD_MOST_UNITS {
        return Ok(UnconditionalTest::missing(Some(difference), TOO_MANY_UNITS));
    }
    let (p_value, worst_rate) = match shares_as_extreme(control, treatment) {
        Some(shares) => {
            let greatest = greatest_at_common_rate(&shares);
            (greatest.value, Some(greatest.at))
        }
        None => (1.0, None),
    };
    let interval = if units > BARNARD_MOST_UNITS_FOR_INTERVAL {
        Interval::undefined(TOO_MANY_FOR_INTERVAL)
    } else {
        let significant = p_value < alpha;
        let low = lower_end(treatment_arm, control_arm, alpha, significant);
        // The difference the other way round is the same question with the sign turned.
        let high = -lower_end(control_arm, treatment_arm, alpha, significant);
        Interval::from_ends(low, high)
    };
    Ok(UnconditionalTest {
        statistic: Some(z_test.statistic),
        p_value: Some(p_value),
        worst_rate,
        difference: Estimate::new(difference, interval),
    })
}

/// Of each total of successes, the probability of a z as far from zero as the one seen; none where that z is zero, and
/// every table is.
fn shares_as_extreme(control: Proportion, treatment: Proportion) -> Option<Vec<f64>> {
    if pooled_parts(control, treatment).0 == 0 {
        return None;
    }
    let totals = control.n + treatment.n;
    let shares = (0..=totals).map(|successes| {
        let in_treatment = Hypergeometric { first: treatment.n, second: control.n, successes };
        let is_extreme = |treatment_successes: u64| {
            let treatment_table = Proportion { n: treatment.n, successes: treatment_successes };
            let control_table = Proportion { n: control.n, successes: successes - treatment_successes };
            squared_pooled_order(control_table, treatment_table, control, treatment).is_ge()
        };
        let upper = upper_tail_where(in_treatment, is_extreme);
        let lower =
            upper_tail_where(in_treatment.mirrored(), |control_successes| is_extreme(successes - control_successes));
        (upper + lower).min(1.0)
    });
    Some(shares.collect())
}

/// Probability of the successes above the mean for which `is_extreme` holds; further out it holds too.
fn upper_tail_where(both: Hypergeometric, is_extreme: impl Fn(u64) -> bool) -> f64 {
    // The first whole number at or above the mean.
    let mean = (both.successes * both.first).div_ceil(both.first + both.second);
    let mut least = mean.max(both.lowest());
    let mut beyond = both.highest() + 1;
    while least < beyond {
        let middle = u64::midpoint(least, beyond);
        if is_extreme(middle) {
            beyond = middle;
        } else {
            least = middle + 1;
        }
    }
    both.upper_tail(least)
}

/// The least value of (rate of `first` − rate of `second`) that is kept.
fn lower_end(first: Arm, second: Arm, alpha: f64, significant: bool) -> f64 {
    let estimate = first.rate - second.rate;
    if estimate <= -1.0 {
        return -1.0;
    }
    // At −1 no table but the opposite one is possible; the estimate itself is always kept; and the test has said on
    // which side of the end zero is.
    let (outermost, inside) = match (significant, estimate > 0.0) {
        (true, true) => (0.0, estimate),
        (true, false) => (-1.0, estimate),
        (false, _) => (-1.0, estimate.min(0.0)),
    };
    let is_kept = |difference: f64| p_value_at(first, second, difference) >= alpha;
    let mut outside = outermost;
    for step in 1..WALK {
        let here = outermost + (inside - outermost) * (length(step) / length(WALK));
        if is_kept(here) {
            return boundary(outside, here, is_kept);
        }
        outside = here;
    }
    boundary(outside, inside, is_kept)
}

/// The p value of "rate of `first` − rate of `second` = `difference`".
fn p_value_at(first: Arm, second: Arm, difference: f64) -> f64 {
    let seen = score(first, second, difference).abs() * (1.0 - TIE);
    if seen <= 0.0 {
        return 1.0;
    }
    let first_units = whole(first.units);
    let second_units = whole(second.units);
    let score_of = |first_successes: u64, second_successes: u64| {
        let first_table = Arm::new(Proportion { n: first_units, successes: first_successes });
        let second_table = Arm::new(Proportion { n: second_units, successes: second_successes });
        match (first_table, second_table) {
            (Some(first), Some(second)) => score(first, second, difference),
            _ => 0.0,
        }
    };
    // With more successes in the first arm the score rises, with more in the second it falls: both edges only move up.
    let mut below = Vec::new();
    let mut from = Vec::new();
    let (mut high_side, mut low_side) = (0, 0);
    for first_successes in 0..=first_units {
        while high_side <= second_units && score_of(first_successes, high_side) >= seen {
            high_side += 1;
        }
        while low_side <= second_units && score_of(first_successes, low_side) > -seen {
            low_side += 1;
        }
        below.push(index(high_side));
        from.push(index(low_side));
    }
    Region { first_units, second_units, below, from }.greatest_at_difference(difference)
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

    fn test_of(treatment: (u64, u64), control: (u64, u64)) -> UnconditionalTest {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        barnard_exact_test(control, treatment, 0.05).unwrap()
    }

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.barnard_exact, groups in columns.
        assert_close(test_of((13, 47), (19, 53)).p_value.unwrap(), 0.5306371027665984, 1e-9);
        assert_close(test_of((1, 1), (0, 1)).p_value.unwrap(), 0.5, 1e-9);
    }

    #[test]
    fn mirror_images_count_as_ties() {
        // tests/oracle/exact_tests.py: tables compared in whole numbers. Mehta and Senchaudhuri (2003) print a
        // one-sided .0341 for the first, and in arms of equal size the other side is as likely; SciPy 1.17.1 prints
        // .0681534, .0069307, .0079479 and .0958499.
        assert_close(test_of((7, 15), (12, 15)).p_value.unwrap(), 0.06821830932319463, 1e-9);
        assert_close(test_of((9, 10), (3, 10)).p_value.unwrap(), 0.007955551147460955, 1e-9);
        assert_close(test_of((22, 49), (16, 20)).p_value.unwrap(), 0.008282541702131458, 1e-9);
        assert_close(test_of((13, 36), (5, 7)).p_value.unwrap(), 0.09937722503218552, 1e-9);
    }

    #[test]
    fn the_interval_solves_its_definition() {
        // tests/oracle/exact_tests.py: every table enumerated by NumPy, the rates under each difference by a bounded
        // search of the likelihood, the greatest probability over 2,000 rates refined by SciPy 1.17.1.
        let difference = test_of((9, 10), (3, 10)).difference;
        assert_close(difference.low.unwrap(), 0.15569577100686732, 1e-6);
        assert_close(difference.high.unwrap(), 0.8509265688015152, 1e-6);
        let difference = test_of((7, 15), (12, 15)).difference;
        assert_close(difference.low.unwrap(), -0.6116756314424698, 1e-6);
        assert_close(difference.high.unwrap(), 0.027279880295585195, 1e-6);
    }

    #[test]
    fn test_and_interval_agree_on_every_small_table() {
        for (n_control, n_treatment) in [(1, 1), (3, 7), (6, 6)] {
            for control in 0..=n_control {
                for treatment in 0..=n_treatment {
                    let test = test_of((treatment, n_treatment), (control, n_control));
                    let found = test.p_value.unwrap() < 0.05;
                    assert_eq!(found, !test.difference.contains_zero(), "{treatment} {control}");
                    assert!(test.difference.contains(test.difference.estimate.unwrap()), "{treatment} {control}");
                }
            }
        }
    }

    #[test]
    fn thin_and_large_arms_are_answered() {
        let nothing = test_of((0, 10), (0, 10));
        assert_eq!((nothing.statistic, nothing.p_value), (Some(0.0), Some(1.0)));
        assert!(nothing.difference.low.unwrap() < 0.0 && nothing.difference.high.unwrap() > 0.0);
        assert_eq!(test_of((10, 10), (0, 20)).difference.high, Some(1.0));
        let some = Proportion { n: 10, successes: 3 };
        let empty = barnard_exact_test(some, Proportion::default(), 0.05).unwrap();
        assert_eq!((empty.p_value, empty.difference.estimate), (None, None));
        assert_eq!(empty.difference.note.as_deref(), Some(NO_UNITS));
        let middling = Proportion { n: BARNARD_MOST_UNITS_FOR_INTERVAL, successes: 300 };
        let tested = barnard_exact_test(some, middling, 0.05).unwrap();
        assert!(tested.p_value.is_some_and(|p_value| p_value > 0.5));
        assert_eq!(tested.difference.note.as_deref(), Some(TOO_MANY_FOR_INTERVAL));
        let large = Proportion { n: BARNARD_MOST_UNITS, successes: 3 };
        let refused = barnard_exact_test(some, large, 0.05).unwrap();
        assert_eq!((refused.p_value, refused.difference.note.as_deref()), (None, Some(TOO_MANY_UNITS)));
        assert!(barnard_exact_test(some, Proportion { n: 1, successes: 2 }, 0.05).is_err());
        assert!(barnard_exact_test(some, some, f64::NAN).is_err());
    }
}
