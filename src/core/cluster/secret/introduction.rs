//! What a member says to one that may not know it: one message, and no answer.
//!
//! The pattern is `Noise_X_25519_ChaChaPoly_BLAKE2s`, the prologue `vxmesh
//! introduction 1` and the cluster's tag: only the one whose X25519 key it is for can
//! read it, and it proves the sender's. It can be replayed; it must say nothing that
//! is not as true the second time.

use super::identity::Identity;
use super::noise::{Known, NoiseError, prepare};
use super::token::Tag;

#[cfg(test)]
mod tests;

const PATTERN: &str = "Noise_X_25519_ChaChaPoly_BLAKE2s";
const LABEL: &[u8] = b"vxmesh introduction 1";
/// The sender's ephemeral key, its sealed static one, and the text's tag.
const OVERHEAD: usize = 32 + 48 + 16;

/// The longest text of an introduction, in bytes.
pub const MAX_TEXT: usize = 32 << 10;
/// The longest introduction, in bytes: more is not read from a stranger.
pub const MAX_INTRODUCTION: usize = MAX_TEXT + OVERHEAD;

/// A text for the host whose X25519 public key is `to`. The seed is random and never
/// used again. Fails if the text is too long, or the key is none.
pub fn seal(
    me: &Identity,
    to: &[u8; 32],
    tag: Tag,
    text: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, NoiseError> {
    if text.len() > MAX_TEXT {
        return Err(NoiseError::TooLong);
    }
    let mut state = prepare(PATTERN, &prologue(tag), me, Known::Peer(to), seed, true);
    let mut message = vec![0; text.len() + OVERHEAD];
    // Nothing but a key that is no point of the curve makes it fail.
    state.write_message(text, &mut message).map_err(|_| NoiseError::Forged)?;
    Ok(message)
}

/// Whose introduction it is, by its X25519 public key, and the text.
pub fn open(me: &Identity, tag: Tag, message: &[u8]) -> Result<([u8; 32], Vec<u8>), NoiseError> {
    let length = message.len().checked_sub(OVERHEAD).ok_or(NoiseError::Forged)?;
    if length > MAX_TEXT {
        return Err(NoiseError::TooLong);
    }
    // It makes no key of its own.
    let mut state = prepare(PATTERN, &prologue(tag), me, Known::Nothing, &[0; 32], false);
    let mut text = vec![0; length];
    state.read_message(message, &mut text).map_err(|_| NoiseError::Forged)?;
    let sender = state.get_remote_static().and_then(|key| key.try_into().ok());
    Ok((sender.ok_or(NoiseError::Protocol)?, text))
}

fn prologue(tag: Tag) -> Vec<u8> {
    [LABEL, &tag.0].concat()
}
