//! What the tables may say anew.

use super::*;
use crate::wire::sealed;

fn keys(numbers: &[u32], primary: u32, n: u8) -> Config {
    let secret = |number: &u32| (*number, Secret([*number as u8; 32]));
    Config { keys: numbers.iter().map(secret).collect(), primary, ..config(n, &[1, 2]) }
}

#[test]
fn a_removed_peer_is_gone_at_once() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        world.send(2, 1, b"on its way").unwrap();
        let held = world.last(sealed::DATA);
        world.configure(1, config(1, &[1]));
        assert_eq!(world.send(1, 2, b"more"), Err(Reason::NoSession));
        assert_eq!(world.play(1, held.from, &held.bytes), Err(Reason::SealedUnknownKey));
        assert!(world.host(1).seal.by_index.is_empty());
        assert!(world.host(1).seal.report(seconds(0)).is_empty());
        world.run(seconds(200));
        let drops = &world.host(1).drops;
        assert!(drops.contains(&Reason::HandshakeStranger), "{drops:?}");
        assert_eq!(world.host(1).seal.due(), None);
    }
}

#[test]
fn a_peer_with_another_key_is_another() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        let mut changed = config(2, &[1, 2]);
        changed.peers[0].public = public(9);
        world.configure(2, changed);
        assert_eq!(world.send(2, 1, b"more"), Err(Reason::NoSession));
        world.add(1, offer(backend), 2);
        world.configure(1, config(1, &[1, 2]));
        world.run(seconds(5));
        assert_eq!(world.report(2, 1).session, None, "it is the old one");
        let trouble = world.report(2, 1).trouble.unwrap();
        assert!(trouble.contains("192.0.2.1 does not have the identity"), "{trouble}");

        world.add(1, offer(backend), 3);
        world.configure(1, Config { private: private(9), ..config(1, &[1, 2]) });
        world.run(seconds(5));
        assert!(world.talks(1, 2));
        assert_eq!(world.report(2, 1).trouble, None);
    }
}

#[test]
fn this_hosts_own_key_may_change() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        world.configure(1, Config { private: private(9), ..config(1, &[1, 2]) });
        assert_eq!(world.send(1, 2, b"more"), Err(Reason::NoSession));
        let mut changed = config(2, &[1, 2]);
        changed.peers[0].public = public(9);
        world.configure(2, changed);
        world.run(seconds(5));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn the_ring_turns_without_a_gap() {
    for backend in BACKENDS {
        let rings = [
            (keys(&[6, 7], 7, 1), keys(&[6, 7], 6, 2)),
            (keys(&[6, 7], 7, 1), keys(&[7, 8], 7, 2)),
            (keys(&[7, 8], 7, 1), keys(&[7, 8], 8, 2)),
            (keys(&[6, 7], 6, 1), keys(&[5, 6], 5, 2)),
        ];
        for (a, b) in rings {
            let mut world = World::empty();
            for n in [1, 2] {
                world.add(n, offer(backend), 1);
            }
            world.configure(1, a);
            world.configure(2, b);
            world.run(seconds(5));
            assert!(world.talks(1, 2));
            // Both keys are replaced; what runs, runs on, and is renewed with the new one.
            world.configure(1, keys(&[9], 9, 1));
            world.configure(2, keys(&[9], 9, 2));
            for _ in 0..260 {
                assert!(world.talks(1, 2));
                world.run(seconds(1));
            }
            assert!(world.report(1, 2).session.unwrap().handshakes >= 3);
        }
    }
}

#[test]
fn a_ring_key_that_is_not_known_is_named() {
    for backend in BACKENDS {
        let mut world = World::empty();
        for n in [1, 2] {
            world.add(n, offer(backend), 1);
            world.configure(n, keys(&[6 + u32::from(n)], 6 + u32::from(n), n));
        }
        world.run(seconds(5));
        for (a, b, number) in [(1, 2, "key 8 "), (2, 1, "key 7 ")] {
            let report = world.report(a, b);
            assert_eq!(report.session, None);
            assert!(report.trouble.clone().unwrap().contains(number), "{:?}", report.trouble);
            assert!(report.drops["handshake-forged"] > 0);
        }
        world.configure(1, keys(&[7, 8], 7, 1));
        world.run(seconds(10));
        assert!(world.talks(1, 2), "it knows the other's");
        assert_eq!(world.report(2, 1).trouble, None);
    }
}

#[test]
fn a_primary_key_that_is_missing_is_named() {
    let mut world = World::pair(Backend::Ring);
    world.configure(1, keys(&[7], 8, 1));
    world.add(2, offer(Backend::Ring), 1);
    world.run(seconds(1));
    let trouble = world.report(1, 2).trouble.unwrap();
    assert!(trouble.contains("does not have key 8 of the cluster's ring"), "{trouble}");
}

#[test]
fn another_key_of_the_same_number_is_forged() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        let keys = BTreeMap::from([(7, Secret([78; 32]))]);
        world.configure(1, Config { keys, ..config(1, &[1, 2]) });
        world.run(seconds(5));
        assert_eq!(world.report(1, 2).session, None);
        assert!(world.host(2).drops.iter().all(|reason| *reason == Reason::HandshakeForged));
        assert!(world.host(2).drops.len() > 1);
    }
}

#[test]
fn a_host_that_was_set_back_is_not_locked_out() {
    for backend in BACKENDS {
        // To an earlier start, and to the same one again.
        for generation in [3, 5] {
            for back in [1, 2] {
                let mut world = World::empty();
                for n in [1, 2] {
                    world.add(n, offer(backend), 5);
                    world.configure(n, config(n, &[1, 2]));
                }
                world.run(seconds(600));
                world.add(back, offer(backend), generation);
                world.configure(back, config(back, &[1, 2]));
                world.run(seconds(1));
                assert!(world.talks(1, 2), "{generation} {back}");
                for _ in 0..30 {
                    world.run(seconds(20));
                    assert!(world.talks(1, 2), "{generation} {back}");
                }
            }
        }
    }
}

