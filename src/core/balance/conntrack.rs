//! All flows of a worker: found by the packets of either direction, bounded, and
//! fair among the containers of the host.
//!
//! Flows lie in chunks, so that one more never moves others. Both directions of a
//! flow are in an index of many small tables, so that no table's growth keeps the
//! worker long. A million flows take 155 MB.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::flow::{Flow, Phase, Tuple};
use super::packet::Segment;
use super::schedule::mix;
use super::slab::{FlowId, Slab};
use crate::core::Now;
use crate::core::map::{self, Map};
use crate::core::plan::{PortId, Station};
use crate::wire::vxlan::Vni;

/// Tables of the index.
const SHARDS: usize = 256;

/// A container's flows without an answer are among its last so many: those of a
/// flood push out each other.
const HALF_OPEN: usize = 16_384;

/// Flows that are looked at for one that is worth least.
const SAMPLE: usize = 48;

/// From whom a packet of a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Backend,
}

/// What became of flows since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Flows that there are.
    pub active: u64,
    /// Flows that began.
    pub made: u64,
    /// Flows whose time was up.
    pub expired: u64,
    /// Flows that made room for others before that, closed ones not counted.
    pub evicted: u64,
    /// Flows that were broken off because their backend is gone.
    pub reset: u64,
}

/// There is no room that the client has a right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What a container holds.
#[derive(Default)]
struct Holder {
    flows: usize,
    /// Its last flows that began, oldest first, with their numbers.
    fresh: VecDeque<(FlowId, u32)>,
}

pub(super) struct Conntrack {
    limit: usize,
    hasher: FixedState,
    flows: Slab,
    /// Twice the flow's id, plus 1 for what the backend sends.
    index: Vec<HashTable<u32>>,
    /// By port number.
    holders: Vec<Holder>,
    /// Ports that hold flows.
    sharers: usize,
    /// Flows that are not closed.
    live: Map<(Vni, IpAddr), u32>,
    /// How many flows were to begin ever; also where samples are taken.
    count: u32,
    pub(super) stats: Stats,
}

impl Conntrack {
    pub(super) fn new(seed: u64, limit: usize) -> Conntrack {
        Conntrack {
            limit,
            hasher: FixedState::with_seed(seed),
            flows: Slab::default(),
            index: (0..SHARDS).map(|_| HashTable::new()).collect(),
            holders: Vec::new(),
            sharers: 0,
            live: map::map(seed),
            count: 0,
            stats: Stats::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// The flow that a packet belongs to, and who sent the packet.
    pub(super) fn find(&self, tuple: &Tuple) -> Option<(FlowId, Sender)> {
        let hash = self.hasher.hash_one(tuple);
        let shard = &self.index[shard_of(hash)];
        let entry = *shard.find(hash, |entry| tuple_of(&self.flows, *entry) == Some(*tuple))?;
        Some((entry >> 1, if entry & 1 == 0 { Sender::Client } else { Sender::Backend }))
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(id)
    }

    /// How many flows to a backend are not closed.
    pub(super) fn live(&self, vni: Vni, backend: IpAddr) -> u32 {
        self.live.get(&(vni, backend)).copied().unwrap_or(0)
    }

    /// The flow from `at` on, or the next; `None` at the end.
    pub(super) fn next_from(&self, at: FlowId, end: FlowId) -> Option<FlowId> {
        (at..end).find(|id| self.flows.get(*id).is_some())
    }

    /// Ids are below this.
    pub(super) fn end(&self) -> FlowId {
        self.flows.end()
    }

    /// Ports that hold flows.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortId> {
        (0..).zip(&self.holders).filter(|(_, h)| h.flows > 0).map(|(at, _)| PortId(at))
    }

    /// Takes note of a packet of a flow.
    pub(super) fn see(&mut self, id: FlowId, sender: Sender, segment: Option<&Segment>, now: Now) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let closed = flow.phase == Phase::Closed;
        match sender {
            Sender::Client => flow.sent_by_client(segment, now),
            Sender::Backend => flow.sent_by_backend(segment, now),
        }
        if !closed && flow.phase == Phase::Closed {
            let key = (flow.vni, flow.backend());
            self.leave(key);
        }
    }

