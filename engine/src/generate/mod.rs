//! Sample logs with known truth: options in; nine logs and `truth.json` out.
//!
//! A seeded simulator of message campaigns. Recipients live in several time zones and differ in age, gender,
//! interests and spending; carriers fail, repeat themselves and come late; machines open links; people click, buy,
//! answer and opt out. Variant B has a true effect that varies by segment and by hour, and `truth.json` states it,
//! so that a test can hold the analysis against it, and a newcomer can see every report without data of their own.
//!
//! The same options always give the same rows. Memory does not grow with the number of messages: recipients are a
//! pure function of the seed and their number (`population`), and rows go to disk a batch at a time (`simulation`).

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "draws become whole milliseconds, cents and indices, all far inside what either type holds"
)]

mod behaviour;
mod calendar;
mod columns;
mod error;
mod logs;
mod options;
mod places;
mod population;
mod random;
mod receipts;
mod responses;
mod simulation;
mod tally;
#[cfg(test)]
mod tests;
mod texts;
mod truth;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

pub use error::GenerateError;
pub use options::{GenerateOptions, Language, OutputFormat, Scenario, UnknownChoice};
pub use truth::{
    CampaignTruth, Counts, Effect, ExperimentTruth, GroupTruth, HourTruth, Incremental, Realised, Segments, Truth,
};

use crate::table_file::PendingFile;
use logs::Logs;
use simulation::Run;
use world::World;

/// The name of the file that states the truth.
const TRUTH_FILE: &str = "truth.json";

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateSummary {
    /// The files: one a log, then `truth.json`.
    pub files: Vec<PathBuf>,
    /// Rows by log.
    pub rows: BTreeMap<String, u64>,
    /// What `truth.json` says.
    pub truth: Truth,
}

/// Writes sample logs and `truth.json` into the folder `out`, creating it if need be.
///
/// The files are `LOG.EXTENSION` for each of recipients, assignments, sends, deliveries, clicks, conversions,
/// replies, `opt_outs` and consents. They appear, in place of older ones of the same names, when all of them are
/// whole; files of an earlier run in another format stay. `progress` is told after each batch how many messages have
/// been written so far, at first 0 while recipients are.
///
/// # Errors
/// The file system, the disk's room, or a time-zone database without the recipients' zones.
pub fn generate(
    out: &Path,
    options: &GenerateOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<GenerateSummary, GenerateError> {
    let world = World::new(options)?;
    fs::create_dir_all(out).map_err(|source| GenerateError::File {
        action: "create the folder",
        path: out.to_path_buf(),
        source,
    })?;
    let logs = Logs::create(out, options.format)?;
    let (finished, tally) = Run::new(&world, logs).write_all(progress)?;
    let rows = finished.rows.clone();
    let truth = tally.truth(&world, &rows);
    let truth_file = write_truth(out, &truth)?;
    let mut files = finished.keep()?;
    files.push(truth_file.keep()?);
    Ok(GenerateSummary { files, rows, truth })
}

/// Writes the truth under its temporary name.
fn write_truth(out: &Path, truth: &Truth) -> Result<PendingFile, GenerateError> {
    let (pending, file) = PendingFile::create(out, TRUTH_FILE)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut writer, truth)
        .map_err(|source| GenerateError::Truth { path: pending.target().to_path_buf(), source })?;
    writer.write_all(b"\n").and_then(|()| writer.flush()).map_err(|source| GenerateError::File {
        action: "write",
        path: pending.target().to_path_buf(),
        source,
    })?;
    Ok(pending)
}
