//! What the scheduler knows of its workers. Whoever loses one loses the queries that are under way.
//!
//! Ballista would make lost rows again and go on, and gets it wrong: a stage that is begun anew (it had read from the lost
//! worker) hands on the rows of all its parts, and those that its other parts had handed on before stay. They are counted
//! twice. The room on a worker that was kept for a part of such a stage is never given back: once all of it is gone, the
//! worker gets no more to do. So no stage is begun anew. The queries end before Ballista mends them, or with the first
//! row that cannot be fetched (`STAGE_FAILURES`), and who asked sends them again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::ExecutorHeartbeat;
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::scheduler_server::SchedulerServer;
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};

/// Ballista's scheduler.
pub(super) type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// The workers of a scheduler.
pub(super) struct Workers {
    known: Arc<dyn ClusterState>,
    /// Who works on queries, once it is there.
    server: OnceLock<Server>,
}

impl Workers {
    pub(super) fn new(known: Arc<dyn ClusterState>) -> Self {
        Self { known, server: OnceLock::new() }
    }

    /// From now on the queries of this scheduler are given up when a worker is lost.
    pub(super) fn serve(&self, server: &Server) {
        let _ = self.server.set(server.clone());
    }

    /// Ends all queries that are under way.
    async fn give_up_queries(&self) {
        let Some(server) = self.server.get() else { return };
        for job in server.state.task_manager.get_running_job_cache().keys() {
            tracing::warn!(%job, "a query is given up: a worker was lost");
            if let Err(error) = server.cancel_job(job.clone()).await {
                tracing::error!(%job, %error, "a query cannot be given up");
            }
        }
    }
}

#[async_trait]
impl ClusterState for Workers {
    /// Ballista mends the queries when this has returned, and by then they are in its list of what is to be ended. No
    /// part of a query can be given to the worker any more, nor can it say that one is done.
    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        let removed = self.known.remove_executor(executor_id).await;
        self.give_up_queries().await;
        removed
    }

    // Everything else is as it was.

    async fn init(&self) -> Result<()> {
        self.known.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        distribution: TaskDistributionPolicy,
        active_jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        self.known.bind_schedulable_tasks(distribution, active_jobs, executors).await
    }

    async fn unbind_tasks(&self, executor_slots: Vec<ExecutorSlot>) -> Result<()> {
        self.known.unbind_tasks(executor_slots).await
    }

    async fn register_executor(&self, metadata: ExecutorMetadata, spec: ExecutorData) -> Result<()> {
        self.known.register_executor(metadata, spec).await
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.known.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.known.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.known.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.known.save_executor_heartbeat(heartbeat).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.known.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.known.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.known.cluster_state_events().await
    }
}
