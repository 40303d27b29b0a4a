//! Runs a user's SQL so that it can read and nothing else: no tables are made, dropped or written, no settings changed, no
//! files read but the registered tables.

use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;

use super::QuerySession;
use crate::error::{EngineError, Result};

/// Plans and starts one read-only statement.
///
/// # Errors
/// When the statement is not a query, does not parse, or names what is not there.
pub async fn run_read_only(session: &QuerySession, sql: &str) -> Result<SendableRecordBatchStream> {
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = session
        .context()
        .sql_with_options(sql, options)
        .await
        .map_err(|error| refusal(session, &error.strip_backtrace()))?;
    Ok(frame.execute_stream().await?)
}

/// The planner's own words; of a table that is not there, which there are.
fn refusal(session: &QuerySession, message: &str) -> EngineError {
    let missing = message.split_once("table '").and_then(|(_, rest)| rest.split_once("' not found"));
    let Some((name, _)) = missing else { return EngineError::usage(format!("sql: {message}")) };
    let name = name.strip_prefix("datafusion.public.").unwrap_or(name);
    let public = session.context().catalog("datafusion").and_then(|catalog| catalog.schema("public"));
    let mut tables = public.map(|schema| schema.table_names()).unwrap_or_default();
    // The units of an analysis are its own.
    tables.retain(|table| !table.starts_with("units_"));
    tables.sort_unstable();
    EngineError::usage(format!("there is no table \"{name}\"; there are {}", tables.join(", ")))
}
