//! Trains a model of what a message adds: from an experiment whose arms were drawn at random, judged on units that the
//! judged models had not seen.
//!
//! T-, X- and doubly robust learners are tried, each with boosted trees and with penalised regressions; the one with the
//! greatest Qini coefficient is kept, and all are told. Where nobody was held back at random there is nothing to learn
//! from, and that is said.

use arrow::array::AsArray as _;
use arrow::datatypes::Float64Type;
use jiff::Timestamp;

use super::arms::{Arms, Sides, chosen_experiment};
use super::drift::DriftReference;
use super::features::{Encoding, FeatureSet, Recipients, TextFeatures};
use super::learn::{BaseLearner, ClassifierLearner};
use super::model::{MODEL_FORMAT, OtherUplift, ScoreModel, Scorer, Training, UpliftScorer, learners};
use super::propensity::{check_classes, encode_all, train_on};
use super::request::{ModelChoice, ScoreRequest, Target};
use crate::error::{EngineError, Result};
use crate::facts::counted_events;
use crate::facts::{DAY_MICROSECONDS, owned_conversions};
use crate::progress::{Progress, check_cancelled};
use crate::query::{QuerySession, text_literal};
use crate::stats::prediction_quality::{QualityOptions, prediction_quality};
use crate::stats::uplift::by_prediction::{EffectsByPrediction, Way};
use crate::stats::uplift::heterogeneity::{best_linear_predictor, group_effects};
use crate::stats::uplift::ranking::{RankingOptions, compare_rankings, evaluate_ranking};
use crate::stats::uplift::{CrossFitting, RandomisedUnits, UpliftMethod, fit_uplift};
use crate::stats::{FeatureMatrix, Learner as _, Predictor as _};

/// Units that are learnt from at most: every way is fitted to several parts of them.
const MOST_UNITS: usize = 200_000;
/// Units that each arm needs.
const LEAST_OF_AN_ARM: usize = 200;
/// Units with the outcome that each arm needs: enough for every part of them to have some.
const LEAST_OUTCOMES_OF_AN_ARM: usize = 50;
/// Parts, each of which is predicted by models of the others.
const FOLDS: u32 = 5;
/// Groups of what is predicted, whose effects are told.
const GROUPS: u32 = 5;
/// More messages than one in so many recipients' second are told.
const MORE_THAN_ONE: f64 = 1.05;
/// Probabilities below this count as much in the check of the draw.
const LEAST_OF_WEIGHTS: f64 = 0.05;
/// With fewer units of an arm in either half the draw cannot be checked.
const FEWEST_OF_AN_ARM: usize = 10;
/// An arm that features tell better than this was not drawn at random.
const ARM_TOLD: f64 = 0.55;

/// Refuses an experiment that is not there, and arms that cannot be compared.
pub(super) async fn check_experiment(
    session: &QuerySession,
    request: &ScoreRequest,
    experiment: Option<&str>,
) -> Result<()> {
    let experiment = chosen_experiment(session, experiment).await?;
    Arms::of(session, &experiment, request).await.map(|_| ())
}

