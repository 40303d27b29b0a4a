//! Audiences by hand and by trying everything, and promises that are kept.

use super::*;
use crate::counter::{bits, unit};
use crate::numeric::{assert_close, length};

fn choose(profit: &[f64], cost: &[f64], budget: Option<f64>, most_units: Option<u64>) -> Audience {
    let units = AudienceUnits { profit, cost, uncertainty: Uncertainty::Unknown };
    choose_audience(units, AudienceLimits { budget, most_units }, 0.05).unwrap()
}

/// Random numbers in [0, 1).
fn draw(seed: u64, stream: u64, number: u64) -> Vec<f64> {
    (0..number).map(|place| unit(bits(seed, stream, place))).collect()
}

/// The profit of the best of all subsets.
fn best_of_all(profit: &[f64], cost: &[f64], budget: f64, most_units: u32) -> f64 {
    let worth = |subset: u32, values: &[f64]| -> f64 {
        values.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1).map(|(_, value)| value).sum()
    };
    (0..1_u32 << profit.len())
        .filter(|subset| subset.count_ones() <= most_units && worth(*subset, cost) <= budget + 1e-12)
        .map(|subset| worth(subset, profit))
        .fold(0.0, f64::max)
}

#[test]
fn no_audience_is_better_by_a_unit() {
    for seed in 0..600 {
        let profit: Vec<f64> = draw(seed, 1, 10).iter().map(|value| 3.0 * value - 0.7).collect();
        // Costs all different, of three kinds, all the same, or none.
        let cost: Vec<f64> = draw(seed, 2, 10)
            .iter()
            .map(|value| match seed % 4 {
                0 => *value,
                1 => (3.0 * value).ceil() / 3.0,
                2 => 0.25,
                _ => (value - 0.5).max(0.0),
            })
            .collect();
        let most_units = u32::try_from(bits(seed, 3, 0) % 11).unwrap();
        let budget = 3.0 * unit(bits(seed, 4, 0));
        let audience = choose(&profit, &cost, Some(budget), Some(u64::from(most_units)));
        let reached = audience.expected_profit.estimate.unwrap();
        let best = best_of_all(&profit, &cost, budget, most_units);
        let largest = profit.iter().copied().fold(0.0, f64::max);
        assert!(audience.total_cost <= budget * (1.0 + 1e-12) && audience.units <= u64::from(most_units));
        assert!(audience.chosen.iter().zip(&profit).all(|(chosen, profit)| !chosen || *profit > 0.0));
        assert!(reached <= best + 1e-9 && best <= audience.best_possible_profit + 1e-9, "{seed}");
        assert!(audience.best_possible_profit - reached < largest, "{seed} {audience:?} {best}");
        if seed % 4 == 2 {
            assert_close(reached - best, 0.0, 1e-9);
        }
    }
}

#[test]
fn each_limit_alone_has_its_order() {
    let (profit, cost) = ([5.0, 4.0, 3.0, -1.0, 0.0], [3.0, 1.5, 1.5, 0.0, 0.0]);
    let everyone = choose(&profit, &cost, None, None);
    assert_eq!(everyone.chosen, [true, true, true, false, false]);
    assert_eq!((everyone.budget_price.to_bits(), everyone.unit_price.to_bits()), (0, 0));
    let capped = choose(&profit, &cost, None, Some(2));
    assert_eq!(capped.chosen, [true, true, false, false, false]);
    assert_close(capped.unit_price, 4.0, 0.0);
    let budgeted = choose(&profit, &cost, Some(3.0), None);
    assert_eq!(budgeted.chosen, [false, true, true, false, false]);
    // One more unit of currency would buy a third of the first.
    assert_close(budgeted.budget_price, 5.0 / 3.0, 1e-12);
    assert_close(budgeted.best_possible_profit, 7.0, 1e-12);
    // Both: with one message for 2, the second.
    assert_eq!(choose(&profit, &cost, Some(2.0), Some(1)).chosen, [false, true, false, false, false]);
    // Ten messages at a tenth are one, whatever the sum of floats says.
    assert_eq!(choose(&[1.0; 12], &[0.1; 12], Some(1.0), None).units, 10);
    assert_eq!(choose(&[1.0; 3], &[0.1; 3], Some(0.3), None).units, 3);
}

