//! What a service may be: in itself, and beside what is there.

use std::collections::BTreeSet;

use super::{Health, Mode, Probe, Published, Service};
use crate::core::balance::Scheduler;
use crate::core::tables::{Id, Network, Refusal, Tables, check_name};

/// Aliases and published ports of one service.
const MANY: usize = 64;
/// Networks that it is or was on.
const NETWORKS: usize = 32;
/// Virtual IPs: one for each network and family, and some to spare for hosts that chose
/// at once.
const VIPS: usize = 96;
/// Weights: with all of the above they must fit one entry.
const WEIGHTS: usize = 64;
/// The longest affinity, a day, and the longest time to drain, in seconds.
const DAY: u32 = 24 * 3600;
/// The longest path of a health check, in bytes.
const PATH: usize = 256;
/// What begins the names that stand for a service's endpoints themselves.
const TASKS: &str = "tasks.";

impl Service {
    /// Whether it could be a service, whoever says so.
    pub fn check(&self) -> Result<(), Refusal> {
        check_service_name(&self.name)?;
        self.aliases.iter().try_for_each(|alias| check_alias(alias))?;
        self.published.iter().try_for_each(|port| match port.target {
            0 => Err(invalid("port 0 is no port: publish one from 1 to 65535")),
            _ => Ok(()),
        })?;
        if let Some(health) = &self.health {
            health.check()?;
        }
        if self.affinity.is_some_and(|seconds| !(1..=DAY).contains(&seconds)) {
            return Err(invalid(format!("an affinity lasts from 1 to {DAY} seconds")));
        }
        if self.drain > DAY {
            return Err(invalid(format!("draining may take {DAY} seconds at most")));
        }
        let networks: BTreeSet<&Id> = self.networks.iter().map(|joined| &joined.network).collect();
        if networks.len() < self.networks.len() {
            return Err(invalid("a network is named twice: name it once"));
        }
        for (what, count, most) in [
            ("aliases", self.aliases.len(), MANY),
            ("published ports", self.published.len(), MANY),
            ("networks", self.networks.len(), NETWORKS),
            ("weights", self.weights.len(), WEIGHTS),
            ("virtual IPs", self.networks.iter().map(|j| j.vips.len()).sum(), VIPS),
        ] {
            if count > most {
                return Err(invalid(format!(
                    "service {} would have {count} {what}: {most} is the most",
                    self.name
                )));
            }
        }
        Ok(())
    }

    /// Whether its parts agree with each other.
    pub fn check_consistent(&self) -> Result<(), Refusal> {
        let mut ports = BTreeSet::new();
        let mut twice = |p: &&Published| {
            !ports.insert((p.published, p.protocol, (p.published == 0).then_some(p.target)))
        };
        if let Some(port) = self.published.iter().find(&mut twice) {
            return Err(invalid(format!(
                "port {port} is published twice: publish it once, or take it off first"
            )));
        }
        let what = match (self.mode, self.affinity, self.scheduler) {
            (Mode::Vip, ..) | (Mode::Dnsrr, None, Scheduler::RoundRobin) => return Ok(()),
            (Mode::Dnsrr, Some(_), _) => "an affinity (--affinity none)",
            (Mode::Dnsrr, None, _) => "a scheduler (--scheduler rr)",
        };
        Err(invalid(format!(
            "service {} would have {what}, which mode dnsrr cannot honour, because clients choose among the addresses themselves: leave it out, or use --endpoint-mode vip",
            self.name
        )))
    }

    /// Whether it answers to this name in DNS, on the networks that it is on.
    fn is_called(&self, name: &str) -> bool {
        let own = |name: &str| name.eq_ignore_ascii_case(&self.name);
        match strip_tasks(name) {
            Some(rest) => own(rest) || self.has_alias(rest),
            None => own(name),
        }
    }

    fn has_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    fn shares_network(&self, other: &Service) -> bool {
        self.active().any(|joined| other.is_on(&joined.network))
    }
}

impl Health {
    fn check(&self) -> Result<(), Refusal> {
        let (port, path) = match &self.probe {
            Probe::Tcp(port) => (*port, "/"),
            Probe::Http(port, path) => (*port, path.as_str()),
        };
        let printable = path.bytes().all(|b| b.is_ascii_graphic());
        let problem = if port == 0 {
            "port 0 is no port: check one from 1 to 65535".to_owned()
        } else if !path.starts_with('/') || !printable || path.len() > PATH {
            format!(
                "{path:?} is no path: begin with \"/\" and use at most {PATH} printable characters"
            )
        } else if !(100..=3_600_000).contains(&self.interval) {
            "the interval of a health check is from 100ms to 1h".to_owned()
        } else if !(10..=60_000).contains(&self.timeout) {
            "the timeout of a health check is from 10ms to 60s".to_owned()
        } else if self.retries == 0 {
            "a health check has at least one try: retries=1".to_owned()
        } else {
            return Ok(());
        };
        Err(invalid(problem))
    }
}

