//! The primitives for snow: X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439) and
//! BLAKE2s (RFC 7693), with randomness out of a seed.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::derive;

#[cfg(test)]
mod tests;

const KEY: usize = 32;
const TAG: usize = 16;

/// Makes the primitives of one handshake.
pub struct Resolver {
    seed: Zeroizing<[u8; 32]>,
}

impl Resolver {
    /// The handshake's ephemeral key comes out of the seed, which must be random
    /// and never used again.
    pub fn new(seed: &[u8; 32]) -> Self {
        Resolver { seed: Zeroizing::new(*seed) }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(self.seed.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::new([0; KEY]))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Blake2s256::new()))),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly(Zeroizing::new([0; KEY])))),
            _ => None,
        }
    }
}

/// Random bytes: for each 32 of them the seed steps on, and cannot be had back.
struct Seeded(Zeroizing<[u8; 32]>);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        for chunk in bytes.chunks_mut(32) {
            let block = derive(&self.0, "vxmesh noise 1 random");
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.0 = derive(&self.0, "vxmesh noise 1 next seed");
        }
        Ok(())
    }
}

struct X25519 {
    private: StaticSecret,
    public: PublicKey,
}

impl X25519 {
    fn new(private: [u8; KEY]) -> Self {
        let private = StaticSecret::from(private);
        X25519 { public: PublicKey::from(&private), private }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY
    }

    fn priv_len(&self) -> usize {
        KEY
    }

    fn set(&mut self, private: &[u8]) {
        let mut key = Zeroizing::new([0; KEY]);
        key.copy_from_slice(private);
        *self = X25519::new(*key);
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut key = Zeroizing::new([0; KEY]);
        random.try_fill_bytes(&mut *key)?;
        *self = X25519::new(*key);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_bytes()
    }

    /// Refuses public keys of small order, with which the result would be the
    /// same for everybody.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public: [u8; KEY] = *public.first_chunk().ok_or(Error::Dh)?;
        let shared = self.private.diffie_hellman(&PublicKey::from(public));
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        *out.first_chunk_mut().ok_or(Error::Dh)? = *shared.as_bytes();
        Ok(())
    }
}

struct ChaChaPoly(Zeroizing<[u8; KEY]>);

impl ChaChaPoly {
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }

    /// Section 12.3 of the Noise specification: 32 zero bits, then the number.
    fn nonce(number: u64) -> Nonce {
        let mut nonce = Nonce::default();
        nonce[4..].copy_from_slice(&number.to_le_bytes());
        nonce
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY]) {
        *self.0 = *key;
    }

    fn encrypt(&self, number: u64, header: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out[..plaintext.len() + TAG].split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let sealed = self
            .cipher()
            .encrypt_inout_detached(&Self::nonce(number), header, text.into())
            .expect("only fails for 256 GiB, and a Noise message has less than 64 KiB");
        tag.copy_from_slice(&sealed);
        plaintext.len() + TAG
    }

    fn decrypt(
        &self,
        number: u64,
        header: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(text);
        self.cipher()
            .decrypt_inout_detached(&Self::nonce(number), header, out.into(), tag.into())
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&std::mem::take(&mut self.0).finalize());
    }
}
