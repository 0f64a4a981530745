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
