//! One session: what a handshake leads to.

use std::net::SocketAddr;
use std::time::Duration;

use super::cipher::{Backend, Suite};
use super::lane::{Receiver, Sender};
use super::noise::Split;
use crate::core::Now;

/// A session that was begun by oneself is followed by a new one after this time.
pub(super) const REKEY_AFTER: Now = Duration::from_secs(120);
/// What the other end has begun, it should replace. This much later one does it oneself.
const REKEY_GRACE: Now = Duration::from_secs(15);
/// Nothing is sealed or opened with a session after this time.
pub(super) const REJECT_AFTER: Now = Duration::from_secs(180);

/// Keys for both directions, agreed on by two hosts.
pub(super) struct Session {
    pub(super) suite: Suite,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) terms: Terms,
}

/// What is known of a session beside its keys.
pub(super) struct Terms {
    /// This host's number for it, by which the other end names it.
    pub(super) index: u32,
    /// The other end's.
    pub(super) theirs: u32,
    /// The number of the ring key that went into the handshake.
    pub(super) ring: u32,
    /// Who began: this host, or else the peer.
    pub(super) ours: bool,
    /// When the handshake began, as this host saw it.
    pub(super) began: Now,
    /// When the keys were there.
    pub(super) made: Now,
    /// Where the other end's message of the handshake came from.
    pub(super) route: SocketAddr,
    /// The other end says that it hears this host through a translator of addresses.
    pub(super) translated: bool,
}

/// What all sessions of a host have in common.
pub(super) struct Kind {
    pub(super) backend: Backend,
    pub(super) lane: u8,
}

impl Session {
    /// `None` if the library does not have that cipher.
    pub(super) fn new(kind: &Kind, suite: Suite, terms: Terms, split: &Split) -> Option<Session> {
        let Kind { backend, lane } = *kind;
        let sender = Sender::new(backend, suite, &split.sending, lane, terms.theirs)?;
        let receiver = Receiver::new(backend, suite, &split.receiving)?;
        Some(Session { suite, sender, receiver, terms })
    }

    /// Whether the handshakes of the two, begun by either host, went on at the same time.
    pub(super) fn crosses(&self, other: &Session) -> bool {
        let (a, b) = (&self.terms, &other.terms);
        a.ours != b.ours && a.began <= b.made && b.began <= a.made
    }

    /// For how long the keys have been there.
    pub(super) fn age(&self, now: Now) -> Now {
        now.saturating_sub(self.terms.made)
    }

    /// When it is over.
    pub(super) fn end(&self) -> Now {
        self.terms.made + REJECT_AFTER
    }

    /// When this host should begin a new one.
    pub(super) fn rekey_at(&self) -> Now {
        self.terms.made + REKEY_AFTER + self.grace()
    }

    /// When this host should begin a new one, if handshakes are made with another ring
    /// key from now on: who knows the old one may have been removed.
    pub(super) fn renew_at(&self, now: Now) -> Now {
        self.rekey_at().min(now + self.grace())
    }

    fn grace(&self) -> Now {
        if self.terms.ours { Duration::ZERO } else { REKEY_GRACE + self.jitter() }
    }

    /// Up to four seconds, so that two hosts that have come to do the same at the same
    /// time do not go on like that. The index is as random as any number.
    fn jitter(&self) -> Now {
        Duration::from_millis(u64::from(self.terms.index % 4_096))
    }
}
