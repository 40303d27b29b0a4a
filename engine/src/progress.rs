//! How far a long work has come, and whether it is still wanted.

use crate::error::{EngineError, Result};

/// Is told how far a long work has come, and tells whether it is still wanted.
pub trait Progress: Send + Sync {
    /// Work has come so far; `of` where the end is known.
    fn at(&self, stage: &'static str, done: u64, of: Option<u64>);

    /// Whether nobody waits for it any more.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
pub struct Quiet;

impl Progress for Quiet {
    fn at(&self, _: &'static str, _: u64, _: Option<u64>) {}
}

/// Fails once the work is no longer wanted.
pub(crate) fn check_cancelled(progress: &dyn Progress) -> Result<()> {
    if progress.is_cancelled() { Err(EngineError::usage("the work was cancelled")) } else { Ok(()) }
}
