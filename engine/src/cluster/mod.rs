//! Queries on several machines, by Ballista: one scheduler, any number of workers, and whoever asks.
//!
//! ```text
//! who asks                        scheduler                      workers
//! facts brought up to date,       plans the query,               read data files of the store,
//! versions read, SQL optimised ─► cuts it into stages      ─►    exchange rows, keep the answer
//!        ▲                                                            │
//!        └────────────────────────── the answer ◄─────────────────────┘
//! ```
//!
//! - [`address`]: `df://host:port`, and whether anybody is there; [`client`]: sessions whose queries run there;
//! - [`table`]: a Delta table as the list of its data files; [`codec`]: how that list travels to the scheduler;
//! - [`scheduler`] and [`worker`]: the two kinds of process; [`workers`]: what becomes of queries when a worker is lost.
//!
//! Delta's own table cannot travel: what it plans (`DeltaScanExec`) has no form in which it could be sent to a worker.
//! So the process that asks reads Delta's log, and what is sent is the list of files of one version. The scheduler
//! makes a plain Parquet scan of them, and workers know nothing of Delta.
//!
//! **Architecture invariant:** a cluster only reads. Facts are made by the process that asks, which also names the
//! versions that an answer was made from.

mod address;
mod client;
mod codec;
mod scheduler;
mod table;
mod worker;
mod workers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ballista_core::config::{BALLISTA_CLIENT_GRPC_CONNECT_TIMEOUT_SECONDS, BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS};
use ballista_core::error::BallistaError;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::optimizer::ballista_default_optimizer_rules;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SessionConfig, SessionContext};

pub use address::Cluster;
pub(crate) use client::context;
pub use scheduler::{Scheduler, SchedulerOptions};
pub(crate) use table::store_table;
pub use worker::{Worker, WorkerOptions};

use crate::error::EngineError;
use crate::query::functions;

/// Bytes of a message between two processes at most. What is long is the list of a table's files: about 150 bytes each.
const MESSAGE_BYTES: u32 = 256 << 20;
/// Seconds until a process that does not answer counts as not there.
const CONNECT_SECONDS: usize = 5;
/// Milliseconds between two attempts at fetching rows from a worker.
const FETCH_AGAIN_MILLISECONDS: usize = 1000;
/// Seconds between two signs of life of a worker.
const HEARTBEAT_SECONDS: u64 = 3;
/// Seconds without one after which the scheduler gives a worker's tasks to others.
const LOST_SECONDS: u64 = 15;

/// A configuration as the processes of a cluster need it.
fn for_cluster(config: SessionConfig) -> SessionConfig {
    config
        .upgrade_for_ballista()
        // The adaptive planner cannot run a finished stage again: a worker that is lost with its results would leave
        // the query waiting for ever.
        .with_ballista_adaptive_query_planner(false)
        .with_ballista_grpc_client_max_message_size(MESSAGE_BYTES as usize)
        .set_usize(BALLISTA_CLIENT_GRPC_CONNECT_TIMEOUT_SECONDS, CONNECT_SECONDS)
        .set_usize(BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, FETCH_AGAIN_MILLISECONDS)
}

/// What a session of any of the processes is built from.
fn session_state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> SessionStateBuilder {
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_optimizer_rules(ballista_default_optimizer_rules())
}

/// A session with our functions.
fn with_functions(state: SessionStateBuilder) -> SessionContext {
    let context = SessionContext::new_with_state(state.build());
    functions::register_all(&context);
    context
}

/// An IP address as it stands before a port.
fn host_of(address: IpAddr) -> String {
    SocketAddr::new(address, 0).to_string().trim_end_matches(":0").to_owned()
}

/// A failure of one of Ballista's processes.
fn failed(what: &'static str) -> impl Fn(BallistaError) -> EngineError {
    move |error| EngineError::io("run", what)(std::io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_before_a_port_in_brackets_if_it_has_colons() {
        assert_eq!(host_of("127.0.0.1".parse().unwrap()), "127.0.0.1");
        assert_eq!(host_of("::1".parse().unwrap()), "[::1]");
        assert_eq!(host_of("2001:db8::".parse().unwrap()), "[2001:db8::]");
    }
}
