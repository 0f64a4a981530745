//! The one owner of the tables: what the API asks of networks, foreign VTEPs
//! and endpoints of other hosts.
//!
//! Every method blocks (on the lock, on the disk); the server calls them on
//! blocking threads. A change is checked, then stored, then published.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::attach::Attachment;
use super::cluster::driver::Wake;
use super::cluster::verbs::check_belongs;
use super::cluster::{self, Cluster};
use super::config::Options;
use super::error::{Error, failed};
use super::names::Names;
use super::netlink::Netlink;
use super::netns::{Identity, Namespace};
use super::seal::Told;
use super::seal::offer::Ability;
use super::store::{self, Store};
use super::underlay::{self, Underlay};
use super::view;
use crate::api;
use crate::core::cluster::entry::NodeId;
use crate::core::plan::Plan;
use crate::core::tables::{Endpoint, Holder, Id, Network, NewNetwork, Tables};
use crate::dataplane::Dataplane;

/// The daemon as the API sees it.
#[derive(Debug)]
pub struct Control {
    pub(super) options: Options,
    pub(super) underlay: Underlay,
    /// The namespace that the daemon runs in.
    pub(super) own: Namespace,
    /// What it can seal with.
    pub(super) ability: Ability,
    pub(super) started: Instant,
    pub(super) store: Store,
    pub(super) dataplane: Dataplane,
    pub(super) plan: Arc<ArcSwap<Plan>>,
    /// DNS in the sandboxes.
    pub(super) names: Names,
    /// Wakes whoever moves the cluster machine's datagrams.
    pub(super) wake: Wake,
    /// Wakes whoever tests backends, after the tables have changed.
    pub(super) backends_changed: Notify,
    /// What waits for other hosts is waited for here.
    pub(super) runtime: tokio::runtime::Handle,
    /// Held while `network verify` runs: two would hear each other's frames.
    pub(super) verifying: Mutex<()>,
    state: Mutex<State>,
}

/// What was found out about this host.
pub(super) struct Facts {
    /// Where it reaches other hosts.
    pub(super) underlay: Underlay,
    /// The namespace that the daemon runs in.
    pub(super) own: Namespace,
    /// What it can seal with.
    pub(super) ability: Ability,
}

/// What changes while the daemon runs.
#[derive(Debug)]
pub(super) struct State {
    /// This host's part of the cluster; the tables follow from it.
    pub(super) cluster: Cluster,
    pub(super) tables: Tables,
    /// Which node holds each endpoint of another host.
    pub(super) remote_nodes: BTreeMap<Id, NodeId>,
    /// Where the interfaces of this host's endpoints are.
    pub(super) attachments: BTreeMap<Id, Attachment>,
    /// Sandboxes in which names are not served as they should be, and why.
    pub(super) unserved: BTreeMap<Identity, String>,
    /// What the data plane knows of the other hosts.
    pub(super) told: Told,
    /// Endpoints that were released because their sandbox was gone.
    pub(super) released: u64,
}

impl Control {
    /// Takes the parts together, the data plane with the plan that it reads, and
    /// the stored records into the tables.
    pub(super) fn new(
        options: Options,
        Facts { underlay, own, ability }: Facts,
        store: Store,
        (dataplane, plan): (Dataplane, Arc<ArcSwap<Plan>>),
        mut tables: Tables,
        runtime: tokio::runtime::Handle,
    ) -> Result<Control, Error> {
        let keyed = |(_, record): (String, (Id, _))| record;
        tables.restore(store.all(store::VTEPS)?.into_iter().map(keyed));
        let started = Instant::now();
        let node = cluster::myself(&options, &underlay);
        let cluster = Cluster::open(&store, node, started.elapsed())?;
        let attachments = store.all(store::ATTACHMENTS)?.into_iter().map(|(_, r)| r).collect();
        let names = Names::open(&store, &options.dns)?;
        let state = State {
            cluster,
            tables,
            remote_nodes: BTreeMap::new(),
            attachments,
            unserved: BTreeMap::new(),
            told: Told::default(),
            released: 0,
        };
        let control = Control {
            options,
            underlay,
            own,
            ability,
            started,
            store,
            dataplane,
            plan,
            names,
            wake: Wake::default(),
            backends_changed: Notify::new(),
            runtime,
            verifying: Mutex::default(),
            state: Mutex::new(state),
        };
        control.apply_all(&mut control.lock());
        Ok(control)
    }

    /// The state, for a moment: never held over work in a namespace.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the daemon; in tests the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the data plane and DNS see the tables as they are.
    pub(super) fn publish(&self, state: &mut State) {
        self.tell_peers(state);
        self.plan.store(Arc::new(state.tables.plan()));
        self.dataplane.replan();
        self.names.publish(state);
        self.backends_changed.notify_one();
    }

