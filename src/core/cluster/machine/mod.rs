//! The machine that ties the cluster's parts together: datagrams, requests and
//! time go in, datagrams, calls and changes come out.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod` | the face, timers, datagrams |
//! | `absent` | endpoints of nodes that are away |
//! | `answer` | what other hosts ask for |
//! | `call` | what this host asks of others by itself: syncs, probes, removals |
//! | `estate` | what is left of removed nodes |
//! | `expelled` | what a removed host is told |
//! | `introduction` | who has admitted this host, for those that do not know it |
//! | `members` | who comes and goes |
//! | `paths` | how large a packet reaches others |
//! | `ring` | keys of the control traffic and the token |
//! | `own` | what this host writes: itself, networks, services, endpoints, ranges |
//! | `vips` | virtual IPs that a change of their service did not know of |

mod absent;
mod answer;
mod call;
mod estate;
mod expelled;
mod introduction;
mod members;
mod own;
mod packet;
mod paths;
mod removal;
mod ring;
#[cfg(test)]
mod tests;
mod vips;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub use self::own::Knowledge;

use self::call::Call;
use self::packet::Packet;
use self::removal::Removal;
use self::vips::Vips;
use super::entry::{Entry, Key, Node, NodeId, Secret};
use super::membership::{self, Membership, Peer};
use super::replica::Replica;
use super::rpc::{Request, Response};
use super::secret::envelope::{self, Opener, Sealer};
use super::secret::identity::Identity;
use super::secret::ring::KeyRing;
use crate::core::Now;
use crate::core::pmtu::{self, Prober};

/// How the machine behaves; the defaults are memberlist's for a local network, but for
/// the pause: memberlist tells news in the next round.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often fresh entries are told again.
    pub gossip_interval: Duration,
    /// How long after a telling such can be told that nobody has been told yet.
    pub gossip_pause: Duration,
    /// To how many hosts each time.
    pub fan_out: usize,
    /// The longest datagram before it is sealed, in bytes.
    pub datagram: usize,
    /// How often a random host is compared with.
    pub sync_interval: Duration,
    /// How long after a start hosts count as up that nobody has declared dead.
    pub grace: Duration,
    /// How often the ring gets a new key by itself.
    pub rotation: Duration,
    /// How long a new key is known before it is used.
    pub key_delay: Duration,
    /// Of the failure detector.
    pub membership: membership::Settings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            gossip_interval: Duration::from_millis(200),
            gossip_pause: Duration::from_millis(5),
            fan_out: 3,
            datagram: 1200,
            sync_interval: Duration::from_secs(5),
            grace: Duration::from_secs(10),
            rotation: Duration::from_secs(12 * 3600),
            key_delay: Duration::from_secs(15),
            membership: membership::Settings::default(),
        }
    }
}

/// Names a call until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// The bytes, sealed.
        bytes: Vec<u8>,
    },
    /// Ask a host over a connection, and tell [`Machine::answered`].
    Call {
        /// Which call it is.
        id: CallId,
        /// Who must answer.
        to: NodeId,
        /// Its X25519 public key.
        exchange: [u8; 32],
        /// Where it listens.
        at: SocketAddr,
        /// The question.
        request: Request,
    },
    /// How a removal ended that [`Machine::remove`] began.
    Removal(Result<(), String>),
    /// A node has become visible or invisible.
    Visible,
    /// An IP packet of this many bytes reaches a VTEP.
    PathMtu {
        /// The VTEP of a host that this one exchanges frames with.
        vtep: IpAddr,
        /// Bytes; `None`: no host is there any more that this one does so with.
        mtu: Option<u16>,
    },
}

/// What a machine starts from.
#[derive(Debug)]
pub struct Start {
    /// Who this host is.
    pub identity: Identity,
    /// What it says of itself; its key, floor and promises are filled in.
    pub node: Node,
    /// Greater than at every start before.
    pub generation: u64,
    /// All entries as they were stored; none on a fresh host.
    pub entries: Vec<Entry>,
}

/// What was counted of control traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams taken.
    pub datagrams: u64,
    /// Datagrams that were not, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Syncs that were answered.
    pub syncs: u64,
    /// Syncs that were not.
    pub failed_syncs: u64,
}

