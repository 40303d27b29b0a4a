//! From the facts to counts by campaign, zone, segment, window and kind of day, in one pass.
//!
//! Left out, each counted: messages whose time has not run out, of recipients without a known time zone, that were held
//! back after the moment they were scheduled for, and suspected clicks of machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use datafusion::datasource::MemTable;
use serde::Serialize;

use super::country::code;
use super::drawn::{Drawn, drawn};
use super::holidays::{DayKind, Holidays};
use super::request::{Objective, WindowsRequest};
use super::slots::Slots;
use crate::error::{EngineError, Result};
use crate::facts::{DAY_MICROSECONDS, has_several_currencies};
use crate::query::{QuerySession, has_column, text_literal};
use crate::report::Grouping;
use crate::stats::send_windows::{CampaignTiming, StratumSends, WindowAssignment, WindowCell};
use crate::store::MESSAGE_FACTS;

/// A message that went out so much later than it was scheduled was held back.
const HELD_SECONDS: i64 = 15 * 60;
/// A campaign whose messages went out within so much time went out at one instant.
const INSTANT_SECONDS: i64 = 2 * 60 * 60;
/// Of a campaign's messages so many must say with what probability their window was drawn.
const SHARE_WITH_PROPENSITY: f64 = 0.95;

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
/// SQL for the clock and the place of a message's recipient: where they differ, so may the windows that were drawn from.
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
    pub(crate) drawn: BTreeMap<String, Drawn>,
    pub(crate) assignments: Vec<WindowAssignment>,
    pub(crate) left_out: LeftOut,
    /// Days from the first to the last message, both included.
    pub(crate) days: f64,
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

    pub(crate) fn sends(&self) -> u64 {
        self.cells.iter().map(|cell| cell.n).sum()
    }
}

/// The SQL of what a message brought within the horizon, by objective, and of its clicks with the suspected ones.
struct Outcomes {
    sql: [String; 5],
    known: Vec<Objective>,
    notes: Vec<String>,
}

/// SQL for a message that was held back after the moment it was scheduled for.
pub(crate) fn held_sql() -> String {
    format!(
        "(f.scheduled_at IS NOT NULL AND arrow_cast(f.sent_at, 'Int64') - arrow_cast(f.scheduled_at, 'Int64') > {})",
        HELD_SECONDS * 1_000_000
    )
}

/// SQL for a message that takes part: of the campaign, with its time run out, in a known zone, not held back.
pub(crate) fn takes_part(session: &QuerySession, request: &WindowsRequest) -> String {
    let horizon =
        i64::from(request.horizon_days.unwrap_or(session.settings.attribution.window_days)) * DAY_MICROSECONDS;
    format!(
        "{} AND arrow_cast(f.sent_at, 'Int64') <= {} AND {ZONED} AND NOT {}",
        of_campaign(request),
        session.as_of.as_microsecond() - horizon,
        held_sql()
    )
}

/// SQL for a message whose local hour is known.
const ZONED: &str = "f.local_hour IS NOT NULL";

/// SQL for a message of the campaign that is asked for.
fn of_campaign(request: &WindowsRequest) -> String {
    match &request.campaign {
        Some(campaign) => format!("f.campaign_id = {}", text_literal(campaign)),
        None => "TRUE".to_owned(),
    }
}

/// SQL for what a message brought within the horizon, of the objective asked for.
pub(crate) fn outcome_sql(session: &QuerySession, request: &WindowsRequest) -> String {
    let days = request.horizon_days.unwrap_or(session.settings.attribution.window_days);
    let [click, conversion, revenue, profit, _] = outcome_columns(request, i64::from(days) * DAY_MICROSECONDS);
    match request.objective {
        Objective::Click => click,
        Objective::Conversion => conversion,
        Objective::Revenue => revenue,
        Objective::Profit => profit,
    }
}

