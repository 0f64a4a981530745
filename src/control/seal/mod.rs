//! Encrypted networks, as the control side has them.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod` | tells the data plane who the other hosts are, and which keys all share |
//! | `offer` | which ciphers this host can do |
//! | `view` | networks and sessions as the API shows them |

pub(super) mod offer;
#[cfg(test)]
mod tests;
pub(super) mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::state::{Control, State};
use crate::core::cluster::entry::NodeId;
use crate::core::cluster::machine::Machine;
use crate::core::seal::{Config, Peer};
use crate::core::tables::{Endpoint, Holder, Id, Network, Tables};

/// What the data plane was told last.
#[derive(Default)]
pub(super) struct Told(Option<Config>);

/// Not the keys.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.0.as_ref().map(|config| &config.peers);
        f.debug_struct("Told").field("peers", &peers).finish_non_exhaustive()
    }
}

impl Told {
    fn is(&self, new: &Config) -> bool {
        // Every field by its name: a new one has to be compared too.
        let Config { private, peers, keys, primary, port } = new;
        self.0.as_ref().is_some_and(|old| {
            (&old.private, &old.peers, &old.keys) == (private, peers, keys)
                && (old.primary, old.port) == (*primary, *port)
        })
    }

    fn wants(&self, node: &NodeId) -> bool {
        let peers = self.0.iter().flat_map(|config| &config.peers);
        peers.into_iter().any(|peer| peer.node == *node && peer.wanted)
    }

    fn has_keys_of(&self, machine: &Machine) -> bool {
        let ring = machine.ring();
        self.0.as_ref().is_some_and(|c| c.primary == ring.primary() && c.keys == *ring.keys())
    }
}

impl Control {
    /// Tells the data plane who the other hosts are, if that has changed.
    pub(super) fn tell_peers(&self, state: &mut State) {
        let State { cluster, tables, remote_nodes, .. } = state;
        let config = config(&cluster.machine, tables, remote_nodes, self.options.data_port);
        if !state.told.is(&config) {
            self.dataplane.set_peers(config.clone());
            state.told = Told(Some(config));
        }
    }

    /// The same where it can only be the ring that has changed: it turns by itself.
    pub(super) fn tell_keys(&self, state: &mut State) {
        if !state.told.has_keys_of(&state.cluster.machine) {
            self.tell_peers(state);
        }
    }
}

/// `nodes` says which node holds each endpoint of another host.
fn config(machine: &Machine, tables: &Tables, nodes: &BTreeMap<Id, NodeId>, port: u16) -> Config {
    let replica = machine.replica();
    let (me, wanted) = (machine.me(), wanted(tables, nodes));
    let others = replica.members().filter(|(id, _)| *id != me);
    let peers = others.filter_map(|(node, public)| {
        let vtep = replica.node(&node)?.vtep;
        Some(Peer { node, public, vtep, wanted: wanted.contains(&node) })
    });
    Config {
        private: replica.identity().exchange_private(),
        peers: peers.collect(),
        keys: machine.ring().keys().clone(),
        primary: machine.ring().primary(),
        port,
    }
}

/// The nodes that share an encrypted network with this host.
fn wanted(tables: &Tables, nodes: &BTreeMap<Id, NodeId>) -> BTreeSet<NodeId> {
    let encrypted: BTreeSet<&Id> =
        tables.networks().filter(|n| n.encrypted()).map(|n: &Network| &n.id).collect();
    if encrypted.is_empty() {
        return BTreeSet::new();
    }
    let here = |e: &&Endpoint| e.holder == Holder::Here && encrypted.contains(&e.network);
    let shared: BTreeSet<&Id> = tables.endpoints().filter(here).map(|e| &e.network).collect();
    let on_them = tables.endpoints().filter(|e| shared.contains(&e.network));
    on_them.filter_map(|e| nodes.get(&e.id).copied()).collect()
}
