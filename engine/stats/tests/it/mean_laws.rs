//! Laws of comparisons of means.

use crate::support::{alpha, close, ends_close, holds_its_estimate, is_presentable, moments, revenue};
use proptest::prelude::*;
use sendlift_stats::{Moments, compare_means};

/// The moments of the same values, each multiplied by `factor`.
fn scaled(moments: Moments, factor: f64) -> Moments {
    Moments {
        n: moments.n,
        mean: moments.mean * factor,
        sum_squared_deviations: moments.sum_squared_deviations * factor * factor,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn test_and_intervals_never_contradict_one_another(
        control in moments(),
        treatment in moments(),
        alpha in alpha(),
    ) {
        let comparison = compare_means(&control, &treatment, alpha).unwrap();
        let p_value = comparison.p_value.unwrap();
        prop_assert!((0.0..=1.0).contains(&p_value));
        let found = p_value < alpha;
        prop_assert_eq!(found, !comparison.difference.contains_zero(), "{:?}", comparison);
        if comparison.lift.estimate.is_some() {
            prop_assert_eq!(found, !comparison.lift.contains_zero(), "{:?}", comparison);
        }
    }

    #[test]
    fn every_number_is_finite_and_every_gap_explained(
        control in moments(),
        treatment in moments(),
        alpha in alpha(),
    ) {
        let comparison = compare_means(&control, &treatment, alpha).unwrap();
        prop_assert!(comparison.statistic.is_some_and(f64::is_finite));
        for estimate in [&comparison.difference, &comparison.lift] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
            prop_assert!(holds_its_estimate(estimate), "{:?}", estimate);
        }
    }

    #[test]
    fn a_positive_difference_is_a_positive_lift(control in moments(), treatment in moments()) {
        let comparison = compare_means(&control, &treatment, 0.05).unwrap();
        let (Some(difference), Some(lift)) =
            (comparison.difference.estimate, comparison.lift.estimate)
        else {
            return Ok(());
        };
        prop_assert_eq!(difference > 0.0, lift > 0.0);
        prop_assert_eq!(difference < 0.0, lift < 0.0);
    }

    #[test]
    fn swapping_the_arms_turns_the_sign(
        control in moments(),
        treatment in moments(),
        alpha in alpha(),
    ) {
        let there = compare_means(&control, &treatment, alpha).unwrap();
        let back = compare_means(&treatment, &control, alpha).unwrap();
        prop_assert!(close(there.p_value.unwrap(), back.p_value.unwrap(), 1e-9));
        prop_assert!(close(there.statistic.unwrap(), -back.statistic.unwrap(), 1e-9));
        let turned = back.difference.high.map(|high| -high);
        prop_assert!(ends_close(there.difference.low, turned, 1e-9));
        let turned = back.difference.low.map(|low| -low);
        prop_assert!(ends_close(there.difference.high, turned, 1e-9));
    }

    #[test]
    fn pence_and_pounds_give_the_same_verdict(
        control in revenue(),
        treatment in revenue(),
        alpha in alpha(),
    ) {
        let pounds = compare_means(&control, &treatment, alpha).unwrap();
        let pence =
            compare_means(&scaled(control, 100.0), &scaled(treatment, 100.0), alpha).unwrap();
        prop_assert!(close(pounds.p_value.unwrap(), pence.p_value.unwrap(), 1e-9));
        prop_assert!(close(
            pounds.difference.estimate.unwrap() * 100.0,
            pence.difference.estimate.unwrap(),
            1e-9,
        ));
        prop_assert!(ends_close(pounds.lift.estimate, pence.lift.estimate, 1e-9));
        // Where the control mean can be told from zero the lift is bounded, whatever the coin.
        prop_assert!(ends_close(pounds.lift.low, pence.lift.low, 1e-6), "{:?} {:?}", pounds, pence);
        prop_assert!(ends_close(pounds.lift.high, pence.lift.high, 1e-6), "{:?} {:?}", pounds, pence);
    }
}
