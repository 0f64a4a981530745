//! Coming, going, coming back.

use super::super::{Membership, Output, Peer, Settings};
use super::sim::{Sim, id, ms, peer};

#[test]
fn a_leaving_host_is_gone_at_once_and_stays_gone() {
    for seed in 0..8 {
        let mut sim = Sim::settled(10, seed);
        let now = sim.now;
        sim.host(4).leave(now);
        sim.drain(4);
        let gone = |sim: &Sim| {
            let others = sim.hosts.iter().enumerate().filter(|(n, _)| *n != 4);
            others.flat_map(|(_, host)| host).all(|host| !host.is_up(&id(4)))
        };
        assert!(sim.until(ms(1_500), gone).is_some(), "seed {seed}");
        sim.run(ms(30_000));
        assert!(gone(&sim), "seed {seed}");
        assert_eq!(sim.host(4).due(), None);
    }
}

#[test]
fn a_restarted_host_is_up_at_once() {
    for seed in 0..8 {
        let mut sim = Sim::settled(10, seed);
        sim.hosts[4] = None;
        assert!(sim.until(ms(20_000), Sim::whole).is_some());
        sim.start(4, 1, 0);
        assert!(sim.until(ms(2_000), Sim::whole).is_some(), "seed {seed}");
        assert_eq!(sim.host(4).me().generation, 1);
    }
}

#[test]
fn a_host_that_has_lost_count_of_its_starts_catches_up() {
    let mut sim = Sim::settled(5, 1);
    sim.hosts[4] = None;
    sim.start(4, 1_000_000, 0);
    assert!(sim.until(ms(2_000), Sim::whole).is_some());
    sim.hosts[4] = None;
    sim.run(ms(100));
    sim.start(4, 0, 0);
    assert!(sim.until(ms(3_000), Sim::whole).is_some());
    assert!(sim.host(4).me().generation > 1_000_000);
    sim.downs.clear();
    sim.run(ms(20_000));
    assert_eq!(sim.downs, []);
}

#[test]
fn a_host_that_knows_nobody_is_found_by_those_that_know_its_earlier_self() {
    for seed in 0..8 {
        let mut sim = Sim::settled(4, seed);
        // Restarted before anybody missed it, and once more without its count. Streams
        // answer for each of its generations.
        for generation in [7, 0] {
            sim.start(3, generation, 3);
            assert!(sim.until(ms(3_000), Sim::whole).is_some(), "seed {seed}, {generation}");
        }
        assert_eq!(sim.host(3).me().generation, 8);
        assert_eq!(sim.downs, [], "seed {seed}");
    }
}

#[test]
fn a_host_that_was_cut_off_comes_back_by_itself() {
    for seed in 0..8 {
        let mut sim = Sim::settled(10, seed);
        sim.island[4] = 1;
        let lost = |sim: &Sim| !sim.hosts[0].as_ref().unwrap().is_up(&id(4));
        assert!(sim.until(ms(20_000), lost).is_some());
        // It doubts its own health, and takes its time.
        let alone = |sim: &Sim| sim.hosts[4].as_ref().unwrap().up().count() == 0;
        assert!(sim.until(ms(240_000), alone).is_some());
        sim.island[4] = 0;
        let back = sim.until(ms(10_000), Sim::whole);
        assert!(back.is_some(), "seed {seed}");
        // The others had nothing to take back.
        let generations =
            (0..10).filter(|n| *n != 4).map(|n| sim.host(n).me().generation).sum::<u64>();
        assert!(generations <= 4, "{generations} new generations");
    }
}

#[test]
fn a_host_that_slept_does_not_bury_the_others() {
    let mut sim = Sim::settled(10, 3);
    // Its ticks and datagrams wait for ten minutes, then all come at once.
    let mut asleep = sim.hosts[4].take();
    sim.run(ms(600_000));
    sim.downs.clear();
    std::mem::swap(&mut sim.hosts[4], &mut asleep);
    sim.run(ms(30_000));
    assert_eq!(sim.downs, []);
    assert!(sim.whole());
}

#[test]
fn a_forgotten_member_is_down_and_never_up_again() {
    let mut sim = Sim::settled(5, 1);
    for n in 0..4 {
        let now = sim.now;
        sim.host(n).forget(now, id(4));
        assert!(!sim.host(n).is_up(&id(4)));
        sim.drain(n);
    }
    assert_eq!(sim.downs.len(), 4);
    sim.run(ms(60_000));
    assert!((0..4).all(|n| sim.host(n).up().count() == 3));
    assert_eq!(sim.downs.iter().filter(|(_, n, _)| *n != 4).count(), 4);
}

#[test]
fn a_new_address_is_told() {
    let mut host = Membership::new(peer(0, 0), Settings::default(), [0; 32]);
    let mut other = Membership::new(peer(1, 0), Settings::default(), [1; 32]);
    host.admit(id(1));
    other.admit(id(0));
    let moved = Peer { control: "192.0.2.1:7946".parse().unwrap(), ..peer(1, 1) };
    let mut elsewhere = Membership::new(moved, Settings::default(), [2; 32]);
    elsewhere.admit(id(0));
    for from in [&mut other, &mut elsewhere] {
        from.announce(ms(1), peer(0, 0));
        let Some(Output::Datagram { bytes, .. }) = from.output() else { panic!("says nothing") };
        host.datagram(ms(1), &bytes);
    }
    let told: Vec<Output> = std::iter::from_fn(|| host.output())
        .filter(|output| !matches!(output, Output::Datagram { .. }))
        .collect();
    assert_eq!(told, [Output::Up(peer(1, 0)), Output::Moved { from: peer(1, 0), to: moved }]);
    assert_eq!(host.up().collect::<Vec<_>>(), [&moved]);
}

#[test]
fn a_host_heard_only_by_streams_is_not_suspected() {
    let mut host = Membership::new(peer(0, 0), Settings::default(), [0; 32]);
    let mut other = Membership::new(peer(1, 0), Settings::default(), [1; 32]);
    host.admit(id(1));
    other.admit(id(0));
    other.announce(ms(0), peer(0, 0));
    let Some(Output::Datagram { bytes, .. }) = other.output() else { panic!("says nothing") };
    host.datagram(ms(0), &bytes);
    let mut streams = 0;
    let mut now = ms(0);
    while now < ms(60_000) {
        host.tick(now);
        while let Some(output) = host.output() {
            assert!(!matches!(output, Output::Down(_)));
            if let Output::Stream { to } = output {
                streams += 1;
                host.reached(now + ms(20), to.id, true);
            }
        }
        now = host.due().unwrap().max(now + ms(1));
    }
    assert!(streams >= 110, "{streams}");
    assert_eq!(host.health(), 0);
}
