//! Questions to a network's gateway: a virtual machine has no 127.0.0.11 of ours.
//! They come and go as whole frames, over UDP; answers are kept within the network's
//! MTU, so that none is a fragment.

use crate::core::envelope::{Envelope, HOP_LIMIT};
use crate::wire::frame::{View, protocol};

/// Where DNS is served.
const PORT: u16 = 53;
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
    let length = u16::try_from(UDP_HEADER + message.len()).ok()?;
    let (to, from) = view.ports;
    let mut udp = [0; UDP_HEADER];
    udp[0..2].copy_from_slice(&from.to_be_bytes());
    udp[2..4].copy_from_slice(&to.to_be_bytes());
    udp[4..6].copy_from_slice(&length.to_be_bytes());
    let envelope = Envelope {
        from: (view.dst, view.destination),
        to: (view.src, view.source),
        hop_limit: HOP_LIMIT,
    };
    let mut frame = Vec::new();
    envelope.write(&mut frame, protocol::UDP, &[&udp, message], 6);
    (!frame.is_empty()).then_some(frame)
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
