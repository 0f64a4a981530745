//! The keys of the control traffic, and the token.
//!
//! Each key has a number. A new one is told to all, taken by everybody at once
//! for what arrives, and used for what is sent after a while, when everybody
//! has it. Whoever has missed it hears of it in a sync, which needs no ring, and is
//! looked for by those that get datagrams of a key that they do not have.

use rand_core::Rng;

use super::Machine;
use crate::core::Now;
use crate::core::cluster::entry::{Body, Key, NodeId, Secret};
use crate::core::cluster::secret::ring::KeyRing;

/// Keys before the one in use that are still told; receivers accept one of them.
const KEPT: u32 = 2;

impl Machine {
    /// Makes the first key and the token of a new cluster.
    pub(super) fn found_ring(&mut self) {
        let (key, token) = (self.secret(), self.secret());
        self.replica.write(Key::Secret(1), Some(Body::Secret(key)));
        self.replica.write(Key::Token, Some(Body::Secret(token)));
    }

    fn secret(&mut self) -> Secret {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        Secret(bytes)
    }

    /// The bytes of the token that hosts join with.
    pub fn token(&self) -> Option<&Secret> {
        match self.replica.get(&Key::Token)? {
            Body::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// Makes a new token; hosts that are members stay so.
    pub fn rotate_token(&mut self, now: Now) {
        let token = self.secret();
        self.replica.write(Key::Token, Some(Body::Secret(token)));
        self.after_changes(now);
    }

    /// Adds a key to the ring, to be used when everybody has had time to hear of it.
    /// While one waits for that, the next is made as soon as it is used: nobody
    /// accepts a key that is two ahead.
    pub fn rotate_key(&mut self, now: Now) {
        if self.newest().is_some_and(|newest| newest > self.ring.primary()) {
            self.rotate_again = true;
            return;
        }
        self.rotate_again = false;
        let next = self.newest().map_or(1, |n| n.saturating_add(1));
        let key = self.secret();
        self.replica.write(Key::Secret(next), Some(Body::Secret(key)));
        for number in self.numbers().into_iter().filter(|n| n.saturating_add(KEPT) < next) {
            self.replica.write(Key::Secret(number), None);
        }
        self.after_changes(now);
    }

    fn numbers(&self) -> Vec<u32> {
        let all = self.replica.live(Key::Secret(0)..=Key::Secret(u32::MAX));
        all.filter_map(|(key, _)| if let Key::Secret(n) = key { Some(*n) } else { None }).collect()
    }

    fn newest(&self) -> Option<u32> {
        self.numbers().last().copied()
    }

    /// The keys of the control traffic, from which those of the data follow.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The number of the key in use.
    pub fn key_number(&self) -> u32 {
        self.ring.primary()
    }

    /// Takes keys that have come into the tables. Whoever had none, or is two
    /// behind, uses the last but one at once: that one everybody accepts.
    pub(super) fn learn_keys(&mut self, now: Now) {
        let first = self.learned.is_empty();
        let numbers = self.numbers();
        for number in &numbers {
            if let Some(Body::Secret(secret)) = self.replica.get(&Key::Secret(*number)) {
                // Also a known number: where two hosts rotated at once, one key stays.
                self.ring.insert(*number, secret.clone());
                self.learned.entry(*number).or_insert(now);
            }
        }
        let Some(newest) = numbers.last() else { return };
        if first || *newest > self.ring.primary().saturating_add(1) {
            let before = newest.saturating_sub(1);
            self.use_key(if numbers.contains(&before) { before } else { *newest });
        }
    }

    fn use_key(&mut self, number: u32) {
        // Others may still use the one that this host has used until now.
        let oldest = self.ring.primary().min(number.saturating_sub(1));
        self.ring.set_primary(number);
        self.ring.retire_below(oldest);
        self.learned.retain(|n, _| *n >= oldest);
    }

    /// A member uses this key: it has waited for us, or we have missed something.
    pub(super) fn follow_key(&mut self, number: Option<u32>) {
        if let Some(number) = number.filter(|n| *n > self.ring.primary()) {
            self.use_key(number);
        }
    }

    /// Uses the next key when it has been known long enough, and makes one when
    /// it is time and this host is the one to do it.
    pub(super) fn turn_ring(&mut self, now: Now) {
        let primary = self.ring.primary();
        let ripe = |(n, since): (&u32, &Now)| {
            (*n > primary && now >= *since + self.settings.key_delay).then_some(*n)
        };
        if let Some(next) = self.learned.iter().find_map(ripe) {
            return self.use_key(next);
        }
        let used = self.learned.get(&primary).copied().unwrap_or(self.started);
        let newest = self.newest() == Some(primary);
        let ripe = now >= used + self.settings.rotation && self.is_first_up();
        if newest && (ripe || self.rotate_again) {
            self.rotate_key(now);
        }
    }

    /// Whether no member that is up comes before this host.
    fn is_first_up(&self) -> bool {
        let me = self.me();
        let first: Option<NodeId> = self.membership.up().map(|p| p.id).filter(|id| *id != me).min();
        first.is_none_or(|first| me < first)
    }
}
