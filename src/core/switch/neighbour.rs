//! ARP (RFC 826) and neighbour discovery (RFC 4861), which are answered from
//! the plan's table and never flooded between hosts of one cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetProtocol};

use super::icmp::{self, Seen, v6};
use super::{Arrival, Switch, Verdict, deliver, guard};
use crate::core::drops::Reason;
use crate::core::envelope::{Envelope, ethernet};
use crate::core::plan::{Network, Port, Target};
use crate::wire::frame::{Net, View};
use crate::wire::mac::Mac;

/// What an ARP or ND message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An ARP request or a neighbour solicitation.
    Ask,
    /// An ARP reply or a neighbour advertisement.
    Tell,
    /// A router solicitation.
    AskRouter,
}

/// An ARP or ND message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The address that is asked for or told of.
    pub(super) subject: IpAddr,
    /// The address that the message gives a MAC for; unspecified in a probe
    /// for a duplicate.
    pub(super) speaker: IpAddr,
    /// That MAC: the ARP sender's, or the link-layer address option's.
    pub(super) link: Option<Mac>,
}

/// Reads the ARP or ND message in a frame. What nobody may send, a container
/// no more than a VTEP, is an error: router advertisements, redirects, and ND
/// that is malformed, from beyond the link, or in fragments (RFC 6980).
pub(super) fn read(frame: &[u8], view: &View) -> Result<Option<Message>, Reason> {
    if view.net == Net::Arp {
        return arp(frame).ok_or(Reason::GuardArp).map(Some);
    }
    match (view.net, icmp::seen(frame, view)) {
        (Net::V4, Seen::Type(icmp::v4::REDIRECT)) => Err(Reason::GuardRa),
        (Net::V6, Seen::Type(v6::ROUTER_ADVERTISEMENT | v6::REDIRECT)) => Err(Reason::GuardRa),
        (
            Net::V6,
            Seen::Type(
                v6::ROUTER_SOLICITATION | v6::NEIGHBOUR_SOLICITATION | v6::NEIGHBOUR_ADVERTISEMENT,
            ),
        ) => nd(frame, view).ok_or(Reason::GuardNd).map(Some),
        (Net::V6, Seen::Hidden) => Err(Reason::GuardNd),
        _ => Ok(None),
    }
}

fn arp(frame: &[u8]) -> Option<Message> {
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(link),
        source_protocol_addr: speaker,
        target_protocol_addr: target,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(&frame[View::L3..]).ok()?).ok()?
    else {
        return None;
    };
    let (kind, subject) = match operation {
        ArpOperation::Request => (Kind::Ask, target),
        ArpOperation::Reply => (Kind::Tell, speaker),
        ArpOperation::Unknown(_) => return None,
    };
    Some(Message { kind, subject: subject.into(), speaker: speaker.into(), link: Some(Mac(link)) })
}

/// The checks are those of RFC 4861 sections 6.1.1, 7.1.1 and 7.1.2, except for
/// the checksum, which may still be partial.
fn nd(frame: &[u8], view: &View) -> Option<Message> {
    if view.fragment || view.ttl != 255 {
        return None;
    }
    let (&[kind, 0, _, _, _, _, _, _], body) = frame[view.l4..view.end].split_first_chunk()? else {
        return None;
    };
    if kind == v6::ROUTER_SOLICITATION {
        let link = link_option(body, SOURCE_LINK)?;
        let (subject, speaker) = (view.destination, view.source);
        return Some(Message { kind: Kind::AskRouter, subject, speaker, link });
    }
    let (target, options) = body.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*target);
    if target.is_multicast() {
        return None;
    }
    let subject = IpAddr::from(target);
    if kind == v6::NEIGHBOUR_ADVERTISEMENT {
        let link = link_option(options, TARGET_LINK)?;
        return Some(Message { kind: Kind::Tell, subject, speaker: subject, link });
    }
    let link = link_option(options, SOURCE_LINK)?;
    let probe = view.source.is_unspecified();
    if probe && (link.is_some() || view.destination != solicited_node(target)) {
        return None;
    }
    Some(Message { kind: Kind::Ask, subject, speaker: view.source, link })
}

const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;

/// The Ethernet address in the option of this kind. The outer `None` is for
/// options that are malformed, or that contradict each other.
fn link_option(mut options: &[u8], kind: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while !options.is_empty() {
        let len = 8 * usize::from(*options.get(1)?);
        let (option, rest) = options.split_at_checked(len).filter(|_| len > 0)?;
        if option[0] == kind {
            let mac = Mac::read(&option[2..]).filter(|_| len == 8)?;
            if found.is_some_and(|other| other != mac) {
                return None;
            }
            found = Some(mac);
        }
        options = rest;
    }
    Some(found)
}

/// The group that a neighbour solicitation for this address goes to (RFC 4291
/// section 2.7.1).
fn solicited_node(ip: Ipv6Addr) -> IpAddr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]).into()
}

/// Who answers for an address, and whether that is the router. To a virtual IP one goes
/// through the router as well.
pub(super) fn owner(network: &Network, ip: IpAddr) -> Option<(Mac, bool)> {
    if network.is_gateway(ip) {
        return Some((network.router_mac, true));
    }
    if network.vip(ip).is_some() {
        return Some((network.router_mac, false));
    }
    network.neighbour(ip).map(|mac| (mac, false))
}

