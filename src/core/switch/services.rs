//! Virtual IPs: packets to one are rewritten for a backend, replies are rewritten
//! back, and so are ICMP errors about either.

use std::net::IpAddr;
use std::time::Duration;

use super::icmp::{self, Complaint};
use super::{Arrival, Switch, Verdict};
use crate::core::Now;
use crate::core::balance::reset::{self, End};
use crate::core::balance::{Context, Packet, Refusal, Route, Segment, Stats, Vip};
use crate::core::drops::Reason;
use crate::core::plan::{Network, Plan, Target};
use crate::wire::frame::{Net, View, protocol};
use crate::wire::partial::looks_partial;
use crate::wire::quote::Quote;
use crate::wire::readdress::{Side, is_partial, readdress, readdress_error, readdress_quoted};
use crate::wire::vxlan::Vni;

impl Switch {
    /// A packet to a virtual IP.
    pub(super) fn balance(
        &mut self,
        arrival: Arrival,
        frame: &mut [u8],
        versioned: (u64, &Vip),
    ) -> Verdict {
        let Target::Port(port) = arrival.from else {
            // Replies could not be told from others where they leave for a foreign VTEP.
            return self.complain(arrival, frame, Complaint::HostUnreachable);
        };
        let view = arrival.view;
        if is_icmp(view) {
            return self.icmp_to_vip(arrival, frame);
        }
        let packet = Packet::read(frame, view);
        match self.balancer.outbound(arrival.context(), versioned, port, &packet) {
            Ok(Route::Backend(station, ip)) => {
                let verdict = self.forward(arrival, frame, station.target);
                if matches!(verdict, Verdict::To(_)) {
                    let partial = is_partial(arrival.offload, view);
                    frame[..6].copy_from_slice(&station.mac.0);
                    readdress(frame, view, partial, Side::Destination, ip);
                }
                verdict
            }
            Ok(Route::Back(ip)) => {
                let partial = is_partial(arrival.offload, view);
                turn_back(arrival, frame);
                readdress(frame, view, partial, Side::Source, view.destination);
                readdress(frame, view, partial, Side::Destination, ip);
                Verdict::To(arrival.from)
            }
            Err(refusal) => self.refuse(arrival, frame, refusal),
        }
    }

    fn refuse(&mut self, arrival: Arrival, frame: &[u8], refusal: Refusal) -> Verdict {
        let reason = match refusal {
            Refusal::Short => arrival.malformed(),
            Refusal::PortZero => Reason::PortZero,
            Refusal::BackendGone => Reason::BackendGone,
            Refusal::LostFragment => Reason::LostFragment,
            Refusal::Clash => Reason::FlowClash,
            Refusal::Full => Reason::FlowTableFull,
            Refusal::NoFlow(segment) => {
                return self.reset(arrival, frame, &segment, Reason::NoFlow);
            }
            Refusal::NoBackend(Some(segment)) => {
                return self.reset(arrival, frame, &segment, Reason::NoBackend);
            }
            Refusal::NoBackend(None) => {
                return self.unreachable(arrival, frame, Reason::NoBackend);
            }
            Refusal::Transport => return self.unreachable(arrival, frame, Reason::VipTransport),
        };
        Verdict::Drop(reason)
    }

    fn unreachable(&mut self, arrival: Arrival, frame: &[u8], reason: Reason) -> Verdict {
        match self.complain(arrival, frame, Complaint::PortUnreachable) {
            Verdict::Reply(_) => Verdict::Reply(Some(reason)),
            _ => Verdict::Drop(reason),
        }
    }

    /// Answers a TCP segment with a reset, unless it is one.
    fn reset(
        &mut self,
        arrival: Arrival,
        frame: &[u8],
        segment: &Segment,
        reason: Reason,
    ) -> Verdict {
        let Arrival { network, view, now, from, .. } = arrival;
        let Packet::Headed { ports, .. } = Packet::read(frame, view) else {
            return Verdict::Drop(reason);
        };
        if segment.rst() || !self.resets.take((network.vni, from), now, 1) {
            return Verdict::Drop(reason);
        }
        let router = End { mac: network.router_mac, ip: view.destination, port: ports.1 };
        let client = End { mac: view.src, ip: view.source, port: ports.0 };
        reset::write(&mut self.reply, router, client, segment.refusal());
        Verdict::Reply(Some(reason))
    }

    /// Ping is answered as the gateway answers it; an error goes to the backend whose
    /// packet it is about.
    fn icmp_to_vip(&mut self, arrival: Arrival, frame: &mut [u8]) -> Verdict {
        let view = arrival.view;
        if !icmp::is_error(frame, view) {
            return self.at_router(arrival, frame);
        }
        let about_reply =
            |quote: &Quote| (quote.source, quote.destination) == (view.destination, view.source);
        let quote = Quote::read(frame, view).filter(about_reply);
        let route = quote.and_then(|q| Some((q, self.balancer.error_out(arrival.network, &q)?)));
        match route {
            None => Verdict::Drop(Reason::StrayError),
            Some((quote, Route::Backend(station, ip))) => {
                let verdict = self.forward(arrival, frame, station.target);
                if matches!(verdict, Verdict::To(_)) {
                    frame[..6].copy_from_slice(&station.mac.0);
                    readdress_error(frame, view, &quote, Side::Destination, ip);
                }
                verdict
            }
            Some((quote, Route::Back(ip))) => {
                turn_back(arrival, frame);
                readdress_quoted(frame, view, &quote, Side::Source, ip);
                readdress_quoted(frame, view, &quote, Side::Destination, view.destination);
                readdress(frame, view, false, Side::Source, view.destination);
                readdress(frame, view, false, Side::Destination, ip);
                Verdict::To(arrival.from)
            }
        }
    }

