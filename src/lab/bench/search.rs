//! The search for the highest rate that passes with little loss.

/// Offers rates one after another until it knows. No clock and no socket in here.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// The highest rate that passed, and the lowest that did not.
    passed: f64,
    failed: Option<f64>,
    next: f64,
    /// The rate gets a second try: what came of the first may be the machine's fault.
    doubted: bool,
    best: f64,
    left: u32,
}

/// What came of offering a rate for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// Packets that left the sender.
    pub(super) sent: u64,
    /// Packets that arrived.
    pub(super) received: u64,
    /// How long it was offered, in seconds.
    pub(super) seconds: f64,
}

impl Probe {
    /// The share of packets that did not arrive.
    pub(super) fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }

    /// Packets received a second.
    pub(super) fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }
}

/// The most that may be lost.
const LOSS: f64 = 0.01;
/// Loss up to here may have been a hiccup of the machine.
const DOUBTFUL: f64 = 0.05;
/// A sender that sends less than this share of what it should is the limit itself.
const KEPT_UP: f64 = 0.9;
/// Where the search may stop: the lowest failed rate over the highest passed one.
const CLOSE: f64 = 1.04;
const FASTER: f64 = 1.4;
const SLOWER: f64 = 0.6;

impl Search {
    /// Begins at `start` packets a second and offers at most `probes` rates.
    pub(super) fn new(start: f64, probes: u32) -> Search {
        Search { passed: 0.0, failed: None, next: start, doubted: false, best: 0.0, left: probes }
    }

    /// The rate to offer now; `None` when the search is over.
    pub(super) fn next(&self) -> Option<f64> {
        (self.left > 0).then_some(self.next)
    }

    /// Takes note of what came of the rate that was to be offered.
    pub(super) fn observe(&mut self, probe: Probe) {
        self.left = self.left.saturating_sub(1);
        let passed = probe.loss() <= LOSS;
        // A sender that does not keep up, but sent more than ever, was only
        // kept from running for a while.
        let kept_up = probe.sent as f64 >= self.next * probe.seconds * KEPT_UP
            || probe.rate() > self.best * CLOSE;
        if passed {
            self.best = self.best.max(probe.rate());
        }
        if !self.doubted && (passed && !kept_up || !passed && probe.loss() <= DOUBTFUL) {
            self.doubted = true;
            return;
        }
        match (passed, kept_up) {
            (true, true) => self.passed = self.next,
            // More than the sender can do: there is nothing above to be found.
            (true, false) => self.left = 0,
            (false, _) => self.failed = Some(self.next),
        }
        self.doubted = false;
        self.next = match self.failed {
            None => self.passed * FASTER,
            Some(failed) if self.passed == 0.0 => failed * SLOWER,
            Some(failed) => (self.passed + failed) / 2.0,
        };
        if self.failed.is_some_and(|failed| failed < self.passed * CLOSE) {
            self.left = 0;
        }
    }

    /// The highest rate received so far with little enough loss, in packets a
    /// second; zero if there was none.
    pub(super) fn best(&self) -> f64 {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a path that carries `capacity` packets a second and drops
    /// the rest, with a sender that reaches `sender`.
    fn search(start: f64, capacity: f64, sender: f64) -> (f64, usize) {
        let mut search = Search::new(start, 30);
        let mut probes = 0;
        while let Some(rate) = search.next() {
            let sent = rate.min(sender);
            let received = sent.min(capacity) as u64;
            search.observe(Probe { sent: sent as u64, received, seconds: 1.0 });
            probes += 1;
        }
        (search.best(), probes)
    }

    #[test]
    fn finds_the_capacity_from_below_and_from_above() {
        for start in [1e3, 5e4, 9e5, 1e7] {
            let (best, probes) = search(start, 250_000.0, 1e9);
            assert!((235_000.0..=250_000.0).contains(&best), "{best} from {start}");
            assert!(probes < 30, "{probes} from {start}");
        }
    }

    #[test]
    fn stops_where_the_sender_is_the_limit() {
        let (best, _) = search(50_000.0, 1e9, 300_000.0);
        assert_eq!(best, 300_000.0);
    }

    #[test]
    fn a_sender_that_others_keep_from_running_does_not_end_it() {
        let mut search = Search::new(40_000.0, 30);
        while let Some(rate) = search.next() {
            let sent = (rate * 0.7).min(200_000.0) as u64;
            search.observe(Probe { sent, received: sent, seconds: 1.0 });
        }
        assert_eq!(search.best(), 200_000.0);
    }

    #[test]
    fn a_hiccup_gets_a_second_try_and_a_dead_path_ends() {
        let mut search = Search::new(1000.0, 10);
        search.observe(Probe { sent: 1000, received: 970, seconds: 1.0 });
        assert_eq!(search.next(), Some(1000.0));
        search.observe(Probe { sent: 1000, received: 1000, seconds: 1.0 });
        assert_eq!(search.next(), Some(1400.0));

        let mut dead = Search::new(1000.0, 10);
        while dead.next().is_some() {
            dead.observe(Probe { sent: 100, received: 0, seconds: 1.0 });
        }
        assert_eq!(dead.best(), 0.0);
        assert_eq!(Probe { sent: 0, received: 0, seconds: 1.0 }.loss(), 1.0);
    }
}
