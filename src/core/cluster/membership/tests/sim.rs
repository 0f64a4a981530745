//! A small network of hosts under a virtual clock. The same seed, the same run.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash};
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::super::{Membership, Output, Peer, Settings};
use crate::core::Now;
use crate::core::cluster::entry::NodeId;

pub(super) fn id(n: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&(n as u16).to_be_bytes());
    NodeId(bytes)
}

pub(super) fn peer(n: usize, generation: u64) -> Peer {
    let control = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 7946));
    Peer { id: id(n), control, generation }
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

enum Event {
    Datagram(Vec<u8>),
    Reached(NodeId, bool),
}

pub(super) struct Sim {
    pub(super) now: Now,
    /// `None`: it does not run.
    pub(super) hosts: Vec<Option<Membership>>,
    /// Of a thousand datagrams.
    pub(super) loss: u64,
    /// How late a host handles what it receives.
    pub(super) slow: Vec<Duration>,
    /// Hosts with different numbers do not hear each other.
    pub(super) island: Vec<u8>,
    /// Who has seen whom go down, and when.
    pub(super) downs: Vec<(Now, usize, NodeId)>,
    /// A hash of everything that was sent, and how many datagrams it was.
    pub(super) trace: DefaultHasher,
    pub(super) sent: u64,
    events: BTreeMap<(Now, u64), (usize, Event)>,
    count: u64,
    random: ChaCha8Rng,
}

impl Sim {
    /// So many hosts that start at once; all know the first.
    pub(super) fn new(hosts: usize, seed: u64) -> Sim {
        let mut sim = Sim {
            now: ms(1000),
            hosts: (0..hosts).map(|_| None).collect(),
            loss: 0,
            slow: vec![Duration::ZERO; hosts],
            island: vec![0; hosts],
            downs: Vec::new(),
            trace: DefaultHasher::new(),
            sent: 0,
            events: BTreeMap::new(),
            count: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
        };
        (0..hosts).for_each(|n| sim.start(n, 0, 0));
        sim
    }

    /// The same, after everyone has met everyone.
    pub(super) fn settled(hosts: usize, seed: u64) -> Sim {
        let mut sim = Sim::new(hosts, seed);
        assert!(sim.until(ms(30_000), |sim| sim.whole()).is_some(), "{hosts} hosts, seed {seed}");
        let moment = ms(u64::from(sim.random.next_u32() % 5_000));
        sim.run(moment);
        sim
    }

    pub(super) fn start(&mut self, n: usize, generation: u64, contact: usize) {
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        let mut host = Membership::new(peer(n, generation), Settings::default(), seed);
        (0..self.hosts.len()).for_each(|other| host.admit(id(other)));
        host.announce(self.now, peer(contact, 0));
        self.hosts[n] = Some(host);
        self.drain(n);
    }

    pub(super) fn host(&mut self, n: usize) -> &mut Membership {
        self.hosts[n].as_mut().unwrap()
    }

    /// Whether all that run see exactly all that run.
    pub(super) fn whole(&self) -> bool {
        let live = self.hosts.iter().flatten().count();
        self.hosts.iter().flatten().all(|host| host.up().count() + 1 == live)
    }

    /// Runs until a condition holds, and says how long that took, to 10 ms.
    pub(super) fn until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Sim) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now > start + limit {
                return None;
            }
            self.run(ms(10));
        }
        Some(self.now - start)
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Handles what comes next, if that is before `end`.
    fn step(&mut self, end: Now) -> bool {
        let timer = self.hosts.iter().enumerate();
        let timer = timer.filter_map(|(n, host)| Some((host.as_ref()?.due()?, n))).min();
        let event = self.events.keys().next().map_or(Now::MAX, |(at, _)| *at);
        let next = timer.map_or(Now::MAX, |(at, _)| at).min(event).max(self.now);
        if next >= end {
            return false;
        }
        self.now = next;
        let n = match timer {
            Some((at, n)) if at <= event => {
                self.host(n).tick(next);
                n
            }
            _ => self.deliver(),
        };
        self.drain(n);
        true
    }

    fn deliver(&mut self) -> usize {
        let (_, (n, event)) = self.events.pop_first().unwrap();
        let now = self.now;
        if let Some(host) = &mut self.hosts[n] {
            match event {
                Event::Datagram(bytes) => host.datagram(now, &bytes),
                Event::Reached(peer, answered) => host.reached(now, peer, answered),
            }
        }
        n
    }

    pub(super) fn drain(&mut self, n: usize) {
        while let Some(output) = self.hosts[n].as_mut().and_then(Membership::output) {
            match output {
                Output::Datagram { to, bytes } => self.datagram(n, to, bytes),
                Output::Stream { to } => self.stream(n, to),
                Output::Down(peer) => self.downs.push((self.now, n, peer.id)),
                Output::Up(_) | Output::Moved { .. } => {}
            }
        }
    }

    fn datagram(&mut self, from: usize, to: Peer, bytes: Vec<u8>) {
        self.sent += 1;
        (self.now, to, &bytes).hash(&mut self.trace);
        let to = number(&to);
        let delay = ms(1) + Duration::from_micros(u64::from(self.random.next_u32() % 9_000));
        if !self.lost() && self.island[from] == self.island[to] {
            self.push(to, delay + self.slow[to], Event::Datagram(bytes));
        }
    }

    /// A SYN that is lost is sent again after a second; after two, all is given up.
    fn stream(&mut self, from: usize, to: Peer) {
        let n = number(&to);
        let there = self.hosts[n].is_some() && self.island[from] == self.island[n];
        let again = if self.lost() || self.lost() { ms(1000) } else { ms(0) };
        let time = ms(10) + again + self.slow[n];
        let answered = there && time < ms(2000);
        let time = if answered { time } else { ms(2000) };
        self.push(from, time + self.slow[from], Event::Reached(to.id, answered));
    }

    fn lost(&mut self) -> bool {
        u64::from(self.random.next_u32() % 1000) < self.loss
    }

    fn push(&mut self, to: usize, after: Duration, event: Event) {
        self.events.insert((self.now + after, self.count), (to, event));
        self.count += 1;
    }
}

fn number(peer: &Peer) -> usize {
    usize::from(u16::from_be_bytes([peer.id.0[0], peer.id.0[1]]))
}
