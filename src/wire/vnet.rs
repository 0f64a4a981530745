//! The virtio-net header that stands before every frame on a TAP opened with
//! IFF_VNET_HDR (virtio 1.2, section 5.1.6), and what of it we believe.
//!
//! The kernel writes these headers, but a container with a packet socket
//! chooses their content. [`Header::check`] lets only those through whose
//! offsets agree with the frame itself; `hdr_len` is never used.
//!
//! ## Checksum states
//! A frame inside the program is in one of two states. *Complete*: every
//! checksum is final ([`Offload::checksum`] is `None`). *Partial*: the
//! transport's checksum field holds the sum of the pseudo-header only, and
//! whoever puts the frame on a wire adds the rest. A super-frame
//! ([`Offload::gso`]) is always partial.

use super::checksum;
use super::frame::{Net, View, protocol};

/// Bytes of the header (without `num_buffers`).
pub const LEN: usize = 10;

/// The most segments of a frame that Linux makes of a UDP super-frame
/// (UDP_MAX_SEGMENTS). Without a limit a container could make us send 65,000
/// datagrams for one frame.
const MAX_UDP_SEGMENTS: usize = 128;
/// The least payload of a TCP segment that Linux makes: 48 bytes
/// (`net.ipv4.tcp_min_snd_mss`) less 40 of options.
const MIN_TCP_SEGMENT: usize = 8;

const F_NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// The header's fields as the kernel wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

/// The header contradicts the frame behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lie;

/// What remains to be done to a frame before it can be put on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum to complete, if any.
    pub checksum: Option<Partial>,
    /// How to cut the frame, if it is a super-frame.
    pub gso: Option<Gso>,
}

/// A checksum that covers the frame from `start` to the packet's end and
/// belongs at `start + offset`; offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// First byte covered; never before the transport header.
    pub start: u16,
    /// Where in the covered bytes the checksum field is.
    pub offset: u16,
}

/// How a super-frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// TCP or UDP.
    pub kind: Kind,
    /// Payload bytes of each segment but the last; never 0.
    pub size: u16,
}

/// The transports whose segmentation is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Segments with advancing sequence numbers.
    Tcp,
    /// Datagrams of equal size (UDP_SEGMENT).
    Udp,
}

impl Kind {
    /// The transport of a frame, if it is one of these and not a fragment.
    pub fn of(view: &View) -> Option<Kind> {
        match view.protocol {
            _ if view.fragment => None,
            protocol::TCP => Some(Kind::Tcp),
            protocol::UDP => Some(Kind::Udp),
            _ => None,
        }
    }

    /// Where in the transport header the checksum field is.
    pub fn checksum_offset(self) -> usize {
        match self {
            Kind::Tcp => 16,
            Kind::Udp => 6,
        }
    }
}

impl Header {
    /// From the bytes before a frame.
    pub fn from_bytes(b: [u8; LEN]) -> Header {
        // The legacy header is in the machine's own byte order.
        let field = |at: usize| u16::from_ne_bytes([b[at], b[at + 1]]);
        Header {
            flags: b[0],
            gso_type: b[1],
            hdr_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        }
    }

    /// To the bytes before a frame.
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut b = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, field) in
            [(2, self.hdr_len), (4, self.gso_size), (6, self.csum_start), (8, self.csum_offset)]
        {
            b[at..at + 2].copy_from_slice(&field.to_ne_bytes());
        }
        b
    }

    /// Believes the header only as far as the frame agrees with it.
    pub fn check(self, view: &View) -> Result<Offload, Lie> {
        let gso = match self.gso_type & !GSO_ECN {
            GSO_NONE => None,
            kind => Some(self.check_gso(kind, view)?),
        };
        let checksum = match (self.flags & F_NEEDS_CSUM != 0, gso) {
            (false, None) => None,
            (true, _) => Some(self.check_partial(view)?),
            (false, Some(_)) => return Err(Lie),
        };
        Ok(Offload { checksum, gso })
    }

    fn check_partial(self, view: &View) -> Result<Partial, Lie> {
        let (start, offset) = (usize::from(self.csum_start), usize::from(self.csum_offset));
        let is_ip = matches!(view.net, Net::V4 | Net::V6);
        // The transport's own checksum, where its field is; or one of a packet
        // inside the payload, if the container has a tunnel of its own.
        let own = start == view.l4 && Kind::of(view).is_some_and(|k| k.checksum_offset() == offset);
        let inside = start >= view.payload && start + offset + 2 <= view.end;
        if !is_ip || view.fragment || !(own || inside) {
            return Err(Lie);
        }
        Ok(Partial { start: self.csum_start, offset: self.csum_offset })
    }

    fn check_gso(self, kind: u8, view: &View) -> Result<Gso, Lie> {
        let kind = match (kind, view.net, Kind::of(view)) {
            (GSO_TCPV4, Net::V4, Some(Kind::Tcp)) | (GSO_TCPV6, Net::V6, Some(Kind::Tcp)) => {
                Kind::Tcp
            }
            (GSO_UDP_L4, _, Some(Kind::Udp)) => Kind::Udp,
            _ => return Err(Lie),
        };
        let size = usize::from(self.gso_size);
        let payload = view.end - view.payload;
        let sane = match kind {
            Kind::Tcp => size >= MIN_TCP_SEGMENT,
            Kind::Udp => size > 0 && payload.div_ceil(size) <= MAX_UDP_SEGMENTS,
        };
        let agrees = usize::from(self.csum_start) == view.l4 && payload > 0;
        if sane && agrees { Ok(Gso { kind, size: self.gso_size }) } else { Err(Lie) }
    }
}

