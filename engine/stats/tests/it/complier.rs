//! Laws of the complier effect, and its agreement with the Python oracle.

use crate::fixtures::{Case, cases};
use crate::support::{alpha, close, holds_its_estimate, is_presentable};
use proptest::prelude::*;
use sendlift_stats::complier::{ComplierTest, DeliveryArm, KeptEffects, complier_effect};
use sendlift_stats::{Moments, Proportion, VarianceCorrection};

fn group(case: &Case, column: &str) -> Moments {
    Moments::from_values(case.values(column)).unwrap()
}

#[test]
fn complier_effects_agree_with_two_stage_least_squares() {
    // NumPy's matrices and roots are good to about 1e-12 relative to the largest term; where delivery hardly differs
    // the ends are far out and lose digits, hence 1e-6.
    for case in cases(include_str!("../oracle/fixtures/complier.csv")) {
        let control = DeliveryArm {
            delivered: group(&case, "control_delivered"),
            undelivered: group(&case, "control_undelivered"),
        };
        let treatment = DeliveryArm {
            delivered: group(&case, "treatment_delivered"),
            undelivered: group(&case, "treatment_undelivered"),
        };
        let result = complier_effect(&control, &treatment, ComplierTest::Welch, case.value("alpha")).unwrap();
        case.check("effect", result.effect.estimate, 1e-9, 1e-10);
        case.check("error", result.standard_error, 1e-8, 0.0);
        case.check("classical", result.classical_standard_error, 1e-8, 0.0);
        case.check("p", result.p_value, 1e-8, 1e-13);
        case.check("compliance", result.compliance.estimate, 1e-10, 1e-12);
        let (shape, ends) = match result.kept {
            KeptEffects::Bounded { low, high } => ("bounded", (Some(low), Some(high))),
            KeptEffects::TwoRays { up_to, from } => ("two_rays", (Some(up_to), Some(from))),
            KeptEffects::Everything => ("everything", (None, None)),
            other => panic!("{other:?}"),
        };
        assert_eq!(shape, case.text("shape"));
        case.check("low", ends.0, 1e-6, 1e-9);
        case.check("high", ends.1, 1e-6, 1e-9);
    }
}

/// An arm of a metric that is met or not.
fn arm() -> impl Strategy<Value = DeliveryArm> {
    let group =
        || (0_u64..400).prop_flat_map(|n| (Just(n), 0..=n)).prop_map(|(n, successes)| Proportion { n, successes });
    (group(), group())
        .prop_map(|(delivered, undelivered)| DeliveryArm::from_proportions(delivered, undelivered).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_effect_agrees_with_intention_to_treat(
        control in arm(),
        treatment in arm(),
        alpha in alpha(),
        pooled in any::<bool>(),
    ) {
        let test = if pooled { ComplierTest::PooledZ } else { ComplierTest::Welch };
        let result = complier_effect(&control, &treatment, test, alpha).unwrap();
        prop_assert!(is_presentable(&result.effect), "{:?}", result);
        prop_assert!(holds_its_estimate(&result.effect), "{:?}", result);
        prop_assert!(result.p_value.is_none_or(|p_value| (0.0..=1.0).contains(&p_value)));
        if result.kept == KeptEffects::Unknown {
            return Ok(());
        }
        // Rounding decides where the p value is alpha to the last digits.
        let p_value = result.p_value.unwrap();
        if (p_value - alpha).abs() > 1e-9 * alpha {
            prop_assert_eq!(p_value < alpha, !result.effect.contains_zero(), "{:?}", result);
        }
    }

    #[test]
    fn swapping_the_arms_changes_nothing(control in arm(), treatment in arm()) {
        let there = complier_effect(&control, &treatment, ComplierTest::PooledZ, 0.05).unwrap();
        let back = complier_effect(&treatment, &control, ComplierTest::PooledZ, 0.05).unwrap();
        if let (Some(there), Some(back)) = (there.effect.estimate, back.effect.estimate) {
            prop_assert!(close(there, back, 1e-9));
        }
        if let (KeptEffects::Bounded { low, high }, KeptEffects::Bounded { low: other_low, high: other_high }) =
            (there.kept, back.kept)
        {
            prop_assert!(close(low, other_low, 1e-6) && close(high, other_high, 1e-6));
        }
    }

    #[test]
    fn the_pooled_test_is_the_pooled_z(control in arm(), treatment in arm()) {
        let result = complier_effect(&control, &treatment, ComplierTest::PooledZ, 0.05).unwrap();
        let counts = |arm: &DeliveryArm| {
            let outcome = arm.outcome();
            // Whole by construction; the mean of at most 800 ones and zeros.
            let successes = (0..=outcome.n).find(|&successes| {
                Proportion { n: outcome.n, successes }.rate().is_some_and(|rate| (rate - outcome.mean).abs() < 1e-6)
            });
            Proportion { n: outcome.n, successes: successes.unwrap_or(0) }
        };
        let (control, treatment) = (counts(&control), counts(&treatment));
        let z_test =
            sendlift_stats::proportion::pooled_z_test(control, treatment, VarianceCorrection::Uncorrected).unwrap();
        match (result.p_value, z_test) {
            (Some(p_value), Some(z_test)) => prop_assert!(close(p_value, z_test.p_value, 1e-8)),
            (p_value, z_test) => prop_assert!(p_value.is_none() && z_test.is_none()),
        }
    }
}