impl Tables {
    /// Whether a service, new or changed, can stand beside all others: by its names and
    /// by its ports.
    pub fn check_service(&self, service: &Service) -> Result<(), Refusal> {
        service.check()?;
        service.check_consistent()?;
        let others = || self.services().filter(|other| other.id != service.id);
        if let Some(other) = others().find(|s| s.name.eq_ignore_ascii_case(&service.name)) {
            return Err(Refusal::Conflict(format!(
                "service {} exists already ({}): choose another name, or remove it first",
                other.name,
                other.id.short()
            )));
        }
        for other in others() {
            check_beside(service, other)?;
        }
        service.active().try_for_each(|joined| self.check_endpoints(service, &joined.network))
    }

    /// Whether no endpoint of a network has a name that would be the service's too.
    fn check_endpoints(&self, service: &Service, network: &Id) -> Result<(), Refusal> {
        let clash = self.endpoints_of(network).find_map(|endpoint| {
            let named = service.is_called(&endpoint.name) || service.has_alias(&endpoint.name);
            let alias = endpoint.aliases.iter().find(|alias| service.is_called(alias));
            let what = if named { "name" } else { "alias" };
            let name = named.then_some(&endpoint.name).or(alias)?;
            Some((endpoint, what, name))
        });
        let Some((endpoint, what, name)) = clash else { return Ok(()) };
        let network = self.get_network(network).map_or(network.short(), |n| &n.name);
        Err(Refusal::Conflict(format!(
            "{name} is the {what} of endpoint {} on network {network}, and would be that of service {} too: choose another, or detach that endpoint",
            endpoint.name, service.name
        )))
    }

    /// Whether no service of a network has this name, which an endpoint is to have. As
    /// aliases, services and endpoints may share one.
    pub(in crate::core::tables) fn check_not_a_services(
        &self,
        network: &Network,
        name: &str,
        own: bool,
    ) -> Result<(), Refusal> {
        let clash = |s: &&Service| s.is_called(name) || (own && s.has_alias(name));
        match self.services().filter(|s| s.is_on(&network.id)).find(clash) {
            Some(service) => Err(Refusal::Conflict(format!(
                "{name} is a name of service {} on network {}: choose another, or attach with --service {}",
                service.name, network.name, service.name
            ))),
            None => Ok(()),
        }
    }
}

/// Whether two services' names and ports can be told from each other.
fn check_beside(service: &Service, other: &Service) -> Result<(), Refusal> {
    let taken = |p: &&Published| {
        let same = |o: &Published| o.published == p.published && o.protocol == p.protocol;
        p.published != 0 && other.published.iter().any(same)
    };
    if let Some(port) = service.published.iter().find(taken) {
        return Err(Refusal::Conflict(format!(
            "port {}/{} is published by service {} already: choose another",
            port.published, port.protocol, other.name
        )));
    }
    if !service.shares_network(other) {
        return Ok(());
    }
    let alias = service.aliases.iter().find(|alias| other.is_called(alias));
    let name = other.has_alias(&service.name).then_some(&service.name).or(alias);
    match name {
        Some(name) => Err(Refusal::Conflict(format!(
            "{name} is a name of service {} already, on a network that both are on: choose another",
            other.name
        ))),
        None => Ok(()),
    }
}

/// The rule for names of services: one label of DNS, so that `name.network` and
/// `_port._proto.name` can be told apart.
fn check_service_name(name: &str) -> Result<(), Refusal> {
    let ends = [name.bytes().next(), name.bytes().last()];
    let ends = ends.iter().all(|end| end.is_some_and(|b| b.is_ascii_alphanumeric()));
    let all = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !ends || !all || name.len() > 63 {
        return Err(invalid(format!(
            "{name:?} cannot be the name of a service: use 1 to 63 letters, digits, \"_\" and \"-\", beginning and ending with a letter or digit"
        )));
    }
    check_not_tasks(name)
}

fn check_alias(alias: &str) -> Result<(), Refusal> {
    check_name("an alias", alias)?;
    check_not_tasks(alias)
}

/// `tasks.NAME` stands for the endpoints of service NAME.
fn check_not_tasks(name: &str) -> Result<(), Refusal> {
    if name.eq_ignore_ascii_case("tasks") || strip_tasks(name).is_some() {
        return Err(invalid(format!(
            "{name:?} cannot be a name of a service: tasks.NAME stands for the endpoints of service NAME"
        )));
    }
    Ok(())
}

fn strip_tasks(name: &str) -> Option<&str> {
    let (head, rest) = name.split_at_checked(TASKS.len())?;
    head.eq_ignore_ascii_case(TASKS).then_some(rest)
}

fn invalid(sentence: impl Into<String>) -> Refusal {
    Refusal::Invalid(sentence.into())
}
