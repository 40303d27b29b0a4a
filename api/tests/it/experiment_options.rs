//! What `sendlift experiment analyze` adds on request.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::command_line::{json, sendlift, stderr, stdout};

/// An analysis of a table of aggregates.
fn analysis(folder: &Path, arms: &str, options: &str) -> Value {
    std::fs::write(folder.join("arms.csv"), arms).unwrap();
    let words = ["--format", "json", "experiment", "analyze", "--arms", "arms.csv"].into_iter();
    json(&sendlift(folder, &words.chain(options.split_whitespace()).collect::<Vec<_>>()))
}

/// The same as a table for people.
fn shown(folder: &Path, options: &str) -> String {
    let words = ["experiment", "analyze", "--arms", "arms.csv"].into_iter();
    let output = sendlift(folder, &words.chain(options.split_whitespace()).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

fn close(value: &Value, expected: f64, tolerance: f64) {
    let actual = value.as_f64().unwrap_or(f64::NAN);
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
}

const MEANS: &str = "arm,n,mean,variance\nC,3407,0.41,15.21\nT,3461,0.7,38.44\n";

#[test]
fn always_valid_results_decide_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let plain = analysis(folder.path(), MEANS, "--control C");
    assert!(plain["metrics"][0]["comparisons"][0].get("always_valid").is_none());
    assert_eq!(plain["decision"]["recommendation"], "ship");
    // stats/tests/oracle/sequential.py: the formulas in NumPy, the lift by inverting z with brentq.
    let looked = analysis(folder.path(), MEANS, "--control C --sequential");
    let found = &looked["metrics"][0]["comparisons"][0]["always_valid"];
    close(&found["p_value"], 0.259_290_720_710, 1e-9);
    close(&found["difference"]["low"], -0.090_475_184_591, 1e-9);
    close(&found["lift"]["high"], 2.710_883_625_145, 1e-9);
    assert_eq!(looked["decision"]["recommendation"], "keep_running");
    let text = shown(folder.path(), "--control C --sequential");
    assert!(text.contains("metric: T against C, always valid: +0.2900 [-0.0905, +0.6705]"), "{text}");
    assert!(text.contains("tightest near 10000 units"), "{text}");
    let wrong = sendlift(folder.path(), &["experiment", "analyze", "--arms", "arms.csv", "--planned-units", "9"]);
    assert!(wrong.status.code() == Some(2) && stderr(&wrong).contains("--sequential"), "{}", stderr(&wrong));
}

#[test]
fn the_bayesian_reading_states_its_prior() {
    let folder = tempfile::tempdir().unwrap();
    // 49/100 against 51/100: chance .61077, loss .019116, as gbstats has it.
    let found = analysis(folder.path(), "arm,n,successes\nA,100,49\nB,100,51\n", "--control A --bayesian");
    let metric = &found["metrics"][0];
    close(&metric["comparisons"][0]["bayesian"]["chance_to_win"], 0.61077, 1e-5);
    close(&metric["comparisons"][0]["bayesian"]["expected_loss"], 0.019_116, 1e-6);
    close(&metric["bayesian"]["arms"][0]["chance_to_win"], 1.0 - 0.61077, 1e-5);
    assert!(metric["bayesian"]["prior"].as_str().unwrap().contains("Beta(1, 1)"), "{metric}");
    let text = shown(folder.path(), "--control A --bayesian");
    assert!(text.contains("B is the best with chance 61.1 %"), "{text}");
}

#[test]
fn unit_tables_have_them_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut units = "group,bought,spend\n".to_owned();
    for unit in 0..400 {
        let bought = u8::from(unit % 7 == 0 || (unit % 2 == 1 && unit % 3 == 0));
        writeln!(units, "{},{bought},{}", unit % 2, f64::from(unit % 5) * 1.5).unwrap();
    }
    std::fs::write(folder.path().join("units.csv"), units).unwrap();
    let words = "--format json experiment analyze --units units.csv --arm group --control 0 --metric bought \
                 --metric spend --sequential --bayesian";
    let found = json(&sendlift(folder.path(), &words.split_whitespace().collect::<Vec<_>>()));
    for metric in found["metrics"].as_array().unwrap() {
        let comparison = &metric["comparisons"][0];
        assert!(comparison["always_valid"]["difference"]["low"].is_number(), "{comparison}");
        assert!(comparison["bayesian"]["chance_to_win"].is_number(), "{comparison}");
        assert_eq!(metric["bayesian"]["arms"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn small_counts_carry_an_exact_test() {
    let folder = tempfile::tempdir().unwrap();
    // SciPy 1.17.1: boschloo_exact([[9, 3], [1, 7]]).
    let found = analysis(folder.path(), "arm,n,successes\nA,10,3\nB,10,9\n", "--control A");
    let exact = &found["metrics"][0]["comparisons"][0]["exact"];
    assert_eq!(exact["test"], "boschloo");
    close(&exact["p_value"], 0.007_955_551_147, 1e-9);
    close(&exact["difference"]["low"], 0.160_764_368, 1e-5);
    assert!(exact["reason"].as_str().unwrap().contains("below five"), "{exact}");
    assert!(found["decision"]["why"][0].as_str().unwrap().contains("exact adjusted p 0.0080"), "{found}");
    assert!(shown(folder.path(), "--control A").contains("read this p value"));
    let large = analysis(folder.path(), "arm,n,successes\nA,100,30\nB,100,50\n", "--control A");
    assert!(large["metrics"][0]["comparisons"][0].get("exact").is_none(), "{large}");
}

#[test]
fn margins_guard_the_decision() {
    let folder = tempfile::tempdir().unwrap();
    // Clicks rise from 10 to 15 %; opt-outs 1.0 % and 1.1 %, of which half a point more would be too many.
    let arms = |opt_outs: u64| {
        format!(
            "metric,arm,n,successes\nclick,A,10000,1000\nclick,B,10000,1500\nopt_out,A,10000,100\nopt_out,B,10000,{opt_outs}\n"
        )
    };
    let held = analysis(folder.path(), &arms(110), "--control A --margin opt_out=+0.5pp");
    let margin = &held["metrics"][1]["comparisons"][0]["margin"];
    assert_eq!((&margin["verdict"], &margin["direction"]), (&"non_inferior".into(), &"lower_is_better".into()));
    close(&margin["margin"]["absolute"], 0.005, 1e-15);
    assert_eq!(held["decision"]["recommendation"], "ship");
    let harmed = analysis(folder.path(), &arms(250), "--control A --margin opt_out=+0.5pp");
    assert_eq!(harmed["decision"]["recommendation"], "keep_control");
    assert!(harmed["decision"]["why"].to_string().contains("B is worse than A on opt_out by more than 0.5pp"));
    let unsure = analysis(folder.path(), &arms(140), "--control A --margin opt_out=+0.5pp");
    assert_eq!(unsure["decision"]["recommendation"], "keep_running");
    assert!(
        shown(folder.path(), "--control A --margin opt_out=+0.5pp").contains("the data do not say whether B is worse")
    );
    for (margin, expected) in [("spam=1pp", "no such metric; it has click, opt_out"), ("click=lots", "METRIC=VALUE")] {
        let wrong = sendlift(folder.path(), &["experiment", "analyze", "--arms", "arms.csv", "--margin", margin]);
        assert!(wrong.status.code() == Some(2) && stderr(&wrong).contains(expected), "{}", stderr(&wrong));
    }
}

#[test]
fn several_arms_are_compared_with_each_other_and_the_best_loses_its_luck() {
    let folder = tempfile::tempdir().unwrap();
    let arms = "arm,n,successes\nA,10000,1000\nB,10000,1010\nC,10000,1150\n";
    let plain = analysis(folder.path(), arms, "--control A");
    let metric = &plain["metrics"][0];
    assert!(metric.get("pairs").is_none());
    // One of two is significant: its interval has confidence 1 − 0.05 × 1 / 2 (Benjamini and Yekutieli 2005).
    let picked = &metric["comparisons"][1];
    close(&picked["false_coverage"]["alpha"], 0.025, 1e-15);
    assert!(metric["comparisons"][0].get("false_coverage").is_none(), "{metric}");
    let narrow = picked["difference"]["low"].as_f64().unwrap();
    assert!(picked["false_coverage"]["difference"]["low"].as_f64().unwrap() < narrow, "{picked}");
    let best = &metric["best_arm"];
    assert_eq!((&best["arm"], &best["control"]), (&"C".into(), &"A".into()));
    assert!(best["hybrid"]["estimate"].as_f64().unwrap() <= 0.015 + 1e-12, "{best}");

    let all = analysis(folder.path(), arms, "--control A --all-pairs");
    let pairs = all["metrics"][0]["pairs"].as_array().unwrap();
    let names: Vec<(&str, &str)> =
        pairs.iter().map(|pair| (pair["arm"].as_str().unwrap(), pair["control"].as_str().unwrap())).collect();
    assert_eq!(names, [("B", "A"), ("C", "A"), ("C", "B")]);
    close(&pairs[2]["difference"]["estimate"], 0.014, 1e-12);
    assert_eq!(pairs[1]["p_value"], all["metrics"][0]["comparisons"][1]["p_value"]);
    let text = shown(folder.path(), "--control A --all-pairs");
    assert!(text.contains("C against B, pair") && text.contains("of the arms beside A, C is the best"), "{text}");
    let csv =
        sendlift(folder.path(), &["--format", "csv", "experiment", "analyze", "--arms", "arms.csv", "--all-pairs"]);
    assert_eq!(stdout(&csv).lines().count(), 4, "{}", stdout(&csv));
    // Of two arms there is no best to be chosen.
    let two = analysis(folder.path(), "arm,n,successes\nA,10000,1000\nB,10000,1150\n", "--control A");
    assert!(two["metrics"][0].get("best_arm").is_none(), "{two}");
}
