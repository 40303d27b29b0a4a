//! Fisher's exact test, and the exact interval of the odds ratio.
//!
//! Enters: two arms, alpha. Leaves: p values given the successes of both arms together, the odds ratio that is
//! likeliest given them, and Cornfield's interval of it. Fisher (1935), "The Design of Experiments"; Cornfield (1956),
//! Proceedings of the Third Berkeley Symposium 4, for the interval.
//!
//! Given the total of successes, those of the treatment are hypergeometric, tilted by the odds ratio ψ: the weight of k
//! is C(n₁, k) C(n₂, s − k) ψ^k. The estimate is the ψ whose mean is what was seen; the ends are those whose tails are
//! alpha / 2.
//!
//! The usual two-sided p value adds up all tables that are no likelier than the one seen. It is not the test that
//! Cornfield's interval inverts: that one is `central_p_value`, twice the smaller tail, and it alone is below alpha
//! exactly when 1 lies outside the interval.

use std::cmp::Ordering;

use super::hypergeometric::Hypergeometric;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::numeric::count;
use crate::proportion::{NO_UNITS, Proportion};
use crate::root::find_root;
use serde::{Deserialize, Serialize};

/// Units of both arms together up to which Fisher's test is offered: its cost grows with their square root, and is some
/// ten milliseconds here.
pub const FISHER_MOST_UNITS: u64 = 100_000_000;

/// Two tables whose probabilities differ by less than this share of them count as equally likely.
const TIE: f64 = 1e-9;

/// Terms below this share of the sum are left out.
const NEGLIGIBLE: f64 = 1e-18;

/// No odds ratio that matters has a logarithm further from zero.
const FARTHEST_LOG_ODDS: f64 = 300.0;

const TOO_MANY_UNITS: &str = "more than 100 million units: use the pooled z test, which is as good there";
const NO_CONTRAST: &str = "not defined: every unit of both arms had the same outcome";

/// Fisher's exact test. What is missing is explained by the note of the odds ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FisherTest {
    /// Two-sided, 0 to 1: the probability of all tables no likelier than the one seen, given the total of successes.
    pub p_value: Option<f64>,
    /// Twice the smaller of the two tails, at most 1: the test that the interval of the odds ratio inverts.
    pub central_p_value: Option<f64>,
    /// Probability of as few successes in the treatment or fewer.
    pub p_value_less: Option<f64>,
    /// Probability of as many successes in the treatment or more.
    pub p_value_greater: Option<f64>,
    /// Odds of success of the treatment over those of the control: the conditional maximum-likelihood estimate, and
    /// Cornfield's exact interval. One means no difference.
    pub odds_ratio: Estimate,
}

impl FisherTest {
    fn missing(note: &str) -> Self {
        Self {
            p_value: None,
            central_p_value: None,
            p_value_less: None,
            p_value_greater: None,
            odds_ratio: Estimate::undefined(note),
        }
    }
}

/// Fisher's exact test of equal rates, with the odds ratio at confidence 1 − `alpha`.
///
/// With an empty arm, or past [`FISHER_MOST_UNITS`] units, nothing is computed and the odds ratio's note says why. When
/// every unit had the same outcome the p values are 1 and there is no odds ratio. Where one cell of the table is zero
/// the odds ratio is 0, or has no upper bound.
///
/// ```
/// use sendlift_stats::Proportion;
/// use sendlift_stats::proportion::fisher_exact_test;
///
/// let control = Proportion::new(6, 1)?;
/// let treatment = Proportion::new(10, 8)?;
/// let test = fisher_exact_test(control, treatment, 0.05)?;
/// assert!(test.p_value.is_some_and(|p_value| (p_value - 0.034_965).abs() < 1e-6));
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn fisher_exact_test(control: Proportion, treatment: Proportion, alpha: f64) -> Result<FisherTest, StatsError> {
    check_alpha(alpha)?;
    control.check()?;
    treatment.check()?;
    if control.n == 0 || treatment.n == 0 {
        return Ok(FisherTest::missing(NO_UNITS));
    }
    if control.n.saturating_add(treatment.n) > FISHER_MOST_UNITS {
        return Ok(FisherTest::missing(TOO_MANY_UNITS));
    }
    let both =
        Hypergeometric { first: treatment.n, second: control.n, successes: control.successes + treatment.successes };
    let seen = treatment.successes;
    let less = both.lower_tail(seen);
    let greater = both.upper_tail(seen);
    Ok(FisherTest {
        p_value: Some(two_sided(both, seen)),
        central_p_value: Some((2.0 * less.min(greater)).min(1.0)),
        p_value_less: Some(less),
        p_value_greater: Some(greater),
        odds_ratio: odds_ratio(both, seen, alpha),
    })
}

