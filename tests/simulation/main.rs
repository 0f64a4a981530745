//! The cluster's production core in a simulated world: random work, random
//! faults, and what must hold whatever happens. A seed that fails prints the
//! command that runs it again, exactly.

#![allow(clippy::unwrap_used)] // a helper's failed unwrap fails the test, as it should

mod sim;

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sim::measure::{Figures, measure, seconds};
use sim::scenario::{self, Size};

/// Without optimization, signatures take most of the time.
const SEEDS: u64 = if cfg!(debug_assertions) { 10 } else { 160 };

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn trouble(hosts: usize, seconds: u64, rounds: usize) -> Size {
    Size { hosts, trouble: Duration::from_secs(seconds), rounds }
}

/// The size that `VXMESH_SIM_NODES` names, or the one that goes with the seed.
fn size_of(seed: u64) -> Size {
    match number("VXMESH_SIM_NODES") {
        Some(hosts) => trouble(hosts as usize, 20, 1),
        None => Size::small(seed),
    }
}

/// Runs seeds side by side, and fails with all that failed.
fn all(seeds: impl Iterator<Item = u64>, size: impl Fn(u64) -> Size + Sync) {
    let seeds: Vec<u64> = seeds.collect();
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(why) = scenario::run(*seed, size(*seed)) {
                        let nodes = match size(*seed).rounds {
                            1 => format!("VXMESH_SIM_NODES={} ", size(*seed).hosts),
                            _ => String::new(),
                        };
                        failed.lock().unwrap().push(format!(
                            "seed {seed}: {why}\nagain: {nodes}VXMESH_SIM_SEED={seed} cargo test --release --test simulation -- replay"
                        ));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed\n{}", failed.len(), seeds.len(), failed.join("\n"));
}

/// More by `VXMESH_SIM_SEEDS=5000`.
#[test]
fn small_clusters_stay_whole_whatever_happens() {
    all(0..number("VXMESH_SIM_SEEDS").unwrap_or(SEEDS), Size::small);
}

#[test]
fn large_clusters_stay_whole_whatever_happens() {
    all(0..2, |_| trouble(32, 20, 1));
    if !cfg!(debug_assertions) {
        all(0..1, |_| trouble(100, 20, 1));
    }
}

/// Runs the seed of `VXMESH_SIM_SEED`, or some seed, twice: byte by byte the same
/// must happen.
#[test]
fn replay() {
    let seed = number("VXMESH_SIM_SEED").unwrap_or(7);
    let first = scenario::run(seed, size_of(seed));
    println!("seed {seed}: {first:#?}");
    assert_eq!(first, scenario::run(seed, size_of(seed)));
    first.unwrap();
}

#[test]
fn other_seeds_make_other_runs() {
    let traces: Vec<u64> =
        (1..4).map(|seed| scenario::run(seed, trouble(3, 5, 1)).unwrap().trace).collect();
    assert!(traces[0] != traces[1] && traces[1] != traces[2]);
}

#[test]
fn no_healthy_node_is_declared_dead_beside_a_slow_one() {
    for seed in 0..if cfg!(debug_assertions) { 1 } else { 5 } {
        scenario::slow_member(seed, 32, Duration::from_secs(120)).unwrap();
    }
}

#[test]
fn news_and_deaths_are_known_in_time() {
    let hosts = if cfg!(debug_assertions) { 10 } else { 100 };
    let figures = measure(hosts, 1, 16).unwrap();
    print!("{}{}", Figures::HEAD, figures.row());
    assert!(seconds(&figures.known, 50) <= 1.0, "{}", figures.row());
    assert!(seconds(&figures.known, 99) <= 2.0, "{}", figures.row());
    // How long nobody happens to probe a given node has a long tail: of a hundred deaths,
    // one or two are known by all others only after 5 s.
    assert!(seconds(&figures.first, 99) <= 5.0, "{}", figures.row());
    assert!(seconds(&figures.all, 90) <= 5.0, "{}", figures.row());
    assert!(seconds(&figures.healed, 99) <= 30.0, "{}", figures.row());
}