impl Offload {
    /// A whole, complete frame.
    pub const NONE: Offload = Offload { checksum: None, gso: None };

    /// What a TCP or UDP super-frame needs.
    pub fn super_frame(kind: Kind, size: u16, view: &View) -> Offload {
        Offload { gso: Some(Gso { kind, size }), ..Offload::partial(kind, view) }
    }

    /// What a TCP or UDP frame with a partial checksum needs.
    pub fn partial(kind: Kind, view: &View) -> Offload {
        let offset = kind.checksum_offset() as u16;
        Offload { checksum: Some(Partial { start: view.l4 as u16, offset }), gso: None }
    }

    /// The header for handing the frame to a TAP as it is.
    pub fn header(&self, view: &View) -> Header {
        let mut header = Header::default();
        if let Some(partial) = self.checksum {
            header.flags = F_NEEDS_CSUM;
            header.csum_start = partial.start;
            header.csum_offset = partial.offset;
        }
        if let Some(gso) = self.gso {
            header.hdr_len = view.payload as u16;
            header.gso_size = gso.size;
            header.gso_type = match (gso.kind, view.net) {
                (Kind::Tcp, Net::V6) => GSO_TCPV6,
                (Kind::Tcp, _) => GSO_TCPV4,
                (Kind::Udp, _) => GSO_UDP_L4,
            };
        }
        header
    }
}

