use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{RETIRED, Replay, SENDERS, SESSIONS, WINDOW};
use crate::core::cluster::entry::NodeId;

const NODE: NodeId = NodeId([1; 32]);

fn node(n: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

fn start(n: usize) -> [u8; 16] {
    (n as u128).to_be_bytes()
}

#[test]
fn what_is_too_old_is_refused_and_the_window_is_as_long_as_it_says() {
    let mut replay = Replay::default();
    for top in [WINDOW, 5 * WINDOW + 13, 1 << 40, u64::MAX - 1] {
        assert!(replay.is_fresh(NODE, [0; 16], top));
        assert!(!replay.is_fresh(NODE, [0; 16], top));
        let oldest = top + 1 - WINDOW;
        assert!(!replay.is_fresh(NODE, [0; 16], oldest - 1));
        assert!(replay.is_fresh(NODE, [0; 16], oldest));
        assert!(!replay.is_fresh(NODE, [0; 16], oldest));
    }
    assert!(replay.is_fresh(NODE, [0; 16], u64::MAX));
    assert!(!replay.is_fresh(NODE, [0; 16], u64::MAX));
}

#[test]
fn a_restart_opens_a_session_and_no_old_one_comes_back() {
    let mut replay = Replay::default();
    for n in 0..SESSIONS + RETIRED {
        for counter in [0, 1, 5] {
            assert!(replay.is_fresh(NODE, start(n), counter));
        }
    }
    for n in 0..SESSIONS + RETIRED {
        for counter in [0, 1, 5] {
            assert!(!replay.is_fresh(NODE, start(n), counter), "{n} {counter}");
        }
    }
}

#[test]
fn datagrams_that_were_held_back_lock_nobody_out() {
    let mut replay = Replay::default();
    assert!(replay.is_fresh(NODE, start(0), 3));
    for held_back in 1..=RETIRED {
        assert!(replay.is_fresh(NODE, start(held_back), 0));
    }
    // The session was retired: it goes on, from where it was.
    assert!(!replay.is_fresh(NODE, start(0), 2));
    assert!(!replay.is_fresh(NODE, start(0), 3));
    assert!(replay.is_fresh(NODE, start(0), 5));
    assert!(replay.is_fresh(NODE, start(0), 4));
    assert!(!replay.is_fresh(NODE, start(0), 4));
}

#[test]
fn senders_do_not_disturb_each_other_and_are_bounded() {
    let mut replay = Replay::default();
    for n in 0..SENDERS {
        assert!(replay.is_fresh(node(n), [0; 16], 0));
    }
    for n in 0..SENDERS {
        assert!(!replay.is_fresh(node(n), [0; 16], 0));
    }
    assert!(replay.is_fresh(node(SENDERS), [0; 16], 0));
    assert!(!replay.is_fresh(node(1), [0; 16], 0));
    // The one that was heard first had to go.
    assert!(replay.is_fresh(node(0), [0; 16], 0));
    assert_eq!(replay.senders.len(), SENDERS);
    assert_eq!(replay.order.len(), SENDERS);
}

proptest! {
    /// Against a set of all that was seen: never twice, and within the window
    /// everything once.
    #[test]
    fn like_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..2_000), 1..400)) {
        let (mut replay, mut seen, mut top) = (Replay::default(), BTreeSet::new(), 0u64);
        for (forward, step) in steps {
            let counter = if forward { top + step } else { top.saturating_sub(step) };
            let fresh = replay.is_fresh(NODE, [3; 16], counter);
            if counter + WINDOW > top {
                prop_assert_eq!(fresh, !seen.contains(&counter));
            } else {
                prop_assert!(!fresh);
            }
            seen.insert(counter);
            top = top.max(counter);
        }
    }
}
