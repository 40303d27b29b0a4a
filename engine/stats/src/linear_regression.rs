//! Ridge linear regression: the mean of a number (revenue, an effect) from features.
//!
//! Enters: features (NaN where missing), outcomes, optional weights, a penalty or the wish to have one chosen. Leaves:
//! [`LinearModel`], ready to serialise.
//!
//! Minimised is ½ Σ weight · (outcome − prediction)² + ½ λ Σ coefficient² over standardised features, the intercept
//! unpenalised (Hoerl and Kennard 1970, Technometrics 12(1)); scikit-learn's `alpha` is λ. How features are standardised
//! and missing values treated: [`crate::linear_predictor`].

use crate::error::StatsError;
use crate::learner::{FeatureMatrix, Learner, Predictor};
use crate::linear_predictor::{
    CrossValidation, Design, LinearPredictor, NO_FEATURE_VARIES, PENALTY_PATH, Penalty, Products, at_rows,
    check_training_data, folds, least_loss, rows_to_validate_with, solve,
};
use serde::{Deserialize, Serialize};

/// A pivot below this share of the units, without a penalty: a feature repeats others.
const LEAST_PIVOT: f64 = 1e-9;
/// The same with a penalty, which only rounding can defeat.
const LEAST_PENALISED_PIVOT: f64 = 1e-14;

/// A ridge linear regression that is to be fitted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RidgeLinear {
    /// How strong the penalty is, or how it is chosen.
    pub penalty: Penalty,
}

/// A fitted linear regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearModel {
    /// The mean as a sum over features, in the outcome's units.
    pub mean: LinearPredictor,
    /// λ of the fit.
    pub penalty: f64,
    /// Units that it was fitted on.
    pub units: usize,
    /// Their mean squared error, in the outcome's units squared; that of other units is larger.
    pub squared_error: f64,
    /// How the penalty was chosen; none where it was given.
    pub cross_validation: Option<CrossValidation>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

impl RidgeLinear {
    /// Fits the mean of `outcome`.
    ///
    /// # Errors
    ///
    /// [`StatsError::UnevenLists`]; [`StatsError::NotFinite`] for an outcome or an infinite feature value;
    /// [`StatsError::NotPositive`] for a weight; [`StatsError::NotFitted`] without units, with fewer units than folds,
    /// or with penalty zero where features repeat one another.
    pub fn fit_model(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<LinearModel, StatsError> {
        self.penalty.check()?;
        check_training_data(features, outcome, weights)?;
        let measured = LinearPredictor::measured(features, weights)?;
        let (penalty, cross_validation) = match self.penalty {
            Penalty::Fixed(penalty) => (penalty, None),
            Penalty::CrossValidated { folds, seed } => {
                let (penalty, choice) = cross_validate(features, outcome, weights, &measured, folds, seed)?;
                (penalty, Some(choice))
            }
        };
        let equations = NormalEquations::of(features, outcome, weights, &measured);
        let coefficients = equations.solution(penalty)?;
        Ok(LinearModel {
            mean: measured.with_coefficients(&coefficients),
            penalty,
            units: outcome.len(),
            squared_error: equations.squared_error(&coefficients),
            cross_validation,
            notes: if coefficients.len() > 1 { Vec::new() } else { vec![NO_FEATURE_VARIES.to_owned()] },
        })
    }
}

impl LinearModel {
    /// What each feature of one unit adds to its prediction, against the mean training unit, in the outcome's units.
    /// With the intercept they add up to the prediction.
    ///
    /// # Panics
    /// When there are not as many values as the model has features.
    pub fn contributions(&self, values: &[f64]) -> Vec<f64> {
        self.mean.contributions(values)
    }
}

impl Predictor for LinearModel {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        self.mean.scores(features)
    }
}

impl Learner for RidgeLinear {
    type Model = LinearModel;

    fn fit(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<LinearModel, StatsError> {
        self.fit_model(features, outcome, weights)
    }
}

/// Sums over units from which any penalty's coefficients follow. Outcomes are taken around `centre`.
#[derive(Clone)]
struct NormalEquations {
    products: Products,
    weight: f64,
    centre: f64,
    squares: f64,
}

impl NormalEquations {
    fn of(features: &FeatureMatrix, outcome: &[f64], weights: Option<&[f64]>, measured: &LinearPredictor) -> Self {
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
        let (mut total, mut sum) = (0.0, 0.0);
        for (row, value) in outcome.iter().enumerate() {
            total += weight(row);
            sum += weight(row) * value;
        }
        Self::around(sum / total, features, outcome, weights, measured)
    }

    fn around(
        centre: f64,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
        measured: &LinearPredictor,
    ) -> Self {
        let (mut total, mut squares) = (0.0, 0.0);
        let products = Design::new(features, measured).products(&[], |row, _| {
            let (weight, distance) = (weights.map_or(1.0, |weights| weights[row]), outcome[row] - centre);
            total += weight;
            squares += weight * distance * distance;
            (weight, weight * distance)
        });
        Self { products, weight: total, centre, squares }
    }