#[test]
fn both_limits_at_once_meet_the_bound() {
    let profit: Vec<f64> = draw(1, 1, 50_000).iter().map(|value| 2.0 * value - 0.5).collect();
    let cost: Vec<f64> = draw(1, 2, 50_000).iter().map(|value| 0.01 + value).collect();
    let audience = choose(&profit, &cost, Some(2_000.0), Some(8_000));
    assert_eq!(audience.units, 8_000);
    assert!(audience.total_cost > 1_999.0 && audience.total_cost <= 2_000.0 + 1e-8, "{}", audience.total_cost);
    assert!(audience.best_possible_profit - audience.expected_profit.estimate.unwrap() < 1.0);
    assert!(audience.budget_price > 0.0 && audience.unit_price > 0.0);
    // The prices explain the choice.
    for ((chosen, profit), cost) in audience.chosen.iter().zip(&profit).zip(&cost) {
        let reduced = profit - audience.budget_price * cost - audience.unit_price;
        assert!(if *chosen { reduced > -1e-3 } else { reduced < 1e-3 });
    }
}

#[test]
fn nobody_is_chosen_for_a_reason() {
    let note = |audience: Audience| {
        assert_eq!((audience.units, audience.expected_profit.estimate), (0, Some(0.0)));
        assert_close(audience.best_possible_profit, 0.0, 0.0);
        audience.note.unwrap()
    };
    assert_eq!(note(choose(&[], &[], None, None)), "there is nobody to choose from");
    assert!(note(choose(&[-1.0, 0.0], &[0.0, 0.0], None, None)).starts_with("nobody is expected"));
    assert_eq!(note(choose(&[1.0], &[1.0], None, Some(0))), "the cap on units is zero");
    let broke = choose(&[1.0, 4.0], &[1.0, 2.0], Some(0.0), None);
    assert_close(broke.budget_price, 2.0, 0.0);
    assert!(note(broke).starts_with("the budget does not pay"));
    // What costs nothing is sent without a budget.
    assert_eq!(choose(&[1.0, 4.0], &[0.0, 2.0], Some(0.0), None).chosen, [true, false]);
}

#[test]
fn impossible_input_is_refused() {
    let check = |profit: &[f64], cost: &[f64], budget: Option<f64>, uncertainty: Uncertainty<'_>| {
        let units = AudienceUnits { profit, cost, uncertainty };
        choose_audience(units, AudienceLimits { budget, most_units: None }, 0.05).is_err()
    };
    assert!(check(&[f64::NAN], &[1.0], None, Uncertainty::Unknown));
    assert!(check(&[1.0], &[f64::NAN], None, Uncertainty::Unknown));
    assert!(check(&[1.0], &[-1.0], None, Uncertainty::Unknown));
    assert!(check(&[1.0], &[1.0], Some(f64::NAN), Uncertainty::Unknown));
    assert!(check(&[1.0], &[1.0], Some(-1.0), Uncertainty::Unknown));
    assert!(check(&[1.0], &[], None, Uncertainty::Unknown));
    assert!(check(&[1.0], &[1.0], None, Uncertainty::Common(&[])));
    assert!(check(&[1.0], &[1.0], None, Uncertainty::Independent(&[-1.0])));
    assert!(!check(&[1.0], &[1.0], None, Uncertainty::Independent(&[1.0])));
}

