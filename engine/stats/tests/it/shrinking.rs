//! Laws of heterogeneity and shrinkage.

use proptest::prelude::*;
use sendlift_stats::{SegmentEffect, heterogeneity, shrink};

fn effects() -> impl Strategy<Value = Vec<SegmentEffect>> {
    prop::collection::vec(
        (-10.0..10.0_f64, 0.01..5.0_f64).prop_map(|(estimate, variance)| SegmentEffect { estimate, variance }),
        2..12,
    )
}

proptest! {
    #[test]
    fn shrinking_moves_towards_the_mean_and_not_past_it(effects in effects()) {
        let spread = heterogeneity(&effects).unwrap();
        prop_assert!((0.0..=1.0).contains(&spread.p_value));
        prop_assert!((0.0..=1.0).contains(&spread.i_squared));
        prop_assert!(spread.tau_squared >= 0.0);
        for (effect, shrunk) in effects.iter().zip(shrink(&effects).unwrap()) {
            let before = effect.estimate - spread.mean;
            let after = shrunk.estimate - spread.mean;
            prop_assert!(after.abs() <= before.abs() + 1e-9);
            prop_assert!(before * after >= -1e-9);
            prop_assert!(shrunk.variance.is_none_or(|variance| variance > 0.0));
            prop_assert_eq!(shrunk.variance.is_some(), effects.len() >= 4);
        }
    }
}