/// SQL for click, conversion, revenue, profit, and clicks with the suspected ones.
fn outcome_columns(request: &WindowsRequest, horizon: i64) -> [String; 5] {
    let within = |moment: &str| {
        let (at, sent) = (format!("arrow_cast(f.{moment}, 'Int64')"), "arrow_cast(f.sent_at, 'Int64')");
        // What came before the message is not its doing: a clock is wrong.
        format!("f.{moment} IS NOT NULL AND {at} >= {sent} AND {at} - {sent} <= {horizon}")
    };
    let yes_or_no = |condition: String| format!("CASE WHEN {condition} THEN 1.0 ELSE 0.0 END");
    let amount = |column: &str| {
        format!(
            "CASE WHEN {} THEN coalesce(arrow_cast(f.{column}, 'Float64'), 0.0) ELSE 0.0 END",
            within("converted_at")
        )
    };
    let cost = "coalesce(arrow_cast(f.cost, 'Float64'), 0.0)";
    let opt_out = yes_or_no(within("opted_out_at"));
    [
        yes_or_no(within("first_click_at")),
        yes_or_no(within("converted_at")),
        amount("revenue"),
        format!("({} - {cost} - {:?} * {opt_out})", amount("margin"), request.opt_out_cost),
        yes_or_no(format!("({}) OR f.machine_clicks > 0", within("first_click_at"))),
    ]
}

