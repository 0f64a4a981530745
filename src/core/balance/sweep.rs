//! What is done to flows without a packet of theirs: the clock hand that takes away
//! what has expired, and the review of all flows after a change of backends. Both
//! look at some flows at a time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::balancer::Balancer;
use super::flow::{Flow, Phase};
use super::reset::{self, End};
use super::slab::FlowId;
use super::vip::Standing;
use crate::core::Now;
use crate::core::plan::{Network, Plan, Target};
use crate::wire::frame::protocol;
use crate::wire::vxlan::Vni;

/// How long the hand takes once round.
const ROUND: Duration = Duration::from_secs(10);
/// Flows that the hand passes at a time.
const STEP: FlowId = 1024;
/// Flows that a review looks at each [`PAUSE`].
const REVIEW: FlowId = 4096;
/// Resets that it sends then, at most.
const RESETS: usize = 256;
/// Seconds without a datagram after which a flow need not be finished by a backend that
/// is about to go: nobody says which one was the last.
const QUIET: u32 = 3;
const PAUSE: Duration = Duration::from_millis(1);

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It goes on, found to be good with this version of the virtual IP.
    Keep(u64),
    /// It is not known yet.
    Wait,
    /// It is forgotten; its next packet begins another.
    Anew,
    /// It is broken off.
    Reset,
}

/// RST with ACK.
const RESET: u8 = 0x14;

/// Where the hand is, and the review.
#[derive(Default)]
pub(super) struct Sweep {
    hand: FlowId,
    next: Now,
    review: Option<Review>,
    /// Backends whose flows are to end.
    condemned: BTreeSet<(Vni, IpAddr)>,
    /// Backends that are about to go.
    parting: BTreeSet<(Vni, IpAddr)>,
    out: Vec<Notice>,
}

struct Review {
    at: FlowId,
    next: Now,
    /// Something has changed since it began.
    again: bool,
}

/// A frame that does not answer the one at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// On which network.
    pub vni: Vni,
    /// To whom.
    pub target: Target,
    /// Complete.
    pub frame: Vec<u8>,
}

impl Balancer {
    /// Looks whether backends have changed, or containers gone; if so, every flow is
    /// looked at, some with each [tick](Balancer::tick).
    pub fn replan(&mut self, plan: &Plan) {
        let mut changed = false;
        self.services.retain(|(vni, ip), service| {
            let vip = plan.network(*vni).and_then(|network| network.vip(*ip));
            let version = vip.map_or(0, |vip| vip.version);
            changed |= version != service.version;
            service.version = version;
            // Also one that is yet to come back.
            vip.is_some() || self.grace.is_some()
        });
        if changed || self.flows.ports().any(|port| plan.port(port).is_none()) {
            self.review();
        }
    }

    /// What becomes of a flow, as the plan is now. `again`: its client asks for the
    /// connection anew.
    pub(super) fn judge(
        &self,
        network: Option<&Network>,
        flow: &Flow,
        now: Now,
        again: bool,
    ) -> Judgement {
        let vip = network.and_then(|network| network.vip(flow.vip()));
        let there = network.is_some_and(|network| network.station(flow.backend()).is_some());
        let backend = vip.filter(|_| there).and_then(|vip| vip.backend(flow.backend()));
        let connection = matches!(flow.protocol, protocol::TCP | protocol::SCTP);
        let unanswered = flow.phase == Phase::Opening;
        match (vip, backend) {
            (_, None) if flow.version == 0 && self.grace.is_some_and(|end| now < end) => {
                Judgement::Wait
            }
            (Some(vip), None) if unanswered && !vip.is_down() => Judgement::Anew,
            (_, None) if flow.is_tcp() && flow.phase != Phase::Closed => Judgement::Reset,
            (_, None) => Judgement::Anew,
            (_, Some(b)) if b.standing == Standing::Unhealthy && !connection => Judgement::Anew,
            (_, Some(b)) if again && unanswered && !b.is_usable() => Judgement::Anew,
            // Asked again, until there is an answer, whether its client asks again.
            (Some(_), Some(b)) if unanswered && !b.is_usable() => Judgement::Keep(flow.version),
            (Some(vip), Some(_)) => Judgement::Keep(vip.version),
            (None, Some(_)) => Judgement::Anew, // a backend is one of a virtual IP
        }
    }

    /// When [`Balancer::tick`] wants to be called.
    pub fn due(&self) -> Option<Now> {
        let review = self.sweep.review.as_ref().map(|review| review.next);
        let hand = (self.flows.len() > 0).then_some(self.sweep.next);
        [review, hand, self.grace].into_iter().flatten().min()
    }

    /// Does what is due. What it has to say is in [`Balancer::notices`].
    pub fn tick(&mut self, plan: &Plan, now: Now) {
        if self.grace.is_some_and(|end| end <= now) {
            self.grace = None;
            self.review();
        }
        if self.sweep.next <= now {
            self.advance(now);
        }
        if self.sweep.review.as_ref().is_some_and(|review| review.next <= now) {
            self.go_on(plan, now);
        }
    }

