//! What must not pass from one network to another, and what only passes when
//! a network asks for it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::common::lab::{Family, Pair};
use crate::common::netns::Netns;
use crate::common::raw::PacketSocket;
use crate::common::{holds_within, root, wait_until};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

/// Two networks on the same two hosts, and a container that knows the other
/// network's addresses and MACs.
#[test]
fn networks_do_not_meet() {
    need!(root());
    let hosts = Pair::start(Family::V4, &[], &[]);
    hosts.create("red", 4500, "--subnet 10.1.0.0/24");
    hosts.create("blue", 4501, "--subnet 10.2.0.0/24");
    let (red_a, red_b) = (Netns::new("reda"), Netns::new("redb"));
    let (blue_a, blue_b) = (Netns::new("bluea"), Netns::new("blueb"));
    hosts.on_a("red", &red_a, "--ip 10.1.0.2");
    hosts.on_b("red", &red_b, "--ip 10.1.0.3");
    hosts.on_a("blue", &blue_a, "--ip 10.2.0.2");
    hosts.on_b("blue", &blue_b, "--ip 10.2.0.4");
    let ears = [PacketSocket::open(&red_a, "eth0"), PacketSocket::open(&red_b, "eth0")];
    red_a.ping(Ipv4Addr::new(10, 1, 0, 3));
    blue_a.ping(Ipv4Addr::new(10, 2, 0, 4));

    let marked = "-p b1be5ec7b1be5ec7";
    let says = blue_a.ping_says(Ipv4Addr::new(10, 2, 0, 4), marked);
    assert!(says.contains(" 0% packet loss"), "{says}");
    blue_a.ip("route add 10.1.0.3/32 dev eth0");
    blue_a.ip("neigh replace 10.1.0.3 lladdr 02:42:0a:01:00:03 dev eth0 nud permanent");
    let before = hosts.a.drops("unknown-unicast");
    let says = blue_a.ping_says(Ipv4Addr::new(10, 1, 0, 3), &format!("-W 2 {marked}"));
    assert!(says.contains("100% packet loss"), "{says}");
    hosts.a.wait_drop("unknown-unicast", before, "a MAC of another network");
    for ear in &ears {
        assert!(!ear.has_heard(&[0xb1, 0xbe, 0x5e, 0xc7]), "red has heard blue");
    }
}

/// Networks with different subnets: the gateway of one does not route to the other.
#[test]
fn the_gateway_does_not_lead_to_another_network() {
    need!(root());
    let hosts = Pair::start(Family::V4, &[], &[]);
    hosts.create("red", 4502, "--subnet 10.1.0.0/24");
    hosts.create("blue", 4503, "--subnet 10.2.0.0/24");
    let (red, blue) = (Netns::new("red"), Netns::new("blue"));
    hosts.on_a("red", &red, "");
    hosts.on_a("blue", &blue, "");
    red.ping(Ipv4Addr::new(10, 1, 0, 1));
    let says = red.ping_says(Ipv4Addr::new(10, 2, 0, 2), "");
    assert!(says.contains("Net Unreachable"), "{says}");
}

/// A sender, a receiver on the same host and one on the other.
struct Group {
    hosts: Pair,
    sender: Netns,
    receivers: [Netns; 2],
}

fn group(options: &str) -> Group {
    let hosts = Pair::start(Family::V4, &[], &[]);
    hosts.create("red", 4504, &format!("--subnet 10.1.0.0/24 {options}"));
    let (sender, near, far) = (Netns::new("send"), Netns::new("near"), Netns::new("far"));
    hosts.on_a("red", &sender, "--ip 10.1.0.2");
    hosts.on_a("red", &near, "--ip 10.1.0.3");
    hosts.on_b("red", &far, "--ip 10.1.0.4");
    sender.ping(Ipv4Addr::new(10, 1, 0, 3));
    sender.ping(Ipv4Addr::new(10, 1, 0, 4));
    Group { hosts, sender, receivers: [near, far] }
}

impl Group {
    fn members(&self) -> [UdpSocket; 2] {
        self.receivers.each_ref().map(|ns| {
            let socket = ns.enter(|| {
                let socket = UdpSocket::bind((GROUP, 5000)).unwrap();
                socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED).unwrap();
                socket
            });
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            socket
        })
    }

    fn send(&self) {
        let to = SocketAddr::from((GROUP, 5000));
        self.sender.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_multicast_ttl_v4(4).unwrap();
            socket.send_to(b"to the group", to).unwrap();
        });
    }
}

fn receives(socket: &UdpSocket) -> bool {
    let mut buffer = [0; 64];
    socket.recv(&mut buffer).is_ok_and(|n| &buffer[..n] == b"to the group")
}

#[test]
fn multicast_reaches_all_hosts_where_the_network_has_it() {
    need!(root());
    let group = group("--opt multicast");
    let members = group.members();
    for member in &members {
        wait_until("a datagram to the group arrives", || {
            group.send();
            receives(member)
        });
    }
}

#[test]
fn multicast_is_dropped_and_counted_elsewhere() {
    need!(root());
    let group = group("");
    let members = group.members();
    let before = group.hosts.a.drops("multicast");
    group.send();
    group.hosts.a.wait_drop("multicast", before, "a datagram to a group");
    for member in &members {
        assert!(!holds_within(Duration::from_millis(200), || receives(member)));
    }
}
