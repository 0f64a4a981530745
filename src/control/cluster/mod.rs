//! The cluster's machine inside the daemon: what it says is stored before it
//! is sent, and what it learns becomes tables and a plan.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod` | the machine under the state's lock: stored, applied, asked |
//! | `driver` | the control port's sockets |
//! | `stream` | requests over TCP under Noise |
//! | `catch_up` | networks and services that others may have created a moment ago |
//! | `allocation` | addresses, virtual IPs, subnets and VNIs, from here or from others |
//! | `verbs` | what the API asks: init, join, leave, token, nodes |
//! | `view` | the cluster as the API shows it |

mod allocation;
mod catch_up;
pub(super) mod driver;
mod stream;
pub(super) mod verbs;
pub(super) mod view;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::error::{Error, failed};
use super::state::{Control, State};
use super::store::{self, Store};
use crate::core::Now;
use crate::core::cluster::entry::{Body, EndpointBody, Entry, Key, Node, NodeId, Version};
use crate::core::cluster::machine::{Machine, Output, Settings, Start};
use crate::core::cluster::rpc::{Request, Response};
use crate::core::cluster::secret::identity::Identity;
use crate::core::cluster::secret::token::{Tag, Token};
use crate::core::tables::{Endpoint, Holder, Id};

/// This host's part of the cluster, under the state's lock.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) machine: Machine,
    identity: Arc<Identity>,
    tag: Tag,
    /// Entries of others that are not on the disk yet.
    unsaved: BTreeSet<Key>,
    /// Who waits for a removal to end: for each that was begun one, in their order.
    removals: VecDeque<oneshot::Sender<Result<(), String>>>,
    /// Callers that did not show who they are, or were too many.
    refused_connections: u64,
}

/// Who this host is: stored once, changed only by leaving a cluster.
#[derive(Serialize, Deserialize)]
struct Person {
    seed: [u8; 32],
    /// Counts the starts.
    generation: u64,
    tag: [u8; 5],
}

impl Drop for Person {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.seed);
    }
}

impl Cluster {
    /// This host's part as it was stored, or a cluster of one.
    pub(super) fn open(store: &Store, node: Node, now: Now) -> Result<Cluster, Error> {
        let stored: Option<Person> = store.all(store::NODE)?.pop().map(|(_, person)| person);
        let mut person = match stored {
            Some(person) => person,
            None => Person::new()?,
        };
        person.generation += 1;
        let entries = store.entries()?;
        Cluster::start(store, &person, entries, node, now)
    }

    /// Starts the machine of a host with these entries, and stores both in the
    /// place of what was stored.
    fn start(
        store: &Store,
        person: &Person,
        entries: Vec<Entry>,
        node: Node,
        now: Now,
    ) -> Result<Cluster, Error> {
        let identity = Identity::from_seed(&person.seed);
        let start = Start { identity, node, generation: person.generation, entries };
        let machine = Machine::new(now, start, Settings::default(), random()?, random()?);
        let mut cluster = Cluster {
            machine,
            identity: Arc::new(Identity::from_seed(&person.seed)),
            tag: Tag(person.tag),
            unsaved: BTreeSet::new(),
            removals: VecDeque::new(),
            refused_connections: 0,
        };
        cluster.machine.take_changes();
        store.commit(|c| {
            c.put(store::NODE, "self", person)?;
            c.forget_entries()?;
            cluster.machine.replica().entries().try_for_each(|entry| c.put_entry(entry))
        })?;
        Ok(cluster)
    }

    /// Told when the removal has ended that the machine has just begun. To be called
    /// under the same lock, and exactly once for each.
    fn await_removal(&mut self) -> oneshot::Receiver<Result<(), String>> {
        let (tell, told) = oneshot::channel();
        self.removals.push_back(tell);
        told
    }

    fn write(&self, changes: &store::Changes<'_>, keys: &BTreeSet<Key>) -> Result<(), Error> {
        for key in keys {
            match self.machine.replica().entry(key) {
                Some(entry) => changes.put_entry(entry)?,
                None => changes.delete_entry(key)?,
            }
        }
        Ok(())
    }
}

impl Person {
    fn new() -> Result<Person, Error> {
        Ok(Person { seed: random()?, generation: 0, tag: random()? })
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(failed("the system has no random bytes"))?;
    Ok(bytes)
}

impl Control {
    /// Time as the machine knows it.
    pub(super) fn now(&self) -> Now {
        self.started.elapsed()
    }

