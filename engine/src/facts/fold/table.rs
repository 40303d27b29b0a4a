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
        let partitions = (0..plan.output_partitioning().partition_count())
            .map(|partition| {
                let (messages, schema, plan) = (Arc::clone(&self.0), Arc::clone(&schema), Arc::clone(&plan));
                Arc::new(Part { messages, schema, plan, partition }) as Arc<dyn PartitionStream>
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
    partition: usize,
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let external = |error: EngineError| DataFusionError::External(Box::new(error));
        let (messages, schema) = (Arc::clone(&self.messages), Arc::clone(&self.schema));
        let (plan, partition) = (Arc::clone(&self.plan), self.partition);
        let stream = async move {
            let folded = messages.folded(Wanted::of(&schema)).await.map_err(external)?;
            let plan = if folded.newest.is_empty() {
                plan
            } else {
                messages.sends_plan(&schema, true).await.map_err(external)?
            };
            // The logs' own session knows where they are stored; the one that asks may not.
            let sends = plan.execute(partition, messages.logs.context().task_ctx())?;
            Ok::<_, DataFusionError>(sends.map(move |batch| folded.rows(&batch?, &schema).map_err(external)).boxed())
        };
        let stream = futures::stream::once(stream).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}
