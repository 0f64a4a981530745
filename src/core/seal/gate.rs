//! Which handshakes are looked at. What X25519 costs is only spent on messages that
//! have passed here.
//!
//! * *mac1* is keyed with a key of the cluster's ring, over the receiver's public key
//!   and the message up to it. Only a member can make one, so that a stranger's flood
//!   costs one BLAKE2s each. What is recorded can be played back, though.
//! * Up to [`FREE`] initiations are read without further ado. Of more, the sender has
//!   to show that it is where it says: it gets a cookie, which is a MAC of its address
//!   and port under a secret of this host that changes every [`COOKIE_TIME`], and sends
//!   its next initiation with *mac2*, keyed with the cookie, over the message up to it.
//!   As in WireGuard (section 5.4.7 of its paper) the cookie is sealed by
//!   XChaCha20-Poly1305 with *mac1* of the refused initiation as associated data, so
//!   that nobody else can make use of it, or answer with one of his own. The key is of
//!   the ring.
//! * Shown addresses have a rate each, [`ADDRESS`], and one together, [`SHOWN`].
//!
//! Responses need none of this: only one that carries the random number of an
//! initiation under way, and a good mac1, is looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Mac};
use chacha20poly1305::{AeadInOut, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::noise::{COOKIE, MAC, NONCE, SEALED};
use crate::core::Now;
use crate::core::cluster::entry::Secret;
use crate::core::cluster::secret::derive;
use crate::wire::sealed;

/// Initiations that are read without a cookie.
pub(super) const FREE: Rate = Rate { every: Duration::from_millis(10), burst: 100 };
/// Initiations that are read from all addresses that were shown.
pub(super) const SHOWN: Rate = Rate { every: Duration::from_millis(5), burst: 200 };
/// Initiations that are read from one address that was shown.
const ADDRESS: Rate = Rate { every: Duration::from_millis(200), burst: 10 };
/// Addresses that are remembered: twice as many as a cluster is meant to have.
const ADDRESSES: usize = 1_024;
/// How long a cookie is good for.
pub(super) const COOKIE_TIME: Now = Duration::from_secs(120);

/// What is made of one key of the ring.
pub(super) struct RingKey {
    /// For the handshake.
    pub(super) psk: Zeroizing<[u8; 32]>,
    mac1: Zeroizing<[u8; 32]>,
    cookie: Zeroizing<[u8; 32]>,
}

impl RingKey {
    pub(super) fn new(secret: &Secret) -> RingKey {
        let key = |label| derive(&secret.0, label);
        RingKey {
            psk: key("vxmesh data psk 1"),
            mac1: key("vxmesh data mac1 1"),
            cookie: key("vxmesh data cookie 1"),
        }
    }

    /// Writes mac1 at `at` into a message to the host with this public key.
    pub(super) fn sign(&self, receiver: &[u8; 32], message: &mut [u8], at: usize) {
        let (signed, mac1) = message.split_at_mut(at);
        mac1[..MAC].copy_from_slice(&finish(mac(&*self.mac1, &[receiver, signed])));
    }

    /// Whether mac1, at `at`, is right in a message to the host with this public key.
    pub(super) fn verify(&self, receiver: &[u8; 32], message: &[u8], at: usize) -> bool {
        let (signed, mac1) = message.split_at(at);
        mac(&*self.mac1, &[receiver, signed]).verify_slice(&mac1[..MAC]).is_ok()
    }

    /// The cookie out of a message that answers the initiation with this mac1.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE],
        mac1: &[u8],
        sealed: &[u8; SEALED],
    ) -> Option<Cookie> {
        let (text, tag) = sealed.split_first_chunk::<MAC>()?;
        let mut cookie = Zeroizing::new(*text);
        let key = XChaCha20Poly1305::new((&*self.cookie).into());
        let tag: &[u8; MAC] = tag.try_into().ok()?;
        let text = (&mut cookie[..]).into();
        key.decrypt_inout_detached(nonce.into(), mac1, text, tag.into()).ok()?;
        Some(Cookie(cookie))
    }

    /// The message that tells a cookie.
    pub(super) fn tell(
        &self,
        nonce: &[u8],
        mac1: &[u8],
        receiver: [u8; 4],
        mut cookie: [u8; MAC],
    ) -> Vec<u8> {
        let nonce: [u8; NONCE] = std::array::from_fn(|n| nonce[n]);
        let key = XChaCha20Poly1305::new((&*self.cookie).into());
        let tag = key
            .encrypt_inout_detached((&nonce).into(), mac1, (&mut cookie[..]).into())
            .expect("only fails for 256 GiB");
        let mut message = Vec::with_capacity(COOKIE);
        message.push(sealed::COOKIE);
        message.extend(receiver);
        message.extend(nonce);
        message.extend(cookie);
        message.extend(tag);
        message
    }
}

