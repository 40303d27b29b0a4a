//! Files that are made in the background, scores or the windows of each recipient: what was asked for, what became of it,
//! and the file, as the store keeps them.
//!
//! A job is one JSON file of the folder `_jobs`, named by its id and replaced as a whole whenever it changes. Its result
//! lies beside it under the same name with the ending of its format, and only when all of it is there. Who runs jobs, in
//! which order and on which threads, is the caller's affair.

use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::{DeltaTableError, Path as ObjectPath};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::error::{EngineError, Result};
use crate::generate::OutputFormat;
use crate::progress::{Progress, check_cancelled};
use crate::query::QuerySession;
use crate::score::{ModelChoice, ScoreModel, ScoreRequest, check_score_request, score};
use crate::store::Store;
use crate::windows::{RecipientWindowsRequest, check_recipient_windows, write_recipient_windows};

/// Where jobs are kept, a folder of the store that Delta readers do not look into.
const FOLDER: &str = "_jobs";
/// Bytes of a digest that an id is made of.
const ID_BYTES: usize = 16;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its turn.
    Queued,
    /// It is under way, or was when whoever ran it ended.
    Running,
    /// Its result is there.
    Done,
    /// It came to nothing; the error says why.
    Failed,
    /// Somebody asked for its end.
    Cancelled,
}

impl JobState {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will become of it any more.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What a job may be asked to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "request", rename_all = "snake_case")]
pub enum JobRequest {
    /// Scores of the recipients.
    Score(Box<ScoreRequest>),
    /// The windows of each recipient.
    RecipientWindows(Box<RecipientWindowsRequest>),
}

impl JobRequest {
    /// What its file is called, before the id.
    #[must_use]
    pub const fn file_stem(&self) -> &'static str {
        match self {
            Self::Score(_) => "scores",
            Self::RecipientWindows(_) => "windows",
        }
    }

    /// Refuses what can be seen to be wrong without the logs.
    fn check_values(&self) -> Result<()> {
        match self {
            Self::Score(request) => request.check(),
            Self::RecipientWindows(request) => request.windows.check_values(),
        }
    }

    /// Makes the file and says in JSON what is in it.
    async fn make(&self, session: &QuerySession, file: &FilePath, progress: &dyn Progress) -> Result<Value> {
        Ok(match self {
            Self::Score(request) => serde_json::to_value(score(session, request, file, progress).await?)?,
            Self::RecipientWindows(request) => {
                serde_json::to_value(write_recipient_windows(session, request, file, progress).await?)?
            }
        })
    }
}

impl From<ScoreRequest> for JobRequest {
    fn from(request: ScoreRequest) -> Self {
        Self::Score(Box::new(request))
    }
}

impl From<RecipientWindowsRequest> for JobRequest {
    fn from(request: RecipientWindowsRequest) -> Self {
        Self::RecipientWindows(Box::new(request))
    }
}

/// A file that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// Where it is.
    pub state: JobState,
    /// What was asked for: the members `kind` and `request` in JSON.
    #[serde(flatten)]
    pub request: JobRequest,
    /// The format of the file.
    pub format: OutputFormat,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was begun, the last time.
    pub started_at: Option<Timestamp>,
    /// When it was done, failed or was cancelled.
    pub finished_at: Option<Timestamp>,
    /// How often whoever ran it ended before it did.
    #[serde(default)]
    pub interruptions: u32,
    /// What is in the file, once it is done: a [`ScoreSummary`](crate::score::ScoreSummary) or a
    /// [`RecipientWindowsSummary`](crate::windows::RecipientWindowsSummary).
    pub summary: Option<Value>,
    /// Why it failed, in the words of whoever ran it.
    pub error: Option<Value>,
    /// A digest of the request and the format as they were asked for: numbers may lose their last digit in a file.
    asked: String,
}

/// The file of a job that is done.
pub struct JobResult {
    /// Its length.
    pub bytes: u64,
    /// Its content, piece by piece.
    pub content: BoxStream<'static, Result<Bytes>>,
}

impl Job {
    /// A job that waits for its turn. Under the same key it has the same id; without one its id is random. `now` is the
    /// clock.
    ///
    /// # Errors
    /// When the request cannot be, whatever the logs hold.
    pub fn new(
        request: impl Into<JobRequest>,
        format: OutputFormat,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Self> {
        let request = request.into();
        request.check_values()?;
        let asked = digest(&serde_json::to_vec(&(&request, format))?);
        let id = match key {
            Some(key) => digest(key.as_bytes()),
            None => uuid::Uuid::new_v4().simple().to_string(),
        };
        Ok(Self {
            id,
            state: JobState::Queued,
            request,
            format,
            created_at: now,
            started_at: None,
            finished_at: None,
            interruptions: 0,
            summary: None,
            error: None,
            asked,
        })
    }

    /// Whether another job asks for the same.
    #[must_use]
    pub fn asks_the_same_as(&self, other: &Self) -> bool {
        self.asked == other.asked
    }

    /// Keeps the job as it is now.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn put(&self, store: &Store) -> Result<()> {
        let Some(objects) = store.side_files(FOLDER, true)? else { return Ok(()) };
        let written = objects.put(&record_path(&self.id), serde_json::to_vec(self)?.into()).await;
        written.map_err(DeltaTableError::from)?;
        Ok(())
    }

