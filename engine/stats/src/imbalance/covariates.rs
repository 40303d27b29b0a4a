//! Covariates known before assignment, arm by arm.
//!
//! Enters: the cross moments of each arm over the same covariates, the control first. Leaves: standardised differences,
//! one test of all covariates together, and a verdict.
//!
//! Under random assignment the covariance of an arm's means is known from the units of all arms together, so that with
//! S their covariance (divided by N − 1), m the mean of all and `m_a` that of arm a
//!
//! ```text
//! χ² = Σ n_a (m_a − m)ᵀ S⁻¹ (m_a − m),   (arms − 1) · rank(S) degrees of freedom
//! ```
//!
//! for two arms the omnibus test of Hansen and Bowers (2008), "Covariate balance in simple, stratified and clustered
//! comparative studies", Statistical Science 23(2). Covariates that are combinations of others add nothing and are left
//! out. Standardised differences as in Austin (2009), Statistics in Medicine 28: in pooled standard deviations of the
//! two arms; [`WIDE_DIFFERENCE`] is the usual line.

use super::{BalanceVerdict, verdict};
use crate::adjust::CrossMoments;
use crate::adjust::factor::{Factor, dot};
use crate::distribution::chi_squared;
use crate::error::StatsError;
use crate::moments::Moments;
use crate::multiple::holm_available;
use crate::numeric::{count, length};
use serde::{Deserialize, Serialize};

/// Standardised differences beyond this are worth adjusting for (Austin 2009).
pub const WIDE_DIFFERENCE: f64 = 0.1;

/// Standardised differences beyond this, with a p value below a millionth, are no randomisation.
pub const LARGE_DIFFERENCE: f64 = 0.2;

/// Units an arm for each covariate below which the chi-square is rough.
const FEWEST_UNITS_EACH: u64 = 10;

/// One covariate in one treatment arm against the control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CovariateDifference {
    /// Place of the covariate, from zero.
    pub covariate: usize,
    /// Place of the arm, from one: the control is arm zero.
    pub arm: usize,
    /// Mean of the arm less mean of the control, over the root of their mean variance: standard deviations. None where
    /// nothing varies or an arm has fewer than two units.
    pub standardised_difference: Option<f64>,
    /// Whether its size is above [`WIDE_DIFFERENCE`].
    pub is_wide: bool,
    /// Two-sided p value of this covariate alone over all arms; the same for each arm.
    pub p_value: Option<f64>,
    /// Corrected over the covariates by Holm.
    pub adjusted_p_value: Option<f64>,
}

/// All covariates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CovariateBalance {
    /// By the p value of all covariates together and the largest difference.
    pub verdict: BalanceVerdict,
    /// χ² of all covariates together; none where it cannot be computed.
    pub statistic: Option<f64>,
    /// (Arms − 1) × covariates that are no combination of others.
    pub degrees_of_freedom: u64,
    /// Probability of a χ² at least this large under random assignment.
    pub p_value: Option<f64>,
    /// Size of the largest standardised difference; none where there is none.
    pub largest_difference: Option<f64>,
    /// Every covariate in every treatment arm, covariate by covariate.
    pub differences: Vec<CovariateDifference>,
    /// What else a reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Holds the covariates of all arms against one another; the first arm is the control.