/// Completes a partial checksum in place. `end` is where the packet ends
/// ([`View::end`]). Offsets outside the frame leave it as it is.
pub fn complete(frame: &mut [u8], partial: Partial, end: usize) {
    let start = usize::from(partial.start);
    let field = start + usize::from(partial.offset);
    let Some(covered) = frame.get(start..end) else { return };
    let sum = checksum::finish(checksum::sum(covered));
    if let Some(bytes) = frame.get_mut(field..field + 2) {
        bytes.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Packet, Sum};
    use super::*;

    fn view(packet: &Packet) -> View {
        View::parse(&packet.build(Sum::Partial)).unwrap()
    }

    fn kinds() -> [(Packet, Kind, u8); 4] {
        let (tcp, udp) = (Packet::tcp(&[1; 99]), Packet::udp(&[1; 99]));
        [
            (Packet { v6: true, ..tcp.clone() }, Kind::Tcp, GSO_TCPV6),
            (tcp, Kind::Tcp, GSO_TCPV4),
            (Packet { v6: true, ..udp.clone() }, Kind::Udp, GSO_UDP_L4),
            (udp, Kind::Udp, GSO_UDP_L4),
        ]
    }

    #[test]
    fn no_flags_mean_a_complete_frame() {
        for (packet, ..) in kinds() {
            assert_eq!(Header::from_bytes([0; LEN]).check(&view(&packet)), Ok(Offload::NONE));
        }
        // DATA_VALID, as the kernel says of what it has verified.
        let header = Header::from_bytes([2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header.check(&view(&Packet::tcp(b""))), Ok(Offload::NONE));
    }

    #[test]
    fn what_is_written_is_what_virtio_says() {
        let (packet, kind, _) = &kinds()[1];
        let header = Offload::super_frame(*kind, 50, &view(packet)).header(&view(packet));
        let fields: Vec<u8> = [54u16, 50, 34, 16].iter().flat_map(|f| f.to_ne_bytes()).collect();
        assert_eq!(header.to_bytes()[..2], [1, 1]);
        assert_eq!(header.to_bytes()[2..], fields);
    }

    #[test]
    fn what_is_written_is_believed() {
        for (packet, kind, gso_type) in kinds() {
            let view = view(&packet);
            for offload in [
                Offload::NONE,
                Offload::partial(kind, &view),
                Offload::super_frame(kind, 50, &view),
            ] {
                let header = Header::from_bytes(offload.header(&view).to_bytes());
                assert_eq!(header.check(&view), Ok(offload));
                assert_eq!(header.gso_type, if offload.gso.is_some() { gso_type } else { 0 });
                // Congestion marks do not change how it is cut; the length is only a hint.
                if offload.gso.is_some() {
                    let odd = Header { gso_type: gso_type | GSO_ECN, hdr_len: 0xffff, ..header };
                    assert_eq!(odd.check(&view), Ok(offload));
                }
            }
        }
    }

    #[test]
    fn lies_are_not_believed() {
        for (packet, kind, gso_type) in kinds() {
            let view = view(&packet);
            let good = Offload::super_frame(kind, 50, &view).header(&view);
            let plain = Offload::partial(kind, &view).header(&view);
            let other = if gso_type == GSO_TCPV4 { GSO_TCPV6 } else { GSO_TCPV4 };
            for lie in [
                Header { flags: 0, ..good },
                Header { gso_size: 0, ..good },
                Header { gso_type: 3, ..good }, // UFO, which nobody may send any more
                Header { gso_type: 0x7f, ..good },
                Header { gso_type: other, ..good },
                Header { csum_start: good.csum_start + 1, ..good },
                Header { csum_offset: good.csum_offset ^ 2, ..good },
                Header { csum_offset: plain.csum_offset - 2, ..plain },
                Header { csum_start: 0, ..plain },
                Header { csum_start: plain.csum_start - 2, ..plain },
                Header { csum_start: plain.csum_start + 2, ..plain },
                Header { csum_start: view.end as u16, csum_offset: 0, ..plain },
                Header { csum_start: view.end as u16 - 2, csum_offset: 1, ..plain },
                Header { csum_start: u16::MAX, csum_offset: u16::MAX, ..plain },
            ] {
                assert_eq!(lie.check(&view), Err(Lie), "{lie:?}");
            }
        }
        let empty = Packet::tcp(b"");
        let header = Offload::super_frame(Kind::Tcp, 50, &view(&empty)).header(&view(&empty));
        assert_eq!(header.check(&view(&empty)), Err(Lie), "nothing to cut");
    }

    #[test]
    fn fragments_and_other_protocols_have_no_transport_checksum() {
        let mut frame = Packet::tcp(&[0; 99]).build(Sum::Partial);
        let header =
            Offload::partial(Kind::Tcp, &view(&Packet::tcp(b""))).header(&view(&Packet::tcp(b"")));
        frame[20] |= 0x20;
        assert_eq!(header.check(&View::parse(&frame).unwrap()), Err(Lie));
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        assert_eq!(header.check(&View::parse(&frame).unwrap()), Err(Lie));
    }

    /// A container with a tunnel of its own leaves the sum of a packet inside.
    #[test]
    fn a_checksum_inside_the_payload_is_possible() {
        let mut frame = Packet::udp(&[0xab; 40]).build(Sum::Complete);
        let view = View::parse(&frame).unwrap();
        let header = Header { flags: 1, csum_start: 50, csum_offset: 6, ..Header::default() };
        let partial = header.check(&view).unwrap().checksum.unwrap();
        complete(&mut frame, partial, view.end);
        assert_ne!(frame[56..58], [0xab, 0xab]);
        assert_eq!(frame[42..56], [0xab; 14]);
    }

    proptest! {
        #[test]
        fn bytes_round_trip(bytes: [u8; LEN]) {
            prop_assert_eq!(Header::from_bytes(bytes).to_bytes(), bytes);
        }

        #[test]
        fn completing_gives_the_complete_frame(
            which in 0usize..4, payload in proptest::collection::vec(any::<u8>(), 0..300), padding in 0usize..20,
        ) {
            let packet = Packet { payload, padding, ..kinds()[which].0.clone() };
            let mut frame = packet.build(Sum::Partial);
            let view = View::parse(&frame).unwrap();
            complete(&mut frame, Offload::partial(kinds()[which].1, &view).checksum.unwrap(), view.end);
            prop_assert_eq!(frame, packet.build(Sum::Complete));
        }

        #[test]
        fn completing_never_reaches_outside(
            mut frame in proptest::collection::vec(any::<u8>(), 0..100), start: u16, offset: u16, end in 0usize..200,
        ) {
            let start = start % 120;
            complete(&mut frame, Partial { start, offset: offset % 120 }, end);
        }
    }

    #[test]
    fn a_frame_is_not_cut_into_crumbs() {
        let sized = |kind, packet: &Packet, size| {
            let view = view(packet);
            Offload::super_frame(kind, size, &view).header(&view).check(&view).is_ok()
        };
        let (tcp, udp) = (Packet::tcp(&[1; 1000]), Packet::udp(&[1; 1000]));
        assert!(!sized(Kind::Tcp, &tcp, 7) && sized(Kind::Tcp, &tcp, 8));
        assert!(!sized(Kind::Udp, &udp, 7) && sized(Kind::Udp, &udp, 8), "143 and 125 segments");
    }
}
