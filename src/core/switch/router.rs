//! The network's router: between its subnets, and its own addresses.

use std::net::IpAddr;

use super::icmp::{self, Complaint, Seen};
use super::{Arrival, Switch, Verdict};
use crate::core::drops::Reason;
use crate::core::envelope::{Envelope, HOP_LIMIT};
use crate::core::names::gateway;
use crate::core::plan::{Network, PortId, Target};
use crate::wire::checksum;
use crate::wire::frame::{Net, View};
use crate::wire::mac::Mac;

impl Switch {
    /// A frame to the router's MAC.
    pub(super) fn route(&mut self, arrival: Arrival, frame: &mut [u8]) -> Verdict {
        let (network, view) = (arrival.network, arrival.view);
        let destination = view.destination;
        if !matches!(view.net, Net::V4 | Net::V6) {
            return Verdict::Drop(Reason::GatewayClosed);
        }
        if martian(view.source) {
            return Verdict::Drop(arrival.malformed());
        }
        if network.is_gateway(destination) {
            return self.at_router(arrival, frame);
        }
        let vip = network.versioned_vip(destination);
        if vip.is_none() && network.subnet_of(destination).is_none() {
            return self.complain(arrival, frame, Complaint::NoRoute);
        }
        if is_link_local(view.source) {
            return self.complain(arrival, frame, Complaint::BeyondScope);
        }
        if let Some(vip) = vip {
            return self.balance(arrival, frame, vip);
        }
        if view.ttl <= 1 {
            return self.complain(arrival, frame, Complaint::TimeExceeded);
        }
        let Some((mac, target)) = self.next_hop(arrival) else {
            return self.complain(arrival, frame, Complaint::HostUnreachable);
        };
        let verdict = self.forward(arrival, frame, target);
        if matches!(verdict, Verdict::To(_)) {
            rewrite(frame, view, network.router_mac, mac);
            if self.may_be_reply(network, target) {
                self.unbalance(arrival, frame);
            }
        }
        verdict
    }

    /// The station with the destination address, and where it is.
    fn next_hop(&self, arrival: Arrival) -> Option<(Mac, Target)> {
        let Arrival { network, now, .. } = arrival;
        let ip = arrival.view.destination;
        let mac = network.neighbour(ip).or_else(|| self.learned.neighbour(network, ip, now))?;
        Some((mac, self.locate(network, mac, now)?))
    }

    /// A packet to one of the router's own addresses. It answers ping, questions for DNS
    /// over UDP, and nothing else.
    pub(super) fn at_router(&mut self, arrival: Arrival, frame: &[u8]) -> Verdict {
        let (network, view) = (arrival.network, arrival.view);
        if let Target::Port(port) = arrival.from
            && gateway::is_question(view)
        {
            return self.question(arrival, port, frame);
        }
        let seen = icmp::seen(frame, view);
        if seen == Seen::Nothing {
            return self.complain(arrival, frame, Complaint::PortUnreachable);
        }
        let echo = match view.net {
            Net::V4 => icmp::v4::ECHO,
            _ => icmp::v6::ECHO,
        };
        let whole = !view.fragment && arrival.packet_len() <= usize::from(network.mtu);
        if seen != Seen::Type(echo) || !whole {
            return Verdict::Drop(Reason::GatewayClosed);
        }
        let envelope = Envelope {
            from: (network.router_mac, view.destination),
            to: (view.src, view.source),
            hop_limit: HOP_LIMIT,
        };
        let sound = arrival.offload.checksum.is_some() || icmp::checksum_ok(frame, view);
        if !sound || !icmp::echo_reply(&mut self.reply, &envelope, frame, view) {
            return Verdict::Drop(arrival.malformed());
        }
        Verdict::Reply(None)
    }

    /// A container asks the gateway for a name.
    fn question(&mut self, arrival: Arrival, port: PortId, frame: &[u8]) -> Verdict {
        let Arrival { view, offload, now, .. } = arrival;
        if offload.gso.is_some() {
            return Verdict::Drop(Reason::GatewayClosed); // no resolver does that
        }
        if offload.checksum.is_none() && !udp_is_sound(frame, view) {
            return Verdict::Drop(arrival.malformed());
        }
        match self.questions.take(port, now, 1) {
            true => Verdict::Question,
            false => Verdict::Drop(Reason::QuestionRate),
        }
    }

    /// Drops a packet and says so to its sender by ICMP, where that is allowed
    /// and has not been done too often.
    pub(super) fn complain(
        &mut self,
        arrival: Arrival,
        frame: &[u8],
        complaint: Complaint,
    ) -> Verdict {
        let Arrival { network, view, now, from, .. } = arrival;
        let reason = complaint.reason();
        let Some(source) = router_address(network, view.source) else {
            return Verdict::Drop(reason);
        };
        if !icmp::answerable(network, frame, view)
            || !self.complaints.take((network.vni, from), now, 1)
        {
            return Verdict::Drop(reason);
        }
        let envelope = Envelope {
            from: (network.router_mac, source),
            to: (view.src, view.source),
            hop_limit: HOP_LIMIT,
        };
        icmp::complain(&mut self.reply, &envelope, complaint, frame, view);
        Verdict::Reply(Some(reason))
    }
}

/// Whether the checksum of an unfragmented datagram is right, or there is none.
fn udp_is_sound(frame: &[u8], view: &View) -> bool {
    let datagram = gateway::datagram(frame, view);
    if datagram[6..8] == [0, 0] {
        return true;
    }
    let pseudo = checksum::pseudo_header(view.addresses(frame), view.protocol, datagram.len());
    checksum::fold(pseudo + checksum::sum(datagram)) == 0xffff
}

/// The address at which a host sees the router.
fn router_address(network: &Network, host: IpAddr) -> Option<IpAddr> {
    if is_link_local(host) {
        return Some(network.router_mac.link_local().into());
    }
    network.subnet_of(host).map(|subnet| subnet.gateway)
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Sources that no packet may have on a network (RFC 1812 section 5.3.7).
fn martian(source: IpAddr) -> bool {
    source.is_unspecified() || source.is_multicast() || source.is_loopback()
}

/// Writes the headers of a routed packet: one hop fewer, from the router to
/// the station. The transport is untouched, so this works on super-frames too.
fn rewrite(frame: &mut [u8], view: &View, router: Mac, station: Mac) {
    frame[..6].copy_from_slice(&station.0);
    frame[6..12].copy_from_slice(&router.0);
    let ip = &mut frame[View::L3..];
    if view.net == Net::V6 {
        ip[7] = view.ttl - 1;
        return;
    }
    let old = u16::from_be_bytes([ip[8], ip[9]]);
    ip[8] = view.ttl - 1;
    let new = u16::from_be_bytes([ip[8], ip[9]]);
    let sum = u16::from_be_bytes([ip[10], ip[11]]);
    ip[10..12].copy_from_slice(&checksum::update(sum, old, new).to_be_bytes());
}
