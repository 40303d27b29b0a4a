//! `sendlift chart`: pictures of reports and experiments.

use std::path::Path;

use sendlift_engine::chart::{Chart, ChartSize, draw_svg, pictures, render_png};
use sendlift_engine::experiment::{AnalysisOptions, ExperimentAnalysis, analyze_store, list_experiments};
use sendlift_engine::query::QuerySession;
use sendlift_engine::report::report;
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::ChartArguments;

pub(super) async fn run(context: &Context, arguments: &ChartArguments) -> anyhow::Result<()> {
    let at = arguments.selection.at.as_deref().map(str::parse).transpose()?;
    let session = context.session(at).await?;
    let chart = picture(&session, arguments).await?;
    write(&chart, &arguments.out, ChartSize { width: arguments.width, height: arguments.height })?;
    Ok(())
}

async fn picture(session: &QuerySession, arguments: &ChartArguments) -> Result<Chart> {
    let mut request = super::report::request(&arguments.selection, None)?;
    match arguments.kind.as_str() {
        "funnel" => Ok(pictures::funnel(&report(session, &request).await?)),
        "hours" => {
            request.by = vec!["local_hour".to_owned()];
            Ok(pictures::hours(&report(session, &request).await?))
        }
        "lift" => pictures::lift(&analysis(session, arguments).await?, arguments.metric.as_deref()),
        "segments" => pictures::segments(&analysis(session, arguments).await?, arguments.metric.as_deref()),
        other => {
            Err(EngineError::usage(format!("there is no chart \"{other}\": choose funnel, hours, lift or segments")))
        }
    }
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
