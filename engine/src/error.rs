//! The one error type of the engine: what went wrong, where, and what to do about it.
//!
//! A bad *row* is never an error (it goes to the quarantine); these are the failures that stop a command.

use std::path::PathBuf;

/// Everything that can stop the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The caller asked for something that cannot be: an unknown column, log, option or experiment.
    #[error("{0}")]
    Usage(String),
    /// What the caller asked for is not there: a campaign, an experiment.
    #[error("{0}")]
    NotFound(String),
    /// The data were refused as a whole: too many rejected rows, or a failed check.
    #[error("{0}")]
    Refused(String),
    /// A file cannot be read at all.
    #[error("cannot read {}: {reason}", path.display())]
    UnreadableFile {
        /// The file as the caller named it.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb ("read", "create").
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: std::io::Error,
    },
    /// The store (a Delta table) failed.
    #[error("store: {0}")]
    Store(#[from] deltalake::DeltaTableError),
    /// A query failed to plan or run.
    #[error("query: {0}")]
    Query(#[from] datafusion::error::DataFusionError),
    /// Arrow refused an array or a batch.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet could not be written or read.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Polars refused an expression or a frame.
    #[error("polars: {0}")]
    Polars(#[from] polars::error::PolarsError),
    /// Numbers that the statistics refuse.
    #[error("statistics: {0}")]
    Statistics(#[from] sendlift_stats::StatsError),
    /// A chart could not be drawn.
    #[error("chart: {0}")]
    Chart(#[from] crate::chart::ChartError),
    /// The generator of sample logs failed.
    #[error("generate: {0}")]
    Generate(#[from] crate::generate::GenerateError),
    /// A table could not be written to a file.
    #[error(transparent)]
    TableFile(#[from] crate::table_file::TableFileError),
    /// JSON could not be read or written.
    #[error("json: {0}")]
    Json(#[from] serde_json::Error),
    /// A background task was cancelled or panicked.
    #[error("a background task stopped: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl EngineError {
    /// A usage error from anything that prints.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A refusal of the data from anything that prints.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// Wraps an I/O error with what was tried on which path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Shorthand for a result of the engine.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
