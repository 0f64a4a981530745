//! Services: a name with endpoints behind it, and a virtual IP on each network.

mod check;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Endpoint, Holder, Id, Network, Refusal, Tables};
use crate::core::balance::{Backend, Scheduler, Standing, Vip, VipSpec};

/// The record of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Never changes.
    pub id: Id,
    /// Unique, but for services that two parts of a cluster created while they
    /// did not see each other.
    pub name: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// What its name stands for.
    pub mode: Mode,
    /// How a backend is chosen.
    pub scheduler: Scheduler,
    /// For how many seconds a client keeps its backend; `None` if it need not.
    pub affinity: Option<u32>,
    /// How backends are tested; `None`: attached is healthy.
    pub health: Option<Health>,
    /// For how many seconds running flows of a backend that goes may go on.
    pub drain: u32,
    /// Further names.
    pub aliases: Vec<String>,
    /// Ports that are to be open on every host.
    pub published: Vec<Published>,
    /// The networks that it is on, and those that it was on.
    pub networks: Vec<Joined>,
    /// Shares of new flows that were chosen for endpoints since they were attached, by
    /// the endpoints' ids: they take the place of [`Backing::weight`].
    pub weights: BTreeMap<Id, u16>,
}

/// What a service's name stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// A virtual IP.
    #[default]
    Vip,
    /// The addresses of all its backends.
    Dnsrr,
}

/// A network that a service is on, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The network's id.
    pub network: Id,
    /// Its virtual IPs there: one for each family of the network, or more if several
    /// hosts chose one at once. It keeps them when it leaves: of two changes at once one
    /// is lost, and an address that one of them gave back could be another's by then.
    pub vips: Vec<IpAddr>,
    /// Whether it is on the network now.
    pub active: bool,
}

/// How backends are tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// Milliseconds from one to the next.
    pub interval: u32,
    /// Milliseconds that one may take.
    pub timeout: u32,
    /// Failures in a row that make a backend unhealthy.
    pub retries: u8,
}

/// What shows that a backend is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// It takes a connection at this port.
    Tcp(u16),
    /// It answers a GET of this path at this port with a status from 200 to 399.
    Http(u16, String),
}

/// A port that is to be open on every host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// On the hosts; 0 if none was chosen.
    pub published: u16,
    /// At the backends.
    pub target: u16,
    /// Of this protocol.
    pub protocol: Protocol,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// In lower case, as users write it.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// As users write it: `8080:80/tcp`, or `80/tcp` if no port was chosen on the hosts.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.published != 0 {
            write!(f, "{}:", self.published)?;
        }
        write!(f, "{}/{}", self.target, self.protocol)
    }
}

/// How an endpoint belongs to a service. If there is no such service, because it was
/// removed or has yet to be heard of, the endpoint belongs to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backing {
    /// The service's id.
    pub service: Id,
    /// Its share of new flows, unless [`Service::weights`] says otherwise; 0 is none.
    pub weight: u16,
    /// How it stands.
    pub standing: Standing,
}

impl Service {
    /// The networks that it is on.
    pub fn active(&self) -> impl Iterator<Item = &Joined> {
        self.networks.iter().filter(|joined| joined.active)
    }

    /// Whether it is on a network.
    pub fn is_on(&self, network: &Id) -> bool {
        self.active().any(|joined| joined.network == *network)
    }

    /// Whether an address of a network is its own, also if it has left the network.
    pub(super) fn has_vip(&self, network: &Id, ip: IpAddr) -> bool {
        self.networks.iter().any(|j| j.network == *network && j.vips.contains(&ip))
    }

    /// An endpoint's share of new flows; 0 is none.
    pub fn weight_of(&self, endpoint: &Id, backing: &Backing) -> u16 {
        self.weights.get(endpoint).copied().unwrap_or(backing.weight)
    }

    /// Whether an endpoint takes new flows.
    pub fn can_use(&self, endpoint: &Id, backing: &Backing) -> bool {
        backing.standing.is_usable(self.weight_of(endpoint, backing))
    }

    /// How an endpoint that is attached to it stands first.
    pub fn first_standing(&self) -> Standing {
        if self.health.is_some() { Standing::Starting } else { Standing::Ready }
    }
}

impl Tables {
    /// Takes a service as it is known to the cluster, new or changed.
    pub fn put_service(&mut self, service: Service) {
        let id = service.id.clone();
        self.touch_service(&id);
        self.services.insert(id.clone(), service);
        self.touch_service(&id);
    }

    /// Forgets a service. Whether there was one.
    pub fn remove_service(&mut self, id: &Id) -> bool {
        self.touch_service(id);
        self.services.remove(id).is_some()
    }

    /// All services, by id.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// The service with exactly this id.
    pub fn get_service(&self, id: &Id) -> Option<&Service> {
        self.services.get(id)
    }

    /// The endpoints that belong to a service, on whatever network, by id.
    pub fn backends_of(&self, service: &Id) -> impl Iterator<Item = &Endpoint> {
        let ids = self.backends.get(service).into_iter().flatten();
        ids.filter_map(|id| self.endpoints.get(id))
    }

    /// Whether an endpoint's interface is there: one that is being attached just now
    /// can take nothing yet.
    pub fn is_made(&self, endpoint: &Endpoint) -> bool {
        endpoint.holder != Holder::Here || self.ports.contains_key(&endpoint.id)
    }

    /// Remembers which service an endpoint belongs to.
    pub(super) fn enlist(&mut self, id: &Id) {
        let backing = self.endpoints.get(id).and_then(|e| e.service.as_ref());
        if let Some(Backing { service, .. }) = backing {
            self.backends.entry(service.clone()).or_default().insert(id.clone());
        }
    }

