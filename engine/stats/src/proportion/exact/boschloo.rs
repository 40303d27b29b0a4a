//! Boschloo's unconditional exact test, and an exact interval of the difference that agrees with it.
//!
//! Enters: two arms, alpha. Leaves: a p value that holds whatever the common rate is, and an interval with guaranteed
//! coverage. Boschloo (1970), Statistica Neerlandica 24; the test is never less powerful than Fisher's.
//!
//! One-sided: tables are ordered by Fisher's one-sided p value, and the p value is the greatest probability, over the
//! common rate, of a table at least as extreme as the one seen. Two-sided: twice the smaller of the two, at most 1.
//!
//! The interval holds every difference that two one-sided exact tests, each at alpha / 2, do not reject. For the lower
//! end (the upper one is the same with the arms exchanged):
//!
//! * "No more than zero" is tested by Boschloo's test. It holds for all pairs of rates whose difference is zero or
//!   less, for its set of tables grows with the treatment's successes and shrinks with the control's.
//! * Each difference above zero is tested with the score statistic (Chan and Zhang 1999, with the restriction of Berger
//!   and Boos 1994: see the module `score_inversion`).
//! * Each difference below zero is tested with the score statistic too, but the tables that Boschloo's test rejects
//!   come before all others, whatever their score: a difference below zero is left out where either test says so, and
//!   the two together have to keep to alpha / 2.
//!
//! The end is the first difference that is kept, on the way from −1. So where Boschloo's test rejects it is above zero
//! (the smallest positive number, if the score statistic rejects nothing there), and where it does not it is zero or
//! less: zero lies outside exactly when p < alpha.
//!
//! Why not one order of tables for all: Buehler's interval (1957, Journal of the American Statistical Association 52)
//! with Fisher's order, which stood here before, is as valid and needs no walk, for its sets of tables do not depend on
//! the difference. But Fisher's order knows no difference other than zero, and rates that the data rule out decide the
//! ends. At 0/1000 against 0/1000 it reached to ±4.43 percentage points, where this one reaches to ±0.38 and no exact
//! one can stop before ±0.37; at 5/1000 against 4/1000 it went from −4.33 to 5.13, and this one from −0.58 to 0.81.

use super::UnconditionalTest;
use super::hypergeometric::Hypergeometric;
use super::score_inversion::ScoreInversion;
use super::unconditional::{Greatest, Region, boundary, greatest_at_common_rate, reaching_at_common_rate};
use crate::binomial::index;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::proportion::{NO_UNITS, Proportion};
use std::cell::OnceCell;

/// Units of both arms together up to which Boschloo's test is offered. With rates near a half the interval takes about
/// a second there; with a few successes some tenths of a second, and at 2,000 units some hundredths.
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
    // Arms of one size have the same rejected tables from either side.
    let (shared, other) = (OnceCell::new(), OnceCell::new());
    let low = greater.lower_end(alpha / 2.0, &shared);
    // The difference the other way round is the same question with the sign turned.
    let high = -less.lower_end(alpha / 2.0, if control.n == treatment.n { &shared } else { &other });
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
    first: Proportion,
    second: Proportion,
    fisher_p_value: f64,
    /// The p value, and the common rate that gives it.
    greatest: Greatest,
}

impl OneSided {
    fn new(first: Proportion, second: Proportion) -> Self {
        let successes = first.successes + second.successes;
        let both = Hypergeometric { first: first.n, second: second.n, successes };
        let fisher_p_value = both.upper_tail(first.successes);
        let as_extreme = Extreme::within(first.n, second.n, fisher_p_value * (1.0 + TIE));
        Self { first, second, fisher_p_value, greatest: as_extreme.greatest() }
    }

