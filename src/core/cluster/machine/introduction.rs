//! Members that do not know each other: one shows the other who has admitted it.
//!
//! It may have been admitted while the other was away, or kept when its admitter was
//! removed: until somebody tells the other, it is a stranger to that one, whose datagrams
//! are refused and whose connections are hung up on. Where all who could tell have lost
//! their disks, it must do so itself. A datagram does, unless the keys of the control
//! traffic have turned on either side meanwhile; then it is a connection of its own kind,
//! which is never answered.

use std::net::SocketAddr;
use std::time::Duration;

use super::Machine;
use super::call::{Call, Progress};
use super::packet::Packet;
use crate::core::Now;
use crate::core::cluster::entry::{Entry, Key, NodeId};
use crate::core::cluster::replica::encoded_len;
use crate::core::cluster::rpc::Request;
use crate::core::cluster::secret::introduction::MAX_TEXT;

/// How often one of the lost members is called by stream.
const SEEK_INTERVAL: Duration = Duration::from_secs(2);
/// Entries that a datagram may hold at most, usually.
const IN_DATAGRAM: usize = 5;
/// What a request with entries is besides them, in bytes, at most.
const REQUEST: usize = 8;

impl Machine {
    /// What is said of a node's belonging, and of whoever said so, and so on: until
    /// one comes up whom the reader knows. All know the cluster's founder. It is as
    /// much of it as an introduction holds.
    pub(super) fn vouchers(&self, of: NodeId) -> Vec<Entry> {
        let mut chain: Vec<Entry> = Vec::new();
        let mut room = MAX_TEXT - REQUEST;
        for id in self.replica.admission(of) {
            let Some(entry) = self.replica.entry(&Key::Member(id)) else { break };
            let Some(rest) = room.checked_sub(encoded_len(entry)) else { break };
            room = rest;
            chain.push(entry.clone());
        }
        chain
    }

    /// A lost member is looked for by datagram. It may be there and take this host for a
    /// stranger.
    pub(super) fn seek(&mut self, now: Now, to: NodeId, at: SocketAddr) {
        self.introduce_by_datagram(at);
        if now >= self.next_seek {
            self.next_seek = now + self.jittered(SEEK_INTERVAL);
            self.sync(to, Progress::default());
        }
    }

    /// As far as a datagram holds it: what is said of a removed host can be long.
    fn introduce_by_datagram(&mut self, to: SocketAddr) {
        let chain = self.vouchers(self.me());
        let news = |entries: &[Entry]| Packet::News(entries.to_vec());
        let fits = |n: &usize| news(&chain[..*n]).encode().len() <= self.settings.datagram;
        if let Some(n) = (1..=chain.len().min(IN_DATAGRAM)).rev().find(fits) {
            self.send(to, &news(&chain[..n]));
        }
    }

    /// Shows a member that does not answer who has admitted this host.
    pub(super) fn introduce(&mut self, to: NodeId) {
        let chain = self.vouchers(self.me());
        self.call(to, Call::Introduction { to }, Request::Introduction(chain));
    }

    /// Somebody with a key of the ring whom this host does not know, or no longer.
    pub(super) fn hear_stranger(&mut self, now: Now, sender: NodeId, packet: Option<Packet>) {
        self.refuse_datagram("not-a-member");
        if let Some(Packet::News(chain)) = packet
            && !self.replica.is_named_removed(&sender)
        {
            self.hear_introduction(now, chain);
        }
    }

    /// A host that this one may not know, whose X25519 public key is `exchange`, shows
    /// who has admitted it. Returns whether it is a member, as far as this host knows
    /// now.
    pub fn introduced(&mut self, now: Now, exchange: &[u8; 32], chain: Vec<Entry>) -> bool {
        self.hear_introduction(now, chain);
        self.replica.members().any(|(_, key)| key == *exchange)
    }

    fn hear_introduction(&mut self, now: Now, chain: Vec<Entry>) {
        if self.removed_by().is_none() {
            self.replica.hear_introduction(chain);
            self.after_changes(now);
            self.drain_membership(now);
        }
    }
}
