//! What becomes of a datagram between two hosts, and all chance.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Where everything random of a run comes from.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `n`; 0 if that is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        self.0.next_u32() % 1000 < permille
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros() as usize;
        least + Duration::from_micros(self.below(span + 1) as u64)
    }

    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.between(Duration::from_millis(least), Duration::from_millis(most))
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }
}

/// How badly datagrams fare: of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    pub(crate) duplicates: u32,
    pub(crate) corruption: u32,
    /// Late by up to two seconds.
    pub(crate) spikes: u32,
    /// On top of the latency, at most, so that datagrams overtake each other.
    pub(crate) jitter: Duration,
}

/// The underlay.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    /// One-way links that are cut: from, to.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Hosts on different islands do not hear each other; 0 unless said otherwise.
    pub(crate) islands: Vec<u8>,
}

const LATENCY: Duration = Duration::from_micros(300);

impl Network {
    pub(crate) fn heal(&mut self) {
        *self = Network::default();
    }

    pub(crate) fn passes(&self, from: usize, to: usize) -> bool {
        let island = |host: usize| self.islands.get(host).copied().unwrap_or(0);
        island(from) == island(to) && !self.cut.contains(&(from, to))
    }

    /// What arrives of a datagram, and after how long.
    pub(crate) fn carry(&self, dice: &mut Dice, bytes: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
        let mut arriving = Vec::new();
        let copies = 1 + usize::from(dice.chance(self.weather.duplicates));
        for _ in 0..copies {
            if dice.chance(self.weather.loss) {
                continue;
            }
            let mut copy = bytes.clone();
            if dice.chance(self.weather.corruption) {
                let bit = dice.below(copy.len() * 8);
                copy[bit / 8] ^= 1 << (bit % 8);
            }
            arriving.push((self.delay(dice), copy));
        }
        arriving
    }

    pub(crate) fn delay(&self, dice: &mut Dice) -> Duration {
        let spike = dice.chance(self.weather.spikes);
        let late = if spike { dice.millis(100, 2000) } else { Duration::ZERO };
        LATENCY + dice.between(Duration::ZERO, LATENCY + self.weather.jitter) + late
    }

    /// How long a segment of a connection takes, which is sent again when it is
    /// lost; `None` if the connection gives up.
    pub(crate) fn segment(&self, dice: &mut Dice) -> Option<Duration> {
        let mut delay = self.delay(dice);
        let mut timeout = Duration::from_millis(200);
        while dice.chance(self.weather.loss) {
            delay += timeout;
            timeout *= 2;
        }
        (delay < Duration::from_secs(3)).then_some(delay)
    }
}
