use proptest::prelude::*;

use super::super::ring::KeyRing;
use super::super::testing::assert_hidden;
use super::{OVERHEAD, Opener, Refusal, Sealer, key_number};
use crate::core::cluster::entry::{NodeId, Secret};

const NODE: NodeId = NodeId([1; 32]);

fn ring() -> KeyRing {
    KeyRing::new(7, Secret([42; 32]))
}

fn sealer() -> Sealer {
    Sealer::new(NODE, [5; 16])
}

fn open(opener: &mut Opener, ring: &KeyRing, datagram: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut datagram = datagram.to_vec();
    let (sender, plaintext) = opener.open(ring, &mut datagram)?;
    assert_eq!(sender, NODE);
    Ok(plaintext.to_vec())
}

#[test]
fn once_and_not_again_in_any_order() {
    let (mut sealer, mut opener) = (sealer(), Opener::new());
    let mut sent: Vec<_> =
        (0..1_000u32).map(|n| (n, sealer.seal(&ring(), &n.to_be_bytes()).unwrap())).collect();
    sent.sort_by_key(|(n, _)| n.wrapping_mul(2_654_435_761));
    for (n, datagram) in &sent {
        assert_eq!(open(&mut opener, &ring(), datagram).unwrap(), n.to_be_bytes());
    }
    for (_, datagram) in &sent {
        assert_eq!(open(&mut opener, &ring(), datagram), Err(Refusal::Replayed));
    }
}

#[test]
fn no_nonce_twice_and_none_after_the_last() {
    let mut sealer = sealer();
    let nonce = |datagram: Vec<u8>| datagram[5..29].to_vec();
    let first = nonce(sealer.seal(&ring(), b"same").unwrap());
    assert_ne!(first, nonce(sealer.seal(&ring(), b"same").unwrap()));
    sealer.counter = u64::MAX - 1;
    assert!(sealer.seal(&ring(), b"the last").is_some());
    assert_eq!(sealer.seal(&ring(), b"one more"), None);
    assert_eq!(sealer.seal(&ring(), b"one more"), None);
}

#[test]
fn a_rotation_loses_nothing() {
    // Two hosts that are always one step of the rotation apart.
    let mut rings = [ring(), ring()];
    let (mut sealer, mut opener) = (sealer(), Opener::new());
    for number in 8..40 {
        let late = sealer.seal(&rings[0], b"late").unwrap();
        for (step, host) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            match step {
                0 => rings[host].insert(number, Secret([number as u8; 32])),
                1 => assert!(rings[host].set_primary(number)),
                _ => rings[host].retire_below(number - 1),
            }
            for (from, to) in [(0, 1), (1, 0)] {
                let datagram = sealer.seal(&rings[from], b"text").unwrap();
                assert_eq!(open(&mut opener, &rings[to], &datagram).unwrap(), b"text");
            }
        }
        assert_eq!(open(&mut opener, &rings[1], &late).unwrap(), b"late");
    }
}

#[test]
fn keys_are_accepted_until_they_are_retired() {
    let mut ring = ring();
    (5..10).for_each(|n| ring.insert(n, Secret([n as u8; 32])));
    let accepted = |ring: &KeyRing| -> Vec<u32> { (0..20).filter(|n| ring.accepts(*n)).collect() };
    assert_eq!(accepted(&ring), [5, 6, 7, 8, 9]);
    let mut ahead = self::ring();
    (9..11).for_each(|n| ahead.insert(n, Secret([n as u8; 32])));
    let mut seal = |number| {
        assert!(ahead.set_primary(number));
        sealer().seal(&ahead, b"ahead").unwrap()
    };
    assert_eq!(open(&mut Opener::new(), &ring, &seal(9)).unwrap(), b"ahead");
    assert_eq!(open(&mut Opener::new(), &ring, &seal(10)), Err(Refusal::UnknownKey));
    assert_eq!(key_number(&seal(10)), Some(10));
    assert!(!ring.set_primary(30));
    assert_eq!(ring.primary(), 7);
    ring.retire_below(9);
    assert_eq!(accepted(&ring), [7, 9]);
}

#[test]
fn another_clusters_ring_opens_nothing() {
    let other = KeyRing::new(7, Secret([43; 32]));
    let datagram = sealer().seal(&ring(), b"ours").unwrap();
    assert_eq!(open(&mut Opener::new(), &other, &datagram), Err(Refusal::Forged));
}

#[test]
fn a_refused_datagram_leaves_no_trace() {
    let (mut opener, mut forged) = (Opener::new(), sealer().seal(&ring(), b"text").unwrap());
    *forged.last_mut().unwrap() ^= 1;
    let before = forged.clone();
    assert_eq!(opener.open(&ring(), &mut forged), Err(Refusal::Forged));
    assert_eq!(forged, before);
    // Its counter is still to be used by the true one.
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(open(&mut opener, &ring(), &forged).unwrap(), b"text");
}

#[test]
fn debug_hides_the_keys() {
    let secret: [u8; 32] = std::array::from_fn(|n| 200 - n as u8);
    let ring = KeyRing::new(7, Secret(secret));
    assert_hidden(&format!("{ring:?} {ring:#?}"), &secret);
    assert!(format!("{ring:?}").contains('7'));
    assert_hidden(&format!("{:?} {:?}", Sealer::new(NODE, [5; 16]), Opener::new()), &[5; 16]);
}

proptest! {
    #[test]
    fn sealed_and_opened(plaintext in prop::collection::vec(any::<u8>(), 0..1_400)) {
        let datagram = sealer().seal(&ring(), &plaintext).unwrap();
        prop_assert_eq!(datagram.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(open(&mut Opener::new(), &ring(), &datagram).unwrap(), plaintext);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_refused(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        at: prop::sample::Index, bit in 0u8..8,
    ) {
        let mut datagram = sealer().seal(&ring(), &plaintext).unwrap();
        let at = at.index(datagram.len());
        prop_assert!(open(&mut Opener::new(), &ring(), &datagram[..at]).is_err());
        datagram[at] ^= 1 << bit;
        prop_assert!(open(&mut Opener::new(), &ring(), &datagram).is_err());
        datagram[at] ^= 1 << bit;
        datagram.push(0);
        prop_assert!(open(&mut Opener::new(), &ring(), &datagram).is_err());
    }

    #[test]
    fn strangers_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&mut Opener::new(), &ring(), &bytes).is_err());
    }
}
