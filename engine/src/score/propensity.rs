//! Trains a model of a probability: on one period, judged on the next.
//!
//! With a horizon of H days and the moment T: features as of T − 2H and outcomes of the H days after it are learnt from; then
//! the model is asked with features as of T − H, and judged by the outcomes of the H days up to T. Nothing that it is judged
//! by was there when it was trained. Boosted trees and a penalised regression are both tried; the one with the smaller log
//! loss is kept, and both are told.

use jiff::Timestamp;

use super::ALPHA;
use super::data::{Draw, count_units, read_units};
use super::drift::DriftReference;
use super::features::{Encoding, FeatureSet};
use super::learn::{BaseLearner, Classifier, ClassifierLearner};
use super::model::{MODEL_FORMAT, OtherModel, PropensityScorer, ScoreModel, Scorer, Training};
use super::request::{ScoreRequest, Target};
use crate::error::{EngineError, Result};
use crate::facts::DAY_MICROSECONDS;
use crate::progress::{Progress, check_cancelled};
use crate::query::QuerySession;
use crate::report::cell_number;
use crate::stats::calibration::Calibration;
use crate::stats::prediction_quality::{PredictionQuality, QualityOptions, compare_predictions, prediction_quality};
use crate::stats::{FeatureMatrix, Learner as _, Predictor as _, StatsError};

/// Units with the outcome, and without it, that a model needs.
pub(super) const LEAST_OF_A_CLASS: u64 = 50;
/// Every so manieth unit is kept for calibration.
const CALIBRATION: usize = 5;
/// Units with the outcome above which a free curve calibrates better than one of two parameters.
const ISOTONIC_OUTCOMES: usize = 1_000;

/// Trains a model as of a moment.
pub(super) async fn train(
    session: &QuerySession,
    request: &ScoreRequest,
    as_of: Timestamp,
    progress: &dyn Progress,
) -> Result<ScoreModel> {
    train_on(session, request, None, as_of, progress).await
}

/// Trains a model on a set of features that is given, or on that of the moment which it learns from.
pub(super) async fn train_on(
    session: &QuerySession,
    request: &ScoreRequest,
    set: Option<&FeatureSet>,
    as_of: Timestamp,
    progress: &dyn Progress,
) -> Result<ScoreModel> {
    let horizon = i64::from(request.horizon_days) * DAY_MICROSECONDS;
    let until = as_of.as_microsecond();
    let (judged_from, learnt_from) = (until - horizon, until - 2 * horizon);
    check_history(session, request.horizon_days, learnt_from, until).await?;
    let target = &request.target;
    progress.at("counting units", 0, None);
    let (units, outcomes) = count_units(session, target, learnt_from, judged_from).await?;
    check_classes(target, units, outcomes, "to learn from")?;
    let draw = Draw::of(units, request.seed);
    let set = match set {
        Some(set) => set.clone(),
        None => FeatureSet::fix(session, learnt_from).await?,
    };
    check_cancelled(progress)?;
    progress.at("reading features to learn from", 0, Some(units));
    let learnt = read_units(session, &set, target, (learnt_from, judged_from), draw).await?;
    check_classes(target, learnt.outcome.len() as u64, learnt.positives(), "to learn from")?;
    let (encoding, mut notes) = Encoding::learn(&learnt.batches, &set.names())?;
    if encoding.columns.is_empty() {
        return Err(EngineError::refused(
            "no feature varies among the units: there is nothing that a score could be made from",
        ));
    }
    let features = encode_all(&encoding, &learnt.batches)?;
    drop(learnt.batches);
    check_cancelled(progress)?;
    progress.at("reading features to judge by", 0, Some(units));
    let judged = read_units(session, &set, target, (judged_from, until), draw).await?;
    let (judged_units, judged_outcomes) = (judged.outcome.len() as u64, judged.positives());
    check_classes(target, judged_units, judged_outcomes, "to judge by")?;
    let judged_features = encode_all(&encoding, &judged.batches)?;
    drop(judged.batches);
    if draw.share() < 1.0 {
        notes
            .push(format!("learnt from and judged by a share of {:.4} of the units, drawn by their ids", draw.share()));
    }
    let fitted = fit(&features, &learnt.outcome, &judged_features, &judged.outcome, progress)?;
    notes.extend(level_note(&fitted.scorer.quality));
    let reference = DriftReference::of(&encoding, &features, &fitted.scores_learnt);
    ScoreModel {
        format: MODEL_FORMAT,
        id: String::new(),
        target: target.clone(),
        horizon_days: request.horizon_days,
        training: Training {
            features_at: Timestamp::from_microsecond(learnt_from).ok(),
            outcomes_until: Timestamp::from_microsecond(judged_from).ok(),
            judged_until: Some(as_of),
            units: learnt.outcome.len() as u64,
            outcomes: learnt.outcome.iter().filter(|outcome| **outcome > 0.5).count() as u64,
            share_drawn: draw.share(),
            seed: request.seed,
            table_versions: session.versions.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        },
        features: Some(set),
        encoding,
        scorer: Scorer::Propensity(Box::new(fitted.scorer)),
        reference,
        opt_out: None,
        notes,
    }
    .named()
}

