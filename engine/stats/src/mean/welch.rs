//! Welch's t test and its interval.
//!
//! Enters: the moments of two arms, and alpha. Leaves: t = (treatment mean − control mean) / √(v/n + v/n), the
//! Welch–Satterthwaite degrees of freedom (Σ v/n)² / Σ [(v/n)² / (n − 1)], the two-sided p value, and the interval of
//! the difference. Welch (1947), Biometrika 34; the variances of the arms need not be equal.

use super::contrast::{Prepared, no_difference};
use crate::distribution::students_t;
use crate::error::{StatsError, check_alpha};
use crate::interval::{Estimate, Interval};
use crate::moments::Moments;

/// A Welch t test. What is missing is explained by the note.
#[derive(Debug, Clone, PartialEq)]
pub struct WelchTest {
    /// Student's t; positive when the treatment's mean is the higher.
    pub statistic: Option<f64>,
    /// Welch–Satterthwaite, seldom whole; none where no value varies.
    pub degrees_of_freedom: Option<f64>,
    /// Two-sided, 0 to 1.
    pub p_value: Option<f64>,
    /// Why there is no test.
    pub note: Option<String>,
}

/// Welch's test of equal means.
///
/// Without a second unit in each arm, or where neither arm varies and the means differ, there is no p value, and the
/// note says why. Where neither arm varies and the means are equal the p value is 1.
///
/// # Errors
///
/// [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can have.
pub fn welch_t_test(control: &Moments, treatment: &Moments) -> Result<WelchTest, StatsError> {
    Ok(match Prepared::new(control, treatment)? {
        Prepared::Testable(contrast) => {
            let statistic = contrast.difference / contrast.standard_error;
            WelchTest {
                statistic: Some(statistic),
                degrees_of_freedom: Some(contrast.degrees_of_freedom),
                p_value: Some(students_t::two_sided_p_value(statistic, contrast.degrees_of_freedom)),
                note: None,
            }
        }
        Prepared::Identical { .. } => {
            WelchTest { statistic: Some(0.0), degrees_of_freedom: None, p_value: Some(1.0), note: no_difference().note }
        }
        Prepared::Untestable { note, .. } => {
            WelchTest { statistic: None, degrees_of_freedom: None, p_value: None, note: Some(note.to_owned()) }
        }
    })
}

