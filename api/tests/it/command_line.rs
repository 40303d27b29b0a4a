//! The binary itself: what it prints, where, and with which exit status.

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn sendlift(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sendlift"))
        .current_dir(folder)
        .env_remove("SENDLIFT_STORE")
        .env_remove("SENDLIFT_HASH_KEY")
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
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
        // Every picture says what its numbers are.
        let parts: &[&str] = match chart {
            "funnel" => &["each % is of messages sent"],
            "lift" => &["click (primary)", "opt_out (guardrail)", "relative change, with 95 % intervals"],
            "segments" => &["difference in percentage points, with 95 % intervals", " pp ["],
            _ => &["clickers as a share of recipients delivered to, with 95 % intervals"],
        };
        for part in parts {
            assert!(svg.contains(part), "{part} is missing in {chart}.svg: {svg}");
        }
    }
    // The campaigns stand in the order in which people count, in lines that a terminal has room for.
    let line = |campaign: &str| shown.lines().position(|line| line.starts_with(&format!(" {campaign} "))).unwrap();
    assert!(line("flash-sale-w1") < line("flash-sale-w3") && line("flash-sale-w9") < line("flash-sale-w11"), "{shown}");
    let first = shown.lines().nth(line("flash-sale-w1")).unwrap();
    assert!(first.chars().count() <= 140 && first.contains(" % ["), "{first}");

    // Again: nothing is taken in twice.
    let again = sendlift(folder.path(), &["demo", "--messages", "6000"]);
    assert!(again.status.success() && stdout(&again).contains("nothing changes"), "{}", stderr(&again));
    // And for a program: one object, in which the campaigns keep their order.
    let outcome = json(&sendlift(folder.path(), &["demo", "--messages", "6000", "--format", "json"]));
    assert_eq!(outcome["report"]["rows"][1]["campaign_id"], "flash-sale-w11");
    assert_eq!(outcome["analysis"]["experiment"], "flash-sale-copy");
    for extension in ["svg", "png"] {
        assert!(folder.path().join(outcome["charts"]["funnel"][extension].as_str().unwrap()).is_file(), "{outcome}");
    }
}

#[test]
fn csv_has_plain_numbers_and_an_experiment_is_shown_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut sends = String::from("message_id,campaign_id,variant,recipient_id,sent_at\n");
    for message in 0..1200 {
        let variant = ["A", "B"][message % 2];
        sends.push_str(&format!("m{message},spring,{variant},r{message},2026-03-02T10:00:00Z\n"));
    }
    std::fs::write(folder.path().join("sends.csv"), sends).unwrap();
    let ingested = stdout(&sendlift(folder.path(), &["ingest", "sends=sends.csv", "--format", "csv"]));
    assert!(ingested.contains("\nsends,1200,0,0,"), "{ingested}");
    let listed = stdout(&sendlift(folder.path(), &["experiment", "list", "--format", "csv"]));
    assert!(listed.contains("\nspring,\"A, B\",campaign,1200,"), "{listed}");
    assert!(stdout(&sendlift(folder.path(), &["experiment", "list"])).contains(" 1,200 "));

    let shown = stdout(&sendlift(folder.path(), &["experiment", "show", "spring"]));
    assert!(shown.contains("A, B") && shown.contains("1,200") && !shown.contains('{'), "{shown}");
    let object = json(&sendlift(folder.path(), &["experiment", "show", "spring", "--format", "json"]));
    assert_eq!((object["experiment_id"].as_str(), object["units"].as_u64()), (Some("spring"), Some(1200)));
}

