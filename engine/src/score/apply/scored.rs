//! From features to scores, batch by batch: scores alone stay in memory.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, StringBuilder, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, col, lit};
use futures::StreamExt as _;
use jiff::Timestamp;

use super::rows::OPT_OUT_PROBABILITY;
use crate::error::{EngineError, Result};
use crate::progress::{Progress, check_cancelled};
use crate::query::{QuerySession, RecipientSample, threads};
use crate::score::deciles::Deciles;
use crate::score::drift::{Drift, DriftCounts};
use crate::score::features::{FEATURES_OF_A_RANGE, FeatureSet, Recipients, TextFeatures, UnknownValues};
use crate::score::life_cycle::LIFE_CYCLE_FEATURES;
use crate::score::model::ScoreModel;
use crate::score::request::{ScoreRequest, Target};
use crate::segment::{is_of_the_condition, refused_part};
use crate::stats::FeatureMatrix;
use crate::table_file::TableFile;

/// Features whose part in a score is told.
const REASONS: usize = 3;

/// What is known once every recipient has a score.
pub(super) struct Scored {
    pub(super) deciles: Deciles,
    pub(super) recipients: u64,
    pub(super) drift: Drift,
    pub(super) notes: Vec<String>,
    /// From which ranges of recipients are made.
    pub(super) sample: RecipientSample,
}

/// Contacts that a condition is tried out on before any work is done.
const TRIED: usize = 1_000;

/// Tries a condition out: what cannot be read or told is known before a model is trained.
pub(super) async fn try_out(session: &QuerySession, at: i64, filter: &str) -> Result<()> {
    let set = over_texts(session, &FeatureSet::fix(session, at).await?, at).await?;
    let some = Recipients::Of(format!("SELECT DISTINCT recipient_id FROM recipients LIMIT {TRIED}"));
    let tried = filtered(session, &set, at, &some, Some(filter)).await?.collect().await;
    tried.map(|_| ()).map_err(|error| untold(filter, error))
}

/// An error of a condition in its own words, any other as it is.
fn untold(filter: &str, error: DataFusionError) -> EngineError {
    if is_of_the_condition(&error) {
        return EngineError::usage(format!(
            "the condition \"{filter}\" cannot be told of every recipient: {}; a column of the contacts is a text, which CAST(… AS \
             DOUBLE) makes a number",
            error.strip_backtrace()
        ));
    }
    error.into()
}

/// A set over what a session has, with what the texts were like where it asks for that.
async fn over_texts(session: &QuerySession, set: &FeatureSet, at: i64) -> Result<FeatureSet> {
    if set.has_texts {
        TextFeatures::count(session, at).await?;
    }
    set.over(session).await
}

/// The features of the recipients that a condition holds for.
async fn filtered(
    session: &QuerySession,
    set: &FeatureSet,
    at: i64,
    recipients: &Recipients,
    filter: Option<&str>,
) -> Result<DataFrame> {
    let frame = session.sql(&set.query(session, at, recipients, &|_| "TRUE".to_owned()).await?).await?;
    let Some(filter) = filter else { return Ok(frame) };
    let wrong = |error: DataFusionError| {
        let told = error.strip_backtrace();
        EngineError::usage(format!("the condition \"{filter}\" cannot be used: {told}"))
    };
    // One expression, which nothing can follow.
    let condition = session.context().parse_sql_expr(filter, frame.schema()).map_err(wrong)?;
    if let Some(why) = refused_part(&condition)? {
        return Err(EngineError::usage(format!("the condition \"{filter}\" cannot be used: {why}")));
    }
    frame.filter(condition).map_err(wrong)
}

