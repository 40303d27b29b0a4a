//! What the tests of the HTTP API share: a server over a store of its own, asked without a network, and a small
//! campaign.

#![allow(clippy::unwrap_used, reason = "a test may stop at what cannot be")]

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use sendlift::http::{AppState, ServeConfig, router};
use sendlift_engine::event::Log;
use sendlift_engine::generate::{GenerateOptions, OutputFormat, generate};
use sendlift_engine::ingest::input::resolve;
use sendlift_engine::ingest::load::{IngestOptions, LogInput, ingest};
use sendlift_engine::query::{QuerySession, Source};
use sendlift_engine::segment::SegmentDefinition;
use sendlift_engine::settings::Settings;
use sendlift_engine::store::Store;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// Messages of the sample campaign, half of each arm.
pub(crate) const MESSAGES: usize = 200;

/// A server over a store of its own.
pub(crate) struct Server {
    router: Router,
    // Removed when the last server over it goes.
    folder: Arc<TempDir>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer, which must have gone well.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self
    }

    /// The detail of a problem of this status.
    pub(crate) fn problem(&self, status: StatusCode) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status.as_u16());
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["instance"], self.header("x-request-id"));
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Server {
    /// A server over an empty store.
    pub(crate) fn new() -> Self {
        Self::with(&ServeConfig::default())
    }

    /// A server over an empty store, configured.
    pub(crate) fn with(config: &ServeConfig) -> Self {
        Self::over(Arc::new(TempDir::new().unwrap()), config)
    }

    /// Another server over the same store, which knows nothing of this one.
    pub(crate) fn beside(&self) -> Self {
        Self::over(Arc::clone(&self.folder), &ServeConfig::default())
    }

    fn over(folder: Arc<TempDir>, config: &ServeConfig) -> Self {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let now: Timestamp = "2026-04-01T00:00:00Z".parse().unwrap();
        let state = AppState::new(store, Settings::default(), None).with_clock(move || now);
        Self { router: router(state, config), folder }
    }

    /// A server that holds the sample campaign.
    pub(crate) async fn filled() -> Self {
        let server = Self::new();
        server.post("/v1/logs/sends", "text/csv", sends()).await.ok();
        server.post("/v1/logs/deliveries", "application/x-ndjson", deliveries()).await.ok();
        server.post("/v1/logs/clicks", "application/x-ndjson", clicks()).await.ok();
        server
    }

    /// A server over generated logs of so many messages, sent from March to May 2026.
    pub(crate) async fn generated(messages: u64) -> Self {
        let server = Self::new();
        let logs = TempDir::new().unwrap();
        let options = GenerateOptions { messages, format: OutputFormat::Parquet, ..GenerateOptions::default() };
        generate(logs.path(), &options, &mut |_| ()).unwrap();
        let mut inputs = Vec::new();
        for log in Log::ALL {
            let path = logs.path().join(format!("{log}.parquet"));
            if path.exists() {
                inputs.push(LogInput { log, inputs: resolve(path.to_str().unwrap()).unwrap(), idempotency_key: None });
            }
        }
        let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        ingest(&server.store(), &inputs, &IngestOptions::new(now), &|_| ()).await.unwrap();
        server
    }

    /// The server's store, as another process opens it.
    pub(crate) fn store(&self) -> Store {
        Store::open(self.folder.path().to_str().unwrap()).unwrap()
    }

    /// Keeps a segment in the store, as the command line does.
    pub(crate) async fn add_segment(&self, name: &str, condition: &str) {
        let source = Source::Store(self.store(), None);
        let session = QuerySession::open(&source, &Settings::default(), Timestamp::now()).await.unwrap();
        SegmentDefinition::add(&session, name, condition, Timestamp::now()).await.unwrap();
    }

    /// The service itself, for requests that run beside each other.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn ask(&self, request: Builder, body: impl Into<Body>) -> Answer {
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.ask(Request::get(uri), Body::empty()).await
    }

    pub(crate) async fn delete(&self, uri: &str) -> Answer {
        self.ask(Request::delete(uri), Body::empty()).await
    }

    pub(crate) async fn post(&self, uri: &str, content_type: &str, body: impl Into<Body>) -> Answer {
        self.ask(Request::post(uri).header("content-type", content_type), body).await
    }
}

/// The sends of campaign `spring`, experiment `subject`: arms A and B in turn, in two countries.
pub(crate) fn sends() -> String {
    let mut csv =
        "message_id,campaign_id,variant,experiment_id,recipient_id,channel,country,time_zone,sent_at\n".to_owned();
    for number in 0..MESSAGES {
        let arm = if number % 2 == 0 { "A" } else { "B" };
        let country = if number % 3 == 0 { "US" } else { "CA" };
        let hour = 13 + number % 4;
        writeln!(
            csv,
            "m{number},spring,{arm},subject,r{number},sms,{country},America/New_York,2026-03-02T{hour}:00:00Z"
        )
        .unwrap();
    }
    csv
}

/// The same messages under other ids: as many more to the same recipients.
pub(crate) fn more_sends() -> String {
    sends().replace("\nm", "\nn")
}

/// A receipt for every message.
pub(crate) fn deliveries() -> String {
    let mut ndjson = String::new();
    for number in 0..MESSAGES {
        let hour = 13 + number % 4;
        writeln!(
            ndjson,
            "{{\"message_id\":\"m{number}\",\"status\":\"delivered\",\"at\":\"2026-03-02T{hour}:00:05Z\"}}"
        )
        .unwrap();
    }
    ndjson
}

/// A human click on every fifth message.
pub(crate) fn clicks() -> String {
    let mut ndjson = String::new();
    for number in (0..MESSAGES).step_by(5) {
        writeln!(
            ndjson,
            "{{\"click_id\":\"c{number}\",\"message_id\":\"m{number}\",\"link\":\"offer\",\
             \"clicked_at\":\"2026-03-02T18:00:00Z\"}}"
        )
        .unwrap();
    }
    ndjson
}