    /// What this host says of itself.
    pub(super) fn myself(&self) -> Node {
        myself(&self.options, &self.underlay)
    }

    /// Lets the machine take something in, and everything follow from it.
    fn with_machine(&self, work: impl FnOnce(&mut Machine, Now)) {
        let mut state = self.lock();
        work(&mut state.cluster.machine, self.now());
        // What could not be stored is tried again every second.
        let _ = self.settle_cluster(&mut state);
        self.tell_keys(&mut state);
    }

    /// Brings what has changed in the cluster's tables to the disk, into this
    /// host's tables and into the plan. What this host has written itself is on
    /// the disk when this returns, or nothing of it leaves the host: then the
    /// machine is mute until it is.
    pub(super) fn settle_cluster(&self, state: &mut State) -> Result<(), Error> {
        let changed = state.cluster.machine.take_changes();
        if changed.is_empty() {
            return Ok(());
        }
        state.cluster.unsaved.extend(&changed);
        let me = state.cluster.machine.me();
        let mine = |key: &Key| {
            let entry = state.cluster.machine.replica().entry(key);
            entry.is_some_and(|e| e.author == me)
        };
        let urgent = changed.iter().any(mine);
        self.apply(state, &changed);
        if urgent { self.save_now(state) } else { Ok(()) }
    }

    fn save_now(&self, state: &mut State) -> Result<(), Error> {
        let cluster = &mut state.cluster;
        if cluster.unsaved.is_empty() {
            return Ok(());
        }
        let saved = self.store.commit(|c| cluster.write(c, &cluster.unsaved));
        if cluster.machine.is_mute() != saved.is_err() {
            match &saved {
                Ok(()) => tracing::info!("the state can be written again"),
                Err(e) => tracing::error!("this host tells others nothing new: {e}"),
            }
            cluster.machine.set_mute(saved.is_err());
        }
        if saved.is_ok() {
            cluster.unsaved.clear();
        }
        saved
    }

    /// Stores what others wrote.
    fn save(&self) {
        // It was logged when it began.
        let _ = self.save_now(&mut self.lock());
    }

    /// What the machine wants done, whether it is mute, and how long it can wait after that.
    fn outputs(&self) -> (Vec<Output>, bool, Duration) {
        let mut state = self.lock();
        let machine = &mut state.cluster.machine;
        let outputs = std::iter::from_fn(|| machine.output()).collect();
        (outputs, machine.is_mute(), machine.due().saturating_sub(self.now()))
    }

    /// Follows changed entries in the tables of networks and endpoints.
    fn apply(&self, state: &mut State, changed: &BTreeSet<Key>) {
        let mut touched = false;
        for key in changed {
            match key {
                Key::Network(id) => touched |= self.apply_network(state, *id),
                Key::Endpoint(node, network, id) => {
                    touched |= self.apply_endpoint(state, *node, *network, *id);
                }
                Key::Service(id) => touched |= self.apply_service(state, *id),
                Key::Node(node) => touched |= self.apply_node(state, *node),
                _ => {}
            }
        }
        let of_peers = |key: &Key| matches!(key, Key::Member(_) | Key::Secret(_) | Key::Node(_));
        if touched {
            self.publish(state);
        } else if changed.iter().any(of_peers) {
            self.tell_peers(state);
        }
    }

    /// Makes the tables of networks and endpoints anew from the cluster's: after a
    /// start, or when the cluster has become another.
    pub(super) fn apply_all(&self, state: &mut State) {
        let stale: Vec<Id> = state.tables.networks().map(|n| n.id.clone()).collect();
        stale.iter().for_each(|id| state.tables.remove_network(id));
        let stale: Vec<Id> = state.tables.endpoints().map(|e| e.id.clone()).collect();
        stale.iter().for_each(|id| {
            state.tables.remove_endpoint(id);
        });
        let stale: Vec<Id> = state.tables.services().map(|s| s.id.clone()).collect();
        stale.iter().for_each(|id| {
            state.tables.remove_service(id);
        });
        state.remote_nodes.clear();
        state.tables.forget_paths();
        let keys = state.cluster.machine.replica().entries().map(|e| e.key).collect();
        self.apply(state, &keys);
        self.recall(state);
    }