/// Reads features, scores them and writes both into a file.
pub(super) async fn score_all(
    session: &QuerySession,
    request: &ScoreRequest,
    model: &ScoreModel,
    as_of: Timestamp,
    scored: &Path,
    progress: &dyn Progress,
) -> Result<Scored> {
    let Some(set) = &model.features else {
        return Err(EngineError::usage(format!(
            "model \"{}\" was trained on a table of units: score such a table with it (--units FILE --model {})",
            model.id, model.id
        )));
    };
    let at = as_of.as_microsecond();
    set.check_store(session).await?;
    let set = over_texts(session, set, at).await?;
    let schema = scored_schema();
    let mut file = TableFile::at(scored, Arc::clone(&schema))?;
    let shared = Arc::new(model.clone());
    let scoring = {
        let (shared, filter) = (Arc::clone(&shared), request.filter.clone());
        move |batch: std::result::Result<RecordBatch, DataFusionError>| {
            let (model, schema, filter) = (Arc::clone(&shared), Arc::clone(&schema), filter.clone());
            async move {
                let batch = batch.map_err(|error| match &filter {
                    Some(filter) => untold(filter, error),
                    None => error.into(),
                })?;
                tokio::task::spawn_blocking(move || score_batch(&model, &batch, schema)).await?
            }
        }
    };
    let mut scores: Vec<f64> = Vec::new();
    let mut counts = DriftCounts::new(&model.reference);
    let mut unknown = UnknownValues::default();
    let sample = RecipientSample::of(session).await?;
    for range in sample.ranges(FEATURES_OF_A_RANGE) {
        let within = range.within(session).await?;
        let mut frame = filtered(&within, &set, at, &Recipients::All, request.filter.as_deref()).await?;
        if model.target == Target::Churn {
            // Only who is a customer can stop being one.
            let days = f64::from(model.horizon_days) * 2.0;
            frame = frame.filter(col("days_since_conversion").lt(lit(days)))?;
        }
        let mut parts = frame.execute_stream().await?.map(&scoring).buffered(threads());
        while let Some(part) = parts.next().await {
            check_cancelled(progress)?;
            let part: ScoredBatch = part?;
            unknown.add(&part.unknown);
            counts.add(&shared.reference, &part.features, &part.scores);
            scores.extend_from_slice(&part.scores);
            file.write(&part.rows)?;
            progress.at("scoring", scores.len() as u64, None);
        }
    }
    let (file, _) = file.finish()?;
    file.keep()?;
    let mut notes = Vec::new();
    if request.filter.is_some() {
        notes.push(
            "drift is that of the recipients whom the condition chose, against all that were learnt from".to_owned(),
        );
    }
    notes.extend(unknown.notes(&model.encoding, "recipients")?);
    let drift = counts.finish(&model.reference)?;
    Ok(Scored { recipients: scores.len() as u64, deciles: Deciles::of(&mut scores), drift, notes, sample })
}

/// A batch with its scores.
struct ScoredBatch {
    rows: RecordBatch,
    scores: Vec<f64>,
    features: FeatureMatrix,
    unknown: UnknownValues,
}

fn scored_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let mut fields = vec![
        Field::new("recipient_id", DataType::Utf8, true),
        number("score"),
        number(OPT_OUT_PROBABILITY),
        Field::new("reasons", DataType::Utf8, true),
    ];
    fields.extend(LIFE_CYCLE_FEATURES.map(number));
    Arc::new(Schema::new(fields))
}

fn score_batch(model: &ScoreModel, batch: &RecordBatch, schema: SchemaRef) -> Result<ScoredBatch> {
    let encoded = model.encoding.encode(batch)?;
    let (scores, moved) = model.explained(&encoded.matrix);
    let reasons = reasons(&model.encoding.names(), &moved);
    let opt_out: ArrayRef = match &model.opt_out {
        Some(opt_out) => Arc::new(Float64Array::from(opt_out.scores(&opt_out.encoding.encode(batch)?.matrix))),
        None => new_null_array(&DataType::Float64, batch.num_rows()),
    };
    let mut columns: Vec<ArrayRef> = vec![
        cast(batch.column(0), &DataType::Utf8)?,
        Arc::new(Float64Array::from(scores.clone())),
        opt_out,
        Arc::new(reasons),
    ];
    for name in LIFE_CYCLE_FEATURES {
        let column = batch.column_by_name(name);
        columns.push(match column {
            Some(column) => cast(column, &DataType::Float64)?,
            None => new_null_array(&DataType::Float64, batch.num_rows()),
        });
    }
    let rows = RecordBatch::try_new(schema, columns)?;
    Ok(ScoredBatch { rows, scores, features: encoded.matrix, unknown: encoded.unknown })
}

/// The features that moved each score most, with by how much.
pub(in crate::score) fn reasons(names: &[&str], moved: &[f64]) -> StringArray {
    use std::fmt::Write as _;
    let mut texts = StringBuilder::new();
    let mut text = String::new();
    for moved in moved.chunks(names.len().max(1)) {
        let mut top: [(f64, usize); REASONS] = [(0.0, usize::MAX); REASONS];
        for (feature, by) in moved.iter().enumerate() {
            // Of equal ones the first feature stands first.
            if let Some(place) = top.iter().position(|(known, _)| by.abs() > known.abs()) {
                top[place..].rotate_right(1);
                top[place] = (*by, feature);
            }
        }
        text.clear();
        for (by, feature) in top.iter().filter(|(_, feature)| *feature != usize::MAX) {
            let separator = if text.is_empty() { "" } else { "; " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{} {by:+.3}", names.get(*feature).copied().unwrap_or_default());
        }
        texts.append_value(&text);
    }
    texts.finish()
}
