//! The cluster: who belongs to it and is alive, what hosts tell each other, and
//! who may allocate what.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`entry`] | signed entries, the currency of everything here |
//! | [`rpc`] | requests and responses between two hosts |
//! | [`holding`] | ranges of addresses, VNIs and subnets, each owned by one host |
//! | [`secret`] | identities, the key ring, sealed datagrams, Noise sessions, join tokens |
//! | [`membership`] | which members are alive, and where they are heard |

pub mod entry;
pub mod holding;
pub mod membership;
pub mod rpc;
pub mod secret;
