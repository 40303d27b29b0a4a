//! One arm of a regression adjustment.
//!
//! Enters: the cross moments of the arm, then which covariates to use and their slopes. Leaves: the variance of the mean
//! residual, from moments or as HC2 of the units, and covariances of linear functions of the arm's means.

use super::cross_moments::CrossMoments;
use super::factor::{Factor, dot};
use super::regression::Outcome;
use crate::numeric::count;

/// A column that varies by less than this share of its mean is constant but for rounding.
const CONSTANT_TO: f64 = 1e-12;

/// One arm: its value, and the sums of products of the (linearised) outcome and of the covariates used.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    pub(super) units: u64,
    /// The arm's unadjusted mean or ratio.
    pub(super) value: f64,
    /// Sum of squared deviations of the outcome.
    pub(super) squares: f64,
    /// Sums of products of the outcome with each covariate.
    pub(super) with_outcome: Vec<f64>,
    /// Sums of products of the covariates, a row for each.
    pub(super) among_covariates: Vec<Vec<f64>>,
    /// The covariates' means in the arm.
    pub(super) means: Vec<f64>,
    /// The arm's means less those of all units.
    pub(super) distances: Vec<f64>,
    pub(super) factor: Factor,
    pub(super) slopes: Vec<f64>,
    /// Sum of squared residuals.
    pub(super) residual_squares: f64,
    /// Sums of products of the residuals with each covariate: zero with the arm's own slopes.
    pub(super) residual_products: Vec<f64>,
    /// n − 1, less the covariates where the slopes are the arm's own.
    pub(super) residual_degrees: u64,
}

impl Arm {
    /// An arm whose covariates are not chosen yet.
    pub(super) fn new(moments: &CrossMoments, outcome: Outcome) -> Self {
        let first = outcome.columns();
        let width = moments.means.len();
        let (value, squares, weights) = match outcome {
            Outcome::Mean => (moments.column(0).mean, moments.product(0, 0), vec![1.0]),
            Outcome::Ratio => {
                let denominator = moments.column(1).mean;
                let ratio = moments.column(0).mean / denominator;
                let squares =
                    moments.product(0, 0) + ratio * (ratio * moments.product(1, 1) - 2.0 * moments.product(0, 1));
                let squares = squares.max(0.0) / denominator / denominator;
                (ratio, squares, vec![1.0 / denominator, -ratio / denominator])
            }
        };
        let with_outcome: Vec<f64> = (first..width)
            .map(|column| {
                weights.iter().enumerate().map(|(row, weight)| weight * moments.product(row, column)).sum::<f64>()
            })
            .collect();
        let among_covariates: Vec<Vec<f64>> =
            (first..width).map(|row| (first..width).map(|column| moments.product(row, column)).collect()).collect();
        Self {
            units: moments.n,
            value,
            squares,
            with_outcome,
            among_covariates,
            means: moments.means.iter().skip(first).copied().collect(),
            distances: Vec::new(),
            factor: Factor::default(),
            slopes: Vec::new(),
            residual_squares: squares,
            residual_products: Vec::new(),
            residual_degrees: moments.n.saturating_sub(1),
        }
    }

    /// The row that a covariate adds to the factor, or none where it adds nothing in this arm.
    pub(super) fn row_of(&self, covariate: usize, used: &[usize]) -> Option<Vec<f64>> {
        let products = &self.among_covariates[covariate];
        let square = products[covariate];
        let rounding = CONSTANT_TO * self.means[covariate];
        if square <= rounding * rounding * count(self.units) {
            return None;
        }
        let with_used: Vec<f64> = used.iter().map(|&other| products[other]).collect();
        self.factor.row(&with_used, square)
    }

    /// Forgets the covariates that are not used.
    pub(super) fn keep(&mut self, used: &[usize]) {
        self.with_outcome = pick(&self.with_outcome, used);
        self.means = pick(&self.means, used);
        self.among_covariates = used.iter().map(|&row| pick(&self.among_covariates[row], used)).collect();
    }

    /// What the slopes leave over.
    pub(super) fn fit(&mut self, slopes: Vec<f64>, residual_degrees: u64) {
        let explained: Vec<f64> = self.among_covariates.iter().map(|row| dot(row, &slopes)).collect();
        let residuals = self.squares - 2.0 * dot(&slopes, &self.with_outcome) + dot(&slopes, &explained);
        self.residual_squares = residuals.max(0.0);
        self.residual_products =
            self.with_outcome.iter().zip(&explained).map(|(product, explained)| product - explained).collect();
        self.slopes = slopes;
        self.residual_degrees = residual_degrees;
    }

    /// V of the module's formula, from moments.
    pub(super) fn residual_variance(&self) -> f64 {
        let n = count(self.units);
        let spread = self.residual_squares / count(self.residual_degrees.max(1));
        // With common slopes the distance from the overall mean costs nothing: n − 1 degrees are left.
        let distance = if self.residual_degrees + 1 < self.units {
            dot(&self.distances, &self.factor.solve(&self.distances))
        } else {
            0.0
        };
        spread * (1.0 / n + distance)
    }

    /// V of the module's formula as HC2 has it: Σ a² e² / (1 − h), a the unit's weight in the adjusted mean, h its
    /// leverage.
    pub(super) fn hc2_variance<Row: AsRef<[f64]>>(&self, rows: &[Row], used: &[usize]) -> f64 {
        let n = count(self.units);
        let towards_overall = self.factor.solve(&self.distances);
        let mut variance = 0.0;
        for row in rows {
            let Some((outcome, covariates)) = row.as_ref().split_first() else {
                continue;
            };
            let centred: Vec<f64> =
                pick(covariates, used).iter().zip(&self.means).map(|(value, mean)| value - mean).collect();
            let residual = outcome - self.value - dot(&self.slopes, &centred);
            let leverage = 1.0 / n + dot(&centred, &self.factor.solve(&centred));
            let weight = 1.0 / n - dot(&towards_overall, &centred);
            // A unit that alone decides a slope has a leverage of one, and no residual.
            if leverage < 1.0 - 1e-12 {
                variance += weight * weight * residual * residual / (1.0 - leverage);
            }
        }
        variance
    }

    /// Covariance, over this arm, of two linear functions of its means. `residual_variance` is that of the mean residual.
    pub(super) fn covariance(&self, first: ArmWeights<'_>, second: ArmWeights<'_>, residual_variance: f64) -> f64 {
        let scale = count(self.units) * count(self.units.saturating_sub(1).max(1));
        let mixed = first.0 * dot(second.1, &self.residual_products) + second.0 * dot(first.1, &self.residual_products);
        let times_second: Vec<f64> = self.among_covariates.iter().map(|row| dot(row, second.1)).collect();
        first.0 * second.0 * residual_variance + (mixed + dot(first.1, &times_second)) / scale
    }
}

/// Weights of one arm in a linear function: of its mean residual, and of its mean covariates.
pub(super) type ArmWeights<'a> = (f64, &'a [f64]);

/// The places of `used` in a list.
fn pick(list: &[f64], used: &[usize]) -> Vec<f64> {
    used.iter().filter_map(|&place| list.get(place)).copied().collect()
}
