//! The store as it is now: one session over its newest versions, which all requests share until there are newer ones.
//!
//! **What a read sees of batches that this server acknowledged.** A renewal (the facts brought up to date, the session
//! opened, what was asked a moment ago made again) takes longer than a commit, so that commits may be ahead of the view:
//! - When no batch is under way and a renewal is quick, a read waits for a view that shows all that was acknowledged
//!   before it. Whoever sends batches, has their acknowledgements and then reads sees them all; mostly without waiting,
//!   since a batch that comes alone is acknowledged when the view shows it (`commits`).
//! - While batches are under way, and where a renewal takes long, a read is answered at once from the newest view, so
//!   that those who only look are not held up by what others send. The header `Sendlift-Behind` tells how many commits
//!   the answer may lack. The view is renewed all the while, with rests in between that leave the processors to the
//!   batches.
//! - A read with `Cache-Control: no-cache` always waits for all that was acknowledged before it.
//!
//! For what other processes commit the store is looked at a few times a second, and only while requests come; they are
//! answered from the versions known until the newer ones are ready. A server that was left alone looks before it
//! answers, as it does for `no-cache`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use sendlift_engine::query::{QuerySession, Source};
use sendlift_engine::store::{At, Store};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::AppState;
use super::problem::Problem;

/// How often a store in a folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a remote one is, where each look is a dozen requests that are paid for.
const LOOK_EVERY_REMOTE: Duration = Duration::from_secs(2);
/// Looks left out after which a server counts as left alone.
const LOOKS_LEFT_OUT: u32 = 10;
/// Rest between two renewals while batches come, in terms of the time that the first of them took: batches get most of
/// the processors.
const REST_PER_RENEWAL: u32 = 3;
/// The shortest such rest.
const LEAST_REST: Duration = Duration::from_millis(200);
/// The longest.
const MOST_REST: Duration = Duration::from_secs(10);
/// A renewal of at most this length is worth waiting for.
const QUICK: Duration = Duration::from_millis(500);
/// The header that tells how many acknowledged commits an answer may lack.
const BEHIND: HeaderName = HeaderName::from_static("sendlift-behind");

/// What stands for the versions of all tables and for how facts are made.
pub(super) type Fingerprint = [u8; 32];

/// A session over the store at some versions.
pub(super) struct View {
    pub(super) session: QuerySession,
    pub(super) fingerprint: Fingerprint,
}

impl View {
    async fn open(state: &AppState, at: Option<At>) -> Result<Arc<Self>, Problem> {
        let source = Source::Store(state.store.clone(), at);
        let session = QuerySession::open_on(&source, &state.settings, state.now(), &state.execution);
        let session = Box::pin(session).await?;
        let made_of = (env!("CARGO_PKG_VERSION"), session.settings.fingerprint(), &session.versions);
        let text = serde_json::to_vec(&made_of).map_err(|error| Problem::internal(&error))?;
        let fingerprint = Sha256::digest(&text).into();
        Ok(Arc::new(Self { session, fingerprint }))
    }
}

/// The newest view, as far as it is known.
pub(super) struct Latest {
    look_every: Duration,
    known: Mutex<Option<Known>>,
    /// Held while the store is looked at and the view renewed.
    renewal: AsyncMutex<()>,
    /// Held while that happens behind the requests' backs.
    background: Arc<AsyncMutex<()>>,
    /// Held by the task that renews the view after commits.
    following: Arc<AsyncMutex<()>>,
    /// Commits that this server made; each is counted before it is acknowledged.
    committed: AtomicU64,
    /// How many of these the view shows.
    shown: AtomicU64,
    /// How long the last renewal took, in milliseconds.
    renewal_took: AtomicU64,
}

#[derive(Clone)]
struct Known {
    view: Arc<View>,
    /// Everything committed before this moment is in the view.
    looked_at: Instant,
    /// When the view was found to be the newest, or made so.
    known_since: Instant,
}

/// What a request gets without waiting.
enum Glance {
    /// A view that is new enough.
    New(Arc<View>),
    /// A view to use while the caller has a newer one looked for; what it holds keeps others from doing so, too.
    Aged(Arc<View>, OwnedMutexGuard<()>),
    /// Nothing: the store must be looked at first.
    Unknown,
}

