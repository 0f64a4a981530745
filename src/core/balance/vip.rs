//! A virtual IP and its backends: immutable, part of the plan.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a backend is chosen for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheduler {
    /// One after the other, by their weights.
    #[default]
    RoundRobin,
    /// By the flow's hash, so that every host chooses alike and a change moves few
    /// flows (Eisenbud et al., NSDI 2016, section 3.4).
    Maglev,
    /// Whoever has the fewest flows from this host for its weight.
    LeastConn,
}

/// How an endpoint stands behind its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Its first health check has not ended: it takes no flows yet.
    Starting,
    /// It takes flows.
    Ready,
    /// It has failed its health checks: it takes no new flows.
    Unhealthy,
    /// It is about to be detached: it takes no new flows, and keeps those it has.
    Draining,
}

/// An address behind a VIP, of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The endpoint's address.
    pub ip: IpAddr,
    /// Its share of new flows beside those of the others; 0 is none.
    pub weight: u16,
    /// Whether it may be used.
    pub standing: Standing,
}

/// A virtual IP of a service on one network.
#[derive(Debug)]
pub struct Vip {
    /// The address.
    pub ip: IpAddr,
    /// Tells it from what it was before a change, and from every other one of this
    /// daemon: who remembers a backend of it asks again when this is another.
    pub version: u64,
    /// How a backend is chosen.
    pub scheduler: Scheduler,
    /// For how long a client keeps its backend after its last new flow.
    pub affinity: Option<Duration>,
    /// All backends, in the order of their addresses, each once.
    pub backends: Vec<Backend>,
}

impl Vip {
    /// Whether no backend takes new flows.
    pub fn is_down(&self) -> bool {
        !self.backends.iter().any(|b| b.standing == Standing::Ready && b.weight > 0)
    }
}
