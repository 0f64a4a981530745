//! Both ciphers by the ring crate.

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::Aead;
use crate::wire::sealed::TAG;

struct Key(LessSafeKey);

pub(super) fn chacha20_poly1305(key: &Zeroizing<[u8; 32]>) -> Box<dyn Aead> {
    self::key(&CHACHA20_POLY1305, key)
}

pub(super) fn aes_256_gcm(key: &Zeroizing<[u8; 32]>) -> Box<dyn Aead> {
    self::key(&AES_256_GCM, key)
}

fn key(algorithm: &'static Algorithm, key: &[u8; 32]) -> Box<dyn Aead> {
    let key = UnboundKey::new(algorithm, key).expect("both ciphers' keys have 32 bytes");
    Box::new(Key(LessSafeKey::new(key)))
}

impl Aead for Key {
    fn seal(&self, number: u64, header: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(number), Aad::from(header), text)
            .expect("only fails for 64 GiB, and a frame has less than 64 KiB");
        let mut bytes = [0; TAG];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(&self, number: u64, header: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        let (nonce, header) = (nonce(number), Aad::from(header));
        self.0.open_in_place_separate_tag(nonce, header, (*tag).into(), text, 0..).is_ok()
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}
