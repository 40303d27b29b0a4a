//! The experiments that the store knows of, and their analyses.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::experiment;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::params::{AnalysisWords, Params, PointParams, point};
use super::problem::{Problem, ProblemDetails};
use super::reading::Reading;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/experiments", get(list_experiments))
        .route("/v1/experiments/{id}", get(show_experiment))
        .route("/v1/experiments/{id}/analysis", get(analyze_experiment))
}

/// How an experiment of the store is analysed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AnalysisParams {
    /// Columns whose values are looked at one by one, with commas between them.
    segment: Option<String>,
    /// The metrics, with commas between them, the first of which decides: click, conversion, revenue, delivery, reply,
    /// cost or `opt_out` (click, conversion, revenue and `opt_out` unless given).
    metric: Option<String>,
    /// The arm that the others are compared with.
    control: Option<String>,
    /// Two-sided error, 0 to 1 (0.05 unless given).
    alpha: Option<f64>,
    /// How p values are adjusted for the number of comparisons: holm (unless given), bh or none.
    correction: Option<String>,
    /// The planned share of each arm, as in `A=0.5,B=0.5` (equal shares unless given).
    allocation: Option<String>,
    /// A version of the facts, or a time: the analysis as it was then.
    at: Option<String>,
}

/// The experiments that the logs hold
#[utoipa::path(
    get,
    path = "/v1/experiments",
    tag = "experiments",
    params(PointParams),
    responses(
        (status = 200, description = "experiment_id, arms, units, first_sent_at, source of each", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn list_experiments(
    State(state): State<AppState>,
    Params(params): Params<PointParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reading = Reading::open(&state, params.point()?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    Ok(reading.json(&experiment::list_experiments(&reading.session).await?))
}

/// One experiment: its arms, how many units, since when
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}",
    tag = "experiments",
    params(("id" = String, Path, description = "The experiment"), PointParams),
    responses(
        (status = 200, description = "experiment_id, arms, units, first_sent_at, source", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = 404, description = "There is no such experiment", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn show_experiment(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Params(params): Params<PointParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reading = Reading::open(&state, params.point()?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    let known = experiment::list_experiments(&reading.session).await?;
    match known.iter().find(|summary| summary.experiment_id == id) {
        Some(summary) => Ok(reading.json(summary)),
        None => Err(Problem::not_found(format!(
            "there is no experiment \"{id}\": GET /v1/experiments lists those there are"
        ))),
    }
}

/// Which arm did better, by how much, how sure that is, and whether the data can be trusted
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}/analysis",
    tag = "experiments",
    params(("id" = String, Path, description = "The experiment"), AnalysisParams),
    responses(
        (status = 200, description = "The analysis: checks, arms, metrics with comparisons and segments, decision", body = serde_json::Value, content_type = "application/json"),
        (status = 304, description = "As the caller knows it (If-None-Match)"),
        (status = 404, description = "There is no such experiment", body = ProblemDetails, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemDetails, content_type = "application/problem+json")
    )
)]
pub(super) async fn analyze_experiment(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Params(params): Params<AnalysisParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let words = AnalysisWords {
        control: params.control.as_deref(),
        alpha: params.alpha,
        correction: params.correction.as_deref(),
        allocation: params.allocation.as_deref(),
        segment: params.segment.as_deref(),
        metric: params.metric.as_deref(),
    };
    let options = words.options()?;
    let reading = Reading::open(&state, point(params.at.as_deref())?, &uri).await?;
    if let Some(unchanged) = reading.unchanged(&headers) {
        return Ok(unchanged);
    }
    Ok(reading.json(&Box::pin(experiment::analyze_store(&reading.session, &id, &options)).await?))
}
