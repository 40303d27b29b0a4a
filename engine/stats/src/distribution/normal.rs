//! The standard normal distribution.
//!
//! Enters: a z statistic, or a probability. Leaves: a probability, or a z.
//!
//! Tails go through the chi-square with one degree of freedom, which is z squared: `statrs` 0.18 has `erfc` right to
//! about 1e-10 only (its coefficients hold shortened constants), its incomplete gamma and `erfc_inv` to 1e-14.

use super::chi_squared;
use statrs::function::erf::erfc_inv;
use std::f64::consts::{PI, SQRT_2};

/// Squares of z below this go by the series: what it leaves out is below 1e-19.
const NEAR_ZERO: f64 = 1e-4;

/// Probability, 0 to 1, of a standard normal value at least as far from zero as `statistic`.
#[must_use]
pub fn two_sided_p_value(statistic: f64) -> f64 {
    let square = statistic * statistic;
    if square < NEAR_ZERO {
        // The series of the density, term by term; the incomplete gamma is 1 for all z below 5e-8.
        let inside = statistic.abs() * (1.0 - square / 6.0 + square * square / 40.0 - square.powi(3) / 336.0);
        return 1.0 - (2.0 / PI).sqrt() * inside;
    }
    chi_squared::upper_tail(statistic * statistic, 1.0)
}

/// Probability, 0 to 1, of a standard normal value above `z`.
#[must_use]
pub fn upper_tail(z: f64) -> f64 {
    let beyond = two_sided_p_value(z) / 2.0;
    if z < 0.0 { 1.0 - beyond } else { beyond }
}

/// Probability, 0 to 1, of a standard normal value below `z`.
#[must_use]
pub fn lower_tail(z: f64) -> f64 {
    upper_tail(-z)
}

/// The z that a two-sided test at `alpha` (a share in (0, 1)) has to exceed: 1.96 at 0.05.
#[must_use]
pub fn critical_value(alpha: f64) -> f64 {
    SQRT_2 * erfc_inv(alpha)
}

/// The value below which a share `probability` (in (0, 1)) of a standard normal lies; infinite at 0 and 1.
#[must_use]
pub fn quantile(probability: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * probability)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn tails_are_smooth_at_zero() {
        // scipy.stats.norm.sf
        assert_close(upper_tail(4.7e-8), 0.49999998124971284, 1e-16);
        assert_close(upper_tail(0.0099999), 0.4960106835776018, 1e-15);
        assert_close(upper_tail(0.0100001), 0.49601060379313505, 1e-15);
    }

    #[test]
    fn tails_agree_with_scipy() {
        // SciPy 1.17.1: 2 * scipy.stats.norm.sf.
        assert_close(two_sided_p_value(0.5), 0.6170750774519738, 1e-12);
        assert_close(two_sided_p_value(-0.5), 0.6170750774519738, 1e-12);
        assert_close(two_sided_p_value(1.959963984540054), 0.05, 1e-12);
        assert_close(two_sided_p_value(3.0), 0.0026997960632601866, 1e-12);
        assert_close(two_sided_p_value(15.0), 7.341932398625397e-51, 1e-11);
        assert_close(upper_tail(3.0), 0.0026997960632601866 / 2.0, 1e-12);
        assert_close(lower_tail(3.0), 1.0 - 0.0026997960632601866 / 2.0, 1e-14);
        assert_close(upper_tail(0.0), 0.5, 0.0);
    }

    #[test]
    fn critical_values_agree_with_scipy() {
        // SciPy 1.17.1: scipy.stats.norm.isf(alpha / 2).
        assert_close(critical_value(0.2), 1.2815515655446004, 1e-13);
        assert_close(critical_value(0.1), 1.6448536269514729, 1e-13);
        assert_close(critical_value(0.05), 1.9599639845400545, 1e-13);
        assert_close(critical_value(0.01), 2.575829303548901, 1e-13);
        assert_close(critical_value(1e-10), 6.466951087240516, 1e-13);
        assert_close(quantile(0.975), 1.9599639845400545, 1e-12);
        assert_close(quantile(0.2), -0.8416212335729142, 1e-12);
    }
}
