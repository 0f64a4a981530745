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
        let agrees =
            self.gso_size > 0 && usize::from(self.csum_start) == view.l4 && view.payload < view.end;
        if agrees { Ok(Gso { kind, size: self.gso_size }) } else { Err(Lie) }
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
