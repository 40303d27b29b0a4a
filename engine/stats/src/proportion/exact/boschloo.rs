//! Boschloo's unconditional exact test, and the interval of the difference that inverts it.
//!
//! Enters: two arms, alpha. Leaves: a p value that holds whatever the common rate is, and an interval with guaranteed
//! coverage. Boschloo (1970), Statistica Neerlandica 24; the test is never less powerful than Fisher's.
//!
//! One-sided: tables are ordered by Fisher's one-sided p value, and the p value is the greatest probability, over the
//! common rate, of a table at least as extreme as the one seen. Two-sided: twice the smaller of the two, at most 1.
//!
//! The interval is Buehler's (1957, Journal of the American Statistical Association 52): the lower end is the least
//! difference d at which some pair of rates d apart gives the tables at least as extreme a probability of alpha / 2 or
//! more. The set of tables grows with the treatment's successes and shrinks with the control's, so this probability
//! rises with d and the end is unique. At d = 0 it is the one-sided test, so for alpha up to a half zero lies outside
//! exactly when p < alpha. Tables on the near side of "no difference" (Fisher's p above a half), which Fisher's p
//! hardly tells apart, are ordered by the pooled z after all others: otherwise 0/10 against 0/10 would leave every
//! difference possible. This moves no p value below a half, and so no verdict.

use super::hypergeometric::Hypergeometric;
use super::unconditional::{Greatest, Region, boundary, greatest_at_common_rate};
use super::{UnconditionalTest, pooled_order};
use crate::binomial::index;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::proportion::{NO_UNITS, Proportion};

/// Units of both arms together up to which Boschloo's test is offered: the interval takes about a second there, and a
/// few milliseconds at a hundred units.
pub const BOSCHLOO_MOST_UNITS: u64 = 10_000;

const TOO_MANY_UNITS: &str = "more than 10,000 units: use Fisher's exact test, or the pooled z test";

/// Two of Fisher's p values that differ by less than this share of them are the same.
const TIE: f64 = 1e-11;

/// Boschloo's test of equal rates, with treatment rate − control rate at confidence 1 − `alpha`.
///
/// The statistic is the smaller of Fisher's one-sided p values. With an empty arm, or past [`BOSCHLOO_MOST_UNITS`]
/// units, nothing is tested and the difference's note says why.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn boschloo_exact_test(
    control: Proportion,
    treatment: Proportion,
    alpha: f64,
) -> Result<UnconditionalTest, StatsError> {
    check_alpha(alpha)?;
    control.check()?;
    treatment.check()?;
    let (Some(control_rate), Some(treatment_rate)) = (control.rate(), treatment.rate()) else {
        return Ok(UnconditionalTest::missing(None, NO_UNITS));
    };
    let difference = treatment_rate - control_rate;
    if control.n.saturating_add(treatment.n) > BOSCHLOO_MOST_UNITS {
        return Ok(UnconditionalTest::missing(Some(difference), TOO_MANY_UNITS));
    }
    let greater = OneSided::new(treatment, control);
    let less = OneSided::new(control, treatment);
    let smaller = if less.greatest.value < greater.greatest.value { &less } else { &greater };
    let low = greater.lower_end(alpha / 2.0);
    // The difference the other way round is the same question with the sign turned.
    let high = -less.lower_end(alpha / 2.0);
    Ok(UnconditionalTest {
        statistic: Some(smaller.fisher_p_value),
        p_value: Some((2.0 * smaller.greatest.value).min(1.0)),
        worst_rate: Some(smaller.greatest.at),
        difference: Estimate::new(difference, Interval::from_ends(low, high)),
    })
}

/// The test against the alternative that the first arm's rate is the higher.
#[derive(Debug, Clone)]
struct OneSided {
    fisher_p_value: f64,
    /// The p value, and the common rate that gives it.
    greatest: Greatest,
    /// Tables at least as extreme, in the order of the interval.
    region: Region,
    /// No success in the first arm and nothing but successes in the second: every table is at least as extreme.
    nothing_is_less_extreme: bool,
}

impl OneSided {
    fn new(first: Proportion, second: Proportion) -> Self {
        let totals = first.n + second.n;
        let given = |successes: u64| Hypergeometric { first: first.n, second: second.n, successes };
        let fisher_p_value = given(first.successes + second.successes).upper_tail(first.successes);
        let limit = fisher_p_value * (1.0 + TIE);

        // Of each total of successes, the fewest in the first arm that are as extreme; from one total to the next this
        // threshold stays or rises by one. The share of the set is Fisher's p value at the threshold.
        let mut threshold: u64 = u64::from(fisher_p_value < 1.0);
        let mut ordering_threshold: u64 = 1;
        let half = 0.5 * (1.0 + TIE);
        let ordering_limit = limit.min(half);
        let mut shares = Vec::new();
        let mut ordering_thresholds = Vec::new();
        for successes in 0..=totals {
            let both = given(successes);
            let mut share = both.upper_tail(threshold);
            if share > limit {
                threshold += 1;
                share = both.upper_tail(threshold);
            }
            shares.push(share);
            if both.upper_tail(ordering_threshold) > ordering_limit {
                ordering_threshold += 1;
            }
            ordering_thresholds.push(ordering_threshold);
        }
        let near_side = fisher_p_value > half;
        Self {
            fisher_p_value,
            greatest: greatest_at_common_rate(&shares),
            region: Region::one_sided(first.n, second.n, rows(first, second, &ordering_thresholds, near_side)),
            nothing_is_less_extreme: first.successes == 0 && second.successes == second.n,
        }
    }