    /// The least value of (rate of first − rate of second) that is kept by the tests of the greater rate at level
    /// `tail`: never below −1, above zero exactly when this test rejects. `rejected` keeps the tables that this test
    /// rejects at that level in arms of this size.
    fn lower_end(&self, tail: f64, rejected: &OnceCell<Extreme>) -> f64 {
        let Some(inversion) = ScoreInversion::new(self.first, self.second, tail) else {
            return -1.0;
        };
        if self.greatest.value < tail {
            return inversion.end(0.0, 1.0, None).max(f64::MIN_POSITIVE);
        }
        let rejected = rejected.get_or_init(|| Extreme::rejected_at(self.first.n, self.second.n, tail));
        let rows = rejected.rows(self.first.n, self.second.n);
        let end = inversion.end(-1.0, 0.0, Some(&rows));
        // The region of plausible rates has an error of its own, beside Boschloo's: together they have to keep to the
        // level where the score statistic rejects nothing further. Less than a millionth is at stake.
        let region = Region::one_sided(self.first.n, self.second.n, rows);
        let is_too_likely = |difference: f64| region.greatest_at_difference(difference) >= inversion.limit();
        if is_too_likely(end) { boundary(-1.0, end, is_too_likely) } else { end }
    }
}

/// Tables whose Fisher's one-sided p value is within a limit.
#[derive(Debug, Clone)]
struct Extreme {
    /// Of each total of successes, the fewest in the first arm that belong to the set: from one total to the next this
    /// stays or rises by one.
    thresholds: Vec<u64>,
    /// Of each total, the share of the set: Fisher's p value at the threshold.
    shares: Vec<f64>,
}

impl Extreme {
    fn within(first: u64, second: u64, limit: f64) -> Self {
        let mut threshold = u64::from(limit < 1.0);
        let mut extreme = Self { thresholds: Vec::new(), shares: Vec::new() };
        for successes in 0..=first + second {
            let both = Hypergeometric { first, second, successes };
            let mut share = both.upper_tail(threshold);
            if share > limit {
                threshold += 1;
                share = both.upper_tail(threshold);
            }
            extreme.thresholds.push(threshold);
            extreme.shares.push(share);
        }
        extreme
    }

    /// The tables that the test rejects at level `tail`: those whose p value is below it.
    fn rejected_at(first: u64, second: u64, tail: f64) -> Self {
        // The p value is at most Fisher's, so the set within `tail` is rejected; double the limit until one is not.
        let mut rejected = Self::within(first, second, tail * (1.0 - TIE));
        let mut limit = tail;
        let mut likely_rate = 0.5;
        let wider = loop {
            limit *= 2.0;
            let wider = Self::within(first, second, limit);
            match reaching_at_common_rate(&wider.shares, tail, likely_rate) {
                None if limit < 1.0 => rejected = wider,
                reached => {
                    likely_rate = reached.unwrap_or(likely_rate);
                    break wider;
                }
            }
        };
        // Every table between the two sets, in the order in which it joins.
        let mut joining = Vec::new();
        for (total, successes) in (0..=first + second).enumerate() {
            let both = Hypergeometric { first, second, successes };
            for threshold in wider.thresholds[total]..rejected.thresholds[total] {
                joining.push((both.upper_tail(threshold), total, threshold));
            }
        }
        joining.sort_by(|left, right| left.0.total_cmp(&right.0).then(right.2.cmp(&left.2)));
        let joined = |count: usize| {
            let mut set = rejected.clone();
            for &(share, total, threshold) in &joining[..count] {
                set.shares[total] = share;
                set.thresholds[total] = threshold;
            }
            set
        };
        // Tables of the same Fisher's p value join together.
        let with_ties = |entry: usize| joining.partition_point(|other| other.0 <= joining[entry].0 * (1.0 + TIE));
        let (mut kept, mut refused) = (0, joining.len());
        while kept < refused {
            let middle = usize::midpoint(kept, refused);
            let all = with_ties(middle);
            if let Some(rate) = reaching_at_common_rate(&joined(all).shares, tail, likely_rate) {
                refused = middle;
                likely_rate = rate;
            } else {
                kept = all;
            }
        }
        joined(kept)
    }

    /// The p value of the set's least extreme table.
    fn greatest(&self) -> Greatest {
        greatest_at_common_rate(&self.shares)
    }

