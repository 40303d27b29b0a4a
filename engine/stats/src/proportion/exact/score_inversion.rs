//! Differences of two rates that an exact test with the score statistic rejects, and where they end.
//!
//! Enters: two arms, the error rate of one side, and for differences below zero the tables that another test rejects.
//! Leaves: the end of the differences that are rejected on the way from the far end to the estimate.
//!
//! Chan and Zhang (1999), Biometrics 55: against "first rate − second rate = d", tables are ordered by the score
//! statistic of that hypothesis, and the p value is the greatest probability, over all pairs of rates d apart, of a
//! table at least as extreme as the one seen. Berger and Boos (1994), Journal of the American Statistical Association
//! 89: the pairs may be restricted to a confidence region of both rates with error γ, if γ is added to the p value.
//! Without this a pair of rates that the data rule out decides the end: at 0/1000 against 0/1000 rates near a half,
//! where a standard error is ten times that of the rates in question. It also leaves few tables to enumerate.
//!
//! The region is that of Chernoff (1952), Annals of Mathematical Statistics 23: a rate is left out when the bound
//! exp(−n KL) on the probability of a share as far away as the one seen is below γ / 4, for two sides of two arms.
//!
//! The p value is no monotone function of d, so halving between a rejected and a kept difference could stop beyond a
//! kept one. Whole stretches are rejected instead. Since the statistic falls with d, the tables that are as extreme as
//! the one seen for any d of a stretch all have a statistic at its beginning that is no less than that of the table
//! seen at its end. With each of them go those with more successes in the first arm or fewer in the second, so they are
//! likeliest where the rates are as far apart as at the end. If even this set is too unlikely, all of the stretch is
//! rejected; otherwise a shorter one is tried. The end found is thus never beyond the first difference that is kept.

use super::unconditional::{Region, score};
use crate::binomial::{Window, deviance, index};
use crate::numeric::count;
use crate::proportion::{Arm, Proportion};
use crate::root::last_inside;

/// γ as a share of the error rate of one side: one in a million at an interval's 95 %.
const OUTSIDE_THE_REGION: f64 = 4e-5;

/// The shortest stretch that is tried, as a share of the way from the far end to the estimate.
const SHORTEST: f64 = 1e-6;

/// The score statistic's exact test of differences first − second against greater ones.
#[derive(Debug, Clone)]
pub(super) struct ScoreInversion {
    first: Arm,
    second: Arm,
    first_table: Proportion,
    second_table: Proportion,
    /// The rates of each arm that the data leave plausible.
    first_rates: (f64, f64),
    second_rates: (f64, f64),
    /// A difference is rejected where the tables as extreme are less likely than this: the error rate less γ.
    limit: f64,
}

impl ScoreInversion {
    /// The test with error rate `tail`; none where an arm has no units.
    pub(super) fn new(first: Proportion, second: Proportion, tail: f64) -> Option<Self> {
        let (first_arm, second_arm) = (Arm::new(first)?, Arm::new(second)?);
        let error = OUTSIDE_THE_REGION * tail;
        Some(Self {
            first: first_arm,
            second: second_arm,
            first_table: first,
            second_table: second,
            first_rates: plausible_rates(first_arm, error / 4.0),
            second_rates: plausible_rates(second_arm, error / 4.0),
            limit: tail - error,
        })
    }

    /// What the greatest probability of the rejected tables has to stay below.
    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// The greatest difference between `from` and the estimate, or `to` where that is less, below which every one from
    /// `from` on is rejected. `others` are rows of tables that count as more extreme than all others.
    pub(super) fn end(&self, from: f64, to: f64, others: Option<&[usize]>) -> f64 {
        let to = to.min(self.first.rate - self.second.rate);
        // No pair of plausible rates is as far apart as the differences before.
        let mut low = from.max(self.first_rates.0 - self.second_rates.1);
        let shortest = SHORTEST * (to - low);
        let mut stretch = (to - low) / 8.0;
        let mut likely_rate = self.second.rate;
        while low < to {
            let high = (low + stretch).min(to);
            match self.kept_at(low, high, others, likely_rate) {
                None => {
                    low = high;
                    stretch *= 2.0;
                }
                Some(rate) if stretch > shortest => {
                    likely_rate = rate;
                    stretch /= 4.0;
                }
                Some(_) => break,
            }
        }
        low.min(to)
    }

    /// A rate of the second arm at which a difference from `low` to `high` may have to be kept; none where all of them
    /// are rejected. `first_try` is the rate to begin with.
    fn kept_at(&self, low: f64, high: f64, others: Option<&[usize]>, first_try: f64) -> Option<f64> {
        let least = self.second_rates.0.max(self.first_rates.0 - high).max(0.0);
        let most = self.second_rates.1.min(self.first_rates.1 - high).min(1.0);
        if most < least {
            return None;
        }
        let mut rows = self.rows(low, score(self.first, self.second, high), (least, most), high);
        if let Some(others) = others {
            for (row, &other) in rows.iter_mut().zip(others) {
                *row = other.max(*row);
            }
        }
        let region = Region::one_sided(self.first_table.n, self.second_table.n, rows);
        region.reaching(self.limit, high, (least, most), first_try)
    }

