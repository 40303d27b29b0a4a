//! From the facts to counts by campaign, zone, segment, window and kind of day, in one pass.
//!
//! Left out, each counted: messages whose time has not run out, of recipients without a known time zone, that were held
//! back after the moment they were scheduled for, and suspected clicks of machines.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use serde::Serialize;

use super::calendar::day_kind_sql;
use super::campaigns::{read_campaigns, were_drawn_sql};
use super::drawn::DrawnCampaign;
use super::holidays::Holidays;
use super::moments::{Moments, Volume};
use super::outcomes::{Outcomes, outcomes};
use super::request::{Objective, WindowsRequest};
use super::slots::Slots;
use crate::error::{EngineError, Result};
use crate::facts::DAY_MICROSECONDS;
use crate::query::{QuerySession, has_column, text_literal};
use crate::report::Grouping;
use crate::stats::send_windows::{CampaignTiming, StratumSends, WindowAssignment, WindowCell};
use crate::store::MESSAGE_FACTS;

/// A message that went out so much later than it was scheduled was held back.
const HELD_SECONDS: i64 = 15 * 60;
/// Segments that are answered one by one at most.
const MOST_SEGMENTS: usize = 200;

/// Messages that took no part, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Their time to respond has not run out.
    pub immature: u64,
    /// Their recipient's time zone is not known.
    pub without_time_zone: u64,
    /// They were held back after the moment they were scheduled for.
    pub held_back: u64,
    /// Their window was not drawn among others (no propensity, or one of 1), while those of their campaign's others were.
    pub without_propensity: u64,
}

/// SQL for a message whose window was drawn, among others, with a probability that was logged.
pub(super) const WITH_PROPENSITY: &str = "(f.send_propensity > 0 AND f.send_propensity < 1)";
/// The columns that say where a message's recipient is.
pub(super) const OF_PLACE: &str = "f.time_zone, f.country, f.region";
/// SQL for the clock and the place of a message's recipient: where they differ, so may the windows that were drawn from. It
/// is put together of groups by [`OF_PLACE`] (`f` again), and not message by message.
pub(super) const PLACE: &str =
    "concat(coalesce(f.time_zone, ''), '|', coalesce(f.country, ''), '|', coalesce(f.region, ''))";

/// Where a recipient lives, as far as the law goes.
pub(crate) type Place = (Option<String>, Option<String>);

/// One cell of the table, with the sums of every objective.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) campaign: usize,
    pub(crate) stratum: usize,
    pub(crate) segment: usize,
    pub(crate) slot: usize,
    pub(crate) day_kind: usize,
    /// Messages.
    pub(crate) n: u64,
    /// Messages that say as much as these, each weighted by one over its propensity: as many where these are alike.
    pub(crate) effective: u64,
    /// These weights added up, and their squares; of windows that were not drawn each is 1.
    pub(super) weights: (f64, f64),
    /// Sum and sum of squares of so many by objective, and those of clicks with the suspected ones.
    sums: [(f64, f64); 5],
}

/// Which clicks count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clicks {
    Human,
    /// With those of suspected machines.
    All,
}

impl Cell {
    pub(crate) fn of(&self, objective: Objective, clicks: Clicks) -> WindowCell {
        let place = match (objective, clicks) {
            (Objective::Click, Clicks::Human) => 0,
            (Objective::Click, Clicks::All) => 4,
            (Objective::Conversion, _) => 1,
            (Objective::Revenue, _) => 2,
            (Objective::Profit, _) => 3,
        };
        let (sum, sum_of_squares) = self.sums[place];
        WindowCell {
            campaign: self.campaign,
            stratum: self.stratum,
            segment: self.segment,
            slot: self.slot,
            day_kind: self.day_kind,
            n: self.effective,
            sum,
            sum_of_squares,
        }
    }
}

