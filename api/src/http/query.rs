//! `POST /v1/query`: read-only SQL over the logs, the facts and the quarantine.
//!
//! An error before the first row is a problem; after it the connection is broken off, so that a short answer is never
//! taken for a whole one.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use sendlift_engine::EngineError;
use sendlift_engine::query::run_read_only;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::AppState;
use super::params::{Params, PointParams};
use super::problem::Problem;
use super::rows::{self, RowFormat};
use super::table::media_type;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/query", post(run_query))
}

/// Bytes of a statement at most: planning goes as deep as a statement has terms, on a stack that ends somewhere.
const LONGEST_STATEMENT: usize = 128 << 10;

/// How much of the answer is wanted, and from which point of the store's history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryParams {
    /// Rows at most (all unless given).
    limit: Option<usize>,
    #[serde(flatten)]
    #[param(ignore)]
    point: PointParams,
}

/// A query in JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryBody {
    /// One SELECT statement.
    sql: String,
}

/// Runs one read-only statement of SQL
///
/// Tables: one a log, `message_facts` and `quarantine`. The header Accept chooses the format of the rows.
#[utoipa::path(
    post,
    path = "/v1/query",
    tag = "query",
    params(QueryParams, PointParams),
    request_body(description = "The statement", content((QueryBody = "application/json"), (String = "text/plain"))),
    responses(
        (
            status = 200,
            description = "The rows, as they come; in JSON an array of objects",
            content(
                (serde_json::Value = "application/json"),
                (String = "text/csv"),
                ("application/vnd.apache.parquet"),
                ("application/vnd.apache.arrow.stream")
            )
        ),
        (status = 400, description = "The statement is not valid, names what is not there, or would write"),
        (status = 422, description = "The statement fails on these rows")
    )
)]
pub(super) async fn run_query(
    State(state): State<AppState>,
    Params(params): Params<QueryParams>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Problem> {
    let format = RowFormat::accepted(&headers)?;
    let sql = statement(&headers, body)?;
    if sql.len() > LONGEST_STATEMENT {
        let detail = format!(
            "sql: a statement may have {LONGEST_STATEMENT} bytes, and this one has {}: bring lists of ids in as a log's column and \
             join them",
            sql.len()
        );
        return Err(Problem::bad_request(detail));
    }
    let view = state.view(params.point.at()?).await?;
    let work = async move {
        let rows = Box::pin(run_read_only(&view.session, &sql)).await.map_err(refused)?;
        rows::answer(rows, format, params.limit).await.map_err(|error| failed(&error))
    };
    state.workers.run(work).await
}

/// The SQL of a body, which is JSON if its type says so, or if it has none and looks like it.
fn statement(headers: &HeaderMap, body: String) -> Result<String, Problem> {
    let kind = media_type(headers);
    let is_json = match kind.as_deref() {
        Some("application/json") => true,
        Some("text/plain" | "application/sql") => false,
        Some(other) => {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "Content-Type {other} is no query: send application/json, as in {{\"sql\": \"SELECT 1\"}}, or text/plain"
                ),
            ));
        }
        None => body.trim_start().starts_with('{'),
    };
    if !is_json {
        return Ok(body);
    }
    match serde_json::from_str::<QueryBody>(&body) {
        Ok(query) => Ok(query.sql),
        Err(error) => Err(Problem::bad_request(format!("the body is not {{\"sql\": \"SELECT …\"}}: {error}"))),
    }
}

/// A statement that could not be started.
fn refused(error: EngineError) -> Problem {
    match error {
        EngineError::Query(error) => failed(&error),
        other => other.into(),
    }
}

/// A statement that failed on the rows it met is the caller's; a store that failed under it is not.
fn failed(error: &DataFusionError) -> Problem {
    let root = error.find_root();
    let is_the_callers = match root {
        DataFusionError::ArrowError(error, _) => {
            !matches!(**error, ArrowError::IoError(..) | ArrowError::ExternalError(_))
        }
        DataFusionError::Execution(_)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::SQL(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::ResourcesExhausted(_) => true,
        _ => false,
    };
    if is_the_callers {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("sql: {}", root.strip_backtrace()))
    } else {
        Problem::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::CONTENT_TYPE;

    fn sql_of(kind: Option<&'static str>, body: &str) -> Result<String, Problem> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        }
        statement(&headers, body.to_owned())
    }

    #[test]
    fn a_statement_comes_in_json_or_as_text() {
        for (kind, body) in [
            (Some("application/json"), "{\"sql\": \"SELECT 1\"}"),
            (Some("text/plain; charset=utf-8"), "SELECT 1"),
            (None, " {\"sql\": \"SELECT 1\"}"),
            (None, "SELECT 1"),
        ] {
            assert_eq!(sql_of(kind, body).unwrap(), "SELECT 1", "{kind:?} {body}");
        }
        assert!(sql_of(Some("application/json"), "SELECT 1").is_err());
        assert!(sql_of(Some("application/json"), "{\"query\": \"SELECT 1\"}").is_err());
        assert!(sql_of(Some("text/csv"), "SELECT 1").is_err());
    }
}
