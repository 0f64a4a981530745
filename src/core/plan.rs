//! The plan: an immutable snapshot of all that the data plane must know.
//!
//! The control side builds a new [`Plan`] for every change and publishes it;
//! workers read it once per batch. Nothing in it is ever changed in place, so
//! no lock is needed, and a frame sees either the old world or the new one.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::map::{self, Map};
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

/// The number by which the data plane knows a TAP. Given by the control side,
/// reused after a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

/// Where a unicast frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// To a TAP of this host.
    Port(PortId),
    /// Encapsulated, to another VTEP.
    Vtep(IpAddr),
}

/// All networks that have an endpoint on this host.
#[derive(Debug)]
pub struct Plan {
    /// This host's own VTEP; frames never come from there.
    pub vtep: IpAddr,
    networks: Map<Vni, Arc<Network>>,
    ports: Vec<Option<(Arc<Network>, usize)>>,
}

impl Plan {
    /// A plan of the given networks. `seed` keys the look-ups; see [`map`].
    pub fn new(seed: u64, vtep: IpAddr, networks: impl IntoIterator<Item = Arc<Network>>) -> Plan {
        let mut plan = Plan { vtep, networks: map::map(seed), ports: Vec::new() };
        for network in networks {
            for (index, port) in network.ports.iter().enumerate() {
                let slot = port.id.0 as usize;
                if plan.ports.len() <= slot {
                    plan.ports.resize(slot + 1, None);
                }
                plan.ports[slot] = Some((network.clone(), index));
            }
            plan.networks.insert(network.vni, network);
        }
        plan
    }

    /// The network with this VNI, if it has an endpoint here.
    pub fn network(&self, vni: Vni) -> Option<&Network> {
        self.networks.get(&vni).map(|n| &**n)
    }

    /// A TAP and the network that it is on.
    pub fn port(&self, id: PortId) -> Option<(&Network, &Port)> {
        let (network, index) = self.ports.get(id.0 as usize)?.as_ref()?;
        Some((network, network.ports.get(*index)?))
    }
}

/// A local endpoint as the data plane sees it: what it may send as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its TAP.
    pub id: PortId,
    /// Its only source MAC.
    pub mac: Mac,
    /// Its only source addresses, beside the link-local one made from its MAC.
    pub addresses: Vec<IpAddr>,
}

/// An endpoint on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The VTEP of its host.
    pub vtep: IpAddr,
}

/// A subnet and the address at which the network's router answers in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The subnet.
    pub net: IpNet,
    /// The router's address in it, the containers' gateway.
    pub gateway: IpAddr,
}

/// What the control side says of one network; [`Network::new`] makes the
/// look-up tables from it.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Largest IP packet inside, in bytes.
    pub mtu: u16,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Whether broadcast and multicast are replicated (`--opt multicast`).
    pub multicast: bool,
    /// Endpoints of this host.
    pub ports: Vec<Port>,
    /// Endpoints of other hosts.
    pub remotes: Vec<Remote>,
    /// Foreign VTEPs: what is unknown goes to them too, and MACs are learned from them.
    pub foreign: Vec<IpAddr>,
}

/// One network, ready for look-ups.
#[derive(Debug)]
pub struct Network {
    /// Its identifier on the wire.
    pub vni: Vni,
    /// Largest IP packet inside, in bytes.
    pub mtu: u16,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// The MAC at which the router answers, the same on every host.
    pub router_mac: Mac,
    /// Whether broadcast and multicast are replicated.
    pub multicast: bool,
    /// Endpoints of this host.
    pub ports: Vec<Port>,
    /// VTEPs of the hosts that hold endpoints of this network, in order, each once.
    pub members: Vec<IpAddr>,
    /// Foreign VTEPs, in order, each once.
    pub foreign: Vec<IpAddr>,
    fdb: Map<Mac, Target>,
    neighbours: Map<IpAddr, Mac>,
}

impl Network {
    /// Builds the look-up tables. Where two endpoints claim one address or MAC
    /// the local one wins, then the first.
    pub fn new(seed: u64, vni: Vni, spec: Spec) -> Network {
        let mut fdb = map::map(seed);
        let mut neighbours = map::map(seed);
        let local = spec.ports.iter().map(|p| (p.mac, &p.addresses, Target::Port(p.id)));
        let remote = spec.remotes.iter().map(|r| (r.mac, &r.addresses, Target::Vtep(r.vtep)));
        for (mac, addresses, target) in local.chain(remote) {
            fdb.entry(mac).or_insert(target);
            for ip in addresses.iter().copied().chain([mac.link_local().into()]) {
                neighbours.entry(ip).or_insert(mac);
            }
        }
        let mut members: Vec<IpAddr> = spec.remotes.iter().map(|r| r.vtep).collect();
        members.sort_unstable();
        members.dedup();
        let mut foreign = spec.foreign;
        foreign.sort_unstable();
        foreign.dedup();
        Network {
            vni,
            mtu: spec.mtu,
            router_mac: router_mac(&spec.subnets),
            subnets: spec.subnets,
            multicast: spec.multicast,
            ports: spec.ports,
            members,
            foreign,
            fdb,
            neighbours,
        }
    }

    /// Where the endpoint with this MAC is.
    pub fn lookup(&self, mac: Mac) -> Option<Target> {
        self.fdb.get(&mac).copied()
    }

    /// The MAC of the endpoint with this address. The router's own addresses
    /// are not in here; see [`Network::is_gateway`].
    pub fn neighbour(&self, ip: IpAddr) -> Option<Mac> {
        self.neighbours.get(&ip).copied()
    }

    /// Whether the address is the router's own.
    pub fn is_gateway(&self, ip: IpAddr) -> bool {
        self.subnets.iter().any(|s| s.gateway == ip)
            || IpAddr::from(self.router_mac.link_local()) == ip
    }

    /// The subnet that an address lies in.
    pub fn subnet_of(&self, ip: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.net.contains(&ip))
    }

    /// Whether a VTEP may send us frames of this network.
    pub fn accepts(&self, vtep: IpAddr) -> bool {
        self.members.binary_search(&vtep).is_ok() || self.is_foreign(vtep)
    }

    /// Whether a VTEP was added by hand and is learned from.
    pub fn is_foreign(&self, vtep: IpAddr) -> bool {
        self.foreign.binary_search(&vtep).is_ok()
    }
}

/// The router's MAC: Docker's form for the first gateway, so that every host
/// finds the same one without asking.
pub fn router_mac(subnets: &[Subnet]) -> Mac {
    subnets.first().map_or(Mac([0x02, 0x42, 0, 0, 0, 1]), |s| Mac::for_ip(s.gateway))
}
