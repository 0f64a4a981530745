//! Who belongs: whom a member has admitted and nobody has removed.
//!
//! A removal names those that the removed node had admitted and that stay. Whom
//! else it had admitted, nobody who stayed has heard of: these go with it, and
//! those that they have admitted.
//!
//! So it is with networks, and with what it says of services, which may name addresses
//! that were its own. Who inherits the ranges of a removed node gives its VNIs
//! and subnets to others, but those of networks that it knows: these the removal
//! names, and what else turns up of the node's networks and services does not exist.

use std::collections::{BTreeMap, BTreeSet};

use super::super::entry::{Body, Brief, Entry, Key, Member, NodeId, brief};
use super::Replica;

impl Replica {
    /// Whether a node belongs to the cluster.
    pub fn is_member(&self, id: &NodeId) -> bool {
        self.entries.contains_key(&Key::Member(*id)) && !self.is_removed(id)
    }

    /// Whether a node was removed from the cluster, or goes with one that was: it was
    /// admitted by that one, and nobody who stayed knew of it.
    pub fn is_removed(&self, id: &NodeId) -> bool {
        self.gone.contains(id)
    }

    /// Whether somebody has removed this very node: that is never taken back.
    pub fn is_named_removed(&self, id: &NodeId) -> bool {
        let said = self.get(&Key::Member(*id));
        matches!(said, Some(Body::Member(Member::Removed { .. })))
    }

    /// A node and those on whose word it belongs: who has admitted it, who that one.
    pub fn admission(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let mut seen = BTreeSet::new();
        let by = |id: &NodeId| self.entries.get(&Key::Member(*id)).map(|e| e.author);
        std::iter::successors(Some(id), by).take_while(move |id| seen.insert(*id))
    }

    /// The members and their X25519 public keys, by id.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, [u8; 32])> {
        self.live(..=Key::LAST_MEMBER).filter_map(|(key, body)| match (key, body) {
            (Key::Member(id), Body::Member(Member::Admitted { exchange }))
                if !self.is_removed(id) =>
            {
                Some((*id, self.node(id).map_or(*exchange, |n| n.exchange)))
            }
            _ => None,
        })
    }

    /// Who has what was a node's: itself as long as it belongs, or else its heir, or
    /// that one's. `None` where nobody does.
    pub fn heir(&self, node: NodeId) -> Option<NodeId> {
        self.bequeathed(node, |_| true)
    }

    /// In whose ranges a network stands; `None` if it went with one of those in
    /// whose ranges it stood.
    pub fn holder(&self, network: &[u8; 32], maker: NodeId) -> Option<NodeId> {
        self.bequeathed(maker, |kept| kept.contains(&brief(network)))
    }

    fn bequeathed(&self, node: NodeId, left: impl Fn(&BTreeSet<Brief>) -> bool) -> Option<NodeId> {
        let (mut owner, mut seen) = (node, BTreeSet::new());
        while self.is_removed(&owner) {
            match self.get(&Key::Member(owner))? {
                Body::Member(Member::Removed { heir, kept, .. })
                    if left(kept) && seen.insert(owner) =>
                {
                    owner = *heir;
                }
                _ => return None,
            }
        }
        Some(owner)
    }

    /// Whether it is a network, or a record of a service, that went with a removed node.
    pub fn is_left_behind(&self, entry: &Entry) -> bool {
        match (&entry.key, &entry.body) {
            (Key::Network(id), Some(_)) => self.holder(id, entry.author).is_none(),
            (Key::Service(_), Some(_)) => {
                self.is_removed(&entry.author) && !self.keeps(entry.author, entry.brief())
            }
            _ => false,
        }
    }

    /// Whether a node does not belong by what is said of it, or by who says it.
    fn says_gone(&self, id: NodeId, by: NodeId) -> bool {
        self.is_named_removed(&id)
            || (by != id && self.gone.contains(&by) && !self.keeps(by, id.brief()))
    }

    /// Whether the removal of a node names what stays of what it has said.
    pub(super) fn keeps(&self, removed: NodeId, said: Brief) -> bool {
        match self.get(&Key::Member(removed)) {
            Some(Body::Member(Member::Removed { kept, .. })) => kept.contains(&said),
            _ => false,
        }
    }

    /// After what is said of a node's belonging has changed: finds out who is gone
    /// with it, and which networks and records of services.
    pub(super) fn see_who_is_gone(&mut self, id: NodeId) {
        let Some(entry) = self.entries.get(&Key::Member(id)) else { return };
        let gone = self.says_gone(id, entry.author);
        if gone == self.gone.contains(&id) && !self.is_named_removed(&id) {
            return;
        }
        let before = std::mem::take(&mut self.gone);
        let mut admitted: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        let mut going = Vec::new();
        for entry in self.entries.range(..=Key::LAST_MEMBER).map(|(_, e)| e) {
            let Key::Member(id) = entry.key else { continue };
            match self.is_named_removed(&id) {
                true => going.push(id),
                false => admitted.entry(entry.author).or_default().push(id),
            }
        }
        while let Some(id) = going.pop() {
            if self.gone.insert(id) {
                let theirs = admitted.remove(&id).unwrap_or_default();
                going.extend(theirs.into_iter().filter(|other| !self.keeps(id, other.brief())));
            }
        }
        let new: Vec<NodeId> = self.gone.difference(&before).copied().collect();
        new.into_iter().for_each(|id| self.sweep(id));
        let said = self.entries.range(Key::Network([0; 32])..=Key::Service([0xff; 32]));
        let lost = said.filter(|(_, e)| self.is_left_behind(e));
        let lost: Vec<Key> = lost.map(|(key, _)| *key).collect();
        lost.iter().for_each(|key| self.drop_entry(key));
    }
}
