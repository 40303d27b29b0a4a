//! Laws of winsorised and logarithmic comparisons, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{close, is_presentable};
use proptest::prelude::*;
use sendlift_stats::skewed::{Cut, Winsorising, compare_logarithms, compare_winsorised, logarithm_moments};
use sendlift_stats::{Moments, compare_means};

#[test]
fn cut_and_logarithmic_comparisons_agree_with_scipy() {
    // Eleven digits in the fixture; means and variances of a few dozen values are right to about 1e-14 in either.
    for case in cases(include_str!("../oracle/fixtures/skewed.csv")) {
        let (control, treatment) = (case.values("control"), case.values("treatment"));
        let share = case.value("share");
        let upper = match case.text("kind") {
            "share" => Cut::Share(share),
            _ => Cut::ShareOfNonzero(share),
        };
        let rule = Winsorising { lower: None, upper: Some(upper) };
        let result = compare_winsorised(&control, &treatment, rule, 0.05).unwrap();
        case.check("limit", result.upper_limit, 1e-10, 0.0);
        assert_eq!(result.control.units_cut, case.count("cut_c"));
        assert_eq!(result.treatment.units_cut, case.count("cut_t"));
        case.check("value_cut_c", result.control.share_of_value_cut, 1e-9, 1e-12);
        case.check("difference", result.comparison.difference.estimate, 1e-9, 1e-10);
        case.check("p", result.comparison.p_value, 1e-8, 1e-12);
        case.check("low", result.comparison.difference.low, 1e-8, 1e-9);
        case.check("high", result.comparison.difference.high, 1e-8, 1e-9);
        let logarithms = |values: &[f64]| logarithm_moments(values).unwrap();
        let on_logs = compare_logarithms(&logarithms(&control), &logarithms(&treatment), 0.05).unwrap();
        case.check("log_p", on_logs.p_value, 1e-8, 1e-12);
        case.check("log_low", on_logs.lift.low, 1e-8, 1e-9);
        case.check("log_high", on_logs.lift.high, 1e-8, 1e-9);
    }
}

/// A length of a short list as a float.
fn float(length: usize) -> f64 {
    f64::from(u32::try_from(length).unwrap())
}

/// Revenue: mostly nothing, sometimes something, seldom a great deal.
fn revenue() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![4 => Just(0.0), 3 => 0.0..80.0_f64, 1 => 100.0..50_000.0_f64], 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn cutting_never_cuts_more_than_it_says(
        control in revenue(),
        treatment in revenue(),
        share in 0.0..0.4_f64,
    ) {
        let rule = Winsorising { lower: None, upper: Some(Cut::Share(share)) };
        let result = compare_winsorised(&control, &treatment, rule, 0.05).unwrap();
        let cut = result.control.units_cut + result.treatment.units_cut;
        let units = float(control.len() + treatment.len());
        prop_assert!(float(usize::try_from(cut).unwrap()) <= share * units + 1e-9);
        for (arm, values) in [(result.control, &control), (result.treatment, &treatment)] {
            let plain = Moments::from_values(values.iter().copied()).unwrap();
            prop_assert_eq!(arm.moments.n, plain.n);
            prop_assert!(arm.moments.mean <= plain.mean + 1e-9);
            let moved = arm.moments.mean + arm.value_cut / float(values.len().max(1));
            prop_assert!(close(moved, plain.mean, 1e-9));
        }
    }

    #[test]
    fn nothing_cut_is_nothing_changed(control in revenue(), treatment in revenue()) {
        let rule = Winsorising { lower: None, upper: None };
        let result = compare_winsorised(&control, &treatment, rule, 0.05).unwrap();
        let plain = compare_means(
            &Moments::from_values(control).unwrap(),
            &Moments::from_values(treatment).unwrap(),
            0.05,
        )
        .unwrap();
        prop_assert_eq!(result.comparison.p_value, plain.p_value);
        prop_assert_eq!(result.comparison.difference, plain.difference);
    }

    #[test]
    fn logarithms_do_not_contradict_themselves(control in revenue(), treatment in revenue()) {
        let control = logarithm_moments(&control).unwrap();
        let treatment = logarithm_moments(&treatment).unwrap();
        let comparison = compare_logarithms(&control, &treatment, 0.05).unwrap();
        for estimate in [&comparison.difference, &comparison.lift] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
        }
        let Some(p_value) = comparison.p_value else { return Ok(()) };
        prop_assert_eq!(p_value < 0.05, !comparison.lift.contains_zero(), "{:?}", comparison);
        prop_assert_eq!(p_value < 0.05, !comparison.difference.contains_zero(), "{:?}", comparison);
    }
}
