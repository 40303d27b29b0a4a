//! Laws of comparisons of proportions.

use crate::support::{alpha, close, ends_close, holds_its_estimate, is_presentable, proportion};
use proptest::prelude::*;
use sendlift_stats::proportion::{newcombe_interval, score_interval_ratio, wilson_interval};
use sendlift_stats::{VarianceCorrection, compare_proportions};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn test_and_intervals_never_contradict_one_another(
        control in proportion(),
        treatment in proportion(),
        alpha in alpha(),
    ) {
        let comparison = compare_proportions(control, treatment, alpha).unwrap();
        let p_value = comparison.p_value.unwrap();
        prop_assert!((0.0..=1.0).contains(&p_value));
        let found = p_value < alpha;
        prop_assert_eq!(found, !comparison.difference.contains_zero(), "{:?}", comparison);
        if control.successes > 0 || treatment.successes > 0 {
            prop_assert_eq!(found, !comparison.lift.contains_zero(), "{:?}", comparison);
        }
    }

    #[test]
    fn every_number_is_finite_and_every_gap_explained(
        control in proportion(),
        treatment in proportion(),
        alpha in alpha(),
    ) {
        let comparison = compare_proportions(control, treatment, alpha).unwrap();
        prop_assert!(comparison.statistic.is_some_and(f64::is_finite));
        for estimate in [&comparison.difference, &comparison.lift] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
            prop_assert!(holds_its_estimate(estimate), "{:?}", estimate);
        }
        prop_assert!(comparison.difference.low.is_some_and(|low| low >= -1.0));
        prop_assert!(comparison.difference.high.is_some_and(|high| high <= 1.0));
        prop_assert!(comparison.lift.low.is_none_or(|low| low >= -1.0));
    }

    #[test]
    fn swapping_the_arms_turns_the_sign(
        control in proportion(),
        treatment in proportion(),
        alpha in alpha(),
    ) {
        let there = compare_proportions(control, treatment, alpha).unwrap();
        let back = compare_proportions(treatment, control, alpha).unwrap();
        prop_assert!(close(there.p_value.unwrap(), back.p_value.unwrap(), 1e-12));
        prop_assert!(close(there.statistic.unwrap(), -back.statistic.unwrap(), 1e-12));
        let turned = back.difference.high.map(|high| -high);
        prop_assert!(ends_close(there.difference.low, turned, 1e-12));
        let turned = back.difference.low.map(|low| -low);
        prop_assert!(ends_close(there.difference.high, turned, 1e-12));
    }

    #[test]
    fn swapping_the_arms_turns_the_ratio_over(
        control in proportion(),
        treatment in proportion(),
        alpha in alpha(),
    ) {
        prop_assume!(control.successes > 0 && treatment.successes > 0);
        let correction = VarianceCorrection::MiettinenNurminen;
        let there = score_interval_ratio(control, treatment, alpha, correction).unwrap();
        let back = score_interval_ratio(treatment, control, alpha, correction).unwrap();
        let turned = back.high.map(|high| 1.0 / high);
        prop_assert!(ends_close(there.low, turned, 1e-9), "{:?} {:?}", there, back);
    }

    #[test]
    fn smaller_alphas_give_wider_intervals(control in proportion(), treatment in proportion()) {
        let narrow = compare_proportions(control, treatment, 0.2).unwrap().difference;
        let wide = compare_proportions(control, treatment, 0.01).unwrap().difference;
        prop_assert!(wide.low.unwrap() <= narrow.low.unwrap());
        prop_assert!(narrow.high.unwrap() <= wide.high.unwrap());
    }

    #[test]
    fn wilson_and_newcombe_stay_in_range(
        control in proportion(),
        treatment in proportion(),
        alpha in alpha(),
    ) {
        let one = wilson_interval(control.successes, control.n, alpha).unwrap();
        prop_assert!(one.low.unwrap() >= 0.0 && one.high.unwrap() <= 1.0);
        let rate = control.rate().unwrap();
        prop_assert!(one.low.unwrap() <= rate + 1e-12 && rate <= one.high.unwrap() + 1e-12);
        let two = newcombe_interval(control, treatment, alpha).unwrap();
        prop_assert!(two.low.unwrap() >= -1.0 - 1e-12 && two.high.unwrap() <= 1.0 + 1e-12);
    }
}
