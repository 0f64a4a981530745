//! Where a frame goes.
//!
//! A [`Switch`] is asked once for each frame, and decides from the [`Plan`]
//! alone, except for what it has learned from foreign VTEPs and for its rate
//! limits. Each worker has one.
//!
//! | file | what is in it |
//! | --- | --- |
//! | admission | which VTEPs may send frames of a network at all |
//! | guard | what a container, or a VTEP, may say of itself |
//! | neighbour | ARP and ND, answered from the plan |
//! | waiting | questions of these kinds that the next plan may have an answer to |
//! | router | between subnets, and the gateway's own addresses |
//! | services | virtual IPs: to a backend and back |
//! | icmp | what a packet shows of ICMP, and the messages that the router writes |
//! | learn | what foreign VTEPs teach: MACs and addresses behind them |
//! | limit | token buckets |
//! | verify | frames that show that an encrypted network is one |
//!
//! The way of a frame from a container: endpoint guard, then ARP/ND, then
//! broadcast and multicast, then the router, then the FDB. A frame out of VXLAN
//! goes the same way, with two differences: it never goes into VXLAN again
//! (split horizon), and only a foreign VTEP gets answers.

mod admission;
mod guard;
mod icmp;
mod learn;
mod limit;
mod neighbour;
mod router;
mod services;
#[cfg(test)]
mod tests;
mod verify;
mod waiting;

use std::net::IpAddr;

use super::Now;
use super::balance::{Balancer, Notice};
use super::drops::Reason;
use super::plan::{Network, Plan, PortId, Target};
use crate::wire::frame::{Net, View};
use crate::wire::mac::Mac;
use crate::wire::vnet::Offload;
use crate::wire::vxlan::Vni;
use crate::wire::{mss, partial};
pub use admission::{Admission, Dress};
use icmp::{Complaint, Seen, v6};
use learn::Learned;
use limit::{Limiter, Rate};
use waiting::Waiting;

/// ICMP errors to one container or foreign VTEP. Path MTU discovery and
/// traceroute need a burst now and then and a few a second; each has a bucket of
/// its own, so that nobody uses up another's share (RFC 4443 section 2.4(f)).
const COMPLAINTS: Rate = Rate::per_second(100, 50);

/// TCP resets to one container, of its own connections: each answers a packet of it
/// and is smaller. Enough that a program that retries in a hurry is refused at once.
const RESETS: Rate = Rate::per_second(5000, 1000);

/// Broadcast and multicast of one network. Discovery and cluster protocols
/// (mDNS, VRRP, JGroups) send tens of frames a second, a loop or a storm as many
/// as the CPU allows, and head-end replication multiplies them by the number
/// of hosts: 2,000 full frames are 24 Mbit/s to each.
const BROADCASTS: Rate = Rate::per_second(2000, 1000);

/// Questions to the gateway from one container: more than any resolver sends, and few
/// enough that one container cannot keep the control side from the others'.
const QUESTIONS: Rate = Rate::per_second(5000, 1000);

/// What to do with the frame that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more; count the reason.
    Drop(Reason),
    /// Nothing more; the frame was for the router, which has no answer to it.
    Consumed,
    /// Send it there. Its headers may have been rewritten in place (routing).
    To(Target),
    /// Send a copy to each of [`Switch::targets`].
    Flood,
    /// Nothing more; it is the answer to a frame of `network verify`.
    Verified,
    /// A question for DNS that the gateway was asked; see [`crate::core::names::gateway`].
    Question,
    /// Send [`Switch::reply`] back to where the frame came from; the frame
    /// itself is done with, and counted if there is a reason.
    Reply(Option<Reason>),
}

/// The forwarding state machine of one worker.
pub struct Switch {
    learned: Learned,
    complaints: Limiter<(Vni, Target)>,
    resets: Limiter<(Vni, Target)>,
    broadcasts: Limiter<Vni>,
    questions: Limiter<PortId>,
    waiting: Waiting,
    balancer: Balancer,
    notices: Vec<Notice>,
    reply: Vec<u8>,
    targets: Vec<Target>,
}

/// A frame's circumstances.
#[derive(Clone, Copy, Debug)]
struct Arrival<'a> {
    network: &'a Network,
    now: Now,
    from: Target,
    view: &'a View,
    offload: &'a Offload,
}

