//! All that is secret in the cluster, and all that is sealed with it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`identity`] | a node's long-term keys; entries are signed and verified |
//! | [`ring`] | the numbered keys that all members share |
//! | [`envelope`] | datagrams sealed with the ring |
//! | [`replay`] | which datagrams have been seen |
//! | [`token`] | what a host joins with, as people pass it on |
//! | [`noise`] | handshakes of a connection: between members, and to join |
//! | [`introduction`] | what a member says to one that may not know it |
//! | [`session`] | messages of any length after the handshake |
//! | [`resolver`] | the primitives that snow's Noise is run with |
//!
//! Keys are wiped from memory when they are dropped, and no `Debug` prints one.
//! The exception is what snow copies for the length of a handshake: its chaining
//! key, and the token's secret while a host joins. Random bytes come in as seeds
//! that must never be used twice.

pub mod envelope;
pub mod identity;
pub mod introduction;
pub mod noise;
pub mod replay;
pub mod resolver;
pub mod ring;
pub mod session;
#[cfg(test)]
mod testing;
pub mod token;

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};
use zeroize::Zeroizing;

/// A key for one purpose, out of a secret: BLAKE2s of the purpose's label, keyed
/// with the secret (RFC 7693).
pub(in crate::core) fn derive(secret: &[u8; 32], label: &str) -> Zeroizing<[u8; 32]> {
    let mac = Blake2sMac256::new(secret.into()).chain(label);
    let mut key = Zeroizing::new([0; 32]);
    mac.finalize_into((&mut *key).into());
    key
}
