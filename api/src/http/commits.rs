//! Batches on their way into the store: validated side by side, committed in groups.
//!
//! Each batch is validated as soon as a processor is free for it. Those that are ready wait for the one committer, which
//! takes all that wait, of all logs, and commits those of a log in one version; while it does, the next ones gather. A
//! batch is acknowledged when its commit is on the disk. One that is too large to wait in memory is written by itself,
//! as `sendlift ingest` does it, one at a time.
//!
//! **When an acknowledgement waits for the reads.** A batch that comes alone, to a server whose reads show all batches
//! before it, is acknowledged when they show it, too: nobody has to wait then, neither the one who sent it and reads next
//! nor those who read meanwhile, and the answer can tell the version of the facts. As soon as another batch comes, or when
//! that takes too long, it is acknowledged at once, since it is durable; so is every batch that comes beside others. What
//! reads do about those, `latest` tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use sendlift_engine::event::Log;
use sendlift_engine::ingest::load::{Batch, Committer, IngestOptions, IngestProgress, LogInput, LogOutcome, ingest};
use sendlift_engine::store::Store;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::latest::View;
use super::problem::Problem;
use super::workers::RoomForBytes;
use super::{AppState, ServeConfig};

/// How long the committer waits for batches that are being validated: a commit costs about as much as it takes to
/// validate a dozen of them.
const GATHERING: Duration = Duration::from_millis(25);
/// How long an acknowledgement waits for the reads at most; half of the time that a request may take, if that is less.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Without a batch for so long, no more are expected.
const CALM: Duration = Duration::from_millis(50);

/// A batch that waits for its commit, and who waits for it.
struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<LogOutcome, Problem>>,
}

/// The batches that a server has under way.
pub(super) struct Commits {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the task that commits.
    committer: Arc<AsyncMutex<Committer>>,
    /// Held by a batch that is written by itself.
    alone: AsyncMutex<()>,
    /// Bodies of batches that are under way.
    room: RoomForBytes,
    /// As many as there are processors to validate batches.
    validators: Semaphore,
    /// Batches that are being validated or are about to be.
    validating: watch::Sender<usize>,
    /// Batches that came and are not acknowledged, those that are being written by themselves apart.
    under_way: watch::Sender<usize>,
    longest_wait: Duration,
}

/// Counts something for as long as it lives.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn in_(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A batch's place among those under way.
pub(super) struct Place {
    counted: Option<Counted>,
    _bytes: OwnedSemaphorePermit,
}

/// What a batch's sender is told.
pub(super) struct Acknowledgement {
    pub(super) outcome: LogOutcome,
    /// The view that shows the batch, if the acknowledgement waited for it.
    pub(super) view: Option<Arc<View>>,
}

impl Commits {
    pub(super) fn new(store: Store, config: &ServeConfig) -> Self {
        Self {
            waiting: Mutex::default(),
            committer: Arc::new(AsyncMutex::new(Committer::new(store))),
            alone: AsyncMutex::default(),
            room: RoomForBytes::new(config.max_waiting_bytes),
            validators: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            validating: watch::Sender::default(),
            under_way: watch::Sender::default(),
            longest_wait: LONGEST_WAIT.min(config.timeout / 2),
        }
    }

