//! From a list to a send schedule that learns: each recipient's window, drawn, with the probability it was drawn with.
//!
//! In: a list of recipients, what the facts say of windows, and how much to explore. Out: a file with each recipient's
//! window, propensity and reason. The propensities come back in the sends log as `send_propensity` and make the next fit
//! causal. Where hours cannot be compared yet, windows are drawn evenly.

mod classes;
mod list;
mod writer;

use std::path::Path;

use arrow::array::AsArray as _;
use arrow::datatypes::Int64Type;
use futures::StreamExt as _;
use serde::Serialize;

use super::analyze::Known;
use super::answer::{WindowName, WindowsIdentification};
use super::cells::Clicks;
use super::legal::LegalByPlace;
use super::request::WindowsRequest;
use crate::error::Result;
use crate::ingest::input::Input;
use crate::permission::PermissionRules;
use crate::query::QuerySession;
use crate::stats::schedule::{PosteriorDraws, ScheduleOptions, plan_schedule};
use crate::stats::send_windows::{Identification, SlotOutlook, WindowOutlook};
use crate::table_file::{check_name, check_not_input};
use classes::Classes;
use list::List;
use writer::Writer;

/// Draws from each posterior.
const DRAWS: u32 = 4_000;

/// A list and how it is to be scheduled.
#[derive(Debug, Clone)]
pub struct ScheduleRequest {
    /// The list, in any format that an ingest reads.
    pub list: Input,
    /// Its column of recipients.
    pub unit: String,
    /// What the windows are compared by.
    pub windows: WindowsRequest,
    /// Least probability of a legal window.
    pub propensity_floor: f64,
    /// Share of the recipients whose window is drawn evenly, for good.
    pub uniform_share: f64,
    /// Messages that each window of the week can carry; none for as many as there are.
    pub capacity: Option<u64>,
    /// Who may be sent to.
    pub permission: PermissionRules,
    /// The same seed gives the same schedule; take another for every campaign.
    pub seed: u64,
}

/// What was scheduled.
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleSummary {
    /// Whether the windows could be compared; where not, they were drawn evenly.
    pub identification: WindowsIdentification,
    /// Recipients of the list.
    pub recipients: u64,
    /// Those with a window.
    pub scheduled: u64,
    /// Those without one, by reason.
    pub left_out: Vec<ReasonCount>,
    /// Recipients in each window.
    pub windows: Vec<WindowLoad>,
    /// The least propensity of all.
    pub least_propensity: Option<f64>,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Recipients by reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub n: u64,
}

impl ReasonCount {
    /// Counts one more recipient under a reason.
    pub(crate) fn count(counts: &mut Vec<Self>, reason: &'static str) {
        match counts.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.n += 1,
            None => counts.push(Self { reason, n: 1 }),
        }
    }
}

/// Recipients in a window.
#[derive(Debug, Clone, Serialize)]
pub struct WindowLoad {
    /// The window.
    #[serde(flatten)]
    pub window: WindowName,
    /// Its recipients.
    pub n: u64,
}

/// Schedules a list into a file (`.csv`, `.ndjson` or `.parquet`).
///
/// # Errors
/// When the list cannot be read or has no such column, a share is none, or the file cannot be written.
pub async fn schedule_list(session: &QuerySession, request: &ScheduleRequest, out: &Path) -> Result<ScheduleSummary> {
    check_name(out)?;
    check_not_input(out, &request.list)?;
    let known = Known::of(session, &request.windows).await?;
    let all = vec![true; known.slots.len()];
    let identification = known.identification(request.windows.objective, &all)?;
    let (kind, posteriors, segments) = posteriors(&known, request, &identification, &all)?;
    let list = List::open(session, request).await?;
    let result = schedule(&list, &known, request, (posteriors, segments), out, kind).await;
    list.close()?;
    result
}

/// The segments that have a posterior of their own, by the values of the columns; all others have the first.
type Segments = Vec<Vec<Option<String>>>;

fn posteriors(
    known: &Known,
    request: &ScheduleRequest,
    identification: &Identification,
    all: &[bool],
) -> Result<(WindowsIdentification, Vec<PosteriorDraws>, Segments)> {
    let (kind, _) = WindowsIdentification::told(identification);
    let Some(timing) = identification.timing() else {
        // Nothing is known of any window: each is as likely the best as any other.
        let slots = known.slots.len();
        let even = PosteriorDraws::of_normal(&vec![0.0; slots], &diagonal(&vec![1.0; slots]), DRAWS, request.seed)?;
        return Ok((kind, vec![even], Vec::new()));
    };
    let objective = request.windows.objective;
    let fit = known.fit(timing, objective, Clicks::Human, all, request.windows.seed)?;
    let mut found = vec![draws_of(&fit.overall, request.seed)?];
    let mut segments = Vec::new();
    for segment in &fit.segments {
        found.push(draws_of(&segment.outlook, request.seed)?);
        segments.push(known.table.segments.get(segment.segment).cloned().unwrap_or_default());
    }
    Ok((kind, found, segments))
}

