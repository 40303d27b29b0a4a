//! The binary itself: what it prints, where, and with which exit status.

use std::path::Path;
use std::process::{Command, Output};

fn sendlift(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sendlift"))
        .current_dir(folder)
        .env_remove("SENDLIFT_STORE")
        .env_remove("SENDLIFT_HASH_KEY")
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_str(&stdout(output)).unwrap()
}

const SENDS: &str = "message_id,campaign_id,variant,recipient_id,sent_at\nm1,春节,A,r1,2026-03-02T10:00:00Z\nm2,春节,B,r2,2026-03-02T10:00:00Z\n";

#[test]
fn the_demo_runs_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = sendlift(folder.path(), &["demo", "--messages", "6000"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["flash-sale-w1", "experiment flash-sale-copy", "age_band", "decision:", "serve", "notebook"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    for chart in ["funnel", "lift", "segments", "hours"] {
        let svg = std::fs::read_to_string(folder.path().join(format!("sendlift-demo/charts/{chart}.svg"))).unwrap();
        assert!(svg.contains("</svg>") && !svg.contains("NaN"));
        let png = std::fs::read(folder.path().join(format!("sendlift-demo/charts/{chart}.png"))).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
    }
    // Again: nothing is taken in twice.
    let again = sendlift(folder.path(), &["demo", "--messages", "6000"]);
    assert!(again.status.success() && stdout(&again).contains("nothing changes"), "{}", stderr(&again));
}

#[test]
fn ingest_report_sql_quarantine_and_charts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sends.csv"), format!("{SENDS}m3,春节,A,r3,never\n")).unwrap();
    let refused = sendlift(folder.path(), &["ingest", "sends=sends.csv"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("33.3 %") && stderr(&refused).contains("--max-rejected"), "{}", stderr(&refused));

    let outcome =
        json(&sendlift(folder.path(), &["--format", "json", "ingest", "sends=sends.csv", "--max-rejected", "0.5"]));
    assert_eq!((outcome["logs"][0]["accepted"].as_u64(), outcome["logs"][0]["rejected"].as_u64()), (Some(2), Some(1)));

    let report = json(&sendlift(folder.path(), &["report", "--by", "campaign_id,variant", "--format", "json"]));
    assert_eq!(report["rows"][0]["campaign_id"], "春节");
    assert_eq!(report["rows"].as_array().unwrap().len(), 2);
    let straight = json(&sendlift(
        folder.path(),
        &["report", "--by", "campaign_id,variant", "--format", "json", "--logs", "sends=sends.csv"],
    ));
    assert_eq!(straight["rows"], report["rows"]);

    let rows = json(&sendlift(
        folder.path(),
        &["--format", "json", "sql", "SELECT variant, count(*) AS n FROM sends GROUP BY variant ORDER BY variant"],
    ));
    assert_eq!(rows, serde_json::json!([{"variant": "A", "n": 1}, {"variant": "B", "n": 1}]));
    let quarantine = json(&sendlift(folder.path(), &["--format", "json", "quarantine"]));
    assert_eq!(
        (quarantine[0]["source_row"].as_i64(), quarantine[0]["raw"].as_str()),
        (Some(4), Some("m3,春节,A,r3,never"))
    );
    let csv = stdout(&sendlift(folder.path(), &["--format", "csv", "report"]));
    assert!(csv.starts_with("campaign_id,sent,"), "{csv}");

    let chart = sendlift(folder.path(), &["chart", "funnel", "--out", "funnel.png"]);
    assert!(chart.status.success() && stderr(&chart).is_empty(), "{}", stderr(&chart));
    assert!(std::fs::read(folder.path().join("funnel.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn wrong_usage_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sends.csv"), SENDS).unwrap();
    assert!(sendlift(folder.path(), &["ingest", "sends=sends.csv"]).status.success());
    for (arguments, status, expected) in [
        (&["ingest", "orders=sends.csv"][..], 2, "there is no log \"orders\""),
        (&["ingest", "sends=missing.csv"], 1, "missing.csv"),
        (&["ingest", "sends.csv"], 2, "LOG=PATH"),
        (&["report", "--by", "shoe_size"], 2, "shoe_size"),
        (&["--store", "elsewhere", "report"], 2, "there is no store"),
        (&["experiment", "analyze", "autumn"], 2, "there is no experiment \"autumn\""),
        (&["sql", "DROP TABLE sends"], 2, "DDL not supported"),
        (&["sql", "SELECT nothing FROM sends"], 2, "nothing"),
        (&["chart", "pie", "--out", "x.svg"], 2, "funnel"),
        (&["report", "--format", "xml"], 2, "table, json or csv"),
        (&["report", "--at", "first of May"], 2, "neither a version number nor a time"),
        (&["ingest", "sends=sends.csv", "--preset", "acme"], 2, "twilio"),
        (&["bogus"], 2, "bogus"),
    ] {
        let output = sendlift(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn units_and_aggregates_are_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let mut units = String::from("id,group,bought,spend,sex\n");
    for unit in 0..200 {
        units.push_str(&format!(
            "u{unit},{},{},{}.5,{}\n",
            unit % 2,
            u8::from(unit % 7 == 0 || (unit % 2 == 1 && unit % 3 == 0)),
            unit % 5,
            ["f", "m"][unit / 100]
        ));
    }
    std::fs::write(folder.path().join("units.csv"), units).unwrap();
    let arguments = [
        "--format",
        "json",
        "experiment",
        "analyze",
        "--units",
        "units.csv",
        "--unit",
        "id",
        "--arm",
        "group",
        "--control",
        "0",
        "--metric",
        "bought",
        "--metric",
        "spend",
        "--segment",
        "sex",
    ];
    let analysis = json(&sendlift(folder.path(), &arguments));
    assert_eq!(analysis["source"]["kind"], "units");
    assert_eq!(analysis["metrics"][0]["kind"], "proportion");
    assert_eq!(analysis["metrics"][1]["kind"], "mean");
    assert_eq!(analysis["metrics"][0]["segments"].as_array().unwrap().len(), 2);

    // SciPy 1.17: G1 of the statistics' golden numbers, from count, mean and variance.
    std::fs::write(
        folder.path().join("arms.csv"),
        "arm,n,mean,variance\nC,3407,0.41000293513354857,15.2102\nT,3461,0.7,38.4396\n",
    )
    .unwrap();
    let analysis = json(&sendlift(
        folder.path(),
        &["--format", "json", "experiment", "analyze", "--arms", "arms.csv", "--control", "C"],
    ));
    let p_value = analysis["metrics"][0]["comparisons"][0]["p_value"].as_f64().unwrap();
    assert!((p_value - 0.02016).abs() < 5e-5, "{p_value}");
    std::fs::write(folder.path().join("arms.csv"), "arm,n,successes\nA,80,48\nB,70,56\n").unwrap();
    let analysis = json(&sendlift(
        folder.path(),
        &["--format", "json", "experiment", "analyze", "--arms", "arms.csv", "--control", "A"],
    ));
    let lift = &analysis["metrics"][0]["comparisons"][0]["lift"];
    assert!(
        (lift["low"].as_f64().unwrap() - 0.0798).abs() < 5e-5 && (lift["high"].as_f64().unwrap() - 0.6708).abs() < 5e-5,
        "{lift}"
    );
}

#[test]
fn the_configuration_is_read_and_misspellings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sendlift.toml"), "store = \"here\"\n[settings.attribution]\nwindow_days = 3\n")
        .unwrap();
    let shown = stdout(&sendlift(folder.path(), &["config"]));
    assert!(shown.contains("window_days = 3") && shown.contains("store = \"here\""), "{shown}");
    std::fs::write(folder.path().join("sendlift.toml"), "stor = \"here\"\n").unwrap();
    let refused = sendlift(folder.path(), &["config"]);
    assert!(refused.status.code() == Some(2) && stderr(&refused).contains("stor"), "{}", stderr(&refused));
}
