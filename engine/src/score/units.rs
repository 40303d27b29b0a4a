//! Scores from a table with one row a unit: learnt from a file, given to its rows or to those of another.
//!
//! There is no time in such a table: a propensity is judged on a quarter of the units, an effect on units that the judged
//! models had not seen. Every column but the unit, the outcome, the arm and those named otherwise is a feature; what was
//! measured after the outcome must be named, for no program can tell.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use futures::StreamExt as _;
use serde::Serialize;

use super::apply::reasons;
use super::arms::Sides;
use super::data::Draw;
use super::deciles::Deciles;
use super::drift::{Drift, DriftCounts, DriftReference};
use super::features::{Encoding, UnknownValues};
use super::model::{MODEL_FORMAT, ModelSummary, ScoreModel, Scorer, Training};
use super::propensity::{check_classes, encode_all};
use super::request::Target;
use super::uplift::Randomised;
use super::{propensity, uplift};
use crate::error::{EngineError, Result};
use crate::ingest::input::Input;
use crate::progress::{Progress, check_cancelled};
use crate::query::{QuerySession, has_column, new_context, quoted, text_literal, threads, unit_table};
use crate::report::{cell_number, cell_text};
use crate::stats::FeatureMatrix;
use crate::store::{Store, Versions};
use crate::table_file::{TableFile, check_name, check_not_input};

/// Every so manieth unit is kept to judge by.
const JUDGED: usize = 4;
/// Columns of the file of scores, after that of the unit.
const OUT_COLUMNS: [&str; 5] = ["score", "decile", "uplift", "reasons", "model_id"];
/// An area under the curve that hardly any feature from before the outcome brings.
const TOO_GOOD: f64 = 0.99;

/// Scores of the units of a table.
#[derive(Debug, Clone)]
pub struct UnitScoreRequest {
    /// The table to learn from.
    pub units: Input,
    /// Its column of units.
    pub unit: String,
    /// Its column of outcomes, 0 or 1.
    pub target: String,
    /// Its column of arms and the value of the control, to learn what the other arm adds.
    pub arm: Option<(String, String)>,
    /// The arm that is compared with the control; not needed where there is one other.
    pub treatment: Option<String>,
    /// Columns that are no features.
    pub exclude: Vec<String>,
    /// The table to score; that learnt from where there is none.
    pub apply: Option<Input>,
    /// A model of the store in place of one that is trained.
    pub model: Option<String>,
    /// Draws the units that are learnt from.
    pub seed: u64,
}