/// What is told where the period that judged brought more or less than was predicted.
fn level_note(quality: &PredictionQuality) -> Option<String> {
    let off = &quality.reliability.calibration_in_the_large;
    if off.low.is_none() || off.contains_zero() {
        return None;
    }
    #[allow(clippy::cast_precision_loss)] // Units held in memory.
    let sum: f64 = quality.reliability.bins.iter().map(|bin| bin.mean_predicted * bin.units as f64).sum();
    #[allow(clippy::cast_precision_loss)] // Units held in memory.
    let predicted = sum / (quality.units as f64).max(1.0);
    Some(format!(
        "the period that judged brought {:.2} % where {:.2} % was predicted: the order of the scores holds, and their level may be off \
         by as much",
        quality.base_rate.estimate? * 100.0,
        predicted * 100.0
    ))
}

/// A model of a probability that was fitted and judged.
pub(super) struct Fitted {
    pub(super) scorer: PropensityScorer,
    /// Its scores of the units that it learnt from.
    pub(super) scores_learnt: Vec<f64>,
}

/// Fits both kinds on a part of the units, calibrates them on the rest, judges them on others, and keeps the better one.
pub(super) fn fit(
    features: &FeatureMatrix,
    outcome: &[f64],
    judged_features: &FeatureMatrix,
    judged: &[f64],
    progress: &dyn Progress,
) -> Result<Fitted> {
    let rows = |calibration: bool| -> Vec<usize> {
        (0..outcome.len()).filter(|row| (row % CALIBRATION == CALIBRATION - 1) == calibration).collect()
    };
    let part = |rows: &[usize]| -> (FeatureMatrix, Vec<f64>) {
        (features.select(rows), rows.iter().map(|row| outcome[*row]).collect())
    };
    let (grown, kept) = (part(&rows(false)), part(&rows(true)));
    let is_judged: Vec<bool> = judged.iter().map(|outcome| *outcome > 0.5).collect();
    let mut tried: Vec<(BaseLearner, Classifier, Calibration, Vec<f64>, PredictionQuality)> = Vec::new();
    for (number, learner) in BaseLearner::ALL.into_iter().enumerate() {
        check_cancelled(progress)?;
        progress.at("fitting models", number as u64, Some(BaseLearner::ALL.len() as u64));
        let classifier = ClassifierLearner(learner).fit(&grown.0, &grown.1, None)?;
        let calibration = calibrate(&classifier.predict(&kept.0), &kept.1)?;
        let scores: Vec<f64> =
            classifier.predict(judged_features).into_iter().map(|score| calibration.apply(score)).collect();
        let quality = prediction_quality(&scores, &is_judged, QualityOptions::default())?;
        tried.push((learner, classifier, calibration, scores, quality));
    }
    let loss = |quality: &PredictionQuality| quality.log_loss.mean.estimate.unwrap_or(f64::INFINITY);
    tried.sort_by(|left, right| loss(&left.4).total_cmp(&loss(&right.4)));
    let mut tried = tried.into_iter();
    let Some((_, classifier, calibration, scores, quality)) = tried.next() else {
        return Err(EngineError::refused("no model was fitted"));
    };
    let other = match tried.next() {
        Some((learner, _, _, others, of_other)) => Some(OtherModel {
            learner,
            comparison: compare_predictions(&scores, &others, &is_judged, ALPHA)?,
            quality: of_other,
        }),
        None => None,
    };
    let scores_learnt = classifier.predict(features).into_iter().map(|score| calibration.apply(score)).collect();
    Ok(Fitted { scorer: PropensityScorer { classifier, calibration, quality, other }, scores_learnt })
}

