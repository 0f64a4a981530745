//! The segment size that a TCP SYN announces, lowered to what a path takes.
//!
//! Both ends of a connection send segments no longer than the other's SYN says
//! (RFC 9293, section 3.7.1). A router that knows of a narrow path therefore
//! spares them the first losses by lowering that number on its way (the remedy
//! of RFC 4459, section 3.2).

use super::frame::{Net, View};
use super::vnet::Kind;
use super::{checksum, get16, put16};

/// The TCP flag that opens a connection, in both directions.
const SYN: u8 = 0x02;
/// Where TCP's options start.
const OPTIONS: usize = 20;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAXIMUM_SEGMENT_SIZE: u8 = 2;

/// Lowers what a SYN says of the largest segment to what an IP packet of `mtu`
/// bytes holds (RFC 6691: less the fixed headers, whatever options there are). It
/// is never raised, and not added where it is missing: such a host sends 536
/// bytes at most, or 1,220 over IPv6. Other frames stay as they are.
///
/// The checksum is kept right, unless it is `partial`, when it does not cover
/// the header yet. `view` must be of this `frame`.
#[cold] // out of the way of frames on paths that are wide enough
pub fn clamp(frame: &mut [u8], view: &View, mtu: u16, partial: bool) {
    let headers = if view.net == Net::V4 { 20 + 20 } else { 40 + 20 };
    let limit = mtu.saturating_sub(headers);
    if limit == 0 || Kind::of(view) != Some(Kind::Tcp) || frame[view.l4 + 13] & SYN == 0 {
        return;
    }
    let tcp = &mut frame[view.l4..view.payload];
    let mut from = OPTIONS;
    while let Some(at) = next_size(tcp, from) {
        from = at + 2;
        let old = get16(tcp, at);
        if old <= limit {
            continue;
        }
        put16(tcp, at, limit);
        if !partial {
            // At an odd place its bytes are halves of two words, the other way round.
            let word = |size: u16| if at % 2 == 0 { size } else { size.swap_bytes() };
            let field = Kind::Tcp.checksum_offset();
            put16(tcp, field, checksum::update(get16(tcp, field), word(old), word(limit)));
        }
    }
}

/// Where the next segment size stands, from the option at `from` on. Hosts
/// differ in which one counts if there are several.
fn next_size(tcp: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += match *tcp.get(at)? {
            END_OF_OPTIONS => return None,
            NO_OPERATION => 1,
            kind => {
                let len = usize::from(*tcp.get(at + 1)?);
                if len < 2 || at + len > tcp.len() {
                    return None;
                }
                if kind == MAXIMUM_SEGMENT_SIZE && len == 4 {
                    return Some(at + 2);
                }
                len
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::partial::is_complete;
    use super::super::testing::{Packet, Sum, flag};
    use super::*;

    fn syn(v6: bool, options: &[u8]) -> Packet {
        let flags = flag::SYN;
        Packet { v6, flags, options: options.to_vec(), ..Packet::tcp(b"") }
    }

    /// The options after the clamp; the checksum's state must have been kept.
    fn clamped(packet: &Packet, mtu: u16) -> Vec<u8> {
        let mut out = Vec::new();
        for sum in [Sum::Complete, Sum::Partial] {
            let mut frame = packet.build(sum);
            let before = frame.clone();
            let view = View::parse(&frame).unwrap();
            clamp(&mut frame, &view, mtu, sum == Sum::Partial);
            let options = view.l4 + 20..view.payload;
            if sum == Sum::Complete {
                assert!(is_complete(&frame, &view));
            } else {
                assert_eq!(frame[..options.start], before[..options.start]);
            }
            assert_eq!(frame[options.end..], before[options.end..]);
            out = frame[options].to_vec();
        }
        out
    }

    #[test]
    fn a_size_is_lowered_and_never_raised() {
        for (v6, mtu, old, new) in [
            (false, 1400, 1460, 1360),
            (true, 1400, 1440, 1340),
            (false, 1400, 1360, 1360),
            (false, 1400, 536, 536),
            (true, 1400, 0, 0),
            (false, 41, u16::MAX, 1),
            (false, 40, 1460, 1460),
            (true, 0, 1460, 1460),
        ] {
            let option = |size: u16| [&[2, 4][..], &size.to_be_bytes()].concat();
            assert_eq!(clamped(&syn(v6, &option(old)), mtu), option(new), "{old} at {mtu}");
        }
    }

    #[test]
    fn the_size_is_found_wherever_it_stands() {
        let linux = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        let mut want = linux;
        want[2..4].copy_from_slice(&1360u16.to_be_bytes());
        assert_eq!(clamped(&syn(false, &linux), 1400), want);
        let odd = [1, 2, 4, 5, 0xb4, 1, 1, 2, 4, 0xff, 0xff, 0];
        assert_eq!(clamped(&syn(true, &odd), 1400), [1, 2, 4, 5, 0x3c, 1, 1, 2, 4, 5, 0x3c, 0]);
    }

    #[test]
    fn options_that_contradict_themselves_stay() {
        for options in [
            [2, 3, 5, 0xb4],  // another length
            [2, 0, 5, 0xb4],  // no length: would be walked for ever
            [8, 1, 2, 4],     // shorter than itself
            [3, 40, 5, 0xb4], // past the header's end
            [0, 2, 4, 0xff],  // behind the end
            [1, 1, 1, 2],     // cut off before the length
            [1, 1, 2, 4],     // and behind it
        ] {
            assert_eq!(clamped(&syn(false, &options), 100), options);
        }
    }

    #[test]
    fn only_a_syn_counts() {
        let size = [2, 4, 5, 0xb4];
        let data = Packet { flags: flag::ACK | flag::PSH, ..syn(false, &size) };
        assert_eq!(clamped(&data, 100), size);
        let answer = Packet { flags: flag::ACK | flag::SYN, ..syn(false, &size) };
        assert_eq!(clamped(&answer, 100), [2, 4, 0, 60]);
        let mut datagram = Packet::udp(&[2; 40]).build(Sum::Complete);
        let mut fragment = syn(false, &size).build(Sum::Complete);
        fragment[20] |= 0x20;
        let mut other = fragment.clone();
        other[12..14].copy_from_slice(&[0x88, 0xb5]);
        for frame in [&mut datagram, &mut fragment, &mut other] {
            let before = frame.clone();
            clamp(frame, &View::parse(&before).unwrap(), 100, false);
            assert_eq!(*frame, before);
        }
    }

    proptest! {
        #[test]
        fn the_checksum_is_that_of_a_new_sum(
            v6: bool,
            mut options in proptest::collection::vec(
                prop_oneof![Just(1u8), Just(2), Just(4), Just(0), any::<u8>()], 0..=40),
            payload in proptest::collection::vec(any::<u8>(), 0..9),
            mtu: u16,
            extras in 0usize..3,
        ) {
            options.truncate(options.len() & !3);
            let packet = Packet { payload, extras, ..syn(v6, &options) };
            let after = clamped(&packet, mtu);
            // The same frame as if it had been sent so.
            let mut frame = packet.build(Sum::Complete);
            let view = View::parse(&frame).unwrap();
            clamp(&mut frame, &view, mtu, false);
            let anew = Packet { options: after, ..packet }.build(Sum::Complete);
            let field = view.l4 + 16..view.l4 + 18;
            prop_assert_eq!(&frame[..field.start], &anew[..field.start]);
            prop_assert_eq!(&frame[field.end..], &anew[field.end..]);
        }
    }
}
