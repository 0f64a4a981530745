//! The records of networks and endpoints, what may be put into them, and the
//! [`plan`] that follows.
//!
//! Records hold what every host may know of a network or an endpoint; where an
//! interface of this host is (sandbox, name, TAP) is the control side's own
//! affair. Only the data plane's number of a local endpoint is bound here
//! ([`Tables::bind`]), and it is never stored.
//!
//! What other hosts have comes in by [`Tables::put_network`] and
//! [`Tables::put_endpoint`], as the cluster tells of it.

mod endpoint;
mod id;
mod network;
mod path;
mod projection;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

pub use endpoint::{Endpoint, Holder, NewEndpoint, check_ifname};
pub use id::Id;
pub(in crate::core) use network::FIRST_VNI;
pub use network::{Network, NewNetwork};

use super::ledger::{Ledger, Reading};
use super::names::Zone;
use super::plan::{self, PortId};
use crate::wire::{sealed, vxlan};

/// Why the tables do not take a change: one sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// The request disagrees with what is there.
    #[error("{0}")]
    Conflict(String),
    /// What the request speaks of does not exist.
    #[error("{0}")]
    NotFound(String),
}

/// What this host's underlay is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// This host's VTEP.
    pub vtep: IpAddr,
    /// The MTU of the interface that has it, in bytes.
    pub mtu: u16,
}

impl Underlay {
    /// The largest IP packet inside the tunnel, on a network that is encrypted or not.
    pub fn largest_mtu(&self, encrypted: bool) -> u16 {
        self.inside(self.mtu, encrypted)
    }

    /// What an underlay packet of this many bytes holds inside the tunnel.
    fn inside(&self, packet: u16, encrypted: bool) -> u16 {
        let tunnel = match self.vtep {
            IpAddr::V4(_) => vxlan::OVERHEAD_V4,
            IpAddr::V6(_) => vxlan::OVERHEAD_V6,
        };
        let seal = if encrypted { sealed::OVERHEAD } else { 0 };
        packet.saturating_sub(tunnel + seal)
    }
}

/// All networks and endpoints that this host knows.
#[derive(Debug)]
pub struct Tables {
    seed: u64,
    underlay: Underlay,
    networks: BTreeMap<Id, Network>,
    endpoints: BTreeMap<Id, Endpoint>,
    /// Foreign VTEPs by network.
    foreign: BTreeMap<Id, BTreeSet<IpAddr>>,
    /// Local endpoints that have a TAP.
    ports: BTreeMap<Id, PortId>,
    /// What was measured of the ways to other VTEPs: the largest underlay packet
    /// that arrives, in bytes.
    paths: BTreeMap<IpAddr, u16>,
    /// Of encrypted networks that were ever in a plan: what crossed the border.
    ledgers: BTreeMap<Id, Arc<Ledger>>,
    /// Networks as the data plane has them; what changed is missing.
    built: BTreeMap<Id, Arc<plan::Network>>,
    /// Networks as DNS has them; likewise.
    zones: BTreeMap<Id, Arc<Zone>>,
}

impl Tables {
    /// Empty tables. `seed` keys the look-ups of the plans that are made.
    pub fn new(seed: u64, underlay: Underlay) -> Tables {
        Tables {
            seed,
            underlay,
            networks: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            foreign: BTreeMap::new(),
            ports: BTreeMap::new(),
            paths: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            built: BTreeMap::new(),
            zones: BTreeMap::new(),
        }
    }

    /// Takes foreign VTEPs as they were stored: they were checked when they came.
    pub fn restore(&mut self, foreign: impl IntoIterator<Item = (Id, BTreeSet<IpAddr>)>) {
        self.foreign.extend(foreign);
        self.built.clear();
    }

    /// Takes a network as it is known to the cluster, new or changed.
    pub fn put_network(&mut self, network: Network) {
        self.built.remove(&network.id);
        self.zones.remove(&network.id);
        self.networks.insert(network.id.clone(), network);
    }

    /// Takes an endpoint as another host tells of it. Whether that changed anything.
    pub fn put_endpoint(&mut self, endpoint: Endpoint) -> bool {
        let id = endpoint.id.clone();
        if self.endpoints.get(&id) == Some(&endpoint) {
            return false;
        }
        self.touch(&id);
        self.endpoints.insert(id.clone(), endpoint);
        self.touch(&id);
        true
    }

