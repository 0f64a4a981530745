//! Networks and services that users name. One that is not known here may have been
//! created on another host a moment ago, and one that is known been changed there: others
//! are asked before the answer is no, and before a service is changed.

use std::sync::MutexGuard;
use std::time::Duration;

use tokio::task::JoinSet;

use super::stream;
use crate::control::error::Error;
use crate::control::state::{Control, State};
use crate::core::cluster::entry::{Key, NodeId, Space};
use crate::core::cluster::rpc::{Request, Response};
use crate::core::tables::{Id, Network, Refusal, Service};

/// Members that are asked. In larger clusters gossip has reached most others by
/// the time that somebody types there.
const ASKED: usize = 32;
/// How long they are waited for: a busy machine may give a daemon no time for a second.
/// Who does not answer at all counts as away soon, and then is not asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers, with who gave them and what was compared before.
type Answers = JoinSet<(NodeId, Option<Key>, Option<Response>)>;

impl Control {
    /// The network with this name, id or beginning of an id, and the lock under
    /// which it was found. Where it is not known, tables are compared with others
    /// first, for a few seconds at most.
    pub(in crate::control) fn find_network(
        &self,
        reference: &str,
    ) -> Result<(MutexGuard<'_, State>, Network), Error> {
        let state = self.lock_knowing(|state| is_known(state, reference));
        let network = state.tables.network(reference)?.clone();
        Ok((state, network))
    }

    /// The service with this name, id or beginning of an id, likewise; if it is to be on
    /// a network, one that is known not to be there may have joined it.
    pub(in crate::control) fn find_service(
        &self,
        reference: &str,
        on: Option<&Id>,
    ) -> Result<(MutexGuard<'_, State>, Service), Error> {
        let state = self.lock_knowing(|state| match state.tables.service(reference) {
            Ok(service) => on.is_none_or(|network| service.is_on(network)),
            Err(refusal) => !matches!(refusal, Refusal::NotFound(_)),
        });
        let service = state.tables.service(reference)?.clone();
        Ok((state, service))
    }

    /// The service's id likewise, once it is here as the host left it that changed it
    /// last: who changes it here in turn does not want that undone.
    pub(in crate::control) fn latest_service(&self, reference: &str) -> Result<Id, Error> {
        let state = self.lock_knowing(|_| false);
        Ok(state.tables.service(reference)?.id.clone())
    }

    /// The lock, under which it is known who owns VNIs: a newcomer learns it from others.
    pub(super) fn lock_knowing_owners(&self) -> MutexGuard<'_, State> {
        self.lock_knowing(|state| state.cluster.machine.holdings(Space::Vni).next().is_some())
    }

    /// The lock; under which something is known, if anybody within reach knows it.
    fn lock_knowing(&self, known: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        if known(&state) {
            return state;
        }
        drop(state);
        self.runtime.block_on(async {
            // What has come by then has come.
            let _ = tokio::time::timeout(PATIENCE, self.catch_up(known)).await;
        });
        self.lock()
    }

    /// Ends when it is known, or nobody has anything more to say.
    async fn catch_up(&self, known: impl Fn(&State) -> bool) {
        let mut answers = Answers::new();
        for node in self.whom_to_ask() {
            let request = self.lock().cluster.machine.replica().ask_digests(None);
            self.ask_for_answers(&mut answers, node, None, request);
        }
        while let Some(answer) = answers.join_next().await {
            let Ok((node, behind, Some(response))) = answer else { continue };
            if let Some((behind, request)) = self.learn(node, behind, response) {
                self.ask_for_answers(&mut answers, node, behind, request);
            }
            if known(&self.lock()) {
                return;
            }
        }
    }

    /// Members that may be there, those first whose ids follow this host's: each
    /// host of a large cluster asks others.
    fn whom_to_ask(&self) -> Vec<NodeId> {
        let state = self.lock();
        let machine = &state.cluster.machine;
        let (me, now) = (machine.me(), self.now());
        let mut others: Vec<NodeId> = machine.replica().members().map(|(id, _)| id).collect();
        others.retain(|id| *id != me && machine.is_visible(now, id));
        let first = others.partition_point(|id| *id < me);
        others.rotate_left(first);
        others.truncate(ASKED);
        others
    }

    fn ask_for_answers(
        &self,
        answers: &mut Answers,
        node: NodeId,
        behind: Option<Key>,
        request: Request,
    ) {
        let state = self.lock();
        let Some((exchange, at)) = state.cluster.machine.contact(&node) else { return };
        // What this host could not store it must not tell.
        if state.cluster.machine.is_mute() {
            return;
        }
        let (identity, tag) = (state.cluster.identity.clone(), state.cluster.tag);
        answers.spawn(async move {
            (node, behind, stream::ask(&identity, tag, &exchange, at, &request).await.ok())
        });
    }

    /// Takes an answer; what to ask next, and what has been compared by then.
    fn learn(
        &self,
        node: NodeId,
        behind: Option<Key>,
        response: Response,
    ) -> Option<(Option<Key>, Request)> {
        let mut state = self.lock();
        let machine = &mut state.cluster.machine;
        let compared = match response {
            Response::Summaries(part) => {
                if let Some((request, _)) = machine.replica().ask_exchange(behind, &part) {
                    return Some((part.end, request));
                }
                part.end
            }
            response => {
                let goes_on = matches!(response, Response::Entries(_));
                // Who refuses has nothing to say; what cannot be stored is tried again.
                let _ = machine.absorb(self.now(), node, response);
                let _ = self.settle_cluster(&mut state);
                self.wake.notify_one();
                behind.filter(|_| goes_on)
            }
        };
        let replica = state.cluster.machine.replica();
        compared.map(|_| (compared, replica.ask_digests(compared)))
    }
}

/// Whether there is such a network, or several, and who owns its addresses: the
/// latter is told in an entry of its own.
fn is_known(state: &State, reference: &str) -> bool {
    let network = match state.tables.network(reference) {
        Ok(network) => network,
        Err(refusal) => return !matches!(refusal, Refusal::NotFound(_)),
    };
    let machine = &state.cluster.machine;
    let owned = |id, pool| machine.holdings(Space::Pool(id, pool)).next().is_some();
    network.id.bytes().is_none_or(|id| (0..network.pools.len()).all(|i| owned(id, i as u8)))
}
