//! Ranges that one host owns and allocates from.
//!
//! No number of a space is ever owned by two hosts, whatever gets lost, is
//! late, comes twice or in another order. That rests on four rules:
//!
//! 1. Each host alone writes its [`Holding`], and stores a change before anyone
//!    sees it. With what it takes it stores the entry that it took it from.
//! 2. What is given away leaves `ranges` at once ([`Holding::grant`]), and the
//!    taker has it when it has seen the giver's entry ([`Holding::take`]). Gifts
//!    are numbered, so that none is taken twice.
//! 3. A node's ranges go to another only after all other members have promised
//!    that one to take nothing from the node and to give it nothing any more,
//!    and told it their own holdings and the newest that they know of the node's
//!    ([`Holding::inherit`]). Nobody promises two at a time, unless the one is
//!    among those that the other removes. Promises survive a restart.
//! 4. A host allocates from its own `ranges` only, and gives away nothing used.
//!
//! Nor is a number lost, as long as a holding travels together with the entries
//! that its author had when it wrote it. Where it travels alone, a giver that has
//! settled and a taker that nobody else has heard of can die at once, and what
//! went between them is no one's from then on.

mod inherit;
#[cfg(test)]
mod model;
mod ranges;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::NodeId;
pub use ranges::{Range, Ranges};

/// The most blocks that are given away at once.
const MAX_GIFT: u128 = 256;
/// Ranges and gifts beyond which nothing is given or taken any more: well below
/// [`Ranges::MAX`], because who inherits has the ranges of two.
const MAX_SCATTERED: usize = Ranges::MAX / 4;
/// Stands in `taken` for "everything, by inheritance". No gift has this number.
const INHERITED: u64 = u64::MAX;

/// What a host owns of one space, gives away, and has taken.
///
/// Its owner alone writes it; others read it. What is given away leaves
/// `ranges` at once and stands in `given` until the taker's own entry shows that
/// it has been taken, so that nothing is lost with a message and nothing is
/// owned twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// What it owns.
    pub ranges: Ranges,
    /// What it has given away and has not yet seen taken.
    pub given: Vec<Given>,
    /// The number of its last gift.
    pub last_gift: u64,
    /// The number of the last gift that it took, by giver; `u64::MAX` if it has
    /// inherited all that the giver had.
    pub taken: BTreeMap<NodeId, u64>,
}

/// A range on its way to another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Counts up from 1 for each giver and space.
    pub number: u64,
    /// Whose it is now.
    pub to: NodeId,
    /// What it is.
    pub range: Range,
}

/// What a host asks another for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Want {
    /// Exactly this range.
    Exactly(Range),
    /// Some free part of this range, in blocks of 2^`align` numbers that begin at
    /// a multiple of their size. How many blocks is the giver's choice.
    Within(Range, u8),
}

/// How much of something a host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Numbers that it owns.
    pub owned: u128,
    /// Those of them that are not used.
    pub free: u128,
    /// Numbers that it has given away and not yet seen taken.
    pub leaving: u128,
}

impl Holding {
    /// What the host that creates a space has of it: all.
    pub fn whole(range: Range) -> Holding {
        Holding { ranges: range.into(), ..Holding::default() }
    }

    /// Gives a part that is owned and not used to another host, and says which.
    ///
    /// `used` has all numbers of the space that are in use or reserved. A gift
    /// that the same host has not been seen to take is named again if it is what
    /// that host wants: its answer may have got lost. Of [`Want::Within`] at most
    /// an eighth is given, and 256 blocks; where possible not the lowest that are
    /// free, so that the giver goes on allocating in order.
    ///
    /// `None` if nothing fits, or if what the host has is too scattered already
    /// (1024 ranges, or as many gifts under way).
    pub fn grant(&mut self, to: NodeId, want: Want, used: &Ranges) -> Option<Range> {
        if let Some(again) = self.given.iter().find(|g| g.to == to && want.is_met_by(g.range)) {
            return Some(again.range);
        }
        if self.given.len() >= MAX_SCATTERED || self.ranges.len() >= MAX_SCATTERED {
            return None;
        }
        let number = self.last_gift.checked_add(1).filter(|n| *n != INHERITED)?;
        let range = want.choose(&self.free(used))?;
        self.ranges.remove(range);
        self.last_gift = number;
        self.given.push(Given { number, to, range });
        Some(range)
    }

