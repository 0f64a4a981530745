//! Two daemons and their containers.

use std::net::{Ipv4Addr, Ipv6Addr};

use vxmesh::api::Holder;

use crate::common::host::Host;
use crate::common::lab::{Family, Pair, one_host};
use crate::common::netns::Netns;
use crate::common::root;
use crate::common::transfer::{BULK, SOME, Transfer, transfer};

const A: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const A_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
const B_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 3);
const SUBNETS: &str = "--subnet 10.1.0.0/24 --subnet fd01::/64";

/// More than ten frames of 1450 bytes: what no single frame explains.
const SUPER: u64 = 16 << 10;

/// Two hosts with a container each on one network.
struct Lab {
    hosts: Pair,
    on_a: Netns,
    on_b: Netns,
}

fn lab(family: Family, a_arguments: &[&str], b_arguments: &[&str]) -> Lab {
    let hosts = Pair::start(family, a_arguments, b_arguments);
    hosts.create("red", 4300, SUBNETS);
    let (on_a, on_b) = (Netns::new("ca"), Netns::new("cb"));
    hosts.on_a("red", &on_a, &format!("--ip {A} --ip {A_V6}"));
    hosts.on_b("red", &on_b, &format!("--ip {B} --ip {B_V6}"));
    Lab { hosts, on_a, on_b }
}

impl Lab {
    fn pings(&self) {
        self.on_a.ping(B);
        self.on_b.ping(A);
        self.on_a.ping(B_V6);
        self.on_b.ping(A_V6);
    }

    fn transfers(&self, bytes: u64) {
        transfer(&self.on_a, &self.on_b, B, bytes);
        transfer(&self.on_b, &self.on_a, A, bytes);
        transfer(&self.on_a, &self.on_b, B_V6, bytes);
        transfer(&self.on_b, &self.on_a, A_V6, bytes);
    }
}

/// Bytes for each of something, since the daemon started.
fn mean(host: &Host, bytes: &str, calls: &str) -> u64 {
    host.counter(bytes) / host.counter(calls).max(1)
}

#[test]
fn two_hosts_over_ipv4() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    lab.pings();
    lab.transfers(BULK);
    // Fragments that the container made itself.
    assert!(lab.on_a.ping_says(B, "-s 20000").contains(" 0% packet loss"));
    assert!(lab.on_b.ping_says(A_V6, "-s 20000").contains(" 0% packet loss"));
}

/// The acceptance list's super-frames: one stream, an underlay of 1500 bytes.
#[test]
fn one_stream_moves_in_super_frames() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    transfer(&lab.on_a, &lab.on_b, B, BULK);
    let a = &lab.hosts.a;
    for (bytes, calls) in [("tap_read_bytes", "tap_reads"), ("udp_send_bytes", "udp_sends")] {
        let mean = mean(a, bytes, calls);
        assert!(mean > SUPER, "{bytes} / {calls} = {mean} at the sender");
    }
    let b = &lab.hosts.b;
    for (bytes, calls) in [("udp_receive_bytes", "udp_receives"), ("tap_write_bytes", "tap_writes")]
    {
        let mean = mean(b, bytes, calls);
        assert!(mean > SUPER / 2, "{bytes} / {calls} = {mean} at the receiver");
    }
}

#[test]
fn two_containers_on_one_host_exchange_whole_super_frames() {
    need!(root());
    let host = one_host();
    host.ok(&format!("network create red {SUBNETS}"));
    let (one, two) = (Netns::new("one"), Netns::new("two"));
    host.attach("red", &one, &format!("--ip {A} --ip {A_V6}"));
    host.attach("red", &two, &format!("--ip {B} --ip {B_V6}"));
    one.ping(B);
    one.ping(B_V6);
    let sent = host.counter("udp_sends");
    transfer(&one, &two, B, BULK);
    transfer(&two, &one, A_V6, SOME);
    let mean = mean(&host, "tap_super_write_bytes", "tap_super_writes");
    assert!(mean > SUPER, "super-frames of {mean} bytes");
    assert!(host.counter("local_bytes") > BULK + SOME, "all went from TAP to TAP");
    assert_eq!(host.counter("udp_sends"), sent, "nothing of it went to the underlay");
}

#[test]
fn two_hosts_over_ipv6() {
    need!(root());
    let lab = lab(Family::V6, &[], &[]);
    lab.pings();
    lab.transfers(SOME);
}

#[test]
fn both_directions_and_several_flows_at_once() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    lab.pings();
    let transfers = [
        Transfer::start(&lab.on_a, &lab.on_b, B, SOME),
        Transfer::start(&lab.on_b, &lab.on_a, A, SOME),
        Transfer::start(&lab.on_a, &lab.on_b, B_V6, SOME),
        Transfer::start(&lab.on_b, &lab.on_a, A_V6, SOME),
    ];
    for transfer in transfers {
        transfer.finish();
    }
}

/// The plain path at one end, and the fast one at the other.
#[test]
fn plain_taps_speak_with_fast_ones() {
    need!(root());
    let lab = lab(Family::V4, &["--offload", "off"], &[]);
    lab.pings();
    lab.transfers(SOME);
    assert_eq!(lab.hosts.a.counter("tap_super_reads"), 0);
    assert_eq!(lab.hosts.a.counter("tap_super_writes"), 0);
    assert_eq!(tap_kind(&lab.hosts.a, &lab.on_a), "plain");
    assert_eq!(tap_kind(&lab.hosts.b, &lab.on_b), "fast");
    assert_inactive(&lab.hosts.a, "tap");
}

#[test]
fn plain_taps_at_both_ends() {
    need!(root());
    let lab = lab(Family::V4, &["--offload", "off"], &["--offload", "off"]);
    lab.pings();
    lab.transfers(SOME);
}

#[test]
fn without_udp_segment() {
    need!(root());
    let lab = lab(Family::V4, &["--udp-gso", "off"], &["--udp-gso", "off"]);
    lab.pings();
    lab.transfers(SOME);
    assert_eq!(lab.hosts.a.counter("udp_gso_sends"), 0);
    assert_inactive(&lab.hosts.a, "udp-gso");
}

fn tap_kind(host: &Host, container: &Netns) -> String {
    match host.endpoint(container.name()).holder {
        Holder::Local { tap, .. } => tap,
        remote @ Holder::Remote { .. } => panic!("{remote:?}"),
    }
}

/// A fast path that is not taken says why.
fn assert_inactive(host: &Host, name: &str) {
    let status = host.status();
    let state = status.offload.iter().find(|o| o.name == name);
    assert!(state.is_some_and(|o| !o.active && !o.reason.is_empty()), "{:?}", status.offload);
}
