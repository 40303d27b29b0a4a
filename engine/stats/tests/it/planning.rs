//! Laws of plans: each question is the inverse of the others.

use crate::support::close;
use proptest::prelude::*;
use sendlift_stats::plan::{
    detectable_difference_for_means, detectable_difference_for_proportions, power_for_means, power_for_proportions,
    units_for_means, units_for_proportions,
};

proptest! {
    #[test]
    fn planned_units_have_the_power(
        baseline in 0.001..0.9_f64,
        share_of_room in 0.01..0.9_f64,
        power in 0.5..0.99_f64,
    ) {
        let difference = share_of_room * (1.0 - baseline);
        let n = units_for_proportions(baseline, difference, 0.05, power).unwrap();
        prop_assert!(power_for_proportions(baseline, difference, n, 0.05).unwrap() >= power - 1e-9);
        if n > 1 {
            // One unit fewer has less on the right side; the wrong side adds at most half of alpha.
            let fewer = power_for_proportions(baseline, difference, n - 1, 0.05).unwrap();
            prop_assert!(fewer < power + 0.025);
        }
    }

    #[test]
    fn the_detectable_rise_needs_those_units(
        baseline in 0.001..0.9_f64,
        n in 50_u64..1_000_000,
        power in 0.5..0.99_f64,
    ) {
        let found = detectable_difference_for_proportions(baseline, n, 0.05, power).unwrap();
        let Some(difference) = found else { return Ok(()); };
        prop_assert!(difference > 0.0 && baseline + difference <= 1.0 + 1e-12);
        prop_assert!(units_for_proportions(baseline, difference, 0.05, power).unwrap() <= n);
        prop_assert!(
            units_for_proportions(baseline, difference * 0.99, 0.05, power).unwrap() >= n
        );
    }

    #[test]
    fn means_turn_round_as_well(
        variance in 0.1..1_000.0_f64,
        n in 2_u64..1_000_000,
        power in 0.5..0.99_f64,
    ) {
        let difference = detectable_difference_for_means(variance, n, 0.05, power).unwrap().unwrap();
        prop_assert_eq!(units_for_means(variance, difference, 0.05, power).unwrap(), n);
        let reached = power_for_means(variance, difference, n, 0.05).unwrap();
        prop_assert!(close(reached, power, 1e-3), "{} {}", reached, power);
    }
}
