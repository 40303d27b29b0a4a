//! Runs a user's SQL so that it can read and nothing else: no tables are made, dropped or written, no settings changed, no
//! files read but the registered tables.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

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
    let context = Arc::new(frame.task_ctx());
    let plan = with_pauses(frame.create_physical_plan().await?)?;
    Ok(execute_stream(plan, context)?)
}

/// The plan with a pause, at which a query can be stopped, after what makes many rows of few: a table joined with itself
/// gives batches for hours out of two that it read, and `DataFusion` pauses where batches are read.
fn with_pauses(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let paused = plan.transform_up(|plan| {
        let multiplies = plan.children().len() > 1 || plan.as_ref().is::<UnnestExec>();
        Ok(if multiplies { Transformed::yes(Arc::new(CooperativeExec::new(plan))) } else { Transformed::no(plan) })
    });
    Ok(paused.map(|paused| paused.data)?)
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
