//! ICMP: what of it can be seen in a packet, and the messages that the router
//! writes (RFC 792, 1122, 1191, 4443).

use std::net::IpAddr;

use crate::core::drops::Reason;
use crate::core::envelope::Envelope;
use crate::core::plan::Network;
use crate::wire::checksum;
use crate::wire::frame::{Net, View, protocol};

/// ICMP types for IPv4.
pub(super) mod v4 {
    pub(in super::super) const ECHO_REPLY: u8 = 0;
    pub(in super::super) const UNREACHABLE: u8 = 3;
    pub(in super::super) const SOURCE_QUENCH: u8 = 4;
    pub(in super::super) const REDIRECT: u8 = 5;
    pub(in super::super) const ECHO: u8 = 8;
    pub(in super::super) const TIME_EXCEEDED: u8 = 11;
    pub(in super::super) const PARAMETER_PROBLEM: u8 = 12;
    /// The highest type in use; what lies above is not answered with errors.
    pub(in super::super) const HIGHEST: u8 = 18;
}

/// ICMPv6 types.
pub(super) mod v6 {
    pub(in super::super) const UNREACHABLE: u8 = 1;
    pub(in super::super) const TOO_BIG: u8 = 2;
    pub(in super::super) const TIME_EXCEEDED: u8 = 3;
    /// From here on messages are informational, below they are errors.
    pub(in super::super) const INFORMATIONAL: u8 = 128;
    pub(in super::super) const ECHO: u8 = 128;
    pub(in super::super) const ECHO_REPLY: u8 = 129;
    pub(in super::super) const MLD_QUERY: u8 = 130;
    pub(in super::super) const MLD_REPORT: u8 = 131;
    pub(in super::super) const MLD_DONE: u8 = 132;
    pub(in super::super) const ROUTER_SOLICITATION: u8 = 133;
    pub(in super::super) const ROUTER_ADVERTISEMENT: u8 = 134;
    pub(in super::super) const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub(in super::super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    pub(in super::super) const REDIRECT: u8 = 137;
    pub(in super::super) const MLD2_REPORT: u8 = 143;
}

/// What a packet shows of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Another protocol, or a fragment that is not the first.
    Nothing,
    /// A message of this type.
    Type(u8),
    /// A packet that may be ICMP but ends before the type: a first fragment
    /// without the whole header chain (RFC 7112), or an empty message.
    Hidden,
}

/// The ICMP or ICMPv6 type of a packet, in first fragments too.
pub(super) fn seen(frame: &[u8], view: &View) -> Seen {
    match view.net {
        Net::V4 if view.protocol != protocol::ICMP => Seen::Nothing,
        Net::V6 if !view.fragment && view.protocol != protocol::ICMPV6 => Seen::Nothing,
        Net::Arp | Net::Other => Seen::Nothing,
        _ if later_fragment(frame, view) => Seen::Nothing,
        Net::V6 if view.fragment => behind_fragment_header(&frame[view.l4..view.end], view),
        _ => type_at(&frame[..view.end], view.l4),
    }
}

/// Whether the packet is a fragment, and not the first of its datagram.
fn later_fragment(frame: &[u8], view: &View) -> bool {
    view.piece(frame).is_some_and(|piece| !piece.first)
}

/// Walks on through the headers that a first fragment may have behind its
/// fragment header, where RFC 6980 warns that ND may hide.
fn behind_fragment_header(bytes: &[u8], view: &View) -> Seen {
    let mut next = view.protocol;
    let mut at = 0;
    for _ in 0..8 {
        let unit = match next {
            0 | 43 | 60 => 8,
            51 => 4,
            44 => return Seen::Hidden, // a second fragment header has no honest use
            protocol::ICMPV6 => return type_at(bytes, at),
            _ => return Seen::Nothing,
        };
        let Some([following, len]) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
            return Seen::Hidden;
        };
        next = *following;
        at += 8 + unit * usize::from(*len);
    }
    Seen::Hidden
}

fn type_at(bytes: &[u8], at: usize) -> Seen {
    bytes.get(at).map_or(Seen::Hidden, |kind| Seen::Type(*kind))
}

/// What the router has to say against a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// TTL or hop limit used up.
    TimeExceeded,
    /// Outside every subnet.
    NoRoute,
    /// From a link-local address to one beyond the link (RFC 4007 section 9).
    BeyondScope,
    /// In a subnet, but nobody has the address.
    HostUnreachable,
    /// To the router itself, which offers no service.
    PortUnreachable,
    /// Larger than this many bytes of IP packet.
    TooBig(u16),
}

impl Complaint {
    /// Under which name the packet is counted.
    pub(super) fn reason(self) -> Reason {
        match self {
            Complaint::TimeExceeded => Reason::TimeExceeded,
            Complaint::NoRoute | Complaint::BeyondScope => Reason::NoRoute,
            Complaint::HostUnreachable => Reason::HostUnreachable,
            Complaint::PortUnreachable => Reason::GatewayClosed,
            Complaint::TooBig(_) => Reason::TooBig,
        }
    }

