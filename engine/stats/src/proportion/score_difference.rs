//! The score interval for the difference of two proportions.
//!
//! Enters: two arms, alpha, and whether variances are corrected. Leaves: every difference d that the score test of
//! "treatment rate − control rate = d" does not reject. At d = 0 that test is the pooled z test, so zero lies outside
//! the interval exactly when p < alpha.
//!
//! Mee (1984), Biometrics 40(4); Miettinen and Nurminen (1985), Statistics in Medicine 4, for N / (N − 1). The rates
//! under each d are found by a bracketed search on the likelihood equation rather than by the papers' trigonometric
//! formula, which loses half of its digits where rates are small (a few successes in a thousand million), and by
//! bisection of d, which no table can defeat: no successes, nothing but successes, one unit.

use super::pooled_z::{Rule, ScoreTest, VarianceCorrection, pooled_variance};
use super::{Arm, NO_UNITS, Proportion};
use crate::error::{StatsError, check_alpha};
use crate::interval::Interval;
use crate::root::{find_root, last_inside};

/// The score interval for treatment rate − control rate, at confidence 1 − `alpha`.
///
/// Ends are differences of shares, −1 to 1. With an empty arm both are missing, and a note says so.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::SuccessesExceedUnits`].
pub fn score_interval_difference(
    control: Proportion,
    treatment: Proportion,
    alpha: f64,
    correction: VarianceCorrection,
) -> Result<Interval, StatsError> {
    check_alpha(alpha)?;
    let Some(score_test) = ScoreTest::new(control, treatment, correction)? else {
        return Ok(Interval::undefined(NO_UNITS));
    };
    let rule = score_test.rule(alpha);
    let low = lower_end(score_test.treatment, score_test.control, rule);
    // The difference the other way round is the same question with the sign turned.
    let high = -lower_end(score_test.control, score_test.treatment, rule);
    Ok(Interval::from_ends(low, high))
}

/// The least value of (rate of `first` − rate of `second`) that the rule keeps inside.
fn lower_end(first: Arm, second: Arm, rule: Rule) -> f64 {
    let estimate = first.rate - second.rate;
    if estimate <= -1.0 {
        return -1.0;
    }
    // At −1 the hypothesis leaves no variance at all, so it is outside; the estimate is inside; and the test has said
    // where zero is. The statistic falls steadily as the hypothesis rises, so there is one boundary between.
    let (outside, inside) = match (rule.significant, estimate > 0.0) {
        (true, true) => (0.0, estimate),
        (true, false) => (-1.0, estimate),
        (false, _) => (-1.0, estimate.min(0.0)),
    };
    last_inside(outside, inside, |hypothesis| {
        let distance = estimate - hypothesis;
        distance * distance <= rule.critical_square * variance_under(first, second, hypothesis)
    })
}

/// Variance of (rate of `first` − rate of `second`) at the likeliest rates that differ by exactly `difference`.
pub(super) fn variance_under(first: Arm, second: Arm, difference: f64) -> f64 {
    let (higher, lower, gap) = if difference > 0.0 {
        (first, second, difference)
    } else if difference < 0.0 {
        (second, first, -difference)
    } else {
        return pooled_variance(first, second);
    };
    let lower_rate = likeliest_lower_rate(higher, lower, gap);
    let higher_rate = (lower_rate + gap).min(1.0);
    higher_rate * (1.0 - higher_rate) / higher.units + lower_rate * (1.0 - lower_rate) / lower.units
}

