//! A connection on the gossip port. Its first byte says the kind, as for a
//! responder, which then has no answer for a stranger; with any other first byte
//! the rest comes after a handshake, where no bytes but the other end's are a
//! message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vxmesh::core::cluster::rpc::Request;
use vxmesh::core::cluster::secret::identity::Identity;
use vxmesh::core::cluster::secret::introduction;
use vxmesh::core::cluster::secret::noise::{Handshake, Kind, opening};
use vxmesh::core::cluster::secret::session::{Frames, Session};
use vxmesh::core::cluster::secret::token::{Tag, Token};

const TAG: Tag = Tag(*b"mesh1");

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let me = Identity::from_seed(&[2; 32]);
    let mut responder = match opening(*kind) {
        Some(Kind::Member) => Handshake::respond_member(&me, TAG, &[12; 32]),
        Some(Kind::Join) => Handshake::respond_join(&me, &Token::new([7; 32], TAG), &[12; 32]),
        Some(Kind::Introduction) => return introduction(&me, bytes),
        None => return after_handshake(&me, bytes),
    };
    let Some(message) = bytes.get(..responder.awaits()) else { return };
    // Only what the seeds hold was written with the right keys.
    if responder.read(message).is_err() {
        assert!(responder.write().is_err());
        assert!(responder.into_session().is_err());
    }
});

/// Only what the seeds hold was written with the right keys. What it says is read as a
/// request, as that of a member is.
fn introduction(me: &Identity, bytes: &[u8]) {
    if let Ok((_, text)) = introduction::open(me, TAG, bytes) {
        assert!(text.len() <= introduction::MAX_TEXT);
        let _ = postcard::take_from_bytes::<Request>(&text);
    }
}

fn after_handshake(me: &Identity, bytes: &[u8]) {
    let mut frames = Frames::default();
    let (mut rest, mut again) = (bytes, Vec::new());
    let refused = loop {
        match frames.push(&mut rest) {
            Ok(Some(frame)) => {
                again.extend((frame.len() as u16).to_be_bytes());
                again.extend(frame);
            }
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(bytes.starts_with(&again));
    assert!(refused || rest.is_empty());

    // A message of the other end's first, or one could not come to the rest.
    let (mut peer, mut session) = pair(me);
    let sent = peer.seal(bytes).expect("short enough");
    assert_eq!(session.open(&mut &sent[..]), Ok(Some(bytes.to_vec())));
    let mut bytes = bytes;
    while !bytes.is_empty() {
        match session.open(&mut bytes) {
            Ok(message) => assert_eq!(message, None),
            Err(error) => return assert_eq!(session.open(&mut &[][..]), Err(error)),
        }
    }
}

fn pair(me: &Identity) -> (Session, Session) {
    let peer = Identity::from_seed(&[1; 32]);
    let mut a = Handshake::initiate_member(&peer, &me.exchange_public(), TAG, &[11; 32]);
    let mut b = Handshake::respond_member(me, TAG, &[12; 32]);
    b.read(&a.write().expect("first")).expect("the right keys");
    a.read(&b.write().expect("second")).expect("the right keys");
    (a.into_session().expect("finished"), b.into_session().expect("finished"))
}
