//! How the worker waits: awake where frames follow each other closely, asleep
//! otherwise.
//!
//! A core with nothing to do halts, and takes tens of microseconds to come back, in a
//! virtual machine above all. A request and its answer pass two daemons each: four such
//! delays, about half of a round trip. So a worker that was just waited for briefly
//! looks again and again for as long. It gives way to all who want its core meanwhile,
//! and sleeps as ever where that took the core from it for long: who yields on a busy
//! core comes back later than who is woken.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

/// Waits up to this long are spent awake if the last was no longer.
const CLOSE: Duration = Duration::from_micros(100);
/// Who does not have its core back by then shares it with somebody who is busy.
const ABSENCE: Duration = Duration::from_millis(1);
/// How long such a core is left to the others.
const CROWDED: Duration = Duration::from_millis(100);

/// What the last waits were like.
#[derive(Debug)]
pub(super) struct Vigil {
    /// The last wait was short.
    close: bool,
    /// Until then others want the core.
    crowded: Option<Instant>,
}

impl Vigil {
    pub(super) fn new() -> Vigil {
        Vigil { close: false, crowded: None }
    }

    /// Waits until there are events, or `patience` has passed; `None` is for ever.
    pub(super) fn wait(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        patience: Option<Duration>,
    ) -> io::Result<()> {
        if patience == Some(Duration::ZERO) {
            return poll.poll(events, patience);
        }
        let start = Instant::now();
        if !self.is_worthwhile(start) || !self.watch(poll, events, start, patience)? {
            let left = patience.map(|patience| patience.saturating_sub(start.elapsed()));
            poll.poll(events, left)?;
        }
        self.close = !events.is_empty() && start.elapsed() <= CLOSE;
        Ok(())
    }

    /// Looks for events for a moment; whether there were any.
    fn watch(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        start: Instant,
        patience: Option<Duration>,
    ) -> io::Result<bool> {
        let limit = patience.unwrap_or(CLOSE).min(CLOSE);
        let mut before = start;
        while before - start < limit && self.is_worthwhile(before) {
            poll.poll(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(true);
            }
            thread::yield_now();
            let now = Instant::now();
            self.note_absence(now, now - before);
            before = now;
        }
        Ok(false)
    }

    fn is_worthwhile(&self, now: Instant) -> bool {
        self.close && self.crowded.is_none_or(|until| now >= until)
    }

    /// Others have had the core for so long.
    fn note_absence(&mut self, now: Instant, length: Duration) {
        if length > ABSENCE {
            self.crowded = Some(now + CROWDED);
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Token, Waker};

    use super::*;

    #[test]
    fn it_watches_after_a_short_wait_only() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        let waker = Waker::new(poll.registry(), Token(7)).unwrap();
        let mut vigil = Vigil::new();
        assert!(!vigil.is_worthwhile(Instant::now()));
        // However busy the machine is, one of these waits is short.
        while !vigil.is_worthwhile(Instant::now()) {
            waker.wake().unwrap();
            vigil.wait(&mut poll, &mut events, None).unwrap();
            assert_eq!(events.iter().map(|e| e.token()).collect::<Vec<_>>(), [Token(7)]);
        }
        let start = Instant::now();
        vigil.wait(&mut poll, &mut events, Some(2 * CLOSE)).unwrap();
        assert!(events.is_empty() && start.elapsed() >= 2 * CLOSE, "patience is kept");
        assert!(!vigil.is_worthwhile(Instant::now()), "nothing came");
    }

    /// How often this thread has gone to sleep.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let count = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_short_patience_is_spent_awake_or_asleep() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        for close in [true, false] {
            // Something else may send this thread to sleep, but not each time.
            let awake = (0..20).any(|_| {
                let mut vigil = Vigil { close, crowded: None };
                let before = sleeps();
                vigil.wait(&mut poll, &mut events, Some(CLOSE / 2)).unwrap();
                sleeps() == before
            });
            assert_eq!(awake, close, "after a short wait: {close}");
        }
    }

    #[test]
    fn what_comes_while_it_watches_is_found() {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        let waker = Waker::new(poll.registry(), Token(7)).unwrap();
        let mut vigil = Vigil { close: true, crowded: None };
        waker.wake().unwrap();
        assert!(vigil.watch(&mut poll, &mut events, Instant::now(), None).unwrap());
        assert_eq!(events.iter().map(|e| e.token()).collect::<Vec<_>>(), [Token(7)]);
        assert!(!vigil.watch(&mut poll, &mut events, Instant::now(), None).unwrap());
    }

    #[test]
    fn a_core_that_others_want_is_left_to_them() {
        let now = Instant::now();
        let mut vigil = Vigil { close: true, crowded: None };
        vigil.note_absence(now, ABSENCE);
        assert!(vigil.is_worthwhile(now), "a moment is no crowd");
        vigil.note_absence(now, 2 * ABSENCE);
        assert!(!vigil.is_worthwhile(now + CROWDED / 2));
        assert!(vigil.is_worthwhile(now + CROWDED));
    }
}
