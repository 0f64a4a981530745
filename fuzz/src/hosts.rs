//! Two hosts that share an encrypted network, and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vxmesh::core::cluster::entry::{NodeId, Secret};
use vxmesh::core::seal::cipher::{Backend, Suite};
use vxmesh::core::seal::{Config, Offer, Peer, Seal};
use vxmesh::wire::sealed::{DATA, HEADROOM, TAG};
use vxmesh::wire::vxlan::Vni;
use x25519_dalek::{PublicKey, StaticSecret};

/// Packets that are kept on their way, and of those that have arrived.
const KEPT: usize = 64;

/// A packet on its way.
#[derive(Clone)]
pub struct Packet {
    /// Of which of the two it is.
    pub from: usize,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The two.
pub struct Hosts {
    /// Time.
    pub now: Duration,
    /// Their sessions.
    pub seals: [Seal; 2],
    /// What is on its way.
    pub air: Vec<Packet>,
    /// What was on its way before.
    pub past: Vec<Packet>,
    /// Frames that were sent by each.
    sent: [BTreeSet<u64>; 2],
    /// Frames of each that arrived.
    got: [BTreeSet<u64>; 2],
    starts: u64,
}

impl Hosts {
    /// They want a session, and have none yet.
    pub fn new() -> Hosts {
        let mut hosts = Hosts {
            now: Duration::from_secs(1_000),
            seals: [seal(0, 0), seal(1, 0)],
            air: Vec::new(),
            past: Vec::new(),
            sent: Default::default(),
            got: Default::default(),
            starts: 0,
        };
        (0..2).for_each(|which| hosts.configure(which));
        hosts
    }

    /// One starts again.
    pub fn restart(&mut self, which: usize) {
        self.starts += 1;
        self.seals[which] = seal(which, self.starts);
        self.configure(which);
    }

    fn configure(&mut self, which: usize) {
        let other = 1 - which;
        let config = Config {
            private: private(which).into(),
            peers: vec![Peer {
                node: NodeId([other as u8; 32]),
                public: public(other),
                vtep: vtep(other),
                wanted: true,
            }],
            keys: BTreeMap::from([(7, Secret([42; 32]))]),
            primary: 7,
            port: 4789,
        };
        self.seals[which].configure(self.now, config);
        self.drain();
    }

    /// A frame gets on its way, if there is a session.
    pub fn send(&mut self, from: usize) -> Option<u64> {
        let number = (self.sent[0].len() + self.sent[1].len()) as u64;
        let mut bytes = [&[0; HEADROOM][..], &number.to_be_bytes(), &[0; TAG]].concat();
        let vni = Vni::new(4_096).expect("fits");
        self.seals[from].seal(self.now, vtep(1 - from), vni, &mut bytes).ok()?;
        self.sent[from].insert(number);
        self.throw(Packet { from, bytes });
        Some(number)
    }

    /// A packet arrives.
    pub fn arrive(&mut self, packet: Packet) {
        let Packet { from, mut bytes } = packet;
        let (seal, source) = (&mut self.seals[1 - from], SocketAddr::new(vtep(from), 4789));
        if bytes.first() != Some(&DATA) {
            let _ = seal.handshake(self.now, source, &bytes);
        } else if let Ok(Some(opened)) = seal.open(self.now, source, &mut bytes) {
            assert_eq!(opened.vtep, vtep(from));
            let number: [u8; 8] = bytes[HEADROOM..bytes.len() - TAG].try_into().expect("whole");
            let number = u64::from_be_bytes(number);
            assert!(self.sent[from].contains(&number), "never sent");
            assert!(self.got[from].insert(number), "taken twice");
        }
        self.drain();
    }

    /// Whether a frame has arrived.
    pub fn has(&self, from: usize, number: u64) -> bool {
        self.got[from].contains(&number)
    }

    /// Time goes on; nothing arrives.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.seals.iter().filter_map(Seal::due).min().filter(|due| *due <= end);
            self.now = self.now.max(due.unwrap_or(end));
            self.seals.iter_mut().for_each(|seal| seal.tick(self.now));
            self.drain();
            if due.is_none() {
                break;
            }
        }
    }

    /// Time goes on, and everything arrives at once.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            while !self.air.is_empty() {
                let packet = self.air.remove(0);
                self.arrive(packet);
            }
            self.wait(Duration::from_millis(100));
        }
    }

    fn drain(&mut self) {
        for from in 0..2 {
            while let Some(out) = self.seals[from].output() {
                assert_eq!(out.to, SocketAddr::new(vtep(1 - from), 4789));
                self.throw(Packet { from, bytes: out.bytes });
            }
        }
    }

    fn throw(&mut self, packet: Packet) {
        if self.past.len() == KEPT {
            self.past.remove(0);
        }
        self.past.push(packet.clone());
        if self.air.len() == KEPT {
            self.air.remove(0);
        }
        self.air.push(packet);
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Hosts::new()
    }
}

fn seal(which: usize, start: u64) -> Seal {
    let suites = vec![Suite::ChaCha20Poly1305];
    let mut seed = [which as u8 + 1; 32];
    seed[8..16].copy_from_slice(&start.to_be_bytes());
    let offer = Offer { suites, backend: Backend::Portable };
    Seal::new(Duration::from_secs(1_000), which as u8, offer, start, seed)
}

fn private(which: usize) -> [u8; 32] {
    [which as u8 + 11; 32]
}

fn public(which: usize) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private(which))).to_bytes()
}

fn vtep(which: usize) -> IpAddr {
    [192, 0, 2, which as u8 + 1].into()
}
