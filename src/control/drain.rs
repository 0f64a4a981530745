//! Backends that go without a request being lost.
//!
//! First nobody gives them new flows: every live host is told, and says itself that
//! its data plane knows. Then what runs may end, as long as the drain allows; how
//! much that is, each host says of its own flows. What is left at the end is reset,
//! and the endpoint goes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{Error, blocking};
use super::state::{Control, State};
use crate::core::balance::Standing;
use crate::core::cluster::entry::{Key, NodeId};
use crate::core::cluster::rpc::{Request, Response};
use crate::core::tables::{Endpoint, Id};

/// How often hosts are asked for what is still running.
const PACE: Duration = Duration::from_millis(200);
/// How long hosts have for the last word.
const RESET: Duration = Duration::from_secs(2);

impl Control {
    /// Takes an endpoint of this host off its network, once nobody uses it as a
    /// backend any more. `drain`: for how many seconds running flows may go on; what
    /// the service says if `None`.
    pub async fn detach(
        self: Arc<Self>,
        reference: String,
        drain: Option<u32>,
    ) -> Result<(), Error> {
        let begun = self.clone();
        let Some((id, patience)) = blocking(move || begun.begin_drain(&reference, drain)).await?
        else {
            return Ok(());
        };
        let end = Instant::now() + patience;
        let drained = timeout_at(end, self.drained(&id)).await.is_ok();
        if !drained {
            // Who does not hear of it any more resets when the endpoint is gone.
            let _ =
                timeout_at(Instant::now() + RESET, self.ask_about(&id, true, &mut BTreeSet::new()))
                    .await;
        }
        blocking(move || self.detach_local(&id)).await
    }

    /// Marks an endpoint as draining, and how long that may take; `None`: it was
    /// detached at once, as there is nothing to wait for.
    fn begin_drain(
        &self,
        reference: &str,
        drain: Option<u32>,
    ) -> Result<Option<(Id, Duration)>, Error> {
        let endpoint = self.own_endpoint(reference)?;
        let seconds = {
            let state = self.lock();
            let backing = endpoint.service.as_ref();
            let service = backing.and_then(|b| state.tables.get_service(&b.service));
            service.map_or(0, |s| drain.unwrap_or(s.drain))
        };
        if seconds == 0 {
            return self.detach_local(&endpoint.id).map(|()| None);
        }
        self.set_standing(&endpoint.id, Standing::Draining);
        Ok(Some((endpoint.id, Duration::from_secs(seconds.into()))))
    }

    /// Returns when no live host has a flow to this endpoint any more. Who has none,
    /// and knows how it stands, gets none.
    async fn drained(&self, id: &Id) {
        let mut done = BTreeSet::new();
        while !self.ask_about(id, false, &mut done).await {
            sleep(PACE).await;
        }
    }

    /// Asks all live hosts but those in `done` for their flows to an endpoint of this
    /// one, or to end them (`reset`). Those that say that they have none join `done`;
    /// true if all have, and this host has none either.
    async fn ask_about(&self, id: &Id, reset: bool, done: &mut BTreeSet<NodeId>) -> bool {
        let (request, contacts) = {
            let state = self.lock();
            let Some(endpoint) = state.tables.get_endpoint(id) else { return true };
            let Some(request) = request(&state, endpoint, reset) else { return false };
            (request, contacts(&state, done))
        };
        let mut all = self.flows_to(id, reset) == 0;
        let ask = async |(node, exchange, at)| (node, self.ask(&exchange, at, &request).await);
        for (node, answer) in join_all(contacts.into_iter().map(ask)).await {
            match answer {
                Ok(Response::Flows(0)) => {
                    done.insert(node);
                }
                _ => all = false,
            }
        }
        all
    }

    /// How many flows this host has to an endpoint.
    fn flows_to(&self, id: &Id, reset: bool) -> u64 {
        let found = {
            let state = self.lock();
            let endpoint = state.tables.get_endpoint(id);
            endpoint.and_then(|e| Some((state.tables.network_of(e)?.vni, e.addresses.clone())))
        };
        let Some((vni, addresses)) = found else { return 0 };
        if reset {
            self.dataplane.reset_flows(vni, &addresses);
            return 0;
        }
        self.dataplane.flows(vni, &addresses)
    }

    /// Answers a host that drains an endpoint of its own; its entries are taken in
    /// already.
    pub(super) fn answer_drain(&self, peer: NodeId, endpoint: [u8; 32], reset: bool) -> Response {
        let id = Id::new(endpoint);
        let holder = self.lock().remote_nodes.get(&id).copied();
        match holder {
            Some(holder) if holder == peer => Response::Flows(self.flows_to(&id, reset)),
            Some(_) => Response::Refused("another host holds that endpoint".to_owned()),
            // It is not known here, or hidden: nobody is sent there.
            None => Response::Flows(0),
        }
    }
}

/// `None` while this host cannot store what it would tell.
fn request(state: &State, endpoint: &Endpoint, reset: bool) -> Option<Request> {
    let machine = &state.cluster.machine;
    if machine.is_mute() {
        return None;
    }
    let (network, id) = (endpoint.network.bytes()?, endpoint.id.bytes()?);
    let entry = machine.replica().entry(&Key::Endpoint(machine.me(), network, id))?.clone();
    Some(Request::Drain { entries: vec![entry], endpoint: id, reset })
}

/// The other live members but those in `done`: who, and as whom and where they are asked.
fn contacts(state: &State, done: &BTreeSet<NodeId>) -> Vec<(NodeId, [u8; 32], SocketAddr)> {
    let machine = &state.cluster.machine;
    let others = machine.up().into_iter().filter(|id| *id != machine.me() && !done.contains(id));
    let contact = |id: NodeId| machine.contact(&id).map(|(exchange, at)| (id, exchange, at));
    others.filter_map(contact).collect()
}
