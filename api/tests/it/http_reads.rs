//! What is read over HTTP: campaigns, reports, experiments, analyses and charts, and the tags that save reading them
//! twice.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;

use super::http_support::{MESSAGES, Server, more_sends, sends};

#[tokio::test]
async fn campaigns_and_their_reports() {
    let server = Server::filled().await;
    let campaigns = server.get("/v1/campaigns").await.ok().json();
    assert_eq!((&campaigns[0]["campaign_id"], &campaigns[0]["sent"]), (&"spring".into(), &MESSAGES.into()));

    let report = server.get("/v1/campaigns/spring/report").await.ok().json();
    let row = &report["rows"][0];
    assert_eq!(row["campaign_id"], "spring");
    assert_eq!((&row["sent"], &row["delivered"], &row["clickers"]), (&MESSAGES.into(), &MESSAGES.into(), &40.into()));
    assert_eq!(row["click_rate"]["estimate"], 0.2);
    assert!(report["versions"]["message_facts"].is_u64() && report["as_of"].is_string(), "{report}");

    let by_arm = server.get("/v1/report?by=variant,country&campaign=spring").await.ok().json();
    assert_eq!(by_arm["by"], serde_json::json!(["variant", "country"]));
    assert_eq!(by_arm["rows"].as_array().map(Vec::len), Some(4));

    let before = server.get("/v1/campaigns/spring/report?to=2026-03-02&time_zone=America/New_York").await.ok().json();
    assert_eq!(before["rows"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_cannot_be_is_refused() {
    let server = Server::filled().await;
    for uri in [
        "/v1/campaigns/autumn/report",
        "/v1/experiments/none",
        "/v1/experiments/none/analysis",
        "/v1/charts/lift.svg?experiment=none",
        "/v1/charts/pie.svg",
        "/v1/charts/funnel.gif",
        "/v1/nothing",
    ] {
        let detail = server.get(uri).await.problem(StatusCode::NOT_FOUND);
        assert!(!detail.is_empty(), "{uri}");
    }
    for uri in [
        "/v1/report?by=colour",
        "/v1/report?from=soon",
        "/v1/report?at=100000",
        "/v1/report?time_zone=Mars",
        "/v1/report?group=variant",
        "/v1/campaigns?by=variant",
        "/v1/experiments/subject/analysis?alpha=2",
        "/v1/experiments/subject/analysis?correction=luck",
        "/v1/experiments/subject/analysis?metric=joy",
        "/v1/experiments/subject/analysis?segment=colour",
        "/v1/charts/lift.svg",
        "/v1/charts/segments.svg?experiment=subject",
        "/v1/charts/funnel.svg?width=1",
    ] {
        let detail = server.get(uri).await.problem(StatusCode::BAD_REQUEST);
        assert!(!detail.is_empty(), "{uri}");
    }
}

#[tokio::test]
async fn an_unchanged_answer_is_not_sent_again() {
    let server = Server::filled().await;
    let uris = [
        "/v1/campaigns",
        "/v1/report?by=variant",
        "/v1/campaigns/spring/report",
        "/v1/experiments",
        "/v1/experiments/subject",
        "/v1/experiments/subject/analysis",
        "/v1/charts/funnel.svg",
    ];
    let mut tags = Vec::new();
    for uri in uris {
        let answer = server.get(uri).await.ok();
        let tag = answer.header("etag").to_owned();
        assert!(tag.ends_with('"'), "{uri} has the tag {tag}");
        let again = server.ask(Request::get(uri).header("if-none-match", &tag), Body::empty()).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{uri}");
        assert_eq!(again.header("etag"), tag);
        assert!(!tags.contains(&tag), "{uri} has the tag of another request");
        tags.push(tag);
    }

    let more = sends().replace("m1", "n1");
    server.post("/v1/logs/sends?max_rejected=1", "text/csv", more).await.ok();
    for (uri, tag) in uris.iter().zip(&tags) {
        let changed = server.ask(Request::get(*uri).header("if-none-match", tag), Body::empty()).await.ok();
        assert_ne!(changed.header("etag"), tag, "{uri}");
    }
}

#[tokio::test]
async fn an_answer_that_is_kept_is_made_again_after_a_batch() {
    let server = Server::filled().await;
    let uri = "/v1/campaigns/spring/report";
    let first = server.get(uri).await.ok();
    let again = server.get(uri).await.ok();
    assert_eq!((&again.body, again.header("etag")), (&first.body, first.header("etag")));
    assert_eq!(first.json()["rows"][0]["sent"], MESSAGES);

    server.post("/v1/logs/sends", "text/csv", more_sends()).await.ok();
    let changed = server.get(uri).await.ok();
    assert_eq!(changed.json()["rows"][0]["sent"], 2 * MESSAGES);
    assert_ne!(changed.header("etag"), first.header("etag"));
    // Nobody asked for this one before the batch, so it was not made again with it.
    assert_eq!(server.get("/v1/campaigns").await.ok().json()[0]["sent"], 2 * MESSAGES);
}

#[tokio::test]
async fn who_asks_the_same_at_the_same_time_gets_the_same() {
    let server = Server::filled().await;
    let (left, right) = tokio::join!(
        server.get("/v1/report?by=variant&campaign=spring"),
        server.get("/v1/report?campaign=spring&to=&by=variant")
    );
    let (left, right) = (left.ok(), right.ok());
    assert_eq!(left.body, right.body);
    assert_eq!(left.header("etag"), right.header("etag"));
    assert_eq!(left.json()["rows"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn an_error_is_not_kept() {
    let server = Server::new();
    let uri = "/v1/campaigns/spring/report";
    server.get(uri).await.problem(StatusCode::NOT_FOUND);
    server.post("/v1/logs/sends", "text/csv", sends()).await.ok();
    assert_eq!(server.get(uri).await.ok().json()["rows"][0]["sent"], MESSAGES);
}

#[tokio::test]
async fn what_another_process_takes_in_is_seen_soon() {
    let server = Server::filled().await;
    let other = server.beside();
    assert_eq!(other.get("/v1/campaigns").await.ok().json()[0]["sent"], MESSAGES);
    server.post("/v1/logs/sends", "text/csv", more_sends()).await.ok();
    for _ in 0..200 {
        if other.get("/v1/campaigns").await.ok().json()[0]["sent"] == 2 * MESSAGES {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("ten seconds later the other server still knows nothing of the batch");
}

#[tokio::test]
async fn a_report_can_be_asked_again_at_its_version() {
    let server = Server::filled().await;
    let report = server.get("/v1/report").await.ok().json();
    let version = report["versions"]["message_facts"].as_u64().unwrap();
    let more = sends().replace(",spring,", ",summer,").replace("m1", "n1");
    server.post("/v1/logs/sends", "text/csv", more).await.ok();
    assert_ne!(server.get("/v1/report").await.ok().json()["rows"], report["rows"]);
    assert_eq!(server.get(&format!("/v1/report?at={version}")).await.ok().json()["rows"], report["rows"]);
}

#[tokio::test]
async fn experiments_and_their_analyses() {
    let server = Server::filled().await;
    let experiments = server.get("/v1/experiments").await.ok().json();
    assert_eq!(experiments[0]["experiment_id"], "subject");
    let experiment = server.get("/v1/experiments/subject").await.ok().json();
    assert_eq!((&experiment["arms"], &experiment["units"]), (&serde_json::json!(["A", "B"]), &MESSAGES.into()));

    let uri =
        "/v1/experiments/subject/analysis?control=B&alpha=0.1&allocation=A=0.5,B=0.5&correction=bh&segment=country";
    let analysis = server.get(uri).await.ok().json();
    assert_eq!((&analysis["control"], &analysis["alpha"]), (&"B".into(), &0.1.into()));
    assert_eq!(analysis["source"]["kind"], "store");
    assert!(analysis["metrics"][0]["comparisons"][0]["difference"].is_object(), "{analysis}");
    assert!(analysis["metrics"][0]["segments"][0]["segment"]["country"].is_string(), "{analysis}");
    assert!(analysis["decision"]["recommendation"].is_string(), "{analysis}");

    let delivery = server.get("/v1/experiments/subject/analysis?metric=delivery,click").await.ok().json();
    let names: Vec<&Value> = delivery["metrics"].as_array().unwrap().iter().map(|metric| &metric["metric"]).collect();
    assert_eq!(names, ["delivery", "click"]);
}

#[tokio::test]
async fn a_table_is_analysed_without_being_stored() {
    let server = Server::new();
    let arms = "arm,n,successes\nA,1000,100\nB,1000,130\n";
    let analysis = server.post("/v1/analyze?kind=arms&control=A", "text/csv", arms).await.ok().json();
    let difference = &analysis["metrics"][0]["comparisons"][0]["difference"];
    assert!((difference["estimate"].as_f64().unwrap() - 0.03).abs() < 1e-12, "{difference}");

    let unit = |number: u32| {
        let visit = u8::from(number.is_multiple_of(7));
        format!("{},{visit},{}\n", number % 2, f64::from(visit) * 9.5)
    };
    let units = format!("group,visit,spend\n{}", (0..400).map(unit).collect::<Vec<_>>().concat());
    let uri = "/v1/analyze?arm=group&control=0&metric=visit:proportion&metric=spend";
    let analysis = server.post(uri, "text/csv", units.clone()).await.ok().json();
    assert_eq!(analysis["control"], "0");
    assert_eq!(
        (&analysis["metrics"][0]["kind"], &analysis["metrics"][1]["kind"]),
        (&"proportion".into(), &"mean".into())
    );

    for uri in [
        "/v1/analyze",
        "/v1/analyze?arm=group",
        "/v1/analyze?arm=group&metric=visit:mode",
        "/v1/analyze?arm=colour&metric=visit",
        "/v1/analyze?kind=letters",
        "/v1/analyze?kind=arms&metric=visit",
    ] {
        server.post(uri, "text/csv", units.clone()).await.problem(StatusCode::BAD_REQUEST);
    }
    assert_eq!(server.get("/v1/experiments").await.ok().json(), serde_json::json!([]));
}

#[tokio::test]
async fn what_is_asked_for_stands_beside_the_headline() {
    let server = Server::filled().await;
    let plain = server.get("/v1/experiments/subject/analysis?metric=click").await.ok().json();
    let comparison = &plain["metrics"][0]["comparisons"][0];
    assert!(comparison.get("always_valid").is_none() && comparison.get("bayesian").is_none(), "{comparison}");
    let uri = "/v1/experiments/subject/analysis?metric=click&sequential=true&planned_units=200&bayesian=true";
    let asked = server.get(uri).await.ok().json();
    let comparison = &asked["metrics"][0]["comparisons"][0];
    assert_eq!(comparison["always_valid"]["planned_units"], 200);
    assert!(comparison["always_valid"]["lift"]["low"].is_number(), "{comparison}");
    let chances = asked["metrics"][0]["bayesian"]["arms"].as_array().unwrap();
    let sum: f64 = chances.iter().map(|arm| arm["chance_to_win"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{asked}");

    let arms = "arm,n,mean,variance\nC,3407,0.41,15.21\nT,3461,0.7,38.44\n";
    let uri = "/v1/analyze?kind=arms&control=C&sequential=true&bayesian=true";
    let analysis = server.post(uri, "text/csv", arms).await.ok().json();
    // stats/tests/oracle/sequential.py: the formula in NumPy, 10,000 units planned.
    let p_value = analysis["metrics"][0]["comparisons"][0]["always_valid"]["p_value"].as_f64().unwrap();
    assert!((p_value - 0.259_290_720_710).abs() < 1e-9, "{p_value}");
    let held =
        server.get("/v1/experiments/subject/analysis?metric=click,delivery&margin=delivery=5%25").await.ok().json();
    let margin = &held["metrics"][1]["comparisons"][0]["margin"];
    assert_eq!((&margin["margin"]["relative"], &margin["direction"]), (&0.05.into(), &"higher_is_better".into()));
    for wrong in [
        "margin=joy=1pp",
        "margin=click",
        "sequential=1",
        "bayesian=maybe",
        "planned_units=5",
        "sequential=true&planned_units=0",
    ] {
        let uri = format!("/v1/experiments/subject/analysis?{wrong}");
        server.get(&uri).await.problem(StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn charts_are_drawn_in_both_formats() {
    let server = Server::filled().await;
    for chart in [
        "funnel.svg",
        "funnel.svg?by=variant",
        "hours.svg?campaign=spring",
        "lift.svg?experiment=subject",
        "segments.svg?experiment=subject&segment=country&metric=click",
    ] {
        let svg = server.get(&format!("/v1/charts/{chart}")).await.ok();
        assert_eq!(svg.header("content-type"), "image/svg+xml", "{chart}");
        assert!(svg.text().contains("<svg"), "{chart}");

        let uri = format!("/v1/charts/{}", chart.replace(".svg", ".png"));
        let png = server.get(&uri).await.ok();
        assert_eq!(png.header("content-type"), "image/png", "{uri}");
        assert!(png.body.starts_with(b"\x89PNG"), "{uri}");
    }
    let wide = server.get("/v1/charts/funnel.svg?width=1200&height=400").await.ok().text();
    assert!(wide.contains("width=\"1200\""), "{}", &wide[..200.min(wide.len())]);
}

#[tokio::test]
async fn the_chart_of_windows_takes_what_the_answer_takes() {
    let server = Server::generated(2_000).await;
    let chart = "/v1/charts/windows.svg";
    let german = server.get(&format!("{chart}?segment=country%3DDE&slots=6&each_day=true")).await.ok().text();
    assert!(german.contains("Send windows of the local week: DE"), "{german}");
    assert_ne!(german, server.get(&format!("{chart}?segment=country%3DDE")).await.ok().text());
    let nobody = server.get(&format!("{chart}?segment=country%3DXX")).await.problem(StatusCode::NOT_FOUND);
    assert!(nobody.contains("country=XX") && nobody.contains("DE"), "{nobody}");
    for (parameters, named) in
        [("segment=country", "country=VALUE"), ("slots=0", "0 windows"), ("by=country", "segment=")]
    {
        let refused = server.get(&format!("{chart}?{parameters}")).await.problem(StatusCode::BAD_REQUEST);
        assert!(refused.contains(named), "{parameters}: {refused}");
    }
}