/// All that was counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) cells: Vec<Cell>,
    pub(crate) campaigns: Vec<String>,
    pub(crate) segments: Vec<Vec<Option<String>>>,
    pub(crate) places: Vec<Place>,
    /// What strata are: the clock, and where windows were drawn the place ([`PLACE`]).
    pub(crate) strata: Vec<String>,
    /// Every place of a segment's recipients, whether or not their messages could be counted.
    pub(crate) places_of: Vec<(usize, usize)>,
    /// What was drawn, by campaign; of the others nothing.
    pub(crate) drawn: BTreeMap<String, DrawnCampaign>,
    pub(crate) assignments: Vec<WindowAssignment>,
    pub(crate) left_out: LeftOut,
    /// Days from the first to the last message, both included.
    pub(crate) days: f64,
    /// How much was sent, also of what could not be counted; none where nothing was.
    pub(super) volume: Option<Volume>,
    /// Which objectives the logs tell.
    pub(crate) known: Vec<Objective>,
    pub(crate) notes: Vec<String>,
}

impl Table {
    /// When the messages of each campaign went out, of all segments.
    pub(crate) fn timings(&self) -> Vec<CampaignTiming> {
        let mut sends: BTreeMap<(usize, usize, usize), u64> = BTreeMap::new();
        for cell in &self.cells {
            *sends.entry((cell.campaign, cell.stratum, cell.slot)).or_default() += cell.n;
        }
        let mut timings: BTreeMap<usize, CampaignTiming> = BTreeMap::new();
        for ((campaign, stratum, slot), n) in sends {
            let timing = timings.entry(campaign).or_insert_with(|| CampaignTiming {
                campaign,
                assignment: self.assignments.get(campaign).copied().unwrap_or(WindowAssignment::Chosen),
                sends: Vec::new(),
            });
            timing.sends.push(StratumSends { stratum, slot, n });
        }
        timings.into_values().collect()
    }

    /// What the messages weigh whose windows were drawn from some, and the squares of that, by campaign and place: those in
    /// the other windows of `all`, and those in the `chosen` ones.
    pub(super) fn weights(&self, chosen: &[usize], all: &[usize]) -> BTreeMap<(String, String), [(f64, f64); 2]> {
        let mut weights: BTreeMap<(String, String), [(f64, f64); 2]> = BTreeMap::new();
        let is_drawn = |cell: &&Cell| self.assignments.get(cell.campaign) == Some(&WindowAssignment::Randomised);
        for cell in self.cells.iter().filter(is_drawn).filter(|cell| all.contains(&cell.slot)) {
            let stratum = (self.campaigns[cell.campaign].clone(), self.strata[cell.stratum].clone());
            let sums = &mut weights.entry(stratum).or_default()[usize::from(chosen.contains(&cell.slot))];
            *sums = (sums.0 + cell.weights.0, sums.1 + cell.weights.1);
        }
        weights
    }

    pub(crate) fn sends(&self) -> u64 {
        self.cells.iter().map(|cell| cell.n).sum()
    }
}

/// SQL for a message that was held back after the moment it was scheduled for.
pub(crate) fn held_sql() -> String {
    format!(
        "(f.scheduled_at IS NOT NULL AND arrow_cast(f.sent_at, 'Int64') - arrow_cast(f.scheduled_at, 'Int64') > {})",
        HELD_SECONDS * 1_000_000
    )
}

/// Logs that end so long before their last commit may have been cut off there.
const QUIET: i64 = DAY_MICROSECONDS;

/// Which messages had their time to respond: those sent at or before a moment.
pub(super) struct Ripe {
    pub(super) until: i64,
    /// What is not known of them.
    pub(super) note: Option<String>,
}

