//! Which address, VNI or subnet is next, or whom to ask for more.
//!
//! A host chooses from what it owns of a space. Where it owns nothing that is
//! free, it asks those that do, takes what they give ([`Holding::take`]) and
//! tries again. A view may be old without harm: only what is owned is chosen.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::entry::NodeId;
use super::holding::{Holding, Range, Ranges, Want};
use crate::core::ipam::{self, Pool};
use crate::core::tables::{FIRST_VNI, listed};
use crate::wire::vxlan::Vni;

/// All VNIs but 0, which is no network's.
pub const VNIS: Range = Range { first: 1, last: Vni::MAX as u128 };
/// All IPv4 addresses.
pub const IPV4: Range = Range { first: 0, last: u32::MAX as u128 };
/// All IPv6 addresses.
pub const IPV6: Range = Range { first: 0, last: u128::MAX };

/// What a host knows of one space.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The host.
    pub me: NodeId,
    /// What each member holds of the space, this one too.
    pub holdings: &'a BTreeMap<NodeId, Holding>,
    /// All numbers of the space that are used or reserved.
    pub used: &'a Ranges,
    /// The members.
    pub peers: &'a BTreeMap<NodeId, Peer>,
}

/// A member, as far as allocation is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, for people.
    pub name: String,
    /// Whether it can be asked.
    pub alive: bool,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// This, which the host owns.
    Here(T),
    /// These nodes are to be asked for this, in this order until one gives; then
    /// it is to be tried again.
    Ask(Vec<NodeId>, Want),
    /// There is none; the sentence says why and what to do.
    Exhausted(String),
}

impl<T> Found<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Here(found) => Found::Here(f(found)),
            Found::Ask(nodes, want) => Found::Ask(nodes, want),
            Found::Exhausted(why) => Found::Exhausted(why),
        }
    }
}

/// What no endpoint can get of a pool: the addresses in `taken`, of which those
/// of other pools are left out, and the [reserved](Pool::all_reserved) ones.
pub fn used_of_pool(pool: &Pool, taken: impl IntoIterator<Item = IpAddr>) -> Ranges {
    let taken = taken.into_iter().filter(|ip| pool.net.contains(ip));
    taken.chain(pool.all_reserved()).map(|ip| IpNet::from(ip).into()).collect()
}

/// What is looked for, in words.
struct Sought {
    what: String,
    place: String,
    remedy: &'static str,
}