    /// How many outcomes of the second arm, from none on, belong to the set with each number of successes in the first.
    fn rows(&self, first: u64, second: u64) -> Vec<usize> {
        let most = index(second) + 1;
        let mut totals_inside = 0;
        let mut rows = Vec::new();
        for successes in 0..=first {
            while self.thresholds.get(totals_inside).is_some_and(|&threshold| threshold <= successes) {
                totals_inside += 1;
            }
            rows.push(totals_inside.saturating_sub(index(successes)).min(most));
        }
        rows
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
    use crate::binomial::probability;
    use crate::numeric::{assert_close, count};

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

    fn ends_of(treatment: (u64, u64), control: (u64, u64)) -> (f64, f64) {
        let difference = test_of(treatment, control).difference;
        (difference.low.unwrap(), difference.high.unwrap())
    }

    #[test]
    fn the_interval_solves_its_definition() {
        // tests/oracle/exact_interval.py: every table enumerated by NumPy, the likeliest rates by halving, 500
        // differences walked and the end closed in on to 1e-8.
        for (treatment, control, low, high) in [
            ((9, 10), (3, 10), 0.160764368, 0.879473310),
            ((13, 47), (19, 53), -0.266160574, 0.106902921),
            ((7, 15), (12, 15), -0.636988470, 0.023862753),
            ((0, 10), (0, 10), -0.308499868, 0.308499868),
            ((0, 60), (0, 60), -0.061465658, 0.061465658),
            ((1, 2), (0, 1), -0.769778211, 0.987421385),
        ] {
            let found = ends_of(treatment, control);
            assert!(
                (found.0 - low).abs() < 1e-5 && (found.1 - high).abs() < 1e-5,
                "{treatment:?} {control:?} {found:?}"
            );
        }
    }

    #[test]
    fn a_kept_difference_beyond_rejected_ones_is_not_stepped_over() {
        // tests/oracle/exact_interval.py, in steps of 1e-5: differences from -.24714 to -.24643 are kept, those up to
        // -.24538 are rejected again, and the rest is kept.
        let (low, _) = ends_of((3, 33), (0, 9));
        assert!((low + 0.24714).abs() < 2e-5, "{low}");
    }

    #[test]
    fn few_successes_in_large_arms_leave_a_narrow_interval() {
        // The score interval has ±.003827 and -.005831 to .008121, Buehler's with Fisher's order had ±.0443 and -.0433
        // to .0513. Without a success, no exact interval can be narrower than ±.003682: at a rate of 1 - .025^(1/1000)
        // in one arm and none in the other, as many as 2.5 % of all tables are without one.
        let (low, high) = ends_of((0, 1_000), (0, 1_000));
        assert_close(low, -0.0037980, 1e-4);
        assert_close(high, 0.0037980, 1e-4);
        let (low, high) = ends_of((5, 1_000), (4, 1_000));
        assert_close(low, -0.005763, 3e-4);
        assert_close(high, 0.008054, 3e-4);
        let (low, high) = ends_of((0, 5_000), (0, 5_000));
        assert_close(low, -0.00074645, 1e-4);
        assert_close(high, 0.00074645, 1e-4);
    }

    #[test]
    fn test_and_interval_agree_on_every_small_table() {
        for (n_control, n_treatment) in [(1, 1), (3, 7), (8, 8), (20, 13), (2, 40)] {
            for control in 0..=n_control {
                for treatment in 0..=n_treatment {
                    let control = Proportion::new(n_control, control).unwrap();
                    let treatment = Proportion::new(n_treatment, treatment).unwrap();
                    for alpha in [0.01, 0.05, 0.2] {
                        let test = boschloo_exact_test(control, treatment, alpha).unwrap();
                        let found = test.p_value.unwrap() < alpha;
                        assert_eq!(found, !test.difference.contains_zero(), "{control:?} {treatment:?} {alpha}");
                        let estimate = test.difference.estimate.unwrap();
                        assert!(test.difference.contains(estimate), "{control:?} {treatment:?} {alpha}");
                        let (low, high) = (test.difference.low.unwrap(), test.difference.high.unwrap());
                        assert!(low >= -1.0 && high <= 1.0, "{control:?} {treatment:?} {alpha}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_rejected_tables_are_those_whose_p_value_says_so() {
        for (first, second, tail) in [(1, 1, 0.025), (9, 9, 0.025), (7, 18, 0.1), (31, 12, 0.005), (10, 10, 0.45)] {
            let rejected = Extreme::rejected_at(first, second, tail);
            let rows = rejected.rows(first, second);
            for successes in 0..=first {
                for other in 0..=second {
                    let (first, second) =
                        (Proportion { n: first, successes }, Proportion { n: second, successes: other });
                    let is_rejected = OneSided::new(first, second).greatest.value < tail;
                    assert_eq!(rows[index(successes)] > index(other), is_rejected, "{first:?} {second:?} {tail}");
                }
            }
        }
    }

    /// The greatest probability, over a grid of true rates, that an interval lies above their difference, below it, or
    /// either.
    fn most_missed(n_control: u64, n_treatment: u64, alpha: f64, points: u32) -> [f64; 3] {
        let mut tables = Vec::new();
        for control in 0..=n_control {
            for treatment in 0..=n_treatment {
                let test = boschloo_exact_test(
                    Proportion::new(n_control, control).unwrap(),
                    Proportion::new(n_treatment, treatment).unwrap(),
                    alpha,
                );
                let difference = test.unwrap().difference;
                tables.push((control, treatment, difference.low.unwrap(), difference.high.unwrap()));
            }
        }
        let chances = |units: u64, rate: f64| -> Vec<f64> {
            let of = |successes| probability(count(successes), count(units - successes), rate, 1.0 - rate);
            (0..=units).map(of).collect()
        };
        let rates: Vec<f64> = (0..=points).map(|point| f64::from(point) / f64::from(points)).collect();
        let of_control: Vec<Vec<f64>> = rates.iter().map(|&rate| chances(n_control, rate)).collect();
        let of_treatment: Vec<Vec<f64>> = rates.iter().map(|&rate| chances(n_treatment, rate)).collect();
        let mut most = [0.0_f64; 3];
        for (control_rate, of_control) in rates.iter().zip(&of_control) {
            for (treatment_rate, of_treatment) in rates.iter().zip(&of_treatment) {
                let truth = treatment_rate - control_rate;
                let (mut above, mut below) = (0.0, 0.0);
                for &(control, treatment, low, high) in &tables {
                    let chance = of_control[index(control)] * of_treatment[index(treatment)];
                    above += if low > truth { chance } else { 0.0 };
                    below += if high < truth { chance } else { 0.0 };
                }
                most = [most[0].max(above), most[1].max(below), most[2].max(above + below)];
            }
        }
        most
    }

    #[test]
    fn no_true_rates_are_missed_more_often_than_claimed() {
        for (n_control, n_treatment, alpha) in
            [(1, 1, 0.05), (5, 5, 0.05), (4, 11, 0.05), (12, 12, 0.2), (15, 6, 0.05), (18, 18, 0.05), (3, 30, 0.1)]
        {
            let [above, below, either] = most_missed(n_control, n_treatment, alpha, 120);
            println!("{n_control} {n_treatment} {alpha}: {above} {below} {either}");
            // Each side keeps to half of alpha by itself.
            assert!(above <= alpha / 2.0 && below <= alpha / 2.0, "{n_control} {n_treatment}: {above} {below}");
            assert!(either <= alpha, "{n_control} {n_treatment}: {either}");
        }
    }

    #[test]
    fn thin_and_large_arms_are_answered() {
        let nothing = test_of((10, 10), (10, 10));
        assert_eq!(nothing.p_value, Some(1.0));
        assert_eq!(test_of((10, 10), (0, 20)).difference.high, Some(1.0));
        assert_eq!(test_of((1, 1), (0, 1)).difference.high, Some(1.0));
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
