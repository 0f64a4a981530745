//! A host of the cluster that sends what it has no right to.

use std::net::{Ipv4Addr, UdpSocket};

use vxmesh::api::Endpoint;

use crate::common::cluster::wait_down;
use crate::common::fabric::Fabric;
use crate::common::frames::{IPV4, Mac, UDP, ethernet, ipv4, udp, vxlan};
use crate::common::host::Host;
use crate::common::lab::{attach_known, wait_network};
use crate::common::netns::Netns;
use crate::common::raw::PacketSocket;
use crate::common::{root, wait_until};

const VNI: u32 = 5000;
const I_FLAG: u8 = 0x08;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 78);
const ANOTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 79);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 200);
const NOBODYS_MAC: Mac = [0x02, 0, 0, 0, 0, 200];
/// The number of a foreign VTEP on the underlay.
const FOREIGN: u8 = 9;
/// Stands in every frame that must not arrive.
const MARK: &[u8] = b"must not arrive";

/// Docker's MAC for an address.
fn mac(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x02, 0x42, a, b, c, d]
}

/// A host with a container, two other members with one each, and a foreign VTEP.
/// The second member and the foreign VTEP send by a socket of the test's own.
struct Lab {
    host: Host,
    member: UdpSocket,
    foreign: UdpSocket,
    ear: PacketSocket,
    others: [Host; 2],
    _rest: (Vec<Netns>, Fabric),
}

fn lab() -> Lab {
    let fabric = Fabric::new();
    let [host, second, third] = fabric.cluster();
    host.ok(&format!("network create red --vni {VNI} --subnet 10.1.0.0/24"));
    wait_network("red", &[&second, &third]);
    let [ours, own, another] = ["ours", "own", "another"].map(Netns::new);
    host.attach("red", &ours, &format!("--ip {OURS}"));
    attach_known(&second, "red", &own, &format!("--ip {OWN}"), &[&host]);
    attach_known(&third, "red", &another, &format!("--ip {ANOTHER}"), &[&host]);
    let far = fabric.plug(FOREIGN);
    host.ok(&format!("vtep add red {}", Fabric::vtep(FOREIGN)));
    let member = second.ns.enter(|| UdpSocket::bind((second.vtep, 0)).unwrap());
    let foreign = far.enter(|| UdpSocket::bind((Fabric::vtep(FOREIGN), 0)).unwrap());
    let ear = PacketSocket::open(&ours, "eth0");
    let rest = (vec![ours, own, another, far], fabric);
    Lab { host, member, foreign, ear, others: [second, third], _rest: rest }
}

impl Lab {
    /// Sends to our container from this MAC and address.
    fn send(&self, from: &UdpSocket, src: Mac, source: Ipv4Addr, payload: &[u8]) {
        let packet = ipv4(source, OURS, UDP, &udp(7777, 5555, payload));
        let frame = ethernet(mac(OURS), src, IPV4, &packet);
        from.send_to(&vxlan(I_FLAG, VNI, &frame), (self.host.vtep, 4789)).unwrap();
    }

    fn refuses(&self, reason: &str, what: &str, from: &UdpSocket, src: Mac, source: Ipv4Addr) {
        let before = self.host.drops(reason);
        wait_until(&format!("{what}: counted as {reason}"), || {
            // Again, as a member that is taken for down is a stranger for a moment.
            self.send(from, src, source, MARK);
            self.host.drops(reason) > before
        });
        assert!(!self.ear.has_heard(MARK), "{what}: reached a container");
    }
}

#[test]
fn a_member_sends_for_its_own_endpoints_only() {
    need!(root());
    let lab = lab();
    for (what, reason, src, source) in [
        ("another host's MAC", "spoofed-mac", mac(ANOTHER), ANOTHER),
        ("another host's MAC with an own address", "spoofed-mac", mac(ANOTHER), OWN),
        ("our own container's MAC", "spoofed-mac", mac(OURS), OURS),
        ("a MAC of nobody", "spoofed-mac", NOBODYS_MAC, OWN),
        ("another host's address", "spoofed-ip", mac(OWN), ANOTHER),
        ("an address of nobody", "spoofed-ip", mac(OWN), NOBODY),
        ("another host's address, as if routed", "spoofed-ip", mac(ROUTER), ANOTHER),
    ] {
        lab.refuses(reason, what, &lab.member, src, source);
    }
    for (src, payload) in [(mac(OWN), &b"its own"[..]), (mac(ROUTER), b"routed by its router")] {
        wait_until("what a member may send arrives", || {
            lab.send(&lab.member, src, OWN, payload);
            lab.ear.has_heard(payload)
        });
    }
}

#[test]
fn a_foreign_vtep_does_not_speak_for_the_clusters_endpoints() {
    need!(root());
    let lab = lab();
    for (what, reason, src) in [
        ("a member's MAC from a foreign VTEP", "spoofed-mac", mac(OWN)),
        ("a member's address from a foreign VTEP", "spoofed-ip", NOBODYS_MAC),
    ] {
        lab.refuses(reason, what, &lab.foreign, src, OWN);
    }
}

/// What it may have sent as a member counts for nothing afterwards.
#[test]
fn a_member_that_is_down_or_removed_is_a_stranger() {
    need!(root());
    let mut lab = lab();
    lab.others[0].kill_9();
    wait_down(&lab.host, &lab.others[0]);
    wait_down(&lab.others[1], &lab.others[0]);
    lab.refuses("stranger", "a member that is down", &lab.member, mac(OWN), OWN);
    lab.host.ok(&format!("node rm {}", lab.others[0].ns.name()));
    lab.refuses("stranger", "a member that was removed", &lab.member, mac(OWN), OWN);
    // It does not know that it was removed, until whom it asks first has told it.
    lab.others[0].restart();
    let has_refused = |member: &Host| {
        let refused = member.status().cluster.refused;
        refused.iter().any(|r| r.node.is_empty() && r.count > 0)
    };
    wait_until("it has tried", || has_refused(&lab.host) || has_refused(&lab.others[1]));
    lab.refuses("stranger", "a removed member that is back", &lab.member, mac(OWN), OWN);
    let ours = |e: &Endpoint| e.addresses[0].addr() == OURS || e.addresses[0].addr() == ANOTHER;
    wait_until("only its endpoint is gone", || {
        let endpoints = lab.host.endpoints();
        endpoints.len() == 2 && endpoints.iter().all(ours)
    });
}
