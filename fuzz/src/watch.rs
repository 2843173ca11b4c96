//! A watchdog: input that takes too long is written to standard error, and the process ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds that one small input may take. What takes milliseconds alone can take long on a machine with much else to
/// do, and a true hang never ends: so the limit is generous.
const SECONDS_LIMIT: u64 = 120;

type Current = Arc<Mutex<Option<(Instant, String)>>>;

/// Watches one thread's inputs, for as long as the process lives.
#[derive(Debug)]
pub struct Watch {
    current: Current,
}

impl Watch {
    /// A watchdog of its own thread. `target` is named in its last message.
    pub fn new(target: &'static str) -> Watch {
        let current = Current::default();
        let watched = Arc::downgrade(&current);
        std::thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                let slow = |now: &&(Instant, String)| now.0.elapsed() > Duration::from_secs(SECONDS_LIMIT);
                if let Some((_, text)) =
                    current.lock().unwrap_or_else(PoisonError::into_inner).as_ref().filter(slow)
                {
                    eprintln!("{target}: more than {SECONDS_LIMIT} s for {text:?}");
                    std::process::abort();
                }
                drop(current);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Watch { current }
    }

    /// Runs `work` on a text under the watchdog's eyes.
    pub fn over(&self, text: &str, work: impl FnOnce(&str)) {
        self.set(Some((Instant::now(), text.to_owned())));
        work(text);
        self.set(None);
    }

    fn set(&self, current: Option<(Instant, String)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }
}
