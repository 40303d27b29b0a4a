//! Sooner or more: do the recommended windows bring clicks that would not have come, or the same ones earlier?

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;

use super::analyze::Known;
use super::answer::WindowName;
use super::request::WindowsRequest;
use crate::error::Result;
use crate::query::{QuerySession, text_literal};
use crate::stats::send_windows::WindowAssignment;
use crate::stats::time_to_click::{ClickInterval, IntervalCounts, TimingComparison, TimingOptions, compare_timing};

/// Where the intervals since the send begin, in hours; the last ends with the horizon.
const BEGINNINGS: [f64; 7] = [0.0, 1.0, 3.0, 6.0, 12.0, 24.0, 48.0];
/// Shares of clickers closer than this are the same.
const SHARE_MARGIN: f64 = 0.005;
/// Mean times closer than this, in hours, are the same.
const TIME_MARGIN: f64 = 0.5;

/// Compares the recommended windows with the other legal ones, over the campaigns whose windows were drawn at random; none
/// without any.
pub(super) async fn sooner_or_more(
    session: &QuerySession,
    request: &WindowsRequest,
    known: &Known,
    recommended: &[WindowName],
) -> Result<Option<TimingComparison>> {
    let drawn = known.table.campaigns.iter().zip(&known.table.assignments);
    let campaigns: Vec<String> = drawn
        .filter(|(_, assignment)| **assignment == WindowAssignment::Randomised)
        .map(|(name, _)| text_literal(name))
        .collect();
    if campaigns.is_empty() {
        return Ok(None);
    }
    let chosen: Vec<String> = known
        .slots
        .all()
        .iter()
        .enumerate()
        .filter(|(_, slot)| recommended.contains(&WindowName::of(slot)))
        .map(|(place, _)| place.to_string())
        .collect();
    let legal = known.legal_for(None);
    let allowed: Vec<String> =
        legal.iter().enumerate().filter(|(_, legal)| **legal).map(|(place, _)| place.to_string()).collect();
    if chosen.is_empty() || allowed.len() == chosen.len() {
        return Ok(None);
    }
    let horizon_days = request.horizon_days.unwrap_or(session.settings.attribution.window_days);
    let horizon = f64::from(horizon_days) * 24.0;
    let intervals: Vec<ClickInterval> = BEGINNINGS
        .iter()
        .filter(|start| **start < horizon)
        .zip(BEGINNINGS.iter().skip(1).copied().chain([f64::INFINITY]))
        .map(|(start, end)| ClickInterval { start: *start, end: end.min(horizon) })
        .collect();
    let slot = known.slots.sql("f.local_weekday", "f.local_hour");
    let since =
        |moment: &str| format!("(arrow_cast(f.{moment}, 'Int64') - arrow_cast(f.sent_at, 'Int64')) / 3600000000.0");
    // The interval of the first click and of the opt-out; -1 where there is none within the horizon.
    let place = |moment: &str| {
        let hours = since(moment);
        let cases: String = intervals
            .iter()
            .enumerate()
            .map(|(place, interval)| format!(" WHEN {hours} <= {:?} THEN {place}", interval.end))
            .collect();
        format!("CASE WHEN f.{moment} IS NULL OR {hours} < 0 THEN -1{cases} ELSE -1 END")
    };
    let ripe = session.as_of.as_microsecond() - i64::from(horizon_days) * 86_400_000_000;
    let query = format!(
        "SELECT w, c, o, count(*) FROM (SELECT {slot} IN ({}) AS w, {} AS c, {} AS o FROM message_facts AS f \
         WHERE f.local_hour IS NOT NULL AND f.campaign_id IN ({}) AND {slot} IN ({}) AND arrow_cast(f.sent_at, 'Int64') <= {ripe}) GROUP BY w, c, o",
        chosen.join(", "),
        place("first_click_at"),
        place("opted_out_at"),
        campaigns.join(", "),
        allowed.join(", ")
    );
    let mut groups =
        [vec![IntervalCounts::default(); intervals.len()], vec![IntervalCounts::default(); intervals.len()]];
    for batch in session.collect(&query).await? {
        let numbers = |column: usize| arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Int64);
        let (clicked, opted) = (numbers(1)?, numbers(2)?);
        for row in 0..batch.num_rows() {
            let group = &mut groups[usize::from(batch.column(0).as_boolean().value(row))];
            let at =
                |column: &arrow::array::ArrayRef| usize::try_from(column.as_primitive::<Int64Type>().value(row)).ok();
            let n = batch.column(3).as_primitive::<Int64Type>().value(row).unsigned_abs();
            // What comes first counts; in one interval the click.
            let (click, opt_out) = match (at(&clicked), at(&opted)) {
                (Some(click), Some(opt_out)) if opt_out < click => (None, Some(opt_out)),
                (Some(click), _) => (Some(click), None),
                (None, opt_out) => (None, opt_out),
            };
            let until = click.or(opt_out).unwrap_or(intervals.len() - 1);
            for (place, counts) in group.iter_mut().enumerate().take(until + 1) {
                counts.at_risk += n;
                counts.clicks += if click == Some(place) { n } else { 0 };
                counts.opt_outs += if opt_out == Some(place) { n } else { 0 };
            }
        }
    }
    let [others, window] = groups;
    let options = TimingOptions { alpha: 0.1, share_margin: SHARE_MARGIN, time_margin: TIME_MARGIN };
    Ok(Some(compare_timing(&intervals, &others, &window, options)?))
}
