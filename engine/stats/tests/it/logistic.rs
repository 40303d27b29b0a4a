//! Ridge regressions: agreement with scikit-learn and statsmodels, laws, and the choice of a penalty.

use crate::fixtures::{Case, cases};
use crate::support::{close, standard_normal, uniform};
use proptest::prelude::*;
use sendlift_stats::linear_predictor::{FeatureTerm, PENALTY_PATH};
use sendlift_stats::{FeatureMatrix, Learner, LinearPredictor, Penalty, Predictor, RidgeLinear, RidgeLogistic};

fn features(case: &Case) -> FeatureMatrix {
    let size = |column: &str| usize::try_from(case.count(column)).unwrap();
    let values = case.list("values").into_iter().map(|value| value.unwrap_or(f64::NAN)).collect();
    FeatureMatrix::new(values, size("rows"), size("columns")).unwrap()
}

/// Intercept and coefficients in the order of the oracle's columns.
fn coefficients(predictor: &LinearPredictor, kinds: &str) -> Vec<f64> {
    let mut all = vec![predictor.intercept];
    for (term, kind) in predictor.terms.iter().zip(kinds.split(';')) {
        assert_eq!(term.scale > 0.0, kind.contains('v'));
        assert_eq!(term.missing.is_some(), kind.contains('m'));
        all.extend(kind.contains('v').then_some(term.coefficient));
        all.extend(term.missing.map(|missing| missing.coefficient));
    }
    all
}

#[test]
fn fits_agree_with_scikit_learn() {
    // Eleven digits in the fixture. Values near a million keep nine digits of their deviations, and scikit-learn stops
    // within a millionth of a standard error.
    let cases = cases(include_str!("../oracle/fixtures/logistic.csv"));
    for case in &cases {
        let (features, outcome) = (features(case), case.values("outcome"));
        let weights = Some(case.values("weights")).filter(|weights| !weights.is_empty());
        let penalty = Penalty::Fixed(case.value("penalty"));
        let (own, predictions) = if case.text("kind") == "logistic" {
            let model = RidgeLogistic { penalty }.fit_model(&features, &outcome, weights.as_deref()).unwrap();
            (coefficients(&model.log_odds, case.text("kinds")), model.predict(&features))
        } else {
            let model = RidgeLinear { penalty }.fit_model(&features, &outcome, weights.as_deref()).unwrap();
            (coefficients(&model.mean, case.text("kinds")), model.predict(&features))
        };
        for (column, actual) in [("coefficients", own), ("predictions", predictions)] {
            let expected = case.values(column);
            assert_eq!(actual.len(), expected.len());
            for (actual, expected) in actual.iter().zip(expected) {
                assert!(close(*actual, expected, 1e-9), "{column}: {actual} is not {expected}, {}", case.text("kinds"));
            }
        }
    }
    assert_eq!(cases.len(), 90);
}

/// Ten features, of which the first `telling` move the log-odds by one a standard deviation.
fn campaign(rows: u64, telling: u64) -> (FeatureMatrix, Vec<f64>) {
    let values: Vec<f64> = (0..10 * rows).map(standard_normal).collect();
    let outcome = (0..rows)
        .map(|row| {
            let score: f64 = (0..telling).map(|column| standard_normal(column * rows + row)).sum();
            f64::from(u8::from(uniform(900_000_000 + row) < 1.0 / (1.0 + (1.5 - score).exp())))
        })
        .collect();
    (FeatureMatrix::new(values, usize::try_from(rows).unwrap(), 10).unwrap(), outcome)
}

#[test]
fn a_penalty_is_strong_for_noise_and_weak_for_effects() {
    let (features, outcome) = campaign(1_000, 0);
    let noise = RidgeLogistic::default().fit_model(&features, &outcome, None).unwrap();
    assert!(noise.penalty >= 1e3, "{}", noise.penalty);
    let (features, outcome) = campaign(1_000, 3);
    let telling = RidgeLogistic::default().fit_model(&features, &outcome, None).unwrap();
    assert!(telling.penalty <= 10.0, "{}", telling.penalty);
    let choice = telling.cross_validation.unwrap();
    assert_eq!((choice.folds, choice.units, choice.path.len()), (5, 1_000, PENALTY_PATH.len()));
    for term in &telling.log_odds.terms[..3] {
        assert!((term.coefficient - 1.0).abs() < 0.4, "{term:?}");
    }
    let linear = RidgeLinear::default().fit_model(&features, &outcome, None).unwrap();
    assert!(linear.penalty <= 100.0, "{}", linear.penalty);
}

