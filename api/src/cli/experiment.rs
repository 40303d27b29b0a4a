//! `sendlift experiment`: list, show, analyze.

use sendlift_engine::experiment::{
    AnalysisOptions, ArmsComparison, ExperimentAnalysis, MetricAnalysis, MetricKind, MetricSpec, Recommendation,
    UnitRequest, Verdict, analyze_arms, analyze_store, analyze_units, list_experiments, parse_allocation,
};
use sendlift_engine::ingest::input::{Input, resolve};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::arguments::{AnalyzeArguments, ExperimentArguments, ExperimentCommand};
use super::output::{Format, Rows, grouped, print_csv_of, print_json, say};

pub(super) async fn run(context: &Context, arguments: &ExperimentArguments) -> anyhow::Result<()> {
    match &arguments.command {
        ExperimentCommand::List => list(context).await,
        ExperimentCommand::Show { id } => show(context, id).await,
        ExperimentCommand::Analyze(arguments) => analyze(context, arguments).await,
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let experiments = list_experiments(&context.session(None).await?).await?;
    match context.output()? {
        Format::Json => print_json(&experiments),
        format => {
            let mut rows = Rows::new(&["experiment", "arms", "from", "units", "first sent"], 3);
            for experiment in &experiments {
                rows.push(vec![
                    experiment.experiment_id.clone(),
                    experiment.arms.join(", "),
                    experiment.source.to_owned(),
                    grouped(experiment.units),
                    experiment.first_sent_at.map_or_else(|| "-".to_owned(), |moment| moment.to_string()),
                ]);
            }
            rows.print(format)
        }
    }
}

async fn show(context: &Context, id: &str) -> anyhow::Result<()> {
    let experiments = list_experiments(&context.session(None).await?).await?;
    let found = experiments.iter().find(|experiment| experiment.experiment_id == id).ok_or_else(|| {
        EngineError::NotFound(format!("there is no experiment \"{id}\"; `sendlift experiment list` shows all"))
    })?;
    print_json(found)
}

async fn analyze(context: &Context, arguments: &AnalyzeArguments) -> anyhow::Result<()> {
    let options = options(arguments)?;
    let analysis = if let Some(path) = &arguments.units {
        analyze_units(&unit_request(arguments, path)?, &options).await?
    } else if let Some(path) = &arguments.arms {
        analyze_arms(&one_file(path)?, &options).await?
    } else {
        let at = arguments.at.as_deref().map(str::parse).transpose()?;
        let session = context.session(at).await?;
        analyze_store(&session, arguments.id.as_deref().unwrap_or_default(), &options).await?
    };
    print(&analysis, context.output()?)?;
    if arguments.strict && analysis.checks.iter().any(|check| check.verdict == Verdict::Fail) {
        return Err(EngineError::refused("a check failed, and --strict was given").into());
    }
    Ok(())
}

fn options(arguments: &AnalyzeArguments) -> Result<AnalysisOptions> {
    if !(arguments.alpha > 0.0 && arguments.alpha < 1.0) {
        return Err(EngineError::usage(format!("--alpha {} is not between 0 and 1", arguments.alpha)));
    }
    Ok(AnalysisOptions {
        control: arguments.control.clone(),
        alpha: arguments.alpha,
        allocation: arguments.allocation.as_deref().map(parse_allocation).transpose()?.unwrap_or_default(),
        correction: arguments.correction.parse()?,
        segments: arguments.segment.clone(),
        // The metrics of a unit table are columns; those of the store are known by name.
        metrics: if arguments.units.is_none() { arguments.metric.clone() } else { Vec::new() },
    })
}

fn unit_request(arguments: &AnalyzeArguments, path: &str) -> Result<UnitRequest> {
    let metrics = arguments.metric.iter().map(|metric| metric.parse()).collect::<Result<Vec<MetricSpec>>>()?;
    if metrics.is_empty() {
        return Err(EngineError::usage("name at least one metric: --metric COLUMN"));
    }
    Ok(UnitRequest {
        input: one_file(path)?,
        arm: arguments.arm.clone().unwrap_or_default(),
        metrics,
        unit: arguments.unit.clone(),
        filter: arguments.filter.clone(),
    })
}

fn one_file(path: &str) -> Result<Input> {
    let mut inputs = resolve(path)?;
    match (inputs.pop(), inputs.is_empty()) {
        (Some(input), true) => Ok(input),
        _ => Err(EngineError::usage(format!("{path} is more than one file: name one"))),
    }
}

/// Prints an analysis.
pub(super) fn print(analysis: &ExperimentAnalysis, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => return print_json(analysis),
        Format::Csv => return print_csv_of(&flat(analysis)),
        Format::Table => {}
    }
    say!(
        "experiment {} · intention to treat · unit {} · control {}",
        analysis.experiment,
        analysis.unit,
        analysis.control
    );
    let mut rows = Rows::new(&["metric", "arm", "units", "mean", "difference", "lift", "p", "adjusted p"], 2);
    for metric in &analysis.metrics {
        for arm in &metric.arms {
            let comparison = metric.comparisons.iter().find(|comparison| comparison.arm == arm.arm);
            let mut cells = vec![
                metric.metric.clone(),
                arm.arm.clone(),
                grouped(arm.n),
                arm.mean.map_or_else(|| "-".to_owned(), |mean| value(metric.kind, mean)),
            ];
            cells.extend(
                comparison.map_or_else(|| vec![String::new(); 4], |comparison| comparison_cells(metric, comparison)),
            );
            rows.push(cells);
        }
    }
    rows.print(format)?;
    print_segments(analysis)?;
    for check in &analysis.checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let stage = check.stage.map(|stage| format!(" ({stage})")).unwrap_or_default();
        let p_value = check.p_value.map(|p_value| format!(", p {}", small(p_value))).unwrap_or_default();
        say!("{mark} {}{stage}: {}{p_value}", check.check, check.detail);
    }
    for note in &analysis.notes {
        say!("note: {note}");
    }
    let what = match analysis.decision.recommendation {
        Recommendation::Ship => "ship",
        Recommendation::KeepControl => "keep the control",
        Recommendation::KeepRunning => "keep running",
        Recommendation::DoNotTrust => "do not trust these numbers",
    };
    say!("decision: {what}{}", analysis.decision.arm.as_ref().map(|arm| format!(" {arm}")).unwrap_or_default());
    for reason in &analysis.decision.why {
        say!("  - {reason}");
    }
    Ok(())
}

