//! Messages over a connection whose handshake is finished.
//!
//! A Noise message carries less than 64 KiB, ours up to 4 MiB. A message is cut
//! into frames:
//!
//! ```text
//! 0              2
//! | length (u16) | ciphertext of: data, end (u8) | tag (16) |
//! ```
//!
//! `length`, big-endian, counts what follows it. `end` is 1 in the message's last
//! frame and 0 in the others, which are all full: so there is one way to write a
//! message, and nobody can cut one short. The numbers that Noise counts its
//! messages by keep frames from being left out, repeated or reordered.

use std::fmt;

use snow::TransportState;

use super::noise::NoiseError;
use crate::core::cluster::rpc::MAX_MESSAGE;

#[cfg(test)]
mod tests;

const LENGTH: usize = 2;
const TAG: usize = 16;
const END: usize = 1;

/// The longest Noise message, in bytes.
const MAX_FRAME: usize = 65_535;

/// What a full frame carries, in bytes.
const FULL: usize = MAX_FRAME - TAG - END;

/// One end of a connection between two that know each other. Bound to it: the
/// first error is final, and the connection is to be closed.
pub struct Session {
    state: TransportState,
    peer: [u8; 32],
    frames: Frames,
    /// The beginning of a message whose end has not come.
    message: Vec<u8>,
    failed: Option<NoiseError>,
}

impl Session {
    pub(super) fn new(state: TransportState, peer: [u8; 32]) -> Self {
        Session { state, peer, frames: Frames::default(), message: Vec::new(), failed: None }
    }

    /// The other end's X25519 public key.
    pub fn peer_static(&self) -> [u8; 32] {
        self.peer
    }

    /// A message as bytes to send.
    pub fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        if message.len() > MAX_MESSAGE {
            return Err(NoiseError::TooLong);
        }
        let count = message.len().div_ceil(FULL).max(1);
        let mut sent = Vec::with_capacity(message.len() + count * (LENGTH + END + TAG));
        let mut plaintext = Vec::with_capacity(message.len().min(FULL) + END);
        for nth in 0..count {
            let data = &message[nth * FULL..message.len().min((nth + 1) * FULL)];
            plaintext.clear();
            plaintext.extend(data);
            plaintext.push(u8::from(nth + 1 == count));
            let length = plaintext.len() + TAG;
            sent.extend((length as u16).to_be_bytes());
            let at = sent.len();
            sent.resize(at + length, 0);
            self.state
                .write_message(&plaintext, &mut sent[at..])
                .map_err(|_| NoiseError::Protocol)?;
        }
        Ok(sent)
    }

    /// Takes received bytes from the front of `input`, up to the end of a message,
    /// and then returns it: to be called until it returns `None`, which it does
    /// when `input` is used up. Holds no more memory than twice what has come.
    pub fn open(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, NoiseError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let opened = self.open_frames(input);
        self.failed = opened.as_ref().err().copied();
        opened
    }

    fn open_frames(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, NoiseError> {
        while let Some(frame) = self.frames.push(input)? {
            let at = self.message.len();
            let carried = frame.len() - TAG - END;
            if at + carried > MAX_MESSAGE {
                return Err(NoiseError::TooLong);
            }
            self.message.resize(at + carried + END, 0);
            self.state
                .read_message(&frame, &mut self.message[at..])
                .map_err(|_| NoiseError::Forged)?;
            match self.message.pop() {
                Some(1) => return Ok(Some(std::mem::take(&mut self.message))),
                Some(0) if carried == FULL => {}
                _ => return Err(NoiseError::Protocol),
            }
        }
        Ok(None)
    }
}

/// The other end.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// Cuts a stream of bytes into frames. What a length says is never allocated
/// before the bytes are there.
#[derive(Debug, Default)]
pub struct Frames {
    /// A frame with its length, as far as it has come.
    partial: Vec<u8>,
}

impl Frames {
    /// Takes bytes from the front of `input`, up to the end of a frame, and then
    /// returns it without its length.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, NoiseError> {
        self.take(input, LENGTH);
        let Some(length) = self.partial.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length < END + TAG {
            return Err(NoiseError::Protocol);
        }
        self.take(input, LENGTH + length);
        if self.partial.len() < LENGTH + length {
            return Ok(None);
        }
        let frame = self.partial.split_off(LENGTH);
        self.partial.clear();
        Ok(Some(frame))
    }

    /// Fills up to `length` bytes.
    fn take(&mut self, input: &mut &[u8], length: usize) {
        let missing = length.saturating_sub(self.partial.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.partial.extend(taken);
        *input = rest;
    }
}
