//! Logs over HTTP: what is taken in, what is refused, that the same batch twice is one batch, and that batches at the same
//! time share commits and nothing else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::future::join_all;
use sendlift::http::ServeConfig;

use super::http_support::{Answer, MESSAGES, Server, clicks, deliveries, more_sends, sends};

/// As many messages as the sample campaign has, under ids of their own.
fn batch(number: usize) -> String {
    sends().replace("\nm", &format!("\nb{number}-"))
}

async fn count(server: &Server, table: &str) -> usize {
    let sql = format!("SELECT count(*) AS n FROM {table}");
    let answer = server.post("/v1/query", "text/plain", sql).await.ok().json();
    answer[0]["n"].as_u64().unwrap().try_into().unwrap()
}

async fn send_as(server: &Server, key: &str, body: String) -> Answer {
    let request = Request::post("/v1/logs/sends").header("content-type", "text/csv");
    server.ask(request.header("idempotency-key", key), body).await
}

#[tokio::test]
async fn a_batch_is_committed_and_counted() {
    let server = Server::new();
    let answer = server.post("/v1/logs/sends", "text/csv", sends()).await.ok().json();
    assert_eq!(answer["log"], "sends");
    assert_eq!(answer["accepted"], MESSAGES);
    for nothing in ["rejected", "left_out", "duplicates"] {
        assert_eq!(answer[nothing], 0, "{nothing}");
    }
    assert!(answer["version"].is_u64() && answer["facts_version"].is_u64(), "{answer}");
    assert!(answer["reasons"].is_object() && answer["examples"].is_array(), "{answer}");

    for (log, body) in [("deliveries", deliveries()), ("clicks", clicks())] {
        let answer = server.post(&format!("/v1/logs/{log}"), "application/x-ndjson", body).await.ok().json();
        assert_eq!((&answer["log"], &answer["rejected"]), (&log.into(), &0.into()));
    }
    let metrics = server.get("/metrics").await.ok().text();
    assert!(metrics.contains(&format!("sendlift_rows_accepted_total{{log=\"sends\"}} {MESSAGES}")), "{metrics}");
    assert!(metrics.contains("sendlift_http_requests_total{route=\"/v1/logs/{log}\",status=\"2xx\"} 3"), "{metrics}");
}

#[tokio::test]
async fn the_same_batch_twice_changes_nothing() {
    let server = Server::new();
    let send = || {
        let request = Request::post("/v1/logs/sends").header("content-type", "text/csv");
        server.ask(request.header("idempotency-key", "batch-7"), sends())
    };
    let first = send().await.ok().json();
    let second = send().await.ok().json();
    assert_eq!((&second["accepted"], &second["duplicates"]), (&0.into(), &MESSAGES.into()));
    assert_eq!((&second["version"], &second["facts_version"]), (&first["version"], &first["facts_version"]));

    // The same key with other rows is a mistake that would lose them.
    let other = send_as(&server, "batch-7", sends().replace("m1", "n1")).await;
    let told = other.problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert!(told.contains("Idempotency-Key") && told.contains("nothing of these was"), "{told}");

    // Without a key the bytes are the batch's name.
    server.post("/v1/logs/clicks", "application/x-ndjson", clicks()).await.ok();
    let again = server.post("/v1/logs/clicks", "application/x-ndjson", clicks()).await.ok().json();
    assert_eq!(again["accepted"], 0);

    let count = server.post("/v1/query", "text/plain", "SELECT count(*) AS n FROM sends").await.ok().json();
    assert_eq!(count[0]["n"], MESSAGES);
}

#[tokio::test]
async fn bad_rows_are_set_aside_until_they_are_too_many() {
    let bad_row = ",spring,A,subject,r1,sms,US,America/New_York,2026-03-02T13:00:00Z\n";
    let body = sends() + bad_row;

    let strict = Server::new();
    let refused = strict.post("/v1/logs/sends?max_rejected=0", "text/csv", body.clone()).await;
    let detail = refused.problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert!(detail.contains("rejected"), "{detail}");
    let count = strict.post("/v1/query", "text/plain", "SELECT count(*) AS n FROM sends").await.ok().json();
    assert_eq!(count[0]["n"], 0);

    let server = Server::new();
    let answer = server.post("/v1/logs/sends", "text/csv", body).await.ok().json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&MESSAGES.into(), &1.into()));
    assert_eq!(answer["reasons"].as_object().map(serde_json::Map::len), Some(1));
    assert!(answer["examples"][0]["reason"].is_string(), "{answer}");
}

