//! Neighbouring frames of a flow joined into a super-frame: what Linux calls
//! GRO, for the frames inside the tunnel.
//!
//! Only the first frame's headers are kept, so frames are joined only if a
//! receiver can tell the super-frame from its parts by nothing but the count:
//! all header bytes must be equal but for lengths, checksums, and what advances
//! from segment to segment. A super-frame's checksum is partial and no longer
//! verified by anyone, therefore each part's is verified here.

use super::frame::{Net, View};
use super::partial;
use super::vnet::{Kind, Offload};
use super::{checksum, get16, put16};

/// The most frames that are joined into one, as many as Linux segments for UDP.
pub const MAX_SEGMENTS: usize = 64;

/// The longest super-frame, in bytes of IP packet.
const MAX_PACKET: usize = 65_535;
/// IPv6 without extension headers, and full TCP options.
const MAX_HEADERS: usize = View::L3 + 40 + 60;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// What became of a frame offered to [`Joined::append`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// Joined; the next one may follow.
    Joined,
    /// Joined, and nothing can follow it.
    Last,
    /// Not joined. To keep the flow in order, what was joined must be written
    /// before this frame.
    No,
}

/// Frames joined so far. The frames themselves stay with the caller, who
/// writes the first one up to its [`View::end`] and then the payloads
/// (`payload..end`) of the others, in the order in which they were appended.
#[derive(Clone, Debug)]
pub struct Joined {
    view: View,
    first: Segment,
    /// Payload bytes of each segment but the last.
    size: usize,
    /// Where the packet ends, with all payloads.
    end: usize,
    segments: usize,
    /// Flags that only the last segment may have.
    flags: u8,
    closed: bool,
}

impl Joined {
    /// Starts with a frame that others may be appended to: unfragmented TCP
    /// data without flags that end a train, or UDP with a checksum, in IP
    /// without options or extension headers, all checksums correct. `None` for
    /// all else, which goes on alone. `view` must be of this `frame`.
    pub fn start(frame: &[u8], view: &View) -> Option<Joined> {
        let first = Segment::read(frame, view)?;
        if first.flags != 0 || !correct(frame, view) {
            return None;
        }
        Some(Joined {
            view: *view,
            first,
            size: view.end - view.payload,
            end: view.end,
            segments: 1,
            flags: 0,
            closed: false,
        })
    }

    /// Appends the frame if it continues the train. `view` must be of this `frame`.
    pub fn append(&mut self, frame: &[u8], view: &View) -> Append {
        let Some(next) = Segment::read(frame, view) else { return Append::No };
        let len = view.end - view.payload;
        let fits = !self.closed && len <= self.size && self.end + len <= View::L3 + MAX_PACKET;
        if !fits || !self.continues(&next) || !correct(frame, view) {
            return Append::No;
        }
        self.end += len;
        self.segments += 1;
        self.flags = next.flags;
        self.closed = len < self.size || next.flags != 0 || self.segments == MAX_SEGMENTS;
        if self.closed { Append::Last } else { Append::Joined }
    }

    /// Rewrites the headers of the frame that it started with for all that was
    /// joined, and returns what remains to be done to the super-frame. A frame
    /// that stayed alone is left untouched.
    pub fn finish(self, first_frame: &mut [u8]) -> Offload {
        if self.segments == 1 {
            return Offload::NONE;
        }
        let view = &self.view;
        view.put_end(first_frame, self.end);
        if self.first.kind == Kind::Tcp {
            first_frame[view.l4 + 13] |= self.flags;
        }
        let pseudo = partial::pseudo_header(first_frame, view, self.end);
        put16(first_frame, view.l4 + self.first.kind.checksum_offset(), pseudo);
        Offload::super_frame(self.first.kind, self.size as u16, view)
    }

    fn continues(&self, next: &Segment) -> bool {
        let joined = (self.end - self.view.payload) as u32;
        next.constant == self.first.constant
            && next.sequence == self.first.sequence.map(|s| s.wrapping_add(joined))
            && self.id_follows(next.id)
    }

    /// Identifications count up, or stand still where they mean nothing
    /// (RFC 6864: with DF set). IPv6 has none.
    fn id_follows(&self, id: Option<u16>) -> bool {
        let (Some(first), Some(id)) = (self.first.id, id) else { return true };
        let dont_fragment = self.first.constant[View::L3 + 6] & 0x40 != 0;
        let step = usize::from(id.wrapping_sub(first));
        step == self.segments || (dont_fragment && step == 0)
    }
}

/// The headers of one candidate, taken apart.
#[derive(Clone, Debug)]
struct Segment {
    kind: Kind,
    /// The headers with zeros where those of neighbours may differ, and behind them.
    constant: [u8; MAX_HEADERS],
    /// IPv4 identification.
    id: Option<u16>,
    /// TCP sequence number.
    sequence: Option<u32>,
    /// FIN and PSH.
    flags: u8,
}

impl Segment {
    /// `None` if the frame is of a kind that is never joined.
    fn read(frame: &[u8], view: &View) -> Option<Segment> {
        let kind = Kind::of(view)?;
        let ip_len = if view.net == Net::V4 { 20 } else { 40 };
        if view.l4 != View::L3 + ip_len || view.payload == view.end {
            return None;
        }
        let mut constant = [0; MAX_HEADERS];
        constant[..view.payload].copy_from_slice(&frame[..view.payload]);
        let (network, transport) = constant.split_at_mut(view.l4);
        let id = take_network(&mut network[View::L3..], view.net);
        let (sequence, flags) = match kind {
            Kind::Tcp => take_tcp(transport)?,
            Kind::Udp => take_udp(transport, view.end - view.l4)?,
        };
        Some(Segment { kind, constant, id, sequence, flags })
    }
}

/// Clears lengths, identification and checksum of an IP header.
fn take_network(ip: &mut [u8], net: Net) -> Option<u16> {
    if net == Net::V6 {
        put16(ip, 4, 0);
        return None;
    }
    let id = get16(ip, 4);
    ip[2..6].fill(0);
    put16(ip, 10, 0);
    Some(id)
}

/// Clears sequence number, FIN, PSH and checksum. `None` for segments that are
/// more, or less, than the next bytes of a stream. CWR is among them: RFC 3168
/// and AccECN read a train with it differently.
fn take_tcp(tcp: &mut [u8]) -> Option<(Option<u32>, u8)> {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let flags = tcp[13];
    if flags & ACK == 0 || flags & !(ACK | ECE | PSH | FIN) != 0 {
        return None;
    }
    tcp[4..8].fill(0);
    tcp[13] = flags & !(PSH | FIN);
    put16(tcp, 16, 0);
    Some((Some(sequence), flags & (PSH | FIN)))
}

/// Clears length and checksum. `None` if there is no checksum, or the length
/// is not the packet's.
fn take_udp(udp: &mut [u8], len: usize) -> Option<(Option<u32>, u8)> {
    if usize::from(get16(udp, 4)) != len || get16(udp, 6) == 0 {
        return None;
    }
    udp[4..8].fill(0);
    Some((None, 0))
}

/// Whether the checksums of the IPv4 header and of the transport are right.
fn correct(frame: &[u8], view: &View) -> bool {
    let header = &frame[View::L3..view.l4];
    (view.net == Net::V6 || checksum::fold(checksum::sum(header)) == 0xffff)
        && partial::is_complete(frame, view)
}
