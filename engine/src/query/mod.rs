//! Queries: `DataFusion` over the store's tables, or straight over log files.
//!
//! **Architecture invariant:** everything that touches the logs is SQL or a `DataFusion` plan over the tables that this module
//! registers: one table a log, `message_facts`, and `quarantine`. Whether they come from the store or from files makes no
//! difference to a query.

mod files;
pub mod functions;
mod parquet_logs;
mod parquet_proof;
mod read_only;
mod recipient_ranges;
mod session;
mod stream;
mod units;
mod unreadable;

pub use files::LogFiles;
pub(crate) use functions::register_all as register_functions;
pub(crate) use parquet_logs::threads;
pub use read_only::run_read_only;
pub(crate) use recipient_ranges::{RecipientRange, RecipientSample};
#[cfg(not(feature = "cluster"))]
pub use session::NO_CLUSTERS;
pub(crate) use session::new_context;
pub use session::{Execution, QuerySession, Source, has_column, quoted, text_literal};
#[cfg(feature = "cluster")]
pub(crate) use session::{query_runtime, session_config};
pub(crate) use units::{is_cheap_to_read, is_text, unit_table};
