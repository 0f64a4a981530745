use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What to verify of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// With this host only; with all that have endpoints on it if not given.
    pub node: Option<String>,
}

/// What `network verify` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The network.
    pub network: String,
    /// Whether every check with every host passed.
    pub passed: bool,
    /// By host.
    pub peers: Vec<PeerVerification>,
}

/// What was found between this host and another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerVerification {
    /// The other host's name.
    pub node: String,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

/// One thing that must be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What must be so.
    pub name: String,
    /// Whether it is.
    pub passed: bool,
    /// What was seen, in numbers.
    pub found: String,
}