    /// How many outcomes of the second arm, from none on, have a score of `seen` or more at `difference`, for each
    /// number of successes in the first arm. Only outcomes that are not negligible at second rates from `rates.0` to
    /// `rates.1` and first rates `apart` from them are looked at; beyond, more belong to the set rather than fewer.
    fn rows(&self, difference: f64, seen: f64, rates: (f64, f64), apart: f64) -> Vec<usize> {
        let (first_units, second_units) = (self.first_table.n, self.second_table.n);
        let range = |units: u64, low: f64, high: f64| {
            let last = Window::new(units, high.clamp(0.0, 1.0));
            (Window::new(units, low.clamp(0.0, 1.0)).first as u64, (last.first + last.weights.len()) as u64 - 1)
        };
        let (first_row, last_row) = range(first_units, rates.0 + apart, rates.1 + apart);
        let (lowest, highest) = range(second_units, rates.0, rates.1);
        let mut rows = vec![index(second_units) + 1; index(first_units) + 1];
        let mut outcomes = lowest;
        // With more successes in the first arm the score rises, with more in the second it falls: the edge only moves
        // up.
        for successes in first_row..=last_row {
            let first = arm(first_units, successes);
            while outcomes <= highest && score(first, arm(second_units, outcomes), difference) >= seen {
                outcomes += 1;
            }
            rows[index(successes)] = index(if outcomes > highest { second_units + 1 } else { outcomes });
        }
        let before = rows[index(first_row)];
        rows[..index(first_row)].fill(before);
        rows
    }
}

/// An arm that is not empty.
fn arm(units: u64, successes: u64) -> Arm {
    let (units, successes) = (count(units), count(successes));
    Arm { units, successes, failures: units - successes, rate: successes / units }
}

/// The rates under which a share as far away as the one seen, on its side, is not proven to have a probability below
/// `error`.
fn plausible_rates(arm: Arm, error: f64) -> (f64, f64) {
    let most = -error.ln();
    let part = |seen: f64, expected: f64| if seen > 0.0 { deviance(seen, expected) } else { expected };
    let is_plausible =
        |rate: f64| part(arm.successes, arm.units * rate) + part(arm.failures, arm.units * (1.0 - rate)) <= most;
    let low = if arm.successes > 0.0 { last_inside(0.0, arm.rate, is_plausible) } else { 0.0 };
    let high = if arm.failures > 0.0 { last_inside(1.0, arm.rate, is_plausible) } else { 1.0 };
    (low, high)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn tail_above(arm: Arm, rate: f64) -> f64 {
        let units = crate::binomial::whole(arm.units);
        let at_least = crate::binomial::whole(arm.successes);
        let chance = |seen: u64| crate::binomial::probability(count(seen), count(units - seen), rate, 1.0 - rate);
        (at_least..=units).map(chance).sum()
    }

    #[test]
    fn the_statistic_rises_and_falls_as_the_search_supposes() {
        for (first_units, second_units) in [(1, 1), (7, 11), (30, 4), (13, 13)] {
            for step in -99..=98 {
                let (difference, next) = (f64::from(step) / 100.0, f64::from(step + 1) / 100.0);
                for first in 0..=first_units {
                    for second in 0..=second_units {
                        let (first_arm, second_arm) = (arm(first_units, first), arm(second_units, second));
                        let here = score(first_arm, second_arm, difference);
                        let slack = 1e-9 * (1.0 + here.abs());
                        assert!(score(first_arm, second_arm, next) < here + slack);
                        if first < first_units {
                            assert!(score(arm(first_units, first + 1), second_arm, difference) > here - slack);
                        }
                        if second < second_units {
                            assert!(score(first_arm, arm(second_units, second + 1), difference) < here + slack);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn implausible_rates_are_implausible() {
        for (units, successes) in [(1, 1), (10, 3), (1_000, 4), (1_000, 1_000), (5_000, 2_500)] {
            let seen = arm(units, successes);
            let (low, high) = plausible_rates(seen, 1e-6);
            assert!(low < seen.rate && seen.rate <= high);
            assert!(tail_above(seen, low) <= 1e-6 * (1.0 + 1e-9));
            // The other side is the same with successes and failures exchanged.
            let (mirrored_low, mirrored_high) = plausible_rates(arm(units, units - successes), 1e-6);
            assert_close(1.0 - mirrored_high, low, 1e-9);
            assert_close(1.0 - mirrored_low, high, 1e-9);
        }
        // Of none among n the bound is the probability itself: (1 - rate)^n.
        let (low, high) = plausible_rates(arm(1_000, 0), 1e-6);
        assert_close(low, 0.0, 0.0);
        assert_close((1.0 - high).powi(1_000), 1e-6, 1e-9);
    }

    #[test]
    fn differences_that_no_plausible_rates_have_are_not_enumerated() {
        let (first, second) = (Proportion { n: 1_000, successes: 900 }, Proportion { n: 1_000, successes: 20 });
        let inversion = ScoreInversion::new(first, second, 0.025).unwrap();
        let end = inversion.end(-1.0, 1.0, None);
        assert!(end > inversion.first_rates.0 - inversion.second_rates.1 && end < 0.88);
        assert!(ScoreInversion::new(first, Proportion::default(), 0.025).is_none());
    }
}
