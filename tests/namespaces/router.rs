//! The gateway: what it answers, what it forwards, what it refuses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::common::lab::{Family, Pair, one_host};
use crate::common::netns::Netns;
use crate::common::root;
use crate::common::transfer::{SOME, transfer};
use crate::common::wait_until;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
const LEFT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const LEFT_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const RIGHT_V6: Ipv6Addr = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 2);
const SUBNETS: &str =
    "--subnet 10.1.0.0/24 --subnet 10.2.0.0/24 --subnet fd01::/64 --subnet fd02::/64";

/// Two containers on one network, each in subnets of its own.
fn attach_in_two_subnets(hosts: &Pair) -> (Netns, Netns) {
    hosts.create("red", 4400, SUBNETS);
    let (left, right) = (Netns::new("left"), Netns::new("right"));
    hosts.on_a("red", &left, &format!("--ip {LEFT} --ip {LEFT_V6}"));
    hosts.on_b("red", &right, &format!("--ip {RIGHT} --ip {RIGHT_V6}"));
    (left, right)
}

#[test]
fn subnets_of_a_network_are_routed_between_hosts() {
    need!(root());
    let hosts = Pair::start(Family::V4, &[], &[]);
    let (left, right) = attach_in_two_subnets(&hosts);
    left.ping(RIGHT);
    right.ping(LEFT_V6);
    let says = left.ping_says(RIGHT, "");
    assert!(says.contains("ttl=63"), "one router on the way: {says}");
    let says = left.ping_says(RIGHT_V6, "");
    assert!(says.contains("ttl=63"), "one router on the way: {says}");
    transfer(&left, &right, RIGHT, SOME);
    transfer(&right, &left, LEFT_V6, SOME);
}

#[test]
fn the_last_hop_is_reported() {
    need!(root());
    let hosts = Pair::start(Family::V4, &[], &[]);
    let (left, _right) = attach_in_two_subnets(&hosts);
    left.ping(RIGHT);
    left.ping(RIGHT_V6);
    let says = left.ping_says(RIGHT, "-t 1");
    assert!(
        says.contains(&format!("From {GATEWAY} ")) && says.contains("Time to live exceeded"),
        "{says}"
    );
    let says = left.ping_says(RIGHT_V6, "-t 1");
    assert!(says.contains(&format!("From {GATEWAY_V6} ")) && says.contains("Hop limit"), "{says}");
    assert!(hosts.a.drops("time-exceeded") >= 2);
}

#[test]
fn the_gateway_answers_pings_and_refuses_the_rest() {
    need!(root());
    let host = one_host();
    host.ok(&format!("network create red {SUBNETS}"));
    let box1 = Netns::new("box");
    host.attach("red", &box1, &format!("--ip {LEFT} --ip {LEFT_V6}"));
    box1.ping(GATEWAY);
    box1.ping(GATEWAY_V6);
    let says = box1.ping_says(Ipv4Addr::new(192, 0, 2, 1), "");
    assert!(
        says.contains(&format!("From {GATEWAY} ")) && says.contains("Net Unreachable"),
        "{says}"
    );
    let says = box1.ping_says(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), "");
    assert!(says.contains(&format!("From {GATEWAY_V6} ")) && says.contains("No route"), "{says}");
    assert!(host.drops("no-route") >= 2);
    // An address of another subnet that no endpoint has.
    let says = box1.ping_says(Ipv4Addr::new(10, 2, 0, 77), "");
    assert!(says.contains("Host Unreachable"), "{says}");
    // A port of the gateway's.
    let address = (GATEWAY, 80);
    let refused =
        box1.enter(|| std::net::TcpStream::connect_timeout(&address.into(), crate::common::SOON));
    assert!(
        refused.is_err_and(|e| e.kind() != std::io::ErrorKind::TimedOut),
        "an answer, not silence"
    );
}

/// Containers that raised their MTU above what the underlay carries.
#[test]
fn packets_larger_than_the_path_are_reported() {
    need!(root());
    let hosts = Pair::start(Family::V4, &[], &[]);
    hosts.create("red", 4401, "--subnet 10.1.0.0/24 --subnet fd01::/64");
    let (left, right) = (Netns::new("left"), Netns::new("right"));
    hosts.on_a("red", &left, &format!("--ip {LEFT} --ip {LEFT_V6}"));
    hosts.on_b("red", &right, "--ip 10.1.0.3 --ip fd01::3");
    let (to, to_v6) = (Ipv4Addr::new(10, 1, 0, 3), Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 3));
    for ns in [&left, &right] {
        ns.ip("link set eth0 mtu 9000");
    }
    left.ping(to);
    left.ping(to_v6);
    let says = left.ping_says(to, "-M do -s 2000");
    assert!(says.contains(&format!("From {GATEWAY} ")) && says.contains("mtu = 1450"), "{says}");
    let says = left.ping_says(to_v6, "-M do -s 2000");
    assert!(says.contains(&format!("From {GATEWAY_V6} ")) && says.contains("mtu=1450"), "{says}");
    // Having been told, the container's TCP goes on with what fits, both ways:
    // the other side has not been told yet.
    transfer(&left, &right, to, SOME);
    transfer(&right, &left, LEFT_V6, SOME);
    assert!(hosts.a.drops("too-big") >= 2);
}

#[test]
fn internal_networks_have_no_way_out() {
    need!(root());
    let host = one_host();
    host.ok("network create red --internal --subnet 10.1.0.0/24 --subnet fd01::/64");
    let (one, two) = (Netns::new("one"), Netns::new("two"));
    host.attach("red", &one, "");
    host.attach("red", &two, "");
    one.ping(Ipv4Addr::new(10, 1, 0, 3));
    wait_until("no default route", || one.ip("route show default").is_empty());
    assert_eq!(one.ip("-6 route show default"), "");
    let says = one.ping_says(Ipv4Addr::new(192, 0, 2, 1), "");
    assert!(says.contains("Network is unreachable"), "{says}");
}
