//! Cholesky factors that grow column by column and leave out what adds nothing.
//!
//! Enters: a covariate's sums of products with those kept so far. Leaves: whether it adds anything to them, and the
//! solution of the normal equations.

/// A covariate whose variance given the others is a smaller share than this of its own is a combination of them.
const LEAST_LEFT_OVER: f64 = 1e-9;

/// A lower triangle whose product with its transpose is the matrix of sums of products of the kept covariates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Factor {
    /// Each row ends with its diagonal.
    rows: Vec<Vec<f64>>,
}

impl Factor {
    /// The row of another covariate: `products` with those kept so far, `square` its own. None where it is constant or
    /// a combination of them.
    pub(crate) fn row(&self, products: &[f64], square: f64) -> Option<Vec<f64>> {
        let mut row = self.forward(products);
        let explained: f64 = row.iter().map(|entry| entry * entry).sum();
        let left_over = square - explained;
        if square > 0.0 && left_over > LEAST_LEFT_OVER * square {
            row.push(left_over.sqrt());
            Some(row)
        } else {
            None
        }
    }

    pub(crate) fn push(&mut self, row: Vec<f64>) {
        self.rows.push(row);
    }

    /// The vector whose product with the matrix is `right`.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut solution = self.forward(right);
        for place in (0..self.rows.len()).rev() {
            let later: f64 =
                self.rows.iter().zip(&solution).skip(place + 1).map(|(row, value)| row[place] * value).sum();
            solution[place] = (solution[place] - later) / self.rows[place][place];
        }
        solution
    }

    /// The vector whose product with the triangle is `right`.
    pub(crate) fn forward(&self, right: &[f64]) -> Vec<f64> {
        let mut solved: Vec<f64> = Vec::with_capacity(self.rows.len() + 1);
        for (row, value) in self.rows.iter().zip(right) {
            let earlier = dot(row, &solved);
            let diagonal = row.last().copied().unwrap_or(1.0);
            solved.push((value - earlier) / diagonal);
        }
        solved
    }
}

/// The sum of products of two vectors, as far as the shorter goes.
pub(crate) fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn solves_and_leaves_out() {
        // 4 2 | 2 3 times 1, 2 is 8, 8.
        let mut factor = Factor::default();
        let first = factor.row(&[], 4.0).unwrap();
        factor.push(first);
        let second = factor.row(&[2.0], 3.0).unwrap();
        factor.push(second);
        let solution = factor.solve(&[8.0, 8.0]);
        assert_close(solution[0], 1.0, 1e-14);
        assert_close(solution[1], 2.0, 1e-14);
        // The sum of both: squares 4 + 2·2 + 3 = 11, products 6 and 5.
        assert!(factor.row(&[6.0, 5.0], 11.0).is_none());
        assert!(factor.row(&[0.0, 0.0], 0.0).is_none());
    }
}
