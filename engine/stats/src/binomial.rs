//! Binomial probabilities that keep their digits in a thousand million units.
//!
//! Enters: counts (whole or not) and probabilities. Leaves: single probabilities, the run of them that matters, and the
//! two pieces that they are made of: the error of Stirling's formula, and a deviance.
//!
//! Loader (2000), "Fast and accurate computation of binomial probabilities": the logarithms of factorials, which cancel
//! nearly to nothing, are never formed.

use crate::numeric::count;
use std::f64::consts::PI;

/// Where the asymptotic series of Stirling's error is right to the last bit.
const SERIES_FROM: f64 = 16.0;

/// Weights below this share of the largest are left out of a [`Window`].
const NEGLIGIBLE: f64 = 1e-30;

/// ln x! − ln(√(2πx) (x/e)^x) for x above zero; equally ln Γ(x) less (x − ½) ln x − x + ½ ln 2π.
pub(crate) fn stirling_error(x: f64) -> f64 {
    let mut shifted = x;
    let mut error = 0.0;
    while shifted < SERIES_FROM {
        error += (shifted + 0.5) * (1.0 / shifted).ln_1p() - 1.0;
        shifted += 1.0;
    }
    let square = 1.0 / (shifted * shifted);
    // NIST DLMF 5.11.1: B_{2k} / (2k (2k − 1) x^{2k − 1}).
    let series = 1.0 / 12.0
        - (1.0 / 360.0
            - (1.0 / 1260.0 - (1.0 / 1680.0 - (1.0 / 1188.0 - 691.0 / 360_360.0 * square) * square) * square) * square)
            * square;
    error + series / shifted
}

/// x ln(x / expected) + expected − x, for two values above zero, without cancellation where they are close.
pub(crate) fn deviance(x: f64, expected: f64) -> f64 {
    let excess = x - expected;
    let sum = x + expected;
    if excess.abs() >= 0.1 * sum {
        return x * (x / expected).ln() - excess;
    }
    let ratio = excess / sum;
    let square = ratio * ratio;
    let mut total = excess * ratio;
    let mut power = 2.0 * x * ratio;
    let mut divisor = 3.0;
    loop {
        power *= square;
        let next = total + power / divisor;
        // With |ratio| below 0.1 each term is less than a hundredth of the one before; zero and NaN are not normal.
        if !(next - total).is_normal() {
            return next;
        }
        total = next;
        divisor += 2.0;
    }
}

/// Γ(n + 1) / (Γ(x + 1) Γ(n − x + 1)) p^x q^(n − x), for n = `x` + `rest`; counts need not be whole. `q` is 1 − p.
pub(crate) fn probability(x: f64, rest: f64, p: f64, q: f64) -> f64 {
    let n = x + rest;
    if p <= 0.0 {
        return if x <= 0.0 { 1.0 } else { 0.0 };
    }
    if q <= 0.0 {
        return if rest <= 0.0 { 1.0 } else { 0.0 };
    }
    if x <= 0.0 {
        return (n * log_of_complement(p, q)).exp();
    }
    if rest <= 0.0 {
        return (n * log_of_complement(q, p)).exp();
    }
    let exponent =
        stirling_error(n) - stirling_error(x) - stirling_error(rest) - deviance(x, n * p) - deviance(rest, n * q);
    exponent.exp() * (n / (2.0 * PI * x * rest)).sqrt()
}

/// ln(1 − p), given p and q = 1 − p.
fn log_of_complement(p: f64, q: f64) -> f64 {
    if p < q { (-p).ln_1p() } else { q.ln() }
}

/// The probabilities of a binomial variable that are not negligible, in a row.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// The count that `weights[0]` belongs to.
    pub(crate) first: usize,
    /// Probability of each count from `first` on.
    pub(crate) weights: Vec<f64>,
}

