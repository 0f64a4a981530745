//! Neighbouring frames of a flow joined into a super-frame: what Linux calls
//! GRO, for the frames inside the tunnel.
//!
//! Only the first frame's headers are kept, so frames are joined only if a
//! receiver can tell the super-frame from its parts by nothing but the count:
//! all header bytes must be equal but for lengths, checksums, and what advances
//! from segment to segment. A super-frame's checksum is partial and no longer
//! verified by anyone, therefore each part's is verified here, unless it is partial
//! itself: then there is nothing to verify yet.

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

/// In which state a frame's own checksum is (see [`vnet`](super::vnet)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// There, and to be verified.
    Complete,
    /// Still to be made.
    Partial,
}

impl Checksum {
    /// `None` if something else is left to do to the frame, which goes on alone then.
    pub fn of(offload: Offload, view: &View) -> Option<Checksum> {
        if offload == Offload::NONE {
            return Some(Checksum::Complete);
        }
        let partial = Offload::partial(Kind::of(view)?, view);
        (offload == partial).then_some(Checksum::Partial)
    }
}

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
    /// Each frame's.
    checksum: Checksum,
    /// The first frame's, and behind them zeros.
    headers: Headers,
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
    /// without options or extension headers, all checksums correct, or the
    /// transport's partial. `None` for all else, which goes on alone. `view` and
    /// `checksum` must be of this `frame`.
    pub fn start(frame: &[u8], view: &View, checksum: Checksum) -> Option<Joined> {
        let first = Segment::read(frame, view)?;
        if first.flags != 0 || !is_correct(frame, view, checksum) {
            return None;
        }
        let mut headers = [0; MAX_HEADERS];
        headers[..view.payload].copy_from_slice(&frame[..view.payload]);
        Some(Joined {
            view: *view,
            first,
            checksum,
            headers,
            size: view.end - view.payload,
            end: view.end,
            segments: 1,
            flags: 0,
            closed: false,
        })
    }

    /// Appends the frame if it continues the train. `view` and `checksum` must be of this
    /// `frame`.
    pub fn append(&mut self, frame: &[u8], view: &View, checksum: Checksum) -> Append {
        let Some(next) = Segment::read(frame, view) else { return Append::No };
        let len = view.end - view.payload;
        let fits = !self.closed && len <= self.size && self.end + len <= View::L3 + MAX_PACKET;
        let continues = fits && self.is_next(&next) && self.has_headers_of(frame, view);
        if !continues || checksum != self.checksum || !is_correct(frame, view, checksum) {
            return Append::No;
        }
        self.end += len;
        self.segments += 1;
        self.flags = next.flags;
        self.closed = len < self.size || next.flags != 0 || self.segments == MAX_SEGMENTS;
        if self.closed { Append::Last } else { Append::Joined }
    }

    /// Appends a complete frame that nobody has looked at yet, if it has all headers of
    /// the first one and the same length: then its [`View`] is the first one's too.
    pub fn follow(&mut self, frame: &[u8]) -> Append {
        let view = self.view;
        if frame.len() < view.end || !self.has_lengths_of(frame) {
            return Append::No;
        }
        self.append(frame, &view, Checksum::Complete)
    }

    /// Rewrites the headers of the frame that it started with for all that was
    /// joined, and returns what remains to be done to the super-frame. A frame
    /// that stayed alone is left untouched.
    pub fn finish(self, first_frame: &mut [u8]) -> Offload {
        if self.segments == 1 {
            return match self.checksum {
                Checksum::Complete => Offload::NONE,
                Checksum::Partial => Offload::partial(self.first.kind, &self.view),
            };
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

    /// Whether the lengths in IP's and UDP's header are the first frame's.
    fn has_lengths_of(&self, frame: &[u8]) -> bool {
        let ip = if self.view.net == Net::V4 { View::L3 + 2 } else { View::L3 + 4 };
        let same = |at| get16(frame, at) == get16(&self.headers, at);
        same(ip) && (self.first.kind == Kind::Tcp || same(self.view.l4 + 4))
    }

    /// Whether what advances from segment to segment has done so.
    fn is_next(&self, next: &Segment) -> bool {
        let joined = (self.end - self.view.payload) as u32;
        next.sequence == self.first.sequence.map(|s| s.wrapping_add(joined))
            && self.id_follows(next.id)
    }

    /// Identifications count up, or stand still where they mean nothing
    /// (RFC 6864: with DF set). IPv6 has none.
    fn id_follows(&self, id: Option<u16>) -> bool {
        let (Some(first), Some(id)) = (self.first.id, id) else { return true };
        let dont_fragment = self.headers[View::L3 + 6] & 0x40 != 0;
        let step = usize::from(id.wrapping_sub(first));
        step == self.segments || (dont_fragment && step == 0)
    }

    /// Whether all header bits are the first frame's but for those that may
    /// differ between neighbours.
    fn has_headers_of(&self, frame: &[u8], view: &View) -> bool {
        let len = self.view.payload;
        view.payload == len
            && differing(&frame[..len], &self.headers[..len], &self.first.constant()[..len]) == 0
    }
}

/// The headers of a frame, or bits in them.
type Headers = [u8; MAX_HEADERS];

/// What differs between two headers, of what `mask` lets through; 0 if nothing.
fn differing(a: &[u8], b: &[u8], mask: &[u8]) -> u64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let (mask, mask_rest) = mask.as_chunks::<8>();
    let mut bits = 0;
    for ((a, b), mask) in a.iter().zip(b).zip(mask) {
        let [a, b, mask] = [a, b, mask].map(|word| u64::from_ne_bytes(*word));
        bits |= (a ^ b) & mask;
    }
    for ((a, b), mask) in a_rest.iter().zip(b_rest).zip(mask_rest) {
        bits |= u64::from((a ^ b) & mask);
    }
    bits
}

