//! `sendlift ingest`: files to the store, with progress on a terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use sendlift_engine::event::Log;
use sendlift_engine::facts::{Refreshed, refresh};
use sendlift_engine::ingest::input::{Input, resolve};
use sendlift_engine::ingest::load::{IngestOptions, IngestProgress, LogInput, LogOutcome, ingest};
use sendlift_engine::ingest::mapping::Mapping;
use sendlift_engine::ingest::times::zone;
use sendlift_engine::ingest::validate::ValidatorOptions;
use sendlift_engine::report::prepare_reports;
use sendlift_engine::{EngineError, Result};
use serde::Serialize;

use super::Context;
use super::arguments::{IngestArguments, ReadingArguments};
use super::output::{Cell, Format, Rows, grouped, percent, print_json, progress_style, say};

/// What an ingest did, as JSON.
#[derive(Serialize)]
struct Outcome {
    logs: Vec<LogOutcome>,
    facts_version: Option<u64>,
    days_redone: usize,
}

pub(super) async fn run(context: &Context, arguments: &IngestArguments) -> anyhow::Result<()> {
    let started = Instant::now();
    if !(0.0..=1.0).contains(&arguments.max_rejected) {
        return Err(EngineError::usage(format!(
            "--max-rejected {} is not a share from 0 to 1",
            arguments.max_rejected
        ))
        .into());
    }
    let options = IngestOptions {
        validator: validator_options(context, &arguments.reading)?,
        max_rejected: arguments.max_rejected,
        now: context.now,
    };
    let inputs = log_inputs(&arguments.logs)?;
    let (logs, refreshed) = take_in(context, &inputs, &options).await?;
    if context.output()? == Format::Json {
        return print_json(&Outcome { logs, facts_version: refreshed.version, days_redone: refreshed.days });
    }
    print_outcome(&logs, context.output()?)?;
    if context.output()? == Format::Table {
        let days = if refreshed.days == 1 { "day" } else { "days" };
        say!("facts: {} {days} brought up to date; {:.1} s in all", refreshed.days, started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Takes logs in and brings the facts up to date, with progress on a terminal.
pub(super) async fn take_in(
    context: &Context,
    inputs: &[LogInput],
    options: &IngestOptions,
) -> Result<(Vec<LogOutcome>, Refreshed)> {
    let store = context.store()?;
    let bar = progress_bar();
    let show = |progress: IngestProgress| {
        bar.set_position(progress.rows);
        bar.set_message(format!("{} · {} rejected", progress.log, share(progress)));
    };
    let outcomes = ingest(&store, inputs, options, &show).await;
    bar.set_message("bringing the facts up to date");
    let outcomes = outcomes.inspect_err(|_| bar.finish_and_clear())?;
    let prepared = async {
        let refreshed = refresh(&store, context.settings()).await?;
        bar.set_message("adding up the usual reports");
        prepare_reports(&context.session(None).await?).await?;
        Ok::<Refreshed, EngineError>(refreshed)
    };
    let refreshed = prepared.await;
    bar.finish_and_clear();
    Ok((outcomes, refreshed?))
}

#[allow(clippy::cast_precision_loss)] // Row counts are far below 2^53.
fn share(progress: IngestProgress) -> String {
    if progress.rows == 0 { percent(0.0) } else { percent(progress.rejected as f64 / progress.rows as f64) }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Some(style) = progress_style("{spinner} {human_pos} rows · {rate} · {msg} · {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message("looking whether the files are new");
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn print_outcome(logs: &[LogOutcome], format: Format) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["log", "accepted", "rejected", "left out", "version"], 1);
    for log in logs {
        rows.push(vec![
            Cell::from(log.log.name()),
            Cell::count(log.accepted),
            Cell::count(log.rejected),
            Cell::count(log.left_out),
            Cell::from(log.version.map(|version| version.to_string())),
        ]);
    }
    rows.print(format)?;
    for log in logs {
        for name in &log.already_ingested {
            eprintln!("{}: {name} was taken in before and changes nothing", log.log);
        }
        for (reason, count) in &log.reasons {
            eprintln!("{}: {} rejected: {reason}", log.log, grouped(*count));
        }
        if log.duplicates > 0 && log.accepted == 0 && log.already_ingested.is_empty() {
            eprintln!("{}: another ingest was taking the same rows in; these change nothing", log.log);
        } else if log.accepted + log.rejected + log.left_out == 0 && log.already_ingested.is_empty() {
            eprintln!("{}: the input has no rows", log.log);
        }
    }
    if logs.iter().any(|log| log.rejected > 0) {
        eprintln!("`sendlift quarantine` shows the rejected rows");
    }
    Ok(())
}

/// Reads `LOG=PATH` arguments; several paths of one log are one batch.
pub(super) fn log_inputs(arguments: &[String]) -> Result<Vec<LogInput>> {
    let mut inputs: Vec<LogInput> = Vec::new();
    for argument in arguments {
        let Some((log, path)) = argument.split_once('=') else {
            return Err(EngineError::usage(format!("\"{argument}\": write LOG=PATH, as in sends=sends.csv")));
        };
        let log: Log = log.trim().parse()?;
        let found: Vec<Input> = resolve(path)?;
        match inputs.iter_mut().find(|input| input.log == log) {
            Some(known) => known.inputs.extend(found),
            None => inputs.push(LogInput { log, inputs: found, idempotency_key: None }),
        }
    }
    inputs.sort_by_key(|input| input.log);
    Ok(inputs)
}

/// How files are read, from the arguments and the configuration.
pub(super) fn validator_options(context: &Context, reading: &ReadingArguments) -> Result<ValidatorOptions> {
    let preset = reading.preset.as_deref().map(Mapping::preset).transpose()?;
    let own = reading.map.as_deref().map(Mapping::from_file).transpose()?;
    let mapping = match (preset, own) {
        (Some(preset), Some(own)) => preset.overlaid_by(own),
        (Some(mapping), None) | (None, Some(mapping)) => mapping,
        (None, None) => Mapping::default(),
    };
    Ok(ValidatorOptions {
        mapping,
        time_zone: reading.time_zone.as_deref().map(zone).transpose()?,
        hasher: context.hasher(reading.hash_key_file.as_deref(), reading.default_country.as_deref())?,
    })
}

/// Prints the formats that are built in.
pub(super) fn list_presets(context: &Context) -> anyhow::Result<()> {
    let presets = Mapping::presets()?;
    let format = context.output()?;
    if format == Format::Json {
        let object = |(name, reads): &(&str, String)| serde_json::json!({ "preset": name, "reads": reads });
        return print_json(&presets.iter().map(object).collect::<Vec<_>>());
    }
    let mut rows = Rows::new(&["preset", "reads"], 2);
    for (name, description) in presets {
        rows.push(vec![Cell::from(name), Cell::from(description)]);
    }
    rows.print(format)
}
