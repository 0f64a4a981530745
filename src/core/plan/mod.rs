//! The plan: an immutable snapshot of all that the data plane must know.
//!
//! The control side builds a new [`Plan`] for every change and publishes it;
//! workers read it once per batch. Nothing in it is ever changed in place, so
//! no lock is needed, and a frame sees either the old world or the new one.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::balance::Vip;
use super::ledger::Ledger;
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
    encrypted: bool,
    networks: Map<Vni, Arc<Network>>,
    ports: Vec<Option<(Arc<Network>, usize)>>,
}

impl Plan {
    /// A plan of the given networks. `seed` keys the look-ups; see [`map`].
    pub fn new(seed: u64, vtep: IpAddr, networks: impl IntoIterator<Item = Arc<Network>>) -> Plan {
        let mut plan = Plan { vtep, encrypted: false, networks: map::map(seed), ports: Vec::new() };
        for network in networks {
            plan.encrypted |= network.encrypted.is_some();
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

    /// The ledger of the network with this VNI, if that is an encrypted one.
    pub fn ledger(&self, vni: Vni) -> Option<&Ledger> {
        if !self.encrypted {
            return None; // without a look-up, where there is no such network
        }
        self.network(vni)?.encrypted.as_deref()
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
    /// Of an encrypted network (`--opt encrypted`): where its traffic is counted.
    pub encrypted: Option<Arc<Ledger>>,
    /// Endpoints of this host.
    pub ports: Vec<Port>,
    /// Endpoints of other hosts.
    pub remotes: Vec<Remote>,
    /// Foreign VTEPs: what is unknown goes to them too, and MACs are learned from them.
    pub foreign: Vec<IpAddr>,
    /// VTEPs whose path is narrower than `mtu`, each with the largest IP packet
    /// inside that reaches it, in bytes. Others may be named; they are left out.
    pub narrow: Vec<(IpAddr, u16)>,
    /// Its services' virtual IPs.
    pub vips: Vec<Arc<Vip>>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// The endpoint's MAC.
    pub mac: Mac,
    /// Where the endpoint is.
    pub target: Target,
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
    /// Of a network whose frames leave and arrive sealed, or not at all: where they
    /// are counted.
    pub encrypted: Option<Arc<Ledger>>,
    /// Endpoints of this host.
    pub ports: Vec<Port>,
    /// VTEPs of the hosts that hold endpoints of this network, in order, each once.
    pub members: Vec<IpAddr>,
    /// Foreign VTEPs, in order, each once.
    pub foreign: Vec<IpAddr>,
    /// By VTEP, in order; nearly always empty.
    narrow: Vec<(IpAddr, u16)>,
    fdb: Map<Mac, Target>,
    stations: Map<IpAddr, Station>,
    /// With their versions, so that packets of known flows need not look behind the pointer.
    vips: Map<IpAddr, (u64, Arc<Vip>)>,
}

impl Network {
    /// Builds the look-up tables. Where two endpoints claim one address or MAC
    /// the local one wins, then the first.
    pub fn new(seed: u64, vni: Vni, spec: Spec) -> Network {
        let mut fdb = map::map(seed);
        let mut stations = map::map(seed);
        let local = spec.ports.iter().map(|p| (p.mac, &p.addresses, Target::Port(p.id)));
        let remote = spec.remotes.iter().map(|r| (r.mac, &r.addresses, Target::Vtep(r.vtep)));
        for (mac, addresses, target) in local.chain(remote) {
            fdb.entry(mac).or_insert(target);
            for ip in addresses.iter().copied().chain([mac.link_local().into()]) {
                stations.entry(ip).or_insert(Station { mac, target });
            }
        }
        let mut vips = map::map(seed);
        // An endpoint's address is no VIP, whatever the tables say.
        let unclaimed = spec.vips.into_iter().filter(|vip| !stations.contains_key(&vip.ip));
        vips.extend(unclaimed.map(|vip| (vip.ip, (vip.version, vip))));
        let mut members: Vec<IpAddr> = spec.remotes.iter().map(|r| r.vtep).collect();
        members.sort_unstable();
        members.dedup();
        let mut foreign = spec.foreign;
        foreign.sort_unstable();
        foreign.dedup();
        let mut narrow = spec.narrow;
        narrow.retain(|(_, inner)| *inner < spec.mtu);
        narrow.sort_unstable();
        narrow.dedup_by_key(|(vtep, _)| *vtep); // the narrowest stays
        Network {
            vni,
            mtu: spec.mtu,
            router_mac: router_mac(&spec.subnets),
            subnets: spec.subnets,
            multicast: spec.multicast,
            encrypted: spec.encrypted,
            ports: spec.ports,
            members,
            foreign,
            narrow,
            fdb,
            stations,
            vips,
        }
    }

    /// Where the endpoint with this MAC is.
    pub fn lookup(&self, mac: Mac) -> Option<Target> {
        self.fdb.get(&mac).copied()
    }

    /// The MAC of the endpoint with this address. The router's own addresses
    /// are not in here; see [`Network::is_gateway`].
    pub fn neighbour(&self, ip: IpAddr) -> Option<Mac> {
        self.station(ip).map(|station| station.mac)
    }

    /// The endpoint with this address.
    pub fn station(&self, ip: IpAddr) -> Option<&Station> {
        self.stations.get(&ip)
    }

    /// The service with this virtual IP.
    pub fn vip(&self, ip: IpAddr) -> Option<&Arc<Vip>> {
        self.vips.get(&ip).map(|(_, vip)| vip)
    }

    /// As [`Network::vip`], with its [`Vip::version`].
    pub fn versioned_vip(&self, ip: IpAddr) -> Option<(u64, &Vip)> {
        self.vips.get(&ip).map(|(version, vip)| (*version, &**vip))
    }

    /// Whether it has services.
    pub fn has_vips(&self) -> bool {
        !self.vips.is_empty()
    }

    /// The largest IP packet inside that reaches a VTEP, in bytes.
    pub fn mtu_to(&self, vtep: IpAddr) -> u16 {
        if self.narrow.is_empty() { self.mtu } else { self.narrow_mtu_to(vtep) }
    }

    #[cold]
    fn narrow_mtu_to(&self, vtep: IpAddr) -> u16 {
        let found = self.narrow.binary_search_by_key(&vtep, |(vtep, _)| *vtep);
        found.map_or(self.mtu, |at| self.narrow[at].1)
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

    /// Whether a VTEP holds endpoints of this network.
    pub fn is_member(&self, vtep: IpAddr) -> bool {
        self.members.binary_search(&vtep).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn vni(n: u32) -> Vni {
        Vni::new(n).unwrap()
    }

    fn port(id: u32, last: u8, address: &str) -> Port {
        Port { id: PortId(id), mac: mac(last), addresses: vec![ip(address)] }
    }

    fn remote(last: u8, address: &str, vtep: &str) -> Remote {
        Remote { mac: mac(last), addresses: vec![ip(address)], vtep: ip(vtep) }
    }

    fn subnet(net: &str, gateway: &str) -> Subnet {
        Subnet { net: net.parse().unwrap(), gateway: ip(gateway) }
    }

    fn spec() -> Spec {
        Spec {
            mtu: 1450,
            subnets: vec![
                subnet("10.0.0.0/24", "10.0.0.254"),
                subnet("fd00::/64", "fd00::1"),
                subnet("10.0.1.0/24", "10.0.1.1"),
            ],
            multicast: false,
            encrypted: None,
            ports: vec![port(5, 1, "10.0.0.1"), port(2, 2, "fd00::2")],
            remotes: vec![
                remote(3, "10.0.0.3", "192.0.2.3"),
                remote(4, "fd00::4", "192.0.2.2"),
                remote(5, "10.0.0.5", "192.0.2.3"),
            ],
            foreign: ["192.0.2.9", "2001:db8::1", "192.0.2.8", "192.0.2.9"].map(ip).to_vec(),
            narrow: Vec::new(),
            vips: Vec::new(),
        }
    }

    #[test]
    fn a_network_finds_its_endpoints() {
        let network = Network::new(1, vni(7), spec());
        for (last, address, target) in [
            (1, "10.0.0.1", Target::Port(PortId(5))),
            (2, "fd00::2", Target::Port(PortId(2))),
            (3, "10.0.0.3", Target::Vtep(ip("192.0.2.3"))),
            (4, "fd00::4", Target::Vtep(ip("192.0.2.2"))),
        ] {
            assert_eq!(network.lookup(mac(last)), Some(target));
            assert_eq!(network.neighbour(ip(address)), Some(mac(last)));
            assert_eq!(network.neighbour(mac(last).link_local().into()), Some(mac(last)));
            assert_eq!(network.station(ip(address)), Some(&Station { mac: mac(last), target }));
        }
        assert_eq!(network.lookup(mac(77)), None);
        assert_eq!(network.neighbour(ip("10.0.0.254")), None, "the router is no endpoint");
    }

    #[test]
    fn the_local_endpoint_wins_then_the_first() {
        let mut spec = spec();
        spec.remotes.push(remote(1, "10.0.0.1", "192.0.2.4"));
        spec.remotes.push(remote(3, "10.0.0.5", "192.0.2.4"));
        let network = Network::new(1, vni(7), spec);
        assert_eq!(network.lookup(mac(1)), Some(Target::Port(PortId(5))));
        assert_eq!(network.lookup(mac(3)), Some(Target::Vtep(ip("192.0.2.3"))));
        assert_eq!(network.neighbour(ip("10.0.0.5")), Some(mac(5)));
    }

    #[test]
    fn vteps_are_in_order_and_once() {
        let network = Network::new(1, vni(7), spec());
        assert_eq!(network.members, ["192.0.2.2", "192.0.2.3"].map(ip));
        assert_eq!(network.foreign, ["192.0.2.8", "192.0.2.9", "2001:db8::1"].map(ip));
        for (vtep, member, foreign) in [
            ("192.0.2.2", true, false),
            ("192.0.2.9", false, true),
            ("2001:db8::1", false, true),
            ("192.0.2.4", false, false),
        ] {
            assert_eq!(network.is_member(ip(vtep)), member, "{vtep}");
            assert_eq!(network.is_foreign(ip(vtep)), foreign, "{vtep}");
        }
    }

    #[test]
    fn a_path_is_as_wide_as_the_network_unless_it_is_said_to_be_narrower() {
        let narrow = [("192.0.2.9", 1400), ("192.0.2.2", 1300), ("192.0.2.3", 1450)];
        let again = [("192.0.2.9", 1350), ("2001:db8::1", 9000)];
        let narrow = narrow.into_iter().chain(again).map(|(vtep, mtu)| (ip(vtep), mtu)).collect();
        let network = Network::new(1, vni(7), Spec { narrow, ..spec() });
        for (vtep, mtu) in [
            ("192.0.2.2", 1300),
            ("192.0.2.9", 1350),
            ("192.0.2.3", 1450),
            ("2001:db8::1", 1450),
            ("192.0.2.77", 1450),
        ] {
            assert_eq!(network.mtu_to(ip(vtep)), mtu, "{vtep}");
        }
        assert_eq!(network.narrow.len(), 2);
        assert_eq!(Network::new(1, vni(7), spec()).mtu_to(ip("192.0.2.2")), 1450);
    }

    #[test]
    fn the_router_has_an_address_in_each_subnet() {
        let network = Network::new(1, vni(7), spec());
        assert_eq!(network.router_mac.to_string(), "02:42:0a:00:00:fe");
        for own in ["10.0.0.254", "10.0.1.1", "fd00::1", "fe80::42:aff:fe00:fe"] {
            assert!(network.is_gateway(ip(own)), "{own}");
        }
        assert!(!network.is_gateway(ip("10.0.0.1")));
        let gateway = |address| network.subnet_of(ip(address)).map(|subnet| subnet.gateway);
        assert_eq!(gateway("10.0.1.77"), Some(ip("10.0.1.1")));
        assert_eq!(gateway("fd00::77"), Some(ip("fd00::1")));
        assert_eq!(gateway("10.0.2.1"), None);
        assert!(router_mac(&[]).is_unicast());
    }

    #[test]
    fn a_plan_finds_networks_and_ports() {
        let other = Spec { ports: vec![port(9, 1, "10.0.0.1")], ..Spec::default() };
        let networks = [(7, spec()), (8, other)].map(|(n, s)| Arc::new(Network::new(1, vni(n), s)));
        let plan = Plan::new(1, ip("192.0.2.1"), networks);
        assert_eq!(plan.network(vni(8)).unwrap().vni, vni(8));
        assert!(plan.network(vni(9)).is_none());
        for (id, n, last) in [(5, 7, 1), (2, 7, 2), (9, 8, 1)] {
            let (network, port) = plan.port(PortId(id)).unwrap();
            assert_eq!((network.vni, port.id, port.mac), (vni(n), PortId(id), mac(last)));
        }
        for gone in [0, 6, 10, u32::MAX] {
            assert!(plan.port(PortId(gone)).is_none(), "{gone}");
        }
    }
}
