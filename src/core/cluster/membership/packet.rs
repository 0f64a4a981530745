//! One datagram: a header, and news of members that travels with it.
//!
//! The encoding is postcard's, and between header and news stands the number of
//! news as two bytes, high byte first. A member is about 44 bytes with an IPv4
//! address, so that some 25 fit into a datagram.

use foca::{Header, Member, Message};

use super::Peer;

/// A decoded datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) header: Header<Peer>,
    pub(super) news: Vec<Member<Peer>>,
}

impl Packet {
    /// `None` if the bytes are not exactly one packet of a kind that is in use.
    pub(super) fn decode(bytes: &[u8]) -> Option<Packet> {
        let (header, rest) = postcard::take_from_bytes::<Header<Peer>>(bytes).ok()?;
        let bare = matches!(header.message, Message::Announce | Message::TurnUndead);
        if header.message == Message::Broadcast || (bare && !rest.is_empty()) {
            return None;
        }
        let mut news = Vec::new();
        if !bare {
            let (count, mut rest) = rest.split_first_chunk::<2>()?;
            for _ in 0..u16::from_be_bytes(*count) {
                let (member, after) = postcard::take_from_bytes(rest).ok()?;
                news.push(member);
                rest = after;
            }
            if !rest.is_empty() {
                return None;
            }
        }
        Some(Packet { header, news })
    }

    /// The bytes that [`Packet::decode`] takes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = encoded(&self.header);
        if !matches!(self.header.message, Message::Announce | Message::TurnUndead) {
            // A packet is decoded from a datagram or made of one item: never 2^16.
            bytes.extend((self.news.len() as u16).to_be_bytes());
            self.news.iter().for_each(|member| bytes.extend(encoded(member)));
        }
        bytes
    }

    /// Everyone that the header names, apart from sender and receiver.
    pub(super) fn third(&self) -> Option<&Peer> {
        match &self.header.message {
            Message::PingReq { target, .. } | Message::IndirectAck { target, .. } => Some(target),
            Message::IndirectPing { origin, .. } | Message::ForwardedAck { origin, .. } => {
                Some(origin)
            }
            _ => None,
        }
    }
}

fn encoded<T: serde::Serialize>(item: &T) -> Vec<u8> {
    postcard::to_stdvec(item).expect("structs of numbers fit into a buffer that grows")
}
