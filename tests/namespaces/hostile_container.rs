//! Bad frames from a container: dropped, counted under their own name, heard
//! by nobody.

use std::net::{Ipv4Addr, Ipv6Addr};

use vxmesh::api::Endpoint;

use crate::common::frames::{
    self, ARP, BROADCAST, ICMPV6, IPV4, IPV6, Mac, UDP, VLAN, arp_reply, ethernet, icmpv6, ipv4,
    ipv6, udp,
};
use crate::common::host::Host;
use crate::common::lab::one_host;
use crate::common::netns::Netns;
use crate::common::raw::PacketSocket;
use crate::common::root;

const EVIL: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const EVIL_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);
const EVIL_MAC: Mac = [0x02, 0x42, 10, 1, 0, 2];
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
const VICTIM_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 3);
const VICTIM_MAC: Mac = [0x02, 0x42, 10, 1, 0, 3];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// Stands in every frame that must not arrive.
const MARK: &[u8] = b"must not arrive";

/// Two containers on `red` and a third on `blue`.
struct Lab {
    host: Host,
    evil: Netns,
    socket: PacketSocket,
    ears: [PacketSocket; 2],
    _others: [Netns; 2],
}

fn lab() -> Lab {
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24 --subnet fd01::/64 --opt multicast");
    host.ok("network create blue --subnet 10.2.0.0/24 --subnet fd02::/64 --opt multicast");
    let [evil, victim, blue] = ["evil", "victim", "blue"].map(Netns::new);
    let endpoint = host.attach("red", &evil, &format!("--ip {EVIL} --ip {EVIL_V6}"));
    host.attach("red", &victim, &format!("--ip {VICTIM} --ip {VICTIM_V6}"));
    host.attach("blue", &blue, "");
    assert_eq!(mac(&endpoint), EVIL_MAC);
    evil.ping(VICTIM);
    evil.ping(VICTIM_V6);
    let ears = [PacketSocket::open(&victim, "eth0"), PacketSocket::open(&blue, "eth0")];
    let socket = PacketSocket::open(&evil, "eth0");
    Lab { host, evil, socket, ears, _others: [victim, blue] }
}

