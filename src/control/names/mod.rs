//! DNS in the sandboxes: sockets at 127.0.0.11, port 53, and what is asked of
//! upstream resolvers.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`gateway`] | questions to a gateway's address, for virtual machines |
//! | [`sockets`] | opens a sandbox's sockets inside its namespace, and serves them |
//! | [`service`] | answers from what is published, forwards the rest |
//! | [`upstream`] | one exchange with a resolver |
//! | [`resolv`] | resolv.conf: the host's, read; a sandbox's, written and put back |
//!
//! All sockets are served on the daemon's runtime. What is served follows from what
//! is attached: [`Control::serve_names`] compares the two, after every change and
//! with every sweep, so that what could not be done is tried again.

pub(super) mod gateway;
mod resolv;
mod service;
mod sockets;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use resolv::Written;
pub(super) use resolv::place;
use service::Service;
use sockets::{Server, Sockets};

use super::error::Error;
use super::netns::{self, Identity};
use super::state::{Control, State};
use super::store::{self, Store};
use crate::api::Sandbox;
use crate::core::names::{View, Zone, forward};
use crate::core::plan::PortId;
use crate::core::tables::Id;

/// Where names are served in every sandbox: Docker's address for it.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// And its port.
const PORT: u16 = 53;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asker {
    /// A sandbox, by its own socket.
    Sandbox(Identity),
    /// An endpoint, by its network's gateway.
    Endpoint(Id),
}

/// What is served.
#[derive(Debug)]
pub(super) struct Names {
    service: Arc<Service>,
    /// Locked for long, and before the state if both are.
    served: Mutex<Served>,
    /// Whose TAP each port is, and its network's MTU.
    ports: ArcSwap<BTreeMap<PortId, (Asker, u16)>>,
    /// As the user gave them; the host's if empty.
    resolvers: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Served {
    servers: BTreeMap<Identity, Server>,
    /// The files that were written, by their paths.
    files: BTreeMap<PathBuf, Written>,
}

/// What an attached sandbox is to have.
#[derive(Debug)]
struct Wanted {
    sandbox: Sandbox,
    files: BTreeSet<PathBuf>,
}

impl Names {
    /// Nothing is served yet. `resolvers` are asked what is not the cluster's; the
    /// host's are if there are none.
    pub(super) fn open(store: &Store, resolvers: &[IpAddr]) -> Result<Names, Error> {
        let files = store.all::<Written>(store::RESOLV_CONFS)?;
        let files = files.into_iter().map(|(path, written)| (path.into(), written)).collect();
        let names = Names {
            service: Arc::default(),
            served: Mutex::new(Served { servers: BTreeMap::new(), files }),
            ports: ArcSwap::default(),
            resolvers: resolvers.iter().copied().map(forward::at).collect(),
        };
        names.follow_host();
        Ok(names)
    }

    /// Asks the resolvers that the host has now.
    pub(super) fn follow_host(&self) {
        self.service.set_upstreams(match &self.resolvers[..] {
            [] => resolv::of_host(),
            given => given.to_vec(),
        });
    }

    /// Lets each sandbox see the names of the networks that it is on.
    pub(super) fn publish(&self, state: &mut State) {
        let (zones, subnets) = (state.tables.zones(), state.tables.subnets());
        let mut seen: BTreeMap<Asker, Vec<Arc<Zone>>> = BTreeMap::new();
        let mut ports = BTreeMap::new();
        for (id, attachment) in &state.attachments {
            let bound = state.tables.port(id).zip(state.tables.get_endpoint(id));
            let Some((port, endpoint)) = bound else { continue };
            let network = state.tables.network_of(endpoint);
            let Some((network, zone)) = network.zip(zones.get(&endpoint.network)) else { continue };
            let asker = Asker::Endpoint(id.clone());
            ports.insert(port, (asker.clone(), state.tables.mtu(network)));
            seen.insert(asker, vec![zone.clone()]);
            let zones = seen.entry(Asker::Sandbox(attachment.identity)).or_default();
            if !zones.iter().any(|known| Arc::ptr_eq(known, zone)) {
                zones.push(zone.clone());
            }
        }
        let view = |(asker, zones)| (asker, View::new(zones, subnets.clone()));
        self.ports.store(Arc::new(ports));
        self.service.publish(seen.into_iter().map(view).collect());
    }

