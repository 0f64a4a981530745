//! How large a packet reaches each peer, found out by sending some (RFC 8899:
//! packetization layer path MTU discovery for datagram transports).
//!
//! Nothing is believed but answers: ICMP may be filtered, or forged. A probe is a
//! packet of a chosen size that must not be fragmented, and that the peer
//! answers with a small one. [`Prober`] says which to send, and when; it has no
//! socket and no clock.
//!
//! | state | probes | when it is answered | when [`MAX_PROBES`] are lost |
//! | --- | --- | --- | --- |
//! | search | the ceiling, then sizes between what passed and what did not | that size is confirmed | a smaller one, or the search ends |
//! | rest, then confirm | the confirmed size, every 30 to 60 s | rest | base |
//! | base | a size that every path takes | the path has shrunk: search | the peer is away: the same again, ever more seldom |
//!
//! A peer that is away says nothing about its path, so it keeps the size that was
//! confirmed; when it is back, that is confirmed again and then searched upwards.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Now;

/// Probes of one size that must be lost before it counts as too large (RFC
/// 8899, section 5.1.2).
pub const MAX_PROBES: u32 = 3;

/// Sizes that paths have, tried before those between them: Ethernet and jumbo
/// frames, FDDI, and what tunnels and PPPoE leave of them.
const PLAUSIBLE: &[u16] = &[
    1280, 1300, 1350, 1380, 1400, 1420, 1430, 1440, 1450, 1460, 1472, 1476, 1480, 1492, 1500, 4352,
    8192, 8850, 8900, 8950, 8970, 9000, 9100, 9180, 9216,
];

/// How the prober is tuned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The size, in bytes of IP packet, that every path is expected to take
    /// (BASE_PLPMTU; RFC 8899 recommends 1200).
    pub base: u16,
    /// How long an answer is waited for (PROBE_TIMER).
    pub timeout: Duration,
    /// A confirmed size is confirmed again after this long to twice this long
    /// (CONFIRMATION_TIMER), at times that differ between peers.
    pub confirm: Duration,
    /// How often a size below the ceiling is searched anew (PMTU_RAISE_TIMER).
    pub raise: Duration,
    /// The longest time between two probes to a peer that does not answer.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            base: 1200,
            timeout: Duration::from_secs(1),
            confirm: Duration::from_secs(30),
            raise: Duration::from_secs(600),
            patience: Duration::from_secs(60),
        }
    }
}

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe<K> {
    /// To whom.
    pub to: K,
    /// How long the IP packet must be, in bytes.
    pub size: u16,
    /// What the answer must repeat.
    pub nonce: u64,
}

/// The path MTUs of all peers.
#[derive(Debug)]
pub struct Prober<K> {
    settings: Settings,
    peers: BTreeMap<K, Peer>,
    output: VecDeque<Probe<K>>,
    changed: BTreeMap<K, u16>,
    next_nonce: u64,
}

#[derive(Debug)]
struct Peer {
    /// No packet is larger; the underlay's MTU.
    ceiling: u16,
    /// The largest size that was answered.
    confirmed: Option<u16>,
    state: State,
    /// The size that is being probed, and under which number.
    size: u16,
    nonce: u64,
    /// How often it has been sent.
    sent: u32,
    /// When something is due: the next probe, or the end of waiting for an answer.
    due: Now,
    /// When to look whether more than the confirmed size passes.
    raise: Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For the largest size below `refused`, which does not pass.
    Search {
        refused: u16,
    },
    Rest,
    Confirm,
    Base,
}

impl<K: Copy + Ord> Prober<K> {
    /// A prober without peers. Numbers of probes count from `nonce` up: choose it
    /// at random, so that no answer to an earlier process is taken for ours.
    pub fn new(settings: Settings, nonce: u64) -> Prober<K> {
        Prober {
            settings,
            peers: BTreeMap::new(),
            output: VecDeque::new(),
            changed: BTreeMap::new(),
            next_nonce: nonce,
        }
    }

    /// Takes up a peer, or says that the underlay's MTU towards it (`ceiling`, in
    /// bytes of IP packet) is another now. Saying the same again changes nothing.
    pub fn peer(&mut self, now: Now, id: K, ceiling: u16) {
        let before = self.peers.get(&id);
        if before.is_some_and(|peer| peer.ceiling == ceiling) {
            return;
        }
        let known = before.and_then(|peer| peer.confirmed);
        let confirmed = known.map(|size| size.min(ceiling));
        if let Some(size) = confirmed
            && confirmed != known
        {
            self.changed.insert(id, size);
        }
        let state = State::Search { refused: ceiling.saturating_add(1) };
        let (size, raise) = (ceiling, now);
        let peer = Peer { ceiling, confirmed, state, size, nonce: 0, sent: 0, due: now, raise };
        self.peers.insert(id, peer);
        self.probe(now, id, state, size);
    }

    /// Forgets a peer, and all that there is to say of it.
    pub fn forget(&mut self, id: K) {
        self.peers.remove(&id);
        self.changed.remove(&id);
        self.output.retain(|probe| probe.to != id);
    }

    /// The largest size known to reach a peer, in bytes of IP packet; `None` as
    /// long as it has not answered at all.
    pub fn confirmed(&self, id: K) -> Option<u16> {
        self.peers.get(&id)?.confirmed
    }

