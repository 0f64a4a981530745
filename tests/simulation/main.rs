//! The cluster's production core in a simulated world.

#![allow(clippy::unwrap_used)] // a helper's failed unwrap fails the test, as it should

mod sim;

use sim::scenario::{self, Size};

#[test]
fn small_clusters() {
    for seed in 0..20 {
        let t = std::time::Instant::now();
        let size = Size::small(seed);
        let r = scenario::run(seed, size);
        println!("{seed} {} {:?} {:?}", size.hosts, t.elapsed(), r);
    }
}
