//! Who may ask and how much: keys, addresses, limits; and what every answer has: a request id, the shape of a problem,
//! the contract.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use sendlift::http::{AppState, ServeConfig, hash_api_key, serve};
use sendlift_engine::settings::Settings;
use sendlift_engine::store::Store;
use tower::ServiceExt as _;

use super::http_support::{Server, sends};

/// A body of which nothing ever comes.
fn endless() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>())
}

#[tokio::test]
async fn a_server_says_how_it_is() {
    let server = Server::new();
    assert_eq!(server.get("/healthz").await.ok().json()["status"], "ok");
    assert_eq!(server.get("/readyz").await.ok().json()["status"], "ready");
    let metrics = server.get("/metrics").await.ok();
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(metrics.text().contains("sendlift_http_requests_total{route=\"/healthz\",status=\"2xx\"} 1"));
}

#[tokio::test]
async fn with_a_key_nobody_else_gets_in() {
    let config = ServeConfig { api_key_hashes: vec![hash_api_key("open sesame")], ..ServeConfig::default() };
    let server = Server::with(&config);
    for uri in ["/v1/campaigns", "/metrics", "/docs/", "/openapi.json"] {
        let closed = server.get(uri).await;
        closed.problem(StatusCode::UNAUTHORIZED);
        assert_eq!(closed.header("www-authenticate"), "Bearer");
        for (name, value) in [("authorization", "Bearer sesame"), ("x-api-key", "Open Sesame"), ("x-api-key", "")] {
            server.ask(Request::get(uri).header(name, value), Body::empty()).await.problem(StatusCode::UNAUTHORIZED);
        }
        for (name, value) in [("authorization", "Bearer open sesame"), ("x-api-key", "open sesame")] {
            server.ask(Request::get(uri).header(name, value), Body::empty()).await.ok();
        }
    }
    for uri in ["/healthz", "/readyz"] {
        server.get(uri).await.ok();
    }
}

#[tokio::test]
async fn without_a_key_only_this_machine_may_ask() {
    let server = Server::new();
    server.ask(Request::get("/v1/campaigns").header("host", "localhost:8080"), Body::empty()).await.ok();
    let rebound = server.ask(Request::get("/v1/campaigns").header("host", "rebound.example"), Body::empty()).await;
    rebound.problem(StatusCode::FORBIDDEN);

    let folder = tempfile::TempDir::new().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let state = AppState::new(store, Settings::default(), None);
    let config = ServeConfig { listen: "0.0.0.0:0".parse().unwrap(), ..ServeConfig::default() };
    let refused = serve(state, &config, async {}).await.unwrap_err().to_string();
    assert!(refused.contains("API key"), "{refused}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let config = ServeConfig { max_body_bytes: 64, ..ServeConfig::default() };
    let server = Server::with(&config);
    server.post("/v1/logs/sends", "text/csv", sends()).await.problem(StatusCode::PAYLOAD_TOO_LARGE);
    let announced = Request::post("/v1/query").header("content-length", "65");
    server.ask(announced, "SELECT 1").await.problem(StatusCode::PAYLOAD_TOO_LARGE);
    server.post("/v1/query", "text/plain", "SELECT 1").await.ok();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let config = ServeConfig { timeout: Duration::from_millis(50), ..ServeConfig::default() };
    let server = Server::with(&config);
    server.post("/v1/query", "text/plain", endless()).await.problem(StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_request_too_many_is_turned_away() {
    let config = ServeConfig { max_concurrent: 1, ..ServeConfig::default() };
    let server = Server::with(&config);
    server.get("/v1/experiments").await.ok();
    let waiting = Request::post("/v1/query").header("content-type", "text/plain").body(endless()).unwrap();
    let waiting = tokio::spawn(server.router().oneshot(waiting));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let full = server.get("/v1/campaigns").await;
    full.problem(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.header("retry-after"), "1");
    server.get("/healthz").await.ok();

    // An answer that is there needs no room. A batch has its own, and such answers are made again with it.
    assert_eq!(server.get("/v1/experiments").await.ok().json(), serde_json::json!([]));
    server.post("/v1/logs/sends", "text/csv", sends()).await.ok();
    assert_eq!(server.get("/v1/experiments").await.ok().json()[0]["experiment_id"], "subject");

    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    server.get("/v1/campaigns").await.ok();
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = Server::new();
    let named = server.ask(Request::get("/healthz").header("x-request-id", "mine-7"), Body::empty()).await;
    assert_eq!(named.header("x-request-id"), "mine-7");
    assert_eq!(server.get("/healthz").await.header("x-request-id").len(), 36);
    // `problem` compares the instance with the id.
    server.get("/nothing").await.problem(StatusCode::NOT_FOUND);
    let wrong_method = server.post("/v1/campaigns", "text/plain", "").await;
    wrong_method.problem(StatusCode::METHOD_NOT_ALLOWED);
    assert!(wrong_method.header("allow").contains("GET"));
}

#[tokio::test]
async fn answers_are_compressed_where_asked() {
    let server = Server::new();
    let asked = Request::get("/openapi.json").header("accept-encoding", "gzip");
    let answer = server.ask(asked, Body::empty()).await.ok();
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert!(answer.body.starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn the_contract_lists_every_path() {
    let server = Server::new();
    let document = server.get("/openapi.json").await.ok().json();
    let listed: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = BTreeSet::from([
        "/healthz",
        "/metrics",
        "/readyz",
        "/v1/analyze",
        "/v1/campaigns",
        "/v1/campaigns/{id}/report",
        "/v1/charts/{file}",
        "/v1/experiments",
        "/v1/experiments/{id}",
        "/v1/experiments/{id}/analysis",
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/result",
        "/v1/logs/{log}",
        "/v1/models",
        "/v1/models/{id}",
        "/v1/query",
        "/v1/report",
        "/v1/scores",
        "/v1/segments",
        "/v1/segments/{name}",
        "/v1/windows",
        "/v1/windows/recipients",
    ]);
    assert_eq!(listed, expected);
    assert!(document["components"]["securitySchemes"]["bearer"].is_object());
    assert!(document["components"]["schemas"]["ProblemDetails"].is_object());

    let analysis = &document["paths"]["/v1/experiments/{id}/analysis"]["get"];
    let parameters = analysis["parameters"].as_array().unwrap();
    let names: BTreeSet<&str> = parameters.iter().filter_map(|parameter| parameter["name"].as_str()).collect();
    let expected = BTreeSet::from([
        "id",
        "segment",
        "metric",
        "control",
        "alpha",
        "correction",
        "allocation",
        "sequential",
        "planned_units",
        "bayesian",
        "margin",
        "all_pairs",
        "covariate",
        "equivalence",
        "exact",
        "interval",
        "post_stratify",
        "randomised_by",
        "looks",
        "spending",
        "path",
        "search",
        "at",
    ]);
    assert_eq!(names, expected);
    assert!(analysis["responses"]["304"].is_object());
    for status in ["404", "default"] {
        let content = &analysis["responses"][status]["content"]["application/problem+json"];
        assert_eq!(content["schema"]["$ref"], "#/components/schemas/ProblemDetails", "{status}");
    }

    let job = &document["paths"]["/v1/jobs/{id}"];
    assert!(job["get"]["responses"]["304"].is_null());
    assert!(job["delete"]["responses"]["404"]["content"]["application/problem+json"].is_object(), "{job}");

    assert!(server.get("/docs/").await.ok().text().contains("swagger"));
}
