//! `sendlift experiment`: list, show, analyze; `plan` and `portfolio` have files of their own.

use std::path::Path;

use jiff::Timestamp;
use sendlift_engine::chart::{compare_groups, compare_naturally};
use sendlift_engine::experiment::{
    AnalysisOptions, ArmSummary, ArmsComparison, AssignmentRequest, ExperimentAnalysis, ExperimentDefinition,
    ExperimentSummary, LooksSpec, MarginSpec, MetricAnalysis, MetricSpec, PortfolioRequest, ProportionMethods,
    Recommendation, SegmentAnalysis, UnitRequest, Verdict, analyze_arms, analyze_store, analyze_units, assign_list,
    list_experiments, p_value_in_words, parse_allocation,
};
use sendlift_engine::ingest::input::{Input, resolve};
use sendlift_engine::{EngineError, Result};

use super::Context;
use super::analysis_details::{difference_in_words, lift_in_words, print_details, value};
use super::experiment_arguments::{AnalyzeArguments, AssignArguments, ExperimentArguments, ExperimentCommand};
use super::output::{Cell, Format, Rows, print_csv_of, print_json, say};

pub(super) async fn run(context: &Context, arguments: &ExperimentArguments) -> anyhow::Result<()> {
    match &arguments.command {
        ExperimentCommand::List => list(context).await,
        ExperimentCommand::Show { id } => show(context, id).await,
        ExperimentCommand::Add { file, replace } => add(context, file, *replace).await,
        ExperimentCommand::Portfolio { metric, alpha, minimum_effect } => {
            let request = PortfolioRequest { metric: metric.clone(), alpha: *alpha, minimum_effect: *minimum_effect };
            super::portfolio::run(context, &request).await
        }
        ExperimentCommand::Assign(arguments) => assign(context, arguments).await,
        ExperimentCommand::Plan(arguments) => super::plan::run(context, arguments).await,
        ExperimentCommand::Analyze(arguments) => analyze(context, arguments).await,
    }
}

async fn add(context: &Context, file: &Path, replace: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| EngineError::usage(format!("{} cannot be read: {error}", file.display())))?;
    let definition = ExperimentDefinition::read(&text, &file.display().to_string())?;
    definition.add_to(&context.store()?, replace).await?;
    say!("{} is defined: `sendlift experiment analyze {0}` goes by it", definition.name);
    Ok(())
}

