//! What of a datagram may reach foca.

use foca::{Header, Member, Message, State};

use super::packet::Packet;
use super::{Membership, Peer};
use crate::core::Now;

/// A datagram without what does not belong in it.
pub(super) struct Passed {
    pub(super) bytes: Vec<u8>,
    /// Somebody has heard this generation of this host, which it has not reached.
    pub(super) overtaken: Option<u64>,
    /// Who says that this host is suspected.
    pub(super) accuser: Option<Peer>,
    /// Who takes this host for another generation of it, to which what it says is lost.
    pub(super) mistaken: Option<Peer>,
}

impl Membership {
    /// `None` if a datagram is to be refused. News of strangers is taken out.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Option<Passed> {
        if bytes.len() > self.settings.max_packet {
            return None;
        }
        let mut packet = Packet::decode(bytes)?;
        let me = *self.me();
        let Header { src: sender, dst, .. } = packet.header;
        if sender.id == me.id || dst.id != me.id || !self.believes(&sender) {
            return None;
        }
        // Or this host would send to wherever the sender wants.
        if packet.third().is_some_and(|third| !self.believes(third)) {
            return None;
        }
        self.remind(sender);
        let mut overtaken = None;
        let mut kept = Vec::new();
        for news in packet.news {
            let about = *news.id();
            if about.id == me.id && about != me {
                let ahead = about.generation >= me.generation && about.follows(Some(&me));
                overtaken = overtaken.max(ahead.then_some(about.generation));
            } else if about == me || self.believes(&about) {
                kept.push(news);
            } else {
                self.refused += 1;
            }
        }
        let accused = kept.iter().any(|m| *m.id() == me && m.state() == State::Suspect);
        let accuser = accused.then_some(sender);
        // An announcement is for every generation.
        let missed = dst != me && packet.header.message != Message::Announce;
        let mistaken = missed.then_some(sender);
        packet.news = kept;
        Some(Passed { bytes: packet.encode(), overtaken, accuser, mistaken })
    }

    /// Whether there can be such a member.
    fn believes(&self, peer: &Peer) -> bool {
        let known = self.record(&peer.id).map(Member::id);
        self.admitted.contains(&peer.id) && peer.follows(known)
    }

    /// Tells a node that has started with too low a generation what it was, so
    /// that it need not count up to it one contact at a time.
    fn remind(&mut self, sender: Peer) {
        let known = self.record(&sender.id).filter(|m| m.id().generation > sender.generation);
        if let Some(known) = known.cloned() {
            self.say(sender, Message::Gossip, vec![known]);
        }
    }

    /// Answers a suspicion directly: that this host says anything in its present
    /// incarnation refutes it.
    pub(super) fn defend(&mut self, accuser: Peer) {
        self.say(accuser, Message::Gossip, Vec::new());
    }

    /// Takes a generation above one that this host had before it lost count.
    pub(super) fn overtake(&mut self, now: Now, generation: u64) {
        let me = *self.me();
        if let Some(next) = generation.checked_add(1).filter(|next| *next > me.generation) {
            let me = Peer { generation: next, ..me };
            let _ = self.foca.change_identity(me, &mut self.effects);
            self.rejoined();
            self.settle(now);
        }
    }
}
