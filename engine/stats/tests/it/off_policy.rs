//! Off-policy evaluation: agreement with the Python oracle on real and made-up logs, laws, and coverage.

use crate::fixtures::{Case, cases};
use crate::support::{is_presentable, uniform};
use proptest::prelude::*;
use sendlift_stats::off_policy::{
    EvaluationOptions, LEAST_EFFECTIVE, LoggedSend, PolicyEvaluation, Predictions, RecipientSums, ValueMethod,
    evaluate_policy,
};
use sendlift_stats::{Estimate, Interval};

const CRITICAL: f64 = 1.959_963_984_540_054;

fn recipient(case: &Case) -> RecipientSums {
    RecipientSums {
        recipient: case.count("recipient"),
        sends: case.count("sends"),
        unusable: 0,
        reward: case.value("reward"),
        weight: case.value("weight"),
        squared_weight: case.value("squared_weight"),
        largest_weight: case.value("largest_weight"),
        weighted_reward: case.value("weighted_reward"),
        uncovered: 0.0,
        predicted: case.count("sends"),
        doubly_robust: case.value("doubly_robust"),
    }
}

fn standard_error(estimate: &Estimate) -> Option<f64> {
    Some((estimate.high? - estimate.estimate?) / CRITICAL)
}

fn evaluated(name: &str, table: &[Case], options: EvaluationOptions) -> PolicyEvaluation {
    let recipients: Vec<RecipientSums> = table.iter().filter(|line| line.text("case") == name).map(recipient).collect();
    evaluate_policy(&recipients, options).unwrap()
}

#[test]
fn values_agree_with_weighted_regressions() {
    // Eleven digits in the fixture; the errors of gains are numerical derivatives on the oracle's side. The bootstrap
    // has other random numbers: its ends agree to a tenth of the interval's length.
    let table = cases(include_str!("../oracle/fixtures/off_policy_recipients.csv"));
    let mut compared = 0;
    for case in cases(include_str!("../oracle/fixtures/off_policy.csv")) {
        let options = EvaluationOptions { replicates: 1_999, ..EvaluationOptions::default() };
        let evaluation = evaluated(case.text("case"), &table, options);
        case.check("logged", evaluation.logged.estimate, 1e-9, 1e-12);
        case.check("logged_error", standard_error(&evaluation.logged), 1e-8, 1e-12);
        case.check("effective", evaluation.overlap.effective_sends, 1e-8, 0.0);
        case.check("largest", evaluation.overlap.largest_weight_share, 1e-8, 0.0);
        case.check("mean_weight", evaluation.overlap.mean_weight.estimate, 1e-9, 0.0);
        case.check("mean_weight_error", standard_error(&evaluation.overlap.mean_weight), 1e-8, 0.0);
        let effective = case.value("effective").min(evaluation.overlap.effective_recipients.unwrap());
        assert_eq!(effective < LEAST_EFFECTIVE, evaluation.values.is_empty());
        for (method, column) in [
            (ValueMethod::InversePropensity, ["ips", "ips_error", "ips_gain", "ips_gain_error"]),
            (ValueMethod::SelfNormalised, ["snips", "snips_error", "snips_gain", "snips_gain_error"]),
            (ValueMethod::DoublyRobust, ["dr", "dr_error", "dr_gain", "dr_gain_error"]),
        ] {
            let Some(value) = evaluation.value(method) else { continue };
            compared += 1;
            case.check(column[0], value.value.estimate, 1e-8, 1e-11);
            case.check(column[1], standard_error(&value.value), 1e-8, 1e-11);
            case.check(column[2], value.gain.estimate, 1e-8, 1e-10);
            case.check(column[3], standard_error(&value.gain), 1e-4, 1e-9);
        }
        if let Some(value) = evaluation.value(ValueMethod::SelfNormalised) {
            let tenth = 0.1 * (case.value("boot_high") - case.value("boot_low"));
            case.check("boot_low", value.bootstrap.low, 0.0, tenth);
            case.check("boot_high", value.bootstrap.high, 0.0, tenth);
        }
    }
    assert!(compared >= 30, "{compared}");
}

#[test]
fn each_policy_of_the_open_bandit_tells_of_the_other() {
    // The other policy's own mean clicks a send, from its own ten thousand sends (README of the real data).
    let table = cases(include_str!("../oracle/fixtures/off_policy_recipients.csv"));
    for (name, own) in [
        ("all bts for random", 0.0038),
        ("all random for bts", 0.0042),
        ("men bts for random", 0.0046),
        ("men random for bts", 0.0069),
        ("women random for bts", 0.0046),
    ] {
        let evaluation = evaluated(name, &table, EvaluationOptions::default());
        let value = evaluation.value(ValueMethod::SelfNormalised).unwrap();
        // Two logs, two errors: that of the other log's mean is about 0.00065.
        let error = standard_error(&value.value).unwrap().hypot(0.000_65);
        assert!((value.value.estimate.unwrap() - own).abs() < CRITICAL * error, "{name}: {value:?}");
    }
    // One item of this log had a propensity of a millionth: two effective sends of ten thousand.
    let refused = evaluated("women bts for random", &table, EvaluationOptions::default());
    assert!(refused.values.is_empty());
    assert!(refused.refusals[0].contains("worth 2 of its 10000 sends"), "{:?}", refused.refusals);
}

