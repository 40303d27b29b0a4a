//! Opens a `DataFusion` session with every table registered, from the store at some version or straight from files.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use deltalake::DeltaTable;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::files::LogFiles;
use super::functions;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::facts;
use crate::report::Rollups;
use crate::settings::Settings;
use crate::store::{
    At, CORRECTIONS, MESSAGE_FACTS, QUARANTINE, Store, Versions, commit_time, log_schema, quarantine_schema,
};

/// Memory that a query may take before sorts and aggregations spill to disk. First come, first served: a fair share for each
/// of the dozens of sorts and aggregations that a facts query has would be too little for any of them.
const QUERY_MEMORY: usize = 6 << 30;

/// Rows of a batch: more than `DataFusion`'s default, since facts are split by day when they are written.
const BATCH_ROWS: usize = 16_384;

/// Where a session's tables come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The store, as of now or of an earlier point.
    Store(Store, Option<At>),
    /// Log files, read as they are.
    Files(Vec<LogFiles>),
}

/// What is told who asks for a cluster in a build without any.
#[cfg(not(feature = "cluster"))]
pub const NO_CLUSTERS: &str = "this build has no cluster support: build with --features cluster";

/// Where the queries of a session run.
#[derive(Debug, Clone, Default)]
pub struct Execution {
    #[cfg(feature = "cluster")]
    cluster: Option<crate::cluster::Cluster>,
}

impl Execution {
    /// On the cluster at an address, `df://host:port`; in this process where there is none.
    ///
    /// # Errors
    /// When it is no address of a cluster, or clusters are not built in.
    pub fn at(cluster: Option<&str>) -> Result<Self> {
        cluster.map_or_else(|| Ok(Self::default()), Self::on)
    }

    #[cfg(feature = "cluster")]
    fn on(cluster: &str) -> Result<Self> {
        Ok(Self { cluster: Some(cluster.parse()?) })
    }

    #[cfg(not(feature = "cluster"))]
    fn on(_: &str) -> Result<Self> {
        Err(EngineError::usage(NO_CLUSTERS))
    }

    #[cfg(feature = "cluster")]
    fn is_here(&self) -> bool {
        self.cluster.is_none()
    }

    /// The table as the workers of a cluster read it; none in this process.
    #[cfg(feature = "cluster")]
    fn table_of_workers(&self, table: &DeltaTable) -> Result<Option<Arc<dyn TableProvider>>> {
        self.cluster.as_ref().map(|_| crate::cluster::store_table(table)).transpose()
    }

    #[cfg(not(feature = "cluster"))]
    #[allow(clippy::unused_self)] // The same call with and without clusters.
    fn is_here(&self) -> bool {
        true
    }

    #[cfg(not(feature = "cluster"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)] // The same call with and without clusters.
    fn table_of_workers(&self, _: &DeltaTable) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(None)
    }
}

/// Functions that make texts or lists of any size out of a number, in memory that no query's limit counts.
const WITHOUT_BOUND: [&str; 9] = [
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "list_repeat",
    "range",
    "generate_series",
    "array_resize",
    "list_resize",
];

/// A `DataFusion` session with one table a log, `message_facts` and `quarantine`.
#[derive(Clone)]
pub struct QuerySession {
    context: SessionContext,
    execution: Execution,
    /// The versions that were read; empty for files.
    pub versions: Versions,
    /// Up to when the logs tell: the last commit read, or the clock for files.
    pub as_of: Timestamp,
    /// The clock when the session was opened.
    pub opened_at: Timestamp,
    /// The settings that the facts were made under.
    pub settings: Settings,
    /// Sums that are kept in the store; none for files and for a cluster.
    pub(crate) rollups: Option<Rollups>,
    /// The store, where there is one.
    pub(crate) store: Option<Store>,
    /// Which rows of files are left out and why: nothing in a store, whose quarantine tells it.
    pub(crate) left_out: Vec<String>,
}

impl QuerySession {
    /// Opens a session whose queries run in this process. `now` is the clock.
    ///
    /// # Errors
    /// When a table or a file cannot be read.
    pub async fn open(source: &Source, settings: &Settings, now: Timestamp) -> Result<Self> {
        Self::open_on(source, settings, now, &Execution::default()).await
    }

