//! Handshakes of a TCP connection, by the Noise protocol framework.
//!
//! The first byte of a connection is its [`Kind`]. Then come the messages of the
//! handshake without anything around them: their lengths are fixed, so that
//! there is no length that a stranger could lie about.
//!
//! | | member | join |
//! | --- | --- | --- |
//! | pattern | `Noise_IK_25519_ChaChaPoly_BLAKE2s` | `Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s` |
//! | prologue | `vxmesh member 1`, the cluster's tag | `vxmesh join 1`, the cluster's tag |
//! | who may | whoever has the X25519 key of a member | whoever has the token |
//! | lengths, in bytes | 96, 48 | 48, 96, 64 |
//!
//! A connection of the third kind has no handshake: see
//! [`introduction`](super::introduction).
//!
//! A responder answers nothing that it could not authenticate: after an error
//! the handshake has nothing to write. In a member's handshake it must also
//! look, before its first [`Handshake::write`], whether
//! [`Handshake::peer_static`] belongs to a member, or to a host that was removed and
//! shall hear of it: anybody can make a key.
//! The first message of a member's handshake can be replayed; the answer is then
//! of no use to anybody, and no request is read from such a connection.

use std::fmt;

use snow::{Builder, HandshakeState};

use super::identity::Identity;
use super::resolver::Resolver;
use super::session::Session;
use super::token::{Tag, Token};

#[cfg(test)]
mod tests;

/// What a connection is for: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Between two members.
    Member = 1,
    /// From a host that wants to become one.
    Join = 2,
    /// From a member that the responder may not know; it gets no answer.
    Introduction = 3,
}

/// What the first byte of a connection says; `None` if it is a stranger's.
pub fn opening(byte: u8) -> Option<Kind> {
    [Kind::Member, Kind::Join, Kind::Introduction].into_iter().find(|kind| *kind as u8 == byte)
}

/// Why a handshake or a session ends. The connection is then closed without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    /// Not authentic: another key, another token, another cluster, or changed bytes.
    #[error(
        "the other end does not have the right key, or something on the way changed its bytes: check that both hosts are of one cluster"
    )]
    Forged,
    /// Read when it was to be written, the reverse, or not of the right length.
    #[error(
        "the other end does not keep to the protocol: check that both hosts run the same version"
    )]
    Protocol,
    /// Longer than [`MAX_MESSAGE`](crate::core::cluster::rpc::MAX_MESSAGE).
    #[error("a message is longer than 4 MiB: send it in parts")]
    TooLong,
}

/// What both ends of a handshake keep to.
struct Form {
    pattern: &'static str,
    label: &'static str,
    lengths: &'static [usize],
}

const MEMBER: Form = Form {
    pattern: "Noise_IK_25519_ChaChaPoly_BLAKE2s",
    label: "vxmesh member 1",
    lengths: &[96, 48],
};
const JOIN: Form = Form {
    pattern: "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
    label: "vxmesh join 1",
    lengths: &[48, 96, 64],
};

/// A handshake under way.
pub struct Handshake {
    state: Box<HandshakeState>,
    lengths: &'static [usize],
    done: usize,
}

impl Handshake {
    /// To a member whose X25519 public key is known. The seed is random and never
    /// used again, here and below.
    pub fn initiate_member(me: &Identity, peer: &[u8; 32], tag: Tag, seed: &[u8; 32]) -> Self {
        Self::new(&MEMBER, me, Known::Peer(peer), tag, seed, true)
    }

    /// From a member.
    pub fn respond_member(me: &Identity, tag: Tag, seed: &[u8; 32]) -> Self {
        Self::new(&MEMBER, me, Known::Nothing, tag, seed, false)
    }

    /// To any member of the token's cluster.
    pub fn initiate_join(me: &Identity, token: &Token, seed: &[u8; 32]) -> Self {
        Self::new(&JOIN, me, Known::Token(token), token.tag(), seed, true)
    }

    /// From a host that wants to join with this token.
    pub fn respond_join(me: &Identity, token: &Token, seed: &[u8; 32]) -> Self {
        Self::new(&JOIN, me, Known::Token(token), token.tag(), seed, false)
    }

    fn new(
        form: &Form,
        me: &Identity,
        known: Known<'_>,
        tag: Tag,
        seed: &[u8; 32],
        initiator: bool,
    ) -> Self {
        let prologue = [form.label.as_bytes(), &tag.0].concat();
        let state = prepare(form.pattern, &prologue, me, known, seed, initiator);
        Handshake { state: Box::new(state), lengths: form.lengths, done: 0 }
    }

    /// How long the message is that [`Handshake::read`] wants next, in bytes; 0 if
    /// it wants none, being finished or having one to write.
    pub fn awaits(&self) -> usize {
        if self.state.is_my_turn() { 0 } else { self.lengths.get(self.done).copied().unwrap_or(0) }
    }

    /// The next message to send.
    pub fn write(&mut self) -> Result<Vec<u8>, NoiseError> {
        let length = *self.lengths.get(self.done).ok_or(NoiseError::Protocol)?;
        let mut message = vec![0; length];
        self.state.write_message(&[], &mut message).map_err(|error| match error {
            snow::Error::Dh => NoiseError::Forged,
            _ => NoiseError::Protocol,
        })?;
        self.done += 1;
        Ok(message)
    }

    /// Takes up a message that was received, [`Handshake::awaits`] bytes.
    pub fn read(&mut self, message: &[u8]) -> Result<(), NoiseError> {
        if message.is_empty() || message.len() != self.awaits() {
            return Err(NoiseError::Protocol);
        }
        self.state.read_message(message, &mut []).map_err(|_| NoiseError::Forged)?;
        self.done += 1;
        Ok(())
    }

    /// Whether both ends know all they need.
    pub fn is_finished(&self) -> bool {
        self.state.is_handshake_finished()
    }

    /// The other end's X25519 public key, once it is known: to a member's
    /// responder after its first read, when joining after the message with it.
    pub fn peer_static(&self) -> Option<[u8; 32]> {
        self.state.get_remote_static()?.try_into().ok()
    }

    /// The session that a finished handshake leads to.
    pub fn into_session(self) -> Result<Session, NoiseError> {
        let peer = self.peer_static().ok_or(NoiseError::Protocol)?;
        let state = self.state.into_transport_mode().map_err(|_| NoiseError::Protocol)?;
        Ok(Session::new(state, peer))
    }
}

/// How far it is.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("done", &self.done).finish_non_exhaustive()
    }
}

/// What an end knows beforehand, besides its own keys.
pub(super) enum Known<'a> {
    Nothing,
    Peer(&'a [u8; 32]),
    Token(&'a Token),
}

/// One end of a handshake by a pattern of the framework.
pub(super) fn prepare(
    pattern: &str,
    prologue: &[u8],
    me: &Identity,
    known: Known<'_>,
    seed: &[u8; 32],
    initiator: bool,
) -> HandshakeState {
    pattern
        .parse()
        .map(|params| Builder::with_resolver(params, Box::new(Resolver::new(seed))))
        .and_then(|builder| builder.prologue(prologue))
        .and_then(|builder| builder.local_private_key(me.exchange().as_bytes()))
        .and_then(|builder| match known {
            Known::Nothing => Ok(builder),
            Known::Peer(key) => builder.remote_public_key(key),
            Known::Token(token) => builder.psk(0, token.psk()),
        })
        .and_then(|builder| match initiator {
            true => builder.build_initiator(),
            false => builder.build_responder(),
        })
        .expect("each pattern is given all that it needs, in the right lengths")
}
