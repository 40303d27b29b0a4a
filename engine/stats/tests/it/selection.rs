//! Laws of inference after selection, and its agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::{alpha, close, is_presentable};
use proptest::prelude::*;
use sendlift_stats::selection::{Contender, best_arm, false_coverage_alpha, significant_estimate};

#[test]
fn the_best_arm_agrees_with_the_definition() {
    // Tails are right to 1e-13 and roots to the last bits; the conditional ends are the less well determined the closer
    // the race, by the distance to the cut-off in standard errors: at a hundredth, 1e-8.
    for case in cases(include_str!("../oracle/fixtures/selection.csv")) {
        let arms: Vec<Contender> = case
            .values("estimates")
            .into_iter()
            .zip(case.values("errors"))
            .map(|(estimate, standard_error)| Contender { estimate, standard_error })
            .collect();
        let best = best_arm(&arms, case.value("shared"), case.value("alpha")).unwrap();
        assert_eq!(best.index as u64, case.count("index"));
        case.check("cut_off", best.cut_off, 1e-9, 1e-11);
        case.check("conditional", best.conditional.estimate, 1e-7, 1e-7);
        case.check("conditional_low", best.conditional.low, 1e-7, 1e-7);
        case.check("conditional_high", best.conditional.high, 1e-7, 1e-7);
        case.check("hybrid", best.hybrid.estimate, 1e-8, 1e-8);
        case.check("hybrid_low", best.hybrid.low, 1e-8, 1e-8);
        case.check("hybrid_high", best.hybrid.high, 1e-8, 1e-8);
    }
}

fn contenders() -> impl Strategy<Value = Vec<Contender>> {
    let contender =
        (-5.0..5.0_f64, 0.5..3.0_f64).prop_map(|(estimate, standard_error)| Contender { estimate, standard_error });
    prop::collection::vec(contender, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_winner_is_corrected_downwards(arms in contenders(), share in 0.0..0.9_f64, alpha in alpha()) {
        let least = arms.iter().map(|arm| arm.standard_error).fold(f64::INFINITY, f64::min);
        let best = best_arm(&arms, share * least * least, alpha).unwrap();
        for estimate in [&best.naive, &best.conditional, &best.hybrid] {
            prop_assert!(is_presentable(estimate), "{:?}", best);
        }
        let naive = best.naive.estimate.unwrap();
        prop_assert!(arms.iter().all(|arm| arm.estimate <= naive));
        prop_assert!(best.cut_off.is_none_or(|cut_off| cut_off <= naive + 1e-9));
        prop_assert!(best.conditional.estimate.is_none_or(|estimate| estimate <= naive + 1e-6));
        prop_assert!(best.hybrid.estimate.unwrap() <= naive + 1e-6);
        prop_assert!(best.hybrid.low.unwrap() <= best.hybrid.estimate.unwrap() + 1e-6);
        prop_assert!(best.hybrid.estimate.unwrap() <= best.hybrid.high.unwrap() + 1e-6);
    }

    #[test]
    fn units_do_not_matter(arms in contenders(), factor in 0.001..1000.0_f64) {
        let scaled: Vec<Contender> = arms
            .iter()
            .map(|arm| Contender { estimate: arm.estimate * factor, standard_error: arm.standard_error * factor })
            .collect();
        let before = best_arm(&arms, 0.0, 0.05).unwrap();
        let after = best_arm(&scaled, 0.0, 0.05).unwrap();
        prop_assert_eq!(before.index, after.index);
        let expected = before.hybrid.estimate.unwrap() * factor;
        prop_assert!(close(after.hybrid.estimate.unwrap() / factor, expected / factor, 1e-6));
    }

    #[test]
    fn picking_more_narrows(picked in prop::collection::vec(any::<bool>(), 1..20), alpha in alpha()) {
        let adjusted = false_coverage_alpha(&picked, alpha).unwrap();
        let any = picked.iter().any(|&picked| picked);
        prop_assert_eq!(adjusted.is_some(), any);
        prop_assert!(adjusted.is_none_or(|adjusted| adjusted > 0.0 && adjusted <= alpha * (1.0 + 1e-12)));
    }

    #[test]
    fn significance_is_corrected_towards_zero(z in -20.0..20.0_f64, error in 0.01..10.0_f64) {
        let likeliest = significant_estimate(z * error, error, 0.05).unwrap();
        if let Some(likeliest) = likeliest {
            prop_assert!(likeliest.abs() <= (z * error).abs() * (1.0 + 1e-12));
            prop_assert!(likeliest * z >= 0.0);
        }
    }
}
