//! Which datagrams have been seen: a window of counters for each session of each
//! sender, in bounded memory.
//!
//! Only authentic datagrams come here, so that strangers cannot take any of it.

use std::collections::{BTreeMap, VecDeque};

use crate::core::cluster::entry::NodeId;
use crate::core::window;

#[cfg(test)]
mod tests;

/// How far datagrams of one session may overtake each other, in datagrams.
pub const WINDOW: u64 = Window::SIZE;

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

/// The counters of one session: 1024 of them.
type Window = window::Window<17>;

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
            (Some(0), _) => return self.live[0].1.mark(counter),
            (Some(at), _) => self.live[at].1.clone(),
            (None, Some(at)) => Window::seen_below(self.retired[at].1),
            (None, None) => Window::seen_below(0),
        };
        if !window.mark(counter) {
            return false;
        }
        live.map(|at| self.live.remove(at));
        retired.map(|at| self.retired.remove(at));
        self.live.push_front((start, window));
        if self.live.len() > SESSIONS
            && let Some((start, window)) = self.live.pop_back()
        {
            self.retired.push_front((start, window.next()));
            self.retired.truncate(RETIRED);
        }
        true
    }
}
