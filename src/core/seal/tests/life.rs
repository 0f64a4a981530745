//! How sessions come and go.

use super::*;
use crate::wire::sealed;

#[test]
fn a_session_comes_up_at_once() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        assert_eq!(world.send(1, 2, b"early"), Err(Reason::NoSession));
        world.run(millis(10));
        for (a, b) in [(1, 2), (2, 1)] {
            let session = world.report(a, b).session.unwrap();
            assert_eq!(session.suite, offer(backend).suites[0]);
            assert_eq!((session.handshakes, world.report(a, b).trouble), (1, None));
        }
        assert!(world.talks(1, 2));
        assert_eq!(world.count(sealed::INITIATION), 1, "the other waits");
        assert!(world.hosts.iter().all(|host| host.drops.is_empty()));
    }
}

#[test]
fn handshakes_that_cross_settle_on_one_session() {
    for backend in BACKENDS {
        let mut crossed = 0;
        for luck in 1..25 {
            let mut world = World::pair(backend);
            world.random = luck;
            world.weather = Weather { lost: 0, doubled: 0, delay: (80, 400) };
            world.run(seconds(2));
            crossed += usize::from(world.count(sealed::INITIATION) > 1);
            world.weather = FAIR;
            assert!(world.talks(1, 2), "{luck}");
            assert!(world.is_settled(1, 2), "{luck}");
            world.run(seconds(3_600));
            assert!(world.is_settled(1, 2), "{luck}");
            assert!(world.count(sealed::INITIATION) <= 33, "{luck}: once in 120 s");
            assert!(world.talks(1, 2));
        }
        assert!(crossed > 2, "{crossed}");
    }
}

#[test]
fn ten_rekeys_lose_nothing() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.weather = Weather { lost: 0, doubled: 5, delay: (1, 40) };
        world.run(millis(500));
        let end = world.now + seconds(1_250);
        let mut sent = 0u64;
        while world.now < end {
            world.send(1, 2, &sent.to_be_bytes()).unwrap();
            world.send(2, 1, &sent.to_be_bytes()).unwrap();
            sent += 1;
            world.run(millis(200));
        }
        world.run(seconds(1));
        for (host, other) in [(1, 2), (2, 1)] {
            let got: BTreeSet<_> = world.host(host).got.iter().cloned().collect();
            assert_eq!(got.len() as u64, sent);
            assert_eq!(world.host(host).got.len() as u64, sent, "nothing twice");
            let report = world.report(host, other);
            assert_eq!(report.session.unwrap().handshakes, 11);
            assert!(report.session.unwrap().age > seconds(1_249));
            assert!(report.session.unwrap().handshake < seconds(121));
            assert!(report.sealed >= sent && report.opened >= sent);
            assert!(world.host(host).seal.by_index.len() <= 4, "old keys are forgotten");
        }
        assert!(world.count(sealed::INITIATION) <= 11);
    }
}

#[test]
fn a_worn_key_is_replaced() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(10));
        for (worn, other) in [(1, 2), (2, 1)] {
            let before = world.current(1, 2);
            let link = &mut world.host(worn).seal.links[0];
            let session = link.current.as_mut().unwrap();
            let limit = session.suite.rekey_after();
            session.sender.skip_to(limit - 2);
            for _ in 0..5 {
                world.send(worn, other, b"much").unwrap();
            }
            world.run(seconds(1));
            assert_ne!(world.current(1, 2), before);
            assert!(world.is_settled(1, 2) && world.talks(1, 2));
            world.run(seconds(10));
        }
        assert_eq!(world.report(1, 2).session.unwrap().handshakes, 3);
    }
}

#[test]
fn a_used_up_key_seals_nothing_any_more() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(10));
        world.weather.lost = 100;
        let session = world.host(1).seal.links[0].current.as_mut().unwrap();
        let limit = session.suite.reject_after();
        session.sender.skip_to(limit);
        assert_eq!(world.send(1, 2, b"more"), Err(Reason::NoSession));
    }
}

#[test]
fn without_the_peer_a_session_ends_after_180_seconds() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        world.send(2, 1, b"held back").unwrap();
        let held = world.last(sealed::DATA);
        world.run(millis(5));
        world.weather.lost = 100;
        let made = world.host(1).seal.links[0].current.as_ref().unwrap().terms.made;
        world.until(made + seconds(180) - millis(1));
        assert_eq!(world.send(1, 2, b"just"), Ok(()));
        let trouble = world.report(1, 2).trouble.unwrap();
        assert!(trouble.contains("192.0.2.2:4789 has not answered"), "{trouble}");

        world.now = made + seconds(180);
        assert_eq!(world.send(1, 2, b"late"), Err(Reason::NoSession));
        assert_eq!(world.play(1, held.from, &held.bytes), Err(Reason::SealedExpired));
        assert_eq!(world.report(1, 2).session, None);
        world.run(seconds(2));
        assert_eq!(world.play(1, held.from, &held.bytes), Err(Reason::SealedUnknownKey));
        assert_eq!(world.report(1, 2).drops["sealed-expired"], 1);
        let trouble = world.report(1, 2).trouble.unwrap();
        assert!(trouble.contains("UDP port 4789 is open"), "{trouble}");
        assert_eq!(world.host(1).seal.by_index.len(), 1, "only the pending one");

        world.weather = FAIR;
        world.run(seconds(20));
        assert!(world.talks(1, 2));
        let session = world.report(1, 2).session.unwrap();
        assert!(session.handshakes == 1 && session.age < seconds(20), "a new row");
        assert_eq!(world.report(1, 2).trouble, None);
    }
}

