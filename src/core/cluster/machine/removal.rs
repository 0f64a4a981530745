//! Taking nodes out of the cluster for good, and their ranges with them.
//!
//! A range must never have two owners. Therefore all members that stay are
//! asked first: each takes what the leaving nodes gave it, promises to take
//! nothing more of theirs, and tells what it and they hold, and who belongs. When
//! all have answered and nobody knew more than the one who asks, it takes the
//! rest. A removed node never belongs again, so that what it may still do counts
//! for nothing.
//!
//! All members are those that anybody who stays knows. A removal names those that
//! the removed node had admitted and that stay; nobody else belongs by its word, so
//! that whoever came too late to be asked goes with it. Until that is decided nobody
//! who has promised trades with one that the leaving nodes have admitted, unless
//! that one has promised too, as whoever is admitted meanwhile does from the start.
//!
//! Whoever inherits ranges must know which networks stand in them. Therefore those
//! that are asked tell those too, and the removal names them. A network of a removed
//! node that it does not name does not exist: whoever has heard of it too late to tell
//! has nothing on it, as a promise forbids to take addresses of it. What the nodes say of
//! services may name addresses of theirs, too: it is told and named likewise, and whoever has
//! promised builds nothing on it.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::MUTE;
use super::call::Call;
use super::{Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Body, Entry, Key, Node, NodeId};
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
    /// Something about the leaving nodes' ranges was new in this round, or somebody
    /// was who is to be asked.
    news: bool,
}

impl Machine {
    /// Begins to remove nodes; [`Output::Removal`] tells how it ended. Fails at once
    /// where it cannot be begun.
    pub fn remove(&mut self, now: Now, dead: Vec<NodeId>) -> Result<(), String> {
        if self.mute {
            return Err(MUTE.to_owned());
        }
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
        if let Some(why) = self.objection(me, &dead) {
            return Err(why);
        }
        self.promise(me, &dead);
        self.after_changes(now);
        self.removal = Some(Removal { dead, waiting: BTreeSet::new(), round: 0, news: false });
        self.ask_all(now);
        Ok(())
    }

