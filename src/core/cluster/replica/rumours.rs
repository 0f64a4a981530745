//! Fresh entries and how often they have been told.

use std::collections::BTreeMap;

use super::super::entry::{Entry, Key};

/// A message of more entries than these repairs rather than tells news: what it
/// brings is not told on.
pub(super) const HANDED_ON: usize = 64;
/// memberlist's RetransmitMult: each rumour is told this many times the number of
/// decimal digits of the number of hosts.
const RETRANSMIT: usize = 4;

/// What is still to be told.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    told: BTreeMap<Key, usize>,
}

impl Rumours {
    /// Begins to tell an entry, or begins anew.
    pub(super) fn add(&mut self, key: Key) {
        self.told.insert(key, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.told.remove(key);
    }

    /// What fits a datagram, least told first.
    pub(super) fn pack(
        &mut self,
        entries: &BTreeMap<Key, Entry>,
        budget: usize,
        hosts: usize,
    ) -> Vec<Entry> {
        let mut order: Vec<(usize, Key)> = self.told.iter().map(|(k, n)| (*n, *k)).collect();
        order.sort_unstable();
        let mut packed = Vec::new();
        // The count of entries, as postcard writes it.
        let mut left = budget.saturating_sub(5);
        for (_, key) in order {
            let Some(entry) = entries.get(&key) else {
                self.told.remove(&key);
                continue;
            };
            let len = encoded_len(entry);
            if len > left {
                continue;
            }
            left -= len;
            packed.push(entry.clone());
            let limit = RETRANSMIT * (hosts.max(1).ilog10() as usize + 1);
            match self.told.get_mut(&key) {
                Some(told) if *told + 1 < limit => *told += 1,
                _ => self.remove(&key),
            }
        }
        packed
    }

    /// What no datagram can carry, which is then no longer among the rumours.
    pub(super) fn take_oversize(
        &mut self,
        entries: &BTreeMap<Key, Entry>,
        budget: usize,
    ) -> Vec<Entry> {
        let long = |k: &Key| entries.get(k).filter(|e| encoded_len(e) > budget.saturating_sub(5));
        let found: Vec<Entry> = self.told.keys().filter_map(long).cloned().collect();
        found.iter().for_each(|e| self.remove(&e.key));
        found
    }
}

/// Bytes on the wire; 0 for what postcard cannot write, which there is not.
pub(super) fn encoded_len(entry: &Entry) -> usize {
    postcard::experimental::serialized_size(entry).unwrap_or(0)
}
