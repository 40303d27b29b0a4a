//! Carries files to the store: read, validate and write at the same time, then one commit a log.
//!
//! Three stages run side by side (one thread takes the file apart, one validates, one encodes Parquet) with at most two
//! chunks between them, so that memory does not grow with the file. Every log of a call is written before any is
//! committed: if one is refused, nothing is. The quarantine is committed before its log, under the same identities, so that
//! a call that is killed in between and run again, with the same files or with others, ends as if it had run once.
//!
//! [`group`] takes in many small batches at a time by the same rules.

mod group;
mod rejects;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

pub use group::{Batch, Committer};
use rejects::Rejects;
pub(crate) use rejects::quarantine_id;

use super::input::{Input, Origin};
use super::read::{self, RawChunk};
use super::validate::{CheckedChunk, Validator, ValidatorOptions};
use crate::bridge;
use crate::error::{EngineError, Result};
use crate::event::{INGESTED_AT, Log, SOURCE_FILE, timestamp_type};
use crate::store::{Appended, Appender, Store, log_schema};

/// Chunks that may wait between two stages.
const WAITING_CHUNKS: usize = 2;
/// Rejected rows whose reasons are shown in the outcome.
const SHOWN_REJECTS: usize = 5;

/// What to take in for one log.
#[derive(Debug, Clone)]
pub struct LogInput {
    /// The log.
    pub log: Log,
    /// The files, in the order in which their rows count as received.
    pub inputs: Vec<Input>,
    /// The identity of the whole batch, if the caller has one (`Idempotency-Key`); else each file's digest is its identity.
    pub idempotency_key: Option<String>,
}

/// How to take logs in.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Mapping, zone and key.
    pub validator: ValidatorOptions,
    /// The share of rows that may be rejected before nothing is taken in, 0 to 1.
    pub max_rejected: f64,
    /// The clock.
    pub now: Timestamp,
}

/// Said of a batch under a name that another has.
pub const NAME_TAKEN: &str =
    "Idempotency-Key: other rows were taken in under this key, and nothing of these was: give this batch another one";
/// What comes of a log with too many bad rows.
const NOTHING_TAKEN_IN: &str = "nothing was taken in";

impl IngestOptions {
    /// The default limit on rejected rows.
    pub const DEFAULT_MAX_REJECTED: f64 = 0.05;

    /// Options with canonical columns and the default limit.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { validator: ValidatorOptions::default(), max_rejected: Self::DEFAULT_MAX_REJECTED, now }
    }
}

/// How far an ingest is.
#[derive(Debug, Clone, Copy)]
pub struct IngestProgress {
    /// The log under way.
    pub log: Log,
    /// Rows read so far.
    pub rows: u64,
    /// Of these, rows rejected.
    pub rejected: u64,
}

/// What became of one log's input.
#[derive(Debug, Clone, Serialize)]
pub struct LogOutcome {
    /// The log.
    pub log: Log,
    /// Rows taken in.
    pub accepted: u64,
    /// Rows set aside in the quarantine.
    pub rejected: u64,
    /// Rows that the mapping leaves out (a provider's inbound messages in the sends, say).
    pub left_out: u64,
    /// Rows of a batch that was taken in before, which change nothing.
    pub duplicates: u64,
    /// Files (or batches) that were taken in before.
    pub already_ingested: Vec<String>,
    /// Rejected rows by reason.
    pub reasons: BTreeMap<String, u64>,
    /// The first rejected rows.
    pub examples: Vec<Rejected>,
    /// The log's table version that holds the rows.
    pub version: Option<u64>,
    /// Whether other rows were taken in under the caller's name of this batch, so that nothing was.
    #[serde(skip)]
    pub name_taken: bool,
}

/// One rejected row as it is shown to the user.
#[derive(Debug, Clone, Serialize)]
pub struct Rejected {
    /// The file.
    pub file: String,
    /// The row's number in it.
    pub row: i64,
    /// Why.
    pub reason: String,
}

impl LogOutcome {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            accepted: 0,
            rejected: 0,
            left_out: 0,
            duplicates: 0,
            already_ingested: Vec::new(),
            reasons: BTreeMap::new(),
            examples: Vec::new(),
            version: None,
            name_taken: false,
        }
    }

    pub(crate) fn count(&mut self, file: &str, chunk: &CheckedChunk) {
        self.accepted += chunk.frame.height() as u64;
        self.left_out += chunk.left_out as u64;
        self.rejected += chunk.rejected.len() as u64;
        for row in &chunk.rejected {
            *self.reasons.entry(reason_kind(&row.reason)).or_default() += 1;
            if self.examples.len() < SHOWN_REJECTS {
                self.examples.push(Rejected { file: file.to_owned(), row: row.row, reason: row.reason.clone() });
            }
        }
    }

    /// The most frequent reasons for which rows were rejected, and the first of these rows.
    pub(crate) fn why_rejected(&self) -> String {
        let mut reasons: Vec<(&String, &u64)> = self.reasons.iter().collect();
        reasons.sort_by(|left, right| right.1.cmp(left.1));
        let reasons: Vec<String> =
            reasons.iter().take(3).map(|(reason, count)| format!("{count} × {reason}")).collect();
        let example = self.examples.first().map(|row| format!(" (first: {} row {})", row.file, row.row));
        format!("{}{}", reasons.join("; "), example.unwrap_or_default())
    }

    /// The share of rows that were rejected, 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // Row counts are far below 2^53.
    pub fn rejected_share(&self) -> f64 {
        let rows = self.accepted + self.rejected;
        if rows == 0 { 0.0 } else { self.rejected as f64 / rows as f64 }
    }
}

