//! Experiments from aggregates: a table with one row an arm (and metric, and segment), `arm, n, successes` for shares or
//! `arm, n, mean, variance` for means. Rows of several days are added up, as mergeable statistics.

use std::collections::BTreeMap;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Float64Type};

use super::analysis::{ExperimentAnalysis, analyze};
use super::metric::MetricKind;
use super::options::AnalysisOptions;
use super::sample::{ByArm, ExperimentSample, MetricRole, MetricSample};
use super::statistic::ArmStatistic;
use crate::error::{EngineError, Result};
use crate::ingest::input::Input;
use crate::query::{new_context, unit_table};
use crate::stats::{Moments, Proportion};

/// The metric's name where the table has no column `metric`.
const ONLY_METRIC: &str = "metric";
/// The column that names a segment.
const SEGMENT: &str = "segment";

/// One row of the table.
struct Row {
    metric: String,
    segment: Option<String>,
    day: Option<String>,
    arm: String,
    statistic: ArmStatistic,
}

/// Analyses a table of aggregates.
///
/// # Errors
/// When columns are missing, or numbers cannot be (more successes than units, a negative variance, NaN).
pub async fn analyze_arms(input: &Input, options: &AnalysisOptions) -> Result<ExperimentAnalysis> {
    let rows = read_rows(input).await?;
    let has_segments = rows.iter().any(|row| row.segment.is_some());
    let mut options = options.clone();
    options.segments = if has_segments { vec![SEGMENT.to_owned()] } else { Vec::new() };
    analyze(sample(input, &rows)?, &options)
}

fn sample(input: &Input, rows: &[Row]) -> Result<ExperimentSample> {
    let mut sample = ExperimentSample {
        experiment: input.name.clone(),
        unit: "unit".to_owned(),
        kind: "arms".into(),
        ..ExperimentSample::default()
    };
    for row in rows {
        let known = sample.metrics.iter().position(|metric| metric.name == row.metric);
        let kind = match row.statistic {
            ArmStatistic::Proportion(_) => MetricKind::Proportion,
            _ => MetricKind::Mean,
        };
        let position = known.unwrap_or_else(|| {
            // As in a unit table: opt-outs alarm, and nobody wins by them.
            let role = match sample.metrics.len() {
                _ if row.metric == "opt_out" => MetricRole::Guardrail,
                0 => MetricRole::Primary,
                _ => MetricRole::Secondary,
            };
            sample.metrics.push(MetricSample::new(row.metric.clone(), kind, role));
            sample.metrics.len() - 1
        });
        let metric = &mut sample.metrics[position];
        if metric.kind != kind {
            return Err(EngineError::usage(format!(
                "{}: metric \"{}\" has successes in some rows and means in others",
                input.name, row.metric
            )));
        }
        if let Some(segment) = &row.segment {
            let arms = metric.segments.entry((SEGMENT.to_owned(), Some(segment.clone()))).or_default();
            add(arms, &row.arm, &row.statistic)?;
        }
        // Rows without a segment are the whole; beside them those of segments must not be added to it again.
        let is_total = row.segment.is_none();
        let has_totals = rows.iter().any(|other| other.metric == row.metric && other.segment.is_none());
        if is_total || !has_totals {
            add(&mut metric.overall, &row.arm, &row.statistic)?;
            if let Some(day) = &row.day {
                add(metric.path.entry(day.clone()).or_default(), &row.arm, &row.statistic)?;
            }
        }
    }
    let mut units: BTreeMap<String, u64> = BTreeMap::new();
    for metric in &sample.metrics {
        for (arm, statistic) in &metric.overall {
            let most = units.entry(arm.clone()).or_default();
            *most = (*most).max(statistic.n());
        }
    }
    sample.arms = units.into_iter().collect();
    Ok(sample)
}

fn add(arms: &mut ByArm, arm: &str, statistic: &ArmStatistic) -> Result<()> {
    let merged = match arms.get(arm) {
        None => statistic.clone(),
        Some(known) => known.merge(statistic)?,
    };
    arms.insert(arm.to_owned(), merged);
    Ok(())
}

