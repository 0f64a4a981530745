//! How things are with a peer, for people.

use std::time::Duration;

use super::cipher::Suite;
use super::peer::Link;
use super::{Established, Report, trouble};
use crate::core::Now;

/// How long a failure is spoken of. Initiations are repeated more often than that.
const RECENT: Now = Duration::from_secs(40);

impl Link {
    /// `ours` is what this host takes.
    pub(super) fn report(&self, now: Now, ours: &[Suite]) -> Report {
        Report {
            node: self.peer.node,
            session: self.established(now),
            trouble: self.why(now, ours),
            sealed: self.sealed,
            opened: self.opened,
            drops: self.drops.clone(),
        }
    }

    fn established(&self, now: Now) -> Option<Established> {
        let session = self.current.as_ref().filter(|session| now < session.end())?;
        let row = self.row?;
        Some(Established {
            suite: session.suite,
            age: now.saturating_sub(row.since),
            handshake: session.age(now),
            handshakes: row.handshakes,
        })
    }

    fn why(&self, now: Now, ours: &[Suite]) -> Option<String> {
        if self.contested {
            return Some(trouble::contested(self.home.ip()));
        }
        if let Some((trouble, at)) = &self.trouble
            && now < *at + RECENT
        {
            return Some(trouble.sentence(self.home, ours));
        }
        match (self.attempts, self.established(now)) {
            _ if !self.peer.wanted => None,
            (0, Some(_)) | (1, Some(_)) => None,
            (0, None) => Some(trouble::beginning(self.home)),
            (attempts, _) => Some(trouble::silent(self.target(), attempts)),
        }
    }
}
