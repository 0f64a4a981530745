//! The cluster and its nodes.

use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::Session;

/// How to set a cluster up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterInit {
    /// What subnets are taken from that nobody chose; 10.0.0.0/8 if empty.
    pub default_addr_pool: Vec<Ipv4Net>,
    /// The prefix length of such subnets; 24 if not given.
    pub default_addr_pool_mask_length: Option<u8>,
}

/// A cluster to join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterJoin {
    /// From `vxmesh cluster token` on a member.
    pub token: String,
    /// Members, `HOST[:PORT]`; the first that answers is enough.
    pub hosts: Vec<String>,
}

/// The token is not printed.
impl std::fmt::Debug for ClusterJoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterJoin").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// How to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterLeave {
    /// Leave also where no member can take over this host's address ranges; they
    /// stay lost until `vxmesh node rm` on a member.
    pub force: bool,
}

/// What hosts join with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The secret, as text.
    pub token: String,
    /// Where this host can be joined: `HOST:PORT`.
    pub address: SocketAddr,
}

/// The token is not printed.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// 16 hexadecimal digits, the same on every member.
    pub id: String,
    /// What subnets are taken from that nobody chose.
    pub default_addr_pool: Vec<Ipv4Net>,
    /// The prefix length of such subnets.
    pub default_addr_pool_mask_length: u8,
    /// The number of the key that control traffic is sealed with.
    pub key: u32,
    /// Its members, this host first.
    pub nodes: Vec<Node>,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// 64 hexadecimal digits: its verifying key.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it is this host.
    pub this: bool,
    /// How it is.
    pub state: NodeState,
    /// Where it sends VXLAN from and receives it.
    pub vtep: IpAddr,
    /// Where it hears control traffic.
    pub control: SocketAddr,
    /// The version of its program.
    pub version: String,
    /// How many endpoints it holds.
    pub endpoints: usize,
    /// The largest IP packet that was seen to reach it over the underlay, in
    /// bytes; `None` while that is not known.
    pub path_mtu: Option<u16>,
    /// How frames of encrypted networks go there; `None` for this host, and where there
    /// is nothing to say.
    pub seal: Option<Session>,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answers.
    Up,
    /// It has not been heard of since this daemon started.
    Unknown,
    /// It does not answer; its endpoints are hidden.
    Down {
        /// For how long, in seconds.
        seconds: u64,
    },
    /// It is this host, and it was removed from the cluster while it was away.
    Removed {
        /// The name of the node that removed it.
        by: String,
    },
}

/// What to say on a host that was removed, by the node of this name.
pub fn removal_notice(by: &str) -> String {
    format!(
        "this host was removed from the cluster by {by}: run `vxmesh cluster leave` to start afresh"
    )
}

/// The cluster as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// 16 hexadecimal digits.
    pub id: String,
    /// Members, this host among them.
    pub nodes: usize,
    /// Members that are up.
    pub up: usize,
    /// Where this host hears control traffic.
    pub control: SocketAddr,
    /// 0 if this host keeps up with its own timers and probes; at most 8.
    pub health: u8,
    /// The number of the key in use.
    pub key: u32,
    /// Hosts whose tables differed from ours when they were last compared.
    pub differing: Vec<String>,
    /// What others sent and was not taken.
    pub refused: Vec<Refused>,
    /// What can be allocated.
    pub capacity: Vec<Capacity>,
}

/// Things that a peer sent and that were not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Who handed them on: a node's name, or empty for what nobody signed.
    pub node: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// How much of something can still be allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// `vni`, `subnets`, or a network's name and subnet.
    pub space: String,
    /// How many there are.
    pub total: u64,
    /// How many of them are in use.
    pub used: u64,
    /// Who owns what.
    pub shares: Vec<Share>,
}

/// A node's part of a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The node's name.
    pub node: String,
    /// How many it owns.
    pub owned: u64,
    /// How many of these are free.
    pub free: u64,
}
