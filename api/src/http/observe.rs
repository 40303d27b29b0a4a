//! What surrounds every request: its id, its span in the log, one line of access log, and its count in the metrics.
//!
//! An `x-request-id` that the caller sends is taken over if it is short and plain, else one is made (UUID version 7, so
//! that ids sort by time). It goes back in the answer, into every line of the log, and into problem details.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;
use uuid::Uuid;

use super::AppState;

/// The header of the request's id.
const REQUEST_ID: &str = "x-request-id";
/// An id longer than this is not taken over.
const LONGEST_ID: usize = 128;

/// The id of a request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        match sent.filter(|id| is_plain(id)) {
            Some(id) => Self(id.into()),
            None => Self(Uuid::now_v7().to_string().into()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// Middleware: names, times, logs and counts a request.
pub(super) async fn observe(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    request.extensions_mut().insert(id.clone());

    let span = tracing::info_span!("request", request_id = id.as_str());
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let latency = started.elapsed();

    let status = response.status();
    state.metrics().count_request(route, status, latency);
    span.in_scope(|| {
        let milliseconds = latency.as_secs_f64() * 1e3;
        tracing::info!(%method, path = path.as_str(), status = status.as_u16(), latency_ms = milliseconds, "answered");
    });
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_str(sent).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_plain_id_is_taken_over_and_an_odd_one_is_not() {
        assert_eq!(id_for("batch-7").as_str(), "batch-7");
        for odd in ["", "two words", "\"quoted\"", &"x".repeat(129)] {
            let made = id_for(odd);
            assert_ne!(made.as_str(), odd);
            assert_eq!(made.as_str().len(), 36);
        }
    }
}
