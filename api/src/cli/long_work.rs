//! Long work on the command line: how far it is, and what happens when it is asked to end.

use std::time::Duration;

use indicatif::ProgressBar;
use sendlift_engine::Result;
use sendlift_engine::progress::Progress;

use super::output::progress_style;
use crate::http::shutdown_signal;

/// The exit code of a process that was interrupted, as shells have it.
const STOPPED: i32 = 130;

/// Shows how far the work is on a terminal, and nothing in a pipe.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        use std::io::IsTerminal as _;
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Some(style) = progress_style("{spinner} {msg} · {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Progress for Bar {
    fn at(&self, stage: &'static str, done: u64, of: Option<u64>) {
        let far = match of {
            Some(of) => format!("{stage} · {done} of {of}"),
            None if done > 0 => format!("{stage} · {done}"),
            None => stage.to_owned(),
        };
        self.0.set_message(far);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What work comes to, unless the process is asked to end: then what it had begun is removed first. Work that does not give
/// way for so long has begun nothing.
pub(super) async fn unless_stopped<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    const GIVE_WAY: Duration = Duration::from_secs(5);
    let _ended = tokio::spawn(async {
        shutdown_signal().await;
        tokio::time::sleep(GIVE_WAY).await;
        std::process::exit(STOPPED);
    });
    let done = tokio::select! {
        done = work => Some(done),
        () = shutdown_signal() => None,
    };
    // By now the work is dropped, and its scratch files with it.
    done.unwrap_or_else(|| std::process::exit(STOPPED))
}
