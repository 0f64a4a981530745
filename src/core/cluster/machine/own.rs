//! What this host writes into the tables: itself, networks, services, endpoints, ranges.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::Machine;
use crate::core::Now;
use crate::core::cluster::allocate::{self, Peer, View};
use crate::core::cluster::entry::{
    Body, EndpointBody, Key, Member, Node, NodeId, Pools, Space, Version,
};
use crate::core::cluster::holding::{Holding, Range, Ranges};
use crate::core::tables::{Id, Network, Service};

/// Where subnets come from that nobody chose, as with Docker.
const DEFAULT_POOL: ([u8; 4], u8) = ([10, 0, 0, 0], 8);
/// How long they are.
const DEFAULT_LENGTH: u8 = 24;

/// What this host knows of a space, to allocate from it.
#[derive(Clone, Debug)]
pub struct Knowledge {
    me: NodeId,
    holdings: BTreeMap<NodeId, Holding>,
    peers: BTreeMap<NodeId, Peer>,
    /// All that is in use or reserved; more may be added.
    pub used: Ranges,
}

impl Knowledge {
    /// As the allocation wants it.
    pub fn view(&self) -> View<'_> {
        View { me: self.me, holdings: &self.holdings, used: &self.used, peers: &self.peers }
    }
}

impl Machine {
    /// A cluster of one, which owns everything that can be owned.
    pub(super) fn found(&mut self) {
        let me = self.me();
        let exchange = self.replica.identity().exchange_public();
        self.replica.write(Key::Member(me), Some(Body::Member(Member::Admitted { exchange })));
        self.found_ring();
        let pools = ipnet::Ipv4Net::new(DEFAULT_POOL.0.into(), DEFAULT_POOL.1);
        let pools = Pools { pools: pools.into_iter().collect(), length: DEFAULT_LENGTH };
        self.replica.write(Key::Pools, Some(Body::Pools(pools)));
        let spaces = [
            (Space::Vni, allocate::VNIS),
            (Space::Ipv4, allocate::IPV4),
            (Space::Ipv6, allocate::IPV6),
        ];
        for (space, extent) in spaces {
            let whole = Holding::whole(extent);
            self.replica.write(Key::Holding(me, space), Some(Body::Holding(whole)));
        }
    }

    /// Says who this host is, where that has changed.
    pub fn describe(&mut self, node: Node) {
        let me = self.me();
        let exchange = self.replica.identity().exchange_public();
        let (floor, renounced) = match self.replica.node(&me) {
            Some(old) => (old.floor, old.renounced.clone()),
            None => (Version::default(), Default::default()),
        };
        self.replica
            .write(Key::Node(me), Some(Body::Node(Node { floor, renounced, exchange, ..node })));
    }

    /// What subnets are taken from that nobody chose.
    pub fn pools(&self) -> Option<&Pools> {
        match self.replica.get(&Key::Pools)? {
            Body::Pools(pools) => Some(pools),
            _ => None,
        }
    }

    /// Chooses what subnets are taken from from now on.
    pub fn set_pools(&mut self, now: Now, pools: Pools) {
        self.replica.write(Key::Pools, Some(Body::Pools(pools)));
        self.after_changes(now);
    }

    /// Tells of a network that was created here. Its addresses are this host's
    /// to hand out.
    pub fn publish_network(&mut self, now: Now, network: &Network) {
        let Some(id) = network.id.bytes() else { return };
        let me = self.me();
        for (i, pool) in network.pools.iter().enumerate() {
            let whole = Holding::whole(pool.net.into());
            let key = Key::Holding(me, Space::Pool(id, i as u8));
            self.replica.write(key, Some(Body::Holding(whole)));
        }
        self.replica.write(Key::Network(id), Some(Body::Network(network.clone())));
        self.after_changes(now);
    }

    /// Deletes a network for all hosts.
    pub fn withdraw_network(&mut self, now: Now, id: &Id) {
        if let Some(id) = id.bytes() {
            self.replica.write(Key::Network(id), None);
            self.after_changes(now);
        }
    }

    /// Tells of a service, new or changed.
    pub fn publish_service(&mut self, now: Now, service: &Service) {
        if let Some(id) = service.id.bytes() {
            self.tell_whose_they_were(service);
            self.replica.write(Key::Service(id), Some(Body::Service(service.clone())));
            self.after_changes(now);
        }
    }

    /// Whether a service may be changed here now: not while the node whose record it is
    /// is being removed, as nobody may come to hear of the record then. Fails with why.
    pub fn check_changeable(&self, service: &Id) -> Result<(), String> {
        let record = service.bytes().and_then(|id| self.replica.entry(&Key::Service(id)));
        match record.filter(|record| self.has_renounced(&record.author)) {
            None => Ok(()),
            Some(record) => Err(format!(
                "{} changed the service last, and is being removed: try again when that has ended",
                self.name_of(&record.author)
            )),
        }
    }

    /// Deletes a service for all hosts.
    pub fn withdraw_service(&mut self, now: Now, id: &Id) {
        if let Some(id) = id.bytes() {
            self.replica.write(Key::Service(id), None);
            self.after_changes(now);
        }
    }

