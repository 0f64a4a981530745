//! Services as the API shows them, and what is wrong with them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::api;
use crate::control::state::{Control, State};
use crate::control::view::node_name;
use crate::core::balance::{Scheduler, Standing};
use crate::core::cluster::entry::{EndpointBody, NodeId};
use crate::core::tables::{
    Backing, Endpoint, Health, Holder, Id, Mode, Network, Probe, Protocol, Published, Service,
    listed,
};

/// What services have to do with each other, with endpoints, and with hosts that are
/// away: found out once for all that are shown.
pub(in crate::control) struct Survey<'a> {
    /// Endpoints of services on hosts that do not answer, by service: the tables hide them.
    away: BTreeMap<&'a Id, Vec<(NodeId, Id, Id, &'a EndpointBody)>>,
    /// By name in lower case.
    names: BTreeMap<String, Vec<&'a Service>>,
    /// Whose virtual IP an address of a network is.
    vips: BTreeMap<(&'a Id, IpAddr), Vec<&'a Service>>,
    /// Virtual IPs that endpoints have too.
    taken: BTreeMap<(&'a Id, IpAddr), &'a Endpoint>,
}

impl<'a> Survey<'a> {
    pub(in crate::control) fn new(control: &Control, state: &'a State) -> Survey<'a> {
        let (mut names, mut vips) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for service in state.tables.services() {
            names.entry(service.name.to_ascii_lowercase()).or_default().push(service);
            for joined in service.active().filter(|_| service.mode == Mode::Vip) {
                for ip in &joined.vips {
                    vips.entry((&joined.network, *ip)).or_default().push(service);
                }
            }
        }
        let mut taken = BTreeMap::new();
        for endpoint in state.tables.endpoints() {
            for ip in &endpoint.addresses {
                if vips.contains_key(&(&endpoint.network, *ip)) {
                    taken.insert((&endpoint.network, *ip), endpoint);
                }
            }
        }
        Survey { away: away(control, state), names, vips, taken }
    }
}

fn away<'a>(
    control: &Control,
    state: &'a State,
) -> BTreeMap<&'a Id, Vec<(NodeId, Id, Id, &'a EndpointBody)>> {
    let (now, machine) = (control.now(), &state.cluster.machine);
    let mut away = BTreeMap::<_, Vec<_>>::new();
    for (node, network, id, body) in machine.endpoints() {
        let Some(backing) = &body.service else { continue };
        if !machine.is_visible(now, &node) {
            let of_service = away.entry(&backing.service).or_default();
            of_service.push((node, Id::new(network), Id::new(id), body));
        }
    }
    away
}

/// A service.
pub(in crate::control) fn service(
    control: &Control,
    state: &State,
    survey: &Survey<'_>,
    service: &Service,
) -> api::Service {
    let here = state.tables.backends_of(&service.id);
    let here = here.filter_map(|e| Some(backend(control, state, service, e, e.service.as_ref()?)));
    let away = survey.away.get(&service.id).into_iter().flatten();
    let away = away.filter_map(|(node, network, id, body)| {
        let backing = body.service.as_ref()?;
        Some(absent(state, service, *node, (network, id), body, backing))
    });
    let mut backends: Vec<api::Backend> = here.chain(away).collect();
    backends.sort_by(|a, b| (&a.network, &a.name, &a.id).cmp(&(&b.network, &b.name, &b.id)));
    let networks = service.active().filter_map(|joined| {
        let network = state.tables.get_network(&joined.network)?;
        Some(api::ServiceNetwork {
            name: network.name.clone(),
            id: network.id.to_string(),
            vips: if service.mode == Mode::Vip { joined.vips.clone() } else { Vec::new() },
        })
    });
    api::Service {
        id: service.id.to_string(),
        name: service.name.clone(),
        created: service.created.clone(),
        mode: service.mode.into(),
        scheduler: service.scheduler.into(),
        affinity: service.affinity,
        health: service.health.clone().map(Into::into),
        drain: service.drain,
        aliases: service.aliases.clone(),
        published: service.published.iter().map(|p| (*p).into()).collect(),
        networks: networks.collect(),
        ready: backends.iter().filter(|b| b.reason.is_none()).count(),
        backends,
        warnings: warnings(state, survey, service),
    }
}

