//! Hosts that were removed while they were away: they are told when they come
//! back, and then know it of themselves. And who may only seem to be a stranger.

use std::net::SocketAddr;

use super::packet::Packet;
use super::{Machine, Output};
use crate::core::Now;
use crate::core::cluster::entry::{Body, Entry, Key, Member, NodeId};
use crate::core::cluster::rpc::Response;

/// Entries that vouch for somebody, at most: what one datagram usually holds.
const VOUCHERS: usize = 5;

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

    /// What is said of a node's belonging, and of whoever said so, and so on: until
    /// one comes up whom the reader knows, it is hoped.
    pub(super) fn vouchers(&self, of: NodeId) -> Vec<Entry> {
        let mut chain: Vec<Entry> = Vec::new();
        let mut next = of;
        while let Some(entry) = self.replica.entry(&Key::Member(next)).cloned() {
            let author = entry.author;
            let told = chain.iter().any(|e| e.key == entry.key);
            if told || chain.len() >= VOUCHERS {
                break;
            }
            chain.push(entry);
            next = author;
        }
        chain
    }

    /// Somebody with a key of the ring whom this host does not know, or no longer.
    /// It may have been admitted while this host was away, or kept when its admitter
    /// was removed: then it shows by whom.
    pub(super) fn hear_stranger(&mut self, now: Now, sender: NodeId, packet: Option<Packet>) {
        self.refuse_datagram("not-a-member");
        if let Some(Packet::News(entries)) = packet
            && !self.replica.is_named_removed(&sender)
        {
            let of_members = |e: &Entry| matches!(e.key, Key::Member(_));
            self.replica.accept(sender, entries.into_iter().filter(of_members).collect());
            self.after_changes(now);
            self.drain_membership(now);
        }
    }

    /// Shows a host that does not hear us who has admitted us, and who that one, as far
    /// as a datagram holds it: what is said of a removed host can be long.
    pub(super) fn introduce(&mut self, to: SocketAddr) {
        let chain = self.vouchers(self.me());
        let news = |entries: &[Entry]| Packet::News(entries.to_vec());
        let fits = |n: &usize| news(&chain[..*n]).encode().len() <= self.settings.datagram;
        if let Some(n) = (1..=chain.len()).rev().find(fits) {
            self.send(to, &news(&chain[..n]));
        }
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
