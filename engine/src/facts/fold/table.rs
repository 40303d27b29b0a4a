//! `folded_messages` as the planner sees it: the sends, partition by partition, each row with its columns.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use super::{FoldedMessages, Wanted};
use crate::error::EngineError;

/// `folded_messages`.
#[derive(Debug, Clone)]
pub(in crate::facts) struct FoldedTable(pub(in crate::facts) Arc<FoldedMessages>);

#[async_trait]
impl TableProvider for FoldedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = match projection {
            Some(projection) => Arc::new(self.0.schema.project(projection)?),
            None => Arc::clone(&self.0.schema),
        };
        let external = |error: EngineError| DataFusionError::External(Box::new(error));
        let plan = self.0.sends_plan(&schema, false).await.map_err(external)?;
        let parts = plan.output_partitioning().partition_count();
        let ordered = Arc::new(OnceCell::new());
        let partitions = (0..parts)
            .map(|partition| {
                let (messages, schema, plan) = (Arc::clone(&self.0), Arc::clone(&schema), Arc::clone(&plan));
                let ordered = Arc::clone(&ordered);
                Arc::new(Part { messages, schema, plan, ordered, partition, parts }) as Arc<dyn PartitionStream>
            })
            .collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?))
    }
}

/// One partition of the sends, each row with its columns.
#[derive(Debug)]
struct Part {
    messages: Arc<FoldedMessages>,
    schema: SchemaRef,
    plan: Arc<dyn ExecutionPlan>,
    /// The plan with the columns of the order of reception, made when a message has several rows. One for all parts: the
    /// partitions of a plan share its files among them as they come, so those of two plans would read every row twice.
    ordered: Arc<OnceCell<Arc<dyn ExecutionPlan>>>,
    partition: usize,
    parts: usize,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let external = |error: EngineError| DataFusionError::External(Box::new(error));
        let (messages, schema) = (Arc::clone(&self.messages), Arc::clone(&self.schema));
        let (plan, ordered) = (Arc::clone(&self.plan), Arc::clone(&self.ordered));
        let (partition, parts) = (self.partition, self.parts);
        let stream = async move {
            let folded = messages.folded(Wanted::of(&schema)).await.map_err(external)?;
            let plan = if folded.newest.is_empty() {
                plan
            } else {
                let made = ordered.get_or_try_init(|| messages.sends_plan(&schema, true)).await;
                Arc::clone(made.map_err(external)?)
            };
            // The logs' own session knows where they are stored; the one that asks may not. Should the plan have other
            // partitions than there are parts, each part takes every so manieth.
            let context = messages.logs.context().task_ctx();
            let streams = (partition..plan.output_partitioning().partition_count())
                .step_by(parts)
                .map(|partition| plan.execute(partition, Arc::clone(&context)))
                .collect::<std::result::Result<Vec<_>, _>>()?;
            let sends = futures::stream::iter(streams).flatten();
            Ok::<_, DataFusionError>(sends.map(move |batch| folded.rows(&batch?, &schema).map_err(external)).boxed())
        };
        let stream = futures::stream::once(stream).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}
