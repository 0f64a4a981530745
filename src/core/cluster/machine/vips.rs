//! Virtual IPs that a later change of their service did not know of.
//!
//! Any member writes a service, and of two changes at once one is lost: with it a virtual
//! IP that it brought, which would be free then, and somebody else's soon. But the lost
//! change may win yet, if a third host, which has seen only that one, makes a change of
//! its own. So an address that was a service's once is kept for it until the service or
//! the network is deleted, which is for good: the host that owns the address writes it
//! into the record again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Machine;
use crate::core::cluster::entry::{Body, Key, NodeId, Space};
use crate::core::cluster::holding::{Range, Ranges};
use crate::core::tables::{Joined, Network, Service};

/// Virtual IPs that are remembered of one service.
const MOST: usize = 1024;

type Id = [u8; 32];

/// The virtual IPs of each service by network, as they were in any of its records.
#[derive(Debug, Default)]
pub(super) struct Vips(BTreeMap<Id, BTreeSet<(Id, IpAddr)>>);

impl Vips {
    /// Remembers those of a service, and says which it had before and has no more.
    fn follow(&mut self, id: Id, service: Option<&Service>) -> Vec<(Id, IpAddr)> {
        let Some(service) = service else {
            self.0.remove(&id);
            return Vec::new();
        };
        let now: BTreeSet<(Id, IpAddr)> = service
            .networks
            .iter()
            .filter_map(|joined| Some((joined.network.bytes()?, &joined.vips)))
            .flat_map(|(network, vips)| vips.iter().map(move |ip| (network, *ip)))
            .collect();
        let known = self.0.entry(id).or_default();
        let lost = known.difference(&now).copied().collect();
        known.extend(&now);
        // Somebody writes one after the other: the rest is forgotten.
        if known.len() > MOST {
            *known = now;
        }
        lost
    }
}

impl Machine {
    /// A service's record has changed.
    pub(super) fn keep_vips(&mut self, id: Id) {
        let Some(Body::Service(service)) = self.replica.get(&Key::Service(id)) else {
            self.vips.follow(id, None);
            return;
        };
        let service = service.clone();
        let lost = self.vips.follow(id, Some(&service));
        let me = self.me();
        let mine: Vec<(Id, IpAddr)> =
            lost.into_iter().filter(|(network, ip)| self.owns(me, *network, *ip)).collect();
        if mine.is_empty() {
            return;
        }
        let mut whole = service;
        for (network, ip) in mine {
            restore(&mut whole, network, ip);
        }
        // Others would not take it, and it would be kept in vain.
        if whole.check().is_ok() {
            self.replica.write(Key::Service(id), Some(Body::Service(whole)));
        }
    }

    /// Whether a service has a virtual IP that is one of these nodes' to give.
    pub(super) fn has_vip_of(&self, service: &Service, nodes: &[NodeId]) -> bool {
        let vips = service.networks.iter().filter_map(|j| Some((j.network.bytes()?, &j.vips)));
        let mut vips = vips.flat_map(|(network, vips)| vips.iter().map(move |ip| (network, *ip)));
        vips.any(|(network, ip)| nodes.iter().any(|node| self.owns(*node, network, ip)))
    }

    /// Whether an address of a network that is not deleted is a node's to give.
    fn owns(&self, node: NodeId, network: Id, ip: IpAddr) -> bool {
        let Some(Body::Network(known)) = self.replica.get(&Key::Network(network)) else {
            return false;
        };
        let Some(index) = pool_of(known, ip) else { return false };
        let key = Key::Holding(node, Space::Pool(network, index));
        let Some(Body::Holding(holding)) = self.replica.get(&key) else { return false };
        let wanted = Ranges::from(Range::from(IpNet::from(ip)));
        !holding.ranges.intersect(&wanted).is_empty()
    }
}

fn pool_of(network: &Network, ip: IpAddr) -> Option<u8> {
    let index = network.pools.iter().position(|pool| pool.net.contains(&ip))?;
    u8::try_from(index).ok()
}

/// Who lost the whole network had joined it, and did not want to leave it: then the
/// record would still name it.
fn restore(service: &mut Service, network: Id, ip: IpAddr) {
    let of = |joined: &&mut Joined| joined.network.bytes() == Some(network);
    match service.networks.iter_mut().find(of) {
        Some(joined) => joined.vips.push(ip),
        None => service.networks.push(Joined {
            network: crate::core::tables::Id::new(network),
            vips: vec![ip],
            active: true,
        }),
    }
}
