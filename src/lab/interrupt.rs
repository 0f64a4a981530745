//! Ctrl-C and its relatives, taken by a thread instead of ending the process
//! where it stands.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};

/// SIGINT, SIGTERM and SIGHUP, held back.
#[derive(Debug)]
pub struct Interrupt(SigSet);

impl Interrupt {
    /// Holds them back in the calling thread and in all that it starts from now on.
    pub fn hold() -> io::Result<Interrupt> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block()?;
        Ok(Interrupt(signals))
    }

    /// Calls `react` on a thread of its own when one of them arrives.
    pub fn on_arrival(self, react: impl FnOnce() + Send + 'static) {
        thread::spawn(move || {
            // It fails only for a set that has no valid signal.
            if self.0.wait().is_ok() {
                react();
            }
        });
    }
}
