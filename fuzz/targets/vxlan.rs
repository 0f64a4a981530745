//! A datagram on the VXLAN port.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::vxlan::{Error, LEN, header, parse};

fuzz_target!(|input: &[u8]| {
    let mut datagram = input.to_vec();
    match parse(&mut datagram) {
        Ok((vni, frame)) => {
            assert!(input[0] & 8 != 0);
            assert_eq!(vni.get().to_be_bytes()[1..], input[4..7]);
            assert_eq!(*frame, input[LEN..]);
            // The same network and frame, sent by us.
            let mut sent = [&header(vni), &input[LEN..]].concat();
            assert_eq!(parse(&mut sent).map(|(vni, _)| vni), Ok(vni));
        }
        Err(Error::Truncated) => assert!(input.len() < LEN),
        Err(Error::NoVni) => assert!(input[0] & 8 == 0),
    }
    assert_eq!(datagram, input);
});
