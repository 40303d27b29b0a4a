//! The score test of two proportions against a difference or a ratio other than none.
//!
//! Enters: two arms, the difference or ratio that is held against them, and whether variances are corrected. Leaves: z,
//! the distance from the hypothesis in standard errors that the hypothesis itself implies, and its two-sided p value.
//!
//! Farrington and Manning (1990), Statistics in Medicine 9, without the correction; Miettinen and Nurminen (1985),
//! Statistics in Medicine 4, with it. The score intervals of this module are the hypotheses that this test keeps.

use super::pooled_z::{VarianceCorrection, ZTest};
use super::{Arm, Proportion, score_difference, score_ratio};
use crate::distribution::normal;
use crate::error::{StatsError, check_finite, check_positive};
use crate::numeric::count;

/// The score test of "treatment rate − control rate = `hypothesis`"; none where an arm has no units.
///
/// The statistic is positive when the difference seen is the greater. At a hypothesis of zero it is the pooled z.
///
/// # Errors
///
/// [`StatsError::SuccessesExceedUnits`]; [`StatsError::NotFinite`], or [`StatsError::InvalidProbability`] for a
/// hypothesis that is not between −1 and 1, ends excluded.
pub fn score_test_difference(
    control: Proportion,
    treatment: Proportion,
    hypothesis: f64,
    correction: VarianceCorrection,
) -> Result<Option<ZTest>, StatsError> {
    check_finite("the hypothesis", hypothesis)?;
    if hypothesis.abs() >= 1.0 {
        return Err(StatsError::InvalidProbability { quantity: "the size of the hypothesis", value: hypothesis.abs() });
    }
    let Some((control, treatment, factor)) = prepared(control, treatment, correction)? else {
        return Ok(None);
    };
    let distance = treatment.rate - control.rate - hypothesis;
    let variance = score_difference::variance_under(treatment, control, hypothesis);
    Ok(Some(z_test(distance, factor * variance)))
}

/// The score test of "treatment rate = `hypothesis` × control rate"; none where an arm has no units.
///
/// The statistic is positive when the ratio seen is the greater. At a hypothesis of one it is the pooled z. With no
/// success in either arm it is zero, whatever the hypothesis: such data know nothing of a ratio.
///
/// # Errors
///
/// [`StatsError::SuccessesExceedUnits`]; [`StatsError::NotFinite`] or [`StatsError::NotPositive`] for a hypothesis that
/// is not above zero.
pub fn score_test_ratio(
    control: Proportion,
    treatment: Proportion,
    hypothesis: f64,
    correction: VarianceCorrection,
) -> Result<Option<ZTest>, StatsError> {
    check_positive("the hypothesis", hypothesis)?;
    let Some((control, treatment, factor)) = prepared(control, treatment, correction)? else {
        return Ok(None);
    };
    let distance = treatment.rate - hypothesis * control.rate;
    let variance = score_ratio::variance_under(treatment, control, hypothesis);
    Ok(Some(z_test(distance, factor * variance)))
}

/// Control, treatment, and the factor on variances; none where an arm has no units.
fn prepared(
    control: Proportion,
    treatment: Proportion,
    correction: VarianceCorrection,
) -> Result<Option<(Arm, Arm, f64)>, StatsError> {
    control.check()?;
    treatment.check()?;
    let factor = correction.factor(count(control.n) + count(treatment.n));
    Ok(Arm::new(control).zip(Arm::new(treatment)).map(|(control, treatment)| (control, treatment, factor)))
}