#[test]
fn errors_even_out_or_add_up() {
    let (profit, cost, errors) = ([2.0; 4], [0.0; 4], [0.5; 4]);
    let half_width = |uncertainty| {
        let audience = choose_audience(
            AudienceUnits { profit: &profit, cost: &cost, uncertainty },
            AudienceLimits::default(),
            0.05,
        )
        .unwrap();
        audience.expected_profit.high.map(|high| high - 8.0)
    };
    assert_close(half_width(Uncertainty::Independent(&errors)).unwrap(), 1.959_963_984_540_054, 1e-12);
    assert_close(half_width(Uncertainty::Common(&errors)).unwrap(), 2.0 * 1.959_963_984_540_054, 1e-12);
    assert_eq!(half_width(Uncertainty::Unknown), None);
}

#[test]
fn a_promise_is_kept_where_the_expectation_is_not() {
    // Effects are 0.5 for all and predictions noise around them: those picked look better than they are. Scores are
    // unbiased and know nothing of the predictions.
    let (mut kept, mut expected_kept) = (0, 0);
    for run in 0..200 {
        let noise = draw(run, 11, 400);
        let predicted: Vec<f64> = noise.iter().map(|value| 0.5 + 2.0 * (value - 0.5)).collect();
        let scores: Vec<f64> = draw(run, 12, 400).iter().map(|value| 0.5 + 6.0 * (value - 0.5)).collect();
        let cost = [0.1; 400];
        let profit: Vec<f64> = predicted.iter().map(|effect| 2.0 * effect - 0.1).collect();
        let errors = [2.0 / 12.0_f64.sqrt() * 2.0; 400];
        let units = AudienceUnits { profit: &profit, cost: &cost, uncertainty: Uncertainty::Independent(&errors) };
        let limits = AudienceLimits { budget: Some(10.0), most_units: None };
        let audience = choose_audience(units, limits, 0.05).unwrap();
        expected_kept += u32::from(audience.expected_profit.contains(length(100) * 0.9));
        let worth =
            policy_value(PolicyUnits { scores: &scores, chosen: &audience.chosen, margin: 2.0, cost: &cost }, 0.05)
                .unwrap();
        assert_eq!(worth.chosen, 100);
        kept += u32::from(worth.per_message.contains(0.9));
    }
    // 95 % of 200 is 190, give or take 3.
    assert!((180..=199).contains(&kept) && expected_kept == 0, "{kept} {expected_kept}");
}

#[test]
fn a_policy_is_worth_its_definition() {
    let units = PolicyUnits { scores: &[1.0, 3.0, -1.0], chosen: &[true, true, false], margin: 2.0, cost: &[0.5; 3] };
    let worth = policy_value(units, 0.05).unwrap();
    // Profits 1.5, 5.5 and −2.5.
    assert_close(worth.per_unit.estimate.unwrap(), 7.0 / 3.0, 1e-14);
    assert_close(worth.per_message.estimate.unwrap(), 3.5, 1e-14);
    assert_close(worth.per_message.high.unwrap(), 3.5 + 1.959_963_984_540_054 * 2.0, 1e-12);
    assert_close(worth.against_everybody.estimate.unwrap(), 2.5 / 3.0, 1e-14);
    let nobody = policy_value(PolicyUnits { chosen: &[false; 3], ..units }, 0.05).unwrap();
    assert_eq!((nobody.per_unit.estimate, nobody.per_message.estimate), (Some(0.0), None));
    assert!(nobody.per_message.note.is_some());
    assert_eq!(
        policy_value(PolicyUnits { scores: &[], chosen: &[], cost: &[], ..units }, 0.05),
        Err(StatsError::NoUnits)
    );
    assert!(policy_value(PolicyUnits { scores: &[f64::NAN; 3], ..units }, 0.05).is_err());
    assert!(policy_value(PolicyUnits { margin: f64::INFINITY, ..units }, 0.05).is_err());
    assert!(policy_value(PolicyUnits { chosen: &[true], ..units }, 0.05).is_err());
}