    /// The network with exactly this id.
    pub fn get_network(&self, id: &Id) -> Option<&Network> {
        self.networks.get(id)
    }

    /// What crossed this host's border on an encrypted network; `None` if there is
    /// no such network.
    pub fn ledger(&self, network: &Id) -> Option<Reading> {
        let encrypted = self.networks.get(network).is_some_and(Network::encrypted);
        let ledger = self.ledgers.get(network);
        encrypted.then(|| ledger.map(|l| l.read()).unwrap_or_default())
    }

    /// This host's underlay.
    pub fn underlay(&self) -> Underlay {
        self.underlay
    }

    /// All networks, by id.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }

    /// All endpoints, local and remote, by id.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// The endpoints of one network.
    pub fn endpoints_of<'a>(&'a self, network: &'a Id) -> impl Iterator<Item = &'a Endpoint> {
        self.endpoints.values().filter(move |e| e.network == *network)
    }

    /// The network of an endpoint.
    pub fn network_of(&self, endpoint: &Endpoint) -> Option<&Network> {
        self.networks.get(&endpoint.network)
    }

    /// The endpoint with exactly this id.
    pub fn get_endpoint(&self, id: &Id) -> Option<&Endpoint> {
        self.endpoints.get(id)
    }

    /// The foreign VTEPs of a network, in order.
    pub fn foreign(&self, network: &Id) -> BTreeSet<IpAddr> {
        self.foreign.get(network).cloned().unwrap_or_default()
    }

    /// Adds a foreign VTEP; adding it again changes nothing.
    pub fn add_foreign(&mut self, network: &Id, vtep: IpAddr) -> Result<(), Refusal> {
        self.check_vtep(vtep)?;
        if let Some(encrypted) = self.networks.get(network).filter(|n| n.encrypted()) {
            return Err(Refusal::Conflict(format!(
                "network {} is encrypted, and what is no member of the cluster has no key for it: create a network without --opt encrypted for VTEP {vtep}",
                encrypted.name
            )));
        }
        self.foreign.entry(network.clone()).or_default().insert(vtep);
        self.built.remove(network);
        Ok(())
    }

    /// Removes a foreign VTEP.
    pub fn remove_foreign(&mut self, network: &Id, vtep: IpAddr) -> Result<(), Refusal> {
        let gone = self.foreign.get_mut(network).is_some_and(|all| all.remove(&vtep));
        if !gone {
            let name = self.networks.get(network).map_or(network.short(), |n| &n.name);
            return Err(Refusal::NotFound(format!(
                "network {name} has no foreign VTEP {vtep}: see `vxmesh network inspect {name}` for those it has"
            )));
        }
        self.built.remove(network);
        Ok(())
    }

    /// A VTEP of another host: an address that our socket can send to.
    fn check_vtep(&self, vtep: IpAddr) -> Result<(), Refusal> {
        let own = self.underlay.vtep;
        let problem = if vtep == own {
            "this host's own VTEP; name the other host's".to_owned()
        } else if vtep.is_multicast() || vtep.is_unspecified() || is_broadcast(vtep) {
            "no address of a single host; name the other host's underlay address".to_owned()
        } else if vtep.is_ipv4() != own.is_ipv4() {
            format!("not of the same family as this host's VTEP {own}; one tunnel has one family")
        } else {
            return Ok(());
        };
        Err(Refusal::Invalid(format!("VTEP {vtep} is {problem}")))
    }
}

fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

/// The rule for names of networks, endpoints and aliases: what DNS and a path
/// of a URL can both carry.
pub fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if first && rest && name.len() <= 63 {
        return Ok(());
    }
    Err(Refusal::Invalid(format!(
        "{name:?} cannot be the name of {what}: use 1 to 63 letters, digits, \"_\", \".\" and \"-\", beginning with a letter or digit"
    )))
}

/// Names for a sentence: at most five, then how many more.
pub(in crate::core) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    match names.len() {
        0..=5 => names.join(", "),
        n => format!("{} and {} more", names[..5].join(", "), n - 5),
    }
}
