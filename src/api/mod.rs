//! What travels between the daemon and its clients: HTTP/1.1 and JSON over a
//! unix socket (`/run/vxmesh/vxmesh.sock`). The command line uses nothing else,
//! and any HTTP client can do the same:
//!
//! ```text
//! curl --unix-socket /run/vxmesh/vxmesh.sock http://vxmesh/v1/status
//! ```
//!
//! | method and path | request | answer |
//! | --- | --- | --- |
//! | GET /v1/status | – | [`Status`] |
//! | GET /v1/networks | – | list of [`Network`] |
//! | POST /v1/networks | [`NetworkCreate`] | 201, [`Network`] |
//! | GET /v1/networks/{network} | – | [`Network`] |
//! | DELETE /v1/networks/{network} | – | 204 |
//! | POST /v1/networks/prune | – | [`Pruned`] |
//! | POST /v1/networks/{network}/verify | [`Verify`] | [`Verification`] |
//! | GET /v1/networks/{network}/vteps | – | list of addresses |
//! | PUT, DELETE /v1/networks/{network}/vteps/{ip} | – | 204 |
//! | GET /v1/endpoints?network={network} | – | list of [`Endpoint`] |
//! | POST /v1/endpoints | [`Attach`] | 201, [`Endpoint`] |
//! | GET /v1/endpoints/{endpoint} | – | [`Endpoint`] |
//! | DELETE /v1/endpoints/{endpoint}?drain={seconds} | – | 204 |
//! | GET /v1/services | – | list of [`Service`] |
//! | POST /v1/services | [`ServiceCreate`] | 201, [`Service`] |
//! | GET /v1/services/{service} | – | [`Service`] |
//! | POST /v1/services/{service}/update | [`ServiceUpdate`] | [`Service`] |
//! | DELETE /v1/services/{service} | – | 204 |
//! | GET /v1/cluster | – | [`Cluster`] |
//! | POST /v1/cluster/init | [`ClusterInit`] | [`Cluster`] |
//! | GET /v1/cluster/token | – | [`Token`] |
//! | POST /v1/cluster/token/rotate | – | [`Token`] |
//! | POST /v1/cluster/key/rotate | – | [`Cluster`] |
//! | POST /v1/cluster/join | [`ClusterJoin`] | [`Cluster`] |
//! | POST /v1/cluster/leave | [`ClusterLeave`] | 204 |
//! | GET /v1/nodes | – | list of [`Node`] |
//! | GET /v1/nodes/{node} | – | [`Node`] |
//! | DELETE /v1/nodes/{node} | – | 204; several, divided by commas, are removed together |
//!
//! `{network}`, `{endpoint}`, `{service}` and `{node}` are a name, an id, or a prefix of an id that
//! fits one object only. An error has a 4xx or 5xx status and an [`Error`] as
//! its body. Fields that are not known are refused.

mod cluster;
mod encrypted;
mod service;
mod verify;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use cluster::{
    Capacity, Cluster, ClusterInit, ClusterJoin, ClusterLeave, ClusterState, Node, NodeState,
    Refused, Share, Token, removal_notice,
};
pub use encrypted::{Cipher, Encrypted, EncryptedNetwork, Session, Unreachable};

pub use service::{
    Backend, BackendState, EndpointMode, Health, Membership, Probe, Protocol, Published, Scheduler,
    Service, ServiceCreate, ServiceNetwork, ServiceUpdate, Target,
};
pub(crate) use service::{interval, retries, timeout};
pub use verify::{Check, PeerVerification, Verification, Verify};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/vxmesh/vxmesh.sock";

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// One sentence: what is wrong, and what to do.
    pub message: String,
}

/// A network to create. Everything but the name may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkCreate {
    /// Letters, digits, `_`, `.` and `-`, the first a letter or digit; at most 63.
    pub name: String,
    /// An IPv4 /24 of the default pool is taken if empty.
    pub subnets: Vec<IpNet>,
    /// The router's address in each subnet; the first of the subnet if not given.
    pub gateways: Vec<IpAddr>,
    /// Hand out addresses from this part of a subnet only.
    pub ip_range: Option<IpNet>,
    /// From 4096 upwards if not given.
    pub vni: Option<Vni>,
    /// What the underlay leaves if not given.
    pub mtu: Option<u16>,
    /// Containers get no default route.
    pub internal: bool,
    /// `encrypted=true|false`, `multicast=true|false` and Docker's
    /// `com.docker.network.driver.mtu`. An empty value means `true`.
    pub options: BTreeMap<String, String>,
    /// Free text for the user.
    pub labels: BTreeMap<String, String>,
}

/// A network, in the shape of `docker network inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// Always `swarm`: it reaches across hosts.
    pub scope: String,
    /// Always `vxmesh`.
    pub driver: String,
    /// Whether it has an IPv6 subnet.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Address management.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether containers get no default route.
    pub internal: bool,
    /// Its VNI on the wire.
    #[serde(rename = "VNI")]
    pub vni: Vni,
    /// The largest IP packet inside.
    #[serde(rename = "MTU")]
    pub mtu: u16,
    /// Local endpoints by id.
    pub containers: BTreeMap<String, Container>,
    /// As given at creation.
    pub options: BTreeMap<String, String>,
    /// As given at creation.
    pub labels: BTreeMap<String, String>,
    /// The hosts that hold endpoints of this network, and its foreign VTEPs.
    pub peers: Vec<Peer>,
}

