//! What can stop the generator.

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;
use parquet::errors::ParquetError;

/// Why logs could not be generated. No log appears under its own name then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The file system refused something.
    #[error("cannot {action} {}: {source}; check that the folder can be written and has room", .path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own error.
        #[source]
        source: io::Error,
    },
    /// Rows could not be put together or written as CSV or NDJSON.
    #[error("cannot write rows to {}: {source}; check that the disk has room", .path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// Arrow's error.
        #[source]
        source: ArrowError,
    },
    /// Rows could not be written as Parquet.
    #[error("cannot write Parquet to {}: {source}; check that the disk has room", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Parquet's error.
        #[source]
        source: ParquetError,
    },
    /// The truth could not be written as JSON.
    #[error("cannot write {} as JSON: {source}", .path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// The serialiser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The bundled time-zone database lacks a zone that the recipients live in.
    #[error("the time-zone database is incomplete: {0}; build with jiff's bundled database")]
    TimeZone(#[from] jiff::Error),
}
