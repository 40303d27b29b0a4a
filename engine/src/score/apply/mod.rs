//! From a model to a file of scores.
//!
//! First every recipient's features are read and [`scored`], batch by batch, into a file beside the one that is asked for;
//! scores alone stay in memory. Then that file is joined with who may be sent to, put in the order of ids and written as
//! [`rows`], with the [`audience`] marked where there is one. Nothing has the asked name until all of it is there.

mod audience;
mod rows;
mod scored;
mod summary;

use std::path::Path;

use datafusion::prelude::ParquetReadOptions;
use futures::StreamExt as _;

use super::data::Moment;
use super::drift::Drift;
use super::economics::MessageEconomics;
use super::eligibility::Eligibility;
use super::labels::check_event;
use super::life_cycle::LifeCycle;
use super::model::{ScoreModel, Scorer};
use super::request::{ModelChoice, ScoreRequest, Target};
use super::segments::ScoreSegments;
use super::{propensity, uplift};
use crate::error::{EngineError, Result};
use crate::facts::DAY_MICROSECONDS;
use crate::progress::{Progress, check_cancelled};
use crate::query::QuerySession;
use crate::stats::StabilityVerdict;
use crate::stats::audience::AudienceLimits;
use crate::table_file::{Scratch, check_name};
use crate::windows::{LegalMask, PlaceWindows, WindowsRequest};
use audience::{Candidates, Pending};
use rows::{OPT_OUT_PROBABILITY, RowMaker};
use scored::{Scored, score_all, try_out};

pub(super) use scored::reasons;
pub use summary::{AudienceSummary, IneligibleCount, ScoreSummary};

/// Recipients whose rows are joined and put in order at a time: some hundreds of bytes each.
const ROWS_OF_A_RANGE: usize = 1_000_000;

/// Looks at what is asked for before any work is done: columns, the condition, the experiment and its arms.
///
/// # Errors
/// When it cannot be.
pub async fn check_score_request(session: &QuerySession, request: &ScoreRequest) -> Result<()> {
    request.check()?;
    LegalMask::new(request.eligibility.legal_hours.as_ref())?;
    if !matches!(request.model, ModelChoice::Saved(_)) {
        check_event(session, &request.target).await?;
    }
    let moment = Moment::of(session, request.as_of).await?;
    segments_of(session, request, moment).await?;
    if let ModelChoice::Uplift { experiment } = &request.model {
        uplift::check_experiment(session, request, experiment.as_deref()).await?;
    }
    Ok(())
}

/// The segments that are asked for, where the condition can be told, too.
async fn segments_of(session: &QuerySession, request: &ScoreRequest, moment: Moment) -> Result<ScoreSegments> {
    let by = ScoreSegments::of(session, &request.by, moment.as_of).await?;
    if let Some(filter) = &request.filter {
        try_out(session, moment.as_of.as_microsecond(), filter).await?;
    }
    Ok(by)
}

/// Scores recipients into a file whose ending says its format (`.parquet`, `.csv`, `.ndjson`, `.arrow`). A model that is
/// trained for it is kept in the store.
///
/// # Errors
/// When what is asked cannot be, the logs hold too little to learn from, or the file cannot be written.
pub async fn score(
    session: &QuerySession,
    request: &ScoreRequest,
    out: &Path,
    progress: &dyn Progress,
) -> Result<ScoreSummary> {
    request.check()?;
    check_name(out)?;
    let moment = Moment::of(session, request.as_of).await?;
    let as_of = moment.as_of;
    // What is asked for is looked at before any work is done.
    let by = segments_of(session, request, moment).await?;
    if !matches!(request.model, ModelChoice::Saved(_)) {
        check_event(session, &request.target).await?;
    }
    let model = match &request.model {
        ModelChoice::Propensity => propensity::train(session, request, as_of, progress).await?,
        ModelChoice::Uplift { experiment } => {
            uplift::train(session, request, experiment.as_deref(), as_of, progress).await?
        }
        ModelChoice::Saved(id) => match &session.store {
            Some(store) => ScoreModel::of(store, id).await?,
            None => return Err(EngineError::usage("a model is kept in a store: there is none beside log files")),
        },
    };
    if let (Some(store), false) = (&session.store, matches!(request.model, ModelChoice::Saved(_))) {
        model.keep_in(store).await?;
    }
    apply(session, request, &model, &by, moment, out, progress).await
}

async fn apply(
    session: &QuerySession,
    request: &ScoreRequest,
    model: &ScoreModel,
    by: &ScoreSegments,
    moment: Moment,
    out: &Path,
    progress: &dyn Progress,
) -> Result<ScoreSummary> {
    let scratch = Scratch::beside(out, ".sendlift-score-")?;
    let scored = scratch.path().join("scored.parquet");
    let first = score_all(session, request, model, moment.as_of, &scored, progress).await?;
    let table = format!("scored_{}", uuid::Uuid::new_v4().simple());
    let path = scored.to_string_lossy().into_owned();
    session.context().register_parquet(table.as_str(), path, ParquetReadOptions::default()).await?;
    let result = write(session, request, model, by, moment, &table, first, (scratch.path(), out), progress).await;
    session.context().deregister_table(table.as_str())?;
    result
}

