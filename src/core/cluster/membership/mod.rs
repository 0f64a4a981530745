//! Liveness: which members are up, and where they are heard.
//!
//! SWIM by the `foca` crate, and what it lacks beside memberlist:
//!
//! * **Local health** (Lifeguard, arXiv 1707.00788). A score from 0 to 8 stretches
//!   this host's probes and its patience with suspects up to nine times. It grows
//!   when this host must refute a suspicion, when its ticks come late, and when a
//!   probe fails and the relays are not heard either; it shrinks with each probe
//!   that is answered.
//! * **A stream as fallback.** While relays probe, [`Output::Stream`] asks the
//!   owner to ask the peer over TCP. An answer within the probe's period is as
//!   good as one by datagram, and nobody is suspected. A later answer cannot
//!   take back a suspicion that others have heard of, only the suspect can by a
//!   higher incarnation; but this host then does not declare it dead.
//! * **Told by name.** A host that begins to suspect a peer tells it so directly,
//!   beside the gossip, and a host that hears of a suspicion about itself answers
//!   whoever it has it from, so that a refutation takes one round trip.
//! * **No talk to the past.** What is addressed to an earlier generation of a host that
//!   has restarted, foca does not hear; streams answer for it all the same, so that
//!   the host stays up for those who take it for that one, and they need not be for
//!   it. It therefore contacts whoever addresses another generation of it.
//! * **Gentle rejoining.** Each period a host looks for one member that it has
//!   lost, with a probability that keeps what the lost one hears constant, however
//!   large the cluster, and for a few periods after somebody came back, in any
//!   case. A lost member that hears of its own death takes its next
//!   [generation](Peer::generation) and is back. It then also forgets whom it had
//!   declared dead itself: it was probably the one that was cut off.
//!
//! Who *belongs* is the owner's knowledge ([`Membership::admit`]). What is said
//! of others is dropped before foca sees it, so that memory is bounded by the
//! number of members. Members trust each other about liveness: one that lies can
//! have a healthy member taken for dead until that one hears of it.

mod agenda;
mod effects;
mod gate;
mod health;
mod packet;
mod peer;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foca::{AccumulatingRuntime, Foca, Member, NoCustomBroadcast, PostcardCodec, State, Timer};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use self::peer::Peer;
pub use self::settings::Settings;
use self::{agenda::Agenda, health::Health, health::Probe};
use crate::core::Now;
use crate::core::cluster::entry::NodeId;

/// What the owner of a [`Membership`] is to do or to know, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes, at most [`Settings::max_packet`], sealed.
    Datagram {
        /// To [`Peer::control`].
        to: Peer,
        /// For the other side's [`Membership::datagram`].
        bytes: Vec<u8>,
    },
    /// Ask the peer by a stream whether it is there, and report to
    /// [`Membership::reached`] in every case; it is not asked again before.
    Stream {
        /// Whom to ask.
        to: Peer,
    },
    /// A member is there.
    Up(Peer),
    /// A member has left or has been declared dead.
    Down(Peer),
    /// A member that is up is heard at another address.
    Moved {
        /// As it was.
        from: Peer,
        /// As it is.
        to: Peer,
    },
}

/// One host's view of who is alive.
///
/// After each call, drain [`output`](Membership::output) and ask anew when it is
/// [`due`](Membership::due).
pub struct Membership {
    settings: Settings,
    foca: Foca<Peer, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>,
    /// What foca's last call did; empty between the public calls.
    effects: AccumulatingRuntime<Peer>,
    agenda: Agenda,
    random: ChaCha8Rng,
    admitted: BTreeSet<NodeId>,
    up: BTreeMap<NodeId, Peer>,
    /// Where members may be found that foca has no record of.
    seeds: BTreeMap<NodeId, Peer>,
    /// When to look for the lost again; `None` once this host has left.
    reconnect: Option<Now>,
    /// For so many further periods it looks for a lost member in any case.
    eager: u8,
    health: Health,
    /// How often this host has refuted a suspicion in its generation.
    incarnation: u16,
    probe: Option<Probe>,
    /// Whom the owner is asking by a stream.
    asked: BTreeSet<NodeId>,
    outputs: VecDeque<Output>,
    refused: u64,
}