    /// Forgets which service an endpoint belongs to.
    pub(super) fn delist(&mut self, id: &Id) {
        let backing = self.endpoints.get(id).and_then(|e| e.service.as_ref());
        let Some(Backing { service, .. }) = backing else { return };
        if let Some(backends) = self.backends.get_mut(service) {
            backends.remove(id);
            if backends.is_empty() {
                self.backends.remove(service);
            }
        }
    }

    /// Forgets the built forms of a service and of its networks.
    pub(super) fn touch_service(&mut self, id: &Id) {
        self.vips.remove(id);
        let Some(service) = self.services.get(id) else { return };
        for joined in &service.networks {
            self.built.remove(&joined.network);
            self.zones.remove(&joined.network);
        }
    }

    /// Forgets the virtual IPs that were built before their network was known, or was
    /// as it is now.
    pub(super) fn touch_vips(&mut self, network: &Id) {
        let services = &self.services;
        self.vips.retain(|id, _| services.get(id).is_some_and(|s| !s.is_on(network)));
    }

    /// The virtual IPs of a network as the data plane has them, each once.
    pub(super) fn vips_of(&mut self, network: &Id) -> Vec<Arc<Vip>> {
        let holders = self.vip_holders(network).into_iter();
        let holders: BTreeMap<IpAddr, Id> = holders.map(|(ip, s)| (ip, s.id.clone())).collect();
        let ids: BTreeSet<&Id> = holders.values().collect();
        let mut vips = Vec::new();
        for id in ids {
            let own = self.vips_of_service(id, network);
            vips.extend(own.into_iter().filter(|vip| holders.get(&vip.ip) == Some(id)));
        }
        vips
    }

    /// Which service has an address of a network as its virtual IP. No two have one,
    /// also where two name it, which only lost disks can bring about: the younger has it,
    /// for the older may be one whose removal is forgotten. All hosts with the same
    /// tables say the same.
    pub fn vip_holders(&self, network: &Id) -> BTreeMap<IpAddr, &Service> {
        let balanced = |s: &&Service| s.mode == Mode::Vip && s.is_on(network);
        let mut services: Vec<&Service> = self.services.values().filter(balanced).collect();
        services.sort_by_key(|s| (&s.created, &s.id));
        let mut holders = BTreeMap::new();
        for service in services {
            let joined = service.active().filter(|joined| joined.network == *network);
            holders.extend(joined.flat_map(|joined| &joined.vips).map(|ip| (*ip, service)));
        }
        holders
    }

    fn vips_of_service(&mut self, id: &Id, network: &Id) -> Vec<Arc<Vip>> {
        if !self.vips.contains_key(id) {
            let built = self.build_vips(id);
            self.vips.insert(id.clone(), built);
        }
        let all = self.vips.get(id).into_iter().flatten();
        all.filter(|(of, _)| of == network).map(|(_, vip)| vip.clone()).collect()
    }

    fn build_vips(&mut self, id: &Id) -> Vec<(Id, Arc<Vip>)> {
        let Some(service) = self.services.get(id) else { return Vec::new() };
        let mut built = Vec::new();
        for joined in service.active() {
            let Some(network) = self.networks.get(&joined.network) else { continue };
            for ip in sound(network, &joined.vips) {
                self.vip_version += 1;
                let spec = VipSpec {
                    ip,
                    version: self.vip_version,
                    scheduler: service.scheduler,
                    affinity: service.affinity.map(|s| Duration::from_secs(s.into())),
                    backends: self.backends_at(service, &joined.network, ip.is_ipv4()),
                };
                built.push((joined.network.clone(), Arc::new(Vip::new(spec))));
            }
        }
        built
    }

    /// A service's endpoints on a network that have an address of one family.
    fn backends_at(&self, service: &Service, network: &Id, ipv4: bool) -> Vec<Backend> {
        let here = |e: &&Endpoint| e.network == *network && self.is_made(e);
        let backend = |e: &Endpoint| {
            let backing = e.service.as_ref()?;
            let ip = *e.addresses.iter().find(|ip| ip.is_ipv4() == ipv4)?;
            let weight = service.weight_of(&e.id, backing);
            Some(Backend { ip, weight, standing: backing.standing })
        };
        self.backends_of(&service.id).filter(here).filter_map(backend).collect()
    }

    /// All virtual IPs on a network, also those of services that have left it.
    pub fn virtual_ips(&self, network: &Id) -> BTreeSet<IpAddr> {
        let joined = self.services.values().flat_map(|s| &s.networks);
        let on_network = joined.filter(|joined| joined.network == *network);
        on_network.flat_map(|joined| joined.vips.iter().copied()).collect()
    }

    /// Whether no service is on a network.
    pub(super) fn check_no_service(&self, network: &Id, name: &str) -> Result<(), Refusal> {
        let on_it: Vec<&str> =
            self.services.values().filter(|s| s.is_on(network)).map(|s| s.name.as_str()).collect();
        if on_it.is_empty() {
            return Ok(());
        }
        Err(Refusal::Conflict(format!(
            "network {name} is in use by {} {}: remove with `vxmesh service rm`, or take off the network with `vxmesh service update --network-rm {name}`",
            if on_it.len() == 1 { "service" } else { "services" },
            super::listed(on_it)
        )))
    }
}

/// Those addresses that can be virtual IPs of a network. Others a host would not have
/// chosen: nobody is to take the gateway's place, or an address elsewhere.
fn sound(network: &Network, vips: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let fits = |ip: &IpAddr| network.pool_of(*ip).is_some_and(|p| p.reserved(*ip).is_none());
    vips.iter().copied().filter(fits)
}
