//! A member as the liveness protocol knows it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::core::cluster::entry::NodeId;

/// How far a generation may be ahead of the last one that is known of a node.
/// Nobody starts that often, and a forged generation cannot use them all up.
const LEAP: u64 = 1 << 32;

/// A member, where it is heard, and how often it has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// Who it is.
    pub id: NodeId,
    /// Where it hears control traffic, UDP and TCP.
    pub control: SocketAddr,
    /// Counts its starts, and each time that it had been declared dead and came
    /// back. What is said of a lower generation is about the past. A node that
    /// has lost count may start from 0: it takes the next one as soon as it
    /// hears of its earlier self.
    pub generation: u64,
}

impl Peer {
    /// Without what an IPv6 socket address has that does not travel: flow label
    /// and scope.
    pub(super) fn portable(self) -> Peer {
        Peer { control: SocketAddr::new(self.control.ip(), self.control.port()), ..self }
    }

    /// Whether it may be the same node as the one last known under its id.
    pub(super) fn follows(&self, known: Option<&Peer>) -> bool {
        self.generation <= known.map_or(0, |known| known.generation).saturating_add(LEAP)
    }
}

impl foca::Identity for Peer {
    type Addr = NodeId;

    fn renew(&self) -> Option<Peer> {
        Some(Peer { generation: self.generation.checked_add(1)?, ..*self })
    }

    fn addr(&self) -> NodeId {
        self.id
    }

    /// A total order, or two hosts would never agree. Two addresses in one
    /// generation are a mistake of that node's; the greater one stays.
    fn win_addr_conflict(&self, other: &Peer) -> bool {
        (self.generation, self.control) > (other.generation, other.control)
    }
}
