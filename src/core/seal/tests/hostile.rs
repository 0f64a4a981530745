//! What somebody may send who wants no good.

use super::super::gate::RingKey;
use super::super::noise::{COOKIE, INITIATION, MAC, RESPONSE};
use super::super::peer::ANSWERS;
use super::*;
use crate::wire::sealed;

fn ring() -> RingKey {
    RingKey::new(&Secret([77; 32]))
}

/// A world in which one host waits for the response to an initiation that has been lost:
/// that one, the other, and the initiation.
fn waiting(backend: Backend) -> (World, u8, u8, Packet) {
    let mut world = World::pair(backend);
    world.eats.insert(sealed::INITIATION, 1);
    world.run(millis(50));
    let lost = world.last(sealed::INITIATION);
    let (from, to) = if lost.from == address(1) { (1, 2) } else { (2, 1) };
    (world, from, to, lost)
}

/// The same, with the response that has been lost.
fn answered(backend: Backend) -> (World, u8, u8, Packet) {
    let (mut world, from, to, initiation) = waiting(backend);
    world.play(to, initiation.from, &initiation.bytes).unwrap();
    world.eats.insert(sealed::RESPONSE, 1);
    world.drain();
    let lost = world.last(sealed::RESPONSE);
    (world, from, to, lost)
}

/// All that one changed bit and another length make of a message; but for the last
/// `free` bytes.
fn changed(bytes: &[u8], free: usize) -> impl Iterator<Item = Vec<u8>> {
    let bits = (0..(bytes.len() - free) * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    let cuts = (0..bytes.len()).map(|len| bytes[..len].to_vec());
    bits.chain(cuts).chain([[bytes, &[0]].concat(), [bytes, bytes].concat()])
}

#[test]
fn an_initiation_that_was_changed_is_refused() {
    for backend in BACKENDS {
        let (mut world, _, to, initiation) = waiting(backend);
        // mac2 is only looked at under load.
        for other in changed(&initiation.bytes, MAC) {
            let refused = world.play(to, initiation.from, &other).unwrap_err();
            let expected = match other.len() {
                INITIATION if other[0] == sealed::INITIATION => Reason::HandshakeForged,
                INITIATION if other[0] == sealed::DATA => Reason::SealedUnknownKey,
                _ => Reason::SealedMalformed,
            };
            assert_eq!(refused, expected, "{other:?}");
        }
        assert_eq!(world.host(to).seal.exchanges(), 0);
        assert!(world.host(to).seal.output().is_none());
        world.play(to, initiation.from, &initiation.bytes).unwrap();
        world.run(millis(10));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn a_response_that_was_changed_is_refused() {
    for backend in BACKENDS {
        let (mut world, from, _, response) = answered(backend);
        let before = world.host(from).seal.exchanges();
        for other in changed(&response.bytes, 0) {
            let refused = world.play(from, response.from, &other).unwrap_err();
            let expected = match other.len() {
                RESPONSE if other[0] == sealed::RESPONSE && other[1..5] == response.bytes[1..5] => {
                    Reason::HandshakeForged
                }
                RESPONSE if other[0] == sealed::RESPONSE => Reason::HandshakeReplay,
                _ => Reason::SealedMalformed,
            };
            assert_eq!(refused, expected, "{other:?}");
        }
        assert_eq!(world.host(from).seal.exchanges(), before);
        world.play(from, response.from, &response.bytes).unwrap();
        world.run(millis(10));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn nothing_is_taken_twice() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        for wait in [0, 10, 400] {
            world.run(seconds(wait));
            let packets: Vec<Packet> = world.log.clone();
            let settled = world.current(1, 2);
            for packet in packets {
                let to = if packet.to == address(1) { 1 } else { 2 };
                let refused = world.play(to, packet.from, &packet.bytes).unwrap_err();
                assert!(matches!(
                    refused,
                    Reason::HandshakeReplay | Reason::SealedReplay | Reason::SealedUnknownKey
                ));
            }
            assert_eq!(world.current(1, 2), settled);
            world.run(seconds(3));
            assert!(world.is_settled(1, 2) && world.talks(1, 2));
        }
    }
}

#[test]
fn replays_make_no_more_than_a_handshake_in_five_seconds() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(100));
        let old = world.last(sealed::INITIATION);
        let to = if old.to == address(1) { 1 } else { 2 };
        let before = world.count(sealed::INITIATION);
        for _ in 0..1_000 {
            assert_eq!(world.play(to, old.from, &old.bytes), Err(Reason::HandshakeReplay));
            assert!(world.talks(1, 2));
            world.run(millis(50));
        }
        let begun = world.count(sealed::INITIATION) - before;
        assert!(begun <= 1_000 / 10 / 5 + 2, "{begun}");
    }
}

