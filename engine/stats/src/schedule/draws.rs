//! Draws from the posterior of what every slot is worth.
//!
//! Enters: draws made elsewhere, or a mean vector and a covariance matrix. Leaves: the chance of each slot to be the
//! best of those that are legal.

use crate::adjust::factor::Factor;
use crate::counter::{bits, unit};
use crate::distribution::normal;
use crate::error::{StatsError, check_finite, check_not_negative};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// Draws of the values of all slots of one segment, each draw a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PosteriorDraws {
    slots: usize,
    rows: Vec<f64>,
}

impl PosteriorDraws {
    /// Draws made elsewhere: `rows` one draw after the other, each of as many values as slots, in any unit; more is
    /// better.
    ///
    /// # Errors
    ///
    /// [`StatsError::LengthsDiffer`] without a draw or a slot, or where the values are no whole number of draws;
    /// [`StatsError::NotFinite`] for a value that is NaN or infinite.
    pub fn from_rows(slots: usize, rows: Vec<f64>) -> Result<Self, StatsError> {
        if slots == 0 || rows.is_empty() || !rows.len().is_multiple_of(slots) {
            return Err(StatsError::LengthsDiffer { counts: slots, weights: rows.len() });
        }
        for &value in &rows {
            check_finite("a posterior draw", value)?;
        }
        Ok(Self { slots, rows })
    }

    /// `draws` draws from a normal posterior with these means and this covariance matrix, row by row; 4,000 fix a
    /// chance to 0.8 points. A slot without variance of its own, given the others before it, follows them.
    ///
    /// # Errors
    ///
    /// [`StatsError::LengthsDiffer`] where the matrix has not a row and a column a slot, or without a slot or a draw;
    /// [`StatsError::NotFinite`] or [`StatsError::Negative`] for a mean or a covariance that is not finite, or a
    /// variance below zero.
    pub fn of_normal(means: &[f64], covariances: &[f64], draws: u32, seed: u64) -> Result<Self, StatsError> {
        let slots = means.len();
        if covariances.len() != slots * slots || slots == 0 || draws == 0 {
            return Err(StatsError::LengthsDiffer { counts: slots * slots, weights: covariances.len() });
        }
        for &mean in means {
            check_finite("a posterior mean", mean)?;
        }
        for &covariance in covariances {
            check_finite("a posterior covariance", covariance)?;
        }
        for slot in 0..slots {
            check_not_negative("a posterior variance", covariances[slot * slots + slot])?;
        }
        let triangle = Triangle::of(covariances, slots);
        let mut rows = Vec::with_capacity(slots.saturating_mul(draws as usize));
        for draw in 0..u64::from(draws) {
            let noise: Vec<f64> = (0..slots as u64).map(|slot| standard_normal(bits(seed, draw, slot))).collect();
            rows.extend(means.iter().enumerate().map(|(slot, mean)| mean + triangle.noise(slot, &noise)));
        }
        Self::from_rows(slots, rows)
    }

    /// How many slots a draw has.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The share of draws in which each slot is the best of the legal ones, equals sharing; zero for the others.
    #[must_use]
    pub fn chance_best(&self, legal: &[bool]) -> Vec<f64> {
        let mut wins = vec![0.0; self.slots];
        let mut best: Vec<usize> = Vec::with_capacity(self.slots);
        for row in self.rows.chunks(self.slots) {
            best.clear();
            for (slot, value) in row.iter().enumerate().filter(|(slot, _)| legal.get(*slot).copied().unwrap_or(false)) {
                match best.first().map(|&leader| value.total_cmp(&row[leader])) {
                    None | Some(std::cmp::Ordering::Equal) => best.push(slot),
                    Some(std::cmp::Ordering::Greater) => {
                        best.clear();
                        best.push(slot);
                    }
                    Some(std::cmp::Ordering::Less) => {}
                }
            }
            for &slot in &best {
                wins[slot] += 1.0 / length(best.len());
            }
        }
        let draws = length(self.rows.len() / self.slots);
        wins.iter().map(|wins| wins / draws).collect()
    }
}

