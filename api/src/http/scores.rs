//! `POST /v1/scores`: has an audience scored in the background.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use sendlift_engine::generate::OutputFormat;
use sendlift_engine::query::{QuerySession, Source};
use sendlift_engine::score::{ModelChoice, ScoreJob, ScoreModel, ScoreRequest, check_score_request};
use serde_json::{Map, Value};

use super::AppState;
use super::jobs::job_json;
use super::logs::idempotency_key;
use super::problem::Problem;
use super::table::media_type;

/// The member of the body that is not the engine's.
const FORMAT: &str = "format";

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/scores", post(ask_for_scores))
}

/// Has an audience scored, as a job
///
/// The body says what is asked; everything has a default. `model`: "propensity" (unless given), {"uplift": {"experiment":
/// ID}} or {"saved": ID}. `target`: "conversion" (unless given), "click", "`opt_out`", "churn" or {"event": NAME}, within
/// `horizon_days` (30) after `as_of` (the end of the logs). `filter`: a condition in SQL on the contacts' columns and the
/// features. `by`: columns to sum up. `control`, `economics` (`margin`, `part_cost`, `opt_out_value`), `text`, `budget`,
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
    if let Some(other) = media_type(&headers).filter(|kind| kind != "application/json") {
        let detail = format!("Content-Type {other} is no request for scores: send application/json");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let key = idempotency_key(&headers)?;
    let (mut request, format) = asked(&body)?;
    request.eligibility.legal_hours = request.eligibility.legal_hours.or_else(|| state.rules.legal_hours.clone());
    let wanted = request.clone();
    let job = ScoreJob::new(request, format, key.as_deref(), state.now())?;
    let accepting = state.clone();
    // What was begun here is finished, also for a caller that goes away.
    let accepted = state.workers.spawn(async move {
        if let ModelChoice::Saved(id) = &wanted.model {
            ScoreModel::of(&accepting.store, id).await?;
        }
        // A session of its own: what a condition is tried out on is nobody else's table.
        let source = Source::Store(accepting.store.clone(), None);
        let session = QuerySession::open(&source, &accepting.settings, accepting.now()).await?;
        check_score_request(&session, &wanted).await?;
        accepting.accept_job(job).await
    });
    let accepted = accepted.await.map_err(|error| Problem::internal(&error))??;
    let location = [(LOCATION, format!("/v1/jobs/{}", accepted.job.id))];
    Ok((StatusCode::ACCEPTED, location, Json(job_json(&accepted)?)).into_response())
}

/// What a body asks for, and the format of the file.
fn asked(body: &[u8]) -> Result<(ScoreRequest, OutputFormat), Problem> {
    let refused = |why: &str| Problem::bad_request(format!("the body is no request for scores: {why}"));
    let Json(mut members) =
        Json::<Map<String, Value>>::from_bytes(body).map_err(|rejection| refused(&rejection.body_text()))?;
    let format = match members.remove(FORMAT) {
        None => OutputFormat::Parquet,
        Some(Value::String(name)) => {
            name.parse::<OutputFormat>().map_err(|error| refused(&format!("{FORMAT}: {error}")))?
        }
        Some(other) => return Err(refused(&format!("{FORMAT}: {other} is not the name of a format"))),
    };
    let rest = serde_json::to_vec(&members).map_err(|error| Problem::internal(&error))?;
    let Json(request) = Json::<ScoreRequest>::from_bytes(&rest).map_err(|rejection| {
        let text = rejection.body_text();
        // The place is not one in what the caller sent.
        refused(text.split(" at line ").next().unwrap_or(&text))
    })?;
    Ok((request, format))
}

#[cfg(test)]
mod tests {
    use sendlift_engine::score::Target;

    use super::*;

    #[test]
    fn an_empty_request_has_every_default() {
        let (request, format) = asked(b"{}").unwrap();
        assert_eq!((request, format), (ScoreRequest::default(), OutputFormat::Parquet));
        let body = r#"{"format":"csv","target":{"event":"signup"},"model":{"uplift":{}},"horizon_days":7}"#;
        let (request, format) = asked(body.as_bytes()).unwrap();
        assert_eq!((format, request.horizon_days), (OutputFormat::Csv, 7));
        assert_eq!(request.target, Target::Event("signup".to_owned()));
        assert_eq!(request.model, ModelChoice::Uplift { experiment: None });
    }

    #[test]
    fn what_is_wrong_in_a_body_is_named() {
        for (body, named) in [
            (r#"{"horizon":7}"#, "horizon"),
            (r#"{"horizon_days":"soon"}"#, "horizon_days"),
            (r#"{"economics":{"price":1}}"#, "price"),
            (r#"{"model":{"uplift":{"test":"x"}}}"#, "test"),
            (r#"{"as_of":"tomorrow"}"#, "as_of"),
            (r#"{"format":"xlsx"}"#, "xlsx"),
            (r#"{"format":7}"#, "format"),
            ("[]", "map"),
            ("{", "EOF"),
        ] {
            let detail = asked(body.as_bytes()).unwrap_err().reason().to_owned();
            assert!(detail.contains(named), "{body}: {detail}");
        }
    }
}
