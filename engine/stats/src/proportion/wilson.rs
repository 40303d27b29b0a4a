//! Wilson's score interval for one proportion.
//!
//! Enters: successes, units, alpha. Leaves: an interval inside [0, 1] that is right at no successes and at nothing but
//! successes too. Wilson (1927), Journal of the American Statistical Association 22(158).

use super::{Arm, NO_UNITS, Proportion};
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha};
use crate::interval::Interval;

/// Wilson's interval for the share of `successes` among `n` units, at confidence 1 − `alpha`.
///
/// Ends are shares, 0 to 1. With no units both are missing, and a note says so.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn wilson_interval(successes: u64, n: u64, alpha: f64) -> Result<Interval, StatsError> {
    check_alpha(alpha)?;
    let Some(arm) = Arm::new(Proportion::new(n, successes)?) else {
        return Ok(Interval::undefined(NO_UNITS));
    };
    let (low, high) = wilson_ends(arm, normal::critical_value(alpha));
    Ok(Interval::from_ends(low, high))
}

/// The two roots of (rate − p)² = z² p (1 − p) / n, each in the form that loses no digits.
pub(super) fn wilson_ends(arm: Arm, critical: f64) -> (f64, f64) {
    let square = critical * critical;
    let half_width = critical * (arm.rate * arm.failures + square / 4.0).sqrt();
    let low_root = |events: f64| events * (events / arm.units) / (events + square / 2.0 + half_width);
    let low = low_root(arm.successes);
    let high = if arm.failures < arm.successes {
        1.0 - low_root(arm.failures)
    } else {
        (arm.successes + square / 2.0 + half_width) / (arm.units + square)
    };
    (low, high)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::float_cmp,
    clippy::unreadable_literal,
    reason = "golden numbers as the oracle prints them"
)]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn check(successes: u64, n: u64, low: f64, high: f64) {
        let interval = wilson_interval(successes, n, 0.05).unwrap();
        assert_close(interval.low.unwrap(), low, 1e-12);
        assert_close(interval.high.unwrap(), high, 1e-12);
        assert_eq!(interval.note, None);
    }

    #[test]
    fn agrees_with_statsmodels() {
        // statsmodels 0.15.0: statsmodels.stats.proportion.proportion_confint, method "wilson".
        check(56, 70, 0.6918335550374695, 0.8769526075163705);
        check(0, 10, 0.0, 0.27753279986288926);
        check(10, 10, 0.7224672001371106, 1.0);
        check(3, 10, 0.10779126740630104, 0.6032218525388546);
        check(3894, 21307, 0.17762499082168498, 0.18800306163588704);
    }

    #[test]
    fn ends_are_exact_where_they_should_be() {
        assert_eq!(wilson_interval(0, 10, 0.05).unwrap().low, Some(0.0));
        assert_eq!(wilson_interval(10, 10, 0.05).unwrap().high, Some(1.0));
    }

    #[test]
    fn no_units_leave_no_interval() {
        let interval = wilson_interval(0, 0, 0.05).unwrap();
        assert_eq!((interval.low, interval.high), (None, None));
        assert_eq!(interval.note.as_deref(), Some(NO_UNITS));
        assert!(wilson_interval(2, 1, 0.05).is_err());
        assert!(wilson_interval(1, 2, 1.0).is_err());
    }
}
