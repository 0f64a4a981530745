//! What follows from what foca has done.

use foca::{Header, Member, Message, OwnedNotification, State, Timer};

use super::packet::Packet;
use super::{Membership, Output, Peer, Probe};
use crate::core::Now;

impl Membership {
    /// Takes up everything that foca's last call has left, until nothing is.
    pub(super) fn settle(&mut self, now: Now) {
        // The notifications first: health decides how long the timers are.
        while let Some(notification) = self.effects.to_notify() {
            self.notified(now, notification);
        }
        while let Some((after, timer)) = self.effects.to_schedule() {
            self.agenda.add(now, self.health, timer, after);
        }
        while let Some((to, bytes)) = self.effects.to_send() {
            self.outputs.push_back(Output::Datagram { to, bytes: bytes.to_vec() });
        }
    }

    fn notified(&mut self, now: Now, notification: OwnedNotification<Peer>) {
        use OwnedNotification as N;
        match notification {
            N::MemberUp(peer) => {
                self.seeds.remove(&peer.id);
                // Where one comes back, others may.
                self.eager = self.eager.max(2);
                self.up.insert(peer.id, peer);
                self.outputs.push_back(Output::Up(peer));
                self.resize();
            }
            N::MemberDown(peer) => {
                self.agenda.acquit(&peer.id);
                self.up.remove(&peer.id);
                self.outputs.push_back(Output::Down(peer));
                self.resize();
            }
            N::Rename(_, to) => self.renamed(to),
            N::Rejoin(_) => {
                self.rejoined();
                self.reconnect = Some(now);
            }
            N::DataSent(header) => self.sent(&header),
            N::DataReceived(header) => self.heard(&header),
            N::ProbeFailed(_, peer) => self.probe_failed(peer),
            N::Active | N::Idle | N::Defunct => {}
        }
    }

    /// Patience and tellings follow the number of live nodes.
    fn resize(&mut self) {
        // Refused only if it changed the periods, which it does not.
        let _ = self.foca.set_config(self.settings.config(self.up.len() + 1));
    }

    fn renamed(&mut self, to: Peer) {
        if let Some(peer) = self.up.get_mut(&to.id) {
            let from = std::mem::replace(peer, to);
            if from.control != to.control {
                self.outputs.push_back(Output::Moved { from, to });
            }
        }
    }

    /// This host has a new generation, because others had taken it for dead.
    /// Its own verdicts from that time are worth as little as its voice was.
    pub(super) fn rejoined(&mut self) {
        self.incarnation = 0;
        self.probe = None;
        self.eager = 8;
        let down = self.foca.iter_membership_state().filter(|m| m.state() == State::Down);
        let down: Vec<Peer> = down.map(|m| *m.id()).collect();
        for peer in down {
            self.seeds.insert(peer.id, peer);
            let _ = self.foca.handle_timer(Timer::RemoveDown(peer), &mut self.effects);
        }
        // foca begins to probe again only when it is given something.
        let _ = self.foca.apply_many(std::iter::empty(), false, &mut self.effects);
    }

    fn sent(&mut self, header: &Header<Peer>) {
        if header.src == *self.me() && header.src_incarnation > self.incarnation {
            self.incarnation = header.src_incarnation;
            self.health.worse(1); // it has just refuted a suspicion
        }
        match header.message {
            Message::Ping(number) => self.probe = Some(Probe::new(header.dst, number)),
            Message::PingReq { probe_number, .. } => {
                if let Some(probe) = &mut self.probe {
                    probe.relayed_by(header.dst.id);
                    self.say(header.dst, Message::Ping(probe_number), Vec::new());
                }
            }
            _ => {}
        }
    }

    fn heard(&mut self, header: &Header<Peer>) {
        // Late, perhaps, but it lives.
        self.agenda.acquit(&header.src.id);
        let Some(probe) = &mut self.probe else { return };
        let answer = match header.message {
            Message::Ack(number) => probe.answer(&header.src, number),
            Message::ForwardedAck { origin, probe_number } => {
                // The relay is heard too, and no answer of the peer itself.
                probe.answer(&header.src, probe_number);
                probe.answer(&origin, probe_number)
            }
            _ => false,
        };
        if answer {
            self.health.better();
        }
    }

    fn probe_failed(&mut self, peer: Peer) {
        if let Some(probe) = self.probe.take() {
            let suspected = |id: &_| self.agenda.suspects(id);
            self.health.worse(probe.blame(suspected));
        }
        if let Some(suspect) = self.record(&peer.id).cloned()
            && suspect.state() == State::Suspect
        {
            self.say(*suspect.id(), Message::Gossip, vec![suspect]);
        }
    }

    /// While relays try, a stream is tried too.
    pub(super) fn ask_by_stream(&mut self, peer: Peer) {
        let silent = self.probe.as_ref().is_some_and(|p| p.peer == peer && !p.answered);
        if silent && self.up.contains_key(&peer.id) && self.asked.insert(peer.id) {
            self.outputs.push_back(Output::Stream { to: peer });
        }
    }

    /// What the probed peer would have sent if its answer had come by datagram.
    pub(super) fn ack_of(&self, probe: &Probe) -> Vec<u8> {
        let message = Message::Ack(probe.number);
        let header = Header { src: probe.peer, src_incarnation: 0, dst: *self.me(), message };
        Packet { header, news: Vec::new() }.encode()
    }

    /// Sends what foca would not have sent by itself.
    pub(super) fn say(&mut self, to: Peer, message: Message<Peer>, news: Vec<Member<Peer>>) {
        let header =
            Header { src: *self.me(), src_incarnation: self.incarnation, dst: to, message };
        let bytes = Packet { header, news }.encode();
        self.outputs.push_back(Output::Datagram { to, bytes });
    }
}
