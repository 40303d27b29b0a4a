//! The score interval for the ratio of two proportions.
//!
//! Enters: two arms, alpha, and whether variances are corrected. Leaves: every ratio R that the score test of
//! "treatment rate − R × control rate = 0" does not reject. At R = 1 that test is the pooled z test, so one lies
//! outside the interval exactly when p < alpha.
//!
//! Koopman (1984), Biometrics 40(2); Miettinen and Nurminen (1985), Statistics in Medicine 4, for N / (N − 1). The ends
//! are found by bisection, so that no table can defeat the search.

use super::pooled_z::{Rule, ScoreTest, VarianceCorrection};
use super::{Arm, NO_UNITS, Proportion};
use crate::error::{StatsError, check_alpha};
use crate::interval::Interval;
use crate::root::last_inside;

/// Note of the upper end when the control has no success.
const NO_CONTROL_SUCCESS: &str = "unbounded above: the control has no success to compare with";

/// Note of the interval when nobody has a success.
const NO_SUCCESS: &str = "not defined: neither arm has a success";

/// The score interval for treatment rate / control rate, at confidence 1 − `alpha`.
///
/// Ends are ratios of zero or more: subtract one for a lift. With no success in the control the upper end is missing;
/// with no success in either arm, or an empty arm, both are. A note says which.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn score_interval_ratio(
    control: Proportion,
    treatment: Proportion,
    alpha: f64,
    correction: VarianceCorrection,
) -> Result<Interval, StatsError> {
    check_alpha(alpha)?;
    let Some(score_test) = ScoreTest::new(control, treatment, correction)? else {
        return Ok(Interval::undefined(NO_UNITS));
    };
    if control.successes == 0 && treatment.successes == 0 {
        return Ok(Interval::undefined(NO_SUCCESS));
    }
    let rule = score_test.rule(alpha);
    let low = lower_end(score_test.treatment, score_test.control, rule);
    if control.successes == 0 {
        return Ok(Interval::from_ends(low, f64::INFINITY).with_note(NO_CONTROL_SUCCESS));
    }
    // The ratio the other way round is the same question turned over.
    let high = 1.0 / lower_end(score_test.control, score_test.treatment, rule);
    Ok(Interval::from_ends(low, high))
}

/// The least value of (rate of `first` / rate of `second`) that the rule keeps inside.
fn lower_end(first: Arm, second: Arm, rule: Rule) -> f64 {
    if first.successes <= 0.0 {
        return 0.0;
    }
    let is_inside = |hypothesis: f64| {
        let distance = first.rate - hypothesis * second.rate;
        distance * distance <= rule.critical_square * variance_under(first, second, hypothesis)
    };
    // Infinite where `second` has no success, and then a finite starting point is looked for below.
    let estimate = first.rate / second.rate;
    let (mut outside, mut inside) = match (rule.significant, estimate > 1.0) {
        (true, true) => (1.0, estimate),
        (true, false) => (0.0, estimate),
        (false, _) => (0.0, estimate.min(1.0)),
    };
    if inside.is_infinite() {
        // The variance grows with the hypothesis and the distance does not, so this ends.
        inside = 2.0;
        while !is_inside(inside) && inside < f64::MAX / 4.0 {
            outside = inside;
            inside *= 2.0;
        }
    }
    last_inside(outside, inside, is_inside)
}

