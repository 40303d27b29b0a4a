//! sendlift's engine: logs of message campaigns in, decisions out.
//!
//! ```text
//! raw logs ─► ingest ─► store (Delta) ─► facts ─► report, experiment ─► chart
//! ```
//!
//! - [`event`]: the vocabulary of the logs; [`ingest`]: files to validated rows; [`store`]: Delta tables;
//! - [`query`]: `DataFusion` sessions over the store or over files; [`facts`]: one row a message;
//! - `cluster` (a feature): queries on several machines;
//! - [`report`] and [`experiment`]: answers, on the statistics of `sendlift-stats`; [`chart`]: their pictures;
//! - [`permission`]: who may be sent to; [`progress`]: how far a long work has come;
//! - [`score`]: audiences: features, models, scores; [`windows`]: when to send;
//! - [`jobs`]: files of these that are made in the background, as the store keeps them;
//! - [`segment`]: conditions on the contacts, kept under names that answers can be grouped by;
//! - [`generate`]: sample logs with known true effects.
//!
//! **Architecture invariant:** the engine knows no HTTP, no command line and no terminal. The clock and the seeds come in
//! from outside.

pub mod bridge;
pub mod chart;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod error;
pub mod event;
pub mod experiment;
pub mod facts;
pub mod generate;
pub mod ingest;
pub mod jobs;
pub mod permission;
pub mod progress;
pub mod query;
pub mod report;
pub mod score;
pub mod segment;
pub mod settings;
pub mod store;
mod table_file;
pub mod windows;

pub use error::{EngineError, Result};
pub use sendlift_stats as stats;