    /// Takes up the records of this host's own endpoints. Those whose interface
    /// nothing is known of are withdrawn.
    fn recall(&self, state: &mut State) {
        let machine = &state.cluster.machine;
        let me = machine.me();
        let own: Vec<Endpoint> = machine
            .endpoints()
            .filter(|(node, ..)| *node == me)
            .map(|(_, network, id, body)| record(network, id, body, Holder::Here))
            .collect();
        for endpoint in own {
            if state.attachments.contains_key(&endpoint.id) {
                state.tables.put_endpoint(endpoint);
            } else {
                let now = self.now();
                state.cluster.machine.withdraw_endpoint(now, &endpoint.network, &endpoint.id);
            }
        }
        // Tried again every second where the disk does not take it.
        let _ = self.settle_cluster(state);
    }

    fn apply_network(&self, state: &mut State, id: [u8; 32]) -> bool {
        let known = state.tables.get_network(&Id::new(id)).is_some();
        match state.cluster.machine.replica().get(&Key::Network(id)) {
            Some(Body::Network(network)) => {
                let network = network.clone();
                state.tables.put_network(network);
                // Its endpoints may have come first.
                let of_network: Vec<(NodeId, [u8; 32])> = state
                    .cluster
                    .machine
                    .endpoints()
                    .filter(|(_, n, ..)| *n == id)
                    .map(|(node, _, endpoint, _)| (node, endpoint))
                    .collect();
                for (node, endpoint) in of_network {
                    self.apply_endpoint(state, node, id, endpoint);
                }
                true
            }
            _ => {
                if known {
                    state.tables.remove_network(&Id::new(id));
                }
                known
            }
        }
    }

    fn apply_service(&self, state: &mut State, id: [u8; 32]) -> bool {
        match state.cluster.machine.replica().get(&Key::Service(id)) {
            Some(Body::Service(service)) => {
                let service = service.clone();
                state.tables.put_service(service);
                true
            }
            _ => state.tables.remove_service(&Id::new(id)),
        }
    }

    fn apply_endpoint(
        &self,
        state: &mut State,
        node: NodeId,
        network: [u8; 32],
        id: [u8; 32],
    ) -> bool {
        let machine = &state.cluster.machine;
        if node == machine.me() {
            return false;
        }
        let key = Key::Endpoint(node, network, id);
        let visible = machine.is_visible(self.now(), &node);
        match (machine.replica().get(&key), machine.replica().node(&node)) {
            (Some(Body::Endpoint(body)), Some(holder)) if visible => {
                let endpoint = record(network, id, body, Holder::Vtep(holder.vtep));
                state.remote_nodes.insert(endpoint.id.clone(), node);
                state.tables.put_endpoint(endpoint)
            }
            _ => {
                let id = Id::new(id);
                state.remote_nodes.remove(&id);
                state.tables.remove_endpoint(&id)
            }
        }
    }

    /// A node has moved, come, gone, or been removed.
    fn apply_node(&self, state: &mut State, node: NodeId) -> bool {
        let first = Key::Endpoint(node, [0; 32], [0; 32]);
        let last = Key::Endpoint(node, [0xff; 32], [0xff; 32]);
        let replica = state.cluster.machine.replica();
        let of_node: Vec<([u8; 32], [u8; 32])> = replica
            .live(first..=last)
            .filter_map(|(key, _)| match key {
                Key::Endpoint(_, network, id) => Some((*network, *id)),
                _ => None,
            })
            .collect();
        let mut touched = false;
        for (network, id) in of_node {
            touched |= self.apply_endpoint(state, node, network, id);
        }
        touched
    }

    /// Shows the endpoints of nodes that are up, and hides the others'.
    fn show_nodes(&self) {
        let mut state = self.lock();
        let members: Vec<NodeId> =
            state.cluster.machine.replica().members().map(|(id, _)| id).collect();
        let mut touched = false;
        for node in members {
            touched |= self.apply_node(&mut state, node);
        }
        let remote: Vec<(Id, NodeId)> =
            state.remote_nodes.iter().map(|(id, node)| (id.clone(), *node)).collect();
        for (id, node) in remote {
            if !state.cluster.machine.replica().is_member(&node) {
                state.remote_nodes.remove(&id);
                touched |= state.tables.remove_endpoint(&id);
            }
        }
        if touched {
            self.publish(&mut state);
        }
    }

    /// Packets up to this size reach a VTEP; `None`: that is not known any more.
    fn path_found(&self, vtep: IpAddr, mtu: Option<u16>) {
        let mut state = self.lock();
        state.tables.set_path_mtu(vtep, mtu);
        self.publish(&mut state);
    }

