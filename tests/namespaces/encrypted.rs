//! Encrypted networks: what the underlay sees, and what gets in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::common::cluster::{all_ping, container};
use crate::common::fabric::Fabric;
use crate::common::frames::{IPV4, UDP, ethernet, ipv4, udp, vxlan};
use crate::common::host::Host;
use crate::common::lab::{Family, Pair, UNDERLAY, wait_network};
use crate::common::netns::{Netns, cable};
use crate::common::raw::PacketSocket;
use crate::common::transfer::{Transfer, pattern, transfer};
use crate::common::{LONG, holds_within, root, wait_until};

const VNI: u32 = 5000;
const GOLD: &str = "--subnet 10.1.0.0/24 --opt encrypted";
/// Stands in what only the containers may see.
const MARK: &[u8] = b"only the containers may see this";
const PORT: u16 = 5555;
/// Bytes of the mark sealed: headers of UDP, IPv4 and Ethernet before it, 34 around them.
const SEALED_MARK: usize = 34 + 42 + MARK.len();
/// Bytes of a handshake's first message.
const INITIATION: usize = 161;

/// Waits until a host seals for all others of its encrypted network.
fn wait_sealed(host: &Host) {
    let sealed = holds_within(LONG, || {
        let networks = host.status().encrypted.networks;
        !networks.is_empty() && networks.iter().all(|n| n.unreachable.is_empty())
    });
    assert!(sealed, "{}: {:?}", host.ns.name(), host.status().encrypted);
}

/// Two hosts with a container each on an encrypted network.
struct Lab {
    pair: Pair,
    from: Netns,
    to: Netns,
    to_ip: IpAddr,
}

fn lab(family: Family, a: &[&str], b: &[&str]) -> Lab {
    let pair = Pair::start(family, a, b);
    pair.create("gold", VNI, GOLD);
    let (from, to) = (Netns::new("from"), Netns::new("to"));
    pair.on_a("gold", &from, "");
    let to_ip = pair.on_b("gold", &to, "").addresses[0].addr();
    Lab { pair, from, to, to_ip }
}

impl Lab {
    fn wait(&self) {
        wait_sealed(&self.pair.a);
        wait_sealed(&self.pair.b);
    }

    /// Sends the mark from one container to the other and waits until it is there.
    fn pass_mark(&self) {
        let at = SocketAddr::new(self.to_ip, PORT);
        let receiver = self.to.enter(|| UdpSocket::bind(at).unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let sender = self.from.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        let pass = |what: &[u8]| {
            wait_until("the mark arrives", || {
                sender.send_to(what, at).unwrap();
                let mut heard = [0; 64];
                receiver.recv(&mut heard).is_ok_and(|len| &heard[..len] == what)
            });
        };
        pass(MARK);
        // Behind it: one that was sent again does not come later than that.
        pass(b"the end");
    }

    /// Frames that left or came in clear where they must not.
    fn assert_nothing_clear(&self) {
        for host in [&self.pair.a, &self.pair.b] {
            for network in host.status().encrypted.networks {
                assert_eq!((network.clear_sent, network.clear_accepted), (0, 0), "{network:?}");
            }
        }
    }
}

#[test]
fn containers_talk_and_the_underlay_shows_nothing() {
    need!(root());
    for family in [Family::V4, Family::V6] {
        let lab = lab(family, &[], &[]);
        lab.wait();
        let ear = PacketSocket::open(&lab.pair.a.ns, UNDERLAY);
        lab.pass_mark();
        lab.from.ping(lab.to_ip);
        assert!(!ear.has_heard(MARK), "the mark was on the underlay");
        let network = &lab.pair.a.status().encrypted.networks[0];
        assert!(network.sealed > 0 && network.opened > 0, "{network:?}");
        lab.assert_nothing_clear();
        // The same in clear is heard: the ear is no deaf one.
        lab.pair.create("tin", VNI + 1, "--subnet 10.2.0.0/24");
        let (from, to) = (Netns::new("from"), Netns::new("to"));
        lab.pair.on_a("tin", &from, "");
        let to_ip = lab.pair.on_b("tin", &to, "").addresses[0].addr();
        let Lab { pair, .. } = lab;
        let plain = Lab { pair, from, to, to_ip };
        plain.pass_mark();
        assert!(ear.has_heard(MARK), "the ear hears nothing at all");
    }
}

#[test]
fn bulk_passes_in_super_frames_and_packets_have_dockers_size() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    lab.wait();
    let network = &lab.pair.a.networks()[0];
    assert_eq!(network.mtu, 1424);
    // 1424 bytes of IP packet, and not one more.
    wait_until("a packet of full size passes", || {
        lab.from.ping_says(lab.to_ip, "-M do -s 1396").contains(" 0% packet loss")
    });
    let says = lab.from.ping_says(lab.to_ip, "-M do -s 1397");
    assert!(says.contains("too long") || says.contains("Message too long"), "{says}");
    let before = lab.pair.a.counter("udp_gso_sends");
    // As many of the first frames as the sockets hold.
    let ears =
        [PacketSocket::open(&lab.pair.a.ns, UNDERLAY), PacketSocket::open(&lab.from, "eth0")];
    transfer(&lab.from, &lab.to, lab.to_ip, 64 << 20);
    assert!(lab.pair.a.counter("udp_gso_sends") > before, "no UDP_SEGMENT");
    lab.assert_nothing_clear();
    let shown = ears.map(|ear| shows_payload(&ear.frames()));
    assert_eq!(shown, [false, true], "on the underlay, in the container");
}

