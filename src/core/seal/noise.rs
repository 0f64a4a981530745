//! The handshake: `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`, prologue `vxmesh data 1`.
//!
//! All messages have fixed lengths, and no answer is longer than what it answers.
//! Numbers are big-endian.
//!
//! ```text
//! initiation, 161 bytes
//!  0        1                5           9                   129      145      161
//! | type 1 | ring key (u32) | index (u32) | e, s, payload (120) | mac1   | mac2   |
//!   payload: generation (u64), count (u64), suites (8 × u8)
//!
//! response, 83 bytes
//!  0        1                5           9                   67       83
//! | type 2 | receiver (u32) | index (u32) | e, payload (58)     | mac1   |
//!   payload: suite (u8), translated (u8), suites (8 × u8)
//!
//! cookie, 61 bytes
//!  0        1                5           29                  61
//! | type 3 | receiver (u32) | nonce (24)  | cookie, sealed (32) |
//! ```
//!
//! *Index* is the sender's number for the session that is to be, and *receiver* that
//! of whom it is answered to. *Suites* are the numbers of the ciphers that the sender
//! takes, the one that it likes best first, and zeros behind them. The response's
//! *suite* is the one that is taken, or 0: none in common, and there is no session.
//! *Translated* is 1 if the initiation did not come from its sender's VTEP.
//! Generation and count rise with each initiation of a host, so that none is taken
//! twice. For the MACs and the cookie see [`gate`](super::gate).
//!
//! Keys are wiped when they are dropped, but for what snow copies: its chaining key and
//! the pre-shared key, in memory that is freed when the handshake ends.

use snow::{Builder, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::cipher::Suite;
use crate::core::cluster::secret::resolver::Resolver;
use crate::wire::sealed;

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"vxmesh data 1";

/// Bytes of a MAC, and of a cookie.
pub(super) const MAC: usize = 16;
/// Bytes in front of the Noise message.
const HEADER: usize = 9;
const KEY: usize = 32;
const TAG: usize = 16;
/// Suites that there is room for.
const ROOM: usize = 8;
const HELLO: usize = 16 + ROOM;
const REPLY: usize = 2 + ROOM;
const FIRST: usize = KEY + KEY + TAG + HELLO + TAG;
const SECOND: usize = KEY + REPLY + TAG;

/// Bytes of an initiation.
pub(super) const INITIATION: usize = HEADER + FIRST + 2 * MAC;
/// Bytes of a response.
pub(super) const RESPONSE: usize = HEADER + SECOND + MAC;
/// Bytes of a cookie's message.
pub(super) const COOKIE: usize = 5 + NONCE + SEALED;
/// Bytes of a cookie's nonce.
pub(super) const NONCE: usize = 24;
/// Bytes of a sealed cookie.
pub(super) const SEALED: usize = MAC + TAG;

/// A host's X25519 key pair.
pub(super) struct Pair {
    private: Zeroizing<[u8; KEY]>,
    /// Its public half.
    pub(super) public: [u8; KEY],
}

impl Pair {
    pub(super) fn new(private: Zeroizing<[u8; KEY]>) -> Pair {
        let public = PublicKey::from(&StaticSecret::from(*private)).to_bytes();
        Pair { private, public }
    }
}

/// What can be read of a message without any key.
pub(super) enum Message<'a> {
    /// The first.
    Initiation { ring: u32, index: u32, noise: &'a [u8] },
    /// The second.
    Response { receiver: u32, index: u32, noise: &'a [u8] },
    /// Instead of the second.
    Cookie { receiver: u32, nonce: &'a [u8; NONCE], sealed: &'a [u8; SEALED] },
}

impl Message<'_> {
    /// `None` if it is none, by its type or its length.
    pub(super) fn parse(datagram: &[u8]) -> Option<Message<'_>> {
        let (head, rest) = datagram.split_first_chunk::<5>()?;
        let [kind, number @ ..] = *head;
        let number = u32::from_be_bytes(number);
        if (kind, datagram.len()) == (sealed::COOKIE, COOKIE) {
            let (nonce, sealed) = rest.split_first_chunk()?;
            return Some(Message::Cookie {
                receiver: number,
                nonce,
                sealed: sealed.try_into().ok()?,
            });
        }
        let (index, rest) = rest.split_first_chunk()?;
        let index = u32::from_be_bytes(*index);
        match (kind, datagram.len()) {
            (sealed::INITIATION, INITIATION) => {
                Some(Message::Initiation { ring: number, index, noise: &rest[..FIRST] })
            }
            (sealed::RESPONSE, RESPONSE) => {
                Some(Message::Response { receiver: number, index, noise: &rest[..SECOND] })
            }
            _ => None,
        }
    }
}

/// Rises with each initiation that a host writes, also over its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) generation: u64,
    pub(super) count: u64,
}

/// What an initiation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) stamp: Stamp,
    pub(super) suites: Vec<Suite>,
}

/// What a response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// The cipher that is taken; `None` if the two have none in common.
    pub(super) suite: Option<Suite>,
    /// The initiation came through a translator of addresses.
    pub(super) translated: bool,
    /// What the responder would take.
    pub(super) suites: Vec<Suite>,
}

/// The keys that a handshake leads to, one for each direction.
pub(super) struct Split {
    pub(super) sending: Zeroizing<[u8; KEY]>,
    pub(super) receiving: Zeroizing<[u8; KEY]>,
}

/// An initiation that waits for its response.
pub(super) struct Initiator(Box<HandshakeState>);

