//! Folds, and models fitted to all units but those of some of them.
//!
//! Enters: units, how many folds, a seed. Leaves: the fold of each unit, and for every learner the same way to fit an
//! arm's outcome without given folds and to put predictions where they belong.

use super::units::{ExpectedOutcomes, RandomisedUnits, check_lengths};
use crate::counter::bits;
use crate::error::{StatsError, check_finite};
use crate::learner::{FeatureMatrix, Learner, Predictor};
use std::cell::Cell;
use std::fmt;

/// Called after each fit with the fits done and those there are.
pub type Progress<'a> = &'a dyn Fn(usize, usize);

/// How to cross-fit.
#[derive(Clone, Copy)]
pub struct CrossFitting<'a> {
    /// Number of folds: at least 2, for the doubly robust learner 3, at most the units of the smaller arm.
    pub folds: u32,
    /// The same seed gives the same folds.
    pub seed: u64,
    /// Told of every fit; none to keep quiet.
    pub progress: Option<Progress<'a>>,
}

impl Default for CrossFitting<'_> {
    /// Five folds, seed one.
    fn default() -> Self {
        Self { folds: 5, seed: 1, progress: None }
    }
}

impl fmt::Debug for CrossFitting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CrossFitting").field("folds", &self.folds).field("seed", &self.seed).finish()
    }
}

/// A model, and what models like it said of units that they had not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossFitted<M> {
    /// Fitted to all units: for scoring others, never for judging it on these.
    pub model: M,
    /// For each unit the effect, in units of the outcome, predicted by a model fitted without the unit's fold: what an
    /// evaluation must use.
    pub effects: Vec<f64>,
    /// For each unit the outcome expected in either arm by models fitted without the unit's fold.
    pub expected: ExpectedOutcomes,
    /// The doubly robust score of each unit from those expectations
    /// ([`RandomisedUnits::doubly_robust_scores`]): neither it nor the unit's effect above has seen the unit's fold,
    /// its own outcome in its own score aside.
    pub doubly_robust_scores: Vec<f64>,
    /// The fold of each unit, from 0.
    pub folds: Vec<u32>,
}

impl<M> CrossFitted<M> {
    /// The same with another model in place of the model.
    pub fn map_model<N>(self, into: impl FnOnce(M) -> N) -> CrossFitted<N> {
        CrossFitted {
            model: into(self.model),
            effects: self.effects,
            expected: self.expected,
            doubly_robust_scores: self.doubly_robust_scores,
            folds: self.folds,
        }
    }
}

/// A cross-fit under way: the units, their folds, and how far it has come.
pub(super) struct Fitting<'a> {
    pub(super) features: &'a FeatureMatrix,
    pub(super) units: RandomisedUnits<'a>,
    /// The fold of each unit.
    pub(super) fold: Vec<u32>,
    pub(super) folds: u32,
    weighted: bool,
    progress: Option<Progress<'a>>,
    done: Cell<usize>,
    fits: usize,
}

impl<'a> Fitting<'a> {
    /// `fits` is the number of models that will be fitted, `least` the fewest folds that the method can use.
    pub(super) fn new(
        features: &'a FeatureMatrix,
        units: RandomisedUnits<'a>,
        cross_fitting: CrossFitting<'a>,
        least: u32,
        fits: usize,
    ) -> Result<Self, StatsError> {
        check_lengths("the outcome", units.len(), "the feature matrix", features.rows())?;
        let treated = units.number_treated();
        let most = treated.min(units.len() - treated);
        let folds = cross_fitting.folds;
        if folds < least || folds as usize > most {
            return Err(StatsError::InvalidFolds { folds, least, most });
        }
        Ok(Self {
            features,
            units,
            fold: assign_folds(units.treated(), folds, cross_fitting.seed),
            folds,
            weighted: !units.evenly_randomised(),
            progress: cross_fitting.progress,
            done: Cell::new(0),
            fits,
        })
    }