impl Switch {
    /// A switch that has learned nothing. `seed` keys its look-ups.
    pub fn new(seed: u64) -> Switch {
        Switch {
            learned: Learned::new(seed),
            complaints: Limiter::new(seed, COMPLAINTS),
            resets: Limiter::new(seed, RESETS),
            broadcasts: Limiter::new(seed, BROADCASTS),
            questions: Limiter::new(seed, QUESTIONS),
            waiting: Waiting::new(seed),
            balancer: Balancer::new(seed),
            notices: Vec::new(),
            reply: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// Takes note of a new plan; what it has to say is in [`Switch::notices`].
    pub fn replan(&mut self, plan: &Plan, now: Now) {
        self.balancer.replan(plan);
        self.answer_waiting(plan, now);
    }

    /// Frames that answer none of those handed in, or one of long ago, since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        let mut notices = self.balancer.notices();
        notices.append(&mut self.notices);
        notices
    }

    /// A frame that a container sent through its TAP. `view` and `offload`
    /// describe `frame`, which may be a super-frame.
    pub fn from_port(
        &mut self,
        plan: &Plan,
        now: Now,
        port: PortId,
        frame: &mut [u8],
        view: &View,
        offload: &Offload,
    ) -> Verdict {
        let Some((network, port)) = plan.port(port) else {
            return Verdict::Drop(Reason::NoEndpoint);
        };
        let message = match guard::port(port, frame, view) {
            Ok(message) => message,
            Err(reason) => return Verdict::Drop(reason),
        };
        let arrival = Arrival { network, now, from: Target::Port(port.id), view, offload };
        match message {
            Some(message) => self.neighbour_from_port(arrival, port, frame, &message),
            None if view.dst.is_multicast() => self.multicast_from_port(arrival, frame),
            None if view.dst == network.router_mac => self.route(arrival, frame),
            None => self.bridge(arrival, frame),
        }
    }

    /// A frame that came out of VXLAN from a VTEP that [`Switch::admit`] has let
    /// in. `plan` is the one that it was asked with.
    pub fn from_vtep(
        &mut self,
        plan: &Plan,
        now: Now,
        admission: Admission,
        frame: &mut [u8],
        view: &View,
    ) -> Verdict {
        let Admission { network, vtep, foreign, mtu } = admission;
        let from = Target::Vtep(vtep);
        let arrival = Arrival { network, now, from, view, offload: &Offload::NONE };
        if let Some(verdict) = self.verify(arrival, frame) {
            return verdict;
        }
        let message = match guard::vtep(admission, frame, view) {
            Ok(message) => message,
            Err(reason) => return Verdict::Drop(reason),
        };
        if mtu < network.mtu {
            let partial = partial::looks_partial(frame, view);
            mss::clamp(frame, view, mtu, partial);
        }
        if foreign {
            self.learned.note(plan, network, now, (vtep, view.src), message.as_ref());
        }
        match message {
            Some(message) => self.neighbour_from_vtep(arrival, &message, foreign),
            None if view.dst.is_multicast() => self.multicast_from_vtep(arrival),
            None if foreign && view.dst == network.router_mac => self.route(arrival, frame),
            None => {
                let verdict = deliver(network, view);
                match verdict {
                    Verdict::To(target) if self.may_be_reply(network, target) => {
                        self.unbalance(arrival, frame);
                    }
                    _ => {}
                }
                verdict
            }
        }
    }

    /// A frame that answers the last one, after [`Verdict::Reply`].
    pub fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// An ICMP "packet too big" for a frame of `port` that the underlay
    /// refused; `mtu` is the largest inner IP packet that fits. `true` if
    /// [`Switch::reply`] holds one (it is rate-limited like all ICMP errors).
    pub fn too_big(
        &mut self,
        plan: &Plan,
        now: Now,
        port: PortId,
        frame: &[u8],
        view: &View,
        mtu: u16,
    ) -> bool {
        let Some((network, port)) = plan.port(port) else { return false };
        let sent = self.as_sent(network.vni, frame, view);
        let frame = sent.as_deref().unwrap_or(frame);
        // A routed frame has lost its sender's MAC.
        let view = &View { src: port.mac, ..*view };
        let from = Target::Port(port.id);
        let arrival = Arrival { network, now, from, view, offload: &Offload::NONE };
        matches!(self.complain(arrival, frame, Complaint::TooBig(mtu)), Verdict::Reply(_))
    }

    /// Where copies go, after [`Verdict::Flood`].
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Unicast within the network, from a container.
    fn bridge(&mut self, arrival: Arrival, frame: &mut [u8]) -> Verdict {
        match self.locate(arrival.network, arrival.view.dst, arrival.now) {
            Some(target) if self.may_be_reply(arrival.network, target) => {
                self.forward_reply(arrival, frame, target)
            }
            Some(target) => self.forward(arrival, frame, target),
            None if arrival.network.foreign.is_empty() => Verdict::Drop(Reason::UnknownUnicast),
            None => self.flood_foreign(arrival.network),
        }
    }

    /// Where a MAC is. What the plan says goes before what was learned.
    fn locate(&self, network: &Network, mac: Mac, now: Now) -> Option<Target> {
        let learned = || self.learned.station(network, mac, now).map(Target::Vtep);
        network.lookup(mac).or_else(learned)
    }

    /// Hands the frame on, unless it would go back to where it came from, out
    /// of one tunnel into another, or does not fit the path.
    #[inline(always)] // two words decide; the call would copy all circumstances
    fn forward(&mut self, arrival: Arrival, frame: &mut [u8], target: Target) -> Verdict {
        match (arrival.from, target) {
            (Target::Vtep(_), Target::Vtep(_)) => Verdict::Drop(Reason::NotHere),
            (from, _) if from == target => Verdict::Drop(Reason::UnknownUnicast),
            (_, Target::Vtep(vtep)) => self.tunnel(arrival, frame, vtep),
            (_, Target::Port(_)) => Verdict::To(target),
        }
    }

    /// Hands a frame of a container to a VTEP, if it fits the path there. Where
    /// that is narrower than the containers know, new connections hear of it at
    /// once, without waiting for a packet to be lost.
    fn tunnel(&mut self, arrival: Arrival, frame: &mut [u8], vtep: IpAddr) -> Verdict {
        let Arrival { network, view, offload, .. } = arrival;
        let mtu = network.mtu_to(vtep);
        if arrival.packet_len() > usize::from(mtu) {
            return self.complain(arrival, frame, Complaint::TooBig(mtu));
        }
        if mtu < network.mtu {
            let partial = offload.checksum.is_some_and(|sum| usize::from(sum.start) == view.l4);
            mss::clamp(frame, view, mtu, partial);
        }
        Verdict::To(Target::Vtep(vtep))
    }

    /// To the foreign VTEPs, which alone may know more than the plan.
    fn flood_foreign(&mut self, network: &Network) -> Verdict {
        self.targets.clear();
        self.targets.extend(network.foreign.iter().copied().map(Target::Vtep));
        Verdict::Flood
    }

    fn multicast_from_port(&mut self, arrival: Arrival, frame: &[u8]) -> Verdict {
        let network = arrival.network;
        if !network.multicast && is_mld(frame, arrival.view) {
            return Verdict::Consumed;
        }
        if !network.multicast && network.foreign.is_empty() {
            return Verdict::Drop(Reason::Multicast);
        }
        if !self.broadcasts.take(network.vni, arrival.now, arrival.frames()) {
            return Verdict::Drop(Reason::MulticastRate);
        }
        let verdict = self.flood_foreign(network);
        if network.multicast {
            let members = network.members.iter().filter(|vtep| !network.is_foreign(**vtep));
            self.targets.extend(members.copied().map(Target::Vtep));
            self.add_ports(arrival);
        }
        verdict
    }

    fn multicast_from_vtep(&mut self, arrival: Arrival) -> Verdict {
        if !arrival.network.multicast {
            return Verdict::Drop(Reason::Multicast);
        }
        if !self.broadcasts.take(arrival.network.vni, arrival.now, 1) {
            return Verdict::Drop(Reason::MulticastRate);
        }
        self.targets.clear();
        self.add_ports(arrival);
        Verdict::Flood
    }

    fn add_ports(&mut self, arrival: Arrival) {
        let ports = arrival.network.ports.iter().map(|port| Target::Port(port.id));
        self.targets.extend(ports.filter(|port| *port != arrival.from));
    }
}

impl Arrival<'_> {
    /// Length of the IP packet in bytes; for a super-frame, of its longest segment.
    fn packet_len(&self) -> usize {
        let end = match self.offload.gso {
            Some(gso) => self.view.end.min(self.view.payload + usize::from(gso.size)),
            None => self.view.end,
        };
        end - View::L3
    }

    /// How many frames this is on a wire.
    fn frames(&self) -> u32 {
        let payload = self.view.end - self.view.payload;
        self.offload.gso.map_or(1, |gso| payload.div_ceil(usize::from(gso.size.max(1))) as u32)
    }

    /// The name under which its malformed contents are counted.
    fn malformed(&self) -> Reason {
        match self.from {
            Target::Port(_) => Reason::Malformed,
            Target::Vtep(_) => Reason::InnerMalformed,
        }
    }
}

/// Unicast out of VXLAN: to a container of this host or nowhere.
fn deliver(network: &Network, view: &View) -> Verdict {
    match network.lookup(view.dst) {
        Some(target @ Target::Port(_)) => Verdict::To(target),
        _ => Verdict::Drop(Reason::NotHere),
    }
}

/// Group membership of IPv6 hosts, which send it unasked.
fn is_mld(frame: &[u8], view: &View) -> bool {
    let kinds = [v6::MLD_QUERY, v6::MLD_REPORT, v6::MLD_DONE, v6::MLD2_REPORT];
    view.net == Net::V6 && kinds.iter().any(|kind| icmp::seen(frame, view) == Seen::Type(*kind))
}
