//! Test and roll: two texts on part of a finite list, then the better one to the rest.
//!
//! Enters: the list, what past campaigns say of texts, what a response and a message are worth. Leaves: the size of the
//! test that earns the most, and its expected profit.
//!
//! Feit and Berman (2019), "Test & Roll: Profit-Maximizing A/B Tests", Marketing Science 38(6).

use super::{FAR, density, integral};
use crate::distribution::normal;
use crate::error::{StatsError, check_finite, check_not_negative, check_positive, check_probability};
use crate::numeric::count;
use crate::plan::whole;
use serde::{Deserialize, Serialize};
use std::f64::consts::SQRT_2;

/// A finite list: test two texts on part of it, send the better one to the rest.
///
/// Each text's true response per message comes from a normal distribution of mean μ and standard deviation σ, what past
/// campaigns scattered by; a single response varies by s around it (√(μ (1 − μ)) for a conversion). A test of n messages
/// each makes the posterior means differ by τ = σ² / √(σ² + s²/n). With a message's net value ν of either text,
/// v μ − cost − opt-out rate × opt-out cost, the expected profit of a list of N is
///
/// ```text
/// n (ν₁ + ν₂) + (N − 2n) E max(X₁, X₂[, 0]),     X ~ Normal(ν, v² τ²)
/// ```
///
/// where the 0 is for not sending the rest at all, if that is allowed. The best n is searched for; with equal costs and
/// without the 0 it is Feit and Berman's, √(N/4 (s/σ)² + (¾ (s/σ)²)²) − ¾ (s/σ)².
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestThenRoll {
    /// Recipients on the list.
    pub list_size: u64,
    /// μ: the mean response to a text, per message.
    pub prior_mean: f64,
    /// σ: the standard deviation of true mean responses between texts; zero or more.
    pub prior_deviation: f64,
    /// s: the standard deviation of a single response; above zero.
    pub response_deviation: f64,
    /// v: what one unit of response is worth, in the currency.
    pub value_per_response: f64,
    /// Cost of a message of the first and of the second text (segments differ), in the currency.
    pub message_cost: (f64, f64),
    /// Share of recipients that opt out on the first and on the second text, 0 to 1.
    pub opt_out_rate: (f64, f64),
    /// What an opt-out costs, in the currency: the value of the messages it forgoes.
    pub opt_out_cost: f64,
    /// Whether the rest of the list may be sent nothing when both texts lose money.
    pub may_send_nothing: bool,
}

/// The size of a test, and what it earns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestSize {
    /// Messages of each text in the test; zero where testing does not pay.
    pub per_arm: u64,
    /// Expected profit of the whole list with this test, in the currency.
    pub expected_profit: f64,
    /// Expected profit without a test: the cheaper text to all, or nothing.
    pub profit_without_test: f64,
    /// Expected profit if the better text were known beforehand: no test can have more.
    pub profit_if_known: f64,
}

impl TestThenRoll {
    /// The test that earns the most.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotFinite`], [`StatsError::Negative`], [`StatsError::NotPositive`] or
    /// [`StatsError::InvalidProbability`] for a campaign that cannot be.
    pub fn best_test(&self) -> Result<TestSize, StatsError> {
        self.check()?;
        let most = self.list_size / 2;
        // Where texts differ in cost a small test only costs, and a larger one may pay: look everywhere, coarsely first.
        let steps = 200_u32;
        let grid = |step: u32| {
            whole((count(most.max(1)).ln() * f64::from(step) / f64::from(steps)).exp()).clamp(1, most.max(1))
        };
        let mut best_step = 0;
        let mut best_profit = f64::NEG_INFINITY;
        for step in 0..=steps {
            let profit = self.profit(grid(step));
            if profit > best_profit {
                (best_step, best_profit) = (step, profit);
            }
        }
        let (mut low, mut high) = (grid(best_step.saturating_sub(1)), grid((best_step + 1).min(steps)));
        while high - low > 2 {
            let third = (high - low) / 3;
            if self.profit(low + third) < self.profit(high - third) {
                low += third.max(1);
            } else {
                high -= third.max(1);
            }
        }
        let profit_without_test = self.profit(0);
        let (mut per_arm, mut expected_profit) = (0, profit_without_test);
        // Rounding is no reason to test.
        let (first, second) = self.net_values();
        let rounding = 1e-13 * count(self.list_size) * first.abs().max(second.abs());
        for candidate in low..=high {
            let profit = self.profit(candidate);
            if candidate <= most && profit > expected_profit + rounding {
                (per_arm, expected_profit) = (candidate, profit);
            }
        }
        let deviation = self.value_per_response.abs() * self.prior_deviation;
        let profit_if_known = count(self.list_size) * self.best_of_two(deviation);
        Ok(TestSize { per_arm, expected_profit, profit_without_test, profit_if_known })
    }

