//! Student's t distribution.
//!
//! Enters: a t statistic or an alpha, and degrees of freedom above zero (Welch's need not be whole). Leaves: a
//! two-sided p value, or the critical value that is its exact inverse.
//!
//! Below 2000 degrees of freedom the p value is the regularised incomplete beta function (NIST DLMF 8.17) of `statrs`.
//! Above, where that loses digits (1e-6 at a thousand million degrees), it is the normal tail at the equivalent z of
//! Hill (1970), "Algorithm 395: Student's t-distribution", Communications of the ACM 13(10). Either is right to 1e-11,
//! as measured against mpmath.

use super::normal;
use crate::root::find_root;
use statrs::function::beta::checked_beta_reg;

/// Where the two ways of computing the tail meet.
const ASYMPTOTIC_FROM: f64 = 2000.0;

/// Degrees of freedom past which t and z agree to the last bit.
const NORMAL_FROM: f64 = 1e15;

/// Probability, 0 to 1, of a t value with `degrees_of_freedom` at least as far from zero as `statistic`.
///
/// NaN if either argument is NaN or the degrees of freedom are not above zero.
#[must_use]
pub fn two_sided_p_value(statistic: f64, degrees_of_freedom: f64) -> f64 {
    if degrees_of_freedom >= ASYMPTOTIC_FROM {
        return normal::two_sided_p_value(equivalent_z(statistic, degrees_of_freedom));
    }
    let share = degrees_of_freedom / (degrees_of_freedom + statistic * statistic);
    checked_beta_reg(degrees_of_freedom / 2.0, 0.5, share).map_or(f64::NAN, |probability| probability.clamp(0.0, 1.0))
}

/// Hill's normal equivalent of `statistic`, without its sign.
fn equivalent_z(statistic: f64, degrees_of_freedom: f64) -> f64 {
    if degrees_of_freedom > NORMAL_FROM {
        return statistic.abs();
    }
    let reduced = degrees_of_freedom - 0.5;
    let scale = 48.0 * reduced * reduced;
    let square = reduced * (statistic * statistic / degrees_of_freedom).ln_1p();
    if !square.is_finite() {
        return square;
    }
    let cubic = ((-0.4 * square - 3.3) * square - 24.0) * square - 85.5;
    let correction = cubic / (0.8 * square * square + 100.0 + scale) + square + 3.0;
    (correction / scale + 1.0) * square.sqrt()
}

/// The t that a two-sided test at `alpha` (a share in (0, 1)) has to exceed: the root of [`two_sided_p_value`], so that
/// a statistic is past it when its p value is below alpha.
#[must_use]
pub fn critical_value(alpha: f64, degrees_of_freedom: f64) -> f64 {
    let log_alpha = alpha.ln();
    // Logarithms make the tail nearly straight, which is what interpolation likes.
    let excess = |statistic: f64| two_sided_p_value(statistic, degrees_of_freedom).ln() - log_alpha;
    // t has heavier tails than z, so z is a lower bound.
    let mut low = normal::critical_value(alpha);
    let mut high = 2.0 * (low + 1.0);
    while excess(high) > 0.0 && high < 1e150 {
        low = high;
        high *= high;
    }
    find_root(excess, low, high)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn tails_agree_with_scipy() {
        // SciPy 1.17.1: 2 * scipy.stats.t.sf.
        assert_close(two_sided_p_value(2.0, 1.0), 0.2951672353008665, 1e-11);
        assert_close(two_sided_p_value(-2.5, 5.5), 0.050120085869221634, 1e-11);
        assert_close(two_sided_p_value(10.0, 30.0), 4.575251408229618e-11, 1e-11);
        assert_close(two_sided_p_value(1.5, 1999.0), 0.13377231534929954, 1e-11);
        assert_close(two_sided_p_value(1.5, 2001.0), 0.13377215753111085, 1e-11);
        assert_close(two_sided_p_value(3.0, 1e6), 0.0026998625414218, 1e-11);
        assert_close(two_sided_p_value(20.0, 50.0), 1.6548521947439653e-25, 1e-11);
    }

    #[test]
    fn critical_values_agree_with_scipy() {
        // SciPy 1.17.1: scipy.stats.t.isf(alpha / 2).
        assert_close(critical_value(0.05, 1.0), 12.706204736174705, 1e-10);
        assert_close(critical_value(0.05, 4.5), 2.658912347204404, 1e-10);
        assert_close(critical_value(0.01, 30.0), 2.749995653567226, 1e-10);
        assert_close(critical_value(0.05, 5841.742), 1.960370156956713, 1e-10);
        assert_close(critical_value(0.05, 1e9), 1.9599639869123253, 1e-10);
        assert_close(critical_value(1e-6, 3.0), 130.15458955835794, 1e-10);
        assert_close(critical_value(0.05, f64::INFINITY), 1.9599639845400545, 1e-10);
    }

    #[test]
    fn critical_value_is_the_inverse() {
        for alpha in [0.9, 0.2, 0.05, 0.001, 1e-12] {
            for degrees_of_freedom in [1.0, 1.7, 12.0, 500.0, 1999.9, 2000.0, 1e7] {
                let critical = critical_value(alpha, degrees_of_freedom);
                assert_close(two_sided_p_value(critical, degrees_of_freedom), alpha, 1e-10);
            }
        }
    }

    #[test]
    fn ends_are_handled() {
        assert_close(two_sided_p_value(0.0, 5.0), 1.0, 0.0);
        assert_close(two_sided_p_value(0.0, 5000.0), 1.0, 0.0);
        assert_close(two_sided_p_value(1e200, 5.0), 0.0, 0.0);
        assert_close(two_sided_p_value(1e200, 5000.0), 0.0, 0.0);
        assert!(two_sided_p_value(1.0, 0.0).is_nan());
        assert!(two_sided_p_value(f64::NAN, 5.0).is_nan());
    }
}
