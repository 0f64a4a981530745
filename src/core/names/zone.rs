//! The names of a network, and what one asker may see of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::reverse;
use crate::core::tables::Protocol;

/// What stands behind some names of a network: an endpoint and its aliases.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its own name, to which its addresses point back.
    pub name: &'a str,
    /// Further names.
    pub aliases: &'a [String],
    /// Its addresses, of both families.
    pub addresses: &'a [IpAddr],
}

/// A service: its names stand for virtual IPs or for the addresses of its tasks,
/// `tasks.` and its names always for the latter.
#[derive(Clone, Debug)]
pub struct Service<'a> {
    /// Its own name, to which its virtual IPs point back. Nothing else is called so.
    pub name: &'a str,
    /// Further names, which others may share.
    pub aliases: &'a [String],
    /// Its virtual IPs; `None` if its names stand for its tasks.
    pub vips: Option<Vec<IpAddr>>,
    /// The endpoints that take new flows.
    pub tasks: Vec<Task<'a>>,
    /// The ports at which it serves.
    pub ports: Vec<(u16, Protocol)>,
}

/// An endpoint behind a service.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Its own name.
    pub name: &'a str,
    /// Its addresses, of both families.
    pub addresses: &'a [IpAddr],
    /// Its share of new flows.
    pub weight: u16,
}

/// All names of one network. Immutable, as the data plane's networks are.
#[derive(Debug)]
pub struct Zone {
    name: String,
    internal: bool,
    /// By name in lower case. Several entries may share a name.
    names: BTreeMap<String, Named>,
    /// `name.network` by address.
    pointers: BTreeMap<IpAddr, String>,
}

/// What stands behind a name.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Of both families.
    pub(super) addresses: Vec<IpAddr>,
    /// Of services.
    pub(super) offers: Vec<Arc<Offer>>,
    /// Whether nothing else may be called so.
    exclusive: bool,
}

/// Where a service is served.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) ports: Vec<(u16, Protocol)>,
    pub(super) targets: Vec<Target>,
}

/// An end of an SRV record.
#[derive(Debug)]
pub(super) struct Target {
    /// `name.network`.
    pub(super) name: String,
    pub(super) weight: u16,
    pub(super) addresses: Vec<IpAddr>,
}

impl Zone {
    /// The names of the network called `network`; `internal` if those on it have
    /// no business outside. Of services of one name the first has it.
    pub fn new<'a>(
        network: &str,
        internal: bool,
        entries: impl IntoIterator<Item = Entry<'a>>,
        services: impl IntoIterator<Item = Service<'a>>,
    ) -> Zone {
        let name = network.to_ascii_lowercase();
        let mut zone = Zone { name, internal, names: BTreeMap::new(), pointers: BTreeMap::new() };
        let with_offers = |service| (offers(network, &service), service);
        let services: Vec<_> = services.into_iter().map(with_offers).collect();
        for (offers, service) in &services {
            zone.add_service(service.name, offers, true);
            for ip in service.vips.iter().flatten() {
                zone.pointers.insert(*ip, format!("{}.{network}", service.name));
            }
        }
        for (offers, service) in &services {
            for alias in lowered(service.aliases.iter().map(String::as_str)) {
                zone.add_service(&alias, offers, false);
            }
        }
        for entry in entries {
            let aliases = entry.aliases.iter().map(String::as_str);
            for name in lowered(std::iter::once(entry.name).chain(aliases)) {
                let named = zone.names.entry(name).or_default();
                if !named.exclusive {
                    named.addresses.extend(entry.addresses);
                }
            }
            for ip in entry.addresses {
                zone.pointers.insert(*ip, format!("{}.{network}", entry.name));
            }
        }
        zone
    }

    /// What a service offers under a name, and under `tasks.` and the name.
    fn add_service(&mut self, name: &str, offers: &[Arc<Offer>; 2], exclusive: bool) {
        let name = name.to_ascii_lowercase();
        for (name, offer) in [name.clone(), format!("tasks.{name}")].into_iter().zip(offers) {
            let named = self.names.entry(name).or_default();
            if named.exclusive {
                continue;
            }
            named.exclusive = exclusive;
            named.addresses.extend(offer.targets.iter().flat_map(|t| &t.addresses));
            named.offers.push(offer.clone());
        }
    }

    fn find(&self, name: &str) -> Option<&Named> {
        self.names.get(name)
    }

    /// What stands before `.network` in a name.
    fn inside<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_suffix(self.name.as_str())?.strip_suffix('.')
    }
}

/// What the endpoints of one sandbox may see: the networks that they are on.
#[derive(Clone, Debug, Default)]
pub struct View {
    zones: Vec<Arc<Zone>>,
    subnets: Arc<[IpNet]>,
}

impl View {
    /// A view of these networks' names. `subnets` are those of all networks, also
    /// of those that the asker is not on: nobody outside is asked about them.
    pub fn new(mut zones: Vec<Arc<Zone>>, subnets: Arc<[IpNet]>) -> View {
        zones.sort_by(|a, b| a.name.cmp(&b.name));
        View { zones, subnets }
    }

    /// Whether none of the networks leads out.
    pub(super) fn is_internal(&self) -> bool {
        self.zones.iter().all(|zone| zone.internal)
    }

    /// What stands behind a name, or behind `name.network`. Where several networks
    /// have it, the first one's, by the networks' names: what is called the same on
    /// two of them need not be the same thing.
    pub(super) fn find(&self, name: &str) -> Option<&Named> {
        let plain = self.zones.iter().find_map(|zone| zone.find(name));
        plain.or_else(|| self.zones.iter().find_map(|zone| zone.find(zone.inside(name)?)))
    }

    /// Who has this address: `name.network`.
    pub(super) fn name_of(&self, ip: IpAddr) -> Option<&str> {
        self.zones.iter().find_map(|zone| zone.pointers.get(&ip)).map(String::as_str)
    }

    /// Whether nobody outside is asked about these addresses.
    pub(super) fn keeps(&self, net: &IpNet) -> bool {
        reverse::is_private(net) || self.subnets.iter().any(|subnet| subnet.contains(net))
    }
}

/// Each once, in lower case: an alias may repeat the name.
fn lowered<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.map(str::to_ascii_lowercase).collect()
}

/// What a service's names stand for, and what `tasks.` and its names do.
fn offers(network: &str, service: &Service<'_>) -> [Arc<Offer>; 2] {
    let ports = || service.ports.clone();
    let target = |name: &str, weight, addresses| Target {
        name: format!("{name}.{network}"),
        weight,
        addresses,
    };
    let tasks = service.tasks.iter().map(|t| target(t.name, t.weight, t.addresses.to_vec()));
    let tasks = Arc::new(Offer { ports: ports(), targets: tasks.collect() });
    let Some(vips) = &service.vips else { return [tasks.clone(), tasks] };
    // A virtual IP without anybody behind it would only keep clients waiting.
    let served = |ip: &&IpAddr| {
        let same = |other: &IpAddr| other.is_ipv4() == ip.is_ipv4();
        service.tasks.iter().any(|task| task.addresses.iter().any(same))
    };
    let vips: Vec<IpAddr> = vips.iter().filter(served).copied().collect();
    let targets = if vips.is_empty() { Vec::new() } else { vec![target(service.name, 0, vips)] };
    [Arc::new(Offer { ports: ports(), targets }), tasks]
}
