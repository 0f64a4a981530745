//! Sandboxes that vanish.
//!
//! The data plane's descriptor of a TAP keeps its namespace alive, so that the
//! kernel never takes an interface away with its container. A sandbox counts as
//! gone when its path is no longer that namespace and no process is inside.

use std::collections::BTreeSet;

use super::attach::{Attachment, own_link};
use super::netlink::Netlink;
use super::netns::{self, Identity};
use super::state::Control;
use crate::api::Sandbox;
use crate::core::plan::PortId;
use crate::core::tables::{Endpoint, Holder, Id};

impl Control {
    /// Releases the endpoints whose sandboxes are gone, and looks after names.
    pub(super) fn sweep(&self) {
        self.names.follow_host();
        self.release_vanished();
        self.serve_names();
    }

    fn release_vanished(&self) {
        let attached: Vec<(Id, Attachment)> = {
            let state = self.lock();
            let bound = state.attachments.iter().filter(|(id, _)| state.tables.port(id).is_some());
            bound.map(|(id, a)| (id.clone(), a.clone())).collect()
        };
        for id in self.orphans() {
            self.release(&id, "its network was removed");
        }
        let missing: Vec<_> = attached.into_iter().filter(|(_, a)| !in_place(a)).collect();
        if missing.is_empty() {
            return;
        }
        let held: BTreeSet<Identity> =
            netns::of_processes().into_iter().map(|(id, _)| id).collect();
        for (id, _) in missing.iter().filter(|(_, a)| !held.contains(&a.identity)) {
            self.release(id, "its sandbox is gone");
        }
    }

    /// Endpoints here whose network another host removed while it did not see them.
    fn orphans(&self) -> Vec<Id> {
        let state = self.lock();
        let gone = |e: &&Endpoint| e.holder == Holder::Here && state.tables.network_of(e).is_none();
        let bound = |e: &&Endpoint| state.tables.port(&e.id).is_some();
        state.tables.endpoints().filter(gone).filter(bound).map(|e| e.id.clone()).collect()
    }

    /// The data plane no longer reads a TAP. Where the interface was deleted
    /// the endpoint is released. Where it is there (the event may be an old one,
    /// of an endpoint that had this number before) its TAP is opened anew.
    pub(super) fn port_gone(&self, port: PortId) {
        let (endpoint, attachment, mtu) = {
            let state = self.lock();
            let Some(id) = state.tables.port_owner(port) else { return };
            let known = state.tables.get_endpoint(id).zip(state.attachments.get(id));
            let Some((endpoint, attachment)) = known else { return };
            let mtu = state.tables.network_of(endpoint).map_or(0, |n| state.tables.mtu(n));
            (endpoint.clone(), attachment.clone(), mtu)
        };
        if !exists(&attachment, &endpoint) {
            return self.release(&endpoint.id, "its interface was deleted");
        }
        {
            let mut state = self.lock();
            if state.tables.port(&endpoint.id) != Some(port) {
                return;
            }
            state.tables.unbind(&endpoint.id);
            self.publish(&mut state);
            self.dataplane.remove_port(port);
        }
        self.take_up(&endpoint, Some(&attachment), mtu);
        self.publish(&mut self.lock());
    }

    fn release(&self, id: &Id, why: &str) {
        match self.detach_local(id) {
            Ok(()) => {
                tracing::info!("endpoint {} released: {why}", id.short());
                self.lock().released += 1;
            }
            // Somebody else is at it; the next sweep looks again.
            Err(e) => tracing::debug!("endpoint {} not released: {e}", id.short()),
        }
    }
}

/// Whether a sandbox's path still leads to its namespace.
fn in_place(attachment: &Attachment) -> bool {
    if matches!(attachment.sandbox, Sandbox::Tap(_)) {
        return true;
    }
    let path = netns::path(&attachment.sandbox).ok().flatten();
    path.is_some_and(|p| Identity::at(&p).is_ok_and(|id| id == attachment.identity))
}

fn exists(attachment: &Attachment, endpoint: &Endpoint) -> bool {
    let Some(namespace) = netns::find(&attachment.sandbox, attachment.identity) else {
        return false;
    };
    // Where netlink fails nothing is known, and nothing is released.
    namespace
        .run(|| own_link(&Netlink::open()?, attachment, endpoint))
        .map_or(true, |link| link.is_some())
}
