//! A request to read the store: what it asks for, and its answer with the `ETag` that saves sending it twice.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use sendlift_engine::query::QuerySession;
use sendlift_engine::store::At;
use serde::de::DeserializeOwned;

use super::AppState;
use super::answers::{Made, Question, Recipe, Tag};
use super::params;
use super::problem::Problem;

/// A cache may keep an answer, and has to ask whether it still holds.
const ASK_AGAIN: &str = "private, no-cache";

/// A request to read, with its parameters by the type that an endpoint declares.
#[derive(Debug)]
pub(super) struct Reading<P> {
    pub(super) params: P,
    /// The path and the query in canonical form.
    asked: Arc<str>,
    /// The tags of answers that the caller has (`If-None-Match`).
    known: Vec<HeaderValue>,
}

impl<P, S> FromRequestParts<S> for Reading<P>
where
    P: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = params::canonical(parts.uri.query().unwrap_or_default());
        Ok(Self {
            params: params::read(&query)?,
            asked: format!("{}?{query}", parts.uri.path()).into(),
            known: parts.headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
        })
    }
}

impl<P> Reading<P> {
    /// The same question, whose answer depends on something besides the tables.
    pub(super) fn depending_on(mut self, what: &str) -> Self {
        self.asked = format!("{} {what}", self.asked).into();
        self
    }

    /// The answer as of now or of an earlier point: 304 if the caller has it, the bytes made before if there are any,
    /// else what `make` makes of a session. `make` may be called again when there are newer versions.
    pub(super) async fn answer<Making>(
        &self,
        state: &AppState,
        at: Option<At>,
        make: impl Fn(QuerySession) -> Making + Send + Sync + 'static,
    ) -> Result<Response, Problem>
    where
        Making: Future<Output = Result<Made, Problem>> + Send + 'static,
    {
        // A view that is opened for one request is work like an answer that is made for it.
        let place = at.map(|_| state.room.enter()).transpose()?;
        let view = state.view(at).await?;
        drop(place);
        let tag = Tag::of(&view, &self.asked);
        let header = tag.header()?;
        let is_known = self.known.iter().any(|tags| names(tags.as_bytes(), header.as_bytes()));
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let recipe: Recipe = Arc::new(move |session| make(session).boxed());
            let asked = Arc::clone(&self.asked);
            let question = Question { asked, recipe, of_now: at.is_none(), asked_at: Instant::now() };
            state.answer(&view, tag, question).await?.into_response()
        };
        response.headers_mut().insert(ETAG, header);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN));
        Ok(response)
    }
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
