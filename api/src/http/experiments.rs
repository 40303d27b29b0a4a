//! The experiments that the store knows of, and their analyses.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::experiment;
use sendlift_engine::query::QuerySession;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::answers::Made;
use super::params::{AnalysisParams, PointParams};
use super::problem::Problem;
use super::reading::Reading;
use super::segments::behind_analysis;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/experiments", get(list_experiments))
        .route("/v1/experiments/{id}", get(show_experiment))
        .route("/v1/experiments/{id}/analysis", get(analyze_experiment))
}

/// How an experiment of the store is analysed, and as of when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ExperimentParams {
    /// The metrics, with commas between them, the first of which decides: click, conversion, revenue, delivery, reply,
    /// cost or `opt_out` (click, conversion, revenue and `opt_out` unless given).
    metric: Option<String>,
    #[serde(flatten)]
    #[param(ignore)]
    analysis: AnalysisParams,
    #[serde(flatten)]
    #[param(ignore)]
    point: PointParams,
}

/// The experiments that the logs hold
#[utoipa::path(
    get,
    path = "/v1/experiments",
    tag = "experiments",
    params(PointParams),
    responses((status = 200, description = "experiment_id, arms, units, first_sent_at, source of each", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn list_experiments(
    State(state): State<AppState>,
    reading: Reading<PointParams>,
) -> Result<Response, Problem> {
    let at = reading.params.at()?;
    let make = |session: QuerySession| async move { Made::json(&experiment::list_experiments(&session).await?) };
    reading.answer(&state, at, make).await
}

/// One experiment: its arms, how many units, since when
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}",
    tag = "experiments",
    params(("id" = String, Path, description = "The experiment"), PointParams),
    responses(
        (status = 200, description = "experiment_id, arms, units, first_sent_at, source", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such experiment")
    )
)]
pub(super) async fn show_experiment(
    State(state): State<AppState>,
    Path(id): Path<String>,
    reading: Reading<PointParams>,
) -> Result<Response, Problem> {
    let at = reading.params.at()?;
    let make = move |session: QuerySession| {
        let id = id.clone();
        async move {
            let known = experiment::list_experiments(&session).await?;
            match known.iter().find(|summary| summary.experiment_id == id) {
                Some(summary) => Made::json(summary),
                None => Err(Problem::not_found(format!(
                    "there is no experiment \"{id}\": GET /v1/experiments lists those there are"
                ))),
            }
        }
    };
    reading.answer(&state, at, make).await
}

/// Which arm did better, by how much, how sure that is, and whether the data can be trusted
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}/analysis",
    tag = "experiments",
    params(("id" = String, Path, description = "The experiment"), ExperimentParams, AnalysisParams, PointParams),
    responses(
        (status = 200, description = "The analysis: checks, arms, metrics with comparisons and segments, decision", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such experiment")
    )
)]
pub(super) async fn analyze_experiment(
    State(state): State<AppState>,
    Path(id): Path<String>,
    reading: Reading<ExperimentParams>,
) -> Result<Response, Problem> {
    let options = reading.params.analysis.options(reading.params.metric.as_deref())?;
    let behind = behind_analysis(&state, &id, &options).await?;
    let reading = reading.depending_on(&behind);
    let make = move |session: QuerySession| {
        let (id, options) = (id.clone(), options.clone());
        async move { Made::json(&experiment::analyze_store(&session, &id, &options).await?) }
    };
    reading.answer(&state, reading.params.point.at()?, make).await
}
