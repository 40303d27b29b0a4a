//! Merging is associative and free of order: days, segments and partitions may arrive in any way.

use crate::support::close;
use proptest::prelude::*;
use sendlift_stats::{Moments, Proportion};

fn agree(left: Moments, right: Moments) -> bool {
    left.n == right.n
        && close(left.mean, right.mean, 1e-9)
        && close(left.sum_squared_deviations, right.sum_squared_deviations, 1e-9)
}

fn groups() -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec(-1_000.0..1_000.0_f64, 0..12), 0..8)
}

proptest! {
    #[test]
    fn merged_groups_are_the_pooled_values(groups in groups()) {
        let parts: Vec<Moments> = groups
            .iter()
            .map(|group| Moments::from_values(group.iter().copied()).unwrap())
            .collect();
        let pooled = Moments::from_values(groups.iter().flatten().copied()).unwrap();
        let forwards: Moments = parts.iter().sum();
        let backwards: Moments = parts.iter().rev().sum();
        prop_assert!(agree(forwards, pooled), "{forwards:?} {pooled:?}");
        prop_assert!(agree(backwards, pooled), "{backwards:?} {pooled:?}");
    }

    #[test]
    fn merging_is_associative(
        first in prop::collection::vec(-1e6..1e6_f64, 0..20),
        second in prop::collection::vec(-1.0..1.0_f64, 0..20),
        third in prop::collection::vec(-1e3..1e3_f64, 0..20),
    ) {
        let first = Moments::from_values(first).unwrap();
        let second = Moments::from_values(second).unwrap();
        let third = Moments::from_values(third).unwrap();
        let left = first.merge(second).merge(third);
        let right = first.merge(second.merge(third));
        prop_assert!(agree(left, right), "{left:?} {right:?}");
    }

    #[test]
    fn a_variance_is_never_negative(values in prop::collection::vec(-1e9..1e9_f64, 2..40)) {
        let moments = Moments::from_values(values).unwrap();
        prop_assert!(moments.variance().unwrap() >= 0.0);
    }

    #[test]
    fn counts_are_added(parts in prop::collection::vec((0_u64..1_000, 0_u64..1_000), 0..10)) {
        let parts: Vec<Proportion> = parts
            .into_iter()
            .map(|(failures, successes)| Proportion { n: failures + successes, successes })
            .collect();
        let whole: Proportion = parts.iter().sum();
        prop_assert_eq!(whole.n, parts.iter().map(|part| part.n).sum::<u64>());
        prop_assert_eq!(whole.successes, parts.iter().map(|part| part.successes).sum::<u64>());
    }
}
