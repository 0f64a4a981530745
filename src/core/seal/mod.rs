//! Sessions with other hosts: what seals the frames of encrypted networks.
//!
//! A [`Seal`] is one worker's part: it makes keys with each host that it shares an
//! encrypted network with, seals what goes there, and opens what comes. Without a
//! session nothing is sealed, and so nothing is sent.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`cipher`] | the ciphers, and the libraries that do them |
//! | [`lane`] | one direction of a session: keys, counters, replay windows |
//! | noise | the handshake, Noise IKpsk2, message by message |
//! | gate | which handshakes are looked at: MACs and cookies |
//! | session | what a handshake leads to |
//! | peer | the sessions with one host, and when there is a new one |
//! | handshake | what comes of a message |
//! | report, trouble | how things are, in words |
//! | seeds | random bytes |
//!
//! Handshakes and sealed frames ride on the VXLAN port ([`sealed`](crate::wire::sealed)).

pub mod cipher;
mod gate;
mod handshake;
pub mod lane;
mod noise;
mod peer;
mod report;
mod seeds;
mod session;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

use self::cipher::{Backend, Suite};
use self::gate::{Gate, RingKey};
use self::noise::Pair;
use self::peer::Link;
use self::seeds::Seeds;
use self::session::Kind;
use super::Now;
use super::cluster::entry::{NodeId, Secret};
use super::drops::Reason;
use super::map::{Map, map};
use crate::wire::sealed::Header;
use crate::wire::vxlan::Vni;

/// Handshakes that are begun in one go.
const AT_ONCE: usize = 4;
/// Datagrams that wait to be sent.
const QUEUE: usize = 1_024;
/// What the host with the lower public key has to begin first.
const HEAD_START: Now = Duration::from_millis(100);

/// What this host can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The ciphers that it takes, the one that it likes best first; not empty.
    pub suites: Vec<Suite>,
    /// The library that does them.
    pub backend: Backend,
}

/// What the cluster's tables say: who there is, and the keys that all share.
#[derive(Clone)]
pub struct Config {
    /// This host's X25519 private key.
    pub private: Zeroizing<[u8; 32]>,
    /// The other members.
    pub peers: Vec<Peer>,
    /// Keys of the cluster's ring by number: all that are accepted.
    pub keys: BTreeMap<u32, Secret>,
    /// The number of the key that new handshakes are made with.
    pub primary: u32,
    /// The VXLAN port, here and at every peer.
    pub port: u16,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// Its X25519 public key.
    pub public: [u8; 32],
    /// Its VTEP, by which the plan knows it.
    pub vtep: IpAddr,
    /// Whether there is to be a session: whether both have endpoints on one
    /// encrypted network.
    pub wanted: bool,
}

/// A datagram to send from the VXLAN port itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Where a sealed datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address.
    pub to: SocketAddr,
    /// It is not where the peer's VTEP is: the peer was heard from there, through a
    /// translator of addresses, which lets in only what comes from the port that it
    /// spoke to. So it must be sent from the VXLAN port itself.
    pub translated: bool,
}

/// What was in a sealed datagram, besides the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The VTEP of who sealed it, wherever it came from.
    pub vtep: IpAddr,
    /// The network.
    pub vni: Vni,
}

/// How things are with one peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who.
    pub node: NodeId,
    /// The session that is sealed with: its cipher, and how long there has been one
    /// without a break, and how long ago its handshake was.
    pub session: Option<Established>,
    /// Why there is none, or why the last handshake came to nothing: one sentence.
    pub trouble: Option<String>,
    /// Datagrams sealed for it, over all sessions.
    pub sealed: u64,
    /// Datagrams of it that were opened.
    pub opened: u64,
    /// What came under its sessions or in its name and was dropped.
    pub drops: BTreeMap<&'static str, u64>,
}

/// A session in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Established {
    /// What it is sealed with.
    pub suite: Suite,
    /// Time since the first session of an unbroken row.
    pub age: Now,
    /// Time since the last handshake.
    pub handshake: Now,
    /// Handshakes of that row.
    pub handshakes: u64,
}

/// One worker's sessions.
pub struct Seal {
    kind: Kind,
    offer: Offer,
    generation: u64,
    /// Of this host's last initiation.
    count: u64,
    seeds: Seeds,
    gate: Gate,
    shared: Option<Shared>,
    /// In the order of their ids.
    links: Vec<Link>,
    /// Where in `links` is whom the plan knows by this VTEP, who has this public key, and
    /// whose session has this number here.
    by_vtep: Map<IpAddr, usize>,
    by_public: Map<[u8; 32], usize>,
    by_index: Map<u32, usize>,
    output: VecDeque<Datagram>,
    /// No timer is due before.
    wake: Option<Now>,
    exchanges: u64,
}