    /// The job of that id in a store.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub async fn of(store: &Store, id: &str) -> Result<Option<Self>> {
        if !is_id(id) {
            return Ok(None);
        }
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(None) };
        let Some(found) = unless_missing(objects.get(&record_path(id)).await)? else { return Ok(None) };
        let bytes = found.bytes().await.map_err(DeltaTableError::from)?;
        let job = serde_json::from_slice(&bytes).map_err(|error| {
            EngineError::refused(format!("the file {FOLDER}/{id}.json is no job ({error}): remove it and ask again"))
        })?;
        Ok(Some(job))
    }

    /// Every job of a store in the order in which they were asked for; a file that is none is passed over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(store: &Store) -> Result<Vec<Self>> {
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(Vec::new()) };
        let listed = objects.list_with_delimiter(None).await.map_err(DeltaTableError::from)?;
        let mut jobs: Vec<Self> = Vec::new();
        for object in listed.objects {
            let Some(id) = object.location.filename().and_then(|name| name.strip_suffix(".json")) else { continue };
            match Self::of(store, id).await {
                Ok(job) => jobs.extend(job),
                Err(EngineError::Refused(reason)) => tracing::warn!(reason = reason.as_str(), "a job is passed over"),
                Err(error) => return Err(error),
            }
        }
        jobs.sort_by(|left, right| left.created_at.cmp(&right.created_at).then_with(|| left.id.cmp(&right.id)));
        Ok(jobs)
    }

    /// Looks at what is asked for before any work is done: columns, conditions, the campaign or experiment, the saved model.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn check(&self, session: &QuerySession) -> Result<()> {
        match &self.request {
            JobRequest::Score(request) => {
                if let (ModelChoice::Saved(id), Some(store)) = (&request.model, &session.store) {
                    ScoreModel::of(store, id).await?;
                }
                check_score_request(session, request).await
            }
            JobRequest::RecipientWindows(request) => check_recipient_windows(session, request).await,
        }
    }

    /// Makes the file from a session's store and puts it beside the job; gives what is in it, in JSON. The job itself is kept
    /// by the caller.
    ///
    /// # Errors
    /// As [`score`] or [`write_recipient_windows`], and when the file cannot be put there.
    pub async fn run(&self, session: &QuerySession, progress: &dyn Progress) -> Result<Value> {
        let Some(store) = &session.store else {
            return Err(EngineError::usage("a job is kept in a store: there is none beside log files"));
        };
        let objects = store.side_files(FOLDER, true)?;
        let folder = store.folder().map(|folder| folder.join(FOLDER));
        let work = self.work_folder(folder.as_deref())?;
        let file = work.path().join(self.result_name());
        let summary = self.request.make(session, &file, progress).await?;
        check_cancelled(progress)?;
        match (folder, objects) {
            (Some(folder), _) => {
                let target = folder.join(self.result_name());
                let renamed = tokio::fs::rename(&file, &target).await;
                renamed.map_err(EngineError::io("rename a finished file to", target))?;
            }
            (None, Some(objects)) => {
                let uploaded = upload(&file, objects, self.result_path()).await;
                uploaded.map_err(EngineError::io("put into the store the file", file))?;
            }
            (None, None) => {}
        }
        Ok(summary)
    }

    /// The file of a job that is done; none where it was removed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn result(&self, store: &Store) -> Result<Option<JobResult>> {
        let Some(objects) = store.side_files(FOLDER, false)? else { return Ok(None) };
        let Some(found) = unless_missing(objects.get(&self.result_path()).await)? else { return Ok(None) };
        let bytes = found.meta.size;
        let content = found
            .into_stream()
            .map(|piece| piece.map_err(|error| EngineError::from(DeltaTableError::from(error))))
            .boxed();
        Ok(Some(JobResult { bytes, content }))
    }

    /// Removes the file of the job, if it is there.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn remove_result(&self, store: &Store) -> Result<()> {
        if let Some(objects) = store.side_files(FOLDER, false)? {
            unless_missing(objects.delete(&self.result_path()).await)?;
        }
        Ok(())
    }

    /// Removes the job with its file.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn remove(&self, store: &Store) -> Result<()> {
        // In this order what is left of a removal that is cut off can be removed again.
        self.remove_result(store).await?;
        // A process that was killed left half a file, and nobody tried again.
        if let Some(folder) = store.folder() {
            remove_folder(&folder.join(FOLDER).join(self.work_folder_name()))?;
        }
        if let Some(objects) = store.side_files(FOLDER, false)? {
            unless_missing(objects.delete(&record_path(&self.id)).await)?;
        }
        Ok(())
    }

    fn work_folder_name(&self) -> String {
        format!(".{}", self.id)
    }

    fn result_name(&self) -> String {
        format!("{}.{}", self.id, self.format.name())
    }

    fn result_path(&self) -> ObjectPath {
        ObjectPath::from(self.result_name())
    }

    /// A folder to write the file in, which is removed with what is left in it. In a store that is a folder it has the
    /// same name each time, so that what a killed process left goes with the next attempt.
    fn work_folder(&self, beside: Option<&FilePath>) -> Result<TempDir> {
        let Some(folder) = beside else {
            let made = tempfile::Builder::new().prefix("sendlift-job-").tempdir();
            return made.map_err(EngineError::io("create a folder in", std::env::temp_dir()));
        };
        let name = self.work_folder_name();
        remove_folder(&folder.join(&name))?;
        let made = tempfile::Builder::new().prefix(name.as_str()).rand_bytes(0).tempdir_in(folder);
        made.map_err(EngineError::io("create a folder in", folder))
    }
}

