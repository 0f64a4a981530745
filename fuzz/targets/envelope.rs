//! A datagram on the gossip port: a stranger's is refused, a member's is opened
//! once, and not at all when a bit of it was flipped.
//!
//! Input: which bit to flip (2 bytes), what the datagram is or carries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::core::cluster::entry::{NodeId, Secret};
use vxmesh::core::cluster::secret::envelope::{OVERHEAD, Opener, Refusal, Sealer};
use vxmesh::core::cluster::secret::ring::KeyRing;

const NODE: NodeId = NodeId([1; 32]);

fuzz_target!(|input: &[u8]| {
    let ring = KeyRing::new(7, Secret([42; 32]));
    let mut opener = Opener::new();
    let mut strange = input.to_vec();
    assert!(opener.open(&ring, &mut strange).is_err());
    assert_eq!(strange, input);

    let Some((which, plaintext)) = input.split_first_chunk::<2>() else { return };
    let sealed = Sealer::new(NODE, [5; 16]).seal(&ring, plaintext).expect("counters are left");
    assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
    let mut flipped = sealed.clone();
    let bit = usize::from(u16::from_be_bytes(*which)) % (flipped.len() * 8);
    flipped[bit / 8] ^= 1 << (bit % 8);
    assert!(opener.open(&ring, &mut flipped).is_err());

    assert_eq!(opener.open(&ring, &mut sealed.clone()), Ok((NODE, plaintext)));
    assert_eq!(opener.open(&ring, &mut sealed.clone()), Err(Refusal::Replayed));
});
