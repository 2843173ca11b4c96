//! Signals that end a drill, which brings back first what it changed.

use nix::sys::signal::{SigSet, Signal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// What shells add to the number of a signal that ended a program.
const ENDED_BY_SIGNAL: i32 = 128;

/// A signal that may come.
pub struct Interrupt {
    came: Arc<AtomicBool>,
    number: Arc<AtomicI32>,
}

impl Interrupt {
    /// Heeds signals from now on: the first one is told, with the second the program ends at once, and leaves the rest to the
    /// guards and to the lab, which notice. To be called before threads are started.
    pub fn heed() -> Interrupt {
        let interrupt = Interrupt { came: Arc::default(), number: Arc::default() };
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        if signals.thread_block().is_err() {
            return interrupt;
        }
        let (came, number) = (Arc::clone(&interrupt.came), Arc::clone(&interrupt.number));
        let waiting = std::thread::Builder::new().name("interrupts".to_owned());
        // Without the thread, a signal doesn't end the drill; its time does.
        let _ = waiting.spawn(move || {
            while let Ok(signal) = signals.wait() {
                number.store(signal as i32, Ordering::Relaxed);
                if came.swap(true, Ordering::Relaxed) {
                    std::process::exit(ENDED_BY_SIGNAL + signal as i32);
                }
            }
        });
        interrupt
    }

    /// Whether one came.
    pub fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }

    /// What is set when one comes.
    pub fn flag(&self) -> &AtomicBool {
        &self.came
    }

    /// The exit code for the signal that came.
    pub fn code(&self) -> Option<u8> {
        let number = self.came().then(|| self.number.load(Ordering::Relaxed))?;
        u8::try_from(ENDED_BY_SIGNAL + number).ok()
    }
}
