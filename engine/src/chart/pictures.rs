//! Which picture shows which answer: reports and analyses to the plain data that the charts draw, named and ordered for
//! people.

mod windows;

pub use windows::windows_chart;

use itertools::Itertools as _;

use super::scale::real;
use super::{AxisUnit, Chart, FunnelRow, HourRow, IntervalRow, compare_groups, compare_naturally};
use crate::error::{EngineError, Result};
use crate::experiment::{ArmsComparison, ExperimentAnalysis, MetricAnalysis, MetricKind, SegmentAnalysis};
use crate::report::{Report, ReportRow};

/// How many messages and recipients of each group get how far.
#[must_use]
pub fn funnel(report: &Report) -> Chart {
    let mut groups: Vec<&ReportRow> = report.rows.iter().collect();
    groups.sort_by(|left, right| compare_groups(&left.group, &right.group));
    // With several currencies a group has a row in each, and the same counts in all.
    groups.dedup_by(|left, right| left.group == right.group);
    // Who got several messages clicks once.
    let are_people = groups.iter().any(|row| row.recipients < row.sent);
    let rows = groups.into_iter().map(|row| {
        let mut stages = vec![("sent".to_owned(), row.sent)];
        let [clicked, converted] =
            if are_people { ["people who clicked", "people who converted"] } else { ["clicked", "converted"] };
        for (name, count) in [("delivered", row.delivered), (clicked, row.clickers), (converted, row.converters)] {
            stages.extend(count.map(|count| (name.to_owned(), count)));
        }
        FunnelRow { label: label_of(row), stages }
    });
    Chart::Funnel {
        title: "From sent to converted".to_owned(),
        subtitle: format!("each % is of messages sent (a report's rates: of {})", people(report)),
        rows: rows.collect(),
    }
}

/// Click rate by the recipient's local hour, of a report grouped by `local_hour` alone.
#[must_use]
pub fn hours(report: &Report) -> Chart {
    let rows = report.rows.iter().unique_by(|row| row.group.values().next().map(ToString::to_string));
    let rows = rows.filter_map(|row| {
        let hour = row.group.values().next()?.as_str()?.parse().ok()?;
        let rate = row.click_rate?;
        let clickers = row.clickers.unwrap_or(0);
        // A report has rates and numerators; without any click the people reached are at most those delivered to.
        let reached = if rate.estimate > 0.0 {
            real(clickers) / rate.estimate
        } else {
            real(row.delivered.map_or(row.recipients, |delivered| delivered.min(row.recipients)))
        };
        Some(HourRow { hour, sent: row.sent, clickers, reached, rate: rate.estimate, low: rate.low, high: rate.high })
    });
    Chart::Hours {
        title: "Click rate by the recipient's local hour".to_owned(),
        subtitle: format!("clickers as a share of {}, with {REPORT_LEVEL} intervals", people(report)),
        rows: rows.collect(),
    }
}

/// The level of the intervals in the reports of all faces.
const REPORT_LEVEL: &str = "95 %";

/// The people whom a report's rates are shares of.
fn people(report: &Report) -> &'static str {
    if report.rows.iter().all(|row| row.denominator == "submitted") {
        "recipients sent to"
    } else {
        "recipients delivered to"
    }
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
    let mut treatments: Vec<&str> = analysis
        .arms
        .iter()
        .filter(|arm| !arm.kept_apart && arm.arm != analysis.control)
        .map(|arm| arm.arm.as_str())
        .collect();
    treatments.sort_by(|left, right| compare_naturally(left, right));
    let mut rows = Vec::new();
    for metric in metrics {
        let mut comparisons: Vec<&ArmsComparison> = metric.comparisons.iter().collect();
        comparisons.sort_by(|left, right| compare_naturally(&left.arm, &right.arm));
        for comparison in comparisons {
            let arm = if treatments.len() > 1 { format!(" · {}", comparison.arm) } else { String::new() };
            let lift = comparison.deciding_lift();
            // Blue is an increase; of a guardrail that is no good news.
            let detail = lift.note.clone().or_else(|| metric.is_guardrail().then(|| "less is better".to_owned()));
            rows.push(IntervalRow {
                label: format!("{}{arm}{}", metric.metric, role(metric)),
                estimate: lift.estimate,
                low: lift.low,
                high: lift.high,
                detail,
            });
        }
    }
    Ok(Chart::Intervals {
        title: format!("{}: lift of {} over {}", analysis.experiment, treatments.join(", "), analysis.control),
        axis: format!("relative change, with {} intervals", analysis.interval_level()),
        unit: AxisUnit::Percent,
        rows,
    })
}

/// What a metric is for, behind its name.
fn role(metric: &MetricAnalysis) -> &'static str {
    if metric.is_primary() {
        " (primary)"
    } else if metric.is_guardrail() {
        " (guardrail)"
    } else {
        ""
    }
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
    let mut found: Vec<&SegmentAnalysis> = metric.segments.iter().collect();
    found.sort_by(|left, right| compare_groups(&left.segment, &right.segment));
    let each = found.iter().filter_map(|segment| {
        let label =
            segment.segment.values().map(|value| value.as_str().unwrap_or("(none)")).collect::<Vec<_>>().join(" · ");
        segment.comparisons.first().map(|comparison| row(label, comparison))
    });
    let arm = metric.comparisons.first().map_or("", |comparison| comparison.arm.as_str());
    let mut columns: Vec<&str> = found.iter().flat_map(|segment| segment.segment.keys().map(String::as_str)).collect();
    columns.dedup();
    let (unit, of_unit) = match metric.kind {
        MetricKind::Proportion => (AxisUnit::PercentagePoints, " in percentage points"),
        _ => (AxisUnit::Plain, ""),
    };
    Ok(Chart::Intervals {
        title: format!("{} by {}: {arm} against {}", metric.metric, columns.join(", "), analysis.control),
        axis: format!("difference{of_unit}, with {} intervals", analysis.interval_level()),
        unit,
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
