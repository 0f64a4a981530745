//! A network's services as DNS names them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Mode, Service, sound};
use crate::core::names;
use crate::core::tables::{Endpoint, Network, Tables};

impl Tables {
    /// The services that are on a network, the oldest of a name first.
    pub(in crate::core::tables) fn named_services<'a>(
        &'a self,
        network: &'a Network,
    ) -> Vec<names::Service<'a>> {
        let mut services: Vec<&Service> =
            self.services().filter(|s| s.is_on(&network.id)).collect();
        services.sort_by_key(|s| (&s.created, &s.id));
        if services.is_empty() {
            return Vec::new();
        }
        let taken: BTreeSet<IpAddr> =
            self.endpoints_of(&network.id).flat_map(|e| e.addresses.iter().copied()).collect();
        let holders = self.vip_holders(&network.id);
        // As in the plan: where an endpoint has it, it is the endpoint's.
        let has = |s: &Service, ip: &IpAddr| {
            !taken.contains(ip) && holders.get(ip).is_some_and(|holder| holder.id == s.id)
        };
        services.into_iter().map(|s| self.named(network, s, |ip| has(s, ip))).collect()
    }

    fn named<'a>(
        &'a self,
        network: &Network,
        service: &'a Service,
        has: impl Fn(&IpAddr) -> bool,
    ) -> names::Service<'a> {
        let joined = service.active().filter(|joined| joined.network == network.id);
        let vips = joined.flat_map(|joined| sound(network, &joined.vips)).filter(has);
        names::Service {
            name: &service.name,
            aliases: &service.aliases,
            vips: (service.mode == Mode::Vip).then(|| vips.collect()),
            tasks: self.tasks(network, service),
            ports: service.published.iter().map(|p| (p.target, p.protocol)).collect(),
        }
    }

    /// The endpoints that take new flows.
    fn tasks<'a>(&'a self, network: &Network, service: &Service) -> Vec<names::Task<'a>> {
        let usable = |e: &&Endpoint| {
            let usable = e.service.as_ref().is_some_and(|b| service.can_use(&e.id, b));
            e.network == network.id && usable && self.is_made(e)
        };
        let task = |e: &'a Endpoint| names::Task {
            name: &e.name,
            addresses: &e.addresses,
            weight: e.service.as_ref().map_or(0, |b| service.weight_of(&e.id, b)),
        };
        self.backends_of(&service.id).filter(usable).map(task).collect()
    }
}