    /// All services.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        let services = Key::Service([0; 32])..=Key::Service([0xff; 32]);
        self.replica.live(services).filter_map(|(_, body)| match body {
            Body::Service(service) => Some(service),
            _ => None,
        })
    }

    /// Tells of an endpoint of this host.
    pub fn publish_endpoint(&mut self, now: Now, network: &Id, id: &Id, body: EndpointBody) {
        if let (Some(network), Some(id)) = (network.bytes(), id.bytes()) {
            body.addresses.iter().for_each(|ip| self.tell_whose_it_was(network, *ip));
            let key = Key::Endpoint(self.me(), network, id);
            self.replica.write(key, Some(Body::Endpoint(body)));
            self.after_changes(now);
        }
    }

    /// Tells that an endpoint of this host is gone.
    pub fn withdraw_endpoint(&mut self, now: Now, network: &Id, id: &Id) {
        if let (Some(network), Some(id)) = (network.bytes(), id.bytes()) {
            self.replica.write(Key::Endpoint(self.me(), network, id), None);
            self.after_changes(now);
        }
    }

    /// All networks.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        let networks = Key::Network([0; 32])..=Key::Network([0xff; 32]);
        self.replica.live(networks).filter_map(|(_, body)| match body {
            Body::Network(network) => Some(network),
            _ => None,
        })
    }

    /// All endpoints: the node that holds them, their network, their id.
    pub fn endpoints(&self) -> impl Iterator<Item = (NodeId, [u8; 32], [u8; 32], &EndpointBody)> {
        let first = Key::Endpoint(NodeId([0; 32]), [0; 32], [0; 32]);
        self.replica.live(first..).filter_map(|(key, body)| match (key, body) {
            (Key::Endpoint(node, network, id), Body::Endpoint(body)) => {
                Some((*node, *network, *id, body))
            }
            _ => None,
        })
    }

    /// Who owns what of a space.
    pub fn holdings(&self, space: Space) -> impl Iterator<Item = (NodeId, &Holding)> {
        let members: Vec<NodeId> = self.replica.members().map(|(id, _)| id).collect();
        members.into_iter().filter_map(move |id| {
            match self.replica.get(&Key::Holding(id, space))? {
                Body::Holding(holding) => Some((id, holding)),
                _ => None,
            }
        })
    }

    /// What of a space is in use, by whomever.
    pub fn used(&self, space: Space) -> Ranges {
        match space {
            Space::Vni => {
                let vnis = self.networks().map(|n| u128::from(n.vni.get()));
                vnis.map(|n| Range { first: n, last: n }).collect()
            }
            Space::Ipv4 | Space::Ipv6 => {
                let nets = self.networks().flat_map(|n| n.pools.iter().map(|p| p.net));
                let of_family = |n: &IpNet| n.addr().is_ipv4() == (space == Space::Ipv4);
                nets.filter(of_family).map(Range::from).collect()
            }
            Space::Pool(network, index) => {
                let found = self.networks().find(|n| n.id.bytes() == Some(network));
                let Some(pool) = found.and_then(|n| n.pools.get(usize::from(index))) else {
                    return Ranges::default();
                };
                let of_network = self.endpoints().filter(|(_, n, ..)| *n == network);
                let taken = of_network.flat_map(|(.., body)| body.addresses.iter().copied());
                allocate::used_of_pool(pool, taken.chain(self.vips.of(network)))
            }
        }
    }

    /// What there is to know for allocating from a space.
    pub fn knowledge(&self, now: Now, space: Space) -> Knowledge {
        let members = self.replica.members().map(|(id, _)| {
            (id, Peer { name: self.name_of(&id), alive: self.is_visible(now, &id) })
        });
        Knowledge {
            me: self.me(),
            used: self.used(space),
            peers: members.collect(),
            holdings: self.holdings(space).map(|(id, h)| (id, h.clone())).collect(),
        }
    }

    /// Keeps this host's ranges in order after entries have changed: takes what
    /// was given to it, forgets gifts that were taken, lets go of what belonged to
    /// deleted networks, and keeps what is a service's.
    pub(super) fn tend(&mut self, changed: &BTreeSet<Key>) {
        for key in changed {
            match key {
                Key::Holding(node, space) if *node != self.me() => self.trade(*node, *space),
                Key::Network(id) if self.replica.get(key).is_none() => self.let_go(*id),
                Key::Service(id) => self.keep_vips(*id),
                _ => {}
            }
        }
    }

    fn trade(&mut self, other: NodeId, space: Space) {
        let me = self.me();
        let Some(Body::Holding(theirs)) = self.replica.get(&Key::Holding(other, space)) else {
            return;
        };
        if let Space::Pool(network, _) = space
            && self.replica.get(&Key::Network(network)).is_none()
        {
            return;
        }
        let key = Key::Holding(me, space);
        let mut mine = match self.replica.get(&key) {
            Some(Body::Holding(mine)) => mine.clone(),
            _ => Holding::default(),
        };
        let took = !self.has_renounced(&other) && mine.take(me, other, theirs);
        let settled = mine.settle(other, theirs, me);
        if took || settled {
            self.replica.write(key, Some(Body::Holding(mine)));
        }
        if settled {
            // Whoever hears that a gift is settled must hear that it was taken.
            self.replica.retell(Key::Holding(other, space));
        }
    }

    fn let_go(&mut self, network: [u8; 32]) {
        let me = self.me();
        let mine = Key::Holding(me, Space::Pool(network, 0))
            ..=Key::Holding(me, Space::Pool(network, u8::MAX));
        let keys: Vec<Key> = self.replica.live(mine).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.replica.write(key, None));
    }
}
