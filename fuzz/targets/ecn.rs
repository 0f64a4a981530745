//! An outer mark and a frame: RFC 6040's table, and nothing else, changes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::ecn::{Ecn, decapsulate};
use vxmesh::wire::frame::{Net, View};
use vxmesh_fuzz::header_is_right;

fuzz_target!(|input: &[u8]| {
    let Some((outer, frame)) = input.split_first() else { return };
    let outer = Ecn::from_tos(*outer);
    let Ok(before) = View::parse(frame) else { return };
    let mut after = frame.to_vec();
    let result = decapsulate(outer, &mut after, &before);
    if !matches!(before.net, Net::V4 | Net::V6) {
        assert!(result.is_ok());
        return assert_eq!(after, frame);
    }
    let view = View::parse(&after).expect("a mark does not break a frame");
    let inner = Ecn::from_tos(before.tos);
    let lost = inner == Ecn::NotEct && outer == Ecn::Ce;
    assert_eq!(result.is_err(), lost);
    let want = match (inner, outer) {
        (Ecn::Ect0 | Ecn::Ect1, Ecn::Ce) => Ecn::Ce,
        (Ecn::Ect0, Ecn::Ect1) => Ecn::Ect1,
        _ => inner,
    };
    assert_eq!(Ecn::from_tos(view.tos), want);
    assert_eq!(view, View { tos: view.tos, ..before });
    assert_eq!(view.tos & !3, before.tos & !3);
    assert_eq!(header_is_right(&after, &view), header_is_right(frame, &before));
    let mark = 14..16;
    let checksum = if view.net == Net::V4 { 24..26 } else { 0..0 };
    for (at, (new, old)) in after.iter().zip(frame).enumerate() {
        assert!(new == old || mark.contains(&at) || checksum.contains(&at), "byte {at}");
    }
});
