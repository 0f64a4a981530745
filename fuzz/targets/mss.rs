//! An MTU and a frame: no segment size is raised, none above the limit stays,
//! nothing else changes, and the checksum keeps its state.
//!
//! Input: MTU (2 bytes), a byte that says what to do to the checksums first (1:
//! make partial, else: make right), the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::frame::View;
use vxmesh::wire::mss::clamp;
use vxmesh_fuzz::{checksum_field, is_right, make_partial, repair};

fuzz_target!(|input: &[u8]| {
    let Some(([a, b, sums], frame)) = input.split_first_chunk::<3>() else { return };
    let mtu = u16::from_be_bytes([*a, *b]);
    let mut frame = frame.to_vec();
    let Ok(view) = View::parse(&frame) else { return };
    let partial = *sums == 1 && make_partial(&mut frame, &view);
    if !partial {
        repair(&mut frame);
    }
    let before = frame.clone();
    clamp(&mut frame, &view, mtu, partial);
    assert_eq!(View::parse(&frame), Ok(view));
    if frame == before {
        return;
    }
    let field = checksum_field(&view).expect("only TCP changes");
    let options = view.l4 + 20..view.payload;
    for (at, (new, old)) in frame.iter().zip(&before).enumerate() {
        let sum = !partial && (field..field + 2).contains(&at);
        assert!(new == old || sum || options.contains(&at), "byte {at}");
    }
    assert!(frame[options.clone()] < before[options], "the first that differs is smaller");
    assert!(partial || is_right(&frame, &view));
    let once = frame.clone();
    clamp(&mut frame, &view, mtu, partial);
    assert_eq!(frame, once);
});
