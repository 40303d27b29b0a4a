//! Jobs on their way: kept in the store when they are asked for, run one at a time on threads of their own.
//!
//! A job that waits or runs is known here (`live_jobs`); what is finished is in the store alone. Every change of a job is
//! put into the store before it is told, so that nothing is lost with the server: the next one begins again what was
//! waiting or under way. One server runs the jobs of a store: a second one over it takes over what it finds unfinished
//! when it starts.

use std::sync::Arc;

use axum::http::StatusCode;
use sendlift_engine::jobs::{Job, JobState};
use sendlift_engine::query::{QuerySession, Source};
use serde_json::Value;

use super::AppState;
use super::live_jobs::{Live, Snapshot, fail};
use super::problem::Problem;

/// Jobs that may wait; one more is turned away.
const MOST_WAITING: usize = 100;
/// A job during which the server ended more often is not begun again: it may be what ends it.
const MOST_INTERRUPTIONS: u32 = 5;

impl AppState {
    /// Begins again what another server left unfinished, the first time that it is called.
    pub(super) async fn take_up_jobs(&self) -> Result<(), Problem> {
        let taken_up = self.jobs.taken_up.get_or_try_init(|| async {
            let mut left = Vec::new();
            for mut job in Job::list(&self.store).await? {
                if job.state == JobState::Running {
                    self.count_interruption(&mut job);
                    job.put(&self.store).await?;
                }
                if job.state == JobState::Queued {
                    left.push(job);
                }
            }
            self.jobs.add(left);
            Ok::<(), Problem>(())
        });
        taken_up.await?;
        self.start_jobs();
        Ok(())
    }

    fn count_interruption(&self, job: &mut Job) {
        job.interruptions += 1;
        job.state = JobState::Queued;
        if job.interruptions > MOST_INTERRUPTIONS {
            let detail = format!(
                "the server ended {} times while this was under way, and may have done so because of it: ask for less at \
                 once, or again",
                job.interruptions
            );
            fail(job, &Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
            job.finished_at = Some(self.now());
        }
    }

    /// Puts a job into the queue. One of the same id that asks for the same is that job.
    pub(super) async fn accept_job(&self, job: Job) -> Result<Snapshot, Problem> {
        self.take_up_jobs().await?;
        let _only_one = self.jobs.changing.lock().await;
        if let Some(known) = self.find_job(&job.id).await? {
            return if known.job.asks_the_same_as(&job) {
                Ok(known)
            } else {
                Err(Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "Idempotency-Key: something else was asked for under this key: give this request another one",
                ))
            };
        }
        if self.jobs.waiting() >= MOST_WAITING {
            let full = format!("{MOST_WAITING} jobs wait, as many as this server keeps: ask again when some are done");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, full));
        }
        job.put(&self.store).await?;
        self.jobs.add([job.clone()]);
        self.start_jobs();
        Ok(Snapshot { job, reached: None })
    }

    /// The job of that id as it is now.
    pub(super) async fn find_job(&self, id: &str) -> Result<Option<Snapshot>, Problem> {
        if let Some(live) = self.jobs.find(id) {
            return Ok(Some(live.snapshot()));
        }
        let kept = Job::of(&self.store, id).await?;
        Ok(kept.map(|job| Snapshot { job, reached: None }))
    }

    /// All jobs as they are now, the latest first.
    pub(super) async fn list_jobs(&self) -> Result<Vec<Snapshot>, Problem> {
        let kept = Job::list(&self.store).await?;
        let now = kept.into_iter().rev().map(|job| match self.jobs.find(&job.id) {
            Some(live) => live.snapshot(),
            None => Snapshot { job, reached: None },
        });
        Ok(now.collect())
    }

    /// Cancels a job that waits or runs, and gives it back; removes one that is finished, with its result.
    pub(super) async fn end_job(&self, id: &str) -> Result<Option<Snapshot>, Problem> {
        self.take_up_jobs().await?;
        let _only_one = self.jobs.changing.lock().await;
        let live = self.jobs.find(id);
        if let Some(live) = &live
            && let Some(cancelled) = live.cancel(self.now())
        {
            cancelled.put(&self.store).await?;
            self.jobs.forget(live);
            return Ok(Some(Snapshot { job: cancelled, reached: None }));
        }
        let kept = match &live {
            Some(live) => Some(live.snapshot().job),
            None => Job::of(&self.store, id).await?,
        };
        let Some(job) = kept else { return Err(unknown_job(id)) };
        if !job.state.is_finished() {
            let detail = "the job was begun by another server over the same store: ask that one";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        job.remove(&self.store).await?;
        if let Some(live) = &live {
            self.jobs.forget(live);
        }
        Ok(None)
    }

    /// Has all that waits run, unless that is being done.
    fn start_jobs(&self) {
        let Ok(running) = Arc::clone(&self.jobs.runner).try_lock_owned() else { return };
        let state = self.clone();
        self.jobs.threads.spawn(async move {
            while let Some(live) = state.jobs.next_waiting() {
                state.run_job(&live).await;
            }
            drop(running);
            // One that came just now found it being done.
            if state.jobs.next_waiting().is_some() {
                state.start_jobs();
            }
        });
    }

    async fn run_job(&self, live: &Arc<Live>) {
        {
            let _only_one = self.jobs.changing.lock().await;
            let Some(begun) = live.begin(self.now()) else { return };
            self.keep(&begun).await;
        }
        let (state, running) = (self.clone(), Arc::clone(live));
        let made = self.jobs.threads.spawn_alone(move || async move { state.make_file(&running).await }).await;
        let made = made.unwrap_or_else(|error| {
            // A panic; what the query at hand was is in the log.
            Err(Problem::hidden(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        });
        let _only_one = self.jobs.changing.lock().await;
        let finished = live.finish(made, self.now());
        let job = live.snapshot().job;
        let is_kept = match finished {
            Some(finished) => self.keep(&finished).await,
            None if job.state == JobState::Cancelled => {
                if let Err(error) = job.remove_result(&self.store).await {
                    tracing::error!(job = job.id.as_str(), %error, "the result of a cancelled job cannot be removed");
                }
                true
            }
            None => return,
        };
        if is_kept {
            self.jobs.forget(live);
        }
    }

    /// Keeps a job in the store. What cannot be kept stays known here as long as the server runs.
    async fn keep(&self, job: &Job) -> bool {
        let kept = job.put(&self.store).await;
        if let Err(error) = &kept {
            tracing::error!(job = job.id.as_str(), %error, "a job cannot be kept");
        }
        kept.is_ok()
    }

    /// Makes the file of a job at the newest versions, and gives back what is in it.
    async fn make_file(&self, live: &Live) -> Result<Value, Problem> {
        // The facts are brought up to date for all who wait for them, as for any read.
        let state = self.clone();
        let renewal = self.workers.spawn(async move { state.renew().await.map(drop) });
        renewal.await.map_err(|error| Problem::internal(&error))??;
        // A session of its own: tables that the work registers are nobody else's. On a cluster they would not be found.
        let source = Source::Store(self.store.clone(), None);
        let session = QuerySession::open(&source, &self.settings, self.now()).await?;
        let job = live.snapshot().job;
        Ok(job.run(&session, live).await?)
    }
}

/// The problem of a job that is not there.
pub(super) fn unknown_job(id: &str) -> Problem {
    Problem::not_found(format!("there is no job \"{id}\": GET /v1/jobs lists those there are"))
}
