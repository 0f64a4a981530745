//! What is going on, in one line on a terminal; nothing elsewhere.

use std::io::{self, IsTerminal, Write};

/// Writes to stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    terminal: bool,
}

const CLEAR_LINE: &str = "\r\x1b[2K";

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { terminal: io::stderr().is_terminal() }
    }

    /// Replaces the line.
    pub(crate) fn show(self, text: &str) {
        self.write(&format!("{CLEAR_LINE}{text}"));
    }

    /// Takes the line away.
    pub(crate) fn clear(self) {
        self.write(CLEAR_LINE);
    }

    fn write(self, text: &str) {
        if self.terminal {
            let mut stderr = io::stderr().lock();
            // Nobody is left to tell if stderr is closed.
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        }
    }
}
