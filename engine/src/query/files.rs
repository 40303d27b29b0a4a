//! Log files as a table, read straight: the same readers and the same validation as an ingest, with nothing written. A row
//! that an ingest would reject is not in the table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::TableProvider;
use jiff::Timestamp;

use super::stream::{Batches, OpenPartition, streaming_table};

use crate::bridge;
use crate::error::Result;
use crate::event::{INGESTED_AT, Log, SOURCE_FILE};
use crate::ingest::input::Input;
use crate::ingest::read;
use crate::ingest::validate::{Validator, ValidatorOptions};
use crate::store::log_schema;

/// The files of one log.
#[derive(Debug, Clone)]
pub struct LogFiles {
    log: Log,
    inputs: Vec<Input>,
    validator: Arc<Validator>,
    now: Timestamp,
}

impl LogFiles {
    /// Files of a log, validated under these options at this moment.
    ///
    /// # Errors
    /// When the mapping is wrong.
    pub fn new(log: Log, inputs: Vec<Input>, options: &ValidatorOptions, now: Timestamp) -> Result<Self> {
        let validator = Arc::new(Validator::new(log, options, now.as_microsecond())?);
        Ok(Self { log, inputs, validator, now })
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> Log {
        self.log
    }

    /// The files as a table with one partition a file. Attributes are those of each file's first rows.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn table(&self) -> Result<Arc<dyn TableProvider>> {
        let files = self.clone();
        let schema = tokio::task::spawn_blocking(move || files.schema()).await??;
        let partitions = self
            .inputs
            .iter()
            .map(|input| {
                let (input, validator, schema, now) =
                    (input.clone(), Arc::clone(&self.validator), Arc::clone(&schema), self.now);
                Arc::new(move || {
                    let (name, validator, schema) = (input.name.clone(), Arc::clone(&validator), Arc::clone(&schema));
                    let batches = read::open(&input, validator.times())?.map(move |chunk| {
                        let checked = validator.check(&chunk?)?;
                        to_schema(&bridge::to_record_batch(&checked.frame)?, &schema, &name, now)
                    });
                    Ok(Box::new(batches) as Batches)
                }) as OpenPartition
            })
            .collect();
        streaming_table(schema, partitions)
    }

    fn schema(&self) -> Result<SchemaRef> {
        let mut fields: Vec<Field> = log_schema(self.log).fields().iter().map(|field| field.as_ref().clone()).collect();
        for input in &self.inputs {
            let Some(chunk) = read::open(input, self.validator.times())?.next() else { continue };
            let checked = self.validator.check(&chunk?)?;
            for column in checked.frame.get_column_names() {
                if !fields.iter().any(|field| field.name() == column.as_str()) {
                    fields.push(Field::new(column.as_str(), DataType::Utf8, true));
                }
            }
        }
        Ok(Arc::new(arrow::datatypes::Schema::new(fields)))
    }
}

fn to_schema(batch: &RecordBatch, schema: &SchemaRef, file: &str, now: Timestamp) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> Result<ArrayRef> {
            Ok(match (field.name().as_str(), batch.column_by_name(field.name())) {
                (_, Some(column)) => arrow::compute::cast(column, field.data_type())?,
                (INGESTED_AT, None) => {
                    Arc::new(TimestampMicrosecondArray::from(vec![now.as_microsecond(); rows]).with_timezone("UTC"))
                }
                (SOURCE_FILE, None) => Arc::new(StringArray::from(vec![file; rows])),
                (_, None) => arrow::array::new_null_array(field.data_type(), rows),
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
