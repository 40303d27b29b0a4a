//! What can stop the generator.

use std::io;
use std::path::PathBuf;

use crate::table_file::TableFileError;

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
    /// A log could not be written.
    #[error(transparent)]
    Table(#[from] TableFileError),
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
