//! Quality of predictions: agreement with scikit-learn and statsmodels, laws, and coverage of the intervals.

use crate::fixtures::{Case, cases};
use crate::support::{close, holds_its_estimate, is_presentable, standard_normal, uniform};
use proptest::prelude::*;
use sendlift_stats::prediction_quality::{
    PairedDifference, PredictionQuality, QualityOptions, compare_predictions, prediction_quality,
};
use sendlift_stats::{Estimate, Interval};

const CRITICAL: f64 = 1.959_963_984_540_054;

fn standard_error(estimate: &Estimate) -> Option<f64> {
    Some((estimate.high? - estimate.low?) / 2.0 / CRITICAL)
}

fn all_close(case: &Case, column: &str, actual: &[Option<f64>]) {
    let expected = case.values(column);
    assert_eq!(actual.len(), expected.len(), "{column}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert!(close(actual.unwrap(), expected, 1e-9), "{column}: {actual:?} is not {expected}");
    }
}

fn check_tables(case: &Case, quality: &PredictionQuality) {
    let bins = &quality.reliability.bins;
    let of_bins = |value: fn(&sendlift_stats::prediction_quality::ReliabilityBin) -> Option<f64>| -> Vec<Option<f64>> {
        bins.iter().map(value).collect()
    };
    all_close(case, "bin_units", &of_bins(|bin| u32::try_from(bin.units).ok().map(f64::from)));
    all_close(case, "bin_predicted", &of_bins(|bin| Some(bin.mean_predicted)));
    all_close(case, "bin_observed", &of_bins(|bin| bin.observed.estimate));
    all_close(case, "bin_high", &of_bins(|bin| bin.observed.high));
    let lifts: Vec<&Estimate> = quality.lift.iter().map(|decile| &decile.lift).collect();
    all_close(case, "lift", &lifts.iter().map(|lift| lift.estimate).collect::<Vec<_>>());
    all_close(case, "lift_low", &lifts.iter().map(|lift| lift.low).collect::<Vec<_>>());
    all_close(case, "lift_high", &lifts.iter().map(|lift| lift.high).collect::<Vec<_>>());
    all_close(case, "captured", &quality.lift.iter().map(|decile| decile.captured).collect::<Vec<_>>());
}

#[test]
fn figures_agree_with_scikit_learn_and_statsmodels() {
    // Eleven digits in the fixture; errors of skills are numerical derivatives on the oracle's side.
    let cases = cases(include_str!("../oracle/fixtures/prediction_quality.csv"));
    for case in &cases {
        let (first, second) = (case.values("first"), case.values("second"));
        let outcomes: Vec<bool> = case.values("outcomes").iter().map(|value| *value > 0.5).collect();
        let quality = prediction_quality(&first, &outcomes, QualityOptions::default()).unwrap();
        case.check("area", quality.area_under_curve.estimate, 1e-10, 1e-12);
        case.check("area_low", quality.area_under_curve.low, 1e-9, 0.0);
        case.check("area_high", quality.area_under_curve.high, 1e-9, 0.0);
        for (name, loss) in [("log", &quality.log_loss), ("brier", &quality.brier_score)] {
            case.check(name, loss.mean.estimate, 1e-10, 0.0);
            case.check(&format!("{name}_low"), loss.mean.low, 1e-9, 1e-10);
            case.check(&format!("{name}_high"), loss.mean.high, 1e-9, 0.0);
            case.check(&format!("{name}_skill"), loss.skill.estimate, 1e-9, 1e-10);
            case.check(&format!("{name}_skill_error"), standard_error(&loss.skill), 1e-6, 0.0);
        }
        let reliability = &quality.reliability;
        case.check("calibration_error", reliability.expected_calibration_error, 1e-9, 1e-11);
        for (name, estimate) in [
            ("in_the_large", &reliability.calibration_in_the_large),
            ("intercept", &reliability.calibration_intercept),
            ("slope", &reliability.calibration_slope),
        ] {
            case.check(name, estimate.estimate, 1e-8, 1e-9);
            case.check(&format!("{name}_error"), standard_error(estimate), 1e-7, 0.0);
        }
        check_tables(case, &quality);

        let comparison = compare_predictions(&first, &second, &outcomes, 0.05).unwrap();
        let area = comparison.area_under_curve.difference;
        case.check("area_difference", area.estimate, 1e-9, 1e-10);
        case.check("area_difference_error", standard_error(&area), 1e-8, 0.0);
        for (name, figure) in [("log", comparison.log_loss), ("brier", comparison.brier_score)] {
            let statistic = figure.difference.estimate.zip(standard_error(&figure.difference));
            case.check(&format!("{name}_difference"), figure.difference.estimate, 1e-9, 1e-11);
            case.check(&format!("{name}_statistic"), statistic.map(|(value, error)| value / error), 1e-8, 1e-9);
            case.check(&format!("{name}_p"), figure.p_value, 1e-8, 0.0);
        }
    }
    assert_eq!(cases.len(), 64);
}