fn mac(endpoint: &Endpoint) -> Mac {
    let text = endpoint.mac.to_string();
    let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

impl Lab {
    /// Does something bad and waits until it is counted under this name.
    fn counts(&self, reason: &str, what: &str, act: impl FnOnce()) {
        let before = self.host.drops(reason);
        act();
        self.host.wait_drop(reason, before, what);
        for ear in &self.ears {
            assert!(!ear.has_heard(MARK), "{what}: reached a container");
        }
    }

    fn drops(&self, reason: &str, what: &str, frame: &[u8]) {
        self.counts(reason, what, || self.socket.send(frame));
    }
}

/// An honest UDP packet to the victim, but for its payload.
fn good_frame() -> Vec<u8> {
    ethernet(VICTIM_MAC, EVIL_MAC, IPV4, &ipv4(EVIL, VICTIM, UDP, &udp(7777, 5555, MARK)))
}

#[test]
fn a_container_speaks_for_itself_only() {
    need!(root());
    let lab = lab();
    let packet = |from| ipv4(from, VICTIM, UDP, &udp(7777, 5555, MARK));
    let packet_v6 = |from| ipv6(from, VICTIM_V6, UDP, &udp(7777, 5555, MARK));
    let from_evil = |kind, payload: &[u8]| ethernet(VICTIM_MAC, EVIL_MAC, kind, payload);
    let to_all = |payload: &[u8]| ethernet(ALL_NODES_MAC, EVIL_MAC, IPV6, payload);

    let other_mac = [2, 0, 0, 0, 0, 9];
    lab.drops(
        "guard-mac",
        "an invented MAC",
        &ethernet(VICTIM_MAC, other_mac, IPV4, &packet(EVIL)),
    );
    lab.drops(
        "guard-mac",
        "the victim's MAC",
        &ethernet(BROADCAST, VICTIM_MAC, IPV4, &packet(EVIL)),
    );
    lab.drops("guard-mac", "a group's MAC", &ethernet(VICTIM_MAC, BROADCAST, IPV4, &packet(EVIL)));
    for (what, ip) in [
        ("the victim's address", VICTIM),
        ("the gateway's address", GATEWAY),
        ("an address outside", Ipv4Addr::new(192, 0, 2, 1)),
        ("the loopback address", Ipv4Addr::LOCALHOST),
        ("a group's address", Ipv4Addr::new(239, 1, 1, 1)),
    ] {
        lab.drops("guard-ip", what, &from_evil(IPV4, &packet(ip)));
    }
    lab.drops("guard-ip", "the victim's IPv6 address", &from_evil(IPV6, &packet_v6(VICTIM_V6)));
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xbad);
    lab.drops(
        "guard-ip",
        "an invented link-local address",
        &from_evil(IPV6, &packet_v6(link_local)),
    );

    for (what, ip) in [("the victim", VICTIM), ("the gateway", GATEWAY)] {
        let reply = [arp_reply(EVIL_MAC, ip, VICTIM_MAC, VICTIM), MARK.to_vec()].concat();
        lab.drops("guard-arp", &format!("ARP for {what}"), &from_evil(ARP, &reply));
    }
    let reply = [arp_reply(VICTIM_MAC, EVIL, BROADCAST, EVIL), MARK.to_vec()].concat();
    lab.drops("guard-arp", "ARP with another's MAC", &ethernet(BROADCAST, EVIL_MAC, ARP, &reply));

    // Neighbour advertisement, override flag, target and its link-layer address.
    let advertised = [&[0x20, 0, 0, 0][..], &VICTIM_V6.octets(), &[2, 1], &EVIL_MAC].concat();
    let message = icmpv6(EVIL_V6, ALL_NODES, 136, &advertised);
    lab.drops(
        "guard-nd",
        "ND for the victim",
        &to_all(&ipv6(EVIL_V6, ALL_NODES, ICMPV6, &message)),
    );
    // Router advertisement: hop limit 64, no flags, 1800 s.
    let router =
        [&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 1], &EVIL_MAC, MARK, &[0]].concat();
    let message = icmpv6(EVIL_V6, ALL_NODES, 134, &router);
    lab.drops(
        "guard-ra",
        "a router advertisement",
        &to_all(&ipv6(EVIL_V6, ALL_NODES, ICMPV6, &message)),
    );
    let redirect = [&[0, 0, 0, 0][..], &EVIL_V6.octets(), &EVIL_V6.octets()].concat();
    let message = icmpv6(EVIL_V6, VICTIM_V6, 137, &redirect);
    lab.drops(
        "guard-ra",
        "a redirect",
        &from_evil(IPV6, &ipv6(EVIL_V6, VICTIM_V6, ICMPV6, &message)),
    );
    lab.evil.ping(VICTIM);
    lab.evil.ping(VICTIM_V6);
}

#[test]
fn frames_that_contradict_themselves() {
    need!(root());
    let lab = lab();
    let good = good_frame();
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        frame
    };
    let tagged = ethernet(VICTIM_MAC, EVIL_MAC, VLAN, &[&[0, 7, 8, 0][..], &good[14..]].concat());
    lab.drops("ethertype", "a VLAN tag", &tagged);
    let ieee = ethernet(VICTIM_MAC, EVIL_MAC, 60, &[&[0x42; 60][..], MARK].concat());
    lab.drops("ethertype", "an IEEE 802.3 frame", &ieee);
    for (what, frame) in [
        ("IPv4 without a header", good[..14].to_vec()),
        ("half an IPv4 header", good[..24].to_vec()),
        ("IP version 6 in an IPv4 frame", with(14, 0x65)),
        ("an IPv4 header of 12 bytes", with(14, 0x43)),
        ("an IPv4 length beyond the frame", with(16, 0x40)),
        ("an IPv4 length below its header", with(17, 19)),
        ("half an ARP packet", ethernet(BROADCAST, EVIL_MAC, ARP, &[0, 1, 8, 0, 6, 4, 0, 1, 9, 9])),
        ("half an IPv6 header", ethernet(VICTIM_MAC, EVIL_MAC, IPV6, &[0x60; 20])),
    ] {
        lab.drops("malformed", what, &frame);
    }
    lab.drops(
        "unknown-unicast",
        "a MAC of nobody",
        &ethernet([2, 9, 9, 9, 9, 9], EVIL_MAC, IPV4, &good[14..]),
    );
    lab.evil.ping(VICTIM);
}

