//! Fresh entries and how often they have been told.

use std::collections::BTreeMap;

use super::super::entry::{Entry, Key};

/// A message of more entries than these repairs rather than tells news: what it
/// brings is not told on.
pub(super) const HANDED_ON: usize = 64;
/// memberlist's RetransmitMult: each rumour is told this many times the number of
/// decimal digits of the number of hosts.
const RETRANSMIT: usize = 4;
/// So many datagrams are told to a host at a time: what a command brings about seldom
/// needs more, and the last of it, its endpoint, is what others wait for.
const A_ROUND: usize = 4;

/// What is still to be told.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    told: BTreeMap<Key, Rumour>,
}

/// An entry that is being told.
#[derive(Clone, Copy, Debug)]
struct Rumour {
    times: usize,
    /// Its bytes on the wire: with many to choose from, to measure them takes longer
    /// than all the rest.
    len: usize,
}

impl Rumours {
    /// Begins to tell an entry, or begins anew.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.told.insert(entry.key, Rumour { times: 0, len: encoded_len(entry) });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    pub(super) fn is_untold(&self, key: &Key) -> bool {
        self.told.get(key).is_some_and(|rumour| rumour.times == 0)
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.told.remove(key);
    }

    /// What fits [`A_ROUND`] datagrams of `budget` bytes, least told first, and counts it
    /// as told to `targets` of `hosts` hosts.
    pub(super) fn pack(
        &mut self,
        entries: &BTreeMap<Key, Entry>,
        budget: usize,
        hosts: usize,
        targets: usize,
    ) -> Vec<Vec<Entry>> {
        let limit = RETRANSMIT * (hosts.max(1).ilog10() as usize + 1);
        // The count of entries, as postcard writes it.
        let budget = budget.saturating_sub(5);
        let mut packed: Vec<Vec<Entry>> = Vec::new();
        let mut left = 0;
        for (times, key, len) in self.least_told_first() {
            if len > budget {
                // Told by another way: see `take_oversize`.
                continue;
            }
            if len > left && packed.len() == A_ROUND {
                break;
            }
            if len > left {
                packed.push(Vec::new());
                left = budget;
            }
            left -= len;
            if let Some(packet) = packed.last_mut() {
                packet.extend(entries.get(&key).cloned());
            }
            match self.told.get_mut(&key) {
                Some(rumour) if times + targets < limit => rumour.times += targets,
                _ => self.remove(&key),
            }
        }
        packed
    }

    /// Among those told as often the order of keys: who belongs comes before what he says.
    fn least_told_first(&self) -> Vec<(usize, Key, usize)> {
        let mut order: Vec<(usize, Key, usize)> =
            self.told.iter().map(|(key, rumour)| (rumour.times, *key, rumour.len)).collect();
        order.sort_unstable();
        order
    }

    /// What no datagram can carry, which is then no longer among the rumours.
    pub(super) fn take_oversize(
        &mut self,
        entries: &BTreeMap<Key, Entry>,
        budget: usize,
    ) -> Vec<Entry> {
        let long = |(key, rumour): (&Key, &Rumour)| {
            (rumour.len > budget.saturating_sub(5)).then_some(*key)
        };
        let found: Vec<Key> = self.told.iter().filter_map(long).collect();
        found.iter().for_each(|key| self.remove(key));
        found.iter().filter_map(|key| entries.get(key)).cloned().collect()
    }
}

/// Bytes on the wire; 0 for what postcard cannot write, which there is not.
pub(in crate::core::cluster) fn encoded_len(entry: &Entry) -> usize {
    postcard::experimental::serialized_size(entry).unwrap_or(0)
}
