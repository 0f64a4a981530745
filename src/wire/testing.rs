//! What tests and fuzz targets share: frames built field by field, with
//! checksums of their own as a second opinion, and cutting and joining as a
//! worker does them.

use super::coalesce::{Append, Checksum, Joined};
use super::frame::View;
use super::gso::{MAX_HEADERS, Split};
use super::vnet::{Gso, Offload};

/// What stands in the transport's checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The final checksum.
    Complete,
    /// The sum of the pseudo-header.
    Partial,
    /// Zero.
    Zero,
}

/// TCP flags.
pub mod flag {
    /// Last of the stream.
    pub const FIN: u8 = 0x01;
    /// Opens the stream.
    pub const SYN: u8 = 0x02;
    /// Resets the stream.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Congestion echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// A TCP or UDP packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Packet {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// UDP rather than TCP.
    pub udp: bool,
    /// Last byte of the destination MAC.
    pub mac: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 identification.
    pub id: u16,
    /// The IPv4 flag.
    pub dont_fragment: bool,
    /// Words of IPv4 options, or IPv6 destination options headers of 8 bytes.
    pub extras: usize,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// TCP flags.
    pub flags: u8,
    /// TCP window.
    pub window: u16,
    /// TCP options; a multiple of four bytes, at most 40.
    pub options: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Ethernet padding behind the packet.
    pub padding: usize,
}

impl Packet {
    /// An ordinary segment of a TCP stream over IPv4.
    pub fn tcp(payload: &[u8]) -> Packet {
        Packet {
            v6: false,
            udp: false,
            mac: 2,
            tos: 0,
            ttl: 64,
            id: 7,
            dont_fragment: true,
            extras: 0,
            ports: (40_000, 80),
            sequence: 1_000,
            ack: 5,
            flags: flag::ACK,
            window: 501,
            options: Vec::new(),
            payload: payload.to_vec(),
            padding: 0,
        }
    }

    /// An ordinary datagram over IPv4.
    pub fn udp(payload: &[u8]) -> Packet {
        Packet { udp: true, ..Packet::tcp(payload) }
    }

    /// Where the transport header starts in the frame.
    pub fn l4(&self) -> usize {
        14 + if self.v6 { 40 + 8 * self.extras } else { 20 + 4 * self.extras }
    }

    /// The frame.
    pub fn build(&self, sum: Sum) -> Vec<u8> {
        let mut transport = self.transport();
        let mut pseudo = self.addresses();
        pseudo.extend([0, self.protocol()]);
        pseudo.extend((transport.len() as u32).to_be_bytes());
        let at = if self.udp { 6 } else { 16 };
        let field = match sum {
            Sum::Complete => match !ones_sum(&[&pseudo, &transport]) {
                0 => 0xffff,
                sum => sum,
            },
            Sum::Partial => ones_sum(&[&pseudo]),
            Sum::Zero => 0,
        };
        transport[at..at + 2].copy_from_slice(&field.to_be_bytes());
        let network = if self.v6 { self.ipv6(transport.len()) } else { self.ipv4(transport.len()) };
        let ethertype = if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let macs = [2, 66, 10, 0, 0, self.mac, 2, 66, 10, 0, 0, 1];
        [&macs[..], &ethertype, &network, &transport, &vec![0; self.padding]].concat()
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    fn addresses(&self) -> Vec<u8> {
        if !self.v6 {
            return vec![10, 0, 0, 1, 10, 0, 0, 2];
        }
        let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        [address(1), address(2)].concat()
    }

    fn transport(&self) -> Vec<u8> {
        let mut out = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        if self.udp {
            out.extend((8 + self.payload.len() as u16).to_be_bytes());
            out.extend([0, 0]);
        } else {
            out.extend(self.sequence.to_be_bytes());
            out.extend(self.ack.to_be_bytes());
            out.extend([(5 + self.options.len() as u8 / 4) << 4, self.flags]);
            out.extend(self.window.to_be_bytes());
            out.extend([0; 4]);
            out.extend(&self.options);
        }
        out.extend(&self.payload);
        out
    }

    fn ipv4(&self, transport: usize) -> Vec<u8> {
        let header = 20 + 4 * self.extras;
        let mut out = vec![0x40 | (header / 4) as u8, self.tos];
        out.extend(((header + transport) as u16).to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend([u8::from(self.dont_fragment) << 6, 0, self.ttl, self.protocol(), 0, 0]);
        out.extend(self.addresses());
        out.resize(header, 1); // no operation
        let sum = !ones_sum(&[&out]);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out
    }

    fn ipv6(&self, transport: usize) -> Vec<u8> {
        let first = if self.extras > 0 { 60 } else { self.protocol() };
        let mut out = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 9];
        out.extend(((8 * self.extras + transport) as u16).to_be_bytes());
        out.extend([first, self.ttl]);
        out.extend(self.addresses());
        for left in (0..self.extras).rev() {
            let next = if left > 0 { 60 } else { self.protocol() };
            out.extend([next, 0, 1, 4, 0, 0, 0, 0]); // one PadN option
        }
        out
    }
}

/// The sum of RFC 1071 in its plainest form, over pieces of even length (but
/// for the last).
pub fn ones_sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for word in pieces.iter().flat_map(|piece| piece.chunks(2)) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// All segments of a partial super-frame, each in one piece. Panics if it cannot
/// be cut.
pub fn split(frame: &[u8], gso: Gso) -> Vec<Vec<u8>> {
    let view = View::parse(frame).unwrap();
    let split = Split::new(frame, &view, gso).unwrap();
    let mut headers = [0; MAX_HEADERS];
    let mut segment = |i| {
        let payload = split.segment(i, &mut headers);
        [&headers[..split.headers_len()], &frame[payload]].concat()
    };
    let segments: Vec<_> = (0..split.segments()).map(&mut segment).collect();
    assert_eq!(segments[0].len(), split.segment_len());
    segments
}

/// Joins what can be joined, as a receiving worker does. What can be joined without a
/// look at it must be joined in the same way with one. All frames are complete.
pub fn join(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, Offload)> {
    let mut out = Vec::new();
    let mut rest = frames.iter().peekable();
    while let Some(first) = rest.next() {
        let view = View::parse(first).unwrap();
        let mut whole = first[..view.end].to_vec();
        let Some(mut joined) = Joined::start(first, &view, Checksum::Complete) else {
            out.push((whole, Offload::NONE));
            continue;
        };
        while let Some(frame) = rest.peek() {
            let view = View::parse(frame).unwrap();
            let followed = joined.clone().follow(frame);
            let appended = joined.append(frame, &view, Checksum::Complete);
            assert!(followed == Append::No || followed == appended, "{followed:?}");
            if appended == Append::No {
                break;
            }
            whole.extend(&frame[view.payload..view.end]);
            rest.next();
        }
        let offload = joined.finish(&mut whole);
        out.push((whole, offload));
    }
    out
}