///
/// ```
/// use sendlift_stats::CrossMoments;
/// use sendlift_stats::imbalance::{BalanceVerdict, covariate_balance};
///
/// let covariances = [4.0, 0.5, 0.5, 1.0];
/// let control = CrossMoments::from_means_and_covariances(5_000, &[30.0, 2.0], &covariances)?;
/// let treatment = CrossMoments::from_means_and_covariances(5_000, &[30.02, 2.01], &covariances)?;
/// let balance = covariate_balance(&[control, treatment])?;
/// assert_eq!(balance.verdict, BalanceVerdict::Balanced);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
///
/// # Errors
///
/// [`StatsError::TooFewArms`] with fewer than two arms; [`StatsError::LengthsDiffer`] where arms have not the same
/// covariates; [`StatsError::NotFinite`] or [`StatsError::Negative`] for moments that no data can have.
pub fn covariate_balance(arms: &[CrossMoments]) -> Result<CovariateBalance, StatsError> {
    if arms.len() < 2 {
        return Err(StatsError::TooFewArms { arms: arms.len() });
    }
    let mut all = CrossMoments::default();
    for arm in arms {
        arm.check()?;
        all = all.merge(arm)?;
    }
    let with_units: Vec<&CrossMoments> = arms.iter().filter(|arm| arm.n > 0).collect();
    let width = all.means.len();
    let own_tests: Vec<Option<f64>> =
        (0..width).map(|column| omnibus(&with_units, &all, &[column]).map(|test| test.p_value)).collect();
    let adjusted = holm_available(&own_tests)?;
    let mut differences = Vec::with_capacity(width * (arms.len() - 1));
    for column in 0..width {
        for (arm, moments) in arms.iter().enumerate().skip(1) {
            let standardised_difference = standardised(&arms[0].column(column), &moments.column(column));
            differences.push(CovariateDifference {
                covariate: column,
                arm,
                standardised_difference,
                is_wide: standardised_difference.is_some_and(|difference| difference.abs() > WIDE_DIFFERENCE),
                p_value: own_tests[column],
                adjusted_p_value: adjusted[column],
            });
        }
    }
    let largest_difference =
        differences.iter().filter_map(|difference| difference.standardised_difference).map(f64::abs).reduce(f64::max);
    let columns: Vec<usize> = (0..width).collect();
    let test = omnibus(&with_units, &all, &columns);
    // Arms with a value of their own each, which varies within none, differ by more than any number of deviations.
    #[allow(clippy::float_cmp, reason = "a constant is the same to the last bit, or is none")]
    let differs_by_constants = differences.iter().any(|difference| {
        let (control, treatment) = (&arms[0], &arms[difference.arm]);
        difference.standardised_difference.is_none()
            && control.n > 1
            && treatment.n > 1
            && control.means[difference.covariate] != treatment.means[difference.covariate]
    });
    let is_large = differs_by_constants || largest_difference.is_some_and(|difference| difference >= LARGE_DIFFERENCE);
    let fewest = arms.iter().map(|arm| arm.n).min().unwrap_or(0);
    let is_rough = fewest < FEWEST_UNITS_EACH.saturating_mul(width as u64);
    let note = match &test {
        None => Some("no covariate varies, or fewer than two arms have units: nothing to compare"),
        Some(_) if is_rough => Some("fewer than ten units an arm for each covariate: the p value is rough"),
        Some(_) => None,
    };
    Ok(CovariateBalance {
        verdict: test.as_ref().map_or(BalanceVerdict::CannotTell, |test| verdict(test.p_value, is_large)),
        statistic: test.as_ref().map(|test| test.statistic),
        degrees_of_freedom: test.as_ref().map_or(0, |test| test.degrees_of_freedom),
        p_value: test.as_ref().map(|test| test.p_value),
        largest_difference,
        differences,
        note: note.map(str::to_owned),
    })
}

/// The difference of two means in standard deviations.
fn standardised(control: &Moments, treatment: &Moments) -> Option<f64> {
    let pooled = f64::midpoint(control.variance()?, treatment.variance()?);
    let difference = (treatment.mean - control.mean) / pooled.sqrt();
    (pooled > 0.0 && difference.is_finite()).then_some(difference)
}

struct Omnibus {
    statistic: f64,
    degrees_of_freedom: u64,
    p_value: f64,
}

