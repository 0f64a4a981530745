//! A small cluster to ask the switch about, and frames to ask with.

mod bridge;
mod foreign;
mod guard;
mod isolation;
mod member;
mod narrow;
mod neighbour;
mod question;
mod router;
mod services;
mod verify;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::core::plan::{Port, Remote, Spec, Subnet};
use crate::wire::checksum;
use crate::wire::frame::{ARP, IPV4, IPV6, protocol};
use crate::wire::vnet::{Kind, Partial};

/// An endpoint with an address of each family.
#[derive(Clone, Copy, Debug)]
struct Host {
    mac: Mac,
    v4: IpAddr,
    v6: IpAddr,
}

/// Host `n` of subnet `s`: 10.0.s.n and fd00:s::n (the number in decimal).
fn host(s: u8, n: u8) -> Host {
    let v4 = ip(&format!("10.0.{s}.{n}"));
    Host { mac: Mac::for_ip(v4), v4, v6: ip(&format!("fd00:{s}::{n}")) }
}

impl Host {
    fn addresses(self) -> Vec<IpAddr> {
        vec![self.v4, self.v6]
    }

    fn link_local(self) -> IpAddr {
        self.mac.link_local().into()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The network under test, and the number of the one beside it.
const VNI: u32 = 7;
const OTHER: u32 = 8;
const MTU: u16 = 1450;

/// Local ports: two in the first subnet, one in the second; then one in the
/// other network, with the same addresses as the first.
const A: PortId = PortId(0);
const B: PortId = PortId(1);
const C: PortId = PortId(2);
const X: PortId = PortId(3);

fn a() -> Host {
    host(1, 10)
}
fn b() -> Host {
    host(1, 11)
}
fn c() -> Host {
    host(2, 12)
}
/// On another host of the cluster, in the first and the second subnet.
fn remote() -> Host {
    host(1, 20)
}
fn remote2() -> Host {
    host(2, 21)
}
/// Behind a foreign VTEP, in the second subnet; the plan does not know it.
fn stranger() -> Host {
    host(2, 99)
}

fn own_vtep() -> IpAddr {
    ip("192.0.2.1")
}
fn member() -> IpAddr {
    ip("192.0.2.2")
}
fn member2() -> IpAddr {
    ip("2001:db8::3")
}
fn foreign() -> IpAddr {
    ip("192.0.2.8")
}
fn foreign2() -> IpAddr {
    ip("192.0.2.9")
}

fn vni(n: u32) -> Vni {
    Vni::new(n).unwrap()
}

fn spec() -> Spec {
    let subnet = |net: &str, gateway| Subnet { net: net.parse().unwrap(), gateway: ip(gateway) };
    let port = |id, host: Host| Port { id, mac: host.mac, addresses: host.addresses() };
    let far = |host: Host, vtep| Remote { mac: host.mac, addresses: host.addresses(), vtep };
    Spec {
        mtu: MTU,
        subnets: vec![
            subnet("10.0.1.0/24", "10.0.1.1"),
            subnet("10.0.2.0/24", "10.0.2.1"),
            subnet("fd00:1::/64", "fd00:1::1"),
            subnet("fd00:2::/64", "fd00:2::1"),
        ],
        multicast: false,
        encrypted: None,
        ports: vec![port(A, a()), port(B, b()), port(C, c())],
        remotes: vec![far(remote(), member()), far(remote2(), member2())],
        foreign: Vec::new(),
        narrow: Vec::new(),
        vips: Vec::new(),
    }
}

fn plan(spec: Spec) -> Plan {
    let mut other = self::spec();
    other.ports = vec![Port { id: X, ..other.ports[0].clone() }];
    let networks = [(VNI, spec), (OTHER, other)]
        .map(|(n, spec)| Arc::new(Network::new(u64::from(n), vni(n), spec)));
    Plan::new(1, own_vtep(), networks)
}

/// A switch, its plan and its clock.
struct Lab {
    plan: Plan,
    switch: Switch,
    now: Now,
}

impl Lab {
    fn new(spec: Spec) -> Lab {
        Lab { plan: plan(spec), switch: Switch::new(3), now: Duration::from_secs(1000) }
    }

    fn closed() -> Lab {
        Lab::new(spec())
    }

    fn multicast() -> Lab {
        Lab::new(Spec { multicast: true, ..spec() })
    }

    fn open() -> Lab {
        Lab::new(Spec { foreign: vec![foreign2(), foreign()], ..spec() })
    }

    fn router_mac(&self) -> Mac {
        self.plan.network(vni(VNI)).unwrap().router_mac
    }

    fn port(&mut self, port: PortId, frame: &mut [u8]) -> Verdict {
        self.offloaded(port, frame, Offload::NONE)
    }

    fn offloaded(&mut self, port: PortId, frame: &mut [u8], offload: Offload) -> Verdict {
        let view = View::parse(frame).unwrap();
        self.switch.from_port(&self.plan, self.now, port, frame, &view, &offload)
    }

    fn vtep(&mut self, vtep: IpAddr, frame: &mut [u8]) -> Verdict {
        let view = View::parse(frame).unwrap();
        match Switch::admit(&self.plan, vtep, vni(VNI), Dress::Clear) {
            Ok(admission) => self.switch.from_vtep(&self.plan, self.now, admission, frame, &view),
            Err(reason) => Verdict::Drop(reason),
        }
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = self.switch.targets().to_vec();
        targets.sort();
        targets
    }

    /// The reply, checked from end to end.
    fn reply(&self) -> Reply {
        Reply::read(self.switch.reply())
    }
}

const FOREIGN_ONLY: fn() -> Vec<Target> =
    || vec![Target::Vtep(foreign()), Target::Vtep(foreign2())];

/// An ICMP message that the switch wrote.
#[derive(Debug)]
struct Reply {
    view: View,
    kind: (u8, u8),
    rest: [u8; 4],
    body: Vec<u8>,
}

impl Reply {
    fn read(frame: &[u8]) -> Reply {
        let view = View::parse(frame).unwrap();
        assert_eq!(view.end, frame.len(), "no padding");
        let message = &frame[view.l4..];
        let sum = match view.net {
            Net::V4 => {
                assert_eq!(view.protocol, protocol::ICMP);
                assert_eq!(checksum::fold(checksum::sum(&frame[View::L3..view.l4])), 0xffff);
                0
            }
            _ => {
                assert_eq!(view.protocol, protocol::ICMPV6);
                checksum::pseudo_header(view.addresses(frame), protocol::ICMPV6, message.len())
            }
        };
        assert_eq!(checksum::fold(sum + checksum::sum(message)), 0xffff, "ICMP checksum");
        Reply {
            view,
            kind: (message[0], message[1]),
            rest: message[4..8].try_into().unwrap(),
            body: message[8..].to_vec(),
        }
    }
}

fn ethernet(src: Mac, dst: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0, &src.0, ethertype.to_be_bytes().as_slice(), payload].concat()
}

/// An IP packet in a frame. `to` is the Ethernet destination.
fn packet(
    from: (Mac, IpAddr),
    to: (Mac, IpAddr),
    protocol: u8,
    ttl: u8,
    payload: &[u8],
) -> Vec<u8> {
    let len = payload.len() as u16;
    match (from.1, to.1) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = [0x45, 0, 0, 0, 0x12, 0x34, 0, 0, ttl, protocol, 0, 0].to_vec();
            header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
            header.extend(source.octets());
            header.extend(destination.octets());
            let sum = !checksum::fold(checksum::sum(&header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            ethernet(from.0, to.0, IPV4, &[&header, payload].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = [0x60, 0, 0, 0, 0, 0, protocol, ttl].to_vec();
            header[4..6].copy_from_slice(&len.to_be_bytes());
            header.extend(source.octets());
            header.extend(destination.octets());
            ethernet(from.0, to.0, IPV6, &[&header, payload].concat())
        }
        _ => panic!("{from:?} and {to:?} are of different families"),
    }
}

/// A UDP datagram of this many bytes.
fn udp(from: (Mac, IpAddr), to: (Mac, IpAddr), len: usize) -> Vec<u8> {
    let mut datagram = vec![0x11; len];
    datagram[..8].copy_from_slice(&[0x9c, 0x40, 0, 80, 0, 0, 0, 0]);
    datagram[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    packet(from, to, protocol::UDP, 64, &datagram)
}

/// What a super-frame of UDP datagrams with `size` bytes of payload needs.
fn gso(frame: &[u8], size: u16) -> Offload {
    Offload::super_frame(Kind::Udp, size, &View::parse(frame).unwrap())
}

/// An ICMP or ICMPv6 message (by the addresses' family) with its checksum.
fn icmp(
    from: (Mac, IpAddr),
    to: (Mac, IpAddr),
    ttl: u8,
    kind: (u8, u8),
    rest: [u8; 4],
    body: &[u8],
) -> Vec<u8> {
    let message = [&[kind.0, kind.1, 0, 0], rest.as_slice(), body].concat();
    let protocol = if from.1.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    finish(packet(from, to, protocol, ttl, &message))
}

/// Completes the ICMP checksum.
fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    let view = View::parse(&frame).unwrap();
    let len = view.end - view.l4;
    let pseudo = match view.net {
        Net::V6 => checksum::pseudo_header(view.addresses(&frame), protocol::ICMPV6, len),
        _ => 0,
    };
    let sum = !checksum::fold(pseudo + checksum::sum(&frame[view.l4..]));
    frame[view.l4 + 2..view.l4 + 4].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// An echo request with identifier 0x0102, number 3 and some payload.
fn ping(from: (Mac, IpAddr), to: (Mac, IpAddr)) -> Vec<u8> {
    let kind = if from.1.is_ipv4() { 8 } else { 128 };
    icmp(from, to, 64, (kind, 0), [1, 2, 0, 3], b"payload")
}

const REQUEST: u16 = 1;
const ANSWER: u16 = 2;

/// An ARP packet whose sender and target hardware addresses are `from`'s and zero.
fn arp(op: u16, from: (Mac, IpAddr), dst: Mac, target: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (from.1, target) else {
        panic!("ARP is for IPv4")
    };
    let mut body = [0, 1, 8, 0, 6, 4].to_vec();
    body.extend(op.to_be_bytes());
    body.extend(from.0.0);
    body.extend(sender.octets());
    body.extend([0; 6]);
    body.extend(target.octets());
    ethernet(from.0, dst, ARP, &body)
}

/// The group of a solicitation for `target`, as addresses of both layers.
fn solicited(target: IpAddr) -> (Mac, IpAddr) {
    let IpAddr::V6(target) = target else { panic!("ND is for IPv6") };
    let [.., x, y, z] = target.octets();
    let group = format!("ff02::1:ff{x:02x}:{:x}", u16::from_be_bytes([y, z]));
    (Mac([0x33, 0x33, 0xff, x, y, z]), ip(&group))
}

fn all_nodes() -> (Mac, IpAddr) {
    (Mac([0x33, 0x33, 0, 0, 0, 1]), ip("ff02::1"))
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V6(ip) => ip.octets(),
        IpAddr::V4(_) => panic!("ND is for IPv6"),
    }
}

/// A neighbour solicitation to the target's group; a probe for a duplicate if
/// it comes from `::`.
fn solicit(from: (Mac, IpAddr), target: IpAddr) -> Vec<u8> {
    let link = (!from.1.is_unspecified()).then_some(from.0);
    nd(from, solicited(target), 135, [0; 4], target, link.map(|mac| (1, mac)))
}

/// A neighbour advertisement of `from`'s own address.
fn advertise(from: (Mac, IpAddr), to: (Mac, IpAddr)) -> Vec<u8> {
    nd(from, to, 136, [0x60, 0, 0, 0], from.1, Some((2, from.0)))
}

fn nd(
    from: (Mac, IpAddr),
    to: (Mac, IpAddr),
    kind: u8,
    flags: [u8; 4],
    target: IpAddr,
    option: Option<(u8, Mac)>,
) -> Vec<u8> {
    let mut body = octets(target).to_vec();
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.0);
    }
    icmp(from, to, 255, (kind, 0), flags, &body)
}

/// The packet in a frame as one IPv6 fragment, at `offset` units of eight bytes.
fn fragment(frame: &[u8], offset: u16, more: bool, next: u8) -> Vec<u8> {
    let view = View::parse(frame).unwrap();
    assert_eq!(view.net, Net::V6);
    let field = offset << 3 | u16::from(more);
    let mut payload = [next, 0, 0, 0, 0, 0, 0, 1].to_vec();
    payload[2..4].copy_from_slice(&field.to_be_bytes());
    payload.extend(&frame[View::L3 + 40..view.end]);
    packet((view.src, view.source), (view.dst, view.destination), 44, view.ttl, &payload)
}

/// An IPv6 packet's payload behind a destination options header.
fn with_options(frame: &[u8]) -> Vec<u8> {
    let view = View::parse(frame).unwrap();
    let mut payload = [view.protocol, 0, 1, 4, 0, 0, 0, 0].to_vec();
    payload.extend(&frame[View::L3 + 40..view.end]);
    packet((view.src, view.source), (view.dst, view.destination), 60, view.ttl, &payload)
}