    /// With which this host asks another to be removed: all that it has said of
    /// itself, whom it has admitted, its networks and its services. Fails where that could be
    /// more than what it would still know after a restart.
    pub fn farewell(&self) -> Result<Request, String> {
        if self.mute {
            return Err(MUTE.to_owned());
        }
        let me = self.me();
        let told = |e: &&Entry| match e.key {
            Key::Member(_) | Key::Network(_) | Key::Service(_) => e.author == me,
            key => key.owner() == Some(me),
        };
        Ok(Request::Leave(self.replica.entries().filter(told).cloned().collect()))
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

    fn ask_all(&mut self, now: Now) {
        let Some(removal) = &mut self.removal else { return };
        removal.news = false;
        removal.round += 1;
        let dead = removal.dead.clone();
        let others = self.others(&dead);
        if let Some(removal) = &mut self.removal {
            removal.waiting = others.iter().copied().collect();
        }
        let mut known = self.holdings_of(&dead);
        known.extend(self.removals_by(&dead));
        known.extend(self.replica.entry(&Key::Node(self.me())).cloned());
        if others.is_empty() {
            return self.finish_removal(now);
        }
        for to in others {
            let request = Request::Estate(dead.clone(), known.clone());
            if !self.call(to, Call::Estate { to }, request) {
                return self.give_up(now, format!("{} cannot be asked", self.name_of(&to)));
            }
        }
    }

    pub(super) fn estate_answered(&mut self, now: Now, from: NodeId, response: Option<Response>) {
        let Some(removal) = &self.removal else { return };
        let dead = removal.dead.clone();
        let known = |machine: &Machine| (machine.holdings_of(&dead), machine.others(&dead));
        let before = known(self);
        match response {
            Some(Response::Entries(entries)) => {
                self.remember_vips(&entries);
                self.replica.accept(from, entries);
                self.after_changes(now);
            }
            Some(Response::Refused(why)) => {
                let why = format!("{} does not agree: {why}", self.name_of(&from));
                return self.give_up(now, why);
            }
            _ => return self.give_up(now, format!("{} did not answer", self.name_of(&from))),
        }
        let news = known(self) != before;
        let Some(removal) = &mut self.removal else { return };
        removal.news |= news;
        removal.waiting.remove(&from);
        if !removal.waiting.is_empty() {
            return;
        }
        match removal.news {
            false => self.finish_removal(now),
            true if removal.round < MAX_ROUNDS => self.ask_all(now),
            true => {
                self.give_up(now, "the node that is to be removed is still active".to_owned());
            }
        }
    }

    fn give_up(&mut self, now: Now, why: String) {
        let Some(removal) = self.removal.take() else { return };
        // What is answered to it now would be taken for an answer to the next one.
        self.calls.retain(|_, call| !matches!(call, Call::Estate { .. }));
        self.take_back(self.me(), &removal.dead);
        self.after_changes(now);
        for to in self.others(&removal.dead) {
            self.release(to, removal.dead.clone());
        }
        self.outputs.push_back(Output::Removal(Err(why)));
    }

    fn finish_removal(&mut self, now: Now) {
        let Some(removal) = &self.removal else { return };
        // Nobody would hear of it, and after a restart it would not have been.
        if self.mute {
            return self.give_up(now, MUTE.to_owned());
        }
        let last_words = match self.last_words(&removal.dead.clone()) {
            Ok(last_words) => last_words,
            Err(why) => return self.give_up(now, why),
        };
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
        self.take_back(me, &removal.dead);
        self.restore_all_vips();
        for (id, removed) in last_words {
            self.replica.write(Key::Member(id), Some(Body::Member(removed)));
        }
        // Whoever was removed knows the ring's keys. The first new one is used soon,
        // the second retires what was known.
        self.rotate_key(now);
        self.rotate_key(now);
        self.outputs.push_back(Output::Removal(Ok(())));
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
        if let Some(why) = self.objection(heir, dead) {
            return Response::Refused(why);
        }
        self.replica.accept(heir, entries);
        // Takes what was given to it, as long as it has not promised otherwise.
        self.after_changes(now);
        self.promise(heir, dead);
        self.after_changes(now);
        let mut of = dead.to_vec();
        of.push(me);
        let mut told = self.introductions(dead);
        told.extend(self.holdings_of(&of));
        told.extend(self.removals_by(dead));
        told.extend(self.networks_of(dead));
        told.extend(self.records_by(dead).cloned());
        Response::Entries(told)
    }

    /// Whether this host has promised to trade nothing with a node any more: with
    /// those that are to be removed, and whoever may go with them.
    pub(super) fn has_renounced(&self, id: &NodeId) -> bool {
        let promises = |id: &NodeId| self.replica.node(id).map(|n| &n.renounced);
        let Some(mine) = promises(&self.me()).filter(|mine| !mine.is_empty()) else {
            return false;
        };
        let asked = |promise| promises(id).is_some_and(|theirs| theirs.contains(promise));
        self.replica
            .admission(*id)
            .any(|on| mine.iter().any(|promise| promise.0 == on && (on == *id || !asked(promise))))
    }

    /// Whoever joins keeps the promises of the one that admits it, who was asked
    /// for both.
    pub(super) fn share_promises(&mut self) {
        let by = self.replica.entry(&Key::Member(self.me())).map(|e| e.author);
        let promises = by.and_then(|by| self.replica.node(&by)).map(|n| n.renounced.clone());
        self.rewrite_node(|node| node.renounced.extend(promises.unwrap_or_default()));
    }

    fn promise(&mut self, heir: NodeId, dead: &[NodeId]) {
        self.rewrite_node(|node| {
            node.renounced.extend(dead.iter().map(|id| (*id, heir)));
        });
    }

    /// Why this host may not promise `heir` to renounce these nodes. Two removals
    /// of the same node would both inherit, unless one removes the other's issuer.
    fn objection(&self, heir: NodeId, dead: &[NodeId]) -> Option<String> {
        let node = self.replica.node(&self.me())?;
        if node.renounces(&heir) {
            return Some(format!("{} is being removed itself", self.name_of(&heir)));
        }
        let stands = |(id, by): &&(NodeId, NodeId)| {
            *by != heir && dead.contains(id) && !dead.contains(by) && self.replica.is_member(by)
        };
        let (_, by) = node.renounced.iter().find(stands)?;
        Some(format!(
            "{} is removing it already: repeat it there, or remove that node too",
            self.name_of(by)
        ))
    }

    fn release(&mut self, to: NodeId, dead: Vec<NodeId>) {
        let me = self.replica.entry(&Key::Node(self.me())).cloned();
        self.call(to, Call::Release, Request::Release(dead, me.into_iter().collect()));
    }

    /// Releases who still keeps a promise of which nothing came: one may have
    /// missed the release, or this host has restarted.
    pub(super) fn release_promises(&mut self) {
        let me = self.me();
        let under_way = self.removal.as_ref().map_or(Vec::new(), |r| r.dead.clone());
        // Its own may have come back from others: where its disk was full, it had told
        // of a removal that it knew nothing of after its restart.
        self.rewrite_node(|node| {
            node.renounced.retain(|(id, by)| *by != me || under_way.contains(id));
        });
        for to in self.membership.up().map(|p| p.id).collect::<Vec<_>>() {
            let Some(node) = self.replica.node(&to) else { continue };
            let void = node.renounced.iter().filter(|(_, by)| *by == me).map(|(id, _)| *id);
            let void: Vec<NodeId> =
                void.filter(|id| !under_way.contains(id) && self.replica.is_member(id)).collect();
            if !void.is_empty() {
                self.release(to, void);
            }
        }
    }

    /// Answers [`Request::Release`].
    pub(super) fn released(&mut self, heir: NodeId, mut dead: Vec<NodeId>) {
        if let Some(node) = self.replica.node(&heir) {
            dead.retain(|id| !node.renounced.contains(&(*id, heir)));
        }
        self.take_back(heir, &dead);
    }

    /// Forgets removals that a restart has cut short.
    pub(super) fn abandon_removals(&mut self) {
        let me = self.me();
        self.rewrite_node(|node| node.renounced.retain(|(_, by)| *by != me));
    }

    /// Promises that ended with the removal.
    pub(super) fn forget_kept_promises(&mut self) {
        let Some(node) = self.replica.node(&self.me()) else { return };
        let mut renounced = node.renounced.clone();
        renounced.retain(|(id, by)| !self.replica.is_removed(id) && !self.replica.is_removed(by));
        self.rewrite_node(|node| node.renounced = renounced);
    }

    /// Takes back promises given to `heir`.
    fn take_back(&mut self, heir: NodeId, dead: &[NodeId]) {
        self.rewrite_node(|node| {
            node.renounced.retain(|(id, by)| *by != heir || !dead.contains(id));
        });
    }

    fn rewrite_node(&mut self, change: impl FnOnce(&mut Node)) {
        let me = self.me();
        let Some(mut node) = self.replica.node(&me).cloned() else { return };
        let promises = node.renounced.len();
        change(&mut node);
        let fewer = node.renounced.len() < promises;
        self.replica.write(Key::Node(me), Some(Body::Node(node)));
        if fewer {
            // What it could not build on until now.
            self.restore_all_vips();
        }
    }
}
