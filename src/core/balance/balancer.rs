//! Decides about packets: which flow they belong to, which backend it has, and what
//! becomes of flows when backends change.

use std::net::IpAddr;
use std::time::Duration;

use super::affinity::Affinity;
use super::conntrack::{Conntrack, Full, Sender, Stats};
use super::flow::{Flow, Opening, Phase, Tuple};
use super::fragments::{Fragments, Key};
use super::packet::{Packet, Segment};
use super::saved;
use super::schedule::{mix, stir};
use super::slab::FlowId;
use super::vip::{Backend, Scheduler, Standing, Vip};
use crate::core::Now;
use crate::core::map::{self, Map};
use crate::core::plan::{Network, Plan, PortId, Station, Target};
use crate::wire::frame::{Piece, protocol};
use crate::wire::quote::Quote;
use crate::wire::vxlan::Vni;

/// Flows of one worker.
const FLOWS: usize = 1 << 20;
/// How long the plan may take to be whole again after a restart. Until then flows
/// that were taken over keep backends that it does not know yet.
const GRACE: Duration = Duration::from_secs(60);
/// Seconds without a datagram after which a flow need not be finished by a backend that
/// is about to go.
const QUIET: u32 = 3;
/// Backends that are asked for a flow before it is given up.
const TRIES: usize = 256;

/// Where a packet to a virtual IP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this backend.
    Backend(Station, IpAddr),
    /// Back to the container that sent it, from the virtual IP to this address: the
    /// container calls itself.
    Back(IpAddr),
}

/// Why a packet to a virtual IP goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its transport header is cut short.
    Short,
    /// It is of a transport that is not balanced.
    Transport,
    /// It is from or to port 0.
    PortZero,
    /// It is a segment of no connection.
    NoFlow(Segment),
    /// There is no backend for it.
    NoBackend(Option<Segment>),
    /// Its connection had a backend that is gone.
    BackendGone,
    /// It is a fragment, and the first of its packet was not seen.
    LostFragment,
    /// With every backend its replies could not be told from those of another flow.
    Clash,
    /// There is no room.
    Full,
}

/// A packet's circumstances.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Its network.
    pub network: &'a Network,
    /// When it is.
    pub now: Now,
    /// Its source and destination.
    pub addresses: (IpAddr, IpAddr),
    /// Its transport.
    pub protocol: u8,
}

/// What was decided for a packet's first fragment.
#[derive(Clone, Copy)]
enum Treatment {
    Out(IpAddr, bool),
    In(IpAddr),
}

/// What is known of a virtual IP that has had flows.
struct Service {
    version: u64,
    /// Whose turn is next.
    turn: u64,
}

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

/// The flows of a worker and how they are given backends.
pub struct Balancer {
    pub(super) flows: Conntrack,
    fragments: Fragments<Treatment>,
    affinity: Affinity,
    services: Map<(Vni, IpAddr), Service>,
    seed: u64,
    /// After a restart.
    pub(super) grace: Option<Now>,
    pub(super) sweep: super::sweep::Sweep,
}

impl Balancer {
    /// One without flows. `seed` keys its look-ups.
    pub fn new(seed: u64) -> Balancer {
        Balancer::with_limit(seed, FLOWS)
    }

    /// One that holds at most `limit` flows.
    pub fn with_limit(seed: u64, limit: usize) -> Balancer {
        Balancer {
            flows: Conntrack::new(seed, limit),
            fragments: Fragments::new(seed),
            affinity: Affinity::new(seed),
            services: map::map(seed),
            seed,
            grace: None,
            sweep: Default::default(),
        }
    }

    /// Whether replies on this network may be those of a flow.
    pub fn is_busy(&self, network: &Network) -> bool {
        (network.has_vips() || self.grace.is_some()) && self.flows.len() > 0
    }

    /// What became of flows.
    pub fn stats(&self) -> Stats {
        Stats { active: self.flows.len() as u64, ..self.flows.stats }
    }

    /// Flows to any of these backends that are not closed.
    pub fn live(&self, vni: Vni, backends: &[IpAddr]) -> u64 {
        backends.iter().map(|ip| u64::from(self.flows.live(vni, *ip))).sum()
    }

