use proptest::prelude::*;

use super::super::noise::NoiseError;
use super::super::testing::{assert_hidden, members, shake};
use super::{Frames, Session};
use crate::core::cluster::rpc::MAX_MESSAGE;

fn pair() -> (Session, Session) {
    shake(members()).unwrap()
}

/// What a frame carries when it is full.
const FULL: usize = 65_535 - 17;

#[test]
fn messages_of_all_sizes() {
    let (mut a, mut b) = pair();
    let sizes = [0, 1, FULL - 1, FULL, FULL + 1, 65_535, 65_536, 2 * FULL, MAX_MESSAGE];
    for size in sizes {
        let message: Vec<u8> = (0..size).map(|n| ((n * 31) >> 3) as u8).collect();
        let sent = a.seal(&message).unwrap();
        let mut input = &sent[..];
        assert_eq!(b.open(&mut input).unwrap().unwrap(), message, "{size}");
        assert!(input.is_empty());
        assert_eq!(b.open(&mut input), Ok(None));
    }
}

#[test]
fn too_long_on_either_end() {
    let (mut a, mut b) = pair();
    assert_eq!(a.seal(&vec![0; MAX_MESSAGE + 1]), Err(NoiseError::TooLong));
    // One that does not keep to it: full frames without end.
    let mut sent = Vec::new();
    while sent.len() <= MAX_MESSAGE {
        frame(&mut a, &vec![0; FULL + 1], &mut sent);
    }
    frame(&mut a, &vec![0; FULL + 1], &mut sent);
    assert_eq!(b.open(&mut &sent[..]), Err(NoiseError::TooLong));
    assert!(b.message.capacity() <= 2 * MAX_MESSAGE);
}

/// A frame of any plaintext.
fn frame(session: &mut Session, plaintext: &[u8], sent: &mut Vec<u8>) {
    sent.extend((plaintext.len() as u16 + 16).to_be_bytes());
    let at = sent.len();
    sent.resize(at + plaintext.len() + 16, 0);
    session.state.write_message(plaintext, &mut sent[at..]).unwrap();
}

#[test]
fn only_one_way_to_write_a_message() {
    // An unknown end, and a frame that is not full but not the last.
    for plaintext in [&b"text\x02"[..], b"text\x00", b"\x00"] {
        let (mut a, mut b) = pair();
        let mut sent = Vec::new();
        frame(&mut a, plaintext, &mut sent);
        assert_eq!(b.open(&mut &sent[..]), Err(NoiseError::Protocol));
    }
}

#[test]
fn claims_are_not_believed() {
    let mut frames = Frames::default();
    assert_eq!(frames.push(&mut &[0xff, 0xff, 1, 2, 3][..]), Ok(None));
    assert!(frames.partial.capacity() < 64);
    for length in 0..17 {
        assert_eq!(Frames::default().push(&mut &[0, length][..]), Err(NoiseError::Protocol));
    }
    assert_eq!(Frames::default().push(&mut &[0, 17][..]), Ok(None));
}

#[test]
fn the_first_error_is_final() {
    let (mut a, mut b) = pair();
    let good = a.seal(b"good").unwrap();
    let mut bad = good.clone();
    bad[5] ^= 1;
    assert_eq!(b.open(&mut &bad[..]), Err(NoiseError::Forged));
    assert_eq!(b.open(&mut &good[..]), Err(NoiseError::Forged));
}

#[test]
fn neither_left_out_nor_repeated_nor_reordered_nor_sent_back() {
    let message = vec![7; 2 * FULL + 5];
    let cut = 2 + FULL + 17;
    let sealed = || {
        let (mut a, b) = pair();
        (a.seal(&message).unwrap(), a, b)
    };
    let (sent, _, mut b) = sealed();
    assert_eq!(b.open(&mut &sent[cut..]), Err(NoiseError::Forged));
    let (sent, _, mut b) = sealed();
    let repeated = [&sent[..cut], &sent[..cut]].concat();
    assert_eq!(b.open(&mut &repeated[..]), Err(NoiseError::Forged));
    let (sent, _, mut b) = sealed();
    let reordered = [&sent[..cut], &sent[2 * cut..], &sent[cut..2 * cut]].concat();
    assert_eq!(b.open(&mut &reordered[..]), Err(NoiseError::Forged));
    let (sent, mut a, _) = sealed();
    assert_eq!(a.open(&mut &sent[..]), Err(NoiseError::Forged));
    // Cut off: no message, however long one waits.
    let (sent, _, mut b) = sealed();
    assert_eq!(b.open(&mut &sent[..2 * cut]), Ok(None));
    assert_eq!(b.open(&mut &[][..]), Ok(None));
}

#[test]
fn debug_hides_what_is_said() {
    let (mut a, mut b) = pair();
    let sent = a.seal(&[0xab; FULL + 9]).unwrap();
    b.open(&mut &sent[..FULL + 19]).unwrap();
    assert_hidden(&format!("{a:?} {b:?} {b:#?}"), &[0xab; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the bytes come in, and whatever follows them.
    #[test]
    fn in_pieces(
        sizes in prop::collection::vec(0usize..70_000, 1..4),
        piece in prop::sample::select(vec![1usize, 2, 3, 17, 1_000, 65_537, 300_000]),
    ) {
        let (mut a, mut b) = pair();
        let messages: Vec<_> = sizes.iter().map(|size| vec![3; *size]).collect();
        let sent: Vec<u8> = messages.iter().flat_map(|m| a.seal(m).unwrap()).collect();
        let mut opened = Vec::new();
        for mut input in sent.chunks(piece) {
            while let Some(message) = b.open(&mut input).unwrap() {
                opened.push(message);
            }
            prop_assert!(input.is_empty());
        }
        prop_assert_eq!(opened, messages);
    }

    #[test]
    fn a_flipped_bit_opens_nothing(
        size in 0usize..300, at: prop::sample::Index, bit in 0u8..8,
    ) {
        let (mut a, mut b) = pair();
        let mut sent = a.seal(&vec![9; size]).unwrap();
        let at = at.index(sent.len());
        sent[at] ^= 1 << bit;
        // A longer length waits for what never comes.
        prop_assert!(!matches!(b.open(&mut &sent[..]), Ok(Some(_))));
    }
}
