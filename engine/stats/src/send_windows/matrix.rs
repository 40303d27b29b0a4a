//! Dense matrices, as much of them as the fit needs.
//!
//! Enters: numbers row by row. Leaves: Cholesky factors, solutions of triangular systems, sums of products, and the
//! eigenvectors of a symmetric matrix by Jacobi's rotations (Golub and Van Loan 2013, section 8.5). Rows lie one after
//! another, and inner loops go along rows.

/// A matrix, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Matrix {
    rows: usize,
    columns: usize,
    entries: Vec<f64>,
}

/// Sweeps after which Jacobi's rotations stop; about ten suffice for any size used here.
const MOST_SWEEPS: usize = 30;

impl Matrix {
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, entries: vec![0.0; rows * columns] }
    }

    pub(super) fn from_function(rows: usize, columns: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let mut matrix = Self::zeros(rows, columns);
        for row in 0..rows {
            for column in 0..columns {
                *matrix.at_mut(row, column) = entry(row, column);
            }
        }
        matrix
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f64 {
        self.entries[row * self.columns + column]
    }

    pub(super) fn at_mut(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.entries[row * self.columns + column]
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.entries[row * self.columns..(row + 1) * self.columns]
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.entries[row * self.columns..(row + 1) * self.columns]
    }

    /// Sets all to zero, in the size given, without giving the memory back.
    pub(super) fn reset(&mut self, rows: usize, columns: usize) {
        self.rows = rows;
        self.columns = columns;
        self.entries.clear();
        self.entries.resize(rows * columns, 0.0);
    }

    pub(super) fn times_vector(&self, vector: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|row| dot(self.row(row), vector)).collect()
    }

    /// The transpose times a vector.
    pub(super) fn transposed_times_vector(&self, vector: &[f64]) -> Vec<f64> {
        let mut result = vec![0.0; self.columns];
        for (row, &factor) in vector.iter().enumerate() {
            add_multiple(&mut result, factor, self.row(row));
        }
        result
    }

    pub(super) fn times(&self, right: &Self) -> Self {
        let mut result = Self::zeros(self.rows, right.columns);
        for row in 0..self.rows {
            for (inner, &factor) in self.row(row).iter().enumerate() {
                if factor != 0.0 {
                    let columns = right.columns;
                    add_multiple(&mut result.entries[row * columns..(row + 1) * columns], factor, right.row(inner));
                }
            }
        }
        result
    }

    pub(super) fn transposed(&self) -> Self {
        Self::from_function(self.columns, self.rows, |row, column| self.at(column, row))
    }

    /// Adds the square of a matrix, its transpose times itself, to the upper triangle. Four rows at a time, so that the
    /// target is read and written a quarter as often.
    pub(super) fn add_square(&mut self, root: &Self) {
        let width = root.columns;
        for column in 0..width {
            let start = column * self.columns + column;
            let target = &mut self.entries[start..start + width - column];
            let mut fours = root.entries.chunks_exact(4 * width.max(1));
            for four in &mut fours {
                let (first, second, third, fourth) = (
                    &four[column..width],
                    &four[width + column..2 * width],
                    &four[2 * width + column..3 * width],
                    &four[3 * width + column..],
                );
                let (one, two, three, last) = (first[0], second[0], third[0], fourth[0]);
                let values = first.iter().zip(second).zip(third.iter().zip(fourth));
                for (entry, ((a, b), (c, d))) in target.iter_mut().zip(values) {
                    *entry += (one * a + two * b) + (three * c + last * d);
                }
            }
            for row in fours.remainder().chunks_exact(width) {
                add_multiple(target, row[column], &row[column..]);
            }
        }
    }

    /// Copies the upper triangle to the lower.
    pub(super) fn mirror(&mut self) {
        for row in 1..self.rows {
            for column in 0..row {
                *self.at_mut(row, column) = self.at(column, row);
            }
        }
    }

    /// The lower triangle whose product with its transpose this is; none where it is not positive definite. Reads the
    /// lower triangle only.
    pub(super) fn cholesky(&self) -> Option<Triangle> {
        let mut factor = self.clone();
        let size = self.rows;
        for row in 0..size {
            for column in 0..row {
                let product = dot(&factor.row(row)[..column], &factor.row(column)[..column]);
                let entry = (factor.at(row, column) - product) / factor.at(column, column);
                *factor.at_mut(row, column) = entry;
            }
            let rest = factor.at(row, row) - dot(&factor.row(row)[..row], &factor.row(row)[..row]);
            // Written so that a NaN answers no.
            if rest > 0.0 && rest.is_finite() {
                *factor.at_mut(row, row) = rest.sqrt();
            } else {
                return None;
            }
            for entry in &mut factor.row_mut(row)[row + 1..] {
                *entry = 0.0;
            }
        }
        Some(Triangle(factor))
    }

    /// The `most` greatest eigenvalues of a symmetric matrix, and their vectors as columns each times the root of its
    /// eigenvalue: the product with the transpose is the matrix, as far as these vectors go.
    pub(super) fn leading_root(&self, most: usize) -> Self {
        let (values, vectors) = self.eigenvectors();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&left, &right| values[right].total_cmp(&values[left]).then(left.cmp(&right)));
        let greatest = order.first().map_or(0.0, |&first| values[first]);
        order.retain(|&place| values[place] > 1e-10 * greatest);
        order.truncate(most);
        Self::from_function(self.rows, order.len(), |row, column| {
            vectors.at(order[column], row) * values[order[column]].sqrt()
        })
    }

    /// Eigenvalues, and the eigenvectors as rows.
    fn eigenvectors(&self) -> (Vec<f64>, Self) {
        let size = self.rows;
        let mut matrix = self.clone();
        let mut vectors = Self::from_function(size, size, |row, column| f64::from(u8::from(row == column)));
        let total: f64 = self.entries.iter().map(|entry| entry * entry).sum();
        for _ in 0..MOST_SWEEPS {
            let outside: f64 = (0..size).flat_map(|row| matrix.row(row)[..row].iter()).map(|entry| entry * entry).sum();
            if outside <= 1e-26 * total {
                break;
            }
            for first in 0..size {
                for second in first + 1..size {
                    matrix.rotate(&mut vectors, first, second);
                }
            }
        }
        ((0..size).map(|place| matrix.at(place, place)).collect(), vectors)
    }

    /// Turns two axes so that the entry between them vanishes.
    fn rotate(&mut self, vectors: &mut Self, first: usize, second: usize) {
        let between = self.at(first, second);
        if between == 0.0 {
            return;
        }
        let ratio = (self.at(second, second) - self.at(first, first)) / (2.0 * between);
        let tangent = ratio.signum() / (ratio.abs() + ratio.hypot(1.0));
        let cosine = 1.0 / tangent.hypot(1.0);
        let sine = tangent * cosine;
        for place in 0..self.rows {
            let (one, two) = (self.at(place, first), self.at(place, second));
            *self.at_mut(place, first) = cosine * one - sine * two;
            *self.at_mut(place, second) = sine * one + cosine * two;
        }
        self.turn_rows(first, second, cosine, sine);
        vectors.turn_rows(first, second, cosine, sine);
    }

    fn turn_rows(&mut self, first: usize, second: usize, cosine: f64, sine: f64) {
        for column in 0..self.columns {
            let (one, two) = (self.at(first, column), self.at(second, column));
            *self.at_mut(first, column) = cosine * one - sine * two;
            *self.at_mut(second, column) = sine * one + cosine * two;
        }
    }
}

