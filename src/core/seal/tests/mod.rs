//! A small world of hosts on an underlay that loses, doubles and reorders, with a
//! virtual clock.

mod changes;
mod flood;
mod hostile;
mod life;
mod loss;
mod routes;
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::cipher::{Backend, Suite};
use super::{Config, Offer, Opened, Peer, Report, Route, Seal};
use crate::core::Now;
use crate::core::cluster::entry::{NodeId, Secret};
use crate::core::drops::Reason;
use crate::wire::sealed::{HEADROOM, TAG};
use crate::wire::vxlan::Vni;

const PORT: u16 = 4789;
/// Where frames leave from that go straight to a VTEP.
const POOL: u16 = 51_111;

const BACKENDS: [Backend; 2] = [Backend::Portable, Backend::Ring];

fn seconds(n: u64) -> Now {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Now {
    Duration::from_millis(n)
}

fn vni() -> Vni {
    Vni::new(4_096).unwrap()
}

fn address(n: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, n), PORT).into()
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn private(n: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([n + 100; 32])
}

fn public(n: u8) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private(n))).to_bytes()
}

fn peer(n: u8) -> Peer {
    Peer { node: node(n), public: public(n), vtep: address(n).ip(), wanted: true }
}

fn offer(backend: Backend) -> Offer {
    let suites = match backend {
        Backend::Portable => vec![Suite::ChaCha20Poly1305],
        Backend::Ring => vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305],
    };
    Offer { suites, backend }
}

/// Host `n` of these, all of which want each other.
fn config(n: u8, all: &[u8]) -> Config {
    Config {
        private: private(n),
        peers: all.iter().filter(|m| **m != n).map(|m| peer(*m)).collect(),
        keys: BTreeMap::from([(7, Secret([77; 32]))]),
        primary: 7,
        port: PORT,
    }
}

fn seal(now: Now, n: u8, offer: Offer, generation: u64) -> Seal {
    let mut seed = [n; 32];
    seed[1..9].copy_from_slice(&generation.to_be_bytes());
    seed[9..17].copy_from_slice(&(now.as_nanos() as u64).to_be_bytes());
    Seal::new(now, n % 3, offer, generation, seed)
}

/// A datagram with a frame and room around it.
fn datagram(frame: &[u8]) -> Vec<u8> {
    [&[0; HEADROOM], frame, &[0; TAG]].concat()
}

fn frame(datagram: &[u8]) -> &[u8] {
    &datagram[HEADROOM..datagram.len() - TAG]
}

/// One host.
struct Host {
    n: u8,
    seal: Seal,
    /// Where others see it, behind a translator.
    outside: SocketAddr,
    /// The frames that it got, and from which VTEP.
    got: Vec<(IpAddr, Vec<u8>)>,
    drops: Vec<Reason>,
}

#[derive(Clone, Debug)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// What may happen to a packet, in percent, and how long it takes.
#[derive(Clone, Copy)]
struct Weather {
    lost: u64,
    doubled: u64,
    delay: (u64, u64),
}

const FAIR: Weather = Weather { lost: 0, doubled: 0, delay: (1, 1) };

struct World {
    now: Now,
    hosts: Vec<Host>,
    air: BTreeMap<(Now, u64), Packet>,
    weather: Weather,
    random: u64,
    sent: u64,
    /// All that was sent, for whoever wants to play it back.
    log: Vec<Packet>,
    /// Loses handshake messages of a kind: so many.
    eats: BTreeMap<u8, u32>,
}

impl World {
    fn new(offers: Vec<Offer>) -> World {
        let mut world = World::empty();
        let all: Vec<u8> = (1..=offers.len() as u8).collect();
        for (n, offer) in all.iter().zip(offers) {
            world.add(*n, offer, 1);
            world.configure(*n, config(*n, &all));
        }
        world
    }

    fn pair(backend: Backend) -> World {
        World::new(vec![offer(backend), offer(backend)])
    }

    fn empty() -> World {
        World {
            now: seconds(1_000),
            hosts: Vec::new(),
            air: BTreeMap::new(),
            weather: FAIR,
            random: 88_172_645_463_325_252,
            sent: 0,
            log: Vec::new(),
            eats: BTreeMap::new(),
        }
    }

    fn add(&mut self, n: u8, offer: Offer, generation: u64) {
        self.hosts.retain(|host| host.n != n);
        let seal = seal(self.now, n, offer, generation);
        let (got, drops) = Default::default();
        self.hosts.push(Host { n, seal, outside: address(n), got, drops });
        self.hosts.sort_by_key(|host| host.n);
    }

