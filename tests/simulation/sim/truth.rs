//! What is true of the whole cluster, whatever single hosts believe: what was
//! handed out, who owns what, what is deleted. Everything that must never
//! happen is noticed here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use vxmesh::core::cluster::entry::{Body, Entry, Key, Member, NodeId, Space};
use vxmesh::core::cluster::holding::Ranges;
use vxmesh::core::cluster::machine::Machine;
use vxmesh::core::cluster::replica::Replica;
use vxmesh::core::ipam;

use super::services::Vips;

type Id = [u8; 32];

/// A network that was created and not deleted.
struct Net {
    vni: u32,
    subnet: IpNet,
    creator: NodeId,
}

#[derive(Default)]
pub(crate) struct Truth {
    /// Nodes that were removed for good: what they have counts for nothing.
    pub(crate) removed: BTreeSet<NodeId>,
    /// Who has admitted each node that ever became a member.
    pub(crate) admitted: BTreeMap<NodeId, NodeId>,
    /// What each member owns by its own word.
    owned: BTreeMap<Space, BTreeMap<NodeId, Ranges>>,
    networks: BTreeMap<Id, Net>,
    /// Who uses an address of a network, and as which endpoint.
    endpoints: BTreeMap<(Id, IpAddr), (NodeId, Id)>,
    pub(super) vips: Vips,
    /// What was deleted, and the hosts that have seen it so.
    deleted: BTreeMap<Key, BTreeSet<usize>>,
    /// What must not happen and has.
    pub(crate) violations: Vec<String>,
}

impl Truth {
    pub(crate) fn violated(&mut self, what: String) {
        if self.violations.len() < 8 {
            self.violations.push(what);
        }
    }

    /// Something is on a member's disk.
    pub(crate) fn stored(&mut self, machine: &Machine, keys: &BTreeSet<Key>) {
        let me = machine.me();
        for key in keys {
            if let Key::Holding(node, space) = key
                && *node == me
            {
                let ranges = match machine.replica().get(key) {
                    Some(Body::Holding(holding)) => holding.ranges.clone(),
                    _ => Ranges::default(),
                };
                self.own(me, *space, ranges);
            }
        }
    }

    /// A member's tables have changed: nothing that it has seen deleted is back.
    pub(crate) fn seen(&mut self, host: usize, machine: &Machine, keys: &BTreeSet<Key>) {
        for key in keys {
            let deleted = machine.replica().entry(key).is_some_and(|e| e.body.is_none());
            if let (Key::Service(service), true) = (key, deleted) {
                // Also where its remover has lost its memory since: what was on the way
                // then has come to somebody who may yet tell it.
                self.remove_service(host, *service);
            }
            let Some(seen) = self.deleted.get_mut(key) else { continue };
            if machine.replica().get(key).is_none() {
                seen.insert(host);
            } else if seen.contains(&host) {
                self.violated(format!("host {host} has seen {key:?} deleted, and sees it again"));
            }
        }
    }

    fn own(&mut self, me: NodeId, space: Space, ranges: Ranges) {
        if self.removed.contains(&me) {
            return;
        }
        let owners = self.owned.entry(space).or_default();
        let mut doubled = Vec::new();
        for (other, theirs) in owners.iter().filter(|(other, _)| **other != me) {
            let both = theirs.intersect(&ranges);
            if let Some(first) = both.lowest() {
                let count = both.count();
                doubled.push(format!(
                    "{count} of {space:?} from {first} are owned by {me:?} and {other:?}"
                ));
            }
        }
        if ranges.is_empty() {
            owners.remove(&me);
        } else {
            owners.insert(me, ranges);
        }
        doubled.into_iter().for_each(|what| self.violated(what));
    }

    /// A member has started from its disk.
    pub(crate) fn restarted(&mut self, machine: &Machine) {
        let me = machine.me();
        if self.removed.contains(&me) {
            return;
        }
        let spaces: Vec<Space> = self.owned.keys().copied().collect();
        for space in spaces {
            let holding = machine.holdings(space).find(|(id, _)| *id == me);
            let ranges = holding.map(|(_, h)| h.ranges.clone()).unwrap_or_default();
            self.own(me, space, ranges);
        }
        self.endpoints.retain(|_, (node, _)| *node != me);
        let own: Vec<(Id, Id, Vec<IpAddr>)> = machine
            .endpoints()
            .filter(|(node, ..)| *node == me)
            .map(|(_, network, id, body)| (network, id, body.addresses.clone()))
            .collect();
        for (network, id, addresses) in own {
            addresses.iter().for_each(|ip| self.attach(me, network, id, *ip));
        }
    }

