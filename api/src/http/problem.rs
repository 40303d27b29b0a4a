//! Every failure as problem details (RFC 9457): the one error type of the handlers, and the middleware that gives the
//! same shape to what the framework answers by itself (no such path, wrong method, body too large, out of time).
//!
//! The caller's own mistakes are told in full; what went wrong inside is told to the log alone, under the request's id,
//! which is the problem's `instance`.

use std::any::Any;
use std::error::Error;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sendlift_engine::EngineError;
use serde::Serialize;
use utoipa::ToSchema;

use super::observe::RequestId;

/// The media type of problem details.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
/// Bytes of a framework's own error text that are read at most.
const LONGEST_TEXT: usize = 4096;
/// Seconds after which a server that had no room may be asked again.
const RETRY_SECONDS: &str = "1";

/// What went wrong, with the status that says it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// What really happened, for the log alone.
    cause: Option<String>,
}

/// Problem details as RFC 9457 has them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProblemDetails {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What went wrong with this request, and what to do about it.
    detail: String,
    /// The request's id, under which the server's log knows more.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl Problem {
    /// A problem of some status, told in full.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), cause: None }
    }

    /// The request is wrong: 400.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// What the path names is not there: 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The server has no room: 503, to be tried again soon.
    pub(super) fn overloaded() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way: try again in a second")
    }

    /// Something failed inside: 500, and the log has the reason.
    pub(super) fn internal(error: &(dyn Error + 'static)) -> Self {
        Self::hidden(StatusCode::INTERNAL_SERVER_ERROR, chain(error))
    }

    /// A failure whose reason only the log is told.
    pub(super) fn hidden(status: StatusCode, cause: String) -> Self {
        let (status, detail) = match of_disk(&cause) {
            Some((status, detail)) => (status, detail),
            None => (status, "the server failed; its log has the reason under this request's id"),
        };
        Self { status, detail: detail.to_owned(), cause: Some(cause) }
    }

    /// What the framework refused, in its own words where they say enough.
    pub(super) fn of_framework(status: StatusCode, text: &str) -> Self {
        let detail = match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                "this path does not know the method: the header Allow lists those it knows"
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                "the body is larger than this server takes: send it in smaller batches, or raise the server's limit"
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => {
                "no answer within the server's time limit: ask for less at once, or raise the limit"
            }
            _ if !text.trim().is_empty() => text.trim(),
            _ => status.canonical_reason().unwrap_or("the request failed"),
        };
        Self::new(status, detail)
    }

    /// What went wrong, in full: for the log alone.
    pub(super) fn reason(&self) -> &str {
        self.cause.as_deref().unwrap_or(&self.detail)
    }

    /// What a caller is told, under the id by which the log knows more.
    pub(super) fn details(&self, instance: Option<String>) -> ProblemDetails {
        ProblemDetails {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Unknown").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            instance,
        }
    }

    fn render(&self, instance: Option<String>) -> Response {
        let mut response = (self.status, Json(self.details(instance))).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        // `explain` finds it here, adds the request's id and logs the cause.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let status = match &error {
            EngineError::Usage(_) => StatusCode::BAD_REQUEST,
            EngineError::NotFound(_) => StatusCode::NOT_FOUND,
            // Numbers that the statistics refuse are the caller's, as are the rows and the file.
            EngineError::Refused(_) | EngineError::UnreadableFile { .. } | EngineError::Statistics(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ => return Self::internal(&error),
        };
        Self::new(status, error.to_string())
    }
}

/// What a caller may know of a disk that takes nothing more. The layers above it tell the system's error in words alone,
/// with its number.
fn of_disk(cause: &str) -> Option<(StatusCode, &'static str)> {
    const FULL: [&str; 2] = ["(os error 28)", "(os error 122)"];
    const CLOSED: [&str; 2] = ["(os error 30)", "(os error 13)"];
    let is_one_of = |numbers: [&str; 2]| numbers.into_iter().any(|number| cause.contains(number));
    if is_one_of(FULL) {
        Some((
            StatusCode::INSUFFICIENT_STORAGE,
            "the server's disk is full: nothing was stored; make room and send it again",
        ))
    } else if is_one_of(CLOSED) {
        let detail =
            "the server may not write to its store: nothing was stored; its log has the reason under this request's id";
        Some((StatusCode::SERVICE_UNAVAILABLE, detail))
    } else {
        None
    }
}

/// An error and what caused it; a cause that its effect already quotes is not repeated.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The answer to a panic, which must not take the connection down.
pub(super) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => match other.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => "a panic without words".to_owned(),
        },
    };
    Problem::hidden(StatusCode::INTERNAL_SERVER_ERROR, format!("panic: {text}")).into_response()
}

/// Middleware: gives every error the shape of a problem with the request's id, and logs the cause of a failure inside.
pub(super) async fn explain(request: Request, next: Next) -> Response {
    let instance = request.extensions().get::<RequestId>().map(|id| id.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let known = response.extensions().get::<Problem>().cloned();
    let (parts, body) = response.into_parts();
    let problem = if let Some(problem) = known {
        problem
    } else {
        let text = to_bytes(body, LONGEST_TEXT).await.unwrap_or_default();
        Problem::of_framework(status, &String::from_utf8_lossy(&text))
    };
    if let Some(cause) = &problem.cause {
        tracing::error!(status = status.as_u16(), cause = cause.as_str(), "the request failed");
    }
    let mut explained = problem.render(instance);
    if let Some(allowed) = parts.headers.get(ALLOW) {
        explained.headers_mut().insert(ALLOW, allowed.clone());
    }
    explained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_more_is_told() {
        // As the system words its errors 28 and 30 (errno.h: ENOSPC, EROFS).
        let of = |number: i32| {
            Problem::hidden(StatusCode::INTERNAL_SERVER_ERROR, std::io::Error::from_raw_os_error(number).to_string())
        };
        assert_eq!(of(28).status, StatusCode::INSUFFICIENT_STORAGE);
        assert!(of(28).detail.contains("full"));
        assert_eq!(of(30).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(of(5).status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn the_callers_mistakes_are_told_and_the_servers_are_not() {
        let usage = Problem::from(EngineError::usage("there is no column \"x\""));
        assert_eq!((usage.status, usage.detail.as_str()), (StatusCode::BAD_REQUEST, "there is no column \"x\""));
        assert_eq!(Problem::from(EngineError::refused("too many")).status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(Problem::from(EngineError::NotFound("none".to_owned())).status, StatusCode::NOT_FOUND);

        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let inside = Problem::from(EngineError::io("read", "secret/place")(denied));
        assert_eq!(inside.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!inside.detail.contains("secret/place"));
        assert!(inside.cause.is_some_and(|cause| cause.contains("secret/place")));
    }

    #[test]
    fn a_panic_is_a_problem() {
        for panic in [Box::new("boom") as Box<dyn Any + Send>, Box::new("boom".to_owned()), Box::new(7)] {
            let response = of_panic(panic);
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        }
    }

    #[test]
    fn a_frameworks_empty_refusal_still_says_something() {
        assert_eq!(Problem::of_framework(StatusCode::NOT_ACCEPTABLE, " ").detail, "Not Acceptable");
        assert_eq!(Problem::of_framework(StatusCode::BAD_REQUEST, "alpha: x").detail, "alpha: x");
    }
}
