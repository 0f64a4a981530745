//! Ten bytes of virtio header and a frame, both chosen by a container: what is
//! believed can be done, and changes nothing but what it should.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::frame::View;
use vxmesh::wire::gso::{MAX_HEADERS, Split};
use vxmesh::wire::vnet::{Header, LEN, Offload, complete};

fuzz_target!(|input: &[u8]| {
    let Some((header, frame)) = input.split_first_chunk::<LEN>() else { return };
    let header = Header::from_bytes(*header);
    assert_eq!(header.to_bytes(), input[..LEN]);
    let Ok(view) = View::parse(frame) else { return };
    let Ok(offload) = header.check(&view) else { return };
    // What we would say of the frame is believed as well.
    assert_eq!(offload.header(&view).check(&view), Ok(offload));
    match offload {
        Offload { gso: Some(gso), .. } => {
            let Some(split) = Split::new(frame, &view, gso) else {
                return assert!(view.payload > MAX_HEADERS);
            };
            let mut headers = [0; MAX_HEADERS];
            let mut at = view.payload;
            for i in 0..split.segments() {
                let payload = split.segment(i, &mut headers);
                assert_eq!(payload.start, at);
                assert!(!payload.is_empty() && payload.len() <= usize::from(gso.size));
                at = payload.end;
            }
            assert_eq!(at, view.end);
        }
        Offload { checksum: Some(partial), .. } => {
            let mut done = frame.to_vec();
            complete(&mut done, partial, view.end);
            let field = usize::from(partial.start) + usize::from(partial.offset);
            assert!(field >= view.l4 && field + 2 <= view.end);
            assert_ne!(done[field..field + 2], [0, 0]);
            done[field..field + 2].copy_from_slice(&frame[field..field + 2]);
            assert_eq!(done, frame);
        }
        Offload::NONE => {}
    }
});
