//! Whether the server is alive, whether it can answer, and its counters.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use sendlift_engine::store::MESSAGE_FACTS;
use serde_json::{Value, json};

use super::AppState;
use super::problem::Problem;

/// The media type of the text format that Prometheus reads.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Routes that need no key and always find room.
pub(super) fn open_routes() -> Router<AppState> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// Routes for those who may see the server's counters.
pub(super) fn guarded_routes() -> Router<AppState> {
    Router::new().route("/metrics", get(show_metrics))
}

/// Whether the server is alive
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "It is: `{\"status\": \"ok\"}`", body = serde_json::Value, content_type = "application/json"))
)]
#[allow(clippy::unused_async)] // A handler is asynchronous.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether the store can be opened
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "It can: `{\"status\": \"ready\"}`", body = serde_json::Value, content_type = "application/json"),
        (status = 503, description = "It cannot")
    )
)]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<Json<Value>, Problem> {
    match Box::pin(state.store.table(MESSAGE_FACTS)).await {
        Ok(_) => Ok(Json(json!({ "status": "ready" }))),
        Err(error) => Err(Problem::hidden(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

/// Counters for Prometheus
///
/// Requests by route and class of status, the time until their answers began, rows taken in and rejected by log.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, description = "The text format of Prometheus", body = String, content_type = "text/plain"))
)]
#[allow(clippy::unused_async)] // A handler is asynchronous.
pub(super) async fn show_metrics(State(state): State<AppState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], state.metrics().render())
}
