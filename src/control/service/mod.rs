//! Services: created, changed and removed on any host.
//!
//! A change is made to the latest record that any host within reach has, under the lock,
//! and the whole record is written: changes one after the other add up, and of two at once
//! the later one counts, the same everywhere.
//!
//! | file | what it does |
//! | --- | --- |
//! | `mod` | the verbs |
//! | `change` | what a request makes of a record |
//! | `view` | a service as the API shows it, and what is wrong with it |

mod change;
pub(super) mod view;

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::cluster::verbs::check_belongs;
use super::error::Error;
use super::state::{Control, State, new_id};
use crate::api;
use crate::core::cluster::entry::Key;
use crate::core::tables::{Id, Joined, Service};

/// How long running flows of an endpoint that goes may go on unless said otherwise, in
/// seconds, as Docker's containers have from the signal to stop to their end.
const DRAIN: u32 = 10;

impl Control {
    /// All services, by name.
    pub fn services(&self) -> Vec<api::Service> {
        let state = self.lock();
        let survey = view::Survey::new(self, &state);
        let mut all: Vec<_> =
            state.tables.services().map(|s| view::service(self, &state, &survey, s)).collect();
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        all
    }

    /// One service.
    pub fn service(&self, reference: &str) -> Result<api::Service, Error> {
        let (state, service) = self.find_service(reference, None)?;
        Ok(view::service(self, &state, &view::Survey::new(self, &state), &service))
    }

    /// Creates a service.
    pub fn create_service(&self, request: &api::ServiceCreate) -> Result<api::Service, Error> {
        let networks = self.network_ids(&request.networks)?;
        if networks.is_empty() {
            return Err(Error::invalid(
                "a service is on at least one network: name one with --network",
            ));
        }
        let joined =
            |network: &Id| Joined { network: network.clone(), vips: Vec::new(), active: true };
        let service = Service {
            id: new_id()?,
            name: request.name.clone(),
            created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            mode: request.mode.into(),
            scheduler: request.scheduler.into(),
            affinity: request.affinity,
            health: request.health.clone().map(Into::into),
            drain: request.drain.unwrap_or(DRAIN),
            aliases: request.aliases.clone(),
            published: change::published(&request.published)?,
            networks: networks.iter().map(joined).collect(),
            weights: BTreeMap::new(),
        };
        let (mut state, service) = self.allocate_vips(|state| {
            state.tables.check_service(&service)?;
            networks.iter().try_for_each(|id| state.tables.network(id.as_str()).map(drop))?;
            Ok(service.clone())
        })?;
        state.cluster.machine.publish_service(self.now(), &service);
        if let Err(e) = self.settle_cluster(&mut state) {
            state.cluster.machine.withdraw_service(self.now(), &service.id);
            // It is mute until the disk takes the state again.
            let _ = self.settle_cluster(&mut state);
            return Err(e);
        }
        self.wake.notify_one();
        tracing::info!(service = service.name, "service created");
        Ok(view::service(self, &state, &view::Survey::new(self, &state), &service))
    }

    /// Changes a service.
    pub fn update_service(
        &self,
        reference: &str,
        request: &api::ServiceUpdate,
    ) -> Result<api::Service, Error> {
        let id = self.latest_service(reference)?;
        let networks = change::Networks {
            add: self.network_ids(&request.networks_add)?,
            rm: self.network_ids(&request.networks_rm)?,
        };
        let (mut state, service) = self.allocate_vips(|state| {
            let mut service = state.tables.service(id.as_str())?.clone();
            state.cluster.machine.check_changeable(&id).map_err(Error::conflict)?;
            service.networks.retain(|joined| !is_deleted(state, &joined.network));
            change::apply(state, &mut service, &networks, request)?;
            state.tables.check_service(&service)?;
            Ok(service)
        })?;
        let before = state.tables.get_service(&id).cloned();
        state.cluster.machine.publish_service(self.now(), &service);
        if let Err(e) = self.settle_cluster(&mut state) {
            if let Some(before) = before {
                state.cluster.machine.publish_service(self.now(), &before);
            }
            let _ = self.settle_cluster(&mut state);
            return Err(e);
        }
        self.wake.notify_one();
        tracing::info!(service = service.name, "service changed");
        Ok(view::service(self, &state, &view::Survey::new(self, &state), &service))
    }

    /// Removes a service. Its endpoints stay attached, and belong to none.
    pub fn remove_service(&self, reference: &str) -> Result<(), Error> {
        let (mut state, service) = self.find_service(reference, None)?;
        check_belongs(&state)?;
        state.cluster.machine.withdraw_service(self.now(), &service.id);
        self.settle_cluster(&mut state)?;
        self.wake.notify_one();
        tracing::info!(service = service.name, "service removed");
        Ok(())
    }

    /// The ids of networks, each once.
    fn network_ids(&self, references: &[String]) -> Result<Vec<Id>, Error> {
        let mut ids: Vec<Id> = Vec::new();
        for reference in references {
            let id = self.find_network(reference)?.1.id;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

/// Whether a network is known to be deleted. It never comes back, and its addresses are
/// nobody's; one that is only unknown here may be about to be heard of.
fn is_deleted(state: &State, network: &Id) -> bool {
    let entry =
        network.bytes().and_then(|id| state.cluster.machine.replica().entry(&Key::Network(id)));
    entry.is_some_and(|entry| entry.body.is_none())
}