/// The probability of all tables no likelier than the one seen.
fn two_sided(both: Hypergeometric, seen: u64) -> f64 {
    let mode = both.mode();
    if seen > mode {
        return two_sided(both.mirrored(), both.successes - seen);
    }
    let limit = both.probability(seen) * (1.0 + TIE);
    if both.probability(mode) <= limit {
        return 1.0;
    }
    // On the other side of the mode, the first that is no likelier; probabilities fall from the mode on.
    let mut likelier = mode;
    let mut beyond = both.highest() + 1;
    while beyond - likelier > 1 {
        let middle = u64::midpoint(likelier, beyond);
        if both.probability(middle) <= limit {
            beyond = middle;
        } else {
            likelier = middle;
        }
    }
    (both.lower_tail(seen) + both.upper_tail(beyond)).min(1.0)
}

/// The conditional estimate of the odds ratio with Cornfield's interval.
fn odds_ratio(both: Hypergeometric, seen: u64, alpha: f64) -> Estimate {
    if both.lowest() == both.highest() {
        return Estimate::undefined(NO_CONTRAST);
    }
    let log_tail = (alpha / 2.0).ln();
    let solve = |excess: &dyn Fn(f64) -> f64| find_root(excess, -FARTHEST_LOG_ODDS, FARTHEST_LOG_ODDS).exp();
    let low = if seen == both.lowest() {
        0.0
    } else {
        solve(&|log_odds: f64| Tilted::new(both, seen, log_odds).upper_tail().ln() - log_tail)
    };
    let high = if seen == both.highest() {
        f64::INFINITY
    } else {
        solve(&|log_odds: f64| Tilted::new(both, seen, log_odds).lower_tail().ln() - log_tail)
    };
    let interval = Interval::from_ends(low, high);
    if seen == both.highest() {
        return Estimate::from_parts(None, interval.with_note("unbounded above: a cell of the table is zero"));
    }
    let estimate = if seen == both.lowest() {
        0.0
    } else {
        solve(&|log_odds: f64| Tilted::new(both, seen, log_odds).mean_excess())
    };
    Estimate::new(estimate, interval)
}

/// Sums over the distribution tilted by an odds ratio, with weights relative to the likeliest.
#[derive(Debug, Clone, Copy, Default)]
struct Tilted {
    below: f64,
    seen: f64,
    above: f64,
    /// Sum of weight × (successes − successes seen).
    first_moment: f64,
}

impl Tilted {
    fn new(both: Hypergeometric, seen: u64, log_odds: f64) -> Self {
        let odds = log_odds.exp();
        // Weights rise while the step up is above one; the ratio of neighbours falls all the way.
        let mut mode = both.lowest();
        let mut beyond = both.highest() + 1;
        while beyond - mode > 1 {
            let middle = u64::midpoint(mode, beyond);
            if odds * both.ratio_above(middle - 1) >= 1.0 {
                mode = middle;
            } else {
                beyond = middle;
            }
        }
        let mut sums = Self::default();
        sums.add(mode, seen, 1.0);
        let mut weight = 1.0;
        for here in mode..both.highest() {
            weight *= odds * both.ratio_above(here);
            if weight < NEGLIGIBLE {
                break;
            }
            sums.add(here + 1, seen, weight);
        }
        weight = 1.0;
        for here in (both.lowest()..mode).rev() {
            weight /= odds * both.ratio_above(here);
            if weight < NEGLIGIBLE {
                break;
            }
            sums.add(here, seen, weight);
        }
        sums
    }

    fn add(&mut self, successes: u64, seen: u64, weight: f64) {
        match successes.cmp(&seen) {
            Ordering::Less => {
                self.below += weight;
                self.first_moment -= weight * count(seen - successes);
            }
            Ordering::Greater => {
                self.above += weight;
                self.first_moment += weight * count(successes - seen);
            }
            Ordering::Equal => self.seen += weight,
        }
    }

    fn total(self) -> f64 {
        self.below + self.seen + self.above
    }

    fn upper_tail(self) -> f64 {
        (self.seen + self.above) / self.total()
    }

    fn lower_tail(self) -> f64 {
        (self.seen + self.below) / self.total()
    }

