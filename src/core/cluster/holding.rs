//! Ranges that one host owns and allocates from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::NodeId;

/// Numbers from `first` to `last`, both in it: VNIs, or addresses as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The lowest.
    pub first: u128,
    /// The highest.
    pub last: u128,
}

/// Numbers as ranges in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(Vec<Range>);

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
    /// The number of the last gift that it took, by giver.
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
