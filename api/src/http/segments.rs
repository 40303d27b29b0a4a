//! The segments that the store keeps, and how many contacts are in each.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use sendlift_engine::experiment::{AnalysisOptions, ExperimentDefinition};
use sendlift_engine::query::QuerySession;
use sendlift_engine::segment::{SegmentDefinition, segment_sizes, segments_behind};
use serde::Deserialize;

use super::AppState;
use super::answers::Made;
use super::params::PointParams;
use super::problem::Problem;
use super::reading::Reading;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/segments", get(list_segments)).route("/v1/segments/{name}", get(show_segment))
}

/// Segments are listed as they are now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParams {}

/// The segments that the store keeps, each with its versions
#[utoipa::path(
    get,
    path = "/v1/segments",
    tag = "segments",
    responses((status = 200, description = "name and versions (version, predicate, added_at) of each", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn list_segments(
    State(state): State<AppState>,
    reading: Reading<NoParams>,
) -> Result<Response, Problem> {
    let known = SegmentDefinition::all(&state.store).await?;
    let reading = reading.depending_on(&format!("{known:?}"));
    let store = state.store.clone();
    let make = move |_: QuerySession| {
        let store = store.clone();
        async move { Made::json(&SegmentDefinition::all(&store).await?) }
    };
    reading.answer(&state, None, make).await
}

/// One segment: its versions, and how many contacts are in each
#[utoipa::path(
    get,
    path = "/v1/segments/{name}",
    tag = "segments",
    params(("name" = String, Path, description = "The segment"), PointParams),
    responses(
        (status = 200, description = "name, contacts, versions (version, predicate, added_at, contacts)", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such segment")
    )
)]
pub(super) async fn show_segment(
    State(state): State<AppState>,
    Path(name): Path<String>,
    reading: Reading<PointParams>,
) -> Result<Response, Problem> {
    let known = SegmentDefinition::of(&state.store, &name).await?;
    let reading = reading.depending_on(&format!("{known:?}"));
    let at = reading.params.at()?;
    let make = move |session: QuerySession| {
        let name = name.clone();
        async move { Made::json(&segment_sizes(&session, &name).await?) }
    };
    reading.answer(&state, at, make).await
}

/// What an answer depends on besides the tables: the segments that it is grouped by.
pub(super) async fn behind_groups(state: &AppState, by: &[String]) -> Result<String, Problem> {
    Ok(segments_behind(&state.store, by).await?)
}

/// What an analysis depends on besides the tables: the experiment's definition, and the segments that it is looked at by.
pub(super) async fn behind_analysis(
    state: &AppState,
    experiment: &str,
    options: &AnalysisOptions,
) -> Result<String, Problem> {
    let definition = ExperimentDefinition::of(&state.store, experiment).await?;
    let mut by = options.groupings();
    by.extend(definition.iter().flat_map(ExperimentDefinition::groupings));
    let segments = behind_groups(state, &by).await?;
    Ok(format!("{} {segments}", definition.map(|definition| definition.text).unwrap_or_default()))
}
