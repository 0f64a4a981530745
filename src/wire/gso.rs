//! A super-frame cut into frames that fit the path.
//!
//! The super-frame stays as it is: [`Split::write`] copies a segment out of it,
//! and for whoever can gather, [`Split::segment`] writes fresh headers only and
//! says which bytes of the super-frame follow them.

use std::ops::Range;

use super::frame::{Net, View};
use super::vnet::{Gso, Kind};
use super::{checksum, get16, put16};

/// The longest headers, in bytes from the frame's start to the payload, that
/// are cut: IPv6, a segment routing header of eight hops and full TCP options
/// fit. Callers can keep headers in buffers of this size.
pub const MAX_HEADERS: usize = 256;

/// TCP flags that belong to the last segment only: FIN and PSH.
const LAST_ONLY: u8 = 0x09;
/// The TCP flag that belongs to the first segment only: CWR (RFC 3168 6.1.2).
const FIRST_ONLY: u8 = 0x80;

/// A super-frame and how it is cut. The segments, in order, carry its payload
/// exactly once.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    frame: &'a [u8],
    view: &'a View,
    gso: Gso,
}

impl<'a> Split<'a> {
    /// `view` must be of this `frame`, whose checksum must be partial (see
    /// [`vnet`](super::vnet)), as every super-frame's is. `None` if it cannot be
    /// cut: no payload, another transport than `gso` says, a fragment, or
    /// headers longer than [`MAX_HEADERS`].
    pub fn new(frame: &'a [u8], view: &'a View, gso: Gso) -> Option<Split<'a>> {
        let can_be_cut = Kind::of(view) == Some(gso.kind)
            && gso.size > 0
            && view.payload < view.end
            && view.payload <= MAX_HEADERS;
        can_be_cut.then_some(Split { frame, view, gso })
    }

    /// How many segments there are; at least one.
    pub fn segments(&self) -> usize {
        (self.view.end - self.view.payload).div_ceil(usize::from(self.gso.size))
    }

    /// Bytes of Ethernet, IP and transport header in front of each segment's payload.
    pub fn headers_len(&self) -> usize {
        self.view.payload
    }

    /// Bytes of the first segment, headers included. All others but the last,
    /// which may be shorter, have the same length.
    pub fn segment_len(&self) -> usize {
        self.view.end.min(self.view.payload + usize::from(self.gso.size))
    }

    /// Writes segment `i`, complete, to the start of `out` and returns its length in
    /// bytes. Panics if `out` is shorter than [`Split::segment_len`].
    pub fn write(&self, i: usize, out: &mut [u8]) -> usize {
        let payload = self.payload(i);
        let end = self.view.payload + payload.len();
        // Copied before it is summed: then the copy, which prefetches better, is the first
        // to touch it.
        out[self.view.payload..end].copy_from_slice(&self.frame[payload]);
        self.segment(i, out);
        end
    }

    /// Where in the super-frame the payload of segment `i` is.
    fn payload(&self, i: usize) -> Range<usize> {
        let size = usize::from(self.gso.size);
        let start = self.view.end.min(self.view.payload + i * size);
        start..self.view.end.min(start + size)
    }

    /// Writes the headers of segment `i` to the first [`Split::headers_len`]
    /// bytes of `headers`, all checksums complete, and returns where in the
    /// super-frame its payload is. Panics if `headers` is shorter than that.
    pub fn segment(&self, i: usize, headers: &mut [u8]) -> Range<usize> {
        let view = self.view;
        let payload = self.payload(i);
        let headers = &mut headers[..view.payload];
        headers.copy_from_slice(&self.frame[..view.payload]);
        view.put_end(headers, view.payload + payload.len());
        if view.net == Net::V4 {
            advance_id(&mut headers[View::L3..], i as u16);
        }
        if self.gso.kind == Kind::Tcp {
            let tcp = &mut headers[view.l4..];
            advance_sequence(tcp, (payload.start - view.payload) as u32);
            if i > 0 {
                tcp[13] &= !FIRST_ONLY;
            }
            if payload.end < view.end {
                tcp[13] &= !LAST_ONLY;
            }
        }
        self.complete(headers, &self.frame[payload.clone()]);
        payload
    }

    /// The checksum field holds the sum of the super-frame's pseudo-header. In
    /// the segment's only the length differs, so that is exchanged; where an
    /// IPv6 routing header makes the addresses others than the IP header's,
    /// the sum stays right.
    fn complete(&self, headers: &mut [u8], payload: &[u8]) {
        let transport = &mut headers[self.view.l4..];
        let field = self.gso.kind.checksum_offset();
        let before = (self.view.end - self.view.l4) as u16;
        let after = (transport.len() + payload.len()) as u16;
        let pseudo = u64::from(get16(transport, field)) + u64::from(!before) + u64::from(after);
        put16(transport, field, 0);
        let sum = pseudo + checksum::sum(transport) + checksum::sum(payload);
        put16(transport, field, checksum::finish(sum));
    }
}

/// Adds to the identification of an IPv4 header.
fn advance_id(ip: &mut [u8], by: u16) {
    let id = get16(ip, 4);
    let next = id.wrapping_add(by);
    put16(ip, 4, next);
    put16(ip, 10, checksum::update(get16(ip, 10), id, next));
}