/// A reason without the cell that it quotes, so that a million different bad cells are one line of a summary.
fn reason_kind(reason: &str) -> String {
    match (reason.find('"'), reason.rfind('"')) {
        (Some(start), Some(end)) if end > start => format!("{}…{}", &reason[..=start], &reason[end..]),
        _ => reason.to_owned(),
    }
}

/// One log whose data files are written and not yet committed.
struct Written {
    outcome: LogOutcome,
    batch_ids: Vec<String>,
    rows: Appender,
    rejects: Rejects,
}

/// A file whose rows are not in its log yet.
struct Fresh {
    input: Input,
    /// Its identity, or the whole batch's.
    batch_id: String,
}

/// Takes logs in: all of them, or none when one is refused. The facts are not touched.
///
/// # Errors
/// When a file cannot be read, the rejected share of a log is over the limit, or the store fails.
pub async fn ingest(
    store: &Store,
    inputs: &[LogInput],
    options: &IngestOptions,
    progress: &(dyn Fn(IngestProgress) + Send + Sync),
) -> Result<Vec<LogOutcome>> {
    let mut written: Vec<Written> = Vec::with_capacity(inputs.len());
    let mut refusal: Option<EngineError> = None;
    for input in inputs {
        match write_log(store, input, options, progress).await {
            Ok(log) => {
                refusal = over_limit(&log.outcome, options.max_rejected, NOTHING_TAKEN_IN);
                written.push(log);
            }
            Err(error) => refusal = Some(error),
        }
        if refusal.is_some() {
            break;
        }
    }
    if let Some(refusal) = refusal {
        for log in written {
            log.rows.abandon().await;
            log.rejects.abandon().await;
        }
        return Err(refusal);
    }
    let mut outcomes = Vec::with_capacity(written.len());
    for log in written {
        outcomes.push(commit_log(log).await?);
    }
    Ok(outcomes)
}

/// A refusal of a log of which too many rows were rejected; `so` is what comes of that.
pub(crate) fn over_limit(outcome: &LogOutcome, max_rejected: f64, so: &str) -> Option<EngineError> {
    let share = outcome.rejected_share();
    if share <= max_rejected {
        return None;
    }
    Some(EngineError::refused(format!(
        "{}: {} of {} rows ({:.1} %) were rejected, over the limit of {:.1} %, so {so}: {}; mend the \
         file, map its columns with --map, or raise --max-rejected",
        outcome.log,
        outcome.rejected,
        outcome.rejected + outcome.accepted,
        share * 100.0,
        max_rejected * 100.0,
        outcome.why_rejected(),
    )))
}

