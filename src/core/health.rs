//! When backends are tested, and what follows from it.
//!
//! A backend is tested at once when it comes, then at its interval, and more often
//! while nothing is known of it: what waits for a healthy backend should not wait for
//! a clock. One success makes it [`Ready`], as many failures in a row as the service
//! says make it [`Unhealthy`].
//!
//! ```text
//! follow -> due -> start -> (test, within the timeout) -> heard -> a new standing
//! ```
//!
//! [`Ready`]: Standing::Ready
//! [`Unhealthy`]: Standing::Unhealthy

use std::collections::BTreeMap;
use std::time::Duration;

use super::Now;
use super::balance::Standing;
use super::tables::{Health, Probe};

/// The longest time between tests of a backend of which nothing is known yet.
const FIRST_TESTS: Duration = Duration::from_secs(1);

/// All tests of a host's backends. `K` tells backends apart.
#[derive(Debug)]
pub struct Tests<K> {
    all: BTreeMap<K, Test>,
}

/// One backend.
#[derive(Debug)]
struct Test {
    health: Health,
    standing: Standing,
    /// In a row.
    failures: u8,
    due: Now,
    running: bool,
}

/// A test to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt<K> {
    /// Of this backend.
    pub backend: K,
    /// What to try.
    pub probe: Probe,
    /// When it has failed.
    pub timeout: Duration,
}

impl<K> Default for Tests<K> {
    fn default() -> Tests<K> {
        Tests { all: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Tests<K> {
    /// Says which backends there are, how they are tested and how they stand.
    pub fn follow(&mut self, now: Now, backends: impl IntoIterator<Item = (K, Health, Standing)>) {
        let mut before = std::mem::take(&mut self.all);
        for (backend, health, standing) in backends {
            let test = match before.remove(&backend) {
                Some(known) if known.health == health => Test { standing, ..known },
                // A test that is under way says nothing about the new one.
                _ => Test { health, standing, failures: 0, due: now, running: false },
            };
            self.all.insert(backend, test);
        }
    }

    /// When the next test is due.
    pub fn due(&self) -> Option<Now> {
        self.all.values().filter(|t| !t.running).map(|t| t.due).min()
    }

    /// The tests that are due; each is to be [`heard`](Tests::heard) of.
    pub fn start(&mut self, now: Now) -> Vec<Attempt<K>> {
        let due = self.all.iter_mut().filter(|(_, t)| !t.running && t.due <= now);
        due.map(|(backend, test)| {
            test.running = true;
            test.due = now + test.pace();
            let timeout = Duration::from_millis(test.health.timeout.into());
            Attempt { backend: backend.clone(), probe: test.health.probe.clone(), timeout }
        })
        .collect()
    }

    /// How a test went. A standing that is to take the place of the old one.
    pub fn heard(&mut self, attempt: &Attempt<K>, well: bool) -> Option<Standing> {
        let test = self.all.get_mut(&attempt.backend)?;
        if !test.running || test.health.probe != attempt.probe {
            return None;
        }
        test.running = false;
        let standing = if well {
            test.failures = 0;
            Standing::Ready
        } else {
            test.failures = test.failures.saturating_add(1);
            if test.failures < test.health.retries {
                return None;
            }
            Standing::Unhealthy
        };
        if test.standing == standing || test.standing == Standing::Draining {
            return None;
        }
        test.standing = standing;
        Some(standing)
    }
}

impl Test {
    fn pace(&self) -> Duration {
        let interval = Duration::from_millis(self.health.interval.into());
        match self.standing {
            Standing::Starting => interval.min(FIRST_TESTS),
            _ => interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn health() -> Health {
        Health { probe: Probe::Tcp(80), interval: 5000, timeout: 700, retries: 3 }
    }

    /// One backend, which stands so.
    fn one(standing: Standing) -> Tests<u8> {
        let mut tests = Tests::default();
        tests.follow(MS(100), [(7, health(), standing)]);
        tests
    }

    /// Makes the next test when it is due. When that was, and what followed.
    fn next(tests: &mut Tests<u8>, well: bool) -> (Duration, Option<Standing>) {
        let due = tests.due().unwrap();
        let attempts = tests.start(due);
        assert_eq!(attempts, [Attempt { backend: 7, probe: Probe::Tcp(80), timeout: MS(700) }]);
        assert_eq!(tests.start(due + MS(60_000)), [], "one at a time");
        (due, tests.heard(&attempts[0], well))
    }

    #[test]
    fn the_first_success_counts_and_then_failures_in_a_row() {
        let mut tests = one(Standing::Starting);
        assert_eq!(next(&mut tests, false), (MS(100), None));
        assert_eq!(next(&mut tests, true), (MS(1100), Some(Standing::Ready)));
        // That test was planned while nothing was known.
        assert_eq!(next(&mut tests, false), (MS(2100), None));
        assert_eq!(next(&mut tests, false), (MS(7100), None));
        assert_eq!(next(&mut tests, true), (MS(12_100), None), "it was ready all the time");
        assert_eq!(next(&mut tests, false).1, None);
        assert_eq!(next(&mut tests, false).1, None);
        assert_eq!(next(&mut tests, false).1, Some(Standing::Unhealthy));
        assert_eq!(next(&mut tests, false).1, None);
        assert_eq!(next(&mut tests, true).1, Some(Standing::Ready));
    }

    #[test]
    fn what_never_was_well_is_unhealthy_in_the_end() {
        let mut tests = one(Standing::Starting);
        let heard: Vec<_> = (0..4).map(|_| next(&mut tests, false).1).collect();
        assert_eq!(heard, [None, None, Some(Standing::Unhealthy), None]);
    }

    #[test]
    fn one_that_drains_keeps_draining() {
        let mut tests = one(Standing::Draining);
        for well in [true, false, false, false, true] {
            assert_eq!(next(&mut tests, well).1, None);
        }
    }

    #[test]
    fn what_is_gone_or_tested_otherwise_is_not_heard_of() {
        let mut tests = one(Standing::Ready);
        let old = tests.start(MS(100)).remove(0);
        let http = Health { probe: Probe::Http(80, "/up".into()), ..health() };
        tests.follow(MS(200), [(7, http.clone(), Standing::Ready)]);
        assert_eq!(tests.heard(&old, false), None);
        let new = tests.start(MS(200)).remove(0);
        assert_eq!(new.probe, http.probe, "the new test is made at once");
        assert_eq!(tests.heard(&old, false), None);
        tests.follow(MS(300), []);
        assert_eq!(tests.heard(&new, false), None);
        assert_eq!(tests.due(), None);
    }

    #[test]
    fn a_change_of_another_backend_changes_nothing() {
        let mut tests = one(Standing::Ready);
        for _ in 0..2 {
            next(&mut tests, false);
        }
        tests.follow(MS(300), [(3, health(), Standing::Ready), (7, health(), Standing::Ready)]);
        let attempts = tests.start(MS(60_000));
        assert_eq!(attempts.len(), 2);
        assert_eq!(tests.heard(&attempts[1], false), Some(Standing::Unhealthy), "the third");
        assert_eq!(tests.heard(&attempts[0], false), None);
    }
}
