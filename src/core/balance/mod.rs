//! Services in the data path: which backend a flow goes to, and how its packets
//! are rewritten. The source's host decides, so that a client's address is kept.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`vip`] | a virtual IP and its backends, as the plan has them |
//! | schedule | in which order backends take new flows: wheels, Maglev |
//! | packet | ports, TCP's flags and numbers, fragments |
//! | flow | one flow: who, to whom, how far, and for how long |
//! | conntrack, slab | all flows: found by packets of both directions, bounded, fair |
//! | fragments, affinity | what later fragments, and later flows of a client, have to follow |
//! | balancer | decides about packets |
//! | choose | which backend a new flow is given |
//! | sweep | what becomes of flows when backends change, or when their time is up |
//! | [`reset`] | TCP resets |
//! | saved | flows on their way from one daemon to the next |
//!
//! The switch asks for every packet to a virtual IP ([`Balancer::outbound`]) and, where
//! there are flows, for every packet to a container ([`Balancer::inbound`]); it does
//! the rewriting. An established flow costs three look-ups: virtual IP, flow, backend.
//! That its backend is still good is asked only when [`Vip::version`] has changed.
//!
//! Ports stay as they are. So a client that has the same port open to two virtual IPs,
//! or to a virtual IP and a backend itself, must not be sent to the same backend twice:
//! between flows this is seen to; beside a direct connection it is not, since
//! those are not followed.

/// Where the shared test code looks for what it uses.
#[cfg(test)]
mod house {
    pub(super) use crate::{core, wire};
}

mod affinity;
mod balancer;
mod choose;
mod conntrack;
mod flow;
mod fragments;
mod packet;
pub mod reset;
mod saved;
mod schedule;
mod slab;
mod sweep;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod vip;

pub use balancer::{Balancer, Context, Refusal, Route};
pub use conntrack::Stats;
pub use packet::{Packet, Segment};
pub use sweep::Notice;
pub use vip::{Backend, Scheduler, Standing, Vip, VipSpec};