async fn outcomes(session: &QuerySession, request: &WindowsRequest, horizon: i64) -> Result<Outcomes> {
    let any = async |condition: &str| {
        session.has_rows(&format!("SELECT 1 FROM message_facts WHERE {condition} LIMIT 1")).await
    };
    let (mut known, mut notes) = (Vec::new(), Vec::new());
    if any("clicks > 0 OR machine_clicks > 0").await? {
        known.push(Objective::Click);
    }
    if any("conversions > 0").await? {
        known.push(Objective::Conversion);
    }
    let whole = session.settings.attribution.window_days;
    let cut = request.horizon_days.is_some_and(|days| days < whole);
    let is_amount = matches!(request.objective, Objective::Revenue | Objective::Profit);
    if cut && is_amount {
        return Err(EngineError::usage(format!(
            "{} is known of the whole attribution window of {whole} days, not of a shorter horizon: leave --horizon out, or ask for \
             click or conversion",
            request.objective.name()
        )));
    }
    if cut {
        notes.push(format!(
            "revenue and profit are known of the whole attribution window of {whole} days alone: they are not looked at"
        ));
    }
    let mixed = has_several_currencies(session, "revenue", "revenue_currency").await?;
    let mixed_costs = has_several_currencies(session, "cost", "currency").await?;
    if any("revenue IS NOT NULL").await? && !mixed && !cut {
        known.push(Objective::Revenue);
    }
    if any("margin IS NOT NULL").await? && !mixed && !mixed_costs && !cut {
        known.push(Objective::Profit);
    }
    if mixed {
        notes.push(
            "amounts are in several currencies, which are not added up: revenue and profit are not looked at"
                .to_owned(),
        );
    }
    if is_amount && (mixed || (request.objective == Objective::Profit && mixed_costs)) {
        return Err(EngineError::usage(format!(
            "amounts are in several currencies, which are not added up: there is no {} to compare windows by; ask for click or \
             conversion",
            request.objective.name()
        )));
    }
    if !known.contains(&request.objective) {
        // Nothing of it in the logs at all is not an error: there is just nothing to tell.
        known.push(request.objective);
    }
    let sql = outcome_columns(request, horizon);
    Ok(Outcomes { sql, known, notes })
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
    let ripe = session.as_of.as_microsecond() - horizon;
    let outcomes = outcomes(session, request, horizon).await?;
    let propensity =
        if has_column(&schema, "send_propensity") { "f.send_propensity" } else { "arrow_cast(NULL, 'Float64')" };
    let campaign = of_campaign(request);
    let mut table = Table { known: outcomes.known, notes: outcomes.notes, ..Table::default() };
    table.notes.extend(grouping.notes());
    if let Some(wanted) = &request.campaign {
        let any = format!("SELECT 1 FROM message_facts AS f WHERE {campaign} LIMIT 1");
        if !session.has_rows(&any).await? {
            return Err(EngineError::NotFound(format!(
                "there is no campaign \"{wanted}\": `sendlift report --by campaign_id` lists them"
            )));
        }
    }
    read_left_out(session, &mut table, &campaign, ripe, ZONED, &held_sql()).await?;

    let takes_part = takes_part(session, request);
    read_campaigns(session, &mut table, propensity, &takes_part, slots).await?;
    let drawn = register_drawn(session, &table)?;

    let keys: Vec<String> = grouping.expressions().iter().map(|key| format!("arrow_cast({key}, 'Utf8')")).collect();
    let dates = register_holidays(session, holidays).await?;
    let query = cells_query(&grouping, &keys, slots, &outcomes.sql, propensity, (&dates, &drawn), &takes_part);
    let counted = session.collect(&query).await;
    for table in [&dates, &drawn] {
        session.context().deregister_table(table.as_str())?;
    }
    let by = request.by.len();
    let mut numbers = NumbersOf::default();
    for batch in counted? {
        let (campaign, zone, country, region) =
            (texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?, texts(&batch, 3)?);
        let integers = |column: usize| arrow::compute::cast(batch.column(column), &DataType::Int64);
        let (slot, kind) = (integers(4)?, integers(5)?);
        for row in 0..batch.num_rows() {
            let whole = |array: &ArrayRef| usize::try_from(array.as_primitive::<Int64Type>().value(row)).unwrap_or(0);
            let amount = |place: usize| batch.column(7 + by + place).as_primitive::<Float64Type>().value(row);
            if numbers.segments.names.len() > MOST_SEGMENTS {
                return Err(too_many_segments(request));
            }
            let segment =
                (0..by).map(|key| crate::report::cell_text(&batch, 6 + key, row)).collect::<Result<Vec<_>>>()?;
            let of = table.campaigns.binary_search_by(|name| name.as_str().cmp(campaign.value(row))).unwrap_or(0);
            let is_drawn = table.assignments.get(of) == Some(&WindowAssignment::Randomised);
            let stratum = if is_drawn {
                format!("{}|{}|{}", zone.value(row), country.value(row), region.value(row))
            } else {
                zone.value(row).to_owned()
            };
            // Weighted, so many messages alike would say as much (Kish 1965): all of them where weights are alike.
            let (weights, squares) = (amount(10), amount(11));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At most the messages of the cell.
            let effective = ((weights * weights / squares).round() as u64).max(1);
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let share = effective as f64 / weights;
            table.cells.push(Cell {
                campaign: of,
                stratum: numbers.strata.of(stratum),
                segment: numbers.segments.of(segment),
                slot: whole(&slot),
                day_kind: whole(&kind),
                n: batch.column(6 + by).as_primitive::<Int64Type>().value(row).unsigned_abs(),
                effective,
                sums: std::array::from_fn(|place| {
                    (rounded(share * amount(2 * place)), rounded(share * amount(2 * place + 1)))
                }),
            });
        }
    }
    let keys = keys.iter().map(|key| format!(", {key}")).collect::<String>();
    read_places(session, &mut table, &mut numbers, &grouping, (&keys, by), &campaign).await?;
    if numbers.segments.names.len() > MOST_SEGMENTS {
        return Err(too_many_segments(request));
    }
    table.places = numbers.places.names;
    table.strata = numbers.strata.names;
    table.segments = numbers.segments.names;
    Ok(table)
}

