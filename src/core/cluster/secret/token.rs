//! The join token, `vxmesh-1-<cluster>-<secret>`: what a host joins a cluster
//! with, as people copy it from one terminal to another.
//!
//! The cluster's tag is 8 characters of base32 (RFC 4648, lower case); the last
//! part is 56: 32 secret bytes and 3 of a checksum over tag and secret. Thus a
//! typo is told from a token that is wrong, without anybody being asked.

use std::fmt;

use zeroize::Zeroizing;

use super::derive;

#[cfg(test)]
mod tests;

/// What is in front of every token of this format.
const PREFIX: &str = "vxmesh-1-";
const TAG: usize = 5;
const CHECKSUM: usize = 3;
const SECRET: usize = 32 + CHECKSUM;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Tells clusters apart. Random, made with the cluster, not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; TAG]);

/// Eight characters, as in the token.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A join token.
pub struct Token {
    tag: Tag,
    secret: Zeroizing<[u8; 32]>,
}

impl Token {
    /// A new token of a cluster. The bytes are random and used for nothing else.
    pub fn new(random: [u8; 32], tag: Tag) -> Self {
        Token { tag, secret: Zeroizing::new(random) }
    }

    /// Reads a token. Capital letters and blanks around it do no harm.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = Zeroizing::new(text.trim().to_ascii_lowercase());
        let parts = text.strip_prefix(PREFIX).ok_or_else(|| not_of_this_format(&text))?;
        let (tag, secret) = parts.split_once('-').ok_or(TokenError::Incomplete)?;
        let tag = Tag(decode(tag)?);
        let bytes = Zeroizing::new(decode::<SECRET>(secret)?);
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&bytes[..32]);
        let token = Token { tag, secret };
        if bytes[32..] != token.checksum() {
            return Err(TokenError::Typo);
        }
        Ok(token)
    }

    /// The token as text. Whoever sees it can join.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; SECRET]);
        bytes[..32].copy_from_slice(&*self.secret);
        bytes[32..].copy_from_slice(&self.checksum());
        let secret = Zeroizing::new(encode(&*bytes));
        Zeroizing::new([PREFIX, &encode(&self.tag.0), "-", &secret].concat())
    }

    /// The cluster that it belongs to.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The pre-shared key of the handshake to join with.
    pub fn psk(&self) -> &[u8; 32] {
        &self.secret
    }

    fn checksum(&self) -> [u8; CHECKSUM] {
        let sum = derive(&self.secret, &format!("vxmesh token 1 checksum {}", self.tag));
        let mut checksum = [0; CHECKSUM];
        checksum.copy_from_slice(&sum[..CHECKSUM]);
        checksum
    }
}

/// The cluster alone.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// Why a text is no token. None of these repeats the text, which may hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else altogether.
    #[error(
        "this is not a join token, which begins with \"{PREFIX}\": take the one that \"vxmesh cluster token\" prints on a member"
    )]
    NotAToken,
    /// Of a later program.
    #[error("this join token has format {0}, and this vxmesh reads format 1: update it first")]
    Format(u32),
    /// Too short or too long.
    #[error(
        "the join token is cut off or has something after it: copy the whole of it, {} characters",
        PREFIX.len() + 8 + 1 + 56
    )]
    Incomplete,
    /// Some character is wrong.
    #[error("the join token has a typo: copy it again rather than typing it")]
    Typo,
}

fn not_of_this_format(text: &str) -> TokenError {
    text.strip_prefix("vxmesh-")
        .and_then(|rest| rest.split('-').next()?.parse().ok())
        .filter(|format| *format != 1)
        .map_or(TokenError::NotAToken, TokenError::Format)
}

/// Base32 of a whole number of five-byte groups.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 5 * 8);
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let digits = (0..8).rev().map(|n| ALPHABET[(bits >> (5 * n) & 31) as usize]);
        text.extend(digits.map(char::from));
    }
    text
}

/// The reverse, `N` being a multiple of five.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], TokenError> {
    let mut bytes = Zeroizing::new([0; N]);
    if text.len() != N / 5 * 8 {
        return Err(TokenError::Incomplete);
    }
    for (group, digits) in bytes.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
        let bits = digits.iter().try_fold(0u64, |bits, digit| {
            let value = ALPHABET.iter().position(|d| d == digit).ok_or(TokenError::Typo)?;
            Ok(bits << 5 | value as u64)
        })?;
        group.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Ok(*bytes)
}