    /// Opens a session whose queries run there. The facts are brought up to date in this process in any case.
    ///
    /// # Errors
    /// When a table or a file cannot be read, or the cluster is not there.
    pub async fn open_on(source: &Source, settings: &Settings, now: Timestamp, execution: &Execution) -> Result<Self> {
        match source {
            Source::Store(store, at) => Self::from_store(store, *at, settings, now, execution).await,
            Source::Files(files) if execution.is_here() => Self::from_files(files, settings, now).await,
            Source::Files(_) => {
                Err(EngineError::usage("a cluster reads a store: ingest the files first, or ask without the cluster"))
            }
        }
    }

    async fn from_store(
        store: &Store,
        at: Option<At>,
        settings: &Settings,
        now: Timestamp,
        execution: &Execution,
    ) -> Result<Self> {
        #[cfg(feature = "cluster")]
        let context = match &execution.cluster {
            // Whether anybody is there is known before any work is done.
            Some(cluster) => crate::cluster::context(cluster).await?,
            None => new_context()?,
        };
        #[cfg(not(feature = "cluster"))]
        let context = new_context()?;
        let mut session = Self {
            context,
            execution: execution.clone(),
            versions: Versions::new(),
            as_of: now,
            opened_at: now,
            settings: settings.clone(),
            rollups: None,
            store: None,
            left_out: Vec::new(),
        };
        let mut newest = None;
        let mut tables = BTreeMap::new();
        let facts = match at {
            None => {
                facts::refresh(store, settings).await?;
                store.table(MESSAGE_FACTS).await?
            }
            Some(At::Version(version)) => Some(facts_at(store, version).await?),
            Some(At::Time(moment)) => store.table_at_time(MESSAGE_FACTS, moment).await?,
        };
        for log in Log::ALL {
            // A log is read at the version that the facts were made from, so that an answer never mixes two states.
            let feeds = facts::FEEDING_LOGS.contains(&log);
            let table = match (&facts, at) {
                (Some(facts), _) if feeds => match facts::reflected_version(facts, log).await? {
                    Some(version) => Some(store.table_at_version(log.name(), version).await?),
                    None => None,
                },
                (_, None) => store.table(log.name()).await?,
                (_, Some(At::Time(moment))) => store.table_at_time(log.name(), moment).await?,
                // The other logs are read as they were when these facts were committed.
                (Some(facts), Some(At::Version(_))) => {
                    let moment = commit_time(facts).await.and_then(|time| Timestamp::from_millisecond(time).ok());
                    store.table_at_time(log.name(), moment.unwrap_or(now)).await?
                }
                (None, Some(At::Version(_))) => None,
            };
            if let Some(table) = &table {
                newest = newest.max(commit_time(table).await);
            }
            tables.extend(table.iter().map(|table| (log.name().to_owned(), table.clone())));
            session.register(log.name(), table, &log_schema(log)).await?;
        }
        let quarantine = match at {
            Some(At::Time(moment)) => store.table_at_time(QUARANTINE, moment).await,
            _ => store.table(QUARANTINE).await,
        };
        match quarantine {
            Ok(table) => session.register(QUARANTINE, table, &quarantine_schema()).await?,
            // No result is made of it.
            Err(error) => session.register_unreadable(QUARANTINE, quarantine_schema(), &error)?,
        }
        tables.extend(facts.iter().map(|table| (MESSAGE_FACTS.to_owned(), table.clone())));
        session.register(MESSAGE_FACTS, facts, &facts::minimal_schema()).await?;
        // What is asked of a cluster is asked there.
        session.store = Some(store.clone());
        session.rollups = execution.is_here().then(|| Rollups::new(store.clone(), tables, at));
        if let Some(milliseconds) = newest {
            session.as_of = Timestamp::from_millisecond(milliseconds).unwrap_or(now);
        }
        Ok(session)
    }

    async fn from_files(files: &[LogFiles], settings: &Settings, now: Timestamp) -> Result<Self> {
        let open = || -> Result<Self> {
            Ok(Self {
                context: new_context()?,
                execution: Execution::default(),
                versions: Versions::new(),
                as_of: now,
                opened_at: now,
                settings: settings.clone(),
                rollups: None,
                store: None,
                left_out: Vec::new(),
            })
        };
        let (logs, mut session) = (open()?, open()?);
        for log in Log::ALL {
            let table: Arc<dyn TableProvider> = match files.iter().find(|files| files.log() == log) {
                Some(files) => {
                    let opened = files.table().await?;
                    session.left_out.extend(opened.left_out);
                    opened.table
                }
                None => Arc::new(MemTable::try_new(log_schema(log), vec![vec![]])?),
            };
            logs.context.register_table(log.name(), Arc::clone(&table))?;
            session.context.register_table(log.name(), table)?;
        }
        session.register_empty(QUARANTINE, &quarantine_schema())?;
        let view = facts::view(&logs, &session).await?;
        session.context.register_table(MESSAGE_FACTS, view.into_view())?;
        Ok(session)
    }

