//! From a model to a file of scores.
//!
//! First every recipient's features are read and scored, batch by batch, into a file beside the one that is asked for; scores
//! alone stay in memory. Then that file is joined with who may be sent to, put in the order of ids and written. Nothing has
//! the asked name until all of it is there.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, RecordBatch, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, ParquetReadOptions, col, lit};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::data::end_of_logs;
use super::drift::{Drift, DriftCounts};
use super::economics::{MessageEconomics, MessageProfit};
use super::eligibility::Eligibility;
use super::features::{FeatureSet, Recipients, TextFeatures};
use super::life_cycle::{LIFE_CYCLE_FEATURES, LifeCycle};
use super::model::{ModelSummary, ScoreModel, Scorer};
use super::request::{ModelChoice, ScoreProgress, ScoreRequest, Target, check_cancelled};
use super::segments::{SegmentScore, check_columns, segment_scores};
use super::{propensity, uplift};
use crate::error::{EngineError, Result};
use crate::query::QuerySession;
use crate::stats::audience::{Audience, AudienceLimits, AudienceUnits, Uncertainty, choose_audience};
use crate::table_file::{TableFile, check_name};
use crate::windows::{WindowsRequest, analyze_windows};

/// Features whose part in a score is told.
const REASONS: usize = 3;

/// What was scored.
#[derive(Debug, Clone, Serialize)]
pub struct ScoreSummary {
    /// The model.
    pub model: ModelSummary,
    /// The moment that features were counted up to.
    pub as_of: Timestamp,
    /// Recipients that were scored.
    pub recipients: u64,
    /// Recipients in the file.
    pub written: u64,
    /// Recipients who may not be sent to, by reason.
    pub ineligible: Vec<IneligibleCount>,
    /// Mean score of those who may be sent to; none without any.
    pub mean_score: Option<f64>,
    /// Whom to send to, where effects and amounts are known.
    pub audience: Option<AudienceSummary>,
    /// Segments in sum, where they were asked for.
    pub segments: Vec<SegmentScore>,
    /// Whether features and scores are still what they were.
    pub drift: Drift,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

/// Recipients who may not be sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IneligibleCount {
    /// Why.
    pub reason: String,
    /// How many.
    pub n: u64,
}

/// The audience that is worth its cost.
#[derive(Debug, Clone, Serialize)]
pub struct AudienceSummary {
    /// Recipients in it.
    pub recipients: u64,
    /// What its messages cost.
    pub cost: f64,
    /// What they are expected to bring beyond that.
    pub expected_profit: f64,
    /// What they bring according to the experiment's own units: the mean of what is expected can flatter whom it chose.
    pub by_experiment: Option<super::economics::PolicyProfit>,
    /// What another unit of budget would bring; zero where money is left.
    pub budget_price: f64,
    /// What else a reader has to know.
    pub notes: Vec<String>,
}

