//! Another address in a packet, with every checksum that covers it brought up to
//! date incrementally (RFC 1624). The payload is not read, so that a super-frame
//! costs what a small packet does.

use std::net::IpAddr;

use super::frame::{Net, View, protocol};
use super::quote::Quote;
use super::vnet::{Kind, Offload};
use super::{checksum, get16, put16};

/// One of a packet's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

/// Whether the transport's checksum field holds no more than the pseudo-header's sum.
pub fn is_partial(offload: &Offload, view: &View) -> bool {
    offload.checksum.is_some_and(|sum| usize::from(sum.start) == view.l4)
}

/// Puts `new` in the place of an address. `partial` says in which state the
/// transport's checksum is; the state is kept. A UDP checksum of 0 means none, and
/// stays. An address of the other family changes nothing. `view` must be of this
/// `frame`, but for addresses that were changed since.
///
/// Fragments have no checksum of their own but in the first; see
/// [`transport_checksum`].
pub fn readdress(frame: &mut [u8], view: &View, partial: bool, side: Side, new: IpAddr) {
    let ip = &mut frame[View::L3..];
    let Some((old, new)) = exchange_address(ip, view.net, side, new) else { return };
    let Some(field) = transport_checksum(frame, view) else { return };
    let before = get16(frame, field);
    let udp = view.protocol == protocol::UDP;
    if partial {
        put16(frame, field, checksum::fold(u64::from(before) + u64::from(!old) + u64::from(new)));
    } else if !(udp && before == 0) {
        put16(frame, field, checksum::update_finished(before, old, new));
    }
}

/// Puts `new` in the place of an address in the packet that an ICMP error quotes,
/// and brings the error's own checksum up to date. `side` is the quoted packet's.
pub fn readdress_quoted(frame: &mut [u8], view: &View, quote: &Quote, side: Side, new: IpAddr) {
    let end = view.end.min(quote.l4 + 20);
    let before = checksum::fold(checksum::sum(&frame[quote.l3..end]));
    let Some((old, new)) = exchange_address(&mut frame[quote.l3..end], view.net, side, new) else {
        return;
    };
    let kind = match quote.protocol {
        protocol::TCP => Some(Kind::Tcp),
        protocol::UDP => Some(Kind::Udp),
        _ => None,
    };
    let field = kind.map(|kind| quote.l4 + kind.checksum_offset());
    if let Some(field) = field.filter(|field| field + 2 <= end)
        && !(kind == Some(Kind::Udp) && get16(frame, field) == 0)
    {
        put16(frame, field, checksum::update_finished(get16(frame, field), old, new));
    }
    let after = checksum::fold(checksum::sum(&frame[quote.l3..end]));
    let field = view.l4 + 2;
    put16(frame, field, checksum::update(get16(frame, field), before, after));
}

/// Changes both addresses of an ICMP error and of what it quotes: whoever `side`
/// names in the error is on the other side of the quoted packet, where it becomes
/// `new` as well.
pub fn readdress_error(frame: &mut [u8], view: &View, quote: &Quote, side: Side, new: IpAddr) {
    readdress_quoted(frame, view, quote, side.other(), new);
    readdress(frame, view, false, side, new);
}

/// Where the checksum field of a packet's transport is, if it covers the addresses.
pub fn transport_checksum(frame: &[u8], view: &View) -> Option<usize> {
    let offset = match (view.net, view.protocol) {
        (Net::V4 | Net::V6, protocol::TCP) => Kind::Tcp.checksum_offset(),
        (Net::V4 | Net::V6, protocol::UDP) => Kind::Udp.checksum_offset(),
        (Net::V6, protocol::ICMPV6) => 2,
        _ => return None,
    };
    let later = view.piece(frame).is_some_and(|piece| !piece.first);
    let field = view.l4 + offset;
    (!later && field + 2 <= view.end).then_some(field)
}

