//! `sendlift experiment plan`: what the binary answers, and what it refuses.

use super::command_line::{json, sendlift, stderr, stdout};

fn plan(arguments: &str) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<&str> = ["experiment", "plan"].into_iter().chain(arguments.split_whitespace()).collect();
    sendlift(folder.path(), &words)
}

#[test]
fn a_plan_answers_what_is_left_out() {
    // Fleiss, Levin and Paik (2003), chapter 4: 20 → 25 % needs 1094 in each arm.
    let size = json(&plan("--metric proportion --baseline 0.20 --difference 0.05 --per-day 500 --format json"));
    assert_eq!((&size["n_per_arm"], &size["n_total"], &size["days"]), (&1094.into(), &2188.into(), &5.into()));
    assert_eq!((&size["question"], &size["power"]), (&"size".into(), &0.8.into()));
    assert_eq!(json(&plan("--metric proportion --baseline 0.20 --lift 0.25 --format json"))["n_per_arm"], 1094);

    let power = json(&plan("--metric proportion --baseline 0.20 --lift 0.25 --n 1094 --format json"));
    assert!((power["power"].as_f64().unwrap() - 0.8).abs() < 1e-3, "{power}");
    let effect = json(&plan("--metric proportion --baseline 0.20 --per-day 547 --days 4 --format json"));
    assert_eq!(effect["n_per_arm"], 1094);
    assert!((effect["minimum_detectable_effect"].as_f64().unwrap() - 0.05).abs() < 1e-4, "{effect}");

    // statsmodels 0.15.0, TTestIndPower().solve_power(0.5 / 4, alpha=0.05, power=0.8) is 1005.62; half of it with R² 0.5.
    let mean = "--metric mean --mean 10 --standard-deviation 4 --difference -0.5 --format json";
    assert_eq!(json(&plan(mean))["n_per_arm"], 1006);
    // Few units: the t test needs 17 an arm where σ were known 16 would do (statsmodels: 16.71).
    let few = "--metric mean --mean 10 --standard-deviation 4 --difference 4 --format json";
    assert_eq!(json(&plan(few))["n_per_arm"], 17);
    assert_eq!(json(&plan(&format!("{mean} --variance-removed 0.5")))["n_per_arm"], 503);
    let always = json(&plan("--metric proportion --baseline 0.2 --difference 0.05 --sequential --format json"));
    assert_eq!(always["n_per_arm"], 2095);

    let shown =
        stdout(&plan("--metric proportion --baseline 0.2 --difference 0.05 --looks 5 --spending pocock --arms 3"));
    for part in ["how many units?", "25.00 %", "stop at |z|", "inflation by looks", "Holm"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    // The more is spent early, the more the looks cost.
    let inflation = |spending: &str| {
        let looks = format!("--metric proportion --baseline 0.2 --difference 0.05 --looks 5 --spending {spending}");
        json(&plan(&format!("{looks} --format json")))["inflation"].as_f64().unwrap()
    };
    assert!(inflation("obrien-fleming") < inflation("even") && inflation("even") < inflation("pocock"));
    let csv = stdout(&plan("--metric proportion --baseline 0.20 --difference 0.05 --format csv"));
    assert!(csv.starts_with("question,metric,") && csv.contains("size,proportion,"), "{csv}");
}

#[test]
fn a_list_is_tested_on_as_far_as_it_pays() {
    // Feit and Berman (2019): a list of 100,000, mean .68, standard deviation between texts .03: 2,284 each.
    let list = json(&plan("--list 100000 --sd 0.46648 --prior-sd 0.03 --format json"));
    assert_eq!((&list["n_per_arm"], &list["rest"]), (&2284.into(), &95_432.into()));
    assert!(list.get("expected_profit").is_none(), "{list}");
    let costs = "--list 20000 --baseline 0.02 --sd 0.14 --prior-sd 0.006 --value 4 --message-cost 0.06 \
                 --opt-out-rate 0.01 --opt-out-cost 2.5 --may-send-nothing";
    // stats/tests/oracle/plan_campaign.py: SciPy's quadrature and a search over every size.
    let shown = stdout(&plan(costs));
    assert!(shown.contains("1,205") && shown.contains("165.27"), "{shown}");
}

#[test]
fn plans_that_cannot_be_are_refused() {
    for (arguments, expected) in [
        ("", "--metric"),
        ("--metric median", "proportion or mean"),
        ("--metric proportion", "baseline is missing"),
        ("--metric proportion --baseline 0.2", "give the effect"),
        ("--metric proportion --baseline 0.2 --difference 0.05 --lift 0.1", "--lift"),
        ("--metric proportion --baseline 0.2 --difference 0.05 --n 10 --power 0.8", "leave out the one"),
        ("--metric proportion --baseline 0.2 --days 3", "--per-day"),
        ("--metric proportion --baseline 0.2 --n 10 --units 20", "--units"),
        ("--metric proportion --baseline 0.2 --lift 0.1 --looks 3 --sequential", "--sequential"),
        ("--metric proportion --baseline 0.2 --lift 0.1 --spending pocock", "--looks"),
        ("--metric proportion --baseline 0.2 --lift 0.1 --looks 3 --spending late", "pocock or even"),
        ("--metric proportion --baseline 0.2 --lift 0.1 --alpha 2", "alpha is 2"),
        ("--metric proportion --baseline 0.2 --difference 0.9", "stays in range"),
        ("--metric mean --difference 1", "spread is missing"),
        ("--metric mean --variance 4 --lift 0.1", "relative to the control"),
        ("--list 1000 --sd 1", "how far texts differ"),
        ("--list 1000 --baseline 0.1 --opt-out-cost 1", "--opt-out-rate"),
        ("--metric proportion --baseline 0.2 --lift 0.1 --value 2", "--list"),
    ] {
        let output = plan(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments}: {}", stderr(&output));
    }
}
