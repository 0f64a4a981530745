//! Which datagrams have been seen: a window of counters for each session of each
//! sender, in bounded memory.
//!
//! Only authentic datagrams come here, so that strangers cannot take any of it.

use std::collections::{BTreeMap, VecDeque};

use crate::core::cluster::entry::NodeId;

#[cfg(test)]
mod tests;

/// How far datagrams of one session may overtake each other, in datagrams.
pub const WINDOW: u64 = 1_024;

/// Senders that are remembered; of more, the one that was first heard longest
/// ago is forgotten. Twice as many as a cluster is meant to have.
pub const SENDERS: usize = 1_024;

/// Sessions of one sender with a window: the present one, and the one before
/// it, of which datagrams may still be on their way.
pub const SESSIONS: usize = 2;

/// Sessions of one sender of which only the highest counter is remembered. Their
/// old datagrams stay refused, without that anybody who held back a few could
/// lock the sender out.
pub const RETIRED: usize = 32;

/// One more than the window needs, since it begins amid a block.
const BLOCKS: usize = (WINDOW / 64) as usize + 1;

/// A sender's start: its random number.
pub type Start = [u8; 16];

/// What has been seen of all senders.
#[derive(Debug, Default)]
pub struct Replay {
    senders: BTreeMap<NodeId, Sender>,
    order: VecDeque<NodeId>,
}

impl Replay {
    /// Whether a datagram is seen for the first time; it counts as seen from now
    /// on. One that is too old to tell is taken for seen.
    pub fn is_fresh(&mut self, sender: NodeId, start: Start, counter: u64) -> bool {
        if !self.senders.contains_key(&sender) {
            if self.senders.len() == SENDERS
                && let Some(first) = self.order.pop_front()
            {
                self.senders.remove(&first);
            }
            self.order.push_back(sender);
        }
        self.senders.entry(sender).or_default().is_fresh(start, counter)
    }
}

/// The sessions of one sender, the one that was heard last in front.
#[derive(Debug, Default)]
struct Sender {
    live: VecDeque<(Start, Window)>,
    retired: VecDeque<(Start, u64)>,
}

impl Sender {
    fn is_fresh(&mut self, start: Start, counter: u64) -> bool {
        let live = self.live.iter().position(|(s, _)| *s == start);
        let retired = self.retired.iter().position(|(s, _)| *s == start);
        let mut window = match (live, retired) {
            (Some(0), _) => return self.live[0].1.is_fresh(counter),
            (Some(at), _) => self.live[at].1.clone(),
            (None, Some(at)) => Window::seen_below(self.retired[at].1),
            (None, None) => Window::seen_below(0),
        };
        if !window.is_fresh(counter) {
            return false;
        }
        live.map(|at| self.live.remove(at));
        retired.map(|at| self.retired.remove(at));
        self.live.push_front((start, window));
        if self.live.len() > SESSIONS
            && let Some((start, window)) = self.live.pop_back()
        {
            self.retired.push_front((start, window.next));
            self.retired.truncate(RETIRED);
        }
        true
    }
}

/// The counters of one session: a bit for each in a ring of blocks (RFC 6479).
#[derive(Clone, Debug)]
struct Window {
    /// One more than the highest that was seen.
    next: u64,
    seen: [u64; BLOCKS],
}

impl Window {
    /// All below `next` seen, nothing else.
    fn seen_below(next: u64) -> Self {
        let mut window = Window { next, seen: [u64::MAX; BLOCKS] };
        *window.block(next) = (1 << (next % 64)) - 1;
        window
    }

    fn is_fresh(&mut self, counter: u64) -> bool {
        if self.next.saturating_sub(counter) > WINDOW {
            return false;
        }
        if counter >= self.next {
            let unbegun = self.next.div_ceil(64)..=counter / 64;
            unbegun.take(BLOCKS).for_each(|block| *self.block(block * 64) = 0);
            self.next = counter.saturating_add(1);
        }
        let bit = 1 << (counter % 64);
        let block = self.block(counter);
        let fresh = *block & bit == 0;
        *block |= bit;
        fresh
    }

    fn block(&mut self, counter: u64) -> &mut u64 {
        &mut self.seen[(counter / 64 % BLOCKS as u64) as usize]
    }
}
