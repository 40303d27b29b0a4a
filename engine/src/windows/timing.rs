//! Sooner or more: do the recommended windows bring clicks that would not have come, or the same ones earlier?

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Float64Type, Int64Type};

use super::analyze::Known;
use super::answer::WindowName;
use super::cells::{OF_PLACE, PLACE, WITH_PROPENSITY, takes_part, texts};
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
    let slots = known.slots.all().iter().enumerate();
    let chosen: Vec<usize> =
        slots.filter(|(_, slot)| recommended.contains(&WindowName::of(slot))).map(|(place, _)| place).collect();
    let legal = known.legal_for(None);
    let allowed: Vec<usize> = legal.iter().enumerate().filter(|(_, legal)| **legal).map(|(place, _)| place).collect();
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
    // Nine in ten messages bring neither: what they weigh is what the cells weigh, less the others. They alone are told apart
    // while the facts are read: every further condition there would be looked at for all messages, on columns that are then
    // read piece by piece.
    let query = format!(
        "SELECT f.w, f.c, f.o, coalesce(f.campaign_id, ''), {PLACE}, sum(f.weights), sum(f.squares), f.is_in FROM (\
         SELECT {slot} IN ({}) AS w, {} AS c, {} AS o, f.campaign_id, {OF_PLACE}, \
         (coalesce(f.campaign_id, '') IN ({}) AND {slot} IN ({}) AND {WITH_PROPENSITY} AND {}) AS is_in, \
         sum(1 / f.send_propensity) AS weights, sum(1 / (f.send_propensity * f.send_propensity)) AS squares \
         FROM message_facts AS f WHERE f.first_click_at IS NOT NULL OR f.opted_out_at IS NOT NULL \
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) AS f GROUP BY 1, 2, 3, 4, 5, 8 ORDER BY 1, 2, 3, 4, 5",
        chosen.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        place("first_click_at"),
        place("opted_out_at"),
        campaigns.join(", "),
        allowed.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
        takes_part(session, request).await?
    );
    let mut strata: BTreeMap<(String, String), [Vec<Fate>; 2]> = BTreeMap::new();
    for batch in session.collect(&query).await? {
        let numbers = |column: usize| arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Int64);
        let (clicked, opted) = (numbers(1)?, numbers(2)?);
        let (names, places) = (texts(&batch, 3)?, texts(&batch, 4)?);
        let is_in = batch.column(7).as_boolean();
        for row in (0..batch.num_rows()).filter(|row| is_in.is_valid(*row) && is_in.value(*row)) {
            let at =
                |column: &arrow::array::ArrayRef| usize::try_from(column.as_primitive::<Int64Type>().value(row)).ok();
            // What comes first counts; in one interval the click.
            let (click, opt_out) = match (at(&clicked), at(&opted)) {
                (None, None) => continue,
                (Some(click), Some(opt_out)) if opt_out < click => (None, Some(opt_out)),
                (Some(click), _) => (Some(click), None),
                (None, opt_out) => (None, opt_out),
            };
            let weight = |column: usize| batch.column(column).as_primitive::<Float64Type>().value(row);
            let fate = Fate { click, opt_out, weight: weight(5), squares: weight(6) };
            let group = usize::from(batch.column(0).as_boolean().value(row));
            let stratum = (names.value(row).to_owned(), places.value(row).to_owned());
            strata.entry(stratum).or_default()[group].push(fate);
        }
    }
    for (stratum, weights) in known.table.weights(&chosen, &allowed) {
        for (fates, (weight, squares)) in strata.entry(stratum).or_default().iter_mut().zip(weights) {
            let without = |all: f64, of: fn(&Fate) -> f64| (all - fates.iter().map(of).sum::<f64>()).max(0.0);
            let neither = (without(weight, |fate| fate.weight), without(squares, |fate| fate.squares));
            fates.push(Fate { click: None, opt_out: None, weight: neither.0, squares: neither.1 });
        }
    }
    let groups = standardised(strata.values(), intervals.len());
    let [others, window] = groups;
    let options = TimingOptions { alpha: 0.1, share_margin: SHARE_MARGIN, time_margin: TIME_MARGIN };
    Ok(Some(compare_timing(&intervals, &others, &window, options)?))
}

/// Messages with one fate.
struct Fate {
    click: Option<usize>,
    opt_out: Option<usize>,
    /// One over their propensities, and its squares, added up.
    weight: f64,
    squares: f64,
}

/// A stratum that both groups have messages in: by how much it counts, the weights and the effective messages of each
/// group, and the messages.
type Shared<'a> = (f64, [(f64, f64); 2], &'a [Vec<Fate>; 2]);

/// Both groups as they would be with the same campaigns and places in each: what differs between campaigns is not the
/// windows' doing. Each stratum counts by the messages that both groups have in it; a group's counts are as many as say so
/// much (Kish 1965).
fn standardised<'a>(strata: impl Iterator<Item = &'a [Vec<Fate>; 2]>, intervals: usize) -> [Vec<IntervalCounts>; 2] {
    let total = |fates: &[Fate], of: fn(&Fate) -> f64| fates.iter().map(of).sum::<f64>();
    let mut shared: Vec<Shared<'_>> = Vec::new();
    for groups in strata {
        let sums = [0, 1].map(|group| {
            let weights = total(&groups[group], |fate| fate.weight);
            (weights, weights * weights / total(&groups[group], |fate| fate.squares))
        });
        if sums.iter().all(|(weights, _)| *weights > 0.0) {
            let [one, other] = sums.map(|(_, effective)| effective);
            shared.push((one * other / (one + other), sums, groups));
        }
    }
    let all: f64 = shared.iter().map(|(share, _, _)| share).sum();
    [0, 1].map(|group| {
        // Variance of a mean over strata that count by their shares, as that of so many messages.
        let variance: f64 = shared.iter().map(|(share, sums, _)| (share / all).powi(2) / sums[group].1).sum();
        let mut counts = vec![[0.0; 3]; intervals];
        for (share, sums, groups) in &shared {
            for fate in &groups[group] {
                let messages = share / all / variance * fate.weight / sums[group].0;
                let until = fate.click.or(fate.opt_out).unwrap_or(intervals - 1);
                for (place, counts) in counts.iter_mut().enumerate().take(until + 1) {
                    counts[0] += messages;
                    counts[1] += if fate.click == Some(place) { messages } else { 0.0 };
                    counts[2] += if fate.opt_out == Some(place) { messages } else { 0.0 };
                }
            }
        }
        // Rounded so that who is at risk is who was before, less those with an event.
        let mut at_risk = None;
        let whole = |number: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At most the messages.
            let whole = number.round() as u64;
            whole
        };
        counts
            .into_iter()
            .map(|[risk, clicks, opt_outs]| {
                let risk = at_risk.unwrap_or_else(|| whole(risk));
                let clicks = whole(clicks).min(risk);
                let opt_outs = whole(opt_outs).min(risk - clicks);
                at_risk = Some(risk - clicks - opt_outs);
                IntervalCounts { at_risk: risk, clicks, opt_outs }
            })
            .collect()
    })
}