/// Draws of the windows' differences from current practice. A window of which nothing is known is as good as practice,
/// and as uncertain as the least certain of the others.
fn draws_of(outlook: &WindowOutlook, seed: u64) -> Result<PosteriorDraws> {
    let known: Vec<Option<(f64, f64)>> = outlook.slots.iter().map(SlotOutlook::normal_difference).collect();
    let widest = known.iter().flatten().map(|(_, spread)| *spread).fold(0.0, f64::max);
    let (means, spreads): (Vec<f64>, Vec<f64>) = known.iter().map(|slot| slot.unwrap_or((0.0, widest))).unzip();
    let squares: Vec<f64> = spreads.iter().map(|spread| spread * spread).collect();
    Ok(PosteriorDraws::of_normal(&means, &diagonal(&squares), DRAWS, seed)?)
}

fn diagonal(values: &[f64]) -> Vec<f64> {
    let width = values.len();
    let mut matrix = vec![0.0; width * width];
    for (place, value) in values.iter().enumerate() {
        matrix[place * width + place] = *value;
    }
    matrix
}

/// A probability so much below the floor is not below it by rounding.
const ROUNDED: f64 = 1.0 - 1e-9;

/// First how many there are of each kind, so that capacities are in the probabilities; then the file.
async fn schedule(
    list: &List<'_>,
    known: &Known,
    request: &ScheduleRequest,
    (posteriors, segments): (Vec<PosteriorDraws>, Segments),
    out: &Path,
    kind: WindowsIdentification,
) -> Result<ScheduleSummary> {
    let keys: String = (0..list.by).map(|place| format!(", k{place}")).collect();
    let kind_columns = format!("country, region, time_zone, refusal{keys}");
    let kinds =
        format!("SELECT '' AS unit, {kind_columns}, count(*) FROM ({}) AS listed GROUP BY {kind_columns}", list.query);
    let mut classes =
        Classes { legal: LegalByPlace::new(&known.legal, known.slots.all()), segments: &segments, classes: Vec::new() };
    for batch in list.session.collect(&kinds).await? {
        let count = batch.column(5 + list.by).as_primitive::<Int64Type>();
        for (row, (kind, _)) in list.kinds(&batch)?.into_iter().enumerate() {
            if let Some((class, _)) = classes.of(&kind)? {
                classes.classes[class].recipients += count.value(row).unsigned_abs();
            }
        }
    }
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    let capacities = vec![request.capacity.map(|capacity| capacity as f64); known.slots.len()];
    let options = ScheduleOptions {
        propensity_floor: request.propensity_floor,
        // Where nothing is known, draws of what is believed are even but for their noise: all are drawn evenly.
        uniform_share: match kind {
            WindowsIdentification::NotIdentifiable => 1.0,
            _ => request.uniform_share,
        },
        seed: request.seed,
        ..ScheduleOptions::default()
    };
    let schedule = plan_schedule(&classes.classes, &posteriors, &capacities, options)?;
    let mut writer = Writer::new(known, out)?;
    // In the order of the recipients: that of a join hangs on the number of cores.
    let mut stream = list.session.sql(&format!("{} ORDER BY unit", list.query)).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let rows = list.kinds(&batch)?;
        writer.write(&rows, &mut classes, &schedule)?;
    }
    let mut summary = writer.finish(kind)?;
    summary.least_propensity = schedule.classes.iter().filter_map(|class| class.least_propensity).reduce(f64::min);
    summary.notes = schedule.notes;
    if let Some(least) = summary.least_propensity.filter(|least| *least < request.propensity_floor * ROUNDED) {
        summary.notes.push(format!(
            "a floor of {} does not go with so many windows, or with their capacity: the least probability is {least:.4}",
            request.propensity_floor
        ));
    }
    if list.repeated > 0 {
        summary.notes.push(format!(
            "{} rows of the list name a recipient again: each has one row in the schedule",
            list.repeated
        ));
    }
    if list.unnamed > 0 {
        summary.notes.push(format!("{} rows of the list name nobody: they are not in the schedule", list.unnamed));
    }
    if kind == WindowsIdentification::NotIdentifiable {
        summary.notes.push(
            "nothing tells one window from another yet: they were drawn evenly, and the next fit will tell".to_owned(),
        );
    }
    Ok(summary)
}
