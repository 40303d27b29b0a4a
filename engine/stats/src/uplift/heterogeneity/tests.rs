//! Regressions where the truth is known.

use super::super::simulated::{LeastSquares, World};
use super::super::{CrossFitting, fit_doubly_robust};
use super::*;
use crate::counter::{bits, unit};
use crate::numeric::assert_close;

#[test]
fn intervals_cover() {
    // The effect is x, predicted as 2x: the loading is one half, the average 1/2, fifths 0.1 to 0.9.
    let mut covered = [0; 5];
    for run in 0..200 {
        let world = World::new(600, 2_000 + run, |_, z| 0.2 + 0.4 * z, |x, z| x + z * z, |x, _| x);
        let predicted: Vec<f64> = world.effect.iter().map(|effect| 2.0 * effect).collect();
        let expected = world.features.column(1);
        let best = best_linear_predictor(world.units(), Some(expected), &predicted, 0.05).unwrap();
        let groups = group_effects(world.units(), Some(expected), &predicted, GROUPS, 0.05).unwrap();
        assert_eq!(groups.groups.iter().map(|group| group.units).collect::<Vec<_>>(), [120; 5]);
        covered[0] += u32::from(best.average_effect.value.contains(0.5));
        covered[1] += u32::from(best.heterogeneity.value.contains(0.5));
        covered[2] += u32::from(groups.groups[0].effect.value.contains(0.1));
        covered[3] += u32::from(groups.difference.value.contains(0.8));
        let nothing: Vec<f64> = (0..600).map(|place| unit(bits(run, 500, place))).collect();
        let best = best_linear_predictor(world.units(), None, &nothing, 0.05).unwrap();
        covered[4] += u32::from(best.heterogeneity.value.contains_zero());
    }
    // 95 % of 200 is 190, give or take 3.
    assert!(covered.iter().all(|covered| *covered >= 180), "{covered:?}");
}

#[test]
fn cross_fitted_predictions_are_near_right() {
    let world = World::new(6_000, 4, |_, _| 0.5, |x, _| x, |x, _| 2.0 * x);
    let fitted =
        fit_doubly_robust(&LeastSquares, &LeastSquares, &world.features, world.units(), CrossFitting::default())
            .unwrap();
    let best = best_linear_predictor(world.units(), Some(&fitted.expected.control), &fitted.effects, 0.05).unwrap();
    assert!(best.heterogeneity.value.contains(1.0), "{best:?}");
    assert!(best.heterogeneity.p_value.unwrap() < 1e-6);
    let groups = group_effects(world.units(), None, &fitted.effects, 4, 0.05).unwrap();
    for group in &groups.groups {
        assert_close(group.effect.value.estimate.unwrap(), group.predicted, 0.25);
    }
}

#[test]
fn what_predictions_cannot_say_is_said() {
    let world = World::new(200, 4, |_, _| 0.5, |x, _| x, |x, _| x);
    let best = best_linear_predictor(world.units(), Some(&[0.3; 200]), &[0.1; 200], 0.05).unwrap();
    assert!(best.average_effect.value.estimate.is_some());
    assert_eq!(best.heterogeneity.value.note.as_deref(), Some(ALL_THE_SAME));
    let groups = group_effects(world.units(), None, &[0.1; 200], GROUPS, 0.05).unwrap();
    assert_eq!((groups.groups.len(), groups.groups[0].units), (1, 200));
    assert_eq!(groups.difference.value.note.as_deref(), Some(ONE_GROUP));
    // Ties fill a group beyond its share: 70 % of zeros are two thirds and more of five groups.
    let tied: Vec<f64> = (0..200_u32).map(|place| f64::from(place.saturating_sub(139))).collect();
    let groups = group_effects(world.units(), None, &tied, GROUPS, 0.05).unwrap();
    assert_eq!(groups.groups.iter().map(|group| group.units).collect::<Vec<_>>(), [140, 20, 40]);

    let outcome = [1.0, 0.0, 2.0, 1.0, 0.5, 0.2, 0.9, 1.2];
    let treated = [true, false, true, false, true, false, true, true];
    let units = RandomisedUnits::new(&outcome, &treated, &[0.5; 8]).unwrap();
    let split = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0];
    let groups = group_effects(units, None, &split, 2, 0.05).unwrap();
    assert_eq!(groups.groups.last().unwrap().effect.value.note.as_deref(), Some(ONE_ARM));
    assert_eq!(groups.difference.value.estimate, None);
    let few = RandomisedUnits::new(&outcome[..2], &treated[..2], &[0.5; 2]).unwrap();
    assert!(best_linear_predictor(few, None, &[1.0, 2.0], 0.05).unwrap().average_effect.value.note.is_some());
}

#[test]
fn impossible_input_is_refused() {
    let world = World::new(50, 4, |_, _| 0.5, |x, _| x, |x, _| x);
    let (units, predicted) = (world.units(), world.effect.as_slice());
    assert!(best_linear_predictor(units, None, predicted, 1.0).is_err());
    assert!(best_linear_predictor(units, None, &predicted[1..], 0.05).is_err());
    assert!(best_linear_predictor(units, Some(&[f64::NAN; 50]), predicted, 0.05).is_err());
    assert!(group_effects(units, None, predicted, 1, 0.05).is_err());
    assert!(combine_splits(&[], 0.05).is_err());
    assert!(combine_splits(&[SplitEstimate { estimate: 1.0, standard_error: -1.0 }], 0.05).is_err());
}

#[test]
fn splits_are_put_together_by_their_medians() {
    let split = |estimate, standard_error| SplitEstimate { estimate, standard_error };
    let odd = combine_splits(&[split(3.0, 1.0), split(1.0, 1.0), split(2.0, 1.0)], 0.1).unwrap();
    assert_close(odd.value.estimate.unwrap(), 2.0, 1e-15);
    // Each split at 5 %: 2 − 1.96; p of z = 2 doubled.
    assert_close(odd.value.low.unwrap(), 2.0 - 1.959_963_984_540_054, 1e-12);
    assert_close(odd.p_value.unwrap(), 2.0 * 0.045_500_263_896_358_42, 1e-12);
    let even = combine_splits(&[split(0.0, 0.1), split(10.0, 0.1)], 0.1).unwrap();
    assert_close(even.value.estimate.unwrap(), 5.0, 1e-15);
    assert!(even.value.low.unwrap() < 0.0 && even.value.high.unwrap() > 10.0);
    assert_eq!(combine_splits(&[split(0.0, 0.0)], 0.1).unwrap().p_value, None);
}
