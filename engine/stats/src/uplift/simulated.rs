//! Tiny learners and made-up trials whose truth is known, for the tests of this folder.
//!
//! Enters: a seed. Leaves: features uniform on [0, 1), outcomes of either arm, and the effect of each unit.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::units::RandomisedUnits;
use crate::adjust::factor::Factor;
use crate::binomial::{index, whole};
use crate::counter::{bits, unit};
use crate::error::StatsError;
use crate::learner::{FeatureMatrix, Learner, Predictor};
use crate::numeric::length;

/// The mean by cell of the first feature, with as many cells as the cube root of the units, or a fixed number.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellMeans {
    pub(super) cells: Option<usize>,
}

/// A mean a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cells(Vec<f64>);

fn cell(value: f64, cells: usize) -> usize {
    index(whole(value * length(cells))).min(cells - 1)
}

impl Predictor for Cells {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        features.column(0).iter().map(|&value| self.0[cell(value, self.0.len())]).collect()
    }
}

impl Learner for CellMeans {
    type Model = Cells;

    fn fit(&self, features: &FeatureMatrix, outcome: &[f64], weights: Option<&[f64]>) -> Result<Cells, StatsError> {
        let cells = self.cells.unwrap_or_else(|| index(whole(length(outcome.len()).cbrt())).max(1));
        let (mut sums, mut totals) = (vec![0.0; cells], vec![0.0; cells]);
        for (row, (&value, &outcome)) in features.column(0).iter().zip(outcome).enumerate() {
            let weight = weights.map_or(1.0, |weights| weights[row]);
            sums[cell(value, cells)] += weight * outcome;
            totals[cell(value, cells)] += weight;
        }
        let overall = sums.iter().sum::<f64>() / totals.iter().sum::<f64>();
        let means = sums.iter().zip(&totals).map(|(sum, total)| if *total > 0.0 { sum / total } else { overall });
        Ok(Cells(means.collect()))
    }
}

/// Least squares on all features and a constant.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeastSquares;

/// The constant, then a slope a feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line(pub(super) Vec<f64>);

impl Predictor for Line {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        let slopes = &self.0[1..];
        let slope_times =
            |row: usize| slopes.iter().enumerate().map(move |(at, slope)| slope * features.column(at)[row]);
        (0..features.rows()).map(|row| self.0[0] + slope_times(row).sum::<f64>()).collect()
    }
}

impl Learner for LeastSquares {
    type Model = Line;

    fn fit(&self, features: &FeatureMatrix, outcome: &[f64], weights: Option<&[f64]>) -> Result<Line, StatsError> {
        let ones = vec![1.0; outcome.len()];
        let weights = weights.unwrap_or(&ones);
        let columns: Vec<&[f64]> =
            std::iter::once(ones.as_slice()).chain((0..features.columns()).map(|at| features.column(at))).collect();
        let product = |left: &[f64], right: &[f64]| -> f64 {
            left.iter().zip(right).zip(weights).map(|((left, right), weight)| left * right * weight).sum()
        };
        let mut factor = Factor::default();
        for (place, column) in columns.iter().enumerate() {
            let products: Vec<f64> = columns[..place].iter().map(|earlier| product(earlier, column)).collect();
            factor.push(factor.row(&products, product(column, column)).unwrap());
        }
        let right: Vec<f64> = columns.iter().map(|column| product(column, outcome)).collect();
        Ok(Line(factor.solve(&right)))
    }
}

/// Made-up units.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) features: FeatureMatrix,
    pub(super) outcome: Vec<f64>,
    pub(super) treated: Vec<bool>,
    pub(super) assignment_probability: Vec<f64>,
    /// The true effect of each unit.
    pub(super) effect: Vec<f64>,
}

impl World {
    /// `units` with two features, treated with `probability` of the features; the outcome is `baseline` + `effect` if
    /// treated + noise uniform on (−1/2, 1/2).
    pub(super) fn new(
        units: u64,
        seed: u64,
        probability: impl Fn(f64, f64) -> f64,
        baseline: impl Fn(f64, f64) -> f64,
        effect: impl Fn(f64, f64) -> f64,
    ) -> Self {
        let draw = |stream: u64| -> Vec<f64> { (0..units).map(|place| unit(bits(seed, stream, place))).collect() };
        let (first, second, arm, noise) = (draw(101), draw(102), draw(103), draw(104));
        let pairs: Vec<(f64, f64)> = first.iter().copied().zip(second.iter().copied()).collect();
        let assignment_probability: Vec<f64> = pairs.iter().map(|&(x, z)| probability(x, z)).collect();
        let treated: Vec<bool> = arm.iter().zip(&assignment_probability).map(|(arm, share)| arm < share).collect();
        let effect: Vec<f64> = pairs.iter().map(|&(x, z)| effect(x, z)).collect();
        let outcome = (0..pairs.len())
            .map(|place| {
                let brought = if treated[place] { effect[place] } else { 0.0 };
                baseline(pairs[place].0, pairs[place].1) + brought + noise[place] - 0.5
            })
            .collect();
        let features = FeatureMatrix::new([first, second].concat(), pairs.len(), 2).unwrap();
        Self { features, outcome, treated, assignment_probability, effect }
    }

    pub(super) fn units(&self) -> RandomisedUnits<'_> {
        RandomisedUnits::new(&self.outcome, &self.treated, &self.assignment_probability).unwrap()
    }
}