fn calibrate(scores: &[f64], outcome: &[f64]) -> Result<Calibration> {
    let outcome: Vec<bool> = outcome.iter().map(|outcome| *outcome > 0.5).collect();
    let outcomes = outcome.iter().filter(|outcome| **outcome).count();
    let is_isotonic = outcomes.min(outcome.len() - outcomes) >= ISOTONIC_OUTCOMES;
    let fitted = if is_isotonic {
        Calibration::fit_isotonic(scores, &outcome, None)
    } else {
        Calibration::fit_platt(scores, &outcome, None)
    };
    match fitted {
        // Scores that are all alike, or outcomes that are, leave nothing to calibrate by.
        Err(StatsError::NotFitted { .. } | StatsError::OneClass { .. }) => {
            Ok(Calibration::Platt { intercept: 0.0, slope: 1.0 })
        }
        fitted => Ok(fitted?),
    }
}

/// The rows of several batches as one matrix.
pub(super) fn encode_all(encoding: &Encoding, batches: &[arrow::array::RecordBatch]) -> Result<FeatureMatrix> {
    let encoded: Vec<FeatureMatrix> =
        batches.iter().map(|batch| Ok(encoding.encode(batch)?.matrix)).collect::<Result<_>>()?;
    let rows: usize = encoded.iter().map(FeatureMatrix::rows).sum();
    let columns = encoded.first().map_or(0, FeatureMatrix::columns);
    let mut values = Vec::with_capacity(rows * columns);
    for column in 0..columns {
        for part in &encoded {
            values.extend_from_slice(part.column(column));
        }
    }
    Ok(FeatureMatrix::new(values, rows, columns)?)
}

/// Refuses a horizon that reaches back beyond the logs.
async fn check_history(session: &QuerySession, horizon_days: u32, learnt_from: i64, until: i64) -> Result<()> {
    let found = session.collect("SELECT min(arrow_cast(sent_at, 'Int64')) FROM message_facts").await?;
    let first = match found.iter().find(|batch| batch.num_rows() > 0) {
        Some(batch) => cell_number(batch, 0, 0)?,
        None => None,
    };
    let Some(first) = first else {
        return Err(EngineError::refused("there are no messages: ingest the log of sends first"));
    };
    #[allow(clippy::cast_possible_truncation)] // Microseconds since 1970 are far below 2^53.
    let first = first as i64;
    if first < learnt_from {
        return Ok(());
    }
    let days = (until - first).max(0) / DAY_MICROSECONDS;
    // A day of history at least is there before the first of the two horizons.
    let longest = (days - 1) / 2;
    let advice =
        if longest >= 1 { format!("ask for --horizon {longest} at most") } else { "wait for more of it".to_owned() };
    Err(EngineError::refused(format!(
        "a horizon of {horizon_days} days takes messages from before {} days ago, to learn from one horizon and be judged by the \
         next; the first message is from {days} days before the moment: {advice}",
        2 * i64::from(horizon_days)
    )))
}

/// Refuses too few units of a class, and says what there is.
pub(super) fn check_classes(target: &Target, units: u64, outcomes: u64, what_for: &str) -> Result<()> {
    let name = target.name();
    if units == 0 {
        return Err(EngineError::refused(format!(
            "there are no units {what_for}: a score of {name} is about {}",
            target.units()
        )));
    }
    let without = units.saturating_sub(outcomes);
    if outcomes < LEAST_OF_A_CLASS || without < LEAST_OF_A_CLASS {
        return Err(EngineError::refused(format!(
            "{outcomes} of {units} units {what_for} have the outcome \"{name}\": a model needs {LEAST_OF_A_CLASS} with it and \
             {LEAST_OF_A_CLASS} without; take a longer horizon, a more frequent target, or wait"
        )));
    }
    Ok(())
}
