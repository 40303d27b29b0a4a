//! Small batches that share commits: each is validated for itself, in memory and without any lock, and those that are ready
//! at the same time go to the store together, in one version of each log.
//!
//! In: the body of a request. Out: what became of it, as [`ingest`](super::ingest) tells it. A batch is all or nothing, and
//! is there once, by the same identities and the same order of commits (the quarantine before its log) as one that is
//! taken in alone; which others it shares a version with makes no difference to it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow::array::RecordBatch;
use sha2::{Digest as _, Sha256};

use super::rejects::{quarantine_batch, quarantine_id};
use super::{IngestOptions, LogInput, LogOutcome, NOTHING_TAKEN_IN, over_limit, with_provenance};
use crate::bridge;
use crate::error::Result;
use crate::event::Log;
use crate::ingest::identity::hexadecimal;
use crate::ingest::input::{Input, Origin};
use crate::ingest::read;
use crate::ingest::validate::{CheckedChunk, Validator};
use crate::store::{
    Appended, GroupAppender, Member, QUARANTINE, Standing, Store, align, log_schema, merged_schema, quarantine_schema,
};

/// Bytes of a batch, as it comes or as its rows are kept, above which it does not wait in memory for others.
const LARGEST_BATCH: usize = 16 << 20;

/// A small batch of one log that was validated and is not committed yet.
#[derive(Debug)]
pub struct Batch {
    batch_id: String,
    /// The name with what is in it, where the caller gave the name.
    content_id: Option<String>,
    source: String,
    rows: Vec<RecordBatch>,
    rejected: Vec<RecordBatch>,
    bytes: usize,
    /// What becomes of it if it is new.
    outcome: LogOutcome,
}

impl Batch {
    /// Validates a batch, which keeps the thread busy for as long as that takes. None when it is not small, or consists of
    /// several files: [`ingest`](super::ingest) takes any.
    ///
    /// # Errors
    /// When the batch cannot be read, or the share of rejected rows is over the limit.
    pub fn prepare(input: &LogInput, options: &IngestOptions) -> Result<Option<Self>> {
        let [source] = input.inputs.as_slice() else { return Ok(None) };
        if source.size() > LARGEST_BATCH as u64 {
            return Ok(None);
        }
        let log = input.log;
        let mut batch = Self {
            batch_id: batch_id(source, input.idempotency_key.as_deref())?,
            content_id: match &input.idempotency_key {
                Some(key) => Some(content_id(key, &[batch_id(source, None)?])),
                None => None,
            },
            source: source.name.clone(),
            rows: Vec::new(),
            rejected: Vec::new(),
            bytes: 0,
            outcome: LogOutcome::new(log),
        };
        let validator = Validator::new(log, &options.validator, options.now.as_microsecond())?;
        for chunk in read::open(source, validator.times())? {
            batch.add(&validator.check(&chunk?)?, options)?;
            if batch.bytes > LARGEST_BATCH {
                return Ok(None);
            }
        }
        match over_limit(&batch.outcome, options.max_rejected, NOTHING_TAKEN_IN) {
            Some(refusal) => Err(refusal),
            None => Ok(Some(batch)),
        }
    }

    /// The log that it is of.
    #[must_use]
    pub fn log(&self) -> Log {
        self.outcome.log
    }

    fn add(&mut self, chunk: &CheckedChunk, options: &IngestOptions) -> Result<()> {
        self.outcome.count(&self.source, chunk);
        let rows = with_provenance(&bridge::to_record_batch(&chunk.frame)?, &self.source, options.now)?;
        // Here, where batches are worked on side by side, and not where they are committed one after another.
        let rows = align(&rows, &merged_schema(&log_schema(self.log()), &rows.schema()))?;
        self.bytes += rows.get_array_memory_size();
        self.rows.push(rows);
        if !chunk.rejected.is_empty() {
            let rejected = quarantine_batch(self.log(), &self.source, &chunk.rejected, options.now)?;
            self.bytes += rejected.get_array_memory_size();
            self.rejected.push(rejected);
        }
        Ok(())
    }