/// Units whose scores are one apart between the classes: the true area is Φ(1 / √2).
const TRUE_AREA: f64 = 0.760_249_938_906_523_3;

fn ranked(run: u64, units: u64) -> (Vec<f64>, Vec<bool>) {
    (0..units)
        .map(|unit| {
            let place = run * units + unit;
            let outcome = uniform(3_000_000_000 + place) < 0.1;
            let score = standard_normal(place) + f64::from(u8::from(outcome));
            (1.0 / (1.0 + (3.0 - score).exp()), outcome)
        })
        .unzip()
}

fn contains(interval: &Interval, truth: f64) -> u32 {
    u32::from(interval.contains(truth))
}

#[test]
fn intervals_of_areas_cover_the_true_area() {
    let runs = 400;
    let covered: u32 = (0..runs)
        .map(|run| {
            let (predictions, outcomes) = ranked(run, 300);
            let quality = prediction_quality(&predictions, &outcomes, QualityOptions::default()).unwrap();
            contains(&quality.area_under_curve.interval(), TRUE_AREA)
        })
        .sum();
    // 95 % of 400 is 380, give or take 4.4.
    assert!((364..=396).contains(&covered), "{covered}");
}

#[test]
fn right_predictions_are_called_calibrated() {
    let runs = 300;
    let (mut large, mut slope, mut intercept, mut by_chance, mut found) = (0, 0, 0, 0.0, 0.0);
    for run in 0..runs {
        let predictions: Vec<f64> =
            (0..400).map(|unit| 1.0 / (1.0 + (1.5 - standard_normal(run * 400 + unit)).exp())).collect();
        let drawn = (0_u64..).map(|unit| uniform(5_000_000_000 + run * 400 + unit));
        let outcomes: Vec<bool> = predictions.iter().zip(drawn).map(|(own, drawn)| drawn < *own).collect();
        let quality = prediction_quality(&predictions, &outcomes, QualityOptions::default()).unwrap().reliability;
        large += contains(&quality.calibration_in_the_large.interval(), 0.0);
        slope += contains(&quality.calibration_slope.interval(), 1.0);
        intercept += contains(&quality.calibration_intercept.interval(), 0.0);
        by_chance += quality.calibration_error_by_chance.unwrap() / 300.0;
        found += quality.expected_calibration_error.unwrap() / 300.0;
    }
    // 95 % of 300 is 285, give or take 3.8.
    for covered in [large, slope, intercept] {
        assert!((270..=298).contains(&covered), "{large} {slope} {intercept}");
    }
    assert!((by_chance / found - 1.0).abs() < 0.05, "{by_chance} {found}");
}