    /// A session with no tables but those that are registered in it.
    pub(crate) fn alone(context: SessionContext) -> Self {
        Self {
            context,
            execution: Execution::default(),
            versions: Versions::new(),
            as_of: Timestamp::UNIX_EPOCH,
            opened_at: Timestamp::UNIX_EPOCH,
            settings: Settings::default(),
            rollups: None,
            store: None,
            left_out: Vec::new(),
        }
    }

    /// The same session, some of its tables with those rows alone that fulfil a condition; what is kept in the store is of all
    /// rows, and not looked at.
    ///
    /// # Errors
    /// When a table cannot be read, or has not the columns of the condition.
    pub(crate) async fn narrowed(&self, tables: &[&str], condition: &str) -> Result<Self> {
        let context = context_on(self.context.runtime_env());
        let names = self.context.state().config_options().catalog.clone();
        let catalog = self.context.catalog(&names.default_catalog);
        let Some(known) = catalog.and_then(|catalog| catalog.schema(&names.default_schema)) else {
            return Ok(Self { context, rollups: None, ..self.clone() });
        };
        for name in known.table_names() {
            // One that is there for a while may be gone again.
            let Some(table) = known.table(&name).await? else { continue };
            let table = if tables.contains(&name.as_str()) {
                let rows = context.read_table(table)?;
                let condition = context.parse_sql_expr(condition, rows.schema())?;
                rows.filter(condition)?.into_view()
            } else {
                table
            };
            context.register_table(name.as_str(), table)?;
        }
        Ok(Self { context, rollups: None, ..self.clone() })
    }

    /// Registers the message ids that the sends log holds more than once.
    pub(crate) fn register_corrections(&self, ids: Vec<String>) -> Result<()> {
        let ids = arrow::array::StringArray::from(ids);
        let batch = RecordBatch::try_from_iter([("message_id", Arc::new(ids) as arrow::array::ArrayRef)])?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        self.context.deregister_table(CORRECTIONS)?;
        self.context.register_table(CORRECTIONS, Arc::new(table))?;
        Ok(())
    }

    /// Opens the logs of a store alone, at given versions, for the making of facts.
    pub(crate) async fn logs_alone(tables: &[(Log, Option<DeltaTable>)], settings: &Settings) -> Result<Self> {
        let context = new_context()?;
        let mut session = Self { settings: settings.clone(), ..Self::alone(context) };
        for (log, table) in tables {
            session.register(log.name(), table.clone(), &log_schema(*log)).await?;
        }
        Ok(session)
    }

    /// Registers a Delta table, or an empty one with the given columns if there is none.
    pub(crate) async fn register(&mut self, name: &str, table: Option<DeltaTable>, schema: &SchemaRef) -> Result<()> {
        match table {
            Some(table) => {
                if let Some(version) = table.version()
                    && name != CORRECTIONS
                {
                    self.versions.insert(name.to_owned(), version);
                }
                if let Some(table) = self.execution.table_of_workers(&table)? {
                    self.context.register_table(name, table)?;
                    return Ok(());
                }
                table.update_datafusion_session(&self.context.state())?;
                let provider = table.table_provider().await?;
                self.context.register_table(name, provider)?;
            }
            None => self.register_empty(name, schema)?,
        }
        Ok(())
    }

    fn register_empty(&self, name: &str, schema: &SchemaRef) -> Result<()> {
        let empty = MemTable::try_new(Arc::clone(schema), vec![vec![]])?;
        self.context.register_table(name, Arc::new(empty))?;
        Ok(())
    }

