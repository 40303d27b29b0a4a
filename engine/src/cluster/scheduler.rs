//! The process that plans queries and deals their parts out to the workers. There is one in a cluster.
//!
//! It reads no data. How many parts a query has follows from the workers that are there: as many as they can work on at
//! a time. A query that loses a worker is given up, and sent again by who asked: see [`super::workers`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ballista_core::extension::SessionConfigExt as _;
use ballista_scheduler::SessionBuilder;
use ballista_scheduler::cluster::{BallistaCluster, ClusterState};
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionConfig;
use tokio::net::TcpListener;

use super::address::Cluster;
use super::codec::StoreCodec;
use super::workers::{Server, Workers};
use super::{LOST_SECONDS, MESSAGE_BYTES, failed, for_cluster, host_of, session_state, with_functions};
use crate::error::{EngineError, Result};

const WHAT: &str = "the scheduler";
/// Parts of a query at least, so that its plan is the same kind of plan with any number of workers.
const FEWEST_PARTS: usize = 2;
/// How often the workers are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// How often the scheduler looks for workers that are gone.
const LOOK_FOR_LOST_SECONDS: u64 = 2;
/// How often a stage may miss rows that another was to keep before its query fails: not once, see [`super::workers`].
const STAGE_FAILURES: usize = 1;

/// Where a scheduler listens.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// The address and port for workers and for those who ask.
    pub listen: SocketAddr,
    /// The name or address under which the workers reach it; needed when it listens on all addresses of its machine.
    pub advertise: Option<String>,
}

/// A scheduler that listens.
pub struct Scheduler {
    listener: TcpListener,
    server: Server,
    address: Cluster,
    /// The tasks that all workers can work on at a time.
    room: Arc<AtomicUsize>,
    workers: Arc<dyn ClusterState>,
}

impl Scheduler {
    /// Starts to listen. Nobody is answered before [`Scheduler::run`].
    ///
    /// # Errors
    /// When the address cannot be listened on, or workers could not tell it.
    pub async fn bind(options: &SchedulerOptions) -> Result<Self> {
        let host = match &options.advertise {
            Some(host) => host.clone(),
            None if options.listen.ip().is_unspecified() => {
                return Err(EngineError::usage(format!(
                    "{} is every address of this machine: say with --advertise under which one the workers reach it",
                    options.listen.ip()
                )));
            }
            None => host_of(options.listen.ip()),
        };
        let unheard = || EngineError::io("listen on", options.listen.to_string());
        let listener = TcpListener::bind(options.listen).await.map_err(unheard())?;
        let port = listener.local_addr().map_err(unheard())?.port();
        let address = Cluster::new(host, port);
        let room = Arc::new(AtomicUsize::new(FEWEST_PARTS));
        let config = configuration(options, &address, Arc::clone(&room))?;
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(failed(WHAT))?;
        let workers = Arc::new(Workers::new(cluster.cluster_state()));
        let cluster = BallistaCluster::new(Arc::<Workers>::clone(&workers), cluster.job_state());
        let server = create_scheduler(cluster, Arc::new(config)).await.map_err(failed(WHAT))?;
        workers.serve(&server);
        Ok(Self { listener, server, address, room, workers })
    }

    /// Where the scheduler is.
    #[must_use]
    pub fn address(&self) -> &Cluster {
        &self.address
    }

    /// Plans queries until `shutdown` completes.
    ///
    /// # Errors
    /// When the service stops by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let service = start_grpc_service_with_listener(self.listener, self.server);
        tokio::select! {
            ended = service => ended.map_err(failed(WHAT)),
            () = count_room(self.workers, &self.room) => Ok(()),
            () = shutdown => Ok(()),
        }
    }
}

fn configuration(options: &SchedulerOptions, address: &Cluster, room: Arc<AtomicUsize>) -> Result<SchedulerConfig> {
    let config = SchedulerConfig {
        bind_host: options.listen.ip().to_string(),
        bind_port: address.port(),
        external_host: address.host().to_owned(),
        task_distribution: TaskDistributionPolicy::RoundRobin,
        grpc_server_max_decoding_message_size: MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MESSAGE_BYTES,
        executor_timeout_seconds: LOST_SECONDS,
        stage_max_failures: STAGE_FAILURES,
        expire_dead_executor_interval_seconds: LOOK_FOR_LOST_SECONDS,
        no_executors_grace_period_seconds: LOST_SECONDS,
        override_config_producer: Some(Arc::new(|| for_cluster(SessionConfig::new()))),
        override_session_builder: Some(sessions(RuntimeEnvBuilder::new().build_arc()?, room)),
        override_logical_codec: Some(Arc::new(StoreCodec::default())),
        ..SchedulerConfig::default()
    };
    config.validate().map_err(failed(WHAT))?;
    Ok(config)
}

/// Builds a session for each query: with our functions, and as many parts as there is room for.
fn sessions(runtime: Arc<RuntimeEnv>, room: Arc<AtomicUsize>) -> SessionBuilder {
    Arc::new(move |config: SessionConfig| {
        let config = config
            .with_target_partitions(room.load(Ordering::Relaxed).max(FEWEST_PARTS))
            .with_ballista_adaptive_query_planner(false);
        Ok(with_functions(session_state(config, Arc::clone(&runtime))).state())
    })
}

/// Keeps count of the tasks that all workers can work on at a time.
async fn count_room(workers: Arc<dyn ClusterState>, room: &AtomicUsize) {
    loop {
        let known = workers.registered_executor_metadata().await;
        let tasks = known.iter().map(|worker| usize::try_from(worker.specification.vcores).unwrap_or(0)).sum();
        room.store(tasks, Ordering::Relaxed);
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::FunctionRegistry as _;

    use super::*;

    #[tokio::test]
    async fn workers_must_be_able_to_find_it() {
        let everywhere = SchedulerOptions { listen: "0.0.0.0:0".parse().unwrap(), advertise: None };
        let message = Scheduler::bind(&everywhere).await.err().unwrap().to_string();
        assert!(message.contains("--advertise"), "{message}");
        let here = SchedulerOptions { listen: "127.0.0.1:0".parse().unwrap(), advertise: None };
        let scheduler = Scheduler::bind(&here).await.unwrap();
        assert!(scheduler.address().to_string().starts_with("df://127.0.0.1:"));
        assert_ne!(scheduler.address().port(), 0);
    }

    #[test]
    fn sessions_know_our_functions_and_the_room() {
        let room = Arc::new(AtomicUsize::new(7));
        let sessions = sessions(RuntimeEnvBuilder::new().build_arc().unwrap(), Arc::clone(&room));
        let state = sessions(for_cluster(SessionConfig::new())).unwrap();
        assert!(state.udf("local_time").is_ok());
        assert_eq!(state.config().target_partitions(), 7);
        assert!(!state.config().ballista_adaptive_query_planner_enabled());
        room.store(0, Ordering::Relaxed);
        assert_eq!(sessions(for_cluster(SessionConfig::new())).unwrap().config().target_partitions(), FEWEST_PARTS);
    }
}
