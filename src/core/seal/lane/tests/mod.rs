//! Every property of a session's direction, in both libraries.

mod hostile;
mod replay;
mod vectors;

use zeroize::Zeroizing;

use super::*;
use crate::core::seal::cipher::tests::{every, unhex};

const INDEX: u32 = 0x0102_0304;

fn secret(n: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([n; 32])
}

fn network() -> Vni {
    Vni::new(0x0012_3456).unwrap()
}

/// The two ends of one direction.
struct Ends {
    /// For messages of failed tests.
    what: String,
    sender: Sender,
    receiver: Receiver,
}

impl Ends {
    fn new(from: Backend, to: Backend, suite: Suite) -> Ends {
        Ends {
            what: format!("{} from {from:?} to {to:?}", suite.name()),
            sender: Sender::new(from, suite, &secret(1), 3, INDEX).unwrap(),
            receiver: Receiver::new(to, suite, &secret(1)).unwrap(),
        }
    }

    fn seal(&mut self, frame: &[u8]) -> Vec<u8> {
        seal(&mut self.sender, frame).unwrap()
    }

    fn open(&mut self, datagram: &[u8]) -> Result<Content, Reason> {
        open(&mut self.receiver, datagram)
    }

    /// Sealed by who has the key and does not keep to its limits.
    fn seal_as(&mut self, counter: u64, frame: &[u8]) -> Vec<u8> {
        let header = Header { lane: self.sender.lane, index: INDEX, counter }.bytes();
        let mut text = [&sealed::word(network()), frame].concat();
        let tag = self.sender.key.seal(counter, &header, &mut text);
        [&header[..], &text, &tag].concat()
    }
}

/// Each cipher, from each library that has it to each.
fn every_ends() -> impl Iterator<Item = Ends> {
    every().flat_map(|(from, suite)| {
        let to = every().filter(move |(_, other)| *other == suite);
        to.map(move |(to, _)| Ends::new(from, to, suite))
    })
}

/// Network and frame; `None`: a sign of life.
type Content = Option<(Vni, Vec<u8>)>;

fn frame(bytes: &[u8]) -> Result<Content, Reason> {
    Ok(Some((network(), bytes.to_vec())))
}

fn seal(sender: &mut Sender, frame: &[u8]) -> Result<Vec<u8>, Reason> {
    let mut datagram = [&[0xee; HEADROOM], frame, &[0xee; TAG]].concat();
    sender.seal(network(), &mut datagram).map(|()| datagram)
}

/// As the worker does it.
fn open(receiver: &mut Receiver, datagram: &[u8]) -> Result<Content, Reason> {
    let header = Header::parse(datagram).ok_or(Reason::SealedMalformed)?;
    let mut datagram = datagram.to_vec();
    let vni = receiver.open(&header, &mut datagram)?;
    Ok(vni.map(|vni| (vni, datagram[HEADROOM..datagram.len() - TAG].to_vec())))
}

#[test]
fn what_is_sealed_is_opened() {
    for mut ends in every_ends() {
        let lengths = (1..130).chain([1_438, 8_938, 65_000]);
        for (n, len) in lengths.enumerate() {
            let clear: Vec<u8> = (0..len).map(|i| (i * 7 + i / 256) as u8).collect();
            let datagram = ends.seal(&clear);
            let header = Header { lane: 3, index: INDEX, counter: n as u64 };
            assert_eq!(Header::parse(&datagram), Some(header));
            assert_eq!(datagram.len(), HEADROOM + len + TAG);
            assert_eq!(ends.open(&datagram), frame(&clear), "{}, {len} bytes", ends.what);
            assert_eq!(
                (ends.sender.sealed(), ends.receiver.opened()),
                (n as u64 + 1, n as u64 + 1)
            );
        }
    }
}

#[test]
fn nothing_of_the_frame_or_its_network_can_be_read() {
    for mut ends in every_ends() {
        let clear = b"sixteen bytes or more of a payload that everybody knows";
        let (one, two) = (ends.seal(clear), ends.seal(clear));
        let word = sealed::word(network());
        for part in clear.chunks_exact(4).chain([&word[..]]) {
            for sealed in [&one, &two] {
                assert!(!sealed.windows(4).any(|bytes| bytes == part), "{}", ends.what);
            }
        }
        // Nor that both are the same.
        let alike = one[HEADER..].iter().zip(&two[HEADER..]).filter(|(a, b)| a == b).count();
        assert!(alike < 10, "{}", ends.what);
    }
}

