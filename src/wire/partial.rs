//! Frames out of a tunnel whose sender left work to an offload that never ran.
//!
//! A Linux vxlan device over veth (two hosts that are namespaces of one
//! machine) sends inner super-frames whole and leaves inner checksums partial,
//! since no hardware ever sees them. [`adopt`] finds out which of this is the
//! case, so that the frame can be handed to a TAP as what it is.

use super::frame::View;
use super::vnet::{Kind, Offload};
use super::{checksum, get16, put16};

/// What remains to be done to a frame that came out of VXLAN. `mtu` is the
/// network's, in bytes of IP packet; `hint` is the payload size of the
/// datagrams in a UDP super-frame, if it is known.
///
/// - A checksum field with nothing but the sum of the pseudo-header is partial.
///   (One complete checksum in 65,535 looks the same; completing it gives the
///   same value again, so nothing breaks.)
/// - TCP longer than `mtu` is a super-frame, and so is UDP with a `hint`. If
///   its checksum was complete it is verified and made partial in `frame`.
/// - All else is complete as it is, which costs no look at the payload.
///
/// `None`: the frame is longer than `mtu` and cannot be cut. `view` must be of
/// this `frame`.
pub fn adopt(frame: &mut [u8], view: &View, mtu: u16, hint: Option<u16>) -> Option<Offload> {
    let fits = view.end - View::L3 <= usize::from(mtu);
    let Some(kind) = Kind::of(view) else { return fits.then_some(Offload::NONE) };
    let field = view.l4 + kind.checksum_offset();
    let pseudo = pseudo_header(frame, view, view.end);
    let partial = get16(frame, field) == pseudo;
    if fits {
        return Some(if partial { Offload::partial(kind, view) } else { Offload::NONE });
    }
    let room = mtu.checked_sub(u16::try_from(view.payload - View::L3).ok()?)?;
    let size = match kind {
        Kind::Tcp => room,
        Kind::Udp => hint.filter(|size| *size <= room)?,
    };
    if size == 0 || !(partial || is_complete(frame, view)) {
        return None;
    }
    put16(frame, field, pseudo);
    Some(Offload::super_frame(kind, size, view))
}

/// Whether [`adopt`] would take a TCP or UDP frame for partial.
pub fn looks_partial(frame: &[u8], view: &View) -> bool {
    Kind::of(view).is_some_and(|kind| {
        let field = get16(frame, view.l4 + kind.checksum_offset());
        field == pseudo_header(frame, view, view.end)
    })
}

/// The checksum field of a partial TCP or UDP packet that ends at `end`.
pub(super) fn pseudo_header(frame: &[u8], view: &View, end: usize) -> u16 {
    checksum::fold(checksum::pseudo_header(view.addresses(frame), view.protocol, end - view.l4))
}

/// Whether the transport's checksum is there and correct. Reads the payload.
pub(super) fn is_complete(frame: &[u8], view: &View) -> bool {
    let Some(kind) = Kind::of(view) else { return false };
    if kind == Kind::Udp && get16(frame, view.l4 + kind.checksum_offset()) == 0 {
        return false;
    }
    let pseudo = pseudo_header(frame, view, view.end);
    let sum = u64::from(pseudo) + checksum::sum(&frame[view.l4..view.end]);
    checksum::fold(sum) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Packet, Sum};
    use super::super::vnet;
    use super::*;

    const MTU: u16 = 1_450;

    fn packets(len: usize) -> [Packet; 4] {
        let (tcp, udp) = (Packet::tcp(&vec![9; len]), Packet::udp(&vec![9; len]));
        [Packet { v6: true, ..tcp.clone() }, tcp, Packet { v6: true, ..udp.clone() }, udp]
    }

    fn adopted(frame: &mut [u8], hint: Option<u16>) -> Option<Offload> {
        let view = View::parse(frame).unwrap();
        adopt(frame, &view, MTU, hint)
    }

    #[test]
    fn a_frame_that_fits_and_is_complete_stays_as_it_is() {
        for packet in packets(1_300) {
            for sum in [Sum::Complete, Sum::Zero] {
                let mut frame = packet.build(sum);
                assert_eq!(adopted(&mut frame, None), Some(Offload::NONE), "{sum:?}");
                assert_eq!(frame, packet.build(sum));
            }
        }
    }

    #[test]
    fn a_pseudo_header_sum_is_partial() {
        for packet in packets(1_300) {
            let mut frame = packet.build(Sum::Partial);
            let offload = adopted(&mut frame, None).unwrap();
            assert_eq!(offload.gso, None);
            let end = frame.len();
            vnet::complete(&mut frame, offload.checksum.unwrap(), end);
            assert_eq!(frame, packet.build(Sum::Complete));
        }
    }

    #[test]
    fn long_tcp_is_a_super_frame_whatever_its_checksums_state() {
        for packet in packets(4_000).into_iter().filter(|p| !p.udp) {
            for sum in [Sum::Complete, Sum::Partial] {
                let mut frame = packet.build(sum);
                let view = View::parse(&frame).unwrap();
                let size = MTU - if packet.v6 { 60 } else { 40 };
                let want = Offload::super_frame(Kind::Tcp, size, &view);
                assert_eq!(adopted(&mut frame, None), Some(want));
                assert_eq!(frame, packet.build(Sum::Partial));
            }
        }
    }

    #[test]
    fn long_udp_needs_a_size_that_fits() {
        for packet in packets(4_000).into_iter().filter(|p| p.udp) {
            let view = View::parse(&packet.build(Sum::Partial)).unwrap();
            let room = MTU - if packet.v6 { 48 } else { 28 };
            for (hint, fits) in
                [(None, false), (Some(0), false), (Some(room), true), (Some(room + 1), false)]
            {
                let want = hint.filter(|_| fits).map(|s| Offload::super_frame(Kind::Udp, s, &view));
                assert_eq!(adopted(&mut packet.build(Sum::Partial), hint), want, "{hint:?}");
            }
            assert_eq!(adopted(&mut packet.build(Sum::Zero), Some(1_000)), None, "no checksum");
        }
    }

    #[test]
    fn a_wrong_checksum_is_not_made_right() {
        for packet in packets(4_000) {
            let mut frame = packet.build(Sum::Complete);
            *frame.last_mut().unwrap() ^= 1;
            let before = frame.clone();
            assert_eq!(adopted(&mut frame, Some(1_000)), None);
            assert_eq!(frame, before);
        }
    }

    #[test]
    fn other_frames_fit_or_are_dropped() {
        for (len, want) in [(1_450, Some(Offload::NONE)), (1_451, None)] {
            let mut frame = vec![0; View::L3 + len];
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            assert_eq!(adopted(&mut frame, Some(1_000)), want, "{len} bytes");
        }
        let mut fragment = Packet::tcp(&[0; 2_000]).build(Sum::Partial);
        fragment[20] |= 0x20;
        assert_eq!(adopted(&mut fragment, None), None);
    }

    #[test]
    fn an_mtu_below_the_headers_leaves_no_room() {
        let mut frame = Packet::tcp(&[0; 100]).build(Sum::Partial);
        let view = View::parse(&frame).unwrap();
        for mtu in [0, 39, 40] {
            assert_eq!(adopt(&mut frame, &view, mtu, None), None);
        }
        let want = Offload::super_frame(Kind::Tcp, 1, &view);
        assert_eq!(adopt(&mut frame, &view, 41, None), Some(want));
    }
}
