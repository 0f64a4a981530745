//! What the underlay may do to packets.

use proptest::prelude::*;

use super::*;
use crate::wire::sealed;

#[test]
fn every_message_of_a_handshake_may_be_lost() {
    for backend in BACKENDS {
        for kind in [sealed::INITIATION, sealed::RESPONSE, sealed::DATA] {
            for times in 1..4 {
                let mut world = World::pair(backend);
                world.eats.insert(kind, times);
                world.run(seconds(20));
                assert!(world.is_settled(1, 2), "{kind} {times}");
                assert!(world.talks(1, 2), "{kind} {times}");
            }
        }
    }
}

#[test]
fn a_lost_sign_of_life_costs_no_handshake() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.eats.insert(sealed::DATA, 2);
        world.run(seconds(10));
        assert!(world.is_settled(1, 2));
        assert_eq!(world.count(sealed::INITIATION), 1);
        assert!(world.talks(1, 2));
    }
}

#[test]
fn every_message_of_a_rekeying_may_be_lost() {
    for backend in BACKENDS {
        for kind in [sealed::INITIATION, sealed::RESPONSE] {
            for times in 1..5 {
                let mut world = World::pair(backend);
                world.run(seconds(110));
                world.eats.insert(kind, times);
                for _ in 0..80 {
                    assert!(world.talks(1, 2), "{kind} {times}");
                    world.run(seconds(1));
                }
                assert_eq!(world.report(1, 2).session.unwrap().handshakes, 2, "{kind} {times}");
            }
        }
    }
}

#[test]
fn a_partition_heals_by_itself() {
    for backend in BACKENDS {
        for cut in [20, 100, 170, 400, 4_000] {
            let mut world = World::pair(backend);
            world.run(seconds(1));
            world.weather.lost = 100;
            let end = world.now + seconds(cut);
            while world.now < end {
                // Without a session it does not go.
                let _ = world.send(1, 2, b"into the void");
                world.run(seconds(1));
            }
            world.weather = FAIR;
            world.run(seconds(17));
            assert!(world.talks(1, 2), "{cut}");
        }
    }
}

/// Nothing that the underlay delivers is refused, but what it delivers twice or what is
/// about a handshake that is over.
fn soak(backend: Backend, weather: Weather, luck: u64, minutes: u64) {
    let mut world = World::pair(backend);
    world.random = luck;
    world.weather = weather;
    world.run(seconds(60));
    for sent in 0..minutes * 60 * 4 {
        world.send(1, 2, &sent.to_be_bytes()).unwrap();
        world.send(2, 1, &sent.to_be_bytes()).unwrap();
        world.run(millis(250));
    }
    for (host, other) in [(1, 2), (2, 1)] {
        let frames: BTreeSet<_> = world.host(host).got.iter().cloned().collect();
        assert_eq!(frames.len(), world.host(host).got.len(), "nothing twice");
        let unexpected = [Reason::HandshakeReplay, Reason::SealedReplay];
        let drops = &world.host(host).drops;
        assert!(drops.iter().all(|reason| unexpected.contains(reason)), "{drops:?}");
        assert!(world.host(host).seal.by_index.len() <= 6);
        assert!(world.report(host, other).session.is_some());
    }
    world.weather = FAIR;
    world.run(seconds(200));
    assert!(world.is_settled(1, 2) && world.talks(1, 2));
    let initiations = world.count(sealed::INITIATION);
    world.run(seconds(1_200));
    assert!(world.count(sealed::INITIATION) - initiations <= 11, "one row");
}

#[test]
fn a_bad_underlay() {
    for backend in BACKENDS {
        soak(backend, Weather { lost: 20, doubled: 10, delay: (1, 300) }, 4_711, 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_underlay(
        ring: bool, lost in 0u64..15, doubled in 0u64..30, delay in 1u64..700, luck in 1u64..,
    ) {
        let backend = BACKENDS[usize::from(ring)];
        soak(backend, Weather { lost, doubled, delay: (1, delay) }, luck, 5);
    }
}
