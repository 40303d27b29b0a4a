//! Laws of the anytime-valid sample ratio test, and its agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::close;
use proptest::prelude::*;
use sendlift_stats::sample_ratio_sequential::{
    DEFAULT_CONCENTRATION, anytime_sample_ratio_test, sequential_sample_ratio_test,
};

#[test]
fn paths_agree_with_the_definition() {
    // The oracle adds up gamma functions with 40 digits; here deviances and Stirling's errors are each right to the
    // last bits, and up to a million units a look leaves some 1e-12.
    for case in cases(include_str!("../oracle/fixtures/sample_ratio_sequential.csv")) {
        let gained: Vec<Vec<u64>> = case
            .text("gained")
            .split(';')
            .map(|look| look.split(' ').map(|count| count.parse().unwrap()).collect())
            .collect();
        let looks =
            sequential_sample_ratio_test(&gained, &case.values("weights"), case.value("concentration")).unwrap();
        let log_e_values = case.values("log_e_values");
        let p_values = case.values("p_values");
        assert_eq!(looks.len(), log_e_values.len());
        for ((look, log_e_value), p_value) in looks.iter().zip(&log_e_values).zip(&p_values) {
            assert!(close(look.log_e_value.unwrap(), *log_e_value, 1e-10), "{look:?} {log_e_value}");
            // The relative error of e is the absolute error of its logarithm.
            let allowed = 1e-10 * p_value * log_e_value.abs().max(1.0);
            assert!((look.p_value - p_value).abs() <= allowed, "{look:?} {p_value}");
        }
    }
}

proptest! {
    #[test]
    fn every_look_is_a_probability_and_none_takes_evidence_back(
        gained in prop::collection::vec(prop::collection::vec(0_u64..100_000, 3), 0..8),
        weights in prop::collection::vec(0.01..100.0_f64, 3),
        concentration in 0.01..1e5_f64,
    ) {
        let looks = sequential_sample_ratio_test(&gained, &weights, concentration).unwrap();
        prop_assert_eq!(looks.len(), gained.len());
        let mut before = 1.0;
        for look in &looks {
            prop_assert!(look.log_e_value.is_some_and(f64::is_finite), "{:?}", look);
            prop_assert!(look.p_value >= 0.0 && look.p_value <= before, "{:?}", looks);
            before = look.p_value;
        }
    }

    #[test]
    fn neither_the_scale_of_weights_nor_the_order_of_arms_matters(
        arms in prop::collection::vec((0_u64..1_000_000, 0.1..10.0_f64), 2..6),
        factor in 1e-3..1e3_f64,
    ) {
        let counts: Vec<u64> = arms.iter().map(|arm| arm.0).collect();
        let weights: Vec<f64> = arms.iter().map(|arm| arm.1).collect();
        let rescaled: Vec<f64> = weights.iter().rev().map(|weight| weight * factor).collect();
        let reversed: Vec<u64> = counts.iter().rev().copied().collect();
        let first = anytime_sample_ratio_test(&counts, &weights, DEFAULT_CONCENTRATION).unwrap();
        let second = anytime_sample_ratio_test(&reversed, &rescaled, DEFAULT_CONCENTRATION).unwrap();
        prop_assert!(close(first.log_e_value.unwrap(), second.log_e_value.unwrap(), 1e-8));
    }

    #[test]
    fn counts_in_the_intended_shares_are_no_evidence(n in 1_u64..1_000_000) {
        let look = anytime_sample_ratio_test(&[n, 2 * n], &[1.0, 2.0], DEFAULT_CONCENTRATION).unwrap();
        prop_assert!(look.log_e_value.unwrap() <= 1e-9);
        prop_assert!(look.p_value > 1.0 - 1e-9);
    }
}