    /// All networks, by name.
    pub fn networks(&self) -> Vec<api::Network> {
        let state = self.lock();
        let mut all: Vec<_> =
            state.tables.networks().map(|n| view::network(self, &state, n)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One network.
    pub fn network(&self, reference: &str) -> Result<api::Network, Error> {
        let (state, network) = self.find_network(reference)?;
        Ok(view::network(self, &state, &network))
    }

    /// Creates a network.
    pub fn create_network(&self, request: api::NetworkCreate) -> Result<api::Network, Error> {
        let routes = self.own.run(|| underlay::host_routes(&Netlink::open()?))?;
        let new = NewNetwork {
            name: request.name,
            subnets: request.subnets,
            gateways: request.gateways,
            ip_range: request.ip_range,
            vni: request.vni,
            mtu: request.mtu,
            internal: request.internal,
            options: request.options,
            labels: request.labels,
        };
        let (mut state, network) = self.allocate_network(&new, &routes)?;
        state.cluster.machine.publish_network(self.now(), &network);
        if let Err(e) = self.settle_cluster(&mut state) {
            state.cluster.machine.withdraw_network(self.now(), &network.id);
            // It is mute until the disk takes the state again.
            let _ = self.settle_cluster(&mut state);
            return Err(e);
        }
        self.wake.notify_one();
        tracing::info!(network = network.name, vni = network.vni.get(), "network created");
        Ok(view::network(self, &state, &network))
    }

    /// Removes a network that is not in use.
    pub fn remove_network(&self, reference: &str) -> Result<(), Error> {
        let (mut state, network) = self.find_network(reference)?;
        self.remove_unused(&mut state, &network.id)
    }

    /// Removes all networks without endpoints and foreign VTEPs.
    pub fn prune(&self) -> Result<api::Pruned, Error> {
        let mut state = self.lock();
        let unused: Vec<(Id, String)> = state
            .tables
            .networks()
            .filter(|n| self.check_unused(&state, n).is_ok())
            .filter(|n| state.tables.foreign(&n.id).is_empty())
            .map(|n| (n.id.clone(), n.name.clone()))
            .collect();
        let mut networks = Vec::new();
        for (id, name) in unused {
            self.remove_unused(&mut state, &id)?;
            networks.push(name);
        }
        networks.sort();
        Ok(api::Pruned { networks })
    }

    /// Whether a network has no endpoints, those included that are hidden but may
    /// come back.
    fn check_unused(&self, state: &State, network: &Network) -> Result<(), Error> {
        state.tables.check_unused(network)?;
        let machine = &state.cluster.machine;
        let Some((node, endpoint)) = machine.hidden_endpoints(self.now(), &network.id).next()
        else {
            return Ok(());
        };
        let host = machine.name_of(&node);
        Err(Error::conflict(format!(
            "network {} is in use by {} on host {host}, which does not answer: detach it when that host is back, wait until it has been away for a day, or remove it with `vxmesh node rm {host}`",
            network.name, endpoint.name
        )))
    }

    fn remove_unused(&self, state: &mut State, id: &Id) -> Result<(), Error> {
        check_belongs(state)?;
        let network = state.tables.network(id.as_str())?;
        self.check_unused(state, network)?;
        let name = network.name.clone();
        state.cluster.machine.withdraw_network(self.now(), id);
        self.store.commit(|c| c.delete(store::VTEPS, id.as_str()))?;
        self.settle_cluster(state)?;
        self.wake.notify_one();
        tracing::info!(network = name, "network removed");
        Ok(())
    }

    /// The foreign VTEPs of a network.
    pub fn vteps(&self, network: &str) -> Result<Vec<IpAddr>, Error> {
        let (state, network) = self.find_network(network)?;
        Ok(state.tables.foreign(&network.id).into_iter().collect())
    }

    /// Adds a foreign VTEP to a network.
    pub fn add_vtep(&self, network: &str, vtep: IpAddr) -> Result<(), Error> {
        self.change_vteps(network, |tables, id| Ok(tables.add_foreign(id, vtep)?))
    }

    /// Removes a foreign VTEP from a network.
    pub fn remove_vtep(&self, network: &str, vtep: IpAddr) -> Result<(), Error> {
        self.change_vteps(network, |tables, id| Ok(tables.remove_foreign(id, vtep)?))
    }

    fn change_vteps(
        &self,
        network: &str,
        change: impl FnOnce(&mut Tables, &Id) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut state, Network { id, .. }) = self.find_network(network)?;
        let before = state.tables.foreign(&id);
        change(&mut state.tables, &id)?;
        let after = state.tables.foreign(&id);
        let stored = self.store.commit(|c| c.put(store::VTEPS, id.as_str(), &(&id, after)));
        if let Err(e) = stored {
            state.tables.restore([(id, before)]);
            return Err(e);
        }
        self.publish(&mut state);
        Ok(())
    }

    /// All endpoints, or those of one network, by network and name.
    pub fn endpoints(&self, network: Option<&str>) -> Result<Vec<api::Endpoint>, Error> {
        let (state, only) = match network {
            Some(network) => {
                let (state, network) = self.find_network(network)?;
                (state, Some(network.id))
            }
            None => (self.lock(), None),
        };
        let mut all: Vec<_> = state
            .tables
            .endpoints()
            .filter(|e| only.as_ref().is_none_or(|id| e.network == *id))
            .map(|e| view::endpoint(&state, e))
            .collect();
        all.sort_by(|a, b| (&a.network, &a.name).cmp(&(&b.network, &b.name)));
        Ok(all)
    }

    /// One endpoint.
    pub fn endpoint(&self, reference: &str) -> Result<api::Endpoint, Error> {
        let state = self.lock();
        Ok(view::endpoint(&state, state.tables.endpoint(reference)?))
    }

    /// An endpoint that this host holds.
    pub(super) fn own_endpoint(&self, reference: &str) -> Result<Endpoint, Error> {
        let state = self.lock();
        let endpoint = state.tables.endpoint(reference)?;
        if endpoint.holder == Holder::Here {
            return Ok(endpoint.clone());
        }
        let node = state.remote_nodes.get(&endpoint.id).map(|n| state.cluster.machine.name_of(n));
        Err(Error::conflict(format!(
            "endpoint {} is on host {}: detach it there",
            endpoint.name,
            node.unwrap_or_default()
        )))
    }

    /// How the daemon is.
    pub fn status(&self) -> api::Status {
        view::status(self, &self.lock())
    }
}

/// A fresh id of the system's random bytes.
pub(super) fn new_id() -> Result<Id, Error> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(failed("the system has no random bytes"))?;
    Ok(Id::new(random))
}