/// Treatment mean − control mean in the metric's units, with Welch's interval at confidence 1 − `alpha`.
///
/// # Errors
///
/// [`StatsError::InvalidAlpha`]; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can
/// have.
pub fn welch_interval_difference(control: &Moments, treatment: &Moments, alpha: f64) -> Result<Estimate, StatsError> {
    check_alpha(alpha)?;
    Ok(match Prepared::new(control, treatment)? {
        Prepared::Testable(contrast) => {
            let critical = students_t::critical_value(alpha, contrast.degrees_of_freedom);
            let half_width = critical * contrast.standard_error;
            let difference = contrast.difference;
            Estimate::new(difference, Interval::from_ends(difference - half_width, difference + half_width))
        }
        Prepared::Identical { .. } => no_difference(),
        Prepared::Untestable { means, note } => {
            let difference = means.map(|(control_mean, treatment_mean)| treatment_mean - control_mean);
            Estimate::from_parts(difference, Interval::undefined(note))
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::unreadable_literal, reason = "golden numbers as the oracle prints them")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn moments(n: u64, mean: f64, variance: f64) -> Moments {
        Moments::from_n_mean_variance(n, mean, variance).unwrap()
    }

    struct Expected {
        statistic: f64,
        p_value: f64,
        degrees_of_freedom: f64,
        low: f64,
        high: f64,
    }

    fn check(treatment: &Moments, control: &Moments, expected: &Expected) {
        let test = welch_t_test(control, treatment).unwrap();
        assert_close(test.statistic.unwrap(), expected.statistic, 1e-11);
        assert_close(test.p_value.unwrap(), expected.p_value, 1e-10);
        assert_close(test.degrees_of_freedom.unwrap(), expected.degrees_of_freedom, 1e-11);
        let difference = welch_interval_difference(control, treatment, 0.05).unwrap();
        assert_close(difference.low.unwrap(), expected.low, 1e-10);
        assert_close(difference.high.unwrap(), expected.high, 1e-10);
        assert_eq!(difference.note, None);
    }

    #[test]
    fn agrees_with_scipy() {
        // SciPy 1.17.1: scipy.stats.ttest_ind_from_stats, equal_var=False; the interval from scipy.stats.t.isf.
        // G1 of design/statistics.md: sums 2422.7 and 1396.87, squares 134698.29 and 52377.9767.
        check(
            &moments(3461, 0.7, 38.44),
            &moments(3407, 0.41, 15.21),
            &Expected {
                statistic: 2.3240227609215203,
                p_value: 0.02015840264358697,
                degrees_of_freedom: 5841.742032093565,
                low: 0.045377892559290034,
                high: 0.5346221074407099,
            },
        );
        check(
            &moments(5, 12.0, 4.0),
            &moments(8, 10.0, 9.0),
            &Expected {
                statistic: 1.4414999403128943,
                p_value: 0.1776178462470773,
                degrees_of_freedom: 10.873198847262248,
                low: -1.0580935077076945,
                high: 5.058093507707694,
            },
        );
    }

    #[test]
    fn agrees_with_scipy_on_real_spend() {
        // Hillstrom (2008), spend of each e-mail arm against no e-mail: moments by pandas 3.1, the rest as above.
        let control = moments(21306, 0.6527893551112361, 134.28637185302165);
        check(
            &moments(21307, 1.422616511005773, 315.21179886555484),
            &control,
            &Expected {
                statistic: 5.300140358411669,
                p_value: 1.1638149682254824e-7,
                degrees_of_freedom: 36671.15797736051,
                low: 0.48513973256840753,
                high: 1.054514579220666,
            },
        );
        check(
            &moments(21387, 1.0772015710478329, 228.4966748346595),
            &control,
            &Expected {
                statistic: 3.256371576025392,
                p_value: 0.0011293971023632495,
                degrees_of_freedom: 40064.88440653066,
                low: 0.1689567898837787,
                high: 0.6798676419894147,
            },
        );
    }

    #[test]
    fn one_constant_arm_leaves_the_other_to_judge() {
        let test = welch_t_test(&moments(10, 5.0, 0.0), &moments(8, 6.0, 2.0)).unwrap();
        assert_close(test.degrees_of_freedom.unwrap(), 7.0, 1e-14);
        // 1 / √(2 / 8) = 2.
        assert_close(test.statistic.unwrap(), 2.0, 1e-14);
    }

    #[test]
    fn constants_are_handled_without_nan() {
        let same = welch_t_test(&moments(10, 5.0, 0.0), &moments(8, 5.0, 0.0)).unwrap();
        assert_eq!((same.statistic, same.p_value), (Some(0.0), Some(1.0)));
        let difference = welch_interval_difference(&moments(10, 5.0, 0.0), &moments(8, 5.0, 0.0), 0.05).unwrap();
        assert_eq!((difference.low, difference.high), (Some(0.0), Some(0.0)));

        let different = welch_t_test(&moments(10, 5.0, 0.0), &moments(8, 6.0, 0.0)).unwrap();
        assert_eq!((different.statistic, different.p_value), (None, None));
        assert!(different.note.is_some());
        let difference = welch_interval_difference(&moments(10, 5.0, 0.0), &moments(8, 6.0, 0.0), 0.05).unwrap();
        assert_eq!(difference.estimate, Some(1.0));
        assert_eq!((difference.low, difference.high), (None, None));
    }

    #[test]
    fn thin_arms_are_handled_without_nan() {
        let some = moments(10, 5.0, 1.0);
        let one = moments(1, 7.0, 0.0);
        let difference = welch_interval_difference(&some, &one, 0.05).unwrap();
        assert_eq!(difference.estimate, Some(2.0));
        assert_eq!(difference.low, None);
        assert!(difference.note.is_some());
        let empty = Moments::default();
        let difference = welch_interval_difference(&some, &empty, 0.05).unwrap();
        assert_eq!(difference.estimate, None);
        assert!(difference.note.is_some());
        assert_eq!(welch_t_test(&empty, &empty).unwrap().p_value, None);
    }
}
