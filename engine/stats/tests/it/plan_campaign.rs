//! Laws of campaign plans, and their agreement with the Python oracle.

use crate::fixtures::cases;
use crate::support::close;
use proptest::prelude::*;
use sendlift_stats::plan_campaign::{
    CampaignDesign, PlannedMetric, SharedAlpha, TestThenRoll, always_valid_inflation, dunnett_critical_value,
};

#[test]
fn tests_of_part_of_a_list_agree_with_scipy() {
    // Simpson's rule against adaptive quadrature: 1e-9 of a profit, as seen by doubling the intervals. Close to the
    // optimum profit hardly changes: the size may differ by one, its profit may not.
    for case in cases(include_str!("../oracle/fixtures/test_and_roll.csv")) {
        let campaign = TestThenRoll {
            list_size: case.count("list_size"),
            prior_mean: case.value("mean"),
            prior_deviation: case.value("sigma"),
            response_deviation: case.value("s"),
            value_per_response: case.value("value"),
            message_cost: (case.value("cost_1"), case.value("cost_2")),
            opt_out_rate: (case.value("opt_1"), case.value("opt_2")),
            opt_out_cost: case.value("opt_cost"),
            may_send_nothing: case.text("nothing") == "1",
        };
        let test = campaign.best_test().unwrap();
        assert!(test.per_arm.abs_diff(case.count("per_arm")) <= 1, "{campaign:?} {test:?}");
        case.check("profit", Some(test.expected_profit), 1e-8, 1e-8 * case.value("list_size"));
        assert!(test.expected_profit <= test.profit_if_known + 1e-6);
        assert!(test.expected_profit >= test.profit_without_test);
    }
}

#[test]
fn units_agree_with_scipy() {
    // Rounded up: one unit apart where rounding falls on either side of a whole number, of a plain design, which covariates
    // and looks multiply by at most two.
    for case in cases(include_str!("../oracle/fixtures/campaign_units.csv")) {
        let metric = match case.text("kind") {
            "mean" => PlannedMetric::Mean { variance: case.value("variance") },
            _ => PlannedMetric::Proportion { baseline: case.value("baseline") },
        };
        let design = CampaignDesign {
            metric,
            alpha: case.value("alpha"),
            power: case.value("power"),
            treatments: case.text("treatments").parse().unwrap(),
            shared_alpha: match case.text("shared") {
                "unshared" => SharedAlpha::Unshared,
                "bonferroni" => SharedAlpha::Bonferroni,
                _ => SharedAlpha::Dunnett,
            },
            variance_removed: case.value("removed"),
            inflation: case.value("inflation"),
        };
        let needed = design.units(case.value("difference")).unwrap();
        case.check("each", Some(needed.comparison_alpha), 1e-7, 0.0);
        let allowed = 2 + case.count("per_arm") / 10_000_000;
        assert!(needed.per_arm.abs_diff(case.count("per_arm")) <= allowed, "{design:?} {needed:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn planned_units_have_the_power(
        baseline in 0.01..0.6_f64,
        rise in 0.05..0.5_f64,
        treatments in 1_u32..5,
        variance_removed in 0.0..0.8_f64,
        inflation in 1.0..2.0_f64,
    ) {
        let design = CampaignDesign {
            treatments,
            variance_removed,
            inflation,
            ..CampaignDesign::simple(PlannedMetric::Proportion { baseline }, 0.05, 0.8)
        };
        let difference = baseline * rise;
        let needed = design.units(difference).unwrap();
        prop_assert!(design.power_at(difference, needed.per_arm).unwrap() >= 0.8 - 1e-9);
        prop_assert_eq!(needed.total, needed.per_arm * (u64::from(treatments) + 1));
        let found = design.detectable_difference(needed.per_arm).unwrap().unwrap();
        prop_assert!(found <= difference * (1.0 + 1e-9));
    }

    #[test]
    fn sharing_costs_between_nothing_and_bonferroni(treatments in 2_u32..8, alpha in 0.001..0.3_f64) {
        let design = CampaignDesign {
            treatments,
            shared_alpha: SharedAlpha::Dunnett,
            ..CampaignDesign::simple(PlannedMetric::Mean { variance: 1.0 }, alpha, 0.9)
        };
        let each = design.comparison_alpha().unwrap();
        prop_assert!(each < alpha && each > alpha / f64::from(treatments) - 1e-9);
        let fewer = dunnett_critical_value(treatments - 1, alpha).unwrap();
        prop_assert!(dunnett_critical_value(treatments, alpha).unwrap() > fewer);
        prop_assert!(always_valid_inflation(alpha, 0.9).unwrap() > 1.0);
    }

    #[test]
    fn the_currency_of_a_test_does_not_matter(
        list_size in 10_u64..50_000,
        mean in 0.01..0.3_f64,
        spread in 0.05..0.5_f64,
        nothing in any::<bool>(),
    ) {
        let pounds = TestThenRoll {
            list_size,
            prior_mean: mean,
            prior_deviation: mean * spread,
            response_deviation: (mean * (1.0 - mean)).sqrt(),
            value_per_response: 3.0,
            message_cost: (mean, mean * 1.1),
            opt_out_rate: (0.01, 0.01),
            opt_out_cost: 0.5,
            may_send_nothing: nothing,
        };
        let pence = TestThenRoll {
            value_per_response: 300.0,
            message_cost: (100.0 * mean, 110.0 * mean),
            opt_out_cost: 50.0,
            ..pounds
        };
        let (pounds, pence) = (pounds.best_test().unwrap(), pence.best_test().unwrap());
        prop_assert!(close(100.0 * pounds.expected_profit, pence.expected_profit, 1e-8));
        prop_assert!(2 * pounds.per_arm <= list_size);
        prop_assert!(pounds.expected_profit >= pounds.profit_without_test);
    }
}
