//! Frames that a host writes itself: Ethernet and IP headers around a message of
//! ICMP, TCP or UDP.

use std::net::IpAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Ipv4Packet, Ipv4Repr,
    Ipv6Packet, Ipv6Repr,
};

use crate::wire::checksum;
use crate::wire::frame::{View, protocol};
use crate::wire::mac::Mac;

/// Hop limit of a host's own packets, except those of neighbour discovery.
pub const HOP_LIMIT: u8 = 64;

/// From whom to whom a message goes.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Who sends it.
    pub from: (Mac, IpAddr),
    /// Who is to have it.
    pub to: (Mac, IpAddr),
    /// TTL or hop limit.
    pub hop_limit: u8,
}

impl Envelope {
    /// Writes the frame into `out`, in the place of what is there. The message is given
    /// in pieces; its checksum, of two bytes at `sum_at`, must be 0 and is computed.
    /// A message of more than 65,515 bytes, and addresses of two families, give an
    /// empty frame.
    pub fn write(&self, out: &mut Vec<u8>, protocol: u8, message: &[&[u8]], sum_at: usize) {
        let len = message.iter().map(|piece| piece.len()).sum();
        out.clear();
        if len > usize::from(u16::MAX) - 20 {
            return;
        }
        let (next_header, hop_limit) = (protocol.into(), self.hop_limit);
        let addresses = match (self.from.1, self.to.1) {
            (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
                let header =
                    Ipv4Repr { src_addr, dst_addr, next_header, payload_len: len, hop_limit };
                ethernet(out, self.from.0, self.to.0, EthernetProtocol::Ipv4);
                out.resize(View::L3 + 20, 0);
                let mut packet = Ipv4Packet::new_unchecked(&mut out[View::L3..]);
                header.emit(&mut packet, &ChecksumCapabilities::default());
                View::L3 + 12
            }
            (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
                let header =
                    Ipv6Repr { src_addr, dst_addr, next_header, payload_len: len, hop_limit };
                ethernet(out, self.from.0, self.to.0, EthernetProtocol::Ipv6);
                out.resize(View::L3 + 40, 0);
                header.emit(&mut Ipv6Packet::new_unchecked(&mut out[View::L3..]));
                View::L3 + 8
            }
            _ => return,
        };
        let pseudo = match protocol {
            protocol::ICMP => 0,
            _ => checksum::pseudo_header(&out[addresses..], protocol, len),
        };
        let at = out.len();
        message.iter().for_each(|piece| out.extend_from_slice(piece));
        let sum = checksum::finish(pseudo + checksum::sum(&out[at..]));
        if let Some(field) = out.get_mut(at + sum_at..at + sum_at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// Writes an Ethernet header into `out`, and nothing else.
pub fn ethernet(out: &mut Vec<u8>, from: Mac, to: Mac, ethertype: EthernetProtocol) {
    out.clear();
    out.resize(View::L3, 0);
    let header = EthernetRepr {
        src_addr: EthernetAddress(from.0),
        dst_addr: EthernetAddress(to.0),
        ethertype,
    };
    header.emit(&mut EthernetFrame::new_unchecked(out));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(from: &str, to: &str, protocol: u8, message: &[&[u8]], sum_at: usize) -> Vec<u8> {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let envelope = Envelope { from: (Mac([2; 6]), from), to: (Mac([4; 6]), to), hop_limit: 9 };
        let mut out = vec![1; 7];
        envelope.write(&mut out, protocol, message, sum_at);
        out
    }

    #[test]
    fn headers_and_checksums_are_right() {
        let udp: [&[u8]; 2] = [&[0, 53, 156, 64, 0, 11, 0, 0], b"abc"];
        let ping: [&[u8]; 1] = [&[8, 0, 0, 0, 0, 1, 0, 2]];
        for (from, to, kind, message, sum_at) in [
            ("10.0.0.1", "10.0.0.2", protocol::UDP, &udp[..], 6),
            ("fd00::1", "fd00::2", protocol::UDP, &udp, 6),
            ("10.0.0.1", "10.0.0.2", protocol::ICMP, &ping, 2),
            ("fd00::1", "fd00::2", protocol::ICMPV6, &ping, 2),
        ] {
            let frame = write(from, to, kind, message, sum_at);
            let view = View::parse(&frame).unwrap();
            assert_eq!((view.src, view.dst), (Mac([2; 6]), Mac([4; 6])));
            let ends = (view.source.to_string(), view.destination.to_string());
            assert_eq!((ends.0.as_str(), ends.1.as_str()), (from, to));
            assert_eq!((view.protocol, view.end), (kind, frame.len()));
            let body = &frame[view.l4..];
            let pseudo = match kind {
                protocol::ICMP => 0,
                _ => checksum::pseudo_header(view.addresses(&frame), kind, body.len()),
            };
            assert_eq!(checksum::fold(pseudo + checksum::sum(body)), 0xffff, "{from}");
            if view.source.is_ipv4() {
                assert_eq!(checksum::fold(checksum::sum(&frame[View::L3..view.l4])), 0xffff);
            }
        }
    }

    #[test]
    fn what_cannot_be_a_packet_is_none() {
        let long = vec![0; 65_516];
        assert_eq!(write("10.0.0.1", "10.0.0.2", protocol::UDP, &[&long], 6), [0; 0]);
        assert_eq!(write("10.0.0.1", "10.0.0.2", protocol::UDP, &[&long[1..]], 6).len(), 65_549);
        assert_eq!(write("10.0.0.1", "fd00::1", protocol::UDP, &[&long[..8]], 6), [0; 0]);
        let cut = write("10.0.0.1", "10.0.0.2", protocol::UDP, &[&long[..7]], 6);
        assert_eq!(cut.len(), View::L3 + 27, "no room for a checksum, and no panic");
    }
}