impl AudienceSummary {
    pub(super) fn new(
        audience: &Audience,
        by_experiment: Option<super::economics::PolicyProfit>,
        notes: Vec<String>,
    ) -> Self {
        Self {
            recipients: audience.units,
            cost: audience.total_cost,
            expected_profit: audience.expected_profit.estimate.unwrap_or(0.0),
            by_experiment,
            budget_price: audience.budget_price,
            notes,
        }
    }
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

/// What is known once every recipient has a score.
struct Scored {
    /// The score that opens each tenth but the last, the highest tenth first.
    decile_ends: Vec<f64>,
    recipients: u64,
    drift: Drift,
    notes: Vec<String>,
}

/// The features of the recipients that a condition holds for.
async fn filtered(session: &QuerySession, set: &FeatureSet, at: i64, filter: Option<&str>) -> Result<DataFrame> {
    if set.has_texts {
        TextFeatures::count(session, at).await?;
    }
    let set = set.over(session).await?;
    let frame = session.sql(&set.query(at, &Recipients::All, &|_| "TRUE".to_owned())).await?;
    let Some(filter) = filter else { return Ok(frame) };
    let wrong = |error: DataFusionError| {
        let told = error.strip_backtrace();
        EngineError::usage(format!("the condition \"{filter}\" cannot be used: {told}"))
    };
    // One expression, which nothing can follow.
    let condition = session.context().parse_sql_expr(filter, frame.schema()).map_err(wrong)?;
    frame.filter(condition).map_err(wrong)
}

/// Reads features, scores them and writes both into a file.
async fn score_all(
    session: &QuerySession,
    request: &ScoreRequest,
    model: &ScoreModel,
    as_of: Timestamp,
    scored: &Path,
    progress: &dyn ScoreProgress,
) -> Result<Scored> {
    let Some(set) = &model.features else {
        return Err(EngineError::usage(format!(
            "model \"{}\" was trained on a table of units: score such a table with it (--units FILE --model {})",
            model.id, model.id
        )));
    };
    let at = as_of.as_microsecond();
    set.check_store(session).await?;
    let mut frame = filtered(session, set, at, request.filter.as_deref()).await?;
    if model.target == Target::Churn {
        // Only who is a customer can stop being one.
        let days = f64::from(model.horizon_days) * 2.0;
        frame = frame.filter(col("days_since_conversion").lt(lit(days)))?;
    }
    let mut stream = frame.execute_stream().await?;
    let schema = scored_schema();
    let mut file = TableFile::at(scored, Arc::clone(&schema))?;
    let shared = Arc::new(model.clone());
    let mut scores: Vec<f64> = Vec::new();
    let mut counts = DriftCounts::new(&model.reference);
    let mut unknown = vec![0_u64; model.encoding.columns.len()];
    while let Some(batch) = stream.next().await {
        let (batch, model, schema) = (batch?, Arc::clone(&shared), Arc::clone(&schema));
        check_cancelled(progress)?;
        let part = tokio::task::spawn_blocking(move || score_batch(&model, &batch, schema)).await??;
        for (sum, more) in unknown.iter_mut().zip(&part.unknown) {
            *sum += more;
        }
        counts.add(&shared.reference, &part.features, &part.scores);
        scores.extend_from_slice(&part.scores);
        file.write(&part.rows)?;
        progress.at("scoring", scores.len() as u64, None);
    }
    let (file, _) = file.finish()?;
    file.keep()?;
    let mut notes = Vec::new();
    if request.filter.is_some() {
        notes.push(
            "drift is that of the recipients whom the condition chose, against all that were learnt from".to_owned(),
        );
    }
    for (column, n) in model.encoding.columns.iter().zip(unknown).filter(|(_, n)| *n > 0) {
        notes.push(format!(
            "{n} recipients have a value of {} that the model was not trained with: they count as \"any other\"",
            column.name
        ));
    }
    let drift = counts.finish(&model.reference)?;
    scores.sort_unstable_by(|left, right| right.total_cmp(left));
    let n = scores.len();
    let decile_ends =
        (1..10).filter_map(|tenth| scores.get((n * tenth).div_ceil(10).saturating_sub(1)).copied()).collect();
    Ok(Scored { decile_ends, recipients: n as u64, drift, notes })
}

/// A batch with its scores.
struct ScoredBatch {
    rows: RecordBatch,
    scores: Vec<f64>,
    features: crate::stats::FeatureMatrix,
    unknown: Vec<u64>,
}

fn scored_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let mut fields = vec![
        Field::new("recipient_id", DataType::Utf8, true),
        number("score"),
        Field::new("reasons", DataType::Utf8, true),
    ];
    fields.extend(LIFE_CYCLE_FEATURES.map(number));
    Arc::new(Schema::new(fields))
}

fn score_batch(model: &ScoreModel, batch: &RecordBatch, schema: SchemaRef) -> Result<ScoredBatch> {
    let encoded = model.encoding.encode(batch)?;
    let scores = model.scores(&encoded.matrix);
    let reasons = reasons(&model.encoding.names(), &model.moved(&encoded.matrix));
    let mut columns: Vec<ArrayRef> =
        vec![cast(batch.column(0), &DataType::Utf8)?, Arc::new(Float64Array::from(scores.clone())), Arc::new(reasons)];
    for name in LIFE_CYCLE_FEATURES {
        let column = batch.column_by_name(name);
        columns.push(match column {
            Some(column) => cast(column, &DataType::Float64)?,
            None => arrow::array::new_null_array(&DataType::Float64, batch.num_rows()),
        });
    }
    let rows = RecordBatch::try_new(schema, columns)?;
    Ok(ScoredBatch { rows, scores, features: encoded.matrix, unknown: encoded.unknown })
}

