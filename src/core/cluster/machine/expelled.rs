//! Hosts that were removed while they were away: they are told when they come
//! back, and then know it of themselves.

use super::{Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Body, Key, Member, NodeId};
use crate::core::cluster::rpc::Response;

impl Machine {
    /// Whose X25519 public key this is: a member's, or else that of a host that was
    /// removed.
    pub fn peer_by_exchange(&self, exchange: &[u8; 32]) -> Option<NodeId> {
        let member = self.replica.members().find(|(_, key)| key == exchange);
        let about = self.replica.live(..=Key::Member(NodeId([0xff; 32])));
        let mut removed = about.filter_map(|(key, body)| match (key, body) {
            (Key::Member(id), Body::Member(Member::Removed { exchange, .. })) => {
                Some((*id, *exchange))
            }
            _ => None,
        });
        member.or_else(|| removed.find(|(_, key)| key == exchange)).map(|(id, _)| id)
    }

    /// Tells a removed host what it asks in vain for, with the proof.
    pub(super) fn notice_of_removal(&self, removed: NodeId) -> Response {
        Response::Removed(self.vouchers(removed))
    }

    /// Who has removed this host from the cluster, as far as it has been told.
    pub fn removed_by(&self) -> Option<NodeId> {
        self.replica.own_removal().map(|entry| entry.author)
    }

    /// This host does not belong any more: it looks for nobody, and hides what the
    /// others have. Whatever it still wants to send is not sent.
    pub(super) fn stand_alone(&mut self, now: Now) {
        for id in std::mem::take(&mut self.admitted) {
            self.membership.forget(now, id);
            // Also those that it has not heard of since its start.
            self.down.entry(id).or_insert(now);
        }
        self.drain_membership(now);
        self.outputs.push_back(Output::Visible);
    }
}