    fn host(&mut self, n: u8) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.n == n).unwrap()
    }

    fn configure(&mut self, n: u8, config: Config) {
        let now = self.now;
        self.host(n).seal.configure(now, config);
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    /// A packet gets on its way.
    fn throw(&mut self, packet: Packet) {
        self.log.push(packet.clone());
        if let Some(left) = self.eats.get_mut(&packet.bytes[0])
            && *left > 0
        {
            *left -= 1;
            return;
        }
        let copies = 1 + u64::from(self.dice(100) < self.weather.doubled);
        for _ in 0..copies {
            if self.dice(100) < self.weather.lost {
                continue;
            }
            let (least, most) = self.weather.delay;
            let delay = least + self.dice(most - least + 1);
            self.sent += 1;
            self.air.insert((self.now + millis(delay), self.sent), packet.clone());
        }
    }

    fn drain(&mut self) {
        for at in 0..self.hosts.len() {
            while let Some(out) = self.hosts[at].seal.output() {
                let from = self.hosts[at].outside;
                self.throw(Packet { from, to: out.to, bytes: out.bytes });
            }
        }
    }

    /// Seals a frame from one host to another and sends it.
    fn send(&mut self, from: u8, to: u8, text: &[u8]) -> Result<(), Reason> {
        let mut bytes = datagram(text);
        let now = self.now;
        let host = self.host(from);
        let Route { to, translated } = host.seal.seal(now, address(to).ip(), vni(), &mut bytes)?;
        let port = if translated { host.outside.port() } else { POOL };
        let from = SocketAddr::new(host.outside.ip(), port);
        self.drain();
        self.throw(Packet { from, to, bytes });
        Ok(())
    }

    fn deliver(&mut self, mut packet: Packet) {
        let now = self.now;
        let Some(host) = self.hosts.iter_mut().find(|host| host.outside == packet.to) else {
            return;
        };
        if packet.bytes[0] != crate::wire::sealed::DATA {
            let before = host.seal.output.len();
            let taken = host.seal.handshake(now, packet.from, &packet.bytes);
            let longest = host.seal.output.iter().skip(before).map(|out| out.bytes.len()).max();
            assert!(longest <= Some(packet.bytes.len()), "no answer is longer");
            host.drops.extend(taken.err());
            return;
        }
        match host.seal.open(now, packet.from, &mut packet.bytes) {
            Ok(None) => {}
            Ok(Some(Opened { vtep, vni: got })) => {
                assert_eq!(got, vni());
                host.got.push((vtep, frame(&packet.bytes).to_vec()));
            }
            Err(reason) => host.drops.push(reason),
        }
    }

    /// Lets time go on until then.
    fn until(&mut self, end: Now) {
        loop {
            self.drain();
            let due = self.hosts.iter().filter_map(|host| host.seal.due()).min();
            let next = self.air.keys().next().map(|(at, _)| *at);
            let Some(at) = due.into_iter().chain(next).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if next == Some(at) {
                let (_, packet) = self.air.pop_first().unwrap();
                self.deliver(packet);
            } else {
                let now = self.now;
                self.hosts.iter_mut().for_each(|host| host.seal.tick(now));
            }
        }
        self.now = end;
    }

    fn run(&mut self, time: Now) {
        self.until(self.now + time);
    }

    fn report(&mut self, of: u8, on: u8) -> Report {
        let now = self.now;
        let reports = self.host(of).seal.report(now);
        reports.into_iter().find(|report| report.node == node(on)).unwrap()
    }

    /// Whether each of the two gets what the other sends.
    fn talks(&mut self, a: u8, b: u8) -> bool {
        let text = self.now.as_nanos().to_be_bytes();
        for (from, to) in [(a, b), (b, a)] {
            if self.send(from, to, &text).is_err() {
                return false;
            }
        }
        self.run(millis(50));
        let got = |world: &mut World, from: u8, to: u8| {
            world.host(to).got.contains(&(address(from).ip(), text.to_vec()))
        };
        got(self, a, b) && got(self, b, a)
    }

    /// The session that a host seals with, by both its numbers.
    fn current(&mut self, of: u8, on: u8) -> Option<(u32, u32)> {
        let links = &self.host(of).seal.links;
        let link = links.iter().find(|link| link.peer.node == node(on)).unwrap();
        let terms = &link.current.as_ref()?.terms;
        Some((terms.index, terms.theirs))
    }

    /// Whether both ends seal with one session.
    fn is_settled(&mut self, a: u8, b: u8) -> bool {
        let other = self.current(b, a).map(|(own, theirs)| (theirs, own));
        other.is_some() && self.current(a, b) == other
    }

    /// The last packet of a kind.
    fn last(&self, kind: u8) -> Packet {
        self.log.iter().rfind(|packet| packet.bytes[0] == kind).unwrap().clone()
    }

    /// Gives a packet to whom it is for, past the weather; what comes of it.
    fn play(&mut self, n: u8, from: SocketAddr, bytes: &[u8]) -> Result<(), Reason> {
        let now = self.now;
        let seal = &mut self.host(n).seal;
        if bytes.first() == Some(&crate::wire::sealed::DATA) {
            return seal.open(now, from, &mut bytes.to_vec()).map(|_| ());
        }
        seal.handshake(now, from, bytes)
    }

    /// Handshake messages that were sent of a kind.
    fn count(&self, kind: u8) -> usize {
        self.log.iter().filter(|packet| packet.bytes[0] == kind).count()
    }
}
