//! What other hosts ask for.

use super::Machine;
use crate::core::Now;
use crate::core::cluster::entry::{Body, Entry, Key, Member, NodeId, Space};
use crate::core::cluster::holding::Want;
use crate::core::cluster::rpc::{Request, Response};

/// Why a host that is mute promises nothing.
pub(super) const MUTE: &str = "this host cannot write its state at present";

impl Machine {
    pub(super) fn answer(&mut self, now: Now, peer: NodeId, request: Request) -> Response {
        if self.replica.is_removed(&peer) {
            return self.notice_of_removal(peer);
        }
        if !self.replica.is_member(&peer) || self.removed_by().is_some() {
            return Response::Refused("this host is not a member of the cluster".to_owned());
        }
        if self.mute && request != Request::Ping {
            return Response::Refused(MUTE.to_owned());
        }
        match request {
            Request::Ping => Response::Done,
            Request::Digests { realms, behind } => {
                Response::Summaries(self.replica.answer_digests(&realms, behind.map(|key| *key)))
            }
            Request::Exchange { entries, want } => {
                self.replica.answer_exchange(peer, entries, &want)
            }
            Request::Share { space, want, entries } => {
                self.replica.accept(peer, entries);
                self.after_changes(now);
                self.share(now, peer, space, want)
            }
            Request::Leave(entries) => {
                self.replica.accept(peer, entries);
                self.after_changes(now);
                match self.remove(now, vec![peer]) {
                    Ok(()) => Response::Done,
                    Err(why) => Response::Refused(why),
                }
            }
            Request::Estate(dead, entries) => self.renounce(now, peer, &dead, entries),
            Request::Release(dead, entries) => {
                self.replica.accept(peer, entries);
                self.released(peer, dead);
                Response::Done
            }
            // The flows are the data plane's.
            Request::Drain { entries, .. } => {
                self.replica.accept(peer, entries);
                self.after_changes(now);
                Response::Done
            }
            Request::Introduction(_) => {
                Response::Refused("a member is known: it need not say who it is".to_owned())
            }
            Request::Join { .. } => {
                Response::Refused("a member need not join: leave first".to_owned())
            }
        }
    }

    /// Gives a part of what this host owns. The answer is the entry that says so,
    /// so that it does not matter whether the answer or the gossip comes first.
    fn share(&mut self, now: Now, to: NodeId, space: Space, want: Want) -> Response {
        let me = self.me();
        if self.has_renounced(&to) {
            return Response::Refused("the node that asks is being removed".to_owned());
        }
        let used = self.used(space);
        let key = Key::Holding(me, space);
        let Some(Body::Holding(holding)) = self.replica.get(&key) else {
            return Response::Refused("this host owns nothing of that".to_owned());
        };
        let mut holding = holding.clone();
        if holding.grant(to, want, &used).is_none() {
            return Response::Refused("nothing of that is free here".to_owned());
        }
        self.replica.write(key, Some(Body::Holding(holding)));
        self.after_changes(now);
        Response::Entries(self.replica.entry(&key).cloned().into_iter().collect())
    }

    /// Admits a host that came by the token, and hands it what it needs to take
    /// part; the rest it gets by syncs.
    pub fn admit(&mut self, now: Now, newcomer: NodeId, request: Request) -> Response {
        let Request::Join { exchange, entries } = request else {
            return Response::Refused("a host that is no member may only ask to join".to_owned());
        };
        if self.removed_by().is_some() {
            return Response::Refused("it was removed from its cluster itself".to_owned());
        }
        // It may have written that already, and have forgotten it when it starts again.
        if self.mute {
            return Response::Refused(MUTE.to_owned());
        }
        if self.replica.is_removed(&newcomer) {
            return Response::Refused(
                "this host was removed from the cluster: start it with a fresh data directory"
                    .to_owned(),
            );
        }
        let own = |e: &Entry| e.key == Key::Node(newcomer) && e.author == newcomer;
        let said = entries.iter().find(|e| own(e)).and_then(|e| match &e.body {
            Some(Body::Node(node)) if node.exchange == exchange => Some((e, node.name.clone())),
            _ => None,
        });
        let Some((entry, name)) = said else {
            return Response::Refused("the request says nothing of who asks".to_owned());
        };
        if !self.replica.is_credible(entry) {
            return Response::Refused("what the host says of itself cannot be true".to_owned());
        }
        if let Some(other) = self.namesake(now, &name, newcomer) {
            return Response::Refused(format!(
                "a node named {name} is a member already ({other:?}): start the daemon with another --name"
            ));
        }
        self.replica
            .write(Key::Member(newcomer), Some(Body::Member(Member::Admitted { exchange })));
        self.replica.accept(newcomer, entries);
        self.after_changes(now);
        self.drain_membership(now);
        let first = |e: &&Entry| {
            matches!(
                e.key,
                Key::Member(_) | Key::Secret(_) | Key::Token | Key::Pools | Key::Node(_)
            )
        };
        Response::Entries(self.replica.entries().filter(first).cloned().collect())
    }

    /// A live member of the same name.
    fn namesake(&self, now: Now, name: &str, newcomer: NodeId) -> Option<NodeId> {
        let others = self.replica.members().map(|(id, _)| id).filter(|id| *id != newcomer);
        let same = |id: &NodeId| self.replica.node(id).is_some_and(|n| n.name == name);
        others.filter(same).find(|id| self.is_visible(now, id))
    }
}
