//! Properties of cutting and joining together, with smoltcp's decoder as the
//! judge of what comes out.

use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
    UdpPacket,
};

use super::frame::View;
use super::partial::adopt;
use super::testing::{Packet, Sum, flag, join, split};
use super::vnet::{self, Gso, Kind, Offload};

/// What a receiver finds in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decoded {
    /// IPv4 identification.
    id: u16,
    sequence: u32,
    /// FIN, PSH and CWR.
    flags: [bool; 3],
    payload: Vec<u8>,
}

/// Decodes with smoltcp and insists that every length and checksum is right.
fn decode(frame: &[u8], extras: usize) -> Decoded {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
            assert!(ip.verify_checksum(), "IPv4 header checksum");
            assert_eq!(usize::from(ip.total_len()), ethernet.payload().len());
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            decode_transport(ip.next_header(), ip.ident(), src, dst, ip.payload())
        }
        EthernetProtocol::Ipv6 => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).unwrap();
            assert_eq!(ip.total_len(), ethernet.payload().len());
            let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
            let (mut next, mut rest) = (ip.next_header(), ip.payload());
            for _ in 0..extras {
                assert_eq!(next, IpProtocol::Ipv6Opts);
                (next, rest) = (rest[0].into(), &rest[8..]);
            }
            decode_transport(next, 0, src, dst, rest)
        }
        other => panic!("{other} is not IP"),
    }
}

fn decode_transport(
    next: IpProtocol,
    id: u16,
    src: IpAddress,
    dst: IpAddress,
    bytes: &[u8],
) -> Decoded {
    match next {
        IpProtocol::Tcp => {
            let tcp = TcpPacket::new_checked(bytes).unwrap();
            assert!(tcp.verify_checksum(&src, &dst), "TCP checksum");
            Decoded {
                id,
                sequence: tcp.seq_number().0 as u32,
                flags: [tcp.fin(), tcp.psh(), tcp.cwr()],
                payload: tcp.payload().to_vec(),
            }
        }
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(bytes).unwrap();
            assert_ne!(udp.checksum(), 0, "no UDP checksum");
            assert!(udp.verify_checksum(&src, &dst), "UDP checksum");
            assert_eq!(usize::from(udp.len()), bytes.len(), "UDP length");
            Decoded { id, sequence: 0, flags: [false; 3], payload: udp.payload().to_vec() }
        }
        other => panic!("{other} is neither TCP nor UDP"),
    }
}

fn kind(packet: &Packet) -> Kind {
    if packet.udp { Kind::Udp } else { Kind::Tcp }
}

prop_compose! {
    fn packets(max: usize)(
        (v6, udp, dont_fragment) in any::<(bool, bool, bool)>(),
        (tos, ttl, mac) in any::<(u8, u8, u8)>(),
        id in prop_oneof![any::<u16>(), Just(u16::MAX - 1)],
        extras in prop_oneof![3 => Just(0usize), 1 => 0usize..5],
        ports in any::<(u16, u16)>(),
        sequence in prop_oneof![any::<u32>(), Just(u32::MAX - 99)],
        (ack, window, flags) in any::<(u32, u16, u8)>(),
        options in (0usize..=10).prop_flat_map(|words| vec(any::<u8>(), words * 4)),
        payload in vec(any::<u8>(), 1..max),
    ) -> Packet {
        let flags = flags & (flag::FIN | flag::PSH | flag::ECE | flag::CWR) | flag::ACK;
        Packet {
            v6, udp, mac, tos, ttl, id, dont_fragment, extras, ports, sequence, ack, flags, window,
            options, payload, padding: 0,
        }
    }
}

