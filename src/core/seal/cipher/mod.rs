//! The ciphers that frames are sealed with: authenticated encryption with
//! associated data (RFC 5116), by one of two libraries.

mod fast;
mod portable;
#[cfg(test)]
pub(super) mod tests;
mod wiped;

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

    /// How many datagrams are sealed with one key before there should be a new one.
    pub const fn rekey_after(self) -> u64 {
        match self {
            Suite::ChaCha20Poly1305 => 1 << 60,
            Suite::Aes256Gcm => 1 << 26,
        }
    }

    /// How many datagrams are sealed with one key at most.
    ///
    /// ChaCha20-Poly1305 is only limited by its counter, and as WireGuard we leave a
    /// margin below it. AES-GCM leaks by collisions of its 128-bit blocks: σ blocks
    /// are told from random ones with a probability of about σ² / 2^129. A datagram of
    /// 1500 bytes has less than 2^7 blocks, the tag's included, so that 2^28 of them
    /// are 2^35 blocks, and the probability 2^-59. RFC 8446 (section 5.5) stops at
    /// 2^24.5 records of 2^10 blocks, which comes to 2^-60. On an underlay of 9000
    /// bytes a datagram has 2^9.2 blocks, and the probability is 2^-55; for that, one
    /// lane would have to send 100 Gbit/s for all of the three minutes that a key lives.
    ///
    /// What a forger may try is limited by that time too: both ciphers allow 2^36
    /// attempts (RFC 9147, section 4.5.3), which would be 380 million a second.
    pub const fn reject_after(self) -> u64 {
        match self {
            Suite::ChaCha20Poly1305 => u64::MAX - (1 << 13) + 1,
            Suite::Aes256Gcm => 1 << 28,
        }
    }
}

/// A key that seals and opens. The nonce is 32 zero bits and the number, little-endian
/// in both ciphers (Noise has it so for ChaChaPoly); nobody seals twice with one number.
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

/// Makes a key of one cipher.
pub type Maker = fn(&Zeroizing<[u8; 32]>) -> Box<dyn Aead>;

impl Backend {
    /// What makes keys of a cipher; `None` if the library does not have that one.
    pub fn maker(self, suite: Suite) -> Option<Maker> {
        match (self, suite) {
            (Backend::Portable, Suite::ChaCha20Poly1305) => Some(portable::chacha20_poly1305),
            (Backend::Portable, Suite::Aes256Gcm) => None,
            (Backend::Ring, Suite::ChaCha20Poly1305) => Some(fast::chacha20_poly1305),
            (Backend::Ring, Suite::Aes256Gcm) => Some(fast::aes_256_gcm),
        }
    }
}
