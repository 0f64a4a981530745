//! Which counters of one sender's key have been seen: a bit for each of the last
//! ones, in a ring of blocks (RFC 6479).

/// Counters of a block.
const BLOCK: u64 = u64::BITS as u64;

/// A window of `(BLOCKS - 1) * 64` counters: a ring needs one block more than its
/// window, since the window begins amid a block.
#[derive(Clone, Debug)]
pub struct Window<const BLOCKS: usize> {
    /// One more than the highest that was seen.
    next: u64,
    seen: [u64; BLOCKS],
}

impl<const BLOCKS: usize> Window<BLOCKS> {
    /// How far counters may overtake each other: of those at least this much below
    /// the next one, none is fresh.
    pub const SIZE: u64 = (BLOCKS as u64 - 1) * BLOCK;

    /// All below `next` seen, nothing else.
    pub fn seen_below(next: u64) -> Self {
        let mut window = Window { next, seen: [u64::MAX; BLOCKS] };
        window.seen[Self::place(next)] = bit(next) - 1;
        window
    }

    /// One more than the highest that was seen.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether a counter has not been seen. One that is too old to tell is taken for
    /// seen.
    pub fn is_fresh(&self, counter: u64) -> bool {
        // Blocks from the next counter's on, unless that is amid one, hold bits of
        // counters that are long gone.
        let begun = counter / BLOCK < self.next.div_ceil(BLOCK);
        !begun
            || self.next.saturating_sub(counter) <= Self::SIZE
                && self.seen[Self::place(counter)] & bit(counter) == 0
    }

    /// Whether a counter is fresh; it counts as seen from now on.
    pub fn mark(&mut self, counter: u64) -> bool {
        let fresh = self.is_fresh(counter);
        if fresh {
            let unbegun = self.next.div_ceil(BLOCK)..=counter / BLOCK;
            unbegun.take(BLOCKS).for_each(|block| self.seen[Self::place(block * BLOCK)] = 0);
            self.next = self.next.max(counter.saturating_add(1));
            self.seen[Self::place(counter)] |= bit(counter);
        }
        fresh
    }

    /// The block of a counter.
    fn place(counter: u64) -> usize {
        (counter / BLOCK % BLOCKS as u64) as usize
    }
}

/// The bit of a counter in its block.
fn bit(counter: u64) -> u64 {
    1 << (counter % BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn follow<const BLOCKS: usize>(first: u64, steps: &[(bool, u64)]) -> Result<(), TestCaseError> {
        let (mut window, mut seen) = (Window::<BLOCKS>::seen_below(first), BTreeSet::new());
        for (forward, step) in steps {
            let next = window.next();
            let counter =
                if *forward { next.saturating_add(*step) } else { next - step.min(&next) };
            let is_new = counter >= first && !seen.contains(&counter);
            let fresh =
                is_new && u128::from(counter) + u128::from(Window::<BLOCKS>::SIZE) >= next.into();
            prop_assert_eq!(window.is_fresh(counter), fresh, "{} at {}", counter, next);
            prop_assert_eq!(window.mark(counter), fresh);
            prop_assert!(!window.is_fresh(counter));
            prop_assert_eq!(
                window.next(),
                if fresh { next.max(counter.saturating_add(1)) } else { next }
            );
            seen.insert(counter);
        }
        Ok(())
    }

    proptest! {
        /// Against a set of all that was seen, from any counter on, up to the last one.
        #[test]
        fn like_a_set(
            first in prop_oneof![0..300u64, any::<u64>(), u64::MAX - 300..=u64::MAX],
            steps in prop::collection::vec((any::<bool>(), 0..300u64), 1..200),
        ) {
            follow::<2>(first, &steps)?;
            follow::<3>(first, &steps)?;
            follow::<17>(first, &steps)?;
        }
    }

    #[test]
    fn what_is_asked_is_not_marked() {
        let mut window = Window::<3>::seen_below(0);
        for counter in [0, 127, 128, u64::MAX] {
            assert!(window.is_fresh(counter) && window.is_fresh(counter), "{counter}");
            assert!(window.mark(counter) && !window.mark(counter), "{counter}");
        }
        assert!(!window.is_fresh(129));
    }

    #[test]
    fn a_long_way_forward_leaves_no_old_bits() {
        let mut window = Window::<3>::seen_below(0);
        for counter in 0..192 {
            assert!(window.mark(counter));
        }
        assert!(window.mark(1_000));
        for counter in 1_001 - Window::<3>::SIZE..1_000 {
            assert!(window.mark(counter), "{counter}");
        }
    }
}