/// What this host shares with all peers.
struct Shared {
    pair: Pair,
    keys: BTreeMap<u32, RingKey>,
    primary: u32,
}

impl Seal {
    /// No peers yet. `lane` is the worker's number, below [`lane::LANES`];
    /// `generation` is higher at each start of the daemon; `seed` is random and never
    /// used again.
    pub fn new(now: Now, lane: u8, mut offer: Offer, generation: u64, seed: [u8; 32]) -> Seal {
        let mut seeds = Seeds::new(seed);
        offer.suites.retain(|suite| offer.backend.maker(*suite).is_some());
        Seal {
            kind: Kind { backend: offer.backend, lane },
            offer,
            generation,
            count: 0,
            gate: Gate::new(now, seeds.draw()),
            shared: None,
            links: Vec::new(),
            by_vtep: map(seeds.number()),
            by_public: map(seeds.number()),
            by_index: map(seeds.number()),
            seeds,
            output: VecDeque::new(),
            wake: None,
            exchanges: 0,
        }
    }

    /// Follows the tables. Sessions with who is no member any more, or has another
    /// key, end at once; with who is no longer wanted, when they have run out. Another
    /// primary ring key renews them all. Of two
    /// members with one VTEP only one can be right: if only one of them is wanted it is
    /// taken to be that, and there are no sessions with any other.
    pub fn configure(&mut self, now: Now, config: Config) {
        let pair = Pair::new(config.private.clone());
        if self.shared.as_ref().is_some_and(|shared| shared.pair.public != pair.public) {
            self.links.clear();
        }
        let keys = config.keys.iter().map(|(number, key)| (*number, RingKey::new(key))).collect();
        let (primary, port) = (config.primary, config.port);
        let turned = self.shared.as_ref().is_some_and(|shared| shared.primary != primary);
        let mut links: BTreeMap<NodeId, Link> =
            self.links.drain(..).map(|link| (link.peer.node, link)).collect();
        let contested = contested(&config.peers, &pair.public);
        for peer in &config.peers {
            let home = SocketAddr::new(peer.vtep, port);
            let same = links.remove(&peer.node).filter(|link| link.peer.public == peer.public);
            let mut link = same.unwrap_or_else(|| Link::new(peer.clone(), home, &pair.public));
            link.follow(now, peer.clone(), home, delay(self.seeds.number()));
            link.contest(contested.contains(&peer.node));
            if turned {
                link.use_ring(now, primary);
            }
            self.links.push(link);
        }
        self.links.sort_by_key(|link| link.peer.node);
        self.shared = Some(Shared { pair, keys, primary });
        self.index();
        self.wake = Some(now);
    }

    /// Makes the look-ups for the present links.
    fn index(&mut self) {
        self.by_vtep.clear();
        self.by_public.clear();
        self.by_index.clear();
        for (at, link) in self.links.iter_mut().enumerate() {
            link.retired.clear();
            self.by_index.extend(link.indices().map(|index| (index, at)));
            if link.contested {
                self.by_public.entry(link.peer.public).or_insert(at);
            } else {
                self.by_public.insert(link.peer.public, at);
                self.by_vtep.insert(link.peer.vtep, at);
            }
        }
    }

    /// Seals `datagram` for a peer: [`HEADROOM`](crate::wire::sealed::HEADROOM) bytes, the
    /// frame, and [`TAG`](crate::wire::sealed::TAG) bytes. Says where to send it.
    ///
    /// # Errors
    /// [`Reason::NoSession`] if there is no session with it, and [`Reason::Malformed`]
    /// without a frame. Nothing is to be sent then.
    pub fn seal(
        &mut self,
        now: Now,
        vtep: IpAddr,
        vni: Vni,
        datagram: &mut [u8],
    ) -> Result<Route, Reason> {
        let at = *self.by_vtep.get(&vtep).ok_or(Reason::NoSession)?;
        let link = &mut self.links[at];
        let route = link.seal(now, vni, datagram)?;
        self.wake = earliest(self.wake, link.due());
        Ok(route)
    }

