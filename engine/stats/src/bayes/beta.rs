//! Beta posteriors of rates.
//!
//! Enters: units and successes of an arm, and a prior. Leaves: the posterior's mean, spread, quantiles and credible
//! interval, and the outlook of each of several arms.
//!
//! Everything is computed on the log-odds scale, on which the density ∝ x^a (1 − x)^b has no poles whatever the prior,
//! in Loader's form (see [`crate::binomial`]), which keeps its digits in a thousand million units.

use super::race::{ArmOutlook, Posterior, race};
use crate::binomial::{deviance, stirling_error, whole};
use crate::error::{StatsError, check_alpha, check_positive, check_probability};
use crate::interval::{Estimate, Interval};
use crate::numeric::count;
use crate::proportion::Proportion;
use crate::quadrature::Panel;
use crate::root::find_root;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The panels end where the density is e^−45 of its peak: a share of about 1e-19 lies beyond.
const NEGLIGIBLE_DROP: f64 = 45.0;

/// Below this a logarithm is used instead of the rate itself.
const TINY_RATE: f64 = 1e-290;

/// Log-odds beyond which a rate is 0 or 1 but for one part in 10^17, and its slope too small to matter.
const FLAT_FROM: f64 = 40.0;

/// A panel of unit width resolves the slope; more parts than this are never cut.
const MOST_PARTS: u64 = 10_000;

/// What is believed of a rate beforehand, as if so many successes and failures had been seen.
///
/// The default, one of each, holds every rate equally likely. One half of each is Jeffreys's prior.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BetaPrior {
    /// Successes that the prior is worth; above zero, not necessarily whole.
    pub successes: f64,
    /// Failures that the prior is worth; above zero, not necessarily whole.
    pub failures: f64,
}

impl Default for BetaPrior {
    fn default() -> Self {
        Self { successes: 1.0, failures: 1.0 }
    }
}

/// The posterior of a rate: a beta distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BetaPosterior {
    successes: f64,
    failures: f64,
}

impl BetaPosterior {
    /// The posterior after `data`. Without units it is the prior.
    ///
    /// # Errors
    ///
    /// [`StatsError::SuccessesExceedUnits`]; [`StatsError::NotPositive`] or [`StatsError::NotFinite`] for a prior that
    /// is worth no successes or no failures.
    pub fn new(data: Proportion, prior: BetaPrior) -> Result<Self, StatsError> {
        data.check()?;
        check_positive("the successes of the prior", prior.successes)?;
        check_positive("the failures of the prior", prior.failures)?;
        check_positive("one over the successes of the prior", 1.0 / prior.successes)?;
        check_positive("one over the failures of the prior", 1.0 / prior.failures)?;
        Ok(Self {
            successes: prior.successes + count(data.successes),
            failures: prior.failures + count(data.n - data.successes),
        })
    }