impl Switch {
    /// ARP or ND from a container; the guard has passed it.
    pub(super) fn neighbour_from_port(
        &mut self,
        arrival: Arrival,
        port: &Port,
        frame: &mut [u8],
        message: &Message,
    ) -> Verdict {
        let network = arrival.network;
        let probe = message.speaker.is_unspecified();
        match message.kind {
            Kind::AskRouter => Verdict::Consumed,
            Kind::Tell if arrival.view.dst == network.router_mac => Verdict::Consumed,
            Kind::Tell if !arrival.view.dst.is_multicast() => self.bridge(arrival, frame),
            Kind::Tell => self.announce(network),
            Kind::Ask if guard::owns(port, message.subject) => self.announce(network),
            Kind::Ask => match owner(network, message.subject) {
                Some(owner) => self.answer(arrival.view, message, owner),
                None if probe => self.announce(network),
                None => {
                    self.waiting.keep(arrival, port, message);
                    self.ask_foreign(arrival)
                }
            },
        }
    }

    /// ARP or ND out of VXLAN. Other hosts of the cluster answer from their own
    /// tables; foreign ones can only ask us.
    pub(super) fn neighbour_from_vtep(
        &mut self,
        arrival: Arrival,
        message: &Message,
        foreign: bool,
    ) -> Verdict {
        let (network, view) = (arrival.network, arrival.view);
        match message.kind {
            Kind::Tell if view.dst != network.router_mac && !view.dst.is_multicast() => {
                deliver(network, view)
            }
            Kind::Ask if foreign => match owner(network, message.subject) {
                Some((mac, router))
                    if router || matches!(network.lookup(mac), Some(Target::Port(_))) =>
                {
                    self.answer(view, message, (mac, router))
                }
                _ => Verdict::Consumed,
            },
            _ => Verdict::Consumed,
        }
    }

    /// What a container says of itself: the cluster knows it already, foreign
    /// VTEPs do not.
    fn announce(&mut self, network: &Network) -> Verdict {
        if network.foreign.is_empty() { Verdict::Consumed } else { self.flood_foreign(network) }
    }

    /// A question that the table has no answer to. A unicast one (a probe
    /// whether a known neighbour is still there) goes only where its MAC is.
    fn ask_foreign(&mut self, arrival: Arrival) -> Verdict {
        if arrival.network.foreign.is_empty() {
            return Verdict::Drop(Reason::UnknownNeighbour);
        }
        match self.learned.station(arrival.network, arrival.view.dst, arrival.now) {
            Some(vtep) => Verdict::To(Target::Vtep(vtep)),
            None => self.flood_foreign(arrival.network),
        }
    }

    pub(super) fn answer(
        &mut self,
        view: &View,
        message: &Message,
        (mac, router): (Mac, bool),
    ) -> Verdict {
        match (message.subject, message.speaker) {
            (IpAddr::V4(subject), IpAddr::V4(speaker)) => {
                self.answer_arp(view, message, (mac, subject), speaker);
            }
            (IpAddr::V6(subject), _) => self.answer_nd(view, message, (mac, subject), router),
            _ => return Verdict::Consumed, // no message mixes the families
        }
        Verdict::Reply(None)
    }

    fn answer_arp(
        &mut self,
        view: &View,
        message: &Message,
        (mac, subject): (Mac, Ipv4Addr),
        speaker: Ipv4Addr,
    ) {
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(mac.0),
            source_protocol_addr: subject,
            target_hardware_addr: EthernetAddress(message.link.unwrap_or(view.src).0),
            target_protocol_addr: speaker,
        };
        ethernet(&mut self.reply, mac, view.src, EthernetProtocol::Arp);
        self.reply.resize(View::L3 + answer.buffer_len(), 0);
        answer.emit(&mut ArpPacket::new_unchecked(&mut self.reply[View::L3..]));
    }

    /// A probe for a duplicate has no source to answer to; then all nodes hear
    /// it, and the answer counts as unsolicited (RFC 4861 section 7.2.4).
    fn answer_nd(
        &mut self,
        view: &View,
        message: &Message,
        (mac, subject): (Mac, Ipv6Addr),
        router: bool,
    ) {
        const ALL_NODES: (Mac, Ipv6Addr) =
            (Mac([0x33, 0x33, 0, 0, 0, 1]), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
        const ROUTER: u8 = 0x80;
        const SOLICITED: u8 = 0x40;
        const OVERRIDE: u8 = 0x20;
        let (to, solicited) = if message.speaker.is_unspecified() {
            ((ALL_NODES.0, ALL_NODES.1.into()), 0)
        } else {
            ((view.src, view.source), SOLICITED)
        };
        let flags = OVERRIDE | solicited | if router { ROUTER } else { 0 };
        let mut body = [0; 24];
        body[..16].copy_from_slice(&subject.octets());
        body[16..18].copy_from_slice(&[TARGET_LINK, 1]);
        body[18..].copy_from_slice(&mac.0);
        let envelope = Envelope { from: (mac, subject.into()), to, hop_limit: 255 };
        let kind = (v6::NEIGHBOUR_ADVERTISEMENT, 0);
        icmp::write(&mut self.reply, &envelope, kind, [flags, 0, 0, 0], &body);
    }
}