#[tokio::test]
async fn phone_numbers_without_a_hash_key_are_refused() {
    let body = "message_id,campaign_id,phone,sent_at\nm1,spring,+14155552671,2026-03-02T13:00:00Z\n";
    let answer = Server::new().post("/v1/logs/sends", "text/csv", body).await;
    let detail = answer.problem(StatusCode::UNPROCESSABLE_ENTITY);
    assert!(detail.contains("phone") && !detail.contains("4155552671"), "{detail}");
}

#[tokio::test]
async fn what_no_log_is_and_no_table_is_refused() {
    let server = Server::new();
    let detail = server.post("/v1/logs/letters", "text/csv", sends()).await.problem(StatusCode::NOT_FOUND);
    assert!(detail.contains("letters") && detail.contains("opt_outs"), "{detail}");
    let form = server.post("/v1/logs/sends", "application/x-www-form-urlencoded", "a=b").await;
    form.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let brotli = Request::post("/v1/logs/sends").header("content-type", "text/csv").header("content-encoding", "br");
    server.ask(brotli, "x").await.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for query in ["preset=none", "time_zone=Mars", "max_rejected=2", "max_rejected=all", "presets=twilio"] {
        let uri = format!("/v1/logs/sends?{query}");
        server.post(&uri, "text/csv", sends()).await.problem(StatusCode::BAD_REQUEST);
    }
    let nameless = Request::post("/v1/logs/sends").header("content-type", "text/csv").header("idempotency-key", " ");
    server.ask(nameless, sends()).await.problem(StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn batches_at_the_same_time_share_commits() {
    let server = Server::new();
    let answers = join_all((0..32).map(|number| server.post("/v1/logs/sends", "text/csv", batch(number)))).await;
    let mut versions = BTreeSet::new();
    for answer in answers {
        let answer = answer.ok().json();
        assert_eq!((&answer["accepted"], &answer["duplicates"]), (&MESSAGES.into(), &0.into()));
        versions.insert(answer["version"].as_u64().unwrap());
    }
    assert!(versions.len() < 32, "{versions:?}");
    // Whoever reads after the acknowledgements sees them all.
    let report = server.get("/v1/campaigns/spring/report").await.ok();
    assert_eq!(report.json()["rows"][0]["sent"], 32 * MESSAGES);
    assert_eq!(report.header("sendlift-behind"), "");
    assert_eq!(count(&server, "sends").await, 32 * MESSAGES);
}

#[tokio::test]
async fn a_key_that_comes_twice_at_the_same_time_counts_once() {
    let server = Server::new();
    let bodies = [("a", 0), ("a", 0), ("b", 1), ("a", 0)];
    let answers = join_all(bodies.map(|(key, number)| send_as(&server, key, batch(number)))).await;
    let sum = |name: &str| answers.iter().map(|answer| answer.json()[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("accepted"), sum("duplicates")), (2 * MESSAGES as u64, 2 * MESSAGES as u64));
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK && answer.json()["version"].is_u64()));
    assert_eq!(count(&server, "sends").await, 2 * MESSAGES);
    let later = send_as(&server, "b", batch(1)).await.ok().json();
    assert_eq!((&later["accepted"], &later["duplicates"]), (&0.into(), &MESSAGES.into()));
}

