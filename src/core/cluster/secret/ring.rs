//! The key ring: the numbered keys that all members share. Datagrams are sealed
//! with the primary key and name its number.
//!
//! A rotation loses nothing: key N+1 is spread first and accepted at once, then
//! each host seals with it when all have it, while N is still accepted for what
//! is on its way; key N-1 and all before it are retired then. A host that has
//! missed some rotations accepts all newer keys as soon as it has heard of them,
//! or it would be deaf until it had caught up with one after the other.

use std::collections::BTreeMap;
use std::fmt;

use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use crate::core::cluster::entry::Secret;

/// The keys that a host has, and which of them it seals with.
pub struct KeyRing {
    keys: BTreeMap<u32, Secret>,
    primary: u32,
}

impl KeyRing {
    /// A ring of one key, its primary one.
    pub fn new(number: u32, secret: Secret) -> Self {
        KeyRing { keys: BTreeMap::from([(number, secret)]), primary: number }
    }

    /// Takes up a key. Where the number has one already, the new one stays: two
    /// hosts may have rotated at once, and their entries say which key it is.
    pub fn insert(&mut self, number: u32, secret: Secret) {
        self.keys.insert(number, secret);
    }

    /// Forgets all keys with lower numbers but the primary one.
    pub fn retire_below(&mut self, number: u32) {
        self.keys.retain(|n, _| *n >= number || *n == self.primary);
    }

    /// The number of the key that is sealed with.
    pub fn primary(&self) -> u32 {
        self.primary
    }

    /// Seals with this key from now on; `false`, and nothing changes, if the ring
    /// does not have it.
    pub fn set_primary(&mut self, number: u32) -> bool {
        let known = self.keys.contains_key(&number);
        if known {
            self.primary = number;
        }
        known
    }

    /// Whether what is sealed with this key is opened: with any that the ring has
    /// and that is not retired.
    pub fn accepts(&self, number: u32) -> bool {
        self.keys.contains_key(&number)
    }

    /// All keys that are accepted, by number.
    pub fn keys(&self) -> &BTreeMap<u32, Secret> {
        &self.keys
    }

    /// The key with this number, if it is accepted.
    pub(super) fn cipher(&self, number: u32) -> Option<XChaCha20Poly1305> {
        let secret = self.keys.get(&number)?;
        Some(XChaCha20Poly1305::new((&secret.0).into()))
    }
}

/// The numbers.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<&u32> = self.keys.keys().collect();
        let mut ring = f.debug_struct("KeyRing");
        ring.field("primary", &self.primary).field("numbers", &numbers).finish_non_exhaustive()
    }
}
