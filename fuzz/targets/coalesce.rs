//! A batch of frames as one tunnel delivers them: joined, and cut again by the
//! kernel, they are the same frames in the same order.
//!
//! Input: records of a control byte, a length byte and that many bytes. Control
//! 1: the bytes are not a frame but changes (offset, value) to the frame that
//! would follow the last one; 2: leave the checksums as they are; 4: shorten it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::frame::{Net, View};
use vxmesh::wire::vnet::Offload;
use vxmesh_fuzz::{
    checksum_field, header_is_right, is_right, make_partial, repair, successor, testing,
};

fuzz_target!(|input: &[u8]| {
    let frames = frames(input);
    let mut received = Vec::new();
    for (frame, offload) in testing::join(&frames) {
        let view = View::parse(&frame).expect("a joined frame is a frame");
        assert_eq!(view.end, frame.len(), "the parts add up");
        match offload.gso {
            None => {
                assert_eq!(offload, Offload::NONE);
                received.push(frame);
            }
            Some(gso) => {
                assert_eq!(offload, Offload::super_frame(gso.kind, gso.size, &view));
                assert!(frame.len() <= View::L3 + 65_535);
                assert!(frame.len() - view.payload > usize::from(gso.size));
                let mut partial = frame.clone();
                assert!(make_partial(&mut partial, &view));
                assert_eq!(partial, frame, "the checksum is partial");
                received.extend(testing::split(&frame, gso));
            }
        }
    }
    assert_eq!(received.len(), frames.len());
    for (sent, got) in frames.iter().zip(&received) {
        assert_eq!(essence(sent), essence(got));
    }
});

fn frames(mut input: &[u8]) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    while let Some(([control, len], rest)) = input.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        input = rest;
        let mut frame = match frames.last() {
            Some(last) if control & 1 != 0 => changed(successor(last), bytes),
            _ => bytes.to_vec(),
        };
        if control & 4 != 0 {
            shorten(&mut frame);
        }
        if control & 2 == 0 {
            repair(&mut frame);
        }
        if View::parse(&frame).is_ok() {
            frames.push(frame);
        }
    }
    frames
}

fn changed(mut frame: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(2) {
        if let Some(byte) = frame.get_mut(usize::from(change[0])) {
            *byte = change[1];
        }
    }
    frame
}

/// Takes the last payload byte off.
fn shorten(frame: &mut [u8]) {
    if let Ok(view) = View::parse(frame)
        && view.payload < view.end
    {
        view.put_end(frame, view.end - 1);
    }
}

/// What a receiver makes of a frame: checksums are right or whatever they are
/// (one's complement has two zeros), padding is nothing, and neither is an
/// identification with DF set (RFC 6864).
fn essence(frame: &[u8]) -> (Vec<u8>, bool, bool) {
    let Ok(view) = View::parse(frame) else { return (frame.to_vec(), false, false) };
    let (header, transport) = (header_is_right(frame, &view), is_right(frame, &view));
    let mut frame = frame[..view.end].to_vec();
    if view.net == Net::V4 && header {
        frame[24..26].fill(0);
        if frame[20] & 0x40 != 0 {
            frame[18..20].fill(0);
        }
    }
    if let Some(at) = checksum_field(&view)
        && transport
    {
        frame[at..at + 2].fill(0);
    }
    (frame, header, transport)
}
