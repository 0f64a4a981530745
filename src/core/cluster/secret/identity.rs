//! A node's long-term keys: Ed25519 (RFC 8032) for its entries, X25519 (RFC
//! 7748) for connections. Both come from one seed, which is all that is stored.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::derive;
use crate::core::cluster::entry::{Body, Entry, Key, NodeId, Version};

#[cfg(test)]
mod tests;

/// Signed before every entry, so that no other signature of the same key can
/// pass for one of an entry.
const DOMAIN: &str = "vxmesh entry 1";

/// A node's private keys.
pub struct Identity {
    signing: SigningKey,
    exchange: StaticSecret,
}

impl Identity {
    /// The identity that belongs to a seed, always the same one. The seed must
    /// come from a good source of randomness and be kept as the key that it is.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Identity {
            signing: SigningKey::from_bytes(&derive(seed, "vxmesh identity 1 signing")),
            exchange: StaticSecret::from(*derive(seed, "vxmesh identity 1 exchange")),
        }
    }

    /// Its Ed25519 verifying key.
    pub fn id(&self) -> NodeId {
        NodeId(self.signing.verifying_key().to_bytes())
    }

    /// Its X25519 public key, for Noise handshakes with it.
    pub fn exchange_public(&self) -> [u8; 32] {
        PublicKey::from(&self.exchange).to_bytes()
    }

    /// An entry that this node writes; `None` for the body deletes it.
    pub fn sign_entry(&self, key: Key, version: Version, body: Option<Body>) -> Entry {
        let author = self.id();
        let signature = self.signing.sign(&signed(&key, version, author, &body)).to_bytes();
        Entry { key, version, author, body, signature }
    }

    /// The bytes of its X25519 private key, for who makes sessions in its name.
    pub fn exchange_private(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.exchange.to_bytes())
    }

    /// Its X25519 private key.
    pub(in crate::core) fn exchange(&self) -> &StaticSecret {
        &self.exchange
    }
}

/// The id, which is public.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.id()).finish_non_exhaustive()
    }
}

/// Whether the entry's author signed it: strictly, so that neither a key of
/// small order nor another encoding of a signature passes. Whether the author
/// may write under this key is another question.
pub fn verify(entry: &Entry) -> bool {
    let message = signed(&entry.key, entry.version, entry.author, &entry.body);
    let signature = Signature::from_bytes(&entry.signature);
    VerifyingKey::from_bytes(&entry.author.0)
        .is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
}

/// The bytes that a signature is over.
fn signed(key: &Key, version: Version, author: NodeId, body: &Option<Body>) -> Vec<u8> {
    postcard::to_stdvec(&(DOMAIN, key, version, author, body))
        .expect("a growing buffer holds all, and every length in an entry is known")
}
