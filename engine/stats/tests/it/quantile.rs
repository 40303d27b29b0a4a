//! Laws of quantiles, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{alpha, close, holds_its_estimate, is_presentable};
use proptest::prelude::*;
use sendlift_stats::quantile::{
    ValueCounts, compare_clustered_quantiles, compare_quantiles, estimate_quantile, quantile_effect,
};

#[test]
fn quantiles_agree_with_numpy_and_scipy() {
    // Eleven digits in the fixture; ranks are whole numbers, and agree or do not.
    for case in cases(include_str!("../oracle/fixtures/quantile.csv")) {
        let control = ValueCounts::from_values(case.values("control")).unwrap();
        let treatment = ValueCounts::from_values(case.values("treatment")).unwrap();
        let (share, alpha) = (case.value("share"), case.value("alpha"));
        let alone = estimate_quantile(&control, share, alpha).unwrap();
        case.check("estimate", alone.estimate, 1e-10, 1e-12);
        case.check("rank_low", alone.low, 1e-10, 0.0);
        case.check("rank_high", alone.high, 1e-10, 0.0);
        let comparison = compare_quantiles(&control, &treatment, share, alpha).unwrap();
        if case.number("p").is_some() {
            let effect = quantile_effect(&control, &treatment, share).unwrap();
            case.check("error", effect.standard_error(), 1e-9, 0.0);
            case.check("difference", comparison.difference.estimate, 1e-9, 1e-10);
            case.check("p", comparison.p_value, 1e-7, 1e-12);
            case.check("low", comparison.difference.low, 1e-8, 1e-9);
            case.check("high", comparison.difference.high, 1e-8, 1e-9);
        } else {
            assert_eq!(comparison.p_value, None);
        }
    }
}

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        prop::collection::vec(-50.0..200.0_f64, 0..80),
        prop::collection::vec((0_u8..4).prop_map(f64::from), 0..80),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn test_and_intervals_never_contradict_one_another(
        control in sample(),
        treatment in sample(),
        share in 0.01..0.99_f64,
        alpha in alpha(),
    ) {
        let control = ValueCounts::from_values(control).unwrap();
        let treatment = ValueCounts::from_values(treatment).unwrap();
        let comparison = compare_quantiles(&control, &treatment, share, alpha).unwrap();
        let alone = estimate_quantile(&control, share, alpha).unwrap();
        for estimate in [&comparison.difference, &comparison.lift, &alone] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
        }
        prop_assert!(holds_its_estimate(&alone), "{:?}", alone);
        let Some(p_value) = comparison.p_value else { return Ok(()) };
        prop_assert!((0.0..=1.0).contains(&p_value));
        prop_assert_eq!(p_value < alpha, !comparison.difference.contains_zero(), "{:?}", comparison);
        if comparison.lift.estimate.is_some() {
            prop_assert_eq!(p_value < alpha, !comparison.lift.contains_zero(), "{:?}", comparison);
        }
    }

    #[test]
    fn merging_is_counting_together(first in sample(), second in sample(), share in 0.01..0.99_f64) {
        let both = ValueCounts::from_values(first.iter().chain(&second).copied()).unwrap();
        let first = ValueCounts::from_values(first).unwrap();
        let second = ValueCounts::from_values(second).unwrap();
        prop_assert_eq!(first.merge(&second), both.clone());
        prop_assert_eq!(second.merge(&first), both.clone());
        let (some, more) = (both.quantile(share).unwrap(), both.quantile(f64::midpoint(share, 1.0)).unwrap());
        prop_assert!(some.is_none() || some <= more);
    }

    #[test]
    fn clusters_of_one_are_nearly_units(values in prop::collection::vec(0.0..100.0_f64, 120..200)) {
        // The binomial ranks and those of the delta method differ by one or two among a hundred values.
        let (control, treatment) = values.split_at(values.len() / 2);
        let single = |values: &[f64]| -> Vec<[f64; 1]> { values.iter().map(|&value| [value]).collect() };
        let clustered =
            compare_clustered_quantiles(&single(control), &single(treatment), 0.5, 0.05).unwrap().difference;
        let control = ValueCounts::from_values(control.iter().copied()).unwrap();
        let treatment = ValueCounts::from_values(treatment.iter().copied()).unwrap();
        let plain = compare_quantiles(&control, &treatment, 0.5, 0.05).unwrap().difference;
        prop_assert!(close(clustered.estimate.unwrap(), plain.estimate.unwrap(), 1e-12));
        prop_assert!(clustered.high.is_some() && plain.high.is_some());
    }
}
