//! `sendlift demo`: the main job from end to end on a generated campaign, and what to do next.

use std::path::Path;

use sendlift_engine::chart::{ChartSize, pictures};
use sendlift_engine::event::Log;
use sendlift_engine::experiment::{AnalysisOptions, analyze_store};
use sendlift_engine::generate::GenerateOptions;
use sendlift_engine::ingest::input::resolve;
use sendlift_engine::ingest::load::{IngestOptions, LogInput};
use sendlift_engine::report::{ReportRequest, report};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::DemoArguments;
use super::output::{Format, grouped, say};

pub(super) async fn run(context: &Context, arguments: &DemoArguments) -> anyhow::Result<()> {
    let out = &arguments.out;
    let (logs, store, charts) = (out.join("logs"), out.join("store"), out.join("charts"));
    std::fs::create_dir_all(&charts).map_err(EngineError::io("create", &charts))?;

    say!("1. Generating {} messages of a simulated flash sale into {}", grouped(arguments.messages), logs.display());
    let options = GenerateOptions { messages: arguments.messages, ..GenerateOptions::default() };
    let before = std::fs::read(logs.join("truth.json")).ok();
    let summary = super::generate::with_progress(&logs, &options)?;
    // The folder is the demo's own: a store of other logs would mix two simulations.
    let truth = logs.join("truth.json");
    if before.is_some() && before != std::fs::read(&truth).ok() && store.exists() {
        std::fs::remove_dir_all(&store).map_err(EngineError::io("remove", &store))?;
    }

    say!("2. Ingesting the logs into {}", store.display());
    let demo = Context {
        store: store.display().to_string(),
        format: context.format.clone(),
        config: context.config.clone(),
        now: context.now,
    };
    let (outcomes, _) = super::ingest::take_in(&demo, &inputs(&logs)?, &IngestOptions::new(context.now)).await?;
    let (accepted, rejected) =
        outcomes.iter().fold((0, 0), |(accepted, rejected), log| (accepted + log.accepted, rejected + log.rejected));
    if outcomes.iter().all(|log| !log.already_ingested.is_empty()) {
        say!("   these logs were taken in before; nothing changes");
    } else {
        say!("   {} rows accepted, {} rejected", grouped(accepted), grouped(rejected));
    }

    say!("3. Campaign results");
    let session = demo.session(None).await?;
    let by_campaign = report(&session, &ReportRequest::default()).await?;
    super::report::print(&by_campaign, Format::Table)?;

    say!("\n4. The experiment: does the new text (B) beat the old one (A)?");
    let options = AnalysisOptions { segments: vec!["age_band".to_owned()], ..AnalysisOptions::default() };
    let id = summary.truth.experiment_id.clone();
    let analysis = analyze_store(&session, &id, &options).await?;
    super::experiment::print(&analysis, Format::Table)?;

    say!("\n5. Charts");
    let hours =
        report(&session, &ReportRequest { by: vec!["local_hour".to_owned()], ..ReportRequest::default() }).await?;
    let pictures = [
        ("funnel", pictures::funnel(&by_campaign)),
        ("lift", pictures::lift(&analysis, None)?),
        ("segments", pictures::segments(&analysis, Some("click"))?),
        ("hours", pictures::hours(&hours)),
    ];
    for (name, chart) in &pictures {
        for extension in ["svg", "png"] {
            let path = charts.join(format!("{name}.{extension}"));
            super::chart::write(chart, &path, ChartSize::default())?;
        }
        say!("   {}", charts.join(format!("{name}.svg")).display());
    }

    say!("\nThe simulation's true effects are in {}.", logs.join("truth.json").display());
    say!("Next:");
    say!(
        "  your own data   sendlift ingest sends=sends.csv deliveries=receipts.csv clicks=clicks.csv conversions=orders.csv"
    );
    say!("  the HTTP API    sendlift --store {} serve     (then open http://127.0.0.1:8080/docs)", store.display());
    say!("  the notebook    notebooks/01_campaign_results.ipynb, with the API running");
    Ok(())
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