async fn assign(context: &Context, arguments: &AssignArguments) -> anyhow::Result<()> {
    let assigned_at = match &arguments.assigned_at {
        Some(text) => text.parse::<Timestamp>().map_err(|error| {
            EngineError::usage(format!("--assigned-at {text}: {error}; write it as 2026-03-01T09:00:00Z"))
        })?,
        None => Timestamp::now(),
    };
    let request = AssignmentRequest {
        list: one_file(&arguments.list)?,
        unit: arguments.unit.clone(),
        experiment: arguments.experiment.clone(),
        arms: parse_allocation(&arguments.arms)?,
        holdout: arguments.holdout.clone(),
        strata: arguments.stratify.clone(),
        seed: arguments.seed,
        assigned_at,
    };
    let summary = assign_list(&request, &arguments.out).await?;
    let format = context.output()?;
    if format == Format::Json {
        return print_json(&summary);
    }
    let mut rows = Rows::new(&["arm", "share", "recipients"], 1);
    for arm in &summary.arms {
        rows.push(vec![
            Cell::from(arm.arm.as_str()),
            Cell::from(format!("{:.2} %", arm.share * 100.0)),
            Cell::count(arm.n),
        ]);
    }
    rows.print(format)?;
    if format == Format::Table {
        say!("sample ratio: p {}", p_value_in_words(summary.sample_ratio.p_value));
        for (n, what) in [
            (summary.repeated_rows, "rows name a recipient again, who was drawn once"),
            (summary.rows_without_recipient, "rows name no recipient and are left out"),
        ] {
            if n > 0 {
                say!("note: {n} {what}");
            }
        }
        say!("{}: ingest it as assignments={0} when the messages are sent", arguments.out.display());
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let format = context.output()?;
    let mut experiments = list_experiments(&context.session(None).await?).await?;
    if format == Format::Json {
        return print_json(&experiments);
    }
    if format == Format::Table {
        experiments.sort_by(|left, right| compare_naturally(&left.experiment_id, &right.experiment_id));
    }
    print_summaries(&experiments, format)
}

async fn show(context: &Context, id: &str) -> anyhow::Result<()> {
    let format = context.output()?;
    let experiments = list_experiments(&context.session(None).await?).await?;
    let found = experiments.iter().find(|experiment| experiment.experiment_id == id).ok_or_else(|| {
        EngineError::NotFound(format!("there is no experiment \"{id}\"; `sendlift experiment list` shows all"))
    })?;
    match format {
        Format::Json => print_json(found),
        Format::Csv => print_summaries(std::slice::from_ref(found), format),
        Format::Table => print_definition(found),
    }
}

/// One row an experiment.
fn print_summaries(experiments: &[ExperimentSummary], format: Format) -> anyhow::Result<()> {
    let mut rows = Rows::new(&["experiment", "arms", "from", "units", "first sent"], 3);
    for experiment in experiments {
        rows.push(vec![
            Cell::from(experiment.experiment_id.as_str()),
            Cell::from(arms_of(experiment)),
            Cell::from(experiment.source),
            Cell::count(experiment.units),
            Cell::from(experiment.first_sent_at.map(|moment| moment.to_string())),
        ]);
    }
    rows.print(format)
}

/// One experiment, a row for each thing that is known of it.
fn print_definition(experiment: &ExperimentSummary) -> anyhow::Result<()> {
    let known_from = match experiment.source {
        "assignments" => "the assignments log",
        "sends" => "the experiment ids of the sends",
        _ => "a campaign whose sends have several variants",
    };
    let id = experiment.experiment_id.as_str();
    let mut rows = Rows::new(&["experiment", id], 2);
    for (name, value) in [
        ("arms", Cell::from(arms_of(experiment))),
        ("unit", Cell::from("recipient")),
        ("units", Cell::count(experiment.units)),
        ("first sent", Cell::from(experiment.first_sent_at.map(|moment| moment.to_string()))),
        ("known from", Cell::from(known_from)),
    ] {
        rows.push(vec![Cell::from(name), value]);
    }
    rows.print(Format::Table)?;
    say!("`sendlift experiment analyze {id}` compares the arms");
    Ok(())
}

fn arms_of(experiment: &ExperimentSummary) -> String {
    let mut arms: Vec<&str> = experiment.arms.iter().map(String::as_str).collect();
    arms.sort_by(|left, right| compare_naturally(left, right));
    arms.join(", ")
}

async fn analyze(context: &Context, arguments: &AnalyzeArguments) -> anyhow::Result<()> {
    let options = options(arguments)?;
    let analysis = if let Some(path) = &arguments.units {
        analyze_units(&unit_request(arguments, path)?, &options).await?
    } else if let Some(path) = &arguments.arms {
        analyze_arms(&one_file(path)?, &options).await?
    } else {
        let at = arguments.at.as_deref().map(str::parse).transpose()?;
        let session = context.session_on(arguments.cluster.as_deref(), at).await?;
        let id = arguments.id.as_deref().unwrap_or_default();
        analyze_store(&session, id, &options).await?
    };
    print(&analysis, context.output()?)?;
    if arguments.strict && analysis.checks.iter().any(|check| check.verdict == Verdict::Fail) {
        return Err(EngineError::refused("a check failed, and --strict was given").into());
    }
    Ok(())
}

fn options(arguments: &AnalyzeArguments) -> Result<AnalysisOptions> {
    let defaults = AnalysisOptions::default();
    let alpha = arguments.alpha.unwrap_or(defaults.alpha);
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(EngineError::usage(format!("--alpha {alpha} is not between 0 and 1")));
    }
    Ok(AnalysisOptions {
        control: arguments.control.clone(),
        alpha,
        is_alpha_given: arguments.alpha.is_some(),
        allocation: arguments.allocation.as_deref().map(parse_allocation).transpose()?.unwrap_or_default(),
        correction: arguments.correction.as_deref().map_or(Ok(defaults.correction), str::parse)?,
        is_correction_given: arguments.correction.is_some(),
        segments: arguments.segment.clone(),
        // The metrics of a unit table are columns; those of the store are known by name.
        metrics: if arguments.units.is_none() { arguments.metric.clone() } else { Vec::new() },
        sequential: arguments.sequential.then_some(arguments.planned_units),
        bayesian: arguments.bayesian,
        margins: arguments.margin.iter().map(|margin| margin.parse()).collect::<Result<Vec<MarginSpec>>>()?,
        equivalences: arguments.equivalence.iter().map(|margin| margin.parse()).collect::<Result<Vec<MarginSpec>>>()?,
        proportions: ProportionMethods::read(arguments.interval.as_deref(), arguments.exact.as_deref())?,
        all_pairs: arguments.all_pairs,
        search: arguments.search,
        path: arguments.path.clone(),
        covariates: arguments.covariate.clone(),
        strata: arguments.post_stratify.clone(),
        randomised_by: arguments.randomised_by.clone(),
        looks: arguments.looks.as_deref().map(|looks| LooksSpec::read(looks, &arguments.spending)).transpose()?,
        ..defaults
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

pub(super) fn one_file(path: &str) -> Result<Input> {
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
        let mut arms: Vec<&ArmSummary> = metric.arms.iter().collect();
        arms.sort_by(|left, right| compare_naturally(&left.arm, &right.arm));
        for arm in arms {
            let comparison = metric.comparisons.iter().find(|comparison| comparison.arm == arm.arm);
            let mut cells = vec![
                Cell::from(metric.label()),
                Cell::from(arm.arm.as_str()),
                Cell::count(arm.n),
                Cell::from(arm.mean.map(|mean| value(metric.kind, mean))),
            ];
            // The control is compared with nothing.
            cells.extend(comparison.map_or_else(
                || ["", "", "", ""].map(Cell::from),
                |comparison| comparison_cells(metric, comparison).map(Cell::from),
            ));
            rows.push(cells);
        }
    }
    rows.print(Format::Table)?;
    print_details(analysis);
    print_segments(analysis)?;
    print_incrementality(analysis);
    for check in &analysis.checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let stage = check.stage.as_ref().map(|stage| format!(" ({stage})")).unwrap_or_default();
        let p_value = check.p_value.map(|p_value| format!(", p {}", p_value_in_words(p_value))).unwrap_or_default();
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

/// What the messages brought against no message, beside what is credited to them.
fn print_incrementality(analysis: &ExperimentAnalysis) {
    let Some(found) = &analysis.incrementality else { return };
    let number = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.1}"));
    for metric in &found.metrics {
        let inflation = match metric.inflation {
            Some(inflation) => format!("{inflation:.2} times as many"),
            None if metric.incremental.low.is_some_and(|low| low > 0.0) => {
                "within the reports' window and not this experiment's, so that the two are not compared".to_owned()
            }
            None => "what the messages brought is not told from nothing".to_owned(),
        };
        say!(
            "against the {} held out, {} assigned brought {} more {} [{}, {}], p {}; {:.1} are credited to messages: {inflation}",
            found.held_out,
            found.assigned,
            number(metric.incremental.estimate),
            metric.metric,
            number(metric.incremental.low),
            number(metric.incremental.high),
            metric.p_value.map_or_else(|| "-".to_owned(), p_value_in_words),
            metric.attributed
        );
    }
}

fn print_segments(analysis: &ExperimentAnalysis) -> anyhow::Result<()> {
    if analysis.metrics.iter().all(|metric| metric.segments.is_empty()) {
        return Ok(());
    }
    let mut rows = Rows::new(&["metric", "segment", "arm", "units", "difference", "lift", "p", "adjusted p"], 3);
    for metric in &analysis.metrics {
        let mut segments: Vec<&SegmentAnalysis> = metric.segments.iter().collect();
        segments.sort_by(|left, right| compare_groups(&left.segment, &right.segment));
        for segment in segments {
            let label: Vec<String> = segment
                .segment
                .iter()
                .map(|(column, value)| format!("{column} = {}", value.as_str().unwrap_or("(none)")))
                .collect();
            let units: u64 = segment.arms.iter().map(|arm| arm.n).sum();
            let mut comparisons: Vec<&ArmsComparison> = segment.comparisons.iter().collect();
            comparisons.sort_by(|left, right| compare_naturally(&left.arm, &right.arm));
            for comparison in comparisons {
                let mut cells = vec![
                    Cell::from(metric.label()),
                    Cell::from(label.join(", ")),
                    Cell::from(comparison.arm.as_str()),
                    Cell::count(units),
                ];
                cells.extend(segment_cells(metric, comparison).map(Cell::from));
                rows.push(cells);
            }
        }
    }
    rows.print(Format::Table)?;
    for metric in &analysis.metrics {
        print_heterogeneity(metric);
    }
    Ok(())
}

/// Whether the effect differs between the segments, for every segment column and arm.
fn print_heterogeneity(metric: &MetricAnalysis) {
    // The list is empty where there is one alone.
    let each = if metric.heterogeneities.is_empty() {
        metric.heterogeneity.as_slice()
    } else {
        metric.heterogeneities.as_slice()
    };
    for found in each {
        let of_arm = if metric.comparisons.len() > 1 { format!(" of {}", found.arm) } else { String::new() };
        say!(
            "{}: does the effect{of_arm} differ by {}? Cochran Q {:.2}, p {}, I² {:.0} %",
            metric.label(),
            found.column,
            found.q,
            p_value_in_words(found.p_value),
            found.i_squared * 100.0
        );
    }
}

fn comparison_cells(metric: &MetricAnalysis, comparison: &ArmsComparison) -> [String; 4] {
    let found = &comparison.comparison;
    let p_value = |p_value: Option<f64>| p_value.map_or_else(|| "-".to_owned(), p_value_in_words);
    [
        difference_in_words(metric.kind, &found.difference),
        lift_in_words(&found.lift),
        p_value(found.p_value),
        p_value(comparison.p_value_adjusted),
    ]
}

/// The same of a segment: of the exact test where its small counts have that one decide, since no line below tells it.
fn segment_cells(metric: &MetricAnalysis, comparison: &ArmsComparison) -> [String; 4] {
    let plain = comparison_cells(metric, comparison);
    let Some((found, p_value)) = comparison.exact.as_ref().and_then(|found| Some((found, found.p_value?))) else {
        return plain;
    };
    let [difference, lift, ..] = plain;
    let difference = found.difference.as_ref().map_or(difference, |exact| difference_in_words(metric.kind, exact));
    let adjusted = found.p_value_adjusted.map_or_else(|| "-".to_owned(), p_value_in_words);
    [difference, lift, format!("{} exact", p_value_in_words(p_value)), adjusted]
}

/// One record a comparison, for CSV.
#[derive(serde::Serialize)]
struct FlatComparison<'a> {
    metric: &'a str,
    /// What tells it from other metrics of the same name.
    detail: Option<&'a str>,
    segment: String,
    #[serde(flatten)]
    comparison: &'a ArmsComparison,
}

fn flat(analysis: &ExperimentAnalysis) -> Vec<FlatComparison<'_>> {
    let mut records = Vec::new();
    for metric in &analysis.metrics {
        records.extend(metric.comparisons.iter().map(|comparison| FlatComparison {
            metric: &metric.metric,
            detail: metric.detail.as_deref(),
            segment: String::new(),
            comparison,
        }));
        // Those with the control are there already.
        let between = metric.pairs.iter().filter(|pair| pair.control != analysis.control);
        records.extend(between.map(|comparison| FlatComparison {
            metric: &metric.metric,
            detail: metric.detail.as_deref(),
            segment: String::new(),
            comparison,
        }));
        for segment in &metric.segments {
            let label = serde_json::to_string(&segment.segment).unwrap_or_default();
            records.extend(segment.comparisons.iter().map(|comparison| FlatComparison {
                metric: &metric.metric,
                detail: metric.detail.as_deref(),
                segment: label.clone(),
                comparison,
            }));
        }
    }
    records
}