    /// Type and code, and the four bytes after the checksum.
    fn header(self, net: Net) -> ((u8, u8), [u8; 4]) {
        let v4 = net == Net::V4;
        let unreachable = |code4, code6| {
            if v4 { (v4::UNREACHABLE, code4) } else { (v6::UNREACHABLE, code6) }
        };
        let kind = match self {
            Complaint::TimeExceeded if v4 => (v4::TIME_EXCEEDED, 0),
            Complaint::TimeExceeded => (v6::TIME_EXCEEDED, 0),
            Complaint::NoRoute => unreachable(0, 0),
            Complaint::BeyondScope => unreachable(0, 2),
            Complaint::HostUnreachable => unreachable(1, 3),
            Complaint::PortUnreachable => unreachable(3, 4),
            Complaint::TooBig(_) if v4 => (v4::UNREACHABLE, 4),
            Complaint::TooBig(_) => (v6::TOO_BIG, 0),
        };
        // IPv4 has the MTU in the lower half (RFC 1191), IPv6 in the whole word.
        let rest = match self {
            Complaint::TooBig(mtu) => u32::from(mtu).to_be_bytes(),
            _ => [0; 4],
        };
        (kind, rest)
    }
}

/// Whether a packet may be answered with an ICMP error at all: RFC 1122
/// section 3.2.2 and RFC 4443 section 2.4(e).
pub(super) fn answerable(network: &Network, frame: &[u8], view: &View) -> bool {
    matches!(view.net, Net::V4 | Net::V6)
        && !view.dst.is_multicast()
        && !later_fragment(frame, view)
        && one_host(network, view.source)
        && one_host(network, view.destination)
        && !is_error(frame, view)
        && seen(frame, view) != Seen::Hidden
}

/// Whether a packet shows an ICMP error. What is above the types in use counts as one.
pub(super) fn is_error(frame: &[u8], view: &View) -> bool {
    match (view.net, seen(frame, view)) {
        (_, Seen::Nothing | Seen::Hidden) => false,
        (Net::V4, Seen::Type(kind)) => {
            kind > v4::HIGHEST
                || matches!(
                    kind,
                    v4::UNREACHABLE
                        | v4::SOURCE_QUENCH
                        | v4::REDIRECT
                        | v4::TIME_EXCEEDED
                        | v4::PARAMETER_PROBLEM
                )
        }
        (_, Seen::Type(kind)) => kind < v6::INFORMATIONAL,
    }
}

/// Whether an address can be that of one host in this network or beyond it.
fn one_host(network: &Network, ip: IpAddr) -> bool {
    let broadcast = match ip {
        IpAddr::V4(v4) => {
            // A /31 has no broadcast address (RFC 3021).
            let subnet = network.subnet_of(ip).map(|s| s.net).filter(|net| net.prefix_len() < 31);
            v4.is_broadcast() || subnet.is_some_and(|net| net.broadcast() == ip)
        }
        IpAddr::V6(_) => false,
    };
    !broadcast && !ip.is_multicast() && !ip.is_unspecified()
}

/// Writes the error into `out`, quoting the packet.
pub(super) fn complain(
    out: &mut Vec<u8>,
    envelope: &Envelope,
    complaint: Complaint,
    frame: &[u8],
    view: &View,
) {
    let (kind, rest) = complaint.header(view.net);
    // As much of the packet as fits 576 bytes (RFC 1812 section 4.3.2.3), or
    // the smallest MTU of IPv6 (RFC 4443 section 2.4(c)).
    let room = if view.net == Net::V4 { 576 - 20 - 8 } else { 1280 - 40 - 8 };
    let quote = &frame[View::L3..view.end.min(View::L3 + room)];
    write(out, envelope, kind, rest, quote);
}

/// Writes the answer to the echo request in `frame` into `out`. `false`, and
/// nothing written, if the request is cut short.
pub(super) fn echo_reply(
    out: &mut Vec<u8>,
    envelope: &Envelope,
    frame: &[u8],
    view: &View,
) -> bool {
    let Some((header, payload)) = frame[view.l4..view.end].split_first_chunk::<8>() else {
        return false;
    };
    let kind = if view.net == Net::V4 { v4::ECHO_REPLY } else { v6::ECHO_REPLY };
    let [.., a, b, c, d] = *header;
    write(out, envelope, (kind, 0), [a, b, c, d], payload);
    true
}

/// Whether the checksum of an unfragmented ICMP or ICMPv6 message is right.
pub(super) fn checksum_ok(frame: &[u8], view: &View) -> bool {
    let message = &frame[view.l4..view.end];
    let pseudo = match view.net {
        Net::V6 => checksum::pseudo_header(view.addresses(frame), protocol::ICMPV6, message.len()),
        _ => 0,
    };
    checksum::fold(pseudo + checksum::sum(message)) == 0xffff
}

/// Writes a whole frame with an ICMP message: type and code, the four bytes
/// after the checksum, and what follows them.
pub(super) fn write(
    out: &mut Vec<u8>,
    envelope: &Envelope,
    (kind, code): (u8, u8),
    rest: [u8; 4],
    body: &[u8],
) {
    let protocol = match envelope.to.1 {
        IpAddr::V4(_) => protocol::ICMP,
        IpAddr::V6(_) => protocol::ICMPV6,
    };
    envelope.write(out, protocol, &[&[kind, code, 0, 0], &rest, body], 2);
}
