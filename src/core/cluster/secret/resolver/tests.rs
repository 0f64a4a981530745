//! Known answers: the resolver under patterns that have ours between them, with
//! the vectors of the cacophony project; each primitive with those of its RFC.

use snow::{Builder, HandshakeState};

use super::*;

struct Vector {
    pattern: &'static str,
    /// Of the initiator and the responder; empty if the pattern has none.
    statics: [&'static str; 2],
    psk: Option<u8>,
    /// Ciphertexts of the payloads below.
    messages: [&'static str; 6],
}

const PROLOGUE: &str = "4a6f686e2047616c74";
const PSK: &str = "54686973206973206d7920417573747269616e20706572737065637469766521";
const EPHEMERALS: [&str; 2] = [
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
];
const STATICS: [&str; 2] = [
    "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
    "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
];
const PAYLOADS: [&str; 6] = [
    "4c756477696720766f6e204d69736573",
    "4d757272617920526f746862617264",
    "462e20412e20486179656b",
    "4361726c204d656e676572",
    "4a65616e2d426170746973746520536179",
    "457567656e2042f6686d20766f6e2042617765726b",
];

const VECTORS: [Vector; 4] = [
    Vector {
        pattern: "Noise_IK_25519_ChaChaPoly_BLAKE2s",
        statics: STATICS,
        psk: None,
        messages: [
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d06a1b23b71670e32e76c28239a7ca4ac8f784de7e44c1adbfc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4eca690f6d896f543be02c996ab2b86b76",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac9655ef76833bc7e5561f42e691ac8404efd6fbd6308b6a27c",
            "2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b",
            "d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3",
            "a9c068ca5d8babf72560652d8e851adbfac35c8a66e810d560863173e96adf4cfe",
            "2a09d8f459e5927e40fdd2eddc99bdafb04e13a26f145cb5cfe9e6ba34c94331ebc17d5156",
        ],
    },
    Vector {
        pattern: "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
        statics: STATICS,
        psk: Some(2),
        messages: [
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a",
            "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
            "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
            "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
            "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
        ],
    },
    Vector {
        pattern: "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s",
        statics: ["", ""],
        psk: Some(0),
        messages: [
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088434cd2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729",
            "bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7",
            "416d1af83e9fa6966ce4e871156b131aa9bd7e9a1d6f8794f4872a",
            "8a7d81b77bcc6c072f2b807da066efba6b5fab9edf71a7faceb2c8454b0cfef608",
            "1e2ee010f72894824a25a867664ff298f2548a145dc4e9d27b1cad83f32fa7c54d69dc3279",
        ],
    },
    Vector {
        pattern: "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s",
        statics: STATICS,
        psk: Some(3),
        messages: [
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944325ea71699951ece20f284b6ad9604a029eb335bf84564c308b6ade90ae45078",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088432645535233ffe1432564d66a85227b677ced6fc2730ae0998ff49aa1dc56b8186e31b16e416f5d9c03c71f6c34fd37ec013105020070a8b00c000ce7ed56629c119795f96463274bc05519d5c24dc1",
            "adf16c5375ec4172576783fd59f2bfa5c7a320d0a13b759592e1a2ddf5524cce59ccbb92ff5d321fced3bdb2840596df562c0e68aad41b090abd285f6d300130072e06964a6ba494e58d47",
            "dcdc045c8e9ec36c8ea4078552e5849f87cb9bdfbd2a4eee3baaf6",
            "4d11ed1f242e199dbcbc9773495834a95e8a6109e2b555aeb50780e69b152821e4",
            "4d1e6873ffcc88490be6914928590f63253c2db434f1f206f083f89ca559a3e60a8dcc4f12",
        ],
    },
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
}

fn key(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

fn public(private: &str) -> [u8; 32] {
    let mut dh = X25519::new([0; 32]);
    dh.set(&hex(private));
    dh.pubkey().try_into().unwrap()
}

/// One end of a vector's handshake.
fn end(vector: &Vector, which: usize) -> HandshakeState {
    let (prologue, psk, ephemeral) = (hex(PROLOGUE), key(PSK), hex(EPHEMERALS[which]));
    let own = hex(vector.statics[which]);
    let peer = vector.pattern.contains("_IK").then(|| public(vector.statics[1]));
    let resolver = Box::new(Resolver::new(&[0; 32]));
    let mut builder = Builder::with_resolver(vector.pattern.parse().unwrap(), resolver)
        .prologue(&prologue)
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&ephemeral);
    if !own.is_empty() {
        builder = builder.local_private_key(&own).unwrap();
    }
    if let Some(position) = vector.psk {
        builder = builder.psk(position, &psk).unwrap();
    }
    match (which, &peer) {
        (0, Some(peer)) => builder.remote_public_key(peer).unwrap().build_initiator(),
        (0, None) => builder.build_initiator(),
        _ => builder.build_responder(),
    }
    .unwrap()
}

#[test]
fn noise() {
    for vector in VECTORS {
        let (mut from, mut to) = (end(&vector, 0), end(&vector, 1));
        let mut buffer = [0; 256];
        let mut messages = PAYLOADS.iter().map(|p| hex(p)).zip(vector.messages);
        while !from.is_handshake_finished() {
            let (payload, expected) = messages.next().unwrap();
            let length = from.write_message(&payload, &mut buffer).unwrap();
            assert_eq!(buffer[..length], hex(expected), "{}", vector.pattern);
            let length = to.read_message(&hex(expected), &mut buffer).unwrap();
            assert_eq!(buffer[..length], payload);
            (from, to) = (to, from);
        }
        let (mut from, mut to) =
            (from.into_transport_mode().unwrap(), to.into_transport_mode().unwrap());
        for (payload, expected) in messages {
            let length = from.write_message(&payload, &mut buffer).unwrap();
            assert_eq!(buffer[..length], hex(expected), "{}", vector.pattern);
            let length = to.read_message(&hex(expected), &mut buffer).unwrap();
            assert_eq!(buffer[..length], payload);
            (from, to) = (to, from);
        }
    }
}

/// RFC 7748, section 6.1.
#[test]
fn x25519() {
    let alice = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    let bob = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    assert_eq!(
        public(alice)[..],
        hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    let mut shared = [0; 56];
    for (own, other) in [(alice, bob), (bob, alice)] {
        X25519::new(key(own)).dh(&public(other), &mut shared).unwrap();
        assert_eq!(
            shared[..32],
            hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
        );
    }
}

/// RFC 7693, appendix B.
#[test]
fn blake2s() {
    let mut hash = Blake2s(Blake2s256::new());
    let mut out = [0; 64];
    for _ in 0..2 {
        hash.input(b"a");
        hash.input(b"bc");
        hash.result(&mut out);
        assert_eq!(
            out[..32],
            hex("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982")
        );
    }
}

/// RFC 8439, appendix A.5.
#[test]
fn chacha20_poly1305() {
    let mut cipher = ChaChaPoly(Zeroizing::new([0; KEY]));
    cipher.set(&key("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"));
    let header = hex("f33388860000000000004e91");
    let sealed = hex(SEALED);
    let mut text = [0; 300];
    let number = u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
    let length = cipher.decrypt(number, &header, &sealed, &mut text).unwrap();
    assert!(text.starts_with(b"Internet-Drafts are draft documents"));
    let mut again = [0; 300];
    assert_eq!(cipher.encrypt(number, &header, &text[..length], &mut again), sealed.len());
    assert_eq!(again[..sealed.len()], sealed);
}

const SEALED: &str = concat!(
    "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43ee",
    "a09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b9481",
    "14ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0",
    "f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e",
    "af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa7699",
    "1955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130",
    "305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f",
    "38",
);
