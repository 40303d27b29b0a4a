//! `sendlift demo`: the main job from end to end on a generated campaign, and what to do next.

use std::path::Path;

use sendlift_engine::chart::{ChartSize, pictures};
use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, ExperimentAnalysis, analyze_store};
use sendlift_engine::generate::GenerateOptions;
use sendlift_engine::ingest::input::resolve;
use sendlift_engine::ingest::load::{IngestOptions, LogInput};
use sendlift_engine::query::QuerySession;
use sendlift_engine::report::{Report, ReportRequest, report};
use sendlift_engine::{EngineError, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Context;
use super::arguments::DemoArguments;
use super::output::{Format, grouped, print_json, say, write_line};

/// What the demo made and found, as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    logs: String,
    truth: String,
    store: String,
    accepted: u64,
    rejected: u64,
    report: &'a Report,
    analysis: &'a ExperimentAnalysis,
    charts: Map<String, Value>,
}

pub(super) async fn run(context: &Context, arguments: &DemoArguments) -> anyhow::Result<()> {
    let format = context.output()?;
    if format == Format::Csv {
        return Err(EngineError::usage("--format csv says nothing about the demo: use table or json").into());
    }
    // With JSON, standard output has the one object alone.
    let tell = |line: std::fmt::Arguments<'_>| {
        if format == Format::Table {
            write_line(line);
        }
    };
    let out = &arguments.out;
    let (logs, store, charts) = (out.join("logs"), out.join("store"), out.join("charts"));
    std::fs::create_dir_all(&charts).map_err(EngineError::io("create", &charts))?;

    let messages = grouped(arguments.messages);
    tell(format_args!("1. Generating {messages} messages of a simulated flash sale into {}", logs.display()));
    let options = GenerateOptions { messages: arguments.messages, ..GenerateOptions::default() };
    let truth = logs.join("truth.json");
    let before = std::fs::read(&truth).ok();
    let summary = super::generate::with_progress(&logs, &options)?;
    // The folder is the demo's own: a store of other logs would mix two simulations.
    if before.is_some() && before != std::fs::read(&truth).ok() && store.exists() {
        std::fs::remove_dir_all(&store).map_err(EngineError::io("remove", &store))?;
    }

    tell(format_args!("2. Ingesting the logs into {}", store.display()));
    let demo = Context {
        store: store.display().to_string(),
        store_is_named: true,
        format: context.format.clone(),
        config: context.config.clone(),
        now: context.now,
    };
    let (outcomes, _) = super::ingest::take_in(&demo, &inputs(&logs)?, &IngestOptions::new(context.now)).await?;
    let (accepted, rejected) =
        outcomes.iter().fold((0, 0), |(accepted, rejected), log| (accepted + log.accepted, rejected + log.rejected));
    if outcomes.iter().all(|log| !log.already_ingested.is_empty()) {
        tell(format_args!("   these logs were taken in before; nothing changes"));
    } else {
        tell(format_args!("   {} rows accepted, {} rejected", grouped(accepted), grouped(rejected)));
    }

    tell(format_args!("3. Campaign results"));
    let session = demo.session(None).await?;
    let by_campaign = report(&session, &ReportRequest::default()).await?;
    if format == Format::Table {
        super::report::print(&by_campaign, format)?;
    }

    tell(format_args!("\n4. The experiment: does the new text (B) beat the old one (A)?"));
    let options = AnalysisOptions { segments: vec!["age_band".to_owned()], ..AnalysisOptions::default() };
    let analysis = analyze_store(&session, &summary.truth.experiment_id, &options).await?;
    if format == Format::Table {
        super::experiment::print(&analysis, format)?;
    }

    let drawn = draw(&session, &by_campaign, &analysis, &charts).await?;
    if format == Format::Json {
        return print_json(&Outcome {
            logs: logs.display().to_string(),
            truth: truth.display().to_string(),
            store: demo.store,
            accepted,
            rejected,
            report: &by_campaign,
            analysis: &analysis,
            charts: drawn,
        });
    }
    say!("\n5. Charts");
    for files in drawn.values() {
        say!("   {}", files["svg"].as_str().unwrap_or_default());
    }
    say!("\nThe simulation's true effects are in {}.", truth.display());
    say!("Next:");
    say!(
        "  your own data   sendlift ingest sends=sends.csv deliveries=receipts.csv clicks=clicks.csv conversions=orders.csv"
    );
    say!("  the HTTP API    sendlift --store {} serve     (then open http://127.0.0.1:8080/docs)", store.display());
    say!("  the notebook    notebooks/01_campaign_results.ipynb, with the API running");
    Ok(())
}

/// Draws the charts, each as SVG and as PNG: the files of each by its kind.
async fn draw(
    session: &QuerySession,
    by_campaign: &Report,
    analysis: &ExperimentAnalysis,
    folder: &Path,
) -> Result<Map<String, Value>> {
    let by_hour =
        report(session, &ReportRequest { by: vec!["local_hour".to_owned()], ..ReportRequest::default() }).await?;
    let pictures = [
        ("funnel", pictures::funnel(by_campaign)),
        ("lift", pictures::lift(analysis, None)?),
        ("segments", pictures::segments(analysis, Some("click"))?),
        ("hours", pictures::hours(&by_hour)),
    ];
    let mut drawn = Map::new();
    for (name, chart) in &pictures {
        let mut files = Map::new();
        for extension in ["svg", "png"] {
            let path = folder.join(format!("{name}.{extension}"));
            super::chart::write(chart, &path, ChartSize::default())?;
            files.insert(extension.to_owned(), Value::from(path.display().to_string()));
        }
        drawn.insert((*name).to_owned(), Value::Object(files));
    }
    Ok(drawn)
}

fn inputs(logs: &Path) -> Result<Vec<LogInput>> {
    let mut inputs = Vec::new();
    for log in Log::ALL {
        let path = logs.join(format!("{log}.csv"));
        if path.exists() {
            inputs.push(LogInput { log, inputs: resolve(&path.display().to_string())?, idempotency_key: None });
        }
    }
    Ok(inputs)
}
