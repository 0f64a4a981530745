//! A frame from a container or out of a tunnel: every offset of its view is in
//! order and inside, and Ethernet padding makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::frame::{Net, View};
use vxmesh::wire::vnet::Kind;

fuzz_target!(|frame: &[u8]| {
    let Ok(view) = View::parse(frame) else { return };
    assert!(View::L3 <= view.l4 && view.l4 <= view.payload);
    assert!(view.payload <= view.end && view.end <= frame.len());
    assert_eq!(view.dst.0, frame[..6]);
    assert_eq!(view.src.0, frame[6..12]);

    let is_ip = matches!(view.net, Net::V4 | Net::V6);
    let addresses = match view.net {
        Net::V4 => 8,
        Net::V6 => 32,
        _ => 0,
    };
    assert_eq!(view.addresses(frame).len(), addresses);
    assert!(is_ip || (view.protocol, view.tos, view.ttl) == (0, 0, 0));
    assert!(is_ip || view.payload == View::L3);
    let header = match Kind::of(&view) {
        Some(Kind::Tcp) => 20..=60,
        Some(Kind::Udp) => 8..=8,
        None => 0..=0,
    };
    assert!(header.contains(&(view.payload - view.l4)));
    assert!(Kind::of(&view).is_some() || view.ports == (0, 0));

    assert_eq!(View::parse(&frame[..view.end]), Ok(view));
    let padded = [frame, &[0xff; 3]].concat();
    let end = if view.net == Net::Other { padded.len() } else { view.end };
    assert_eq!(View::parse(&padded), Ok(View { end, ..view }));
    if is_ip {
        // One byte less than the packet announces is too few.
        assert!(View::parse(&frame[..view.end - 1]).is_err());
    }
});