impl Membership {
    /// A host that knows nobody yet. Nothing but the seed is random: with the
    /// same seed, the same calls have the same outputs.
    pub fn new(me: Peer, settings: Settings, seed: [u8; 32]) -> Membership {
        let mut random = ChaCha8Rng::from_seed(seed);
        random.set_stream(1); // foca has stream 0
        let config = settings.config(1);
        let foca = Foca::new(me.portable(), config, ChaCha8Rng::from_seed(seed), PostcardCodec);
        Membership {
            settings,
            foca,
            effects: AccumulatingRuntime::new(),
            agenda: Agenda::default(),
            random,
            admitted: BTreeSet::new(),
            up: BTreeMap::new(),
            seeds: BTreeMap::new(),
            reconnect: Some(Now::ZERO),
            eager: 0,
            health: Health::default(),
            incarnation: 0,
            probe: None,
            asked: BTreeSet::new(),
            outputs: VecDeque::new(),
            refused: 0,
        }
    }

    /// A node belongs to the cluster: what is said of it counts from now on.
    pub fn admit(&mut self, id: NodeId) {
        self.admitted.insert(id);
    }

    /// A node does not belong any more: it is down at once and stays so, unless
    /// it is admitted again.
    pub fn forget(&mut self, now: Now, id: NodeId) {
        self.admitted.remove(&id);
        self.seeds.remove(&id);
        self.asked.remove(&id);
        self.agenda.acquit(&id);
        if let Some(peer) = self.record(&id).map(|member| *member.id()) {
            let down = std::iter::once(Member::down(peer));
            // Its errors are the codec's, which has nothing to refuse here.
            let _ = self.foca.apply_many(down, false, &mut self.effects);
            let _ = self.foca.handle_timer(Timer::RemoveDown(peer), &mut self.effects);
            self.settle(now);
        }
    }

    /// Contacts a member, after joining and after a restart, and keeps trying
    /// until it is met. Its generation need not be known. Does nothing if it is
    /// not [admitted](Membership::admit).
    pub fn announce(&mut self, now: Now, to: Peer) {
        let to = to.portable();
        if self.left() || to.id == self.me().id || !self.admitted.contains(&to.id) {
            return;
        }
        if self.record(&to.id).is_none() {
            self.seeds.insert(to.id, to);
        }
        self.seek(now, to);
    }

    /// A datagram that a member has sealed, opened. What is not exactly as this
    /// protocol has it changes nothing and is [counted](Membership::refused).
    pub fn datagram(&mut self, now: Now, bytes: &[u8]) {
        if self.left() {
            return;
        }
        let Some(passed) = self.pass(bytes) else {
            self.refused += 1;
            return;
        };
        if self.foca.handle_data(&passed.bytes, &mut self.effects).is_err() {
            self.refused += 1;
        }
        self.settle(now);
        passed.accuser.into_iter().for_each(|accuser| self.defend(accuser));
        if let Some(generation) = passed.overtaken {
            self.overtake(now, generation);
        }
        passed.mistaken.into_iter().for_each(|sender| self.seek(now, sender));
    }

    /// Does everything that is due. A tick that comes late by more than a probe
    /// waits for its answer counts as ill health, and suspects get that time on top.
    pub fn tick(&mut self, now: Now) {
        let late = self.agenda.due(self.health).map_or(Now::ZERO, |due| now.saturating_sub(due));
        if late > self.settings.probe_timeout {
            self.health.worse(1);
            self.agenda.overslept(late);
        }
        while let Some(timer) = self.agenda.pop(now, self.health) {
            if self.left() {
                continue;
            }
            let relayed = match &timer {
                Timer::SendIndirectProbe { probed_id, .. } => Some(*probed_id),
                _ => None,
            };
            // foca resumes by itself after its only error here, a probe cycle
            // that lost its middle.
            let _ = self.foca.handle_timer(timer, &mut self.effects);
            self.settle(now);
            relayed.into_iter().for_each(|peer| self.ask_by_stream(peer));
        }
        if self.reconnect.is_some_and(|at| at <= now) {
            self.reconnect = Some(now + self.settings.reconnect_period.max(Now::from_millis(1)));
            self.look_around(now);
        }
    }

