//! What one host asks of another over a connection of its own, and the answers.
//!
//! A connection is TCP under Noise: both ends know who the other is before the
//! first of these messages. One request, one response, until the asking side
//! closes.

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Key, NodeId, Realm, Space, Version};
use super::holding::Want;

/// The longest encoded request or response, in bytes; longer ones are refused
/// unread. A sync that has more to say says it in several rounds.
pub const MAX_MESSAGE: usize = 4 << 20;

/// What differs, or its first part where all would be too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summaries {
    /// The realms that differ, as far as this part goes.
    pub realms: Vec<Realm>,
    /// All that I have of these in this part, with versions and fingerprints.
    pub have: Vec<(Key, Version, u64)>,
    /// The end of this part, by realm and key; `None`: there is no other.
    pub end: Option<Key>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Are you there? The fallback of a probe that got lost as a datagram.
    Ping,
    /// Anti-entropy, first round: these are the digests of my realms.
    Digests {
        /// Of all realms of which I have entries.
        realms: Vec<(Realm, u64)>,
        /// The end of what has been compared, by realm and key; `None`: nothing yet.
        behind: Option<Box<Key>>,
    },
    /// Second round: entries that you lack or have older, and keys that I want.
    Exchange {
        /// In the order of their keys.
        entries: Vec<Entry>,
        /// What the asking host lacks or has older.
        want: Vec<Key>,
    },
    /// Give me a part of what you own.
    Share {
        /// Of what.
        space: Space,
        /// Which part.
        want: Want,
        /// What I hold of it. Until it is known that a gift was taken, the same is given
        /// again, and gossip may be late.
        entries: Vec<Entry>,
    },
    /// I leave: remove me. The entries are my latest, whom I have admitted, and my
    /// networks.
    Leave(Vec<Entry>),
    /// I am about to remove these nodes: take what they gave you, then nothing of
    /// theirs any more, and tell me what you and they hold, which networks stand in
    /// that of theirs, and who belongs. The entries are what I know of their ranges
    /// and from whom they have inherited, and my [`Key::Node`].
    Estate(Vec<NodeId>, Vec<Entry>),
    /// The removal did not come about: forget the promise. The entries are my
    /// [`Key::Node`], which says so; where one is known that does not, another
    /// removal has begun since.
    Release(Vec<NodeId>, Vec<Entry>),
    /// I am a member whom you may not know: this is who has admitted me, and who that
    /// one, and so on. Sent to whom hangs up on us, and never answered but by
    /// hanging up: [`Response::Done`] stands for that.
    Introduction(Vec<Entry>),
    /// A host with the token asks to become a member; the entries are its own
    /// [`Key::Node`]. Answered only to hosts that came by the token.
    Join {
        /// Its X25519 public key.
        exchange: [u8; 32],
        /// Its [`Key::Node`].
        entries: Vec<Entry>,
    },
    /// I am about to detach this endpoint of mine: take its entry, and tell me how many
    /// flows you have to it, or reset them.
    Drain {
        /// The endpoint's entry.
        entries: Vec<Entry>,
        /// The endpoint's id.
        endpoint: [u8; 32],
        /// Whether its flows are to be reset now.
        reset: bool,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Ping`], and where there is nothing else to say.
    Done,
    /// To [`Request::Digests`].
    Summaries(Summaries),
    /// Entries, in the order of their keys.
    Entries(Vec<Entry>),
    /// No, for this reason: one sentence.
    Refused(String),
    /// No, because the host that asks was removed from the cluster: the entry that
    /// says so, that of its author's own admission, and so on.
    Removed(Vec<Entry>),
    /// To [`Request::Drain`]: how many flows this host has to the endpoint.
    Flows(u64),
}
