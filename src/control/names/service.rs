//! What all sandboxes share: what is published for each, and the way upstream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::time::timeout_at;

use super::{Asker, upstream};
use crate::core::Now;
use crate::core::names::forward::{Forwarder, Heard, Question};
use crate::core::names::{self, Transport, Verdict, View};

/// Answers questions. Lives as long as the daemon.
#[derive(Debug)]
pub(super) struct Service {
    views: ArcSwap<BTreeMap<Asker, View>>,
    /// Locked for moments.
    forwarder: Mutex<Forwarder<Asker>>,
    started: Instant,
    answered: AtomicU64,
    forwarded: AtomicU64,
    unanswered: AtomicU64,
    dropped: AtomicU64,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            views: ArcSwap::default(),
            forwarder: Mutex::default(),
            started: Instant::now(),
            answered: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Service {
    /// From now on each sandbox sees this.
    pub(super) fn publish(&self, views: BTreeMap<Asker, View>) {
        self.views.store(views.into());
    }

    /// Whom to ask from now on.
    pub(super) fn set_upstreams(&self, upstreams: Vec<SocketAddr>) {
        self.forwarder().set_upstreams(upstreams);
    }

    /// Their names, as `status` shows them, and how often each has happened.
    pub(super) fn counters(&self) -> [(&'static str, u64); 4] {
        let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("names_answered", counted(&self.answered)),
            ("names_forwarded", counted(&self.forwarded)),
            ("names_unanswered_upstream", counted(&self.unanswered)),
            ("names_dropped", counted(&self.dropped)),
        ]
    }

    /// What is to be done with a message out of a sandbox.
    pub(super) fn decide(&self, asker: &Asker, transport: Transport, message: &[u8]) -> Verdict {
        let views = self.views.load();
        let Some(view) = views.get(asker) else { return Verdict::Drop };
        // Without randomness the order is no longer random, and all else is as before.
        let verdict = names::answer(view, transport, message, random().unwrap_or(0));
        let counter = match verdict {
            Verdict::Answer(_) => &self.answered,
            Verdict::Forward(_) => &self.forwarded,
            Verdict::Drop => &self.dropped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        verdict
    }

    /// Takes in a question for upstream, or says what the client is told at once: it
    /// has too many there already, or all have.
    pub(super) fn begin(&self, asker: Asker, question: Vec<u8>) -> Result<Pending<'_>, Vec<u8>> {
        let begun = self.forwarder().begin(self.now(), asker, question);
        if begun.is_err() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        }
        begun.map(|question| Pending { service: self, question })
    }

    fn forwarder(&self) -> MutexGuard<'_, Forwarder<Asker>> {
        // Nothing panics in there that would not end the daemon.
        self.forwarder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        self.started.elapsed()
    }
}

/// A question on its way. Its place is given back however it ends, also with its
/// sandbox.
pub(super) struct Pending<'a> {
    service: &'a Service,
    question: Question<Asker>,
}

impl Pending<'_> {
    /// Asks one resolver after the other. What is to be told to the client.
    pub(super) async fn forward(mut self, transport: Transport) -> Vec<u8> {
        let service = self.service;
        // An id that can be guessed would be worse than no answer.
        while let Some(id) = random() {
            let attempt = service.forwarder().next(service.now(), &mut self.question, id as u16);
            let Some(attempt) = attempt else { break };
            let deadline = service.started + attempt.deadline;
            let judge = |answer| service.forwarder().heard(&mut self.question, answer);
            let exchange = upstream::exchange(transport, &attempt, judge);
            match timeout_at(deadline.into(), exchange).await {
                Ok(Ok(Heard::Answer(answer))) => return answer,
                Ok(Ok(Heard::Next)) => {}
                Ok(Ok(Heard::Noise) | Err(_)) | Err(_) => {
                    service.forwarder().failed(service.now(), &self.question);
                }
            }
        }
        service.unanswered.fetch_add(1, Ordering::Relaxed);
        self.question.give_up()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.service.forwarder().end(&self.question);
    }
}

fn random() -> Option<u64> {
    getrandom::u64().ok()
}
