//! Tables that are read as they are queried: each partition makes its batches anew on a thread of its own.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;

use crate::error::Result;

/// The batches of one partition.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>>>;
/// Opens a partition.
pub(crate) type OpenPartition = Arc<dyn Fn() -> Result<Batches> + Send + Sync>;

/// A table of partitions that are opened each time the table is read; all batches must have the schema.
pub(crate) fn streaming_table(schema: SchemaRef, partitions: Vec<OpenPartition>) -> Result<Arc<dyn TableProvider>> {
    let partitions = partitions
        .into_iter()
        .map(|open| Arc::new(Partition::new(Arc::clone(&schema), open)) as Arc<dyn PartitionStream>)
        .collect();
    Ok(Arc::new(StreamingTable::try_new(schema, partitions)?))
}

pub(crate) struct Partition {
    schema: SchemaRef,
    open: OpenPartition,
}

impl Partition {
    pub(crate) fn new(schema: SchemaRef, open: OpenPartition) -> Self {
        Self { schema, open }
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Partition")
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), 2);
        let (sender, open) = (stream.tx(), Arc::clone(&self.open));
        stream.spawn_blocking(move || {
            let external = |error| DataFusionError::External(Box::new(error));
            for batch in open().map_err(external)? {
                if sender.blocking_send(batch.map_err(external)).is_err() {
                    // The query has what it wants.
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
