//! A process that reads data files of the store and works on parts of queries. A cluster has any number of them.
//!
//! A worker listens on two ports: on one the scheduler hands it tasks, on the other workers fetch rows from one
//! another, and whoever asked fetches the answer. Rows in exchange are files in a folder of its own, which goes when the
//! worker ends. Being asked to end (ctrl-c, SIGTERM), it finishes the tasks that it has.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::RuntimeProducer;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::metrics::ExecutorMetricCollectionPolicy;
use datafusion::datasource::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tempfile::TempDir;
use tokio::time::Instant;

use super::address::Cluster;
use super::codec::StoreCodec;
use super::{HEARTBEAT_SECONDS, MESSAGE_BYTES, failed, for_cluster, host_of};
use crate::error::{EngineError, Result};
use crate::query::functions;

const WHAT: &str = "the worker";
/// How long a worker waits for its scheduler: the two may be started together.
const SCHEDULER_WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Seconds after which rows are thrown away that no query fetched or gave up.
const STALE_SECONDS: u64 = 6 * 3600;
const CLEAN_EVERY_SECONDS: u64 = 600;

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The scheduler that hands out the tasks.
    pub scheduler: Cluster,
    /// The address and port for rows; the next port is for tasks. Port 0: two free ones.
    pub listen: SocketAddr,
    /// The name or address under which the others reach it, if it is not the one that it listens on or calls from.
    pub advertise: Option<String>,
    /// Tasks at a time; by default one a processor core.
    pub tasks: Option<usize>,
    /// Where rows in exchange and what does not fit into memory go; by default the system's folder for such.
    pub work_dir: Option<PathBuf>,
    /// Bytes of memory for all tasks together before they spill to disk; by default 70 % of the machine's.
    pub memory: Option<u64>,
}

/// A worker that has found its scheduler.
pub struct Worker {
    config: Arc<ExecutorProcessConfig>,
    address: SocketAddr,
    /// Removed when the worker ends.
    _folder: TempDir,
}

impl Worker {
    /// Makes ready and waits for the scheduler, for half a minute at most.
    ///
    /// # Errors
    /// When there is no scheduler, the work folder cannot be written, or no port is free.
    pub async fn prepare(options: &WorkerOptions) -> Result<Self> {
        let folder = work_folder(options)?;
        find_scheduler(&options.scheduler).await?;
        let (port, task_port) = ports(options.listen)?;
        let ip = options.listen.ip();
        // Listening on all addresses it is reached under the one that it calls from.
        let own_host = (!ip.is_unspecified()).then(|| host_of(ip));
        let config = ExecutorProcessConfig {
            bind_host: host_of(ip),
            external_host: options.advertise.clone().or(own_host),
            port,
            grpc_port: task_port,
            scheduler_host: options.scheduler.host().to_owned(),
            scheduler_port: options.scheduler.port(),
            // 0 stands for the number of cores.
            vcores: options.tasks.unwrap_or(0),
            work_dir: Some(folder.path().to_string_lossy().into_owned()),
            job_data_ttl_seconds: STALE_SECONDS,
            job_data_clean_up_interval_seconds: CLEAN_EVERY_SECONDS,
            grpc_max_decoding_message_size: MESSAGE_BYTES,
            grpc_max_encoding_message_size: MESSAGE_BYTES,
            executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
            metric_collection_policy: ExecutorMetricCollectionPolicy::Off,
            memory_pool_size: options.memory,
            override_function_registry: Some(Arc::new(function_registry())),
            override_runtime_producer: Some(runtimes(&folder)?),
            override_config_producer: Some(Arc::new(|| for_cluster(SessionConfig::new()))),
            override_logical_codec: Some(Arc::new(StoreCodec::default())),
            ..ExecutorProcessConfig::default()
        };
        Ok(Self { config: Arc::new(config), address: SocketAddr::new(ip, port), _folder: folder })
    }

    /// Where rows are fetched from it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Works until the process is asked to end, or the scheduler is gone.
    ///
    /// # Errors
    /// When a port cannot be listened on, or the scheduler refuses this worker.
    pub async fn run(self) -> Result<()> {
        start_executor_process(Arc::clone(&self.config)).await.map_err(failed(WHAT))
    }
}

