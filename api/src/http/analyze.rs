//! `POST /v1/analyze`: the analysis of a table in the body, with nothing stored: one row a unit, or aggregates by arm.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use sendlift_engine::experiment::{
    AnalysisOptions, ExperimentAnalysis, MetricSpec, UnitRequest, analyze_arms, analyze_units,
};
use sendlift_engine::ingest::input::Input;
use serde::Deserialize;
use utoipa::IntoParams;

use super::AppState;
use super::params::{AnalysisParams, Params, list};
use super::problem::Problem;
use super::table::TableBody;

/// What the table is called in the analysis and in errors.
const TABLE_NAME: &str = "the table in the request";

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/analyze", post(analyze_table))
}

/// What the table in the body holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TableKind {
    /// One row a unit.
    #[default]
    Units,
    /// Aggregates by arm.
    Arms,
}

/// Which columns of the table are what, and how it is analysed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AnalyzeParams {
    /// `units`, one row a unit (unless given), or `arms`: columns arm, n and successes, or arm, n, mean and variance,
    /// and optionally metric and segment.
    #[param(value_type = Option<String>)]
    kind: Option<TableKind>,
    /// Units: the column that says each unit's arm.
    arm: Option<String>,
    /// Units: the metrics, as `NAME`, `NAME:proportion` or `NAME:mean`; repeated or with commas between them. The first
    /// decides.
    metric: Option<String>,
    /// Units: the column that names the unit (each row is one unless given).
    unit: Option<String>,
    /// Units: a condition in SQL on the table's columns; only rows that fulfil it are analysed.
    filter: Option<String>,
    #[serde(flatten)]
    #[param(ignore)]
    analysis: AnalysisParams,
}

/// Analyses a table that comes with the request
///
/// The body is a table: NDJSON, a JSON array, CSV, Parquet or Arrow IPC, plain or with gzip or zstd. Nothing is stored.
#[utoipa::path(
    post,
    path = "/v1/analyze",
    tag = "experiments",
    params(AnalyzeParams, AnalysisParams),
    request_body(
        description = "One row a unit, or one row an arm",
        content(
            ("text/csv"),
            ("application/x-ndjson"),
            ("application/json"),
            ("application/vnd.apache.parquet"),
            ("application/vnd.apache.arrow.file"),
            ("application/vnd.apache.arrow.stream"),
            ("application/octet-stream")
        )
    ),
    responses(
        (status = 200, description = "The analysis: checks, arms, metrics with comparisons and segments, decision", body = serde_json::Value, content_type = "application/json"),
        (status = 422, description = "The table cannot be read or analysed")
    )
)]
pub(super) async fn analyze_table(
    State(state): State<AppState>,
    Params(params): Params<AnalyzeParams>,
    TableBody(bytes): TableBody,
) -> Result<Json<ExperimentAnalysis>, Problem> {
    let options = params.analysis.options(None)?;
    let work = async move {
        match params.kind.unwrap_or_default() {
            TableKind::Units => units(&params, bytes, &options).await,
            TableKind::Arms => arms(&params, bytes, &options).await,
        }
    };
    Ok(Json(state.workers.run(work).await?))
}

async fn units(params: &AnalyzeParams, bytes: Bytes, options: &AnalysisOptions) -> Result<ExperimentAnalysis, Problem> {
    let Some(arm) = params.arm.clone() else {
        return Err(Problem::bad_request(
            "arm is missing: name the column that says each unit's arm, as in arm=variant",
        ));
    };
    let metrics = list(params.metric.as_deref())
        .iter()
        .map(|metric| metric.parse::<MetricSpec>())
        .collect::<Result<Vec<_>, _>>()?;
    if metrics.is_empty() {
        return Err(Problem::bad_request("metric is missing: name a column to compare, as in metric=visit:proportion"));
    }
    let request = UnitRequest {
        input: Input::memory(TABLE_NAME, bytes),
        arm,
        metrics,
        unit: params.unit.clone(),
        filter: params.filter.clone(),
    };
    Ok(Box::pin(analyze_units(&request, options)).await?)
}

async fn arms(params: &AnalyzeParams, bytes: Bytes, options: &AnalysisOptions) -> Result<ExperimentAnalysis, Problem> {
    let of_units = [
        ("arm", params.arm.is_some()),
        ("metric", params.metric.is_some()),
        ("unit", params.unit.is_some()),
        ("segment", params.analysis.segment.is_some()),
        ("filter", params.filter.is_some()),
    ];
    if let Some((name, _)) = of_units.iter().find(|(_, given)| *given) {
        return Err(Problem::bad_request(format!(
            "{name} is for kind=units: a table of arms names its metrics and segments in its own columns"
        )));
    }
    Ok(Box::pin(analyze_arms(&Input::memory(TABLE_NAME, bytes), options)).await?)
}
