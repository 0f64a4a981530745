//! What this host asks of others by itself.

use std::net::SocketAddr;
use std::time::Duration;

use super::answer::MUTE;
use super::{CallId, Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Key, NodeId, Space};
use crate::core::cluster::holding::Want;
use crate::core::cluster::rpc::{Request, Response, Summaries};

/// Calls under way at most; further ones wait for a later tick.
const MAX_CALLS: usize = 16;
/// Rounds of one sync: about a megabyte each. It is more than all hosts may write.
const MAX_ROUNDS: u16 = 1024;

/// How long after a failed sync another is tried.
const RETRY_INTERVAL: Duration = Duration::from_millis(800);

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// The first half of a sync's round.
    Digests { to: NodeId, at: Progress },
    /// The second half; where the next round begins.
    Exchange { to: NodeId, at: Progress },
    /// To a host that does not answer: it may not know this one.
    Introduction { to: NodeId },
    /// Entries too long for a datagram.
    Push,
    /// A probe that datagrams did not answer.
    Probe { to: NodeId },
    /// For a removal.
    Estate { to: NodeId },
    /// For a removal that did not come about.
    Release,
}

/// How far a sync is. A pass compares all that differs, a part each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    rounds: u16,
    /// The end of what this pass has compared; `None` at its start.
    behind: Option<Key>,
    /// The other host has just been shown who has admitted this one.
    introduced: bool,
    /// How many entries differed in this pass so far, and in the whole one before.
    differing: usize,
    before: usize,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { rounds: 0, behind: None, introduced: false, differing: 0, before: usize::MAX }
    }
}

impl Progress {
    /// After a part with this end.
    fn after(self, end: Option<Key>) -> Progress {
        let rounds = self.rounds + 1;
        match end {
            Some(_) => Progress { rounds, behind: end, ..self },
            None => Progress { rounds, before: self.differing, ..Progress::default() },
        }
    }
}

impl Machine {
    /// Starts a call, if the host is known and there are not too many.
    pub(super) fn call(&mut self, to: NodeId, call: Call, request: Request) -> bool {
        let exchange = self.replica.members().find(|(id, _)| *id == to).map(|(_, key)| key);
        let (Some(exchange), Some(at)) = (exchange, self.control_of(&to)) else { return false };
        if self.removed_by().is_some() {
            return false;
        }
        // A sync that was begun before would carry what cannot be stored.
        if self.mute && !matches!(call, Call::Probe { .. }) {
            return false;
        }
        let must = matches!(call, Call::Estate { .. } | Call::Release);
        if self.calls.len() >= MAX_CALLS && !must {
            return false;
        }
        self.last_call += 1;
        let id = CallId(self.last_call);
        self.calls.insert(id, call);
        self.outputs.push_back(Output::Call { id, to, exchange, at, request });
        true
    }

    /// Compares tables with a host that has just come, or with a random one: with
    /// one that is up, or now and then with one that is not, so that islands find
    /// each other.
    pub(super) fn sync_with_someone(&mut self) {
        if self.mute {
            return;
        }
        let to = match self.sync_soon.pop_front() {
            Some(to) => Some(to),
            None => self.random_partner(),
        };
        if let Some(to) = to {
            self.sync(to, Progress::default());
        }
        self.release_promises();
    }

    fn random_partner(&mut self) -> Option<NodeId> {
        if std::mem::take(&mut self.deaf)
            && let Some(lost) = self.next_lost()
        {
            return Some(lost);
        }
        if self.below(8) > 0
            && let Some(up) = self.random_up(1).pop()
        {
            return Some(up);
        }
        let me = self.me();
        let others: Vec<NodeId> =
            self.replica.members().map(|(id, _)| id).filter(|id| *id != me).collect();
        let i = self.below(others.len());
        others.get(i).copied()
    }

    /// Members that do not answer; most of them are gone.
    fn lost(&self) -> impl Iterator<Item = NodeId> {
        let me = self.me();
        let lost = move |id: &NodeId| *id != me && !self.membership.is_up(id);
        self.replica.members().map(|(id, _)| id).filter(lost)
    }

    /// A lost host that was not asked yet, if there is one.
    fn next_lost(&mut self) -> Option<NodeId> {
        let mut left: Vec<NodeId> = self.lost().filter(|id| !self.asked.contains(id)).collect();
        if left.is_empty() {
            self.asked.clear();
            left = self.lost().collect();
        }
        let i = self.below(left.len());
        let chosen = left.get(i).copied()?;
        self.asked.insert(chosen);
        Some(chosen)
    }

    /// Some member seals with a key that this host does not have: it is lost until a
    /// connection, which needs no ring, brings the keys. One of the lost is therefore
    /// compared with soon, once in a while: anybody can send such datagrams.
    pub(super) fn sync_with_the_lost(&mut self, now: Now) {
        if !self.deaf {
            self.deaf = true;
            self.sync_again_soon(now);
        }
    }

    fn sync_again_soon(&mut self, now: Now) {
        let soon = self.jittered(RETRY_INTERVAL.min(self.settings.sync_interval));
        self.next_sync = self.next_sync.min(now + soon);
    }