/// Removes a folder with all that is in it, if it is there.
fn remove_folder(folder: &FilePath) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::io("remove the folder", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Removes every job that is finished, with its file: they name recipients.
pub(crate) async fn drop_finished_jobs(store: &Store) -> Result<()> {
    for job in Job::list(store).await? {
        if job.state.is_finished() {
            job.remove(store).await?;
        }
    }
    Ok(())
}

/// Copies a file into the store, in parts where it is large; it is there when all of it is.
async fn upload(file: &FilePath, objects: Arc<dyn ObjectStore>, path: ObjectPath) -> io::Result<()> {
    let mut reader = tokio::fs::File::open(file).await?;
    let mut writer = BufWriter::new(objects, path);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

fn record_path(id: &str) -> ObjectPath {
    ObjectPath::from(format!("{id}.json"))
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 2 * ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Nothing where nothing is there.
fn unless_missing<T>(found: object_store::Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(DeltaTableError::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    fn job(key: Option<&str>, horizon_days: u32) -> Job {
        let request = ScoreRequest { horizon_days, ..ScoreRequest::default() };
        Job::new(request, OutputFormat::Csv, key, Timestamp::UNIX_EPOCH).unwrap()
    }

    fn store(folder: &TempDir) -> Store {
        Store::open(folder.path().to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_key_stands_for_one_job() {
        assert_eq!(job(Some("monday"), 14).id, job(Some("monday"), 14).id);
        assert!(job(Some("monday"), 14).asks_the_same_as(&job(None, 14)));
        assert!(!job(Some("monday"), 14).asks_the_same_as(&job(Some("monday"), 7)));
        assert_ne!(job(None, 14).id, job(None, 14).id);
        assert!(is_id(&job(None, 14).id) && is_id(&job(Some(""), 14).id) && !is_id("../../secret"));
    }

    #[tokio::test]
    async fn a_job_is_kept_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        assert!(Job::list(&store).await.unwrap().is_empty());
        let mut kept = job(None, 14);
        kept.put(&store).await.unwrap();
        kept.state = JobState::Done;
        kept.put(&store).await.unwrap();
        assert_eq!(Job::of(&store, &kept.id).await.unwrap(), Some(kept.clone()));
        assert!(kept.result(&store).await.unwrap().is_none());

        let path = folder.path().join(FOLDER).join(kept.result_name());
        std::fs::write(&path, "recipient_id\n").unwrap();
        let result = kept.result(&store).await.unwrap().unwrap();
        assert_eq!(result.bytes, 13);
        let pieces: Vec<Bytes> = result.content.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"recipient_id\n");

        std::fs::write(folder.path().join(FOLDER).join("0123456789abcdef0123456789abcdef.json"), "{").unwrap();
        assert_eq!(Job::list(&store).await.unwrap(), [kept.clone()]);
        drop_finished_jobs(&store).await.unwrap();
        assert!(!path.exists());
        assert_eq!(Job::of(&store, &kept.id).await.unwrap(), None);
        kept.remove(&store).await.unwrap();
    }

    #[test]
    fn what_a_killed_process_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(None, 14);
        let left = folder.path().join(format!(".{}", job.id));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("half"), "half").unwrap();
        let work = job.work_folder(Some(folder.path())).unwrap();
        assert_eq!(work.path(), left);
        assert_eq!(std::fs::read_dir(&left).unwrap().count(), 0);
        drop(work);
        assert!(!left.exists());
    }
}
