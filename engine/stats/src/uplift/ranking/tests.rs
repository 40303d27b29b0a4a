//! Curves by hand, and intervals where the truth is known.

use super::super::simulated::World;
use super::*;
use crate::counter::{bits, unit};
use crate::numeric::assert_close;

fn quick(seed: u64) -> RankingOptions {
    RankingOptions { seed, ..RankingOptions::default() }
}

#[test]
fn a_curve_by_hand() {
    // In order: treated 1, control 0, treated 0, control 1. Q counts 1, 1, 1, 0, at the end 1 − 1 · 2/2.
    let units = RandomisedUnits::new(&[1.0, 0.0, 0.0, 1.0], &[true, false, true, false], &[0.5; 4]).unwrap();
    let quality = evaluate_ranking(units, &[9.0, 8.0, 7.0, 6.0], quick(1)).unwrap();
    assert_close(quality.qini.value.estimate.unwrap(), (0.5 + 1.0 + 1.0 + 0.5) / 4.0 / 2.0, 1e-14);
    // It is the perfect order.
    assert_close(quality.normalised_qini.value.estimate.unwrap(), 1.0, 1e-14);
    // Uplift times units: 1, 2, (1/2 − 0) 3, 0.
    assert_close(quality.area_under_uplift_curve.value.estimate.unwrap(), (0.5 + 1.5 + 1.75 + 0.75) / 16.0, 1e-14);
    assert_eq!(quality.curve.len(), 100);
    assert_close(quality.curve[49].incremental.estimate.unwrap(), 0.5, 1e-14);
    assert_close(quality.curve[99].uplift.estimate.unwrap(), 0.0, 1e-14);
    assert_eq!(quality.curve[10].uplift.estimate, None);
    assert!(quality.curve[10].uplift.note.is_some());
}

#[test]
fn equal_scores_are_a_straight_line() {
    let world = World::new(500, 1, |_, _| 0.3, |x, _| x, |x, _| x);
    let quality = evaluate_ranking(world.units(), &[2.0; 500], quick(1)).unwrap();
    assert_close(quality.qini.value.estimate.unwrap(), 0.0, 1e-12);
    assert_close(quality.qini.standard_error.unwrap(), 0.0, 1e-12);
    let effect = quality.average_effect.value.estimate.unwrap();
    assert_close(quality.area_under_uplift_curve.value.estimate.unwrap(), effect / 2.0, 1e-12);
    for point in &quality.curve {
        assert_close(point.incremental.estimate.unwrap(), point.at_random, 1e-12);
        assert_close(point.uplift.estimate.unwrap(), effect, 1e-12);
    }
    // Zero and minus zero are one score, and the order of the units does not matter.
    let score: Vec<f64> = (0..500).map(|place| if place % 2 == 0 { 0.0 } else { -0.0 }).collect();
    let signed = evaluate_ranking(world.units(), &score, quick(1)).unwrap();
    assert_close(signed.qini.value.estimate.unwrap(), 0.0, 1e-12);
}

#[test]
fn intervals_cover_the_true_coefficient() {
    // Effect x ranked by x, uniform: treating the top φ brings φ − φ²/2, the diagonal φ/2, between them 1/12; the area
    // under the curve itself is 1/2 − 1/6. A score that knows nothing has none.
    let mut covered = [0; 4];
    let mut mean_of_null = 0.0;
    for run in 0..200 {
        let world = World::new(600, 1_000 + run, |_, z| 0.2 + 0.4 * z, |x, z| x + z, |x, _| x);
        let score = world.features.column(0);
        let quality = evaluate_ranking(world.units(), score, quick(run)).unwrap();
        covered[0] += u32::from(quality.qini.value.contains(1.0 / 12.0));
        covered[1] += u32::from(quality.area_under_uplift_curve.value.contains(1.0 / 3.0));
        covered[2] += u32::from(quality.curve[49].incremental.contains(0.375));
        let nothing: Vec<f64> = (0..600).map(|place| unit(bits(run, 300, place))).collect();
        let quality = evaluate_ranking(world.units(), &nothing, quick(run)).unwrap();
        covered[3] += u32::from(quality.qini.value.contains_zero());
        mean_of_null += quality.qini.value.estimate.unwrap() / 200.0;
    }
    // 95 % of 200 is 190, give or take 3.
    assert!(covered.iter().all(|covered| *covered >= 180), "{covered:?}");
    assert_close(mean_of_null, 0.0, 0.004);
}

#[test]
fn without_any_effect_there_is_no_ranking() {
    let mut covered = 0;
    for run in 0..200 {
        let world = World::new(600, 5_000 + run, |_, _| 0.3, |x, _| 2.0 * x, |_, _| 0.0);
        let quality = evaluate_ranking(world.units(), world.features.column(0), quick(run)).unwrap();
        covered += u32::from(quality.qini.value.contains_zero());
    }
    assert!((180..=199).contains(&covered), "{covered}");
}

#[test]
fn two_rankings_are_compared_on_the_same_draws() {
    let world = World::new(3_000, 8, |_, _| 0.5, |x, z| x + z, |x, _| x);
    let score = world.features.column(0);
    let noisy: Vec<f64> = score.iter().zip(0..).map(|(own, place)| own + unit(bits(8, 400, place))).collect();
    let difference = compare_rankings(world.units(), score, &noisy, quick(3)).unwrap();
    let alone = [score, &noisy].map(|score| evaluate_ranking(world.units(), score, quick(3)).unwrap().qini);
    let [own, other] = alone.map(|qini| (qini.value.estimate.unwrap(), qini.standard_error.unwrap()));
    assert_close(difference.qini.value.estimate.unwrap(), own.0 - other.0, 1e-12);
    // What both share does not count against the difference.
    assert!(difference.qini.standard_error.unwrap() < 0.9 * own.1.hypot(other.1));
    let same = compare_rankings(world.units(), score, score, quick(3)).unwrap();
    assert_close(same.qini.value.high.unwrap(), 0.0, 1e-15);
}

#[test]
fn few_units_have_no_interval_and_bad_scores_no_answer() {
    let units = RandomisedUnits::new(&[1.0, 0.0], &[true, false], &[0.5, 0.5]).unwrap();
    let quality = evaluate_ranking(units, &[1.0, 0.0], quick(1)).unwrap();
    assert_eq!((quality.qini.value.low, quality.qini.standard_error), (None, None));
    assert!(quality.qini.value.note.is_some() && quality.curve[99].incremental.note.is_some());
    assert!(evaluate_ranking(units, &[1.0, f64::NAN], quick(1)).is_err());
    assert!(evaluate_ranking(units, &[1.0], quick(1)).is_err());
    assert!(evaluate_ranking(units, &[1.0, 0.0], RankingOptions { alpha: 0.0, ..quick(1) }).is_err());
    let none = evaluate_ranking(units, &[1.0, 0.0], RankingOptions { replicates: 0, ..quick(1) }).unwrap();
    assert_eq!(none.qini.value.low, None);
    let amounts = RandomisedUnits::new(&[2.0, 0.0], &[true, false], &[0.5, 0.5]).unwrap();
    assert_eq!(evaluate_ranking(amounts, &[1.0, 0.0], quick(1)).unwrap().normalised_qini.value.estimate, None);
}