/// What shows that its owner is where it says.
pub(super) struct Cookie(pub(super) Zeroizing<[u8; MAC]>);

impl Cookie {
    /// Writes mac2 behind mac1.
    pub(super) fn sign(&self, initiation: &mut [u8]) {
        let (signed, mac2) = initiation.split_at_mut(initiation.len() - MAC);
        mac2.copy_from_slice(&finish(mac(&*self.0, &[signed])));
    }

    fn verify(&self, initiation: &[u8]) -> bool {
        let (signed, mac2) = initiation.split_at(initiation.len() - MAC);
        mac(&*self.0, &[signed]).verify_slice(mac2).is_ok()
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Blake2sMac<U16> {
    let mac = Blake2sMac::new_from_slice(key).expect("no key is longer than 32 bytes");
    parts.iter().fold(mac, |mac, part| mac.chain_update(part))
}

fn finish(mac: Blake2sMac<U16>) -> [u8; MAC] {
    mac.finalize_fixed().into()
}

/// What becomes of an initiation with a good mac1.
pub(super) enum Verdict {
    /// It is read.
    Admit,
    /// Its sender gets this cookie's message.
    Prove(Vec<u8>),
    /// Nothing.
    Refuse,
}

/// What a host under load remembers.
pub(super) struct Gate {
    secret: Zeroizing<[u8; 32]>,
    changed: Now,
    free: Bucket,
    shown: Bucket,
    addresses: BTreeMap<IpAddr, Bucket>,
}

impl Gate {
    /// The secret is random.
    pub(super) fn new(now: Now, secret: Zeroizing<[u8; 32]>) -> Gate {
        let (free, shown) = Default::default();
        Gate { secret, changed: now, free, shown, addresses: BTreeMap::new() }
    }

    /// Whether the secret is to be changed.
    pub(super) fn is_old(&self, now: Now) -> bool {
        now >= self.changed + COOKIE_TIME
    }

    /// Changes it: cookies from before are worth nothing.
    pub(super) fn renew(&mut self, now: Now, secret: Zeroizing<[u8; 32]>) {
        (self.secret, self.changed) = (secret, now);
    }

    /// Looks at an initiation with a good mac1. The nonce is random, 24 bytes or more.
    pub(super) fn admit(
        &mut self,
        now: Now,
        source: SocketAddr,
        key: &RingKey,
        initiation: &[u8],
        nonce: &[u8; 32],
    ) -> Verdict {
        if self.free.take(now, FREE) {
            return Verdict::Admit;
        }
        let cookie = self.cookie(source);
        if cookie.verify(initiation) {
            let admitted = self.take(now, source.ip()) && self.shown.take(now, SHOWN);
            return if admitted { Verdict::Admit } else { Verdict::Refuse };
        }
        let [_, _, _, _, _, i0, i1, i2, i3, ..] = *initiation else { return Verdict::Refuse };
        let mac1 = &initiation[initiation.len() - 2 * MAC..][..MAC];
        Verdict::Prove(key.tell(nonce, mac1, [i0, i1, i2, i3], *cookie.0))
    }

    fn cookie(&self, source: SocketAddr) -> Cookie {
        let port = source.port().to_be_bytes();
        let cookie = match source.ip() {
            IpAddr::V4(ip) => mac(&*self.secret, &[&ip.octets(), &port]),
            IpAddr::V6(ip) => mac(&*self.secret, &[&ip.octets(), &port]),
        };
        Cookie(Zeroizing::new(finish(cookie)))
    }

    /// Takes from an address's rate.
    fn take(&mut self, now: Now, address: IpAddr) -> bool {
        if !self.addresses.contains_key(&address) && self.addresses.len() >= ADDRESSES {
            self.addresses.retain(|_, bucket| bucket.full > now);
            if self.addresses.len() >= ADDRESSES {
                return false;
            }
        }
        self.addresses.entry(address).or_default().take(now, ADDRESS)
    }
}

/// So many at once, and one more every so often.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) every: Duration,
    pub(super) burst: u32,
}

/// What is left of a rate.
#[derive(Default)]
struct Bucket {
    /// When nothing will be missing any more.
    full: Now,
}

impl Bucket {
    /// Whether there is one left; it is gone then.
    fn take(&mut self, now: Now, rate: Rate) -> bool {
        let full = self.full.max(now) + rate.every;
        let left = full - now <= rate.every * rate.burst;
        if left {
            self.full = full;
        }
        left
    }
}

#[cfg(test)]
impl Gate {
    /// How many addresses are remembered.
    pub(super) fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// As if all that is free had just been taken.
    pub(super) fn fill(&mut self, now: Now) {
        while self.free.take(now, FREE) {}
    }
}
