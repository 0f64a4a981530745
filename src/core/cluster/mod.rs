//! The cluster: who belongs to it and is alive, what hosts tell each other, and
//! who may allocate what.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`entry`] | signed entries, the currency of everything here |
//! | [`rpc`] | requests and responses between two hosts |
//! | [`holding`] | ranges of addresses, VNIs and subnets, each owned by one host |
//! | [`replica`] | all entries that a host knows, gossip and anti-entropy |
//! | [`machine`] | everything together: what the daemon and the simulator run |
//! | [`secret`] | identities, the key ring, sealed datagrams, Noise sessions, join tokens |
//! | [`allocate`] | which address, VNI or subnet is next, or whom to ask for more |
//! | [`membership`] | which members are alive, and where they are heard |

pub mod allocate;
pub mod entry;
pub mod holding;
pub mod machine;
pub mod membership;
pub mod replica;
pub mod rpc;
pub mod secret;
