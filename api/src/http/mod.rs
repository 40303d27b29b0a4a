//! The HTTP API: requests in, the engine's answers out, in the same JSON as the command line's.
//!
//! A file a resource (`logs`, `campaigns`, `experiments`, `segments`, `analyze`, `scores`, `jobs`, `models`, `query`,
//! `charts`, `health`), each with its routes; around them the key (`auth`), the shape of errors (`problem`), and what is
//! logged and counted (`observe`, `metrics`). `openapi` is the contract that outside programs rely on.
//!
//! What is read often is answered without work: `latest` holds one session over the newest versions for all requests,
//! `answers` the bytes of what was asked before, `reading` ties the two to a request. What is sent is committed in groups
//! (`commits`). What is work is done by `workers`, on threads of their own and no more at a time than there is room for;
//! what takes longer than a request may is a job, which `job_queue` keeps and runs.
//!
//! **Architecture invariant:** nothing is computed here: a handler turns words into a request of the engine, and the
//! engine's answer or error into a response. Only `query` and `rows` see Arrow batches, which they pass on as they
//! come.

mod analyze;
mod answers;
mod auth;
mod campaigns;
mod charts;
mod commits;
mod experiments;
mod health;
mod job_body;
mod job_queue;
mod jobs;
mod latest;
mod live_jobs;
mod logs;
mod metrics;
mod models;
mod observe;
mod openapi;
mod params;
mod problem;
mod query;
mod reading;
mod rows;
mod scores;
mod segments;
mod table;
mod windows;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::DefaultBodyLimit;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, StatusCode};
use axum::{Router, middleware};
use jiff::Timestamp;
use sendlift_engine::ingest::identity::IdentityHasher;
use sendlift_engine::query::Execution;
use sendlift_engine::settings::Settings;
use sendlift_engine::store::Store;
use sendlift_engine::windows::OwnRules;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa_swagger_ui::SwaggerUi;

pub use auth::hash_api_key;

use answers::Answers;
use commits::Commits;
use latest::Latest;
use live_jobs::Jobs;
use metrics::Metrics;
use problem::Problem;
use workers::{Room, Workers, require_room};

/// How the server listens and what it lets in.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The address to listen on. Without an API key it must be one of this machine alone (a loopback address).
    pub listen: SocketAddr,
    /// The lower-case hexadecimal SHA-256 of each API key ([`hash_api_key`] makes it). Empty: no key is asked for.
    pub api_key_hashes: Vec<String>,
    /// Bytes of a request's body at most, as it is sent.
    pub max_body_bytes: usize,
    /// The longest time until an answer begins; a batch that is being committed is finished even when it takes longer.
    pub timeout: Duration,
    /// Queries and answers under way at most, and as many batches; more are turned away with 503. Answers that were
    /// made before and health checks do not count.
    pub max_concurrent: usize,
    /// Bytes of the bodies of batches at most that are under way at a time; more are turned away with 503. One that is
    /// larger is let in when it is alone.
    pub max_waiting_bytes: usize,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            api_key_hashes: Vec::new(),
            max_body_bytes: 256 << 20,
            timeout: Duration::from_mins(1),
            max_concurrent: 64,
            max_waiting_bytes: 256 << 20,
        }
    }
}

impl ServeConfig {
    /// Refuses what would be unsafe or could never work.
    ///
    /// # Errors
    /// When there is no API key and the address can be reached from other machines, or a hash is no SHA-256.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.api_key_hashes.is_empty() || self.listen.ip().to_canonical().is_loopback(),
            "without an API key the server listens on this machine alone, not on {}: set an API key, or listen on 127.0.0.1",
            self.listen
        );
        for hash in &self.api_key_hashes {
            let is_hash = hash.len() == auth::HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            anyhow::ensure!(
                is_hash,
                "an API key's hash is {} characters long: give the SHA-256 of the key in {} hexadecimal digits, not the key",
                hash.len(),
                auth::HASH_DIGITS
            );
        }
        Ok(())
    }
}

