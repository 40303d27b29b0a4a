//! `POST /v1/logs/{log}`: takes a batch of a log into the store, by the same code as `sendlift ingest`.
//!
//! The answer comes after the commit. A batch that was taken in before (the same `Idempotency-Key`, or without one the
//! same bytes) changes nothing and is counted as duplicates. Batches that come at the same time share a commit
//! (`commits`); a caller that goes away does not stop the batch that it sent. What whoever reads after the answer sees,
//! `latest` tells.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Extension, Json, Router};
use sendlift_engine::event::Log;
use sendlift_engine::ingest::input::Input;
use sendlift_engine::ingest::load::{IngestOptions, LogInput, LogOutcome, NAME_TAKEN};
use sendlift_engine::ingest::mapping::Mapping;
use sendlift_engine::ingest::times::zone;
use sendlift_engine::ingest::validate::ValidatorOptions;
use sendlift_engine::store::MESSAGE_FACTS;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::AppState;
use super::commits::Acknowledgement;
use super::observe::RequestId;
use super::params::Params;
use super::problem::Problem;
use super::table::TableBody;

/// The header by which a caller names a batch.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Bytes of such a name at most.
const LONGEST_KEY: usize = 255;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/logs/{log}", post(take_in_log))
}

/// How the table in the body is read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParams {
    /// The mapping of a known source, such as `twilio` or `rees46`; without one the columns have their canonical names.
    preset: Option<String>,
    /// The IANA zone of times without an offset.
    time_zone: Option<String>,
    /// The share of rows that may be rejected before nothing is taken in, 0 to 1 (0.05 unless given).
    max_rejected: Option<f64>,
}

/// What became of a batch.
#[derive(Debug, Serialize)]
pub(super) struct LogAnswer {
    #[serde(flatten)]
    outcome: LogOutcome,
    /// The version of the facts that tells of these rows; null while there are no sends, and when the rows are durable
    /// and the facts do not tell of them yet, since other batches come at the same time (the next read sees to it).
    facts_version: Option<u64>,
}

/// Takes a batch of a log in
///
/// The body is a table: NDJSON, a JSON array, CSV, Parquet or Arrow IPC, plain or with gzip or zstd. Rows that do not
/// pass are set aside in the quarantine with a reason, and the answer counts them; when they are too many, nothing is
/// taken in. The answer comes when the rows are durable: they survive whatever happens to the server then. Batches that
/// are sent at the same time share a commit, so that many small ones cost little; `facts_version` is null for them.
#[utoipa::path(
    post,
    path = "/v1/logs/{log}",
    tag = "logs",
    params(
        ("log" = String, Path, description = "recipients, assignments, sends, deliveries, opens, clicks, conversions, replies, opt_outs or consents"),
        LogParams,
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name of this batch: the same name again changes nothing")
    ),
    request_body(
        description = "The rows, one a line",
        content(
            ("application/x-ndjson"),
            ("application/json"),
            ("text/csv"),
            ("application/vnd.apache.parquet"),
            ("application/vnd.apache.arrow.file"),
            ("application/vnd.apache.arrow.stream"),
            ("application/octet-stream")
        )
    ),
    responses(
        (status = 200, description = "Committed: log, accepted, rejected, left_out, duplicates, reasons, examples, version, facts_version", body = serde_json::Value, content_type = "application/json"),
        (status = 404, description = "There is no such log"),
        (status = 413, description = "The batch is larger than this server takes: send it in parts"),
        (status = 422, description = "The data were refused, or other rows came under this Idempotency-Key: nothing was taken in"),
        (status = 503, description = "Too many batches wait to be committed: send it again after Retry-After seconds")
    )
)]
pub(super) async fn take_in_log(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Params(params): Params<LogParams>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    TableBody(bytes): TableBody,
) -> Result<Json<LogAnswer>, Problem> {
    let log: Log = name.parse().map_err(|_| unknown_log(&name))?;
    let options = ingest_options(&params, &state)?;
    let key = idempotency_key(&headers)?;
    let place = state.commits.enter(bytes.len())?;
    let source = Input::memory(format!("request {}", request_id.as_str()), bytes);
    let input = LogInput { log, inputs: vec![source], idempotency_key: key };
    let workers = Arc::clone(&state.workers);
    let work = async move {
        let acknowledgement = state.take_in(input, options, place).await?;
        let outcome = &acknowledgement.outcome;
        if outcome.name_taken {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, NAME_TAKEN));
        }
        state.metrics().count_rows(log, outcome.accepted, outcome.rejected);
        Ok::<_, Problem>(LogAnswer::of(acknowledgement))
    };
    let answer = workers.spawn(work).await.map_err(|error| Problem::internal(&error))?;
    answer.map(Json)
}

fn unknown_log(name: &str) -> Problem {
    let known: Vec<&str> = Log::ALL.iter().map(|log| log.name()).collect();
    Problem::not_found(format!("there is no log \"{name}\": send to one of {}", known.join(", ")))
}

fn ingest_options(params: &LogParams, state: &AppState) -> Result<IngestOptions, Problem> {
    let max_rejected = params.max_rejected.unwrap_or(IngestOptions::DEFAULT_MAX_REJECTED);
    if !(0.0..=1.0).contains(&max_rejected) {
        return Err(Problem::bad_request(format!("max_rejected is {max_rejected}: give a share from 0 to 1")));
    }
    let validator = ValidatorOptions {
        mapping: params.preset.as_deref().map(Mapping::preset).transpose()?.unwrap_or_default(),
        time_zone: params.time_zone.as_deref().map(zone).transpose()?,
        hasher: state.hasher.clone(),
    };
    Ok(IngestOptions { validator, max_rejected, now: state.now() })
}

/// The name that a caller gave to what is sent.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Problem::bad_request(format!("Idempotency-Key: give 1 to {LONGEST_KEY} ASCII characters")));
    }
    Ok(Some(key.to_owned()))
}

impl LogAnswer {
    fn of(acknowledgement: Acknowledgement) -> Self {
        let Acknowledgement { mut outcome, view } = acknowledgement;
        let version_of = |table: &str| view.as_ref().and_then(|view| view.session.versions.get(table).copied());
        // Where nothing new was committed, the rows are in the version that the log has.
        outcome.version = outcome.version.or_else(|| version_of(outcome.log.name()));
        Self { facts_version: version_of(MESSAGE_FACTS), outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_plain() {
        let key_of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, text.parse().unwrap());
            idempotency_key(&headers)
        };
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(key_of(" batch-7 ").unwrap().as_deref(), Some("batch-7"));
        assert!(key_of(" ").is_err());
        assert!(key_of(&"k".repeat(256)).is_err());
    }
}