async fn write_log(
    store: &Store,
    input: &LogInput,
    options: &IngestOptions,
    progress: &(dyn Fn(IngestProgress) + Send + Sync),
) -> Result<Written> {
    let log = input.log;
    let mut outcome = LogOutcome::new(log);
    let mut rows = Appender::open(store, log.name(), &log_schema(log)).await?;
    let mut rejects = Rejects::open(store, log).await?;
    let mut batch_ids = Vec::new();
    let mut fresh: Vec<Fresh> = Vec::new();
    if let Some(key) = &input.idempotency_key {
        let mut files = Vec::with_capacity(input.inputs.len());
        for source in &input.inputs {
            files.push(format!("file:{}", digest(source).await?));
        }
        let named = [format!("key:{key}"), group::content_id(key, &files)];
        if rows.has(&named[0]).await? && !rows.has(&named[1]).await? {
            rows.abandon().await;
            rejects.abandon().await;
            return Err(EngineError::refused(NAME_TAKEN));
        }
        batch_ids.extend(named);
    }
    for source in &input.inputs {
        let batch_id = match &input.idempotency_key {
            Some(key) => format!("key:{key}"),
            None => format!("file:{}", digest(source).await?),
        };
        if rows.has(&batch_id).await? {
            outcome.already_ingested.push(source.name.clone());
            source.discard_spool();
            if matches!(source.origin, Origin::Memory(_)) {
                outcome.duplicates += count_rows(source, log, options).await?;
            }
        } else if input.idempotency_key.is_some() || !batch_ids.contains(&batch_id) {
            if input.idempotency_key.is_none() {
                batch_ids.push(batch_id.clone());
            }
            fresh.push(Fresh { input: source.clone(), batch_id });
        } else {
            // The same bytes twice in one call.
            outcome.already_ingested.push(source.name.clone());
        }
    }
    if fresh.is_empty() {
        batch_ids.clear();
    }
    let validator = Arc::new(Validator::new(log, &options.validator, options.now.as_microsecond())?);
    let mut chunks = checked_chunks(fresh.iter().map(|file| file.input.clone()).collect(), validator);
    let mut failure = None;
    while let Some(next) = chunks.recv().await {
        let stored = match next {
            Ok((position, chunk)) => {
                let file = &fresh[position];
                outcome.count(&file.input.name, &chunk);
                progress(IngestProgress { log, rows: outcome.accepted + outcome.rejected, rejected: outcome.rejected });
                store_chunk(&mut rows, &mut rejects, file, chunk, received_after(options.now, position)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            failure = Some(error);
            break;
        }
    }
    match failure {
        None => Ok(Written { outcome, batch_ids, rows, rejects }),
        Some(error) => {
            rows.abandon().await;
            rejects.abandon().await;
            Err(error)
        }
    }
}

/// When the rows of a file count as received: of several of one call each a microsecond after the one before it, for of rows
/// that are one event the latest received counts.
pub(crate) fn received_after(now: Timestamp, position: usize) -> Timestamp {
    let later = now.as_microsecond().saturating_add(i64::try_from(position).unwrap_or(i64::MAX));
    Timestamp::from_microsecond(later).unwrap_or(now)
}

async fn digest(input: &Input) -> Result<String> {
    let input = input.clone();
    tokio::task::spawn_blocking(move || input.digest()).await?
}

async fn count_rows(input: &Input, log: Log, options: &IngestOptions) -> Result<u64> {
    let validator = Arc::new(Validator::new(log, &options.validator, options.now.as_microsecond())?);
    let mut chunks = checked_chunks(vec![input.clone()], validator);
    let mut rows = 0;
    while let Some(next) = chunks.recv().await {
        rows += next?.1.frame.height() as u64;
    }
    Ok(rows)
}

/// Reads and validates inputs on two threads of their own; the receiver gets each chunk with its file's place among them.
fn checked_chunks(inputs: Vec<Input>, validator: Arc<Validator>) -> mpsc::Receiver<Result<(usize, CheckedChunk)>> {
    let (raw_sender, mut raw_receiver) = mpsc::channel::<Result<(usize, RawChunk)>>(WAITING_CHUNKS);
    let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
    let reader_validator = Arc::clone(&validator);
    tokio::task::spawn_blocking(move || {
        for (position, input) in inputs.into_iter().enumerate() {
            let chunks = match read::open(&input, reader_validator.times()) {
                Ok(chunks) => chunks,
                Err(error) => {
                    // The receiver is gone when the ingest has failed already; there is nobody left to tell.
                    let _ = raw_sender.blocking_send(Err(error));
                    return;
                }
            };
            for chunk in chunks {
                let chunk = chunk.map(|chunk| (position, chunk));
                if raw_sender.blocking_send(chunk).is_err() {
                    return;
                }
            }
            input.discard_spool();
        }
    });
    tokio::task::spawn_blocking(move || {
        while let Some(raw) = raw_receiver.blocking_recv() {
            let checked = raw.and_then(|(position, chunk)| Ok((position, validator.check(&chunk)?)));
            if sender.blocking_send(checked).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn store_chunk(
    rows: &mut Appender,
    rejects: &mut Rejects,
    file: &Fresh,
    chunk: CheckedChunk,
    now: Timestamp,
) -> Result<()> {
    let batch = bridge::to_record_batch(&chunk.frame)?;
    rows.write(&with_provenance(&batch, &file.input.name, now)?).await?;
    rejects.write(file, &chunk.rejected, now).await
}

/// Adds when and from which file the rows were received.
fn with_provenance(batch: &RecordBatch, file: &str, now: Timestamp) -> Result<RecordBatch> {
    let count = batch.num_rows();
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    fields.push(Field::new(INGESTED_AT, timestamp_type(), true));
    columns.push(received_at(count, now));
    fields.push(Field::new(SOURCE_FILE, DataType::Utf8, true));
    columns.push(Arc::new(StringArray::from(vec![file; count])));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn received_at(count: usize, now: Timestamp) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![now.as_microsecond(); count]).with_timezone("UTC"))
}

async fn commit_log(log: Written) -> Result<LogOutcome> {
    let Written { mut outcome, batch_ids, rows, rejects } = log;
    if batch_ids.is_empty() {
        rows.abandon().await;
        rejects.abandon().await;
        return Ok(outcome);
    }
    rejects.commit().await?;
    match rows.commit(&batch_ids).await? {
        Appended::Committed(version) => outcome.version = Some(version),
        Appended::AlreadyThere(version) => {
            // Another ingest of the same bytes was faster.
            outcome.duplicates += outcome.accepted;
            outcome.accepted = 0;
            outcome.version = Some(version);
        }
        Appended::NameTaken(_) => return Err(EngineError::refused(NAME_TAKEN)),
    }
    Ok(outcome)
}
