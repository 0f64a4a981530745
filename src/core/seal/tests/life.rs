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
        assert_eq!(world.hosts.iter().map(|host| host.drops.len()).sum::<usize>(), 0);
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
            world.run(millis(100));
        }
        world.run(seconds(1));
        for (host, other) in [(1, 2), (2, 1)] {
            let got: BTreeSet<_> = world.host(host).got.iter().cloned().collect();
            assert_eq!(got.len() as u64, sent);
            assert_eq!(world.host(host).got.len() as u64, sent, "nothing twice");
            let session = world.report(host, other).session.unwrap();
            assert_eq!(session.handshakes, 11);
            assert!(session.age > seconds(1_249));
        }
        assert!(world.count(sealed::INITIATION) <= 11);
    }
}