/// The file with who may be sent to, in the order of ids.
#[allow(clippy::too_many_arguments)] // What one write needs, each thing once.
async fn write(
    session: &QuerySession,
    request: &ScoreRequest,
    model: &ScoreModel,
    by: &ScoreSegments,
    moment: Moment,
    table: &str,
    first: Scored,
    (scratch, out): (&Path, &Path),
    progress: &dyn Progress,
) -> Result<ScoreSummary> {
    let Moment { as_of, end_of_logs } = moment;
    let at = as_of.as_microsecond();
    let mut notes = model.notes.clone();
    if at - end_of_logs.as_microsecond() > DAY_MICROSECONDS {
        notes.push(format!(
            "the logs tell of nothing after {end_of_logs}, and features are counted up to {as_of}: of the days between, what came is not known, \
             and counts as nothing"
        ));
    }
    notes.extend(first.notes);
    let ranges = first.sample.ranges(ROWS_OF_A_RANGE);
    let windows = recommended_windows(session, request, moment, &mut notes).await?;
    let eligibility = Eligibility::of(session, &request.eligibility, at, &ranges, windows.as_ref()).await?;
    notes.extend(eligibility.notes().iter().cloned());
    notes.extend(by.notes());
    let economics = MessageEconomics::of(session, request, model, at).await?;
    notes.extend(economics.notes.iter().cloned());
    let life_cycle = LifeCycle::of(session, table, request.filter.is_none() && model.target != Target::Churn).await?;
    let uplift = match &model.scorer {
        Scorer::Uplift(scorer) => Some(scorer.as_ref()),
        Scorer::Propensity(_) => None,
    };
    let profit = match (&economics.profit, uplift) {
        (Some(profit), Some(_)) => profit.sql("s.score", &format!("s.{OPT_OUT_PROBABILITY}")),
        _ => "NULL".to_owned(),
    };
    let columns = format!(
        "s.recipient_id, s.score, {} AS uplift, s.{OPT_OUT_PROBABILITY}, arrow_cast({profit}, 'Float64') AS expected_profit, \
         {}, {} AS ineligible_reason, {} AS window, s.reasons",
        if uplift.is_some() { "s.score" } else { "arrow_cast(NULL, 'Float64')" },
        life_cycle.columns(),
        eligibility.reason(),
        Eligibility::window(),
    );
    // Where both sides were sent to, nothing is known of sending itself.
    let choosing = economics.profit.as_ref().zip(uplift).filter(|(profit, _)| profit.is_of_sending());
    let mut maker = RowMaker::new(request, model, first.deciles, eligibility.channel.clone());
    let mut pending = Pending::new(scratch, out, choosing.is_some(), maker.schema())?;
    let mut candidates = Candidates::default();
    for range in &ranges {
        let query = format!(
            "SELECT {columns} FROM {table} AS s{} WHERE {} ORDER BY s.recipient_id",
            eligibility.joins(),
            range.condition("s.recipient_id")
        );
        let mut stream = range.within(session).await?.sql(&query).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            check_cancelled(progress)?;
            let rows = maker.rows(&batch?)?;
            if choosing.is_some() {
                candidates.add(&rows)?;
            }
            pending.write(&rows)?;
            progress.at("writing", pending.rows, Some(first.recipients));
        }
    }
    let audience = if let Some((profit, scorer)) = choosing {
        let limits = AudienceLimits { budget: request.budget, most_units: request.max_recipients };
        let chosen = candidates.choose(profit.cost, limits)?;
        notes.extend(doubt_of_promise(&first.drift));
        pending = pending.mark(&chosen.chosen)?;
        Some(candidates.summary(&chosen, profit, &scorer.effects_by_prediction))
    } else {
        notes.extend(why_no_audience(economics.profit.is_some() && uplift.is_some(), request).map(str::to_owned));
        None
    };
    let written = pending.finish()?;
    let segments = by
        .scores(
            session,
            table,
            (&eligibility, request.include_ineligible),
            &ranges,
            uplift.map(|scorer| &scorer.effects_by_prediction),
        )
        .await?;
    let mean_score = maker.mean_score();
    if first.recipients == 0 {
        notes.push("nobody was scored: the condition, or the target, leaves no recipient".to_owned());
    } else if mean_score.is_none() {
        notes.push("nobody who was scored may be sent to: see the reasons".to_owned());
    }
    Ok(ScoreSummary {
        model: model.summary(),
        as_of,
        recipients: first.recipients,
        written,
        ineligible: maker.left_out,
        mean_score,
        audience,
        segments,
        drift: first.drift,
        notes,
    })
}

/// What a reader of an audience must know where the scores have moved.
fn doubt_of_promise(drift: &Drift) -> Option<String> {
    let index = drift.score.index.filter(|_| drift.score.verdict == StabilityVerdict::Shifted)?;
    Some(format!(
        "the scores lie elsewhere than where the model was trained (population stability index {index:.2}): what the \
         audience is promised was learnt of other recipients or of another time, and need not hold; train the model \
         anew before money rests on it"
    ))
}

/// Why nobody is marked as the audience, where one might expect it.
fn why_no_audience(both_were_sent: bool, request: &ScoreRequest) -> Option<&'static str> {
    if both_were_sent {
        return Some(
            "both arms were sent messages: the column variant says which is better for whom, but whom to send to at all \
             was not tried; that takes recipients who were held back",
        );
    }
    (request.budget.is_some() || request.max_recipients.is_some()).then_some(
        "an audience under a budget or a cap needs what a message adds and what that is worth: score with --model \
         uplift and a margin",
    )
}

/// The windows of the week that do best for clicks on the channel, where the logs can tell one from another by the moment.
async fn recommended_windows(
    session: &QuerySession,
    request: &ScoreRequest,
    moment: Moment,
    notes: &mut Vec<String>,
) -> Result<Option<PlaceWindows>> {
    if moment.as_of < moment.end_of_logs {
        notes.push("windows are compared by all logs: none is recommended as of a moment before their end".to_owned());
        return Ok(None);
    }
    let channel = request.eligibility.permission()?.channel;
    let asked = WindowsRequest { legal_hours: request.eligibility.legal_hours.clone(), ..WindowsRequest::default() };
    PlaceWindows::of(session, asked, &channel).await
}