/// Adds to the sequence number of a TCP header.
fn advance_sequence(tcp: &mut [u8], by: u32) {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(by);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Packet, Sum, flag};
    use super::*;

    const TCP: Kind = Kind::Tcp;
    const UDP: Kind = Kind::Udp;

    /// Headers of all segments, and their payloads' ranges relative to the first.
    fn cut(packet: &Packet, kind: Kind, size: u16) -> Vec<(Vec<u8>, Range<usize>)> {
        let frame = packet.build(Sum::Partial);
        let view = View::parse(&frame).unwrap();
        let split = Split::new(&frame, &view, Gso { kind, size }).unwrap();
        let mut headers = [0; MAX_HEADERS];
        let mut segment = |i| {
            let payload = split.segment(i, &mut headers);
            let payload = payload.start - view.payload..payload.end - view.payload;
            (headers[..split.headers_len()].to_vec(), payload)
        };
        (0..split.segments()).map(&mut segment).collect()
    }

    #[test]
    fn tcp_fields_advance() {
        let flags = flag::ACK | flag::CWR | flag::ECE | flag::PSH | flag::FIN;
        let packet =
            Packet { id: 0xffff, sequence: u32::MAX, flags, ..Packet::tcp(&[b'x'; 2_500]) };
        let segments = cut(&packet, TCP, 1_000);
        let ranges: Vec<_> = segments.iter().map(|(_, range)| range.clone()).collect();
        assert_eq!(ranges, [0..1_000, 1_000..2_000, 2_000..2_500]);
        let fields = segments.iter().map(|(h, _)| {
            (get16(h, 16), get16(h, 18), u32::from_be_bytes([h[38], h[39], h[40], h[41]]), h[47])
        });
        assert_eq!(
            fields.collect::<Vec<_>>(),
            [
                (1_040, 0xffff, 0xffff_ffff, flag::ACK | flag::ECE | flag::CWR),
                (1_040, 0, 999, flag::ACK | flag::ECE),
                (540, 1, 1_999, flag::ACK | flag::ECE | flag::PSH | flag::FIN),
            ]
        );
    }

    #[test]
    fn udp_lengths_shrink_and_extension_headers_count() {
        let packet = Packet { v6: true, extras: 2, ..Packet::udp(&[1; 1_001]) };
        let lengths = cut(&packet, UDP, 1_000)
            .into_iter()
            .map(|(h, _)| (get16(&h, 18), get16(&h, packet.l4() + 4)));
        assert_eq!(lengths.collect::<Vec<_>>(), [(16 + 1_008, 1_008), (16 + 9, 9)]);
    }

    /// A sum that comes out as 0 would say that there is no checksum.
    #[test]
    fn a_udp_checksum_of_zero_is_written_as_ones() {
        let frame = Packet::udp(&[0, 0]).build(Sum::Complete);
        let field = 34 + 6;
        // The word that makes up for all the others.
        let packet = Packet::udp(&frame[field..field + 2]);
        assert_eq!(get16(&cut(&packet, UDP, 100)[0].0, field), 0xffff);
    }

    #[test]
    fn a_payload_of_one_segment_is_only_finished() {
        let packet = Packet::tcp(b"short");
        let segments = cut(&packet, TCP, 1_000);
        assert_eq!(segments.len(), 1);
        let whole = [&segments[0].0[..], b"short"].concat();
        assert_eq!(whole, packet.build(Sum::Complete));
    }

    #[test]
    fn refuses_what_cannot_be_cut() {
        let refused = |packet: &Packet, kind, size| {
            let frame = packet.build(Sum::Partial);
            let view = View::parse(&frame).unwrap();
            Split::new(&frame, &view, Gso { kind, size }).is_none()
        };
        assert!(refused(&Packet::tcp(b""), TCP, 1), "no payload");
        assert!(refused(&Packet::tcp(b"x"), UDP, 1), "TCP is not UDP");
        assert!(refused(&Packet::udp(b"x"), TCP, 1), "UDP is not TCP");
        assert!(refused(&Packet::tcp(b"x"), TCP, 0), "no size");
        let long = |udp, extras| Packet { v6: true, udp, extras, ..Packet::tcp(b"x") };
        assert!(!refused(&long(true, 8), UDP, 1), "8 extension headers");
        let mut frame = Packet::tcp(b"xy").build(Sum::Partial);
        frame[20] |= 0x20; // more fragments
        let view = View::parse(&frame).unwrap();
        assert!(Split::new(&frame, &view, Gso { kind: TCP, size: 1 }).is_none(), "a fragment");
    }

    #[test]
    fn refuses_headers_that_callers_have_no_room_for() {
        let mut frame = Packet { v6: true, extras: 1, ..Packet::udp(&[0; 400]) }.build(Sum::Zero);
        let header = 14 + 40;
        for (words, fits) in [(23, true), (24, false)] {
            frame[header + 1] = words;
            let udp = header + 8 + 8 * usize::from(words);
            let len = (frame.len() - udp) as u16;
            put16(&mut frame, udp + 4, len);
            let view = View::parse(&frame).unwrap();
            let split = Split::new(&frame, &view, Gso { kind: UDP, size: 100 });
            assert_eq!(split.is_some(), fits, "{} bytes", view.payload);
        }
    }
}
