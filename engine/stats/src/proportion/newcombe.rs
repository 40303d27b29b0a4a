//! Newcombe's hybrid interval for the difference of two proportions.
//!
//! Enters: two arms, alpha. Leaves: an interval put together from the Wilson interval of each arm; it needs no search,
//! and stands beside the score interval as a second opinion. It does not invert a test, so near the edge it can
//! disagree with a p value. Newcombe (1998), "Interval estimation for the difference between independent proportions",
//! Statistics in Medicine 17, method 10.

use super::wilson::wilson_ends;
use super::{Arm, NO_UNITS, Proportion};
use crate::distribution::normal;
use crate::error::{StatsError, check_alpha};
use crate::interval::Interval;

/// Newcombe's interval for treatment rate − control rate, at confidence 1 − `alpha`.
///
/// Ends are differences of shares, −1 to 1. With an empty arm both are missing, and a note says so.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn newcombe_interval(control: Proportion, treatment: Proportion, alpha: f64) -> Result<Interval, StatsError> {
    check_alpha(alpha)?;
    control.check()?;
    treatment.check()?;
    let (Some(control), Some(treatment)) = (Arm::new(control), Arm::new(treatment)) else {
        return Ok(Interval::undefined(NO_UNITS));
    };
    let critical = normal::critical_value(alpha);
    let (control_low, control_high) = wilson_ends(control, critical);
    let (treatment_low, treatment_high) = wilson_ends(treatment, critical);
    let difference = treatment.rate - control.rate;
    let below = (treatment.rate - treatment_low).hypot(control_high - control.rate);
    let above = (treatment_high - treatment.rate).hypot(control.rate - control_low);
    Ok(Interval::from_ends(difference - below, difference + above))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn check(treatment: (u64, u64), control: (u64, u64), low: f64, high: f64) {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        let interval = newcombe_interval(control, treatment, 0.05).unwrap();
        assert_close(interval.low.unwrap(), low, 1e-12);
        assert_close(interval.high.unwrap(), high, 1e-12);
    }

    #[test]
    fn agrees_with_statsmodels() {
        // statsmodels 0.15.0: confint_proportions_2indep, method "newcomb"; Newcombe (1998), table II, prints the first
        // three as .0524 to .3339, .1705 to .8090 and .6791 to 1.
        check((56, 70), (48, 80), 0.05243147240236498, 0.33387265403690614);
        check((9, 10), (3, 10), 0.1705227239345029, 0.809017973535488);
        check((10, 10), (0, 20), 0.6790860371419145, 1.0);
        check((13, 47), (19, 53), -0.2539846910796164, 0.10034598285753843);
    }

    #[test]
    fn an_empty_arm_leaves_no_interval() {
        let some = Proportion { n: 5, successes: 2 };
        let interval = newcombe_interval(Proportion::default(), some, 0.05).unwrap();
        assert_eq!((interval.low, interval.high), (None, None));
        assert!(interval.note.is_some());
    }
}