    /// Asks a member something.
    pub(super) async fn ask(
        &self,
        exchange: &[u8; 32],
        at: SocketAddr,
        request: &Request,
    ) -> io::Result<Response> {
        let (identity, tag) = {
            let state = self.lock();
            (state.cluster.identity.clone(), state.cluster.tag)
        };
        stream::ask(&identity, tag, exchange, at, request).await
    }

    /// Answers a member, once what follows from its request is stored. Where it
    /// leaves, the removal that this has begun is to be awaited first.
    fn answer(
        &self,
        peer: NodeId,
        request: Request,
    ) -> (Response, Option<oneshot::Receiver<Result<(), String>>>) {
        let leaves = matches!(request, Request::Leave(_));
        let drains = match &request {
            Request::Drain { endpoint, reset, .. } => Some((*endpoint, *reset)),
            _ => None,
        };
        let mut state = self.lock();
        let response = state.cluster.machine.request(self.now(), peer, request);
        let begun = leaves && response == Response::Done;
        let removal = begun.then(|| state.cluster.await_removal());
        let response = self.stored(&mut state, response);
        drop(state);
        match (drains, &response) {
            (Some((endpoint, reset)), Response::Done) => {
                (self.answer_drain(peer, endpoint, reset), removal)
            }
            _ => (response, removal),
        }
    }

    /// Answers a host that has shown the token.
    fn admit(&self, exchange: [u8; 32], request: Request) -> Response {
        let mut state = self.lock();
        // The handshake has proven the key; what the request says must agree.
        let Request::Join { exchange: said, entries } = &request else {
            return Response::Refused("a host that is no member may only ask to join".to_owned());
        };
        let author = entries.first().map(|e| e.author);
        let (true, Some(newcomer)) = (*said == exchange, author) else {
            return Response::Refused("the request does not say who asks".to_owned());
        };
        let response = state.cluster.machine.admit(self.now(), newcomer, request);
        self.stored(&mut state, response)
    }

    fn stored(&self, state: &mut State, response: Response) -> Response {
        match self.settle_cluster(state) {
            Ok(()) => response,
            Err(_) => Response::Refused("this host cannot write its state at present".to_owned()),
        }
    }

    fn peer_by_exchange(&self, exchange: &[u8; 32]) -> Option<NodeId> {
        self.lock().cluster.machine.peer_by_exchange(exchange)
    }

    /// Hears from a host that this one may not know who has admitted it, and says
    /// whether that makes it a member.
    fn introduced(&self, exchange: &[u8; 32], chain: Vec<Entry>) -> bool {
        let mut known = false;
        self.with_machine(|machine, now| known = machine.introduced(now, exchange, chain));
        known
    }

    fn identity(&self) -> Arc<Identity> {
        self.lock().cluster.identity.clone()
    }

    /// What callers must know of the cluster.
    fn credentials(&self) -> Option<(Tag, Token)> {
        let state = self.lock();
        let tag = state.cluster.tag;
        Some((tag, Token::new(state.cluster.machine.token()?.0, tag)))
    }

    fn count_refused_connection(&self) {
        self.lock().cluster.refused_connections += 1;
    }

    fn removal_ended(&self, result: Result<(), String>) {
        let mut state = self.lock();
        let stored = !state.cluster.machine.is_mute();
        let result = result.and_then(|()| match stored {
            true => Ok(()),
            false => Err("all members agree, but this host cannot write its state: the removal counts once it can, unless the daemon is restarted before".to_owned()),
        });
        if let Some(tell) = state.cluster.removals.pop_front() {
            // Whoever asked may have gone.
            let _ = tell.send(result);
        }
    }
}

/// An endpoint of the cluster's tables as this host's have it.
fn record(network: [u8; 32], id: [u8; 32], body: &EndpointBody, holder: Holder) -> Endpoint {
    Endpoint {
        id: Id::new(id),
        network: Id::new(network),
        name: body.name.clone(),
        mac: body.mac,
        addresses: body.addresses.clone(),
        aliases: body.aliases.clone(),
        created: body.created.clone(),
        service: body.service.clone(),
        holder,
    }
}

/// What a host with these options and this underlay says of itself.
pub(super) fn myself(
    options: &super::config::Options,
    underlay: &super::underlay::Underlay,
) -> Node {
    Node {
        name: options.name.clone(),
        vtep: underlay.vtep,
        control: SocketAddr::new(underlay.vtep, options.gossip_port),
        mtu: underlay.mtu,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        floor: Version::default(),
        exchange: [0; 32],
        renounced: Default::default(),
    }
}
