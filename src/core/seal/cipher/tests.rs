//! Known answers, and that the libraries agree.

use proptest::prelude::*;

use super::*;

/// Every library with every cipher that it has.
pub(in crate::core::seal) fn every() -> impl Iterator<Item = (Backend, Suite)> {
    let backends = [Backend::Portable, Backend::Ring].into_iter();
    let pairs = backends.flat_map(|backend| Suite::ALL.iter().map(move |suite| (backend, *suite)));
    pairs.filter(|(backend, suite)| backend.maker(*suite).is_some())
}

fn key(backend: Backend, suite: Suite, key: &[u8; 32]) -> Box<dyn Aead> {
    backend.maker(suite).unwrap()(&Zeroizing::new(*key))
}

pub(in crate::core::seal) fn unhex(digits: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

struct Known {
    suite: Suite,
    key: &'static str,
    number: u64,
    header: &'static str,
    text: &'static str,
    /// Of text and tag.
    sealed: &'static str,
}

const KNOWN: &[Known] = &[
    // RFC 8439, appendix A.5.
    Known {
        suite: Suite::ChaCha20Poly1305,
        key: "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
        number: u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]),
        header: "f33388860000000000004e91",
        text: "496e7465726e65742d4472616674732061726520647261667420646f63756d656e74732076616c69\
               6420666f722061206d6178696d756d206f6620736978206d6f6e74687320616e64206d6179206265\
               20757064617465642c207265706c616365642c206f72206f62736f6c65746564206279206f746865\
               7220646f63756d656e747320617420616e792074696d652e20497420697320696e617070726f7072\
               6961746520746f2075736520496e7465726e65742d447261667473206173207265666572656e6365\
               206d6174657269616c206f7220746f2063697465207468656d206f74686572207468616e20617320\
               2fe2809c776f726b20696e2070726f67726573732e2fe2809d",
        sealed: "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43ee\
                 a09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b9481\
                 14ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0\
                 f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e\
                 af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa7699\
                 1955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130\
                 305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f\
                 38",
    },
    // The Galois/Counter Mode of Operation (GCM), test cases 13 and 14: the only ones
    // whose nonce begins with 32 zero bits.
    Known {
        suite: Suite::Aes256Gcm,
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        number: 0,
        header: "",
        text: "",
        sealed: "530f8afbc74536b9a963b4f1c4cb738b",
    },
    Known {
        suite: Suite::Aes256Gcm,
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        number: 0,
        header: "",
        text: "00000000000000000000000000000000",
        sealed: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    },
];

#[test]
fn known_answers() {
    for (backend, suite) in every() {
        let of_suite: Vec<_> = KNOWN.iter().filter(|known| known.suite == suite).collect();
        assert!(!of_suite.is_empty());
        for known in of_suite {
            let key = key(backend, suite, &unhex(known.key).try_into().unwrap());
            let (header, clear) = (unhex(known.header), unhex(known.text));
            let mut text = clear.clone();
            let tag = key.seal(known.number, &header, &mut text);
            assert_eq!([&text[..], &tag].concat(), unhex(known.sealed), "{backend:?} {suite:?}");
            assert!(key.open(known.number, &header, &mut text, &tag));
            assert_eq!(text, clear);
        }
    }
}

#[test]
fn the_portable_one_has_chacha_only_and_ring_has_both() {
    use Suite::{Aes256Gcm, ChaCha20Poly1305};
    let expected = [
        (Backend::Portable, ChaCha20Poly1305),
        (Backend::Ring, ChaCha20Poly1305),
        (Backend::Ring, Aes256Gcm),
    ];
    assert_eq!(every().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_opens_but_what_was_sealed() {
    for (backend, suite) in every() {
        let right = key(backend, suite, &[7; 32]);
        let mut text = *b"some text";
        let tag = right.seal(5, b"header", &mut text);
        let opens = |key: &dyn Aead, number, header: &[u8], text: &[u8], tag: &_| {
            key.open(number, header, &mut text.to_vec(), tag)
        };
        assert!(opens(&*right, 5, b"header", &text, &tag));
        assert!(!opens(&*key(backend, suite, &[8; 32]), 5, b"header", &text, &tag));
        assert!(!opens(&*right, 5, b"headed", &text, &tag));
        assert!(!opens(&*right, 5, b"heade", &text, &tag));
        assert!(!opens(&*right, 5, b"header", &text[1..], &tag));
        assert!(!opens(&*right, 5, b"header", b"some text", &tag));
        for bit in 0..64 {
            assert!(!opens(&*right, 5 ^ 1 << bit, b"header", &text, &tag), "{bit}");
        }
        for bit in 0..8 * TAG {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&*right, 5, b"header", &text, &other), "{bit}");
        }
    }
}

#[test]
fn limits_are_as_their_arithmetic_says() {
    // A packet of 1500 bytes in blocks of 16, and one for the tag.
    let blocks = 1_500_f64 / 16.0 + 1.0;
    let sealed = blocks * Suite::Aes256Gcm.reject_after() as f64;
    assert!((2.0 * sealed.log2() - 129.0) < -59.0);
    for suite in Suite::ALL {
        assert!(suite.rekey_after() <= suite.reject_after() / 4, "there is time to agree on one");
    }
    assert_eq!(Suite::ChaCha20Poly1305.reject_after(), ((1_u128 << 64) - (1 << 13)) as u64);
}

proptest! {
    /// What one library seals, another opens.
    #[test]
    fn libraries_agree(
        secret: [u8; 32],
        number: u64,
        header in prop::collection::vec(any::<u8>(), 0..40),
        clear in prop::collection::vec(any::<u8>(), 0..1_600),
    ) {
        for (to, suite) in every() {
            let mut sealed = Vec::new();
            for (from, _) in every().filter(|(_, other)| *other == suite) {
                let mut text = clear.clone();
                let tag = key(from, suite, &secret).seal(number, &header, &mut text);
                sealed.push((text.clone(), tag));
                prop_assert!(key(to, suite, &secret).open(number, &header, &mut text, &tag));
                prop_assert_eq!(&text, &clear);
            }
            prop_assert!(sealed.iter().all(|one| *one == sealed[0]));
        }
    }
}
