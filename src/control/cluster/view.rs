//! The cluster as the API shows it.

use ipnet::IpNet;

use crate::api;
use crate::control::seal::view::Sessions;
use crate::control::state::{Control, State};
use crate::core::cluster::allocate;
use crate::core::cluster::entry::{NodeId, Space};
use crate::core::cluster::holding::Range;
use crate::core::cluster::machine::Machine;

/// The whole cluster.
pub(in crate::control) fn cluster(control: &Control, state: &State) -> api::Cluster {
    let machine = &state.cluster.machine;
    let pools = machine.pools();
    api::Cluster {
        id: state.cluster.tag.to_string(),
        default_addr_pool: pools.map(|p| p.pools.clone()).unwrap_or_default(),
        default_addr_pool_mask_length: pools.map_or(0, |p| p.length),
        key: machine.key_number(),
        nodes: nodes(control, state),
    }
}

/// All members, this host first, the others by name.
pub(in crate::control) fn nodes(control: &Control, state: &State) -> Vec<api::Node> {
    let sessions = Sessions::ask(control, state);
    let members = state.cluster.machine.replica().members();
    let of = |(id, _)| node(control, state, &sessions, id);
    let mut all: Vec<api::Node> = members.map(of).collect();
    all.sort_by(|a, b| (!a.this, &a.name, &a.id).cmp(&(!b.this, &b.name, &b.id)));
    all
}

/// One member.
pub(in crate::control) fn node(
    control: &Control,
    state: &State,
    sessions: &Sessions,
    id: NodeId,
) -> api::Node {
    let machine = &state.cluster.machine;
    let said = machine.replica().node(&id).cloned().unwrap_or_else(|| control.myself());
    let this = id == machine.me();
    let node_state = match machine.down_since(&id) {
        _ if this && let Some(by) = removed_by(state) => api::NodeState::Removed { by },
        _ if this || machine.is_up(&id) => api::NodeState::Up,
        Some(since) => {
            api::NodeState::Down { seconds: control.now().saturating_sub(since).as_secs() }
        }
        None => api::NodeState::Unknown,
    };
    api::Node {
        id: id.to_string(),
        name: machine.name_of(&id),
        this,
        state: node_state,
        vtep: said.vtep,
        control: said.control,
        version: said.program.clone(),
        endpoints: machine.endpoints().filter(|(node, ..)| *node == id).count(),
        path_mtu: machine.path_mtu(&id),
        seal: sessions.with(&id),
    }
}

/// The name of the node that has removed this host from the cluster.
pub(in crate::control) fn removed_by(state: &State) -> Option<String> {
    let machine = &state.cluster.machine;
    machine.removed_by().map(|id| machine.name_of(&id))
}

/// The cluster's part of `status`.
pub(in crate::control) fn state(control: &Control, state: &State) -> api::ClusterState {
    let machine = &state.cluster.machine;
    let differing = machine.differing(control.now());
    api::ClusterState {
        id: state.cluster.tag.to_string(),
        nodes: machine.replica().members().count(),
        up: 1 + machine.up().len(),
        control: control.myself().control,
        health: machine.health(),
        key: machine.key_number(),
        differing: differing.map(|id| machine.name_of(&id)).collect(),
        refused: refused(state),
        capacity: capacity(machine),
    }
}

fn refused(state: &State) -> Vec<api::Refused> {
    let machine = &state.cluster.machine;
    let entries = machine.replica().refused().iter().map(|((node, refusal), count)| api::Refused {
        node: machine.name_of(node),
        reason: refusal.name().to_owned(),
        count: *count,
    });
    let datagrams = machine.counters().refused.iter().map(|(reason, count)| api::Refused {
        node: String::new(),
        reason: (*reason).to_owned(),
        count: *count,
    });
    let connections = (state.cluster.refused_connections > 0).then(|| api::Refused {
        node: String::new(),
        reason: "connection".to_owned(),
        count: state.cluster.refused_connections,
    });
    entries.chain(datagrams).chain(connections).collect()
}

/// What can be allocated: VNIs, default subnets, and each network's addresses.
fn capacity(machine: &Machine) -> Vec<api::Capacity> {
    let mut all = vec![of_space(machine, "vni", Space::Vni, &[allocate::VNIS], 1)];
    if let Some(pools) = machine.pools() {
        let parts: Vec<Range> = pools.pools.iter().map(|p| Range::from(IpNet::from(*p))).collect();
        let block = 1u128 << (32 - pools.length.min(32));
        all.push(of_space(machine, "subnets", Space::Ipv4, &parts, block));
    }
    for network in machine.networks() {
        let Some(id) = network.id.bytes() else { continue };
        for (i, pool) in network.pools.iter().enumerate() {
            let name = format!("{} {}", network.name, pool.net);
            let parts = [Range::from(pool.part())];
            all.push(of_space(machine, &name, Space::Pool(id, i as u8), &parts, 1));
        }
    }
    all
}

fn of_space(
    machine: &Machine,
    name: &str,
    space: Space,
    parts: &[Range],
    block: u128,
) -> api::Capacity {
    let used = machine.used(space);
    let blocks = |n: u128| u64::try_from(n / block).unwrap_or(u64::MAX);
    let sum = |count: &dyn Fn(Range) -> u128| {
        blocks(parts.iter().map(|part| count(*part)).fold(0, u128::saturating_add))
    };
    let shares = machine.holdings(space).map(|(node, holding)| api::Share {
        node: machine.name_of(&node),
        owned: sum(&|part| holding.capacity(part, &used).owned),
        free: sum(&|part| holding.capacity(part, &used).free),
    });
    api::Capacity {
        space: name.to_owned(),
        total: sum(&|part| part.count()),
        used: sum(&|part| used.intersect(&part.into()).count()),
        shares: shares.filter(|s| s.owned > 0).collect(),
    }
}
