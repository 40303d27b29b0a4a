//! A table of the store at one version, as the list of its data files: what a query on a cluster reads.
//!
//! In: a Delta table. Out: a table that plans a Parquet scan of exactly these files, in which every process can take
//! part. Columns that a file lacks are null, as everywhere; texts are plain ones (views would be written with all their
//! buffers each time rows are exchanged). Files of the facts whose day cannot hold a wanted row are not read; row
//! groups of the others are left out by their own statistics.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, DFSchema, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use deltalake::DeltaTable;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use url::Position;

use crate::error::{EngineError, Result};
use crate::facts::PARTITION;
use crate::store::plain_schema;

/// The moment of the send, whose UTC day is the partition of the facts.
const SENT_AT: &str = "sent_at";
const DAY_MICROSECONDS: i64 = 86_400_000_000;

/// The data files of a table at one version, as they travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DataFiles {
    /// The object store: `file://` or `s3://bucket`.
    root: String,
    /// Whether the files are those of days, which is then not a column in them.
    by_day: bool,
    files: Vec<DataFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DataFile {
    /// From the object store's root.
    path: String,
    bytes: u64,
    rows: Option<usize>,
    /// Days since 1970.
    day: Option<i32>,
}

/// A table of the store.
#[derive(Debug)]
pub(super) struct StoreTable {
    schema: SchemaRef,
    data: DataFiles,
}

/// A table of the store as queries on a cluster read it, with the columns that it has here.
///
/// # Errors
/// When its files are not known, or not such as this program writes.
pub(crate) fn store_table(table: &DeltaTable) -> Result<Arc<dyn TableProvider>> {
    let snapshot = table.snapshot()?;
    let schema = plain_schema(&snapshot.snapshot().arrow_schema());
    let url = table.table_url();
    let place = Path::from_url_path(url.path())
        .map_err(|error| EngineError::usage(format!("{url} cannot be read by a cluster: {error}")))?;
    let foreign = |why: &str| {
        EngineError::usage(format!(
            "{url} cannot be read by a cluster: its files {why}, as this program never writes them"
        ))
    };
    let mut data = DataFiles { root: url[..Position::BeforePath].to_owned(), by_day: false, files: Vec::new() };
    for file in snapshot.log_data().iter() {
        if file.deletion_vector_descriptor().is_some() {
            return Err(foreign("have rows struck out"));
        }
        let mut day = None;
        for (column, value) in file.partition_values_map() {
            if column != PARTITION {
                return Err(foreign(&format!("are partitioned by {column}")));
            }
            data.by_day = true;
            let value = value.map(|text| ScalarValue::try_from_string(text, &DataType::Date32)).transpose()?;
            day = match value {
                Some(ScalarValue::Date32(day)) => day,
                _ => None,
            };
        }
        let path: Path = place.parts().chain(file.object_store_path().parts()).collect();
        data.files.push(DataFile {
            path: path.to_string(),
            bytes: u64::try_from(file.size()).unwrap_or(0),
            rows: file.num_records(),
            day,
        });
    }
    Ok(Arc::new(StoreTable::new(schema, data)))
}

impl StoreTable {
    pub(super) fn new(schema: SchemaRef, data: DataFiles) -> Self {
        Self { schema, data }
    }

    pub(super) fn data(&self) -> &DataFiles {
        &self.data
    }

    /// The files that may hold rows which these filters let through.
    fn wanted(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<&DataFile>, DataFusionError> {
        let files = &self.data.files;
        let Some(filter) = conjunction(filters.iter().cloned()).filter(|_| self.data.by_day) else {
            return Ok(files.iter().collect());
        };
        let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filter = session.create_physical_expr(filter, &columns)?;
        let Some(predicate) = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).build(filter)
        else {
            return Ok(files.iter().collect());
        };
        let is_wanted = predicate.prune(&Days(files.iter().map(|file| file.day).collect()))?;
        Ok(files.iter().zip(is_wanted).filter_map(|(file, is_wanted)| is_wanted.then_some(file)).collect())
    }

    /// The columns in the files, then the partition's; and where each of the table's columns stands among these.
    fn file_columns(&self) -> (TableSchema, Vec<usize>) {
        let is_in_files = |field: &Field| !(self.data.by_day && field.name() == PARTITION);
        let (inside, outside): (Vec<_>, Vec<_>) =
            self.schema.fields().iter().cloned().partition(|field| is_in_files(field));
        let (mut next_inside, mut next_outside) = (0..inside.len(), inside.len()..self.schema.fields().len());
        let places = self
            .schema
            .fields()
            .iter()
            .filter_map(|field| if is_in_files(field) { next_inside.next() } else { next_outside.next() })
            .collect();
        let schema = TableSchema::builder(Arc::new(Schema::new(inside))).with_table_partition_cols(outside).build();
        (schema, places)
    }