#[test]
fn a_sign_of_life_has_nothing_in_it_and_counts() {
    for mut ends in every_ends() {
        let datagram = ends.sender.sign_of_life().unwrap();
        assert_eq!(datagram.len(), HEADER + TAG);
        assert_eq!(ends.open(&datagram), Ok(None), "{}", ends.what);
        assert_eq!(ends.open(&datagram), Err(Reason::SealedReplay), "{}", ends.what);
        assert_eq!((ends.sender.sealed(), ends.receiver.opened()), (1, 1));
        let next = ends.seal(b"frame");
        assert_eq!(ends.open(&next), frame(b"frame"), "{}", ends.what);
    }
}

#[test]
fn lanes_do_not_know_of_each_other() {
    for (backend, suite) in every() {
        let mut receiver = Receiver::new(backend, suite, &secret(1)).unwrap();
        let senders = (0..LANES).map(|lane| Sender::new(backend, suite, &secret(1), lane, INDEX));
        let mut texts = Vec::new();
        for mut sender in senders.flatten() {
            // All with counter 0.
            let datagram = seal(&mut sender, b"frame").unwrap();
            assert_eq!(open(&mut receiver, &datagram), frame(b"frame"));
            assert_eq!(open(&mut receiver, &datagram), Err(Reason::SealedReplay));
            texts.push(datagram[HEADER..].to_vec());
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), usize::from(LANES), "each lane has its own key");
    }
}

#[test]
fn a_lane_takes_memory_when_it_is_used() {
    for mut ends in every_ends() {
        let lanes = |ends: &Ends| ends.receiver.lanes.iter().flatten().count();
        assert_eq!(lanes(&ends), 0);
        let datagram = ends.seal(b"frame");
        ends.open(&datagram).unwrap();
        assert_eq!(lanes(&ends), 1);
    }
}

#[test]
fn sealing_ends_at_the_limit() {
    for mut ends in every_ends() {
        let suite = ends.sender.suite;
        for (counter, worn) in [(0, false), (suite.rekey_after() - 2, false)] {
            ends.sender.counter = counter;
            ends.seal(b"frame");
            assert_eq!(ends.sender.is_worn(), worn, "{}", ends.what);
        }
        ends.seal(b"frame");
        assert!(ends.sender.is_worn(), "{}", ends.what);

        let limit = suite.reject_after();
        ends.sender.counter = limit - 1;
        let last = ends.seal(b"frame");
        for _ in 0..3 {
            let mut datagram = [0x55; HEADROOM + 5 + TAG];
            let refused = ends.sender.seal(network(), &mut datagram);
            assert_eq!(refused, Err(Reason::SealedExpired), "{}", ends.what);
            assert_eq!(datagram[HEADROOM..], [0x55; 5 + TAG], "the key was not used");
            assert_eq!(ends.sender.sign_of_life(), Err(Reason::SealedExpired));
            assert_eq!(ends.sender.sealed(), limit);
        }
        assert_eq!(ends.open(&last), frame(b"frame"), "{}", ends.what);
    }
}

#[test]
fn opening_ends_at_the_limit() {
    for mut ends in every_ends() {
        let limit = ends.sender.suite.reject_after();
        let zero = ends.seal(b"first");
        for counter in [limit, limit + 1, u64::MAX - 1, u64::MAX, u64::MAX] {
            let late = ends.seal_as(counter, b"late");
            assert_eq!(ends.open(&late), Err(Reason::SealedExpired), "{} {counter}", ends.what);
        }
        // They have not moved the window.
        assert_eq!(ends.open(&zero), frame(b"first"), "{}", ends.what);
        let last = ends.seal_as(limit - 1, b"last");
        assert_eq!(ends.open(&last), frame(b"last"), "{}", ends.what);
        assert_eq!(ends.open(&last), Err(Reason::SealedReplay), "{}", ends.what);
        assert_eq!(ends.receiver.opened(), 2);
    }
}

#[test]
fn without_a_frame_there_is_nothing_to_seal() {
    for mut ends in every_ends() {
        for len in 0..=HEADROOM + TAG {
            let refused = ends.sender.seal(network(), &mut vec![0; len]);
            assert_eq!(refused, Err(Reason::Malformed), "{} {len}", ends.what);
        }
        assert_eq!(ends.sender.sealed(), 0);
    }
}

#[test]
fn a_library_without_the_cipher_says_so() {
    let (backend, suite) = (Backend::Portable, Suite::Aes256Gcm);
    assert!(Sender::new(backend, suite, &secret(1), 0, INDEX).is_none());
    assert!(Receiver::new(backend, suite, &secret(1)).is_none());
}

impl Sender {
    /// As if it had sealed so many.
    pub(in crate::core::seal) fn skip_to(&mut self, counter: u64) {
        self.counter = counter;
    }
}