/// What the headers of one candidate say of its place in a train.
#[derive(Clone, Copy, Debug)]
struct Segment {
    net: Net,
    kind: Kind,
    /// IPv4 identification.
    id: Option<u16>,
    /// TCP sequence number.
    sequence: Option<u32>,
    /// FIN and PSH.
    flags: u8,
}

impl Segment {
    /// `None` if the frame is of a kind that is never joined: with IP options,
    /// without payload, TCP that is more, or less, than the next bytes of a
    /// stream, UDP without a checksum or with a length that is not the packet's.
    fn read(frame: &[u8], view: &View) -> Option<Segment> {
        let kind = Kind::of(view)?;
        let ip_len = if view.net == Net::V4 { 20 } else { 40 };
        if view.l4 != View::L3 + ip_len || view.payload == view.end {
            return None;
        }
        let id = (view.net == Net::V4).then(|| get16(frame, View::L3 + 4));
        let transport = &frame[view.l4..view.payload];
        let (sequence, flags) = match kind {
            Kind::Tcp => read_tcp(transport)?,
            Kind::Udp if get16(transport, 6) == 0 => return None,
            Kind::Udp if usize::from(get16(transport, 4)) != view.end - view.l4 => return None,
            Kind::Udp => (None, 0),
        };
        Some(Segment { net: view.net, kind, id, sequence, flags })
    }

    /// The header bits that are equal in all frames of a train.
    fn constant(&self) -> &'static Headers {
        static TCP4: Headers = constant_tcp(CONSTANT_V4, View::L3 + 20);
        static TCP6: Headers = constant_tcp(CONSTANT_V6, View::L3 + 40);
        static UDP4: Headers = constant_udp(CONSTANT_V4, View::L3 + 20);
        static UDP6: Headers = constant_udp(CONSTANT_V6, View::L3 + 40);
        match (self.kind, self.net) {
            (Kind::Tcp, Net::V6) => &TCP6,
            (Kind::Tcp, _) => &TCP4,
            (Kind::Udp, Net::V6) => &UDP6,
            (Kind::Udp, _) => &UDP4,
        }
    }
}

/// Sequence number, FIN and PSH. CWR keeps a segment alone: RFC 3168 and AccECN
/// read a train with it differently.
fn read_tcp(tcp: &[u8]) -> Option<(Option<u32>, u8)> {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let flags = tcp[13];
    let ordinary = flags & ACK != 0 && flags & !(ACK | ECE | PSH | FIN) == 0;
    ordinary.then_some((Some(sequence), flags & (PSH | FIN)))
}

/// All but length, identification and checksum.
const CONSTANT_V4: Headers =
    without(without([0xff; MAX_HEADERS], View::L3 + 2, 4), View::L3 + 10, 2);
/// All but the length.
const CONSTANT_V6: Headers = without([0xff; MAX_HEADERS], View::L3 + 4, 2);

