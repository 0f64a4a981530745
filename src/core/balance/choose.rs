//! New flows: which backend they are given.

use std::net::IpAddr;

use super::balancer::{Balancer, Context, Refusal, Route};
use super::conntrack::{Full, Sender};
use super::flow::{Flow, Opening, Phase};
use super::packet::Segment;
use super::schedule::{mix, stir};
use super::vip::{Backend, Scheduler, Vip};
use crate::core::Now;
use crate::core::plan::{PortId, Station, Target};

/// Backends that are asked for a flow before it is given up.
const TRIES: usize = 256;

/// What is known of a virtual IP that has had flows.
pub(super) struct Service {
    pub(super) version: u64,
    /// Whose turn is next.
    pub(super) turn: u64,
}

struct Chosen {
    flow: Flow,
    station: Station,
    ip: IpAddr,
    hairpin: bool,
}

impl Balancer {
    /// A new flow.
    pub(super) fn open(
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
        let (first, place) = self.place(vip, opening, now);
        let others = vip.around(place).take(TRIES).map(|b| b.ip);
        for ip in first.into_iter().chain(others) {
            if last.replace(ip) == Some(ip) {
                continue;
            }
            let Some(station) = network.station(ip).copied() else { continue };
            let hairpin = opening.port.is_some_and(|port| station.target == Target::Port(port));
            let mut flow = Flow::new(opening, ip, hairpin, vip.version, now);
            flow.station = Some(station);
            if self.is_free(&flow, now) {
                self.make_way(&flow);
                return Ok(Chosen { flow, station, ip, hairpin });
            }
            clash = true;
        }
        Err(if clash { Refusal::Clash } else { Refusal::NoBackend(segment.copied()) })
    }

    /// Whether no packet could be of this flow and of another that goes on.
    pub(super) fn is_free(&self, flow: &Flow, now: Now) -> bool {
        let over = |flow: &Flow| flow.phase == Phase::Closed || flow.is_expired(now);
        let free = |tuple| {
            let other = self.flows.find(&tuple).and_then(|(id, _)| self.flows.get(id));
            other.is_none_or(over)
        };
        flow.forward() != flow.reply() && free(flow.forward()) && free(flow.reply())
    }

    /// Forgets the flows whose packets could be of this one.
    pub(super) fn make_way(&mut self, flow: &Flow) {
        for tuple in [flow.forward(), flow.reply()] {
            if let Some((id, _)) = self.flows.find(&tuple) {
                self.expire(id);
            }
        }
    }

    /// The backend that should be asked first, if it is not the next in the table, and
    /// the place in the table from which on the others are asked.
    fn place(&mut self, vip: &Vip, opening: &Opening, now: Now) -> (Option<IpAddr>, u64) {
        let Opening { vni, client, ports, protocol, .. } = *opening;
        let seed = mix(self.seed ^ u64::from(vni.get()));
        let service = self
            .services
            .entry((vni, vip.ip))
            .or_insert(Service { version: vip.version, turn: stir(seed, vip.ip) });
        if vip.scheduler == Scheduler::Maglev {
            // All hosts agree on a client's, or a flow's, place.
            let flow = u64::from(ports.0) << 32 | u64::from(ports.1) << 8 | u64::from(protocol);
            let flow = if vip.affinity.is_some() { 0 } else { flow };
            return (None, mix(stir(0, client) ^ flow));
        }
        service.turn = service.turn.wrapping_add(1);
        let place = service.turn;
        let own = vip.affinity.and_then(|_| self.affinity.find(&(vni, vip.ip, client), now));
        let own = own.filter(|ip| vip.backend(*ip).is_some_and(Backend::is_usable));
        if own.is_some() || vip.scheduler != Scheduler::LeastConn {
            return (own, place);
        }
        // Of those with equally few flows, the next in turn.
        let load = |b: &Backend| u64::from(self.flows.live(vni, b.ip)) + 1;
        let less = |a: &&Backend, b: &&Backend| {
            (load(a) * u64::from(b.weight)).cmp(&(load(b) * u64::from(a.weight)))
        };
        (vip.around(place).min_by(less).map(|b| b.ip), place)
    }
}
