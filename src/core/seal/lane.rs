//! One direction of a session.
//!
//! Each sending worker has a lane: a key made from the direction's, a counter, and
//! at the receiver a replay window. So workers share neither lock nor counter.

#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

use super::cipher::{Aead, Backend, Maker, Suite};
use crate::core::cluster::secret::derive;
use crate::core::drops::Reason;
use crate::core::window;
use crate::wire::sealed::{self, HEADER, HEADROOM, Header, TAG};
use crate::wire::vxlan::Vni;

/// Lanes that a session can have.
pub const LANES: u8 = 16;

/// How far datagrams of one lane may overtake each other, in datagrams. As many as
/// WireGuard allows: 2 ms of a link at 4 million datagrams a second.
pub const WINDOW: u64 = Window::SIZE;

type Window = window::Window<129>;

/// The key of a lane, from its direction's.
fn lane_key(secret: &Zeroizing<[u8; 32]>, lane: u8) -> Zeroizing<[u8; 32]> {
    derive(secret, &format!("vxmesh data lane {lane}"))
}

/// The sending end of one lane.
pub struct Sender {
    key: Box<dyn Aead>,
    suite: Suite,
    lane: u8,
    index: u32,
    counter: u64,
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
        let key = backend.maker(suite)?(&lane_key(secret, lane));
        Some(Sender { key, suite, lane, index, counter: 0 })
    }

    /// Seals a datagram with room for header and tag around the frame:
    /// [`HEADROOM`] and [`TAG`] bytes.
    ///
    /// # Errors
    /// [`Reason::SealedExpired`] once the lane has sealed as much as it may, and
    /// [`Reason::Malformed`] without a frame between the two. Nothing is to be sent then.
    pub fn seal(&mut self, vni: Vni, datagram: &mut [u8]) -> Result<(), Reason> {
        if datagram.len() <= HEADROOM + TAG {
            return Err(Reason::Malformed);
        }
        datagram[HEADER..HEADROOM].copy_from_slice(&sealed::word(vni));
        self.fill(datagram)
    }

    /// A sign of life: a datagram with nothing in it.
    ///
    /// # Errors
    /// [`Reason::SealedExpired`] once the lane has sealed as much as it may.
    pub fn sign_of_life(&mut self) -> Result<Vec<u8>, Reason> {
        let mut datagram = vec![0; HEADER + TAG];
        self.fill(&mut datagram)?;
        Ok(datagram)
    }

    /// Encrypts what is between header and tag, and writes both.
    fn fill(&mut self, datagram: &mut [u8]) -> Result<(), Reason> {
        let (header, text, tag) = parts(datagram).ok_or(Reason::Malformed)?;
        let counter = self.counter;
        if counter >= self.suite.reject_after() {
            return Err(Reason::SealedExpired);
        }
        // Before the key is used, so that whatever happens, no number is used twice.
        self.counter += 1;
        *header = Header { lane: self.lane, index: self.index, counter }.bytes();
        *tag = self.key.seal(counter, header, text);
        Ok(())
    }

    /// Datagrams sealed.
    pub fn sealed(&self) -> u64 {
        self.counter
    }

    /// Whether there should soon be a new key ([`Suite::rekey_after`]).
    pub fn is_worn(&self) -> bool {
        self.counter >= self.suite.rekey_after()
    }
}

/// The receiving end of all lanes.
pub struct Receiver {
    secret: Zeroizing<[u8; 32]>,
    maker: Maker,
    suite: Suite,
    lanes: [Option<Box<Lane>>; LANES as usize],
    opened: u64,
}

/// The receiving end of one lane.
struct Lane {
    key: Box<dyn Aead>,
    window: Window,
}

impl Receiver {
    /// `secret` is the direction's key. `None` if the library does not have that cipher.
    pub fn new(backend: Backend, suite: Suite, secret: &Zeroizing<[u8; 32]>) -> Option<Receiver> {
        let maker = backend.maker(suite)?;
        Some(Receiver {
            secret: secret.clone(),
            maker,
            suite,
            lanes: Default::default(),
            opened: 0,
        })
    }

    /// Opens a datagram in place whose header is the given one; `None`: a sign of life.
    ///
    /// # Errors
    /// The text is worth nothing then, and may have been overwritten.
    /// [`Reason::SealedLane`] for a lane from [`LANES`] on, [`Reason::SealedReplay`]
    /// for what has been opened before or is [`WINDOW`] behind, [`Reason::SealedForged`]
    /// for what the lane's key did not seal, [`Reason::SealedExpired`] for what it
    /// should not have sealed any more ([`Suite::reject_after`]).
    pub fn open(&mut self, header: &Header, datagram: &mut [u8]) -> Result<Option<Vni>, Reason> {
        let lane = self.lanes.get_mut(usize::from(header.lane)).ok_or(Reason::SealedLane)?;
        let lane = lane.get_or_insert_with(|| Lane::new(self.maker, &self.secret, header.lane));
        let (_, text, tag) = parts(datagram).ok_or(Reason::SealedMalformed)?;
        if !lane.window.is_fresh(header.counter) {
            return Err(Reason::SealedReplay);
        }
        if !lane.key.open(header.counter, &header.bytes(), text, tag) {
            return Err(Reason::SealedForged);
        }
        if header.counter >= self.suite.reject_after() {
            return Err(Reason::SealedExpired);
        }
        lane.window.mark(header.counter);
        self.opened += 1;
        Ok(text.first_chunk().map(|word| sealed::vni(*word)))
    }

    /// Datagrams opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }
}

impl Lane {
    /// Made when the first datagram names the lane, not before: most sessions only
    /// use one.
    fn new(maker: Maker, secret: &Zeroizing<[u8; 32]>, lane: u8) -> Box<Lane> {
        Box::new(Lane { key: maker(&lane_key(secret, lane)), window: Window::seen_below(0) })
    }
}

/// Header, text and tag of a datagram; `None` if it is shorter than a sign of life.
fn parts(datagram: &mut [u8]) -> Option<(&mut [u8; HEADER], &mut [u8], &mut [u8; TAG])> {
    let (header, rest) = datagram.split_first_chunk_mut()?;
    let (text, tag) = rest.split_last_chunk_mut()?;
    Some((header, text, tag))
}