    /// Units that `wanted` says yes to.
    pub(super) fn rows(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.units.len()).filter(|&unit| wanted(unit)).collect()
    }

    /// Units of a fold.
    pub(super) fn rows_of(&self, fold: u32) -> Vec<usize> {
        self.rows(|unit| self.fold[unit] == fold)
    }

    /// Fits `target`, one value a row, at these rows; weighed by assignment where `by_assignment` and it differs.
    pub(super) fn fit<L: Learner>(
        &self,
        learner: &L,
        rows: &[usize],
        target: &[f64],
        by_assignment: bool,
    ) -> Result<L::Model, StatsError> {
        let weights: Option<Vec<f64>> =
            (by_assignment && self.weighted).then(|| rows.iter().map(|&unit| self.units.weight(unit)).collect());
        let model = learner.fit(&self.features.select(rows), target, weights.as_deref())?;
        self.done.set(self.done.get() + 1);
        if let Some(progress) = self.progress {
            progress(self.done.get(), self.fits);
        }
        Ok(model)
    }

    /// Fits the outcome of one arm at the units that `kept` says yes to.
    pub(super) fn fit_arm<L: Learner>(
        &self,
        learner: &L,
        treated: bool,
        kept: impl Fn(usize) -> bool,
    ) -> Result<L::Model, StatsError> {
        let rows = self.rows(|unit| self.units.treated()[unit] == treated && kept(unit));
        let outcome: Vec<f64> = rows.iter().map(|&unit| self.units.outcome()[unit]).collect();
        self.fit(learner, &rows, &outcome, true)
    }

    /// Predictions at `rows`, refused where one is no number.
    pub(super) fn predict(&self, model: &impl Predictor, rows: &[usize]) -> Result<Vec<f64>, StatsError> {
        let predictions = model.predict(&self.features.select(rows));
        check_lengths("the feature matrix", rows.len(), "the prediction", predictions.len())?;
        for &prediction in &predictions {
            check_finite("a prediction", prediction)?;
        }
        Ok(predictions)
    }

    /// Nothing known yet of any unit.
    pub(super) fn blank(&self) -> Vec<f64> {
        vec![0.0; self.units.len()]
    }

    /// What the cross-fit leaves.
    pub(super) fn finish<M>(
        self,
        model: M,
        effects: Vec<f64>,
        expected: ExpectedOutcomes,
    ) -> Result<CrossFitted<M>, StatsError> {
        let doubly_robust_scores = self.units.doubly_robust_scores(&expected)?;
        Ok(CrossFitted { model, effects, expected, doubly_robust_scores, folds: self.fold })
    }
}

/// Puts each value at its row.
pub(super) fn place(into: &mut [f64], rows: &[usize], values: &[f64]) {
    for (&row, &value) in rows.iter().zip(values) {
        into[row] = value;
    }
}

/// Folds of equal size, give or take one, in each arm; which unit goes where depends on the seed and its place alone.
fn assign_folds(treated: &[bool], folds: u32, seed: u64) -> Vec<u32> {
    let mut fold = vec![0; treated.len()];
    for arm in [true, false] {
        let mut order: Vec<(u64, usize)> = (0_u64..)
            .zip(treated)
            .enumerate()
            .filter(|(_, (_, treated))| **treated == arm)
            .map(|(unit, (counter, _))| (bits(seed, u64::from(arm), counter), unit))
            .collect();
        order.sort_unstable();
        // The arms deal from opposite ends, so that no fold has the larger share of both.
        for ((_, unit), dealt) in order.into_iter().zip((0..folds).cycle()) {
            fold[unit] = if arm { dealt } else { folds - 1 - dealt };
        }
    }
    fold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_even_in_each_arm_and_stay() {
        let treated: Vec<bool> = (0..103).map(|unit| unit % 3 == 0).collect();
        let fold = assign_folds(&treated, 5, 9);
        for arm in [true, false] {
            for wanted in 0..5 {
                let size = fold.iter().zip(&treated).filter(|(fold, own)| **fold == wanted && **own == arm).count();
                let units = treated.iter().filter(|own| **own == arm).count();
                assert!(size == units / 5 || size == units / 5 + 1, "{arm} {wanted} {size}");
            }
        }
        assert_eq!(fold, assign_folds(&treated, 5, 9));
        assert_ne!(fold, assign_folds(&treated, 5, 10));
    }
}