impl Ripe {
    /// By the clock of the last commit all whose time has passed since. Where the logs tell of nothing for long before it, they
    /// may have been cut off: then only those whose time had passed within the logs, if that leaves half of them; of a single
    /// campaign after which nothing came, all, with a note.
    pub(super) async fn of(session: &QuerySession, request: &WindowsRequest) -> Result<Self> {
        let horizon_days = request.horizon_days.unwrap_or(session.settings.attribution.window_days);
        let horizon = i64::from(horizon_days) * DAY_MICROSECONDS;
        let by_clock = session.as_of.as_microsecond() - horizon;
        let end = session.end_of_logs().await?;
        let by_logs = end.as_microsecond() - horizon;
        if session.as_of.as_microsecond() - end.as_microsecond() <= QUIET {
            return Ok(Self { until: by_clock, note: None });
        }
        let query = format!(
            "SELECT count(*) FILTER (WHERE {SENT} <= {by_logs}), count(*) FILTER (WHERE {SENT} <= {by_clock}) FROM message_facts AS f \
             WHERE {}",
            of_campaign(request)
        );
        let found = session.collect(&query).await?;
        let counted = |place: usize| {
            let batch = found.iter().find(|batch| batch.num_rows() > 0);
            batch.map_or(0, |batch| batch.column(place).as_primitive::<Int64Type>().value(0))
        };
        let (surely, all) = (counted(0), counted(1));
        let open = all - surely;
        if open == 0 {
            return Ok(Self { until: by_clock, note: None });
        }
        let what = format!("the logs tell of nothing after {end}, long before they were taken in");
        Ok(if surely * 2 >= all {
            let note = format!(
                "{what}: {open} messages of the {horizon_days} days before it are left out, whose responses may be missing"
            );
            Self { until: by_logs, note: Some(note) }
        } else {
            let note = format!(
                "{what}: if they were cut off there, responses to {open} of {all} messages are missing, most of all to the last ones, \
                 and what is said of windows is wrong; take in logs of the {horizon_days} days after it"
            );
            Self { until: by_clock, note: Some(note) }
        })
    }
}

/// SQL for the moment of a send, in microseconds.
const SENT: &str = "arrow_cast(f.sent_at, 'Int64')";

/// SQL for a message that takes part: of the campaign, with its time run out, in a known zone, not held back.
pub(crate) async fn takes_part(session: &QuerySession, request: &WindowsRequest) -> Result<String> {
    Ok(takes_part_until(request, Ripe::of(session, request).await?.until))
}

/// The same where it is known until when messages had their time.
fn takes_part_until(request: &WindowsRequest, until: i64) -> String {
    format!("{} AND {SENT} <= {until} AND {ZONED} AND NOT {}", of_campaign(request), held_sql())
}

/// SQL for a message whose local hour is known.
pub(super) const ZONED: &str = "f.local_hour IS NOT NULL";

/// SQL for a message of the campaign that is asked for.
pub(super) fn of_campaign(request: &WindowsRequest) -> String {
    match &request.campaign {
        Some(campaign) => format!("f.campaign_id = {}", text_literal(campaign)),
        None => "TRUE".to_owned(),
    }
}

/// Takes away the few messages of a drawn campaign that are in windows which it did not draw: late ones, mostly.
fn leave_out_strays(table: &mut Table) {
    let Table { cells, campaigns, drawn, .. } = table;
    let is_stray = |cell: &Cell| {
        campaigns.get(cell.campaign).and_then(|name| drawn.get(name)).is_some_and(|of| of.strays.contains(&cell.slot))
    };
    let astray: u64 = cells.iter().filter(|cell| is_stray(cell)).map(|cell| cell.n).sum();
    if astray > 0 {
        cells.retain(|cell| !is_stray(cell));
        table.notes.push(format!(
            "{astray} messages of drawn campaigns went out in windows that these did not draw, late for the most part: they are left out"
        ));
    }
}

