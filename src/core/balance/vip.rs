//! A virtual IP and its backends: immutable, part of the plan.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule;

/// How a backend is chosen for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheduler {
    /// One after the other, by their weights.
    #[default]
    RoundRobin,
    /// By the flow's hash, so that every host chooses alike and a change moves few
    /// flows (Eisenbud et al., NSDI 2016, section 3.4).
    Maglev,
    /// Whoever has the fewest flows from this host for its weight.
    LeastConn,
}

/// How an endpoint stands behind its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Its first health check has not ended: it takes no flows yet.
    Starting,
    /// It takes flows.
    Ready,
    /// It has failed its health checks: it takes no new flows.
    Unhealthy,
    /// It is about to be detached: it takes no new flows, and keeps those it has.
    Draining,
}

impl Standing {
    /// Whether an endpoint with this share takes new flows.
    pub fn is_usable(self, weight: u16) -> bool {
        self == Standing::Ready && weight > 0
    }
}

/// An address behind a VIP, of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The endpoint's address.
    pub ip: IpAddr,
    /// Its share of new flows beside those of the others; 0 is none.
    pub weight: u16,
    /// Whether it may be used.
    pub standing: Standing,
}

/// What the control side says of a virtual IP.
#[derive(Clone, Debug)]
pub struct VipSpec {
    /// The address.
    pub ip: IpAddr,
    /// See [`Vip::version`]; never 0.
    pub version: u64,
    /// How a backend is chosen.
    pub scheduler: Scheduler,
    /// For how long a client keeps its backend after its last new flow.
    pub affinity: Option<Duration>,
    /// All backends, in any order.
    pub backends: Vec<Backend>,
}

/// A virtual IP of a service on one network, ready for choices.
#[derive(Debug)]
pub struct Vip {
    /// The address.
    pub ip: IpAddr,
    /// Tells it from what it was before a change, and from every other one of this
    /// daemon: who remembers a backend of it asks again when this is another.
    pub version: u64,
    /// How a backend is chosen.
    pub scheduler: Scheduler,
    /// For how long a client keeps its backend after its last new flow.
    pub affinity: Option<Duration>,
    /// All backends, in the order of their addresses, each once.
    pub backends: Vec<Backend>,
    /// Places of those that take new flows: a wheel, or Maglev's table.
    table: Box<[u16]>,
}

impl Backend {
    /// Whether it takes new flows.
    pub fn is_usable(&self) -> bool {
        self.standing.is_usable(self.weight)
    }
}

impl Vip {
    /// Puts the backends in order (the first counts where several have one address)
    /// and makes the scheduler's table. Of more than 65,536 backends the others take no
    /// new flows.
    pub fn new(spec: VipSpec) -> Vip {
        let VipSpec { ip, version, scheduler, affinity, mut backends } = spec;
        backends.sort_by_key(|b| b.ip);
        backends.dedup_by_key(|b| b.ip);
        let usable: Vec<u16> = (0..=u16::MAX)
            .zip(&backends)
            .filter(|(_, b)| b.is_usable())
            .map(|(at, _)| at)
            .collect();
        let table = match scheduler {
            Scheduler::RoundRobin => schedule::wheel(&backends, &usable),
            Scheduler::Maglev => schedule::maglev(ip, &backends, &usable),
            Scheduler::LeastConn => usable.into(),
        };
        Vip { ip, version, scheduler, affinity, backends, table }
    }

    /// Whether no backend takes new flows.
    pub fn is_down(&self) -> bool {
        self.table.is_empty()
    }

    /// The backend with this address.
    pub fn backend(&self, ip: IpAddr) -> Option<&Backend> {
        self.backends.binary_search_by_key(&ip, |b| b.ip).ok().map(|at| &self.backends[at])
    }

    /// Those that take new flows, from a place in the scheduler's table on, once
    /// round; one may come several times.
    pub(super) fn around(&self, place: u64) -> impl Iterator<Item = &Backend> {
        let start = place.checked_rem(self.table.len() as u64).unwrap_or(0) as usize;
        let (before, from) = self.table.split_at(start);
        from.iter().chain(before).map(|at| &self.backends[usize::from(*at)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(scheduler: Scheduler, backends: &[(u8, u16, Standing)]) -> Vip {
        let backend = |&(n, weight, standing): &(u8, u16, Standing)| Backend {
            ip: IpAddr::from([10, 0, 0, n]),
            weight,
            standing,
        };
        let backends = backends.iter().map(backend).collect();
        let ip = IpAddr::from([10, 0, 0, 99]);
        Vip::new(VipSpec { ip, version: 1, scheduler, affinity: None, backends })
    }

    #[test]
    fn only_ready_backends_with_a_weight_are_chosen() {
        use Standing::{Draining, Ready, Starting, Unhealthy};
        let all = [
            (7, 1, Ready),
            (1, 1, Starting),
            (2, 0, Ready),
            (5, 3, Ready),
            (3, 1, Unhealthy),
            (4, 1, Draining),
            (7, 9, Unhealthy),
        ];
        for scheduler in [Scheduler::RoundRobin, Scheduler::Maglev, Scheduler::LeastConn] {
            let some = vip(scheduler, &all);
            assert!(!some.is_down() && some.backends.is_sorted_by_key(|b| b.ip));
            let mut chosen: Vec<IpAddr> = some.around(u64::MAX).map(|b| b.ip).collect();
            chosen.sort();
            chosen.dedup();
            assert_eq!(chosen, [5, 7].map(|n| IpAddr::from([10, 0, 0, n])), "{scheduler:?}");
            assert_eq!(some.backend([10, 0, 0, 7].into()).map(|b| b.weight), Some(1));
            assert_eq!(some.backend([10, 0, 0, 8].into()), None);
            let none = vip(scheduler, &all[1..3]);
            assert!(none.is_down() && none.around(3).next().is_none());
        }
    }
}
