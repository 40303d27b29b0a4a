//! Solves the normal equations of a few dozen coefficients.
//!
//! Enters: the lower triangle of a symmetric matrix, and a right side. Leaves: the solution, or none where a pivot says
//! that the matrix cannot be told from a singular one.

/// The vector whose product with the `size` × `size` matrix is `right`. Row `i` of the matrix starts at `i * stride`,
/// and only its lower triangle is read. None where what is left over of a diagonal entry is not above `least_pivot`.
pub(crate) fn solve(matrix: &[f64], stride: usize, right: &[f64], least_pivot: f64) -> Option<Vec<f64>> {
    let size = right.len();
    let mut factor = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            let (before, own) = factor.split_at(row * size);
            let known = if column == row { own } else { &before[column * size..] };
            let explained: f64 = own[..column].iter().zip(known).map(|(left, right)| left * right).sum();
            let left_over = matrix[row * stride + column] - explained;
            factor[row * size + column] = if column < row {
                left_over / factor[column * size + column]
            } else if left_over > least_pivot && left_over.is_finite() {
                left_over.sqrt()
            } else {
                return None;
            };
        }
    }
    let mut solution = right.to_vec();
    for row in 0..size {
        let earlier: f64 = (0..row).map(|column| factor[row * size + column] * solution[column]).sum();
        solution[row] = (solution[row] - earlier) / factor[row * size + row];
    }
    for row in (0..size).rev() {
        let later: f64 = (row + 1..size).map(|below| factor[below * size + row] * solution[below]).sum();
        solution[row] = (solution[row] - later) / factor[row * size + row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn solves_what_can_be_solved() {
        // The upper triangle and the last column of each row are not read.
        let matrix = [4.0, 9.0, 9.0, 9.0, 2.0, 3.0, 9.0, 9.0, 0.0, 1.0, 5.0, 9.0];
        let solution = solve(&matrix, 4, &[8.0, 11.0, 17.0], 0.0).unwrap();
        for (value, expected) in solution.iter().zip([1.0, 2.0, 3.0]) {
            assert_close(*value, expected, 1e-14);
        }
        assert_eq!(solve(&[1.0, 0.0, 1.0, 1.0], 2, &[1.0, 1.0], 1e-12), None);
        assert_eq!(solve(&[f64::NAN], 1, &[1.0], 0.0), None);
        assert_eq!(solve(&[], 0, &[], 0.0), Some(vec![]));
    }
}
