//! Balance of the arms: agreement with the Python oracle, laws, and how often a fair draw is called unfair.

use crate::fixtures::cases;
use crate::support::{is_presentable, standard_normal, uniform};
use proptest::prelude::*;
use sendlift_stats::CrossMoments;
use sendlift_stats::imbalance::{
    BalanceVerdict, DeliveredArm, DeliveryVerdict, category_balance, covariate_balance, delivery_balance,
};

#[test]
fn covariates_agree_with_the_units() {
    // The oracle inverts the covariance of all arms' means at once: some ten digits.
    for case in cases(include_str!("../oracle/fixtures/imbalance_covariates.csv")) {
        let width = usize::try_from(case.count("width")).unwrap();
        let units = case.values("units");
        let mut rows = units.chunks(width);
        let arms: Vec<CrossMoments> = case
            .text("sizes")
            .split(';')
            .map(|size| CrossMoments::from_rows(rows.by_ref().take(size.parse().unwrap())).unwrap())
            .collect();
        let balance = covariate_balance(&arms).unwrap();
        case.check("statistic", balance.statistic, 1e-7, 1e-9);
        assert_eq!(balance.degrees_of_freedom, case.count("df"));
        case.check("p", balance.p_value, 1e-6, 1e-12);
        case.check("first_p", balance.differences[0].p_value, 1e-7, 1e-12);
        for (difference, expected) in balance.differences.iter().zip(case.values("differences")) {
            assert!((difference.standardised_difference.unwrap() - expected).abs() < 1e-9);
        }
    }
}

#[test]
fn categories_agree_with_scipy() {
    for case in cases(include_str!("../oracle/fixtures/imbalance_categories.csv")) {
        let arms = usize::try_from(case.count("arms")).unwrap();
        let counts: Vec<u64> = case.text("counts").split(';').map(|item| item.parse().unwrap()).collect();
        let table: Vec<Vec<u64>> = counts.chunks(arms).map(<[u64]>::to_vec).collect();
        let balance = category_balance(&table).unwrap();
        case.check("statistic", balance.statistic, 1e-9, 1e-10);
        assert_eq!(balance.degrees_of_freedom, case.count("df"));
        case.check("p", balance.p_value, 1e-7, 1e-300);
        case.check("cramer", balance.cramers_v, 1e-9, 1e-12);
        case.check("explained", balance.share_explained, 1e-8, 1e-12);
    }
}

#[test]
fn delivery_agrees_with_trimming() {
    // Errors are numerical derivatives on the oracle's side: some seven digits.
    for case in cases(include_str!("../oracle/fixtures/imbalance_delivery.csv")) {
        let counts: Vec<u64> = case.text("counts").split(';').map(|item| item.parse().unwrap()).collect();
        let arm = |three: &[u64]| DeliveredArm { assigned: three[0], delivered: three[1], successes: three[2] };
        let balance = delivery_balance(arm(&counts[..3]), arm(&counts[3..]), 0.05).unwrap();
        case.check("low", balance.bounds.low, 1e-9, 1e-11);
        case.check("high", balance.bounds.high, 1e-9, 1e-11);
        case.check("interval_low", balance.bounds_interval.low, 1e-6, 1e-8);
        case.check("interval_high", balance.bounds_interval.high, 1e-6, 1e-8);
    }
}

#[test]
fn a_fair_draw_is_seldom_called_unfair() {
    let runs = 400_u64;
    let (mut low, mut imbalanced) = (0, 0);
    for run in 0..runs {
        let row = |unit: u64| {
            let first = standard_normal(run * 10_000 + unit);
            [first, first + standard_normal(run * 10_000 + 4_000 + unit), f64::from(u8::from(first > 1.0))]
        };
        let arm = |arm: bool| (0..300).filter(move |unit| (uniform(run * 977 + unit * 3) < 0.4) == arm).map(row);
        let arms = [CrossMoments::from_rows(arm(false)).unwrap(), CrossMoments::from_rows(arm(true)).unwrap()];
        let balance = covariate_balance(&arms).unwrap();
        low += u32::from(balance.p_value.unwrap() < 0.05);
        imbalanced += u32::from(balance.verdict != BalanceVerdict::Balanced);
    }
    // 5 % of 400 is 20, give or take 4.
    assert!((6..=36).contains(&low), "{low}");
    assert!(imbalanced <= 3, "{imbalanced}");
}