    /// Expected profit of the whole list with a test of `per_arm` messages of each text, in the currency; a test larger
    /// than the list is cut to it.
    ///
    /// # Errors
    ///
    /// As [`best_test`](Self::best_test).
    pub fn expected_profit(&self, per_arm: u64) -> Result<f64, StatsError> {
        self.check()?;
        Ok(self.profit(per_arm.min(self.list_size / 2)))
    }

    fn check(&self) -> Result<(), StatsError> {
        check_finite("the mean response", self.prior_mean)?;
        check_not_negative("the standard deviation between texts", self.prior_deviation)?;
        check_positive("the standard deviation of a response", self.response_deviation)?;
        check_finite("the value of a response", self.value_per_response)?;
        check_finite("the cost of a message", self.message_cost.0)?;
        check_finite("the cost of a message", self.message_cost.1)?;
        check_probability("the share of recipients that opt out", self.opt_out_rate.0)?;
        check_probability("the share of recipients that opt out", self.opt_out_rate.1)?;
        check_finite("the cost of an opt-out", self.opt_out_cost)
    }

    /// Net value of a message of either text, before any test.
    fn net_values(&self) -> (f64, f64) {
        let gross = self.value_per_response * self.prior_mean;
        (
            gross - self.message_cost.0 - self.opt_out_rate.0 * self.opt_out_cost,
            gross - self.message_cost.1 - self.opt_out_rate.1 * self.opt_out_cost,
        )
    }

    fn profit(&self, per_arm: u64) -> f64 {
        let n = count(per_arm);
        let (first, second) = self.net_values();
        let rest = (count(self.list_size) - 2.0 * n).max(0.0);
        let deviation = if per_arm == 0 || self.prior_deviation <= 0.0 {
            0.0
        } else {
            // σ² / √(σ² + s²/n), so written that small deviations do not underflow.
            let noise = self.response_deviation / self.prior_deviation;
            self.prior_deviation / (1.0 + noise * noise / n).sqrt()
        };
        n * (first + second) + rest * self.best_of_two(self.value_per_response.abs() * deviation)
    }

    /// The expected greatest of two independent normal values around the net values, and of zero where nothing may be
    /// sent.
    fn best_of_two(&self, deviation: f64) -> f64 {
        let (first, second) = self.net_values();
        let better = first.max(second);
        if deviation <= 0.0 {
            return if self.may_send_nothing { better.max(0.0) } else { better };
        }
        if self.may_send_nothing {
            // E max = start + ∫ P(max > x) dx from a start that the maximum is never below.
            let start = (better - FAR * deviation).max(0.0);
            let end = better + FAR * deviation;
            if end <= start {
                return 0.0;
            }
            return start
                + integral(start, end, |x| {
                    let below =
                        normal::lower_tail((x - first) / deviation) * normal::lower_tail((x - second) / deviation);
                    1.0 - below
                });
        }
        let gap = (first - second) / (SQRT_2 * deviation);
        first * normal::lower_tail(gap) + second * normal::lower_tail(-gap) + SQRT_2 * deviation * density(gap)
    }
}

