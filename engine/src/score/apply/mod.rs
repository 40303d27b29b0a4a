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
use jiff::Timestamp;

use super::data::end_of_logs;
use super::economics::MessageEconomics;
use super::eligibility::Eligibility;
use super::features::FeatureSet;
use super::life_cycle::LifeCycle;
use super::model::{ScoreModel, Scorer};
use super::request::{ModelChoice, ScoreProgress, ScoreRequest, Target, check_cancelled};
use super::segments::{check_columns, segment_scores};
use super::{propensity, uplift};
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::stats::audience::AudienceLimits;
use crate::table_file::check_name;
use audience::{Candidates, Pending};
use rows::RowMaker;
use scored::{Scored, filtered, score_all};

pub(super) use scored::reasons;
pub use summary::{AudienceSummary, IneligibleCount, ScoreSummary};

/// Scores recipients into a file whose ending says its format (`.parquet`, `.csv`, `.ndjson`, `.arrow`). A model that is
/// trained for it is kept in the store.
///
/// # Errors
/// When what is asked cannot be, the logs hold too little to learn from, or the file cannot be written.
pub async fn score(
    session: &QuerySession,
    request: &ScoreRequest,
    out: &Path,
    progress: &dyn ScoreProgress,
) -> Result<ScoreSummary> {
    request.check()?;
    check_name(out)?;
    let as_of = match request.as_of {
        Some(as_of) => as_of,
        None => end_of_logs(session).await?,
    };
    // What is asked for is looked at before any work is done.
    check_columns(session, &request.by).await?;
    if request.filter.is_some() {
        let set = FeatureSet::fix(session, as_of.as_microsecond()).await?;
        filtered(session, &set, as_of.as_microsecond(), request.filter.as_deref()).await?;
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
    apply(session, request, &model, as_of, out, progress).await
}

async fn apply(
    session: &QuerySession,
    request: &ScoreRequest,
    model: &ScoreModel,
    as_of: Timestamp,
    out: &Path,
    progress: &dyn ScoreProgress,
) -> Result<ScoreSummary> {
    let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new()
        .prefix(".sendlift-score-")
        .tempdir_in(folder)
        .map_err(EngineError::io("write to the folder", folder))?;
    let scored = scratch.path().join("scored.parquet");
    let first = score_all(session, request, model, as_of, &scored, progress).await?;
    let table = format!("scored_{}", uuid::Uuid::new_v4().simple());
    let path = scored.to_string_lossy().into_owned();
    session.context().register_parquet(table.as_str(), path, ParquetReadOptions::default()).await?;
    let result = write(session, request, model, as_of, &table, first, (scratch.path(), out), progress).await;
    session.context().deregister_table(table.as_str())?;
    result
}

/// The file with who may be sent to, in the order of ids.
#[allow(clippy::too_many_arguments)] // What one write needs, each thing once.
async fn write(
    session: &QuerySession,
    request: &ScoreRequest,
    model: &ScoreModel,
    as_of: Timestamp,
    table: &str,
    first: Scored,
    (scratch, out): (&Path, &Path),
    progress: &dyn ScoreProgress,
) -> Result<ScoreSummary> {
    let at = as_of.as_microsecond();
    let mut notes = model.notes.clone();
    notes.extend(first.notes);
    let eligibility = Eligibility::of(session, &request.eligibility, at).await?;
    notes.extend(eligibility.notes);
    let economics = MessageEconomics::of(session, request, model, at).await?;
    notes.extend(economics.notes.iter().cloned());
    let life_cycle = LifeCycle::of(session, table, request.filter.is_none() && model.target != Target::Churn).await?;
    let is_uplift = matches!(model.scorer, Scorer::Uplift(_));
    let profit = match economics.profit.as_ref().filter(|_| is_uplift) {
        Some(profit) => format!("s.score * {:?} - {:?}", profit.margin, profit.cost + profit.opt_out_loss),
        None => "NULL".to_owned(),
    };
    let query = format!(
        "SELECT s.recipient_id, s.score, {} AS uplift, \
         arrow_cast({profit}, 'Float64') AS expected_profit, {}, {} AS ineligible_reason, s.reasons \
         FROM {table} AS s{} ORDER BY s.recipient_id",
        if is_uplift { "s.score" } else { "arrow_cast(NULL, 'Float64')" },
        life_cycle.columns(),
        eligibility.reason,
        eligibility.joins
    );
    let mut stream = session.sql(&query).await?.execute_stream().await?;
    let with_audience = is_uplift && economics.profit.is_some();
    let mut maker = RowMaker::of(session, request, model, first.deciles).await?;
    let mut pending = Pending::new(scratch, out, with_audience, maker.schema())?;
    let mut candidates = Candidates::default();
    while let Some(batch) = stream.next().await {
        check_cancelled(progress)?;
        let rows = maker.rows(&batch?)?;
        if with_audience {
            candidates.add(&rows)?;
        }
        pending.write(&rows)?;
        progress.at("writing", pending.rows, Some(first.recipients));
    }
    let audience = if let Some(profit) = economics.profit.as_ref().filter(|_| with_audience) {
        let limits = AudienceLimits { budget: request.budget, most_units: request.max_recipients };
        let chosen = candidates.choose(profit.cost, limits)?;
        pending = pending.mark(&chosen.chosen)?;
        Some(economics.summary(&chosen, candidates.least_effect(&chosen, profit), model))
    } else {
        if request.budget.is_some() || request.max_recipients.is_some() {
            notes.push(
                "an audience under a budget or a cap needs what a message adds and what that is worth: score with --model \
                 uplift and a margin"
                    .to_owned(),
            );
        }
        None
    };
    let written = pending.finish()?;
    let segments = segment_scores(session, table, &request.by, is_uplift).await?;
    let mean_score = maker.mean_score();
    if mean_score.is_none() {
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
