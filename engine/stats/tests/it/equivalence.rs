//! Laws of tests against a margin, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{alpha, is_presentable, moments, proportion};
use proptest::prelude::*;
use sendlift_stats::equivalence::{
    Arms, Direction, Margin, MarginVerdict, equivalence_test, non_inferiority_test, superiority_test,
};
use sendlift_stats::proportion::{score_test_difference, score_test_ratio};
use sendlift_stats::{Moments, Proportion, VarianceCorrection};

#[test]
fn shifted_score_tests_agree_with_the_definition() {
    // The oracle maximises the likelihood with 30 digits; here the rate is found to the last bits, and where it lies
    // next to 0 or 1 the variance keeps ten of them. statsmodels' ratios are solved in closed form.
    for case in cases(include_str!("../oracle/fixtures/equivalence_proportions.csv")) {
        let control = Proportion::new(case.count("n_c"), case.count("x_c")).unwrap();
        let treatment = Proportion::new(case.count("n_t"), case.count("x_t")).unwrap();
        let margin = case.value("margin");
        let correction = VarianceCorrection::Uncorrected;
        for (column, hypothesis) in [("z_low", -margin), ("z_high", margin)] {
            let test = score_test_difference(control, treatment, hypothesis, correction).unwrap();
            case.check(column, test.map(|test| test.statistic), 1e-8, 1e-10);
        }
        // The oracle leaves ratios out where an arm had a single outcome.
        if case.number("z_ratio_low").is_some() {
            for (column, hypothesis) in [("z_ratio_low", 1.0 - margin), ("z_ratio_high", 1.0 + margin)] {
                let test = score_test_ratio(control, treatment, hypothesis, correction).unwrap();
                case.check(column, test.map(|test| test.statistic), 1e-7, 1e-9);
            }
        }
    }
}

#[test]
fn means_agree_with_scipy() {
    // Student's tail is right to 1e-11 and falls by up to a factor of e^(t dt): the difference from the margin loses
    // three digits at most where the two are close.
    for case in cases(include_str!("../oracle/fixtures/equivalence_means.csv")) {
        let arm = |n: &str, mean: &str, variance: &str| {
            Moments::from_n_mean_variance(case.count(n), case.value(mean), case.value(variance)).unwrap()
        };
        let (control, treatment) = (arm("n_c", "mean_c", "variance_c"), arm("n_t", "mean_t", "variance_t"));
        let arms = Arms::Means { control: &control, treatment: &treatment };
        let absolute = equivalence_test(arms, Margin::Absolute(case.value("absolute")), 0.05).unwrap();
        case.check("above_low", absolute.p_value_low, 1e-7, 1e-13);
        case.check("above_high", absolute.p_value_high.map(|below| 1.0 - below), 1e-7, 1e-13);
        if case.number("above_lift_low").is_some() {
            let relative = equivalence_test(arms, Margin::Relative(case.value("margin")), 0.05).unwrap();
            case.check("above_lift_low", relative.p_value_low, 1e-7, 1e-13);
            case.check("above_lift_high", relative.p_value_high.map(|below| 1.0 - below), 1e-7, 1e-13);
        }
    }
}

/// Margins of either kind that two proportions can be apart.
fn margin() -> impl Strategy<Value = Margin> {
    prop_oneof![
        (0.0..0.5_f64).prop_map(Margin::Absolute),
        (0.0..0.01_f64).prop_map(Margin::Absolute),
        (0.0..0.9_f64).prop_map(Margin::Relative),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::HigherIsBetter, Direction::LowerIsBetter])
}

/// Half of a two-sided error rate.
fn one_sided_alpha() -> impl Strategy<Value = f64> {
    alpha().prop_map(|alpha| alpha / 2.0)
}

/// Whether a p value is too close to alpha for two computations to agree on the verdict.
fn near(p_value: Option<f64>, alpha: f64) -> bool {
    p_value.is_some_and(|p_value| (p_value - alpha).abs() < 1e-6 * alpha)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_verdict_can_be_read_off_the_interval(
        control in proportion(),
        treatment in proportion(),
        margin in margin(),
        direction in direction(),
        alpha in one_sided_alpha(),
    ) {
        let arms = Arms::Proportions { control, treatment, correction: VarianceCorrection::Uncorrected };
        for test in [
            non_inferiority_test(arms, margin, direction, alpha).unwrap(),
            superiority_test(arms, margin, direction, alpha).unwrap(),
        ] {
            prop_assert!(is_presentable(&test.effect), "{:?}", test);
            prop_assert!(test.p_value.is_none_or(|p_value| (0.0..=1.0).contains(&p_value)));
            let decided = test.verdict != MarginVerdict::NotShown;
            let both_near = near(test.p_value, alpha) || near(test.p_value.map(|p_value| 1.0 - p_value), alpha);
            // With no success in either arm nothing is tested, and no interval excludes anything.
            if !both_near && test.p_value.is_some() {
                prop_assert_eq!(decided, !test.effect.contains(test.boundary), "{:?}", test);
            }
        }
    }

    #[test]
    fn equivalence_is_both_non_inferiorities(
        control in moments(),
        treatment in moments(),
        size in 0.0..100.0_f64,
        alpha in one_sided_alpha(),
    ) {
        let arms = Arms::Means { control: &control, treatment: &treatment };
        let margin = Margin::Absolute(size);
        let equivalence = equivalence_test(arms, margin, alpha).unwrap();
        let not_worse = non_inferiority_test(arms, margin, Direction::HigherIsBetter, alpha).unwrap();
        let not_better = non_inferiority_test(arms, margin, Direction::LowerIsBetter, alpha).unwrap();
        prop_assert_eq!(equivalence.p_value_low, not_worse.p_value);
        prop_assert_eq!(equivalence.p_value_high, not_better.p_value);
        let both = not_worse.verdict == MarginVerdict::NonInferior && not_better.verdict == MarginVerdict::NonInferior;
        prop_assert_eq!(both, equivalence.verdict == MarginVerdict::Equivalent);
    }

    #[test]
    fn a_relative_margin_on_means_never_contradicts_its_interval(
        control in moments(),
        treatment in moments(),
        size in 0.0..3.0_f64,
        alpha in one_sided_alpha(),
    ) {
        let arms = Arms::Means { control: &control, treatment: &treatment };
        let test = non_inferiority_test(arms, Margin::Relative(size), Direction::HigherIsBetter, alpha).unwrap();
        prop_assert!(is_presentable(&test.effect), "{:?}", test);
        let slack = 1e-7 * size.max(1.0);
        let low_is_near = test.effect.low.is_some_and(|low| (low - test.boundary).abs() < slack);
        let high_is_near = test.effect.high.is_some_and(|high| (high - test.boundary).abs() < slack);
        if test.p_value.is_some() && !low_is_near && !high_is_near {
            let decided = test.verdict != MarginVerdict::NotShown;
            prop_assert_eq!(decided, !test.effect.contains(test.boundary), "{:?}", test);
        }
    }
}
