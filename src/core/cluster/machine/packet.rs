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
    /// A datagram of a chosen length: whether it arrives is what is asked.
    Probe(u64, Vec<u8>),
    /// The probe with this number has arrived.
    ProbeSeen(u64),
}

impl Packet {
    /// A probe that is `len` bytes long when it is encoded, or as short as a probe
    /// can be.
    pub(super) fn probe(nonce: u64, len: usize) -> Packet {
        let bare = Packet::Probe(nonce, Vec::new()).encode().len() - 1;
        // The padding's length takes one to three bytes itself.
        let fits = |width: &usize| {
            let padding = len.saturating_sub(bare + width);
            varint_len(padding) <= *width
        };
        let width = (1..=3).find(fits).unwrap_or(3);
        Packet::Probe(nonce, vec![0; len.saturating_sub(bare + width)])
    }

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

/// Bytes of a length as postcard writes it.
fn varint_len(n: usize) -> usize {
    (1..).find(|bytes| n >> (7 * bytes) == 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_as_long_as_asked() {
        for nonce in [0, 1, u64::MAX] {
            for len in [60, 140, 141, 142, 143, 144, 1200, 1423, 8900, 16_500, 65_000] {
                let packet = Packet::probe(nonce, len);
                let encoded = packet.encode();
                assert!(len - encoded.len() <= 1, "{len}: {}", encoded.len());
                assert_eq!(Packet::decode(&encoded), Some(packet));
            }
        }
        assert!(Packet::decode(&[]).is_none());
    }
}
