//! What is learned from foreign VTEPs: which MAC is behind which, and which
//! MAC has an address. Nothing else is learned from data.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use super::neighbour::Message;
use crate::core::Now;
use crate::core::map::{self, Map};
use crate::core::plan::{Network, Plan};
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

/// How long an entry lives after it was last heard of; as a kernel bridge and
/// a kernel vxlan device have it.
const AGE: Duration = Duration::from_secs(300);

/// Entries of one network and VTEP, so that a noisy VTEP can neither use up
/// memory nor push out what was learned from others.
const LIMIT: usize = 4096;

/// A table that is full looks for expired entries no more often than this,
/// lest every refused entry cost a walk.
const SWEEP: Duration = Duration::from_secs(1);

/// All that was learned.
#[derive(Debug)]
pub(super) struct Learned {
    seed: u64,
    segments: Map<Vni, Segment>,
}

#[derive(Debug)]
struct Segment {
    stations: Table<Mac, ()>,
    neighbours: Table<IpAddr, Mac>,
}

impl Learned {
    pub(super) fn new(seed: u64) -> Learned {
        Learned { seed, segments: map::map(seed) }
    }

    /// Behind which foreign VTEP a MAC is. Ask the plan first.
    pub(super) fn station(&self, network: &Network, mac: Mac, now: Now) -> Option<IpAddr> {
        if network.foreign.is_empty() {
            return None;
        }
        let ((), vtep) = self.segments.get(&network.vni)?.stations.get(network, &mac, now)?;
        Some(vtep)
    }

    /// The MAC of a host behind a foreign VTEP. Ask the plan first.
    pub(super) fn neighbour(&self, network: &Network, ip: IpAddr, now: Now) -> Option<Mac> {
        if network.foreign.is_empty() {
            return None;
        }
        let (mac, _) = self.segments.get(&network.vni)?.neighbours.get(network, &ip, now)?;
        Some(mac)
    }

    /// Takes note of a frame from a foreign VTEP that the guard has passed.
    pub(super) fn note(
        &mut self,
        plan: &Plan,
        network: &Network,
        now: Now,
        (vtep, src): (IpAddr, Mac),
        message: Option<&Message>,
    ) {
        if !self.segments.contains_key(&network.vni) {
            self.add_segment(plan, network.vni);
        }
        let Some(segment) = self.segments.get_mut(&network.vni) else { return };
        segment.stations.put(network, src, (), vtep, now);
        // Only the router asks for addresses, and only for those of a subnet.
        let speaker = message.filter(|m| m.link == Some(src)).map(|m| m.speaker);
        if let Some(ip) = speaker.filter(|ip| network.subnet_of(*ip).is_some()) {
            segment.neighbours.put(network, ip, src, vtep, now);
        }
    }

    /// Makes room for a network, and forgets those that the plan has no more.
    fn add_segment(&mut self, plan: &Plan, vni: Vni) {
        self.segments.retain(|vni, _| plan.network(*vni).is_some_and(|n| !n.foreign.is_empty()));
        let segment =
            Segment { stations: Table::new(self.seed), neighbours: Table::new(self.seed) };
        self.segments.insert(vni, segment);
    }
}

/// Entries that age, bounded for each VTEP.
#[derive(Debug)]
struct Table<K, V> {
    entries: Map<K, Entry<V>>,
    held: BTreeMap<IpAddr, usize>,
    swept: Option<Now>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<V> {
    value: V,
    vtep: IpAddr,
    seen: Now,
}

impl<V> Entry<V> {
    fn alive(&self, network: &Network, now: Now) -> bool {
        now.saturating_sub(self.seen) < AGE && network.is_foreign(self.vtep)
    }
}

impl<K: Hash + Eq, V: Copy> Table<K, V> {
    fn new(seed: u64) -> Table<K, V> {
        Table { entries: map::map(seed), held: BTreeMap::new(), swept: None }
    }

    fn get(&self, network: &Network, key: &K, now: Now) -> Option<(V, IpAddr)> {
        let entry = self.entries.get(key).filter(|entry| entry.alive(network, now))?;
        Some((entry.value, entry.vtep))
    }

