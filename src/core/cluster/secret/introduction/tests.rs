use proptest::prelude::*;

use super::super::noise::NoiseError;
use super::super::testing::{TAG, identity};
use super::super::token::Tag;
use super::{MAX_INTRODUCTION, MAX_TEXT, open, seal};

fn sealed(text: &[u8]) -> Vec<u8> {
    seal(&identity(1), &identity(2).exchange_public(), TAG, text, &[11; 32]).unwrap()
}

#[test]
fn who_it_is_for_learns_who_it_is_from() {
    let text = b"who has admitted me";
    let message = sealed(text);
    assert!(!message.windows(text.len()).any(|w| w == text));
    assert_eq!(
        open(&identity(2), TAG, &message).unwrap(),
        (identity(1).exchange_public(), text.to_vec())
    );
}

#[test]
fn nobody_else_can_read_it() {
    let message = sealed(b"text");
    assert_eq!(open(&identity(3), TAG, &message), Err(NoiseError::Forged));
    assert_eq!(open(&identity(2), Tag(*b"mesh2"), &message), Err(NoiseError::Forged));
}

#[test]
fn it_is_as_long_as_it_may_be_and_no_longer() {
    let longest = sealed(&vec![7; MAX_TEXT]);
    assert_eq!(longest.len(), MAX_INTRODUCTION);
    assert_eq!(open(&identity(2), TAG, &longest).unwrap().1.len(), MAX_TEXT);
    let to = identity(2).exchange_public();
    let more = vec![7; MAX_TEXT + 1];
    assert_eq!(seal(&identity(1), &to, TAG, &more, &[11; 32]), Err(NoiseError::TooLong));
    let more = vec![7; MAX_INTRODUCTION + 1];
    assert_eq!(open(&identity(2), TAG, &more), Err(NoiseError::TooLong));
}

#[test]
fn a_key_that_is_none_gets_nothing() {
    assert_eq!(seal(&identity(1), &[0; 32], TAG, b"text", &[11; 32]), Err(NoiseError::Forged));
}

proptest! {
    #[test]
    fn a_changed_or_cut_one_is_refused(at: usize, bit in 0..8u8, cut: usize) {
        let message = sealed(b"text");
        let mut changed = message.clone();
        changed[at % message.len()] ^= 1 << bit;
        // X25519 does not look at the highest bit of a public key; the hash does.
        prop_assert_eq!(open(&identity(2), TAG, &changed), Err(NoiseError::Forged));
        let cut = &message[..cut % message.len()];
        prop_assert_eq!(open(&identity(2), TAG, cut), Err(NoiseError::Forged));
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&identity(2), TAG, &bytes).is_err());
    }
}
