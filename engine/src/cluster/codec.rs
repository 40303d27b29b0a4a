//! How tables travel to the scheduler inside a logical plan: a table of the store as the list of its data files, rows
//! at hand as Arrow IPC. Everything else is Ballista's own business. Physical plans need nothing of ours: a Parquet
//! scan and rows in memory have their forms, and functions go by their names.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use ballista_core::serde::BallistaLogicalExtensionCodec;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion_proto::logical_plan::LogicalExtensionCodec;

use super::table::StoreTable;

/// The first byte of a table of the store.
const STORED: u8 = b'S';
/// The first byte of rows.
const ROWS: u8 = b'R';

/// The codec of whoever asks and of the scheduler.
#[derive(Debug, Default)]
pub(super) struct StoreCodec {
    ballista: BallistaLogicalExtensionCodec,
}

impl LogicalExtensionCodec for StoreCodec {
    fn try_decode(&self, buffer: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        self.ballista.try_decode(buffer, inputs, context)
    }

    fn try_encode(&self, node: &Extension, buffer: &mut Vec<u8>) -> Result<()> {
        self.ballista.try_encode(node, buffer)
    }

    fn try_decode_table_provider(
        &self,
        buffer: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        match buffer.split_first() {
            Some((&STORED, rest)) => {
                let data = serde_json::from_slice(rest).map_err(|error| DataFusionError::External(Box::new(error)))?;
                Ok(Arc::new(StoreTable::new(schema, data)))
            }
            Some((&ROWS, rest)) => {
                let batches = StreamReader::try_new(rest, None)?.collect::<Result<Vec<RecordBatch>, _>>()?;
                Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
            }
            _ => self.ballista.try_decode_table_provider(buffer, name, schema, context),
        }
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        table: Arc<dyn TableProvider>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        if let Some(stored) = table.downcast_ref::<StoreTable>() {
            buffer.push(STORED);
            return serde_json::to_writer(buffer, stored.data())
                .map_err(|error| DataFusionError::External(Box::new(error)));
        }
        if let Some(rows) = table.downcast_ref::<MemTable>() {
            buffer.push(ROWS);
            return write_rows(rows, buffer);
        }
        self.ballista.try_encode_table_provider(name, table, buffer)
    }

    fn try_decode_file_format(&self, buffer: &[u8], context: &TaskContext) -> Result<Arc<dyn FileFormatFactory>> {
        self.ballista.try_decode_file_format(buffer, context)
    }

    fn try_encode_file_format(&self, buffer: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.ballista.try_encode_file_format(buffer, format)
    }
}

fn write_rows(table: &MemTable, buffer: &mut Vec<u8>) -> Result<()> {
    let mut writer = StreamWriter::try_new(buffer, &table.schema())?;
    for partition in &table.batches {
        // Nobody writes to a table of rows once it is registered.
        let batches = partition
            .try_read()
            .map_err(|_| DataFusionError::Internal("a table of rows is being written to".to_owned()))?;
        for batch in batches.iter() {
            writer.write(batch)?;
        }
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::prelude::SessionContext;

    use super::*;

    fn travelled(table: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
        let (codec, name, mut buffer) = (StoreCodec::default(), TableReference::bare("t"), Vec::new());
        let schema = table.schema();
        codec.try_encode_table_provider(&name, table, &mut buffer).unwrap();
        let context = SessionContext::new().task_ctx();
        codec.try_decode_table_provider(&buffer, &name, schema, &context).unwrap()
    }

    #[test]
    fn a_table_of_the_store_arrives_as_it_was() {
        let table = super::super::table::tests::facts();
        let (schema, data) = (table.schema(), table.data().clone());
        let arrived = travelled(Arc::new(table));
        let arrived = arrived.downcast_ref::<StoreTable>().unwrap();
        assert_eq!((arrived.schema(), arrived.data()), (schema, &data));
    }

    #[tokio::test]
    async fn rows_arrive_and_so_do_none() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        for batches in [vec![batch.clone(), batch.slice(0, 1)], vec![]] {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let table = MemTable::try_new(batch.schema(), vec![batches]).unwrap();
            let context = SessionContext::new();
            context.register_table("t", travelled(Arc::new(table))).unwrap();
            assert_eq!(context.table("t").await.unwrap().count().await.unwrap(), rows);
        }
    }
}
