//! Lifeguard's local health (arXiv 1707.00788): a host that sees probes fail
//! asks first whether it is itself the one that is slow.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::ProbeNumber;

use super::Peer;
use crate::core::cluster::entry::NodeId;

/// 0 is well; with 8, everything is waited for nine times as long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health(u8);

impl Health {
    const WORST: u8 = 8;

    pub(super) fn score(self) -> u8 {
        self.0
    }

    pub(super) fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    pub(super) fn worse(&mut self, by: usize) {
        self.0 = usize::from(self.0).saturating_add(by).min(Self::WORST.into()) as u8;
    }

    /// How long to wait for what a healthy host would wait `time` for.
    pub(super) fn stretch(self, time: Duration) -> Duration {
        time.saturating_mul(1 + u32::from(self.0))
    }
}

/// The probe that is under way.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) peer: Peer,
    pub(super) number: ProbeNumber,
    pub(super) answered: bool,
    /// Who was asked to probe too, and whether it answered the ping that went
    /// along. That answer stands for Lifeguard's nack: relays that answer while
    /// the peer does not show that the fault is not here.
    relays: BTreeMap<NodeId, bool>,
}

impl Probe {
    pub(super) fn new(peer: Peer, number: ProbeNumber) -> Probe {
        Probe { peer, number, answered: false, relays: BTreeMap::new() }
    }

    pub(super) fn relayed_by(&mut self, relay: NodeId) {
        self.relays.insert(relay, false);
    }

    /// Whether this is the first answer of the peer itself.
    pub(super) fn answer(&mut self, from: &Peer, number: ProbeNumber) -> bool {
        if number != self.number {
            return false;
        }
        if let Some(heard) = self.relays.get_mut(&from.id) {
            *heard = true;
        }
        let first = *from == self.peer && !self.answered;
        self.answered |= first;
        first
    }

    /// How much a failure says about this host: each relay that should have
    /// answered and did not; 1 if there was nobody to ask. That a suspect is
    /// silent says nothing new.
    pub(super) fn blame(&self, suspected: impl Fn(&NodeId) -> bool) -> usize {
        if self.relays.is_empty() {
            return usize::from(!suspected(&self.peer.id));
        }
        self.relays.iter().filter(|(id, heard)| !**heard && !suspected(id)).count()
    }
}