/// One host's part of the cluster.
pub struct Machine {
    settings: Settings,
    replica: Replica,
    membership: Membership,
    /// Whom the failure detector may believe to exist.
    admitted: BTreeSet<NodeId>,
    ring: KeyRing,
    /// When each key of the ring became known.
    learned: BTreeMap<u32, Now>,
    /// Another key is wanted when the newest one is used.
    rotate_again: bool,
    sealer: Sealer,
    opener: Opener,
    rng: ChaCha8Rng,
    started: Now,
    last_gossip: Now,
    next_gossip: Now,
    next_sync: Now,
    /// When a lost member may be called by stream again.
    next_seek: Now,
    calls: BTreeMap<CallId, Call>,
    last_call: u64,
    /// Hosts to compare with before any random one.
    sync_soon: VecDeque<NodeId>,
    /// Somebody was heard whose key is unknown: see [`Machine::sync_with_the_lost`].
    deaf: bool,
    /// Lost hosts that were asked after that and did not answer: no other is asked twice
    /// before all were.
    asked: BTreeSet<NodeId>,
    /// How many realms differed when a host was last compared with.
    differing: BTreeMap<NodeId, (Now, usize)>,
    removal: Option<Removal>,
    /// Hosts that have failed, and since when.
    down: BTreeMap<NodeId, Now>,
    /// Keys that changed and are not yet taken by the owner.
    changes: BTreeSet<Key>,
    vips: Vips,
    prober: Prober<NodeId>,
    /// Whose paths are probed, and where they are.
    probed: BTreeMap<NodeId, IpAddr>,
    /// When to look whose paths are to be probed; `None` if nothing has changed.
    next_survey: Option<Now>,
    counters: Counters,
    /// What is told cannot be stored: nothing new is told.
    mute: bool,
    outputs: VecDeque<Output>,
}

/// Whose it is.
impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("me", &self.me()).finish_non_exhaustive()
    }
}

impl Machine {
    /// The host's machine. Without stored entries it founds a cluster of one, with
    /// all that there is to allocate in its own hands. `seed` feeds everything
    /// that is random, `session` must never have been used before.
    pub fn new(
        now: Now,
        start: Start,
        settings: Settings,
        seed: [u8; 32],
        session: [u8; 16],
    ) -> Machine {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let me = start.identity.id();
        let peer = Peer { id: me, control: start.node.control, generation: start.generation };
        let mut membership_seed = [0; 32];
        rng.fill_bytes(&mut membership_seed);
        let membership = Membership::new(peer, settings.membership.clone(), membership_seed);
        let fresh = start.entries.is_empty();
        // Key 0 is nobody's: it stands there until the first real one is learned.
        let mut nothing = [0; 32];
        rng.fill_bytes(&mut nothing);
        let nonce = rng.next_u64();
        let mut replica = Replica::new(start.identity);
        replica.restore(start.entries);
        let mut machine = Machine {
            replica,
            membership,
            admitted: BTreeSet::new(),
            ring: KeyRing::new(0, Secret(nothing)),
            learned: BTreeMap::new(),
            rotate_again: false,
            sealer: Sealer::new(me, session),
            opener: Opener::default(),
            started: now,
            last_gossip: now,
            next_gossip: now,
            next_sync: now + settings.sync_interval,
            next_seek: now,
            settings,
            rng,
            calls: BTreeMap::new(),
            last_call: 0,
            sync_soon: VecDeque::new(),
            deaf: false,
            asked: BTreeSet::new(),
            differing: BTreeMap::new(),
            removal: None,
            down: BTreeMap::new(),
            changes: BTreeSet::new(),
            vips: Vips::default(),
            prober: Prober::new(pmtu::Settings::default(), nonce),
            probed: BTreeMap::new(),
            next_survey: Some(now),
            counters: Counters::default(),
            mute: false,
            outputs: VecDeque::new(),
        };
        if fresh {
            machine.found();
        }
        machine.describe(start.node);
        machine.share_promises();
        machine.abandon_removals();
        machine.learn_keys(now);
        machine.after_changes(now);
        machine.make_contact(now);
        machine
    }

    /// This host.
    pub fn me(&self) -> NodeId {
        self.replica.me()
    }

    /// The tables.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the machine tells nothing new; see [`Machine::set_mute`].
    pub fn is_mute(&self) -> bool {
        self.mute
    }

    /// A host that cannot store what it writes must not tell it: after a restart
    /// it would know nothing of it. Mute, it still answers probes.
    pub fn set_mute(&mut self, mute: bool) {
        self.mute = mute;
    }

