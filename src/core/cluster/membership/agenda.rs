//! What is due when.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::Timer;

use super::Peer;
use super::health::Health;
use crate::core::Now;
use crate::core::cluster::entry::NodeId;

/// foca's timers. Suspicions stand apart: when they are due depends on this
/// host's health at the time, not on what it was when they arose.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// One of each kind: a newer one means that foca has given up the older.
    timers: BTreeMap<Kind, (Now, Timer<Peer>)>,
    suspicions: BTreeMap<NodeId, Suspicion>,
}

/// In the order in which they are handled when several are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Relay,
    Probe,
    Gossip,
    Announce,
}

#[derive(Debug)]
struct Suspicion {
    since: Now,
    patience: Duration,
    timer: Timer<Peer>,
}

impl Suspicion {
    fn due(&self, health: Health) -> Now {
        self.since.saturating_add(health.stretch(self.patience))
    }
}

impl Agenda {
    pub(super) fn add(&mut self, now: Now, health: Health, timer: Timer<Peer>, after: Duration) {
        let (kind, after) = match &timer {
            Timer::SendIndirectProbe { .. } => (Kind::Relay, health.stretch(after)),
            Timer::ProbeRandomMember(_) => (Kind::Probe, health.stretch(after)),
            Timer::PeriodicGossip(_) => (Kind::Gossip, after),
            Timer::PeriodicAnnounce(_) => (Kind::Announce, after),
            Timer::ChangeSuspectToDown { member_id, .. } => {
                return self
                    .suspect(member_id.id, Suspicion { since: now, patience: after, timer });
            }
            // Switched off in `Settings::config`.
            Timer::PeriodicAnnounceDown(_) | Timer::RemoveDown(_) => return,
        };
        // Not at once, or a tick with periods of zero would never end.
        let due = now.saturating_add(after.max(Duration::from_millis(1)));
        self.timers.insert(kind, (due, timer));
    }

    /// A further failed probe does not give a suspect more time.
    fn suspect(&mut self, id: NodeId, suspicion: Suspicion) {
        if self.suspicions.get(&id).is_none_or(|old| old.timer != suspicion.timer) {
            self.suspicions.insert(id, suspicion);
        }
    }

    /// Whether this host suspects a node itself.
    pub(super) fn suspects(&self, id: &NodeId) -> bool {
        self.suspicions.contains_key(id)
    }

    /// The node was reached by other means, or is no member any more.
    pub(super) fn acquit(&mut self, id: &NodeId) {
        self.suspicions.remove(id);
    }

    pub(super) fn due(&self, health: Health) -> Option<Now> {
        let timer = self.timers.values().map(|(at, _)| *at).min();
        let suspicion = self.suspicions.values().map(|s| s.due(health)).min();
        timer.into_iter().chain(suspicion).min()
    }

    /// The next timer that is due: probes before the verdicts that they may avert.
    pub(super) fn pop(&mut self, now: Now, health: Health) -> Option<Timer<Peer>> {
        let first = self.timers.iter().min_by_key(|(kind, (at, _))| (*at, **kind));
        if let Some((kind, _)) = first.filter(|(_, (at, _))| *at <= now) {
            let kind = *kind;
            return self.timers.remove(&kind).map(|(_, timer)| timer);
        }
        let id = *self.suspicions.iter().find(|(_, s)| s.due(health) <= now)?.0;
        self.suspicions.remove(&id).map(|s| s.timer)
    }

    /// This host did not run for so long: nobody could refute anything to it.
    pub(super) fn overslept(&mut self, time: Duration) {
        for suspicion in self.suspicions.values_mut() {
            suspicion.since = suspicion.since.saturating_add(time);
        }
    }
}