/// A folder of the worker's own: what is in it is thrown away.
fn work_folder(options: &WorkerOptions) -> Result<TempDir> {
    let parent = options.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent).map_err(EngineError::io("create the work folder", &parent))?;
    let folder = tempfile::Builder::new().prefix("sendlift-worker-").tempdir_in(&parent);
    folder.map_err(EngineError::io("create a work folder in", &parent))
}

async fn find_scheduler(scheduler: &Cluster) -> Result<()> {
    let until = Instant::now() + SCHEDULER_WAIT;
    loop {
        match scheduler.has_worker().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(scheduler.no_scheduler(&error)),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The port for rows and the one for tasks.
fn ports(listen: SocketAddr) -> Result<(u16, u16)> {
    if listen.port() != 0 {
        let next = listen.port().checked_add(1);
        let next = next.ok_or_else(|| EngineError::usage("--listen: port 65535 has no next one, for tasks"))?;
        return Ok((listen.port(), next));
    }
    let unheard = || EngineError::io("listen on", listen.to_string());
    // Both are held at the same time, so that they are not the same.
    let (first, second) =
        (TcpListener::bind(listen).map_err(unheard())?, TcpListener::bind(listen).map_err(unheard())?);
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    Ok((port(&first).map_err(unheard())?, port(&second).map_err(unheard())?))
}

/// Every function of `DataFusion` and ours.
fn function_registry() -> BallistaFunctionRegistry {
    let context = SessionContext::new();
    functions::register_all(&context);
    BallistaFunctionRegistry::from(&context.state())
}

/// One environment for all tasks: they share the footers of data files that were read before. Memory is dealt out to
/// each task by Ballista.
fn runtimes(folder: &TempDir) -> Result<RuntimeProducer> {
    let runtime = RuntimeEnvBuilder::new()
        .with_temp_file_path(folder.path())
        .with_object_store_registry(object_stores())
        .build_arc()?;
    Ok(Arc::new(move |_: &SessionConfig| Ok(Arc::clone(&runtime))))
}

/// The object stores that a worker reads from. Their credentials are its own, from its environment; none travel.
#[cfg(not(feature = "s3"))]
fn object_stores() -> Arc<dyn ObjectStoreRegistry> {
    Arc::new(DefaultObjectStoreRegistry::new())
}

#[cfg(feature = "s3")]
fn object_stores() -> Arc<dyn ObjectStoreRegistry> {
    Arc::new(buckets::Buckets::default())
}

#[cfg(feature = "s3")]
mod buckets {
    use datafusion::error::{DataFusionError, Result};
    use object_store::ObjectStore;
    use url::Url;

    use super::{Arc, DefaultObjectStoreRegistry, ObjectStoreRegistry};

    /// Opens a bucket when it is first read.
    #[derive(Debug, Default)]
    pub(super) struct Buckets(DefaultObjectStoreRegistry);

    impl ObjectStoreRegistry for Buckets {
        fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
            self.0.register_store(url, store)
        }

        fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
            if let Ok(known) = self.0.get_store(url) {
                return Ok(known);
            }
            deltalake::aws::register_handlers(None);
            let log = deltalake::logstore::logstore_for(url, deltalake::logstore::StorageConfig::default())
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            let bucket = log.root_object_store(None);
            self.0.register_store(url, Arc::clone(&bucket));
            Ok(bucket)
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::FunctionRegistry as _;

    use super::*;

    #[test]
    fn two_ports_are_taken() {
        assert_eq!(ports("127.0.0.1:4000".parse().unwrap()).unwrap(), (4000, 4001));
        let (rows, tasks) = ports("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(rows != 0 && tasks != 0 && rows != tasks);
        assert!(ports("127.0.0.1:65535".parse().unwrap()).is_err());
    }

    #[test]
    fn workers_know_our_functions() {
        let registry = function_registry();
        assert!(registry.udf("local_time").is_ok() && registry.udf("concat").is_ok() && registry.udaf("sum").is_ok());
    }

    #[test]
    fn the_work_folder_is_the_workers_own() {
        let parent = tempfile::tempdir().unwrap();
        let options = WorkerOptions {
            scheduler: Cluster::new("127.0.0.1", 1),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            tasks: None,
            work_dir: Some(parent.path().join("work")),
            memory: None,
        };
        let folder = work_folder(&options).unwrap();
        assert_eq!(folder.path().parent().unwrap(), parent.path().join("work"));
    }
}