    /// A packet from the container at `port` to a virtual IP.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn outbound(
        &mut self,
        context: Context,
        vip: &Vip,
        port: PortId,
        packet: &Packet,
    ) -> Result<Route, Refusal> {
        let (ports, segment, piece) = match packet {
            Packet::Headed { ports, segment, piece } => (*ports, segment.as_ref(), *piece),
            Packet::Later(piece) => return self.later_out(context, *piece),
            Packet::Short => return Err(Refusal::Short),
            Packet::Other => return Err(Refusal::Transport),
        };
        if ports.0 == 0 || ports.1 == 0 {
            return Err(Refusal::PortZero);
        }
        let Context { network, protocol, addresses, .. } = context;
        let tuple = Tuple::new(network.vni, protocol, addresses, ports);
        let route = match self.known(context, vip, port, &tuple, segment)? {
            Some(route) => route,
            None => self.open(context, vip, port, ports, segment)?,
        };
        if let Some(piece) = piece {
            let treatment = match route {
                Route::Backend(_, ip) => Treatment::Out(ip, false),
                Route::Back(ip) => Treatment::Out(ip, true),
            };
            self.fragments.note(addresses.0, context.key(piece), treatment, context.now);
        }
        Ok(route)
    }

    /// The way of a packet whose flow is known, and may go on.
    fn known(
        &mut self,
        context: Context,
        vip: &Vip,
        port: PortId,
        tuple: &Tuple,
        segment: Option<&Segment>,
    ) -> Result<Option<Route>, Refusal> {
        let Context { network, now, .. } = context;
        let Some((id, sender)) = self.flows.find(tuple) else { return Ok(None) };
        let Some(flow) = self.flows.get(id) else { return Ok(None) };
        if flow.is_expired(now) {
            self.expire(id);
            return Ok(None);
        }
        if sender == Sender::Backend {
            let client = flow.client();
            self.flows.see(id, sender, segment, now);
            return Ok(Some(Route::Back(client)));
        }
        let opens = segment.is_some_and(Segment::opens);
        if opens && flow.phase == Phase::Closed {
            self.flows.remove(id);
            return Ok(None);
        }
        let (backend, hairpin) = (flow.backend(), flow.is_hairpin());
        let station = network.station(backend);
        if flow.version != vip.version || flow.port.is_none() || station.is_none() {
            match self.judge(Some(network), flow, now, opens) {
                Judgement::Keep(version) => self.flows.confirm(id, version, Some(port)),
                Judgement::Wait => return Err(Refusal::BackendGone),
                Judgement::Anew => {
                    self.flows.remove(id);
                    return Ok(None);
                }
                Judgement::Reset => {
                    self.break_off(network, id);
                    return Err(Refusal::BackendGone);
                }
            }
        }
        let Some(station) = station else { return Err(Refusal::BackendGone) };
        self.flows.see(id, sender, segment, now);
        Ok(Some(if hairpin { Route::Back(backend) } else { Route::Backend(*station, backend) }))
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
            // Nobody says of datagrams that they were the last ones.
            (_, Some(b))
                if b.standing == Standing::Draining && !connection && flow.age(now) >= QUIET =>
            {
                Judgement::Anew
            }
            (_, Some(b)) if again && unanswered && !b.is_usable() => Judgement::Anew,
            // Asked again, until there is an answer, whether its client asks again.
            (Some(_), Some(b)) if unanswered && !b.is_usable() => Judgement::Keep(flow.version),
            (Some(vip), Some(_)) => Judgement::Keep(vip.version),
            (None, Some(_)) => Judgement::Anew, // a backend is one of a virtual IP
        }
    }

    /// A new flow.
    fn open(
        &mut self,
        context: Context,
        vip: &Vip,
        port: PortId,
        ports: (u16, u16),
        segment: Option<&Segment>,
    ) -> Result<Route, Refusal> {
        let Context { network, now, addresses: (client, _), protocol } = context;
        if let Some(segment) = segment.filter(|segment| !segment.opens()) {
            return Err(Refusal::NoFlow(*segment));
        }
        if vip.is_down() {
            return Err(Refusal::NoBackend(segment.copied()));
        }
        let (vni, port) = (network.vni, Some(port));
        let opening = Opening { vni, port, protocol, client, vip: vip.ip, ports };
        let chosen = self.choose(context, vip, &opening, segment)?;
        let flow = chosen.flow;
        let id = self.flows.insert(flow, now).map_err(|Full| Refusal::Full)?;
        self.flows.see(id, Sender::Client, segment, now);
        if let Some(patience) = vip.affinity {
            self.affinity.note((vni, vip.ip, client), chosen.ip, now, patience);
        }
        Ok(match chosen.hairpin {
            true => Route::Back(chosen.ip),
            false => Route::Backend(chosen.station, chosen.ip),
        })
    }

    /// A backend whose replies can be told from those of all other flows.
    fn choose(
        &mut self,
        context: Context,
        vip: &Vip,
        opening: &Opening,
        segment: Option<&Segment>,
    ) -> Result<Chosen, Refusal> {
        let Context { network, now, .. } = context;
        let mut clash = false;
        let mut last = None;
        for ip in self.candidates(vip, opening, now) {
            if last.replace(ip) == Some(ip) {
                continue;
            }
            let Some(station) = network.station(ip).copied() else { continue };
            let hairpin = opening.port.is_some_and(|port| station.target == Target::Port(port));
            let flow = Flow::new(opening, ip, hairpin, vip.version, now);
            if self.is_free(&flow, now) {
                self.make_way(&flow);
                return Ok(Chosen { flow, station, ip, hairpin });
            }
            clash = true;
        }
        Err(if clash { Refusal::Clash } else { Refusal::NoBackend(segment.copied()) })
    }

    /// Whether no packet could be of this flow and of another that goes on.
    fn is_free(&self, flow: &Flow, now: Now) -> bool {
        let over = |flow: &Flow| flow.phase == Phase::Closed || flow.is_expired(now);
        let free = |tuple| {
            let other = self.flows.find(&tuple).and_then(|(id, _)| self.flows.get(id));
            other.is_none_or(over)
        };
        flow.forward() != flow.reply() && free(flow.forward()) && free(flow.reply())
    }

    /// Forgets the flows whose packets could be of this one.
    fn make_way(&mut self, flow: &Flow) {
        for tuple in [flow.forward(), flow.reply()] {
            if let Some((id, _)) = self.flows.find(&tuple) {
                self.expire(id);
            }
        }
    }

    /// Backends in the order in which they should be tried.
    fn candidates(&mut self, vip: &Vip, opening: &Opening, now: Now) -> Vec<IpAddr> {
        let Opening { vni, client, ports, protocol, .. } = *opening;
        let own = vip.affinity.and_then(|_| self.affinity.find(&(vni, vip.ip, client), now));
        let own = own.filter(|ip| vip.backend(*ip).is_some_and(Backend::is_usable));
        let start = mix(self.seed ^ u64::from(vni.get()));
        let service = self
            .services
            .entry((vni, vip.ip))
            .or_insert(Service { version: vip.version, turn: stir(start, vip.ip) });
        let place = match vip.scheduler {
            // All hosts agree on a client's, or a flow's, place.
            Scheduler::Maglev => {
                let of_client = stir(0, client);
                let of_flow = u64::from(ports.0) << 32 | u64::from(ports.1) << 8;
                let flow = if vip.affinity.is_some() { 0 } else { of_flow | u64::from(protocol) };
                mix(of_client ^ flow)
            }
            _ => {
                service.turn = service.turn.wrapping_add(1);
                service.turn
            }
        };
        let mut order: Vec<IpAddr> = own.into_iter().collect();
        match vip.scheduler {
            Scheduler::LeastConn => {
                // Of those with equally few, the next in turn.
                let load = |b: &Backend| u64::from(self.flows.live(vni, b.ip)) + 1;
                let less = |a: &&Backend, b: &&Backend| {
                    (load(a) * u64::from(b.weight)).cmp(&(load(b) * u64::from(a.weight)))
                };
                order.extend(vip.around(place).min_by(less).map(|b| b.ip));
                order.extend(vip.around(place).take(TRIES).map(|b| b.ip));
            }
            _ => order.extend(vip.around(place).take(TRIES).map(|b| b.ip)),
        }
        order
    }

    /// A packet to a container of this host that may be a reply: the virtual IP that
    /// it is a reply of.
    pub fn inbound(&mut self, context: Context, packet: &Packet) -> Option<IpAddr> {
        let Context { network, now, addresses, protocol } = context;
        let (ports, segment, piece) = match packet {
            Packet::Headed { ports, segment, piece } => (*ports, segment.as_ref(), *piece),
            Packet::Later(piece) => {
                return match self.fragments.find(addresses.1, &context.key(*piece), now)? {
                    Treatment::In(vip) => Some(vip),
                    Treatment::Out(..) => None,
                };
            }
            Packet::Short | Packet::Other => return None,
        };
        let tuple = Tuple::new(network.vni, protocol, addresses, ports);
        let (id, _) = self.flows.find(&tuple).filter(|(_, sender)| *sender == Sender::Backend)?;
        let flow = self.flows.get(id)?;
        let vip = flow.vip();
        if flow.is_expired(now) {
            self.expire(id);
            return None;
        }
        self.flows.see(id, Sender::Backend, segment, now);
        if let Some(piece) = piece {
            self.fragments.note(addresses.1, context.key(piece), Treatment::In(vip), now);
        }
        Some(vip)
    }

    fn later_out(&mut self, context: Context, piece: Piece) -> Result<Route, Refusal> {
        let Context { network, now, addresses: (client, _), .. } = context;
        match self.fragments.find(client, &context.key(piece), now) {
            Some(Treatment::Out(ip, true)) => Ok(Route::Back(ip)),
            Some(Treatment::Out(ip, false)) => {
                let station = network.station(ip).ok_or(Refusal::BackendGone)?;
                Ok(Route::Backend(*station, ip))
            }
            Some(Treatment::In(_)) | None => Err(Refusal::LostFragment),
        }
    }

    /// An ICMP error of a container to a virtual IP: where it goes, if it is about a
    /// packet of a flow.
    pub fn error_out(&self, network: &Network, quote: &Quote) -> Option<Route> {
        let (id, _) = self.flows.find(&answer_to(network.vni, quote))?;
        let flow = self.flows.get(id)?;
        let backend = flow.backend();
        if flow.is_hairpin() {
            // Whichever of the two it is, it was sent by the virtual IP.
            let back = if quote.ports == flow.ports() { flow.client() } else { backend };
            return Some(Route::Back(back));
        }
        Some(Route::Backend(*network.station(backend)?, backend))
    }

    /// The virtual IP to which a container sent the packet that was translated into
    /// the quoted one: of an ICMP error, or of the host's own.
    pub fn error_in(&self, vni: Vni, quote: &Quote) -> Option<IpAddr> {
        let (id, sender) = self.flows.find(&answer_to(vni, quote))?;
        let flow = self.flows.get(id).filter(|_| sender == Sender::Backend)?;
        Some(flow.vip())
    }

    pub(super) fn expire(&mut self, id: FlowId) {
        if self.flows.remove(id).is_some() {
            self.flows.stats.expired += 1;
        }
    }

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

    /// Every flow, for the next daemon.
    pub fn save(&self, now: Now) -> Vec<u8> {
        let mut out = Vec::new();
        let end = self.flows.end();
        let mut at = 0;
        while let Some(id) = self.flows.next_from(at, end) {
            if let Some(flow) = self.flows.get(id).filter(|flow| !flow.is_expired(now)) {
                saved::write(&mut out, &flow.save(now));
            }
            at = id + 1;
        }
        out
    }

    /// Takes over what [`Balancer::save`] gave, `elapsed` ago. How many flows there
    /// are, and whether all could be read.
    pub fn restore(&mut self, bytes: &[u8], elapsed: Duration, now: Now) -> (usize, bool) {
        let (saved, whole) = saved::read(bytes);
        for flow in saved.iter().filter_map(|saved| Flow::restore(saved, elapsed, now)) {
            // Of two that claim the same packets the first stays.
            if self.is_free(&flow, now) {
                self.make_way(&flow);
                let key = (flow.vni, flow.vip());
                let turn = stir(self.seed, key.1);
                self.services.entry(key).or_insert(Service { version: 0, turn });
                let _ = self.flows.insert(flow, now); // those that fit
            }
        }
        if self.flows.len() > 0 {
            self.grace = Some(now + GRACE);
        }
        (self.flows.len(), whole)
    }
}

struct Chosen {
    flow: Flow,
    station: Station,
    ip: IpAddr,
    hairpin: bool,
}

impl Context<'_> {
    fn key(&self, piece: Piece) -> Key {
        let Context { network, addresses: (source, destination), protocol, .. } = *self;
        Key { vni: network.vni, source, destination, protocol, id: piece.id }
    }
}

/// What an answer to the quoted packet looks like.
fn answer_to(vni: Vni, quote: &Quote) -> Tuple {
    let (source, destination) = quote.ports;
    Tuple::new(vni, quote.protocol, (quote.destination, quote.source), (destination, source))
}
