//! Laws of corrections for several comparisons and of the sample ratio test.

use proptest::prelude::*;
use sendlift_stats::{benjamini_hochberg, holm, sample_ratio_test};

proptest! {
    #[test]
    fn adjusting_raises_and_keeps_the_order(p_values in prop::collection::vec(0.0..=1.0_f64, 0..30)) {
        let by_holm = holm(&p_values).unwrap();
        let by_rate = benjamini_hochberg(&p_values).unwrap();
        for (index, &p_value) in p_values.iter().enumerate() {
            prop_assert!(by_holm[index] >= p_value && by_holm[index] <= 1.0);
            prop_assert!(by_rate[index] >= p_value - 1e-15 && by_rate[index] <= 1.0);
            prop_assert!(by_rate[index] <= by_holm[index] + 1e-12);
            for (other, &other_p_value) in p_values.iter().enumerate() {
                if p_value <= other_p_value {
                    prop_assert!(by_holm[index] <= by_holm[other]);
                    prop_assert!(by_rate[index] <= by_rate[other]);
                }
            }
        }
    }

    #[test]
    fn the_scale_of_weights_does_not_matter(
        arms in prop::collection::vec((1_u64..100_000, 0.1..10.0_f64), 2..6),
        factor in 1e-3..1e3_f64,
    ) {
        let counts: Vec<u64> = arms.iter().map(|arm| arm.0).collect();
        let weights: Vec<f64> = arms.iter().map(|arm| arm.1).collect();
        let rescaled: Vec<f64> = weights.iter().map(|weight| weight * factor).collect();
        let first = sample_ratio_test(&counts, &weights).unwrap();
        let second = sample_ratio_test(&counts, &rescaled).unwrap();
        prop_assert!((0.0..=1.0).contains(&first.p_value));
        prop_assert!((first.p_value - second.p_value).abs() < 1e-9);
        prop_assert_eq!(first.degrees_of_freedom, second.degrees_of_freedom);
    }
}
