//! Laws of the exact tests, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{alpha, close, ends_close, is_presentable};
use proptest::prelude::*;
use sendlift_stats::Proportion;
use sendlift_stats::proportion::{
    ProportionTest, barnard_exact_test, boschloo_exact_test, fisher_exact_test, recommended_for,
};

#[test]
fn exact_tests_agree_with_scipy() {
    // P values are sums of some thousand terms, each right to 1e-13, and the greatest over the rate is found to 1e-11;
    // SciPy's odds ratios are solved to 2e-12 absolutely. Ends solve p(d) = alpha, found to 1e-10 by halving; where the
    // set of extreme tables changes with d its p value jumps, and the place of the jump depends on rounding to about
    // 1e-9.
    for case in cases(include_str!("../oracle/fixtures/exact_tests.csv")) {
        let control = Proportion::new(case.count("n_c"), case.count("x_c")).unwrap();
        let treatment = Proportion::new(case.count("n_t"), case.count("x_t")).unwrap();

        let fisher = fisher_exact_test(control, treatment, 0.05).unwrap();
        case.check("fisher", fisher.p_value, 1e-10, 0.0);
        case.check("less", fisher.p_value_less, 1e-10, 0.0);
        case.check("greater", fisher.p_value_greater, 1e-10, 0.0);
        // Infinite ends are empty in the fixture and none here.
        case.check("odds", fisher.odds_ratio.estimate, 1e-7, 1e-9);
        case.check("odds_low", fisher.odds_ratio.low, 1e-7, 1e-9);
        case.check("odds_high", fisher.odds_ratio.high, 1e-7, 1e-9);

        let boschloo = boschloo_exact_test(control, treatment, 0.05).unwrap();
        case.check("boschloo", boschloo.p_value, 1e-7, 0.0);
        let barnard = barnard_exact_test(control, treatment, 0.05).unwrap();
        case.check("barnard", barnard.p_value, 1e-7, 0.0);
        // The oracle's intervals are slow, and given for some tables only.
        if case.number("barnard_low").is_some() {
            case.check("barnard_low", barnard.difference.low, 0.0, 1e-6);
            case.check("barnard_high", barnard.difference.high, 0.0, 1e-6);
        }
    }
}

#[test]
fn the_interval_beside_boschloos_test_agrees_with_its_definition() {
    // The end found stops short of the first difference kept by some millionths of the way there from the far end; the
    // oracle's walk closes in on it to 1e-8.
    for case in cases(include_str!("../oracle/fixtures/exact_interval.csv")) {
        let control = Proportion::new(case.count("n_c"), case.count("x_c")).unwrap();
        let treatment = Proportion::new(case.count("n_t"), case.count("x_t")).unwrap();
        let difference = boschloo_exact_test(control, treatment, case.value("alpha")).unwrap().difference;
        case.check("low", difference.low, 0.0, 1e-5);
        case.check("high", difference.high, 0.0, 1e-5);
    }
}

/// A small arm with units.
fn small() -> impl Strategy<Value = Proportion> {
    (1_u64..15).prop_flat_map(|n| (Just(n), 0..=n)).prop_map(|(n, successes)| Proportion { n, successes })
}

/// An error rate that people use.
fn small_alpha() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.2, 0.1, 0.05, 0.01])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn unconditional_tests_and_their_intervals_agree(
        control in small(),
        treatment in small(),
        alpha in small_alpha(),
    ) {
        let boschloo = boschloo_exact_test(control, treatment, alpha).unwrap();
        let barnard = barnard_exact_test(control, treatment, alpha).unwrap();
        for test in [boschloo, barnard] {
            let p_value = test.p_value.unwrap();
            prop_assert!(p_value > 0.0 && p_value <= 1.0);
            prop_assert_eq!(p_value < alpha, !test.difference.contains_zero(), "{:?}", test);
            prop_assert!(is_presentable(&test.difference), "{:?}", test);
            prop_assert!(test.difference.contains(test.difference.estimate.unwrap()), "{:?}", test);
        }
    }

    #[test]
    fn swapping_the_arms_turns_the_sign(control in small(), treatment in small()) {
        let there = boschloo_exact_test(control, treatment, 0.05).unwrap();
        let back = boschloo_exact_test(treatment, control, 0.05).unwrap();
        prop_assert!(close(there.p_value.unwrap(), back.p_value.unwrap(), 1e-12));
        prop_assert!(ends_close(there.difference.low, back.difference.high.map(|high| -high), 1e-9));
        let there = barnard_exact_test(control, treatment, 0.05).unwrap();
        let back = barnard_exact_test(treatment, control, 0.05).unwrap();
        prop_assert!(close(there.p_value.unwrap(), back.p_value.unwrap(), 1e-9));
        prop_assert!(ends_close(there.difference.low, back.difference.high.map(|high| -high), 1e-6));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn boschloo_finds_whatever_fisher_finds(control in small(), treatment in small()) {
        let boschloo = boschloo_exact_test(control, treatment, 0.05).unwrap().p_value.unwrap();
        let fisher = fisher_exact_test(control, treatment, 0.05).unwrap();
        prop_assert!(boschloo <= fisher.central_p_value.unwrap() * (1.0 + 1e-9));
        prop_assert!(fisher.p_value.unwrap() <= 1.0);
    }

    #[test]
    fn fishers_central_test_and_interval_agree(
        control in small(),
        treatment in small(),
        alpha in alpha(),
    ) {
        let test = fisher_exact_test(control, treatment, alpha).unwrap();
        prop_assert!(is_presentable(&test.odds_ratio), "{:?}", test);
        // At a p value of alpha itself rounding decides.
        prop_assume!((test.central_p_value.unwrap() - alpha).abs() > 1e-9);
        prop_assert_eq!(test.central_p_value.unwrap() < alpha, !test.odds_ratio.contains(1.0), "{:?}", test);
    }

    #[test]
    fn the_recommended_test_can_be_made(control in small(), treatment in small()) {
        let recommendation = recommended_for(control, treatment).unwrap();
        let few = recommendation.least_expected_count.unwrap() < 5.0;
        prop_assert_eq!(few, recommendation.test == ProportionTest::Boschloo);
        prop_assert!(!recommendation.reason.is_empty());
    }
}
