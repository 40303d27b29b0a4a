//! Laws of covariate adjustment, and its agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{close, holds_its_estimate, is_presentable};
use proptest::prelude::*;
use sendlift_stats::adjust::{
    CrossMoments, Outcome, Slopes, Stratum, compare_adjusted, compare_adjusted_units, compare_post_stratified,
};
use sendlift_stats::{Moments, compare_means};

/// Rows of an outcome and its covariates, from a flat list of the latter.
fn rows(outcomes: &[f64], covariates: &[f64], width: usize) -> Vec<Vec<f64>> {
    let covariates = covariates.chunks(width);
    outcomes
        .iter()
        .zip(covariates)
        .map(|(outcome, row)| std::iter::once(*outcome).chain(row.iter().copied()).collect())
        .collect()
}

#[test]
fn adjusted_comparisons_agree_with_statsmodels() {
    // Eleven digits in the fixture; least squares on the units and on their moments differ by about 1e-11 here.
    for case in cases(include_str!("../oracle/fixtures/adjust.csv")) {
        let width: usize = case.text("width").parse().unwrap();
        let control = rows(&case.values("y_c"), &case.values("x_c"), width);
        let treatment = rows(&case.values("y_t"), &case.values("x_t"), width);
        let moments = |rows: &[Vec<f64>]| CrossMoments::from_rows(rows).unwrap();
        let by_moments = |slopes: Slopes| {
            compare_adjusted(&moments(&control), &moments(&treatment), Outcome::Mean, slopes, 0.05).unwrap()
        };
        let adjusted = match case.text("kind") {
            "cuped" => by_moments(Slopes::Common),
            "lin" => by_moments(Slopes::ByArm),
            _ => compare_adjusted_units(&control, &treatment, 0.05).unwrap(),
        };
        assert_eq!(adjusted.covariates_used.len(), width);
        case.check("difference", adjusted.comparison.difference.estimate, 1e-8, 1e-8);
        case.check("error", adjusted.standard_error, 1e-8, 0.0);
        case.check("df", adjusted.degrees_of_freedom, 1e-7, 0.0);
        case.check("p", adjusted.comparison.p_value, 1e-6, 1e-12);
        case.check("removed", adjusted.variance_removed, 1e-7, 1e-8);
        if case.number("lift_low").is_some() {
            case.check("lift_low", adjusted.comparison.lift.low, 1e-6, 1e-8);
            case.check("lift_high", adjusted.comparison.lift.high, 1e-6, 1e-8);
        }
    }
}

/// Units with an outcome and two covariates, one of them whole numbers that may well be constant.
fn units() -> impl Strategy<Value = Vec<[f64; 3]>> {
    prop::collection::vec((-10.0..50.0_f64, -5.0..5.0_f64, 0_u8..3), 2..60).prop_map(|units| {
        units.into_iter().map(|(noise, before, group)| [noise + 3.0 * before, before, f64::from(group)]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn test_and_intervals_never_contradict_one_another(
        control in units(),
        treatment in units(),
        common in any::<bool>(),
    ) {
        let slopes = if common { Slopes::Common } else { Slopes::ByArm };
        let (control_moments, treatment_moments) =
            (CrossMoments::from_rows(&control).unwrap(), CrossMoments::from_rows(&treatment).unwrap());
        let by_moments =
            compare_adjusted(&control_moments, &treatment_moments, Outcome::Mean, slopes, 0.05).unwrap();
        let by_units = compare_adjusted_units(&control, &treatment, 0.05).unwrap();
        for adjusted in [by_moments, by_units] {
            let comparison = adjusted.comparison;
            for estimate in [&comparison.difference, &comparison.lift] {
                prop_assert!(is_presentable(estimate), "{:?}", estimate);
                prop_assert!(holds_its_estimate(estimate), "{:?}", estimate);
            }
            prop_assert!(adjusted.variance_removed.is_none_or(|removed| removed <= 1.0 && removed.is_finite()));
            let Some(p_value) = comparison.p_value else { continue };
            prop_assert!((0.0..=1.0).contains(&p_value));
            prop_assert_eq!(p_value < 0.05, !comparison.difference.contains_zero(), "{:?}", comparison);
            if comparison.lift.estimate.is_some() {
                prop_assert_eq!(p_value < 0.05, !comparison.lift.contains_zero(), "{:?}", comparison);
            }
        }
    }

    #[test]
    fn merging_is_free_of_order(groups in prop::collection::vec(units(), 1..5)) {
        let whole = CrossMoments::from_rows(groups.iter().flatten()).unwrap();
        let parts: Vec<CrossMoments> = groups.iter().map(|group| CrossMoments::from_rows(group).unwrap()).collect();
        let merge = |merged: CrossMoments, part: &CrossMoments| merged.merge(part).unwrap();
        let forwards = parts.iter().fold(CrossMoments::default(), merge);
        let backwards = parts.iter().rev().fold(CrossMoments::default(), merge);
        for merged in [forwards, backwards] {
            prop_assert_eq!(merged.n, whole.n);
            for (left, right) in merged.products.iter().zip(&whole.products) {
                prop_assert!(close(*left, *right, 1e-8), "{} {}", left, right);
            }
        }
    }

    #[test]
    fn one_stratum_changes_nothing(
        control in prop::collection::vec(-5.0..50.0_f64, 2..30),
        treatment in prop::collection::vec(-5.0..50.0_f64, 2..30),
    ) {
        let control = Moments::from_values(control).unwrap();
        let treatment = Moments::from_values(treatment).unwrap();
        let welch = compare_means(&control, &treatment, 0.05).unwrap();
        let within = compare_post_stratified(&[Stratum { control, treatment }], 0.05).unwrap().comparison;
        prop_assert!(close(welch.p_value.unwrap(), within.p_value.unwrap(), 1e-9));
        prop_assert!(close(welch.difference.low.unwrap(), within.difference.low.unwrap(), 1e-9));
    }
}
