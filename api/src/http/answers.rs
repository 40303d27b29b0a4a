//! Answers that were made before, kept as bytes while they hold.
//!
//! An answer is a function of the versions that it is read at and of what is asked, which its tag stands for: whoever
//! asks the same at the same versions gets the same bytes, and of many who ask at once the first has them made. An
//! error is not kept. When the versions change, what was asked for a moment ago is made again before the new versions
//! are given out, so that those who ask all the time need not wait.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use sendlift_engine::query::QuerySession;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::AppState;
use super::latest::{Fingerprint, View};
use super::problem::Problem;

/// Bytes of all answers that are kept; those that nobody asked for the longest time go first.
const MOST_BYTES: usize = 64 << 20;
/// An answer of more bytes is not kept: it would take the place of too many others.
const LARGEST: usize = 16 << 20;
/// What an answer takes besides its body, roughly.
const OVERHEAD: usize = 2 << 10;
/// Who asked within this time is likely to ask again.
const A_MOMENT: Duration = Duration::from_secs(10);
/// The time for making answers again when the versions change, by the time that they took the last time. Nobody waits
/// meanwhile: the answers at the versions before are still given out.
const CARRY_OVER_TIME: Duration = Duration::from_secs(30);

/// An answer's bytes, with the headers that say what they are.
#[derive(Debug, Clone)]
pub(super) struct Made {
    headers: HeaderMap,
    body: Bytes,
}

impl Made {
    pub(super) fn new(media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        Self { headers, body: body.into() }
    }

    pub(super) fn json(answer: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(answer).map_err(|error| Problem::internal(&error))?;
        Ok(Self::new("application/json", body))
    }

    pub(super) fn with_header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }
}

impl IntoResponse for Made {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.headers_mut() = self.headers;
        response
    }
}

/// What stands for an answer: the versions, how facts are made, and what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag(u128);

impl Tag {
    pub(super) fn of(view: &View, asked: &str) -> Self {
        let digest = Sha256::new_with_prefix(view.fingerprint).chain_update(asked).finalize();
        let mut first = [0_u8; 16];
        first.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(first))
    }

    /// The `ETag`. It is a weak one: a compressed answer differs in its bytes, not in what it says.
    pub(super) fn header(self) -> Result<HeaderValue, Problem> {
        HeaderValue::try_from(format!("W/\"{:032x}\"", self.0)).map_err(|error| Problem::internal(&error))
    }
}

/// How an answer is made, at whatever versions.
pub(super) type Recipe = Arc<dyn Fn(QuerySession) -> BoxFuture<'static, Result<Made, Problem>> + Send + Sync>;

/// An answer that is being made, or was: all who wait for it get the same.
type Making = Shared<BoxFuture<'static, Result<Made, Problem>>>;

/// What is asked of the store, and how it is answered.
#[derive(Clone)]
pub(super) struct Question {
    /// The path and the query in canonical form.
    pub(super) asked: Arc<str>,
    pub(super) recipe: Recipe,
    /// Whether it is asked of the store as it is now, and so again at the next versions.
    pub(super) of_now: bool,
    /// When it was asked the last time.
    pub(super) asked_at: Instant,
}

/// The answers that are kept.
#[derive(Default)]
pub(super) struct Answers(Mutex<HashMap<Tag, Answer>>);

struct Answer {
    question: Question,
    fingerprint: Fingerprint,
    making: Making,
    /// How long it took to make; unknown until it is there.
    took: Option<Duration>,
    size: usize,
}

impl Answers {
    fn kept(&self) -> MutexGuard<'_, HashMap<Tag, Answer>> {
        // Every change is a single insertion, removal or assignment: the map is whole also after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what became of an answer that was made.
    fn settle(&self, tag: Tag, result: &Result<Made, Problem>, took: Duration) {
        let mut kept = self.kept();
        match result {
            Ok(made) if made.body.len() <= LARGEST => {
                if let Some(answer) = kept.get_mut(&tag) {
                    answer.took = Some(took);
                    answer.size = made.body.len() + OVERHEAD;
                }
                drop_oldest(&mut kept, MOST_BYTES);
            }
            _ => {
                kept.remove(&tag);
            }
        }
    }

    /// How long it takes to make again what was asked a moment ago.
    pub(super) fn time_to_make_again(&self) -> Duration {
        let kept = self.kept();
        let is_due = |answer: &&Answer| answer.question.of_now && answer.question.asked_at.elapsed() < A_MOMENT;
        kept.values().filter(is_due).filter_map(|answer| answer.took).sum()
    }