/// A virtio header, in the byte order of this machine.
fn vnet(flags: u8, gso: u8, hdr_len: u16, gso_size: u16, start: u16, offset: u16) -> Vec<u8> {
    let fields = [hdr_len, gso_size, start, offset].map(u16::to_ne_bytes).concat();
    [&[flags, gso][..], &fields].concat()
}

/// Headers whose offsets do not fit the frame behind them.
#[test]
fn virtio_headers_that_lie() {
    need!(root());
    let lab = lab();
    let socket = PacketSocket::with_vnet_hdr(&lab.evil, "eth0");
    let good = good_frame();
    let lie = |header: Vec<u8>| [&header[..], &good].concat();
    lab.counts("bad-offload", "a checksum inside the IP header", || {
        socket.send(&lie(vnet(1, 0, 0, 0, 24, 0)));
    });
    // Every other combination, most of which the kernel refuses itself. What
    // it lets through must do no harm; honest ones may even arrive.
    for flags in [0, 1, 2, 4, 0xff] {
        for gso in [0, 1, 3, 4, 5, 0x80, 0x81, 0x84, 0x85, 0xff] {
            for (size, start, offset) in [
                (0, 0, 0),
                (1, 34, 6),
                (1, 34, 16),
                (8, 14, 0),
                (1400, 34, 6),
                (0xffff, 0xffff, 0xffff),
            ] {
                for hdr_len in [0, 14, 42, 0xffff] {
                    let _ = socket.try_send(&lie(vnet(flags, gso, hdr_len, size, start, offset)));
                }
            }
        }
    }
    for ear in &lab.ears[1..] {
        assert!(!ear.has_heard(MARK), "another network has heard it");
    }
    lab.evil.ping(VICTIM);
}

/// A container that asks for the smallest possible segments.
#[test]
fn super_frames_of_one_byte_segments() {
    need!(root());
    let lab = lab();
    let socket = PacketSocket::with_vnet_hdr(&lab.evil, "eth0");
    let datagram = udp(7777, 5555, &[b'x'; 1300]);
    for (packet, l4) in [
        (ethernet(VICTIM_MAC, EVIL_MAC, IPV4, &ipv4(EVIL, VICTIM, UDP, &datagram)), 34),
        (ethernet(VICTIM_MAC, EVIL_MAC, IPV6, &ipv6(EVIL_V6, VICTIM_V6, UDP, &datagram)), 54),
    ] {
        for size in [1, 2, 20, 1299, 1300] {
            let header = vnet(1, 5, l4 + 8, size, l4, 6);
            let _ = socket.try_send(&[&header[..], &packet].concat());
        }
    }
    lab.evil.ping(VICTIM);
    lab.evil.ping(VICTIM_V6);
}

/// Whatever a container sends, the daemon goes on and its neighbours do not notice.
#[test]
fn noise_does_no_harm() {
    need!(root());
    let lab = lab();
    let socket = PacketSocket::with_vnet_hdr(&lab.evil, "eth0");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let bases = [
        good_frame(),
        ethernet(BROADCAST, EVIL_MAC, ARP, &arp_reply(EVIL_MAC, EVIL, BROADCAST, EVIL)),
        ethernet(
            frames::BROADCAST,
            EVIL_MAC,
            IPV6,
            &ipv6(EVIL_V6, ALL_NODES, ICMPV6, &icmpv6(EVIL_V6, ALL_NODES, 135, &[0; 28])),
        ),
    ];
    let plain = vnet(0, 0, 0, 0, 0, 0);
    for round in 0..6000 {
        let mut frame = bases[round % bases.len()].clone();
        for _ in 0..1 + next() % 6 {
            let at = next() as usize % frame.len().min(60);
            frame[at] = next() as u8;
        }
        frame.truncate(14 + next() as usize % (frame.len() - 13));
        // A full transmit queue refuses some; that is the container's own loss.
        let _ = socket.try_send(&[&plain[..], &frame].concat());
    }
    assert!(!lab.ears[1].has_heard(MARK), "another network has heard it");
    lab.evil.ping(VICTIM);
}