/// A log of three slots with rates of 5, 10 and 20 %, recipients who differ, and one to three sends each.
fn log(run: u64, recipients: u64) -> Vec<LoggedSend> {
    let (logged, target, rates) = ([0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.05, 0.1, 0.2]);
    (0..recipients)
        .flat_map(|recipient| (0..=recipient % 3).map(move |send| (recipient, send)))
        .map(|(recipient, send)| {
            let place = ((run * recipients + recipient) * 3 + send) * 3;
            let drawn = uniform(place);
            let slot = if drawn < 0.5 { 0 } else { 1 + usize::from(drawn >= 0.8) };
            let taste = if uniform((run * recipients + recipient) * 9 + 77_000_000) < 0.5 { 0.5 } else { 1.5 };
            LoggedSend {
                recipient,
                reward: f64::from(u8::from(uniform(place + 1) < rates[slot] * taste)),
                logged_propensity: Some(logged[slot]),
                target_probability: target[slot],
                uncovered: 0.0,
                // A model that is wrong by a third.
                predictions: Some(Predictions { of_logged: rates[slot] * 1.3, of_target: 0.155 * 1.3 }),
            }
        })
        .collect()
}

fn covers(interval: &Interval, truth: f64) -> u32 {
    u32::from(interval.contains(truth))
}

#[test]
fn intervals_cover_the_true_value() {
    // 0.1 · 5 % + 0.3 · 10 % + 0.6 · 20 % = 15.5 %, against 9.5 % logged.
    let runs = 150;
    let mut covered = [[0; 4]; 3];
    for run in 0..runs {
        let recipients = RecipientSums::of_sends(&log(run, 400)).unwrap();
        let options = EvaluationOptions { replicates: 199, seed: run, ..EvaluationOptions::default() };
        let evaluation = evaluate_policy(&recipients, options).unwrap();
        for (value, covered) in evaluation.values.iter().zip(&mut covered) {
            covered[0] += covers(&value.value.interval(), 0.155);
            covered[1] += covers(&value.bootstrap, 0.155);
            covered[2] += covers(&value.gain.interval(), 0.06);
            covered[3] += covers(&value.gain_bootstrap, 0.06);
        }
    }
    // 95 % of 150 is 142, give or take 3; of 300 with 299 samples it was 280 to 288.
    assert!(covered.iter().flatten().all(|covered| *covered >= 132), "{covered:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn numbers_can_be_shown(
        rows in prop::collection::vec((0_u64..200, -5.0..5.0_f64, 0.05..1.0_f64, 0.0..1.0_f64), 1..400),
    ) {
        let sends: Vec<LoggedSend> = rows
            .iter()
            .map(|&(recipient, reward, propensity, target)| LoggedSend {
                recipient,
                reward,
                logged_propensity: Some(propensity),
                target_probability: target,
                uncovered: 0.0,
                predictions: None,
            })
            .collect();
        let options = EvaluationOptions { replicates: 49, ..EvaluationOptions::default() };
        let evaluation = evaluate_policy(&RecipientSums::of_sends(&sends).unwrap(), options).unwrap();
        prop_assert!(is_presentable(&evaluation.logged) && is_presentable(&evaluation.overlap.mean_weight));
        prop_assert_eq!(evaluation.values.is_empty(), !evaluation.refusals.is_empty());
        let most = f64::from(u32::try_from(evaluation.overlap.sends).unwrap());
        prop_assert!(evaluation.overlap.effective_sends.is_none_or(|n| n >= 1.0 - 1e-9 && n <= most * (1.0 + 1e-9)));
        for value in &evaluation.values {
            prop_assert!(is_presentable(&value.value) && is_presentable(&value.gain));
        }
    }

    #[test]
    fn a_constant_reward_is_found_by_normalising(
        targets in prop::collection::vec(0.2..1.0_f64, 150..300),
        reward in -3.0..3.0_f64,
    ) {
        let sends: Vec<LoggedSend> = (0_u64..)
            .zip(&targets)
            .map(|(recipient, target)| LoggedSend {
                recipient,
                reward,
                logged_propensity: Some(0.5),
                target_probability: *target,
                uncovered: 0.0,
                predictions: Some(Predictions { of_logged: reward, of_target: reward }),
            })
            .collect();
        let options = EvaluationOptions { replicates: 29, ..EvaluationOptions::default() };
        let evaluation = evaluate_policy(&RecipientSums::of_sends(&sends).unwrap(), options).unwrap();
        for method in [ValueMethod::SelfNormalised, ValueMethod::DoublyRobust] {
            let value = evaluation.value(method).unwrap();
            prop_assert!((value.value.estimate.unwrap() - reward).abs() < 1e-9);
            prop_assert!((value.bootstrap.low.unwrap() - reward).abs() < 1e-9);
        }
    }
}