/// Counts the messages of a request.
pub(crate) async fn count(
    session: &QuerySession,
    request: &WindowsRequest,
    slots: &Slots,
    holidays: &Holidays,
) -> Result<Table> {
    let grouping = Grouping::resolve(session, &request.by, "UTC").await?.with_history(session).await?;
    let schema = session.schema(MESSAGE_FACTS).await?;
    let horizon_days = request.horizon_days.unwrap_or(session.settings.attribution.window_days);
    let horizon = i64::from(horizon_days) * DAY_MICROSECONDS;
    let Ripe { until: ripe, note } = Ripe::of(session, request).await?;
    let outcomes = outcomes(session, request, horizon).await?;
    let propensity =
        if has_column(&schema, "send_propensity") { "f.send_propensity" } else { "arrow_cast(NULL, 'Float64')" };
    let campaign = of_campaign(request);
    let mut table = Table { known: outcomes.known.clone(), notes: outcomes.notes.clone(), ..Table::default() };
    table.notes.extend(grouping.notes());
    table.notes.extend(note);
    let moments = Moments::read(session, &campaign, ripe, propensity).await?;
    table.left_out = moments.left_out();
    table.volume = moments.volume();
    let span = read_campaigns(&moments, &mut table, slots);

    let keys: Vec<String> = grouping.expressions().iter().map(|key| format!("arrow_cast({key}, 'Utf8')")).collect();
    let kind = day_kind_sql(holidays, moments.countries(), span);
    let query =
        cells_query(&grouping, &keys, slots, &outcomes, &kind, (&table, propensity), &takes_part_until(request, ripe));
    let counted = session.collect(&query).await?;
    let by = request.by.len();
    let mut numbers = NumbersOf::default();
    for batch in counted {
        let (campaign, stratum) = (texts(&batch, 0)?, texts(&batch, 1)?);
        let integers = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Int64);
        let (slot, kind) = (integers(2)?, integers(3)?);
        for row in 0..batch.num_rows() {
            let whole = |array: &ArrayRef| usize::try_from(array.as_primitive::<Int64Type>().value(row)).unwrap_or(0);
            let amount = |place: usize| batch.column(5 + by + place).as_primitive::<Float64Type>().value(row);
            if numbers.segments.names.len() > MOST_SEGMENTS {
                return Err(too_many_segments(request));
            }
            let segment =
                (0..by).map(|key| crate::report::cell_text(&batch, 4 + key, row)).collect::<Result<Vec<_>>>()?;
            let of = table.campaigns.binary_search_by(|name| name.as_str().cmp(campaign.value(row))).unwrap_or(0);
            // Weighted, so many messages alike would say as much (Kish 1965): all of them where weights are alike.
            let (weights, squares) = (amount(10), amount(11));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At most the messages of the cell.
            let effective = ((weights * weights / squares).round() as u64).max(1);
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let share = effective as f64 / weights;
            table.cells.push(Cell {
                campaign: of,
                stratum: numbers.strata.of(stratum.value(row).to_owned()),
                segment: numbers.segments.of(segment),
                slot: whole(&slot),
                day_kind: whole(&kind),
                n: batch.column(4 + by).as_primitive::<Int64Type>().value(row).unsigned_abs(),
                effective,
                weights: (weights, squares),
                sums: std::array::from_fn(|place| {
                    (rounded(share * amount(2 * place)), rounded(share * amount(2 * place + 1)))
                }),
            });
        }
    }
    leave_out_strays(&mut table);
    let keys = keys.iter().map(|key| format!(", {key}")).collect::<String>();
    if by == 0 {
        for place in moments.places() {
            table.places_of.push((numbers.segments.of(Vec::new()), numbers.places.of(place)));
        }
    } else {
        read_places(session, &mut table, &mut numbers, &grouping, (&keys, by), &campaign).await?;
    }
    if numbers.segments.names.len() > MOST_SEGMENTS {
        return Err(too_many_segments(request));
    }
    table.places = numbers.places.names;
    table.strata = numbers.strata.names;
    table.segments = numbers.segments.names;
    Ok(table)
}