/// A lower triangle whose product with its transpose is the covariance, with no column for a slot that follows others.
struct Triangle {
    /// Each slot's weights on the kept columns.
    rows: Vec<Vec<f64>>,
    kept: Vec<usize>,
}

impl Triangle {
    fn of(covariances: &[f64], slots: usize) -> Self {
        let mut factor = Factor::default();
        let mut kept: Vec<usize> = Vec::with_capacity(slots);
        let mut rows = Vec::with_capacity(slots);
        for slot in 0..slots {
            let with_kept: Vec<f64> = kept.iter().map(|&other| covariances[slot * slots + other]).collect();
            let square = covariances[slot * slots + slot];
            if let Some(row) = factor.row(&with_kept, square) {
                rows.push(row.clone());
                factor.push(row);
                kept.push(slot);
            } else {
                rows.push(factor.forward(&with_kept));
            }
        }
        Self { rows, kept }
    }

    fn noise(&self, slot: usize, noise: &[f64]) -> f64 {
        self.rows[slot].iter().zip(&self.kept).map(|(weight, &column)| weight * noise[column]).sum()
    }
}

/// A standard normal number by inversion, kept off the ends.
fn standard_normal(bits: u64) -> f64 {
    normal::quantile(unit(bits).max(1e-17))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]
mod tests {
    use super::*;
    use crate::numeric::assert_close;

    #[test]
    fn draws_have_the_covariance_asked_for() {
        let covariance = [4.0, 1.0, 2.0, 1.0, 1.0, 0.5, 2.0, 0.5, 1.0];
        let draws = PosteriorDraws::of_normal(&[1.0, -2.0, 3.0], &covariance, 40_000, 9).unwrap();
        let moments = crate::CrossMoments::from_rows(draws.rows.chunks(3)).unwrap();
        for (place, expected) in covariance.iter().enumerate() {
            let seen = moments.products[place] / 39_999.0;
            assert!((seen - expected).abs() < 0.06, "{place}: {seen}");
        }
        assert_close(moments.means[2], 3.0, 0.01);
        // The third is half of the first, and follows it.
        let first = &draws.rows[..3];
        assert_close(first[2] - 3.0, (first[0] - 1.0) / 2.0, 1e-9);
    }

    #[test]
    fn the_best_of_two_is_known() {
        // P(Z > −1 / √2) = 0.7602.
        let draws = PosteriorDraws::of_normal(&[0.0, 1.0], &[1.0, 0.0, 0.0, 1.0], 40_000, 3).unwrap();
        let chance = draws.chance_best(&[true, true]);
        assert!((chance[1] - 0.760_25).abs() < 0.008, "{chance:?}");
        assert_close(chance[0] + chance[1], 1.0, 1e-9);
        assert_eq!(draws.chance_best(&[true, false]), [1.0, 0.0]);
        assert_eq!(draws.chance_best(&[false, false]), [0.0, 0.0]);
    }

    #[test]
    fn equals_share() {
        let draws = PosteriorDraws::from_rows(3, vec![1.0, 1.0, 0.0, 2.0, 5.0, 5.0]).unwrap();
        assert_eq!(draws.chance_best(&[true, true, true]), [0.25, 0.5, 0.25]);
        let sure = PosteriorDraws::of_normal(&[1.0, 1.0], &[0.0; 4], 10, 1).unwrap();
        assert_eq!(sure.chance_best(&[true, true]), [0.5, 0.5]);
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(PosteriorDraws::from_rows(2, vec![1.0; 3]).is_err());
        assert!(PosteriorDraws::from_rows(0, vec![]).is_err());
        assert!(PosteriorDraws::from_rows(1, vec![f64::NAN]).is_err());
        assert!(PosteriorDraws::of_normal(&[1.0], &[-1.0], 10, 1).is_err());
        assert!(PosteriorDraws::of_normal(&[1.0], &[1.0, 2.0], 10, 1).is_err());
        assert!(PosteriorDraws::of_normal(&[1.0], &[1.0], 0, 1).is_err());
        assert!(PosteriorDraws::of_normal(&[], &[], 5, 1).is_err());
    }
}
