//! `sendlift generate`: logs of simulated campaigns.

use std::io::IsTerminal as _;

use indicatif::ProgressBar;
use sendlift_engine::generate::{GenerateOptions, GenerateSummary, generate};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::GenerateArguments;
use super::output::{Cell, Format, Rows, print_json, progress_style, say};

pub(super) fn run(context: &Context, arguments: &GenerateArguments) -> anyhow::Result<()> {
    let usage = |error: &dyn std::fmt::Display| EngineError::usage(error.to_string());
    let options = GenerateOptions {
        messages: arguments.messages,
        seed: arguments.seed,
        scenario: arguments.scenario.parse().map_err(|error| usage(&error))?,
        format: context.format.as_deref().unwrap_or("csv").parse().map_err(|error| usage(&error))?,
        language: arguments.language.parse().map_err(|error| usage(&error))?,
    };
    let summary = with_progress(&arguments.out, &options)?;
    if context.format.as_deref() == Some("json") {
        return print_json(&summary.rows);
    }
    let mut rows = Rows::new(&["log", "rows"], 1);
    for (log, count) in &summary.rows {
        rows.push(vec![Cell::from(log.as_str()), Cell::count(*count)]);
    }
    rows.print(Format::Table)?;
    say!("written to {}; truth.json states the true effects", arguments.out.display());
    Ok(())
}

/// Generates logs, with progress on a terminal.
pub(super) fn with_progress(out: &std::path::Path, options: &GenerateOptions) -> Result<GenerateSummary> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(options.messages) } else { ProgressBar::hidden() };
    if let Some(style) = progress_style("{bar:30} {human_pos} of {human_len} messages · {rate} · {eta} left") {
        bar.set_style(style);
    }
    let summary = generate(out, options, &mut |messages| bar.set_position(messages));
    bar.finish_and_clear();
    Ok(summary?)
}