    /// What was kept in the store under a name, if it was made from what this session reads.
    pub(crate) async fn kept_for<T: Serialize + DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.rollups.as_ref()?.exactly(self, name).await
    }

    /// Keeps in the store something that was counted.
    pub(crate) async fn keep<T: Serialize + DeserializeOwned + Clone>(&self, name: &str, content: &T) {
        if let Some(rollups) = &self.rollups {
            rollups.keep(self, name, content).await;
        }
    }

    /// The `DataFusion` session itself.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Plans a query.
    ///
    /// # Errors
    /// When the SQL does not parse or names what is not there.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        tracing::debug!(sql, "query");
        Ok(self.context.sql(sql).await?)
    }

    /// Runs a query and collects its rows.
    ///
    /// # Errors
    /// As [`QuerySession::sql`], and when running fails.
    pub async fn collect(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let started = std::time::Instant::now();
        let batches = self.sql(sql).await?.collect().await.map_err(told_plainly)?;
        tracing::debug!(milliseconds = started.elapsed().as_millis(), "collected");
        Ok(batches)
    }

    /// Whether a query has any row.
    ///
    /// # Errors
    /// When it cannot be read or run.
    pub(crate) async fn has_rows(&self, sql: &str) -> Result<bool> {
        Ok(self.collect(sql).await?.iter().any(|batch| batch.num_rows() > 0))
    }

    /// The moment of the last event that the logs tell of. It is never after the last commit, for a clock that is ahead tells
    /// nothing.
    pub(crate) async fn end_of_logs(&self) -> Result<Timestamp> {
        let query = "SELECT max(moment) FROM (SELECT max(arrow_cast(sent_at, 'Int64')) AS moment FROM message_facts \
                     UNION ALL SELECT max(arrow_cast(first_click_at, 'Int64')) FROM message_facts \
                     UNION ALL SELECT max(arrow_cast(occurred_at, 'Int64')) FROM conversions)";
        let found = self.collect(query).await?;
        let last = found.iter().find(|batch| batch.num_rows() > 0).and_then(|batch| {
            let moments = batch.column(0).as_primitive::<Int64Type>();
            moments.is_valid(0).then(|| moments.value(0))
        });
        let last = last.and_then(|last| Timestamp::from_microsecond(last).ok());
        Ok(last.map_or(self.as_of, |last| last.min(self.as_of)))
    }

    /// The columns of a registered table.
    ///
    /// # Errors
    /// When there is no such table.
    pub async fn schema(&self, table: &str) -> Result<SchemaRef> {
        Ok(self.context.table_provider(table).await?.schema())
    }
}

/// The facts as of one of their versions.
async fn facts_at(store: &Store, version: u64) -> Result<DeltaTable> {
    match store.table_at_version(MESSAGE_FACTS, version).await {
        Ok(table) => Ok(table),
        Err(error) => {
            let latest = store.table(MESSAGE_FACTS).await?.and_then(|table| table.version());
            Err(EngineError::usage(match latest {
                Some(latest) if version > latest => format!(
                    "there is no version {version} of message_facts; there are 0 to {latest} (a report's JSON names those it read)"
                ),
                Some(latest) => {
                    format!("version {version} of message_facts cannot be read ({error}); the latest is {latest}")
                }
                None => "the store has no facts yet: ingest sends first".to_owned(),
            }))
        }
    }
}

/// An error of ours that came through a plan is told as what it is.
fn told_plainly(error: DataFusionError) -> EngineError {
    match error {
        DataFusionError::External(cause) => match cause.downcast::<EngineError>() {
            Ok(ours) => *ours,
            Err(other) => DataFusionError::External(other).into(),
        },
        other => other.into(),
    }
}

/// A session with our functions, spilling to disk where it would take too much memory.
///
/// # Errors
/// When the memory of queries cannot be set aside.
pub(crate) fn new_context() -> Result<SessionContext> {
    Ok(context_on(query_runtime()?))
}

fn context_on(runtime: Arc<RuntimeEnv>) -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_config(session_config())
        .with_runtime_env(runtime)
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    for name in WITHOUT_BOUND {
        context.deregister_udf(name);
    }
    functions::register_all(&context);
    context
}

/// How queries of this process are run.
pub(crate) fn query_runtime() -> Result<Arc<RuntimeEnv>> {
    let pool = Arc::new(GreedyMemoryPool::new(QUERY_MEMORY));
    Ok(RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?)
}

/// How queries are planned.
pub(crate) fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(true).with_batch_size(BATCH_ROWS);
    config.options_mut().execution.parquet.pushdown_filters = true;
    config.options_mut().execution.parquet.reorder_filters = true;
    // A view of a text keeps every buffer alive that it ever came from: after a join each batch drags thousands along, and
    // accounting for them costs more than copying the texts.
    config.options_mut().execution.parquet.schema_force_view_types = false;
    config
}

/// Whether a schema has a column of that name.
#[must_use]
pub fn has_column(schema: &SchemaRef, name: &str) -> bool {
    schema.column_with_name(name).is_some()
}

/// A column's name as SQL wants it.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL wants it.
#[must_use]
pub fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
