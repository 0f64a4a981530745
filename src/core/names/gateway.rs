//! Questions to a network's gateway: a virtual machine has no 127.0.0.11 of ours.
//! They come and go as whole frames, over UDP; answers are kept within the network's
//! MTU, so that none is a fragment.

use std::net::IpAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet,
    Ipv4Repr, Ipv6Packet, Ipv6Repr, UdpPacket, UdpRepr,
};

use crate::wire::frame::{View, protocol};

/// Where DNS is served.
const PORT: u16 = 53;
const HOP_LIMIT: u8 = 64;
const UDP_HEADER: usize = 8;

/// Whether a frame to the gateway is a question, as far as its headers say.
pub fn is_question(view: &View) -> bool {
    view.protocol == protocol::UDP && !view.fragment && view.ports.1 == PORT
}

/// The datagram in a question's frame, with its header.
pub fn datagram<'a>(frame: &'a [u8], view: &View) -> &'a [u8] {
    let datagram = &frame[view.l4..view.end];
    // The view has made sure that it lies within the packet.
    let length = usize::from(u16::from_be_bytes([datagram[4], datagram[5]]));
    &datagram[..length]
}

/// The message in a question's frame.
pub fn message<'a>(frame: &'a [u8], view: &View) -> &'a [u8] {
    &datagram(frame, view)[UDP_HEADER..]
}

/// How long an answer may be, in bytes, where the largest IP packet has `mtu`.
pub fn room(view: &View, mtu: u16) -> u16 {
    let header = if view.source.is_ipv4() { 20 } else { 40 };
    mtu.saturating_sub(header + UDP_HEADER as u16)
}

/// The frame that brings an answer to who sent the question in `view`. `None`: it is
/// longer than a datagram can be.
pub fn answer(view: &View, message: &[u8]) -> Option<Vec<u8>> {
    let datagram = UDP_HEADER + message.len();
    u16::try_from(datagram + 40).ok()?;
    let (header, ethertype) = match view.source {
        IpAddr::V4(_) => (20, EthernetProtocol::Ipv4),
        IpAddr::V6(_) => (40, EthernetProtocol::Ipv6),
    };
    let mut frame = vec![0; View::L3 + header + datagram];
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(view.dst.0),
        dst_addr: EthernetAddress(view.src.0),
        ethertype,
    };
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame[..]));
    let packet = &mut frame[View::L3..];
    match (view.destination, view.source) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => Ipv4Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Udp,
            payload_len: datagram,
            hop_limit: HOP_LIMIT,
        }
        .emit(&mut Ipv4Packet::new_unchecked(packet), &ChecksumCapabilities::default()),
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => Ipv6Repr {
            src_addr,
            dst_addr,
            next_header: IpProtocol::Udp,
            payload_len: datagram,
            hop_limit: HOP_LIMIT,
        }
        .emit(&mut Ipv6Packet::new_unchecked(packet)),
        _ => return None, // no packet mixes the families
    }
    let udp = UdpRepr { src_port: view.ports.1, dst_port: view.ports.0 };
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut frame[View::L3 + header..]),
        &view.destination.into(),
        &view.source.into(),
        message.len(),
        |payload| payload.copy_from_slice(message),
        &ChecksumCapabilities::default(),
    );
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;
    use crate::wire::testing::{Packet, Sum};

    fn question(v6: bool) -> (Vec<u8>, View) {
        let packet = Packet { v6, ports: (40_000, 53), ..Packet::udp(b"a question") };
        let frame = packet.build(Sum::Complete);
        let view = View::parse(&frame).unwrap();
        (frame, view)
    }

    #[test]
    fn an_answer_goes_back_where_the_question_came_from() {
        for v6 in [false, true] {
            let (frame, asked) = question(v6);
            assert!(is_question(&asked));
            assert_eq!(message(&frame, &asked), b"a question");
            let answer = answer(&asked, b"an answer").unwrap();
            let view = View::parse(&answer).unwrap();
            assert_eq!((view.src, view.dst), (asked.dst, asked.src));
            assert_eq!((view.source, view.destination), (asked.destination, asked.source));
            assert_eq!(view.ports, (53, 40_000));
            assert_eq!(message(&answer, &view), b"an answer");
            let datagram = &answer[view.l4..view.end];
            let pseudo = checksum::pseudo_header(view.addresses(&answer), 17, datagram.len());
            assert_eq!(checksum::fold(pseudo + checksum::sum(datagram)), 0xffff);
        }
    }

    #[test]
    fn only_datagrams_to_port_53_are_questions() {
        let (_, view) = question(false);
        assert!(!is_question(&View { ports: (53, 40_000), ..view }));
        assert!(!is_question(&View { fragment: true, ..view }));
        assert!(!is_question(&View { protocol: protocol::TCP, ..view }));
    }

    #[test]
    fn an_answer_fits_the_networks_packets() {
        let (_, view) = question(false);
        assert_eq!(room(&view, 1450), 1422);
        assert_eq!(room(&question(true).1, 1450), 1402);
        assert_eq!(answer(&view, &[0; 1422]).unwrap().len(), View::L3 + 1450);
        assert_eq!(answer(&view, &[0; 65_536]), None);
    }
}
