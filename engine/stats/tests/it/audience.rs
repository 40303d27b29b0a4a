//! Audiences: agreement with linear and integer programmes, and laws.

use crate::fixtures::{Case, cases};
use crate::support::{close, is_presentable};
use proptest::prelude::*;
use sendlift_stats::Estimate;
use sendlift_stats::audience::{
    Audience, AudienceLimits, AudienceUnits, PolicyUnits, Uncertainty, choose_audience, policy_value,
};

const CRITICAL: f64 = 1.959_963_984_540_054;

fn choose(profit: &[f64], cost: &[f64], budget: Option<f64>, most_units: Option<u64>) -> Audience {
    let units = AudienceUnits { profit, cost, uncertainty: Uncertainty::Unknown };
    choose_audience(units, AudienceLimits { budget, most_units }, 0.05).unwrap()
}

fn column(case: &str, table: &[Case], name: &str) -> Vec<f64> {
    table.iter().filter(|line| line.text("case") == case).map(|line| line.value(name)).collect()
}

#[test]
fn audiences_agree_with_programmes() {
    // The bound is the linear programme's value to the digits of the fixture; whole units lose less than one unit.
    let table = cases(include_str!("../oracle/fixtures/audience_units.csv"));
    let (mut compared_prices, mut optimal, mut number) = (0, 0, 0);
    for case in cases(include_str!("../oracle/fixtures/audience.csv")) {
        let (profit, cost) = (column(case.text("case"), &table, "profit"), column(case.text("case"), &table, "cost"));
        let budget = case.number("budget");
        let most_units = case.number("cap").map(|_| case.count("cap"));
        let audience = choose(&profit, &cost, budget, most_units);
        case.check("linear", Some(audience.best_possible_profit), 1e-9, 0.0);
        let reached = audience.expected_profit.estimate.unwrap();
        let whole = case.value("whole");
        assert!(reached <= whole * (1.0 + 1e-9), "{} {reached} {whole}", case.text("case"));
        let largest = profit.iter().copied().fold(0.0, f64::max);
        assert!(audience.best_possible_profit - reached < largest);
        assert!(budget.is_none_or(|budget| audience.total_cost <= budget * (1.0 + 1e-12)));
        assert!(most_units.is_none_or(|most| audience.units <= most));
        number += 1;
        optimal += u32::from(close(reached, whole, 1e-9));
        for (name, price) in [("budget_price", audience.budget_price), ("unit_price", audience.unit_price)] {
            if case.number(name).is_some() {
                case.check(name, Some(price), 1e-9, 1e-9);
                compared_prices += 1;
            }
        }
    }
    assert!(compared_prices >= 20 && 10 * optimal >= 6 * number, "{compared_prices} {optimal} {number}");
}

fn check_worth(case: &Case, name: &str, actual: &Estimate) {
    case.check(name, actual.estimate, 1e-9, 1e-10);
    let error = (actual.high.unwrap() - actual.estimate.unwrap()) / CRITICAL;
    case.check(&format!("{name}_error"), Some(error), 1e-9, 0.0);
}

#[test]
fn policies_are_worth_what_a_regression_on_a_constant_says() {
    let table = cases(include_str!("../oracle/fixtures/audience_units.csv"));
    for case in cases(include_str!("../oracle/fixtures/audience.csv")) {
        let name = case.text("case");
        let (scores, cost) = (column(name, &table, "score"), column(name, &table, "cost"));
        let chosen: Vec<bool> = column(name, &table, "chosen").into_iter().map(|chosen| chosen > 0.5).collect();
        let units = PolicyUnits { scores: &scores, chosen: &chosen, margin: case.value("margin"), cost: &cost };
        let worth = policy_value(units, 0.05).unwrap();
        check_worth(&case, "per_unit", &worth.per_unit);
        check_worth(&case, "per_message", &worth.per_message);
        check_worth(&case, "against", &worth.against_everybody);
    }
}

proptest! {
    #[test]
    fn limits_are_kept_and_more_money_never_hurts_the_bound(
        rows in prop::collection::vec((-20_i16..60, 0_u16..12), 0..60),
        budget in 0.0..60.0_f64,
        most_units in 0_u64..40,
    ) {
        let profit: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
        let cost: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
        let audience = choose(&profit, &cost, Some(budget), Some(most_units));
        let richer = choose(&profit, &cost, Some(budget * 1.5 + 1.0), Some(most_units + 1));
        prop_assert!(audience.best_possible_profit <= richer.best_possible_profit * (1.0 + 1e-9));
        prop_assert!(audience.total_cost <= budget * (1.0 + 1e-12) && audience.units <= most_units);
        prop_assert!(audience.budget_price >= 0.0 && audience.unit_price >= 0.0);
        prop_assert!(audience.budget_price.is_finite() && audience.unit_price.is_finite());
        prop_assert!(is_presentable(&audience.expected_profit));
        prop_assert_eq!(audience.note.is_some(), audience.units == 0);
        let largest = profit.iter().copied().fold(0.0, f64::max);
        prop_assert!(audience.best_possible_profit - audience.expected_profit.estimate.unwrap() < largest.max(1e-9));
        for (chosen, profit) in audience.chosen.iter().zip(&profit) {
            prop_assert!(!chosen || *profit > 0.0);
        }
    }
}
