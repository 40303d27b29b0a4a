//! Standardised features in blocks of rows, and their sums of products.
//!
//! Enters: features, the terms that say how to standardise them, coefficients. Leaves: for each block the linear
//! predictor, and sums over all rows of `weight · column · column` and `residual · column`.
//!
//! A million units of forty features are never held standardised: a block fits the processor's nearest caches, is
//! filled, used and overwritten. Products are summed eight at a time (two columns by four), two rows beside each other,
//! in the same order whatever the machine.

use super::{LinearPredictor, MissingTerm};
use crate::learner::FeatureMatrix;

/// Rows of a block; even.
const BLOCK: usize = 128;
/// Columns are filled up with zeros to a multiple of this.
const TILE: usize = 4;

/// What a column of the design holds.
#[derive(Debug, Clone, Copy)]
enum Column {
    Intercept,
    Value { feature: usize, mean: f64, scale: f64 },
    Missing { feature: usize, absent: f64, present: f64 },
}

/// The features of units as a model sees them.
#[derive(Debug)]
pub(crate) struct Design<'a> {
    features: &'a FeatureMatrix,
    columns: Vec<Column>,
}

/// Sums over all rows.
#[derive(Debug, Clone)]
pub(crate) struct Products {
    /// Rows of the matrix are this far apart.
    pub(crate) stride: usize,
    /// Sums of weight · column · column; the lower triangle alone.
    pub(crate) matrix: Vec<f64>,
    /// Sums of residual · column.
    pub(crate) vector: Vec<f64>,
}

impl<'a> Design<'a> {
    /// The design of features that are standardised as `measured` says: the intercept first.
    pub(crate) fn new(features: &'a FeatureMatrix, measured: &LinearPredictor) -> Self {
        let mut columns = vec![Column::Intercept];
        for (feature, term) in measured.terms.iter().enumerate() {
            if term.scale > 0.0 {
                columns.push(Column::Value { feature, mean: term.mean, scale: term.scale });
            }
            if let Some(MissingTerm { share, .. }) = term.missing {
                let deviation = (share * (1.0 - share)).sqrt();
                columns.push(Column::Missing {
                    feature,
                    absent: (1.0 - share) / deviation,
                    present: -share / deviation,
                });
            }
        }
        Self { features, columns }
    }

    /// Number of coefficients, the intercept included.
    pub(crate) fn size(&self) -> usize {
        self.columns.len()
    }

    /// Number of units.
    pub(crate) fn rows(&self) -> usize {
        self.features.rows()
    }

    /// Goes over all rows once. `each` is told a row and its linear predictor, and answers with the row's weight and
    /// residual.
    pub(crate) fn products(&self, coefficients: &[f64], mut each: impl FnMut(usize, f64) -> (f64, f64)) -> Products {
        let (size, stride) = (self.size(), self.size().next_multiple_of(TILE));
        let mut sums = Products { stride, matrix: vec![0.0; stride * stride], vector: vec![0.0; size] };
        let mut block = vec![0.0; stride * BLOCK];
        let mut weighted = vec![0.0; stride * BLOCK];
        let (mut linear, mut weights, mut residuals) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..self.rows()).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows() - start);
            self.fill(&mut block, start, rows);
            linear.fill(0.0);
            for (coefficient, column) in coefficients.iter().zip(block.chunks_exact(BLOCK)) {
                for (score, value) in linear.iter_mut().zip(column) {
                    *score += coefficient * value;
                }
            }
            weights.fill(0.0);
            residuals.fill(0.0);
            for row in 0..rows {
                (weights[row], residuals[row]) = each(start + row, linear[row]);
            }
            for (column, products) in block.chunks_exact(BLOCK).zip(weighted.chunks_exact_mut(BLOCK)).take(size) {
                for ((product, value), weight) in products.iter_mut().zip(column).zip(&weights) {
                    *product = value * weight;
                }
            }
            add_products(&mut sums.matrix, stride, &weighted, &block);
            for (sum, column) in sums.vector.iter_mut().zip(block.chunks_exact(BLOCK)) {
                *sum += residuals.iter().zip(column).map(|(residual, value)| residual * value).sum::<f64>();
            }
        }
        sums
    }

    /// Standardises the rows from `start`; rows beyond the last are zero.
    fn fill(&self, block: &mut [f64], start: usize, rows: usize) {
        for (column, target) in self.columns.iter().zip(block.chunks_exact_mut(BLOCK)) {
            let (target, beyond) = target.split_at_mut(rows);
            beyond.fill(0.0);
            match *column {
                Column::Intercept => target.fill(1.0),
                Column::Value { feature, mean, scale } => {
                    let values = &self.features.column(feature)[start..start + rows];
                    for (standard, value) in target.iter_mut().zip(values) {
                        *standard = if value.is_nan() { 0.0 } else { (value - mean) / scale };
                    }
                }
                Column::Missing { feature, absent, present } => {
                    let values = &self.features.column(feature)[start..start + rows];
                    for (standard, value) in target.iter_mut().zip(values) {
                        *standard = if value.is_nan() { absent } else { present };
                    }
                }
            }
        }
    }
}

