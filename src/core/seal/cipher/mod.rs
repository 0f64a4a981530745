//! The ciphers that frames are sealed with: authenticated encryption with
//! associated data (RFC 5116), by one of two libraries.

mod fast;
mod portable;

use zeroize::Zeroizing;

use crate::wire::sealed::TAG;

/// A cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suite {
    /// RFC 8439.
    ChaCha20Poly1305 = 1,
    /// NIST SP 800-38D.
    Aes256Gcm = 2,
}

impl Suite {
    /// All, by number.
    pub const ALL: &[Suite] = &[Suite::ChaCha20Poly1305, Suite::Aes256Gcm];

    /// The name that people know.
    pub fn name(self) -> &'static str {
        match self {
            Suite::ChaCha20Poly1305 => "ChaCha20-Poly1305",
            Suite::Aes256Gcm => "AES-256-GCM",
        }
    }
}

/// A key that seals and opens. The nonce is 32 zero bits and the number, little-endian
/// (as Noise has it); nobody seals twice with one number.
pub trait Aead: Send {
    /// Encrypts `text` in place; returns the tag over it and `header`.
    fn seal(&self, number: u64, header: &[u8], text: &mut [u8]) -> [u8; TAG];

    /// Decrypts `text` in place; `false`, and nothing is to be believed of it, if the tag is not
    /// that of header and text.
    fn open(&self, number: u64, header: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool;
}

/// The library that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The chacha20poly1305 crate: Rust throughout, for every machine.
    Portable,
    /// The ring crate: assembler, several times as fast, and AES-GCM.
    Ring,
}

impl Backend {
    /// A key for one of its ciphers; `None` if it does not have that one.
    pub fn key(self, suite: Suite, key: &Zeroizing<[u8; 32]>) -> Option<Box<dyn Aead>> {
        match self {
            Backend::Portable => portable::key(suite, key),
            Backend::Ring => Some(fast::key(suite, key)),
        }
    }
}