    /// Tells the others that this host goes.
    pub fn leave(&mut self, now: Now) {
        self.membership.leave(now);
        self.drain_membership(now);
    }

    /// Whether a node answers, as far as this host knows.
    pub fn is_up(&self, id: &NodeId) -> bool {
        self.membership.is_up(id)
    }

    /// The other members that answer, by id.
    pub fn up(&self) -> Vec<NodeId> {
        self.membership.up().map(|p| p.id).collect()
    }

    /// The local health score: 0 is well.
    pub fn health(&self) -> u8 {
        self.membership.health()
    }

    /// Compares tables with some of those that are known: they may be there.
    fn make_contact(&mut self, now: Now) {
        let me = self.me();
        let mut others: Vec<NodeId> =
            self.replica.members().map(|(id, _)| id).filter(|id| *id != me).collect();
        while !others.is_empty() && self.sync_soon.len() < 2 {
            let i = self.below(others.len());
            self.sync_soon.push_back(others.swap_remove(i));
            self.next_sync = now;
        }
        self.drain_membership(now);
    }

    /// A datagram arrived on the control port.
    pub fn datagram(&mut self, now: Now, bytes: &mut [u8]) {
        let number = envelope::key_number(bytes);
        let (sender, packet) = match self.opener.open(&self.ring, bytes) {
            Ok((sender, plain)) => (sender, Packet::decode(plain)),
            Err(refusal) => {
                if refusal == envelope::Refusal::UnknownKey {
                    self.sync_with_the_lost(now);
                }
                return self.refuse_datagram(refusal.name());
            }
        };
        if !self.replica.is_member(&sender) {
            return self.hear_stranger(now, sender, packet);
        }
        self.counters.datagrams += 1;
        self.follow_key(number);
        match packet {
            Some(Packet::Swim(bytes)) => self.membership.datagram(now, &bytes),
            Some(Packet::News(entries)) => {
                self.replica.accept(sender, entries);
                self.after_changes(now);
            }
            Some(Packet::Probe(nonce, _)) => self.probed(sender, nonce),
            Some(Packet::ProbeSeen(nonce)) => self.probe_seen(now, sender, nonce),
            None => self.refuse_datagram("undecodable"),
        }
        self.drain_membership(now);
    }

    fn refuse_datagram(&mut self, reason: &'static str) {
        *self.counters.refused.entry(reason).or_default() += 1;
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.membership.tick(now);
        self.drain_membership(now);
        if now >= self.next_gossip {
            self.gossip();
            self.last_gossip = now;
            self.next_gossip = now + self.settings.gossip_interval;
        }
        if now >= self.next_sync {
            self.sync_with_someone();
            // Whoever has come or is looked for does not wait for its turn: some may
            // not answer.
            let soon = !self.sync_soon.is_empty() || self.deaf;
            let Settings { gossip_interval, sync_interval, .. } = self.settings;
            self.next_sync =
                now + self.jittered(if soon { gossip_interval } else { sync_interval });
        }
        self.turn_ring(now);
        self.probe_paths(now);
        self.after_changes(now);
    }

    /// When [`Machine::tick`] wants to be called next.
    pub fn due(&self) -> Now {
        let heard = self.membership.up().next().is_some() && self.replica.has_rumours();
        let gossip = heard.then_some(self.next_gossip);
        let others = gossip.into_iter().chain(self.membership.due()).chain(self.paths_due());
        others.fold(self.next_sync, Now::min)
    }

