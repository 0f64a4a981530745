//! Virtual IPs that a later change of their service did not know of.
//!
//! Any member writes a service, and of two changes at once one is lost: with it a virtual
//! IP that it brought, which would be free then, and somebody else's soon. But the lost
//! change may win yet, if a third host, which has seen only that one, makes a change of
//! its own. So an address that was a service's once is kept for it until the service or
//! the network is deleted, which is for good: the host that owns the address writes it
//! into the record again, or who inherits the address.
//!
//! Who hears of an address's next use must hear that the service before is deleted: else
//! both have it for whoever hears nothing more of the deletion, as who knew of it is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Machine;
use crate::core::cluster::entry::{Body, Entry, Key, NodeId, Space};
use crate::core::cluster::holding::{Range, Ranges};
use crate::core::tables::{Joined, Network, Service};

/// Virtual IPs that are remembered of one service.
const MOST: usize = 1024;
/// Virtual IPs that are remembered of deleted services.
const MOST_FREED: usize = 4096;

type Id = [u8; 32];
/// An address of a network.
type Place = (Id, IpAddr);

/// The virtual IPs of services.
#[derive(Debug, Default)]
pub(super) struct Vips {
    /// Of each service, as they were in any of its records.
    held: BTreeMap<Id, BTreeSet<Place>>,
    /// Of deleted services, until the next use: whose it was last.
    freed: BTreeMap<Place, Id>,
}

impl Vips {
    /// Remembers those of a service's record, also of one that has lost to the `current`
    /// one.
    fn remember(&mut self, id: Id, record: &Service, current: &Service) {
        let known = self.held.entry(id).or_default();
        known.extend(places(record));
        // Somebody writes one after the other: all that does not count now is forgotten.
        if known.len() > MOST {
            *known = places(current).collect();
        }
    }

    /// Those that the service had once and does not have by this record.
    fn lost(&self, id: Id, service: &Service) -> Vec<Place> {
        let now: BTreeSet<Place> = places(service).collect();
        self.held.get(&id).into_iter().flat_map(|known| known.difference(&now)).copied().collect()
    }

    /// Those of a network that are services', also where no record names them for a while.
    pub(super) fn of(&self, network: Id) -> impl Iterator<Item = IpAddr> {
        let places = self.held.values().flatten();
        places.filter(move |(of, _)| *of == network).map(|(_, ip)| *ip)
    }

    /// Those of a deleted service may be used again.
    fn free(&mut self, id: Id) {
        let places = self.held.remove(&id).unwrap_or_default();
        self.freed.extend(places.into_iter().map(|place| (place, id)));
        while self.freed.len() > MOST_FREED {
            self.freed.pop_first();
        }
    }
}

/// A service's virtual IPs, each with its network.
fn places(service: &Service) -> impl Iterator<Item = Place> {
    let networks = service.networks.iter();
    let networks = networks.filter_map(|joined| Some((joined.network.bytes()?, &joined.vips)));
    networks.flat_map(|(network, vips)| vips.iter().map(move |ip| (network, *ip)))
}

impl Machine {
    /// A service's record has changed.
    pub(super) fn keep_vips(&mut self, id: Id) {
        match self.replica.get(&Key::Service(id)) {
            Some(Body::Service(service)) => self.vips.remember(id, service, service),
            _ => self.vips.free(id),
        }
        self.restore_vips(id);
    }

    /// A service is published here, with addresses that may have been another's.
    pub(super) fn tell_whose_they_were(&mut self, service: &Service) {
        places(service).for_each(|(network, ip)| self.tell_whose_it_was(network, ip));
    }

    /// An address is used here, which may have been a service's that is deleted.
    pub(super) fn tell_whose_it_was(&mut self, network: Id, ip: IpAddr) {
        if let Some(before) = self.vips.freed.remove(&(network, ip)) {
            self.replica.retell(Key::Service(before));
        }
    }

    /// This host has become the heir of others, and owns what was theirs to restore, or
    /// may change again what it had promised not to.
    pub(super) fn restore_all_vips(&mut self) {
        let services: Vec<Id> = self.vips.held.keys().copied().collect();
        services.into_iter().for_each(|id| self.restore_vips(id));
    }

    /// Remembers the virtual IPs of records that another host has of services that are
    /// not deleted here: also those that are older than this host's, and that this host
    /// therefore does not take.
    pub(super) fn remember_vips(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let (Key::Service(id), Some(Body::Service(service))) = (entry.key, &entry.body)
                && let Some(Body::Service(current)) = self.replica.get(&entry.key)
            {
                self.vips.remember(id, service, current);
            }
        }
    }

    /// Writes into a service's record what it has lost and is this host's to give.
    fn restore_vips(&mut self, id: Id) {
        let Some(Body::Service(service)) = self.replica.get(&Key::Service(id)) else { return };
        let (me, mut lost) = (self.me(), self.vips.lost(id, service));
        lost.retain(|(network, ip)| self.owns(me, *network, *ip));
        if lost.is_empty() || self.check_changeable(&service.id).is_err() {
            return;
        }
        let mut whole = service.clone();
        for (network, ip) in lost {
            restore(&mut whole, network, ip);
        }
        // Others would not take it, and it would be kept in vain.
        if whole.check().is_ok() {
            self.replica.write(Key::Service(id), Some(Body::Service(whole)));
        }
    }

    /// Whether a service has a virtual IP that may be one of these nodes' to give: it is
    /// none of the others', by all that this host knows. Of what a node was given last
    /// perhaps nobody has heard yet that it took it.
    pub(super) fn has_vip_of(&self, service: &Service, nodes: &[NodeId]) -> bool {
        let others: Vec<NodeId> =
            self.replica.members().map(|(id, _)| id).filter(|id| !nodes.contains(id)).collect();
        let stands = |network: &Id| self.replica.get(&Key::Network(*network)).is_some();
        places(service).any(|(network, ip)| {
            stands(&network) && !others.iter().any(|node| self.owns(*node, network, ip))
        })
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