impl Latest {
    pub(super) fn new(store: &Store) -> Self {
        let look_every = if store.folder().is_some() { LOOK_EVERY } else { LOOK_EVERY_REMOTE };
        Self {
            look_every,
            known: Mutex::default(),
            renewal: AsyncMutex::default(),
            background: Arc::default(),
            following: Arc::default(),
            committed: AtomicU64::default(),
            shown: AtomicU64::default(),
            renewal_took: AtomicU64::default(),
        }
    }

    /// Counts a commit that is about to be acknowledged.
    pub(super) fn note_commit(&self) {
        self.committed.fetch_add(1, Ordering::SeqCst);
    }

    /// Commits that were acknowledged, or are about to be, and that the view does not show.
    pub(super) fn commits_behind(&self) -> u64 {
        // What is shown was committed before: in this order the difference is never too small.
        let shown = self.shown.load(Ordering::SeqCst);
        self.committed.load(Ordering::SeqCst).saturating_sub(shown)
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // It is replaced as a whole, and so whole also after a panic elsewhere.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn glance(&self) -> Glance {
        let Some(known) = self.known().clone() else { return Glance::Unknown };
        if known.looked_at.elapsed() < self.look_every {
            return Glance::New(known.view);
        }
        match Arc::clone(&self.background).try_lock_owned() {
            // It began when the view was still new, and the next view is as new as can be had.
            Err(_) => Glance::New(known.view),
            Ok(renewing) if known.known_since.elapsed() < self.look_every * LOOKS_LEFT_OUT => {
                Glance::Aged(known.view, renewing)
            }
            Ok(_) => Glance::Unknown,
        }
    }
}

impl AppState {
    /// The store as it is now or was at an earlier point.
    pub(super) async fn view(&self, at: Option<At>) -> Result<Arc<View>, Problem> {
        if at.is_some() {
            let state = self.clone();
            return self.workers.run(async move { View::open(&state, at).await }).await;
        }
        match self.latest.glance() {
            Glance::New(view) => Ok(view),
            Glance::Aged(view, renewing) => {
                let state = self.clone();
                self.workers.spawn(async move {
                    if let Err(problem) = state.renew().await {
                        tracing::error!(reason = problem.reason(), "the newest versions cannot be opened");
                    }
                    drop(renewing);
                });
                Ok(view)
            }
            Glance::Unknown => {
                // Not given up with this request: facts that take longer than one may wait would never be made.
                let state = self.clone();
                let renewal = self.workers.spawn(async move { state.renew().await });
                renewal.await.map_err(|error| Problem::internal(&error))?
            }
        }
    }

    /// A view with everything that was committed before the call, which requests get from now on.
    pub(super) async fn renew(&self) -> Result<Arc<View>, Problem> {
        let called_at = Instant::now();
        let _only_one = self.latest.renewal.lock().await;
        let known = self.latest.known().clone();
        match known {
            Some(known) if known.looked_at >= called_at => Ok(known.view),
            known => self.look(known).await,
        }
    }

    /// Has the view show at least so many of this server's commits.
    async fn show(&self, commits: u64) -> Result<(), Problem> {
        let _only_one = self.latest.renewal.lock().await;
        let known = self.latest.known().clone();
        if known.is_none() || self.latest.shown.load(Ordering::SeqCst) < commits {
            self.look(known).await?;
        }
        Ok(())
    }

    /// Looks at the store and renews the view. Only who holds `renewal` may.
    async fn look(&self, known: Option<Known>) -> Result<Arc<View>, Problem> {
        let looked_at = Instant::now();
        // Counted after it was committed, so that whoever looks now finds it.
        let committed = self.latest.committed.load(Ordering::SeqCst);
        let renewed = self.newest(known.map(|known| known.view)).await;
        let now_known =
            renewed.as_ref().ok().map(|view| Known { view: Arc::clone(view), looked_at, known_since: Instant::now() });
        // A store that cannot be read is not answered for from memory.
        *self.latest.known() = now_known;
        if renewed.is_ok() {
            self.latest.shown.fetch_max(committed, Ordering::SeqCst);
        }
        renewed
    }

