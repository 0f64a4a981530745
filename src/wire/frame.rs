//! One Ethernet frame, looked at once.
//!
//! [`View::parse`] checks every length that later code relies on, so that
//! code may index a frame by the view's offsets without asking again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::mac::Mac;
use super::{checksum, get16, put16};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// IP protocol numbers that the data path knows.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// An IPv4 packet.
    V4,
    /// An IPv6 packet.
    V6,
    /// An ARP packet for Ethernet and IPv4.
    Arp,
    /// Another EtherType, opaque to us.
    Other,
}

/// Why bytes are not a frame that can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A header, or the packet that it announces, reaches past the frame's end,
    /// or a length or version field contradicts itself.
    Malformed,
    /// A VLAN tag or an IEEE 802.3 length where the EtherType should be.
    NotEthernetII,
}

/// The fields and offsets of a frame that the data path needs. All offsets
/// count from the frame's first byte and lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// EtherType.
    pub ethertype: u16,
    /// What the frame carries.
    pub net: Net,
    /// IP source and, for ARP, the sender's address; unspecified for [`Net::Other`].
    pub source: IpAddr,
    /// IP destination and, for ARP, the target's address; unspecified for [`Net::Other`].
    pub destination: IpAddr,
    /// TOS or traffic class; 0 if not IP.
    pub tos: u8,
    /// TTL or hop limit; 0 if not IP.
    pub ttl: u8,
    /// The transport protocol, past any IPv6 extension headers; 0 if not IP.
    pub protocol: u8,
    /// Whether the packet is a fragment (the first one too). Then `ports` are 0.
    pub fragment: bool,
    /// Source and destination port of unfragmented TCP and UDP, else 0.
    pub ports: (u16, u16),
    /// Where the transport header starts (for fragments, what follows the IP
    /// header; for non-IP, the frame's payload).
    pub l4: usize,
    /// Where the transport's payload starts for unfragmented TCP and UDP; else `l4`.
    pub payload: usize,
    /// Where the IP or ARP packet ends; what follows is Ethernet padding.
    pub end: usize,
}

/// A fragment's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The identification that it shares with the other fragments of its packet.
    pub id: u32,
    /// Whether the packet begins with it.
    pub first: bool,
}

impl View {
    /// Where the network header starts: after 14 bytes of Ethernet.
    pub const L3: usize = 14;