/// Whether frames hold any of the first bytes that a transfer sends.
fn shows_payload(frames: &[Vec<u8>]) -> bool {
    let mut sent = vec![0; 16 << 10];
    pattern(0, &mut sent);
    let words: std::collections::BTreeSet<&[u8]> = sent.chunks(16).collect();
    frames.iter().any(|frame| frame.windows(16).any(|window| words.contains(window)))
}

/// A hundred thousand datagrams that look like a handshake's first message.
#[test]
fn a_flood_of_handshakes_is_not_noticed() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    lab.wait();
    lab.pair.a.ns.address("10.99.0.66/24", UNDERLAY);
    let stranger = lab.pair.a.ns.enter(|| UdpSocket::bind("10.99.0.66:0").unwrap());
    let b = &lab.pair.b;
    let at = SocketAddr::new(b.vtep, 4789);
    let session = |host: &Host| host.status().encrypted.sessions[0].clone();
    let before = (b.drops("handshake-forged"), session(b).handshakes);
    let transfer = Transfer::start(&lab.from, &lab.to, lab.to_ip, 64 << 20);
    let mut datagram = vec![0; INITIATION];
    let mut sent = 0u64;
    while sent < 100_000 {
        pattern(sent * 8, &mut datagram);
        datagram[..5].copy_from_slice(&[1, 0, 0, 0, 1]);
        // A full socket is not what is tested.
        if stranger.send_to(&datagram, at).is_ok() {
            sent += 1;
        }
    }
    transfer.finish();
    wait_until("the flood is counted", || {
        // Most of it is lost where the host has no time to read it.
        let _ = stranger.send_to(&datagram, at);
        b.drops("handshake-forged") > before.0 + 1_000
    });
    // The hosts' own handshakes at the start may have crossed, and one is renewed in time.
    let handshakes = session(b).handshakes;
    assert!((before.1..=before.1 + 3).contains(&handshakes), "{handshakes} after {}", before.1);
    assert!(session(b).trouble.is_none(), "{:?}", session(b));
    lab.pass_mark();
}

#[test]
fn plain_frames_never_reach_a_container() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    lab.wait();
    let ear = PacketSocket::open(&lab.to, "eth0");
    let from = lab.pair.a.endpoints().into_iter().find(|e| e.name == lab.from.name()).unwrap();
    let to = lab.pair.b.endpoints().into_iter().find(|e| e.name == lab.to.name()).unwrap();
    let v4 = |ip: IpAddr| if let IpAddr::V4(ip) = ip { ip } else { Ipv4Addr::UNSPECIFIED };
    let packet = ipv4(v4(from.addresses[0].addr()), v4(lab.to_ip), UDP, &udp(1, PORT, MARK));
    let frame = ethernet(to.mac.0, from.mac.0, IPV4, &packet);
    let datagram = vxlan(8, VNI, &frame);
    // From the member's own VTEP, and from an address that is nobody's.
    let b = &lab.pair.b;
    let before = b.drops("clear-on-encrypted");
    let member = lab.pair.a.ns.enter(|| UdpSocket::bind((lab.pair.a.vtep, 0)).unwrap());
    member.send_to(&datagram, (b.vtep, 4789)).unwrap();
    b.wait_drop("clear-on-encrypted", before, "a plain frame of a member");
    lab.pair.a.ns.address("10.99.0.77/24", UNDERLAY);
    let before = b.drops("clear-on-encrypted");
    let stranger = lab.pair.a.ns.enter(|| UdpSocket::bind("10.99.0.77:0").unwrap());
    stranger.send_to(&datagram, (b.vtep, 4789)).unwrap();
    b.wait_drop("clear-on-encrypted", before, "a plain frame of a stranger");
    assert!(!ear.has_heard(MARK), "a plain frame reached a container");
    wait_until("the network counts them", || b.status().encrypted.networks[0].clear_refused >= 2);
    lab.assert_nothing_clear();
}