    /// These sums without those of a part of the units, around the same centre.
    fn without(&self, part: &Self) -> Self {
        let mut rest = self.clone();
        let less = |own: &mut Vec<f64>, other: &[f64]| {
            for (own, other) in own.iter_mut().zip(other) {
                *own -= other;
            }
        };
        less(&mut rest.products.matrix, &part.products.matrix);
        less(&mut rest.products.vector, &part.products.vector);
        rest.weight -= part.weight;
        rest.squares -= part.squares;
        rest
    }

    fn solution(&self, penalty: f64) -> Result<Vec<f64>, StatsError> {
        let Products { stride, matrix, vector } = &self.products;
        let mut penalised = matrix.clone();
        for place in 1..vector.len() {
            penalised[place * stride + place] += penalty;
        }
        let share = if penalty > 0.0 { LEAST_PENALISED_PIVOT } else { LEAST_PIVOT };
        let mut solution =
            solve(&penalised, *stride, vector, share * self.weight).ok_or_else(|| StatsError::NotFitted {
                reason: "a feature repeats others: give a larger penalty, or leave features out".to_owned(),
            })?;
        solution[0] += self.centre;
        Ok(solution)
    }

    /// Mean squared error of coefficients on these units.
    fn squared_error(&self, coefficients: &[f64]) -> f64 {
        let Products { stride, matrix, vector } = &self.products;
        let mut centred = coefficients.to_vec();
        centred[0] -= self.centre;
        let mut sum = self.squares;
        for (row, own) in centred.iter().enumerate() {
            sum -= 2.0 * own * vector[row];
            sum += own * own * matrix[row * stride + row];
            for (column, other) in centred.iter().enumerate().take(row) {
                sum += 2.0 * own * other * matrix[row * stride + column];
            }
        }
        // A perfect fit leaves rounding of either sign.
        (sum / self.weight).max(0.0)
    }
}

/// Each fold's sums are taken once; those of the other folds are the rest.
fn cross_validate(
    features: &FeatureMatrix,
    outcome: &[f64],
    weights: Option<&[f64]>,
    measured: &LinearPredictor,
    number: usize,
    seed: u64,
) -> Result<(f64, CrossValidation), StatsError> {
    let rows = rows_to_validate_with(outcome.len(), seed);
    if rows.len() < number {
        return Err(StatsError::NotFitted {
            reason: format!("{number} folds need {number} units, and there are {}: give a penalty", rows.len()),
        });
    }
    let around = |centre: Option<f64>, rows: &[usize]| {
        let (features, outcome) = (features.select(rows), at_rows(outcome, rows));
        let weights = weights.map(|weights| at_rows(weights, rows));
        match centre {
            None => NormalEquations::of(&features, &outcome, weights.as_deref(), measured),
            Some(centre) => NormalEquations::around(centre, &features, &outcome, weights.as_deref(), measured),
        }
    };
    let all = around(None, &rows);
    let mut losses = vec![Vec::with_capacity(number); PENALTY_PATH.len()];
    for held_out in folds(|_| false, rows.len(), number, seed) {
        let held_out: Vec<usize> = held_out.iter().map(|&place| rows[place]).collect();
        let validation = around(Some(all.centre), &held_out);
        let training = all.without(&validation);
        for (penalty, of_penalty) in PENALTY_PATH.iter().zip(&mut losses) {
            of_penalty.push((validation.squared_error(&training.solution(*penalty)?), validation.weight));
        }
    }
    Ok(least_loss(&losses, rows.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn an_exact_line_is_found_without_a_penalty_and_shrunk_with_one() {
        let features = FeatureMatrix::new(vec![1.0, 2.0, 3.0, 4.0], 4, 1).unwrap();
        let outcome = [1e6 + 2.0, 1e6 + 4.0, 1e6 + 6.0, 1e6 + 8.0];
        let free = RidgeLinear { penalty: Penalty::Fixed(0.0) }.fit_model(&features, &outcome, None).unwrap();
        for (prediction, value) in free.predict(&features).iter().zip(outcome) {
            assert_close(*prediction, value, 1e-14);
        }
        assert_close(free.squared_error, 0.0, 1e-12);
        // A sum of squares of four against a penalty of four: half of the slope.
        let half = RidgeLinear { penalty: Penalty::Fixed(4.0) }.fit_model(&features, &outcome, None).unwrap();
        let predictions = half.predict(&features);
        assert_close(predictions[3] - predictions[0], 3.0, 1e-9);
        assert_close(half.mean.intercept, 1e6 + 5.0, 1e-15);
    }

    #[test]
    fn a_penalty_is_chosen_by_what_was_held_out() {
        // The first feature tells all, the others nothing: no penalty to speak of.
        let rows = 60;
        let mut values: Vec<f64> = (0..rows).map(f64::from).collect();
        values.extend((0..rows).map(|row| f64::from(row * row % 17)));
        let features = FeatureMatrix::new(values, 60, 2).unwrap();
        let outcome: Vec<f64> = features.column(0).iter().map(|value| 3.0 - 2.0 * value).collect();
        let model = RidgeLinear::default().fit_model(&features, &outcome, None).unwrap();
        assert_close(model.penalty, 0.1, 0.0);
        let path = model.cross_validation.unwrap().path;
        assert!(path.windows(2).all(|pair| pair[1].loss < pair[0].loss));
        // Two units cannot fill five folds.
        let two = features.select(&[0, 1]);
        assert!(RidgeLinear::default().fit_model(&two, &outcome[..2], None).is_err());
    }
}