/// The test of some of the covariates together; none where none varies or fewer than two arms have units.
fn omnibus(arms: &[&CrossMoments], all: &CrossMoments, columns: &[usize]) -> Option<Omnibus> {
    if arms.len() < 2 {
        return None;
    }
    let mut factor = Factor::default();
    let mut kept: Vec<usize> = Vec::with_capacity(columns.len());
    for &column in columns {
        let products: Vec<f64> = kept.iter().map(|&other| all.product(column, other)).collect();
        if let Some(row) = factor.row(&products, all.product(column, column)) {
            factor.push(row);
            kept.push(column);
        }
    }
    if kept.is_empty() {
        return None;
    }
    let mut statistic = 0.0;
    for arm in arms {
        let apart: Vec<f64> = kept.iter().map(|&column| arm.means[column] - all.means[column]).collect();
        // The factor is that of sums of products: (N − 1) S.
        statistic += count(arm.n) * count(all.n - 1) * dot(&apart, &factor.solve(&apart));
    }
    let degrees_of_freedom = (arms.len() - 1) * kept.len();
    let p_value = chi_squared::upper_tail(statistic, length(degrees_of_freedom));
    (statistic.is_finite() && p_value.is_finite()).then_some(Omnibus {
        statistic: statistic.max(0.0),
        degrees_of_freedom: degrees_of_freedom as u64,
        p_value,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn arm(rows: &[[f64; 2]]) -> CrossMoments {
        CrossMoments::from_rows(rows).unwrap()
    }

    #[test]
    fn one_binary_covariate_is_pearsons_chi_square() {
        // For one binary covariate the test is Pearson's chi-square times (N − 1) / N. SciPy 1.17.1,
        // chi2_contingency([[40, 60], [55, 45]], correction=False): 4.511278195488722.
        let binary = |ones: u64, n: u64| {
            let moments = crate::Proportion::new(n, ones).unwrap().to_moments().unwrap();
            CrossMoments { n, means: vec![moments.mean], products: vec![moments.sum_squared_deviations] }
        };
        let balance = covariate_balance(&[binary(40, 100), binary(55, 100)]).unwrap();
        assert_close(balance.statistic.unwrap(), 4.511_278_195_488_722 * 199.0 / 200.0, 1e-12);
        assert_eq!(balance.verdict, BalanceVerdict::Balanced);
        assert!(balance.differences[0].is_wide);
    }

    #[test]
    fn a_covariate_twice_counts_once() {
        let double = |rows: &[f64]| {
            CrossMoments::from_rows(rows.iter().map(|x| vec![*x, 2.0 * x, 7.0]).collect::<Vec<_>>()).unwrap()
        };
        let balance = covariate_balance(&[double(&[1.0, 2.0, 4.0]), double(&[2.0, 3.0, 9.0])]).unwrap();
        assert_eq!(balance.degrees_of_freedom, 1);
        assert_eq!(balance.differences[2].standardised_difference, None);
        assert_eq!(balance.differences[2].p_value, None);
        assert!(balance.note.unwrap().contains("rough"));
    }

    #[test]
    fn sorting_is_not_randomising() {
        let covariances = [1.0, 0.2, 0.2, 1.0];
        let of = |mean: f64| CrossMoments::from_means_and_covariances(2_000, &[mean, 0.0], &covariances).unwrap();
        assert_eq!(covariate_balance(&[of(0.0), of(0.3)]).unwrap().verdict, BalanceVerdict::NotRandomised);
        assert_eq!(covariate_balance(&[of(0.0), of(0.13)]).unwrap().verdict, BalanceVerdict::Imbalanced);
        assert_eq!(covariate_balance(&[of(0.0), of(0.02), of(-0.03)]).unwrap().verdict, BalanceVerdict::Balanced);
    }

    #[test]
    fn thin_or_constant_data_cannot_tell() {
        let constant = arm(&[[1.0, 2.0], [1.0, 2.0]]);
        let balance = covariate_balance(&[constant.clone(), constant.clone()]).unwrap();
        assert_eq!((balance.verdict, balance.p_value), (BalanceVerdict::CannotTell, None));
        let balance = covariate_balance(&[constant.clone(), CrossMoments::default()]).unwrap();
        assert_eq!(balance.verdict, BalanceVerdict::CannotTell);
        let empty = [CrossMoments::default(), CrossMoments::default()];
        assert_eq!(covariate_balance(&empty).unwrap().verdict, BalanceVerdict::CannotTell);
        // Two constants that differ: all of the spread lies between the arms.
        let apart = covariate_balance(&[constant, arm(&[[3.0, 2.0], [3.0, 2.0]])]).unwrap();
        assert_close(apart.statistic.unwrap(), 3.0, 1e-12);
        assert_eq!(apart.largest_difference, None);
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(covariate_balance(&[]).is_err());
        assert!(covariate_balance(&[arm(&[[1.0, 2.0]])]).is_err());
        let narrow = CrossMoments::from_rows([[1.0]]).unwrap();
        assert!(covariate_balance(&[arm(&[[1.0, 2.0]]), narrow]).is_err());
        let broken = CrossMoments { n: 2, means: vec![f64::NAN], products: vec![1.0] };
        assert!(covariate_balance(&[broken.clone(), broken]).is_err());
    }
}