/// Trains a model on an experiment of the store.
pub(super) async fn train(
    session: &QuerySession,
    request: &ScoreRequest,
    experiment: Option<&str>,
    as_of: Timestamp,
    progress: &dyn Progress,
) -> Result<ScoreModel> {
    let event = match &request.target {
        Target::Conversion => format!(" AND {}", counted_events(&session.settings)),
        Target::Event(event) => format!(" AND event = {}", text_literal(event)),
        other => {
            return Err(EngineError::usage(format!(
                "what a message adds to \"{}\" is not defined for those who got none: ask for conversion or an event of the \
                 conversions",
                other.name()
            )));
        }
    };
    let experiment = chosen_experiment(session, experiment).await?;
    let arms = Arms::of(session, &experiment, request).await?;
    let horizon = i64::from(request.horizon_days) * DAY_MICROSECONDS;
    if arms.last + horizon > as_of.as_microsecond() {
        return Err(EngineError::refused(format!(
            "the horizon of {} days after the assignment of \"{experiment}\" has not run out: ask for a shorter one, or wait",
            request.horizon_days
        )));
    }
    // Nothing of the moment of the first assignment itself.
    let at = arms.first - 1;
    let set = FeatureSet::fix(session, at).await?;
    if set.has_texts {
        TextFeatures::count(session, at).await?;
    }
    progress.at("reading features to learn from", 0, Some(arms.units));
    let units = format!("SELECT recipient_id FROM ({})", arms.query);
    let share = (MOST_UNITS as u64 * 1_000_000) / arms.units.max(1);
    let drawn = |id: &str| match share {
        1_000_000.. => "TRUE".to_owned(),
        _ => format!("unit_draw({id}, 'score {}') % 1000000 < {share}", request.seed),
    };
    let query = format!(
        "SELECT q.*, a.probability AS \"=probability\", a.treated AS \"=treated\", CASE WHEN c.recipient_id IS NULL THEN 0.0 ELSE 1.0 END AS \"=outcome\" FROM ({}) AS q \
         INNER JOIN ({}) AS a ON a.recipient_id = q.recipient_id \
         LEFT JOIN (SELECT DISTINCT v.recipient_id FROM {} AS v INNER JOIN ({}) AS w ON w.recipient_id = v.recipient_id \
         WHERE arrow_cast(v.occurred_at, 'Int64') > w.assigned AND arrow_cast(v.occurred_at, 'Int64') <= w.assigned + {horizon}{event}) AS c \
         ON c.recipient_id = q.recipient_id ORDER BY q.recipient_id",
        set.query(session, at, &Recipients::Of(units), &drawn).await?,
        arms.query,
        owned_conversions(session, "occurred_at, event").await?,
        arms.query,
    );
    let batches = session.collect(&query).await?;
    let (mut treated, mut outcome, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
    for batch in &batches {
        let columns = batch.num_columns();
        probabilities.extend(batch.column(columns - 3).as_primitive::<Float64Type>().values());
        treated.extend(batch.column(columns - 2).as_boolean().iter().map(|treated| treated == Some(true)));
        outcome.extend(batch.column(columns - 1).as_primitive::<Float64Type>().values());
    }
    let (encoding, mut notes) = Encoding::learn(&batches, &set.names())?;
    notes.extend(arms.notes.iter().cloned());
    let features = encode_all(&encoding, &batches)?;
    drop(batches);
    let data = Randomised { features: &features, outcome: &outcome, treated: &treated, probabilities: &probabilities };
    let (mut scorer, effects) = fit(&data, &request.target, arms.sides.clone(), request.seed, progress)?;
    let messages = arms.messages(session, horizon).await?;
    if messages > MORE_THAN_ONE {
        notes.push(format!(
            "a recipient of \"{}\" got {messages:.2} messages within the horizon beyond those of \"{}\": the effect is of all of \
             them, and so is the cost that is deducted",
            arms.sides.treatment, arms.sides.control
        ));
    }
    scorer.messages = Some(messages);
    let opt_out = if request.economics.opt_out_value > 0.0 {
        opt_out_model(session, request, &set, as_of, progress, &mut notes).await?
    } else {
        None
    };
    ScoreModel {
        format: MODEL_FORMAT,
        id: String::new(),
        target: request.target.clone(),
        horizon_days: request.horizon_days,
        training: Training {
            features_at: Timestamp::from_microsecond(at).ok(),
            outcomes_until: Timestamp::from_microsecond(arms.last + horizon).ok(),
            judged_until: None,
            units: outcome.len() as u64,
            outcomes: outcome.iter().filter(|outcome| **outcome > 0.5).count() as u64,
            #[allow(clippy::cast_precision_loss)] // A share.
            share_drawn: (share as f64 / 1e6).min(1.0),
            seed: request.seed,
            table_versions: session.versions.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        },
        features: Some(set),
        reference: DriftReference::of(&encoding, &features, &effects),
        encoding,
        scorer: Scorer::Uplift(Box::new(scorer)),
        opt_out,
        notes,
    }
    .named()
}

/// A model of the probability that a message is followed by an opt-out, from the same features; none where the logs hold too
/// little to learn it from, which is noted.
async fn opt_out_model(
    session: &QuerySession,
    request: &ScoreRequest,
    set: &FeatureSet,
    as_of: Timestamp,
    progress: &dyn Progress,
    notes: &mut Vec<String>,
) -> Result<Option<Box<ScoreModel>>> {
    let asked = ScoreRequest {
        model: ModelChoice::Propensity,
        target: Target::OptOutPerMessage,
        horizon_days: request.horizon_days,
        seed: request.seed,
        ..ScoreRequest::default()
    };
    match train_on(session, &asked, Some(set), as_of, progress).await {
        Ok(model) => Ok(Some(Box::new(model))),
        Err(EngineError::Refused(why)) => {
            notes.push(format!("the probability of an opt-out is the share of all messages for everybody, for {why}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Units of two arms.
pub(super) struct Randomised<'a> {
    pub(super) features: &'a FeatureMatrix,
    pub(super) outcome: &'a [f64],
    pub(super) treated: &'a [bool],
    pub(super) probabilities: &'a [f64],
}

/// Tries every way to learn effects and keeps the one that ranks best. Also gives its effects on the units.
pub(super) fn fit(
    data: &Randomised<'_>,
    target: &Target,
    sides: Sides,
    seed: u64,
    progress: &dyn Progress,
) -> Result<(UpliftScorer, Vec<f64>)> {
    let outcomes = data.outcome.iter().filter(|outcome| **outcome > 0.5).count();
    check_classes(target, data.outcome.len() as u64, outcomes as u64, "to learn from")?;
    let number_treated = data.treated.iter().filter(|treated| **treated).count();
    let least = number_treated.min(data.treated.len() - number_treated);
    if least < LEAST_OF_AN_ARM {
        return Err(EngineError::refused(format!(
            "\"{}\" has {number_treated} units and \"{}\" {}: an arm needs {LEAST_OF_AN_ARM} for its effect to be learnt",
            sides.treatment,
            sides.control,
            data.treated.len() - number_treated
        )));
    }
    for (name, side) in [(&sides.treatment, true), (&sides.control, false)] {
        let rows = data.outcome.iter().zip(data.treated);
        let outcomes = rows.filter(|(outcome, treated)| **treated == side && **outcome > 0.5).count();
        if outcomes < LEAST_OUTCOMES_OF_AN_ARM {
            return Err(EngineError::refused(format!(
                "{outcomes} units of \"{name}\" have the outcome \"{}\": each arm needs {LEAST_OUTCOMES_OF_AN_ARM} for what a \
                 message adds to be learnt; take a longer horizon, or hold back more next time",
                target.name()
            )));
        }
    }
    check_randomised(data, &sides)?;
    let units = RandomisedUnits::new(data.outcome, data.treated, data.probabilities)?;
    let options = RankingOptions { seed, ..RankingOptions::default() };
    let ways: Vec<(UpliftMethod, BaseLearner)> =
        [UpliftMethod::TLearner, UpliftMethod::XLearner, UpliftMethod::DoublyRobust]
            .into_iter()
            .flat_map(|method| BaseLearner::ALL.map(|learner| (method, learner)))
            .collect();
    let mut tried = Vec::new();
    for (number, (method, learner)) in ways.iter().enumerate() {
        check_cancelled(progress)?;
        progress.at("fitting models", number as u64, Some(ways.len() as u64));
        let (of_outcome, of_effect) = learners(*learner);
        let folds = CrossFitting { folds: FOLDS, seed, progress: None };
        let fitted = fit_uplift(*method, &of_outcome, &of_effect, data.features, units, folds)?;
        let quality = evaluate_ranking(units, &fitted.effects, options)?;
        tried.push((*method, *learner, fitted, quality));
    }
    progress.at("fitting models", ways.len() as u64, Some(ways.len() as u64));
    tried.sort_by(|left, right| {
        let qini = |quality: &crate::stats::uplift::ranking::RankingQuality| {
            quality.qini.value.estimate.unwrap_or(f64::NEG_INFINITY)
        };
        qini(&right.3).total_cmp(&qini(&left.3))
    });
    let candidates: Vec<Way<'_>> = tried
        .iter()
        .map(|(_, _, fitted, _)| Way {
            effects: &fitted.effects,
            doubly_robust_scores: &fitted.doubly_robust_scores,
            folds: &fitted.folds,
        })
        .collect();
    let Some((.., best, _)) = tried.first() else { return Err(EngineError::refused("no model was fitted")) };
    let effects = best.model.predict(data.features);
    let effects_by_prediction = EffectsByPrediction::of(units, &candidates, 0, &effects, seed)?;
    let mut tried = tried.into_iter();
    let Some((method, learner, chosen, quality)) = tried.next() else {
        return Err(EngineError::refused("no model was fitted"));
    };
    let others = tried
        .map(|(method, learner, other, quality)| {
            let comparison = compare_rankings(units, &chosen.effects, &other.effects, options)?;
            Ok(OtherUplift { method, learner, quality, comparison })
        })
        .collect::<Result<Vec<_>>>()?;
    let expected = Some(chosen.expected.control.as_slice());
    let scorer = UpliftScorer {
        method,
        learner,
        best_linear_predictor: best_linear_predictor(units, expected, &chosen.effects, options.alpha)?,
        group_effects: group_effects(units, expected, &chosen.effects, GROUPS, options.alpha)?,
        effects_by_prediction,
        messages: None,
        model: chosen.model,
        quality,
        others,
        treatment: sides.treatment,
        control: sides.control,
    };
    Ok((scorer, effects))
}

/// Refuses arms that what was there before the assignment tells: they were not drawn at random, and what follows from them
/// is not what a message adds.
fn check_randomised(data: &Randomised<'_>, sides: &Sides) -> Result<()> {
    // By a hash: arms that alternate along the ids would leave each half with one of them.
    let is_first = |row: usize| xxhash_rust::xxh3::xxh3_64(&(row as u64).to_le_bytes()) & 1 == 0;
    // Where probabilities differ, what they hang on tells the arms: among units that are kept by one over their own they do not.
    let differ = data.probabilities.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 1e-9);
    let own = |row: usize| if data.treated[row] { data.probabilities[row] } else { 1.0 - data.probabilities[row] };
    // A single unit that was hardly ever to be drawn so must not leave all others out.
    let least = (0..data.treated.len()).map(own).fold(1.0, f64::min).max(LEAST_OF_WEIGHTS);
    #[allow(clippy::cast_precision_loss)] // A share of the hash.
    let is_kept = |row: usize| {
        let drawn = xxhash_rust::xxh3::xxh3_64_with_seed(&(row as u64).to_le_bytes(), 1) as f64 / u64::MAX as f64;
        !differ || drawn * own(row) <= least
    };
    let half = |first: bool| -> Vec<usize> {
        (0..data.treated.len()).filter(|row| is_first(*row) == first && is_kept(*row)).collect()
    };
    let (learnt, judged) = (half(true), half(false));
    let has_both = |rows: &[usize]| {
        let treated = rows.iter().filter(|row| data.treated[**row]).count();
        treated.min(rows.len() - treated) >= FEWEST_OF_AN_ARM
    };
    if !has_both(&learnt) || !has_both(&judged) {
        return Ok(());
    }
    let arm = |rows: &[usize]| -> Vec<f64> { rows.iter().map(|row| f64::from(u8::from(data.treated[*row]))).collect() };
    let model = ClassifierLearner(BaseLearner::Ridge).fit(&data.features.select(&learnt), &arm(&learnt), None)?;
    let is_treated: Vec<bool> = judged.iter().map(|row| data.treated[*row]).collect();
    let told =
        prediction_quality(&model.predict(&data.features.select(&judged)), &is_treated, QualityOptions::default())?;
    let area = told.area_under_curve;
    let Some(estimate) = area.estimate else { return Ok(()) };
    // Arms that are told without fail leave no interval.
    let low = area.low.unwrap_or(estimate);
    if low > ARM_TOLD {
        return Err(EngineError::refused(format!(
            "who is in \"{}\" and who in \"{}\" can be told from what was known before (area under the curve {estimate:.3}, at \
             least {low:.3}; 0.5 for arms drawn at random): what a message adds cannot be learnt from these arms",
            sides.treatment, sides.control
        )));
    }
    Ok(())
}