impl Initiator {
    /// An initiation to the peer with this public key, without its MACs; `None` if that is no
    /// key at all. The seed is random and never used again, here and below.
    pub(super) fn new(
        pair: &Pair,
        peer: &[u8; KEY],
        psk: &[u8; KEY],
        seed: &[u8; KEY],
        (ring, index): (u32, u32),
        hello: &Hello,
    ) -> Option<(Initiator, Vec<u8>)> {
        let mut state = state(pair, Some(peer), psk, seed);
        let mut text = [0; HELLO];
        text[..8].copy_from_slice(&hello.stamp.generation.to_be_bytes());
        text[8..16].copy_from_slice(&hello.stamp.count.to_be_bytes());
        text[16..].copy_from_slice(&numbers(&hello.suites));
        let mut message = header(sealed::INITIATION, ring, index, INITIATION);
        state.write_message(&text, &mut message[HEADER..][..FIRST]).ok()?;
        Some((Initiator(state), message))
    }

    /// Takes a response. One that is not authentic leaves everything as it is.
    pub(super) fn read(&mut self, noise: &[u8]) -> Option<(Reply, Split)> {
        let mut text = [0; REPLY];
        self.0.read_message(noise, &mut text).ok()?;
        let [suite, translated, numbers @ ..] = text;
        let suite = Suite::ALL.iter().copied().find(|known| *known as u8 == suite);
        let reply = Reply { suite, translated: translated != 0, suites: suites(numbers) };
        let (sending, receiving) = self.0.dangerously_get_raw_split();
        let (sending, receiving) = (Zeroizing::new(sending), Zeroizing::new(receiving));
        Some((reply, Split { sending, receiving }))
    }
}

/// An initiation that is authentic and not yet answered.
pub(super) struct Responder {
    state: Box<HandshakeState>,
    /// Whose it is. Anybody can make a key: whether it is a member's is to be looked up.
    pub(super) peer: [u8; KEY],
    /// What it says.
    pub(super) hello: Hello,
}

impl Responder {
    /// Reads an initiation; `None` if it is not authentic.
    pub(super) fn read(
        pair: &Pair,
        psk: &[u8; KEY],
        seed: &[u8; KEY],
        noise: &[u8],
    ) -> Option<Responder> {
        let mut state = state(pair, None, psk, seed);
        let mut text = [0; HELLO];
        state.read_message(noise, &mut text).ok()?;
        let peer = state.get_remote_static()?.try_into().ok()?;
        let (generation, rest) = text.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (generation, count) = (u64::from_be_bytes(*generation), u64::from_be_bytes(*count));
        let suites = suites(*rest.first_chunk()?);
        Some(Responder { state, peer, hello: Hello { stamp: Stamp { generation, count }, suites } })
    }

    /// The response, without its MAC; `None` if the initiation was made with a key that is none.
    pub(super) fn answer(
        mut self,
        receiver: u32,
        index: u32,
        reply: &Reply,
    ) -> Option<(Vec<u8>, Split)> {
        let mut text = [0; REPLY];
        text[0] = reply.suite.map_or(0, |suite| suite as u8);
        text[1] = u8::from(reply.translated);
        text[2..].copy_from_slice(&numbers(&reply.suites));
        let mut message = header(sealed::RESPONSE, receiver, index, RESPONSE);
        self.state.write_message(&text, &mut message[HEADER..][..SECOND]).ok()?;
        let (receiving, sending) = self.state.dangerously_get_raw_split();
        let (sending, receiving) = (Zeroizing::new(sending), Zeroizing::new(receiving));
        Some((message, Split { sending, receiving }))
    }
}

/// The beginning of a message, and room for the rest.
fn header(kind: u8, first: u32, second: u32, len: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(len);
    message.push(kind);
    message.extend(first.to_be_bytes());
    message.extend(second.to_be_bytes());
    message.resize(len, 0);
    message
}

/// An initiator's if the peer is known, else a responder's.
fn state(
    pair: &Pair,
    peer: Option<&[u8; KEY]>,
    psk: &[u8; KEY],
    seed: &[u8; KEY],
) -> Box<HandshakeState> {
    let state = PATTERN
        .parse()
        .map(|params| Builder::with_resolver(params, Box::new(Resolver::new(seed))))
        .and_then(|builder| builder.prologue(PROLOGUE))
        .and_then(|builder| builder.local_private_key(&*pair.private))
        .and_then(|builder| builder.psk(2, psk))
        .and_then(|builder| match peer {
            Some(peer) => builder.remote_public_key(peer)?.build_initiator(),
            None => builder.build_responder(),
        });
    Box::new(state.expect("the pattern is given all that it needs, in the right lengths"))
}

fn numbers(suites: &[Suite]) -> [u8; ROOM] {
    let mut numbers = [0; ROOM];
    numbers.iter_mut().zip(suites).for_each(|(number, suite)| *number = *suite as u8);
    numbers
}

/// Without those that this version does not know.
fn suites(numbers: [u8; ROOM]) -> Vec<Suite> {
    let suite = |number| Suite::ALL.iter().copied().find(|known| *known as u8 == number);
    numbers.into_iter().filter_map(suite).collect()
}

/// The cipher that two hosts use: the one that stands foremost in both lists, by the
/// sum of its places; of two that stand equally, the one with the lower number. So it
/// does not matter which of the two begins, and AES-256-GCM is taken if both have it and
/// neither likes it less.
pub(super) fn choose(ours: &[Suite], theirs: &[Suite]) -> Option<Suite> {
    let place = |list: &[Suite], suite| list.iter().position(|s| *s == suite);
    let sum = |suite: &Suite| Some(place(ours, *suite)? + place(theirs, *suite)?);
    let common = Suite::ALL.iter().filter_map(|suite| Some((sum(suite)?, *suite)));
    common.min().map(|(_, suite)| suite)
}