/// The features that moved each score most, with by how much.
pub(super) fn reasons(names: &[&str], moved: &[f64]) -> StringArray {
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
    let decile = first
        .decile_ends
        .iter()
        .map(|end| format!(" + CASE WHEN s.score < {end:?} THEN 1 ELSE 0 END"))
        .collect::<String>();
    let is_uplift = matches!(model.scorer, Scorer::Uplift(_));
    let profit = match economics.profit.as_ref().filter(|_| is_uplift) {
        Some(profit) => format!("s.score * {:?} - {:?}", profit.margin, profit.cost + profit.opt_out_loss),
        None => "NULL".to_owned(),
    };
    let query = format!(
        "SELECT s.recipient_id, s.score, arrow_cast(1{decile}, 'Int32') AS decile, {} AS uplift, \
         arrow_cast({profit}, 'Float64') AS expected_profit, {}, {} AS ineligible_reason, s.reasons \
         FROM {table} AS s{} ORDER BY s.recipient_id",
        if is_uplift { "s.score" } else { "arrow_cast(NULL, 'Float64')" },
        life_cycle.columns(),
        eligibility.reason,
        eligibility.joins
    );
    let mut stream = session.sql(&query).await?.execute_stream().await?;
    let with_audience = is_uplift && economics.profit.is_some();
    let window = recommended_window(session).await?;
    let schema = out_schema();
    let mut pending = Pending::new(scratch, out, with_audience, &schema)?;
    let mut left_out = Counts::default();
    let mut sum = (0_u64, 0.0);
    let mut chosen_from = Candidates::default();
    while let Some(batch) = stream.next().await {
        check_cancelled(progress)?;
        let rows = out_batch(&batch?, request, model, (&schema, window.as_deref()), &mut left_out, &mut sum)?;
        if with_audience {
            chosen_from.add(&rows);
        }
        pending.write(&rows)?;
        progress.at("writing", pending.rows, Some(first.recipients));
    }
    let audience = if let Some(profit) = economics.profit.as_ref().filter(|_| with_audience) {
        let limits = AudienceLimits { budget: request.budget, most_units: request.max_recipients };
        let chosen = chosen_from.choose(profit.cost, limits)?;
        pending.mark(&chosen.chosen)?;
        Some(economics.summary(&chosen, chosen_from.least_effect(&chosen, profit), model))
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
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^53.
    let mean_score = (sum.0 > 0).then(|| sum.1 / sum.0 as f64);
    if sum.0 == 0 {
        notes.push("nobody who was scored may be sent to: see the reasons".to_owned());
    }
    Ok(ScoreSummary {
        model: model.summary(),
        as_of,
        recipients: first.recipients,
        written,
        ineligible: left_out.0,
        mean_score,
        audience,
        segments,
        drift: first.drift,
        notes,
    })
}

#[derive(Default)]
struct Counts(Vec<IneligibleCount>);

impl Counts {
    fn add(&mut self, reason: &str) {
        match self.0.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.n += 1,
            None => self.0.push(IneligibleCount { reason: reason.to_owned(), n: 1 }),
        }
    }
}

fn out_schema() -> SchemaRef {
    let (text, number) =
        (|name: &str| Field::new(name, DataType::Utf8, true), |name: &str| Field::new(name, DataType::Float64, true));
    let whole = |name: &str| Field::new(name, DataType::Int32, true);
    Arc::new(Schema::new(vec![
        text("recipient_id"),
        number("score"),
        whole("decile"),
        number("uplift"),
        number("expected_profit"),
        Field::new("in_audience", DataType::Boolean, true),
        text("variant"),
        text("channel"),
        text("window"),
        text("life_cycle"),
        whole("rfm_recency"),
        whole("rfm_frequency"),
        whole("rfm_monetary"),
        Field::new("eligible", DataType::Boolean, true),
        text("ineligible_reason"),
        text("reasons"),
        text("model_id"),
    ]))
}

/// The rows of a batch that belong into the file.
fn out_batch(
    batch: &RecordBatch,
    request: &ScoreRequest,
    model: &ScoreModel,
    (schema, window): (&SchemaRef, Option<&str>),
    left_out: &mut Counts,
    sum: &mut (u64, f64),
) -> Result<RecordBatch> {
    let reason = cast(column(batch, "ineligible_reason")?, &DataType::Utf8)?;
    let reasons = reason.as_string::<i32>();
    let scores = column(batch, "score")?.as_primitive::<Float64Type>();
    for (score, reason) in scores.iter().zip(reasons) {
        match reason {
            Some(reason) => left_out.add(reason),
            None => *sum = (sum.0 + 1, sum.1 + score.unwrap_or(0.0)),
        }
    }
    let eligible = arrow::compute::is_null(&reason)?;
    let rows = batch.num_rows();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match field.name().as_str() {
            "eligible" => Arc::new(eligible.clone()) as ArrayRef,
            "in_audience" => arrow::array::new_null_array(&DataType::Boolean, rows),
            "channel" => repeated(Some(&request.eligibility.channel), rows),
            "window" => repeated(window, rows),
            "variant" => better_arm(model, scores),
            "model_id" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&model.id, rows))),
            name => cast(column(batch, name)?, field.data_type())?,
        });
    }
    let rows = RecordBatch::try_new(Arc::clone(schema), columns)?;
    Ok(if request.include_ineligible { rows } else { arrow::compute::filter_record_batch(&rows, &eligible)? })
}