    fn mean_excess(self) -> f64 {
        self.first_moment / self.total()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn test_of(treatment: (u64, u64), control: (u64, u64)) -> FisherTest {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        fisher_exact_test(control, treatment, 0.05).unwrap()
    }

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.fisher_exact, and scipy.stats.contingency.odds_ratio, kind "conditional".
        let test = test_of((13, 47), (19, 53));
        assert_close(test.p_value.unwrap(), 0.3999948918153569, 1e-12);
        assert_close(test.p_value_less.unwrap(), 0.25463036522122723, 1e-12);
        assert_close(test.p_value_greater.unwrap(), 0.8624579789086643, 1e-12);
        assert_close(test.odds_ratio.estimate.unwrap(), 0.6868101942032374, 1e-8);
        assert_close(test.odds_ratio.low.unwrap(), 0.26565902666061286, 1e-8);
        assert_close(test.odds_ratio.high.unwrap(), 1.7349555818150866, 1e-8);
        assert_eq!(test.odds_ratio.note, None);
        // Fisher (1935), the lady tasting tea, with four cups of each kind: 1/70 when all are named right.
        let lady = test_of((4, 4), (0, 4));
        assert_close(lady.p_value_greater.unwrap(), 1.0 / 70.0, 1e-13);
        assert_close(lady.p_value.unwrap(), 2.0 / 70.0, 1e-13);
    }

    #[test]
    fn agrees_with_scipy_on_real_campaigns() {
        // Hillstrom (2008), conversions with the men's e-mail against none; Outvote (Schein et al. 2021), all rows.
        // SciPy 1.17.1: scipy.stats.fisher_exact.
        let conversions = test_of((267, 21307), (122, 21306));
        assert_close(conversions.p_value.unwrap(), 1.167425327483139e-13, 1e-9);
        let outvote = test_of((132105, 185179), (7051, 9939));
        assert_close(outvote.p_value.unwrap(), 0.3932881524212094, 1e-9);
        assert!(outvote.odds_ratio.contains(1.0));
    }

    #[test]
    fn the_central_test_and_the_interval_agree() {
        for (first, second) in [(1, 1), (3, 7), (10, 10), (2, 40)] {
            for treatment in 0..=first {
                for control in 0..=second {
                    let test = test_of((treatment, first), (control, second));
                    let found = test.central_p_value.unwrap() < 0.05;
                    assert_eq!(found, !test.odds_ratio.contains(1.0), "{treatment}/{first} v {control}/{second}");
                    assert!(test.p_value.unwrap() <= 1.0 && test.p_value.unwrap() > 0.0);
                }
            }
        }
    }

    #[test]
    fn empty_cells_leave_an_end_open() {
        let all = test_of((10, 10), (3, 10));
        assert_eq!((all.odds_ratio.estimate, all.odds_ratio.high), (None, None));
        assert!(all.odds_ratio.low.unwrap() > 1.0);
        assert!(all.odds_ratio.note.is_some());
        let none = test_of((0, 10), (3, 10));
        assert_eq!((none.odds_ratio.estimate, none.odds_ratio.low), (Some(0.0), Some(0.0)));
        assert!(none.odds_ratio.high.unwrap() > 1.0);
    }

    #[test]
    fn thin_and_huge_arms_are_answered_without_nan() {
        for outcome in [0, 10] {
            let same = test_of((outcome, 10), (outcome, 10));
            assert_eq!((same.p_value, same.central_p_value), (Some(1.0), Some(1.0)));
            assert_eq!(same.odds_ratio.estimate, None);
            assert_eq!(same.odds_ratio.note.as_deref(), Some(NO_CONTRAST));
        }
        let some = Proportion { n: 10, successes: 3 };
        let empty = fisher_exact_test(some, Proportion::default(), 0.05).unwrap();
        assert_eq!((empty.p_value, empty.odds_ratio.note.as_deref()), (None, Some(NO_UNITS)));
        let huge = Proportion { n: FISHER_MOST_UNITS, successes: 3 };
        let refused = fisher_exact_test(some, huge, 0.05).unwrap();
        assert_eq!((refused.p_value, refused.odds_ratio.note.as_deref()), (None, Some(TOO_MANY_UNITS)));
        assert!(fisher_exact_test(some, Proportion { n: 1, successes: 2 }, 0.05).is_err());
        assert!(fisher_exact_test(some, some, 1.0).is_err());
    }
}