/// A lower triangle.
#[derive(Debug, Clone)]
pub(super) struct Triangle(Matrix);

impl Triangle {
    pub(super) fn matrix(&self) -> &Matrix {
        &self.0
    }

    /// Logarithm of the determinant of the triangle: half that of its product with its transpose.
    pub(super) fn log_determinant(&self) -> f64 {
        (0..self.0.rows).map(|place| self.0.at(place, place).ln()).sum()
    }

    /// The vector whose product with the triangle is `right`.
    pub(super) fn forward(&self, right: &[f64]) -> Vec<f64> {
        let mut solved = Vec::with_capacity(right.len());
        for (row, value) in right.iter().enumerate() {
            let earlier = dot(&self.0.row(row)[..row], &solved);
            solved.push((value - earlier) / self.0.at(row, row));
        }
        solved
    }

    /// The vector whose product with the transpose of the triangle is `right`.
    pub(super) fn backward(&self, mut right: Vec<f64>) -> Vec<f64> {
        for row in (0..right.len()).rev() {
            let value = right[row] / self.0.at(row, row);
            right[row] = value;
            add_multiple(&mut right[..row], -value, &self.0.row(row)[..row]);
        }
        right
    }

    /// Replaces each column of `right` by the vector whose product with the triangle it is.
    pub(super) fn forward_in_place(&self, right: &mut Matrix) {
        let columns = right.columns;
        for row in 0..self.0.rows {
            let (before, rest) = right.entries.split_at_mut(row * columns);
            let target = &mut rest[..columns];
            for (earlier, &factor) in self.0.row(row)[..row].iter().enumerate() {
                if factor != 0.0 {
                    add_multiple(target, -factor, &before[earlier * columns..(earlier + 1) * columns]);
                }
            }
            let diagonal = self.0.at(row, row);
            for entry in target {
                *entry /= diagonal;
            }
        }
    }
}

