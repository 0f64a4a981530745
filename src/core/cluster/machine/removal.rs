//! Taking nodes out of the cluster for good, and their ranges with them.
//!
//! A range must never have two owners. Therefore all members that stay are
//! asked first: each takes what the leaving nodes gave it, promises to take
//! nothing more of theirs, and tells what it and they hold. When all have
//! answered and nobody knew more than the one who asks, it takes the rest. A
//! removed node never belongs again, so that what it may still do counts for
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::call::Call;
use super::{Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Body, Entry, Key, Member, Node, NodeId, Space};
use crate::core::cluster::holding::Holding;
use crate::core::cluster::rpc::{Request, Response};

/// Rounds until everybody knows the same of the leaving nodes' ranges.
const MAX_ROUNDS: u8 = 8;

/// A removal under way.
#[derive(Debug)]
pub(super) struct Removal {
    dead: Vec<NodeId>,
    waiting: BTreeSet<NodeId>,
    round: u8,
    /// Something about the leaving nodes' ranges was new in this round.
    news: bool,
}

impl Machine {
    /// Begins to remove nodes; [`Output::Removal`] tells how it ended. Fails at once
    /// where it cannot be begun.
    pub fn remove(&mut self, now: Now, dead: Vec<NodeId>) -> Result<(), String> {
        if self.removal.is_some() {
            return Err("another removal is under way: try again when it has ended".to_owned());
        }
        let me = self.me();
        if let Some(stranger) = dead.iter().find(|id| **id == me || !self.replica.is_member(id)) {
            return Err(format!("{stranger:?} is not another member of the cluster"));
        }
        let away: Vec<String> = self
            .others(&dead)
            .into_iter()
            .filter(|id| !self.membership.is_up(id))
            .map(|id| self.name_of(&id))
            .collect();
        if !away.is_empty() {
            return Err(format!(
                "every other member must agree, and {} cannot be reached: bring it back, or remove it too",
                away.join(", ")
            ));
        }
        if let Some(other) = self.earlier_heir(me, &dead) {
            return Err(format!("{} is removing it already", self.name_of(&other)));
        }
        self.promise(me, &dead);
        self.after_changes(now);
        self.removal = Some(Removal { dead, waiting: BTreeSet::new(), round: 0, news: false });
        self.ask_all(now);
        Ok(())
    }

    fn others(&self, dead: &[NodeId]) -> Vec<NodeId> {
        let me = self.me();
        let stays = |id: &NodeId| *id != me && !dead.contains(id);
        self.replica.members().map(|(id, _)| id).filter(stays).collect()
    }

    /// A node's name, or what its id begins with.
    pub fn name_of(&self, id: &NodeId) -> String {
        self.replica.node(id).map_or_else(|| format!("{id:?}"), |n| n.name.clone())
    }

    fn holdings_of(&self, nodes: &[NodeId]) -> Vec<Entry> {
        let of_them = |e: &&Entry| matches!(e.key, Key::Holding(node, _) if nodes.contains(&node));
        self.replica.entries().filter(of_them).cloned().collect()
    }

    fn ask_all(&mut self, now: Now) {
        let Some(removal) = &mut self.removal else { return };
        removal.news = false;
        removal.round += 1;
        let dead = removal.dead.clone();
        let others = self.others(&dead);
        if let Some(removal) = &mut self.removal {
            removal.waiting = others.iter().copied().collect();
        }
        let known = self.holdings_of(&dead);
        if others.is_empty() {
            return self.finish_removal(now);
        }
        for to in others {
            let request = Request::Estate(dead.clone(), known.clone());
            if !self.call(to, Call::Estate { to }, request) {
                return self.give_up(format!("{} cannot be asked", self.name_of(&to)));
            }
        }
    }

    pub(super) fn estate_answered(&mut self, now: Now, from: NodeId, response: Option<Response>) {
        let Some(removal) = &self.removal else { return };
        let dead = removal.dead.clone();
        let before = self.holdings_of(&dead);
        match response {
            Some(Response::Entries(entries)) => {
                self.replica.accept(from, entries);
                self.after_changes(now);
            }
            Some(Response::Refused(why)) => {
                return self.give_up(format!("{} does not agree: {why}", self.name_of(&from)));
            }
            _ => return self.give_up(format!("{} did not answer", self.name_of(&from))),
        }
        let news = self.holdings_of(&dead) != before;
        let Some(removal) = &mut self.removal else { return };
        removal.news |= news;
        removal.waiting.remove(&from);
        if !removal.waiting.is_empty() {
            return;
        }
        match removal.news {
            false => self.finish_removal(now),
            true if removal.round < MAX_ROUNDS => self.ask_all(now),
            true => self.give_up("the node that is to be removed is still active".to_owned()),
        }
    }

