//! Laws of cluster comparisons, and their agreement with the Python oracle.

use crate::fixtures::{Case, cases};
use crate::support::{close, holds_its_estimate, is_presentable};
use proptest::prelude::*;
use sendlift_stats::cluster::{ClusterTotal, WildBootstrap, cluster_effect, compare_clusters};
use sendlift_stats::{RatioMoments, compare_ratios};

fn arm(case: &Case, units: &str, totals: &str) -> Vec<ClusterTotal> {
    let units = case.text(units).split(';').map(|units| units.parse().unwrap());
    units.zip(case.values(totals)).map(|(units, total)| ClusterTotal { units, total }).collect()
}

#[test]
fn bias_reduction_and_bootstrap_agree_with_numpy() {
    // Eleven digits in the fixture; the oracle takes eigenvalues of matrices of up to 150 units, right to about 1e-12.
    for case in cases(include_str!("../oracle/fixtures/cluster.csv")) {
        let control = arm(&case, "units_c", "totals_c");
        let treatment = arm(&case, "units_t", "totals_t");
        let effect = cluster_effect(&control, &treatment).unwrap();
        case.check("error", effect.standard_error(), 1e-9, 0.0);
        case.check("df", effect.degrees_of_freedom(), 1e-9, 0.0);
        let comparison = effect.comparison(0.05, "CR2").unwrap();
        case.check("difference", comparison.difference.estimate, 1e-9, 1e-10);
        case.check("p", comparison.p_value, 1e-8, 1e-12);
        case.check("low", comparison.difference.low, 1e-8, 1e-9);
        case.check("high", comparison.difference.high, 1e-8, 1e-9);
        if case.number("wild_p").is_some() {
            let wild = WildBootstrap::default().compare(&control, &treatment, 0.05).unwrap();
            case.check("wild_p", wild.p_value, 1e-9, 0.0);
        }
    }
}

/// Shops whose visits differ much: their revenue by visit, the same in both arms. Whoever forgets how much a large shop
/// pulls its own arm's ratio finds too much.
#[test]
fn ratios_of_few_clusters_keep_their_level() {
    let mut state = 7_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 32).unwrap()) / 4_294_967_296.0
    };
    let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
    let (mut by_rule, mut linearised) = (0, 0);
    let replicates = 1_000;
    for _ in 0..replicates {
        let mut arm = || -> Vec<ClusterTotal> {
            let shop = |_| {
                let visits = 20.0 * (1.2 * normal()).exp();
                ClusterTotal { units: visits, total: visits * (3.0 + normal()) }
            };
            (0..10).map(shop).collect()
        };
        let (control, treatment) = (arm(), arm());
        let options = WildBootstrap { seed: 5, replicates: 99 };
        let chosen = compare_clusters(&control, &treatment, 0.05, options).unwrap();
        by_rule += u32::from(chosen.comparison.p_value.unwrap() < 0.05);
        let moments = |arm: &[ClusterTotal]| {
            RatioMoments::from_values(arm.iter().map(|cluster| (cluster.total, cluster.units))).unwrap()
        };
        let delta = compare_ratios(&moments(&control), &moments(&treatment), 0.05).unwrap();
        linearised += u32::from(delta.p_value.is_some_and(|p_value| p_value < 0.05));
    }
    // Four Monte-Carlo errors above 5 %. Seen: 69, and 96 by the delta method.
    assert!(by_rule <= 78, "{by_rule} of {replicates}");
    assert!(linearised > 78, "{linearised} of {replicates}: the simulation shows nothing");
}

fn clusters() -> impl Strategy<Value = Vec<ClusterTotal>> {
    prop::collection::vec((0_u32..9, -20.0..50.0_f64), 0..9).prop_map(|clusters| {
        clusters
            .into_iter()
            .map(|(units, mean)| ClusterTotal { units: f64::from(units), total: if units == 0 { 0.0 } else { mean } })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn test_and_intervals_never_contradict_one_another(control in clusters(), treatment in clusters()) {
        let options = WildBootstrap { seed: 3, replicates: 199 };
        let result = compare_clusters(&control, &treatment, 0.1, options).unwrap();
        let comparison = result.comparison;
        for estimate in [&comparison.difference, &comparison.lift] {
            prop_assert!(is_presentable(estimate), "{:?}", estimate);
            prop_assert!(holds_its_estimate(estimate), "{:?}", estimate);
        }
        let Some(p_value) = comparison.p_value else { return Ok(()) };
        prop_assert!((0.0..=1.0).contains(&p_value));
        prop_assert_eq!(p_value < 0.1, !comparison.difference.contains_zero(), "{:?}", comparison);
        prop_assert!(result.degrees_of_freedom.is_none_or(|degrees| degrees > 0.0));
    }

    #[test]
    fn swapping_the_arms_turns_the_sign(control in clusters(), treatment in clusters()) {
        let there = cluster_effect(&control, &treatment).unwrap();
        let back = cluster_effect(&treatment, &control).unwrap();
        match (there.statistic(), back.statistic()) {
            (Some(there), Some(back)) => prop_assert!(close(there, -back, 1e-9)),
            (there, back) => prop_assert_eq!(there.is_some(), back.is_some()),
        }
    }
}
