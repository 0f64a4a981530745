//! The packet that an ICMP error quotes (RFC 792, RFC 4443 section 2.4).

use std::net::{IpAddr, Ipv4Addr};

use super::frame::{Net, View, ipv6_address, protocol};
use super::get16;

/// What is to be seen of a quoted packet. Offsets count from the first byte of the
/// frame with the error, and lie within its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where its IP header starts.
    pub l3: usize,
    /// Where its transport header starts, of which four bytes at least are there.
    pub l4: usize,
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its transport protocol.
    pub protocol: u8,
    /// Its first four bytes of transport, as ports.
    pub ports: (u16, u16),
}

impl Quote {
    /// Reads the quote in an ICMP or ICMPv6 error. `None` if the message is none that
    /// quotes, if it is itself a fragment, or if the quote is not of a whole packet or
    /// a first fragment, or ends before the ports.
    pub fn read(frame: &[u8], view: &View) -> Option<Quote> {
        let message = frame.get(view.l4..view.end).filter(|_| !view.fragment)?;
        let kind = *message.first()?;
        let quotes = match (view.net, view.protocol) {
            (Net::V4, protocol::ICMP) => matches!(kind, 3 | 4 | 11 | 12),
            (Net::V6, protocol::ICMPV6) => matches!(kind, 1..=4),
            _ => false,
        };
        let l3 = view.l4 + 8;
        let packet = frame.get(l3..view.end).filter(|_| quotes)?;
        match view.net {
            Net::V4 => Quote::v4(packet, l3),
            _ => Quote::v6(packet, l3),
        }
    }

    fn v4(packet: &[u8], l3: usize) -> Option<Quote> {
        let ip = packet.first_chunk::<20>()?;
        let header = usize::from(ip[0] & 0x0f) * 4;
        if ip[0] >> 4 != 4 || header < 20 || get16(ip, 6) & 0x1fff != 0 {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]).into();
        Quote::transport(packet, l3, header, ip[9], (address(12), address(16)))
    }

    fn v6(packet: &[u8], l3: usize) -> Option<Quote> {
        let ip = packet.first_chunk::<40>()?;
        if ip[0] >> 4 != 6 {
            return None;
        }
        let (mut next, mut at) = (ip[6], 40);
        for _ in 0..=8 {
            let header = packet.get(at..)?.first_chunk::<8>();
            let len = match (next, header) {
                (0 | 43 | 60, Some(header)) => 8 + 8 * usize::from(header[1]),
                (44, Some(header)) if get16(header, 2) & 0xfff8 == 0 => 8,
                (0 | 43 | 44 | 60, _) => return None,
                _ => {
                    let addresses = (ipv6_address(&ip[8..24]), ipv6_address(&ip[24..40]));
                    return Quote::transport(packet, l3, at, next, addresses);
                }
            };
            next = header?[0];
            at += len;
        }
        None
    }

    fn transport(
        packet: &[u8],
        l3: usize,
        header: usize,
        protocol: u8,
        (source, destination): (IpAddr, IpAddr),
    ) -> Option<Quote> {
        let ports = packet.get(header..)?.first_chunk::<4>()?;
        let ports = (get16(ports, 0), get16(ports, 2));
        Some(Quote { l3, l4: l3 + header, source, destination, protocol, ports })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Packet, Sum};
    use super::*;

    /// An ICMP error of this type with what is quoted, from a packet's frame.
    fn error(v6: bool, kind: u8, quoted: &[u8]) -> Vec<u8> {
        let mut frame = Packet { v6, ..Packet::udp(&vec![0; quoted.len()]) }.build(Sum::Zero);
        let view = View::parse(&frame).unwrap();
        frame[if v6 { 20 } else { 23 }] = if v6 { 58 } else { 1 };
        frame[view.l4..view.l4 + 8].copy_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        frame[view.l4 + 8..].copy_from_slice(quoted);
        frame
    }

    fn read(frame: &[u8]) -> Option<Quote> {
        Quote::read(frame, &View::parse(frame).unwrap())
    }

    #[test]
    fn reads_what_the_packet_said() {
        for (v6, extras) in [(false, 0), (false, 2), (true, 0), (true, 3)] {
            let packet = Packet { v6, extras, ..Packet::tcp(b"data") };
            let inner = packet.build(Sum::Complete);
            let whole = View::parse(&inner).unwrap();
            let kind = if v6 { 1 } else { 3 };
            let frame = error(v6, kind, &inner[View::L3..]);
            let quote = read(&frame).unwrap();
            assert_eq!(quote.l3, if v6 { 14 + 48 } else { 14 + 28 });
            assert_eq!(quote.l4 - quote.l3, whole.l4 - View::L3);
            assert_eq!((quote.source, quote.destination), (whole.source, whole.destination));
            assert_eq!((quote.protocol, quote.ports), (6, (40_000, 80)));
            for len in 0..inner.len() - View::L3 {
                let cut = error(v6, kind, &inner[View::L3..View::L3 + len]);
                assert_eq!(read(&cut).is_some(), len >= whole.l4 - View::L3 + 4, "{len} bytes");
            }
            assert_eq!(read(&error(v6, if v6 { 128 } else { 8 }, &inner[View::L3..])), None);
            assert_eq!(read(&inner), None);
        }
    }

    #[test]
    fn a_later_fragment_shows_no_ports() {
        let mut inner = Packet::udp(&[0; 32]).build(Sum::Complete);
        inner[21] = 1;
        assert_eq!(read(&error(false, 3, &inner[View::L3..])), None);
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_offsets_stay_inside(
            v6: bool, mut quoted in proptest::collection::vec(any::<u8>(), 0..120), version: bool,
        ) {
            if let Some(first) = quoted.first_mut().filter(|_| version) {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            let frame = error(v6, if v6 { 2 } else { 3 }, &quoted);
            if let Some(quote) = read(&frame) {
                prop_assert!(quote.l3 < quote.l4 && quote.l4 + 4 <= frame.len());
            }
        }
    }
}
