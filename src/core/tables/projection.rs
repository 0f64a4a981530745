//! From records to the data plane's plan, and to the names that DNS answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::{Endpoint, Holder, Id, Network, Tables};
use crate::core::names::{self, Zone};
use crate::core::plan::{self, Plan, PortId};

impl Tables {
    /// The lowest number that no local endpoint has.
    pub fn free_port(&self) -> PortId {
        let used: BTreeSet<PortId> = self.ports.values().copied().collect();
        // There are fewer endpoints than numbers, so that one is always found.
        (0..=u32::MAX).map(PortId).find(|p| !used.contains(p)).unwrap_or(PortId(u32::MAX))
    }

    /// Says under which number the data plane has a local endpoint's TAP: from
    /// now on it is part of the plan.
    pub fn bind(&mut self, endpoint: &Id, port: PortId) {
        self.ports.insert(endpoint.clone(), port);
        self.touch(endpoint);
    }

    /// Takes a local endpoint out of the plan; its record stays.
    pub fn unbind(&mut self, endpoint: &Id) -> Option<PortId> {
        self.touch(endpoint);
        self.ports.remove(endpoint)
    }

    /// The number of a local endpoint's TAP.
    pub fn port(&self, endpoint: &Id) -> Option<PortId> {
        self.ports.get(endpoint).copied()
    }

    /// The local endpoint whose TAP has this number.
    pub fn port_owner(&self, port: PortId) -> Option<&Id> {
        self.ports.iter().find(|(_, p)| **p == port).map(|(id, _)| id)
    }

    /// Removes an endpoint's record. Whether there was one.
    pub fn remove_endpoint(&mut self, endpoint: &Id) -> bool {
        self.touch(endpoint);
        self.delist(endpoint);
        self.ports.remove(endpoint);
        self.endpoints.remove(endpoint).is_some()
    }

    /// The plan that follows from the tables. Networks that have not changed
    /// since the last one are shared with it.
    pub fn plan(&mut self) -> Plan {
        let live = self.live();
        let mut networks = Vec::with_capacity(live.len());
        for id in live {
            let Some(network) = self.networks.get(&id) else { continue };
            let built = match self.built.get(&id) {
                Some(built) => built.clone(),
                None => {
                    let ledger =
                        network.encrypted().then(|| self.ledgers.entry(id.clone()).or_default());
                    let ledger = ledger.cloned();
                    let spec = plan::Spec { encrypted: ledger, ..self.spec(network) };
                    let vni = network.vni;
                    let spec = plan::Spec { vips: self.vips_of(&id), ..spec };
                    let built = Arc::new(plan::Network::new(self.seed, vni, spec));
                    self.built.insert(id, built.clone());
                    built
                }
            };
            networks.push(built);
        }
        Plan::new(self.seed, self.underlay.vtep, networks)
    }

    /// The names of each network that is part of the plan, by the network's id.
    /// Those that have not changed since the last time are shared with it.
    pub fn zones(&mut self) -> BTreeMap<Id, Arc<Zone>> {
        let mut zones = BTreeMap::new();
        for id in self.live() {
            let Some(network) = self.networks.get(&id) else { continue };
            let zone = match self.zones.get(&id) {
                Some(zone) => zone.clone(),
                None => Arc::new(self.zone(network)),
            };
            zones.insert(id, zone);
        }
        self.zones.clone_from(&zones);
        zones
    }

    /// The subnets of all networks.
    pub fn subnets(&self) -> Arc<[IpNet]> {
        self.networks.values().flat_map(|n| n.pools.iter().map(|p| p.net)).collect()
    }

    fn zone(&self, network: &Network) -> Zone {
        // One that is being attached just now has no name yet.
        let there = |e: &&Endpoint| self.is_made(e);
        let entries = self.endpoints_of(&network.id).filter(there).map(|e| names::Entry {
            name: &e.name,
            aliases: &e.aliases,
            addresses: &e.addresses,
        });
        Zone::new(&network.name, network.internal, entries, self.named_services(network))
    }

    /// The networks with a TAP here. Of several that claim one VNI, only one: the data
    /// plane tells networks by it. An encrypted one goes before, or a member could
    /// bring its frames into the open by giving its VNI to another network.
    fn live(&self) -> Vec<Id> {
        let mut networks = self.with_ports();
        networks.dedup_by_key(|n| n.vni);
        networks.into_iter().map(|n| n.id.clone()).collect()
    }

    /// Networks with a TAP here that the plan leaves out, each with the one that has
    /// its VNI instead.
    pub fn displaced(&self) -> Vec<(&Network, &Network)> {
        let networks = self.with_ports();
        let rivals = networks.chunk_by(|a, b| a.vni == b.vni);
        let behind = rivals.flat_map(|rivals| rivals[1..].iter().map(|other| (*other, rivals[0])));
        behind.collect()
    }

    /// By VNI, encrypted ones first, then by id.
    fn with_ports(&self) -> Vec<&Network> {
        let endpoints = self.ports.keys().filter_map(|id| self.endpoints.get(id));
        let ids: BTreeSet<&Id> = endpoints.map(|e| &e.network).collect();
        let mut networks: Vec<&Network> =
            ids.into_iter().filter_map(|id| self.networks.get(id)).collect();
        networks.sort_by_key(|n| (n.vni, !n.encrypted(), &n.id));
        networks
    }

    /// Forgets the built forms of an endpoint's network.
    pub(super) fn touch(&mut self, endpoint: &Id) {
        if let Some(endpoint) = self.endpoints.get(endpoint) {
            self.built.remove(&endpoint.network);
            self.zones.remove(&endpoint.network);
            if let Some(backing) = &endpoint.service {
                self.vips.remove(&backing.service);
            }
        }
    }

    fn spec(&self, network: &Network) -> plan::Spec {
        let mut spec = plan::Spec {
            mtu: self.widest_mtu(network),
            subnets: network.subnets(),
            multicast: network.multicast(),
            foreign: self.foreign(&network.id).into_iter().collect(),
            narrow: self.narrow(network),
            ..plan::Spec::default()
        };
        for endpoint in self.endpoints_of(&network.id) {
            let (mac, addresses) = (endpoint.mac, endpoint.addresses.clone());
            match endpoint.holder {
                Holder::Vtep(vtep) => spec.remotes.push(plan::Remote { mac, addresses, vtep }),
                Holder::Here => spec.ports.extend(self.port(&endpoint.id).map(|id| plan::Port {
                    id,
                    mac,
                    addresses,
                })),
            }
        }
        spec
    }
}