    /// A peer whose confirmed size has changed since it was last asked for, and
    /// that size.
    pub fn changed(&mut self) -> Option<(K, u16)> {
        self.changed.pop_first()
    }

    /// The next packet to send.
    pub fn output(&mut self) -> Option<Probe<K>> {
        self.output.pop_front()
    }

    /// When [`Prober::tick`] has something to do again.
    pub fn due(&self) -> Option<Now> {
        self.peers.values().map(|peer| peer.due).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        let due: Vec<K> =
            self.peers.iter().filter(|(_, peer)| peer.due <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.wake(now, id);
        }
    }

    /// A peer has answered the probe with this number. Answers to anything but
    /// what it is being asked right now change nothing.
    pub fn answered(&mut self, now: Now, id: K, nonce: u64) {
        let base = self.settings.base;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.state == State::Rest || peer.nonce != nonce {
            return;
        }
        let was_away = peer.sent > MAX_PROBES;
        let all = State::Search { refused: peer.ceiling.saturating_add(1) };
        let size = peer.size;
        match (peer.state, peer.confirmed) {
            (State::Search { .. }, _) => {
                self.confirm(id, size);
                self.search(now, id);
            }
            (State::Base, Some(known)) if was_away => {
                peer.raise = now;
                self.probe(now, id, State::Confirm, known);
            }
            // All else was lost while this passes. If what was known was lost by
            // bad luck only, the first probe of the search shows it.
            (State::Base, Some(known)) if known > base => {
                self.confirm(id, size);
                self.probe(now, id, all, known);
            }
            (State::Base, None) => {
                let ceiling = peer.ceiling;
                peer.state = State::Search { refused: ceiling };
                self.confirm(id, size);
                if was_away { self.probe(now, id, all, ceiling) } else { self.search(now, id) }
            }
            _ => self.rest(now, id),
        }
    }

    /// What was waited for has not come, or the rest is over.
    fn wake(&mut self, now: Now, id: K) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match (peer.state, peer.confirmed) {
            (State::Rest, Some(known)) if peer.raise <= now && known < peer.ceiling => {
                let (all, ceiling) = (peer.ceiling.saturating_add(1), peer.ceiling);
                self.probe(now, id, State::Search { refused: all }, ceiling);
            }
            (State::Rest, Some(known)) => self.probe(now, id, State::Confirm, known),
            (State::Base, _) => self.send(now, id),
            _ if peer.sent < MAX_PROBES => self.send(now, id),
            (State::Search { .. }, Some(_)) => {
                peer.state = State::Search { refused: peer.size };
                self.search(now, id);
            }
            _ => {
                let base = self.settings.base.min(peer.ceiling);
                self.probe(now, id, State::Base, base);
            }
        }
    }

    /// The next size of the search, or its end.
    fn search(&mut self, now: Now, id: K) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let State::Search { refused } = peer.state else { return };
        match between(peer.confirmed.unwrap_or(0), refused) {
            Some(size) => {
                let state = peer.state;
                self.probe(now, id, state, size);
            }
            None => {
                peer.raise = now + self.settings.raise;
                self.rest(now, id);
            }
        }
    }

    fn confirm(&mut self, id: K, size: u16) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.confirmed.replace(size) != Some(size) {
            self.changed.insert(id, size);
        }
    }

    fn rest(&mut self, now: Now, id: K) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.state = State::Rest;
        // Peers that were taken up together shall not be probed together for ever.
        let spread = self.next_nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let until = now + self.settings.confirm + self.settings.confirm * spread as u32 / 256;
        let raises = peer.confirmed.is_some_and(|known| known < peer.ceiling);
        peer.due = if raises { until.min(peer.raise).max(now) } else { until };
    }

    /// Turns to another size.
    fn probe(&mut self, now: Now, id: K, state: State, size: u16) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        (peer.state, peer.size, peer.sent, peer.nonce) = (state, size, 0, self.next_nonce);
        self.next_nonce = self.next_nonce.wrapping_add(1);
        self.send(now, id);
    }

    /// Sends the probe, for the first time or again: under the same number, since
    /// an answer that comes late counts as well.
    fn send(&mut self, now: Now, id: K) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sent = peer.sent.saturating_add(1);
        let doublings = peer.sent.saturating_sub(MAX_PROBES).min(16);
        let wait = self.settings.timeout * (1 << doublings);
        peer.due = now + wait.min(self.settings.patience.max(self.settings.timeout));
        self.output.push_back(Probe { to: id, size: peer.size, nonce: peer.nonce });
    }
}

/// A size between one that passes and one that does not: the middle one of the
/// plausible, else the middle. `None` if there is none left.
fn between(passes: u16, refused: u16) -> Option<u16> {
    let from = PLAUSIBLE.partition_point(|size| *size <= passes);
    let to = PLAUSIBLE.partition_point(|size| *size < refused);
    match PLAUSIBLE.get(from..to) {
        Some(plausible) if !plausible.is_empty() => Some(plausible[plausible.len() / 2]),
        _ => (refused.saturating_sub(passes) > 1).then(|| passes + (refused - passes) / 2),
    }
}