    fn member(&self) -> Member<'_> {
        Member { batch_id: &self.batch_id, content_id: self.content_id.as_deref(), rows: &self.rows }
    }

    /// What became of it.
    fn settle(self, appended: Appended) -> LogOutcome {
        match appended {
            Appended::Committed(version) => LogOutcome { version: Some(version), ..self.outcome },
            Appended::NameTaken(_) => LogOutcome { name_taken: true, ..LogOutcome::new(self.outcome.log) },
            Appended::AlreadyThere(version) => LogOutcome {
                duplicates: self.outcome.accepted,
                already_ingested: vec![self.source],
                version: Some(version),
                ..LogOutcome::new(self.outcome.log)
            },
        }
    }
}

fn batch_id(source: &Input, idempotency_key: Option<&str>) -> Result<String> {
    Ok(match (idempotency_key, &source.origin) {
        (Some(key), _) => format!("key:{key}"),
        (None, Origin::Memory(bytes)) => format!("file:{}", hexadecimal(&Sha256::digest(bytes))),
        (None, Origin::File(_)) => format!("file:{}", source.digest()?),
    })
}

/// The identity of a name with what was sent under it, of all its files.
pub(super) fn content_id(key: &str, files: &[String]) -> String {
    let digest = hexadecimal(&Sha256::digest(files.join("\n").as_bytes()));
    format!("key:{key} {digest}")
}

/// Commits groups of batches. It remembers what it read of the tables, so that one should serve all of a server's batches.
pub struct Committer {
    store: Store,
    logs: BTreeMap<Log, GroupAppender>,
    quarantine: Option<GroupAppender>,
}