    /// A place for a batch of so many bytes, if there is room.
    pub(super) fn enter(&self, bytes: usize) -> Result<Place, Problem> {
        let full = "the batches that wait to be committed are as many as this server keeps: send it again in a second";
        let bytes = self.room.enter(bytes).ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, full))?;
        Ok(Place { counted: Some(Counted::in_(&self.under_way)), _bytes: bytes })
    }

    /// Whether batches are under way that are not acknowledged yet.
    pub(super) fn is_busy(&self) -> bool {
        *self.under_way.borrow() > 0
    }

    /// Completes when no batch has been under way for a while.
    pub(super) async fn calm(&self) {
        let mut under_way = self.under_way.subscribe();
        loop {
            // The count is never closed while it is borrowed here.
            let _ = under_way.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(CALM, under_way.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }

    /// Completes when a batch is not the only one any more.
    async fn company(&self) {
        let _ = self.under_way.subscribe().wait_for(|count| *count > 1).await;
    }

    /// Completes when no batch is being validated, or the time for gathering is over.
    async fn gather(&self) {
        let mut validating = self.validating.subscribe();
        let _ = tokio::time::timeout(GATHERING, validating.wait_for(|count| *count == 0)).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Every change is a single push or the taking of all: the list is whole also after a panic elsewhere.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AppState {
    /// Takes a batch in, and comes back when it is durable.
    pub(super) async fn take_in(
        &self,
        input: LogInput,
        options: IngestOptions,
        mut place: Place,
    ) -> Result<Acknowledgement, Problem> {
        let validating = Counted::in_(&self.commits.validating);
        let (input, options, prepared) = self.prepare(input, options).await?;
        let outcome = if let Some(batch) = prepared? {
            let (answer, outcome) = oneshot::channel();
            self.commits.waiting().push(Waiting { batch, answer });
            // Not before it waits: the committer is to take it along.
            drop(validating);
            self.start_committing();
            outcome.await.map_err(|error| Problem::internal(&error))??
        } else {
            drop(validating);
            self.write_alone(input, &options, &mut place).await?
        };
        let view = self.shown().await;
        Ok(Acknowledgement { outcome, view })
    }

    async fn prepare(
        &self,
        input: LogInput,
        options: IngestOptions,
    ) -> Result<(LogInput, IngestOptions, Result<Option<Batch>, Problem>), Problem> {
        let _validator = self.commits.validators.acquire().await.map_err(|error| Problem::internal(&error))?;
        let work = tokio::task::spawn_blocking(move || {
            let prepared = Batch::prepare(&input, &options).map_err(Problem::from);
            (input, options, prepared)
        });
        work.await.map_err(|error| Problem::internal(&error))
    }

    /// Takes in a batch that is too large to wait in memory.
    async fn write_alone(
        &self,
        input: LogInput,
        options: &IngestOptions,
        place: &mut Place,
    ) -> Result<LogOutcome, Problem> {
        // It may take minutes, in which others come and go that are acknowledged as if it were not there.
        place.counted = None;
        let _turn = self.commits.alone.lock().await;
        let nobody = |_: IngestProgress| {};
        let outcomes = Box::pin(ingest(&self.store, &[input], options, &nobody)).await;
        place.counted = Some(Counted::in_(&self.commits.under_way));
        self.latest.note_commit();
        outcomes?.pop().ok_or_else(|| {
            Problem::hidden(StatusCode::INTERNAL_SERVER_ERROR, "an ingest of one log gave no outcome".to_owned())
        })
    }

    /// Has all that waits committed, unless that is being done.
    fn start_committing(&self) {
        let Ok(mut committer) = Arc::clone(&self.commits.committer).try_lock_owned() else { return };
        let state = self.clone();
        self.workers.spawn(async move {
            loop {
                state.commits.gather().await;
                let group = std::mem::take(&mut *state.commits.waiting());
                if group.is_empty() {
                    break;
                }
                state.commit(&mut committer, group).await;
            }
            drop(committer);
            // One that came in just now found the committer taken.
            if !state.commits.waiting().is_empty() {
                state.start_committing();
            }
        });
    }

    async fn commit(&self, committer: &mut Committer, group: Vec<Waiting>) {
        let mut logs: BTreeMap<Log, (Vec<Batch>, Vec<oneshot::Sender<_>>)> = BTreeMap::new();
        for Waiting { batch, answer } in group {
            let (batches, answers) = logs.entry(batch.log()).or_default();
            batches.push(batch);
            answers.push(answer);
        }
        for (log, (batches, answers)) in logs {
            let outcomes = Box::pin(committer.commit(log, batches)).await.map_err(Problem::from);
            // Before anybody is told, so that whoever was told reads no view without it.
            self.latest.note_commit();
            match outcomes {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // Whoever went away is not told.
                        let _ = answer.send(Ok(outcome));
                    }
                }
                Err(problem) => {
                    for answer in answers {
                        let _ = answer.send(Err(problem.clone()));
                    }
                }
            }
        }
    }

    /// The view that shows the batch that was just committed, if its acknowledgement is to wait for it.
    async fn shown(&self) -> Option<Arc<View>> {
        let is_alone = *self.commits.under_way.borrow() == 1;
        if !is_alone || self.latest.commits_behind() > 1 {
            self.follow_commits();
            return None;
        }
        let state = self.clone();
        // Not given up when nobody waits for it any more.
        let renewal = self.workers.spawn(async move { state.renew().await });
        tokio::select! {
            renewed = renewal => match renewed {
                Ok(Ok(view)) => Some(view),
                Ok(Err(problem)) => {
                    // The rows are committed all the same, and every read looks again before it answers.
                    tracing::error!(reason = problem.reason(), "the facts could not be brought up to date after a commit");
                    None
                }
                Err(error) => {
                    tracing::error!(%error, "the facts could not be brought up to date after a commit");
                    None
                }
            },
            () = self.commits.company() => None,
            () = tokio::time::sleep(self.commits.longest_wait) => None,
        }
    }
}
