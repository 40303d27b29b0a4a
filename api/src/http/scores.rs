//! `POST /v1/scores`: has an audience scored in the background.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use sendlift_engine::score::ScoreRequest;

use super::AppState;
use super::job_body::JobBody;
use super::jobs::accept;
use super::problem::Problem;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/scores", post(ask_for_scores))
}

/// Has an audience scored, as a job
///
/// The body says what is asked; everything has a default. `model`: "propensity" (unless given), {"uplift": {"experiment":
/// ID}} or {"saved": ID}. `target`: "conversion" (unless given), "click", "`opt_out`", "churn" or {"event": NAME}, within
/// `horizon_days` (30) after `as_of` (the end of the logs). `filter`: a condition in SQL on the contacts' columns and the
/// features. `by`: columns to sum up. `control`, `treatment`, `economics` (`margin`, `part_cost`, `opt_out_value`), `text`, `budget`,
/// `max_recipients`: for an audience by uplift. `eligibility` (`channel`, `purpose`, `frequency_cap`, `frequency_days`,
/// `legal_hours`), `include_ineligible`, `seed`. `format` of the file: parquet (unless given), csv, ndjson or arrow.
#[utoipa::path(
    post,
    path = "/v1/scores",
    tag = "scores",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name of this job: the same name again is the same job")
    ),
    request_body(content = serde_json::Value, content_type = "application/json", description = "What is asked for; {} asks for the probability of a conversion within 30 days"),
    responses(
        (status = 202, description = "The job, as at the path that the header Location names", body = serde_json::Value, content_type = "application/json"),
        (status = 400, description = "This cannot be asked"),
        (status = 404, description = "There is no such model"),
        (status = 422, description = "Something else was asked for under this Idempotency-Key"),
        (status = 503, description = "Too many jobs wait")
    )
)]
pub(super) async fn ask_for_scores(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let body = JobBody::read(&headers, &body, "scores")?;
    let format = body.format;
    let mut request: ScoreRequest = body.request()?;
    request.eligibility.legal_hours = request.eligibility.legal_hours.or_else(|| state.rules.legal_hours.clone());
    accept(&state, &headers, request, format).await
}
