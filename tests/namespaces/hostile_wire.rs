//! Bad datagrams from the underlay: dropped, counted under their own name,
//! never in a container's ears.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use crate::common::frames::{self, BROADCAST, IPV4, Mac, UDP, ethernet, ipv4, udp, vxlan};
use crate::common::host::Host;
use crate::common::lab::{Family, UNDERLAY, underlay};
use crate::common::netns::Netns;
use crate::common::raw::{PacketSocket, send_ipv4};
use crate::common::{root, wait_until};

const VNI: u32 = 5000;
const I_FLAG: u8 = 0x08;
const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 77);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const OUR_MAC: Mac = [0x02, 0x42, 10, 1, 0, 2];
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 200);
const THEIR_MAC: Mac = [0x02, 0, 0, 0, 0, 200];
const PORT: u16 = 5555;
/// Stands in every frame that must not arrive.
const MARK: &[u8] = b"must not arrive";

/// A host with a container on network `red`, another on `blue`, and a foreign
/// VTEP of `red` that the test itself plays.
struct Lab {
    host: Host,
    ours: Netns,
    far: Netns,
    peer: UdpSocket,
    ears: [PacketSocket; 2],
    _blue: Netns,
}

fn lab() -> Lab {
    let (a, far) = underlay(Family::V4);
    far.address(&format!("{STRANGER}/24"), UNDERLAY);
    let host = Host::start(a, HOST, &[]);
    host.ok(&format!("network create red --vni {VNI} --subnet 10.1.0.0/24"));
    host.ok(&format!("network create blue --vni {} --subnet 10.2.0.0/24", VNI + 1));
    host.ok(&format!("vtep add red {PEER}"));
    let (ours, blue) = (Netns::new("ours"), Netns::new("blue"));
    host.attach("red", &ours, &format!("--ip {OURS}"));
    host.attach("blue", &blue, "");
    let ears = [PacketSocket::open(&ours, "eth0"), PacketSocket::open(&blue, "eth0")];
    let peer = far.enter(|| UdpSocket::bind((PEER, 0)).unwrap());
    Lab { host, ours, far, peer, ears, _blue: blue }
}

/// A frame from the foreign side to our container's UDP port.
fn good_frame(payload: &[u8]) -> Vec<u8> {
    let packet = ipv4(THEIRS, OURS, UDP, &udp(7777, PORT, payload));
    ethernet(OUR_MAC, THEIR_MAC, IPV4, &packet)
}

impl Lab {
    fn send(&self, datagram: &[u8]) {
        self.peer.send_to(datagram, (HOST, 4789)).unwrap();
    }

    /// Does something bad and waits until it is counted under this name.
    fn counts(&self, reason: &str, what: &str, act: impl FnOnce()) {
        let before = self.host.drops(reason);
        act();
        self.host.wait_drop(reason, before, what);
        for ear in &self.ears {
            assert!(!ear.has_heard(MARK), "{what}: reached a container");
        }
    }
}

#[test]
fn datagrams_are_dropped_under_their_own_name() {
    need!(root());
    let lab = lab();
    let marked = good_frame(MARK);
    for length in [0, 1, 7] {
        let what = format!("a datagram of {length} bytes");
        lab.counts("vxlan-truncated", &what, || lab.send(&vxlan(I_FLAG, VNI, &[])[..length]));
    }
    lab.counts("vxlan-flags", "no I flag", || lab.send(&vxlan(0, VNI, &marked)));
    lab.counts("vxlan-flags", "all flags but I", || lab.send(&vxlan(!I_FLAG, VNI, &marked)));
    lab.counts("unknown-vni", "a VNI of nobody", || lab.send(&vxlan(I_FLAG, 6000, &marked)));
    lab.counts("unknown-vni", "VNI 0", || lab.send(&vxlan(I_FLAG, 0, &marked)));
    lab.counts("unknown-vni", "the highest VNI", || lab.send(&vxlan(I_FLAG, 0xff_ffff, &marked)));
    lab.counts("stranger", "a stranger's address", || {
        let stranger = lab.far.enter(|| UdpSocket::bind((STRANGER, 0)).unwrap());
        stranger.send_to(&vxlan(I_FLAG, VNI, &marked), (HOST, 4789)).unwrap();
    });
    // A VTEP of red is none of blue.
    lab.counts("stranger", "another network's VTEP", || lab.send(&vxlan(I_FLAG, VNI + 1, &marked)));
}

#[test]
fn our_own_address_as_the_sender() {
    need!(root());
    let lab = lab();
    // Let the kernel pass what it would drop as a martian, so that we are asked.
    for key in ["all", UNDERLAY] {
        lab.host.ns.run(&format!(
            "sysctl -qw net.ipv4.conf.{key}.accept_local=1 net.ipv4.conf.{key}.rp_filter=0"
        ));
    }
    let datagram = udp(50000, 4789, &vxlan(I_FLAG, VNI, &good_frame(MARK)));
    lab.counts("own-address", "our own VTEP as the sender", || {
        send_ipv4(&lab.far, HOST.into(), &ipv4(HOST, HOST, UDP, &datagram));
    });
}

