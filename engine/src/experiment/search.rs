//! A search for the segments in which an arm works, with honest splitting: found on one half of the units, measured on
//! the other.
//!
//! Enters: the statistics of each segment on either half. Leaves: the segments that the first half pointed to, with their
//! effect on the second, corrected for how many were picked; and how much better they looked on the first.

use serde::Serialize;
use serde_json::{Map, Value};

use super::metric::MetricKind;
use super::sample::{ByArm, MetricSample};
use super::statistic::ArmStatistic;
use crate::error::Result;
use crate::stats::segment_search::{
    Arms, FoundSegment, Question, SearchOptions, SegmentHalves, SegmentSearch, search_means, search_proportions,
};
use crate::stats::{Direction, Moments, Proportion};

/// The segments of one column in which an arm was found to work.
#[derive(Debug, Clone, Serialize)]
pub struct SearchResult {
    /// The column.
    pub column: String,
    /// The arm that is held against the control.
    pub arm: String,
    /// Those that the first half pointed to; the honest effect is the one to report.
    pub found: Vec<NamedSegment>,
    /// What came of it, with the effect of all found together.
    #[serde(flatten)]
    pub search: SegmentSearch,
}

/// A segment that was found.
#[derive(Debug, Clone, Serialize)]
pub struct NamedSegment {
    /// The column and its value.
    pub segment: Map<String, Value>,
    /// Both halves' effects.
    #[serde(flatten)]
    pub result: FoundSegment,
}

/// Searches all columns of a metric for every arm; nothing where no halves were read, or the metric is no share or mean.
pub(crate) fn search_segments(
    metric: &MetricSample,
    control: &str,
    treatments: &[String],
    alpha: f64,
) -> Result<Vec<SearchResult>> {
    let mut results = Vec::new();
    if !matches!(metric.kind, MetricKind::Proportion | MetricKind::Mean) {
        return Ok(results);
    }
    for (column, segments) in &metric.halves {
        for arm in treatments {
            let options = SearchOptions {
                question: Question::BetterThanNone,
                direction: if metric.lower_is_better { Direction::LowerIsBetter } else { Direction::HigherIsBetter },
                disjoint: true,
                alpha,
                ..SearchOptions::default()
            };
            let halves = segments.values();
            let mut search = if metric.kind == MetricKind::Proportion {
                let counts = |arms: &ByArm, arm: &str| match arms.get(arm) {
                    Some(ArmStatistic::Proportion(counts)) => *counts,
                    _ => Proportion::default(),
                };
                let of = |arms: &ByArm| Arms { control: counts(arms, control), treatment: counts(arms, arm) };
                let each = halves.map(|[first, second]| SegmentHalves { discovery: of(first), estimation: of(second) });
                search_proportions(&each.collect::<Vec<_>>(), options)?
            } else {
                let moments =
                    |arms: &ByArm, arm: &str| arms.get(arm).map_or(Ok(Moments::default()), ArmStatistic::moments);
                let of = |arms: &ByArm| -> Result<Arms<Moments>> {
                    Ok(Arms { control: moments(arms, control)?, treatment: moments(arms, arm)? })
                };
                let each = halves
                    .map(|[first, second]| Ok(SegmentHalves { discovery: of(first)?, estimation: of(second)? }))
                    .collect::<Result<Vec<_>>>()?;
                search_means(&each, options)?
            };
            let names: Vec<&Option<String>> = segments.keys().collect();
            let found = std::mem::take(&mut search.found)
                .into_iter()
                .map(|result| {
                    let value = names.get(result.index).and_then(|name| name.as_deref());
                    let value = value.map_or(Value::Null, Value::from);
                    NamedSegment { segment: Map::from_iter([(column.clone(), value)]), result }
                })
                .collect();
            results.push(SearchResult { column: column.clone(), arm: arm.clone(), found, search });
        }
    }
    Ok(results)
}
