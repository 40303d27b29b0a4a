//! Least squares weighted by assignment, with HC2 errors.
//!
//! Enters: units, what was expected of each, and the columns whose coefficients are asked for. Leaves: those coefficients
//! and their covariance: with x̃ the rows times the root of their weights, ũ the residuals alike, A = X̃'X̃ and
//! h = x̃' A⁻¹ x̃,
//!
//! ```text
//! Var = A⁻¹ (Σ x̃ x̃' ũ² / (1 − h)) A⁻¹        MacKinnon and White (1985), Journal of Econometrics 29
//! ```

use super::super::units::RandomisedUnits;
use crate::adjust::factor::{Factor, dot};
use crate::numeric::length;

/// Coefficients of the columns that were asked for, and their covariances.
#[derive(Debug, Clone)]
pub(super) struct Regression {
    coefficients: Vec<f64>,
    covariance: Vec<Vec<f64>>,
}

impl Regression {
    pub(super) fn coefficient(&self, place: usize) -> f64 {
        self.coefficients[place]
    }

    pub(super) fn error(&self, place: usize) -> f64 {
        self.covariance[place][place].sqrt()
    }

    pub(super) fn error_of_difference(&self, left: usize, right: usize) -> f64 {
        let covariance = &self.covariance;
        (covariance[left][left] + covariance[right][right] - 2.0 * covariance[left][right]).max(0.0).sqrt()
    }
}

/// Regresses outcomes on a constant, `expected` where it varies, and `columns`, with weights 1 / (e (1 − e)). None where
/// a column is a combination of the others, or where there are no more units than coefficients.
pub(super) fn regress(
    units: RandomisedUnits<'_>,
    expected: Option<&[f64]>,
    columns: &[Vec<f64>],
) -> Option<Regression> {
    let roots: Vec<f64> = units.assignment_probability().iter().map(|e| 1.0 / (e * (1.0 - e)).sqrt()).collect();
    let whitened = |column: &[f64]| -> Vec<f64> { column.iter().zip(&roots).map(|(own, root)| own * root).collect() };
    let mut design: Vec<Vec<f64>> = vec![roots.clone()];
    let mut factor = Factor::default();
    factor.push(factor.row(&[], dot(&roots, &roots))?);
    if let Some(expected) = expected {
        // Around the mean, for the sake of digits; the constant takes it up.
        let mean = expected.iter().sum::<f64>() / length(expected.len());
        let column = whitened(&expected.iter().map(|own| own - mean).collect::<Vec<f64>>());
        // An expectation that is the same for all adds nothing to the constant, and is left out.
        if let Some(row) = factor.row(&products(&design, &column), dot(&column, &column)) {
            factor.push(row);
            design.push(column);
        }
    }
    let first = design.len();
    for column in columns {
        let column = whitened(column);
        factor.push(factor.row(&products(&design, &column), dot(&column, &column))?);
        design.push(column);
    }
    if units.len() <= design.len() {
        return None;
    }
    let outcome = whitened(units.outcome());
    let coefficients = factor.solve(&products(&design, &outcome));
    let wanted = columns.len();
    let mut covariance = vec![vec![0.0; wanted]; wanted];
    for (unit, outcome) in outcome.iter().enumerate() {
        let row: Vec<f64> = design.iter().map(|column| column[unit]).collect();
        let half = factor.forward(&row);
        let leverage = dot(&half, &half);
        let residual = outcome - dot(&row, &coefficients);
        // A unit with a leverage of one is fitted exactly: its residual is zero, and must not be divided by zero.
        let scale = residual / (1.0 - leverage).max(f64::EPSILON).sqrt();
        let influence: Vec<f64> = factor.solve(&row)[first..].iter().map(|part| part * scale).collect();
        for (left, row) in influence.iter().zip(&mut covariance) {
            for (right, entry) in influence.iter().zip(row) {
                *entry += left * right;
            }
        }
    }
    Some(Regression { coefficients: coefficients[first..].to_vec(), covariance })
}

/// Sums of products of each column with another.
fn products(design: &[Vec<f64>], column: &[f64]) -> Vec<f64> {
    design.iter().map(|own| dot(own, column)).collect()
}
