//! The cluster: who belongs to it and is alive, what hosts tell each other, and
//! who may allocate what.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`entry`] | signed entries, the currency of everything here |
//! | [`rpc`] | requests and responses between two hosts |
//! | [`holding`] | ranges of addresses, VNIs and subnets, each owned by one host |
//! | [`allocate`] | which address, VNI or subnet is next, or whom to ask for more |

pub mod allocate;
pub mod entry;
pub mod holding;
pub mod rpc;
