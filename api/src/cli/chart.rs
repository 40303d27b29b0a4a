//! `sendlift chart`: pictures of reports and experiments.

use std::path::Path;

use sendlift_engine::chart::{Chart, ChartSize, Language, draw_svg, pictures, render_png};
use sendlift_engine::experiment::{AnalysisOptions, ExperimentAnalysis, analyze_store, list_experiments};
use sendlift_engine::query::QuerySession;
use sendlift_engine::windows::{WindowsRequest, analyze_one_segment};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::ChartArguments;

/// The charts of a report.
const OF_REPORT: &[&str] = &["funnel", "hours"];
/// The charts of an experiment.
const OF_EXPERIMENT: &[&str] = &["lift", "segments"];
/// The charts of send windows.
const OF_WINDOWS: &[&str] = &["windows"];

pub(super) async fn run(context: &Context, arguments: &ChartArguments) -> anyhow::Result<()> {
    check(arguments)?;
    let at = arguments.selection.at.as_deref().map(str::parse).transpose()?;
    let session = context.session(at).await?;
    let chart = picture(context, &session, arguments).await?;
    write(&chart, &arguments.out, ChartSize { width: arguments.width, height: arguments.height })?;
    Ok(())
}

/// Refuses an unknown chart, and options that would change nothing about the one that is asked for.
fn check(arguments: &ChartArguments) -> Result<()> {
    let kind = arguments.kind.as_str();
    if ![OF_REPORT, OF_EXPERIMENT, OF_WINDOWS].iter().any(|kinds| kinds.contains(&kind)) {
        return Err(EngineError::usage(format!(
            "there is no chart \"{kind}\": choose funnel, hours, lift, segments or windows"
        )));
    }
    let selection = &arguments.selection;
    let options: [(&str, bool, &[&str]); 15] = [
        ("--campaign", selection.campaign.is_some(), &["funnel", "hours", "windows"]),
        ("--by", selection.by.is_some(), &["funnel"]),
        ("--from", selection.from.is_some(), OF_REPORT),
        ("--to", selection.to.is_some(), OF_REPORT),
        ("--time-zone", arguments.time_zone.is_some(), OF_REPORT),
        ("--experiment", arguments.experiment.is_some(), OF_EXPERIMENT),
        ("--metric", arguments.metric.is_some(), OF_EXPERIMENT),
        ("--control", arguments.control.is_some(), OF_EXPERIMENT),
        ("--segment", !arguments.segment.is_empty(), &["segments", "windows"]),
        ("--objective", arguments.objective.is_some(), OF_WINDOWS),
        ("--slots", arguments.slots.is_some(), OF_WINDOWS),
        ("--each-day", arguments.each_day, OF_WINDOWS),
        ("--horizon", arguments.horizon.is_some(), OF_WINDOWS),
        ("--opt-out-cost", arguments.opt_out_cost.is_some(), OF_WINDOWS),
        ("--language", arguments.language.is_some(), OF_WINDOWS),
    ];
    let strange = options.iter().find(|(_, is_given, charts)| *is_given && !charts.contains(&kind));
    strange.map_or(Ok(()), |(option, _, charts)| {
        let charts = charts.join(" and ");
        Err(EngineError::usage(format!("{option} says nothing about the {kind} chart; it goes with {charts}")))
    })
}

async fn picture(context: &Context, session: &QuerySession, arguments: &ChartArguments) -> anyhow::Result<Chart> {
    let mut request = super::report::request(&arguments.selection, arguments.time_zone.as_deref())?;
    let metric = arguments.metric.as_deref();
    Ok(match arguments.kind.as_str() {
        "hours" => {
            request.by = vec!["local_hour".to_owned()];
            pictures::hours(&super::report::make(session, &request).await?)
        }
        "lift" => pictures::lift(&analysis(session, arguments).await?, metric)?,
        "segments" => pictures::segments(&analysis(session, arguments).await?, metric)?,
        "windows" => {
            let usual = WindowsRequest::default();
            let request = WindowsRequest {
                campaign: arguments.selection.campaign.clone(),
                objective: arguments.objective.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
                windows_a_day: arguments.slots.unwrap_or(usual.windows_a_day),
                days: arguments.each_day.into(),
                horizon_days: arguments.horizon,
                opt_out_cost: arguments.opt_out_cost.unwrap_or(usual.opt_out_cost),
                ..usual
            };
            let request = context.config.rules()?.over(request);
            let language = arguments.language.as_deref().unwrap_or("en");
            let language = Language::of(language)
                .ok_or_else(|| EngineError::usage(format!("\"{language}\" is no language of charts: use en or zh")))?;
            pictures::windows_chart(&analyze_one_segment(session, &request, &arguments.segment).await?, language)?
        }
        // `check` has let no other chart pass.
        _ => pictures::funnel(&super::report::make(session, &request).await?),
    })
}

async fn analysis(session: &QuerySession, arguments: &ChartArguments) -> Result<ExperimentAnalysis> {
    let id = if let Some(id) = &arguments.experiment {
        id.clone()
    } else {
        let known = list_experiments(session).await?;
        match known.as_slice() {
            [only] => only.experiment_id.clone(),
            [] => return Err(EngineError::usage("the store has no experiment: sends need variants")),
            several => {
                let ids: Vec<&str> = several.iter().map(|one| one.experiment_id.as_str()).collect();
                return Err(EngineError::usage(format!("which experiment? --experiment {}", ids.join(" or "))));
            }
        }
    };
    let options = AnalysisOptions {
        control: arguments.control.clone(),
        segments: arguments.segment.clone(),
        ..AnalysisOptions::default()
    };
    analyze_store(session, &id, &options).await
}

/// Draws a chart into a file, SVG or PNG by its name, and tells what could not be drawn.
pub(super) fn write(chart: &Chart, path: &Path, size: ChartSize) -> Result<()> {
    let svg = draw_svg(chart, size)?;
    let (bytes, warnings) = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => (svg.text.into_bytes(), svg.warnings),
        Some("png") => {
            let png = render_png(&svg.text)?;
            (png.bytes, svg.warnings.into_iter().chain(png.warnings).collect())
        }
        _ => {
            return Err(EngineError::usage(format!("{}: a chart is written to a .svg or a .png file", path.display())));
        }
    };
    std::fs::write(path, bytes).map_err(EngineError::io("write", path))?;
    for warning in warnings {
        eprintln!("{}: {warning}", path.display());
    }
    Ok(())
}