/// Address management of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// Always `default`.
    pub driver: String,
    /// One for each subnet.
    pub config: Vec<IpamConfig>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct IpamConfig {
    /// The subnet.
    pub subnet: IpNet,
    /// The part of it that addresses are handed out from, if limited.
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none", default)]
    pub ip_range: Option<IpNet>,
    /// The router's address.
    pub gateway: IpAddr,
}

/// A local endpoint, as Docker shows it inside a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// The endpoint's name.
    pub name: String,
    /// The endpoint's id.
    #[serde(rename = "EndpointID")]
    pub endpoint_id: String,
    /// Its MAC.
    pub mac_address: Mac,
    /// With prefix length; empty if none.
    #[serde(rename = "IPv4Address")]
    pub ipv4_address: String,
    /// With prefix length; empty if none.
    #[serde(rename = "IPv6Address")]
    pub ipv6_address: String,
}

/// A VTEP of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Peer {
    /// The node's name; for a VTEP named by hand, its address.
    pub name: String,
    /// Its underlay address.
    #[serde(rename = "IP")]
    pub ip: IpAddr,
}

/// Networks that were removed because nothing was on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Their names.
    pub networks: Vec<String>,
}

/// Where a container's interface goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// A network namespace: a name under /run/netns, or an absolute path.
    Netns(String),
    /// The network namespace of a process.
    Pid(u32),
    /// A TAP of this name left on the host, for a VM.
    Tap(String),
}

/// A container interface to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Name or id of the network.
    pub network: String,
    /// Where the interface goes.
    pub sandbox: Sandbox,
    /// The endpoint's name; made from the sandbox's name if not given.
    #[serde(default)]
    pub name: Option<String>,
    /// The interface's name inside; `eth0` if not given.
    #[serde(default)]
    pub ifname: Option<String>,
    /// At most one address for each subnet. For each family (IPv4, IPv6) of
    /// the network without one here, the lowest free one of its first subnet
    /// that has room.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// 02:42 and the last four bytes of its first address (IPv4 before IPv6)
    /// if not given.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// Further names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The service that it belongs to, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its share of the service's new flows; 1 if not given, 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The sandbox's resolv.conf, an absolute path, to be written so that names are
    /// asked for at 127.0.0.11; put back at detach. `/etc/netns/NAME/resolv.conf` if
    /// not given and the sandbox is named so and that directory exists.
    #[serde(default)]
    pub resolv_conf: Option<String>,
}

/// A container interface on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its addresses with the subnets' prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The gateway for each of its addresses; empty on internal networks.
    pub gateways: Vec<IpAddr>,
    /// Further names.
    pub aliases: Vec<String>,
    /// RFC 3339, UTC.
    pub created: String,
    /// The service that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Membership>,
    /// Who holds it.
    pub holder: Holder,
    /// What needs somebody's attention, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Who holds an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// This host.
    Local {
        /// Where its interface is.
        sandbox: Sandbox,
        /// The interface's name there.
        ifname: String,
        /// How its TAP works: `fast`, or `plain` with the reason in [`Status::offload`].
        tap: String,
    },
    /// Another host.
    Remote {
        /// The VTEP of that host.
        vtep: IpAddr,
        /// That host's name.
        node: String,
    },
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The node's name.
    pub name: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// Where its state is.
    pub data_dir: String,
    /// The underlay.
    pub underlay: Underlay,
    /// The fast paths, and why one is not taken.
    pub offload: Vec<OffloadState>,
    /// The cluster as this host sees it.
    pub cluster: ClusterState,
    /// Encrypted networks, and the sessions with other hosts.
    pub encrypted: Encrypted,
    /// How many networks there are.
    pub networks: usize,
    /// How many services there are.
    pub services: usize,
    /// How many endpoints this host holds.
    pub endpoints: usize,
    /// How many endpoints others hold.
    pub remote_endpoints: usize,
    /// What went through, by name; see [`crate::dataplane::counters`].
    pub counters: BTreeMap<String, u64>,
    /// What was dropped, by reason; only reasons that have occurred.
    pub drops: Vec<Drop>,
    /// What needs somebody's attention, a sentence each.
    pub warnings: Vec<String>,
}

/// The underlay of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underlay {
    /// This host's VTEP.
    pub vtep: IpAddr,
    /// The interface that has it.
    pub interface: String,
    /// That interface's MTU.
    pub mtu: u16,
    /// The VXLAN port.
    pub port: u16,
}

/// One of the fast paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffloadState {
    /// `tap`, `udp-gso` or `udp-gro`.
    pub name: String,
    /// Whether it is in use.
    pub active: bool,
    /// Why not, or what is missing; empty if all is well.
    pub reason: String,
}

/// Frames dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The reason's name.
    pub reason: String,
    /// How many frames.
    pub frames: u64,
    /// What the reason means.
    pub explanation: String,
}
