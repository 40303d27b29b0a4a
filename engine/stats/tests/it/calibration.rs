//! Calibration: agreement with scikit-learn, laws, and whether calibrated scores are calibrated.

use crate::fixtures::{Case, cases};
use crate::support::{close, standard_normal, uniform};
use proptest::prelude::*;
use sendlift_stats::{Calibration, QualityOptions, prediction_quality};

fn applied(calibration: &Calibration, case: &Case, column: &str) {
    for (score, expected) in case.values("scores").iter().zip(case.values(column)) {
        let actual = calibration.apply(*score);
        assert!(close(actual, expected, 1e-9), "{column} of {score}: {actual} is not {expected}");
    }
}

#[test]
fn fits_agree_with_scikit_learn() {
    // Eleven digits in the fixture.
    let cases = cases(include_str!("../oracle/fixtures/calibration.csv"));
    for case in &cases {
        let scores = case.values("scores");
        let outcomes: Vec<bool> = case.values("outcomes").iter().map(|value| *value > 0.5).collect();
        let weights = Some(case.values("weights")).filter(|weights| !weights.is_empty());
        let isotonic = Calibration::fit_isotonic(&scores, &outcomes, weights.as_deref()).unwrap();
        applied(&isotonic, case, "isotonic");
        let platt = Calibration::fit_platt(&scores, &outcomes, weights.as_deref()).unwrap();
        let Calibration::Platt { intercept, slope } = platt else { panic!("platt") };
        case.check("intercept", Some(intercept), 1e-9, 1e-9);
        case.check("slope", Some(slope), 1e-9, 1e-9);
        applied(&platt, case, "platt");
    }
    assert_eq!(cases.len(), 60);
}

#[test]
fn other_units_are_predicted_better_than_by_scores_too_extreme() {
    // The true log-odds are half of what the score says, less one.
    let draw = |from: u64, units: u64| -> (Vec<f64>, Vec<bool>) {
        (from..from + units)
            .map(|place| {
                let score = 2.0 * standard_normal(place);
                let truth = 1.0 / (1.0 + (1.0 - 0.5 * score).exp());
                (1.0 / (1.0 + (-score).exp()), uniform(4_000_000_000 + place) < truth)
            })
            .unzip()
    };
    let (scores, outcomes) = draw(0, 4_000);
    let (other, happened) = draw(10_000, 4_000);
    let quality = |predictions: &[f64]| prediction_quality(predictions, &happened, QualityOptions::default()).unwrap();
    let raw = quality(&other);
    assert!(raw.reliability.calibration_slope.high.unwrap() < 0.7);
    for calibration in [
        Calibration::fit_isotonic(&scores, &outcomes, None).unwrap(),
        Calibration::fit_platt(&scores, &outcomes, None).unwrap(),
    ] {
        let calibrated: Vec<f64> = other.iter().map(|score| calibration.apply(*score)).collect();
        let found = quality(&calibrated);
        assert!(found.log_loss.mean.estimate < raw.log_loss.mean.low);
        assert!(found.reliability.calibration_in_the_large.contains_zero(), "{:?}", found.reliability);
        assert!((found.area_under_curve.estimate.unwrap() - raw.area_under_curve.estimate.unwrap()).abs() < 0.005);
    }
}

proptest! {
    #[test]
    fn functions_rise_and_stay_inside(
        units in prop::collection::vec((prop_oneof![0.0..=1.0_f64, Just(0.0), Just(1.0)], any::<bool>(), 0.1..9.0_f64), 2..60),
        mut queries in prop::collection::vec(-1.0..2.0_f64, 2..20),
    ) {
        let scores: Vec<f64> = units.iter().map(|unit| unit.0).collect();
        let mut outcomes: Vec<bool> = units.iter().map(|unit| unit.1).collect();
        (outcomes[0], outcomes[1]) = (true, false);
        let weights: Vec<f64> = units.iter().map(|unit| unit.2).collect();
        queries.extend(&scores);
        queries.sort_by(f64::total_cmp);
        let isotonic = Calibration::fit_isotonic(&scores, &outcomes, Some(&weights)).unwrap();
        let values: Vec<f64> = queries.iter().map(|score| isotonic.apply(*score)).collect();
        prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", values);
        prop_assert!(values.iter().all(|value| *value > 0.0 && *value < 1.0));
        if let Ok(platt) = Calibration::fit_platt(&scores, &outcomes, Some(&weights)) {
            let Calibration::Platt { slope, .. } = platt else { panic!("platt") };
            let values: Vec<f64> = queries.iter().map(|score| slope.signum() * platt.apply(*score)).collect();
            prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1]), "{:?}", values);
            prop_assert!(values.iter().all(|value| value.abs() > 0.0 && value.abs() < 1.0));
        }
    }
}
