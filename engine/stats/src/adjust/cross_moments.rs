//! Mergeable means and cross moments of several columns.
//!
//! Enters: rows of numbers, one a randomised unit, or what a database aggregated of them. Leaves: counts, means and
//! centred sums of products, which merge across days, segments and partitions in any order (Chan, Golub and `LeVeque`
//! 1983), as [`Moments`] do for one column.

use crate::error::{StatsError, check_finite, check_not_negative};
use crate::moments::Moments;
use crate::numeric::count;
use serde::{Deserialize, Serialize};

/// Count, means and centred cross moments of the columns of one group. The default is the empty group of any width.
///
/// ```
/// use sendlift_stats::CrossMoments;
///
/// let monday = CrossMoments::from_rows([[1.0, 2.0], [3.0, 5.0]])?;
/// let tuesday = CrossMoments::from_rows([[2.0, 2.0]])?;
/// let both = monday.merge(&tuesday)?;
/// assert_eq!(both.n, 3);
/// assert_eq!(both.means, [2.0, 3.0]);
/// # Ok::<(), sendlift_stats::StatsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CrossMoments {
    /// Units observed.
    pub n: u64,
    /// The mean of each column.
    pub means: Vec<f64>,
    /// Sums of products of deviations from the means, row by row: as many rows as columns.
    pub products: Vec<f64>,
}

impl CrossMoments {
    /// The moments of rows of equal length, by Welford's update.
    ///
    /// # Errors
    ///
    /// [`StatsError::LengthsDiffer`] at the first row of another length; [`StatsError::NotFinite`] at the first value
    /// that is NaN or infinite.
    pub fn from_rows<Row: AsRef<[f64]>>(rows: impl IntoIterator<Item = Row>) -> Result<Self, StatsError> {
        let mut moments = Self::default();
        for row in rows {
            moments.add(row.as_ref())?;
        }
        Ok(moments)
    }

    /// Moments from an aggregate: `n` units, the mean of each column, and the *sample* covariances (divided by n − 1)
    /// row by row, as SQL's `covar_samp` gives them. With fewer than two units the covariances are ignored.
    ///
    /// # Errors
    ///
    /// [`StatsError::LengthsDiffer`] unless there are as many rows of covariances as means; [`StatsError::NotFinite`] or
    /// [`StatsError::Negative`] for numbers that no data can have.
    pub fn from_means_and_covariances(n: u64, means: &[f64], covariances: &[f64]) -> Result<Self, StatsError> {
        if n == 0 {
            return Ok(Self::default());
        }
        let products = if n < 2 {
            vec![0.0; means.len() * means.len()]
        } else {
            covariances.iter().map(|covariance| covariance * count(n - 1)).collect()
        };
        let moments = Self { n, means: means.to_vec(), products };
        moments.check()?;
        Ok(moments)
    }

    /// Takes in one more unit.
    fn add(&mut self, row: &[f64]) -> Result<(), StatsError> {
        if self.n == 0 {
            *self = Self { n: 0, means: vec![0.0; row.len()], products: vec![0.0; row.len() * row.len()] };
        }
        if row.len() != self.means.len() {
            return Err(StatsError::LengthsDiffer { counts: self.means.len(), weights: row.len() });
        }
        for &value in row {
            check_finite("a value of an outcome or covariate", value)?;
        }
        self.n += 1;
        let n = count(self.n);
        let steps: Vec<f64> = row.iter().zip(&self.means).map(|(value, mean)| value - mean).collect();
        for (mean, step) in self.means.iter_mut().zip(&steps) {
            *mean += step / n;
        }
        // (n − 1) / n of the product of both steps: symmetric to the last bit.
        let weight = (n - 1.0) / n;
        self.add_products(&steps, weight);
        Ok(())
    }

    /// Adds `weight` times the products of all pairs of `steps`.
    fn add_products(&mut self, steps: &[f64], weight: f64) {
        let pairs = steps.iter().flat_map(|left| steps.iter().map(move |right| left * right));
        for (product, pair) in self.products.iter_mut().zip(pairs) {
            *product += pair * weight;
        }
    }