    /// Reads a frame. Never panics; costs no allocation.
    pub fn parse(frame: &[u8]) -> Result<View, Error> {
        let (header, _) = frame.split_first_chunk::<{ View::L3 }>().ok_or(Error::Malformed)?;
        let ethertype = u16::from_be_bytes([header[12], header[13]]);
        if ethertype < 0x0600 || matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            return Err(Error::NotEthernetII);
        }
        let mut view = View {
            dst: Mac([header[0], header[1], header[2], header[3], header[4], header[5]]),
            src: Mac([header[6], header[7], header[8], header[9], header[10], header[11]]),
            ethertype,
            net: Net::Other,
            source: Ipv4Addr::UNSPECIFIED.into(),
            destination: Ipv4Addr::UNSPECIFIED.into(),
            tos: 0,
            ttl: 0,
            protocol: 0,
            fragment: false,
            ports: (0, 0),
            l4: View::L3,
            payload: View::L3,
            end: frame.len(),
        };
        match ethertype {
            IPV4 => view.ipv4(frame)?,
            IPV6 => view.ipv6(frame)?,
            ARP => view.arp(frame)?,
            _ => {}
        }
        Ok(view)
    }

    /// The same frame seen with the transport's direction turned round would
    /// hash differently: the hash is of a flow in one direction, as an outer
    /// source port wants it (RFC 7348 section 5). Fragments of one packet agree.
    pub fn flow(&self) -> (IpAddr, IpAddr, u8, (u16, u16)) {
        (self.source, self.destination, self.protocol, self.ports)
    }

    /// Which piece of a packet this is, if the packet is a fragment.
    pub fn piece(&self, frame: &[u8]) -> Option<Piece> {
        if !self.fragment {
            return None;
        }
        let piece = match self.net {
            Net::V4 => {
                let ip = &frame[View::L3..];
                Piece { id: get16(ip, 4).into(), first: get16(ip, 6) & 0x1fff == 0 }
            }
            // The view stops right behind the eight bytes of the fragment header.
            _ => {
                let header = &frame[self.l4 - 8..self.l4];
                let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                Piece { id, first: get16(header, 2) & 0xfff8 == 0 }
            }
        };
        Some(piece)
    }

    /// Source and destination address bytes in the IP header, for the
    /// pseudo-header; empty if the frame is not IP.
    pub fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        match self.net {
            Net::V4 => &frame[View::L3 + 12..View::L3 + 20],
            Net::V6 => &frame[View::L3 + 8..View::L3 + 40],
            _ => &[],
        }
    }

    /// Writes the length fields (IPv4 with its header checksum, or IPv6, and
    /// UDP) for a packet that ends at `end` instead. `headers` are the frame's
    /// bytes at least up to its payload; `end` must be within what IP can express.
    pub fn put_end(&self, headers: &mut [u8], end: usize) {
        let ip = &mut headers[View::L3..];
        match self.net {
            Net::V4 => {
                let (old, new) = (get16(ip, 2), (end - View::L3) as u16);
                put16(ip, 2, new);
                put16(ip, 10, checksum::update(get16(ip, 10), old, new));
            }
            Net::V6 => put16(ip, 4, (end - View::L3 - 40) as u16),
            Net::Arp | Net::Other => {}
        }
        if self.protocol == protocol::UDP && !self.fragment {
            put16(headers, self.l4 + 4, (end - self.l4) as u16);
        }
    }

    fn arp(&mut self, frame: &[u8]) -> Result<(), Error> {
        let (arp, _) = frame[View::L3..].split_first_chunk::<28>().ok_or(Error::Malformed)?;
        if arp[..6] != [0, 1, 8, 0, 6, 4] {
            return Err(Error::Malformed);
        }
        self.net = Net::Arp;
        self.source = Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]).into();
        self.destination = Ipv4Addr::new(arp[24], arp[25], arp[26], arp[27]).into();
        self.end = View::L3 + 28;
        Ok(())
    }

    fn ipv4(&mut self, frame: &[u8]) -> Result<(), Error> {
        let packet = &frame[View::L3..];
        let (ip, _) = packet.split_first_chunk::<20>().ok_or(Error::Malformed)?;
        let header = usize::from(ip[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if ip[0] >> 4 != 4 || header < 20 || total < header || total > packet.len() {
            return Err(Error::Malformed);
        }
        self.net = Net::V4;
        self.tos = ip[1];
        self.ttl = ip[8];
        self.protocol = ip[9];
        self.source = Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]).into();
        self.destination = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]).into();
        self.fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
        self.end = View::L3 + total;
        self.transport(frame, View::L3 + header)
    }

    fn ipv6(&mut self, frame: &[u8]) -> Result<(), Error> {
        let packet = &frame[View::L3..];
        let (ip, _) = packet.split_first_chunk::<40>().ok_or(Error::Malformed)?;
        let total = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        if ip[0] >> 4 != 6 || total > packet.len() {
            return Err(Error::Malformed);
        }
        self.net = Net::V6;
        self.tos = ip[0] << 4 | ip[1] >> 4;
        self.ttl = ip[7];
        self.source = ipv6_address(&ip[8..24]);
        self.destination = ipv6_address(&ip[24..40]);
        self.end = View::L3 + total;
        let l4 = self.extension_headers(frame, ip[6])?;
        self.transport(frame, l4)
    }

    /// Walks the extension headers (RFC 8200 section 4) and returns where the
    /// transport starts. More than eight are taken for an attack.
    fn extension_headers(&mut self, frame: &[u8], first: u8) -> Result<usize, Error> {
        let mut at = View::L3 + 40;
        self.protocol = first;
        for _ in 0..=8 {
            let len = match self.protocol {
                0 | 43 | 60 => {
                    8 + 8 * usize::from(*frame[..self.end].get(at + 1).ok_or(Error::Malformed)?)
                }
                51 => 8 + 4 * usize::from(*frame[..self.end].get(at + 1).ok_or(Error::Malformed)?),
                44 => 8,
                _ => return Ok(at),
            };
            let header = frame[..self.end].get(at..at + len).ok_or(Error::Malformed)?;
            if self.protocol == 44 {
                let field = u16::from_be_bytes([header[2], header[3]]);
                // An offset or "more fragments"; alone, the header is atomic (RFC 6946).
                self.fragment |= field & 0xfff9 != 0;
            }
            self.protocol = header[0];
            at += len;
            if self.fragment {
                return Ok(at);
            }
        }
        Err(Error::Malformed)
    }

    fn transport(&mut self, frame: &[u8], l4: usize) -> Result<(), Error> {
        self.l4 = l4;
        self.payload = l4;
        if self.fragment {
            return Ok(());
        }
        let segment = &frame[l4..self.end];
        let header = match self.protocol {
            protocol::TCP => tcp_header(segment),
            protocol::UDP => udp_header(segment),
            _ => return Ok(()),
        };
        let header = header.ok_or(Error::Malformed)?;
        self.ports = (get16(segment, 0), get16(segment, 2));
        self.payload = l4 + header;
        Ok(())
    }
}

