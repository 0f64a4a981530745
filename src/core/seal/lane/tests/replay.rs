//! Datagrams that come again, late, or in another order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const REPLAY: Result<Content, Reason> = Err(Reason::SealedReplay);

#[test]
fn what_comes_again_is_refused() {
    for mut ends in every_ends() {
        let datagrams: Vec<_> = (0..100u8).map(|n| ends.seal(&[n])).collect();
        for (n, datagram) in datagrams.iter().enumerate() {
            assert_eq!(ends.open(datagram), frame(&[n as u8]), "{} {n}", ends.what);
            for seen in &datagrams[..=n] {
                assert_eq!(ends.open(seen), REPLAY, "{} {n}", ends.what);
            }
        }
        assert_eq!(ends.receiver.opened(), 100);
    }
}

#[test]
fn the_window_is_as_long_as_it_says() {
    const { assert!(WINDOW >= 2_048) }
    for mut ends in every_ends() {
        for top in [WINDOW, 5 * WINDOW + 13, 1 << 27, (1 << 28) - 1] {
            let oldest = top + 1 - WINDOW;
            for counter in [top, oldest, top - 1, oldest + 1] {
                let datagram = ends.seal_as(counter, b"frame");
                assert_eq!(ends.open(&datagram), frame(b"frame"), "{} {counter}", ends.what);
                assert_eq!(ends.open(&datagram), REPLAY, "{} {counter}", ends.what);
            }
            for counter in [oldest - 1, oldest / 2, 0] {
                let datagram = ends.seal_as(counter, b"frame");
                assert_eq!(ends.open(&datagram), REPLAY, "{} {counter}", ends.what);
            }
        }
    }
}

/// All of a window, backwards, then again, each once: none is lost.
#[test]
fn any_order_within_the_window_is_good() {
    for mut ends in every_ends() {
        let mut datagrams: Vec<_> = (0..WINDOW).map(|_| ends.seal(b"f")).collect();
        datagrams.reverse();
        for datagram in &datagrams {
            assert_eq!(ends.open(datagram), frame(b"f"), "{}", ends.what);
        }
        for datagram in &datagrams {
            assert_eq!(ends.open(datagram), REPLAY, "{}", ends.what);
        }
        let next = ends.seal(b"next");
        assert_eq!(ends.open(&next), frame(b"next"), "{}", ends.what);
        assert_eq!(ends.receiver.opened(), WINDOW + 1);
    }
}

proptest! {
    /// Against a set of all that came: within the window each once, beyond it none.
    #[test]
    fn like_a_set(steps in prop::collection::vec((any::<bool>(), 0..WINDOW * 3 / 2), 1..60)) {
        for mut ends in every_ends() {
            let (mut seen, mut top) = (BTreeSet::new(), 0);
            for (forward, step) in &steps {
                let counter = if *forward { top + step } else { top.saturating_sub(*step) };
                let fresh = !seen.contains(&counter) && counter + WINDOW > top;
                let datagram = ends.seal_as(counter, b"frame");
                prop_assert_eq!(ends.open(&datagram), if fresh { frame(b"frame") } else { REPLAY });
                seen.insert(counter);
                top = top.max(counter);
            }
        }
    }
}