impl Window {
    /// Of `units` trials with success probability `rate`, 0 to 1.
    pub(crate) fn new(units: u64, rate: f64) -> Self {
        let failure_rate = 1.0 - rate;
        let mode = whole((count(units) + 1.0) * rate).min(units);
        let peak = probability(count(mode), count(units - mode), rate, failure_rate);
        let least = peak * NEGLIGIBLE;

        let mut below = Vec::new();
        let mut weight = peak;
        for successes in (0..mode).rev() {
            // From successes + 1 down to successes.
            weight *= count(successes + 1) * failure_rate / (count(units - successes) * rate);
            if weight < least {
                break;
            }
            below.push(weight);
        }
        let steps_below = below.len();
        let mut weights: Vec<f64> = below.into_iter().rev().collect();
        weights.push(peak);
        weight = peak;
        for successes in mode..units {
            // From successes up to successes + 1.
            weight *= count(units - successes) * rate / (count(successes + 1) * failure_rate);
            if weight < least || weight.is_nan() {
                break;
            }
            weights.push(weight);
        }
        Self { first: index(mode) - steps_below, weights }
    }

    /// Running totals: entry k is the probability of fewer than `first` + k.
    pub(crate) fn running_totals(&self) -> Vec<f64> {
        let mut totals = Vec::with_capacity(self.weights.len() + 1);
        let mut total = 0.0;
        totals.push(total);
        for weight in &self.weights {
            total += weight;
            totals.push(total);
        }
        totals
    }
}

/// A count as an index into memory.
pub(crate) fn index(units: u64) -> usize {
    usize::try_from(units).unwrap_or(usize::MAX)
}

/// The whole part of a value of zero or more.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounding down is meant, and it saturates")]
pub(crate) fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn stirling_errors_agree_with_mpmath() {
        // mpmath 1.4.1, 40 digits: loggamma(x + 1) - ((x + 0.5) * log(x) - x + 0.5 * log(2 * pi)).
        assert_close(stirling_error(0.01), 1.4340079537031842, 1e-14);
        assert_close(stirling_error(1.0), 0.08106146679532726, 1e-14);
        assert_close(stirling_error(15.5), 0.005375599032926835, 1e-13);
        assert_close(stirling_error(1e9), 8.333333333333333e-11, 1e-14);
    }

    #[test]
    fn probabilities_agree_with_mpmath() {
        // mpmath 1.4.1, 40 digits: binomial(n, x) * p**x * (1 - p)**(n - x).
        assert_close(probability(3.0, 7.0, 0.25, 0.75), 0.25028228759765625, 1e-14);
        assert_close(probability(5e8 + 2e4, 5e8 - 2e4, 0.5, 0.5), 1.133716522831476e-05, 1e-12);
        assert_close(probability(0.0, 20.0, 0.01, 0.99), 0.8179069375972307, 1e-14);
        assert_close(probability(20.0, 0.0, 0.99, 0.01), 0.8179069375972307, 1e-14);
        assert_close(probability(0.0, 5.0, 0.0, 1.0), 1.0, 0.0);
        assert_close(probability(1.0, 5.0, 0.0, 1.0), 0.0, 0.0);
        assert_close(probability(5.0, 0.0, 1.0, 0.0), 1.0, 0.0);
    }

    #[test]
    fn a_window_holds_the_whole_distribution() {
        for (units, rate) in [(0, 0.3), (1, 0.0), (1, 1.0), (7, 0.5), (1000, 0.001), (10_000, 0.7), (10_000, 1e-9)] {
            let window = Window::new(units, rate);
            let total: f64 = window.weights.iter().sum();
            assert_close(total, 1.0, 1e-12);
            assert!(window.first + window.weights.len() <= index(units) + 1);
            for (step, &weight) in window.weights.iter().enumerate().step_by(17) {
                let successes = count((window.first + step) as u64);
                let exact = probability(successes, count(units) - successes, rate, 1.0 - rate);
                assert_close(weight, exact, 1e-11);
            }
            assert_close(window.running_totals().last().copied().unwrap_or(0.0), total, 0.0);
        }
    }
}
