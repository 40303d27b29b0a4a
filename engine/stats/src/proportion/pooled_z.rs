//! The pooled two-proportion z test, and what it shares with the intervals that invert it.
//!
//! Enters: two arms. Leaves: z = (treatment rate − control rate) / √(p (1 − p) (1/n + 1/n)) with p the pooled rate, and
//! its two-sided p value. No continuity correction. It is the score test of no difference; its square is Pearson's
//! chi-square of the 2 × 2 table.

use super::{Arm, Proportion};
use crate::distribution::normal;
use crate::error::StatsError;

/// Whether the variance under the hypothesis is multiplied by N / (N − 1), N being the units of both arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VarianceCorrection {
    /// No: Mee (1984) for the difference, Koopman (1984) for the ratio, and the ordinary pooled z.
    #[default]
    Uncorrected,
    /// Yes: Miettinen and Nurminen (1985), slightly wider.
    MiettinenNurminen,
}

impl VarianceCorrection {
    pub(super) fn factor(self, units: f64) -> f64 {
        match self {
            Self::Uncorrected => 1.0,
            Self::MiettinenNurminen => units / (units - 1.0),
        }
    }
}

/// A z test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZTest {
    /// Standard normal when nothing differs; positive when the treatment's rate is the higher.
    pub statistic: f64,
    /// Two-sided, 0 to 1.
    pub p_value: f64,
}

/// The pooled z test of equal rates; none where an arm has no units.
///
/// When every unit of both arms had the same outcome there is nothing to tell the arms apart: z is 0 and the p value 1.
///
/// # Errors
///
/// [`StatsError::SuccessesExceedUnits`].
pub fn pooled_z_test(
    control: Proportion,
    treatment: Proportion,
    correction: VarianceCorrection,
) -> Result<Option<ZTest>, StatsError> {
    let score_test = ScoreTest::new(control, treatment, correction)?;
    Ok(score_test.map(|score_test| score_test.of_no_difference))
}

/// Two arms with units, the test of no difference between them, and the factor on every variance.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScoreTest {
    pub(super) control: Arm,
    pub(super) treatment: Arm,
    of_no_difference: ZTest,
    variance_factor: f64,
}

/// How an interval is drawn from a score test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// A hypothesis stays inside while its squared distance from the estimate is at most this multiple of its variance.
    pub(super) critical_square: f64,
    /// Whether the hypothesis of no effect is outside. Taken from the p value, so that the search for an end can start
    /// on the side of "no effect" where the test says it lies, and rounding cannot set the two against each other.
    pub(super) significant: bool,
}

impl ScoreTest {
    pub(super) fn new(
        control: Proportion,
        treatment: Proportion,
        correction: VarianceCorrection,
    ) -> Result<Option<Self>, StatsError> {
        control.check()?;
        treatment.check()?;
        let (Some(control), Some(treatment)) = (Arm::new(control), Arm::new(treatment)) else {
            return Ok(None);
        };
        let variance_factor = correction.factor(control.units + treatment.units);
        let difference = treatment.rate - control.rate;
        let statistic = if difference == 0.0 {
            0.0
        } else {
            difference / (variance_factor * pooled_variance(control, treatment)).sqrt()
        };
        Ok(Some(Self {
            control,
            treatment,
            of_no_difference: ZTest { statistic, p_value: normal::two_sided_p_value(statistic) },
            variance_factor,
        }))
    }

    pub(super) fn rule(&self, alpha: f64) -> Rule {
        let critical = normal::critical_value(alpha);
        Rule {
            critical_square: critical * critical * self.variance_factor,
            significant: self.of_no_difference.p_value < alpha,
        }
    }
}

/// Variance of the difference of the rates if both arms share one rate.
pub(super) fn pooled_variance(first: Arm, second: Arm) -> f64 {
    let units = first.units + second.units;
    let rate = (first.successes + second.successes) / units;
    let failure_rate = (first.failures + second.failures) / units;
    rate * failure_rate * (1.0 / first.units + 1.0 / second.units)
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

    fn test_of(treatment: (u64, u64), control: (u64, u64)) -> ZTest {
        let control = Proportion::new(control.1, control.0).unwrap();
        let treatment = Proportion::new(treatment.1, treatment.0).unwrap();
        pooled_z_test(control, treatment, VarianceCorrection::Uncorrected).unwrap().unwrap()
    }

    fn check(treatment: (u64, u64), control: (u64, u64), statistic: f64, p_value: f64) {
        let test = test_of(treatment, control);
        assert_close(test.statistic, statistic, 1e-12);
        assert_close(test.p_value, p_value, 1e-10);
    }

    #[test]
    fn agrees_with_statsmodels() {
        // statsmodels 0.15.0: statsmodels.stats.proportion.proportions_ztest.
        check((56, 70), (48, 80), 2.6501719512585336, 0.00804508136819656);
        check((9, 10), (3, 10), 2.738612787525831, 0.006169899320544151);
        check((13, 47), (19, 53), -0.8762214047949264, 0.3809096823118986);
    }

    #[test]
    fn agrees_with_real_campaigns() {
        // Hillstrom (2008), visits and conversions, and Outvote (Schein et al. 2021): counts from the files, z and p by
        // statsmodels 0.15.0.
        check((3894, 21307), (2262, 21306), 22.48604082719282, 5.685165482802317e-112);
        check((3238, 21387), (2262, 21306), 13.949180655258505, 3.1824031593349214e-44);
        check((267, 21307), (122, 21306), 7.385114410925771, 1.5232235005955427e-13);
        check((189, 21387), (122, 21306), 3.77956095835785, 0.00015710512910668448);
        check((132105, 185179), (7051, 9939), 0.851093703963223, 0.39471730257954807);
        check((20517, 26010), (1103, 1454), 2.739518477738247, 0.006152925606438412);
    }

    #[test]
    fn no_variation_is_no_evidence() {
        for outcome in [0, 10] {
            let test = test_of((outcome, 10), (outcome, 10));
            assert_eq!((test.statistic, test.p_value), (0.0, 1.0));
        }
    }

    #[test]
    fn the_correction_widens() {
        let control = Proportion { n: 10, successes: 3 };
        let treatment = Proportion { n: 10, successes: 9 };
        let corrected = pooled_z_test(control, treatment, VarianceCorrection::MiettinenNurminen);
        let statistic = corrected.unwrap().unwrap().statistic;
        assert_close(statistic, 2.738612787525831 * (19.0_f64 / 20.0).sqrt(), 1e-12);
    }

    #[test]
    fn an_empty_arm_leaves_no_test() {
        let some = Proportion { n: 5, successes: 2 };
        let test = pooled_z_test(some, Proportion::default(), VarianceCorrection::default());
        assert_eq!(test, Ok(None));
    }
}