/// The rate of `lower` that maximises the likelihood when the rate of `higher` is greater by `gap` (above zero).
///
/// With p that rate and q = p + gap, the derivative of the log-likelihood is
///
/// ```text
/// successes_higher / q + successes_lower / p − failures_higher / (1 − q) − failures_lower / (1 − p)
/// ```
///
/// which falls from one end of [0, 1 − gap] to the other. Multiplied by its denominators it has no poles and is a
/// difference of two sums of positive terms; a denominator whose count is zero is not there to be multiplied by.
fn likeliest_lower_rate(higher: Arm, lower: Arm, gap: f64) -> f64 {
    let room = 1.0 - gap;
    let slope = |rate: f64| {
        let from_bottom = if lower.successes > 0.0 { rate } else { 1.0 };
        let from_top = if higher.failures > 0.0 { room - rate } else { 1.0 };
        let upward = higher.successes * from_bottom + lower.successes * (rate + gap);
        let downward = higher.failures * (1.0 - rate) + lower.failures * from_top;
        upward * from_top * (1.0 - rate) - downward * from_bottom * (rate + gap)
    };
    // Without a success to keep it up, or a failure to keep it down, the maximum may lie at an end.
    if lower.successes <= 0.0 && slope(0.0) <= 0.0 {
        return 0.0;
    }
    if higher.failures <= 0.0 && slope(room) >= 0.0 {
        return room;
    }
    find_root(slope, 0.0, room)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;
    use crate::proportion::pooled_z_test;

    fn interval(treatment: (u64, u64), control: (u64, u64), correction: VarianceCorrection) -> (f64, f64) {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        let interval = score_interval_difference(control, treatment, 0.05, correction).unwrap();
        (interval.low.unwrap(), interval.high.unwrap())
    }

    fn check(treatment: (u64, u64), control: (u64, u64), low: f64, high: f64) {
        let ends = interval(treatment, control, VarianceCorrection::Uncorrected);
        assert_close(ends.0, low, 1e-11);
        assert_close(ends.1, high, 1e-11);
    }

    #[test]
    fn agrees_with_the_definition_and_with_newcombe() {
        // tests/oracle/golden_numbers.py: the likelihood maximised by mpmath 1.4.1, the test inverted by SciPy 1.17.1.
        // Newcombe (1998), table II, methods 5 and 6, prints .0533 to .3377 and .0528 to .3382 for the first,
        // .1821 to .8370 and .1700 to .8406 for the second. (statsmodels 0.15.0 has .05305 to .34357 and
        // .05255 to .34404 for the first: its cubic has a count where the paper has a sample size.)
        check((56, 70), (48, 80), 0.05333384929132512, 0.33772946374114127);
        check((9, 10), (3, 10), 0.1821264994567669, 0.8369503308896717);
        let corrected = VarianceCorrection::MiettinenNurminen;
        let (low, high) = interval((56, 70), (48, 80), corrected);
        assert_close(low, 0.052829713245844574, 1e-11);
        assert_close(high, 0.3381729400158684, 1e-11);
        let (low, high) = interval((9, 10), (3, 10), corrected);
        assert_close(low, 0.17002501642439868, 1e-11);
        assert_close(high, 0.8406495439433282, 1e-11);
    }

    #[test]
    fn agrees_with_the_definition_on_real_campaigns() {
        // As above, on the counts of Hillstrom (2008) and Outvote (Schein et al. 2021).
        check((3894, 21307), (2262, 21306), 0.06996000822913717, 0.08323386632889723);
        check((267, 21307), (122, 21306), 0.005024311025635364, 0.008649345826767012);
        check((20517, 26010), (1103, 1454), 0.008328517175041614, 0.053394099450303434);
        check((13, 47), (19, 53), -0.2584769737381495, 0.10214456038054592);
    }

    #[test]
    fn no_table_defeats_the_search() {
        // With no success anywhere only one arm can show a difference, and its likelihood is Wilson's: 0.2775 at 0/10.
        let (low, high) = interval((0, 10), (0, 10), VarianceCorrection::Uncorrected);
        assert_close(low, -0.27753279986288926, 1e-12);
        assert_close(high, 0.27753279986288926, 1e-12);
        let (low, high) = interval((10, 10), (10, 10), VarianceCorrection::Uncorrected);
        assert_close(low, -0.27753279986288926, 1e-12);
        assert_close(high, 0.27753279986288926, 1e-12);
        let (low, high) = interval((10, 10), (0, 10), VarianceCorrection::Uncorrected);
        assert_close(low, 0.6777496838943615, 1e-12);
        assert_close(high, 1.0, 0.0);
        let (low, high) = interval((0, 1), (1, 1), VarianceCorrection::Uncorrected);
        assert_close(low, -1.0, 0.0);
        assert_close(high, 0.31523954498669404, 1e-12);
    }

    #[test]
    fn keeps_its_digits_in_a_thousand_million_units() {
        let many = 1_000_000_000;
        let (low, high) = interval((30, many), (3, many), VarianceCorrection::Uncorrected);
        // The score statistic at these ends, by mpmath 1.4.1 with 40 digits, is the critical value to 1e-15.
        assert_close(low, 1.6895947265153143e-8, 1e-9);
        assert_close(high, 4.011155675697038e-8, 1e-9);
        let (mirrored_low, mirrored_high) =
            interval((many - 3, many), (many - 30, many), VarianceCorrection::Uncorrected);
        assert_close(mirrored_low, low, 1e-8);
        assert_close(mirrored_high, high, 1e-8);
    }

    #[test]
    fn agrees_with_the_test_on_every_small_table() {
        for (n_control, n_treatment) in [(1, 1), (3, 7), (10, 10), (2, 40)] {
            for control in 0..=n_control {
                for treatment in 0..=n_treatment {
                    let control = Proportion::new(n_control, control).unwrap();
                    let treatment = Proportion::new(n_treatment, treatment).unwrap();
                    for correction in [VarianceCorrection::Uncorrected, VarianceCorrection::MiettinenNurminen] {
                        for alpha in [0.001, 0.05, 0.5] {
                            let test = pooled_z_test(control, treatment, correction).unwrap().unwrap();
                            let interval = score_interval_difference(control, treatment, alpha, correction).unwrap();
                            assert_eq!(test.p_value < alpha, !interval.contains_zero());
                        }
                    }
                }
            }
        }
    }
}
