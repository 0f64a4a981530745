//! What leaving nodes leave: ranges, what stands in them, and whom they have admitted.

use std::collections::BTreeSet;

use super::Machine;
use crate::core::cluster::entry::{Body, Brief, Entry, Key, Member, NodeId, Space, brief};

/// As many as an entry can name.
const MAX_KEPT: usize = 1000;

impl Machine {
    /// The nodes' ranges, and the services that may have virtual IPs in them.
    pub(super) fn holdings_of(&self, nodes: &[NodeId]) -> Vec<Entry> {
        let of_them = |e: &&Entry| match (&e.key, &e.body) {
            (Key::Holding(node, _), _) => nodes.contains(node),
            (_, Some(Body::Service(service))) => self.has_vip_of(service, nodes),
            _ => false,
        };
        self.replica.entries().filter(of_them).cloned().collect()
    }

    /// Whose heirs the leaving nodes are.
    pub(super) fn removals_by(&self, dead: &[NodeId]) -> Vec<Entry> {
        let members = self.replica.entries().take_while(|e| e.key <= Key::LAST_MEMBER);
        let left = |id: &NodeId| self.replica.heir(*id).is_some_and(|heir| dead.contains(&heir));
        let of_them =
            |e: &&Entry| matches!(e.key, Key::Member(id) if !dead.contains(&id) && left(&id));
        members.filter(of_them).cloned().collect()
    }

    /// The networks that stand in the leaving nodes' ranges.
    pub(super) fn networks_of(&self, dead: &[NodeId]) -> Vec<Entry> {
        let keys = self.networks().filter_map(|n| n.id.bytes()).map(|id| (id, Key::Network(id)));
        keys.filter_map(|(id, key)| {
            let entry = self.replica.entry(&key)?;
            dead.contains(&self.replica.holder(&id, entry.author)?).then(|| entry.clone())
        })
        .collect()
    }

    /// What the leaving nodes say of services, as far as nobody has changed it since.
    pub(super) fn records_by(&self, dead: &[NodeId]) -> impl Iterator<Item = &Entry> {
        let of_service = |e: &&Entry| matches!(e.key, Key::Service(_)) && e.body.is_some();
        let by_them = move |e: &&Entry| of_service(e) && dead.contains(&e.author);
        self.replica.entries().filter(by_them)
    }

    /// All spaces of which somebody owns something, but for pools of networks that
    /// do not exist any more, or never will.
    pub(super) fn spaces(&self) -> BTreeSet<Space> {
        let space = |e: &Entry| match e.key {
            Key::Holding(_, Space::Pool(id, _))
                if self.replica.get(&Key::Network(id)).is_none() =>
            {
                None
            }
            Key::Holding(_, space) => Some(space),
            _ => None,
        };
        self.replica.entries().filter_map(space).collect()
    }

    /// Whom the heir may not know, by whose word they belong, and where they are:
    /// those that this host has admitted, and those that nodes have admitted that
    /// are not asked themselves.
    pub(super) fn introductions(&self, dead: &[NodeId]) -> Vec<Entry> {
        let me = self.me();
        let asked = |id: &NodeId| *id != me && !dead.contains(id) && self.replica.is_member(id);
        let mut keys = BTreeSet::new();
        for (id, _) in self.replica.members() {
            let by = self.replica.entry(&Key::Member(id)).map(|e| e.author);
            if let Some(by) = by.filter(|by| !asked(by)) {
                keys.extend([Key::Member(id), Key::Member(by), Key::Node(id)]);
            }
        }
        keys.iter().filter_map(|key| self.replica.entry(key)).cloned().collect()
    }

    /// The others that a node has admitted, and that are members still.
    fn admitted_by(&self, admitter: NodeId) -> BTreeSet<Brief> {
        let admitted = |key: Key| self.replica.entry(&key).is_some_and(|e| e.author == admitter);
        let members = self.replica.members().map(|(id, _)| id).filter(|id| *id != admitter);
        members.filter(|id| admitted(Key::Member(*id))).map(|id| id.brief()).collect()
    }

    /// What is to be said of each of the leaving nodes. Of these entries one may be
    /// heard without the others, and must leave those that the others are about, and
    /// all networks. Fails where that would be more than an entry can name.
    pub(super) fn last_words(&self, dead: &[NodeId]) -> Result<Vec<(NodeId, Member)>, String> {
        let networks = self.networks_of(dead);
        let named = |e: &Entry| if let Key::Network(id) = &e.key { Some(brief(id)) } else { None };
        let networks: BTreeSet<Brief> = networks.iter().filter_map(named).collect();
        let leaving = self.replica.members().filter(|(id, _)| dead.contains(id));
        let last_word = |(id, exchange)| {
            let mut kept = self.admitted_by(id);
            kept.extend(&networks);
            kept.extend(self.records_by(&[id]).map(Entry::brief));
            match kept.len() {
                0..=MAX_KEPT => Ok((id, Member::Removed { heir: self.me(), exchange, kept })),
                more => Err(format!(
                    "{} has admitted or made {more} members, networks and services that stay, and an entry names {MAX_KEPT}: remove some of those first",
                    self.name_of(&id)
                )),
            }
        };
        leaving.map(last_word).collect()
    }
}