/// What was scored.
#[derive(Debug, Clone, Serialize)]
pub struct UnitScoreSummary {
    /// The model.
    pub model: ModelSummary,
    /// Units in the file.
    pub units: u64,
    /// Their mean score.
    pub mean_score: Option<f64>,
    /// Whether features and scores are those that the model learnt from.
    pub drift: Drift,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Scores the units of a table into a file. A model that is trained is kept in the store where one is given.
///
/// # Errors
/// When a table cannot be read or lacks a column, there is too little to learn from, or the file cannot be written.
pub async fn score_units(
    request: &UnitScoreRequest,
    store: Option<&Store>,
    out: &Path,
    progress: &dyn Progress,
) -> Result<(UnitScoreSummary, ScoreModel)> {
    check_name(out)?;
    if OUT_COLUMNS.contains(&request.unit.as_str()) {
        return Err(EngineError::usage(format!(
            "the file of scores has a column \"{}\" of its own: name the units' column otherwise",
            request.unit
        )));
    }
    for input in [Some(&request.units), request.apply.as_ref()].into_iter().flatten() {
        check_not_input(out, input)?;
    }
    let model = match (&request.model, store) {
        (Some(id), Some(store)) => ScoreModel::of(store, id).await?,
        (Some(_), None) => return Err(EngineError::usage("a model is kept in a store: name one with --store")),
        (None, _) => train(request, progress).await?,
    };
    if model.features.is_some() {
        return Err(EngineError::usage(format!(
            "model \"{}\" was trained on the logs of a store, and scores their recipients: leave --units out",
            model.id
        )));
    }
    if let (Some(store), None) = (store, &request.model) {
        model.keep_in(store).await?;
    }
    let summary = apply(request, &model, out, progress).await?;
    Ok((summary, model))
}

/// A table in a session of its own, under the name `units`.
async fn open(input: &Input, request: &UnitScoreRequest) -> Result<(QuerySession, SchemaRef)> {
    let session = QuerySession::alone(new_context()?);
    let named = input.clone();
    let names: Vec<String> =
        std::iter::once(request.unit.clone()).chain(request.arm.iter().map(|(column, _)| column.clone())).collect();
    let table = tokio::task::spawn_blocking(move || unit_table(&named, &names)).await??;
    let schema = table.schema();
    session.context().register_table("units", table)?;
    Ok((session, schema))
}

fn check_column(schema: &SchemaRef, input: &Input, name: &str) -> Result<()> {
    if has_column(schema, name) {
        return Ok(());
    }
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    Err(EngineError::usage(format!("{} has no column \"{name}\"; it has {}", input.name, names.join(", "))))
}

async fn train(request: &UnitScoreRequest, progress: &dyn Progress) -> Result<ScoreModel> {
    let (session, schema) = open(&request.units, request).await?;
    let arm_column = request.arm.as_ref().map(|(column, _)| column);
    for name in [&request.unit, &request.target].into_iter().chain(arm_column).chain(&request.exclude) {
        check_column(&schema, &request.units, name)?;
    }
    let named = [&request.unit, &request.target];
    let no_feature =
        |name: &String| named.contains(&name) || arm_column == Some(name) || request.exclude.contains(name);
    let all = schema.fields().iter().map(|field| field.name());
    let names: Vec<String> = all.filter(|name| !no_feature(name)).cloned().collect();
    if names.is_empty() {
        return Err(EngineError::usage(format!("{} has no column that could be a feature", request.units.name)));
    }
    progress.at("reading units", 0, None);
    check_units(&session, &request.units, &request.unit).await?;
    let outcome = outcome_sql(&schema, &request.target);
    check_outcomes(&session, request, &outcome).await?;
    let sides = match &request.arm {
        Some((column, control)) => Some(sides_of(&session, request, column, control).await?),
        None => None,
    };
    let arm = arm_column.map(|column| format!("arrow_cast({}, 'Utf8')", quoted(column)));
    let in_arms = match (&arm, &sides) {
        (Some(arm), Some(sides)) => {
            format!("{arm} IN ({}, {})", text_literal(&sides.treatment), text_literal(&sides.control))
        }
        _ => "TRUE".to_owned(),
    };
    let total = count(&session, &format!("SELECT count(*) FROM units WHERE {in_arms}")).await?;
    let all = count(&session, "SELECT count(*) FROM units").await?;
    let draw = Draw::of(total, request.seed);
    let treated = match (&arm, &sides) {
        (Some(arm), Some(sides)) => format!("{arm} = {}", text_literal(&sides.treatment)),
        _ => "FALSE".to_owned(),
    };
    let columns: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let unit = format!("arrow_cast({}, 'Utf8')", quoted(&request.unit));
    let query = format!(
        "SELECT {}, {treated} AS \"=treated\", {outcome} AS \"=outcome\" FROM units WHERE {in_arms} AND {} ORDER BY {unit}",
        columns.join(", "),
        draw.condition(&unit)
    );
    let batches = session.collect(&query).await?;
    let (mut treated, mut outcome) = (Vec::new(), Vec::new());
    for batch in &batches {
        let width = batch.num_columns();
        treated.extend(batch.column(width - 2).as_boolean().iter().map(|treated| treated == Some(true)));
        outcome.extend(batch.column(width - 1).as_primitive::<Float64Type>().values());
    }
    let (encoding, mut notes) = Encoding::learn(&batches, &names)?;
    if encoding.columns.is_empty() {
        return Err(EngineError::refused(format!(
            "no column of {} tells its units apart: {}",
            request.units.name,
            notes.join("; ")
        )));
    }
    let features = encode_all(&encoding, &batches)?;
    drop(batches);
    let target = Target::Event(request.target.clone());
    let table = UnitTable { features, outcome, treated };
    if let (Some(sides), 1..) = (&sides, all - total) {
        notes.push(format!(
            "{} units are neither in \"{}\" nor in \"{}\", and are not learnt from",
            all - total,
            sides.treatment,
            sides.control
        ));
    }
    let learnt = match sides {
        Some(sides) => table.uplift(&target, sides, request.seed, progress)?,
        None => table.propensity(&target, progress)?,
    };
    notes.extend(learnt.notes);
    ScoreModel {
        format: MODEL_FORMAT,
        id: String::new(),
        target,
        horizon_days: 0,
        training: Training {
            features_at: None,
            outcomes_until: None,
            judged_until: None,
            units: learnt.rows.len() as u64,
            outcomes: learnt.rows.iter().filter(|row| table.outcome[**row] > 0.5).count() as u64,
            share_drawn: draw.share(),
            seed: request.seed,
            table_versions: Versions::new(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        },
        features: None,
        reference: DriftReference::of(&encoding, &table.features.select(&learnt.rows), &learnt.scores),
        encoding,
        scorer: learnt.scorer,
        opt_out: None,
        notes,
    }
    .named()
}

/// The units of a table in memory.
struct UnitTable {
    features: FeatureMatrix,
    outcome: Vec<f64>,
    treated: Vec<bool>,
}

/// What was learnt from a table.
struct Learnt {
    scorer: Scorer,
    /// The units that were learnt from.
    rows: Vec<usize>,
    /// Their scores.
    scores: Vec<f64>,
    notes: Vec<String>,
}

impl UnitTable {
    fn uplift(&self, target: &Target, sides: Sides, seed: u64, progress: &dyn Progress) -> Result<Learnt> {
        #[allow(clippy::cast_precision_loss)] // Units held in memory.
        let share = self.treated.iter().filter(|treated| **treated).count() as f64 / self.treated.len().max(1) as f64;
        let notes = vec![format!(
            "the arms are taken as drawn at random, \"{}\" for a share of {share:.4} of the units, as they are",
            sides.treatment
        )];
        let probabilities = vec![share; self.outcome.len()];
        let data = Randomised {
            features: &self.features,
            outcome: &self.outcome,
            treated: &self.treated,
            probabilities: &probabilities,
        };
        let (scorer, scores) = uplift::fit(&data, target, sides, seed, progress)?;
        let rows = (0..self.outcome.len()).collect();
        Ok(Learnt { scorer: Scorer::Uplift(Box::new(scorer)), rows, scores, notes })
    }

    fn propensity(&self, target: &Target, progress: &dyn Progress) -> Result<Learnt> {
        let positives = self.outcome.iter().filter(|outcome| **outcome > 0.5).count();
        check_classes(target, self.outcome.len() as u64, positives as u64, "to learn from")?;
        let rows = |judged: bool| -> Vec<usize> {
            (0..self.outcome.len()).filter(|row| (row % JUDGED == JUDGED - 1) == judged).collect()
        };
        let part = |rows: &[usize]| -> (FeatureMatrix, Vec<f64>) {
            (self.features.select(rows), rows.iter().map(|row| self.outcome[*row]).collect())
        };
        let rows_learnt = rows(false);
        let ((features, outcome), (judged_features, judged)) = (part(&rows_learnt), part(&rows(true)));
        let fitted = propensity::fit(&features, &outcome, &judged_features, &judged, progress)?;
        let is_too_good = fitted.scorer.quality.area_under_curve.estimate.is_some_and(|area| area > TOO_GOOD);
        let note =
            "the features tell the outcome almost without fail: was one of them measured after it? --exclude names it";
        Ok(Learnt {
            scorer: Scorer::Propensity(Box::new(fitted.scorer)),
            rows: rows_learnt,
            scores: fitted.scores_learnt,
            notes: is_too_good.then(|| note.to_owned()).into_iter().collect(),
        })
    }
}

/// Refuses units without a name, and units that are there twice: one would be learnt from and judge the other.
async fn check_units(session: &QuerySession, input: &Input, unit: &str) -> Result<()> {
    let column = quoted(unit);
    let repeated = count(session, &format!("SELECT count({column}) - count(DISTINCT {column}) FROM units")).await?;
    let missing = count(session, &format!("SELECT count(*) - count({column}) FROM units")).await?;
    if repeated + missing > 0 {
        return Err(EngineError::refused(format!(
            "column \"{unit}\" of {} names {repeated} units again and has no name for {missing}: a table of units has one row a unit",
            input.name
        )));
    }
    Ok(())
}

/// SQL of an outcome as a number; of a column of texts also where these are words for yes and no.
fn outcome_sql(schema: &SchemaRef, target: &str) -> String {
    let column = quoted(target);
    let is_text = schema.field_with_name(target).is_ok_and(|field| {
        matches!(
            field.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
        )
    });
    if !is_text {
        return format!("arrow_cast({column}, 'Float64')");
    }
    let text = format!("lower(trim(arrow_cast({column}, 'Utf8')))");
    let list = |words: [&str; 6]| words.map(text_literal).join(", ");
    format!(
        "CASE WHEN {text} IN ({}) THEN 1.0 WHEN {text} IN ({}) THEN 0.0 END",
        list(["1", "1.0", "true", "yes", "t", "是"]),
        list(["0", "0.0", "false", "no", "f", "否"])
    )
}

/// Refuses outcomes that are not 0 or 1 throughout.
async fn check_outcomes(session: &QuerySession, request: &UnitScoreRequest, outcome: &str) -> Result<()> {
    let wrong =
        count(session, &format!("SELECT count(*) FROM units WHERE {outcome} IS NULL OR {outcome} NOT IN (0.0, 1.0)"))
            .await
            .map_err(|error| {
                EngineError::usage(format!(
                    "column \"{}\" of {} is not an outcome of 0 or 1: {error}",
                    request.target, request.units.name
                ))
            })?;
    if wrong > 0 {
        return Err(EngineError::refused(format!(
            "{wrong} units of {} have neither 0 nor 1 (nor true or false, yes or no) in \"{}\": a score is the probability of an outcome that each unit has or has \
             not",
            request.units.name, request.target
        )));
    }
    Ok(())
}

async fn sides_of(session: &QuerySession, request: &UnitScoreRequest, column: &str, control: &str) -> Result<Sides> {
    let arm = format!("arrow_cast({}, 'Utf8')", quoted(column));
    let query =
        format!("SELECT {arm} AS arm FROM units WHERE {arm} IS NOT NULL GROUP BY {arm} ORDER BY {arm} LIMIT 50");
    let mut arms = Vec::new();
    for batch in session.collect(&query).await? {
        for row in 0..batch.num_rows() {
            arms.extend(cell_text(&batch, 0, row)?);
        }
    }
    let wanted = |name: &str| arms.iter().any(|arm| arm == name);
    let list = || arms.join(", ");
    for name in [Some(control), request.treatment.as_deref()].into_iter().flatten() {
        if !wanted(name) {
            return Err(EngineError::usage(format!("column \"{column}\" has no arm \"{name}\"; it has {}", list())));
        }
    }
    let others: Vec<&String> = arms.iter().filter(|arm| *arm != control).collect();
    let treatment = match (&request.treatment, others.as_slice()) {
        (Some(treatment), _) if treatment != control => treatment.clone(),
        (Some(_), _) => return Err(EngineError::usage("the treatment and the control are the same arm")),
        (None, [only]) => (*only).clone(),
        (None, []) => {
            return Err(EngineError::refused(format!(
                "every unit is in \"{control}\": what another arm adds cannot be told without one"
            )));
        }
        (None, _) => {
            return Err(EngineError::usage(format!(
                "there are several arms ({}): name the one to compare with --treatment",
                list()
            )));
        }
    };
    Ok(Sides { treatment, control: control.to_owned() })
}

async fn count(session: &QuerySession, query: &str) -> Result<u64> {
    let found = session.collect(query).await?;
    let Some(batch) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(0) };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A count.
    Ok(cell_number(batch, 0, 0)?.unwrap_or(0.0) as u64)
}

async fn apply(
    request: &UnitScoreRequest,
    model: &ScoreModel,
    out: &Path,
    progress: &dyn Progress,
) -> Result<UnitScoreSummary> {
    let input = request.apply.as_ref().unwrap_or(&request.units);
    let (session, schema) = open(input, request).await?;
    check_column(&schema, input, &request.unit)?;
    for name in model.encoding.names() {
        if !has_column(&schema, name) {
            return Err(EngineError::refused(format!(
                "{} has no column \"{name}\", which model \"{}\" was trained with: it cannot score this table",
                input.name, model.id
            )));
        }
    }
    check_units(&session, input, &request.unit).await?;
    let columns: Vec<String> = model.encoding.names().into_iter().map(quoted).collect();
    let query = format!(
        "SELECT arrow_cast({}, 'Utf8') AS \"=unit\", {} FROM units ORDER BY 1",
        quoted(&request.unit),
        columns.join(", ")
    );
    let shared = Arc::new(model.clone());
    let scoring = move |batch: std::result::Result<RecordBatch, DataFusionError>| {
        let model = Arc::clone(&shared);
        async move {
            let batch = batch?;
            tokio::task::spawn_blocking(move || -> Result<_> {
                let encoded = model.encoding.encode(&batch)?;
                let (scores, moved) = model.explained(&encoded.matrix);
                let told = reasons(&model.encoding.names(), &moved);
                Ok((cast(batch.column(0), &DataType::Utf8)?, encoded, scores, told))
            })
            .await?
        }
    };
    let mut parts = session.sql(&query).await?.execute_stream().await?.map(scoring).buffered(threads());
    let mut counts = DriftCounts::new(&model.reference);
    let mut unknown = UnknownValues::default();
    let (mut ids, mut scores, mut told): (Vec<ArrayRef>, Vec<f64>, Vec<StringArray>) = Default::default();
    while let Some(part) = parts.next().await {
        check_cancelled(progress)?;
        let (of_part, encoded, part, reasons) = part?;
        told.push(reasons);
        unknown.add(&encoded.unknown);
        counts.add(&model.reference, &encoded.matrix, &part);
        ids.push(of_part);
        scores.extend(part);
        progress.at("scoring", scores.len() as u64, None);
    }
    let deciles = Deciles::of(&mut scores.clone());
    let is_uplift = matches!(model.scorer, Scorer::Uplift(_));
    let schema = Arc::new(Schema::new(vec![
        Field::new(&request.unit, DataType::Utf8, true),
        Field::new(OUT_COLUMNS[0], DataType::Float64, true),
        Field::new(OUT_COLUMNS[1], DataType::Int32, true),
        Field::new(OUT_COLUMNS[2], DataType::Float64, true),
        Field::new(OUT_COLUMNS[3], DataType::Utf8, true),
        Field::new(OUT_COLUMNS[4], DataType::Utf8, true),
    ]));
    let of_values = unknown.notes(&model.encoding, "units")?;
    let mut file = TableFile::at(out, Arc::clone(&schema))?;
    let mut place = 0;
    for (ids, told) in ids.into_iter().zip(told) {
        let rows = ids.len();
        let part = scores[place..place + rows].to_vec();
        let uplift = if is_uplift { Float64Array::from(part.clone()) } else { Float64Array::new_null(rows) };
        let tenths = part.iter().map(|score| Some(deciles.tenth(*score))).collect::<Int32Array>();
        let columns: Vec<ArrayRef> = vec![
            ids,
            Arc::new(Float64Array::from(part)),
            Arc::new(tenths),
            Arc::new(uplift),
            Arc::new(told),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&model.id, rows))),
        ];
        file.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        place += rows;
    }
    file.finish()?.0.keep()?;
    let mut notes = model.notes.clone();
    notes.extend(of_values);
    #[allow(clippy::cast_precision_loss)] // Units held in memory.
    let mean_score = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
    Ok(UnitScoreSummary {
        model: model.summary(),
        units: scores.len() as u64,
        mean_score,
        drift: counts.finish(&model.reference)?,
        notes,
    })
}