/// The sum of products. Four running sums, which the processor can keep side by side.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (left_parts, right_parts) = (left.chunks_exact(4), right[..left.len()].chunks_exact(4));
    let rest: f64 = left_parts.remainder().iter().zip(right_parts.remainder()).map(|(one, two)| one * two).sum();
    for (one, two) in left_parts.zip(right_parts) {
        for (sum, (one, two)) in sums.iter_mut().zip(one.iter().zip(two)) {
            *sum += one * two;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// Adds a multiple of one row to another.
pub(super) fn add_multiple(target: &mut [f64], factor: f64, source: &[f64]) {
    for (entry, value) in target.iter_mut().zip(source) {
        *entry += factor * value;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::{assert_close, length};

    fn example() -> Matrix {
        Matrix::from_function(5, 5, |row, column| {
            (-(length(row) - length(column)).abs() / 2.0).exp() + f64::from(u8::from(row == column))
        })
    }

    #[test]
    fn factors_solve() {
        let matrix = example();
        let factor = matrix.cholesky().unwrap();
        let right = [1.0, -2.0, 0.5, 4.0, 3.0];
        let solution = factor.backward(factor.forward(&right));
        for (actual, expected) in matrix.times_vector(&solution).iter().zip(right) {
            assert_close(*actual, expected, 1e-13);
        }
        let mut columns = matrix.clone();
        factor.forward_in_place(&mut columns);
        let mut square = Matrix::zeros(5, 5);
        square.add_square(&columns);
        square.mirror();
        for row in 0..5 {
            for column in 0..5 {
                assert_close(square.at(row, column), matrix.at(row, column), 1e-13);
            }
        }
        assert!(Matrix::from_function(2, 2, |_, _| 1.0).cholesky().is_none());
    }

    #[test]
    fn leading_roots_rebuild_the_matrix() {
        let matrix = example();
        let root = matrix.leading_root(5);
        let rebuilt = root.times(&root.transposed());
        for row in 0..5 {
            for column in 0..5 {
                assert_close(rebuilt.at(row, column), matrix.at(row, column), 1e-12);
            }
        }
        let flat = Matrix::from_function(3, 3, |_, _| 2.0);
        assert_eq!(flat.leading_root(3).columns(), 1);
        assert_eq!(Matrix::zeros(3, 3).leading_root(3).columns(), 0);
    }
}
