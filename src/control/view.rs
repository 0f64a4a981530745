//! Records as the API shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::cluster;
use super::config::Mode;
use super::seal;
use super::service;
use super::state::{Control, State};
use crate::api;
use crate::core::drops::Reason;
use crate::core::tables::{Endpoint, Holder, Network};
use crate::dataplane::tap::Kind;

/// A network in the shape of `docker network inspect`.
pub(super) fn network(control: &Control, state: &State, network: &Network) -> api::Network {
    let config = network.pools.iter().map(|p| api::IpamConfig {
        subnet: p.net,
        ip_range: p.range,
        gateway: p.gateway,
    });
    let local = state.tables.endpoints_of(&network.id).filter(|e| e.holder == Holder::Here);
    api::Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: network.created.clone(),
        scope: "swarm".to_owned(),
        driver: "vxmesh".to_owned(),
        enable_ipv6: network.has_ipv6(),
        ipam: api::Ipam { driver: "default".to_owned(), config: config.collect() },
        internal: network.internal,
        vni: network.vni,
        mtu: state.tables.mtu(network),
        containers: local.map(|e| (e.id.to_string(), container(network, e))).collect(),
        options: network.options.clone(),
        labels: network.labels.clone(),
        peers: peers(control, state, network),
    }
}

fn container(network: &Network, endpoint: &Endpoint) -> api::Container {
    let prefixes = endpoint.prefixes(network);
    let first = |ipv4: bool| {
        let found = prefixes.iter().find(|p| p.addr().is_ipv4() == ipv4);
        found.map(IpNet::to_string).unwrap_or_default()
    };
    api::Container {
        name: endpoint.name.clone(),
        endpoint_id: endpoint.id.to_string(),
        mac_address: endpoint.mac,
        ipv4_address: first(true),
        ipv6_address: first(false),
    }
}

/// The hosts that hold endpoints, by name, then the foreign VTEPs: the same list
/// on every host but for the latter.
fn peers(control: &Control, state: &State, network: &Network) -> Vec<api::Peer> {
    let mut hosts: BTreeSet<(String, IpAddr)> = BTreeSet::new();
    for endpoint in state.tables.endpoints_of(&network.id) {
        hosts.insert(match endpoint.holder {
            Holder::Here => (control.options.name.clone(), control.underlay.vtep),
            Holder::Vtep(vtep) => (node_name(state, endpoint), vtep),
        });
    }
    let foreign = state.tables.foreign(&network.id).into_iter().map(|ip| (ip.to_string(), ip));
    hosts.into_iter().chain(foreign).map(|(name, ip)| api::Peer { name, ip }).collect()
}

/// An endpoint.
pub(super) fn endpoint(state: &State, endpoint: &Endpoint) -> api::Endpoint {
    let network = state.tables.network_of(endpoint);
    let holder = match (endpoint.holder, state.attachments.get(&endpoint.id)) {
        (Holder::Here, Some(attachment)) => api::Holder::Local {
            sandbox: attachment.sandbox.clone(),
            ifname: attachment.ifname.clone(),
            tap: kind(attachment.kind).to_owned(),
        },
        (Holder::Here, None) => {
            api::Holder::Remote { vtep: state.tables.underlay().vtep, node: String::new() }
        }
        (Holder::Vtep(vtep), _) => api::Holder::Remote { vtep, node: node_name(state, endpoint) },
    };
    api::Endpoint {
        id: endpoint.id.to_string(),
        name: endpoint.name.clone(),
        network: network.map(|n| n.name.clone()).unwrap_or_default(),
        network_id: endpoint.network.to_string(),
        mac: endpoint.mac,
        addresses: network.map(|n| endpoint.prefixes(n)).unwrap_or_default(),
        gateways: network.map(|n| endpoint.gateways(n)).unwrap_or_default(),
        aliases: endpoint.aliases.clone(),
        created: endpoint.created.clone(),
        service: service::view::membership(state, endpoint),
        holder,
        warnings: unserved(state, endpoint).cloned().into_iter().collect(),
    }
}

/// Why names are not served in an endpoint's sandbox, if that is so.
fn unserved<'a>(state: &'a State, endpoint: &Endpoint) -> Option<&'a String> {
    state.unserved.get(&state.attachments.get(&endpoint.id)?.identity)
}