/// An endpoint that the tables show.
fn backend(
    control: &Control,
    state: &State,
    service: &Service,
    endpoint: &Endpoint,
    backing: &Backing,
) -> api::Backend {
    let weight = service.weight_of(&endpoint.id, backing);
    let network = state.tables.network_of(endpoint);
    let (shown, reason) = match backing.standing {
        _ if !service.is_on(&endpoint.network) => off_network(service, network),
        _ if !state.tables.is_made(endpoint) => {
            (api::BackendState::Starting, Some("its interface is being made".to_owned()))
        }
        standing => standing_of(service, standing, weight),
    };
    api::Backend {
        name: endpoint.name.clone(),
        id: endpoint.id.to_string(),
        network: network.map(|n| n.name.clone()).unwrap_or_default(),
        addresses: endpoint.addresses.clone(),
        node: match endpoint.holder {
            Holder::Here => control.options.name.clone(),
            Holder::Vtep(_) => node_name(state, endpoint),
        },
        weight,
        state: shown,
        reason,
    }
}

/// An endpoint of a host that does not answer.
fn absent(
    state: &State,
    service: &Service,
    node: NodeId,
    (network, id): (&Id, &Id),
    body: &EndpointBody,
    backing: &Backing,
) -> api::Backend {
    let node = state.cluster.machine.name_of(&node);
    api::Backend {
        name: body.name.clone(),
        id: id.to_string(),
        network: state.tables.get_network(network).map(|n| n.name.clone()).unwrap_or_default(),
        addresses: body.addresses.clone(),
        weight: service.weight_of(id, backing),
        state: api::BackendState::Away,
        reason: Some(format!("host {node} does not answer")),
        node,
    }
}

fn off_network(
    service: &Service,
    network: Option<&Network>,
) -> (api::BackendState, Option<String>) {
    let network = network.map_or("", |n| &n.name);
    let reason = format!(
        "service {0} is not on network {network}: `vxmesh service update --network-add {network} {0}` brings it back there",
        service.name
    );
    (api::BackendState::OffNetwork, Some(reason))
}

fn standing_of(
    service: &Service,
    standing: Standing,
    weight: u16,
) -> (api::BackendState, Option<String>) {
    let check = service.health.as_ref().map(|h| match &h.probe {
        Probe::Tcp(port) => format!(" (tcp:{port})"),
        Probe::Http(port, path) => format!(" (http:{port}{path})"),
    });
    let check = check.unwrap_or_default();
    let reason = match standing {
        Standing::Ready if weight == 0 => Some("its weight is 0".to_owned()),
        Standing::Ready => None,
        Standing::Starting => Some(format!("its first health check{check} has not ended")),
        Standing::Unhealthy => Some(format!("it fails its health check{check}")),
        Standing::Draining => Some("it is about to be detached".to_owned()),
    };
    (standing.into(), reason)
}

/// The service of an endpoint, if there is such a service.
pub(in crate::control) fn membership(
    state: &State,
    endpoint: &Endpoint,
) -> Option<api::Membership> {
    let backing = endpoint.service.as_ref()?;
    let service = state.tables.get_service(&backing.service)?;
    let off = !service.is_on(&endpoint.network);
    Some(api::Membership {
        name: service.name.clone(),
        id: service.id.to_string(),
        weight: service.weight_of(&endpoint.id, backing),
        state: if off { api::BackendState::OffNetwork } else { backing.standing.into() },
    })
}

/// What is wrong with services, for `status`: those without anybody in one sentence,
/// because there may be many.
pub(in crate::control) fn all_warnings(control: &Control, state: &State) -> Vec<String> {
    let survey = Survey::new(control, state);
    let idle = state.tables.services().filter(|s| !is_usable(state, s));
    let idle: Vec<&str> = idle.map(|s| s.name.as_str()).collect();
    let services = if idle.len() == 1 { "service" } else { "services" };
    let idle = (!idle.is_empty()).then(|| {
        format!(
            "no endpoint of {services} {} takes traffic: `vxmesh service inspect` says why",
            listed(idle)
        )
    });
    let conflicts = state.tables.services().flat_map(|s| conflicts(state, &survey, s));
    idle.into_iter().chain(conflicts).collect()
}