/// The inner frame is at fault.
#[test]
fn inner_frames_that_contradict_themselves() {
    need!(root());
    let lab = lab();
    let good = good_frame(MARK);
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        frame
    };
    for (what, frame) in [
        ("no inner frame", Vec::new()),
        ("13 bytes of Ethernet", good[..13].to_vec()),
        ("IPv4 without a header", good[..14].to_vec()),
        ("half an IPv4 header", good[..24].to_vec()),
        ("IP version 6 in an IPv4 frame", with(14, 0x65)),
        ("an IPv4 header of 12 bytes", with(14, 0x43)),
        ("an IPv4 header longer than the packet", with(14, 0x4f)),
        ("an IPv4 length beyond the frame", with(16, 0x40)),
        ("an IPv4 length below its header", with(17, 19)),
        ("an IPv6 header of 20 bytes", {
            ethernet(OUR_MAC, THEIR_MAC, frames::IPV6, &[&[0x60; 20], MARK].concat()[..20])
        }),
    ] {
        lab.counts("inner-malformed", what, || lab.send(&vxlan(I_FLAG, VNI, &frame)));
    }
}

/// MACs that the sender has no right to, or that nobody here has.
#[test]
fn inner_addresses_are_checked() {
    need!(root());
    let lab = lab();
    let packet = ipv4(THEIRS, OURS, UDP, &udp(7777, PORT, MARK));
    lab.counts("spoofed-mac", "our own container's MAC as the source", || {
        lab.send(&vxlan(I_FLAG, VNI, &ethernet(OUR_MAC, OUR_MAC, IPV4, &packet)));
    });
    lab.counts("not-here", "a MAC that nobody here has", || {
        lab.send(&vxlan(I_FLAG, VNI, &ethernet([2, 9, 9, 9, 9, 9], THEIR_MAC, IPV4, &packet)));
    });
    // Nothing was learned from the lie: the container still has its traffic.
    lab.ours.ping(Ipv4Addr::new(10, 1, 0, 1));
}

/// RFC 7348: reserved bits are ignored on receipt, a zero outer checksum is
/// accepted, and the source port may be any.
#[test]
fn unusual_but_right_datagrams_arrive() {
    need!(root());
    let lab = lab();
    let socket = lab.ours.enter(|| UdpSocket::bind((OURS, PORT)).unwrap());
    socket.set_nonblocking(true).unwrap();
    let arrives = |what: &str, payload: &[u8], send: &dyn Fn()| {
        wait_until(what, || {
            send();
            let mut buffer = [0; 2048];
            let received = socket.recv_from(&mut buffer);
            received.is_ok_and(|(n, from)| {
                &buffer[..n] == payload && from == SocketAddr::from((THEIRS, 7777))
            })
        });
    };
    let mut reserved = vxlan(0xff, VNI, &good_frame(b"reserved bits"));
    for at in [1, 2, 3, 7] {
        reserved[at] = 0xff;
    }
    arrives("reserved bits set", b"reserved bits", &|| lab.send(&reserved));
    let no_sum = udp(1, 4789, &vxlan(I_FLAG, VNI, &good_frame(b"no outer checksum")));
    arrives("no outer checksum, from port 1", b"no outer checksum", &|| {
        send_ipv4(&lab.far, HOST.into(), &ipv4(PEER, HOST, UDP, &no_sum));
    });
    let padded = [good_frame(b"padded"), vec![0; 20]].concat();
    arrives("Ethernet padding after the packet", b"padded", &|| {
        lab.send(&vxlan(I_FLAG, VNI, &padded))
    });
    // VXLAN inside VXLAN is a payload like any other, opened once only.
    let nested = vxlan(I_FLAG, VNI, &good_frame(b"inside"));
    arrives("VXLAN in VXLAN", &nested, &|| lab.send(&vxlan(I_FLAG, VNI, &good_frame(&nested))));
}

/// Whatever arrives, the daemon goes on.
#[test]
fn noise_does_no_harm() {
    need!(root());
    let lab = lab();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let good = good_frame(MARK);
    for round in 0..4000_u64 {
        // A good frame with some bytes changed, cut at any length.
        let mut frame = good.clone();
        for _ in 0..1 + next() % 6 {
            let at = next() as usize % frame.len().min(44);
            frame[at] = next() as u8;
        }
        frame.truncate(next() as usize % (good.len() + 1));
        let header = if round % 8 == 0 { next() as u8 } else { I_FLAG };
        lab.send(&vxlan(header, VNI, &frame));
    }
    // Datagrams as large as they come, which the underlay brings in fragments.
    for length in [1501, 9000, 60_000] {
        let packet = ipv4(THEIRS, OURS, UDP, &udp(7777, PORT, &vec![b'x'; length]));
        for to in [OUR_MAC, BROADCAST] {
            lab.send(&vxlan(I_FLAG, VNI, &ethernet(to, THEIR_MAC, IPV4, &packet)));
        }
    }
    // Some of it was good enough for the container, none for the other network.
    let before = lab.host.drops("vxlan-truncated");
    wait_until("the daemon still counts", || {
        // Lost while the daemon's socket is full of the noise.
        lab.send(&[I_FLAG, 2, 3]);
        lab.host.drops("vxlan-truncated") > before
    });
    assert!(!lab.ears[1].has_heard(MARK), "another network has heard it");
    lab.ours.ping(Ipv4Addr::new(10, 1, 0, 1));
}
