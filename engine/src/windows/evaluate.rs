//! What a proposed schedule would have brought, from sends whose windows were drawn at random.
//!
//! In: a schedule (a recipient's window, with its probability where it is not certain) and the sends of the facts with their
//! propensities. Out: its value by inverse propensities, self-normalised, and doubly robust with what the fit expects of
//! each window; or the reasons why the log cannot tell.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use futures::StreamExt as _;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::analyze::Known;
use super::cells::{Clicks, takes_part};
use super::drawn::DrawnCampaign;
use super::outcomes::outcome_sql;
use super::request::{Objective, WindowsRequest};
use super::slots::{Slot, Slots};
use crate::error::{EngineError, Result};
use crate::ingest::input::Input;
use crate::query::{QuerySession, has_column, new_context, quoted, text_literal, unit_table};
use crate::stats::off_policy::{
    EvaluationOptions, LoggedSend, PolicyEvaluation, Predictions, RecipientSums, evaluate_policy,
};
use crate::store::MESSAGE_FACTS;

/// More than a rounding beyond one: the probabilities of a recipient's windows.
const ROUNDING: f64 = 1e-6;

/// A schedule and how it is judged.
#[derive(Debug, Clone)]
pub struct EvaluationRequest {
    /// The schedule: `recipient_id`, `weekday`, `window_start`, `window_end`, and optionally `probability`.
    pub schedule: Input,
    /// What the windows are compared by.
    pub windows: WindowsRequest,
    /// Two-sided error.
    pub alpha: f64,
}

/// What a schedule would have brought.
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleEvaluation {
    /// What a message is good for.
    pub objective: Objective,
    /// Whether the log drew windows or hours.
    pub drawn_by: &'static str,
    /// Recipients of the schedule, and those of them with sends in the log.
    pub scheduled: usize,
    /// Sends of these recipients with a propensity.
    pub sends: u64,
    /// The values, or why there are none.
    #[serde(flatten)]
    pub evaluation: PolicyEvaluation,
}

/// The windows that a schedule may give a recipient, with their probabilities.
type Choices = HashMap<u64, Vec<(usize, f64)>>;

/// Judges a schedule.
///
/// # Errors
/// When the schedule cannot be read or names a window that there is none of, or the sends have no propensities.
pub async fn evaluate_schedule(session: &QuerySession, request: &EvaluationRequest) -> Result<ScheduleEvaluation> {
    let schema = session.schema(MESSAGE_FACTS).await?;
    if !has_column(&schema, "send_propensity") {
        return Err(EngineError::refused(
            "the sends have no send_propensity: nothing says with what probability their windows were drawn. `sendlift windows \
             plan` makes a schedule that can be judged afterwards",
        ));
    }
    let known = Known::of(session, &request.windows).await?;
    let choices = read_schedule(&request.schedule, &known.slots).await?;
    let expected = expectations(&known, request)?;
    let drawn = &known.table.drawn;
    let named: Vec<String> = drawn.keys().map(|name| text_literal(name)).collect();
    if drawn.is_empty() {
        let why = known.table.notes.join("; ");
        return Err(EngineError::refused(format!(
            "of no campaign with propensities the windows were drawn as they say, in messages whose time has run out{}{why}",
            if why.is_empty() { "" } else { ": " }
        )));
    }
    let used: BTreeSet<usize> = drawn.values().flat_map(|campaign| campaign.parts.keys().copied()).collect();
    let slot = known.slots.sql("f.local_weekday", "f.local_hour");
    let reward = outcome_sql(session, &request.windows);
    let query = format!(
        "SELECT f.recipient_id, {slot}, arrow_cast(f.send_propensity, 'Float64'), arrow_cast({reward}, 'Float64'), \
         coalesce(f.campaign_id, '') FROM message_facts AS f \
         WHERE f.recipient_id IS NOT NULL AND coalesce(f.campaign_id, '') IN ({}) AND {}",
        // Within these campaigns a send that lacks its propensity is a gap, and counts as one.
        named.join(", "),
        takes_part(session, &request.windows).await?
    );
    let mut sums: HashMap<u64, RecipientSums> = HashMap::new();
    let mut sends = 0;
    let mut stream = session.sql(&query).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let recipients = arrow::compute::cast(batch.column(0), &DataType::Utf8View)?;
        let campaigns = arrow::compute::cast(batch.column(4), &DataType::Utf8View)?;
        let slots = arrow::compute::cast(batch.column(1), &DataType::Int64)?;
        let (propensities, rewards) =
            (batch.column(2).as_primitive::<Float64Type>(), batch.column(3).as_primitive::<Float64Type>());
        for row in 0..batch.num_rows() {
            let recipient = xxh3_64(recipients.as_string_view().value(row).as_bytes());
            let Some(planned) = choices.get(&recipient) else { continue };
            let Ok(logged) = usize::try_from(slots.as_primitive::<Int64Type>().value(row)) else { continue };
            let of_slot: f64 = planned.iter().filter(|(slot, _)| *slot == logged).map(|(_, share)| share).sum();
            // An hour of the window is as good as any other that the campaign drew from.
            let parts =
                drawn.get(campaigns.as_string_view().value(row)).and_then(|campaign| campaign.parts.get(&logged));
            #[allow(clippy::cast_precision_loss)] // Hours of a week at most.
            let divided = parts.map_or(1.0, |parts| *parts as f64);
            let expected_of =
                |slot: usize| expected.as_ref().and_then(|expected| expected.get(slot).copied().flatten());
            let of_target: Option<f64> = planned.iter().map(|(slot, share)| Some(expected_of(*slot)? * share)).sum();
            let predictions =
                expected_of(logged).zip(of_target).map(|(of_logged, of_target)| Predictions { of_logged, of_target });
            let send = LoggedSend {
                recipient,
                reward: rewards.value(row),
                logged_propensity: propensities.is_valid(row).then(|| propensities.value(row)),
                target_probability: of_slot / divided,
                uncovered: planned.iter().filter(|(slot, _)| !used.contains(slot)).map(|(_, share)| share).sum(),
                predictions,
            };
            let found = RecipientSums::of_send(&send)?;
            sends += 1;
            sums.entry(recipient).and_modify(|known| *known = known.merge(found)).or_insert(found);
        }
    }
    if sums.is_empty() {
        return Err(EngineError::refused(
            "no recipient of the schedule has a send with a propensity in the log: nothing can be said of it",
        ));
    }
    let mut all: Vec<RecipientSums> = sums.into_values().collect();
    all.sort_by_key(|sums| sums.recipient);
    let options =
        EvaluationOptions { alpha: request.alpha, seed: request.windows.seed, ..EvaluationOptions::default() };
    let of_hours = |campaign: &DrawnCampaign| campaign.what.is_of_hours();
    Ok(ScheduleEvaluation {
        objective: request.windows.objective,
        drawn_by: match (drawn.values().any(of_hours), drawn.values().all(of_hours)) {
            (_, true) => "hour",
            (true, false) => "window or hour",
            (false, false) => "window",
        },
        scheduled: choices.len(),
        sends,
        evaluation: evaluate_policy(&all, options)?,
    })
}