    /// Enters or refreshes; an entry of another VTEP has moved to this one.
    /// Refused when the VTEP holds too many.
    fn put(&mut self, network: &Network, key: K, value: V, vtep: IpAddr, now: Now) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.vtep == vtep) {
            *entry = Entry { value, vtep, seen: now };
            return;
        }
        if let Some(held) = self.entries.remove(&key).and_then(|e| self.held.get_mut(&e.vtep)) {
            *held -= 1;
        }
        if self.held.get(&vtep).is_none_or(|held| *held >= LIMIT) {
            self.sweep(network, now);
        }
        let held = self.held.entry(vtep).or_default();
        if *held < LIMIT {
            *held += 1;
            self.entries.insert(key, Entry { value, vtep, seen: now });
        }
    }

    /// Forgets what has expired, and VTEPs that the plan has no more.
    fn sweep(&mut self, network: &Network, now: Now) {
        if self.swept.is_some_and(|swept| now.saturating_sub(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.entries.retain(|_, entry| entry.alive(network, now));
        self.held.clear();
        for entry in self.entries.values() {
            *self.held.entry(entry.vtep).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::plan::{Spec, Subnet};
    use crate::core::switch::neighbour::Kind;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn plan(networks: &[(u32, &[&str])]) -> Plan {
        let network = |(vni, foreign): &(u32, &[&str])| {
            let net = "10.0.0.0/24".parse().unwrap();
            let subnets = vec![Subnet { net, gateway: ip("10.0.0.1") }];
            let foreign = foreign.iter().map(|vtep| ip(vtep)).collect();
            let spec = Spec { subnets, foreign, ..Spec::default() };
            Arc::new(Network::new(1, Vni::new(*vni).unwrap(), spec))
        };
        Plan::new(1, ip("192.0.2.1"), networks.iter().map(network))
    }

    /// A frame of `src` behind `vtep`, with a question from an address.
    fn hear(learned: &mut Learned, plan: &Plan, vni: u32, vtep: &str, src: Mac, speaker: &str) {
        let network = plan.network(Vni::new(vni).unwrap()).unwrap();
        let (kind, subject) = (Kind::Ask, ip("10.0.0.9"));
        let message = Message { kind, subject, speaker: ip(speaker), link: Some(MAC) };
        learned.note(plan, network, Duration::ZERO, (ip(vtep), src), Some(&message));
    }

    fn addresses(learned: &Learned) -> usize {
        learned.segments.values().map(|segment| segment.neighbours.entries.len()).sum()
    }

    #[test]
    fn addresses_are_learned_from_their_owner_and_in_a_subnet() {
        let plan = plan(&[(7, &["192.0.2.8"])]);
        let mut learned = Learned::new(1);
        hear(&mut learned, &plan, 7, "192.0.2.8", MAC, "fe80::7");
        hear(&mut learned, &plan, 7, "192.0.2.8", MAC, "172.16.0.7");
        hear(&mut learned, &plan, 7, "192.0.2.8", Mac([2, 0, 0, 0, 0, 8]), "10.0.0.7");
        assert_eq!(addresses(&learned), 0);
        hear(&mut learned, &plan, 7, "192.0.2.8", MAC, "10.0.0.7");
        assert_eq!(addresses(&learned), 1);
    }

    #[test]
    fn what_the_plan_drops_is_forgotten_when_something_new_comes() {
        let before = plan(&[(7, &["192.0.2.8"]), (8, &["192.0.2.8"])]);
        let mut learned = Learned::new(1);
        for vni in [7, 8] {
            hear(&mut learned, &before, vni, "192.0.2.8", MAC, "10.0.0.7");
        }
        let after = plan(&[(8, &[]), (9, &["192.0.2.8", "192.0.2.9"])]);
        hear(&mut learned, &after, 9, "192.0.2.8", MAC, "10.0.0.7");
        assert_eq!(learned.segments.len(), 1, "networks");

        let last = plan(&[(9, &["192.0.2.9"])]);
        let other = Mac([2, 0, 0, 0, 0, 8]);
        let network = last.network(Vni::new(9).unwrap()).unwrap();
        learned.note(&last, network, SWEEP, (ip("192.0.2.9"), other), None);
        let segment = &learned.segments[&network.vni];
        assert_eq!(segment.stations.entries.keys().collect::<Vec<_>>(), [&other], "VTEPs");
    }
}