    /// Compares tables with a host, now.
    pub(super) fn sync(&mut self, to: NodeId, at: Progress) {
        let request = self.replica.ask_digests(at.behind);
        self.call(to, Call::Digests { to, at }, request);
    }

    /// Whether a host that has not answered the beginning of a sync may have hung up
    /// because it does not know this one.
    fn may_be_unknown_to(&self, to: NodeId, at: &Progress) -> bool {
        at.behind.is_none() && !at.introduced && !self.membership.is_up(&to)
    }

    /// Exchanges what differs of one part, and goes on behind it.
    fn compare(&mut self, now: Now, to: NodeId, mut at: Progress, part: &Summaries) {
        if at.behind.is_none() && self.replica.is_member(&to) {
            self.differing.insert(to, (now, part.realms.len()));
        }
        if !self.membership.is_up(&to) {
            self.asked.clear(); // one is found
        }
        let exchange = self.replica.ask_exchange(at.behind, part);
        at.differing += exchange.as_ref().map_or(0, |(_, count)| *count);
        // What did not fit one message follows in another pass, as long as that helps.
        let ends = part.end.is_none() && (at.differing == 0 || at.differing >= at.before);
        if ends || at.rounds >= MAX_ROUNDS {
            self.counters.syncs += 1;
            return;
        }
        let at = at.after(part.end);
        match exchange {
            Some((request, _)) => {
                self.call(to, Call::Exchange { to, at }, request);
            }
            None => self.sync(to, at),
        }
    }

    /// Another host is compared with soon in the place of one that should have
    /// answered; that happens once a second at most. Of those that are lost most are
    /// gone: another is tried only while somebody is heard with an unknown key.
    fn sync_failed(&mut self, now: Now, to: NodeId) {
        self.counters.failed_syncs += 1;
        if self.membership.is_up(&to) {
            self.sync_again_soon(now);
        } else if self.asked.contains(&to) {
            let more = self.lost().any(|id| !self.asked.contains(&id));
            if more {
                self.deaf = true;
                self.sync_again_soon(now);
            }
        }
    }

    /// A call was answered, or could not be (`None`).
    pub fn answered(&mut self, now: Now, id: CallId, response: Option<Response>) {
        let Some(call) = self.calls.remove(&id) else { return };
        match (call, response) {
            (
                Call::Digests { to, .. } | Call::Exchange { to, .. } | Call::Probe { to },
                Some(Response::Removed(entries)),
            ) => {
                self.replica.accept(to, entries);
            }
            (Call::Digests { to, at }, Some(Response::Summaries(part))) => {
                self.compare(now, to, at, &part);
            }
            (Call::Exchange { to, at }, Some(Response::Entries(entries))) => {
                self.replica.accept(to, entries);
                self.sync(to, at);
            }
            (Call::Digests { to, at }, None) if self.may_be_unknown_to(to, &at) => {
                self.introduce(to);
            }
            (Call::Introduction { to }, Some(_)) => {
                self.sync(to, Progress { introduced: true, ..Progress::default() });
            }
            (
                Call::Digests { to, .. } | Call::Exchange { to, .. } | Call::Introduction { to },
                _,
            ) => self.sync_failed(now, to),
            (Call::Probe { to }, response) => self.membership.reached(now, to, response.is_some()),
            (Call::Estate { to }, response) => self.estate_answered(now, to, response),
            (Call::Push | Call::Release, _) => {}
        }
        self.after_changes(now);
        self.drain_membership(now);
    }

    /// The question for a part of a space that others own. Fails where it would tell
    /// more than what this host would still know after a restart.
    pub fn ask_for_share(&self, space: Space, want: Want) -> Result<Request, String> {
        if self.mute {
            return Err(MUTE.to_owned());
        }
        let held = self.replica.entry(&Key::Holding(self.me(), space));
        Ok(Request::Share { space, want, entries: held.cloned().into_iter().collect() })
    }

    /// Takes the entries with which a host answered a request of the control
    /// side, such as [`Request::Share`].
    pub fn absorb(&mut self, now: Now, from: NodeId, response: Response) -> Result<(), String> {
        match response {
            Response::Entries(entries) => {
                self.replica.accept(from, entries);
                self.after_changes(now);
                Ok(())
            }
            Response::Removed(entries) => {
                self.replica.accept(from, entries);
                self.after_changes(now);
                Err("this host was removed from the cluster".to_owned())
            }
            Response::Refused(why) => Err(why),
            Response::Done | Response::Summaries(_) | Response::Flows(_) => Ok(()),
        }
    }

    /// Where and as whom a member is to be asked: its X25519 public key and address.
    pub fn contact(&self, id: &NodeId) -> Option<([u8; 32], SocketAddr)> {
        let (_, exchange) = self.replica.members().find(|(other, _)| other == id)?;
        Some((exchange, self.control_of(id)?))
    }

    /// Where a host hears control traffic: as it says itself, or else, as long as that
    /// has not come here, where it answers the failure detector. What it says is then
    /// to be had from the host itself.
    pub(super) fn control_of(&self, id: &NodeId) -> Option<SocketAddr> {
        let said = self.replica.node(id).map(|node| node.control);
        said.or_else(|| self.membership.up().find(|peer| peer.id == *id).map(|peer| peer.control))
    }
}
