//! How often a t statistic is past its critical value when there is a difference: the noncentral t distribution.
//!
//! Enters: a critical value, degrees of freedom ν, and the noncentrality δ, the difference in its standard errors.
//! Leaves: the probability of a statistic past the critical value on either side.
//!
//! T = (Z + δ) / S, where Z is standard normal and ν S² is chi-squared (Johnson, Kotz and Balakrishnan 1995,
//! "Continuous Univariate Distributions" 2, chapter 31), so that, given U = ln S,
//!
//! ```text
//! P(|T| > t) = ∫ [Φ(δ − t e^u) + Φ(−δ − t e^u)] f(u) du,    f(u) ∝ exp(ν (u − e^(2u) / 2))
//! ```
//!
//! The integral is taken panel by panel over all of f that matters, and divided by that of f on the same nodes. The
//! logarithm spreads out small S, which decide where ν is small and t is large.

use super::normal;
use crate::quadrature::Panel;

/// Degrees of freedom from which S is as good as one.
pub(crate) const NORMAL_FROM: f64 = 1e10;
/// Standard deviations of U on either side of zero that matter.
const WIDTH: f64 = 14.0;
/// U below this over ν is rarer than 1e-20.
const DEPTH: f64 = -46.0;
/// Panels, each a quarter of a standard deviation wide, or less than one of a normal distribution.
const PANELS: u32 = 120;

/// Probability, 0 to 1, that a statistic with this noncentrality is at least `critical` from zero. `critical` is zero or
/// more, the degrees of freedom are one or more.
#[must_use]
pub fn two_sided_power(critical: f64, degrees_of_freedom: f64, noncentrality: f64) -> f64 {
    let given = |scale: f64| {
        normal::lower_tail(noncentrality - critical * scale) + normal::lower_tail(-noncentrality - critical * scale)
    };
    if degrees_of_freedom >= NORMAL_FROM {
        return given(1.0).min(1.0);
    }
    let reach = WIDTH / (2.0 * degrees_of_freedom).sqrt();
    let density = |log_scale: f64| (degrees_of_freedom * (log_scale - (2.0 * log_scale).exp_m1() / 2.0)).exp();
    let low = (-reach).min(DEPTH / degrees_of_freedom);
    let width = (reach - low) / f64::from(PANELS);
    let (mut past, mut all) = (0.0, 0.0);
    for panel in 0..PANELS {
        let start = low + width * f64::from(panel);
        let panel = Panel { low: start, high: start + width };
        past += panel.integral(|log_scale| given(log_scale.exp()) * density(log_scale));
        all += panel.integral(density);
    }
    (past / all).min(1.0)
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "as the oracle prints them")]
mod tests {
    use super::*;
    use crate::distribution::students_t;
    use crate::numeric::assert_close;

    #[test]
    fn power_agrees_with_scipy() {
        // SciPy 1.17.1: nct.sf(critical, df, nc) + nct.cdf(-critical, df, nc).
        for (critical, degrees_of_freedom, noncentrality, expected) in [
            (4.302652729749464, 2.0, 3.0, 0.3874001285259709),
            (2.3060041352041662, 8.0, 2.5, 0.5930780932637122),
            (2.001717484145236, 58.0, 2.8, 0.7862286390766343),
            (2.878440472738608, 18.0, 1.0, 0.04828373425539269),
            (49.45863675693464, 4.0, 9.0, 0.00224423575169981),
            (1.9623438462163345, 998.0, 2.80158, 0.7992436198249915),
            (3.5746548420036834, 2.5, 40.0, 1.0),
            (1.959965170676375, 2e6, 2.8, 0.7995564945280006),
        ] {
            assert_close(two_sided_power(critical, degrees_of_freedom, noncentrality), expected, 1e-10);
        }
    }

    #[test]
    fn without_a_difference_power_is_alpha() {
        for degrees_of_freedom in [1.0, 2.0, 7.5, 100.0, 1e6, 1e9, 1e12] {
            for alpha in [0.5, 0.05, 1e-6] {
                let critical = students_t::critical_value(alpha, degrees_of_freedom);
                assert_close(two_sided_power(critical, degrees_of_freedom, 0.0), alpha, 1e-8);
            }
        }
    }
}