    /// Takes what `giver` gives to `me` according to its holding, `theirs`, old
    /// or new. True if anything was taken.
    pub fn take(&mut self, me: NodeId, giver: NodeId, theirs: &Holding) -> bool {
        let taken = self.taken.get(&giver).copied().unwrap_or(0);
        let new = |g: &&Given| g.to == me && g.number > taken && g.number != INHERITED;
        let mut gifts: Vec<&Given> = theirs.given.iter().filter(new).collect();
        gifts.sort_by_key(|g| g.number);
        let mut any = false;
        for gift in gifts {
            if self.ranges.len() >= MAX_SCATTERED {
                break;
            }
            self.ranges.add(gift.range);
            self.taken.insert(giver, gift.number);
            any = true;
        }
        any
    }

    /// Forgets gifts of `me` that need not be told of any more: those that
    /// `taker` has taken according to its holding, `theirs`, old or new, and
    /// those to nodes that it has inherited from. True if there were any.
    pub fn settle(&mut self, taker: NodeId, theirs: &Holding, me: NodeId) -> bool {
        let before = self.given.len();
        self.given.retain(|gift| {
            let taken = gift.to == taker && theirs.has_taken(me, gift);
            !taken && !theirs.has_inherited(gift.to)
        });
        self.given.len() != before
    }

    /// What is owned and not in `used`.
    pub fn free(&self, used: &Ranges) -> Ranges {
        self.ranges.subtract(used)
    }

    /// How much of `part` there is.
    pub fn capacity(&self, part: Range, used: &Ranges) -> Capacity {
        let part = Ranges::from(part);
        let leaving: Ranges = self.given.iter().map(|g| g.range).collect();
        Capacity {
            owned: self.ranges.intersect(&part).count(),
            free: self.free(used).intersect(&part).count(),
            leaving: leaving.intersect(&part).count(),
        }
    }

    fn has_taken(&self, giver: NodeId, gift: &Given) -> bool {
        self.taken.get(&giver).is_some_and(|last| gift.number <= *last)
    }

    /// Whether all that `node` had is this one's.
    pub fn has_inherited(&self, node: NodeId) -> bool {
        self.taken.get(&node) == Some(&INHERITED)
    }
}

impl Want {
    fn is_met_by(&self, gift: Range) -> bool {
        match *self {
            Want::Exactly(range) => gift.covers(range),
            Want::Within(range, align) => {
                let size = 1u128.checked_shl(align.into());
                range.covers(gift) && size.is_some_and(|size| gift.blocks(size) > 0)
            }
        }
    }

    /// The part of `free` that meets it.
    fn choose(&self, free: &Ranges) -> Option<Range> {
        let (range, align) = match *self {
            Want::Exactly(range) => return free.covers(range).then_some(range),
            Want::Within(range, align) => (range, align),
        };
        let block = 1u128.checked_shl(align.into())?;
        let free = free.intersect(&range.into());
        let mut blocks = MAX_GIFT;
        while blocks > 1 && blocks > range.blocks(block) / 8 {
            blocks /= 2;
        }
        // Two halves of the only stretch of some size are two stretches of the
        // next: only of a single block is there no second.
        loop {
            let mut stretches = free.iter_blocks(block.checked_mul(blocks)?);
            let first = stretches.next();
            match stretches.next() {
                Some(second) => return Some(second),
                None if blocks == 1 => return first,
                None => blocks /= 2,
            }
        }
    }
}