#[test]
fn a_member_cannot_change_what_another_writes() {
    for backend in BACKENDS {
        let (mut world, from, to, initiation) = waiting(backend);
        for at in 9..INITIATION - 2 * MAC {
            let mut other = initiation.bytes.clone();
            other[at] ^= 1;
            ring().sign(&public(to), &mut other, INITIATION - 2 * MAC);
            let source = address(100 + (at % 100) as u8);
            assert_eq!(world.play(to, source, &other), Err(Reason::HandshakeForged));
            world.run(millis(10));
        }
        // A key of small order, with which the secret would be known.
        let mut other = initiation.bytes.clone();
        other[9..41].fill(0);
        ring().sign(&public(to), &mut other, INITIATION - 2 * MAC);
        assert_eq!(world.play(to, initiation.from, &other), Err(Reason::HandshakeForged));
        // To whom it was not written, itself included.
        let mut other = initiation.bytes.clone();
        assert_eq!(world.play(from, initiation.from, &other), Err(Reason::HandshakeForged));
        ring().sign(&public(from), &mut other, INITIATION - 2 * MAC);
        assert_eq!(world.play(from, initiation.from, &other), Err(Reason::HandshakeForged));
        world.run(seconds(10));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn a_member_cannot_answer_for_another() {
    for backend in BACKENDS {
        let (mut world, from, to, response) = answered(backend);
        let before = world.host(from).seal.exchanges();
        for n in 0..100 {
            let mut other = response.bytes.clone();
            other[9 + n % 50] ^= 1;
            ring().sign(&public(from), &mut other, RESPONSE - MAC);
            let refused = world.play(from, response.from, &other).unwrap_err();
            let looked_at = n < ANSWERS as usize;
            let expected = if looked_at { Reason::HandshakeForged } else { Reason::HandshakeFlood };
            assert_eq!(refused, expected);
        }
        assert_eq!(world.host(from).seal.exchanges() - before, u64::from(ANSWERS));
        let trouble = world.report(from, to).trouble.unwrap();
        assert!(trouble.contains("does not have the identity"), "{trouble}");
        world.run(seconds(5));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn one_forged_response_does_not_keep_out_the_right_one() {
    for backend in BACKENDS {
        let (mut world, from, _, response) = answered(backend);
        let mut other = response.bytes.clone();
        other[20] ^= 1;
        ring().sign(&public(from), &mut other, RESPONSE - MAC);
        assert!(world.play(from, response.from, &other).is_err());
        world.play(from, response.from, &response.bytes).unwrap();
        world.run(millis(10));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn a_host_with_the_ring_key_and_no_membership_is_a_stranger() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        world.add(3, offer(backend), 1);
        world.configure(3, config(3, &[1, 2, 3]));
        world.run(seconds(30));
        for n in [1, 2] {
            assert!(world.host(n).drops.contains(&Reason::HandshakeStranger));
            assert_eq!(world.report(3, n).session, None);
            assert_eq!(world.report(n, 3 - n).trouble, None, "that one has a session");
        }
        assert!(world.talks(1, 2));
    }
}

#[test]
fn a_forged_cookie_is_nothing() {
    for backend in BACKENDS {
        let (mut world, from, to, initiation) = waiting(backend);
        let mac1 = &initiation.bytes[INITIATION - 2 * MAC..][..MAC];
        let index: [u8; 4] = initiation.bytes[5..9].try_into().unwrap();
        let good = ring().tell(&[5; 24], mac1, index, [9; MAC]);
        assert_eq!(good.len(), COOKIE);
        for other in changed(&good, 0) {
            let refused = world.play(from, address(to), &other).unwrap_err();
            let expected = match other.len() {
                COOKIE if other[0] == sealed::COOKIE && other[1..5] == good[1..5] => {
                    Reason::HandshakeForged
                }
                COOKIE if other[0] == sealed::COOKIE => Reason::HandshakeReplay,
                _ => Reason::SealedMalformed,
            };
            assert_eq!(refused, expected, "{other:?}");
        }
        // For another initiation.
        let strange = ring().tell(&[5; 24], &[1; MAC], index, [9; MAC]);
        assert_eq!(world.play(from, address(to), &strange), Err(Reason::HandshakeForged));
        // A member on the way can make one. It does not keep the two apart.
        world.play(from, address(to), &good).unwrap();
        world.run(seconds(5));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn data_before_its_session_is_refused() {
    for backend in BACKENDS {
        let (mut world, from, to, initiation) = waiting(backend);
        let index = u32::from_be_bytes(initiation.bytes[5..9].try_into().unwrap());
        let head = sealed::Header { lane: 0, index, counter: 0 }.bytes();
        let data = [&head[..], &[0; 64]].concat();
        assert_eq!(world.play(from, address(to), &data), Err(Reason::SealedUnknownKey));
        assert_eq!(world.report(from, to).drops["sealed-unknown-key"], 1);
        for len in 0..HEADROOM + TAG {
            let refused = world.play(from, address(to), &data[..len]).unwrap_err();
            let life = len == sealed::HEADER + TAG;
            let expected = if life { Reason::SealedUnknownKey } else { Reason::SealedMalformed };
            assert_eq!(refused, expected);
        }
    }
}

#[test]
fn no_key_is_printed() {
    let mut world = World::pair(Backend::Ring);
    world.run(seconds(1));
    let printed = format!("{:?} {:?}", world.host(1).seal, config(1, &[1, 2]));
    assert!(printed.contains("Config") && printed.contains("Seal"));
    for secret in [*private(1), [77; 32]] {
        assert!(!printed.contains(&format!("{}, {}", secret[0], secret[1])), "{printed}");
        assert!(!printed.to_lowercase().contains(&format!("{:02x}{:02x}", secret[0], secret[1])));
    }
}