#[test]
fn a_start_from_a_part_of_many_units_ends_where_any_start_does() {
    // More units than the part is taken from: two identical halves have the fit of one half with twice the weights.
    let (features, outcome) = campaign(30_000, 3);
    let rows: Vec<usize> = (0..60_000).map(|row| row % 30_000).collect();
    let twice: Vec<f64> = rows.iter().map(|&row| outcome[row]).collect();
    let learner = RidgeLogistic { penalty: Penalty::Fixed(5.0) };
    let many = learner.fit_model(&features.select(&rows), &twice, None).unwrap();
    let few = learner.fit_model(&features, &outcome, Some(&vec![2.0; 30_000])).unwrap();
    assert!(many.steps < few.steps);
    assert!(close(many.log_odds.intercept, few.log_odds.intercept, 1e-9));
    for (many, few) in many.log_odds.terms.iter().zip(&few.log_odds.terms) {
        assert!(close(many.coefficient, few.coefficient, 1e-9));
    }
}

/// Up to thirty units of three features, some missing, with both classes.
fn small_data() -> impl Strategy<Value = (FeatureMatrix, Vec<f64>)> {
    let value = prop_oneof![4 => -3.0..3.0_f64, 1 => Just(f64::NAN), 1 => Just(1.0)];
    (3_usize..30).prop_flat_map(move |rows| {
        let outcome = prop::collection::vec(any::<bool>(), rows).prop_map(|mut outcome| {
            (outcome[0], outcome[1]) = (true, false);
            outcome.into_iter().map(|success| f64::from(u8::from(success))).collect()
        });
        let values = prop::collection::vec(value.clone(), 3 * rows);
        (values.prop_map(move |values| FeatureMatrix::new(values, rows, 3).unwrap()), outcome)
    })
}

fn row(features: &FeatureMatrix, row: usize) -> Vec<f64> {
    (0..features.columns()).map(|column| features.column(column)[row]).collect()
}

proptest! {
    #[test]
    fn probabilities_average_to_the_outcome_and_contributions_to_nothing((features, outcome) in small_data()) {
        let learner = RidgeLogistic { penalty: Penalty::Fixed(0.1) };
        let model = learner.fit_model(&features, &outcome, None).unwrap();
        let predictions = model.predict(&features);
        prop_assert!(predictions.iter().all(|probability| (0.0..=1.0).contains(probability)));
        // The intercept is not penalised.
        prop_assert!((predictions.iter().sum::<f64>() - outcome.iter().sum::<f64>()).abs() < 1e-6);
        let boxed = learner.fit(&features, &outcome, None).unwrap();
        prop_assert_eq!(&boxed.predict(&features), &predictions);
        let mut sums = [0.0; 3];
        for (place, probability) in predictions.iter().enumerate() {
            let contributions = model.contributions(&row(&features, place));
            let log_odds = model.log_odds.intercept + contributions.iter().sum::<f64>();
            prop_assert!((1.0 / (1.0 + (-log_odds).exp()) - probability).abs() < 1e-12);
            for (sum, contribution) in sums.iter_mut().zip(contributions) {
                *sum += contribution;
            }
        }
        prop_assert!(sums.iter().all(|sum| sum.abs() < 1e-9), "{:?}", sums);
    }

    #[test]
    fn units_of_measurement_do_not_matter(
        (features, outcome) in small_data(),
        scale in prop::sample::select(vec![1e-6, 0.5, -3.0, 1e6]),
        shift in -10.0..10.0_f64,
    ) {
        let learner = RidgeLinear { penalty: Penalty::Fixed(2.0) };
        let moved = features.values().iter().map(|value| scale * (value + shift)).collect();
        let moved = FeatureMatrix::new(moved, features.rows(), 3).unwrap();
        let own = learner.fit_model(&features, &outcome, None).unwrap().predict(&features);
        let other = learner.fit_model(&moved, &outcome, None).unwrap().predict(&moved);
        prop_assert!(own.iter().zip(other).all(|(own, other)| close(*own, other, 1e-8)));
    }

    #[test]
    fn a_stronger_penalty_leaves_smaller_coefficients((features, outcome) in small_data()) {
        let length = |penalty: f64| {
            let model = RidgeLogistic { penalty: Penalty::Fixed(penalty) }.fit_model(&features, &outcome, None).unwrap();
            let square = |term: &FeatureTerm| {
                term.coefficient.powi(2) + term.missing.map_or(0.0, |missing| missing.coefficient.powi(2))
            };
            model.log_odds.terms.iter().map(square).sum::<f64>()
        };
        prop_assert!(length(1.0) <= length(0.1) + 1e-9 && length(100.0) <= length(1.0) + 1e-9);
    }
}