/// The name of the node that holds an endpoint of another host.
pub(super) fn node_name(state: &State, endpoint: &Endpoint) -> String {
    let node = state.remote_nodes.get(&endpoint.id);
    node.map(|id| state.cluster.machine.name_of(id)).unwrap_or_default()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Fast => "fast",
        Kind::Plain => "plain",
    }
}

/// How the daemon is.
pub(super) fn status(control: &Control, state: &State) -> api::Status {
    let counters = control.dataplane.counters();
    let mut named: BTreeMap<String, u64> =
        counters.traffic().iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    named.insert("endpoints_released".to_owned(), state.released);
    named.extend(control.names.counters().map(|(name, n)| (name.to_owned(), n)));
    let drops = Reason::ALL.iter().map(|r| (r, counters.drops(*r))).filter(|(_, n)| *n > 0);
    let endpoints = state.tables.endpoints().filter(|e| e.holder == Holder::Here).count();
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: control.options.name.clone(),
        pid: std::process::id(),
        uptime: control.started.elapsed().as_secs(),
        data_dir: control.options.data_dir.display().to_string(),
        underlay: api::Underlay {
            vtep: control.underlay.vtep,
            interface: control.underlay.interface.clone(),
            mtu: control.underlay.mtu,
            port: control.options.data_port,
        },
        offload: offload(control, state),
        cluster: cluster::view::state(control, state),
        encrypted: seal::view::encrypted(control, state),
        networks: state.tables.networks().count(),
        services: state.tables.services().count(),
        endpoints,
        remote_endpoints: state.tables.endpoints().count() - endpoints,
        counters: named,
        drops: drops
            .map(|(reason, frames)| api::Drop {
                reason: reason.name().to_owned(),
                frames,
                explanation: reason.explain().trim().to_owned(),
            })
            .collect(),
        warnings: warnings(control, state),
    }
}

fn offload(control: &Control, state: &State) -> Vec<api::OffloadState> {
    let off = control.options.offload == Mode::Off;
    let plain = state.attachments.values().find(|a| a.kind == Kind::Plain);
    let lacking = state.attachments.values().find_map(|a| a.reason.clone());
    let reason = match plain {
        _ if off => "switched off by --offload off".to_owned(),
        Some(plain) => plain.reason.clone().unwrap_or_else(|| {
            "some TAPs were made with --offload off; attach them anew".to_owned()
        }),
        None => lacking.unwrap_or_default(),
    };
    let active = !off && plain.is_none();
    let tap = api::OffloadState { name: "tap".to_owned(), active, reason };
    let udp = control.dataplane.offload().into_iter().map(|o| api::OffloadState {
        name: o.name.to_owned(),
        active: o.active,
        reason: o.reason,
    });
    std::iter::once(tap).chain(udp).collect()
}

fn warnings(control: &Control, state: &State) -> Vec<String> {
    let displaced = state.tables.displaced().into_iter().map(|(one, other)| {
        format!(
            "networks {} and {} have the same VNI, {}, so that nothing of {} is carried: remove one of them",
            one.name, other.name, one.vni, one.name
        )
    });
    let removed = cluster::view::removed_by(state).map(|by| api::removal_notice(&by));
    removed
        .into_iter()
        .chain(too_large(state))
        .chain(seal::view::warnings(&state.tables))
        .chain(displaced)
        .chain(service::view::all_warnings(control, state))
        .chain(without_names(state))
        .collect()
}

/// Networks whose MTU the underlay no longer carries.
fn too_large(state: &State) -> Vec<String> {
    let largest = |n: &Network| state.tables.underlay().largest_mtu(n.encrypted());
    let too_large = state.tables.networks().filter(|n| state.tables.mtu(n) > largest(n));
    too_large
        .map(|n| {
            format!(
                "network {} has an MTU of {}, but the underlay takes {} only: raise the underlay's, or create the network anew",
                n.name,
                state.tables.mtu(n),
                largest(n)
            )
        })
        .collect()
}

/// Endpoints whose sandbox is not answered.
fn without_names(state: &State) -> impl Iterator<Item = String> {
    state.tables.endpoints().filter_map(|e| {
        let why = unserved(state, e)?;
        Some(format!("endpoint {}: {why}", e.name))
    })
}
