//! Where the engine works, and how much it takes on at a time.
//!
//! A query keeps its thread busy for as long as a batch of rows takes. On threads of its own it shares the processor
//! with the requests, most of whose answers are there already, instead of standing before them in a queue.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::Instrument as _;

use super::problem::Problem;

/// Places that a room has at most, whatever is asked for.
const MOST_PLACES: usize = 1 << 16;
/// Bytes of one place of a room for bytes.
const PLACE_BYTES: usize = 1 << 10;

/// The threads of the engine; where there are none, it works among the requests.
#[derive(Debug)]
pub(super) struct Workers(Option<Runtime>);

/// Bytes of a thread's stack. A planner goes down a condition term by term: what is not used costs no memory.
const STACK: usize = 256 << 20;

impl Workers {
    pub(super) fn new() -> Self {
        Self::built(Builder::new_multi_thread().thread_name("sendlift-work"))
    }

    /// Threads for work that may take hours: half as many as there are processors, so that the rest is for those who
    /// wait for an answer.
    pub(super) fn for_jobs() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::built(Builder::new_multi_thread().thread_name("sendlift-job").worker_threads((processors / 2).max(1)))
    }

    fn built(builder: &mut Builder) -> Self {
        match builder.enable_all().thread_stack_size(STACK).build() {
            Ok(runtime) => Self(Some(runtime)),
            Err(error) => {
                tracing::warn!(%error, "no threads for the engine alone: its work will hold requests up");
                Self(None)
            }
        }
    }

    fn threads(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }

    /// Starts work that comes to its end whether or not somebody waits for it.
    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.threads().spawn(work.in_current_span())
    }

    /// Starts work that may keep its thread busy for long, on a thread of its own: only the queries that it makes share
    /// the others. A panic ends this work alone.
    pub(super) fn spawn_alone<T, Work>(&self, work: impl FnOnce() -> Work + Send + 'static) -> JoinHandle<T>
    where
        T: Send + 'static,
        Work: Future<Output = T>,
    {
        let (threads, span) = (self.threads(), tracing::Span::current());
        self.threads().spawn_blocking(move || threads.block_on(work().instrument(span)))
    }

    /// Works for one caller, and stops when the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = self.spawn(work);
        let _stop = StopOnDrop(task.abort_handle());
        task.await.map_err(|error| Problem::internal(&error))?
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A runtime that is simply dropped waits for its threads, which one of the requests' threads must not do.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Room for some pieces of work at a time. One more is turned away rather than kept waiting.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places.clamp(1, MOST_PLACES))))
    }

    /// A place, which is free again when it is dropped.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| Problem::overloaded())
    }
}

/// Room for some bytes at a time, by the same rule.
#[derive(Debug)]
pub(super) struct RoomForBytes {
    free: Arc<Semaphore>,
    places: u32,
}

impl RoomForBytes {
    pub(super) fn new(bytes: usize) -> Self {
        let places = u32::try_from(bytes.div_ceil(PLACE_BYTES)).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(places as usize)), places }
    }

    /// Places for so many bytes, which are free again when they are dropped. What is larger than the room gets all of it
    /// when nobody else is in.
    pub(super) fn enter(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let places = u32::try_from(bytes.div_ceil(PLACE_BYTES)).unwrap_or(u32::MAX).clamp(1, self.places);
        Arc::clone(&self.free).try_acquire_many_owned(places).ok()
    }
}

/// Middleware: lets a request through that finds a place.
pub(super) async fn require_room(State(room): State<Room>, request: Request, next: Next) -> Result<Response, Problem> {
    let _place = room.enter()?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_work_that_panics_alone() {
        let workers = Workers::for_jobs();
        let failed: Result<(), _> = workers.spawn_alone(|| async { panic!("boom") }).await;
        assert!(failed.unwrap_err().is_panic());
        assert_eq!(workers.spawn_alone(|| async { 7 }).await.unwrap(), 7);
    }

    #[test]
    fn bytes_find_room_until_there_is_none() {
        let room = RoomForBytes::new(4 * PLACE_BYTES);
        let small = room.enter(1).unwrap();
        let medium = room.enter(3 * PLACE_BYTES).unwrap();
        assert!(room.enter(0).is_none());
        drop(medium);
        assert!(room.enter(100 * PLACE_BYTES).is_none());
        drop(small);
        assert!(room.enter(100 * PLACE_BYTES).is_some());
    }
}
