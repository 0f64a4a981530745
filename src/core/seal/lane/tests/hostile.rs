//! What others make of a datagram on its way.

use proptest::prelude::*;

use super::*;

#[test]
fn every_flipped_bit_is_noticed() {
    for mut ends in every_ends() {
        let datagrams = [ends.seal(b"a frame of some bytes"), ends.sender.sign_of_life().unwrap()];
        for datagram in &datagrams {
            for bit in 0..datagram.len() * 8 {
                let mut flipped = datagram.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let expected = match bit / 8 {
                    0 => Reason::SealedMalformed,
                    1 if flipped[1] >= LANES => Reason::SealedLane,
                    _ => Reason::SealedForged,
                };
                assert_eq!(ends.open(&flipped), Err(expected), "{}, bit {bit}", ends.what);
            }
        }
        // None of them has moved a window.
        assert!(datagrams.iter().all(|datagram| ends.open(datagram).is_ok()), "{}", ends.what);
        assert_eq!(ends.receiver.opened(), 2);
    }
}

#[test]
fn every_other_length_is_noticed() {
    for mut ends in every_ends() {
        for datagram in [ends.seal(b"a frame of some bytes"), ends.sender.sign_of_life().unwrap()] {
            let longer = [&datagram[..], &[0; 40]].concat();
            for len in (0..longer.len()).filter(|len| *len != datagram.len()) {
                let other = &longer[..len];
                let expected = match Header::parse(other) {
                    None => Reason::SealedMalformed,
                    Some(_) => Reason::SealedForged,
                };
                assert_eq!(ends.open(other), Err(expected), "{}, {len} bytes", ends.what);
            }
            ends.open(&datagram).unwrap();
        }
    }
}

/// [`Header::parse`] lets none of these through. Should it be forgotten, still
/// nothing happens to them.
#[test]
fn lengths_that_no_header_has_are_refused_too() {
    for mut ends in every_ends() {
        let header = Header { lane: 3, index: INDEX, counter: 0 };
        for len in 0..HEADER + TAG {
            let refused = ends.receiver.open(&header, &mut vec![0; len]);
            assert_eq!(refused, Err(Reason::SealedMalformed), "{} {len}", ends.what);
        }
        for len in HEADER + TAG..HEADROOM + 1 + TAG {
            let refused = ends.receiver.open(&header, &mut vec![0; len]);
            assert_eq!(refused, Err(Reason::SealedForged), "{} {len}", ends.what);
        }
    }
}

#[test]
fn a_lane_that_does_not_exist_is_refused() {
    for mut ends in every_ends() {
        let datagram = ends.seal(b"frame");
        for lane in LANES..=u8::MAX {
            let mut other = datagram.clone();
            other[1] = lane;
            assert_eq!(ends.open(&other), Err(Reason::SealedLane), "{} {lane}", ends.what);
        }
        assert_eq!(ends.receiver.lanes.iter().flatten().count(), 0);
    }
}

#[test]
fn a_datagram_belongs_to_its_lane_session_direction_and_cipher() {
    for mut ends in every_ends() {
        let datagram = ends.seal(b"frame");
        for lane in (0..LANES).filter(|lane| *lane != 3) {
            let mut other = datagram.clone();
            other[1] = lane;
            assert_eq!(ends.open(&other), Err(Reason::SealedForged), "{} {lane}", ends.what);
        }
        let mut other = datagram.clone();
        other[2..6].copy_from_slice(&(INDEX + 1).to_be_bytes());
        assert_eq!(ends.open(&other), Err(Reason::SealedForged), "{}", ends.what);

        for (backend, suite) in every() {
            let mut another = Receiver::new(backend, suite, &secret(2)).unwrap();
            assert_eq!(open(&mut another, &datagram), Err(Reason::SealedForged), "{}", ends.what);
            if suite != ends.sender.suite {
                let mut another = Receiver::new(backend, suite, &secret(1)).unwrap();
                assert_eq!(open(&mut another, &datagram), Err(Reason::SealedForged));
            }
        }
        ends.open(&datagram).unwrap();
    }
}

#[test]
fn a_forged_counter_does_not_move_the_window() {
    for mut ends in every_ends() {
        let datagram = ends.seal(b"frame");
        for counter in [1, WINDOW, 1 << 27, 1 << 40, u64::MAX - 1, u64::MAX] {
            let mut forged = datagram.clone();
            forged[6..14].copy_from_slice(&counter.to_be_bytes());
            assert_eq!(ends.open(&forged), Err(Reason::SealedForged), "{} {counter}", ends.what);
        }
        assert_eq!(ends.open(&datagram), frame(b"frame"), "{}", ends.what);
    }
}

proptest! {
    /// Neither a panic, nor anything opened, nor more lanes than there are.
    #[test]
    fn strange_bytes_come_to_nothing(
        lane in 0..2 * LANES,
        counter in prop_oneof![0..3u64, any::<u64>()],
        rest in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        for mut ends in every_ends() {
            let datagram = [&Header { lane, index: INDEX, counter }.bytes()[..], &rest].concat();
            prop_assert!(ends.open(&datagram).is_err());
            prop_assert!(ends.open(&rest).is_err());
            prop_assert_eq!(ends.receiver.opened(), 0);
            // The rest may look like a datagram, too.
            prop_assert!(ends.receiver.lanes.iter().flatten().count() <= 2);
        }
    }
}
