//! How strong a ridge penalty is, and its choice by cross-validation.
//!
//! Enters: a penalty, or the wish to have one chosen; held-out losses. Leaves: folds that depend on a seed and the rows'
//! numbers alone, and the penalty of the least loss.
//!
//! What is minimised is Σ weight · loss + ½ λ Σ coefficient², coefficients being those of standardised features: λ is
//! what a normal prior of variance 1 / λ (times the residual variance, where the outcome is a number) would be. The best
//! λ so depends on the size of the effects and little on the number of units, which allows it to be chosen on a part of
//! them. Hoerl and Kennard (1970), Technometrics 12(1); Hastie, Tibshirani and Friedman (2009), "The Elements of
//! Statistical Learning", sections 3.4.1 and 7.10.

use crate::counter::bits;
use crate::error::{StatsError, check_not_negative};
use crate::numeric::length;
use serde::{Deserialize, Serialize};

/// The penalties that cross-validation tries, the strongest first.
pub const PENALTY_PATH: [f64; 7] = [1e5, 1e4, 1e3, 100.0, 10.0, 1.0, 0.1];

/// Cross-validation uses this many units at most, drawn with its seed; the model itself is fitted on all.
pub const CROSS_VALIDATION_MOST_UNITS: usize = 200_000;

/// Streams of the generator: which units, and which fold.
const DRAWN_STREAM: u64 = 0x7269_6467_6501;
const FOLD_STREAM: u64 = 0x7269_6467_6502;

/// The strength λ of the ridge penalty ½ λ Σ coefficient², beside a sum (not a mean) of losses. A weight of two is
/// one unit twice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// This λ, zero or more.
    Fixed(f64),
    /// The λ of [`PENALTY_PATH`] with the least held-out loss.
    CrossValidated {
        /// Parts of the data, each held out once; two or more.
        folds: usize,
        /// The same seed gives the same folds.
        seed: u64,
    },
}

impl Default for Penalty {
    /// Five folds, seed one.
    fn default() -> Self {
        Self::CrossValidated { folds: 5, seed: 1 }
    }
}

impl Penalty {
    /// Refuses a λ below zero and fewer than two folds.
    pub(crate) fn check(self) -> Result<(), StatsError> {
        match self {
            Self::Fixed(penalty) => check_not_negative("the penalty", penalty),
            Self::CrossValidated { folds, .. } if folds < 2 => {
                Err(StatsError::NotFitted { reason: format!("{folds} folds to cross-validate with: give two or more") })
            }
            Self::CrossValidated { .. } => Ok(()),
        }
    }
}

/// A penalty that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PathPoint {
    /// λ.
    pub penalty: f64,
    /// Mean loss a unit, held out: log loss in nats, or the squared error.
    pub loss: f64,
    /// Its standard error over the folds.
    pub standard_error: f64,
}

/// How the penalty was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrossValidation {
    /// Parts of the data.
    pub folds: usize,
    /// Units that it was chosen on.
    pub units: usize,
    /// Each penalty, the strongest first.
    pub path: Vec<PathPoint>,
}

/// The rows that cross-validation uses, in rising order.
pub(crate) fn rows_to_validate_with(rows: usize, seed: u64) -> Vec<usize> {
    let mut drawn: Vec<usize> = (0..rows).collect();
    if rows > CROSS_VALIDATION_MOST_UNITS {
        let number = |row: &usize| (bits(seed, DRAWN_STREAM, *row as u64), *row);
        drawn.select_nth_unstable_by_key(CROSS_VALIDATION_MOST_UNITS, number);
        drawn.truncate(CROSS_VALIDATION_MOST_UNITS);
        drawn.sort_unstable();
    }
    drawn
}

/// The places of each fold in rising order. Units of one class (all of them, where the outcome is a number) are dealt
/// in random order, so that each fold has its share of each class.
pub(crate) fn folds(is_second_class: impl Fn(usize) -> bool, units: usize, folds: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..units).collect();
    order.sort_unstable_by_key(|&unit| (is_second_class(unit), bits(seed, FOLD_STREAM, unit as u64), unit));
    let mut parts = vec![Vec::with_capacity(units.div_ceil(folds)); folds];
    for (place, &unit) in order.iter().enumerate() {
        parts[place % folds].push(unit);
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    parts
}

/// The penalty of the least loss, and the path. `losses` holds for each penalty the mean loss of each fold with the
/// fold's weight; equal losses leave the stronger penalty.
pub(crate) fn least_loss(losses: &[Vec<(f64, f64)>], units: usize) -> (f64, CrossValidation) {
    let path: Vec<PathPoint> = PENALTY_PATH
        .iter()
        .zip(losses)
        .map(|(&penalty, of_folds)| {
            let weight: f64 = of_folds.iter().map(|(_, weight)| weight).sum();
            let loss = of_folds.iter().map(|(loss, weight)| loss * weight).sum::<f64>() / weight;
            let count = length(of_folds.len());
            let squares: f64 = of_folds.iter().map(|(own, _)| (own - loss) * (own - loss)).sum();
            PathPoint { penalty, loss, standard_error: (squares / (count - 1.0) / count).sqrt() }
        })
        .collect();
    let best = path.iter().copied().reduce(|best, point| if point.loss < best.loss { point } else { best });
    let folds = losses.first().map_or(0, Vec::len);
    (best.map_or(PENALTY_PATH[0], |point| point.penalty), CrossValidation { folds, units, path })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp, reason = "exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_held_out_once_and_every_fold_has_both_classes() {
        let is_second = |unit: usize| unit.is_multiple_of(10);
        let parts = folds(is_second, 103, 5, 7);
        let mut all: Vec<usize> = parts.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
        for part in &parts {
            assert!((20..=21).contains(&part.len()));
            assert!((2..=3).contains(&part.iter().filter(|&&unit| is_second(unit)).count()));
        }
        assert_eq!(parts, folds(is_second, 103, 5, 7));
        assert_ne!(parts, folds(is_second, 103, 5, 8));
    }

    #[test]
    fn a_part_is_enough_to_choose_on() {
        assert_eq!(rows_to_validate_with(3, 1), [0, 1, 2]);
        let drawn = rows_to_validate_with(CROSS_VALIDATION_MOST_UNITS + 1_000, 1);
        assert_eq!(drawn.len(), CROSS_VALIDATION_MOST_UNITS);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn the_least_loss_wins_and_a_tie_goes_to_the_stronger() {
        let losses: Vec<Vec<(f64, f64)>> =
            [3.0, 2.0, 1.0, 1.0, 4.0, 5.0, 6.0].iter().map(|&loss| vec![(loss, 1.0), (loss + 1.0, 3.0)]).collect();
        let (penalty, choice) = least_loss(&losses, 9);
        assert_eq!(penalty, 1e3);
        assert_eq!(choice.path[2].loss, 1.75);
        assert_eq!(choice.folds, 2);
    }

    #[test]
    fn impossible_penalties_are_refused() {
        assert!(Penalty::Fixed(-1.0).check().is_err());
        assert!(Penalty::Fixed(f64::NAN).check().is_err());
        assert!(Penalty::CrossValidated { folds: 1, seed: 1 }.check().is_err());
        assert!(Penalty::Fixed(0.0).check().is_ok() && Penalty::default().check().is_ok());
    }
}