    /// Who asks through a port's TAP, and the largest packet that reaches it.
    fn endpoint_at(&self, port: PortId) -> Option<(Asker, u16)> {
        self.ports.load().get(&port).cloned()
    }

    /// What was answered and forwarded so far.
    pub(super) fn counters(&self) -> [(&'static str, u64); 4] {
        self.service.counters()
    }
}

impl Control {
    /// Serves names in every sandbox that has an endpoint, and in no other. Why one
    /// is not served is kept in the state. Blocks, in the sandboxes' namespaces.
    pub(super) fn serve_names(&self) {
        let mut served = self.names.served.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.wanted_names();
        let mut unserved = self.follow_sandboxes(&mut served.servers, &wanted);
        unserved.extend(self.follow_files(&mut served, &wanted));
        let mut state = self.lock();
        for (sandbox, why) in &unserved {
            if state.unserved.get(sandbox) != Some(why) {
                tracing::warn!("{why}");
            }
        }
        state.unserved = unserved;
    }

    /// Closes and opens sockets.
    fn follow_sandboxes(
        &self,
        servers: &mut BTreeMap<Identity, Server>,
        wanted: &BTreeMap<Identity, Wanted>,
    ) -> BTreeMap<Identity, String> {
        servers.retain(|sandbox, _| wanted.contains_key(sandbox));
        let mut unserved = BTreeMap::new();
        for (identity, wanted) in wanted {
            if servers.contains_key(identity) {
                continue;
            }
            match self.serve(*identity, &wanted.sandbox) {
                Ok(server) => drop(servers.insert(*identity, server)),
                Err(why) => drop(unserved.insert(*identity, why.to_string())),
            }
        }
        unserved
    }

    /// Writes the files of sandboxes that are served, and puts back those of others.
    fn follow_files(
        &self,
        served: &mut Served,
        wanted: &BTreeMap<Identity, Wanted>,
    ) -> BTreeMap<Identity, String> {
        let Served { servers, files } = served;
        let wanted = wanted.iter().filter(|(sandbox, _)| servers.contains_key(sandbox));
        let wanted: BTreeMap<&PathBuf, Identity> =
            wanted.flat_map(|(id, wanted)| wanted.files.iter().map(|path| (path, *id))).collect();
        let stale = files.keys().filter(|path| !wanted.contains_key(path));
        for path in stale.cloned().collect::<Vec<PathBuf>>() {
            if let Err(e) = resolv::put_back(&self.store, &path, files) {
                tracing::warn!("{e}");
            }
        }
        let mut unwritten = BTreeMap::new();
        for (path, sandbox) in wanted {
            if !files.contains_key(path)
                && let Err(why) = resolv::write(&self.store, path, files)
            {
                unwritten.insert(sandbox, why.to_string());
            }
        }
        unwritten
    }

    /// Sandboxes with an endpoint. A TAP on the host has none: who is behind it has
    /// a resolver of its own.
    fn wanted_names(&self) -> BTreeMap<Identity, Wanted> {
        let state = self.lock();
        let mut wanted: BTreeMap<Identity, Wanted> = BTreeMap::new();
        for (id, attachment) in &state.attachments {
            if state.tables.port(id).is_none() || matches!(attachment.sandbox, Sandbox::Tap(_)) {
                continue;
            }
            let sandbox = attachment.sandbox.clone();
            let of = || Wanted { sandbox, files: BTreeSet::new() };
            let wanted = wanted.entry(attachment.identity).or_insert_with(of);
            wanted.files.extend(attachment.resolv_conf.clone());
        }
        wanted
    }

    fn serve(&self, identity: Identity, sandbox: &Sandbox) -> Result<Server, Error> {
        let Some(namespace) = netns::find(sandbox, identity) else {
            return Err(Error::Failed("names are not served in a sandbox that is gone".to_owned()));
        };
        let sockets = namespace.run(Sockets::open)?;
        let service = self.names.service.clone();
        Server::start(&self.runtime, service, Asker::Sandbox(identity), sockets)
    }
}