#[test]
fn two_models_of_the_same_worth_seldom_differ() {
    let runs = 300;
    let mut rejected = [0; 3];
    for run in 0..runs {
        let truth = |unit: u64| standard_normal(run * 250 + unit);
        let model = |stream: u64| -> Vec<f64> {
            let score = |unit: u64| truth(unit) + 0.7 * standard_normal(stream * 1_000_000 + run * 250 + unit);
            (0..250).map(|unit| 1.0 / (1.0 + (1.0 - score(unit)).exp())).collect()
        };
        let outcomes: Vec<bool> = (0..250)
            .map(|unit| uniform(7_000_000_000 + run * 250 + unit) < 1.0 / (1.0 + (1.0 - truth(unit)).exp()))
            .collect();
        let comparison = compare_predictions(&model(3), &model(5), &outcomes, 0.05).unwrap();
        let figures = [comparison.area_under_curve, comparison.log_loss, comparison.brier_score];
        for (count, figure) in rejected.iter_mut().zip(figures) {
            *count += u32::from(figure.p_value.is_some_and(|p_value| p_value < 0.05));
        }
    }
    // 5 % of 300 is 15, give or take 3.8.
    assert!(rejected.iter().all(|count| (3..=27).contains(count)), "{rejected:?}");
}

fn units() -> impl Strategy<Value = Vec<(f64, f64, bool)>> {
    let prediction = prop_oneof![0.0..=1.0_f64, prop::sample::select(vec![0.0, 0.1, 0.5, 1.0])];
    prop::collection::vec((prediction.clone(), prediction, any::<bool>()), 0..60)
}

fn consistent(figure: &PairedDifference) -> bool {
    let rejects = figure.p_value.is_some_and(|p_value| p_value < 0.05);
    is_presentable(&figure.difference) && rejects != figure.difference.contains_zero()
}

proptest! {
    #[test]
    fn every_figure_can_be_shown(units in units()) {
        let predictions: Vec<f64> = units.iter().map(|unit| unit.0).collect();
        let others: Vec<f64> = units.iter().map(|unit| unit.1).collect();
        let outcomes: Vec<bool> = units.iter().map(|unit| unit.2).collect();
        let quality = prediction_quality(&predictions, &outcomes, QualityOptions::default()).unwrap();
        let reliability = &quality.reliability;
        let mut estimates = vec![
            &quality.base_rate,
            &quality.area_under_curve,
            &quality.log_loss.mean,
            &quality.log_loss.skill,
            &quality.brier_score.mean,
            &quality.brier_score.skill,
            &reliability.calibration_in_the_large,
            &reliability.calibration_intercept,
            &reliability.calibration_slope,
        ];
        estimates.extend(reliability.bins.iter().map(|bin| &bin.observed));
        estimates.extend(quality.lift.iter().flat_map(|decile| [&decile.observed, &decile.lift]));
        prop_assert!(estimates.iter().all(|estimate| is_presentable(estimate)), "{:?}", quality);
        prop_assert!(estimates.iter().all(|estimate| holds_its_estimate(estimate)), "{:?}", quality);
        prop_assert_eq!(reliability.bins.iter().map(|bin| bin.units).sum::<u64>(), quality.units);
        prop_assert_eq!(quality.lift.iter().map(|decile| decile.outcomes).sum::<u64>(), quality.outcomes);
        prop_assert!(quality.area_under_curve.estimate.is_none_or(|area| (0.0..=1.0).contains(&area)));

        let comparison = compare_predictions(&predictions, &others, &outcomes, 0.05).unwrap();
        for figure in [&comparison.area_under_curve, &comparison.log_loss, &comparison.brier_score] {
            let undecided = figure.p_value.is_none();
            prop_assert!(undecided || consistent(figure), "{:?}", figure);
        }
    }

    #[test]
    fn areas_see_ranks_alone_and_turn_with_the_outcome(units in units()) {
        let area = |scale: f64, turned: bool| {
            let predictions: Vec<f64> = units.iter().map(|unit| scale * unit.0).collect();
            let outcomes: Vec<bool> = units.iter().map(|unit| unit.2 != turned).collect();
            prediction_quality(&predictions, &outcomes, QualityOptions::default()).unwrap().area_under_curve
        };
        let own = area(1.0, false);
        prop_assert_eq!(&area(0.25, false), &own);
        let turned = area(1.0, true);
        prop_assert!(own.estimate.zip(turned.estimate).is_none_or(|(own, turned)| close(own, 1.0 - turned, 1e-12)));
        prop_assert!(own.low.zip(turned.high).is_none_or(|(low, high)| close(low, 1.0 - high, 1e-9)));
    }
}