#[test]
fn bounds_hold_the_effect_when_the_additional_are_the_best() {
    // Of those reached by both arms 10 % succeed without and 13 % with treatment; the treatment also reaches another
    // 5 %, of whom 60 % succeed: intention to treat says +5.7 points of 5 that are the additional ones'.
    let runs = 300_u64;
    let mut covered = 0;
    for run in 0..runs {
        let n = 4_000_u64;
        let near = |rate: f64, place: u64| {
            #[allow(clippy::cast_precision_loss, reason = "thousands")]
            let (mean, units) = (n as f64 * rate, n as f64);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
            let drawn = (mean + standard_normal(run * 8 + place) * (mean * (1.0 - mean / units)).sqrt()).round() as u64;
            drawn
        };
        let arm =
            |successes: u64, failures: u64| DeliveredArm { assigned: n, delivered: successes + failures, successes };
        let control = arm(near(0.08, 0), near(0.72, 1));
        let treatment = arm(near(0.104 + 0.03, 2), near(0.696 + 0.02, 3));
        let balance = delivery_balance(control, treatment, 0.05).unwrap();
        covered += u32::from(balance.bounds_interval.contains(0.03));
        assert_ne!(balance.verdict, DeliveryVerdict::CannotTell);
    }
    assert!(covered >= 285, "{covered}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_order_of_categories_and_arms_does_not_matter(
        table in prop::collection::vec(prop::collection::vec(0_u64..300, 3), 1..8),
    ) {
        let forward = category_balance(&table).unwrap();
        let turned: Vec<Vec<u64>> =
            table.iter().rev().map(|row| row.iter().rev().copied().collect()).collect();
        let backward = category_balance(&turned).unwrap();
        prop_assert_eq!(forward.verdict, backward.verdict);
        prop_assert_eq!(forward.p_value.is_some(), backward.p_value.is_some());
        if let (Some(left), Some(right)) = (forward.p_value, backward.p_value) {
            prop_assert!((left - right).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&left));
            prop_assert!((0.0..=1.0).contains(&forward.cramers_v.unwrap()));
            prop_assert!((0.0..=1.0).contains(&forward.share_explained.unwrap()));
        }
    }

    #[test]
    fn units_of_covariates_do_not_matter(
        values in prop::collection::vec((-5.0..5.0_f64, -5.0..5.0_f64, any::<bool>()), 8..60),
        scale in 0.001..1_000.0_f64,
    ) {
        let of = |arm: bool, factor: f64| {
            let rows = values.iter().filter(|value| value.2 == arm).map(|value| [value.0 * factor + 3.0, value.1]);
            CrossMoments::from_rows(rows).unwrap()
        };
        let plain = covariate_balance(&[of(false, 1.0), of(true, 1.0)]).unwrap();
        let scaled = covariate_balance(&[of(false, scale), of(true, scale)]).unwrap();
        prop_assert_eq!(plain.p_value.is_some(), scaled.p_value.is_some());
        if let (Some(left), Some(right)) = (plain.p_value, scaled.p_value) {
            prop_assert!((left - right).abs() < 1e-6);
        }
    }

    #[test]
    fn delivery_bounds_hold_the_plain_difference(
        counts in (1_u64..5_000, 1_u64..5_000).prop_flat_map(|(first, second)| {
            (Just(first), 1..=first, Just(second), 1..=second)
        }),
        rates in (0.0..=1.0_f64, 0.0..=1.0_f64),
    ) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "thousands"
        )]
        let arm = |assigned: u64, delivered: u64, rate: f64| DeliveredArm {
            assigned,
            delivered,
            successes: (delivered as f64 * rate) as u64,
        };
        let control = arm(counts.0, counts.1, rates.0);
        let treatment = arm(counts.2, counts.3, rates.1);
        let balance = delivery_balance(control, treatment, 0.05).unwrap();
        #[allow(clippy::cast_precision_loss, reason = "thousands")]
        let rate = |arm: DeliveredArm| arm.successes as f64 / arm.delivered as f64;
        let plain = rate(treatment) - rate(control);
        let (low, high) = (balance.bounds.low.unwrap(), balance.bounds.high.unwrap());
        prop_assert!(low - 1e-12 <= plain && plain <= high + 1e-12, "{low} {plain} {high}");
        prop_assert!(balance.bounds_interval.low.unwrap() <= low && high <= balance.bounds_interval.high.unwrap());
        let due = &balance.due_to_delivery;
        prop_assert!(due.low.unwrap() <= due.high.unwrap());
        prop_assert!(is_presentable(&balance.effect.difference));
    }
}
