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
        .map_err(|error| EngineError::usage(format!("sql: {}", error.strip_backtrace())))?;
    Ok(frame.execute_stream().await?)
}