/// Adds a block's products to the lower triangle of `matrix`.
fn add_products(matrix: &mut [f64], stride: usize, weighted: &[f64], block: &[f64]) {
    for upper in (0..stride).step_by(2) {
        let pair: [&[f64]; 2] = std::array::from_fn(|row| &weighted[(upper + row) * BLOCK..(upper + row + 1) * BLOCK]);
        for left in (0..=upper + 1).step_by(TILE) {
            let tile: [&[f64]; TILE] =
                std::array::from_fn(|column| &block[(left + column) * BLOCK..(left + column + 1) * BLOCK]);
            for (row, sums) in tile_products(pair, tile).iter().enumerate() {
                let place = (upper + row) * stride + left;
                for (entry, sum) in matrix[place..place + TILE].iter_mut().zip(sums) {
                    *entry += sum;
                }
            }
        }
    }
}

/// The products of two columns with four others, summed over a block.
#[inline]
fn tile_products(pair: [&[f64]; 2], tile: [&[f64]; TILE]) -> [[f64; TILE]; 2] {
    let mut lanes = [[[0.0; 2]; TILE]; 2];
    let pair = pair.map(|column| column.as_chunks::<2>().0);
    let tile = tile.map(|column| column.as_chunks::<2>().0);
    for place in 0..BLOCK / 2 {
        for (row, left) in pair.iter().enumerate() {
            for (column, right) in tile.iter().enumerate() {
                for lane in 0..2 {
                    lanes[row][column][lane] += left[place][lane] * right[place][lane];
                }
            }
        }
    }
    lanes.map(|row| row.map(|[even, odd]| even + odd))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::counter::{bits, unit};
    use crate::numeric::assert_close;

    #[test]
    fn sums_are_those_of_the_rows() {
        // Three blocks, the last of one row; a constant feature, and one with missing values.
        let (rows, columns) = (257, 6);
        let value = |place: usize| unit(bits(3, 1, place as u64));
        let values = (0..rows * columns)
            .map(|place| match place / rows {
                2 => 4.0,
                4 if place % 3 == 0 => f64::NAN,
                _ => value(place),
            })
            .collect();
        let features = FeatureMatrix::new(values, rows, columns).unwrap();
        let measured = LinearPredictor::measured(&features, None).unwrap();
        let design = Design::new(&features, &measured);
        assert_eq!(design.size(), 7);
        let coefficients = [0.3, 1.0, -1.0, 0.5, 2.0, -0.7, 0.2];
        let expected = measured.with_coefficients(&coefficients).scores(&features);
        let sums = design.products(&coefficients, |row, linear| {
            assert_close(linear, expected[row], 1e-12);
            (value(row), linear)
        });
        // A column is the change of the score with its coefficient.
        let columns: Vec<Vec<f64>> = (0..7)
            .map(|column| {
                let mut one = [0.0; 7];
                one[column] = 1.0;
                measured.with_coefficients(&one).scores(&features)
            })
            .collect();
        for left in 0..7 {
            let direct: f64 = columns[left].iter().zip(&expected).map(|(value, score)| value * score).sum();
            assert!((sums.vector[left] - direct).abs() < 1e-10, "{left}");
            for right in 0..=left {
                let direct: f64 = (0..rows).map(|row| value(row) * columns[left][row] * columns[right][row]).sum();
                assert!((sums.matrix[left * sums.stride + right] - direct).abs() < 1e-10, "{left} {right}");
            }
        }
    }
}