async fn read_rows(input: &Input) -> Result<Vec<Row>> {
    let source = input.clone();
    let table =
        tokio::task::spawn_blocking(move || unit_table(&source, &["arm", "metric", SEGMENT, "day"].map(str::to_owned)))
            .await??;
    let context = new_context()?;
    context.register_table("aggregates", table)?;
    let mut rows = Vec::new();
    let mut line = 1;
    for batch in context.table("aggregates").await?.collect().await? {
        let column = |name: &str| {
            let schema = batch.schema();
            let position = schema.fields().iter().position(|field| field.name().trim().eq_ignore_ascii_case(name));
            position.map(|position| batch.column(position).clone())
        };
        let required = |name: &str| {
            column(name).ok_or_else(|| {
                EngineError::usage(format!(
                    "{} has no column \"{name}\"; aggregates need arm, n and successes, or arm, n, mean and variance",
                    input.name
                ))
            })
        };
        let (arms, sizes) = (text(&required("arm")?)?, number(&required("n")?, "n", input)?);
        let (metrics, segments, days) = (column("metric"), column(SEGMENT), column("day"));
        let (successes, means, variances) = (column("successes"), column("mean"), column("variance"));
        for row in 0..batch.num_rows() {
            line += 1;
            let wrong = |what: String| EngineError::refused(format!("{} row {line}: {what}", input.name));
            let arm = cell(&arms, row).ok_or_else(|| wrong("arm is missing".to_owned()))?;
            let n = whole(sizes.get(row).copied().flatten())
                .ok_or_else(|| wrong("n is not a whole number of units".to_owned()))?;
            let value = |column: &Option<ArrayRef>, name: &str| -> Result<Option<f64>> {
                Ok(column.as_ref().map(|column| number(column, name, input)).transpose()?.and_then(|cells| cells[row]))
            };
            let statistic =
                match (value(&successes, "successes")?, value(&means, "mean")?, value(&variances, "variance")?) {
                    (Some(successes), _, _) => {
                        let successes = whole(Some(successes))
                            .ok_or_else(|| wrong("successes is not a whole number".to_owned()))?;
                        ArmStatistic::Proportion(
                            Proportion::new(n, successes).map_err(|error| wrong(error.to_string()))?,
                        )
                    }
                    (None, Some(mean), Some(variance)) => ArmStatistic::Mean(
                        Moments::from_n_mean_variance(n, mean, variance).map_err(|error| wrong(error.to_string()))?,
                    ),
                    (None, None, None) if n == 0 => ArmStatistic::empty(MetricKind::Proportion),
                    _ => return Err(wrong("needs successes, or mean and variance".to_owned())),
                };
            rows.push(Row {
                metric: metrics
                    .as_ref()
                    .map(text)
                    .transpose()?
                    .and_then(|texts| cell(&texts, row))
                    .unwrap_or_else(|| ONLY_METRIC.to_owned()),
                day: days.as_ref().map(text).transpose()?.and_then(|texts| cell(&texts, row)),
                segment: segments.as_ref().map(text).transpose()?.and_then(|texts| cell(&texts, row)),
                arm,
                statistic,
            });
        }
    }
    Ok(rows)
}

fn text(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(arrow::compute::cast(column, &DataType::Utf8)?)
}

fn cell(column: &ArrayRef, row: usize) -> Option<String> {
    let texts = column.as_string::<i32>();
    (!texts.is_null(row)).then(|| texts.value(row).trim().to_owned())
}

fn number(column: &ArrayRef, name: &str, input: &Input) -> Result<Vec<Option<f64>>> {
    let numbers = arrow::compute::cast(column, &DataType::Float64)?;
    if numbers.null_count() > column.null_count() {
        return Err(EngineError::refused(format!("{}: column \"{name}\" has cells that are no numbers", input.name)));
    }
    Ok(numbers.as_primitive::<Float64Type>().iter().collect())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked to be a whole number in range.
fn whole(number: Option<f64>) -> Option<u64> {
    let number = number?;
    (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as u64)
}
