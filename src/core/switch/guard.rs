//! What a container, or a VTEP, may say of itself.

use std::net::IpAddr;

use super::Admission;
use super::icmp::{Seen, seen, v6};
use super::neighbour::{self, Kind, Message};
use crate::core::drops::Reason;
use crate::core::plan::{Network, Port, Station, Target};
use crate::wire::frame::{Net, View};
use crate::wire::mac::Mac;

/// The endpoint guard: whether a container may send this frame, and the ARP or
/// ND message in it.
pub(super) fn port(port: &Port, frame: &[u8], view: &View) -> Result<Option<Message>, Reason> {
    if view.src != port.mac {
        return Err(Reason::GuardMac);
    }
    let ip = matches!(view.net, Net::V4 | Net::V6);
    if ip && !owns(port, view.source) && !without_address(frame, view) {
        return Err(Reason::GuardIp);
    }
    let message = neighbour::read(frame, view)?;
    if message.is_some_and(|m| !own_words(port, &m)) {
        return Err(not_its_own(view));
    }
    Ok(message)
}

/// Whether an address is the endpoint's: a given one, or the link-local one
/// that Linux makes from the MAC.
pub(super) fn owns(port: &Port, ip: IpAddr) -> bool {
    port.addresses.contains(&ip) || ip == IpAddr::from(port.mac.link_local())
}

/// What an IPv6 host sends from `::` before it has an address: the probe for a
/// duplicate (RFC 4862) and multicast reports (RFC 3590).
fn without_address(frame: &[u8], view: &View) -> bool {
    let kinds = [v6::NEIGHBOUR_SOLICITATION, v6::MLD_REPORT, v6::MLD_DONE, v6::MLD2_REPORT];
    view.net == Net::V6
        && view.source.is_unspecified()
        && view.destination.is_multicast()
        && !view.fragment
        && kinds.iter().any(|kind| seen(frame, view) == Seen::Type(*kind))
}

/// Whether a message speaks for the endpoint itself only.
fn own_words(port: &Port, message: &Message) -> bool {
    let probe = message.kind == Kind::Ask && message.speaker.is_unspecified();
    message.link.is_none_or(|mac| mac == port.mac) && (probe || owns(port, message.speaker))
}

/// The guard on what comes out of VXLAN: whether this VTEP may send this frame,
/// and the ARP or ND message in it.
pub(super) fn vtep(
    admission: Admission,
    frame: &[u8],
    view: &View,
) -> Result<Option<Message>, Reason> {
    let Admission { network, vtep, foreign, .. } = admission;
    if !view.src.is_unicast() {
        return Err(Reason::InnerMalformed);
    }
    let words = if foreign {
        foreign_source(network, vtep, view)?;
        foreign_words
    } else {
        member_source(network, vtep, frame, view)?;
        member_words
    };
    let message = neighbour::read(frame, view)?;
    if message.is_some_and(|m| !words(network, vtep, view.src, &m)) {
        return Err(not_its_own(view));
    }
    Ok(message)
}

fn not_its_own(view: &View) -> Reason {
    if view.net == Net::Arp { Reason::GuardArp } else { Reason::GuardNd }
}

/// A member sends for the endpoints that the plan has there, each from its own
/// MAC, or from the router's: that is a packet which its own router has routed,
/// and such a one keeps its source address.
fn member_source(network: &Network, vtep: IpAddr, frame: &[u8], view: &View) -> Result<(), Reason> {
    let home = Target::Vtep(vtep);
    let ip = matches!(view.net, Net::V4 | Net::V6);
    let routed = ip && view.src == network.router_mac;
    // The one look-up that honest frames of IP and ARP cost.
    if view.net != Net::Other
        && let Some(owner) = network.station(view.source)
        && owner.target == home
        && (owner.mac == view.src || routed)
    {
        return Ok(());
    }
    if routed {
        return Err(Reason::SpoofedIp);
    }
    if network.lookup(view.src) != Some(home) {
        return Err(Reason::SpoofedMac);
    }
    match view.net {
        Net::V4 | Net::V6 if !without_address(frame, view) => Err(Reason::SpoofedIp),
        Net::Arp if !view.source.is_unspecified() => Err(Reason::GuardArp),
        _ => Ok(()),
    }
}

/// A foreign VTEP may send from all that the plan has nowhere else, and not as
/// the router.
fn foreign_source(network: &Network, vtep: IpAddr, view: &View) -> Result<(), Reason> {
    if spoofed(network, vtep, view.src) {
        return Err(Reason::SpoofedMac);
    }
    let ip = matches!(view.net, Net::V4 | Net::V6);
    let taken = |source| match network.station(source) {
        Some(owner) => owner.target != Target::Vtep(vtep),
        None => network.is_gateway(source),
    };
    if ip && taken(view.source) { Err(Reason::SpoofedIp) } else { Ok(()) }
}

/// Whether a MAC cannot be behind a foreign VTEP.
fn spoofed(network: &Network, vtep: IpAddr, src: Mac) -> bool {
    match network.lookup(src) {
        Some(home) => home != Target::Vtep(vtep),
        None => src == network.router_mac,
    }
}

/// Whether a message from a member speaks for the endpoint that sent it only.
/// Its router never sends any: it has nobody to ask.
fn member_words(network: &Network, vtep: IpAddr, src: Mac, message: &Message) -> bool {
    let own = Station { mac: src, target: Target::Vtep(vtep) };
    let probe = message.kind != Kind::Tell && message.speaker.is_unspecified();
    message.link.is_none_or(|mac| mac == src)
        && (probe || network.station(message.speaker) == Some(&own))
}

/// Whether a foreign VTEP may say where the speaker of this message is: nobody
/// there speaks for the gateway or for an endpoint that the plan has elsewhere.
fn foreign_words(network: &Network, vtep: IpAddr, src: Mac, message: &Message) -> bool {
    let mac = message.link.unwrap_or(src);
    !network.is_gateway(message.speaker)
        && network.neighbour(message.speaker).is_none_or(|owner| owner == mac)
        && !spoofed(network, vtep, mac)
}
