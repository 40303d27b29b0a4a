//! What every answer read from the store has in common: a session at the versions that the caller asks for, and an
//! `ETag` made of these versions, the settings and the request, so that an unchanged answer is not computed again.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use sendlift_engine::query::QuerySession;
use sendlift_engine::store::At;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::AppState;
use super::problem::Problem;

/// A cache may keep an answer, and has to ask whether it still holds.
const ASK_AGAIN: &str = "private, no-cache";

/// A session over the store, and the tag of the answer that a request makes from it.
pub(super) struct Reading {
    pub(super) session: QuerySession,
    tag: HeaderValue,
}

impl Reading {
    /// Opens the store as of now or of an earlier point, for the request with this URI.
    pub(super) async fn open(state: &AppState, at: Option<At>, uri: &Uri) -> Result<Self, Problem> {
        let session = state.session(at).await?;
        let tag = tag_of(&session, uri)?;
        Ok(Self { session, tag })
    }

    /// The answer 304 if the caller already has what this request would give.
    pub(super) fn unchanged(&self, headers: &HeaderMap) -> Option<Response> {
        let known = headers.get_all(IF_NONE_MATCH).iter().any(|tags| names(tags.as_bytes(), self.tag.as_bytes()));
        known.then(|| self.tagged(StatusCode::NOT_MODIFIED))
    }

    /// An answer with its tag.
    pub(super) fn tagged(&self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        response.headers_mut().insert(ETAG, self.tag.clone());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN));
        response
    }

    /// An answer in JSON with its tag.
    pub(super) fn json(&self, answer: &impl Serialize) -> Response {
        self.tagged(Json(answer))
    }
}

/// The tag is a weak one: a compressed answer differs in its bytes, not in what it says.
fn tag_of(session: &QuerySession, uri: &Uri) -> Result<HeaderValue, Problem> {
    let asked = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let made_of = (env!("CARGO_PKG_VERSION"), session.settings.fingerprint(), &session.versions, asked);
    let text = serde_json::to_vec(&made_of).map_err(|error| Problem::internal(&error))?;
    let digest = Sha256::digest(&text);
    let mut first = [0_u8; 16];
    first.copy_from_slice(&digest[..16]);
    let tag = format!("W/\"{:032x}\"", u128::from_be_bytes(first));
    HeaderValue::from_str(&tag).map_err(|error| Problem::internal(&error))
}

/// Whether a list of tags names this one, by the weak comparison (RFC 9110, 8.8.3.2).
fn names(tags: &[u8], tag: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    tags.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|listed| listed == b"*" || opaque(listed) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let tag = b"W/\"1f\"";
        for listed in ["W/\"1f\"", "\"1f\"", "\"0\", W/\"1f\"", "*"] {
            assert!(names(listed.as_bytes(), tag), "{listed}");
        }
        for listed in ["", "W/\"1e\"", "1f", "\"1f"] {
            assert!(!names(listed.as_bytes(), tag), "{listed}");
        }
    }
}