    /// The least value of (rate of first − rate of second) that leaves the tables a probability of `tail` or more.
    fn lower_end(&self, tail: f64) -> f64 {
        if self.nothing_is_less_extreme {
            return -1.0;
        }
        let (outside, inside) = if self.greatest.value < tail { (0.0, 1.0) } else { (-1.0, 0.0) };
        boundary(outside, inside, |difference| self.region.greatest_at_difference(difference) >= tail)
    }
}

/// How many outcomes of the second arm, from none on, belong to the set with each number of successes in the first.
///
/// `thresholds[s]` is the fewest successes of the first arm that belong to it when both arms have s. On the near side
/// of "no difference", the tables whose pooled z is at least the one seen belong to it too.
fn rows(first: Proportion, second: Proportion, thresholds: &[u64], near_side: bool) -> Vec<usize> {
    let most = index(second.n) + 1;
    let mut totals_inside = 0;
    let mut outcomes_by_z: u64 = 0;
    let mut rows = Vec::new();
    for successes in 0..=first.n {
        while thresholds.get(totals_inside).is_some_and(|&threshold| threshold <= successes) {
            totals_inside += 1;
        }
        let mut row = totals_inside.saturating_sub(index(successes)).min(most);
        if near_side {
            let at_least_as_extreme = |outcome: u64| {
                let table = (Proportion { n: first.n, successes }, Proportion { n: second.n, successes: outcome });
                pooled_order(table.0, table.1, first, second).is_ge()
            };
            while outcomes_by_z <= second.n && at_least_as_extreme(outcomes_by_z) {
                outcomes_by_z += 1;
            }
            row = row.max(index(outcomes_by_z));
        }
        rows.push(row);
    }
    rows
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
        boschloo_exact_test(control, treatment, 0.05).unwrap()
    }

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.boschloo_exact, groups in columns.
        assert_close(test_of((13, 47), (19, 53)).p_value.unwrap(), 0.4000169399363184, 1e-9);
        assert_close(test_of((13, 47), (19, 53)).statistic.unwrap(), 0.25463036522122723, 1e-12);
        assert_close(test_of((9, 10), (3, 10)).p_value.unwrap(), 0.007955551147460955, 1e-9);
        assert_close(test_of((7, 15), (12, 15)).p_value.unwrap(), 0.06821830932319489, 1e-9);
        assert_close(test_of((1, 1), (0, 1)).p_value.unwrap(), 0.5, 1e-9);
    }

    #[test]
    fn the_interval_solves_its_definition() {
        // tests/oracle/exact_tests.py: the tables enumerated by NumPy, Fisher's p values by SciPy 1.17.1, the rate
        // walked in 4,000 steps and refined by SciPy, the difference found by brentq.
        let difference = test_of((9, 10), (3, 10)).difference;
        assert_close(difference.low.unwrap(), 0.16076825758596058, 1e-8);
        assert_close(difference.high.unwrap(), 0.8827331309882169, 1e-8);
        let difference = test_of((13, 47), (19, 53)).difference;
        assert_close(difference.low.unwrap(), -0.2792270455424571, 1e-8);
        assert_close(difference.high.unwrap(), 0.11077587397034297, 1e-8);
        let nothing = test_of((0, 10), (0, 10)).difference;
        assert_close(nothing.low.unwrap(), -0.45608430087832147, 1e-8);
        assert_close(nothing.high.unwrap(), 0.45608430087832147, 1e-8);
    }

    #[test]
    fn test_and_interval_agree_on_every_small_table() {
        for (n_control, n_treatment) in [(1, 1), (3, 7), (8, 8)] {
            for control in 0..=n_control {
                for treatment in 0..=n_treatment {
                    let control = Proportion::new(n_control, control).unwrap();
                    let treatment = Proportion::new(n_treatment, treatment).unwrap();
                    for alpha in [0.01, 0.2] {
                        let test = boschloo_exact_test(control, treatment, alpha).unwrap();
                        let found = test.p_value.unwrap() < alpha;
                        assert_eq!(found, !test.difference.contains_zero(), "{control:?} {treatment:?} {alpha}");
                        let estimate = test.difference.estimate.unwrap();
                        assert!(test.difference.contains(estimate), "{control:?} {treatment:?} {alpha}");
                    }
                }
            }
        }
    }

    #[test]
    fn thin_and_large_arms_are_answered() {
        let nothing = test_of((10, 10), (10, 10));
        assert_eq!(nothing.p_value, Some(1.0));
        assert_eq!(test_of((10, 10), (0, 20)).difference.high, Some(1.0));
        assert_eq!(test_of((0, 10), (20, 20)).difference.low, Some(-1.0));
        let some = Proportion { n: 10, successes: 3 };
        let empty = boschloo_exact_test(some, Proportion::default(), 0.05).unwrap();
        assert_eq!((empty.p_value, empty.difference.estimate), (None, None));
        assert_eq!(empty.difference.note.as_deref(), Some(NO_UNITS));
        let large = Proportion { n: BOSCHLOO_MOST_UNITS, successes: 3 };
        let refused = boschloo_exact_test(some, large, 0.05).unwrap();
        assert_eq!((refused.p_value, refused.difference.low), (None, None));
        assert!(refused.difference.estimate.is_some());
        assert_eq!(refused.difference.note.as_deref(), Some(TOO_MANY_UNITS));
        assert!(boschloo_exact_test(some, Proportion { n: 1, successes: 2 }, 0.05).is_err());
        assert!(boschloo_exact_test(some, some, 0.0).is_err());
    }
}