/// What the two hosts take, and what comes of it.
fn agree(ours: &[Suite], theirs: &[Suite]) -> (Option<Suite>, World) {
    let offer = |suites: &[Suite]| Offer { suites: suites.to_vec(), backend: Backend::Ring };
    let mut world = World::new(vec![offer(ours), offer(theirs)]);
    world.run(seconds(2));
    (world.report(1, 2).session.map(|session| session.suite), world)
}

#[test]
fn the_cipher_is_one_that_both_like() {
    const CHACHA: Suite = Suite::ChaCha20Poly1305;
    const AES: Suite = Suite::Aes256Gcm;
    for (ours, theirs, suite) in [
        (&[AES, CHACHA][..], &[AES, CHACHA][..], AES),
        (&[AES, CHACHA], &[CHACHA], CHACHA),
        (&[AES, CHACHA], &[CHACHA, AES], CHACHA),
        (&[CHACHA, AES], &[AES, CHACHA], CHACHA),
        (&[AES, CHACHA], &[AES], AES),
        (&[AES], &[CHACHA, AES], AES),
        (&[CHACHA], &[CHACHA], CHACHA),
    ] {
        let (got, mut world) = agree(ours, theirs);
        assert_eq!(got, Some(suite), "{ours:?} {theirs:?}");
        assert!(world.talks(1, 2));
    }
}

#[test]
fn without_a_common_cipher_both_say_so() {
    let (suite, mut world) = agree(&[Suite::Aes256Gcm], &[Suite::ChaCha20Poly1305]);
    assert_eq!(suite, None);
    assert_eq!(world.send(1, 2, b"more"), Err(Reason::NoSession));
    for (n, other, sentence) in [
        (1, 2, "192.0.2.2 takes ChaCha20-Poly1305 and this host takes AES-256-GCM"),
        (2, 1, "192.0.2.1 takes AES-256-GCM and this host takes ChaCha20-Poly1305"),
    ] {
        let report = world.report(n, other);
        let trouble = report.trouble.unwrap();
        assert!(trouble.starts_with(sentence), "{trouble}");
        assert!(report.drops["handshake-cipher"] > 0);
        assert_eq!(world.host(n).drops[0], Reason::HandshakeCipher);
    }
    let before = world.count(sealed::INITIATION);
    world.run(seconds(600));
    assert!(world.count(sealed::INITIATION) - before < 100, "at a slow pace");
    assert!(world.report(1, 2).trouble.unwrap().contains("takes"), "and it is still said");
}

#[test]
fn what_the_library_lacks_is_not_offered() {
    let all = vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
    let portable = Offer { suites: all.clone(), backend: Backend::Portable };
    let mut world = World::new(vec![portable, Offer { suites: all, backend: Backend::Ring }]);
    world.run(seconds(1));
    assert_eq!(world.report(2, 1).session.unwrap().suite, Suite::ChaCha20Poly1305);
    assert!(world.talks(1, 2), "and the two libraries understand each other");
}

#[test]
fn of_two_with_one_vtep_none_is_sealed_for() {
    let mut world = World::new(vec![offer(Backend::Ring), offer(Backend::Ring)]);
    world.run(seconds(1));
    let double = Peer { vtep: address(2).ip(), ..peer(3) };
    let mut with = config(1, &[1, 2]);
    with.peers.push(double.clone());
    world.configure(1, with.clone());
    assert_eq!(world.send(1, 2, b"whose"), Err(Reason::NoSession));
    for n in [2, 3] {
        let trouble = world.report(1, n).trouble.unwrap();
        assert!(trouble.contains("another member claims the VTEP 192.0.2.2"), "{trouble}");
    }
    world.run(seconds(30));
    assert_eq!(world.send(1, 2, b"whose"), Err(Reason::NoSession), "nor when it begins");

    // Who shares no encrypted network with this host cannot be meant.
    with.peers[1].wanted = false;
    world.configure(1, with.clone());
    world.run(seconds(20));
    assert!(world.talks(1, 2));
    world.host(2).drops.clear();
    // The other does not get a session by beginning one.
    world.add(3, offer(Backend::Ring), 1);
    world.configure(3, config(3, &[1, 3]));
    world.host(3).outside = address(3);
    world.run(seconds(5));
    assert!(world.host(1).drops.contains(&Reason::HandshakeStranger));
    assert_eq!(world.report(3, 1).session, None);
}

#[test]
fn of_two_with_one_key_none_is_sealed_for() {
    let mut world = World::pair(Backend::Ring);
    let mut with = config(1, &[1, 2]);
    with.peers.push(Peer { public: public(2), ..peer(3) });
    with.peers.push(Peer { public: public(1), ..peer(4) });
    world.configure(1, with);
    world.run(seconds(5));
    for n in [2, 3, 4] {
        assert_eq!(world.report(1, n).session, None);
        assert!(world.report(1, n).trouble.unwrap().contains("claims"));
        assert_eq!(world.send(1, n, b"whose"), Err(Reason::NoSession));
    }
}

#[test]
fn a_key_that_is_none_is_named() {
    let mut world = World::pair(Backend::Ring);
    let mut with = config(1, &[1, 2]);
    with.peers[0].public = [0; 32];
    world.configure(1, with);
    world.run(seconds(1));
    assert!(world.report(1, 2).trouble.unwrap().contains("public key"));
}