/// Variance of (rate of `first` − `ratio` × rate of `second`) at the likeliest rates whose ratio is exactly `ratio`.
///
/// The likelihood equation is quadratic in the rate of `second`. Its discriminant is written as a square plus a product
/// of failures, and its lesser root with the sum in the denominator, so that neither subtracts.
pub(super) fn variance_under(first: Arm, second: Arm, ratio: f64) -> f64 {
    let scaled = ratio * (first.units + second.successes);
    let plain = second.units + first.successes;
    let discriminant = (scaled - plain) * (scaled - plain) + 4.0 * ratio * first.failures * second.failures;
    let successes = first.successes + second.successes;
    let second_rate = (2.0 * successes / (scaled + plain + discriminant.sqrt())).min(1.0);
    let first_rate = (ratio * second_rate).min(1.0);
    first_rate * (1.0 - first_rate) / first.units + ratio * ratio * second_rate * (1.0 - second_rate) / second.units
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;
    use crate::proportion::pooled_z_test;

    fn interval(treatment: (u64, u64), control: (u64, u64), correction: VarianceCorrection) -> Interval {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        score_interval_ratio(control, treatment, 0.05, correction).unwrap()
    }

    fn check(treatment: (u64, u64), control: (u64, u64), low: f64, high: f64) {
        let interval = interval(treatment, control, VarianceCorrection::Uncorrected);
        assert_close(interval.low.unwrap(), low, 1e-9);
        assert_close(interval.high.unwrap(), high, 1e-9);
    }

    #[test]
    fn agrees_with_statsmodels() {
        // statsmodels 0.15.0: confint_proportions_2indep, method "score", compare "ratio".
        check((56, 70), (48, 80), 1.0798215063618604, 1.6708055780191224);
        check((13, 47), (19, 53), 0.42715581489458354, 1.3663640212036268);
        let corrected = interval((56, 70), (48, 80), VarianceCorrection::MiettinenNurminen);
        assert_close(corrected.low.unwrap(), 1.0790471195344218, 1e-9);
        assert_close(corrected.high.unwrap(), 1.6721453590897675, 1e-9);
    }

    #[test]
    fn agrees_with_statsmodels_on_real_campaigns() {
        // As above, on the counts of Hillstrom (2008) and Outvote (Schein et al. 2021).
        check((3894, 21307), (2262, 21306), 1.6404376185188903, 1.806467564762454);
        check((267, 21307), (122, 21306), 1.7687574424867865, 2.7078396475347533);
        check((20517, 26010), (1103, 1454), 1.010686851091877, 1.0725057034923875);
    }

    #[test]
    fn no_table_defeats_the_search() {
        // By definition: at each end the score statistic, at rates found by mpmath 1.4.1 with 30 digits, is the
        // critical value to 1e-15. statsmodels 0.15.0 finds no root for 9/10 v 3/10.
        check((9, 10), (3, 10), 1.353237193866729, 8.467668686709775);
        check((10, 10), (10, 10), 0.7224672001371106, 1.3841458820694124);
        check((0, 10), (10, 10), 0.0, 0.27753279986288926);
        let many = 1_000_000_000;
        check((30, many), (3, many), 3.2422124166073933, 30.84313654753305);
    }

    #[test]
    fn a_control_without_success_leaves_the_top_open() {
        let open = interval((10, 10), (0, 10), VarianceCorrection::Uncorrected);
        assert_close(open.low.unwrap(), 3.6031777162700553, 1e-9);
        assert_eq!(open.high, None);
        assert_eq!(open.note.as_deref(), Some(NO_CONTROL_SUCCESS));
        let weak = interval((3, 10), (0, 10), VarianceCorrection::Uncorrected);
        assert_close(weak.low.unwrap(), 0.9239925615759059, 1e-9);
        let huge = interval((1, 1), (0, 1_000_000_000), VarianceCorrection::Uncorrected);
        assert_close(huge.low.unwrap(), 260317771.88732338, 1e-6);
        let nothing = interval((0, 10), (0, 10), VarianceCorrection::Uncorrected);
        assert_eq!((nothing.low, nothing.high), (None, None));
        assert_eq!(nothing.note.as_deref(), Some(NO_SUCCESS));
    }

    #[test]
    fn agrees_with_the_test_on_every_small_table() {
        for (n_control, n_treatment) in [(1, 1), (3, 7), (10, 10), (2, 40)] {
            for control in 0..=n_control {
                for treatment in 0..=n_treatment {
                    let control = Proportion::new(n_control, control).unwrap();
                    let treatment = Proportion::new(n_treatment, treatment).unwrap();
                    if control.successes + treatment.successes == 0 {
                        continue;
                    }
                    for alpha in [0.001, 0.05, 0.5] {
                        let correction = VarianceCorrection::Uncorrected;
                        let test = pooled_z_test(control, treatment, correction).unwrap().unwrap();
                        let interval = score_interval_ratio(control, treatment, alpha, correction).unwrap();
                        assert_eq!(test.p_value < alpha, !interval.contains(1.0));
                    }
                }
            }
        }
    }
}
