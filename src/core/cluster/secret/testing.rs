//! What the tests here share.

use super::identity::Identity;
use super::noise::{Handshake, NoiseError};
use super::session::Session;
use super::token::{Tag, Token};

pub(super) const TAG: Tag = Tag(*b"mesh1");

pub(super) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

pub(super) fn token(n: u8) -> Token {
    Token::new([n; 32], TAG)
}

pub(super) fn members() -> (Handshake, Handshake) {
    let peer = identity(2).exchange_public();
    (
        Handshake::initiate_member(&identity(1), &peer, TAG, &[11; 32]),
        Handshake::respond_member(&identity(2), TAG, &[12; 32]),
    )
}

pub(super) fn joining() -> (Handshake, Handshake) {
    (
        Handshake::initiate_join(&identity(1), &token(7), &[11; 32]),
        Handshake::respond_join(&identity(2), &token(7), &[12; 32]),
    )
}

/// Runs a handshake to its end or its first error.
pub(super) fn shake(
    (mut a, mut b): (Handshake, Handshake),
) -> Result<(Session, Session), (NoiseError, Handshake, Handshake)> {
    let mut first = true;
    while !(a.is_finished() && b.is_finished()) {
        let (from, to) = if first { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let result = from.write().and_then(|message| to.read(&message));
        if let Err(error) = result {
            return Err((error, a, b));
        }
        first = !first;
    }
    Ok((a.into_session().unwrap(), b.into_session().unwrap()))
}

/// No key stands in what a `Debug` prints, neither as hexadecimal digits nor as
/// a list of bytes.
pub(super) fn assert_hidden(printed: &str, secret: &[u8]) {
    let hex: String = secret[..4].iter().map(|b| format!("{b:02x}")).collect();
    let list = format!("{:?}", &secret[..4]);
    let list = list.trim_matches(['[', ']']);
    assert!(!printed.to_lowercase().contains(&hex), "{printed}");
    assert!(!printed.contains(list), "{printed}");
}
