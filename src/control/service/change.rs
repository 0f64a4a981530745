//! What a request makes of a service's record.

use crate::api;
use crate::control::error::Error;
use crate::control::state::State;
use crate::core::balance::Scheduler;
use crate::core::tables::{
    Endpoint, Health, Id, Joined, Mode, Probe, Protocol, Published, Refusal, Service, listed,
};

/// The networks that a request names.
pub(super) struct Networks {
    pub(super) add: Vec<Id>,
    pub(super) rm: Vec<Id>,
}

/// Changes a record as far as the request says. Whether the result can be is checked
/// by the caller.
pub(super) fn apply(
    state: &State,
    service: &mut Service,
    networks: &Networks,
    request: &api::ServiceUpdate,
) -> Result<(), Error> {
    leave(state, service, &networks.rm)?;
    join(state, service, &networks.add)?;
    if !service.networks.iter().any(|joined| joined.active) {
        return Err(Error::invalid(format!(
            "service {} would be on no network: add another first, or remove it with `vxmesh service rm`",
            service.name
        )));
    }
    service.mode = request.mode.map_or(service.mode, Into::into);
    service.scheduler = request.scheduler.map_or(service.scheduler, Into::into);
    if let Some(affinity) = request.affinity {
        service.affinity = affinity;
    }
    if let Some(health) = &request.health {
        service.health = health.clone().map(Into::into);
    }
    service.drain = request.drain.unwrap_or(service.drain);
    change_aliases(service, request)?;
    change_ports(service, request)?;
    change_weights(state, service, request)
}

fn leave(state: &State, service: &mut Service, networks: &[Id]) -> Result<(), Error> {
    for network in networks {
        let joined = service.networks.iter_mut().find(|j| j.active && j.network == *network);
        let Some(joined) = joined else {
            let network = state.tables.network(network.as_str())?;
            return Err(Error::conflict(format!(
                "service {} is not on network {}",
                service.name, network.name
            )));
        };
        joined.active = false;
    }
    Ok(())
}

/// A network that it was on before has its virtual IPs still.
fn join(state: &State, service: &mut Service, networks: &[Id]) -> Result<(), Error> {
    for network in networks {
        // It may have been removed while others were asked.
        state.tables.network(network.as_str())?;
        match service.networks.iter_mut().find(|joined| joined.network == *network) {
            Some(joined) => joined.active = true,
            None => service.networks.push(Joined {
                network: network.clone(),
                vips: Vec::new(),
                active: true,
            }),
        }
    }
    Ok(())
}

fn change_aliases(service: &mut Service, request: &api::ServiceUpdate) -> Result<(), Error> {
    for alias in &request.aliases_rm {
        let before = service.aliases.len();
        service.aliases.retain(|a| !a.eq_ignore_ascii_case(alias));
        if service.aliases.len() == before {
            return Err(Error::conflict(format!(
                "service {} has no alias {alias:?}",
                service.name
            )));
        }
    }
    for alias in &request.aliases_add {
        if !service.aliases.iter().any(|a| a.eq_ignore_ascii_case(alias)) {
            service.aliases.push(alias.clone());
        }
    }
    Ok(())
}

fn change_ports(service: &mut Service, request: &api::ServiceUpdate) -> Result<(), Error> {
    for target in &request.published_rm {
        let protocol = Protocol::from(target.protocol);
        let before = service.published.len();
        service.published.retain(|p| (p.target, p.protocol) != (target.target, protocol));
        if service.published.len() == before {
            return Err(Error::conflict(format!(
                "service {} does not publish port {}/{protocol}: name the port at its endpoints",
                service.name, target.target
            )));
        }
    }
    service.published.extend(published(&request.published_add)?);
    Ok(())
}

/// Ports as they are stored.
pub(super) fn published(ports: &[api::Published]) -> Result<Vec<Published>, Error> {
    let stored = |port: &api::Published| {
        if port.published == Some(0) {
            return Err(Error::invalid(
                "port 0 is no port: publish one from 1 to 65535, or leave it out",
            ));
        }
        Ok(Published {
            published: port.published.unwrap_or(0),
            target: port.target,
            protocol: port.protocol.into(),
        })
    };
    ports.iter().map(stored).collect()
}

fn change_weights(
    state: &State,
    service: &mut Service,
    request: &api::ServiceUpdate,
) -> Result<(), Error> {
    if request.weights.is_empty() {
        return Ok(());
    }
    // Those of endpoints that are gone make room; who is away may come back.
    let machine = &state.cluster.machine;
    let all: std::collections::BTreeSet<Id> =
        machine.endpoints().map(|(_, _, id, _)| Id::new(id)).collect();
    service.weights.retain(|id, _| all.contains(id));
    for (reference, weight) in &request.weights {
        for id in backends(state, service, reference)? {
            service.weights.insert(id, *weight);
        }
    }
    Ok(())
}

/// The endpoints of a service with this name, of which there is one on each network; or
/// the one with this id or unambiguous prefix of an id.
fn backends(state: &State, service: &Service, reference: &str) -> Result<Vec<Id>, Error> {
    let found = |wanted: &dyn Fn(&Endpoint) -> bool| -> Vec<Id> {
        let all = state.tables.backends_of(&service.id).filter(|e| wanted(e));
        all.map(|e| e.id.clone()).collect()
    };
    let named = found(&|e| e.name == reference);
    if !named.is_empty() {
        return Ok(named);
    }
    let begun = found(&|e| !reference.is_empty() && e.id.as_str().starts_with(reference));
    match begun.len() {
        1 => Ok(begun),
        0 => Err(Refusal::NotFound(format!(
            "service {} has no endpoint {reference:?}: `vxmesh service inspect {}` shows those it has",
            service.name, service.name
        ))
        .into()),
        _ => Err(Error::conflict(format!(
            "{reference:?} begins the ids of several endpoints: {}; give more digits",
            listed(begun.iter().map(Id::short))
        ))),
    }
}

impl From<api::EndpointMode> for Mode {
    fn from(mode: api::EndpointMode) -> Mode {
        match mode {
            api::EndpointMode::Vip => Mode::Vip,
            api::EndpointMode::Dnsrr => Mode::Dnsrr,
        }
    }
}

impl From<api::Scheduler> for Scheduler {
    fn from(scheduler: api::Scheduler) -> Scheduler {
        match scheduler {
            api::Scheduler::Rr => Scheduler::RoundRobin,
            api::Scheduler::Maglev => Scheduler::Maglev,
            api::Scheduler::LeastConn => Scheduler::LeastConn,
        }
    }
}

impl From<api::Protocol> for Protocol {
    fn from(protocol: api::Protocol) -> Protocol {
        match protocol {
            api::Protocol::Tcp => Protocol::Tcp,
            api::Protocol::Udp => Protocol::Udp,
            api::Protocol::Sctp => Protocol::Sctp,
        }
    }
}

impl From<api::Health> for Health {
    fn from(health: api::Health) -> Health {
        Health {
            probe: match health.probe {
                api::Probe::Tcp(port) => Probe::Tcp(port),
                api::Probe::Http { port, path } => Probe::Http(port, path),
            },
            interval: health.interval_ms,
            timeout: health.timeout_ms,
            retries: health.retries,
        }
    }
}