#[test]
fn a_quarantine_that_is_cut_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let bad: String = (3..6).map(|message| format!("m{message},春节,A,r{message},never\n")).collect();
    std::fs::write(folder.path().join("sends.csv"), format!("{SENDS}{bad}")).unwrap();
    assert!(sendlift(folder.path(), &["ingest", "sends=sends.csv", "--max-rejected", "0.9"]).status.success());
    let cut = sendlift(folder.path(), &["quarantine", "--limit", "2"]);
    assert!(stderr(&cut).contains("2 of 3 rows; --export FILE writes all"), "{}", stderr(&cut));
    // The same style as every other table.
    let shown = stdout(&cut);
    assert!(shown.contains("m4,春节,A,r4,never") && !shown.contains("m5,") && shown.contains('─'), "{shown}");
    let whole = sendlift(folder.path(), &["quarantine"]);
    assert!(stdout(&whole).contains("m5,") && stderr(&whole).is_empty(), "{}", stderr(&whole));
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
    // Straight from the file the bad row is no more silent than in an ingest.
    let ask = ["report", "--by", "campaign_id,variant", "--format", "json", "--logs", "sends=sends.csv"];
    let refused = sendlift(folder.path(), &ask);
    assert_eq!(refused.status.code(), Some(3));
    assert!(stderr(&refused).contains("1 of 3 rows (33.3 %) were rejected"), "{}", stderr(&refused));
    let straight = json(&sendlift(folder.path(), &[&ask[..], &["--max-rejected", "0.5"]].concat()));
    assert_eq!(straight["rows"], report["rows"]);
    let told = straight["notes"][0].as_str().unwrap();
    assert!(
        told.starts_with("1 of 3 rows of the sends are bad and left out: 1 × sent_at") && told.contains("row 4"),
        "{told}"
    );

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
    // At 10:00 UTC the next day has begun on Kiritimati.
    let days = ["chart", "funnel", "--by", "day", "--time-zone", "Pacific/Kiritimati", "--out", "days.svg"];
    let chart = sendlift(folder.path(), &days);
    assert!(chart.status.success(), "{}", stderr(&chart));
    assert!(std::fs::read_to_string(folder.path().join("days.svg")).unwrap().contains("2026-03-03"));
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
        (&["report", "--campaign", "nope"], 1, "there is no campaign \"nope\"; there are 春节 (see sendlift report)"),
        (&["chart", "funnel", "--campaign", "nope", "--out", "x.svg"], 1, "there is no campaign \"nope\""),
        (&["ingest", "sends=sends.csv", "--default-country", "USA"], 2, "\"USA\""),
        // Options that would change nothing.
        (&["experiment", "analyze", "春节", "--arm", "variant"], 2, "--arm"),
        (&["experiment", "analyze", "春节", "--unit", "id"], 2, "--unit"),
        (&["experiment", "analyze", "春节", "--filter", "TRUE"], 2, "--filter"),
        (&["experiment", "analyze", "--units", "u.csv", "--arm", "g", "--metric", "m", "--at", "1"], 2, "--at"),
        (&["experiment", "analyze", "--arms", "a.csv", "--metric", "m"], 2, "--metric"),
        (&["experiment", "analyze", "--arms", "a.csv", "--segment", "sex"], 2, "--segment"),
        (&["experiment", "analyze", "--arms", "a.csv", "--filter", "TRUE"], 2, "--filter"),
        (&["experiment", "analyze", "--arms", "a.csv", "--unit", "id"], 2, "--unit"),
        (&["experiment", "analyze", "--arms", "a.csv", "--at", "1"], 2, "--at"),
        (&["report", "--logs", "sends=sends.csv", "--at", "1"], 2, "--at"),
        (&["report", "--preset", "twilio"], 2, "--logs"),
        (&["quarantine", "--export", "q.csv", "--limit", "3"], 2, "--limit"),
        (&["chart", "lift", "--campaign", "春节", "--out", "x.svg"], 2, "--campaign says nothing about the lift chart"),
        (&["chart", "hours", "--by", "day", "--out", "x.svg"], 2, "--by"),
        (&["demo", "--format", "csv"], 2, "--format csv"),
    ] {
        let output = sendlift(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn units_and_aggregates_are_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let mut units = String::from("id,group,bought,spend,sex,band\n");
    for unit in 0..200 {
        units.push_str(&format!(
            "u{unit},{},{},{}.5,{},{}\n",
            unit % 2,
            u8::from(unit % 7 == 0 || (unit % 2 == 1 && unit % 3 == 0)),
            unit % 5,
            ["f", "m"][unit / 100],
            ["10-17", "5-9"][unit / 50 % 2]
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
    // For people, in their order, and for each segment column whether its segments differ.
    let mut arguments: Vec<&str> = arguments.into_iter().skip(2).collect();
    arguments.extend(["--segment", "band"]);
    let shown = stdout(&sendlift(folder.path(), &arguments));
    assert!(shown.contains("differ by sex?") && shown.contains("differ by band?"), "{shown}");
    assert!(shown.find("band = 5-9") < shown.find("band = 10-17") && shown.contains("band = 5-9"), "{shown}");

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
    // No p value is written as zero.
    std::fs::write(folder.path().join("arms.csv"), "arm,n,successes\nA,100000,10000\nB,100000,50000\n").unwrap();
    let shown = stdout(&sendlift(folder.path(), &["experiment", "analyze", "--arms", "arms.csv"]));
    assert!(shown.contains(" < 1e-15") && shown.contains("adjusted p < 1e-15") && !shown.contains("0.00e0"), "{shown}");
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

#[test]
fn what_cannot_be_asked_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sends.csv"), SENDS).unwrap();
    std::fs::write(folder.path().join("list.csv"), "recipient_id\nr1\nr2\n").unwrap();
    assert!(sendlift(folder.path(), &["ingest", "sends=sends.csv"]).status.success());
    for command in [
        "windows plan --list list.csv --out plan.xlsx",
        "experiment assign --list list.csv --experiment e --arms A=0.5,B=0.5 --seed 1 --out plan.xlsx",
    ] {
        let command: Vec<&str> = command.split(' ').collect();
        let refused = sendlift(folder.path(), &command);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        let told = stderr(&refused);
        assert!(told.contains("plan.xlsx") && told.contains(".parquet"), "{told}");
    }
    // So is what cannot be asked of windows.
    for (command, words) in [
        ("windows --by variant,variant", "is there twice"),
        ("windows --by clicks", "\"clicks\" tells what came of a message"),
        ("windows --opt-out-cost -1", "cannot cost -1"),
        ("windows recipients --out r.csv --cluster df://127.0.0.1:1", "--cluster is for the question of windows"),
        ("windows recipients --out r.csv --by channel", "no column \"channel\""),
        ("windows --opt-out-cost nan", "cannot cost NaN"),
    ] {
        let command: Vec<&str> = command.split(' ').collect();
        let refused = sendlift(folder.path(), &command);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
}
