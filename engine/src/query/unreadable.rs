//! A table of the store that cannot be read, among those that can: whoever asks for its rows is told why.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::session::QuerySession;
use crate::error::{EngineError, Result};
use crate::event::Log;
use crate::settings::Settings;
use crate::store::{MESSAGE_FACTS, QUARANTINE, Store, log_schema, quarantine_schema};

#[derive(Debug)]
struct Unreadable {
    name: String,
    why: String,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for Unreadable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let (name, why) = (&self.name, &self.why);
        Err(DataFusionError::External(Box::new(EngineError::refused(format!(
            "the table {name} cannot be read: {why}"
        )))))
    }
}

impl QuerySession {
    /// Opens a session on a store of which something is broken, or that cannot be written: each table that can be read is
    /// there as it is now, and `message_facts`, which could not be brought up to date for the reason given, is not.
    ///
    /// # Errors
    /// When no table can be read at all.
    pub async fn open_what_can_be_read(store: &Store, settings: &Settings, reason: &EngineError) -> Result<Self> {
        let mut session = Self::logs_alone(&[], settings).await?;
        let mut readable = 0;
        let logs = Log::ALL.into_iter().map(|log| (log.name(), log_schema(log)));
        for (name, schema) in logs.chain([(QUARANTINE, quarantine_schema())]) {
            match store.table(name).await {
                Ok(table) => {
                    readable += usize::from(table.is_some());
                    session.register(name, table, &schema).await?;
                }
                Err(error) => session.register_unreadable(name, schema, &error)?,
            }
        }
        if readable == 0 {
            return Err(EngineError::refused(reason.to_string()));
        }
        session.register_unreadable(MESSAGE_FACTS, crate::facts::minimal_schema(), reason)?;
        Ok(session)
    }

    pub(super) fn register_unreadable(&self, name: &str, schema: SchemaRef, reason: &EngineError) -> Result<()> {
        let table = Unreadable { name: name.to_owned(), why: reason.to_string(), schema };
        self.context().register_table(name, Arc::new(table))?;
        Ok(())
    }
}
