//! What the protocol promises at its default settings.

use std::hash::Hasher;
use std::time::Duration;

use super::sim::{Sim, id, ms};

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// How long until somebody knows that a host has died, and until all do.
fn deaths(hosts: usize, seeds: u64) -> (Vec<Duration>, Vec<Duration>) {
    let run = |seed| {
        let mut sim = Sim::settled(hosts, seed);
        let dead = id(hosts - 1);
        sim.hosts[hosts - 1] = None;
        let start = sim.now;
        let all = sim.until(ms(30_000), Sim::whole).unwrap();
        assert!(sim.downs.iter().all(|(_, _, who)| *who == dead), "seed {seed}: {:?}", sim.downs);
        (sim.downs[0].0 - start, all)
    };
    let (first, all) = (0..seeds).map(run).unzip();
    (sorted(first), sorted(all))
}

#[test]
fn a_dead_host_is_detected_within_five_seconds() {
    for hosts in [2, 3, 5, 10] {
        let (first, all) = deaths(hosts, 24);
        assert!(first[23] <= ms(5_000) && all[12] <= ms(3_000), "{hosts}: {first:?} {all:?}");
    }
    let (first, all) = deaths(32, 7);
    assert!(first[3] <= ms(3_000) && all[6] <= ms(5_000), "{first:?} {all:?}");
}

#[test]
fn no_healthy_host_is_declared_dead_beside_a_slow_one() {
    for seed in 0..4 {
        let mut sim = Sim::settled(32, seed);
        sim.loss = 50;
        sim.slow[7] = ms(1000 + 1000 * seed);
        sim.run(ms(30_000));
        let wrong: Vec<_> = sim.downs.iter().filter(|(_, _, who)| *who != id(7)).collect();
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        assert!(sim.host(7).health() > 0);
    }
}

#[test]
fn loss_alone_declares_nobody_dead() {
    for (seed, loss) in [(1, 50), (2, 200), (3, 400), (4, 400)] {
        let mut sim = Sim::settled(10, seed);
        sim.loss = loss;
        sim.run(ms(30_000));
        assert_eq!(sim.downs, [], "seed {seed}");
    }
}

#[test]
fn two_islands_heal_within_seconds() {
    let heal = |seed| {
        let mut sim = Sim::settled(10, seed);
        (0..5).for_each(|n| sim.island[n] = 1);
        let apart = |sim: &Sim| sim.hosts.iter().flatten().all(|host| host.up().count() == 4);
        let split = sim.until(ms(120_000), apart);
        assert!(split.is_some(), "seed {seed}");
        sim.run(ms(60_000));
        sim.island = vec![0; 10];
        let healed = sim.until(ms(30_000), Sim::whole).unwrap();
        sim.downs.clear();
        sim.run(ms(30_000));
        assert!(sim.downs.is_empty(), "seed {seed}: {:?}", sim.downs);
        healed
    };
    let times = sorted((0..24).map(heal).collect());
    assert!(times[12] <= ms(2_000) && times[23] <= ms(8_000), "{times:?}");
}

#[test]
fn pairs_heal_too() {
    for seed in 0..8 {
        let mut sim = Sim::settled(2, seed);
        sim.island[0] = 1;
        assert!(
            sim.until(ms(30_000), |sim| sim.hosts.iter().flatten().all(|h| h.up().count() == 0))
                .is_some()
        );
        sim.run(ms(3_600_000));
        sim.island[0] = 0;
        let healed = sim.until(ms(5_000), Sim::whole);
        assert!(healed.is_some(), "seed {seed}");
    }
}

#[test]
fn a_run_repeats_byte_by_byte() {
    let run = |seed| {
        let mut sim = Sim::new(8, seed);
        sim.loss = 100;
        sim.run(ms(20_000));
        sim.hosts[3] = None;
        sim.run(ms(20_000));
        (sim.trace.finish(), sim.sent, sim.downs)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn load_per_host_does_not_grow_with_the_cluster() {
    let rate = |hosts| {
        let mut sim = Sim::settled(hosts, 1);
        sim.run(ms(30_000));
        let before = sim.sent;
        sim.run(ms(60_000));
        (sim.sent - before) as f64 / 60.0 / hosts as f64
    };
    let (small, large) = (rate(4), rate(32));
    assert!(small < 5.0 && large < 5.0, "{small}, {large} datagrams per host and second");
}