    /// A host has died, and has this left.
    pub(crate) fn crashed(&mut self, host: usize, disk: &BTreeMap<Key, Entry>) {
        self.deleted.retain(|key, seen| {
            if disk.get(key).is_none_or(|e| e.body.is_some()) {
                seen.remove(&host);
            }
            // What nobody knows of any more has not happened.
            !seen.is_empty()
        });
    }

    /// A removal is on a disk.
    pub(crate) fn remove(&mut self, entry: &Entry) {
        let removed = matches!(entry.body, Some(Body::Member(Member::Removed { .. })));
        if let (Key::Member(id), true) = (&entry.key, removed) {
            self.bury(*id);
        }
    }

    /// A node belongs no more.
    pub(crate) fn bury(&mut self, id: NodeId) {
        if self.removed.insert(id) {
            self.owned.values_mut().for_each(|owners| {
                owners.remove(&id);
            });
            self.endpoints.retain(|_, (node, _)| *node != id);
        }
    }

    /// A node that still belongs and that a removed one had admitted, of those that an
    /// heir does not know.
    pub(crate) fn orphan(&self, unknown: impl Fn(&NodeId) -> bool) -> Option<NodeId> {
        let orphan = |(id, by): &(&NodeId, &NodeId)| {
            self.removed.contains(by) && !self.removed.contains(id) && unknown(id)
        };
        self.admitted.iter().find(orphan).map(|(id, _)| *id)
    }

    /// Networks of removed nodes that nobody who stays has heard of are no more,
    /// nor are those that a node lost with its memory, because its disk was full.
    pub(crate) fn void_networks(&mut self, restarted: Option<NodeId>, known: &BTreeSet<Id>) {
        let removed = &self.removed;
        self.networks.retain(|id, net| {
            let gone = removed.contains(&net.creator) || restarted == Some(net.creator);
            !gone || known.contains(id)
        });
    }

    /// Nor are those that a removal does not name which an heir has just stored. Nobody
    /// who stays may have anything on them.
    pub(crate) fn leave_networks(&mut self, heir: &Replica) {
        let stays = |id: &Id, net: &Net| heir.holder(id, net.creator).is_some();
        let left: Vec<Id> =
            self.networks.iter().filter(|(id, net)| !stays(id, net)).map(|(id, _)| *id).collect();
        for id in left {
            self.networks.remove(&id);
            self.forget_vips(id);
            if let Some((_, (node, _))) = self.endpoints.iter().find(|((n, _), _)| *n == id) {
                self.violated(format!(
                    "{node:?} has an endpoint on a network that a removal forgot"
                ));
            }
        }
    }

    pub(crate) fn create(&mut self, creator: NodeId, id: Id, vni: u32, subnet: IpNet) {
        if self.removed.contains(&creator) {
            return;
        }
        let clash = |net: &&Net| net.vni == vni || ipam::overlap(net.subnet, subnet);
        if let Some(other) = self.networks.values().find(clash) {
            let what = format!(
                "{creator:?} creates a network of VNI {vni} and {subnet}, {:?} has one of VNI {} and {}",
                other.creator, other.vni, other.subnet
            );
            self.violated(what);
        }
        self.networks.insert(id, Net { vni, subnet, creator });
    }

    pub(crate) fn delete_network(&mut self, host: usize, id: Id) {
        self.networks.remove(&id);
        self.forget_vips(id);
        self.note_deleted(host, Key::Network(id));
    }

    pub(crate) fn attach(&mut self, node: NodeId, network: Id, id: Id, ip: IpAddr) {
        if self.removed.contains(&node) {
            return;
        }
        self.check_not_virtual(node, network, ip);
        let before = self.endpoints.insert((network, ip), (node, id));
        if let Some((other, _)) = before.filter(|(_, other)| *other != id) {
            self.violated(format!("{ip} is used by endpoints of {node:?} and {other:?}"));
        }
    }

    pub(crate) fn detach(&mut self, host: usize, node: NodeId, network: Id, id: Id) {
        self.endpoints.retain(|(n, _), (_, e)| *n != network || *e != id);
        self.deleted.entry(Key::Endpoint(node, network, id)).or_default().insert(host);
    }

    pub(super) fn note_deleted(&mut self, host: usize, key: Key) {
        self.deleted.entry(key).or_default().insert(host);
    }

    pub(super) fn is_gone(&self, key: &Key) -> bool {
        self.deleted.contains_key(key)
    }

    /// Whether an endpoint has an address of a network.
    pub(super) fn is_used(&self, network: Id, ip: IpAddr) -> bool {
        self.endpoints.contains_key(&(network, ip))
    }

    /// Whether a member shows what is deleted everywhere.
    pub(crate) fn check_deleted(&mut self, host: usize, machine: &Machine) {
        let back: Vec<Key> =
            self.deleted.keys().filter(|k| machine.replica().get(k).is_some()).copied().collect();
        for key in back {
            self.violated(format!("{key:?} was deleted, and host {host} has it"));
        }
    }
}