#[tokio::test]
async fn a_bad_batch_does_not_hurt_those_beside_it() {
    let server = Server::new();
    let one_bad_row = batch(1) + ",spring,A,subject,r1,sms,US,America/New_York,2026-03-02T13:00:00Z\n";
    let all_bad = "message_id,recipient_id,sent_at\nm1,r1,never\n".to_owned();
    let secret = "message_id,campaign_id,phone,sent_at\nm1,spring,+14155552671,2026-03-02T13:00:00Z\n".to_owned();
    let bodies = [batch(0), all_bad, one_bad_row, secret, "\u{0}\u{1}".to_owned(), batch(2)];
    let answers = join_all(bodies.map(|body| server.post("/v1/logs/sends", "text/csv", body))).await;
    for (index, rejected) in [(0, 0), (2, 1), (5, 0)] {
        let answer = &answers[index];
        assert_eq!(answer.status, StatusCode::OK, "{index}: {}", answer.text());
        assert_eq!((&answer.json()["accepted"], &answer.json()["rejected"]), (&MESSAGES.into(), &rejected.into()));
    }
    for index in [1, 3, 4] {
        answers[index].problem(StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!((count(&server, "sends").await, count(&server, "quarantine").await), (3 * MESSAGES, 1));
}

#[tokio::test]
async fn batches_of_several_logs_come_at_the_same_time() {
    let server = Server::new();
    let (sends, deliveries, clicks) = tokio::join!(
        server.post("/v1/logs/sends", "text/csv", sends()),
        server.post("/v1/logs/deliveries", "application/x-ndjson", deliveries()),
        server.post("/v1/logs/clicks", "application/x-ndjson", clicks())
    );
    for (answer, log) in [(sends, "sends"), (deliveries, "deliveries"), (clicks, "clicks")] {
        assert_eq!(answer.ok().json()["log"], log);
    }
    let report = server.get("/v1/campaigns/spring/report").await.ok().json();
    assert_eq!((&report["rows"][0]["delivered"], &report["rows"][0]["clickers"]), (&MESSAGES.into(), &40.into()));
}

#[tokio::test]
async fn batches_that_find_no_room_are_turned_away() {
    // There is room for the bytes of one.
    let config = ServeConfig { max_waiting_bytes: batch(0).len(), ..ServeConfig::default() };
    let server = Server::with(&config);
    let answers = join_all((0..4).map(|number| server.post("/v1/logs/sends", "text/csv", batch(number)))).await;
    let (taken, refused): (Vec<_>, Vec<_>) =
        answers.iter().enumerate().partition(|(_, answer)| answer.status == StatusCode::OK);
    assert!(!taken.is_empty() && !refused.is_empty(), "{answers:?}");
    for (number, answer) in refused {
        let detail = answer.problem(StatusCode::SERVICE_UNAVAILABLE);
        assert!(detail.contains("again") && answer.header("retry-after") == "1", "{detail}");
        server.post("/v1/logs/sends", "text/csv", batch(number)).await.ok();
    }
    assert_eq!(count(&server, "sends").await, 4 * MESSAGES);
}

#[tokio::test]
async fn an_acknowledged_batch_outlives_its_server() {
    let server = Server::new();
    let answers = join_all((0..8).map(|number| server.post("/v1/logs/sends", "text/csv", batch(number)))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let next = server.beside();
    // Nobody tells it to stop, and what it does behind the requests' backs is given up.
    drop(server);
    assert_eq!(count(&next, "sends").await, 8 * MESSAGES);
    assert_eq!(send_as(&next, "k", batch(8)).await.ok().json()["accepted"], MESSAGES);
    let again = next.post("/v1/logs/sends", "text/csv", batch(3)).await.ok().json();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&0.into(), &MESSAGES.into()));
}

#[tokio::test]
async fn a_large_batch_goes_its_own_way() {
    let server = Server::new();
    let rows = 300_000;
    let mut body = "message_id,campaign_id,recipient_id,channel,sent_at\n".to_owned();
    for number in 0..rows {
        writeln!(body, "large{number},spring,recipient{number},sms,2026-03-02T13:00:00Z").unwrap();
    }
    assert!(body.len() > 16 << 20);
    let (large, small) = tokio::join!(
        server.post("/v1/logs/sends", "text/csv", body.clone()),
        server.post("/v1/logs/sends", "text/csv", sends())
    );
    assert_eq!((&large.ok().json()["accepted"], &small.ok().json()["accepted"]), (&rows.into(), &MESSAGES.into()));
    let campaigns = server.get("/v1/campaigns").await.ok().json();
    assert_eq!(campaigns[0]["sent"], rows + MESSAGES);
    let again = server.post("/v1/logs/sends", "text/csv", body).await.ok().json();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&0.into(), &rows.into()));
}

#[tokio::test]
async fn a_reader_may_insist_on_the_newest() {
    let server = Server::filled().await;
    let other = server.beside();
    assert_eq!(other.get("/v1/campaigns").await.ok().json()[0]["sent"], MESSAGES);
    server.post("/v1/logs/sends", "text/csv", more_sends()).await.ok();
    // What another process committed is seen soon, and at once by whoever wants no answer from memory.
    let request = Request::get("/v1/campaigns").header("cache-control", "no-cache");
    assert_eq!(other.ask(request, Body::empty()).await.ok().json()[0]["sent"], 2 * MESSAGES);
}
