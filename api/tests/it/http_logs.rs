//! Logs over HTTP: what is taken in, what is refused, and that the same batch twice is one batch.

use axum::http::{Request, StatusCode};

use super::http_support::{MESSAGES, Server, clicks, deliveries, sends};

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
