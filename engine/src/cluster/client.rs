//! Sessions whose queries run on a cluster.
//!
//! A query that reads a table of the store is sent to the scheduler; any other is answered here (rows that were brought
//! here before, the catalogue). An answer is held back until it is whole or large, so that it can be asked for again
//! when a worker goes away with its part of it. A query that nobody waits for any more is called off.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use ballista_core::execution_plans::DistributedQueryExec;
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::planner::BallistaQueryPlanner;
use ballista_core::serde::protobuf::CancelJobParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::catalog::Session;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source, source_as_provider};
use datafusion::error::{DataFusionError, Result as PlanResult};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan, TableSource};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner as _};
use datafusion::prelude::SessionContext;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::protobuf::LogicalPlanNode;
use futures::StreamExt as _;
use tokio::sync::mpsc::Sender;

use super::address::Cluster;
use super::codec::StoreCodec;
use super::table::StoreTable;
use super::{for_cluster, session_state, with_functions};
use crate::error::{EngineError, Result};
use crate::query::{query_runtime, session_config};

/// How often a query is sent before its failure is told. One worker that is lost may cost two: the first when its rows
/// are missed, the second when it is given a part of the query all the same.
const ATTEMPTS: usize = 5;
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// Bytes of an answer that are held back until it is whole; a larger one is passed on as it comes, and fails if a part
/// of it is lost.
const HELD_BYTES: usize = 256 << 20;
/// The schema of the tables that describe a session's own tables.
const CATALOGUE: &str = "information_schema";

/// A session without tables whose queries run on a cluster.
///
/// # Errors
/// Within seconds, when there is no scheduler at this address, or it has no worker.
pub(crate) async fn context(cluster: &Cluster) -> Result<SessionContext> {
    cluster.ready().await?;
    let planner = ClusterPlanner { cluster: cluster.clone(), codec: Arc::new(StoreCodec::default()) };
    let state = session_state(for_cluster(session_config()), query_runtime()?);
    Ok(with_functions(state.with_query_planner(Arc::new(planner))))
}

/// Decides where a query runs.
#[derive(Debug)]
struct ClusterPlanner {
    cluster: Cluster,
    codec: Arc<dyn LogicalExtensionCodec>,
}

#[async_trait]
impl QueryPlanner for ClusterPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        if !reads_the_store(plan)? {
            return DefaultPhysicalPlanner::default().create_physical_plan(plan, session).await;
        }
        let plan = with_catalogue(plan, session).await?;
        if matches!(plan, LogicalPlan::Analyze(_)) {
            let (url, config) = (self.cluster.http_url(), session.config().ballista_config());
            let planner = BallistaQueryPlanner::<LogicalPlanNode>::with_extension(url, config, Arc::clone(&self.codec));
            return planner.create_physical_plan(&plan, session).await;
        }
        let question = Question {
            cluster: self.cluster.clone(),
            codec: Arc::clone(&self.codec),
            session_id: session.session_id().to_owned(),
            schema: answer_schema(&plan),
            plan,
        };
        let schema = Arc::clone(&question.schema);
        let asked: Arc<dyn PartitionStream> = Arc::new(Asked(Arc::new(question)));
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![asked], None, [], false, None)?))
    }
}