    fn give_up(&mut self, why: String) {
        let Some(removal) = self.removal.take() else { return };
        self.take_back(self.me(), &removal.dead);
        for to in self.others(&removal.dead) {
            self.call(to, Call::Release, Request::Release(removal.dead.clone()));
        }
        self.outputs.push_back(Output::Removal(Err(why)));
    }

    fn finish_removal(&mut self, now: Now) {
        let Some(removal) = self.removal.take() else { return };
        let me = self.me();
        for space in self.spaces() {
            let all: BTreeMap<NodeId, Holding> =
                self.holdings(space).map(|(id, holding)| (id, holding.clone())).collect();
            let mut mine = all.get(&me).cloned().unwrap_or_default();
            if mine.inherit(me, &removal.dead, &all) {
                self.replica.write(Key::Holding(me, space), Some(Body::Holding(mine)));
            }
        }
        for id in &removal.dead {
            let removed = Member::Removed { heir: me };
            self.replica.write(Key::Member(*id), Some(Body::Member(removed)));
        }
        self.take_back(me, &removal.dead);
        // Whoever was removed knows the ring's keys.
        self.rotate_key(now);
        self.outputs.push_back(Output::Removal(Ok(())));
    }

    /// All spaces of which somebody owns something.
    fn spaces(&self) -> BTreeSet<Space> {
        let space = |e: &Entry| if let Key::Holding(_, s) = e.key { Some(s) } else { None };
        self.replica.entries().filter_map(space).collect()
    }

    /// Answers [`Request::Estate`].
    pub(super) fn renounce(
        &mut self,
        now: Now,
        heir: NodeId,
        dead: &[NodeId],
        entries: Vec<Entry>,
    ) -> Response {
        let me = self.me();
        if dead.contains(&me) {
            return Response::Refused("it is this very host that would be removed".to_owned());
        }
        if let Some(other) = self.earlier_heir(heir, dead) {
            return Response::Refused(format!("{} is removing it already", self.name_of(&other)));
        }
        if self.has_renounced(&heir) {
            return Response::Refused("the node that asks is being removed itself".to_owned());
        }
        self.replica.accept(heir, entries);
        // Takes what was given to it, as long as it has not promised otherwise.
        self.after_changes(now);
        self.promise(heir, dead);
        self.after_changes(now);
        let mut of = dead.to_vec();
        of.push(me);
        Response::Entries(self.holdings_of(&of))
    }

    /// Who else has the promise about one of these nodes, unless that one is to be
    /// removed too or is gone.
    fn earlier_heir(&self, heir: NodeId, dead: &[NodeId]) -> Option<NodeId> {
        let renounced = &self.replica.node(&self.me())?.renounced;
        let stands = |by: &NodeId| *by != heir && !dead.contains(by) && self.replica.is_member(by);
        dead.iter().filter_map(|id| renounced.get(id)).copied().find(stands)
    }

    /// Whether this host has promised to trade nothing with a node any more.
    pub(super) fn has_renounced(&self, id: &NodeId) -> bool {
        self.replica.node(&self.me()).is_some_and(|n| n.renounced.contains_key(id))
    }

    fn promise(&mut self, heir: NodeId, dead: &[NodeId]) {
        self.rewrite_node(|node| {
            node.renounced.extend(dead.iter().map(|id| (*id, heir)));
        });
    }

    /// Takes back promises given to `heir`.
    pub(super) fn take_back(&mut self, heir: NodeId, dead: &[NodeId]) {
        self.rewrite_node(|node| {
            node.renounced.retain(|id, by| *by != heir || !dead.contains(id));
        });
    }

    fn rewrite_node(&mut self, change: impl FnOnce(&mut Node)) {
        let me = self.me();
        let Some(mut node) = self.replica.node(&me).cloned() else { return };
        change(&mut node);
        // Promises about nodes that are gone have been kept.
        node.renounced.retain(|id, _| self.replica.is_member(id));
        self.replica.write(Key::Node(me), Some(Body::Node(node)));
    }
}
