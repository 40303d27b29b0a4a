//! The models that the store keeps: how they were made and how good they are.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use sendlift_engine::score::{ModelSummary, ScoreModel};
use serde::Serialize;

use super::AppState;
use super::answers::Made;
use super::problem::Problem;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/models", get(list_models)).route("/v1/models/{id}", get(show_model))
}

/// A model in a list.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Known(Box<ModelSummary>),
    /// One whose file cannot be read.
    Unreadable {
        id: String,
        error: String,
    },
}

/// The models that the store keeps
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "scores",
    responses((status = 200, description = "id, kind, target, horizon_days, method, training, quality, features of each; id and error of one that cannot be read", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn list_models(State(state): State<AppState>) -> Result<Made, Problem> {
    let store = state.store.clone();
    let work = async move {
        let models = ScoreModel::list(&store).await?;
        let listed = models.into_iter().map(|(id, model)| match model {
            Ok(model) => Listed::Known(Box::new(model.summary())),
            Err(error) => Listed::Unreadable { id, error: error.to_string() },
        });
        Made::json(&listed.collect::<Vec<_>>())
    };
    state.workers.run(work).await
}

/// One model: how it was made, how good it is, and what was tried beside it
#[utoipa::path(
    get,
    path = "/v1/models/{id}",
    tag = "scores",
    params(("id" = String, Path, description = "The model")),
    responses(
        (status = 200, description = "model (as in the list), quality, notes", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such model"),
        (status = 422, description = "Its file cannot be read")
    )
)]
pub(super) async fn show_model(State(state): State<AppState>, Path(id): Path<String>) -> Result<Made, Problem> {
    let store = state.store.clone();
    let work = async move { Made::json(&ScoreModel::of(&store, &id).await?.details()?) };
    state.workers.run(work).await
}