proptest! {
    /// Every segment is a correct packet, and the segments say what the
    /// super-frame said.
    #[test]
    fn segments_are_correct(packet in packets(5_000), size in 1u16..2_000, padding in 0usize..30) {
        let packet = Packet { padding, ..packet };
        let frame = packet.build(Sum::Partial);
        let segments = split(&frame, Gso { kind: kind(&packet), size });
        prop_assert_eq!(segments.len(), packet.payload.len().div_ceil(usize::from(size)));
        for (i, chunk) in packet.payload.chunks(usize::from(size)).enumerate() {
            let got = decode(&segments[i], packet.extras);
            let (first, last) = (i == 0, i + 1 == segments.len());
            let has = |flag: u8, here: bool| !packet.udp && here && packet.flags & flag != 0;
            let want = Decoded {
                id: if packet.v6 { 0 } else { packet.id.wrapping_add(i as u16) },
                sequence: if packet.udp { 0 } else {
                    packet.sequence.wrapping_add(i as u32 * u32::from(size))
                },
                flags: [has(flag::FIN, last), has(flag::PSH, last), has(flag::CWR, first)],
                payload: chunk.to_vec(),
            };
            prop_assert_eq!(got, want);
            prop_assert_eq!(&segments[i][..14], &frame[..14]);
            // Nothing else changed: built from its fields the segment is the same.
            let expected = Packet {
                id: packet.id.wrapping_add(i as u16),
                sequence: packet.sequence.wrapping_add(i as u32 * u32::from(size)),
                flags: packet.flags
                    & !(if last { 0 } else { flag::FIN | flag::PSH })
                    & !(if first { 0 } else { flag::CWR }),
                payload: chunk.to_vec(),
                padding: 0,
                ..packet.clone()
            };
            prop_assert_eq!(&segments[i], &expected.build(Sum::Complete));
        }
    }

    /// A super-frame cut and joined again is the same super-frame, bit by bit.
    #[test]
    fn joining_undoes_splitting(packet in packets(30_000), size in 500u16..1_500) {
        let flags = packet.flags & !flag::CWR;
        let packet = Packet { extras: 0, flags, ..packet };
        prop_assume!(packet.payload.len() > usize::from(size));
        let frame = packet.build(Sum::Partial);
        let gso = Gso { kind: kind(&packet), size };
        let joined = join(&split(&frame, gso));
        prop_assert_eq!(joined.len(), 1);
        prop_assert_eq!(&joined[0].0, &frame);
        let view = View::parse(&frame).unwrap();
        prop_assert_eq!(joined[0].1, Offload::super_frame(gso.kind, size, &view));
    }

    /// Whatever arrives: joined, and cut again by the kernel, it is what
    /// arrived, in the same order.
    #[test]
    fn a_receiver_sees_no_difference(train in trains()) {
        let frames: Vec<_> = train.iter().map(|(packet, sum)| packet.build(*sum)).collect();
        let mut out = Vec::new();
        for (frame, offload) in join(&frames) {
            match offload.gso {
                Some(gso) => out.extend(split(&frame, gso)),
                None => out.push(frame),
            }
        }
        prop_assert_eq!(out.len(), frames.len());
        for ((packet, sum), got) in train.iter().zip(&out) {
            // With DF set the identification means nothing (RFC 6864).
            let id = if packet.dont_fragment && !packet.v6 {
                u16::from_be_bytes([got[18], got[19]])
            } else {
                packet.id
            };
            let want = Packet { id, padding: 0, ..packet.clone() }.build(*sum);
            prop_assert_eq!(got, &want);
        }
    }

    /// What an idle offload left undone is found out and can be finished.
    #[test]
    fn adopted_frames_can_be_finished(packet in packets(4_000), complete: bool, mtu in 600u16..1_500) {
        let sum = if complete { Sum::Complete } else { Sum::Partial };
        let mut frame = packet.build(sum);
        let view = View::parse(&frame).unwrap();
        let hint = mtu - (view.payload - View::L3) as u16;
        let offload = adopt(&mut frame, &view, mtu, Some(hint)).unwrap();
        let finished = match offload {
            Offload { gso: Some(gso), .. } => split(&frame, gso),
            Offload { checksum: Some(partial), .. } => {
                vnet::complete(&mut frame, partial, view.end);
                vec![frame]
            }
            Offload::NONE => vec![frame],
        };
        let mut payload = Vec::new();
        for frame in finished {
            prop_assert!(frame.len() <= View::L3 + usize::from(mtu));
            payload.extend(decode(&frame, packet.extras).payload);
        }
        prop_assert_eq!(payload, packet.payload);
    }
}

/// Neighbours of one flow as a path delivers them: mostly in sequence, some with
/// a gap, a mark, a flag, a wrong checksum or another length.
fn trains() -> impl Strategy<Value = Vec<(Packet, Sum)>> {
    let steps = vec((0u8..24, 1usize..40), 1..100);
    (packets(2), steps, any::<bool>()).prop_map(|(packet, steps, id_stands_still)| {
        let mut packet = Packet { extras: 0, flags: flag::ACK, ..packet };
        let mut train = Vec::new();
        for (event, len) in steps {
            let size = if event == 0 { len } else { 20 };
            let mut this = Packet { payload: vec![len as u8; size], ..packet.clone() };
            let mut sum = Sum::Complete;
            match event {
                1 => this.flags |= flag::PSH,
                2 => this.flags |= flag::FIN,
                3 => this.flags |= flag::CWR,
                4 => this.tos ^= 3,
                5 => this.ack = this.ack.wrapping_add(1),
                6 => this.sequence = this.sequence.wrapping_add(1),
                7 => this.id = this.id.wrapping_add(1),
                8 => sum = Sum::Zero,
                9 => sum = Sum::Partial,
                10 => this.padding = 6,
                11 => this.payload.clear(),
                _ => {}
            }
            packet.sequence = packet.sequence.wrapping_add(this.payload.len() as u32);
            packet.id = packet.id.wrapping_add(u16::from(!id_stands_still));
            train.push((this, sum));
        }
        train
    })
}
