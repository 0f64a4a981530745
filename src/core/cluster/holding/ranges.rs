//! Sets of numbers, as ranges in order.

use std::cmp::Reverse;
use std::fmt;
use std::iter;

use ipnet::IpNet;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::core::ipam;

/// Numbers from `first` to `last`, both in it: VNIs, or addresses as numbers.
/// One whose `last` is below its `first` has none, and cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds")]
pub struct Range {
    /// The lowest.
    pub first: u128,
    /// The highest.
    pub last: u128,
}

/// A [`Range`] that has not been looked at yet.
#[derive(Deserialize)]
struct Bounds {
    first: u128,
    last: u128,
}

impl TryFrom<Bounds> for Range {
    type Error = String;

    fn try_from(Bounds { first, last }: Bounds) -> Result<Range, String> {
        if first > last {
            return Err(format!("a range ends at {last}, before it begins at {first}"));
        }
        Ok(Range { first, last })
    }
}

impl Range {
    /// Whether it has all numbers of `other`, and `other` has any.
    pub fn covers(&self, other: Range) -> bool {
        self.first <= other.first && other.first <= other.last && other.last <= self.last
    }

    /// How many numbers it has; one less than there are if it has all.
    pub fn count(&self) -> u128 {
        self.last.checked_sub(self.first).map_or(0, |span| span.saturating_add(1))
    }

    /// How many whole blocks of `size` numbers it has that begin at a multiple
    /// of `size`.
    pub fn blocks(&self, size: u128) -> u128 {
        let span = self.block(self.first, size).and_then(|b| self.last.checked_sub(b.last));
        span.map_or(0, |rest| (rest / size).saturating_add(1))
    }

    /// Its first whole block of `size` numbers at or after `from`.
    fn block(&self, from: u128, size: u128) -> Option<Range> {
        let first = from.checked_next_multiple_of(size)?;
        let last = first.checked_add(size - 1)?;
        (last <= self.last).then_some(Range { first, last })
    }
}

/// All addresses of a subnet.
impl From<IpNet> for Range {
    fn from(net: IpNet) -> Range {
        Range { first: ipam::number(net.network()), last: ipam::number(net.broadcast()) }
    }
}

/// Numbers as ranges in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// How many ranges can be decoded; what has more is refused.
    pub const MAX: usize = 4096;

    /// Adds all numbers of `range`.
    pub fn add(&mut self, range: Range) {
        if range.first > range.last {
            return;
        }
        let start = self.0.partition_point(|r| r.last.saturating_add(1) < range.first);
        let end = self.0.partition_point(|r| r.first <= range.last.saturating_add(1));
        let merged = self.0[start..end].iter().fold(range, |all, r| Range {
            first: all.first.min(r.first),
            last: all.last.max(r.last),
        });
        self.0.splice(start..end, [merged]);
    }

    /// Removes all numbers of `range`.
    pub fn remove(&mut self, range: Range) {
        if range.first > range.last {
            return;
        }
        let start = self.0.partition_point(|r| r.last < range.first);
        let end = self.0.partition_point(|r| r.first <= range.last);
        let Some((low, high)) = self.0[start..end].first().zip(self.0[start..end].last()) else {
            return;
        };
        let left =
            (low.first < range.first).then(|| Range { first: low.first, last: range.first - 1 });
        let right =
            (high.last > range.last).then(|| Range { first: range.last + 1, last: high.last });
        self.0.splice(start..end, left.into_iter().chain(right));
    }

    /// The numbers that are in either.
    pub fn union(&self, other: &Ranges) -> Ranges {
        self.iter().chain(other.iter()).collect()
    }

    /// The numbers that are in both.
    pub fn intersect(&self, other: &Ranges) -> Ranges {
        let (mut a, mut b) = (self.0.as_slice(), other.0.as_slice());
        let mut both = Vec::new();
        while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
            let (first, last) = (x.first.max(y.first), x.last.min(y.last));
            if first <= last {
                both.push(Range { first, last });
            }
            if x.last < y.last {
                a = rest_a;
            } else {
                b = rest_b;
            }
        }
        Ranges(both)
    }

    /// The numbers that are in this one only.
    pub fn subtract(&self, other: &Ranges) -> Ranges {
        self.intersect(&other.complement())
    }

    fn complement(&self) -> Ranges {
        let mut gaps = Vec::new();
        let mut next = Some(0);
        for range in self.iter() {
            if let Some(first) = next
                && first < range.first
            {
                gaps.push(Range { first, last: range.first - 1 });
            }
            next = range.last.checked_add(1);
        }
        gaps.extend(next.map(|first| Range { first, last: u128::MAX }));
        Ranges(gaps)
    }

    /// Whether `number` is among them.
    pub fn contains(&self, number: u128) -> bool {
        self.covers(Range { first: number, last: number })
    }

    /// Whether all numbers of `range` are among them, and it has any.
    pub fn covers(&self, range: Range) -> bool {
        let at = self.0.partition_point(|r| r.last < range.first);
        self.0.get(at).is_some_and(|r| r.covers(range))
    }

    /// How many numbers there are, or `u128::MAX` if there are more.
    pub fn count(&self) -> u128 {
        self.blocks(1)
    }

    /// How many whole blocks of `size` numbers there are that begin at a
    /// multiple of `size`.
    pub fn blocks(&self, size: u128) -> u128 {
        self.iter().fold(0, |sum, r| sum.saturating_add(r.blocks(size)))
    }

    /// These blocks, lowest first.
    pub fn iter_blocks(&self, size: u128) -> impl Iterator<Item = Range> {
        self.iter().flat_map(move |range| {
            iter::successors(range.block(range.first, size), move |b| {
                range.block(b.last.checked_add(1)?, size)
            })
        })
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Range> {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest number.
    pub fn lowest(&self) -> Option<u128> {
        self.0.first().map(|r| r.first)
    }

    /// Its `most` longest ranges.
    pub(super) fn largest(mut self, most: usize) -> Ranges {
        self.0.sort_by_key(|r| Reverse(r.count()));
        self.0.truncate(most);
        self.0.sort();
        self
    }

    /// The longest range, the lowest of several.
    pub fn longest(&self) -> Option<Range> {
        self.0.iter().rev().copied().max_by_key(Range::count)
    }
}

impl From<Range> for Ranges {
    fn from(range: Range) -> Ranges {
        [range].into_iter().collect()
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Ranges {
        let mut all = Ranges::default();
        ranges.into_iter().for_each(|r| all.add(r));
        all
    }
}

/// Checks the order while it reads, and stops at the first that is wrong: what
/// is read comes from other hosts.
impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Ranges, D::Error> {
        from.deserialize_seq(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Ranges;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} ranges in order that neither overlap nor touch", Ranges::MAX)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ranges, A::Error> {
        let mut ranges: Vec<Range> = Vec::new();
        while let Some(range) = seq.next_element::<Range>()? {
            let apart = ranges.last().is_none_or(|r| r.last.saturating_add(1) < range.first);
            if !apart || ranges.len() == Ranges::MAX {
                return Err(de::Error::invalid_length(ranges.len() + 1, &self));
            }
            ranges.push(range);
        }
        Ok(Ranges(ranges))
    }
}