/// Length of a TCP header with its options.
fn tcp_header(segment: &[u8]) -> Option<usize> {
    let len = usize::from(segment.get(12)? >> 4) * 4;
    (len >= 20 && len <= segment.len()).then_some(len)
}

/// Length of a UDP header. The datagram may be shorter than the packet, as RFC
/// 9868 puts options behind it, but not longer.
fn udp_header(segment: &[u8]) -> Option<usize> {
    let (header, _) = segment.split_first_chunk::<8>()?;
    let len = usize::from(get16(header, 4));
    (len >= 8 && len <= segment.len()).then_some(8)
}

pub(super) fn ipv6_address(bytes: &[u8]) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Packet, Sum};
    use super::*;

    fn parse(packet: &Packet) -> View {
        View::parse(&packet.build(Sum::Complete)).unwrap()
    }

    #[test]
    fn reads_tcp_over_ipv4() {
        let packet = Packet {
            tos: 0xb9,
            extras: 2,
            options: vec![1; 12],
            padding: 9,
            ..Packet::tcp(b"data")
        };
        let view = parse(&packet);
        let want = View {
            dst: Mac([2, 66, 10, 0, 0, 2]),
            src: Mac([2, 66, 10, 0, 0, 1]),
            ethertype: IPV4,
            net: Net::V4,
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            tos: 0xb9,
            ttl: 64,
            protocol: protocol::TCP,
            fragment: false,
            ports: (40_000, 80),
            l4: 14 + 28,
            payload: 14 + 28 + 32,
            end: 14 + 28 + 32 + 4,
        };
        assert_eq!(view, want);
        assert_eq!(view.addresses(&packet.build(Sum::Complete)), [10, 0, 0, 1, 10, 0, 0, 2]);
    }

    #[test]
    fn reads_udp_over_ipv6() {
        let packet = Packet { v6: true, tos: 0xb9, ..Packet::udp(b"data") };
        let view = parse(&packet);
        assert_eq!((view.net, view.tos, view.ttl), (Net::V6, 0xb9, 64));
        assert_eq!(view.source.to_string(), "fd00::1");
        assert_eq!(view.destination.to_string(), "fd00::2");
        assert_eq!((view.protocol, view.ports), (protocol::UDP, (40_000, 80)));
        assert_eq!((view.l4, view.payload, view.end), (54, 62, 66));
        assert_eq!(view.addresses(&packet.build(Sum::Complete)).len(), 32);
    }

    #[test]
    fn reads_arp() {
        let mut frame = [0xff; 60];
        frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame[28..32].copy_from_slice(&[10, 0, 0, 1]);
        frame[38..42].copy_from_slice(&[10, 0, 0, 2]);
        let view = View::parse(&frame).unwrap();
        assert_eq!((view.net, view.end, view.protocol), (Net::Arp, 42, 0));
        assert_eq!(view.source.to_string(), "10.0.0.1");
        assert_eq!(view.destination.to_string(), "10.0.0.2");
        frame[18] = 8; // hardware addresses of another length
        assert_eq!(View::parse(&frame), Err(Error::Malformed));
    }

    #[test]
    fn other_ethertypes_are_opaque_and_tags_refused() {
        let mut frame = Packet::tcp(b"").build(Sum::Complete);
        for (ethertype, want) in [
            ([0x88, 0xb5], Ok(Net::Other)),
            ([0x81, 0x00], Err(Error::NotEthernetII)),
            ([0x88, 0xa8], Err(Error::NotEthernetII)),
            ([0x91, 0x00], Err(Error::NotEthernetII)),
            ([0x05, 0xff], Err(Error::NotEthernetII)),
            ([0x06, 0x00], Ok(Net::Other)),
        ] {
            frame[12..14].copy_from_slice(&ethertype);
            let view = View::parse(&frame);
            assert_eq!(view.map(|v| v.net), want);
            assert!(view.is_err() || view.unwrap().addresses(&frame).is_empty());
        }
    }

    #[test]
    fn every_cut_of_a_packet_is_malformed() {
        for v6 in [false, true] {
            for udp in [false, true] {
                let packet = Packet { v6, udp, extras: 2, ..Packet::tcp(b"data") };
                let frame = packet.build(Sum::Complete);
                for len in 0..frame.len() {
                    assert_eq!(View::parse(&frame[..len]), Err(Error::Malformed), "{len} bytes");
                }
            }
        }
    }

    #[test]
    fn fields_that_contradict_themselves_are_malformed() {
        let tcp = Packet::tcp(b"data");
        let tcp6 = Packet { v6: true, ..tcp.clone() };
        let udp = Packet::udp(b"data");
        let lies: [(&Packet, usize, u8, &str); 9] = [
            (&tcp, 14, 0x65, "version 6 behind IPv4's EtherType"),
            (&tcp, 14, 0x44, "an IPv4 header of 16 bytes"),
            (&tcp, 14, 0x4f, "an IPv4 header longer than the packet"),
            (&tcp, 17, 19, "a packet shorter than its header"),
            (&tcp6, 14, 0x45, "version 4 behind IPv6's EtherType"),
            (&tcp, 46, 0x40, "a TCP header of 16 bytes"),
            (&tcp, 46, 0xf0, "a TCP header longer than the packet"),
            (&udp, 39, 7, "a datagram shorter than its header"),
            (&udp, 39, 13, "a datagram longer than the packet"),
        ];
        for (packet, at, value, what) in lies {
            let mut frame = packet.build(Sum::Complete);
            frame[at] = value;
            assert_eq!(View::parse(&frame), Err(Error::Malformed), "{what}");
        }
    }

    #[test]
    fn a_datagram_may_be_shorter_than_its_packet() {
        let mut frame = Packet::udp(b"data").build(Sum::Complete);
        frame[39] = 8;
        assert_eq!(View::parse(&frame).unwrap().end, frame.len());
    }

    #[test]
    fn eight_extension_headers_are_read_and_nine_refused() {
        for extras in 0..=8 {
            let packet = Packet { v6: true, extras, ..Packet::tcp(b"data") };
            let view = parse(&packet);
            assert_eq!((view.protocol, view.l4), (protocol::TCP, packet.l4()));
        }
        let frame = Packet { v6: true, extras: 9, ..Packet::tcp(b"data") }.build(Sum::Complete);
        assert_eq!(View::parse(&frame), Err(Error::Malformed));
    }

    #[test]
    fn fragments_of_a_packet_are_one_flow() {
        let mut frame = Packet::udp(&[0; 64]).build(Sum::Complete);
        frame[20..22].copy_from_slice(&[0x20, 0]);
        let first = View::parse(&frame).unwrap();
        frame[20..22].copy_from_slice(&[0, 9]);
        frame[34..42].fill(0xff);
        let later = View::parse(&frame).unwrap();
        assert!(first.fragment && later.fragment);
        assert_eq!(first.flow(), later.flow());
        assert_eq!((first.ports, first.payload), ((0, 0), first.l4));
        assert_eq!(later.piece(&frame), Some(Piece { id: 7, first: false }));
        frame[20..22].copy_from_slice(&[0x20, 0]);
        assert_eq!(first.piece(&frame), Some(Piece { id: 7, first: true }));
        let whole = Packet::udp(&[0; 64]).build(Sum::Complete);
        assert_eq!(View::parse(&whole).unwrap().piece(&whole), None);
    }

    #[test]
    fn ipv6_fragments_end_the_walk_unless_atomic() {
        let mut frame =
            Packet { v6: true, extras: 1, ..Packet::udp(&[0; 64]) }.build(Sum::Complete);
        frame[20] = 44;
        for (field, fragment) in [([0, 0], false), ([0, 1], true), ([0, 8], true), ([0, 6], false)]
        {
            frame[56..58].copy_from_slice(&field);
            let view = View::parse(&frame).unwrap();
            assert_eq!((view.fragment, view.protocol, view.l4), (fragment, protocol::UDP, 62));
            assert_eq!(view.ports, if fragment { (0, 0) } else { (40_000, 80) });
        }
    }

    #[test]
    fn put_end_is_the_packet_with_another_length() {
        for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
            let long = Packet { v6, udp, extras: 2, ..Packet::tcp(&[0; 900]) };
            let mut frame = long.build(Sum::Zero);
            let view = View::parse(&frame).unwrap();
            view.put_end(&mut frame, view.payload + 33);
            let short = Packet { payload: vec![0; 33], ..long }.build(Sum::Zero);
            assert_eq!(frame[..short.len()], short);
        }
    }

    proptest! {
        /// Whatever the bytes say, offsets are in order and within the frame.
        #[test]
        fn offsets_stay_inside(
            kind in 0usize..4,
            mut frame in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(start) = frame.get_mut(12..15) {
                let known = [[8, 0, 0x45], [0x86, 0xdd, 0x60], [8, 6, 0], [start[0], start[1], start[2]]];
                start.copy_from_slice(&known[kind]);
            }
            if let Some(len) = frame.get_mut(16..20) {
                len[0] = 0; // else nearly all are longer than the frame
                len[2] = 0;
            }
            if let Ok(view) = View::parse(&frame) {
                prop_assert!(View::L3 <= view.l4 && view.l4 <= view.payload);
                prop_assert!(view.payload <= view.end && view.end <= frame.len());
                prop_assert!(!view.fragment || view.ports == (0, 0));
            }
        }
    }
}
