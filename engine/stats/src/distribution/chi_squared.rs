//! The chi-square distribution.
//!
//! Enters: a statistic of zero or more, and degrees of freedom above zero. Leaves: the probability of a greater one, as
//! the regularised upper incomplete gamma function Q(df / 2, x / 2) (NIST DLMF 8.2.4), computed by `statrs`.

use statrs::function::gamma::checked_gamma_ur;

/// Probability, 0 to 1, that a chi-square variable with `degrees_of_freedom` exceeds `statistic`.
///
/// One for a statistic of zero or less; NaN if either argument is NaN or the degrees of freedom are not above zero.
#[must_use]
pub fn upper_tail(statistic: f64, degrees_of_freedom: f64) -> f64 {
    if statistic.is_nan() || degrees_of_freedom.is_nan() || degrees_of_freedom <= 0.0 {
        return f64::NAN;
    }
    let half = statistic / 2.0;
    if half <= 0.0 {
        return 1.0;
    }
    if half.is_infinite() {
        return 0.0;
    }
    checked_gamma_ur(degrees_of_freedom / 2.0, half).map_or(f64::NAN, |probability| probability.clamp(0.0, 1.0))
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the ends are exact")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    #[allow(clippy::unreadable_literal, reason = "as the oracle prints them")]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.chi2.sf.
        assert_close(upper_tail(4.7071, 7.0), 0.6956565987061127, 1e-12);
        assert_close(upper_tail(0.5, 2.0), 0.7788007830714049, 1e-12);
        assert_close(upper_tail(300.0, 3.0), 9.948758346327588e-65, 1e-11);
        assert_close(upper_tail(1e-3, 1.0), 0.9747728793699604, 1e-12);
    }

    #[test]
    fn ends_are_handled() {
        assert_eq!(upper_tail(0.0, 3.0), 1.0);
        assert_eq!(upper_tail(-1.0, 3.0), 1.0);
        assert_eq!(upper_tail(f64::INFINITY, 3.0), 0.0);
        assert!(upper_tail(f64::NAN, 3.0).is_nan());
        assert!(upper_tail(1.0, 0.0).is_nan());
    }
}
