//! One direction of a session.
//!
//! Each sending worker has a lane: a key made from the direction's, a counter, and
//! at the receiver a replay window. So workers share neither lock nor counter.

use zeroize::Zeroizing;

use super::cipher::{Aead, Backend, Suite};
use crate::core::drops::Reason;
use crate::wire::sealed::Header;
use crate::wire::vxlan::Vni;

/// Lanes that a session can have.
pub const LANES: u8 = 16;

/// The sending end of one lane.
pub struct Sender {
    key: Box<dyn Aead>,
    lane: u8,
    index: u32,
    counter: u64,
    limit: u64,
}

impl Sender {
    /// `secret` is the direction's key, `index` the receiver's number for the session.
    /// `None` if the library does not have that cipher.
    pub fn new(
        backend: Backend,
        suite: Suite,
        secret: &Zeroizing<[u8; 32]>,
        lane: u8,
        index: u32,
    ) -> Option<Sender> {
        let _ = (backend, suite, secret, lane, index);
        todo!()
    }

    /// Seals a datagram with room for header and tag around the frame.
    ///
    /// # Errors
    /// [`Reason::SealedExpired`] once the lane has sealed as much as it may.
    pub fn seal(&mut self, vni: Vni, datagram: &mut [u8]) -> Result<(), Reason> {
        let _ = (&self.key, self.lane, self.index, self.counter, self.limit, vni, datagram);
        todo!()
    }

    /// A sign of life: a datagram with nothing in it.
    pub fn sign_of_life(&mut self) -> Result<Vec<u8>, Reason> {
        todo!()
    }

    /// Datagrams sealed.
    pub fn sealed(&self) -> u64 {
        self.counter
    }

    /// Whether there should soon be a new key: half of what it may seal is sealed.
    pub fn is_worn(&self) -> bool {
        todo!()
    }
}

/// The receiving end of all lanes.
pub struct Receiver {}

impl Receiver {
    /// `secret` is the direction's key. `None` if the library does not have that cipher.
    pub fn new(backend: Backend, suite: Suite, secret: &Zeroizing<[u8; 32]>) -> Option<Receiver> {
        let _ = (backend, suite, secret);
        todo!()
    }

    /// Opens a datagram in place whose header is the given one; `None`: a sign of life.
    pub fn open(&mut self, header: &Header, datagram: &mut [u8]) -> Result<Option<Vni>, Reason> {
        let _ = (header, datagram);
        todo!()
    }

    /// Datagrams opened.
    pub fn opened(&self) -> u64 {
        todo!()
    }
}