/// The query of the cells: campaign, zone, country, region, slot, kind of day and the segment's columns, the number of messages,
/// and the weighted sums and sums of squares of each outcome, of the weights and of their squares.
fn cells_query(
    grouping: &Grouping,
    keys: &[String],
    slots: &Slots,
    outcomes: &[String],
    propensity: &str,
    (dates, drawn): (&str, &str),
    takes_part: &str,
) -> String {
    // The local day is the UTC day, the one before or the one after: that which has the local day of the week.
    let local_date = "arrow_cast(f.sent_date, 'Int32') + ((f.local_weekday - CASE date_part('dow', f.sent_date) WHEN 0 THEN 7 \
                      ELSE date_part('dow', f.sent_date) END + 10) % 7) - 3";
    let groups: Vec<String> = [
        "coalesce(f.campaign_id, '')".to_owned(),
        "coalesce(f.time_zone, '')".to_owned(),
        "coalesce(f.country, '')".to_owned(),
        "coalesce(f.region, '')".to_owned(),
        slots.sql("f.local_weekday", "f.local_hour"),
        "coalesce(h.kind, 0)".to_owned(),
    ]
    .into_iter()
    .chain(keys.iter().cloned())
    .collect();
    // Within a campaign and place windows may still be drawn by more than is asked about here: one over the propensity makes
    // the messages of each window stand for all.
    let weight = format!("CASE WHEN d.campaign IS NULL THEN 1.0 ELSE 1.0 / {propensity} END");
    let amounts = outcomes.iter().map(|value| format!("{weight} * ({value})), sum({weight} * ({value}) * ({value})"));
    let sums: String =
        amounts.chain([format!("{weight}), sum({weight} * {weight}")]).map(|sum| format!(", sum({sum})")).collect();
    let positions: Vec<String> = (1..=groups.len()).map(|position| position.to_string()).collect();
    format!(
        "SELECT {}, count(*){sums} FROM message_facts AS f{} LEFT JOIN {dates} AS h ON h.country = f.country AND h.date = {local_date} \
         LEFT JOIN {drawn} AS d ON d.campaign = coalesce(f.campaign_id, '') \
         WHERE {takes_part} AND (d.campaign IS NULL OR ({propensity} > 0 AND {propensity} < 1)) GROUP BY {} ORDER BY {}",
        groups.join(", "),
        grouping.join(),
        positions.join(", "),
        // Segments and zones have their numbers by this order, and random numbers by theirs.
        positions.join(", ")
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

/// How the windows of each campaign came about, and over how many days.
async fn read_campaigns(
    session: &QuerySession,
    table: &mut Table,
    propensity: &str,
    takes_part: &str,
    slots: &Slots,
) -> Result<()> {
    let sent = "arrow_cast(f.sent_at, 'Int64')";
    let campaigns = format!(
        "SELECT coalesce(f.campaign_id, ''), count(*), count(*) FILTER (WHERE {propensity} > 0 AND {propensity} < 1), \
         arrow_cast(min({sent}), 'Int64'), arrow_cast(max({sent}), 'Int64'), \
         count(*) FILTER (WHERE {propensity} > 0 AND {propensity} <= 1) FROM message_facts AS f WHERE {takes_part} \
         GROUP BY coalesce(f.campaign_id, '') ORDER BY 1"
    );
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    let (mut said, mut without_propensity) = (Vec::new(), Vec::new());
    for batch in session.collect(&campaigns).await? {
        let names = texts(&batch, 0)?;
        for row in 0..batch.num_rows() {
            let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
            let with_propensity = number(5) as f64 / number(1) as f64;
            (first, last) = (first.min(number(3)), last.max(number(4)));
            // Who had one legal window alone got it with certainty, which is no gap in the log.
            if with_propensity >= SHARE_WITH_PROPENSITY && number(2) > 0 {
                said.push(names.value(row).to_owned());
                without_propensity.push((number(1) - number(2)).unsigned_abs());
            }
            let assignment = if number(4) - number(3) <= INSTANT_SECONDS * 1_000_000 {
                WindowAssignment::OneInstant
            } else {
                WindowAssignment::Chosen
            };
            table.campaigns.push(names.value(row).to_owned());
            table.assignments.push(assignment);
        }
    }
    let found = drawn(session, slots, &said).await?;
    for (campaign, without) in said.iter().zip(without_propensity) {
        let Ok(place) = table.campaigns.binary_search(campaign) else { continue };
        if found.contains_key(campaign) {
            table.assignments[place] = WindowAssignment::Randomised;
            table.left_out.without_propensity += without;
        }
    }
    let others = said.len() - found.len();
    table.drawn = found;
    if others > 0 {
        table.notes.push(format!(
            "{others} campaigns log a probability as send_propensity that is not that of these windows (one over it does not add up \
             to the messages of each window): they count as not drawn at random. It has to be the probability of the window, or \
             of the hour, and windows finer than those that were drawn cannot be compared"
        ));
    }
    #[allow(clippy::cast_precision_loss)] // Days are few.
    if first <= last {
        table.days = ((last - first) / 86_400_000_000 + 1) as f64;
    }
    Ok(())
}

async fn read_left_out(
    session: &QuerySession,
    table: &mut Table,
    campaign: &str,
    ripe: i64,
    zoned: &str,
    held: &str,
) -> Result<()> {
    let sent = "arrow_cast(f.sent_at, 'Int64')";
    let query = format!(
        "SELECT count(*) FILTER (WHERE {sent} > {ripe}), count(*) FILTER (WHERE {sent} <= {ripe} AND NOT ({zoned})), \
         count(*) FILTER (WHERE {sent} <= {ripe} AND ({zoned}) AND {held}) FROM message_facts AS f WHERE {campaign}"
    );
    if let Some(batch) = session.collect(&query).await?.first() {
        let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(0).unsigned_abs();
        table.left_out =
            LeftOut { immature: number(0), without_time_zone: number(1), held_back: number(2), without_propensity: 0 };
    }
    Ok(())
}

/// The first day that is counted.
const EPOCH: jiff::civil::Date = jiff::civil::date(1970, 1, 1);

/// Registers the holidays and their eves as a small table of country, date and kind, and gives its name.
async fn register_holidays(session: &QuerySession, holidays: &Holidays) -> Result<String> {
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let query = "SELECT DISTINCT country FROM message_facts WHERE country IS NOT NULL ORDER BY 1";
    for batch in session.collect(query).await? {
        for country in texts(&batch, 0)?.iter().flatten() {
            written.entry(code(country)).or_default().push(country.to_owned());
        }
    }
    let (mut countries, mut dates, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for (country, date, kind) in holidays.dates() {
        // In every spelling that the logs have of the country.
        for country in written.get(&code(country)).into_iter().flatten() {
            countries.push(country.as_str());
            // Days since 1970, as the facts count them.
            dates.push(i64::from(EPOCH.until(date).map_or(0, |span| span.get_days())));
            kinds.push(match kind {
                DayKind::Ordinary => 0,
                DayKind::Holiday => 1,
                DayKind::Eve => 2,
            });
        }
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("country", DataType::Utf8, false),
        Field::new("date", DataType::Int64, false),
        Field::new("kind", DataType::Int64, false),
    ]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(countries)),
        Arc::new(Int64Array::from(dates)),
        Arc::new(Int64Array::from(kinds)),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let name = format!("holidays_{}", uuid::Uuid::new_v4().simple());
    session.context().register_table(name.as_str(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(name)
}

/// Registers the campaigns whose windows were drawn, and gives the name of the table.
fn register_drawn(session: &QuerySession, table: &Table) -> Result<String> {
    let drawn = table.campaigns.iter().zip(&table.assignments);
    let drawn = drawn.filter(|(_, assignment)| **assignment == WindowAssignment::Randomised);
    let schema = Arc::new(Schema::new(vec![Field::new("campaign", DataType::Utf8, false)]));
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(drawn.map(|(name, _)| name)));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
    let name = format!("drawn_{}", uuid::Uuid::new_v4().simple());
    session.context().register_table(name.as_str(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(name)
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