    /// The moments of both groups together. An empty group changes nothing.
    ///
    /// # Errors
    ///
    /// [`StatsError::LengthsDiffer`] where both have units but not the same number of columns.
    pub fn merge(&self, other: &Self) -> Result<Self, StatsError> {
        if other.n == 0 {
            return Ok(self.clone());
        }
        if self.n == 0 {
            return Ok(other.clone());
        }
        if self.means.len() != other.means.len() {
            return Err(StatsError::LengthsDiffer { counts: self.means.len(), weights: other.means.len() });
        }
        let n = self.n.saturating_add(other.n);
        let share_of_other = count(other.n) / count(n);
        let gaps: Vec<f64> = other.means.iter().zip(&self.means).map(|(theirs, ours)| theirs - ours).collect();
        let mut merged = Self {
            n,
            means: self.means.iter().zip(&gaps).map(|(mean, gap)| mean + gap * share_of_other).collect(),
            products: self.products.iter().zip(&other.products).map(|(ours, theirs)| ours + theirs).collect(),
        };
        merged.add_products(&gaps, count(self.n) * share_of_other);
        Ok(merged)
    }

    /// The sum of products of deviations of two columns, counted from zero; zero for a column that is not there.
    #[must_use]
    pub fn product(&self, first: usize, second: usize) -> f64 {
        let width = self.means.len();
        if first >= width || second >= width {
            return 0.0;
        }
        self.products.get(first * width + second).copied().unwrap_or(0.0)
    }

    /// The moments of one column, counted from zero; the empty group's for a column that is not there.
    #[must_use]
    pub fn column(&self, column: usize) -> Moments {
        let Some(&mean) = self.means.get(column) else {
            return Moments::default();
        };
        Moments { n: self.n, mean, sum_squared_deviations: self.product(column, column) }
    }

    /// Refuses moments that no data can have: the fields are public, and may come from a file.
    pub(crate) fn check(&self) -> Result<(), StatsError> {
        if self.n == 0 {
            return Ok(());
        }
        let width = self.means.len();
        if self.products.len() != width * width {
            return Err(StatsError::LengthsDiffer { counts: width * width, weights: self.products.len() });
        }
        for (column, &mean) in self.means.iter().enumerate() {
            check_finite("the mean of an outcome or covariate", mean)?;
            check_not_negative("a column's sum of squared deviations", self.product(column, column))?;
        }
        for &product in &self.products {
            check_finite("a sum of products of deviations", product)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn columns_are_moments() {
        let rows = [[1e9 + 4.0, 1.0], [1e9 + 7.0, 0.0], [1e9 + 13.0, 1.0], [1e9 + 16.0, 0.0]];
        let moments = CrossMoments::from_rows(rows).unwrap();
        assert_eq!(moments.column(0).variance(), Some(30.0));
        assert_eq!(moments.column(1), Moments::from_values([1.0, 0.0, 1.0, 0.0]).unwrap());
        // (−6)(.5) + (−3)(−.5) + (3)(.5) + (6)(−.5).
        assert_close(moments.product(0, 1), -3.0, 1e-12);
        assert_eq!(moments.product(0, 1), moments.product(1, 0));
        assert_eq!(moments.product(2, 0), 0.0);
        assert_eq!(moments.column(5), Moments::default());
    }

    #[test]
    fn merging_equals_pooling() {
        let rows = [[1.0, 2.0, 0.0], [4.0, 1.0, 1.0], [-2.0, 3.0, 1.0], [0.5, 0.0, 0.0], [9.0, 5.0, 1.0]];
        let whole = CrossMoments::from_rows(rows).unwrap();
        let first = CrossMoments::from_rows(&rows[..2]).unwrap();
        let second = CrossMoments::from_rows(&rows[2..]).unwrap();
        let merged = first.merge(&second).unwrap();
        assert_eq!(merged.n, 5);
        for (merged, whole) in merged.products.iter().zip(&whole.products) {
            assert_close(*merged, *whole, 1e-13);
        }
        assert_eq!(whole.merge(&CrossMoments::default()).unwrap(), whole);
        assert_eq!(CrossMoments::default().merge(&whole).unwrap(), whole);
        assert!(whole.merge(&CrossMoments::from_rows([[1.0]]).unwrap()).is_err());
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(CrossMoments::from_rows([vec![1.0], vec![1.0, 2.0]]).is_err());
        assert!(CrossMoments::from_rows([[f64::NAN]]).is_err());
        assert!(CrossMoments::from_means_and_covariances(3, &[1.0], &[1.0, 2.0]).is_err());
        assert!(CrossMoments::from_means_and_covariances(3, &[1.0], &[-1.0]).is_err());
        assert!(CrossMoments::from_means_and_covariances(1, &[1.0], &[f64::NAN]).is_ok());
    }
}