fn print_segments(analysis: &ExperimentAnalysis) -> anyhow::Result<()> {
    if analysis.metrics.iter().all(|metric| metric.segments.is_empty()) {
        return Ok(());
    }
    let mut rows = Rows::new(&["metric", "segment", "arm", "units", "difference", "lift", "p", "adjusted p"], 3);
    for metric in &analysis.metrics {
        for segment in &metric.segments {
            let label: Vec<String> = segment
                .segment
                .iter()
                .map(|(column, value)| format!("{column} = {}", value.as_str().unwrap_or("(none)")))
                .collect();
            for comparison in &segment.comparisons {
                let units: u64 = segment.arms.iter().map(|arm| arm.n).sum();
                let mut cells = vec![metric.metric.clone(), label.join(", "), comparison.arm.clone(), grouped(units)];
                cells.extend(comparison_cells(metric, comparison));
                rows.push(cells);
            }
        }
    }
    rows.print(Format::Table)?;
    for metric in &analysis.metrics {
        if let Some(found) = &metric.heterogeneity {
            say!(
                "{}: does the effect differ by {}? Cochran Q {:.2}, p {}, I² {:.0} %",
                metric.metric,
                found.column,
                found.q,
                small(found.p_value),
                found.i_squared * 100.0
            );
        }
    }
    Ok(())
}

fn comparison_cells(metric: &MetricAnalysis, comparison: &ArmsComparison) -> Vec<String> {
    let found = &comparison.comparison;
    let step = |number: f64| match metric.kind {
        MetricKind::Proportion => format!("{:+.2}", number * 100.0),
        MetricKind::Mean => format!("{number:+.4}"),
    };
    let relative = |number: f64| format!("{:+.1}", number * 100.0);
    let interval = |estimate: &sendlift_engine::stats::Estimate, text: &dyn Fn(f64) -> String, unit: &str| {
        let end = |end: Option<f64>, open: &str| end.map_or_else(|| open.to_owned(), text);
        match estimate.estimate {
            Some(number) => {
                format!("{}{unit} [{}, {}]", text(number), end(estimate.low, "-∞"), end(estimate.high, "∞"))
            }
            None => "-".to_owned(),
        }
    };
    let points = if metric.kind == MetricKind::Proportion { " pp" } else { "" };
    let p_value = |p_value: Option<f64>| p_value.map_or_else(|| "-".to_owned(), small);
    vec![
        interval(&found.difference, &step, points),
        interval(&found.lift, &relative, " %"),
        p_value(found.p_value),
        p_value(comparison.p_value_adjusted),
    ]
}

fn value(kind: MetricKind, mean: f64) -> String {
    match kind {
        MetricKind::Proportion => format!("{:.2} %", mean * 100.0),
        MetricKind::Mean => format!("{mean:.4}"),
    }
}

/// A p value: plain where that can be read, with an exponent where it is tiny.
fn small(p_value: f64) -> String {
    if p_value >= 0.0001 { format!("{p_value:.4}") } else { format!("{p_value:.2e}") }
}

/// One record a comparison, for CSV.
#[derive(serde::Serialize)]
struct FlatComparison<'a> {
    metric: &'a str,
    segment: String,
    #[serde(flatten)]
    comparison: &'a ArmsComparison,
}

fn flat(analysis: &ExperimentAnalysis) -> Vec<FlatComparison<'_>> {
    let mut records = Vec::new();
    for metric in &analysis.metrics {
        records.extend(metric.comparisons.iter().map(|comparison| FlatComparison {
            metric: &metric.metric,
            segment: String::new(),
            comparison,
        }));
        for segment in &metric.segments {
            let label = serde_json::to_string(&segment.segment).unwrap_or_default();
            records.extend(segment.comparisons.iter().map(|comparison| FlatComparison {
                metric: &metric.metric,
                segment: label.clone(),
                comparison,
            }));
        }
    }
    records
}
