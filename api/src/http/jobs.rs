//! Jobs: asked for in the background, how far they are, what came of them, their files, their end.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use sendlift_engine::generate::OutputFormat;
use sendlift_engine::jobs::{Job, JobRequest, JobState};
use sendlift_engine::query::{QuerySession, Source};
use serde::Serialize;
use serde_json::Value;

use super::AppState;
use super::job_body::FORMAT;
use super::job_queue::unknown_job;
use super::live_jobs::{Reached, Snapshot};
use super::logs::idempotency_key;
use super::problem::Problem;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/jobs", get(list_jobs))
        .route("/v1/jobs/{id}", get(show_job).delete(end_job))
        .route("/v1/jobs/{id}/result", get(download_result))
}

/// A job as it is told.
#[derive(Serialize)]
struct JobAnswer<'a> {
    id: &'a str,
    state: JobState,
    #[serde(flatten)]
    reached: Option<Reached>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(flatten)]
    request: &'a JobRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

/// A job in JSON.
pub(super) fn job_json(snapshot: &Snapshot) -> Result<Value, Problem> {
    let job = &snapshot.job;
    let answer = JobAnswer {
        id: &job.id,
        state: job.state,
        reached: snapshot.reached,
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        request: &job.request,
        summary: job.summary.as_ref(),
        error: job.error.as_ref(),
        result: (job.state == JobState::Done).then(|| format!("/v1/jobs/{}/result", job.id)),
    };
    let internal = |error: serde_json::Error| Problem::internal(&error);
    let mut told = serde_json::to_value(&answer).map_err(internal)?;
    // It was asked for among the members of the request.
    told["request"][FORMAT] = serde_json::to_value(job.format).map_err(internal)?;
    Ok(told)
}

/// Has a job accepted that asks for something that can be, under the `Idempotency-Key` of its headers.
pub(super) async fn accept(
    state: &AppState,
    headers: &HeaderMap,
    request: impl Into<JobRequest>,
    format: OutputFormat,
) -> Result<Response, Problem> {
    let key = idempotency_key(headers)?;
    let job = Job::new(request, format, key.as_deref(), state.now())?;
    let accepting = state.clone();
    // What was begun here is finished, also for a caller that goes away.
    let accepted = state.workers.spawn(async move {
        // A session of its own: what a condition is tried out on is nobody else's table.
        let source = Source::Store(accepting.store.clone(), None);
        let session = QuerySession::open(&source, &accepting.settings, accepting.now()).await?;
        job.check(&session).await?;
        accepting.accept_job(job).await
    });
    let accepted = accepted.await.map_err(|error| Problem::internal(&error))??;
    let location = [(LOCATION, format!("/v1/jobs/{}", accepted.job.id))];
    Ok((StatusCode::ACCEPTED, location, Json(job_json(&accepted)?)).into_response())
}

const fn media_type_of(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Parquet => "application/vnd.apache.parquet",
        OutputFormat::Csv => "text/csv",
        OutputFormat::Ndjson => "application/x-ndjson",
        OutputFormat::Arrow => "application/vnd.apache.arrow.file",
    }
}

/// All jobs, the latest first
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    responses((status = 200, description = "The jobs, each as at its own path", body = serde_json::Value, content_type = "application/json"))
)]
pub(super) async fn list_jobs(State(state): State<AppState>) -> Result<Json<Vec<Value>>, Problem> {
    let jobs = state.list_jobs().await?;
    jobs.iter().map(job_json).collect::<Result<Vec<_>, _>>().map(Json)
}

/// A job: how far it is, or what came of it
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "id, kind (score, recipient_windows), state (queued, running, done, failed, cancelled), request, created_at, started_at, finished_at; while it runs stage, done, of; then summary and result, or error", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such job")
    )
)]
pub(super) async fn show_job(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let found = state.find_job(&id).await?.ok_or_else(|| unknown_job(&id))?;
    job_json(&found).map(Json)
}

/// Cancels a job, or removes one that is finished with its file
#[utoipa::path(
    delete,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    params(("id" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "It waited or ran, and is cancelled: the job", body = serde_json::Value, content_type = "application/json"),
        (status = 204, description = "It was finished, and is removed"),
        (status = 404, description = "There is no such job")
    )
)]
pub(super) async fn end_job(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Problem> {
    let ending = state.clone();
    // What was begun here is finished, also for a caller that goes away.
    let ended = state.workers.spawn(async move { ending.end_job(&id).await });
    match ended.await.map_err(|error| Problem::internal(&error))?? {
        Some(cancelled) => Ok(Json(job_json(&cancelled)?).into_response()),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// The file of a job that is done
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/result",
    tag = "jobs",
    params(("id" = String, Path, description = "The job")),
    responses(
        (
            status = 200,
            description = "The scores or windows, in the format that was asked for",
            content(
                ("application/vnd.apache.parquet"),
                (String = "text/csv"),
                ("application/x-ndjson"),
                ("application/vnd.apache.arrow.file")
            )
        ),
        (status = 404, description = "There is no such job"),
        (status = 409, description = "The job is not done"),
        (status = 410, description = "The file was removed")
    )
)]
pub(super) async fn download_result(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let job = state.find_job(&id).await?.ok_or_else(|| unknown_job(&id))?.job;
    if job.state != JobState::Done {
        let detail = format!("the job is {}: only one that is done has a result", job.state.name());
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let Some(result) = job.result(&state.store).await? else {
        return Err(Problem::new(StatusCode::GONE, "the file of this job was removed: ask for it again"));
    };
    let name = format!("{}-{}.{}", job.request.file_stem(), job.id, job.format.name());
    let headers = [
        (CONTENT_TYPE, media_type_of(job.format).to_owned()),
        (CONTENT_LENGTH, result.bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        // It names people.
        (CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(result.content)).into_response())
}
