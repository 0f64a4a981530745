//! What the fuzz targets share.

use testing::ones_sum;
use vxmesh::wire::frame::{Net, View};
use vxmesh::wire::vnet::Kind;
// Where the shared test code looks for what it uses.
use vxmesh::wire::{coalesce, frame, gso, vnet};

#[path = "../../src/core/balance/testing.rs"]
pub mod balance;
pub mod hosts;
#[path = "../../src/wire/testing.rs"]
pub mod testing;

mod house {
    pub(super) use vxmesh::{core, wire};
}

/// Where the transport's checksum field is, if it has one that is understood.
pub fn checksum_field(view: &View) -> Option<usize> {
    Kind::of(view).map(|kind| view.l4 + kind.checksum_offset())
}

/// Plain sum of the pseudo-header.
pub fn pseudo(frame: &[u8], view: &View) -> u16 {
    let len = ((view.end - view.l4) as u32).to_be_bytes();
    ones_sum(&[view.addresses(frame), &[0, view.protocol], &len])
}

/// Whether the transport's checksum is right, by plain sums.
pub fn is_right(frame: &[u8], view: &View) -> bool {
    let pseudo = pseudo(frame, view).to_be_bytes();
    ones_sum(&[&pseudo, &frame[view.l4..view.end]]) == 0xffff
}

/// Whether the checksum of the IPv4 header is right. IPv6 has none.
pub fn header_is_right(frame: &[u8], view: &View) -> bool {
    view.net != Net::V4 || ones_sum(&[&frame[View::L3..ipv4_end(frame)]]) == 0xffff
}

/// Makes the transport's checksum partial; `false` if it has none.
pub fn make_partial(frame: &mut [u8], view: &View) -> bool {
    let Some(at) = checksum_field(view) else { return false };
    let sum = pseudo(frame, view);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Makes all checksums right.
pub fn repair(frame: &mut [u8]) {
    let Ok(view) = View::parse(frame) else { return };
    if view.net == Net::V4 {
        frame[24..26].fill(0);
        let sum = !ones_sum(&[&frame[View::L3..ipv4_end(frame)]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    if make_partial(frame, &view)
        && let Some(at) = checksum_field(&view)
    {
        let sum = match !ones_sum(&[&frame[view.l4..view.end]]) {
            0 => 0xffff,
            sum => sum,
        };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The frame that would follow in the same flow, its checksums not yet right.
pub fn successor(frame: &[u8]) -> Vec<u8> {
    let mut next = frame.to_vec();
    let Ok(view) = View::parse(frame) else { return next };
    if view.net == Net::V4 {
        let id = u16::from_be_bytes([next[18], next[19]]).wrapping_add(1);
        next[18..20].copy_from_slice(&id.to_be_bytes());
    }
    if Kind::of(&view) == Some(Kind::Tcp)
        && let Some(field) = next[view.l4 + 4..].first_chunk_mut::<4>()
    {
        let len = (view.end - view.payload) as u32;
        *field = u32::from_be_bytes(*field).wrapping_add(len).to_be_bytes();
    }
    next
}

fn ipv4_end(frame: &[u8]) -> usize {
    View::L3 + usize::from(frame[View::L3] & 0x0f) * 4
}