impl Committer {
    /// A committer that has read nothing yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, logs: BTreeMap::new(), quarantine: None }
    }

    /// Commits batches of one log in one version, and says what became of each, in their order. A batch that was taken in
    /// before, or stands twice among them, counts as duplicate. When it returns, the batches are as durable as the store
    /// can make them.
    ///
    /// # Errors
    /// When the store fails: then none of the batches is acknowledged, and each may be sent again.
    pub async fn commit(&mut self, log: Log, batches: Vec<Batch>) -> Result<Vec<LogOutcome>> {
        let appended = self.append(log, &batches).await;
        if appended.is_err() {
            // What is remembered of the tables may be why.
            self.logs.remove(&log);
            self.quarantine = None;
        }
        Ok(batches.into_iter().zip(appended?).map(|(batch, appended)| batch.settle(appended)).collect())
    }

    async fn append(&mut self, log: Log, batches: &[Batch]) -> Result<Vec<Appended>> {
        let table = match self.logs.entry(log) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(GroupAppender::open(&self.store, log.name(), &log_schema(log)).await?),
        };
        let members: Vec<Member<'_>> = batches.iter().map(Batch::member).collect();
        let standing = table.standing(&members).await?;
        let ids: Vec<String> = batches.iter().map(|batch| quarantine_id(log, &batch.batch_id)).collect();
        let mut rejected = Vec::new();
        for ((batch, batch_id), standing) in batches.iter().zip(&ids).zip(standing) {
            if standing == Standing::New && !batch.rejected.is_empty() {
                rejected.push(Member { batch_id, content_id: None, rows: &batch.rejected });
            }
        }
        if !rejected.is_empty() {
            let quarantine = match &mut self.quarantine {
                Some(known) => known,
                none => none.insert(GroupAppender::open(&self.store, QUARANTINE, &quarantine_schema()).await?),
            };
            quarantine.append(&rejected).await?;
        }
        table.append(&members).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use jiff::Timestamp;

    fn options() -> IngestOptions {
        IngestOptions { max_rejected: 0.5, ..IngestOptions::new("2026-11-01T00:00:00Z".parse::<Timestamp>().unwrap()) }
    }

    fn input(key: Option<&str>, rows: &str) -> LogInput {
        let text = format!("message_id,recipient_id,sent_at\n{rows}");
        let inputs = vec![Input::memory("request", Bytes::from(text))];
        LogInput { log: Log::Sends, inputs, idempotency_key: key.map(str::to_owned) }
    }

    fn batch(key: Option<&str>, rows: &str) -> Batch {
        Batch::prepare(&input(key, rows), &options()).unwrap().unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        (folder, store)
    }

    async fn version_of(store: &Store, table: &str) -> Option<u64> {
        store.table(table).await.unwrap().and_then(|table| table.version())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_is_one_version_and_each_batch_is_there_once() {
        let (_folder, store) = store();
        let mut committer = Committer::new(store.clone());
        let group = vec![
            batch(Some("a"), "m1,r1,2026-03-02\nm2,r2,2026-03-02\n"),
            batch(Some("b"), "m3,r3,2026-03-02\nm4,r4,yesterday\n"),
            batch(Some("a"), "m1,r1,2026-03-02\nm2,r2,2026-03-02\n"),
            batch(None, "m5,r5,2026-03-02\n"),
        ];
        let outcomes = committer.commit(Log::Sends, group).await.unwrap();
        let counts: Vec<_> =
            outcomes.iter().map(|outcome| (outcome.accepted, outcome.rejected, outcome.duplicates)).collect();
        assert_eq!(counts, [(2, 0, 0), (1, 1, 0), (0, 0, 2), (1, 0, 0)]);
        assert!(outcomes.iter().all(|outcome| outcome.version == Some(1)));
        assert_eq!((version_of(&store, "sends").await, version_of(&store, QUARANTINE).await), (Some(1), Some(1)));

        // Another committer knows them from the store, and nothing is committed again, rejected rows included.
        let again = vec![batch(Some("b"), "m3,r3,2026-03-02\nm4,r4,yesterday\n"), batch(None, "m5,r5,2026-03-02\n")];
        let outcomes = Committer::new(store.clone()).commit(Log::Sends, again).await.unwrap();
        assert!(outcomes.iter().all(|outcome| (outcome.accepted, outcome.duplicates) == (0, 1)));
        assert_eq!((version_of(&store, "sends").await, version_of(&store, QUARANTINE).await), (Some(1), Some(1)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_another_writer_took_in_meanwhile_is_left_out() {
        let (_folder, store) = store();
        let mut committer = Committer::new(store.clone());
        committer.commit(Log::Sends, vec![batch(Some("a"), "m1,r1,2026-03-02\n")]).await.unwrap();
        let elsewhere = input(Some("b"), "m2,r2,2026-03-02\n");
        super::super::ingest(&store, &[elsewhere], &options(), &|_| ()).await.unwrap();
        // The committer has not seen this version, and learns of it when its commit conflicts.
        let group = vec![batch(Some("b"), "m2,r2,2026-03-02\n"), batch(Some("c"), "m3,r3,2026-03-02\n")];
        let outcomes = committer.commit(Log::Sends, group).await.unwrap();
        assert_eq!((outcomes[0].accepted, outcomes[0].duplicates, outcomes[1].accepted), (0, 1, 1));
        assert_eq!(version_of(&store, "sends").await, Some(3));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn batches_are_known_across_a_checkpoint() {
        let (folder, store) = store();
        let mut committer = Committer::new(store.clone());
        for number in 0..105 {
            let (key, row) = (format!("k{number}"), format!("m{number},r{number},2026-03-02\n"));
            let outcomes = committer.commit(Log::Sends, vec![batch(Some(&key), &row)]).await.unwrap();
            assert_eq!((outcomes[0].accepted, outcomes[0].version), (1, Some(number + 1)));
        }
        let log = folder.path().join("sends/_delta_log");
        assert!(log.join("_last_checkpoint").is_file());
        // Entries before the checkpoint may be gone by then.
        for version in 0..90 {
            std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
        }
        let mut other = Committer::new(store.clone());
        for (number, is_known) in [(0, true), (98, true), (104, true), (105, false)] {
            let (key, row) = (format!("k{number}"), format!("m{number},r{number},2026-03-02\n"));
            let outcomes = other.commit(Log::Sends, vec![batch(Some(&key), &row)]).await.unwrap();
            assert_eq!((outcomes[0].duplicates, outcomes[0].name_taken), (u64::from(is_known), false), "{key}");
            // The same name with other rows is somebody else's batch.
            let outcomes = other.commit(Log::Sends, vec![batch(Some(&key), "x1,r1,2026-03-02\n")]).await.unwrap();
            assert_eq!((outcomes[0].duplicates, outcomes[0].name_taken), (0, true), "{key}");
        }
    }

    #[test]
    fn a_batch_with_too_many_bad_rows_is_refused_and_a_large_one_goes_its_own_way() {
        let refused = Batch::prepare(&input(None, "m1,r1,never\nm2,r2,never\nm3,r3,2026-03-02\n"), &options());
        assert!(refused.unwrap_err().to_string().contains("66.7 %"));
        let row = "m1,r1,2026-03-02\n";
        let large = input(None, &row.repeat(LARGEST_BATCH / row.len() + 1));
        assert!(Batch::prepare(&large, &options()).unwrap().is_none());
    }
}