    async fn newest(&self, known: Option<Arc<View>>) -> Result<Arc<View>, Problem> {
        if let Some(view) = &known
            && self.store.is_newest(&view.session.versions).await?
        {
            return Ok(Arc::clone(view));
        }
        let started = Instant::now();
        let newest = View::open(self, None).await?;
        if let Some(before) = known {
            self.carry_over(&before, &newest).await;
            let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.latest.renewal_took.store(took, Ordering::Relaxed);
        }
        Ok(newest)
    }

    /// Renews the view behind the requests' backs until it shows all commits, unless that is being done.
    pub(super) fn follow_commits(&self) {
        let Ok(following) = Arc::clone(&self.latest.following).try_lock_owned() else { return };
        let state = self.clone();
        self.workers.spawn(async move {
            let mut took = Duration::ZERO;
            while state.latest.commits_behind() > 0 {
                state.rest_after(took).await;
                let started = Instant::now();
                if let Err(problem) = state.renew().await {
                    // The next commit or read has it tried again.
                    tracing::error!(reason = problem.reason(), "the newest versions cannot be opened");
                    return;
                }
                took = started.elapsed();
            }
            drop(following);
            // A commit that came just now found it being done.
            if state.latest.commits_behind() > 0 {
                state.follow_commits();
            }
        });
    }

    /// Leaves the processors to the batches for a while, or until no more come.
    async fn rest_after(&self, took: Duration) {
        let rest = (took * REST_PER_RENEWAL).clamp(LEAST_REST, MOST_REST);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = self.commits.calm() => {}
        }
    }

    /// Whether the next renewal is expected to be quick: the last one was, and so is making again what was asked.
    fn is_renewed_quickly(&self) -> bool {
        let last = Duration::from_millis(self.latest.renewal_took.load(Ordering::Relaxed));
        last.max(self.answers.time_to_make_again()) <= QUICK
    }

    /// Waits for what was acknowledged before the call, as far as a read must. Returns how many commits it may lack.
    async fn catch_up(&self, always: bool) -> Result<u64, Problem> {
        let behind = self.latest.commits_behind();
        if !always && (behind == 0 || self.commits.is_busy()) {
            return Ok(behind);
        }
        if !always && !self.is_renewed_quickly() {
            self.follow_commits();
            return Ok(behind);
        }
        let state = self.clone();
        let committed = self.latest.committed.load(Ordering::SeqCst);
        // Not given up with this request: others wait for the same.
        let renewal = self
            .workers
            .spawn(async move { if always { state.renew().await.map(drop) } else { state.show(committed).await } });
        renewal.await.map_err(|error| Problem::internal(&error))??;
        Ok(self.latest.commits_behind())
    }
}

/// Middleware: lets a read wait for the batches that it must show, and says how many commits its answer may lack.
pub(super) async fn keep_up(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Problem> {
    if request.uri().query().is_some_and(names_a_point) {
        // What was is not behind what is.
        return Ok(next.run(request).await);
    }
    let behind = state.catch_up(asks_for_the_newest(request.headers())).await?;
    let mut response = next.run(request).await;
    if behind > 0 {
        response.headers_mut().insert(BEHIND, behind.into());
    }
    Ok(response)
}

/// Whether a query asks for an earlier point of the store's history.
fn names_a_point(query: &str) -> bool {
    query.split('&').any(|parameter| parameter.strip_prefix("at=").is_some_and(|point| !point.is_empty()))
}

/// Whether the caller wants no answer from memory (RFC 9111, 5.2.1.4).
fn asks_for_the_newest(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    directives.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_can_ask_for_the_newest() {
        let asks = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            asks_for_the_newest(&headers)
        };
        assert!(asks("no-cache") && asks("max-age=0, No-Cache"));
        assert!(!asks("max-age=0") && !asks("no-cachet") && !asks_for_the_newest(&HeaderMap::new()));
    }

    #[test]
    fn a_point_in_history_is_seen_in_the_query() {
        assert!(names_a_point("at=3") && names_a_point("by=variant&at=2026-03-02"));
        assert!(!names_a_point("at=") && !names_a_point("format=at") && !names_a_point(""));
    }
}
