//! Feature values, and what learns from them: the hinge between a method (uplift, cross-fitting, a report of quality) and
//! the models that it is used with (a penalised regression here, boosted trees in the engine).
//!
//! Enters: feature values, one column after another, NaN where a value is missing. Leaves: predictions, one a row.

use crate::error::StatsError;

/// Feature values of units, column after column: the value of unit `row` and feature `column` is at
/// `column * rows + row`. NaN is a missing value.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMatrix {
    values: Vec<f64>,
    rows: usize,
    columns: usize,
}

impl FeatureMatrix {
    /// A matrix of `rows` units and `columns` features.
    ///
    /// # Errors
    /// [`StatsError::FeatureShape`] unless there are `rows * columns` values.
    pub fn new(values: Vec<f64>, rows: usize, columns: usize) -> Result<Self, StatsError> {
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(StatsError::FeatureShape { values: values.len(), rows, columns });
        }
        Ok(Self { values, rows, columns })
    }

    /// Number of units.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Every value, column after column.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values of one feature, one a unit.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn column(&self, column: usize) -> &[f64] {
        &self.values[column * self.rows..(column + 1) * self.rows]
    }

    /// The units of `rows`, in that order; a unit may be named more than once.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut values = Vec::with_capacity(rows.len() * self.columns);
        for column in 0..self.columns {
            let of_column = self.column(column);
            values.extend(rows.iter().map(|&row| of_column[row]));
        }
        Self { values, rows: rows.len(), columns: self.columns }
    }
}

/// A fitted model: one number for each unit.
pub trait Predictor: Send + Sync {
    /// The prediction for each row: a probability from a model of a binary outcome, a mean from one of a number.
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64>;
}

impl<P: Predictor + ?Sized> Predictor for Box<P> {
    fn predict(&self, features: &FeatureMatrix) -> Vec<f64> {
        (**self).predict(features)
    }
}

/// A way to fit a model.
pub trait Learner: Send + Sync {
    /// What fitting leaves: its own type, so that whoever asked for it can save it. Where learners of several kinds have
    /// to go through one list, `dyn Learner<Model = Box<dyn Predictor>>`.
    type Model: Predictor;

    /// Fits `outcome`, one value a row, with a weight above zero for each row where weights are given.
    ///
    /// # Errors
    /// When the model cannot be fitted: lengths that differ, an outcome that is no number, a single class.
    fn fit(
        &self,
        features: &FeatureMatrix,
        outcome: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Self::Model, StatsError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_rows_are_where_they_are_said_to_be() {
        let features = FeatureMatrix::new(vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0], 3, 2).unwrap();
        assert_eq!(features.column(1), [10.0, 20.0, 30.0]);
        assert_eq!(features.select(&[2, 0, 2]).values(), [3.0, 1.0, 3.0, 30.0, 10.0, 30.0]);
        let error = FeatureMatrix::new(vec![1.0], 3, 2).unwrap_err();
        assert_eq!(error.to_string(), "1 values for 3 units of 2 features: give every unit a value for each feature");
    }
}
