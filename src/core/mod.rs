//! State machines without I/O: `(now, input) -> outputs`.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or asks the
//! system for randomness. Time comes in as [`Now`], random bytes as arguments,
//! and every map that is iterated has a fixed order, so that a simulator can
//! run exactly this code.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`plan`] | the immutable snapshot that the control side hands to the data plane |
//! | [`balance`] | services: which backend a flow goes to, and how its packets are rewritten |
//! | [`switch`] | where a frame goes: guard, ARP/ND, FDB, routing between subnets |
//! | [`cluster`] | who belongs and is alive, what hosts tell each other, who allocates what |
//! | [`seal`] | sessions with other hosts: handshakes, keys, sealed frames, replay |
//! | [`pmtu`] | how large a packet reaches each peer |
//! | [`ledger`] | what crossed this host's border on an encrypted network |
//! | [`envelope`] | nothing: it writes the frames that a host sends itself |
//! | [`drops`] | every reason for which a frame is dropped |
//! | [`tables`] | networks and endpoints: what may be created, and the plan that follows |
//! | [`names`] | what DNS answers in a container, and which resolver is asked for the rest |
//! | [`health`] | when backends of services are tested, and what follows from it |
//! | [`ipam`] | which address is free |
//! | [`window`] | which counters have been seen: against replay |

pub mod balance;
pub mod cluster;
pub mod drops;
pub mod envelope;
pub mod health;
pub mod ipam;
pub mod ledger;
pub mod map;
pub mod names;
pub mod plan;
pub mod pmtu;
pub mod seal;
pub mod switch;
pub mod tables;
pub mod window;

/// Monotonic time since an arbitrary start, the same for all calls to one
/// state machine.
pub type Now = std::time::Duration;
