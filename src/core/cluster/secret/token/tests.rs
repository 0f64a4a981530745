use proptest::prelude::*;

use super::super::testing::{TAG, assert_hidden, token};
use super::{Tag, Token, TokenError};

#[test]
fn parsed_as_revealed() {
    let text = token(7).reveal();
    assert_eq!(text.len(), 74);
    assert!(text.starts_with(&format!("vxmesh-1-{TAG}-")));
    for text in [text.to_string(), text.to_uppercase(), format!(" {}\n", *text)] {
        let parsed = Token::parse(&text).unwrap();
        assert_eq!((parsed.tag(), parsed.psk()), (TAG, &[7; 32]));
    }
}

#[test]
fn what_is_wrong_with_it() {
    let text = token(7).reveal();
    let cases = [
        ("", TokenError::NotAToken),
        ("SWMTKN-1-49nj1cmql0", TokenError::NotAToken),
        ("vxmesh-", TokenError::NotAToken),
        ("vxmesh-x-", TokenError::NotAToken),
        ("vxmesh-2-abc", TokenError::Format(2)),
        ("vxmesh-1-", TokenError::Incomplete),
        ("vxmesh-1-aaaaaaaa", TokenError::Incomplete),
        (&text[..73], TokenError::Incomplete),
        (&[&text, "a"].concat(), TokenError::Incomplete),
        (&text.replace('1', "0"), TokenError::Format(0)),
        (&[&text[..73], "1"].concat(), TokenError::Typo),
        (&[&text[..72], "é"].concat(), TokenError::Typo),
    ];
    for (text, error) in cases {
        assert_eq!(Token::parse(text).err(), Some(error), "{text}");
    }
    assert!(TokenError::Incomplete.to_string().contains("74 characters"));
}

#[test]
fn base32_as_in_the_rfc() {
    // RFC 4648, section 10: "fooba" is MZXW6YTB.
    assert_eq!(Tag(*b"fooba").to_string(), "mzxw6ytb");
}

#[test]
fn debug_hides_the_secret() {
    let secret: [u8; 32] = std::array::from_fn(|n| 200 - n as u8);
    let token = Token::new(secret, TAG);
    let printed = format!("{token:?} {token:#?}");
    assert_hidden(&printed, &secret);
    assert!(!printed.contains(&token.reveal()[18..26]));
}

proptest! {
    #[test]
    fn any_token(secret: [u8; 32], tag: [u8; 5]) {
        let text = Token::new(secret, Tag(tag)).reveal();
        let parsed = Token::parse(&text).unwrap();
        prop_assert_eq!((parsed.tag(), parsed.psk()), (Tag(tag), &secret));
    }

    #[test]
    fn a_typo_is_told(at in 9usize..74, to in 0u8..32) {
        let mut text = token(7).reveal().as_bytes().to_vec();
        let digit = b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(to)];
        prop_assume!(text[at] != digit && text[at] != b'-');
        text[at] = digit;
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(Token::parse(&text).err(), Some(TokenError::Typo));
    }

    #[test]
    fn any_text(text in ".*") {
        prop_assert!(Token::parse(&text).is_err());
    }
}
