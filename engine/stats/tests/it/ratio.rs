//! Laws of ratio metrics, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{alpha, close, ends_close, holds_its_estimate, is_presentable};
use proptest::prelude::*;
use sendlift_stats::ratio::ratio_effect;
use sendlift_stats::{RatioMoments, compare_ratios};

#[test]
fn ratios_agree_with_numpy() {
    // Twelve digits in the fixture; the oracle linearises the values themselves, the crate their moments, which leaves
    // a part in 10^12 of the largest term, and more where the difference nearly vanishes.
    for case in cases(include_str!("../oracle/fixtures/ratio.csv")) {
        let arm = |numerators: &str, denominators: &str| {
            let pairs = case.values(numerators).into_iter().zip(case.values(denominators));
            RatioMoments::from_values(pairs).unwrap()
        };
        let (control, treatment) = (arm("y_c", "z_c"), arm("y_t", "z_t"));
        let alpha = case.value("alpha");
        let effect = ratio_effect(&control, &treatment).unwrap();
        case.check("error", effect.standard_error(), 1e-9, 0.0);
        case.check("df", effect.degrees_of_freedom(), 1e-8, 0.0);
        let comparison = compare_ratios(&control, &treatment, alpha).unwrap();
        case.check("difference", comparison.difference.estimate, 1e-9, 1e-10);
        case.check("p", comparison.p_value, 1e-7, 1e-12);
        case.check("low", comparison.difference.low, 1e-7, 1e-8);
        case.check("high", comparison.difference.high, 1e-7, 1e-8);
        // Where the oracle sees no bounded lift it leaves the cells empty.
        if case.number("lift_low").is_some() {
            case.check("lift_low", comparison.lift.low, 1e-6, 1e-8);
            case.check("lift_high", comparison.lift.high, 1e-6, 1e-8);
        }
    }
}

/// Units with a numerator and a denominator that is mostly above zero.
fn units() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((-50.0..200.0_f64, 0_u8..6), 2..40)
        .prop_map(|units| units.into_iter().map(|(numerator, clicks)| (numerator, f64::from(clicks))).collect())
}

fn scaled(moments: RatioMoments, factor: f64) -> RatioMoments {
    RatioMoments {
        numerator_mean: moments.numerator_mean * factor,
        numerator_squares: moments.numerator_squares * factor * factor,
        products: moments.products * factor,
        ..moments
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn test_and_intervals_never_contradict_one_another(
        control in units(),
        treatment in units(),
        alpha in alpha(),
    ) {
        let control = RatioMoments::from_values(control).unwrap();
        let treatment = RatioMoments::from_values(treatment).unwrap();
        let comparison = compare_ratios(&control, &treatment, alpha).unwrap();
        for estimate in [&comparison.difference, &comparison.lift] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
            prop_assert!(holds_its_estimate(estimate), "{:?}", estimate);
        }
        for arm in [&control, &treatment] {
            let alone = arm.estimate(alpha).unwrap();
            prop_assert!(is_presentable(&alone) && holds_its_estimate(&alone), "{:?}", alone);
        }
        let Some(p_value) = comparison.p_value else { return Ok(()) };
        prop_assert!((0.0..=1.0).contains(&p_value));
        let found = p_value < alpha;
        prop_assert_eq!(found, !comparison.difference.contains_zero(), "{:?}", comparison);
        if comparison.lift.estimate.is_some() {
            prop_assert_eq!(found, !comparison.lift.contains_zero(), "{:?}", comparison);
        }
    }

    #[test]
    fn merging_is_free_of_order(groups in prop::collection::vec(units(), 1..6)) {
        let parts: Vec<RatioMoments> =
            groups.iter().map(|group| RatioMoments::from_values(group.iter().copied()).unwrap()).collect();
        let whole = RatioMoments::from_values(groups.iter().flatten().copied()).unwrap();
        let forwards: RatioMoments = parts.iter().sum();
        let backwards: RatioMoments = parts.iter().rev().sum();
        for merged in [forwards, backwards] {
            prop_assert_eq!(merged.n, whole.n);
            prop_assert!(close(merged.products, whole.products, 1e-9));
            prop_assert!(close(merged.numerator_squares, whole.numerator_squares, 1e-9));
            prop_assert!(close(merged.denominator_squares, whole.denominator_squares, 1e-9));
        }
    }

    #[test]
    fn pence_and_pounds_give_the_same_verdict(control in units(), treatment in units()) {
        let control = RatioMoments::from_values(control).unwrap();
        let treatment = RatioMoments::from_values(treatment).unwrap();
        let pounds = compare_ratios(&control, &treatment, 0.05).unwrap();
        let pence = compare_ratios(&scaled(control, 100.0), &scaled(treatment, 100.0), 0.05).unwrap();
        prop_assert!(ends_close(pounds.p_value, pence.p_value, 1e-7));
        prop_assert!(ends_close(pounds.lift.estimate, pence.lift.estimate, 1e-7));
    }
}
