//! Learning effects where the truth is known.

use super::simulated::{CellMeans, LeastSquares, World};
use super::*;
use crate::numeric::{assert_close, length};
use std::cell::RefCell;

const METHODS: [UpliftMethod; 3] = [UpliftMethod::TLearner, UpliftMethod::XLearner, UpliftMethod::DoublyRobust];

fn mean_squared_error(predicted: &[f64], truth: &[f64]) -> f64 {
    let squares: f64 = predicted.iter().zip(truth).map(|(left, right)| (left - right) * (left - right)).sum();
    squares / length(truth.len())
}

#[test]
fn every_method_finds_a_linear_effect() {
    // Assignment depends on the second feature, which is also in the outcome: only weighting keeps them apart for models
    // that see everything linearly and a baseline that is not linear.
    let world =
        World::new(20_000, 3, |_, z| 0.2 + 0.5 * z, |x, z| (x - 0.5).powi(2) + 2.0 * z * z, |x, _| 1.0 - 2.0 * x);
    for method in METHODS {
        let fitted =
            fit_uplift(method, &LeastSquares, &LeastSquares, &world.features, world.units(), CrossFitting::default())
                .unwrap();
        let out_of_fold = mean_squared_error(&fitted.effects, &world.effect);
        let scored = mean_squared_error(&fitted.model.predict(&world.features), &world.effect);
        assert!(out_of_fold < 0.002 && scored < 0.002, "{method:?} {out_of_fold} {scored}");
        let mean = fitted.doubly_robust_scores.iter().sum::<f64>() / length(world.effect.len());
        let truth = world.effect.iter().sum::<f64>() / length(world.effect.len());
        assert_close(mean - truth, 0.0, 0.03);
    }
}

#[test]
fn no_unit_shapes_its_own_prediction() {
    let world = World::new(300, 5, |_, _| 0.5, |x, _| x, |x, _| x);
    for method in METHODS {
        let fit = |world: &World| {
            let cells = CellMeans { cells: Some(6) };
            fit_uplift(method, &cells, &cells, &world.features, world.units(), CrossFitting::default()).unwrap()
        };
        let before = fit(&world);
        // All outcomes of one fold change; its predictions and expectations do not, those of others do.
        let mut shifted = world.clone();
        for (outcome, fold) in shifted.outcome.iter_mut().zip(&before.folds) {
            *outcome += if *fold == 2 { 50.0 * *outcome } else { 0.0 };
        }
        let after = fit(&shifted);
        let same = |left: &[f64], right: &[f64], fold: u32| {
            left.iter()
                .zip(right)
                .zip(&before.folds)
                .all(|((left, right), own)| *own != fold || left.to_bits() == right.to_bits())
        };
        assert!(same(&before.effects, &after.effects, 2), "{method:?}");
        assert!(same(&before.expected.treated, &after.expected.treated, 2), "{method:?}");
        assert!(same(&before.expected.control, &after.expected.control, 2), "{method:?}");
        assert!(!same(&before.effects, &after.effects, 1), "{method:?}");
    }
}

#[test]
fn unbalanced_arms_mislead_the_t_learner_and_not_the_doubly_robust_one() {
    // One unit in twenty is treated, and the effect is the same for all: the models of the arms smooth a wavy baseline
    // differently, and the T-learner takes the difference for an effect.
    let (mut t_learner, mut doubly_robust) = (0.0, 0.0);
    for seed in 0..8 {
        let world = World::new(4_000, seed, |_, _| 0.05, |x, _| (12.0 * x).sin(), |_, _| 0.5);
        let outcome = CellMeans { cells: None };
        let fit = |method| {
            let fitted =
                fit_uplift(method, &outcome, &LeastSquares, &world.features, world.units(), CrossFitting::default());
            mean_squared_error(&fitted.unwrap().effects, &world.effect)
        };
        t_learner += fit(UpliftMethod::TLearner) / 8.0;
        doubly_robust += fit(UpliftMethod::DoublyRobust) / 8.0;
    }
    assert!(doubly_robust < 0.25 * t_learner, "{doubly_robust} {t_learner}");
}

#[test]
fn progress_counts_to_its_end() {
    let world = World::new(200, 1, |_, _| 0.5, |x, _| x, |x, _| x);
    for (method, fits) in METHODS.into_iter().zip([10, 20, 25]) {
        let told = RefCell::new(Vec::new());
        let progress = |done, of| told.borrow_mut().push((done, of));
        let cross_fitting = CrossFitting { folds: 4, seed: 1, progress: Some(&progress) };
        fit_uplift(method, &LeastSquares, &LeastSquares, &world.features, world.units(), cross_fitting).unwrap();
        assert_eq!(told.take(), (1..=fits).map(|done| (done, fits)).collect::<Vec<_>>());
    }
}

#[test]
fn folds_that_cannot_be_are_refused() {
    let world = World::new(40, 1, |_, _| 0.1, |x, _| x, |x, _| x);
    let treated = world.units().number_treated();
    for (method, least) in METHODS.into_iter().zip([2, 2, 3]) {
        for folds in [0, 1, least - 1, u32::try_from(treated).unwrap() + 1, u32::MAX] {
            let cross_fitting = CrossFitting { folds, ..CrossFitting::default() };
            let cells = CellMeans { cells: Some(1) };
            let error = fit_uplift(method, &cells, &cells, &world.features, world.units(), cross_fitting).unwrap_err();
            assert_eq!(error, StatsError::InvalidFolds { folds, least, most: treated });
        }
    }
    let other = World::new(41, 1, |_, _| 0.5, |x, _| x, |x, _| x);
    assert!(fit_t_learner(&LeastSquares, &other.features, world.units(), CrossFitting::default()).is_err());
}

/// A learner whose models predict nothing.
struct Broken;

impl Learner for Broken {
    type Model = simulated::Line;

    fn fit(&self, _: &FeatureMatrix, _: &[f64], _: Option<&[f64]>) -> Result<Self::Model, StatsError> {
        Ok(simulated::Line(vec![f64::NAN]))
    }
}

#[test]
fn predictions_that_are_no_numbers_never_leave() {
    let world = World::new(200, 1, |_, _| 0.5, |x, _| x, |x, _| x);
    for method in METHODS {
        let fitted = fit_uplift(method, &Broken, &Broken, &world.features, world.units(), CrossFitting::default());
        assert!(matches!(fitted, Err(StatsError::NotFinite { .. })));
    }
}