#[test]
fn a_peer_that_restarts_is_back_at_once() {
    for backend in BACKENDS {
        for (restarted, other) in [(1, 2), (2, 1)] {
            let mut world = World::pair(backend);
            world.run(seconds(30));
            for generation in 2..6 {
                world.add(restarted, offer(backend), generation);
                world.configure(restarted, config(restarted, &[1, 2]));
                world.run(millis(400));
                assert!(world.talks(1, 2), "{restarted} {generation}");
                assert!(world.is_settled(1, 2));
            }
            assert!(world.host(other).seal.by_index.len() <= 6);
            assert!(world.report(other, restarted).session.unwrap().handshakes >= 5);
        }
    }
}

#[test]
fn a_peer_that_restarts_right_after_its_response_is_not_lost() {
    for backend in BACKENDS {
        for (restarted, other) in [(1, 2), (2, 1)] {
            let mut world = World::pair(backend);
            world.weather.delay = (200, 200);
            // The response is on its way, and with it an initiation of who restarts.
            world.run(millis(210));
            world.add(restarted, offer(backend), 2);
            world.configure(restarted, config(restarted, &[1, 2]));
            world.run(seconds(12));
            assert!(world.is_settled(1, 2), "{restarted} {other}");
            world.weather = FAIR;
            assert!(world.talks(1, 2));
        }
    }
}

#[test]
fn who_only_receives_gives_signs_of_life() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        world.run(seconds(10));
        let start = world.log.len();
        for _ in 0..90 {
            world.send(1, 2, b"one way").unwrap();
            world.run(seconds(1));
        }
        let back = world.log[start..].iter().filter(|packet| packet.from == address(2));
        let back: Vec<_> = back.collect();
        assert!(back.iter().all(|packet| packet.bytes.len() == sealed::HEADER + TAG));
        assert!((8..=10).contains(&back.len()), "{}", back.len());
        assert_eq!(world.report(1, 2).session.unwrap().handshakes, 1);
    }
}

#[test]
fn a_quiet_session_is_quiet() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(600));
        // Two messages and two signs of life for each session.
        assert!(world.log.len() <= 5 * 4, "{}", world.log.len());
        assert!(world.talks(1, 2));
    }
}

#[test]
fn who_sends_and_hears_nothing_begins_anew() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        // The peer forgets everything and is not told of this host for a while.
        world.add(2, offer(backend), 2);
        let before = world.count(sealed::INITIATION);
        world.send(1, 2, b"anybody there").unwrap();
        world.run(seconds(16));
        assert!(world.count(sealed::INITIATION) > before);
        world.configure(2, config(2, &[1, 2]));
        world.run(seconds(1));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn who_is_not_wanted_gets_no_new_session() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        for n in [1, 2] {
            let mut config = config(n, &[1, 2]);
            config.peers[0].wanted = false;
            world.configure(n, config);
        }
        let begun = world.count(sealed::INITIATION);
        world.run(seconds(150));
        assert!(world.talks(1, 2), "it lasts as long as it lasts");
        world.run(seconds(50));
        assert_eq!(world.send(1, 2, b"more"), Err(Reason::NoSession));
        assert_eq!(world.count(sealed::INITIATION), begun);
        let report = world.report(1, 2);
        assert_eq!((report.session, report.trouble), (None, None));
        assert_eq!(world.host(1).seal.by_index.len(), 0);
        assert_eq!(world.host(1).seal.due(), None);
    }
}

#[test]
fn many_peers_are_begun_with_a_few_at_a_time() {
    let all: Vec<u8> = (1..=100).collect();
    let lowest = all.iter().copied().min_by_key(|n| public(*n)).unwrap();
    let mut world = World::empty();
    world.add(lowest, offer(Backend::Ring), 1);
    world.configure(lowest, config(lowest, &all));
    let now = world.now;
    let seal = &mut world.host(lowest).seal;
    let mut ticks = 0;
    while seal.due().is_some_and(|due| due <= now) {
        let before = seal.exchanges();
        seal.tick(now);
        assert!(seal.exchanges() - before <= 4);
        ticks += 1;
    }
    assert_eq!(ticks, 25, "99 in all");
}
