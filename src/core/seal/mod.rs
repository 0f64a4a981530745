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
//! | peer | the sessions with one host, and when there is a new one |
//!
//! Handshakes and sealed frames ride on the VXLAN port ([`sealed`]).

pub mod cipher;
pub mod lane;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use self::cipher::{Backend, Suite};
use super::Now;
use super::cluster::entry::{NodeId, Secret};
use super::drops::Reason;
use crate::wire::vxlan::Vni;

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
pub struct Seal {}

impl Seal {
    /// No peers yet. `lane` is the worker's number, below [`lane::LANES`];
    /// `generation` is higher at each start of the daemon; `seed` is random and never
    /// used again.
    pub fn new(now: Now, lane: u8, offer: Offer, generation: u64, seed: [u8; 32]) -> Seal {
        let _ = (now, lane, offer, generation, seed);
        todo!()
    }

    /// Follows the tables. Sessions with who is no member any more, or has another
    /// key, end at once; with who is no longer wanted, when they have run out.
    pub fn configure(&mut self, now: Now, config: Config) {
        let _ = (now, config);
        todo!()
    }

    /// Seals `datagram` for a peer: [`HEADROOM`](crate::wire::sealed::HEADROOM) bytes, the
    /// frame, and [`TAG`](crate::wire::sealed::TAG) bytes. Says where to send it.
    pub fn seal(
        &mut self,
        now: Now,
        vtep: IpAddr,
        vni: Vni,
        datagram: &mut [u8],
    ) -> Result<Route, Reason> {
        let _ = (now, vtep, vni, datagram);
        todo!()
    }

    /// Opens a sealed datagram in place: the frame is behind the first
    /// [`HEADROOM`](crate::wire::sealed::HEADROOM) bytes, and ends before the last
    /// [`TAG`](crate::wire::sealed::TAG). `None`: a sign of life without a frame.
    pub fn open(
        &mut self,
        now: Now,
        source: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Option<Opened>, Reason> {
        let _ = (now, source, datagram);
        todo!()
    }

    /// Takes a handshake's message; what follows from it is in [`Seal::output`].
    pub fn handshake(
        &mut self,
        now: Now,
        source: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Reason> {
        let _ = (now, source, datagram);
        todo!()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        let _ = now;
        todo!()
    }

    /// When [`Seal::tick`] is next to be called.
    pub fn due(&self) -> Option<Now> {
        todo!()
    }

    /// The next datagram to send, if there is one.
    pub fn output(&mut self) -> Option<Datagram> {
        todo!()
    }

    /// How things are with each peer.
    pub fn report(&self, now: Now) -> Vec<Report> {
        let _ = now;
        todo!()
    }
}
