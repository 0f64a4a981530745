//! Token buckets.

use std::hash::Hash;
use std::time::Duration;

use crate::core::Now;
use crate::core::map::{self, Map};

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// `tokens` a second, and a bucket that holds `burst` of them.
    pub(super) const fn per_second(tokens: u32, burst: u32) -> Rate {
        Rate { interval: Duration::from_nanos(1_000_000_000 / tokens as u64), burst }
    }
}

/// One bucket for each key, full at first.
///
/// A bucket is kept as the moment at which it will be full again (the generic
/// cell rate algorithm): no timer fills it, and a moment in the past says the
/// same as no bucket at all.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    rate: Rate,
    full_at: Map<K, Now>,
}

/// With this many buckets the full ones are forgotten before another is made.
const SWEEP: usize = 1024;

impl<K: Hash + Eq> Limiter<K> {
    pub(super) fn new(seed: u64, rate: Rate) -> Limiter<K> {
        Limiter { rate, full_at: map::map(seed) }
    }

    /// Takes tokens from the key's bucket; `false`, and nothing taken, if it
    /// holds fewer. More than the bucket can ever hold counts as all of it.
    pub(super) fn take(&mut self, key: K, now: Now, tokens: u32) -> bool {
        if self.full_at.len() >= SWEEP && !self.full_at.contains_key(&key) {
            self.full_at.retain(|_, at| *at > now);
        }
        let full_at = self.full_at.entry(key).or_insert(now);
        let tokens = tokens.min(self.rate.burst);
        let after = (*full_at).max(now).saturating_add(self.rate.interval * tokens);
        let allowed = after.saturating_sub(now) <= self.rate.interval * self.rate.burst;
        if allowed {
            *full_at = after;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_second(100, 50);

    fn taken(limiter: &mut Limiter<u32>, key: u32, now: Now) -> usize {
        (0..1000).filter(|_| limiter.take(key, now, 1)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = Limiter::new(1, RATE);
        let start = Duration::from_secs(7);
        assert_eq!(taken(&mut limiter, 1, start), 50);
        assert_eq!(taken(&mut limiter, 1, start + Duration::from_millis(9)), 0);
        assert_eq!(taken(&mut limiter, 1, start + Duration::from_millis(100)), 10);
        assert_eq!(taken(&mut limiter, 1, start + Duration::from_secs(3600)), 50);
    }

    #[test]
    fn keys_do_not_share() {
        let mut limiter = Limiter::new(1, RATE);
        assert_eq!(taken(&mut limiter, 1, Duration::ZERO), 50);
        assert_eq!(taken(&mut limiter, 2, Duration::ZERO), 50);
    }

    #[test]
    fn more_than_a_bucket_is_a_bucket() {
        let mut limiter = Limiter::new(1, RATE);
        assert!(limiter.take(1, Duration::ZERO, 1000));
        assert!(!limiter.take(1, Duration::from_millis(499), 1000));
        assert!(limiter.take(1, Duration::from_millis(500), 1000));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut limiter = Limiter::new(1, RATE);
        for key in 0..10_000u32 {
            limiter.take(key, Duration::from_millis(u64::from(key)), 1);
        }
        assert!(limiter.full_at.len() <= SWEEP);
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        assert!(Limiter::new(1, RATE).take(1, Duration::MAX, 1));
    }
}