    /// Opens a sealed datagram in place: the frame is behind the first
    /// [`HEADROOM`](crate::wire::sealed::HEADROOM) bytes, and ends before the last
    /// [`TAG`](crate::wire::sealed::TAG). `None`: a sign of life without a frame.
    ///
    /// # Errors
    /// The reason why it is dropped; nothing of it is to be believed then.
    pub fn open(
        &mut self,
        now: Now,
        source: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Option<Opened>, Reason> {
        let Some(header) = Header::parse(datagram) else {
            return Err(self.refuse(source, None, Reason::SealedMalformed));
        };
        let Some(at) = self.by_index.get(&header.index).copied() else {
            return Err(self.refuse(source, None, Reason::SealedUnknownKey));
        };
        let link = &mut self.links[at];
        let opened = link.open(now, source, &header, datagram);
        let vtep = link.peer.vtep;
        self.settle(at);
        match opened {
            Ok((vni, elsewhere)) => {
                if elsewhere.is_some() {
                    self.begin(now, at, elsewhere);
                }
                Ok(vni.map(|vni| Opened { vtep, vni }))
            }
            Err(reason) => Err(self.refuse(source, Some(at), reason)),
        }
    }

    /// Does what is due, a part of it at a time: afterwards [`Seal::due`] may again say
    /// that it is time, so that frames do not wait for many handshakes.
    pub fn tick(&mut self, now: Now) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        let mut begins = 0;
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if let Some(bytes) = link.tick(now) {
                let to = link.route;
                self.send(to, bytes);
            }
            if begins < AT_ONCE && self.links[at].begins(now) {
                begins += 1;
                self.begin(now, at, None);
            }
            self.settle(at);
        }
        self.wake = self.links.iter().filter_map(Link::due).min();
    }

    /// When [`Seal::tick`] is next to be called.
    pub fn due(&self) -> Option<Now> {
        self.wake
    }

    /// The next datagram to send, if there is one.
    pub fn output(&mut self) -> Option<Datagram> {
        self.output.pop_front()
    }

    /// How many messages of handshakes have been read and written that cost X25519
    /// operations, some 0.2 ms each.
    pub fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// How things are with each peer.
    pub fn report(&self, now: Now) -> Vec<Report> {
        self.links.iter().map(|link| link.report(now, &self.offer.suites)).collect()
    }

    /// Drops the numbers of sessions that are no more, and minds the timers.
    fn settle(&mut self, at: usize) {
        let link = &mut self.links[at];
        for index in link.retired.drain(..) {
            self.by_index.remove(&index);
        }
        self.wake = earliest(self.wake, link.due());
    }

    /// Counts what is dropped for the peer that it is of, or seems to be.
    fn refuse(&mut self, source: SocketAddr, whose: Option<usize>, reason: Reason) -> Reason {
        if let Some(at) = whose.or_else(|| self.by_vtep.get(&source.ip()).copied()) {
            *self.links[at].drops.entry(reason.name()).or_default() += 1;
        }
        reason
    }

    /// Datagrams can be lost anyway: what nobody fetches is not kept.
    fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.output.len() < QUEUE {
            self.output.push_back(Datagram { to, bytes });
        }
    }
}

/// How many peers there are, and nothing that is secret.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("peers", &self.links.len()).finish_non_exhaustive()
    }
}

/// Without the keys.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&u32> = self.keys.keys().collect();
        let mut config = f.debug_struct("Config");
        config.field("peers", &self.peers).field("keys", &keys).field("primary", &self.primary);
        config.field("port", &self.port).finish_non_exhaustive()
    }
}

/// The members that share a VTEP or a key with another, and are not alone in being wanted;
/// and any with this host's own key.
fn contested(peers: &[Peer], own: &[u8; 32]) -> BTreeSet<NodeId> {
    let mut vteps: BTreeMap<IpAddr, Vec<&Peer>> = BTreeMap::new();
    let mut keys: BTreeMap<[u8; 32], Vec<&Peer>> = BTreeMap::new();
    for peer in peers {
        vteps.entry(peer.vtep).or_default().push(peer);
        keys.entry(peer.public).or_default().push(peer);
    }
    let several = vteps.into_values().chain(keys.into_values()).filter(|peers| peers.len() > 1);
    let refused = several.flat_map(|peers| {
        let alone = peers.iter().filter(|peer| peer.wanted).count() == 1;
        peers.into_iter().filter(move |peer| !(alone && peer.wanted))
    });
    let mirrored = peers.iter().filter(|peer| peer.public == *own);
    refused.chain(mirrored).map(|peer| peer.node).collect()
}

/// How long the host with the higher public key waits for the other to begin.
fn delay(random: u64) -> Now {
    HEAD_START + Duration::from_millis(random % 256)
}

fn earliest(a: Option<Now>, b: Option<Now>) -> Option<Now> {
    a.into_iter().chain(b).min()
}
