//! Datagrams between members, sealed with the key ring.
//!
//! ```text
//! 0        1              5                      29
//! | 1 (u8) | number (u32) | nonce (24)           | ciphertext | tag (16) |
//!                           start (16) | counter (u64)
//! ```
//!
//! Numbers are big-endian. XChaCha20-Poly1305 with the key of that number; the
//! first 29 bytes are the associated data. The plaintext begins with the
//! sender's id. No nonce repeats: each start of a host draws a random number of
//! 128 bits, and from there the counter only goes up.
//!
//! Bytes from strangers cost one look at the number and one Poly1305, and no
//! allocation: what does not authenticate is not even decrypted. Whoever has the
//! ring can name any sender, so what must hold against a member is signed.

use std::fmt;

use chacha20poly1305::AeadInOut;

use super::replay::{Replay, Start};
use super::ring::KeyRing;
use crate::core::cluster::entry::NodeId;

#[cfg(test)]
mod tests;

const FORMAT: u8 = 1;
const HEADER: usize = 29;
const SENDER: usize = 32;
const TAG: usize = 16;

/// By how many bytes a datagram is longer than what it carries.
pub const OVERHEAD: usize = HEADER + SENDER + TAG;

/// Seals what a host sends.
pub struct Sealer {
    node: NodeId,
    start: Start,
    counter: u64,
}

impl Sealer {
    /// For one start of a host. The bytes are random and never used again.
    pub fn new(node: NodeId, start: Start) -> Self {
        Sealer { node, start, counter: 0 }
    }

    /// A datagram that carries `plaintext`, under the primary key; `None` when
    /// all 2^64 - 1 counters are used up.
    pub fn seal(&mut self, ring: &KeyRing, plaintext: &[u8]) -> Option<Vec<u8>> {
        let counter = self.counter;
        self.counter = counter.checked_add(1)?;
        let number = ring.primary();
        let mut datagram = Vec::with_capacity(plaintext.len() + OVERHEAD);
        datagram.push(FORMAT);
        datagram.extend(number.to_be_bytes());
        datagram.extend(self.start);
        datagram.extend(counter.to_be_bytes());
        datagram.extend(self.node.0);
        datagram.extend(plaintext);
        let (header, body) = datagram.split_first_chunk_mut::<HEADER>()?;
        let [_, _, _, _, _, nonce @ ..] = &*header;
        let tag =
            ring.cipher(number)?.encrypt_inout_detached(nonce.into(), header, body.into()).ok()?;
        datagram.extend(tag);
        Some(datagram)
    }
}

/// Nothing of it is secret, but its start is of no use to anybody.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sealer = f.debug_struct("Sealer");
        sealer.field("node", &self.node).field("counter", &self.counter).finish_non_exhaustive()
    }
}

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It is too short or of another format.
    Malformed,
    /// It names a key that the ring does not have or accept.
    UnknownKey,
    /// It was not sealed with the key that it names, or was changed since.
    Forged,
    /// It was here before, or is too old to tell.
    Replayed,
}

impl Refusal {
    /// As counters call it.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Forged => "forged",
            Refusal::Replayed => "replayed",
        }
    }
}

/// The number of the key that a datagram says it is sealed with.
pub fn key_number(datagram: &[u8]) -> Option<u32> {
    match datagram.first_chunk()? {
        [FORMAT, n0, n1, n2, n3] => Some(u32::from_be_bytes([*n0, *n1, *n2, *n3])),
        _ => None,
    }
}

/// Opens what a host receives, every datagram once.
#[derive(Debug, Default)]
pub struct Opener {
    replay: Replay,
}

impl Opener {
    /// Has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who sent a datagram and what it carries, decrypted in place. A datagram
    /// that is malformed, forged or of an unknown key stays as it is.
    pub fn open<'d>(
        &mut self,
        ring: &KeyRing,
        datagram: &'d mut [u8],
    ) -> Result<(NodeId, &'d [u8]), Refusal> {
        let (header, rest) =
            datagram.split_first_chunk_mut::<HEADER>().ok_or(Refusal::Malformed)?;
        let (body, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(Refusal::Malformed)?;
        let [FORMAT, n0, n1, n2, n3, nonce @ ..] = &*header else { return Err(Refusal::Malformed) };
        if body.len() < SENDER {
            return Err(Refusal::Malformed);
        }
        let number = u32::from_be_bytes([*n0, *n1, *n2, *n3]);
        ring.cipher(number)
            .ok_or(Refusal::UnknownKey)?
            .decrypt_inout_detached(nonce.into(), header, (&mut *body).into(), (&*tag).into())
            .map_err(|_| Refusal::Forged)?;
        let (sender, plaintext) = body.split_first_chunk().ok_or(Refusal::Malformed)?;
        let (start, counter) = nonce.split_first_chunk().ok_or(Refusal::Malformed)?;
        let counter = counter.try_into().map_err(|_| Refusal::Malformed)?;
        let sender = NodeId(*sender);
        if !self.replay.is_fresh(sender, *start, u64::from_be_bytes(counter)) {
            return Err(Refusal::Replayed);
        }
        Ok((sender, plaintext))
    }
}
