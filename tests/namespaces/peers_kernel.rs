//! A Linux `vxlan` device as the other VTEP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use crate::common::capture::Capture;
use crate::common::host::Host;
use crate::common::lab::{Family, UNDERLAY, kernel_vtep, underlay};
use crate::common::netns::Netns;
use crate::common::transfer::{BULK, SOME, transfer};
use crate::common::{root, tool};

const VNI: u32 = 4242;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const OURS_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 2);
const KERNELS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 200);
const KERNELS_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 200);

/// A vxmesh host with one container, and a kernel VTEP with another.
struct Lab {
    host: Host,
    ours: Netns,
    /// The kernel's underlay namespace.
    far: Netns,
    kernels: Netns,
}

fn lab(family: Family) -> Lab {
    let (a, far) = underlay(family);
    let host = Host::start(a, family.vtep(1), &[]);
    host.ok(&format!("network create red --vni {VNI} --subnet 10.1.0.0/24 --subnet fd01::/64"));
    host.ok(&format!("vtep add red {}", family.vtep(2)));
    let ours = Netns::new("ours");
    host.attach("red", &ours, &format!("--ip {OURS} --ip {OURS_V6}"));
    let mtu = if family == Family::V4 { 1450 } else { 1430 };
    let kernels = kernel_vtep(&far, VNI, family.vtep(2), family.vtep(1), mtu);
    kernels.address(&format!("{KERNELS}/24"), "eth0");
    kernels.address(&format!("{KERNELS_V6}/64"), "eth0");
    Lab { host, ours, far, kernels }
}

impl Lab {
    fn pings_both_ways(&self) {
        self.ours.ping(KERNELS);
        self.kernels.ping(OURS);
        self.ours.ping(KERNELS_V6);
        self.kernels.ping(OURS_V6);
    }

    fn transfers_both_ways(&self, bytes: u64, bytes_v6: u64) {
        transfer(&self.ours, &self.kernels, KERNELS, bytes);
        transfer(&self.kernels, &self.ours, OURS, bytes);
        transfer(&self.ours, &self.kernels, KERNELS_V6, bytes_v6);
        transfer(&self.kernels, &self.ours, OURS_V6, bytes_v6);
    }

    /// Turns the cable into a real one: frames of 1500 bytes with every
    /// checksum complete, at both ends.
    fn underlay_without_offloads(&self) {
        let off = "rx off tx off sg off tso off gso off gro off tx-udp-segmentation off \
                   tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off";
        for ns in [&self.host.ns, &self.far] {
            ns.run(&format!("ethtool -K {UNDERLAY} {off}"));
        }
    }
}

#[test]
fn kernel_vxlan_over_ipv4() {
    need!(root());
    let lab = lab(Family::V4);
    lab.pings_both_ways();
    lab.transfers_both_ways(BULK, BULK);
}

#[test]
fn kernel_vxlan_over_a_cable_without_offloads() {
    need!(root().and_then(|()| tool("ethtool")));
    let lab = lab(Family::V4);
    lab.underlay_without_offloads();
    lab.pings_both_ways();
    lab.transfers_both_ways(BULK, SOME);
}

#[test]
fn kernel_vxlan_over_ipv6() {
    need!(root());
    let lab = lab(Family::V6);
    lab.pings_both_ways();
    lab.transfers_both_ways(SOME, SOME);
}

/// What another decoder reads in our outer headers: RFC 7348 section 5, and
/// its section 4.3 on fragments.
#[test]
fn outer_headers_are_rfc_7348s() {
    need!(
        root()
            .and_then(|()| tool("tcpdump"))
            .and_then(|()| tool("tshark"))
            .and_then(|()| tool("ethtool"))
    );
    let lab = lab(Family::V4);
    lab.underlay_without_offloads();
    lab.pings_both_ways();
    // The filter takes IP fragments too, were there any.
    let filter = format!("ip src {}", Family::V4.vtep(1));
    let capture = Capture::start(&lab.far, UNDERLAY, &filter);
    lab.ours.ping(KERNELS);
    connect_many(&lab.ours, &lab.kernels, KERNELS.into(), 16);
    transfer(&lab.ours, &lab.kernels, KERNELS, 4 << 20);
    let packets = capture.fields(&[
        "udp.dstport",
        "vxlan.flags",
        "vxlan.vni",
        "ip.flags.df",
        "ip.flags.mf",
        "ip.frag_offset",
        "ip.len",
        "udp.srcport",
        "tcp.srcport",
        "tcp.dstport",
    ]);
    // A transfer of 4 MiB is some 3000 packets; a busy machine records fewer.
    assert!(packets.len() > 1000, "{} packets", packets.len());

    let mut outer_ports = BTreeSet::new();
    let mut outer_port_of_flow = BTreeMap::new();
    for packet in &packets {
        let number =
            |i: usize| -> u32 { packet[i].parse().unwrap_or_else(|_| panic!("{packet:?}")) };
        assert_eq!(number(0), 4789, "{packet:?}");
        assert_eq!(
            u32::from_str_radix(packet[1].trim_start_matches("0x"), 16),
            Ok(0x0800),
            "{packet:?}"
        );
        assert_eq!(number(2), VNI, "{packet:?}");
        assert!(["1", "True"].contains(&packet[3].as_str()), "DF is set: {packet:?}");
        assert!(["0", "False"].contains(&packet[4].as_str()), "no fragment: {packet:?}");
        assert_eq!(number(5), 0, "no fragment: {packet:?}");
        assert!(number(6) <= 1500, "fits the underlay: {packet:?}");
        assert!((49152..=65535).contains(&number(7)), "{packet:?}");
        outer_ports.insert(number(7));
        if !packet[8].is_empty() {
            let flow = (number(8), number(9));
            let first = *outer_port_of_flow.entry(flow).or_insert(number(7));
            assert_eq!(first, number(7), "a flow keeps its source port: {packet:?}");
        }
    }
    // A host has sixteen source ports; this many flows surely spread over five.
    let flows = outer_port_of_flow.len();
    assert!(flows > 12 && outer_ports.len() >= 5, "{flows} flows: {outer_ports:?}");
}

/// Opens so many connections one after another.
fn connect_many(from: &Netns, to: &Netns, address: IpAddr, count: usize) {
    let listener = to.enter(|| TcpListener::bind((address, 0)).unwrap());
    let at = listener.local_addr().unwrap();
    from.enter(|| {
        for _ in 0..count {
            TcpStream::connect_timeout(&at, crate::common::SOON).unwrap();
        }
    });
}

/// Two networks towards one foreign VTEP stay apart.
#[test]
fn kernel_vxlan_of_another_vni_is_not_heard() {
    need!(root());
    let lab = lab(Family::V4);
    lab.pings_both_ways();
    let other = kernel_vtep(&lab.far, VNI + 1, Family::V4.vtep(2), Family::V4.vtep(1), 1450);
    other.address("10.1.0.201/24", "eth0");
    let before = lab.host.drops("unknown-vni");
    assert!(!other.try_run(&format!("ping -c 1 -W 1 {OURS}")).ok());
    lab.host.wait_drop("unknown-vni", before, "a VNI that this host does not have");
}