    /// What was asked at these versions a moment ago, the latest first, as far as there is time to make it again.
    fn asked_lately(&self, before: &View) -> Vec<Question> {
        let kept = self.kept();
        let is_due = |answer: &&Answer| {
            let question = &answer.question;
            question.of_now && question.asked_at.elapsed() < A_MOMENT && answer.fingerprint == before.fingerprint
        };
        let mut due: Vec<&Answer> = kept.values().filter(is_due).collect();
        due.sort_by_key(|answer| Reverse(answer.question.asked_at));
        let mut time_left = CARRY_OVER_TIME;
        let in_time = due.into_iter().filter_map(|answer| {
            time_left = time_left.checked_sub(answer.took?)?;
            Some(answer.question.clone())
        });
        in_time.collect()
    }
}

/// Lets the answers go that nobody asked for the longest time, until the others fit.
fn drop_oldest(kept: &mut HashMap<Tag, Answer>, most_bytes: usize) {
    let mut bytes: usize = kept.values().map(|answer| answer.size).sum();
    while bytes > most_bytes {
        let Some(oldest) = kept.iter().min_by_key(|(_, answer)| answer.question.asked_at).map(|(tag, _)| *tag) else {
            return;
        };
        bytes -= kept.remove(&oldest).map_or(0, |answer| answer.size);
    }
}

impl AppState {
    /// The answer to a question, as it was made before or made now if there is room.
    pub(super) async fn answer(&self, view: &View, tag: Tag, question: Question) -> Result<Made, Problem> {
        let making = {
            let mut kept = self.answers.kept();
            match kept.get_mut(&tag) {
                // One whose making panicked had nobody to take it out.
                Some(answer) if !matches!(answer.making.peek(), Some(Err(_))) => {
                    answer.question.asked_at = question.asked_at;
                    answer.making.clone()
                }
                _ => {
                    let place = self.room.enter()?;
                    self.start(&mut kept, view, tag, question, Some(place))
                }
            }
        };
        making.await
    }

    /// Makes again, at the next versions, what was asked a moment ago, and forgets the answers of earlier ones.
    pub(super) async fn carry_over(&self, before: &View, now: &View) {
        for question in self.answers.asked_lately(before) {
            let tag = Tag::of(now, &question.asked);
            let making = self.start(&mut self.answers.kept(), now, tag, question, None);
            // An error is for the next one who asks.
            let _ = making.await;
        }
        // Those of the versions before are still given out until `now` is.
        let stays = [before.fingerprint, now.fingerprint];
        self.answers.kept().retain(|_, answer| stays.contains(&answer.fingerprint));
    }

    /// Has an answer made, whether or not those who asked wait for it: the next one gets it.
    fn start(
        &self,
        kept: &mut HashMap<Tag, Answer>,
        view: &View,
        tag: Tag,
        question: Question,
        place: Option<OwnedSemaphorePermit>,
    ) -> Making {
        let answers = Arc::clone(&self.answers);
        let work = (question.recipe)(view.session.clone());
        let task = self.workers.spawn(async move {
            let started = Instant::now();
            let result = work.await;
            drop(place);
            answers.settle(tag, &result, started.elapsed());
            result
        });
        let making = async move { task.await.unwrap_or_else(|error| Err(Problem::internal(&error))) };
        let making = making.boxed().shared();
        let answer =
            Answer { question, fingerprint: view.fingerprint, making: making.clone(), took: None, size: OVERHEAD };
        kept.insert(tag, answer);
        making
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked_at: Instant, size: usize) -> Answer {
        let empty = || async { Ok::<_, Problem>(Made::new("text/plain", "")) }.boxed();
        let recipe: Recipe = Arc::new(move |_: QuerySession| empty());
        let making = empty().shared();
        let question = Question { asked: "/v1/report?".into(), recipe, of_now: true, asked_at };
        Answer { question, fingerprint: [0; 32], making, took: None, size }
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let start = Instant::now();
        let mut kept = HashMap::new();
        for (number, seconds) in [(1, 30), (2, 10), (3, 20)] {
            kept.insert(Tag(number), answer(start + Duration::from_secs(seconds), 100));
        }
        drop_oldest(&mut kept, 300);
        assert_eq!(kept.len(), 3);
        drop_oldest(&mut kept, 299);
        assert!(!kept.contains_key(&Tag(2)) && kept.len() == 2);
        drop_oldest(&mut kept, 0);
        assert!(kept.is_empty());
    }

    #[test]
    fn neither_errors_nor_giants_are_kept() {
        let answers = Answers::default();
        let results = [
            Ok(Made::new("text/plain", "small")),
            Ok(Made::new("text/plain", vec![0_u8; LARGEST + 1])),
            Err(Problem::not_found("nothing")),
        ];
        for (result, is_kept) in results.iter().zip([true, false, false]) {
            answers.kept().insert(Tag(1), answer(Instant::now(), OVERHEAD));
            answers.settle(Tag(1), result, Duration::ZERO);
            assert_eq!(answers.kept().contains_key(&Tag(1)), is_kept);
        }
    }
}
