//! The jobs that wait or run in this server, and how far they are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use sendlift_engine::jobs::{Job, JobState};
use sendlift_engine::progress::Progress;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use super::problem::Problem;
use super::workers::Workers;

/// How far a job has come.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reached {
    stage: &'static str,
    done: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
}

/// A job at a moment.
pub(super) struct Snapshot {
    pub(super) job: Job,
    /// How far it has come, while it runs here.
    pub(super) reached: Option<Reached>,
}

/// A job that waits or runs.
pub(super) struct Live {
    job: Mutex<Job>,
    reached: Mutex<Option<Reached>>,
    /// Whether the server is about to end.
    is_stopping: Arc<AtomicBool>,
}

/// What is behind a lock. Every change is a single assignment: it is whole also after a panic elsewhere.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn new(job: Job, is_stopping: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { job: Mutex::new(job), reached: Mutex::default(), is_stopping: Arc::clone(is_stopping) })
    }

    pub(super) fn state(&self) -> JobState {
        whole(&self.job).state
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let job = whole(&self.job).clone();
        let reached = whole(&self.reached).filter(|_| job.state == JobState::Running);
        Snapshot { job, reached }
    }

    /// Begins with it, unless it was cancelled meanwhile.
    pub(super) fn begin(&self, now: Timestamp) -> Option<Job> {
        let mut job = whole(&self.job);
        if job.state != JobState::Queued {
            return None;
        }
        job.state = JobState::Running;
        job.started_at = Some(now);
        Some(job.clone())
    }

    /// Ends it if it is not finished.
    pub(super) fn cancel(&self, now: Timestamp) -> Option<Job> {
        let mut job = whole(&self.job);
        if job.state.is_finished() {
            return None;
        }
        job.state = JobState::Cancelled;
        job.finished_at = Some(now);
        Some(job.clone())
    }

    /// What became of it; nothing if it was cancelled, or is to be begun again by the next server.
    pub(super) fn finish(&self, made: Result<Value, Problem>, now: Timestamp) -> Option<Job> {
        let mut job = whole(&self.job);
        if job.state == JobState::Cancelled {
            return None;
        }
        match made {
            Ok(summary) => {
                job.state = JobState::Done;
                job.summary = Some(summary);
            }
            Err(_) if self.is_stopping.load(Ordering::SeqCst) => return None,
            Err(problem) => {
                tracing::warn!(job = job.id.as_str(), reason = problem.reason(), "a job failed");
                fail(&mut job, &problem);
            }
        }
        job.finished_at = Some(now);
        Some(job.clone())
    }
}

/// Tells of a job why it came to nothing.
pub(super) fn fail(job: &mut Job, problem: &Problem) {
    job.state = JobState::Failed;
    job.error = serde_json::to_value(problem.details(Some(job.id.clone()))).ok();
}

impl Progress for Live {
    fn at(&self, stage: &'static str, done: u64, of: Option<u64>) {
        *whole(&self.reached) = Some(Reached { stage, done, of });
    }

    fn is_cancelled(&self) -> bool {
        self.state() == JobState::Cancelled || self.is_stopping.load(Ordering::SeqCst)
    }
}

/// The jobs of a server.
pub(super) struct Jobs {
    /// Those that wait or run, in the order in which they were asked for.
    live: Mutex<Vec<Arc<Live>>>,
    /// Held while a job changes, here and in the store.
    pub(super) changing: AsyncMutex<()>,
    /// Held by the task that runs jobs.
    pub(super) runner: Arc<AsyncMutex<()>>,
    /// Whether the jobs that another server left are known.
    pub(super) taken_up: OnceCell<()>,
    is_stopping: Arc<AtomicBool>,
    pub(super) threads: Workers,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self {
            live: Mutex::default(),
            changing: AsyncMutex::default(),
            runner: Arc::default(),
            taken_up: OnceCell::new(),
            is_stopping: Arc::default(),
            threads: Workers::for_jobs(),
        }
    }

    /// Begins no job any more, and gives up the one that runs: the next server begins it again.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Live>> {
        whole(&self.live).iter().find(|live| whole(&live.job).id == id).cloned()
    }

    pub(super) fn add(&self, jobs: impl IntoIterator<Item = Job>) {
        let added = jobs.into_iter().map(|job| Live::new(job, &self.is_stopping));
        whole(&self.live).extend(added);
    }

    /// Knows one no longer; another of the same id stays.
    pub(super) fn forget(&self, one: &Arc<Live>) {
        whole(&self.live).retain(|live| !Arc::ptr_eq(live, one));
    }

    pub(super) fn waiting(&self) -> usize {
        whole(&self.live).iter().filter(|live| live.state() == JobState::Queued).count()
    }

    /// The job whose turn it is.
    pub(super) fn next_waiting(&self) -> Option<Arc<Live>> {
        if self.is_stopping.load(Ordering::SeqCst) {
            return None;
        }
        whole(&self.live).iter().find(|live| live.state() == JobState::Queued).cloned()
    }
}

#[cfg(test)]
mod tests {
    use sendlift_engine::generate::OutputFormat;
    use sendlift_engine::score::ScoreRequest;

    use super::*;

    fn live() -> Arc<Live> {
        let job = Job::new(ScoreRequest::default(), OutputFormat::Csv, None, Timestamp::UNIX_EPOCH).unwrap();
        Live::new(job, &Arc::default())
    }

    #[test]
    fn a_job_that_was_cancelled_stays_so() {
        let waiting = live();
        assert!(waiting.cancel(Timestamp::UNIX_EPOCH).is_some());
        assert!(waiting.begin(Timestamp::UNIX_EPOCH).is_none());
        let running = live();
        assert!(running.begin(Timestamp::UNIX_EPOCH).is_some() && !running.is_cancelled());
        assert!(running.cancel(Timestamp::UNIX_EPOCH).is_some() && running.is_cancelled());
        assert!(running.finish(Ok(Value::Null), Timestamp::UNIX_EPOCH).is_none());
        assert_eq!(running.state(), JobState::Cancelled);
        assert!(running.cancel(Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn a_job_that_the_servers_end_cuts_off_is_still_running() {
        let stopped = live();
        stopped.begin(Timestamp::UNIX_EPOCH).unwrap();
        stopped.is_stopping.store(true, Ordering::SeqCst);
        assert!(stopped.is_cancelled());
        assert!(stopped.finish(Err(Problem::overloaded()), Timestamp::UNIX_EPOCH).is_none());
        assert_eq!(stopped.state(), JobState::Running);
    }

    #[test]
    fn how_far_a_job_is_is_told_while_it_runs() {
        let job = live();
        job.at("scoring", 7, None);
        assert!(job.snapshot().reached.is_none());
        job.begin(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(job.snapshot().reached.map(|reached| reached.done), Some(7));
        let failed = job.finish(Err(Problem::bad_request("no")), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(
            (failed.state, failed.error.map(|error| error["status"].clone())),
            (JobState::Failed, Some(400.into()))
        );
    }
}
