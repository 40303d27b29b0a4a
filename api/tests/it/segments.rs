//! Saved segments from the outside: `sendlift segment`, what it refuses, and the same over HTTP.

use std::fmt::Write as _;
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::command_line::{json, sendlift, stderr, stdout};
use super::http_support::{MESSAGES, Server};

const CONTACTS: &str = "recipient_id,country,plan\nr1,DE,gold\nr2,FR,gold\nr3,DE,basic\nr4,DE,gold\n";
const SENDS: &str = "message_id,campaign_id,variant,recipient_id,sent_at\n\
    m1,spring,A,r1,2026-03-02T10:00:00Z\nm2,spring,B,r2,2026-03-02T10:00:00Z\nm3,spring,A,r3,2026-03-02T10:00:00Z\n\
    m4,spring,B,r4,2026-03-02T10:00:00Z\nm5,spring,A,r4,2026-03-03T10:00:00Z\nm6,spring,B,r9,2026-03-02T10:00:00Z\n";

fn ingested(folder: &Path) {
    std::fs::write(folder.join("contacts.csv"), CONTACTS).unwrap();
    std::fs::write(folder.join("sends.csv"), SENDS).unwrap();
    let output = sendlift(folder, &["ingest", "recipients=contacts.csv", "sends=sends.csv"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn segments_are_added_shown_used_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    ingested(folder.path());
    let run = |arguments: &[&str]| sendlift(folder.path(), arguments);
    let gold = ["segment", "add", "金卡", "--where", "plan = 'gold' AND country = 'DE'"];
    let shown = stdout(&run(&gold));
    assert!(shown.contains("金卡 has version 1") && shown.contains("--by segment:金卡"), "{shown}");
    assert!(stdout(&run(&gold)).contains("nothing changes"));
    let added = json(&run(&["segment", "add", "金卡", "--where", "plan = 'gold'", "--format", "json"]));
    assert_eq!((&added["is_new"], &added["versions"][1]["version"]), (&true.into(), &2.into()));

    let listed = json(&run(&["segment", "list", "--format", "json"]));
    assert_eq!((&listed[0]["name"], listed[0]["versions"].as_array().unwrap().len()), (&"金卡".into(), 2));
    let listed = stdout(&run(&["segment", "list", "--format", "csv"]));
    assert!(listed.starts_with("segment,condition,added,version\n金卡,plan = 'gold',"), "{listed}");
    // In Germany r1 and r4, in all r1, r2 and r4.
    let sizes = json(&run(&["segment", "show", "金卡", "--format", "json"]));
    assert_eq!((&sizes["contacts"], &sizes["versions"][0]["contacts"]), (&4.into(), &2.into()));
    assert_eq!(sizes["versions"][1]["contacts"], 3);
    let shown = stdout(&run(&["segment", "show", "金卡"]));
    assert!(shown.contains("金卡@1") && shown.contains("金卡@2") && shown.contains("the newest version"), "{shown}");

    // Two messages went to r4; r9 is no contact.
    let report = |by: &str| {
        let report = json(&run(&["report", "--by", by, "--format", "json"]));
        let rows = report["rows"].as_array().unwrap().iter();
        rows.map(|row| (row[by].as_str().unwrap().to_owned(), row["sent"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    let expected = |inside: u64| [("other".to_owned(), 6 - inside), ("金卡".to_owned(), inside)];
    assert_eq!(report("segment:金卡"), expected(4));
    assert_eq!(report("segment:金卡@1"), expected(3));
    assert_eq!(report("segment:金卡@2"), expected(4));
    let shown = stdout(&run(&["report", "--by", "segment:金卡"]));
    assert!(shown.contains("note: segment:金卡 is version 2: plan = 'gold'"), "{shown}");

    assert!(stdout(&run(&["segment", "remove", "金卡"])).contains("is removed"));
    assert_eq!(json(&run(&["segment", "list", "--format", "json"])), json!([]));
}

#[test]
fn what_cannot_be_a_segment_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    ingested(folder.path());
    let add = |name: &'static str, condition: &'static str| ["segment", "add", name, "--where", condition];
    let by_files = ["report", "--by", "segment:gold", "--logs", "sends=sends.csv"];
    for (arguments, words) in [
        (&add("gold card", "plan = 'gold'")[..], "cannot name a segment"),
        (&add("gold", "plan = \"gold\""), "single quotes"),
        (&add("gold", "tier = 'gold'"), "there are"),
        (&add("gold", "plan"), "not yes or no"),
        (&add("gold", "plan IN (SELECT 'gold')"), "without subqueries"),
        (&["segment", "add", "gold"], "--where"),
        (&["segment", "show", "gold"], "no segment \"gold\""),
        (&["segment", "remove", "gold"], "no segment \"gold\""),
        (&["report", "--by", "segment:gold"], "the store has none"),
        (&["windows", "--by", "segment:gold"], "the store has none"),
        (&by_files, "kept in a store"),
    ] {
        let refused = sendlift(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(words), "{arguments:?}: {}", stderr(&refused));
    }
}

/// A server whose every tenth recipient has the gold plan.
async fn with_plans() -> Server {
    let server = Server::filled().await;
    let mut contacts = "recipient_id,plan\n".to_owned();
    for number in 0..MESSAGES {
        writeln!(contacts, "r{number},{}", if number.is_multiple_of(10) { "gold" } else { "basic" }).unwrap();
    }
    server.post("/v1/logs/recipients", "text/csv", contacts).await.ok();
    server
}

#[tokio::test]
async fn segments_over_http() {
    let server = with_plans().await;
    assert_eq!(server.get("/v1/segments").await.ok().json(), json!([]));
    server.get("/v1/segments/gold").await.problem(StatusCode::NOT_FOUND);
    for uri in ["/v1/report?by=segment:gold", "/v1/segments?name=gold", "/v1/segments/a%20b"] {
        server.get(uri).await.problem(StatusCode::BAD_REQUEST);
    }

    server.add_segment("gold", "plan = 'gold'").await;
    let listed = server.get("/v1/segments").await.ok().json();
    assert_eq!((&listed[0]["name"], &listed[0]["versions"][0]["predicate"]), (&"gold".into(), &"plan = 'gold'".into()));
    let sizes = server.get("/v1/segments/gold").await.ok().json();
    assert_eq!((&sizes["contacts"], &sizes["versions"][0]["contacts"]), (&MESSAGES.into(), &20.into()));

    // Every fifth message was clicked, those to the gold plan among them.
    let uri = "/v1/report?by=segment:gold";
    let first = server.get(uri).await.ok();
    let rows = |report: &serde_json::Value| {
        let rows = report["rows"].as_array().unwrap().iter();
        let row = |row: &serde_json::Value| json!([row["segment:gold"], row["sent"], row["clickers"]]);
        rows.map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(&first.json()), [json!(["gold", 20, 20]), json!(["other", 180, 20])]);
    let again = server.ask(Request::get(uri).header("if-none-match", first.header("etag")), Body::empty()).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);

    // A new version is another answer, though no log has changed.
    server.add_segment("gold", "plan IN ('gold', 'basic')").await;
    let changed = server.ask(Request::get(uri).header("if-none-match", first.header("etag")), Body::empty()).await.ok();
    assert_eq!(rows(&changed.json()), [json!(["gold", 200, 40])]);
    let pinned = server.get("/v1/report?by=segment:gold@1").await.ok().json();
    assert_eq!(pinned["rows"][0]["sent"], 20);

    let analysis = server.get("/v1/experiments/subject/analysis?segment=segment:gold@1").await.ok().json();
    let segments = analysis["metrics"][0]["segments"].as_array().unwrap();
    let names: Vec<&serde_json::Value> = segments.iter().map(|found| &found["segment"]["segment:gold@1"]).collect();
    assert_eq!(names, ["gold", "other"]);
    assert!(server.get("/v1/windows?by=segment:gold@1").await.ok().json().is_array());
}
