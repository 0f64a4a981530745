//! What becomes of the ranges of nodes that are removed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Given, Holding, INHERITED, Ranges};
use crate::core::cluster::entry::NodeId;

impl Holding {
    /// Takes all that `dead` nodes had and nobody else has: their ranges, what
    /// they gave and nobody took, and what others gave them and they did not
    /// take. Nodes that somebody has inherited from already are left out. True
    /// if anything changed.
    ///
    /// `all` has what the other members answered when they made the promise
    /// that the [module](super) speaks of, and for each of `dead` the newest
    /// that any of them knew. Givers need not do anything: they
    /// [settle](Holding::settle) when they see the heir's entry. To be stored in
    /// one step with the removal of the nodes.
    ///
    /// If it makes more than [`Ranges::MAX`] ranges, the smallest are given up.
    pub fn inherit(
        &mut self,
        me: NodeId,
        dead: &[NodeId],
        all: &BTreeMap<NodeId, Holding>,
    ) -> bool {
        let estate = Estate::new(self, me, dead, all);
        let (ranges, concerned) = (estate.ranges(), estate.concerned());
        for node in &concerned {
            // Gifts to whom a dead node inherited from can still stand
            // somewhere; that node's entry will not be there to settle them.
            let inherited = all.get(node).into_iter().flat_map(|h| &h.taken);
            self.taken.extend(inherited.filter(|(_, last)| **last == INHERITED));
            self.taken.insert(*node, INHERITED);
        }
        self.given.retain(|gift| self.taken.get(&gift.to) != Some(&INHERITED));
        self.ranges = self.ranges.union(&ranges).largest(Ranges::MAX);
        !concerned.is_empty()
    }
}

/// Everybody's holdings at the time of a removal.
struct Estate<'a> {
    /// Of all but those that somebody has inherited from.
    holdings: BTreeMap<NodeId, &'a Holding>,
    dead: BTreeSet<NodeId>,
    /// Those that somebody has inherited from.
    gone: BTreeSet<NodeId>,
}

impl<'a> Estate<'a> {
    fn new(
        mine: &'a Holding,
        me: NodeId,
        dead: &[NodeId],
        all: &'a BTreeMap<NodeId, Holding>,
    ) -> Estate<'a> {
        let mut holdings: BTreeMap<NodeId, &Holding> = all.iter().map(|(n, h)| (*n, h)).collect();
        // Newer than what may stand there.
        holdings.insert(me, mine);
        let inherited = |h: &&'a Holding| h.taken.iter().filter(|(_, n)| **n == INHERITED);
        let gone: BTreeSet<NodeId> =
            holdings.values().flat_map(inherited).map(|(node, _)| *node).collect();
        holdings.retain(|node, _| !gone.contains(node));
        let dead = dead.iter().filter(|d| **d != me && !gone.contains(d)).copied().collect();
        Estate { holdings, dead, gone }
    }

    /// The dead that have anything to do with the space.
    fn concerned(&self) -> BTreeSet<NodeId> {
        let known = self.holdings.keys().copied();
        let given = self.gifts().map(|(_, gift)| gift.to);
        known.chain(given).filter(|node| self.dead.contains(node)).collect()
    }

    fn ranges(&self) -> Ranges {
        let (mut claimed, mut owned, mut promised) =
            (Ranges::default(), Ranges::default(), Ranges::default());
        let mut certain = Ranges::default();
        for (node, holding) in &self.holdings {
            let whose = if self.dead.contains(node) { &mut claimed } else { &mut owned };
            holding.ranges.iter().for_each(|r| whose.add(r));
            if !self.dead.contains(node) && !self.is_old(*node, holding) {
                holding.ranges.iter().for_each(|r| certain.add(r));
            }
        }
        for (giver, gift) in self.gifts().filter(|(giver, gift)| !self.is_taken(*giver, gift)) {
            if self.dead.contains(&giver) {
                claimed.add(gift.range);
            } else if self.dead.contains(&gift.to) {
                promised.add(gift.range);
            } else {
                owned.add(gift.range);
            }
        }
        // By the rules nothing is both claimed and owned. If a dead node broke
        // them, its word counts less. What was promised to the dead may be owned: by one
        // of the living that answered before it gave to another, which then gave to the
        // dead; or since one of the dead took it, of which nobody has heard, and gave it
        // on.
        claimed.subtract(&owned).union(&promised.subtract(&certain))
    }

    /// Whether what is known of a node is older than gifts of its that others took.
    fn is_old(&self, node: NodeId, holding: &Holding) -> bool {
        let taken = self.holdings.values().filter_map(|h| h.taken.get(&node));
        taken.filter(|last| **last != INHERITED).any(|last| *last > holding.last_gift)
    }

    fn gifts(&self) -> impl Iterator<Item = (NodeId, &'a Given)> {
        self.holdings.iter().flat_map(|(giver, h)| h.given.iter().map(|gift| (*giver, gift)))
    }

    fn is_taken(&self, giver: NodeId, gift: &Given) -> bool {
        let taker = self.holdings.get(&gift.to);
        self.gone.contains(&gift.to) || taker.is_some_and(|t| t.has_taken(giver, gift))
    }
}