    /// The flow's backend was found to be good with this version of its virtual IP,
    /// and the client to be at this port.
    pub(super) fn confirm(
        &mut self,
        id: FlowId,
        version: u64,
        station: Option<Station>,
        port: Option<PortId>,
    ) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.version = version;
        flow.station = station;
        if flow.port.is_none()
            && let Some(port) = port
        {
            flow.port = Some(port);
            self.hold(port);
        }
    }

    /// Takes a flow whose tuples are free. If there are too many, one that is worth
    /// less makes room.
    pub(super) fn insert(&mut self, mut flow: Flow, now: Now) -> Result<FlowId, Full> {
        self.count = self.count.wrapping_add(1);
        if self.len() >= self.limit {
            let victim = self.victim(flow.port, now).ok_or(Full)?;
            self.evict(victim, now);
        }
        flow.number = self.count;
        let (number, port) = (flow.number, flow.port);
        let (forward, reply) = (flow.forward(), flow.reply());
        if flow.phase != Phase::Closed {
            *self.live.entry((flow.vni, flow.backend())).or_default() += 1;
        }
        let half_open = flow.is_half_open();
        let id = self.flows.insert(flow);
        self.enter(&forward, id << 1);
        self.enter(&reply, id << 1 | 1);
        self.stats.made += 1;
        if let Some(port) = port {
            self.hold(port);
            if half_open {
                self.note_fresh(port, (id, number), now);
            }
        }
        Ok(id)
    }

    fn enter(&mut self, tuple: &Tuple, entry: u32) {
        let (flows, hasher) = (&self.flows, &self.hasher);
        let hash = hasher.hash_one(tuple);
        // Every entry is of a flow that is there; the 0 is never seen.
        let rehash = |entry: &u32| tuple_of(flows, *entry).map_or(0, |t| hasher.hash_one(t));
        self.index[shard_of(hash)].insert_unique(hash, entry, rehash);
    }

    pub(super) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let flow = self.flows.get(id)?;
        for (tuple, entry) in [(flow.forward(), id << 1), (flow.reply(), id << 1 | 1)] {
            let hash = self.hasher.hash_one(tuple);
            let shard = &mut self.index[shard_of(hash)];
            if let Ok(found) = shard.find_entry(hash, |e| *e == entry) {
                found.remove();
            }
            // Memory of a flood is given back.
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                let (flows, hasher) = (&self.flows, &self.hasher);
                let half = shard.capacity() / 2;
                shard.shrink_to(half, |e| tuple_of(flows, *e).map_or(0, |t| hasher.hash_one(t)));
            }
        }
        let flow = self.flows.remove(id)?;
        if flow.phase != Phase::Closed {
            self.leave((flow.vni, flow.backend()));
        }
        if let Some(holder) = flow.port.and_then(|port| self.holders.get_mut(port.0 as usize)) {
            holder.flows -= 1;
            if holder.flows == 0 {
                *holder = Holder::default();
                self.sharers -= 1;
            }
        }
        Some(flow)
    }

    fn leave(&mut self, key: (Vni, IpAddr)) {
        if let Some(live) = self.live.get_mut(&key) {
            *live -= 1;
            if *live == 0 {
                self.live.remove(&key);
            }
        }
    }

    fn hold(&mut self, port: PortId) {
        let at = port.0 as usize;
        if self.holders.len() <= at {
            self.holders.resize_with(at + 1, Holder::default);
        }
        let holder = &mut self.holders[at];
        self.sharers += usize::from(holder.flows == 0);
        holder.flows += 1;
    }

    fn note_fresh(&mut self, port: PortId, fresh: (FlowId, u32), now: Now) {
        let Some(holder) = self.holders.get_mut(port.0 as usize) else { return };
        holder.fresh.push_back(fresh);
        let bound = HALF_OPEN.min(self.limit / 2);
        if holder.fresh.len() <= bound {
            return;
        }
        let Some((id, number)) = holder.fresh.pop_front() else { return };
        let same = |flow: &Flow| flow.number == number && flow.is_half_open();
        if self.flows.get(id).is_some_and(same) {
            self.evict(id, now);
        }
    }

    fn evict(&mut self, id: FlowId, now: Now) {
        let Some(flow) = self.remove(id) else { return };
        if flow.phase == Phase::Closed || flow.is_expired(now) {
            self.stats.expired += 1;
        } else {
            self.stats.evicted += 1;
        }
    }

    /// Of some flows the one that is worth least: closed, then half-open, then of a
    /// container with more than its share, then the oldest. Who has more than its
    /// share itself gets no room from those that have not.
    fn victim(&self, port: Option<PortId>, now: Now) -> Option<FlowId> {
        let end = u64::from(self.flows.end());
        let share = self.limit / self.sharers.max(1);
        let greedy = |port: Option<PortId>| {
            let holder = port.and_then(|port| self.holders.get(port.0 as usize));
            holder.is_some_and(|holder| holder.flows > share)
        };
        let rank = |flow: &Flow| match flow.phase {
            _ if flow.is_expired(now) => 0,
            Phase::Closed => 0,
            _ if greedy(flow.port) && flow.is_half_open() => 1,
            Phase::Opening | Phase::Answered => 2,
            _ if greedy(flow.port) => 3,
            Phase::Open => 4,
        };
        let worst = if greedy(port) { 3 } else { 4 };
        let start = mix(self.count.into());
        (0..SAMPLE as u64)
            .map(|n| (mix(start ^ n) % end.max(1)) as FlowId)
            .filter_map(|id| Some((id, self.flows.get(id)?)))
            .map(|(id, flow)| ((rank(flow), u32::MAX - flow.age(now)), id))
            .min()
            .filter(|((rank, _), _)| *rank <= worst)
            .map(|(_, id)| id)
    }

    /// Bytes that it has allocated for flows and their index.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let index: usize = self.index.iter().map(HashTable::allocation_size).sum();
        index + self.flows.bytes()
    }
}

fn shard_of(hash: u64) -> usize {
    // Bits that the tables themselves look at last.
    (hash >> 48) as usize % SHARDS
}

fn tuple_of(flows: &Slab, entry: u32) -> Option<Tuple> {
    let flow = flows.get(entry >> 1)?;
    Some(if entry & 1 == 0 { flow.forward() } else { flow.reply() })
}
