//! Two bytes of segment size and a frame, taken for a super-frame: its segments
//! are correct packets, and together they say what it said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::frame::{Net, View};
use vxmesh::wire::gso::{MAX_HEADERS, Split};
use vxmesh::wire::vnet::{Gso, Kind};
use vxmesh_fuzz::{header_is_right, is_right, make_partial, testing};

fuzz_target!(|input: &[u8]| {
    let Some((size, frame)) = input.split_first_chunk::<2>() else { return };
    let size = u16::from_be_bytes(*size);
    let Ok(view) = View::parse(frame) else { return };
    let mut frame = frame.to_vec();
    if !make_partial(&mut frame, &view) {
        return;
    }
    let Some(kind) = Kind::of(&view) else { return };
    let gso = Gso { kind, size };
    if Split::new(&frame, &view, gso).is_none() {
        let possible = size > 0 && view.payload < view.end && view.payload <= MAX_HEADERS;
        return assert!(!possible);
    }

    let segments = testing::split(&frame, gso);
    let payload = &frame[view.payload..view.end];
    assert_eq!(segments.len(), payload.len().div_ceil(usize::from(size)));
    for (i, (segment, part)) in segments.iter().zip(payload.chunks(usize::from(size))).enumerate() {
        let got = View::parse(segment).expect("a segment is a frame");
        assert_eq!(got, View { end: view.payload + part.len(), ..view });
        assert_eq!(&segment[got.payload..], part);
        assert!(is_right(segment, &got), "transport checksum of segment {i}");
        assert_eq!(header_is_right(segment, &got), header_is_right(&frame, &view));
        let number = |f: &[u8], at: usize| u16::from_be_bytes([f[at], f[at + 1]]);
        if view.net == Net::V4 {
            assert_eq!(number(segment, 18), number(&frame, 18).wrapping_add(i as u16));
        }
        match kind {
            Kind::Tcp => check_tcp(&segment[view.l4..], &frame[view.l4..], i, segments.len(), size),
            Kind::Udp => assert_eq!(usize::from(number(segment, view.l4 + 4)), 8 + part.len()),
        }
    }
});

fn check_tcp(segment: &[u8], whole: &[u8], i: usize, count: usize, size: u16) {
    let sequence = |t: &[u8]| u32::from_be_bytes([t[4], t[5], t[6], t[7]]);
    let advanced = sequence(segment).wrapping_sub(sequence(whole));
    assert_eq!(advanced as usize, i * usize::from(size));
    let (fin_psh, cwr) = (0x09, 0x80);
    let missing = whole[13] & !segment[13];
    let expected = if i > 0 { cwr } else { 0 } | if i + 1 < count { fin_psh } else { 0 };
    assert_eq!(missing, whole[13] & expected);
    assert_eq!(segment[13] & !whole[13], 0);
}
