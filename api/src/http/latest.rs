//! The store as it is now: one session over its newest versions, which all requests share until there are newer ones.
//!
//! A batch that this server takes in is acknowledged after the session is renewed, so that whoever asks next sees it.
//! For what other processes commit the store is looked at a few times a second, and only while requests come; they are
//! answered from the versions known until the newer ones are ready. A server that was left alone looks before it
//! answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
        let session = Box::pin(QuerySession::open(&source, &state.settings, state.now())).await?;
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
        Self { look_every, known: Mutex::default(), renewal: AsyncMutex::default(), background: Arc::default() }
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
        if let Some(known) = &known
            && known.looked_at >= called_at
        {
            return Ok(Arc::clone(&known.view));
        }
        let looked_at = Instant::now();
        let renewed = self.newest(known.map(|known| known.view)).await;
        let now_known =
            renewed.as_ref().ok().map(|view| Known { view: Arc::clone(view), looked_at, known_since: Instant::now() });
        // A store that cannot be read is not answered for from memory.
        *self.latest.known() = now_known;
        renewed
    }

    async fn newest(&self, known: Option<Arc<View>>) -> Result<Arc<View>, Problem> {
        if let Some(view) = &known
            && self.store.is_newest(&view.session.versions).await?
        {
            return Ok(Arc::clone(view));
        }
        let newest = View::open(self, None).await?;
        if let Some(before) = known {
            self.carry_over(&before, &newest).await;
        }
        Ok(newest)
    }
}