/// Feit and Berman's closed form for two equal texts and no costs: messages of each in the test, not rounded.
///
/// ```
/// let response = (0.68_f64 * 0.32).sqrt();
/// let n = sendlift_stats::plan_campaign::test_size_without_costs(100_000, 0.03, response)?;
/// assert_eq!(n.round(), 2284.0);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::NotPositive`] or [`StatsError::NotFinite`] for a standard deviation that is none.
pub fn test_size_without_costs(
    list_size: u64,
    prior_deviation: f64,
    response_deviation: f64,
) -> Result<f64, StatsError> {
    check_positive("the standard deviation between texts", prior_deviation)?;
    check_positive("the standard deviation of a response", response_deviation)?;
    let noise = (response_deviation / prior_deviation).powi(2);
    let shift = 0.75 * noise;
    // (√(a + b²) − b) = a / (√(a + b²) + b), which keeps its digits where b is large.
    let part = count(list_size) / 4.0 * noise;
    Ok(part / ((part + shift * shift).sqrt() + shift))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;
    use std::f64::consts::PI;

    fn feit_and_berman() -> TestThenRoll {
        TestThenRoll {
            list_size: 100_000,
            prior_mean: 0.68,
            prior_deviation: 0.03,
            response_deviation: (0.68_f64 * 0.32).sqrt(),
            value_per_response: 1.0,
            message_cost: (0.0, 0.0),
            opt_out_rate: (0.0, 0.0),
            opt_out_cost: 0.0,
            may_send_nothing: false,
        }
    }

    #[test]
    fn test_and_roll_is_feit_and_bermans() {
        // Feit and Berman's website example (2019; design/statistics.md): a list of 100,000, mean .68, standard deviation
        // .03: 2,284 each.
        let test = feit_and_berman().best_test().unwrap();
        assert_eq!(test.per_arm, 2284);
        let closed = test_size_without_costs(100_000, 0.03, (0.68_f64 * 0.32).sqrt()).unwrap();
        assert_close(closed, 2283.8900281944257, 1e-12);
        // tests/oracle/plan_campaign.py: their profit formula by SciPy's quadrature.
        assert_close(test.expected_profit, 69535.99861738103, 1e-9);
        assert_close(test.profit_without_test, 68_000.0, 1e-12);
        assert_close(test.profit_if_known, 100_000.0 * (0.68 + 0.03 / PI.sqrt()), 1e-12);
    }

    #[test]
    fn costs_change_the_test() {
        // tests/oracle/plan_campaign.py: SciPy's quadrature and a search over every size.
        let campaign = TestThenRoll {
            list_size: 20_000,
            prior_mean: 0.02,
            prior_deviation: 0.006,
            response_deviation: 0.14,
            value_per_response: 4.0,
            message_cost: (0.06, 0.06),
            opt_out_rate: (0.01, 0.01),
            opt_out_cost: 2.5,
            may_send_nothing: true,
        };
        let test = campaign.best_test().unwrap();
        assert_eq!(test.per_arm, 1205);
        assert_close(test.expected_profit, 165.2701525270308, 1e-8);
        let always = TestThenRoll { may_send_nothing: false, ..campaign }.best_test().unwrap();
        assert!(always.expected_profit < test.expected_profit);
        // One text a segment longer: a small test only costs.
        let longer = TestThenRoll { message_cost: (0.06, 0.09), may_send_nothing: false, ..campaign };
        let test = longer.best_test().unwrap();
        assert_eq!(test.per_arm, 635);
        assert!(longer.expected_profit(10).unwrap() < test.profit_without_test);
    }

    #[test]
    fn small_or_certain_lists_are_not_tested() {
        for list_size in [0, 1, 2, 3] {
            let test = TestThenRoll { list_size, ..feit_and_berman() }.best_test().unwrap();
            assert!(test.per_arm <= 1 && test.expected_profit.is_finite());
        }
        let certain = TestThenRoll { prior_deviation: 0.0, ..feit_and_berman() }.best_test().unwrap();
        assert_eq!(certain.per_arm, 0);
        let loss = TestThenRoll { message_cost: (9.0, 9.0), may_send_nothing: true, ..feit_and_berman() };
        let test = loss.best_test().unwrap();
        assert_eq!(test.per_arm, 0);
        assert_close(test.expected_profit, 0.0, 1e-9);
    }

    #[test]
    fn impossible_lists_are_refused() {
        assert!(TestThenRoll { response_deviation: 0.0, ..feit_and_berman() }.best_test().is_err());
        assert!(TestThenRoll { opt_out_rate: (1.2, 0.0), ..feit_and_berman() }.best_test().is_err());
        assert!(test_size_without_costs(10, 0.0, 1.0).is_err());
    }
}
