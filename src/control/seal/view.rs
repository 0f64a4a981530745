//! Encrypted networks as the API shows them.

use std::collections::{BTreeMap, BTreeSet};

use super::offer::Ability;
use crate::api;
use crate::control::state::{Control, State};
use crate::core::cluster::entry::NodeId;
use crate::core::seal::Report;
use crate::core::tables::{Holder, Id, Network, Tables};

/// How it is with the other hosts.
pub(in crate::control) struct Sessions(BTreeMap<NodeId, api::Session>);

impl Sessions {
    /// As the data plane says; waits for it.
    pub(in crate::control) fn ask(control: &Control, state: &State) -> Sessions {
        let name = |node: &NodeId| state.cluster.machine.name_of(node);
        let wanted = |node: &NodeId| state.told.wants(node);
        Sessions::of(&control.dataplane.sessions(), name, wanted)
    }

    pub(super) fn of(
        reports: &[Report],
        name: impl Fn(&NodeId) -> String,
        wanted: impl Fn(&NodeId) -> bool,
    ) -> Sessions {
        let sessions = reports.iter().map(|report| {
            let node = report.node;
            (node, session(report, name(&node), wanted(&node)))
        });
        // Others are of no interest, and in a large cluster there are many.
        Sessions(sessions.filter(|(_, session)| is_of_interest(session)).collect())
    }

    /// With one host, if there is something to say.
    pub(in crate::control) fn with(&self, node: &NodeId) -> Option<api::Session> {
        self.0.get(node).cloned()
    }

    /// Why there is no traffic with a host; `None` if there is a session.
    fn obstacle(&self, node: &NodeId) -> Option<String> {
        match self.0.get(node) {
            Some(session) if session.cipher.is_some() => None,
            Some(api::Session { trouble: Some(trouble), .. }) => Some(trouble.clone()),
            _ => Some("its key is not known yet: wait a second".to_owned()),
        }
    }
}

fn session(report: &Report, node: String, wanted: bool) -> api::Session {
    let session = report.session.as_ref();
    api::Session {
        node,
        wanted,
        cipher: session.map(|s| s.suite.name().to_owned()),
        age: session.map(|s| s.age.as_secs()),
        handshake: session.map(|s| s.handshake.as_secs()),
        handshakes: session.map_or(0, |s| s.handshakes),
        sealed: report.sealed,
        opened: report.opened,
        drops: report.drops.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect(),
        trouble: report.trouble.clone(),
    }
}

fn is_of_interest(s: &api::Session) -> bool {
    let counted = s.sealed > 0 || s.opened > 0 || !s.drops.is_empty();
    s.wanted || s.cipher.is_some() || s.trouble.is_some() || counted
}

/// The part of `status`.
pub(in crate::control) fn encrypted(control: &Control, state: &State) -> api::Encrypted {
    let sessions = Sessions::ask(control, state);
    let name = |node: &NodeId| state.cluster.machine.name_of(node);
    let all = state.tables.networks().filter(|n| n.encrypted());
    let of = |n| network(&state.tables, &state.remote_nodes, &sessions, n, name);
    let mut networks: Vec<api::EncryptedNetwork> = all.map(of).collect();
    networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let mut sessions: Vec<api::Session> = sessions.0.into_values().collect();
    sessions.sort_by(|a, b| a.node.cmp(&b.node));
    api::Encrypted { ciphers: ciphers(&control.ability), networks, sessions }
}

fn ciphers(ability: &Ability) -> Vec<api::Cipher> {
    let cipher = |(suite, pace): &(crate::core::seal::cipher::Suite, std::time::Duration)| {
        let nanoseconds = u64::try_from(pace.as_nanos()).unwrap_or(u64::MAX);
        api::Cipher { name: suite.name().to_owned(), nanoseconds }
    };
    ability.ciphers.iter().map(cipher).collect()
}

/// `nodes` says which node holds each endpoint of another host.
pub(super) fn network(
    tables: &Tables,
    nodes: &BTreeMap<Id, NodeId>,
    sessions: &Sessions,
    network: &Network,
    name: impl Fn(&NodeId) -> String,
) -> api::EncryptedNetwork {
    let read = tables.ledger(&network.id).unwrap_or_default();
    let here = tables.endpoints_of(&network.id).any(|e| e.holder == Holder::Here);
    let there = tables.endpoints_of(&network.id).filter(|_| here);
    let there: BTreeSet<NodeId> = there.filter_map(|e| nodes.get(&e.id).copied()).collect();
    let unreachable = there.iter().filter_map(|node| {
        let reason = sessions.obstacle(node)?;
        Some(api::Unreachable { node: name(node), reason })
    });
    let mut unreachable: Vec<api::Unreachable> = unreachable.collect();
    unreachable.sort_by(|a, b| a.node.cmp(&b.node));
    api::EncryptedNetwork {
        name: network.name.clone(),
        id: network.id.to_string(),
        sealed: read.sealed,
        opened: read.opened,
        clear_refused: read.clear_refused,
        clear_sent: read.clear_sent,
        clear_accepted: read.clear_accepted,
        unreachable,
    }
}

/// Encrypted networks of which something was in clear: a fault, and stopped.
pub(in crate::control) fn warnings(tables: &Tables) -> impl Iterator<Item = String> {
    let leaky = |network: &Network| {
        let read = tables.ledger(&network.id)?;
        let (sent, accepted) = (read.clear_sent, read.clear_accepted);
        (sent + accepted > 0).then(|| {
            format!(
                "network {} is encrypted, and {sent} datagrams of it were about to leave in clear and {accepted} frames to arrive so; they were dropped, but this is a fault of vxmesh: please report it",
                network.name
            )
        })
    };
    tables.networks().filter_map(leaky)
}