fn reads_the_store(plan: &LogicalPlan) -> PlanResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= source_as_provider(&scan.source)?.downcast_ref::<StoreTable>().is_some();
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A plan with the rows of the catalogue's tables that it reads: only this session can tell them.
async fn with_catalogue(plan: &LogicalPlan, session: &dyn Session) -> PlanResult<LogicalPlan> {
    let mut scans: Vec<TableScan> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.schema() == Some(CATALOGUE)
        {
            scans.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if scans.is_empty() {
        return Ok(plan.clone());
    }
    let mut tables: HashMap<TableReference, Arc<dyn TableSource>> = HashMap::new();
    for scan in scans {
        let catalogue = source_as_provider(&scan.source)?;
        let reading = catalogue.scan(session, None, &[], None).await?;
        let rows = collect(reading, session.task_ctx()).await?;
        let table = MemTable::try_new(catalogue.schema(), vec![rows])?;
        tables.insert(scan.table_name, provider_as_source(Arc::new(table)));
    }
    let with_rows = |node: LogicalPlan| match node {
        LogicalPlan::TableScan(mut scan) => match tables.get(&scan.table_name) {
            Some(source) => {
                scan.source = Arc::clone(source);
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        other => Ok(Transformed::no(other)),
    };
    Ok(plan.clone().transform_down_with_subqueries(with_rows)?.data)
}

/// The columns of a plan. Each may hold nulls: whether it does is seen by those who make the rows.
fn answer_schema(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().as_arrow().fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A query for the scheduler.
#[derive(Debug)]
struct Question {
    cluster: Cluster,
    codec: Arc<dyn LogicalExtensionCodec>,
    session_id: String,
    schema: SchemaRef,
    plan: LogicalPlan,
}

/// A question that is asked each time it is run.
#[derive(Debug)]
struct Asked(Arc<Question>);

impl PartitionStream for Asked {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.0.schema), 2);
        let (question, sender) = (Arc::clone(&self.0), stream.tx());
        stream.spawn(async move { question.answer(&sender, &context).await });
        stream.build()
    }
}

impl Question {
    /// Asks until there is an answer, or asking again would not help.
    async fn answer(&self, sender: &Sender<PlanResult<RecordBatch>>, context: &Arc<TaskContext>) -> PlanResult<()> {
        for attempt in 1.. {
            self.cluster.ready().await.map_err(external)?;
            let mut answer = Answer { sender, schema: &self.schema, held: Vec::new(), bytes: 0, is_passed_on: false };
            match self.ask(&mut answer, context).await {
                Ok(()) => break,
                Err(error) if attempt < ATTEMPTS && !answer.is_passed_on && may_pass(&error) => {
                    tracing::warn!(%error, attempt, "a query is sent again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if attempt == ATTEMPTS && is_of_a_lost_worker(&error.to_string()) => {
                    return Err(external(self.cluster.loses_workers(ATTEMPTS, &error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks once.
    async fn ask(&self, answer: &mut Answer<'_>, context: &Arc<TaskContext>) -> PlanResult<()> {
        let query = Arc::new(DistributedQueryExec::<LogicalPlanNode>::with_extension(
            self.cluster.http_url(),
            context.session_config().ballista_config(),
            self.plan.clone(),
            Arc::clone(&self.codec),
            self.session_id.clone(),
        ));
        let mut job = Job { query: Arc::clone(&query), url: self.cluster.http_url(), is_over: false };
        let mut rows = query.execute(0, Arc::clone(context))?;
        let deserted = self.cluster.deserted();
        tokio::pin!(deserted);
        loop {
            tokio::select! {
                batch = rows.next() => match batch {
                    Some(batch) => answer.add(&batch?).await?,
                    None => break,
                },
                error = &mut deserted => return Err(external(error)),
            }
        }
        job.is_over = true;
        answer.pass_on().await
    }
}

fn external(error: EngineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Whether a query may be answered when it is sent again: not when the query itself failed.
fn may_pass(error: &DataFusionError) -> bool {
    if let DataFusionError::External(cause) = error
        && cause.is::<EngineError>()
    {
        return false;
    }
    let text = error.to_string();
    let is_the_jobs = text.contains("Job ") && text.contains(" failed: ");
    !text.contains("InvalidArgument") && (!is_the_jobs || is_of_a_lost_worker(&text))
}

/// Whether a query failed because a worker was lost: the scheduler gave it up, there is no worker left to run it, or rows
/// could not be fetched (a stage fails the first time that this happens).
fn is_of_a_lost_worker(text: &str) -> bool {
    [" failed: Cancelled", "executors were lost", "Fetch", " has failed 1 times, "]
        .iter()
        .any(|sign| text.contains(sign))
}

/// The rows of an answer on their way to who waits for them.
struct Answer<'a> {
    sender: &'a Sender<PlanResult<RecordBatch>>,
    schema: &'a SchemaRef,
    held: Vec<RecordBatch>,
    bytes: usize,
    is_passed_on: bool,
}

impl Answer<'_> {
    async fn add(&mut self, batch: &RecordBatch) -> PlanResult<()> {
        let batch = fitted(batch, self.schema)?;
        self.bytes += batch.get_array_memory_size();
        self.held.push(batch);
        if self.is_passed_on || self.bytes > HELD_BYTES { self.pass_on().await } else { Ok(()) }
    }

    async fn pass_on(&mut self) -> PlanResult<()> {
        self.is_passed_on = true;
        for batch in self.held.drain(..) {
            if self.sender.send(Ok(batch)).await.is_err() {
                return Err(DataFusionError::Execution("nobody waits for the answer any more".to_owned()));
            }
        }
        Ok(())
    }
}

/// Rows as the plan promised them.
fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> PlanResult<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| -> PlanResult<ArrayRef> {
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            Ok(arrow::compute::cast(column, field.data_type())?)
        }
    });
    let columns = columns.collect::<PlanResult<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A query at work. The scheduler is told when it is given up.
struct Job {
    query: Arc<DistributedQueryExec<LogicalPlanNode>>,
    url: String,
    is_over: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        let (Some(job), Ok(runtime)) = (self.query.job_id(), tokio::runtime::Handle::try_current()) else { return };
        if self.is_over {
            return;
        }
        let url = std::mem::take(&mut self.url);
        runtime.spawn(async move {
            // A scheduler that cannot be told is one that does not work either.
            if let Ok(mut scheduler) = SchedulerGrpcClient::connect(url).await {
                let _ = scheduler.cancel_job(CancelJobParams { job_id: job.into() }).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn session() -> SessionContext {
        // Nobody is there: what needs the cluster fails at once.
        let planner = ClusterPlanner { cluster: Cluster::new("127.0.0.1", 1), codec: Arc::new(StoreCodec::default()) };
        let state = session_state(for_cluster(session_config()), query_runtime().unwrap());
        let context = with_functions(state.with_query_planner(Arc::new(planner)));
        context.register_table("message_facts", Arc::new(super::super::table::tests::facts())).unwrap();
        let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        context
            .register_table("rows", Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap()))
            .unwrap();
        context
    }

    #[tokio::test]
    async fn what_is_here_is_answered_here() {
        let session = session();
        for query in
            ["SELECT sum(n) FROM rows", "SELECT local_time(now(), 'UTC')", "SELECT * FROM information_schema.tables"]
        {
            assert!(!session.sql(query).await.unwrap().collect().await.unwrap().is_empty(), "{query}");
        }
    }

    #[tokio::test]
    async fn what_reads_the_store_is_sent() {
        let session = session();
        for query in [
            "SELECT count(*) FROM message_facts",
            "SELECT 1 FROM rows WHERE n IN (SELECT count(*) FROM message_facts)",
            "SELECT 1 FROM message_facts AS f JOIN information_schema.tables AS t ON t.table_name = f.message_id",
        ] {
            let error = session.sql(query).await.unwrap().collect().await.unwrap_err().to_string();
            assert!(error.contains("df://127.0.0.1:1"), "{query}: {error}");
        }
    }

    #[test]
    fn only_what_a_lost_worker_caused_is_asked_again() {
        let failed = |text: &str| DataFusionError::Execution(text.to_owned());
        for passes in [
            "GrpcConnectionError(\"connection refused\")",
            "Stream closed without job completing",
            "Job 7 failed: all executors were lost and no executor re-registered within 15s",
            "Job 7 failed: Cancelled",
            "Job 7 failed: Job failed due to stage 3 failed: Stage 3 has failed 1 times, most recent failure reason: \"\"",
        ] {
            assert!(may_pass(&failed(passes)), "{passes}");
        }
        for stays in [
            "Job 7 failed: Job failed due to stage 1 failed: Divide by zero error",
            "Job 7 failed: Job failed due to stage 1 failed: Task 2 in Stage 1 failed 4 times, fail the stage",
            "Status { code: InvalidArgument, message: \"Could not parse plan\" }",
        ] {
            assert!(!may_pass(&failed(stays)), "{stays}");
        }
        assert!(!may_pass(&external(EngineError::usage("no worker"))));
    }

    #[test]
    fn rows_are_given_the_promised_types() {
        let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        let promised = Arc::new(Schema::new(vec![Field::new("count", DataType::Float64, true)]));
        assert_eq!(fitted(&batch, &promised).unwrap().schema(), promised);
    }
}
