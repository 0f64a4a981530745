//! ChaCha20-Poly1305 by the chacha20poly1305 crate, whose keys wipe themselves.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag};
use zeroize::Zeroizing;

use super::Aead;
use crate::wire::sealed::TAG;

pub(super) fn chacha20_poly1305(key: &Zeroizing<[u8; 32]>) -> Box<dyn Aead> {
    Box::new(ChaCha20Poly1305::new((&**key).into()))
}

impl Aead for ChaCha20Poly1305 {
    fn seal(&self, number: u64, header: &[u8], text: &mut [u8]) -> [u8; TAG] {
        self.encrypt_inout_detached(&nonce(number), header, text.into())
            .expect("only fails for 256 GiB, and a frame has less than 64 KiB")
            .into()
    }

    fn open(&self, number: u64, header: &[u8], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        let tag: &Tag = tag.into();
        self.decrypt_inout_detached(&nonce(number), header, text.into(), tag).is_ok()
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    #[test]
    fn keys_are_wiped() {
        fn by_themselves<K: ZeroizeOnDrop>() {}
        by_themselves::<ChaCha20Poly1305>(); // compiles only with the crate's feature for it
    }
}
