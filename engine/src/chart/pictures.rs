//! Which picture shows which answer: reports and analyses to the plain data that the charts draw.

use super::{Chart, FunnelRow, HourRow, IntervalRow};
use crate::error::{EngineError, Result};
use crate::experiment::{ArmsComparison, ExperimentAnalysis, MetricAnalysis, MetricKind};
use crate::report::{Report, ReportRow};

/// How many messages and recipients of each group get how far.
#[must_use]
pub fn funnel(report: &Report) -> Chart {
    let rows = report.rows.iter().map(|row| {
        let mut stages = vec![("sent".to_owned(), row.sent)];
        for (name, count) in [("delivered", row.delivered), ("clicked", row.clickers), ("converted", row.converters)] {
            stages.extend(count.map(|count| (name.to_owned(), count)));
        }
        FunnelRow { label: label_of(row), stages }
    });
    Chart::Funnel { title: "From sent to converted".to_owned(), rows: rows.collect() }
}

/// Click rate by the recipient's local hour, of a report grouped by `local_hour` alone.
#[must_use]
pub fn hours(report: &Report) -> Chart {
    let rows = report.rows.iter().filter_map(|row| {
        let hour = row.group.values().next()?.as_str()?.parse().ok()?;
        let rate = row.click_rate?;
        Some(HourRow {
            hour,
            sent: row.sent,
            clickers: row.clickers.unwrap_or(0),
            rate: rate.estimate,
            low: rate.low,
            high: rate.high,
        })
    });
    Chart::Hours { title: "Click rate by the recipient's local hour".to_owned(), rows: rows.collect() }
}

/// The lift of each arm over the control, metric by metric, or for one metric.
///
/// # Errors
/// When the analysis has no such metric.
pub fn lift(analysis: &ExperimentAnalysis, metric: Option<&str>) -> Result<Chart> {
    let metrics: Vec<&MetricAnalysis> = match metric {
        None => analysis.metrics.iter().collect(),
        Some(name) => vec![find(analysis, name)?],
    };
    let several_arms = analysis.arms.iter().filter(|arm| !arm.kept_apart).count() > 2;
    let rows = metrics.iter().flat_map(|metric| {
        metric.comparisons.iter().map(move |comparison| {
            let label =
                if several_arms { format!("{} · {}", metric.metric, comparison.arm) } else { metric.metric.clone() };
            let lift = &comparison.comparison.lift;
            IntervalRow { label, estimate: lift.estimate, low: lift.low, high: lift.high, detail: lift.note.clone() }
        })
    });
    let treatments: Vec<&str> = analysis
        .arms
        .iter()
        .filter(|arm| !arm.kept_apart && arm.arm != analysis.control)
        .map(|arm| arm.arm.as_str())
        .collect();
    Ok(Chart::Intervals {
        title: format!("{}: lift of {} over {}", analysis.experiment, treatments.join(", "), analysis.control),
        axis: "relative change".to_owned(),
        as_percent: true,
        rows: rows.collect(),
    })
}

/// The difference of the first arm in each segment, for one metric (the first unless named).
///
/// # Errors
/// When the analysis has no such metric, or was made without segments.
pub fn segments(analysis: &ExperimentAnalysis, metric: Option<&str>) -> Result<Chart> {
    let metric = match metric {
        Some(name) => find(analysis, name)?,
        None => analysis.metrics.first().ok_or_else(|| EngineError::usage("the analysis has no metric"))?,
    };
    if metric.segments.is_empty() {
        return Err(EngineError::usage("the analysis has no segments: name a column with --segment"));
    }
    let row = |label: String, comparison: &ArmsComparison| {
        let difference = &comparison.comparison.difference;
        IntervalRow {
            label,
            estimate: difference.estimate,
            low: difference.low,
            high: difference.high,
            detail: difference.note.clone(),
        }
    };
    let all = metric.comparisons.first().map(|comparison| row("all".to_owned(), comparison));
    let each = metric.segments.iter().filter_map(|segment| {
        let label =
            segment.segment.values().map(|value| value.as_str().unwrap_or("(none)")).collect::<Vec<_>>().join(" · ");
        segment.comparisons.first().map(|comparison| row(label, comparison))
    });
    let arm = metric.comparisons.first().map_or("", |comparison| comparison.arm.as_str());
    let columns: Vec<&str> =
        metric.segments.iter().flat_map(|segment| segment.segment.keys().map(String::as_str)).collect();
    let columns: Vec<&str> = {
        let mut unique = columns;
        unique.dedup();
        unique
    };
    Ok(Chart::Intervals {
        title: format!("{} by {}: {arm} against {}", metric.metric, columns.join(", "), analysis.control),
        axis: if metric.kind == MetricKind::Proportion { "difference (percentage points)" } else { "difference" }
            .to_owned(),
        as_percent: metric.kind == MetricKind::Proportion,
        rows: all.into_iter().chain(each).collect(),
    })
}

fn find<'a>(analysis: &'a ExperimentAnalysis, name: &str) -> Result<&'a MetricAnalysis> {
    analysis.metrics.iter().find(|metric| metric.metric == name).ok_or_else(|| {
        let known: Vec<&str> = analysis.metrics.iter().map(|metric| metric.metric.as_str()).collect();
        EngineError::usage(format!("the analysis has no metric \"{name}\"; it has {}", known.join(", ")))
    })
}

fn label_of(row: &ReportRow) -> String {
    if row.group.is_empty() {
        return "all messages".to_owned();
    }
    row.group.values().map(|value| value.as_str().unwrap_or("(none)")).collect::<Vec<_>>().join(" · ")
}