/// All but sequence number, FIN, PSH and checksum.
const fn constant_tcp(network: Headers, l4: usize) -> Headers {
    let mut mask = without(without(network, l4 + 4, 4), l4 + 16, 2);
    mask[l4 + 13] = !(PSH | FIN);
    mask
}

/// All but length and checksum.
const fn constant_udp(network: Headers, l4: usize) -> Headers {
    without(network, l4 + 4, 4)
}

const fn without(mut mask: Headers, at: usize, len: usize) -> Headers {
    let mut i = at;
    while i < at + len {
        mask[i] = 0;
        i += 1;
    }
    mask
}

/// Whether the checksum of the IPv4 header is right, and the transport's if it is there.
fn is_correct(frame: &[u8], view: &View, checksum: Checksum) -> bool {
    let header = &frame[View::L3..view.l4];
    (view.net == Net::V6 || checksum::fold(checksum::sum(header)) == 0xffff)
        && (checksum == Checksum::Partial || partial::is_complete(frame, view))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Packet, Sum, flag};
    use super::super::vnet::Partial;
    use super::*;

    type Change = (&'static str, fn(&mut Packet));

    fn start(packet: &Packet) -> Option<Joined> {
        begin(&packet.build(Sum::Complete))
    }

    fn begin(frame: &[u8]) -> Option<Joined> {
        Joined::start(frame, &View::parse(frame).unwrap(), Checksum::Complete)
    }

    fn append(joined: &mut Joined, packet: &Packet) -> Append {
        let frame = packet.build(Sum::Complete);
        joined.append(&frame, &View::parse(&frame).unwrap(), Checksum::Complete)
    }

    /// The segment after `packet`.
    fn next(packet: &Packet) -> Packet {
        let len = if packet.udp { 0 } else { packet.payload.len() as u32 };
        Packet {
            id: packet.id.wrapping_add(1),
            sequence: packet.sequence.wrapping_add(len),
            ..packet.clone()
        }
    }

    /// One with every field that matters, of each kind.
    fn kinds() -> [Packet; 4] {
        let options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let tcp = Packet { options, tos: 2, ..Packet::tcp(&[7; 100]) };
        let udp = Packet::udp(&[7; 100]);
        [Packet { v6: true, ..tcp.clone() }, tcp, Packet { v6: true, ..udp.clone() }, udp]
    }

    #[test]
    fn the_next_segment_is_joined() {
        for packet in kinds() {
            let mut joined = start(&packet).unwrap();
            assert_eq!(append(&mut joined, &next(&packet)), Append::Joined, "{packet:?}");
        }
    }

    #[test]
    fn the_next_segment_follows_unseen() {
        for packet in kinds() {
            let mut joined = start(&packet).unwrap();
            let mut following = packet.clone();
            for _ in 0..3 {
                following = next(&following);
                let frame = following.build(Sum::Complete);
                assert_eq!(joined.follow(&frame), Append::Joined, "{packet:?}");
            }
        }
    }

    #[test]
    fn what_is_of_another_length_does_not_follow_unseen() {
        for packet in kinds() {
            let mut joined = start(&packet).unwrap();
            let frame = next(&packet).build(Sum::Complete);
            for len in 0..frame.len() {
                assert_eq!(joined.follow(&frame[..len]), Append::No, "{len} bytes");
            }
            let shorter = Packet { payload: packet.payload[1..].to_vec(), ..next(&packet) };
            let mut padded = shorter.build(Sum::Complete);
            padded.push(0);
            assert_eq!(joined.follow(&padded), Append::No);
            assert_eq!(append(&mut joined, &shorter), Append::Last);
        }
    }

    #[test]
    fn one_frame_alone_stays_as_it_is() {
        for packet in kinds() {
            let mut frame = packet.build(Sum::Complete);
            let joined = begin(&frame).unwrap();
            assert_eq!(joined.finish(&mut frame), Offload::NONE);
            assert_eq!(frame, packet.build(Sum::Complete));
        }
    }

    #[test]
    fn partial_frames_are_joined_with_each_other_only() {
        for packet in kinds() {
            let mut frame = packet.build(Sum::Partial);
            let view = View::parse(&frame).unwrap();
            let kind = Kind::of(&view).unwrap();
            let alone = Joined::start(&frame, &view, Checksum::Partial).unwrap();
            assert_eq!(alone.finish(&mut frame), Offload::partial(kind, &view));
            assert_eq!(frame, packet.build(Sum::Partial));

            let mut joined = Joined::start(&frame, &view, Checksum::Partial).unwrap();
            assert_eq!(append(&mut joined, &next(&packet)), Append::No, "complete");
            assert_eq!(joined.follow(&next(&packet).build(Sum::Complete)), Append::No);
            let following = next(&packet).build(Sum::Partial);
            assert_eq!(joined.append(&following, &view, Checksum::Partial), Append::Joined);
            let mut complete = start(&packet).unwrap();
            assert_eq!(
                complete.append(&following, &view, Checksum::Partial),
                Append::No,
                "partial"
            );

            assert_eq!(joined.finish(&mut frame), Offload::super_frame(kind, 100, &view));
            let payload = [&packet.payload[..], &packet.payload].concat();
            let whole = Packet { payload, ..packet }.build(Sum::Partial);
            assert_eq!(frame[..view.payload], whole[..view.payload]);
        }
    }

    #[test]
    fn a_frame_with_other_work_left_has_no_such_state() {
        for packet in kinds() {
            let view = View::parse(&packet.build(Sum::Partial)).unwrap();
            let kind = Kind::of(&view).unwrap();
            assert_eq!(Checksum::of(Offload::NONE, &view), Some(Checksum::Complete));
            assert_eq!(Checksum::of(Offload::partial(kind, &view), &view), Some(Checksum::Partial));
            assert_eq!(Checksum::of(Offload::super_frame(kind, 50, &view), &view), None);
            let inside = Partial { start: view.payload as u16, offset: 6 };
            assert_eq!(Checksum::of(Offload { checksum: Some(inside), gso: None }, &view), None);
        }
    }

    #[test]
    fn any_other_difference_keeps_frames_apart() {
        let changes: [Change; 8] = [
            ("MAC", |p| p.mac += 1),
            ("TOS", |p| p.tos ^= 1),
            ("TTL", |p| p.ttl -= 1),
            ("source port", |p| p.ports.0 += 1),
            ("destination port", |p| p.ports.1 += 1),
            ("longer", |p| p.payload.push(0)),
            ("no payload", |p| p.payload.clear()),
            ("transport", |p| p.udp = !p.udp),
        ];
        let of_tcp: [Change; 11] = [
            ("gap", |p| p.sequence += 1),
            ("repeated", |p| p.sequence -= 1),
            ("acknowledgement", |p| p.ack += 1),
            ("window", |p| p.window += 1),
            ("option", |p| p.options[7] += 1),
            ("options' length", |p| p.options.truncate(8)),
            ("SYN", |p| p.flags |= flag::SYN),
            ("RST", |p| p.flags |= flag::RST),
            ("URG", |p| p.flags |= flag::URG),
            ("ECE", |p| p.flags |= flag::ECE),
            ("CWR", |p| p.flags |= flag::CWR),
        ];
        let of_v4: [Change; 3] = [
            ("identification", |p| p.id += 1),
            ("DF", |p| p.dont_fragment = false),
            ("IPv4 options", |p| p.extras = 1),
        ];
        for packet in kinds() {
            let apart = |(what, change): Change| {
                let mut other = next(&packet);
                change(&mut other);
                let mut joined = start(&packet).unwrap();
                assert_eq!(append(&mut joined, &other), Append::No, "{what}: {other:?}");
                // And nothing was taken in on the way.
                assert_eq!(append(&mut joined, &next(&packet)), Append::Joined, "{what}");
            };
            changes.into_iter().for_each(apart);
            of_tcp.into_iter().filter(|_| !packet.udp).for_each(apart);
            of_v4.into_iter().filter(|_| !packet.v6).for_each(apart);
        }
    }

    #[test]
    fn identifications_may_stand_still_with_df_only() {
        for (dont_fragment, want) in [(true, Append::Joined), (false, Append::No)] {
            let packet = Packet { dont_fragment, ..Packet::tcp(b"1234") };
            let mut joined = start(&packet).unwrap();
            let other = Packet { id: packet.id, ..next(&packet) };
            assert_eq!(append(&mut joined, &other), want);
        }
    }

    #[test]
    fn what_a_receiver_would_refuse_is_not_joined() {
        for packet in kinds() {
            let good = packet.build(Sum::Complete);
            let view = View::parse(&good).unwrap();
            let following = next(&packet).build(Sum::Complete);
            // The last payload byte, the transport's checksum, and that of IPv4.
            let of_v4 = (!packet.v6).then_some(View::L3 + 10);
            let places = [good.len() - 1, view.payload - 1].into_iter().chain(of_v4);
            for at in places {
                let mut bad = good.clone();
                bad[at] ^= 0x40;
                assert!(begin(&bad).is_none(), "byte {at}");
                let mut bad = following.clone();
                bad[at] ^= 0x40;
                let mut joined = start(&packet).unwrap();
                assert_eq!(
                    joined.append(&bad, &View::parse(&bad).unwrap(), Checksum::Complete),
                    Append::No
                );
            }
            for sum in [Sum::Partial, Sum::Zero] {
                let bad = packet.build(sum);
                assert!(begin(&bad).is_none(), "{sum:?}");
            }
        }
    }

    #[test]
    fn what_ends_a_train_or_never_joins_does_not_start_one() {
        use flag::{ACK, CWR, FIN, PSH, RST, SYN, URG};
        for flags in
            [0, SYN, ACK | SYN, ACK | FIN, ACK | PSH, ACK | RST, ACK | URG, ACK | CWR, RST, FIN]
        {
            assert!(start(&Packet { flags, ..Packet::tcp(b"x") }).is_none(), "flags {flags:#x}");
        }
        assert!(start(&Packet::tcp(b"")).is_none(), "no payload");
        for v6 in [false, true] {
            assert!(start(&Packet { v6, extras: 1, ..Packet::tcp(b"x") }).is_none(), "extras");
        }
        let mut fragment = Packet::tcp(b"x").build(Sum::Complete);
        fragment[20] |= 0x20;
        assert!(begin(&fragment).is_none());
    }

    #[test]
    fn push_fin_and_a_short_one_end_the_train() {
        let ends: [(u8, usize); 4] = [(flag::PSH, 100), (flag::FIN, 100), (0, 99), (flag::PSH, 1)];
        for (flags, len) in ends {
            let packet = Packet::tcp(&[7; 100]);
            let last = Packet { flags: flag::ACK | flags, payload: vec![8; len], ..next(&packet) };
            let mut frame = packet.build(Sum::Complete);
            let view = View::parse(&frame).unwrap();
            let mut joined = Joined::start(&frame, &view, Checksum::Complete).unwrap();
            assert_eq!(append(&mut joined, &last), Append::Last);
            assert_eq!(append(&mut joined, &next(&last)), Append::No);
            assert_eq!(joined.finish(&mut frame), Offload::super_frame(Kind::Tcp, 100, &view));
            let whole = Packet {
                payload: [&packet.payload[..], &last.payload].concat(),
                flags: last.flags,
                ..packet
            };
            assert_eq!(frame[..view.payload], whole.build(Sum::Partial)[..view.payload]);
        }
    }

    #[test]
    fn trains_are_of_64_segments_and_65535_bytes_at_most() {
        for (v6, len, most) in
            [(false, 1_000, 64), (true, 1, 64), (false, 1_460, 44), (true, 1_440, 45)]
        {
            let mut packet = Packet { v6, ..Packet::tcp(&vec![7; len]) };
            let mut frame = packet.build(Sum::Complete);
            let view = View::parse(&frame).unwrap();
            let mut joined = Joined::start(&frame, &view, Checksum::Complete).unwrap();
            let mut count = 1;
            loop {
                packet = next(&packet);
                let result = append(&mut joined, &packet);
                count += usize::from(result != Append::No);
                if result != Append::Joined {
                    break;
                }
            }
            assert_eq!(count, most, "{len} bytes each");
            joined.finish(&mut frame);
            frame.resize(view.payload + count * len, 0);
            assert_eq!(View::parse(&frame).unwrap().end, frame.len());
        }
    }

    /// Ethernet padding of short frames is not payload.
    #[test]
    fn padding_is_left_out() {
        let packet = Packet { padding: 6, ..Packet::tcp(b"1234") };
        let mut frame = packet.build(Sum::Complete);
        let view = View::parse(&frame).unwrap();
        let mut joined = Joined::start(&frame, &view, Checksum::Complete).unwrap();
        assert_eq!(append(&mut joined, &next(&packet)), Append::Joined);
        joined.finish(&mut frame);
        assert_eq!(get16(&frame, 16), 20 + 20 + 8);
    }
}