#[test]
fn recorded_datagrams_never_come_again() {
    need!(root());
    let lab = lab(Family::V4, &[], &[]);
    lab.wait();
    let record = PacketSocket::open(&lab.pair.b.ns, UNDERLAY);
    let mut recorded: Vec<Vec<u8>> = Vec::new();
    wait_until("a sealed mark is recorded", || {
        lab.pass_mark();
        let frames = record.frames().into_iter();
        // UDP from A's VTEP to B's: what B sent itself is sealed with another key.
        let datagrams = frames
            .filter(|frame| frame.len() > 60 && frame[26..30] == [10, 99, 0, 1])
            .filter(|frame| frame[36..38] == 4789u16.to_be_bytes())
            .map(|frame| frame[42..].to_vec());
        // Several that left at once are one frame here, which nobody would open.
        recorded.extend(datagrams.filter(|d| d[0] == 4 && d.len() == SEALED_MARK));
        !recorded.is_empty()
    });
    let ear = PacketSocket::open(&lab.to, "eth0");
    let socket = lab.pair.a.ns.enter(|| UdpSocket::bind((lab.pair.a.vtep, 0)).unwrap());
    let b = &lab.pair.b;
    let play = |datagrams: &[Vec<u8>], reason: &str| {
        let before = b.drops(reason);
        for datagram in datagrams {
            socket.send_to(datagram, (b.vtep, 4789)).unwrap();
        }
        let wanted = before + datagrams.len() as u64;
        wait_until(reason, || b.drops(reason) >= wanted);
        assert!(!ear.has_heard(MARK), "{reason}: reached a container");
    };
    play(&recorded, "sealed-replay");
    let forged: Vec<Vec<u8>> = recorded
        .iter()
        .map(|datagram| {
            let mut forged = datagram.clone();
            forged[6] ^= 0x40; // a counter that nobody has used
            forged[20] ^= 1;
            forged
        })
        .collect();
    play(&forged, "sealed-forged");
    let truncated: Vec<Vec<u8>> = recorded.iter().map(|d| d[..29].to_vec()).collect();
    play(&truncated, "sealed-malformed");
    // Whoever had a running flow did not notice.
    lab.pass_mark();
}

#[test]
fn verify_shows_it_with_every_host() {
    need!(root());
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    hosts[0].ok(&format!("network create gold --vni {VNI} {GOLD}"));
    hosts[0].ok("network create tin --subnet 10.2.0.0/24");
    wait_network("tin", &hosts.each_ref());
    let boxes = hosts.each_ref().map(|host| container(host, "gold", ""));
    hosts.iter().for_each(wait_sealed);
    all_ping(&boxes.each_ref());
    let output = hosts[1].vx(&["network", "verify", "gold"]);
    assert!(output.ok(), "{output:?}");
    for other in [&hosts[0], &hosts[2]] {
        assert!(output.out.contains(other.ns.name()), "{}", output.out);
    }
    assert!(!output.out.contains("FAILED"), "{}", output.out);
    let one =
        hosts[1].ok(&format!("network verify gold --node {} --format json", hosts[2].ns.name()));
    let one: vxmesh::api::Verification = serde_json::from_str(&one).unwrap();
    assert!(one.passed && one.peers.len() == 1, "{one:?}");
    assert!(one.peers[0].checks.len() >= 7, "{one:?}");
    let output = hosts[1].vx(&["network", "verify", "tin"]);
    assert!(!output.ok() && output.err.contains("not encrypted"), "{output:?}");
}

#[test]
fn a_killed_daemon_takes_its_sessions_up_again() {
    need!(root());
    let mut lab = lab(Family::V4, &[], &[]);
    lab.wait();
    let transfer = Transfer::start(&lab.from, &lab.to, lab.to_ip, 256 << 20);
    for mark in [16 << 20, 64 << 20] {
        wait_until("the transfer goes on", || transfer.received() > mark);
        lab.pair.b.kill_9();
        lab.pair.b.start_again();
    }
    transfer.finish();
    lab.pair.b.wait_ready();
    lab.wait();
    lab.pass_mark();
    lab.assert_nothing_clear();
}