    /// The next thing to be done; to be drained after every other call.
    pub fn output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Keys that have changed since the last call. They must be stored before
    /// any output or response is sent.
    pub fn take_changes(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changes)
    }

    /// Tells fresh entries to some random hosts.
    fn gossip(&mut self) {
        if self.mute {
            return;
        }
        let hosts = self.membership.up().count();
        let budget = self.settings.datagram;
        let targets = self.random_up(self.settings.fan_out);
        let oversize = self.replica.take_oversize(budget);
        if !oversize.is_empty() {
            for to in &targets {
                let request = Request::Exchange { entries: oversize.clone(), want: Vec::new() };
                self.call(*to, Call::Push, request);
            }
        }
        let targets: Vec<SocketAddr> =
            targets.iter().filter_map(|id| self.control_of(id)).collect();
        if targets.is_empty() {
            return;
        }
        for entries in self.replica.rumours(budget, hosts, targets.len()) {
            let news = Packet::News(entries);
            targets.iter().for_each(|to| self.send(*to, &news));
        }
    }

    fn send(&mut self, to: SocketAddr, packet: &Packet) {
        if self.removed_by().is_some() {
            return;
        }
        if let Some(bytes) = self.sealer.seal(&self.ring, &packet.encode()) {
            self.outputs.push_back(Output::Datagram { to, bytes });
        }
    }

    fn drain_membership(&mut self, now: Now) {
        while let Some(output) = self.membership.output() {
            match output {
                membership::Output::Datagram { to, bytes } => {
                    self.send(to.control, &Packet::Swim(bytes));
                    if !self.membership.is_up(&to.id) {
                        self.seek(now, to.id, to.control);
                    }
                }
                membership::Output::Stream { to } => {
                    if !self.call(to.id, Call::Probe { to: to.id }, Request::Ping) {
                        self.membership.reached(now, to.id, false);
                    }
                }
                membership::Output::Up(peer) => {
                    self.down.remove(&peer.id);
                    if self.sync_soon.len() < 4 && !self.sync_soon.contains(&peer.id) {
                        self.sync_soon.push_back(peer.id);
                        self.next_sync =
                            self.next_sync.min(now + self.jittered(self.settings.gossip_interval));
                    }
                    self.outputs.push_back(Output::Visible);
                }
                // Its own entry says so too.
                membership::Output::Moved { .. } => {}
                membership::Output::Down(peer) => {
                    self.down.insert(peer.id, now);
                    self.outputs.push_back(Output::Visible);
                }
            }
        }
    }

    /// Whether a node's endpoints are to be shown: it is up, or has not been
    /// given the time to say so since we started.
    pub fn is_visible(&self, now: Now, id: &NodeId) -> bool {
        let early = now < self.started + self.settings.grace;
        let me = *id == self.me();
        me || self.membership.is_up(id) || (early && !self.down.contains_key(id))
    }

    /// Since when a node has been down; `None` if it is up or was never seen.
    pub fn down_since(&self, id: &NodeId) -> Option<Now> {
        self.down.get(id).copied()
    }

    /// Members whose tables differed from this host's when they were compared, by
    /// id. What was seen half a minute ago says nothing any more: then both have
    /// compared with others.
    pub fn differing(&self, now: Now) -> impl Iterator<Item = NodeId> {
        let fresh = move |at: Now| now.saturating_sub(at) <= 6 * self.settings.sync_interval;
        let differ = move |(id, (at, realms)): (&NodeId, &(Now, usize))| {
            (*realms > 0 && fresh(*at)).then_some(*id)
        };
        self.differing.iter().filter_map(differ)
    }

    /// After the replica may have changed.
    fn after_changes(&mut self, now: Now) {
        loop {
            let changed = self.replica.take_changes();
            if changed.is_empty() {
                return;
            }
            self.members_changed(now, &changed);
            if changed.iter().any(|k| matches!(k, Key::Secret(_))) {
                self.learn_keys(now);
            }
            self.paths_changed(now, &changed);
            if changed.iter().any(|key| self.replica.is_untold(key)) {
                // People go from one host to the other: what is done on this one is
                // told at once, and what is heard is told on at once. What has been told
                // before waits for the next round, and what does not fit into this one.
                let soon = self.last_gossip + self.settings.gossip_pause;
                self.next_gossip = self.next_gossip.min(soon.max(now));
            }
            self.changes.extend(&changed);
            self.tend(&changed);
        }
    }

    fn random_up(&mut self, count: usize) -> Vec<NodeId> {
        let mut up: Vec<NodeId> = self.membership.up().map(|p| p.id).collect();
        let mut chosen = Vec::new();
        while !up.is_empty() && chosen.len() < count {
            let i = self.below(up.len());
            chosen.push(up.swap_remove(i));
        }
        chosen
    }

    /// A random number below `n`, which is not 0. The bias of the remainder is of
    /// no consequence here.
    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n.max(1) as u64) as usize
    }

    /// Between three quarters and five quarters of it, so that hosts do not act
    /// in step.
    fn jittered(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.75 + (self.rng.next_u32() as f64 / f64::from(u32::MAX)) / 2.0)
    }

    /// A response to a request out of the blue, if `peer` may ask it.
    pub fn request(&mut self, now: Now, peer: NodeId, request: Request) -> Response {
        let response = self.answer(now, peer, request);
        self.after_changes(now);
        self.drain_membership(now);
        response
    }
}
