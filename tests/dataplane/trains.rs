//! Datagrams of one message are judged each, also where one looks like the one before.

use vxmesh::wire::{checksum, vxlan};

use super::*;

/// What the receiving container listens at.
const PORT: u16 = 9000;

/// A VXLAN datagram with UDP from the first container to the second.
fn datagram(lab: &Lab, vni: u32, change: impl FnOnce(&mut Vec<u8>), payload: u8) -> Vec<u8> {
    let [from, to] = &lab.containers;
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.v4, to.v4) else { unreachable!() };
    let mut frame = [&to.mac.0[..], &from.mac.0, &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([source.octets(), destination.octets()].concat());
    frame.extend([8999u16.to_be_bytes(), PORT.to_be_bytes(), 9u16.to_be_bytes()].concat());
    frame.extend([0, 0, payload]);
    change(&mut frame);
    let header = checksum::finish(checksum::sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let pseudo = checksum::pseudo_header(&frame[26..34], 17, 9);
    let transport = checksum::finish(pseudo + checksum::sum(&frame[34..]));
    frame[40..42].copy_from_slice(&transport.to_be_bytes());
    [&vxlan::header(Vni::new(vni).unwrap())[..], &frame].concat()
}

/// Sends them as one message, which the other side gets as one.
fn send(lab: &Lab, train: &[Vec<u8>]) {
    let size = train[0].len() as u16;
    let socket = lab.hosts[0].run(|| UdpSocket::bind("192.0.2.1:0").unwrap());
    let to = SocketAddrV4::new([192, 0, 2, 2].into(), 4789);
    send_segmented(&socket, &train.concat(), size, to).unwrap();
}

#[test]
fn what_follows_a_good_frame_is_no_better_for_it() {
    if !able() {
        return;
    }
    let lab = Lab::fast(["192.0.2.1", "192.0.2.2"]);
    // Two networks of the same addresses; in the second, the container's TAP is missing.
    let [vtep, from] = ["192.0.2.2", "192.0.2.1"].map(|ip| ip.parse().unwrap());
    let twin = |vni, port| {
        let ports = vec![lab.containers[1].port(port)];
        let remotes = vec![lab.containers[0].remote(from)];
        network(vni, Spec { mtu: 1430, ports, remotes, ..Spec::default() })
    };
    lab.plans[1].store(Plan::new(SEED, vtep, [twin(5000, 7), twin(5001, 8)]).into());
    let at = SocketAddr::new(lab.containers[1].v4, PORT);
    let listener = lab.containers[1].netns.run(move || UdpSocket::bind(at).unwrap());
    listener.set_read_timeout(Some(SOON)).unwrap();
    let good = |payload| datagram(&lab, 5000, |_| (), payload);
    send(
        &lab,
        &[
            good(1),
            good(2),
            // The other network, one that is not there, another sender's MAC, another's
            // address, a wrong destination.
            datagram(&lab, 5001, |_| (), 3),
            good(4),
            datagram(&lab, 5002, |_| (), 3),
            good(4),
            datagram(&lab, 5000, |frame| frame[11] ^= 1, 5),
            good(6),
            datagram(&lab, 5000, |frame| frame[29] ^= 8, 7),
            good(8),
            datagram(&lab, 5000, |frame| frame[5] ^= 1, 9),
            good(10),
            // Longer than it is, in the eyes of IP; shorter in those of UDP.
            datagram(&lab, 5000, |frame| frame[17] += 1, 11),
            good(12),
            datagram(&lab, 5000, |frame| frame[39] -= 1, 13),
            good(14),
        ],
    );
    let mut got = Vec::new();
    while got.last() != Some(&14) {
        let mut payload = [0; 2];
        let len = listener.recv(&mut payload).unwrap();
        got.extend(&payload[..len]);
    }
    assert_eq!(got, [1, 2, 4, 4, 6, 8, 10, 12, 14]);
    let counters = lab.planes[1].counters();
    assert_eq!(counters.get("udp_gro_receives"), 1, "it came as one message");
    assert!(counters.get("tap_super_writes") > 0, "and something was joined");
    for reason in [
        Reason::TapRefused,
        Reason::UnknownVni,
        Reason::SpoofedMac,
        Reason::SpoofedIp,
        Reason::NotHere,
        Reason::InnerMalformed,
    ] {
        assert_eq!(counters.drops(reason), 1, "{reason:?}");
    }
}