    /// When the next [`tick`](Membership::tick) has something to do; `None` once
    /// this host has left.
    pub fn due(&self) -> Option<Now> {
        let reconnect = self.reconnect?;
        Some(self.agenda.due(self.health).map_or(reconnect, |due| due.min(reconnect)))
    }

    /// How an [`Output::Stream`] ended. An answer acquits the peer before this host.
    pub fn reached(&mut self, now: Now, peer: NodeId, answered: bool) {
        if !self.asked.remove(&peer) || !answered || self.left() {
            return;
        }
        self.agenda.acquit(&peer);
        if let Some(probe) = self.probe.clone().filter(|p| p.peer.id == peer && !p.answered) {
            let ack = self.ack_of(&probe);
            let _ = self.foca.handle_data(&ack, &mut self.effects);
            self.settle(now);
        }
    }

    /// Tells others that this host goes. It hears and says nothing afterwards.
    pub fn leave(&mut self, now: Now) {
        if !self.left() {
            let _ = self.foca.leave_cluster(&mut self.effects);
            self.settle(now);
            self.reconnect = None;
        }
    }

    /// The next thing to do or to know.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// This host. Its generation grows when others had taken it for dead; it
    /// should start with a higher one next time.
    pub fn me(&self) -> &Peer {
        self.foca.identity()
    }

    /// Whether another member is there, as far as this host knows. Suspects are.
    pub fn is_up(&self, id: &NodeId) -> bool {
        self.up.contains_key(id)
    }

    /// The other members that are there, by id.
    pub fn up(&self) -> impl Iterator<Item = &Peer> {
        self.up.values()
    }

    /// Lifeguard's local health score: 0 is well, 8 the worst.
    pub fn health(&self) -> u8 {
        self.health.score()
    }

    /// How many datagrams were refused, and how many pieces of news in others
    /// because they were about strangers or could not be true.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn left(&self) -> bool {
        self.reconnect.is_none()
    }

    /// What foca knows of a member.
    fn record(&self, id: &NodeId) -> Option<&Member<Peer>> {
        self.foca.iter_membership_state().find(|member| member.id().id == *id)
    }

    fn seek(&mut self, now: Now, to: Peer) {
        // Its only error is the codec's: a packet that is too small for a header.
        let _ = self.foca.announce(to, &mut self.effects);
        self.settle(now);
    }

    /// Looks for one lost member; with none lost, asks around for members that
    /// this host has never heard of.
    fn look_around(&mut self, now: Now) {
        let mut lost = self.seeds.clone();
        let down = self.foca.iter_membership_state().filter(|m| m.state() == State::Down);
        lost.extend(down.map(|m| (m.id().id, *m.id())));
        // All others do likewise: together they call each lost one about once a period.
        let eager = self.eager > 0 && !lost.is_empty();
        self.eager = self.eager.saturating_sub(1);
        if eager || self.below(self.up.len() + 1) < lost.len() {
            let nth = self.below(lost.len());
            let to = lost.values().nth(nth).copied();
            to.into_iter().for_each(|to| self.seek(now, to));
        }
        let others = self.admitted.iter().filter(|id| **id != self.me().id).count();
        if self.up.len() + lost.len() < others && !self.up.is_empty() {
            for _ in 0..self.settings.fan_out {
                let nth = self.below(self.up.len());
                let to = self.up.values().nth(nth).copied();
                to.into_iter().for_each(|to| self.seek(now, to));
            }
        }
    }

    /// A random number below `n`, which is greater than 0 and far below 2^32.
    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.random.next_u32()) * n as u64) >> 32) as usize
    }
}