    fn part(&self, file: &DataFile) -> Result<PartitionedFile, DataFusionError> {
        let mut part = PartitionedFile::new(String::new(), file.bytes);
        part.object_meta.location = Path::parse(&file.path)?;
        if self.data.by_day {
            part.partition_values = vec![ScalarValue::Date32(file.day)];
        }
        Ok(part)
    }
}

/// What the planner may go by: rows where every file tells them.
fn statistics(files: &[&DataFile], schema: &SchemaRef) -> Statistics {
    let rows = files.iter().map(|file| file.rows).sum::<Option<usize>>();
    let bytes = files.iter().map(|file| usize::try_from(file.bytes).unwrap_or(usize::MAX)).sum();
    let mut statistics = Statistics::new_unknown(schema);
    statistics.num_rows = rows.map_or(Precision::Absent, Precision::Inexact);
    statistics.total_byte_size = Precision::Inexact(bytes);
    statistics
}

#[async_trait]
impl TableProvider for StoreTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let files = self.wanted(session, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&projection)?))));
        }
        let (columns, places) = self.file_columns();
        let places = projection.iter().filter_map(|column| places.get(*column).copied()).collect();
        let statistics = statistics(&files, columns.table_schema());
        let parts = files.into_iter().map(|file| self.part(file)).collect::<Result<Vec<_>, _>>()?;
        let groups = FileGroup::new(parts).split_files(session.config().target_partitions().max(1));
        let mut options = TableParquetOptions::default();
        options.global.clone_from(&session.config_options().execution.parquet);
        let source = ParquetSource::new(columns).with_table_parquet_options(options);
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(&self.data.root)?, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(places))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// What the day of a file says of its rows.
struct Days(Vec<Option<i32>>);

impl Days {
    /// For each file one end of what a column can hold: so many microseconds after the day's beginning.
    fn end(&self, column: &Column, microseconds: i64) -> Option<ArrayRef> {
        let moment = |day: i32| i64::from(day) * DAY_MICROSECONDS + microseconds;
        match column.name() {
            PARTITION => Some(Arc::new(Date32Array::from(self.0.clone()))),
            SENT_AT => {
                let moments: TimestampMicrosecondArray = self.0.iter().map(|day| day.map(moment)).collect();
                Some(Arc::new(moments.with_timezone("UTC")))
            }
            _ => None,
        }
    }
}

impl PruningStatistics for Days {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.end(column, 0)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.end(column, DAY_MICROSECONDS - 1)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use datafusion::prelude::{SessionContext, col, lit};

    use super::*;
    use crate::event::timestamp_type;

    /// Facts of three days, the partition in the middle of the columns.
    pub(in crate::cluster) fn facts() -> StoreTable {
        let schema = Schema::new(vec![
            Field::new("message_id", DataType::Utf8, true),
            Field::new(PARTITION, DataType::Date32, true),
            Field::new(SENT_AT, timestamp_type(), true),
        ]);
        let file = |day: i32| DataFile {
            path: format!("store/message_facts/{PARTITION}={day}/part.parquet"),
            bytes: 10,
            rows: Some(1),
            day: Some(day),
        };
        let data = DataFiles { root: "file://".to_owned(), by_day: true, files: (20_514..20_517).map(file).collect() };
        StoreTable::new(Arc::new(schema), data)
    }

    fn moment(microseconds: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(microseconds), Some("UTC".into())))
    }

    #[test]
    fn days_without_a_wanted_row_are_left_out() {
        let table = facts();
        let session = SessionContext::new().state();
        let days = |filters: &[Expr]| {
            let wanted = table.wanted(&session, filters).unwrap();
            wanted.iter().filter_map(|file| file.day).collect::<Vec<_>>()
        };
        let noon = 20_515 * DAY_MICROSECONDS + DAY_MICROSECONDS / 2;
        assert_eq!(days(&[]), [20_514, 20_515, 20_516]);
        assert_eq!(days(&[col(SENT_AT).gt_eq(moment(noon))]), [20_515, 20_516]);
        assert_eq!(days(&[col(SENT_AT).lt(moment(20_515 * DAY_MICROSECONDS))]), [20_514]);
        assert_eq!(days(&[col(PARTITION).eq(lit(ScalarValue::Date32(Some(20_516))))]), [20_516]);
        // What says nothing about the day leaves all of them.
        assert_eq!(days(&[col("message_id").eq(lit("m1"))]), [20_514, 20_515, 20_516]);
    }

    #[tokio::test]
    async fn columns_keep_their_order_wherever_the_partition_stands() {
        let table = facts();
        let session = SessionContext::new().state();
        for projection in [None, Some(vec![2, 0]), Some(vec![1]), Some(Vec::new())] {
            let expected = match &projection {
                Some(columns) => table.schema.project(columns).unwrap(),
                None => table.schema.as_ref().clone(),
            };
            let plan = table.scan(&session, projection.as_ref(), &[], None).await.unwrap();
            assert_eq!(plan.schema().fields(), expected.fields());
        }
    }
}
