//! How large a packet reaches the hosts that this one exchanges frames with.
//!
//! Probes are datagrams of the control port, padded to the size that is tried:
//! they go the way that VXLAN goes, between the same two addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::packet::Packet;
use super::{Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Key, NodeId};
use crate::core::cluster::secret::envelope;
use crate::core::pmtu::Probe;

/// How often it is looked who is exchanged frames with, where that changed.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);
/// UDP's header.
const UDP: usize = 8;

impl Machine {
    /// Notes that there may be others to exchange frames with.
    pub(super) fn paths_changed(&mut self, now: Now, changed: &BTreeSet<Key>) {
        let matters = |k: &Key| matches!(k, Key::Endpoint(..) | Key::Member(_) | Key::Node(_));
        if self.next_survey.is_none() && changed.iter().any(matters) {
            self.next_survey = Some(now + SURVEY_INTERVAL);
        }
    }

    /// Probes what is due.
    pub(super) fn probe_paths(&mut self, now: Now) {
        if self.next_survey.is_some_and(|at| at <= now) {
            self.next_survey = None;
            self.survey(now);
        }
        self.prober.tick(now);
        self.drain_prober();
    }

    /// When [`Machine::probe_paths`] has something to do.
    pub(super) fn paths_due(&self) -> Option<Now> {
        self.next_survey.into_iter().chain(self.prober.due()).min()
    }

    /// Probes the hosts that hold endpoints of networks of which this one does.
    fn survey(&mut self, now: Now) {
        let me = self.me();
        let mine: BTreeSet<[u8; 32]> =
            self.endpoints().filter(|(node, ..)| *node == me).map(|(_, n, ..)| n).collect();
        let peers: BTreeMap<NodeId, IpAddr> = self
            .endpoints()
            .filter(|(node, network, ..)| *node != me && mine.contains(network))
            .filter_map(|(node, ..)| Some((node, self.replica.node(&node)?.vtep)))
            .collect();
        let before = std::mem::replace(&mut self.probed, peers);
        for (id, vtep) in before.iter().filter(|(id, vtep)| self.probed.get(id) != Some(vtep)) {
            self.prober.forget(*id);
            // A host that was set up anew may have taken the address over.
            if !self.probed.values().any(|other| other == vtep) {
                self.outputs.push_back(Output::PathMtu { vtep: *vtep, mtu: None });
            }
        }
        let own = self.replica.node(&me).map_or(0, |n| n.mtu);
        for id in self.probed.keys() {
            if let Some(node) = self.replica.node(id) {
                self.prober.peer(now, *id, own.min(node.mtu));
            }
        }
    }

    fn drain_prober(&mut self) {
        while let Some(probe) = self.prober.output() {
            self.send_probe(&probe);
        }
        while let Some((node, mtu)) = self.prober.changed() {
            if let Some(vtep) = self.probed.get(&node) {
                self.outputs.push_back(Output::PathMtu { vtep: *vtep, mtu: Some(mtu) });
            }
        }
    }

    fn send_probe(&mut self, probe: &Probe<NodeId>) {
        let Some(to) = self.replica.node(&probe.to).map(|n| n.control) else { return };
        let header = match to.ip() {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) => 40,
        };
        let room = usize::from(probe.size).saturating_sub(header + UDP + envelope::OVERHEAD);
        self.send(to, &Packet::probe(probe.nonce, room));
    }

    /// A probe arrived: its sender shall know.
    pub(super) fn probed(&mut self, sender: NodeId, nonce: u64) {
        if let Some(to) = self.replica.node(&sender).map(|n| n.control) {
            self.send(to, &Packet::ProbeSeen(nonce));
        }
    }

    pub(super) fn probe_seen(&mut self, now: Now, by: NodeId, nonce: u64) {
        self.prober.answered(now, by, nonce);
        self.drain_prober();
    }

    /// The largest IP packet that is known to reach a member, in bytes; `None`
    /// while nothing is known.
    pub fn path_mtu(&self, id: &NodeId) -> Option<u16> {
        self.prober.confirmed(*id)
    }
}