    /// Posterior mean of the rate, 0 to 1.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.successes / (self.successes + self.failures)
    }

    /// Posterior standard deviation of the rate.
    #[must_use]
    pub fn standard_deviation(&self) -> f64 {
        let total = self.successes + self.failures;
        (self.mean() * (self.failures / total) / (total + 1.0)).sqrt()
    }

    /// The rate below which a share `probability` of the posterior lies.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidProbability`].
    pub fn quantile(&self, probability: f64) -> Result<f64, StatsError> {
        check_probability("the probability of a quantile", probability)?;
        Ok(if probability <= 0.5 {
            logistic(self.lower_quantile(probability))
        } else {
            logistic(-self.turned().lower_quantile(1.0 - probability))
        })
    }

    /// The posterior mean with the equal-tailed credible interval that holds the rate with probability 1 − `alpha`.
    ///
    /// # Errors
    ///
    /// [`StatsError::InvalidAlpha`].
    pub fn summary(&self, alpha: f64) -> Result<Estimate, StatsError> {
        check_alpha(alpha)?;
        let tail = alpha / 2.0;
        let low = logistic(self.lower_quantile(tail));
        let high = logistic(-self.turned().lower_quantile(tail));
        Ok(Estimate::new(self.mean(), Interval::from_ends(low, high)))
    }

    /// The posterior of the rate of failures.
    fn turned(self) -> Self {
        Self { successes: self.failures, failures: self.successes }
    }

    /// The log-odds below which a share `probability`, 0 to ½, of the posterior lies.
    fn lower_quantile(self, probability: f64) -> f64 {
        if probability <= 0.0 {
            return f64::NEG_INFINITY;
        }
        let ends = self.panel_ends();
        let mut below = 0.0;
        let mut last = f64::NEG_INFINITY;
        for (&low, &high) in ends.iter().zip(ends.iter().skip(1)) {
            let mass = Panel { low, high }.integral(|place| self.density(place));
            if below + mass >= probability {
                let missing = probability - below;
                let excess = |end: f64| Panel { low, high: end }.integral(|place| self.density(place)) - missing;
                return find_root(excess, low, high);
            }
            below += mass;
            last = high;
        }
        last
    }

    /// How far ln x^a (1 − x)^b lies below its peak, at a place on the log-odds axis.
    fn drop_from_peak(self, place: f64) -> f64 {
        let total = self.successes + self.failures;
        part_of_drop(self.successes, total, place) + part_of_drop(self.failures, total, -place)
    }
}

/// a ln(a / (n x)) + n x − a, with x the rate whose log-odds are `place`.
fn part_of_drop(events: f64, total: f64, place: f64) -> f64 {
    let log_rate = log_logistic(place);
    let rate = log_rate.exp();
    if rate > TINY_RATE { deviance(events, total * rate) } else { events * ((events / total).ln() - log_rate) - events }
}

/// ln(1 / (1 + e^−place)).
fn log_logistic(place: f64) -> f64 {
    if place < 0.0 { place - place.exp().ln_1p() } else { -(-place).exp().ln_1p() }
}

/// 1 / (1 + e^−place).
fn logistic(place: f64) -> f64 {
    log_logistic(place).exp()
}

impl Posterior for BetaPosterior {
    fn density(&self, place: f64) -> f64 {
        let total = self.successes + self.failures;
        let peak = (self.successes / total * self.failures / (2.0 * PI)).sqrt();
        let correction = stirling_error(total) - stirling_error(self.successes) - stirling_error(self.failures);
        peak * (correction - self.drop_from_peak(place)).exp()
    }

    fn panel_ends(&self) -> Vec<f64> {
        let peak = self.successes.ln() - self.failures.ln();
        let spread = (1.0 / self.successes + 1.0 / self.failures).sqrt();
        let first_width = (spread / 2.0).min(1.0);
        let mut ends = vec![peak];
        for (direction, events) in [(-1.0, self.successes), (1.0, self.failures)] {
            // Far out the density falls like e^(−events × distance), which for weak priors is slow: panels widen there.
            let widest = first_width.max(0.5 / events);
            let mut width = first_width;
            let mut end = peak;
            while self.drop_from_peak(end) < NEGLIGIBLE_DROP {
                end += direction * width;
                ends.push(end);
                width = (1.3 * width).min(widest);
            }
        }
        ends.sort_by(f64::total_cmp);
        ends
    }

    fn slope(place: f64) -> f64 {
        (log_logistic(place) + log_logistic(-place)).exp()
    }

    fn parts(panel: Panel) -> u64 {
        if panel.high < -FLAT_FROM || panel.low > FLAT_FROM {
            return 1;
        }
        whole((panel.high - panel.low).ceil()).clamp(1, MOST_PARTS)
    }
}

