//! More than anybody needs.

use super::super::gate::{COOKIE_TIME, FREE, Gate, RingKey, SHOWN, Verdict};
use super::super::noise::{INITIATION, MAC, Message};
use super::*;
use crate::wire::sealed;

const FLOOD: u64 = 100_000;

fn strange(n: u64) -> SocketAddr {
    let [.., a, b, c] = n.to_be_bytes();
    (Ipv4Addr::new(203, a, b, c), 1_024 + (n % 60_000) as u16).into()
}

#[test]
fn random_datagrams_cost_no_key_exchange() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        let before = world.host(1).seal.exchanges();
        let numbers = world.host(1).seal.by_index.len();
        let mut bytes = [0; 200];
        for n in 0..FLOOD {
            let lengths = [INITIATION, 83, 61, sealed::HEADER + TAG, 100, 5, 0, 200];
            let len = lengths[(n % 8) as usize];
            for chunk in bytes.chunks_mut(8) {
                chunk.copy_from_slice(&world.dice(u64::MAX).to_be_bytes()[..chunk.len()]);
            }
            bytes[0] = (n % 5) as u8;
            // A ring key that there is.
            bytes[1..5].copy_from_slice(&7u32.to_be_bytes());
            assert!(world.play(1, strange(n), &bytes[..len]).is_err());
            if n % 10_000 == 0 {
                assert!(world.talks(1, 2));
            }
        }
        let seal = &mut world.host(1).seal;
        assert_eq!((seal.exchanges(), seal.by_index.len()), (before, numbers));
        assert!(seal.output().is_none());
        assert_eq!(world.report(1, 2).session.unwrap().handshakes, 1);
    }
}

#[test]
fn played_back_initiations_do_not_stop_a_rekeying() {
    for backend in BACKENDS {
        let mut world = World::pair(backend);
        world.run(seconds(1));
        // Written a moment ago, and never arrived: there is none that is better.
        world.eats.insert(sealed::INITIATION, 2);
        world.run(seconds(120));
        world.run(millis(500));
        let caught = world.last(sealed::INITIATION);
        let to = if caught.to == address(1) { 1 } else { 2 };
        let before = world.host(to).seal.exchanges();
        let rounds = 20_000;
        for round in 0..rounds {
            for n in 0..FLOOD / rounds {
                let _ = world.play(to, strange(round * 5 + n), &caught.bytes);
            }
            assert!(world.host(to).seal.output.len() <= 1_024);
            // To nobody.
            world.host(to).seal.output.retain(|out| out.to.ip() == address(3 - to).ip());
            if round % 200 == 0 {
                assert!(world.talks(1, 2));
            }
            world.run(millis(1));
        }
        // 20,000 times 1 ms, and 100 times 50 ms more; a response to each.
        let most = 2 * (FREE.burst + 25 * 100) + 20;
        let work = world.host(to).seal.exchanges() - before;
        assert!(work <= u64::from(most), "{work}");
        assert!(world.host(to).seal.gate.addresses() <= 1);
        let handshakes = world.report(1, 2).session.unwrap().handshakes;
        assert!((2..=6).contains(&handshakes), "{handshakes}");
        assert!(world.is_settled(1, 2) && world.talks(1, 2));
    }
}

/// The gate alone, and initiations that are nothing but MACs.
struct Door {
    gate: Gate,
    ring: RingKey,
    now: Now,
}

impl Door {
    fn new() -> Door {
        let gate = Gate::new(seconds(0), Zeroizing::new([1; 32]));
        Door { gate, ring: RingKey::new(&Secret([77; 32])), now: seconds(0) }
    }

    fn knock(&mut self, source: SocketAddr, initiation: &[u8]) -> Verdict {
        self.gate.admit(self.now, source, &self.ring, initiation, &[3; 32])
    }

    /// Uses up what is free.
    fn crowd(&mut self) -> usize {
        let bytes = [0; INITIATION];
        (0..).take_while(|n| matches!(self.knock(strange(*n), &bytes), Verdict::Admit)).count()
    }

    /// An initiation that shows the address of its sender.
    fn shown(&mut self, source: SocketAddr) -> Vec<u8> {
        let mut bytes = vec![8; INITIATION];
        let Verdict::Prove(told) = self.knock(source, &bytes) else { panic!("no cookie") };
        assert!(told.len() < bytes.len());
        let Some(Message::Cookie { nonce, sealed, .. }) = Message::parse(&told) else {
            panic!("no cookie");
        };
        let mac1 = &bytes[INITIATION - 2 * MAC..][..MAC];
        self.ring.open(nonce, mac1, sealed).unwrap().sign(&mut bytes);
        bytes
    }
}

#[test]
fn a_crowd_has_to_show_its_addresses() {
    let mut door = Door::new();
    assert_eq!(door.crowd(), FREE.burst as usize);
    let bytes = door.shown(strange(1));
    assert!(matches!(door.knock(strange(1), &bytes), Verdict::Admit));
    // From elsewhere, from another port, and with another message it shows nothing.
    let port = SocketAddr::new(strange(1).ip(), 9);
    let mut other = bytes.clone();
    other[20] ^= 1;
    for (source, bytes) in [(strange(2), &bytes), (port, &bytes), (strange(1), &other)] {
        assert!(matches!(door.knock(source, bytes), Verdict::Prove(_)));
    }
    // One address gets so many, and then some more with time.
    let admitted = (0..100).filter(|_| matches!(door.knock(strange(1), &bytes), Verdict::Admit));
    assert_eq!(admitted.count(), 9);
    assert!(matches!(door.knock(strange(1), &bytes), Verdict::Refuse));
    door.now = millis(210);
    assert!(door.crowd() <= 21);
    assert!(matches!(door.knock(strange(1), &bytes), Verdict::Admit));
    assert!(matches!(door.knock(strange(1), &bytes), Verdict::Refuse));
    // Another secret, and the cookie is worth nothing.
    assert!(!door.gate.is_old(COOKIE_TIME - millis(1)) && door.gate.is_old(COOKIE_TIME));
    door.gate.renew(COOKIE_TIME, Zeroizing::new([2; 32]));
    assert!(matches!(door.knock(strange(1), &bytes), Verdict::Prove(_)));
}

#[test]
fn all_shown_addresses_together_have_a_limit() {
    let mut door = Door::new();
    door.crowd();
    let mut admitted = 0;
    for n in 0..3_000 {
        let bytes = door.shown(strange(n));
        admitted += usize::from(matches!(door.knock(strange(n), &bytes), Verdict::Admit));
    }
    assert_eq!(admitted, SHOWN.burst as usize);
    assert!(door.gate.addresses() <= 1_024);
    door.now = seconds(100);
    door.crowd();
    let bytes = door.shown(strange(5_000));
    assert!(matches!(door.knock(strange(5_000), &bytes), Verdict::Admit), "the old are forgotten");
    assert!(door.gate.addresses() <= 1_024);
}

#[test]
fn a_cookie_opens_a_crowded_door_at_once() {
    for backend in BACKENDS {
        let mut world = World::empty();
        for n in [1, 2] {
            world.add(n, offer(backend), 1);
            let now = world.now;
            world.host(n).seal.gate.fill(now);
            world.configure(n, config(n, &[1, 2]));
        }
        // The gates stay crowded.
        for _ in 0..300 {
            world.run(millis(10));
            let now = world.now;
            world.hosts.iter_mut().for_each(|host| host.seal.gate.fill(now));
        }
        assert!(world.talks(1, 2));
        assert!(world.count(sealed::COOKIE) > 0);
    }
}