fn warnings(state: &State, survey: &Survey<'_>, service: &Service) -> Vec<String> {
    let name = &service.name;
    let idle = (!is_usable(state, service)).then(|| {
        if state.tables.backends_of(&service.id).next().is_some() {
            return format!("no endpoint of service {name} takes traffic");
        }
        format!("service {name} has no endpoint within reach: attach some with --service {name}")
    });
    idle.into_iter().chain(conflicts(state, survey, service)).collect()
}

/// Whether anybody takes new flows.
fn is_usable(state: &State, service: &Service) -> bool {
    state.tables.backends_of(&service.id).any(|e| {
        let usable = e.service.as_ref().is_some_and(|b| service.can_use(&e.id, b));
        usable && service.is_on(&e.network) && state.tables.is_made(e)
    })
}

/// What only a fault, or two hosts that did not see each other, can have brought about.
fn conflicts(state: &State, survey: &Survey<'_>, service: &Service) -> Vec<String> {
    let other = |s: &&&Service| s.id != service.id;
    let namesakes = survey.names.get(&service.name.to_ascii_lowercase());
    let namesake = namesakes.into_iter().flatten().find(other).map(|other| {
        format!(
            "services {} and {} are both called {}: remove one of them by its id",
            service.id.short(),
            other.id.short(),
            service.name
        )
    });
    let doubled = service.active().filter(|_| service.mode == Mode::Vip).flat_map(|joined| {
        joined.vips.iter().filter_map(|ip| {
            let at = (&joined.network, *ip);
            let twin = survey.vips.get(&at).into_iter().flatten().find(other);
            let has_it = || {
                state
                    .tables
                    .vip_holders(&joined.network)
                    .get(ip)
                    .is_some_and(|s| s.id == service.id)
            };
            let what = match (survey.taken.get(&at), twin) {
                (Some(endpoint), _) => {
                    format!("the address of endpoint {}, which has it", endpoint.name)
                }
                (None, Some(twin)) if has_it() => {
                    format!("named by service {} too, which does not have it", twin.name)
                }
                (None, Some(twin)) => format!("named by service {} too, which has it", twin.name),
                (None, None) => return None,
            };
            let network = state.tables.get_network(&joined.network)?;
            Some(format!(
                "virtual IP {ip} of service {} on network {} is {what}: remove one of the two",
                service.name, network.name
            ))
        })
    });
    namesake.into_iter().chain(doubled).collect()
}

impl From<Standing> for api::BackendState {
    fn from(standing: Standing) -> api::BackendState {
        match standing {
            Standing::Ready => api::BackendState::Ready,
            Standing::Starting => api::BackendState::Starting,
            Standing::Unhealthy => api::BackendState::Unhealthy,
            Standing::Draining => api::BackendState::Draining,
        }
    }
}

impl From<Mode> for api::EndpointMode {
    fn from(mode: Mode) -> api::EndpointMode {
        match mode {
            Mode::Vip => api::EndpointMode::Vip,
            Mode::Dnsrr => api::EndpointMode::Dnsrr,
        }
    }
}

impl From<Scheduler> for api::Scheduler {
    fn from(scheduler: Scheduler) -> api::Scheduler {
        match scheduler {
            Scheduler::RoundRobin => api::Scheduler::Rr,
            Scheduler::Maglev => api::Scheduler::Maglev,
            Scheduler::LeastConn => api::Scheduler::LeastConn,
        }
    }
}

impl From<Health> for api::Health {
    fn from(health: Health) -> api::Health {
        api::Health {
            probe: match health.probe {
                Probe::Tcp(port) => api::Probe::Tcp(port),
                Probe::Http(port, path) => api::Probe::Http { port, path },
            },
            interval_ms: health.interval,
            timeout_ms: health.timeout,
            retries: health.retries,
        }
    }
}

impl From<Published> for api::Published {
    fn from(port: Published) -> api::Published {
        api::Published {
            published: (port.published != 0).then_some(port.published),
            target: port.target,
            protocol: match port.protocol {
                Protocol::Tcp => api::Protocol::Tcp,
                Protocol::Udp => api::Protocol::Udp,
                Protocol::Sctp => api::Protocol::Sctp,
            },
        }
    }
}