/// What the fit expects of each window; none where hours cannot be compared.
fn expectations(known: &Known, request: &EvaluationRequest) -> Result<Option<Vec<Option<f64>>>> {
    let all = vec![true; known.slots.len()];
    let identification = known.identification(request.windows.objective, &all)?;
    let Some(timing) = identification.timing() else { return Ok(None) };
    let fit = known.fit(timing, request.windows.objective, Clicks::Human, &all, request.windows.seed)?;
    Ok(Some(fit.overall.slots.iter().map(|slot| slot.response.estimate).collect()))
}

async fn read_schedule(input: &Input, slots: &Slots) -> Result<Choices> {
    let source = input.clone();
    let names = ["recipient_id".to_owned()];
    let table = tokio::task::spawn_blocking(move || unit_table(&source, &names)).await??;
    let schema = table.schema();
    for column in ["recipient_id", "weekday", "window_start", "window_end"] {
        if !has_column(&schema, column) {
            return Err(EngineError::usage(format!(
                "{} has no column \"{column}\"; a schedule has recipient_id, weekday, window_start and window_end, and may have \
                 probability",
                input.name
            )));
        }
    }
    let probability = if has_column(&schema, "probability") {
        format!("arrow_cast({}, 'Utf8')", quoted("probability"))
    } else {
        "'1'".to_owned()
    };
    let context = new_context()?;
    context.register_table("schedule", table)?;
    let query = format!(
        "SELECT arrow_cast(recipient_id, 'Utf8'), arrow_cast(weekday, 'Utf8'), arrow_cast(window_start, 'Utf8'), \
         arrow_cast(window_end, 'Utf8'), {probability} FROM schedule WHERE recipient_id IS NOT NULL AND weekday IS NOT NULL"
    );
    let mut choices = Choices::new();
    let mut totals: HashMap<u64, f64> = HashMap::new();
    let mut stream = context.sql(&query).await?.execute_stream().await?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let text =
            |column: usize, row: usize| crate::report::cell_text(&batch, column, row).map(Option::unwrap_or_default);
        for row in 0..batch.num_rows() {
            let (day, start, end) = (text(1, row)?, text(2, row)?, text(3, row)?);
            let named = |slot: &Slot| slot.day == day && slot.start() == start && slot.end() == end;
            let Some(slot) = slots.all().iter().position(named) else {
                let known: Vec<String> = slots.all().iter().map(Slot::name).collect();
                return Err(EngineError::usage(format!(
                    "{}: there is no window {day} {start}–{end}; with these --slots (and --each-day) there are {}",
                    input.name,
                    known.join(", ")
                )));
            };
            let (recipient, written) = (text(0, row)?, text(4, row)?);
            let share = written.trim().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
            let Some(share) = share else {
                return Err(EngineError::usage(format!(
                    "{}: recipient {recipient}, {day} {start}–{end}: the probability \"{written}\" is no number from 0 to 1",
                    input.name
                )));
            };
            let hash = xxh3_64(recipient.as_bytes());
            let of_recipient = choices.entry(hash).or_default();
            if of_recipient.iter().any(|(known, _)| *known == slot) {
                return Err(EngineError::usage(format!(
                    "{}: recipient {recipient} has the window {day} {start}–{end} twice: one row each",
                    input.name
                )));
            }
            of_recipient.push((slot, share));
            let total = totals.entry(hash).or_default();
            *total += share;
            if *total > 1.0 + ROUNDING {
                return Err(EngineError::usage(format!(
                    "{}: the probabilities of recipient {recipient} add up to {total:.3}: several windows of one recipient want \
                     the column probability, whose values add up to 1 at most",
                    input.name
                )));
            }
        }
    }
    Ok(choices)
}