/// What the handlers share: the store, how facts are made, the key for addresses, the batches and the jobs on their way,
/// what is known already, who works, the counters, the clock. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    store: Store,
    settings: Arc<Settings>,
    hasher: Option<IdentityHasher>,
    /// Legal hours and holidays of one's own.
    rules: Arc<OwnRules>,
    /// Where queries run.
    execution: Execution,
    commits: Arc<Commits>,
    jobs: Arc<Jobs>,
    latest: Arc<Latest>,
    answers: Arc<Answers>,
    workers: Arc<Workers>,
    /// For what is read; batches have room of their own, so that neither turns the other away.
    room: Room,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl AppState {
    /// The state of a server over a store. Without a hasher, logs that hold phone numbers or addresses are refused.
    #[must_use]
    pub fn new(store: Store, settings: Settings, hasher: Option<IdentityHasher>) -> Self {
        Self {
            latest: Arc::new(Latest::new(&store)),
            commits: Arc::new(Commits::new(store.clone(), &ServeConfig::default())),
            store,
            settings: Arc::new(settings),
            hasher,
            rules: Arc::default(),
            execution: Execution::default(),
            answers: Arc::default(),
            jobs: Arc::new(Jobs::new()),
            workers: Arc::new(Workers::new()),
            room: Room::new(ServeConfig::default().max_concurrent),
            metrics: Arc::default(),
            clock: Arc::new(Timestamp::now),
        }
    }

    /// The same with queries that run elsewhere.
    #[must_use]
    pub fn with_execution(mut self, execution: Execution) -> Self {
        self.execution = execution;
        self
    }

    /// The same with rules of windows that are laid over those that are built in.
    #[must_use]
    pub fn with_rules(mut self, rules: OwnRules) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// The same with another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The API as a service. Its configuration is not checked here ([`serve`] does): a hash that is none opens nothing. Jobs
/// that another server left unfinished are begun again.
pub fn router(state: AppState, config: &ServeConfig) -> Router {
    let room = Room::new(config.max_concurrent);
    let commits = Arc::new(Commits::new(state.store.clone(), config));
    let state = AppState { room: room.clone(), commits, ..state };
    take_up_jobs(&state);
    let room_for_batches = Room::new(config.max_concurrent);
    let batches = logs::routes().route_layer(middleware::from_fn_with_state(room_for_batches, require_room));
    let in_room = middleware::from_fn_with_state(room, require_room);
    let reads = query::routes()
        .route_layer(in_room.clone())
        .merge(campaigns::routes())
        .merge(windows::routes())
        .merge(experiments::routes())
        .merge(segments::routes())
        .merge(charts::routes())
        .route_layer(middleware::from_fn_with_state(state.clone(), latest::keep_up));
    // The layer that is added last is the first to see a request.
    let guarded = Router::<AppState>::new()
        .merge(batches)
        .merge(reads)
        .merge(analyze::routes().merge(models::routes()).route_layer(in_room))
        .merge(scores::routes())
        .merge(jobs::routes())
        .merge(health::guarded_routes())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", openapi::document()))
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(config.max_body_bytes))
        .layer(middleware::from_fn_with_state(auth::Guard::new(&config.api_key_hashes), auth::require_key));
    // Parquet is compressed already.
    let compressible = DefaultPredicate::new().and(NotForContentType::const_new("application/vnd.apache.parquet"));
    let secrets = [AUTHORIZATION, HeaderName::from_static(auth::API_KEY)];
    Router::<AppState>::new()
        .merge(health::open_routes())
        .merge(guarded)
        .fallback(|| async {
            Problem::not_found("there is nothing at this path: GET /openapi.json lists what there is")
        })
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, config.timeout))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(middleware::from_fn(problem::explain))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(SetSensitiveRequestHeadersLayer::new(secrets))
        .layer(middleware::from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

/// Has the jobs begun again that another server left. What fails now is tried again when a job is asked for.
fn take_up_jobs(state: &AppState) {
    let starting = state.clone();
    state.jobs.threads.spawn(async move {
        if let Err(problem) = starting.take_up_jobs().await {
            tracing::error!(reason = problem.reason(), "the jobs of the store cannot be read");
        }
    });
}

/// Serves the API until `shutdown` completes, then finishes the requests that are under way. A job that is under way is
/// begun again by the next server.
///
/// # Errors
/// When the configuration is unsafe ([`ServeConfig::check`]), or the address cannot be listened on.
pub async fn serve(
    state: AppState,
    config: &ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    config.check()?;
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    tracing::info!(%address, store = state.store.location(), "listening");
    let jobs = Arc::clone(&state.jobs);
    let served = axum::serve(listener, router(state, config)).with_graceful_shutdown(shutdown).await;
    jobs.stop();
    served.context("the server stopped")?;
    tracing::info!("stopped");
    Ok(())
}

/// Completes when the process is asked to end: by ctrl-c, or by SIGTERM where there is such a thing.
pub async fn shutdown_signal() {
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "ctrl-c cannot be listened for");
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(error) => {
            tracing::error!(%error, "SIGTERM cannot be listened for");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_on(listen: &str, keys: &[&str]) -> ServeConfig {
        ServeConfig {
            listen: listen.parse().unwrap(),
            api_key_hashes: keys.iter().map(|key| (*key).to_owned()).collect(),
            ..ServeConfig::default()
        }
    }

    #[test]
    fn other_machines_need_a_key() {
        let hash = hash_api_key("secret");
        for safe in ["127.0.0.1:80", "127.8.8.8:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(listening_on(safe, &[]).check().is_ok(), "{safe}");
        }
        for open in ["0.0.0.0:80", "[::]:80", "192.0.2.7:80"] {
            let message = listening_on(open, &[]).check().unwrap_err().to_string();
            assert!(message.contains("API key"), "{message}");
            assert!(listening_on(open, &[&hash]).check().is_ok(), "{open}");
        }
    }

    #[test]
    fn a_key_is_not_its_hash() {
        let message = listening_on("127.0.0.1:80", &["secret"]).check().unwrap_err().to_string();
        assert!(message.contains("SHA-256") && !message.contains("secret"), "{message}");
    }
}
