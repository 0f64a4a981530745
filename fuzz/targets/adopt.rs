//! A frame out of a tunnel, an MTU and perhaps a datagram size: what is adopted
//! can be finished into correct frames that fit; what is not stays as it is.
//!
//! Input: MTU (2 bytes), size or 0 (2 bytes), a byte that says what to do to
//! the checksums first (1: make partial, 2: make right), the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::frame::View;
use vxmesh::wire::gso::Split;
use vxmesh::wire::partial::adopt;
use vxmesh::wire::vnet::{Offload, complete};
use vxmesh_fuzz::{is_right, make_partial, pseudo, repair, testing};

fuzz_target!(|input: &[u8]| {
    let Some(([a, b, c, d, sums], frame)) = input.split_first_chunk::<5>() else { return };
    let mtu = u16::from_be_bytes([*a, *b]);
    let hint = Some(u16::from_be_bytes([*c, *d])).filter(|size| *size > 0);
    let mut frame = frame.to_vec();
    let Ok(view) = View::parse(&frame) else { return };
    match sums {
        1 => drop(make_partial(&mut frame, &view)),
        2 => repair(&mut frame),
        _ => {}
    }
    let before = frame.clone();
    let packet = view.end - View::L3;
    let fits = packet <= usize::from(mtu);
    match adopt(&mut frame, &view, mtu, hint) {
        None => {
            assert!(!fits);
            assert_eq!(frame, before);
        }
        Some(Offload { gso: Some(gso), checksum }) => {
            assert!(!fits && checksum.is_some());
            let sum = pseudo(&before, &view).to_be_bytes();
            let field = view.l4 + gso.kind.checksum_offset();
            assert_eq!(frame[field..field + 2], sum);
            assert!(is_right(&before, &view) || before[field..field + 2] == sum);
            if Split::new(&frame, &view, gso).is_none() {
                return; // more headers than are ever cut
            }
            for segment in testing::split(&frame, gso) {
                assert!(segment.len() - View::L3 <= usize::from(mtu));
                assert!(is_right(&segment, &View::parse(&segment).expect("a frame")));
            }
        }
        Some(Offload { gso: None, checksum }) => {
            assert!(fits);
            assert_eq!(frame, before);
            if let Some(partial) = checksum {
                complete(&mut frame, partial, view.end);
                assert!(is_right(&frame, &view));
            }
        }
    }
});
