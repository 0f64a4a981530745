//! What all hosts of a cluster must say alike.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use vxmesh::api::{Capacity, Endpoint, Holder, NodeState};

use super::host::Host;
use super::netns::Netns;
use super::{LONG, holds_within};

/// An endpoint, as every host must show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    id: String,
    name: String,
    network: String,
    mac: String,
    addresses: Vec<String>,
    vtep: IpAddr,
}

/// What one host shows: its endpoints, each network with its peers, and who owns what.
type View = (BTreeSet<Shown>, BTreeSet<(String, String, Vec<(String, IpAddr)>)>, Vec<Capacity>);

fn shown(host: &Host, endpoint: &Endpoint) -> Shown {
    let vtep = match &endpoint.holder {
        Holder::Local { .. } => host.vtep,
        Holder::Remote { vtep, .. } => *vtep,
    };
    Shown {
        id: endpoint.id.clone(),
        name: endpoint.name.clone(),
        network: endpoint.network_id.clone(),
        mac: endpoint.mac.to_string(),
        addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
        vtep,
    }
}

fn view(host: &Host) -> View {
    let endpoints = host.endpoints().iter().map(|e| shown(host, e)).collect();
    let networks = host.networks().into_iter().map(|n| {
        let mut peers: Vec<_> = n.peers.into_iter().map(|p| (p.name, p.ip)).collect();
        peers.sort();
        (n.id, n.name, peers)
    });
    (endpoints, networks.collect(), host.status().cluster.capacity)
}

/// What all hosts hold themselves: no more and no less must each of them show.
fn held(hosts: &[&Host]) -> BTreeSet<Shown> {
    let local = |e: &Endpoint| matches!(e.holder, Holder::Local { .. });
    let of = |host: &&Host| -> Vec<Shown> {
        host.endpoints().iter().filter(|e| local(e)).map(|e| shown(host, e)).collect()
    };
    hosts.iter().flat_map(of).collect()
}

/// Of more hosts each is compared with a certain other too seldom to wait for it.
const COMPARED_SOON: usize = 3;

/// Waits until all hosts show the same, which is what they hold, and find no
/// difference when they compare their tables. Then no address may be there twice.
pub(crate) fn wait_agreement(hosts: &[&Host]) {
    let count = hosts.len();
    let agree = holds_within(LONG, || {
        let held = held(hosts);
        let first = view(hosts[0]);
        hosts.iter().all(|host| {
            let cluster = host.status().cluster;
            let view = view(host);
            view.0 == held
                && view == first
                && (cluster.nodes, cluster.up) == (count, count)
                && (count > COMPARED_SOON || cluster.differing.is_empty())
        })
    });
    assert!(
        agree,
        "no agreement within {LONG:?}; held: {:#?}; shown: {:#?}; differing: {:?}",
        held(hosts),
        hosts.iter().map(|h| view(h)).collect::<Vec<_>>(),
        hosts.iter().map(|h| h.status().cluster.differing).collect::<Vec<_>>(),
    );
    let mut addresses = BTreeSet::new();
    for endpoint in held(hosts) {
        for address in endpoint.addresses {
            let place = (endpoint.network.clone(), address);
            assert!(addresses.insert(place.clone()), "{place:?} is there twice");
        }
    }
}

/// Waits until `host` says that the node of `other` is down.
pub(crate) fn wait_down(host: &Host, other: &Host) {
    let down = holds_within(LONG, || {
        let is_down = |n: &vxmesh::api::Node| {
            n.name == other.ns.name() && matches!(n.state, NodeState::Down { .. })
        };
        host.nodes().iter().any(is_down)
    });
    assert!(down, "{} does not see {} go down", host.ns.name(), other.ns.name());
}

/// A container of its own on a network.
pub(crate) fn container(host: &Host, network: &str, more: &str) -> Container {
    let ns = Netns::new("c");
    let endpoint = host.attach(network, &ns, more);
    let ip = endpoint.addresses[0].addr();
    Container { ns, endpoint, ip }
}

/// A container with one address.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) ns: Netns,
    pub(crate) endpoint: Endpoint,
    pub(crate) ip: IpAddr,
}

impl Container {
    pub(crate) fn name(&self) -> &str {
        self.ns.name()
    }
}

/// Each of these containers pings each other.
pub(crate) fn all_ping(containers: &[&Container]) {
    for from in containers {
        for to in containers.iter().filter(|to| to.ip != from.ip) {
            from.ns.ping(to.ip);
        }
    }
}

/// One of the spaces that `status` shows; a network's by the network's name.
pub(crate) fn capacity(host: &Host, space: &str) -> Capacity {
    let all = host.status().cluster.capacity;
    let named = |c: &&Capacity| c.space.split(' ').next() == Some(space);
    all.iter().find(named).unwrap_or_else(|| panic!("no {space} in {all:?}")).clone()
}

/// An address of 10.1.0.0/24, the subnet of most networks here.
pub(crate) fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 1, 0, last).into()
}

/// A process's number of KiB under a name of its /proc status, such as `VmRSS:`.
pub(crate) fn memory(host: &Host, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