#[test]
fn without_a_cipher_in_common_there_is_no_traffic_and_a_reason() {
    need!(root());
    let lab = lab(Family::V4, &["--cipher", "aes-256-gcm"], &["--cipher", "chacha20-poly1305"]);
    for host in [&lab.pair.a, &lab.pair.b] {
        wait_until("the reason is shown", || {
            let networks = host.status().encrypted.networks;
            networks
                .iter()
                .flat_map(|n| &n.unreachable)
                .any(|u| u.reason.contains("AES-256-GCM") && u.reason.contains("ChaCha20-Poly1305"))
        });
    }
    let ear = PacketSocket::open(&lab.pair.a.ns, UNDERLAY);
    let before = lab.pair.a.drops("no-session");
    let says = lab.from.ping_says(lab.to_ip, "");
    assert!(says.contains("100% packet loss"), "{says}");
    lab.pair.a.wait_drop("no-session", before, "the question");
    let socket = lab.from.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.send_to(MARK, (lab.to_ip, PORT)).unwrap();
    lab.pair.a.wait_drop("no-session", before + 1, "a frame without a session");
    assert!(!ear.has_heard(MARK));
    let verdict = lab.pair.a.vx(&["network", "verify", "gold"]);
    assert!(!verdict.ok(), "{verdict:?}");
    lab.assert_nothing_clear();
}

#[test]
fn hosts_agree_on_a_cipher_that_both_have() {
    need!(root());
    let lab = lab(Family::V4, &[], &["--cipher", "chacha20-poly1305"]);
    lab.wait();
    lab.pass_mark();
    for host in [&lab.pair.a, &lab.pair.b] {
        let sessions = host.status().encrypted.sessions;
        assert_eq!(sessions[0].cipher.as_deref(), Some("ChaCha20-Poly1305"), "{sessions:?}");
    }
}

#[test]
fn a_removed_host_is_sealed_for_no_more() {
    need!(root());
    let fabric = Fabric::new();
    let mut hosts: [Host; 3] = fabric.cluster();
    hosts[0].ok(&format!("network create gold --vni {VNI} {GOLD}"));
    wait_network("gold", &hosts.each_ref());
    let boxes = hosts.each_ref().map(|host| container(host, "gold", ""));
    hosts.iter().for_each(wait_sealed);
    all_ping(&boxes.each_ref());
    let name = hosts[2].ns.name().to_owned();
    hosts[2].kill_9();
    wait_until("the host is down", || hosts[0].try_line(&format!("node rm {name}")).ok());
    wait_until("its sessions are gone", || {
        hosts[..2].iter().all(|h| h.status().encrypted.sessions.iter().all(|s| s.node != name))
    });
    all_ping(&[&boxes[0], &boxes[1]]);
}

/// A host behind a translator of addresses, which others reach by its own address
/// but hear from another one.
#[test]
fn sessions_pass_a_translator_of_addresses() {
    need!(root());
    need!(crate::common::tool("nft"));
    let (a, b, router) = (Netns::new("a"), Netns::new("b"), Netns::new("nat"));
    cable(&a, &router, UNDERLAY);
    router.ip(&format!("link set {UNDERLAY} name r1"));
    cable(&b, &router, UNDERLAY);
    router.ip(&format!("link set {UNDERLAY} name r2"));
    for name in ["r1", "r2"] {
        router.ip(&format!("link set {name} up"));
    }
    router.address("10.98.0.254/24", "r1");
    router.address("10.99.0.254/24", "r2");
    router.run("sysctl -q -w net.ipv4.ip_forward=1");
    a.address("10.98.0.1/24", UNDERLAY);
    b.address("10.99.0.2/24", UNDERLAY);
    a.ip("route add default via 10.98.0.254");
    b.ip("route add default via 10.99.0.254");
    router.run("nft add table ip nat");
    router.run("nft add chain ip nat post { type nat hook postrouting priority 100 ; }");
    // What A sends comes from the translator's address; control traffic passes as it is.
    router.run("nft add rule ip nat post oifname r2 udp dport 4789 masquerade random");
    let a = Host::start(a, Ipv4Addr::new(10, 98, 0, 1), &[]);
    let b = Host::start(b, Ipv4Addr::new(10, 99, 0, 2), &[]);
    b.join(&a);
    crate::common::lab::wait_members(&[&a, &b]);
    let pair = Pair { a, b };
    pair.create("gold", VNI, GOLD);
    let (from, to) = (Netns::new("from"), Netns::new("to"));
    pair.on_a("gold", &from, "");
    let to_ip = pair.on_b("gold", &to, "").addresses[0].addr();
    let lab = Lab { pair, from, to, to_ip };
    lab.wait();
    lab.pass_mark();
    lab.from.ping(lab.to_ip);
    lab.assert_nothing_clear();
}
