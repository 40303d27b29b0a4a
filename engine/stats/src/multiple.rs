//! P values corrected for several comparisons.
//!
//! Enters: the p values of one family (every comparison that could have led to the same decision). Leaves: adjusted p
//! values in the same order, each to be held against alpha as it is.
//!
//! Holm (1979), Scandinavian Journal of Statistics 6(2): no more than alpha of a chance of any false finding. Benjamini
//! and Hochberg (1995), Journal of the Royal Statistical Society B 57(1): no more than a share alpha of the findings
//! false, on average.

use crate::error::{StatsError, check_probability};
use crate::numeric::length;

/// Holm's step-down adjustment.
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] for a p value outside 0 to 1 or NaN.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending_order(p_values)?;
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest_so_far: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        let still_to_come = length(order.len() - rank);
        largest_so_far = largest_so_far.max(p_values[index] * still_to_come).min(1.0);
        adjusted[index] = largest_so_far;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's step-up adjustment.
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] for a p value outside 0 to 1 or NaN.
pub fn benjamini_hochberg(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    let order = ascending_order(p_values)?;
    let family = length(order.len());
    let mut adjusted = vec![0.0; p_values.len()];
    let mut smallest_so_far: f64 = 1.0;
    for (rank, &index) in order.iter().enumerate().rev() {
        let inflated = p_values[index] * family / length(rank + 1);
        smallest_so_far = smallest_so_far.min(inflated);
        adjusted[index] = smallest_so_far;
    }
    Ok(adjusted)
}

/// [`holm`] where some comparisons have no p value: those stay without one, and do not count towards the family.
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] for a p value outside 0 to 1 or NaN.
pub fn holm_available(p_values: &[Option<f64>]) -> Result<Vec<Option<f64>>, StatsError> {
    adjust_available(p_values, holm)
}

/// [`benjamini_hochberg`] where some comparisons have no p value: those stay without one, and do not count towards the
/// family.
///
/// # Errors
///
/// [`StatsError::InvalidProbability`] for a p value outside 0 to 1 or NaN.
pub fn benjamini_hochberg_available(p_values: &[Option<f64>]) -> Result<Vec<Option<f64>>, StatsError> {
    adjust_available(p_values, benjamini_hochberg)
}

fn adjust_available(
    p_values: &[Option<f64>],
    adjust: fn(&[f64]) -> Result<Vec<f64>, StatsError>,
) -> Result<Vec<Option<f64>>, StatsError> {
    let present: Vec<f64> = p_values.iter().flatten().copied().collect();
    let mut adjusted = adjust(&present)?.into_iter();
    Ok(p_values.iter().map(|p_value| p_value.and_then(|_| adjusted.next())).collect())
}

/// Indices from the smallest p value to the greatest; equal ones stay in the order given.
fn ascending_order(p_values: &[f64]) -> Result<Vec<usize>, StatsError> {
    for &p_value in p_values {
        check_probability("a p value", p_value)?;
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&left, &right| p_values[left].total_cmp(&p_values[right]));
    Ok(order)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    fn check(actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len());
        for (&actual, &expected) in actual.iter().zip(expected) {
            assert_close(actual, expected, 1e-12);
        }
    }

    #[test]
    fn agrees_with_statsmodels() {
        // statsmodels 0.15.0: statsmodels.stats.multitest.multipletests, methods "holm" and "fdr_bh".
        check(&holm(&[0.01, 0.04, 0.03, 0.005, 0.55, 0.6]).unwrap(), &[0.05, 0.12, 0.12, 0.03, 1.0, 1.0]);
        check(
            &benjamini_hochberg(&[0.898, 0.138, 0.007, 0.964, 0.538, 0.006, 0.138]).unwrap(),
            &[0.964, 0.2415, 0.0245, 0.964, 0.7532, 0.0245, 0.2415],
        );
    }

    #[test]
    fn one_alone_stays_as_it_is() {
        check(&holm(&[0.04]).unwrap(), &[0.04]);
        check(&benjamini_hochberg(&[0.04]).unwrap(), &[0.04]);
        assert!(holm(&[]).unwrap().is_empty());
        assert!(benjamini_hochberg(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_missing_p_value_does_not_count() {
        let adjusted = holm_available(&[Some(0.01), None, Some(0.04)]).unwrap();
        assert_eq!(adjusted, vec![Some(0.02), None, Some(0.04)]);
        let adjusted = benjamini_hochberg_available(&[None, Some(0.04), Some(0.01)]).unwrap();
        assert_eq!(adjusted, vec![None, Some(0.04), Some(0.02)]);
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(holm(&[0.1, f64::NAN]).is_err());
        assert!(benjamini_hochberg(&[1.1]).is_err());
        assert!(holm_available(&[Some(-0.1)]).is_err());
    }
}
