//! A sign of life for people who wait: on standard error, only on a terminal, and only when it takes a while.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long work may take before anything is shown.
const PATIENCE: Duration = Duration::from_millis(500);

/// Shows what is going on until it is dropped.
pub struct Progress {
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts waiting. Where standard error isn't a terminal, nothing will ever be shown.
    pub fn start(what: &'static str) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { running: None };
        }
        let (done, waiting) = channel();
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            if waiting.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(what);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            while waiting.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Progress { running: thread.ok().map(|thread| (done, thread)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.running.take() {
            drop(done);
            // The thread only draws; if it failed, there is nothing to clean up.
            let _ = thread.join();
        }
    }
}