    /// Frames to be sent since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.sweep.out)
    }

    /// Breaks off all flows to these backends.
    pub fn condemn(&mut self, vni: Vni, backends: &[IpAddr]) {
        self.sweep.condemned.extend(backends.iter().map(|ip| (vni, *ip)));
        self.review();
    }

    /// Forgets flows to these backends, which are about to go, that have no end of their
    /// own, and that nobody has used for a moment.
    pub fn part(&mut self, vni: Vni, backends: &[IpAddr]) {
        self.sweep.parting.extend(backends.iter().map(|ip| (vni, *ip)));
        self.review();
    }

    /// Looks at every flow from now on.
    pub(super) fn review(&mut self) {
        match &mut self.sweep.review {
            Some(review) => review.again = true,
            None => self.sweep.review = Some(Review { at: 0, next: Now::ZERO, again: false }),
        }
    }

    /// The hand's next step.
    fn advance(&mut self, now: Now) {
        let end = self.flows.end();
        let from = if self.sweep.hand < end { self.sweep.hand } else { 0 };
        let to = from.saturating_add(STEP).min(end);
        let mut at = from;
        while let Some(id) = self.flows.next_from(at, to) {
            if self.flows.get(id).is_some_and(|flow| flow.is_expired(now)) {
                self.expire(id);
            }
            at = id + 1;
        }
        self.sweep.hand = to;
        self.sweep.next = now + ROUND / end.div_ceil(STEP).max(1);
    }

    /// Some of the review.
    fn go_on(&mut self, plan: &Plan, now: Now) {
        let Some(mut review) = self.sweep.review.take() else { return };
        let end = self.flows.end();
        let to = review.at.saturating_add(REVIEW).min(end);
        let before = self.sweep.out.len();
        while let Some(id) = self.flows.next_from(review.at, to)
            && self.sweep.out.len() < before + RESETS
        {
            self.look_at(plan, id, now);
            review.at = id + 1;
        }
        if self.sweep.out.len() < before + RESETS {
            review.at = to;
        }
        review.next = now + PAUSE;
        if review.at < end {
            self.sweep.review = Some(review);
        } else if review.again {
            self.sweep.review = Some(Review { at: 0, next: now + PAUSE, again: false });
        } else {
            self.sweep.condemned.clear();
            self.sweep.parting.clear();
        }
    }

    fn look_at(&mut self, plan: &Plan, id: FlowId, now: Now) {
        let Some(flow) = self.flows.get(id) else { return };
        if flow.is_expired(now) {
            return self.expire(id);
        }
        let network = plan.network(flow.vni);
        let abandoned = flow.port.is_some_and(|port| {
            let client = network.and_then(|network| network.station(flow.client()));
            client.is_none_or(|client| client.target != Target::Port(port))
        });
        if abandoned {
            self.flows.remove(id);
            return;
        }
        if self.sweep.condemned.contains(&(flow.vni, flow.backend())) {
            match network.filter(|_| flow.is_tcp() && flow.phase != Phase::Closed) {
                Some(network) => self.break_off(network, id),
                None => drop(self.flows.remove(id)),
            }
            return;
        }
        let endless = !matches!(flow.protocol, protocol::TCP | protocol::SCTP);
        if endless
            && flow.age(now) >= QUIET
            && self.sweep.parting.contains(&(flow.vni, flow.backend()))
        {
            self.flows.remove(id);
            return;
        }
        match (self.judge(network, flow, now, false), network) {
            (Judgement::Keep(version), network) => {
                let station = network.and_then(|network| network.station(flow.backend()));
                self.flows.confirm(id, version, station.copied(), None);
            }
            (Judgement::Wait, _) => {}
            (Judgement::Reset, Some(network)) => self.break_off(network, id),
            (Judgement::Reset | Judgement::Anew, _) => drop(self.flows.remove(id)),
        }
    }

    /// Ends a connection: both sides get a reset, as if from each other.
    pub(super) fn break_off(&mut self, network: &Network, id: FlowId) {
        let Some(flow) = self.flows.remove(id) else { return };
        self.flows.stats.reset += 1;
        let client = network.station(flow.client()).copied();
        let backend = network.station(flow.backend()).copied();
        let (client_port, service_port) = flow.ports();
        let vip = |port| End { mac: network.router_mac, ip: flow.vip(), port };
        if let Some(client) = client {
            let to = End { mac: client.mac, ip: flow.client(), port: client_port };
            let (sequence, acknowledged) = flow.numbers_to_client();
            self.notify(&flow, client.target, (vip(service_port), to), (sequence, acknowledged));
        }
        if let Some(backend) = backend {
            let to = End { mac: backend.mac, ip: flow.backend(), port: service_port };
            let from = match client.filter(|_| !flow.is_hairpin()) {
                Some(client) => End { mac: client.mac, ip: flow.client(), port: client_port },
                None => vip(client_port),
            };
            if flow.is_hairpin() || client.is_some() {
                self.notify(&flow, backend.target, (from, to), flow.numbers_to_backend());
            }
        }
    }

    fn notify(&mut self, flow: &Flow, target: Target, (from, to): (End, End), numbers: (u32, u32)) {
        let mut frame = Vec::new();
        reset::write(&mut frame, from, to, (numbers.0, numbers.1, RESET));
        self.sweep.out.push(Notice { vni: flow.vni, target, frame });
    }
}