    /// Whether a frame that goes there is to be shown to [`Switch::unbalance`].
    #[inline]
    pub(super) fn may_be_reply(&self, network: &Network, target: Target) -> bool {
        matches!(target, Target::Port(_)) && self.balancer.is_busy(network)
    }

    /// As [`Switch::forward`], for what may be a reply.
    #[inline(never)] // out of the way of networks without services
    pub(super) fn forward_reply(
        &mut self,
        arrival: Arrival,
        frame: &mut [u8],
        target: Target,
    ) -> Verdict {
        let verdict = self.forward(arrival, frame, target);
        if verdict == Verdict::To(target) {
            self.unbalance(arrival, frame);
        }
        verdict
    }

    /// A frame for a container of this host: a reply, or an error about a translated
    /// packet, comes from the virtual IP.
    #[inline(never)]
    pub(super) fn unbalance(&mut self, arrival: Arrival, frame: &mut [u8]) {
        let Arrival { network, view, .. } = arrival;
        if is_icmp(view) {
            // Of others than the backend and the router it is no business.
            let honest = |quote: &Quote| {
                quote.source == view.destination
                    && (view.source == quote.destination || network.is_gateway(view.source))
            };
            let Some(quote) = Quote::read(frame, view).filter(honest) else { return };
            if let Some(vip) = self.balancer.error_in(network.vni, &quote) {
                frame[6..12].copy_from_slice(&network.router_mac.0);
                readdress_error(frame, view, &quote, Side::Source, vip);
            }
            return;
        }
        let packet = Packet::read(frame, view);
        if let Some(vip) = self.balancer.inbound(arrival.context(), &packet) {
            let partial = match arrival.from {
                Target::Port(_) => is_partial(arrival.offload, view),
                Target::Vtep(_) => looks_partial(frame, view),
            };
            frame[6..12].copy_from_slice(&network.router_mac.0);
            readdress(frame, view, partial, Side::Source, vip);
        }
    }

    /// A frame as the container sent it, if it was to a virtual IP and has been
    /// rewritten since.
    pub(super) fn as_sent(&self, vni: Vni, frame: &[u8], view: &View) -> Option<Vec<u8>> {
        let Packet::Headed { ports, .. } = Packet::read(frame, view) else { return None };
        let (source, destination) = (view.source, view.destination);
        let (l3, l4, protocol) = (View::L3, view.l4, view.protocol);
        let quote = Quote { l3, l4, source, destination, protocol, ports };
        let vip = self.balancer.error_in(vni, &quote)?;
        let mut sent = frame.to_vec();
        let partial = looks_partial(frame, view);
        readdress(&mut sent, view, partial, Side::Destination, vip);
        Some(sent)
    }

    /// When [`Switch::tick`] wants to be called.
    pub fn due(&self) -> Option<Now> {
        self.balancer.due()
    }

    /// Looks after flows; what it has to say is in [`Switch::notices`].
    pub fn tick(&mut self, plan: &Plan, now: Now) {
        self.balancer.tick(plan, now);
    }

    /// What became of flows through virtual IPs.
    pub fn flow_stats(&self) -> Stats {
        self.balancer.stats()
    }

    /// Flows to any of these backends, which are about to go, that are not over. Flows
    /// of datagrams are, after a moment of silence.
    pub fn flows(&mut self, vni: Vni, backends: &[IpAddr]) -> u64 {
        let live = self.balancer.live(vni, backends);
        if live > 0 {
            self.balancer.part(vni, backends);
        }
        live
    }

    /// Breaks off all flows to these backends, with the next ticks.
    pub fn reset_flows(&mut self, vni: Vni, backends: &[IpAddr]) {
        self.balancer.condemn(vni, backends);
    }

    /// All flows, for the next daemon.
    pub fn save_flows(&self, now: Now) -> Vec<u8> {
        self.balancer.save(now)
    }

    /// Takes over what [`Switch::save_flows`] gave, `elapsed` ago. How many flows
    /// there are now, and whether all could be read.
    pub fn restore_flows(&mut self, bytes: &[u8], elapsed: Duration, now: Now) -> (usize, bool) {
        self.balancer.restore(bytes, elapsed, now)
    }
}

impl<'a> Arrival<'a> {
    fn context(&self) -> Context<'a> {
        let Arrival { network, now, view, .. } = *self;
        let addresses = (view.source, view.destination);
        Context { network, now, addresses, protocol: view.protocol }
    }
}

fn is_icmp(view: &View) -> bool {
    match view.net {
        Net::V4 => view.protocol == protocol::ICMP,
        _ => view.protocol == protocol::ICMPV6,
    }
}

/// Sends a frame back to the container that it is from, as from the router.
fn turn_back(arrival: Arrival, frame: &mut [u8]) {
    frame[..6].copy_from_slice(&arrival.view.src.0);
    frame[6..12].copy_from_slice(&arrival.network.router_mac.0);
}
