//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize};

/// A service to create. Everything but the name and a network may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceCreate {
    /// Letters, digits, `_` and `-`, the first and last a letter or digit; at most 63.
    pub name: String,
    /// Names or ids of networks; at least one.
    pub networks: Vec<String>,
    /// What its name stands for.
    pub mode: EndpointMode,
    /// How an endpoint is chosen.
    pub scheduler: Scheduler,
    /// For how many seconds a client keeps its endpoint; 1 to 86,400. `null`: it need not.
    pub affinity: Option<u32>,
    /// How endpoints are tested; `null`: not at all.
    pub health: Option<Health>,
    /// For how many seconds running flows of an endpoint that goes may go on; 10 if not
    /// given.
    pub drain: Option<u32>,
    /// Further names.
    pub aliases: Vec<String>,
    /// Ports that are to be open on every host.
    pub published: Vec<Published>,
}

/// What to change of a service. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceUpdate {
    /// Networks that it joins, by names or ids.
    pub networks_add: Vec<String>,
    /// Networks that it leaves, by names or ids.
    pub networks_rm: Vec<String>,
    /// What its name stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<EndpointMode>,
    /// How an endpoint is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// As in [`ServiceCreate::affinity`]; `null` ends it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub affinity: Option<Option<u32>>,
    /// As in [`ServiceCreate::health`]; `null` ends it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub health: Option<Option<Health>>,
    /// As in [`ServiceCreate::drain`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<u32>,
    /// Names that it is given.
    pub aliases_add: Vec<String>,
    /// Names that it loses.
    pub aliases_rm: Vec<String>,
    /// Ports that are published from now on.
    pub published_add: Vec<Published>,
    /// Ports at the endpoints that are no longer published.
    pub published_rm: Vec<Target>,
    /// Shares of new flows, by the names or ids of its endpoints on whatever host.
    pub weights: BTreeMap<String, u16>,
}

/// A field that may be `null` is told from one that is not there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// What a service's name stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointMode {
    /// A virtual IP on each network and of each of its families.
    #[default]
    Vip,
    /// The addresses of all its endpoints that are well.
    Dnsrr,
}

/// How an endpoint is chosen for a new flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// One after the other, by their weights.
    #[default]
    Rr,
    /// By the flow's hash.
    Maglev,
    /// Whoever has the fewest flows from the client's host.
    LeastConn,
}

/// How endpoints are tested, by their own hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// Milliseconds from one to the next; 100 to 3,600,000.
    #[serde(default = "interval")]
    pub interval_ms: u32,
    /// Milliseconds that one may take; 10 to 60,000.
    #[serde(default = "timeout")]
    pub timeout_ms: u32,
    /// Failures in a row that make an endpoint unhealthy; at least 1.
    #[serde(default = "retries")]
    pub retries: u8,
}

/// From one health check to the next, unless told otherwise, in milliseconds.
pub(crate) fn interval() -> u32 {
    5000
}

/// What a health check may take, unless told otherwise, in milliseconds.
pub(crate) fn timeout() -> u32 {
    2000
}

/// Failures in a row that make an endpoint unhealthy, unless told otherwise.
pub(crate) fn retries() -> u8 {
    3
}

/// What shows that an endpoint is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// It takes a connection at this port.
    Tcp(u16),
    /// It answers a GET with a status from 200 to 399.
    Http {
        /// At this port.
        port: u16,
        /// Of this path.
        path: String,
    },
}

/// A port that is to be open on every host. It is stored and shown; nothing listens yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// On the hosts; `null`: any.
    #[serde(default)]
    pub published: Option<u16>,
    /// At the endpoints.
    pub target: u16,
    /// Of this protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A port at the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its number.
    pub target: u16,
    /// Of this protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// What its name stands for.
    pub mode: EndpointMode,
    /// How an endpoint is chosen.
    pub scheduler: Scheduler,
    /// For how many seconds a client keeps its endpoint.
    pub affinity: Option<u32>,
    /// How endpoints are tested.
    pub health: Option<Health>,
    /// For how many seconds running flows of an endpoint that goes may go on.
    pub drain: u32,
    /// Further names.
    pub aliases: Vec<String>,
    /// Ports that are to be open on every host.
    pub published: Vec<Published>,
    /// The networks that it is on.
    pub networks: Vec<ServiceNetwork>,
    /// How many endpoints take new flows.
    pub ready: usize,
    /// Its endpoints on all hosts, by network and name.
    pub backends: Vec<Backend>,
    /// What needs somebody's attention, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A network that a service is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNetwork {
    /// The network's name.
    pub name: String,
    /// The network's id.
    pub id: String,
    /// The service's virtual IPs there, one for each family; none in mode `dnsrr`.
    pub vips: Vec<IpAddr>,
}

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The endpoint's name.
    pub name: String,
    /// The endpoint's id.
    pub id: String,
    /// The network's name.
    pub network: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The name of the host that holds it.
    pub node: String,
    /// Its share of new flows; 0 is none.
    pub weight: u16,
    /// How it stands.
    pub state: BackendState,
    /// Why it takes no new flows, and what to do: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an endpoint stands behind its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackendState {
    /// It takes new flows, if its weight is not 0.
    Ready,
    /// Its first health check has not ended.
    Starting,
    /// It has failed its health checks.
    Unhealthy,
    /// It is about to be detached.
    Draining,
    /// Its host does not answer.
    Away,
    /// The service is not on its network.
    OffNetwork,
}

impl BackendState {
    /// As the tables show it.
    pub fn name(self) -> &'static str {
        match self {
            BackendState::Ready => "ready",
            BackendState::Starting => "starting",
            BackendState::Unhealthy => "unhealthy",
            BackendState::Draining => "draining",
            BackendState::Away => "host away",
            BackendState::OffNetwork => "off network",
        }
    }
}

/// The service of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The service's name.
    pub name: String,
    /// The service's id.
    pub id: String,
    /// The endpoint's share of new flows; 0 is none.
    pub weight: u16,
    /// How it stands.
    pub state: BackendState,
}