impl View<'_> {
    /// The lowest free address of the part of a pool that addresses are chosen
    /// from; `used` is [`used_of_pool`].
    pub fn address(&self, pool: &Pool) -> Found<IpAddr> {
        let part = pool.part();
        let sought = Sought {
            what: "address".to_owned(),
            place: part.to_string(),
            remedy: "detach an endpoint, or create a network with a larger subnet",
        };
        self.lowest(&Range::from(part).into(), 0, &sought)
            .map(|range| ipam::address(range.first, part))
    }

    /// The lowest free VNI from 4096 up.
    pub fn vni(&self) -> Found<Vni> {
        let part = Range { first: FIRST_VNI.into(), last: VNIS.last };
        let sought = Sought {
            what: "VNI".to_owned(),
            place: format!("{} to {}", part.first, part.last),
            remedy: "remove a network",
        };
        self.lowest(&part.into(), 0, &sought).map(|range| {
            u32::try_from(range.first).ok().and_then(Vni::new).expect("within VNIS, as asked")
        })
    }

    /// The lowest free subnet with this prefix length in any of `pools`, which
    /// are of the space's family, that overlaps none of `routes`: what the host
    /// reaches in other ways. `used` has the subnets of all networks.
    pub fn subnet(&self, pools: &[IpNet], prefix_len: u8, routes: &[IpNet]) -> Found<IpNet> {
        let names: Vec<String> = pools.iter().map(IpNet::to_string).collect();
        let sought = Sought {
            what: format!("/{prefix_len}"),
            place: format!(
                "the default pool {} outside this host's routes",
                listed(names.iter().map(String::as_str))
            ),
            remedy: "remove a network, or give --subnet",
        };
        let ipv4 = pools.iter().any(|pool| pool.addr().is_ipv4());
        let family = |net: &&IpNet| net.addr().is_ipv4() == ipv4;
        let numbers = |nets: &[IpNet]| -> Ranges {
            nets.iter().filter(family).map(|net| Range::from(*net)).collect()
        };
        let parts = numbers(pools).subtract(&numbers(routes));
        let bits = if ipv4 { 32 } else { 128 };
        let prefix_len = prefix_len.min(bits);
        self.lowest(&parts, bits - prefix_len, &sought).map(|range| {
            let any = pools.iter().find(family).expect("it was found in one of them");
            IpNet::new(ipam::address(range.first, *any), prefix_len).expect("at most `bits`")
        })
    }

    /// Exactly these numbers, that somebody asked for as `what`: "VNI 77". Where
    /// several nodes own them, one after the other is asked for its part.
    pub fn exactly(&self, range: Range, what: &str) -> Found<Range> {
        let all = Ranges::from(range);
        if !all.intersect(self.used).is_empty() {
            return Found::Exhausted(format!("{what} is in use: choose another"));
        }
        let mine = self.holdings.get(&self.me).map(|h| &h.ranges);
        let missing = mine.map_or_else(|| all.clone(), |mine| all.subtract(mine));
        let Some(first) = missing.lowest() else { return Found::Here(range) };
        let owners: Vec<(NodeId, Ranges)> = self
            .others()
            .map(|(node, h)| (node, h.ranges.intersect(&missing)))
            .filter(|(_, part)| !part.is_empty())
            .collect();
        let nowhere = owners.iter().fold(missing, |rest, (_, part)| rest.subtract(part));
        if !nowhere.is_empty() {
            return Found::Exhausted(self.ownerless(&nowhere, what));
        }
        let away: Vec<String> = owners
            .iter()
            .filter(|(node, _)| !self.reaches(*node))
            .map(|(node, _)| self.name(*node))
            .collect();
        if !away.is_empty() {
            let names = listed(away.iter().map(String::as_str));
            return Found::Exhausted(format!(
                "{what} belongs to {names}, which cannot be reached: choose another, wait, or remove with `vxmesh node rm` what is gone for good"
            ));
        }
        let holder = owners.iter().find_map(|(node, part)| {
            let piece = part.iter().next().filter(|piece| piece.first == first)?;
            Some(Found::Ask(vec![*node], Want::Exactly(piece)))
        });
        holder.unwrap_or_else(|| Found::Exhausted(format!("{what} has no owner: choose another")))
    }

    /// Why numbers that nobody owns cannot be had.
    fn ownerless(&self, numbers: &Ranges, what: &str) -> String {
        let gifts = self.holdings.iter().flat_map(|(from, h)| h.given.iter().map(|g| (*from, g)));
        let under_way = gifts
            .filter(|(_, gift)| !numbers.intersect(&gift.range.into()).is_empty())
            .map(|(from, gift)| (self.name(from), self.name(gift.to)))
            .next();
        match under_way {
            Some((from, to)) => format!(
                "{what} is on its way from {from} to {to}: try again in a moment, or choose another"
            ),
            None => format!(
                "no node that this host knows of owns {what}: try again when it has heard from the others, or choose another"
            ),
        }
    }

    /// The lowest free block of 2^`align` numbers in `parts`.
    fn lowest(&self, parts: &Ranges, align: u8, sought: &Sought) -> Found<Range> {
        let Some(size) = 1u128.checked_shl(align.into()) else {
            return Found::Exhausted(self.refusal(parts, u128::MAX, sought));
        };
        let mine = self.holdings.get(&self.me);
        if let Some(block) = mine.and_then(|h| self.free(h, parts).iter_blocks(size).next()) {
            return Found::Here(block);
        }
        let mut longest_first: Vec<Range> = parts.iter().collect();
        longest_first.sort_by_key(|part| Reverse(part.count()));
        longest_first
            .into_iter()
            .map(|part| (self.holders(part, size), part))
            .find(|(holders, _)| !holders.is_empty())
            .map_or_else(
                || Found::Exhausted(self.refusal(parts, size, sought)),
                |(holders, part)| Found::Ask(holders, Want::Within(part, align)),
            )
    }

    /// Who can be asked for free blocks of `part`, who has most of them first.
    fn holders(&self, part: Range, size: u128) -> Vec<NodeId> {
        let mut holders: Vec<(Reverse<u128>, NodeId)> = self
            .others()
            .filter(|(node, _)| self.reaches(*node))
            .map(|(node, h)| (Reverse(self.free(h, &part.into()).blocks(size)), node))
            .filter(|(Reverse(blocks), _)| *blocks > 0)
            .collect();
        holders.sort_unstable();
        holders.into_iter().map(|(_, node)| node).collect()
    }

    /// Why no block is to be had: who holds them, and who of these is away.
    fn refusal(&self, parts: &Ranges, size: u128, sought: &Sought) -> String {
        let (mut total, mut held, mut away) = (0u128, Vec::new(), Vec::new());
        for (node, holding) in self.holdings {
            let owned = holding.ranges.intersect(parts).blocks(size);
            let free = self.free(holding, parts).blocks(size);
            total = total.saturating_add(owned);
            let name = self.name(*node);
            if free > 0 && !self.reaches(*node) {
                held.push(format!(
                    "{name} {owned} ({free} of them free, but it cannot be reached)"
                ));
                away.push(name);
            } else if owned > 0 {
                held.push(format!("{name} {owned}"));
            }
        }
        let Sought { what, place, remedy } = sought;
        let by = if held.is_empty() { "" } else { ", by " };
        let held = listed(held.iter().map(String::as_str));
        let mut why = format!("no {what} is free in {place}: {total} are held{by}{held}; {remedy}");
        if !away.is_empty() {
            let away = listed(away.iter().map(String::as_str));
            why += &format!(
                ", or wait for {away}, or remove with `vxmesh node rm` what is gone for good"
            );
        }
        why
    }

    fn free(&self, holding: &Holding, parts: &Ranges) -> Ranges {
        holding.ranges.intersect(parts).subtract(self.used)
    }

    fn others(&self) -> impl Iterator<Item = (NodeId, &Holding)> {
        self.holdings.iter().map(|(node, h)| (*node, h)).filter(|(node, _)| *node != self.me)
    }

    fn reaches(&self, node: NodeId) -> bool {
        node == self.me || self.peers.get(&node).is_some_and(|peer| peer.alive)
    }

    fn name(&self, node: NodeId) -> String {
        self.peers.get(&node).map_or_else(|| format!("{node:?}"), |peer| peer.name.clone())
    }
}
