//! Decides about packets: which flow they belong to, which backend it has, and what
//! becomes of flows when backends change.

use std::net::IpAddr;

use super::affinity::Affinity;
use super::choose::Service;
use super::conntrack::{Conntrack, Sender, Stats};
use super::flow::{Phase, Tuple};
use super::fragments::{Fragments, Key};
use super::packet::{Packet, Segment};
use super::slab::FlowId;
use super::sweep::{Judgement, Sweep};
use super::vip::Vip;
use crate::core::Now;
use crate::core::map::{self, Map};
use crate::core::plan::{Network, PortId, Station};
use crate::wire::frame::Piece;
use crate::wire::quote::Quote;
use crate::wire::vxlan::Vni;

/// Flows of one worker.
const FLOWS: usize = 1 << 20;
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

/// The flows of a worker and how they are given backends.
pub struct Balancer {
    pub(super) flows: Conntrack,
    fragments: Fragments<Treatment>,
    pub(super) affinity: Affinity,
    pub(super) services: Map<(Vni, IpAddr), Service>,
    pub(super) seed: u64,
    /// After a restart.
    pub(super) grace: Option<Now>,
    pub(super) sweep: Sweep,
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
            sweep: Sweep::default(),
        }
    }

    /// Whether replies on this network may be those of a flow.
    #[inline]
    pub fn is_busy(&self, network: &Network) -> bool {
        self.flows.len() > 0 && (network.has_vips() || self.grace.is_some())
    }

    /// What became of flows.
    pub fn stats(&self) -> Stats {
        Stats { active: self.flows.len() as u64, ..self.flows.stats }
    }

    /// Flows to any of these backends that are not closed.
    pub fn live(&self, vni: Vni, backends: &[IpAddr]) -> u64 {
        backends.iter().map(|ip| u64::from(self.flows.live(vni, *ip))).sum()
    }

    /// A packet from the container at `port` to a virtual IP, which comes with its
    /// version.
    ///
    /// # Errors
    /// Why it goes nowhere.
    pub fn outbound(
        &mut self,
        context: Context,
        (version, vip): (u64, &Vip),
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
        let route = match self.known(context, version, port, &tuple, segment)? {
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
        version: u64,
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
        let mut station = flow.station;
        if flow.version != version || flow.port.is_none() || station.is_none() {
            station = network.station(backend).copied();
            match self.judge(Some(network), flow, now, opens) {
                Judgement::Keep(version) => {
                    self.flows.confirm(id, version, station, Some(port));
                }
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
        Ok(Some(if hairpin { Route::Back(backend) } else { Route::Backend(station, backend) }))
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
