//! Members come and go: whom the failure detector may believe, and whom it looks for.

use std::collections::BTreeSet;

use super::{Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Key, NodeId};
use crate::core::cluster::membership::Peer;

impl Machine {
    /// After entries have changed. That a node belongs, and where it is, are two
    /// entries, and either may come first: it is looked for as soon as both are here.
    pub(super) fn members_changed(&mut self, now: Now, changed: &BTreeSet<Key>) {
        let described = |key: &Key| if let Key::Node(id) = key { Some(*id) } else { None };
        let mut sought: BTreeSet<NodeId> = changed.iter().filter_map(described).collect();
        if changed.iter().any(|k| matches!(k, Key::Member(_))) {
            sought.extend(self.review_members(now));
        }
        sought.into_iter().for_each(|id| self.look_for(now, id));
    }

    /// Takes up who has become a member, and says who that is; forgets who is none
    /// any more.
    fn review_members(&mut self, now: Now) -> Vec<NodeId> {
        if self.removed_by().is_some() {
            self.stand_alone(now);
            return Vec::new();
        }
        let me = self.me();
        let members: BTreeSet<NodeId> = self.replica.members().map(|(id, _)| id).collect();
        self.down.retain(|id, _| members.contains(id));
        self.differing.retain(|id, _| members.contains(id));
        let new = |id: &NodeId| *id != me && self.admitted.insert(*id);
        let new: Vec<NodeId> = members.iter().copied().filter(new).collect();
        new.iter().for_each(|id| self.membership.admit(*id));
        self.forget_kept_promises();
        let removed: Vec<NodeId> = self.admitted.difference(&members).copied().collect();
        for id in removed {
            self.admitted.remove(&id);
            self.membership.forget(now, id);
        }
        self.outputs.push_back(Output::Visible);
        new
    }

    /// Contacts a member that is not up, if it is known where it is.
    fn look_for(&mut self, now: Now, id: NodeId) {
        let lost = self.admitted.contains(&id) && !self.membership.is_up(&id);
        if let Some(node) = self.replica.node(&id).filter(|_| lost) {
            let peer = Peer { id, control: node.control, generation: 0 };
            self.membership.announce(now, peer);
        }
    }
}