/// The outlook of each arm, in the order given, when higher rates are better: its chance to have the highest, and the
/// expected loss, as a difference of shares, of choosing it. The arms are independent.
///
/// Where lower rates are better, count the failures. No arms have no outlooks; one alone wins for certain.
///
/// ```
/// use sendlift_stats::Proportion;
/// use sendlift_stats::bayes::{BetaPosterior, BetaPrior, outlooks_of_proportions};
///
/// let prior = BetaPrior::default();
/// let control = BetaPosterior::new(Proportion::new(100, 49)?, prior)?;
/// let treatment = BetaPosterior::new(Proportion::new(100, 51)?, prior)?;
/// let outlooks = outlooks_of_proportions(&[control, treatment]);
/// assert!((outlooks[1].chance_to_win - 0.61077).abs() < 1e-5);
/// assert!((outlooks[1].expected_loss - 0.019116).abs() < 1e-6);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
#[must_use]
pub fn outlooks_of_proportions(arms: &[BetaPosterior]) -> Vec<ArmOutlook> {
    race(arms)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::super::race::total_mass;
    use super::*;
    use crate::numeric::assert_close;

    fn posterior(successes: f64, failures: f64) -> BetaPosterior {
        BetaPosterior { successes, failures }
    }

    fn seen(successes: u64, n: u64) -> BetaPosterior {
        BetaPosterior::new(Proportion::new(n, successes).unwrap(), BetaPrior::default()).unwrap()
    }

    #[test]
    fn summaries_agree_with_scipy() {
        // SciPy 1.17.1: scipy.stats.beta(a, b).mean(), .std() and .ppf.
        let summary = posterior(15.0, 47.0).summary(0.05).unwrap();
        assert_close(summary.estimate.unwrap(), 0.24193548387096775, 1e-13);
        assert_close(summary.low.unwrap(), 0.144642721236473, 1e-9);
        assert_close(summary.high.unwrap(), 0.3549808292175001, 1e-9);
        let summary = posterior(1.0, 11.0).summary(0.05).unwrap();
        assert_close(summary.estimate.unwrap(), 0.08333333333333333, 1e-13);
        assert_close(summary.low.unwrap(), 0.002298972213814267, 1e-9);
        assert_close(summary.high.unwrap(), 0.28491415291815436, 1e-9);
        let summary = posterior(0.5, 10.5).summary(0.05).unwrap();
        assert_close(summary.estimate.unwrap(), 0.045454545454545456, 1e-13);
        assert_close(summary.low.unwrap(), 4.7890433157581876e-05, 1e-9);
        assert_close(summary.high.unwrap(), 0.21719626750921053, 1e-9);
        let summary = posterior(3895.0, 17414.0).summary(0.05).unwrap();
        assert_close(summary.estimate.unwrap(), 0.1827866159838566, 1e-13);
        assert_close(summary.low.unwrap(), 0.1776257730434272, 1e-9);
        assert_close(summary.high.unwrap(), 0.18800385719442309, 1e-9);
        let summary = posterior(1e8, 3e8).summary(0.05).unwrap();
        assert_close(summary.estimate.unwrap(), 0.25, 1e-13);
        assert_close(summary.low.unwrap(), 0.2499575667190011, 1e-9);
        assert_close(summary.high.unwrap(), 0.25004243564888123, 1e-9);
        assert_close(posterior(15.0, 47.0).standard_deviation(), 0.05395511148904295, 1e-13);
        assert_close(posterior(15.0, 47.0).quantile(0.3).unwrap(), 0.21144723799312184, 1e-11);
    }

    #[test]
    fn two_arms_agree_with_mpmath() {
        // mpmath 1.4.1, 25 digits: quad over beta densities and betainc. Miller's closed form (2015) gives
        // .998243568688 for 100/200 against 250/400, and the design's .61077 and .019116 for 49/100 against 51/100.
        let outlooks = outlooks_of_proportions(&[seen(100, 200), seen(250, 400)]);
        assert_close(outlooks[1].chance_to_win, 0.9982435686884273, 1e-12);
        assert_close(outlooks[1].expected_loss, 2.146690356777322e-5, 1e-10);
        let outlooks = outlooks_of_proportions(&[seen(49, 100), seen(51, 100)]);
        assert_close(outlooks[1].chance_to_win, 0.6107705226878394, 1e-12);
        assert_close(outlooks[1].expected_loss, 0.01911646120208925, 1e-11);
        // Jeffreys's prior and no success: the density has a pole at zero.
        let outlooks = outlooks_of_proportions(&[posterior(0.5, 10.5), posterior(3.5, 7.5)]);
        assert_close(outlooks[1].chance_to_win, 0.9762504911763297, 1e-11);
        assert_close(outlooks[1].expected_loss, 0.001528918006885096, 1e-10);
    }

    #[test]
    fn three_arms_agree_with_the_design() {
        // 15/61, 13/54 and 19/72: .2963293, .2772573 and .4264134 (design/statistics.md), digits by the Python port.
        let outlooks = outlooks_of_proportions(&[seen(15, 61), seen(13, 54), seen(19, 72)]);
        assert_close(outlooks[0].chance_to_win, 0.2963293065134, 1e-11);
        assert_close(outlooks[1].chance_to_win, 0.2772572771954, 1e-11);
        assert_close(outlooks[2].chance_to_win, 0.4264134162912, 1e-11);
    }

    #[test]
    fn what_can_be_done_by_hand_is_right() {
        // Three rates of which nothing is known: the greatest of three has mean 3/4, any one 1/2.
        for outlook in outlooks_of_proportions(&[posterior(1.0, 1.0); 3]) {
            assert_close(outlook.chance_to_win, 1.0 / 3.0, 1e-12);
            assert_close(outlook.expected_loss, 0.25, 1e-12);
        }
        // A uniform rate is below a rate of mean 1/10 with probability 1/10.
        let outlooks = outlooks_of_proportions(&[posterior(1.0, 1.0), posterior(1000.0, 9000.0)]);
        assert_close(outlooks[1].chance_to_win, 0.1, 1e-12);
        let alone = outlooks_of_proportions(&[seen(3, 10)]);
        assert_close(alone[0].chance_to_win, 1.0, 1e-12);
        assert_close(alone[0].expected_loss, 0.0, 0.0);
        assert!(outlooks_of_proportions(&[]).is_empty());
    }

    #[test]
    fn huge_small_and_certain_arms_keep_their_digits() {
        let arms =
            [(1e9, 2e9), (1.0, 1e15), (1e15, 1.0), (0.01, 5.01), (1e-3, 1e-3), (1.0, 1.0), (1e-6, 3.0), (7.0, 0.5)];
        for (successes, failures) in arms {
            assert_close(total_mass(&posterior(successes, failures)), 1.0, 1e-9);
        }
        let far = outlooks_of_proportions(&[seen(10, 1_000_000), seen(999_000, 1_000_000)]);
        assert!(far[0].chance_to_win >= 0.0 && far[0].chance_to_win < 1e-300);
        assert_close(far[0].expected_loss, 0.999 - 1e-5, 1e-5);
        assert!(far[1].expected_loss >= 0.0);
    }

    #[test]
    fn impossible_input_is_refused() {
        let data = Proportion { n: 10, successes: 3 };
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(BetaPosterior::new(data, BetaPrior { successes: bad, failures: 1.0 }).is_err(), "{bad}");
            assert!(BetaPosterior::new(data, BetaPrior { successes: 1.0, failures: bad }).is_err(), "{bad}");
        }
        assert!(BetaPosterior::new(Proportion { n: 1, successes: 2 }, BetaPrior::default()).is_err());
        assert!(seen(3, 10).summary(0.0).is_err());
        assert!(seen(3, 10).quantile(1.5).is_err());
        assert_close(seen(3, 10).quantile(0.0).unwrap(), 0.0, 0.0);
        assert_close(seen(3, 10).quantile(1.0).unwrap(), 1.0, 0.0);
        let nothing = BetaPosterior::new(Proportion::default(), BetaPrior::default()).unwrap();
        assert_close(nothing.mean(), 0.5, 0.0);
    }
}