/// Writes an address into an IP header and updates its checksum. The folded sums of
/// the address before and after; `None`, and nothing written, for the other family.
fn exchange_address(ip: &mut [u8], net: Net, side: Side, new: IpAddr) -> Option<(u16, u16)> {
    let (at, new) = match (net, new, side) {
        (Net::V4, IpAddr::V4(new), Side::Source) => (12, &new.octets()[..]),
        (Net::V4, IpAddr::V4(new), Side::Destination) => (16, &new.octets()[..]),
        (Net::V6, IpAddr::V6(new), Side::Source) => (8, &new.octets()[..]),
        (Net::V6, IpAddr::V6(new), Side::Destination) => (24, &new.octets()[..]),
        _ => return None,
    };
    let place = &mut ip[at..at + new.len()];
    let sums = (checksum::fold(checksum::sum(place)), checksum::fold(checksum::sum(new)));
    place.copy_from_slice(new);
    if net == Net::V4 {
        put16(ip, 10, checksum::update(get16(ip, 10), sums.0, sums.1));
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::partial::{is_complete, looks_partial};
    use super::super::testing::{Packet, Sum, ones_sum};
    use super::*;

    fn header_is_right(frame: &[u8]) -> bool {
        let end = View::L3 + usize::from(frame[View::L3] & 15) * 4;
        frame[View::L3] >> 4 == 6 || ones_sum(&[&frame[View::L3..end]]) == 0xffff
    }

    fn address(v6: bool, bytes: [u8; 16]) -> IpAddr {
        if v6 { bytes.into() } else { [bytes[0], bytes[1], bytes[2], bytes[3]].into() }
    }

    proptest! {
        #[test]
        fn every_checksum_is_that_of_a_new_sum(
            v6: bool, udp: bool, source: bool, bytes: [u8; 16], extras in 0usize..3,
            payload in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let packet = Packet { v6, udp, extras, ..Packet::tcp(&payload) };
            let side = if source { Side::Source } else { Side::Destination };
            let new = address(v6, bytes);
            for sum in [Sum::Complete, Sum::Partial, Sum::Zero] {
                let mut frame = packet.build(sum);
                let view = View::parse(&frame).unwrap();
                let field = transport_checksum(&frame, &view).unwrap();
                readdress(&mut frame, &view, sum == Sum::Partial, side, new);
                let view = View::parse(&frame).unwrap();
                prop_assert_eq!(if source { view.source } else { view.destination }, new);
                prop_assert!(header_is_right(&frame));
                match sum {
                    Sum::Complete => prop_assert!(is_complete(&frame, &view)),
                    Sum::Partial => prop_assert!(looks_partial(&frame, &view)),
                    Sum::Zero if udp => prop_assert_eq!(get16(&frame, field), 0),
                    Sum::Zero => {}
                }
            }
        }
    }

    #[test]
    fn a_udp_checksum_never_becomes_none() {
        let mut frame = Packet::udp(&[0; 2]).build(Sum::Complete);
        let view = View::parse(&frame).unwrap();
        // The payload that makes the sum come out as 0 with the new address.
        let new: IpAddr = [10, 0, 0, 77].into();
        let mut other = frame.clone();
        readdress(&mut other, &view, false, Side::Destination, new);
        let filler = get16(&other, view.l4 + 6);
        put16(&mut frame, view.payload, filler);
        let sum = checksum::update(get16(&frame, view.l4 + 6), 0, filler);
        put16(&mut frame, view.l4 + 6, sum);
        assert!(is_complete(&frame, &view));
        readdress(&mut frame, &view, false, Side::Destination, new);
        assert_eq!(get16(&frame, view.l4 + 6), 0xffff);
    }

    #[test]
    fn another_family_changes_nothing() {
        for v6 in [false, true] {
            let mut frame = Packet { v6, ..Packet::tcp(b"x") }.build(Sum::Complete);
            let before = frame.clone();
            let view = View::parse(&frame).unwrap();
            readdress(&mut frame, &view, false, Side::Source, address(!v6, [9; 16]));
            assert_eq!(frame, before);
        }
    }

    #[test]
    fn only_the_first_fragment_has_a_checksum() {
        let whole = Packet::udp(&[7; 64]).build(Sum::Complete);
        for (field, covered) in [(0x2000u16, true), (0x2001, false)] {
            let mut frame = whole.clone();
            put16(&mut frame, 20, field);
            let sum = checksum::update(get16(&frame, 24), 0x4000, field);
            put16(&mut frame, 24, sum);
            let view = View::parse(&frame).unwrap();
            readdress(&mut frame, &view, false, Side::Destination, [10, 9, 9, 9].into());
            assert!(header_is_right(&frame));
            assert_eq!(frame[view.l4..] == whole[view.l4..], !covered);
        }
    }
}
