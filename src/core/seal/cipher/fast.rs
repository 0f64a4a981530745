//! Both ciphers by the ring crate.
//!
//! Its keys do not wipe themselves, so [`Wiped`] does. They are arrays of words (the
//! ChaCha20 key, or AES round keys and the table for GHASH) and a reference to the
//! algorithm, a static: nothing of theirs is anywhere else.

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::Aead;
use super::wiped::Wiped;
use crate::wire::sealed::TAG;

pub(super) fn chacha20_poly1305(key: &Zeroizing<[u8; 32]>) -> Box<dyn Aead> {
    self::key(&CHACHA20_POLY1305, key)
}

pub(super) fn aes_256_gcm(key: &Zeroizing<[u8; 32]>) -> Box<dyn Aead> {
    self::key(&AES_256_GCM, key)
}

fn key(algorithm: &'static Algorithm, key: &[u8; 32]) -> Box<dyn Aead> {
    let key = UnboundKey::new(algorithm, key).expect("both ciphers' keys have 32 bytes");
    Box::new(Wiped::new(LessSafeKey::new(key)))
}

impl Aead for Wiped<LessSafeKey> {
    fn seal(&self, number: u64, header: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = self
            .get()
            .seal_in_place_separate_tag(nonce(number), Aad::from(header), text)
            .expect("only fails for 64 GiB, and a frame has less than 64 KiB");
        let mut bytes = [0; TAG];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(&self, number: u64, header: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        let (nonce, header) = (nonce(number), Aad::from(header));
        self.get().open_in_place_separate_tag(nonce, header, (*tag).into(), text, 0..).is_ok()
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::super::wiped::tests::left_of;
    use super::*;

    #[test]
    fn keys_are_wiped() {
        for algorithm in [&CHACHA20_POLY1305, &AES_256_GCM] {
            let key = UnboundKey::new(algorithm, &[0xa5; 32]).unwrap();
            let left = left_of(Wiped::new(LessSafeKey::new(key)));
            assert!(left.len() > 32);
            assert!(left.iter().all(|byte| *byte == 0), "{algorithm:?}");
        }
    }
}
