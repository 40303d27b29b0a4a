//! The hypergeometric distribution: the successes of one arm, given the successes of both.
//!
//! Enters: the units of two arms and the successes among all of them. Leaves: probabilities and tails, each tail summed
//! as a tail. With equal rates in both arms this is the distribution of the first arm's successes (Fisher 1935).

use crate::binomial::probability;
use crate::numeric::count;

/// Terms below this share of the sum are left out.
const NEGLIGIBLE: f64 = 1e-18;

/// How the successes of both arms fall to the first one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hypergeometric {
    /// Units of the first arm.
    pub(super) first: u64,
    /// Units of the second arm.
    pub(super) second: u64,
    /// Successes of both arms together: no more than there are units.
    pub(super) successes: u64,
}

impl Hypergeometric {
    /// The fewest successes that the first arm can have.
    pub(super) fn lowest(self) -> u64 {
        self.successes.saturating_sub(self.second)
    }

    /// The most successes that the first arm can have.
    pub(super) fn highest(self) -> u64 {
        self.successes.min(self.first)
    }

    /// The likeliest number of successes in the first arm.
    pub(super) fn mode(self) -> u64 {
        let first = u128::from(self.first) + 1;
        let drawn = u128::from(self.successes) + 1;
        let units = u128::from(self.first) + u128::from(self.second) + 2;
        u64::try_from(first * drawn / units).unwrap_or(u64::MAX).clamp(self.lowest(), self.highest())
    }

    /// Probability of exactly `successes` in the first arm.
    pub(super) fn probability(self, successes: u64) -> f64 {
        if successes < self.lowest() || successes > self.highest() {
            return 0.0;
        }
        let units = count(self.first) + count(self.second);
        let rate = count(self.successes) / units;
        let failures = self.first + self.second - self.successes;
        let failure_rate = count(failures) / units;
        let in_second = self.successes - successes;
        let of_first = probability(count(successes), count(self.first - successes), rate, failure_rate);
        let of_second = probability(count(in_second), count(self.second - in_second), rate, failure_rate);
        let of_both = probability(count(self.successes), count(failures), rate, failure_rate);
        of_first * of_second / of_both
    }

    /// How much likelier `successes` + 1 is than `successes`, which has to be below the highest.
    pub(super) fn ratio_above(self, successes: u64) -> f64 {
        let left = count(self.successes - successes) * count(self.first - successes);
        left / (count(successes + 1) * count((self.second + successes + 1).saturating_sub(self.successes)))
    }

    /// Probability of at least `successes` in the first arm.
    pub(super) fn upper_tail(self, successes: u64) -> f64 {
        if successes <= self.lowest() {
            return 1.0;
        }
        if successes > self.highest() {
            return 0.0;
        }
        let units = u128::from(self.first) + u128::from(self.second);
        if u128::from(successes) * units <= u128::from(self.successes) * u128::from(self.first) {
            // Below the mean the other tail is the small one.
            return 1.0 - self.mirrored().upper_tail(self.successes - successes + 1);
        }
        let mut sum = 1.0;
        let mut term = 1.0;
        for here in successes..self.highest() {
            term *= self.ratio_above(here);
            sum += term;
            if term < NEGLIGIBLE * sum {
                break;
            }
        }
        (self.probability(successes) * sum).min(1.0)
    }

    /// Probability of at most `successes` in the first arm.
    pub(super) fn lower_tail(self, successes: u64) -> f64 {
        if successes > self.successes {
            return 1.0;
        }
        self.mirrored().upper_tail(self.successes - successes)
    }

    /// The same seen from the second arm.
    pub(super) fn mirrored(self) -> Self {
        Self { first: self.second, second: self.first, successes: self.successes }
    }
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.hypergeom(100, 47, 32).pmf(13), .sf(12) and .cdf(13).
        let both = Hypergeometric { first: 47, second: 53, successes: 32 };
        assert_close(both.probability(13), 0.11708834412989155, 1e-13);
        assert_close(both.upper_tail(13), 0.8624579789086643, 1e-13);
        assert_close(both.lower_tail(13), 0.25463036522122723, 1e-13);
        // scipy.stats.hypergeom(3000, 1400, 60).sf(49).
        let far = Hypergeometric { first: 1400, second: 1600, successes: 60 };
        assert_close(far.upper_tail(50), 3.434823482494672e-9, 1e-11);
    }

    #[test]
    fn ends_and_tails_are_consistent() {
        for (first, second, successes) in [(5, 7, 0), (5, 7, 12), (5, 7, 6), (1, 1, 1), (30, 4, 20)] {
            let both = Hypergeometric { first, second, successes };
            let total: f64 = (both.lowest()..=both.highest()).map(|here| both.probability(here)).sum();
            assert_close(total, 1.0, 1e-13);
            assert_close(both.upper_tail(both.lowest()), 1.0, 0.0);
            assert_close(both.upper_tail(both.highest() + 1), 0.0, 0.0);
            assert_close(both.lower_tail(both.highest()), 1.0, 0.0);
            for here in both.lowest()..=both.highest() {
                let twice = both.upper_tail(here) + both.lower_tail(here) - both.probability(here);
                assert_close(twice, 1.0, 1e-13);
                assert!(both.probability(here) <= both.probability(both.mode()) * (1.0 + 1e-12));
            }
        }
    }
}
