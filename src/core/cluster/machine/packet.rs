//! What a datagram says, once it is opened.

use serde::{Deserialize, Serialize};

use crate::core::cluster::entry::Entry;

/// The content of one datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Packet {
    /// For the failure detector.
    Swim(Vec<u8>),
    /// Fresh entries.
    News(Vec<Entry>),
}

impl Packet {
    pub(super) fn encode(&self) -> Vec<u8> {
        // postcard fails only on types that it does not know, and here are none.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// `None` if it is none of ours, or something follows it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Packet> {
        match postcard::take_from_bytes(bytes).ok()? {
            (packet, []) => Some(packet),
            _ => None,
        }
    }
}