fn z_test(distance: f64, variance: f64) -> ZTest {
    let statistic = if distance == 0.0 { 0.0 } else { distance / variance.max(0.0).sqrt() };
    ZTest { statistic, p_value: normal::two_sided_p_value(statistic) }
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
    use crate::proportion::{pooled_z_test, score_interval_difference, score_interval_ratio};

    const CONTROL: Proportion = Proportion { n: 80, successes: 48 };
    const TREATMENT: Proportion = Proportion { n: 70, successes: 56 };

    #[test]
    fn agrees_with_the_definition() {
        // tests/oracle/equivalence.py: the likelihood maximised by mpmath 1.4.1 with 30 digits.
        let test = |hypothesis, correction| {
            score_test_difference(CONTROL, TREATMENT, hypothesis, correction).unwrap().unwrap().statistic
        };
        assert_close(test(0.1, VarianceCorrection::Uncorrected), 1.3477387181134237, 1e-11);
        assert_close(test(-0.05, VarianceCorrection::Uncorrected), 3.29209079015136, 1e-11);
        assert_close(test(0.1, VarianceCorrection::MiettinenNurminen), 1.343238743219785, 1e-11);
        // statsmodels 0.15.0: test_proportions_2indep, compare "ratio", method "score".
        let test = |hypothesis| {
            let correction = VarianceCorrection::Uncorrected;
            score_test_ratio(CONTROL, TREATMENT, hypothesis, correction).unwrap().unwrap().statistic
        };
        assert_close(test(1.25), 0.5975160756851657, 1e-9);
        assert_close(test(0.9), 3.549399812363111, 1e-9);
    }

    #[test]
    fn without_a_shift_it_is_the_pooled_z() {
        let correction = VarianceCorrection::Uncorrected;
        let pooled = pooled_z_test(CONTROL, TREATMENT, correction).unwrap().unwrap();
        let difference = score_test_difference(CONTROL, TREATMENT, 0.0, correction).unwrap().unwrap();
        let ratio = score_test_ratio(CONTROL, TREATMENT, 1.0, correction).unwrap().unwrap();
        assert_close(difference.statistic, pooled.statistic, 1e-14);
        assert_close(ratio.statistic, pooled.statistic, 1e-12);
    }

    #[test]
    fn the_ends_of_the_intervals_are_where_it_turns() {
        let correction = VarianceCorrection::MiettinenNurminen;
        let difference = score_interval_difference(CONTROL, TREATMENT, 0.1, correction).unwrap();
        for end in [difference.low.unwrap(), difference.high.unwrap()] {
            let test = score_test_difference(CONTROL, TREATMENT, end, correction).unwrap().unwrap();
            assert_close(test.p_value, 0.1, 1e-9);
        }
        let ratio = score_interval_ratio(CONTROL, TREATMENT, 0.1, correction).unwrap();
        for end in [ratio.low.unwrap(), ratio.high.unwrap()] {
            let test = score_test_ratio(CONTROL, TREATMENT, end, correction).unwrap().unwrap();
            assert_close(test.p_value, 0.1, 1e-9);
        }
    }

    #[test]
    fn thin_arms_and_bad_hypotheses_are_answered() {
        let correction = VarianceCorrection::Uncorrected;
        let empty = Proportion::default();
        assert_eq!(score_test_difference(CONTROL, empty, 0.1, correction), Ok(None));
        assert_eq!(score_test_ratio(empty, TREATMENT, 0.9, correction), Ok(None));
        let none = Proportion { n: 10, successes: 0 };
        let all = Proportion { n: 10, successes: 10 };
        for (control, treatment) in [(none, none), (none, all), (all, none), (all, all)] {
            for hypothesis in [-0.999, -0.2, 0.0, 0.2, 0.999] {
                let test = score_test_difference(control, treatment, hypothesis, correction).unwrap().unwrap();
                assert!(test.statistic.is_finite() && (0.0..=1.0).contains(&test.p_value));
            }
            let test = score_test_ratio(control, treatment, 0.8, correction).unwrap().unwrap();
            assert!(test.statistic.is_finite() && (0.0..=1.0).contains(&test.p_value));
        }
        for bad in [1.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(score_test_difference(CONTROL, TREATMENT, bad, correction).is_err());
        }
        assert!(score_test_ratio(CONTROL, TREATMENT, 0.0, correction).is_err());
        assert!(score_test_ratio(CONTROL, Proportion { n: 1, successes: 2 }, 1.0, correction).is_err());
    }
}
