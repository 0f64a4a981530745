//! Where peers are.

use super::*;
use crate::wire::sealed;

fn elsewhere(n: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(198, 51, 100, n), port).into()
}

fn route(world: &mut World, from: u8, to: u8) -> Route {
    let now = world.now;
    let vtep = address(to).ip();
    world.host(from).seal.seal(now, vtep, vni(), &mut datagram(b"where")).unwrap()
}

#[test]
fn a_peer_behind_a_translator() {
    for backend in BACKENDS {
        for inside in [1, 2] {
            let mut world = World::pair(backend);
            world.host(inside).outside = elsewhere(1, 60_001);
            let other = 3 - inside;
            world.run(seconds(10));
            assert!(world.talks(1, 2));
            let to = elsewhere(1, 60_001);
            assert_eq!(route(&mut world, other, inside), Route { to, translated: true });
            let to = address(other);
            assert_eq!(route(&mut world, inside, other), Route { to, translated: false });

            // Both keep the translator from forgetting, whatever else is sent.
            let start = world.log.len();
            for _ in 0..100 {
                world.send(inside, other, b"by another port").unwrap();
                world.send(other, inside, b"back").unwrap();
                world.run(seconds(1));
            }
            let lives = |world: &World, from: SocketAddr| {
                let sign = |packet: &&Packet| {
                    packet.from == from && packet.bytes.len() == sealed::HEADER + TAG
                };
                world.log[start..].iter().filter(sign).count()
            };
            assert!(lives(&world, elsewhere(1, 60_001)) >= 3);
            assert!(lives(&world, address(other)) >= 3);
            assert!(world.talks(1, 2));
        }
    }
}

#[test]
fn a_peer_that_moves_is_asked_where_it_is_heard() {
    for backend in BACKENDS {
        for (mover, other) in [(1, 2), (2, 1)] {
            let mut world = World::pair(backend);
            world.run(seconds(30));
            world.host(mover).outside = elsewhere(7, PORT);
            world.send(mover, other, b"from elsewhere").unwrap();
            world.run(millis(20));
            assert_eq!(route(&mut world, other, mover).to, elsewhere(7, PORT));
            assert!(world.talks(1, 2));
            // And back.
            world.run(seconds(6));
            world.host(mover).outside = address(mover);
            world.send(mover, other, b"from home").unwrap();
            world.run(millis(20));
            let home = Route { to: address(mover), translated: false };
            assert_eq!(route(&mut world, other, mover), home);
        }
    }
}

#[test]
fn an_address_that_does_not_answer_is_asked_once() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(30));
        for _ in 0..60 {
            let mut bytes = datagram(b"frame");
            let now = world.now;
            world.host(1).seal.seal(now, address(2).ip(), vni(), &mut bytes).unwrap();
            world.play(2, elsewhere(9, POOL), &bytes).unwrap();
            world.run(seconds(1));
        }
        let asked = world.log.iter().filter(|packet| packet.to == elsewhere(9, PORT)).count();
        assert_eq!(asked, 1);
        assert_eq!(route(&mut world, 2, 1).to, address(1));
        assert!(world.talks(1, 2));
    }
}

#[test]
fn a_relayed_initiation_moves_nothing() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        world.eats.insert(sealed::INITIATION, 1);
        world.run(seconds(120));
        let lost = world.last(sealed::INITIATION);
        let (from, to) = if lost.from == address(1) { (1, 2) } else { (2, 1) };
        world.play(to, elsewhere(6, 666), &lost.bytes).unwrap();
        world.drain();
        assert_eq!(world.last(sealed::RESPONSE).to, elsewhere(6, 666));
        assert_eq!(route(&mut world, to, from).to, address(from), "not before it is used");
        world.run(seconds(30));
        assert!(world.talks(1, 2));
        assert_eq!(route(&mut world, to, from).to, address(from));
        assert_eq!(world.report(1, 2).session.unwrap().handshakes, 2);
    }
}

#[test]
fn a_vtep_that_changes_in_the_tables() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(10));
        let mut moved = config(1, &[1, 2]);
        moved.peers[0].vtep = address(5).ip();
        world.host(2).outside = address(5);
        world.configure(1, moved);
        world.run(seconds(5));
        let now = world.now;
        let seal = &mut world.host(1).seal;
        let route = seal.seal(now, address(5).ip(), vni(), &mut datagram(b"new")).unwrap();
        assert_eq!(route, Route { to: address(5), translated: false });
        let old = seal.seal(now, address(2).ip(), vni(), &mut datagram(b"old"));
        assert_eq!(old, Err(Reason::NoSession));
    }
}
