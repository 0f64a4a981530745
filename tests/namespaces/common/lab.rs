//! Ready-made laboratories: two ends of a cable, one host, a cluster of two.

use std::net::IpAddr;

use vxmesh::api::{Endpoint, NodeState};

use super::host::Host;
use super::netns::{Netns, cable};
use super::{LONG, holds_within, wait_until};

/// The underlay's interface in every namespace that has one.
pub(crate) const UNDERLAY: &str = "u0";

/// The underlay's address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// The underlay address of the host with this number.
    pub(crate) fn vtep(self, number: u8) -> IpAddr {
        match self {
            Family::V4 => IpAddr::from([10, 99, 0, number]),
            Family::V6 => IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, u16::from(number)]),
        }
    }

    /// How long its prefixes are here.
    pub(crate) fn prefix(self) -> u8 {
        match self {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }
}

/// Two namespaces joined by a cable, numbers 1 and 2 of the underlay.
pub(crate) fn underlay(family: Family) -> (Netns, Netns) {
    let (a, b) = (Netns::new("a"), Netns::new("b"));
    cable(&a, &b, UNDERLAY);
    for (ns, number) in [(&a, 1), (&b, 2)] {
        ns.address(&format!("{}/{}", family.vtep(number), family.prefix()), UNDERLAY);
    }
    (a, b)
}

/// A host on its own. It has an underlay that nobody else is on.
pub(crate) fn one_host() -> Host {
    let ns = Netns::new("host");
    ns.ip(&format!("link add {UNDERLAY} type veth peer name u1"));
    for end in [UNDERLAY, "u1"] {
        ns.ip(&format!("link set {end} up"));
    }
    ns.address("10.99.0.1/24", UNDERLAY);
    Host::start(ns, Family::V4.vtep(1), &[])
}

/// Two hosts of one cluster.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) a: Host,
    pub(crate) b: Host,
}

impl Pair {
    /// Two hosts whose daemons have these further arguments; the second joins the first.
    pub(crate) fn start(family: Family, a_arguments: &[&str], b_arguments: &[&str]) -> Pair {
        let (a, b) = underlay(family);
        let a = Host::start(a, family.vtep(1), a_arguments);
        let b = Host::start(b, family.vtep(2), b_arguments);
        b.join(&a);
        wait_members(&[&a, &b]);
        Pair { a, b }
    }

    /// Creates a network on the first, and waits until the second has it.
    pub(crate) fn create(&self, name: &str, vni: u32, more: &str) {
        self.a.ok(&format!("network create {name} --vni {vni} {more}"));
        wait_network(name, &[&self.b]);
    }

    /// A container on the first host, of which the second knows.
    pub(crate) fn on_a(&self, network: &str, container: &Netns, more: &str) -> Endpoint {
        attach_known(&self.a, network, container, more, &[&self.b])
    }

    /// A container on the second host, of which the first knows.
    pub(crate) fn on_b(&self, network: &str, container: &Netns, more: &str) -> Endpoint {
        attach_known(&self.b, network, container, more, &[&self.a])
    }
}

/// Waits until each of these hosts says that the cluster is just them, all up.
pub(crate) fn wait_members(hosts: &[&Host]) {
    let count = hosts.len();
    for host in hosts {
        let all_up = holds_within(LONG, || {
            let nodes = host.nodes();
            nodes.len() == count && nodes.iter().all(|n| n.state == NodeState::Up)
        });
        assert!(all_up, "{} does not see {count} nodes up: {:?}", host.ns.name(), host.nodes());
    }
}

/// Waits until each of these hosts has a network of this name.
pub(crate) fn wait_network(name: &str, hosts: &[&Host]) {
    for host in hosts {
        wait_until(&format!("{} has network {name}", host.ns.name()), || {
            host.networks().iter().any(|n| n.name == name)
        });
    }
}

/// Attaches a container, and waits until the others know of it.
pub(crate) fn attach_known(
    host: &Host,
    network: &str,
    container: &Netns,
    more: &str,
    others: &[&Host],
) -> Endpoint {
    let endpoint = host.attach(network, container, more);
    for other in others {
        wait_until(&format!("{} knows {}", other.ns.name(), endpoint.name), || {
            other.knows(&endpoint)
        });
    }
    endpoint
}

/// A Linux `vxlan` device in the namespace `at`, whose far end is `remote`,
/// put as `eth0` into a container of its own: the kernel as the other VTEP.
pub(crate) fn kernel_vtep(at: &Netns, vni: u32, local: IpAddr, remote: IpAddr, mtu: u16) -> Netns {
    let container = Netns::new("kernel");
    at.ip(&format!(
        "link add vxlan0 type vxlan id {vni} local {local} remote {remote} dstport 4789"
    ));
    // The device keeps sending from the namespace that it was made in.
    at.ip(&format!("link set vxlan0 netns {} name eth0", container.name()));
    container.ip(&format!("link set eth0 mtu {mtu} up"));
    container
}