/// The query of the cells: campaign, stratum, slot, kind of day and the segment's columns, the number of messages,
/// and the weighted sums and sums of squares of each outcome, of the weights and of their squares.
fn cells_query(
    grouping: &Grouping,
    keys: &[String],
    slots: &Slots,
    outcomes: &Outcomes,
    kind: &str,
    (table, propensity): (&Table, &str),
    takes_part: &str,
) -> String {
    // Within a campaign and place windows may still be drawn by more than is asked about here: one over the propensity makes
    // the messages of each window stand for all.
    let drawn = were_drawn_sql(table);
    let weight = match drawn.as_str() {
        "FALSE" => "1.0".to_owned(),
        "TRUE" => format!("1.0 / {propensity}"),
        _ => format!("CASE WHEN {drawn} THEN 1.0 / {propensity} ELSE 1.0 END"),
    };
    let amounts = outcomes.sums(&weight).into_iter().chain([weight.clone(), format!("({weight}) * ({weight})")]);
    let amounts: Vec<String> = amounts.collect();
    let numbered = |kind: &str, n: usize| (0..n).map(|place| format!(", f.{kind}{place}")).collect::<String>();
    let keys_as: String = keys.iter().enumerate().map(|(place, key)| format!(", {key} AS k{place}")).collect();
    let sums_as: String =
        amounts.iter().enumerate().map(|(place, amount)| format!(", sum({amount}) AS a{place}")).collect();
    let sums: String = (0..amounts.len()).map(|place| format!(", sum(f.a{place})")).collect();
    let ordinals = |n: usize| (1..=n).map(|position| position.to_string()).collect::<Vec<_>>().join(", ");
    // First by columns as they are, so that texts are put together once for many messages.
    let by_columns = format!(
        "SELECT f.campaign_id, {OF_PLACE}, {drawn} AS is_drawn, {slot} AS slot, {kind} AS kind{keys_as}, count(*) AS n{sums_as} \
         FROM message_facts AS f{join} \
         WHERE {takes_part} AND (NOT {drawn} OR ({propensity} > 0 AND {propensity} < 1)) GROUP BY {positions}",
        slot = slots.sql("f.local_weekday", "f.local_hour"),
        join = grouping.join(),
        positions = ordinals(7 + keys.len())
    );
    format!(
        "SELECT coalesce(f.campaign_id, ''), CASE WHEN f.is_drawn THEN {PLACE} ELSE coalesce(f.time_zone, '') END, f.slot, \
         f.kind{keys}, sum(f.n){sums} FROM ({by_columns}) AS f GROUP BY {positions} ORDER BY {positions}",
        keys = numbered("k", keys.len()),
        // Segments and zones have their numbers by this order, and random numbers by theirs.
        positions = ordinals(4 + keys.len())
    )
}

/// Strata, places and segments by their numbers.
#[derive(Debug, Default)]
struct NumbersOf {
    strata: Numbers<String>,
    places: Numbers<Place>,
    segments: Numbers<Vec<Option<String>>>,
}

/// Where the recipients of each segment are: the law binds there, also for those of whom nothing could be counted.
async fn read_places(
    session: &QuerySession,
    table: &mut Table,
    numbers: &mut NumbersOf,
    grouping: &Grouping,
    (keys, by): (&str, usize),
    campaign: &str,
) -> Result<()> {
    let query = format!(
        "SELECT DISTINCT coalesce(f.country, ''), coalesce(f.region, ''){keys} FROM message_facts AS f{} WHERE {campaign} ORDER BY {}",
        grouping.join(),
        (1..=2 + by).map(|position| position.to_string()).collect::<Vec<_>>().join(", ")
    );
    for batch in session.collect(&query).await? {
        let (country, region) = (texts(&batch, 0)?, texts(&batch, 1)?);
        for row in 0..batch.num_rows() {
            let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
            let segment =
                (0..by).map(|key| crate::report::cell_text(&batch, 2 + key, row)).collect::<Result<Vec<_>>>()?;
            let place = numbers.places.of((text(country.value(row)), text(region.value(row))));
            table.places_of.push((numbers.segments.of(segment), place));
        }
    }
    Ok(())
}

/// A sum to ten digits: those beyond hang on the order in which rows were added up.
fn rounded(sum: f64) -> f64 {
    if sum == 0.0 || !sum.is_finite() {
        return sum;
    }
    #[allow(clippy::cast_possible_truncation)] // An exponent.
    let scale = 10.0_f64.powi(9 - sum.abs().log10().floor() as i32);
    (sum * scale).round() / scale
}

fn too_many_segments(request: &WindowsRequest) -> EngineError {
    EngineError::usage(format!(
        "{} has more than {MOST_SEGMENTS} values: windows are found for segments, not for each recipient; choose a column with \
         fewer values",
        request.by.join(", ")
    ))
}

/// Numbers for names, in the order of their first appearance.
#[derive(Debug)]
struct Numbers<T> {
    known: BTreeMap<T, usize>,
    names: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), names: Vec::new() }
    }
}

impl<T: Ord + Clone> Numbers<T> {
    fn of(&mut self, name: T) -> usize {
        if let Some(number) = self.known.get(&name) {
            return *number;
        }
        let number = self.names.len();
        self.names.push(name.clone());
        self.known.insert(name, number);
        number
    }
}

pub(super) fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray> {
    Ok(arrow::compute::cast(batch.column(column), &DataType::Utf8)?.as_string::<i32>().clone())
}
