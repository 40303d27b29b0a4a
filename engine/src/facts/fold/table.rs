//! `folded_messages` as the planner sees it: the sends, partition by partition, each row with its columns.

use std::sync::Arc;
use std::task::Poll;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use super::converted::{Collecting, asks_for_converted};
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

    fn supports_filters_pushdown(
        &self,
        conditions: &[&Expr],
    ) -> std::result::Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        let support = |condition: &&Expr| {
            if asks_for_converted(condition) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(conditions.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        conditions: &[Expr],
        limit: Option<usize>,
    ) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let schema = match projection {
            Some(projection) => Arc::new(self.0.schema.project(projection)?),
            None => Arc::clone(&self.0.schema),
        };
        if conditions.iter().any(asks_for_converted)
            && let Ok(kept) = self.0.converted.lock()
            && let Some(batches) = kept.as_ref().and_then(|kept| kept.in_columns(&schema))
        {
            return Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?);
        }
        let external = |error: EngineError| DataFusionError::External(Box::new(error));
        let plan = self.0.sends_plan(&schema, false).await.map_err(external)?;
        let parts = plan.output_partitioning().partition_count();
        let ordered = Arc::new(OnceCell::new());
        // Facts that are made for the store are asked for once.
        let is_asked_again = self.0.logs.store.is_none();
        let collecting = is_asked_again.then(|| Arc::new(Collecting::new(Arc::clone(&schema), parts)));
        let partitions = (0..parts)
            .map(|partition| {
                let (messages, schema, plan) = (Arc::clone(&self.0), Arc::clone(&schema), Arc::clone(&plan));
                let (ordered, collecting) = (Arc::clone(&ordered), collecting.clone());
                Arc::new(Part { messages, schema, plan, ordered, collecting, partition, parts })
                    as Arc<dyn PartitionStream>
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
    collecting: Option<Arc<Collecting>>,
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
        let (partition, parts, collecting) = (self.partition, self.parts, self.collecting.clone());
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
            let of_rows = collecting.clone();
            let rows = sends.map(move |batch| {
                let rows = folded.rows(&batch?, &schema).map_err(external)?;
                if let Some(collecting) = &of_rows {
                    collecting.add(&rows).map_err(external)?;
                }
                Ok(rows)
            });
            let end = futures::stream::poll_fn(move |_| {
                let found = collecting.as_ref().and_then(|collecting| collecting.finish_part());
                if let (Some(converted), Ok(mut kept)) = (found, messages.converted.lock())
                    && !kept.as_ref().is_some_and(|kept| kept.covers(&converted))
                {
                    *kept = Some(converted);
                }
                Poll::Ready(None)
            });
            Ok::<_, DataFusionError>(rows.chain(end).boxed())
        };
        let stream = futures::stream::once(stream).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}