/// One text in every row, or nothing.
fn repeated(text: Option<&str>, rows: usize) -> ArrayRef {
    Arc::new(std::iter::repeat_n(text, rows).collect::<StringArray>())
}

/// The arm that is better for each recipient, where the model compares two.
fn better_arm(model: &ScoreModel, scores: &Float64Array) -> ArrayRef {
    let arms = match &model.scorer {
        Scorer::Uplift(scorer) if !scorer.treatment.contains(", ") => Some((&scorer.treatment, &scorer.control)),
        _ => None,
    };
    let better = |score: Option<f64>| -> Option<&str> {
        let (treatment, control) = arms?;
        score.map(|score| if score > 0.0 { treatment.as_str() } else { control.as_str() })
    };
    Arc::new(scores.iter().map(better).collect::<StringArray>())
}

/// The window of the week that does best for clicks, where the logs can tell one from another.
async fn recommended_window(session: &QuerySession) -> Result<Option<String>> {
    let answers = analyze_windows(session, &WindowsRequest::default()).await?;
    let best = answers.first().and_then(|answer| answer.recommendation.windows.first());
    Ok(best.map(|window| format!("{} {}-{}", window.weekday, window.start, window.end)))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| EngineError::usage(format!("there is no column \"{name}\"")))
}

/// What an audience is chosen from.
#[derive(Default)]
struct Candidates {
    profits: Vec<f64>,
    may: Vec<bool>,
}

impl Candidates {
    fn add(&mut self, rows: &RecordBatch) {
        let profits = rows.column(4).as_primitive::<Float64Type>();
        let eligible = rows.column(13).as_boolean();
        for row in 0..rows.num_rows() {
            let may = eligible.is_valid(row) && eligible.value(row) && profits.is_valid(row);
            self.may.push(may);
            // One who may not be sent to is worth nothing.
            self.profits.push(if may { profits.value(row) } else { 0.0 });
        }
    }

    fn choose(&self, cost: f64, limits: AudienceLimits) -> Result<Audience> {
        let costs = vec![cost; self.profits.len()];
        let units = AudienceUnits { profit: &self.profits, cost: &costs, uncertainty: Uncertainty::Unknown };
        Ok(choose_audience(units, limits, 0.05)?)
    }

    /// The least effect of those chosen.
    fn least_effect(&self, chosen: &Audience, profit: &MessageProfit) -> Option<f64> {
        let of_chosen =
            self.profits.iter().zip(&chosen.chosen).filter(|(_, chosen)| **chosen).map(|(profit, _)| *profit);
        let least = of_chosen.reduce(f64::min)?;
        (profit.margin != 0.0).then(|| (least + profit.cost + profit.opt_out_loss) / profit.margin)
    }
}

/// The file that is being written; with an audience it is written once without it first, for whom to send to is known only
/// when everybody is.
struct Pending<'a> {
    file: Option<TableFile>,
    without_audience: Option<std::path::PathBuf>,
    out: &'a Path,
    schema: SchemaRef,
    rows: u64,
}

impl<'a> Pending<'a> {
    fn new(scratch: &Path, out: &'a Path, with_audience: bool, schema: &SchemaRef) -> Result<Self> {
        let without_audience = with_audience.then(|| scratch.join("without_audience.parquet"));
        let file = TableFile::at(without_audience.as_deref().unwrap_or(out), Arc::clone(schema))?;
        Ok(Self { file: Some(file), without_audience, out, schema: Arc::clone(schema), rows: 0 })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.write(rows)?;
        }
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Writes the file again, with whom to send to.
    fn mark(&mut self, chosen: &[bool]) -> Result<()> {
        let (Some(file), Some(path)) = (self.file.take(), &self.without_audience) else { return Ok(()) };
        file.finish()?.0.keep()?;
        let input = std::fs::File::open(path).map_err(EngineError::io("read", path))?;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(input)?.build()?;
        let mut file = TableFile::at(self.out, Arc::clone(&self.schema))?;
        let mut place = 0;
        for batch in reader {
            let batch = batch?;
            let end = place + batch.num_rows();
            let mut columns = batch.columns().to_vec();
            columns[5] = Arc::new(BooleanArray::from(chosen[place..end].to_vec()));
            file.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
            place = end;
        }
        self.file = Some(file);
        Ok(())
    }

    fn finish(self) -> Result<u64> {
        if let Some(file) = self.file {
            file.finish()?.0.keep()?;
        }
        Ok(self.rows)
    }
}
