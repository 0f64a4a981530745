//! What is measured, on which lanes, and how good it shall be.

use anyhow::bail;
use serde::Serialize;

use super::lanes::Kind::{
    self, Bridge, Veth, Vxlan, Vxmesh, VxmeshAes, VxmeshChacha, VxmeshCutOff, VxmeshIdle,
    VxmeshLocal, VxmeshPlain, VxmeshVip,
};
use super::lanes::Wire::{self, Segmenting, Whole};
use super::load::tcp::Crowd;
use super::load::udp::Shape;

/// A line of the result.
#[derive(Debug)]
pub struct Row {
    /// What `--row` selects it by.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// How much the values are divided by before people see them: 1000 for "k…".
    pub(super) scale: f64,
    pub(super) load: Load,
    pub(super) wire: Wire,
    /// In the order in which they are measured in each round.
    pub(super) kinds: &'static [Kind],
    pub(super) target: Target,
}

/// What is done on a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// Gbit/s over so many TCP streams.
    Bulk(Crowd),
    /// Datagrams a second.
    Datagrams(Shape),
    /// Requests a second over TCP.
    EchoTcp,
    /// Requests a second over UDP.
    EchoUdp,
    /// TCP connections made and ended a second.
    Connections,
    /// Questions for DNS answered a second.
    Names,
    /// What the slowest in a hundred of these answers takes.
    NamesLatency,
    /// Resident memory of a daemon after bulk traffic.
    Memory,
    /// Resident memory of a daemon that has nothing to do.
    IdleMemory,
    /// Processor time of a daemon that has nothing to do, per cent of one core.
    IdleCpu,
}

/// What vxmesh shall reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Target {
    /// At least this much of what the reference reaches in the same run.
    Ratio {
        /// What must be.
        floor: f64,
        /// What we want.
        goal: f64,
    },
    /// At most this value.
    AtMost {
        /// What must be.
        floor: f64,
        /// What we want.
        goal: f64,
    },
    /// At least this value.
    AtLeast {
        /// What must be.
        floor: f64,
        /// What we want.
        goal: f64,
    },
    /// Shown for information.
    None,
}

const OVERLAYS: &[Kind] = &[Veth, Vxlan, Vxmesh, VxmeshPlain];
const LOCAL: &[Kind] = &[Bridge, VxmeshLocal];
const AES: &[Kind] = &[Vxmesh, VxmeshAes];
const VIP: &[Kind] = &[Vxmesh, VxmeshVip];
const CHACHA: &[Kind] = &[Vxmesh, VxmeshChacha];

impl Row {
    const fn new(id: &'static str, title: &'static str, load: Load) -> Row {
        let (unit, scale) = match load {
            Load::Bulk(_) => ("Gbit/s", 1.0),
            Load::Datagrams(_) => ("thousand packets/s", 1e3),
            Load::EchoTcp | Load::EchoUdp => ("thousand requests/s", 1e3),
            Load::Connections => ("thousand connections/s", 1e3),
            Load::Names => ("thousand answers/s", 1e3),
            Load::NamesLatency => ("µs", 1.0),
            Load::Memory | Load::IdleMemory => ("MB", 1.0),
            Load::IdleCpu => ("% of a core", 1.0),
        };
        let target = Target::None;
        Row { id, title, unit, scale, load, wire: Whole, kinds: OVERLAYS, target }
    }

    const fn on(mut self, kinds: &'static [Kind]) -> Row {
        self.kinds = kinds;
        self
    }

    const fn segmenting(mut self) -> Row {
        self.wire = Segmenting;
        self
    }

    const fn ratio(mut self, floor: f64, goal: f64) -> Row {
        self.target = Target::Ratio { floor, goal };
        self
    }

    const fn at_least(mut self, floor: f64, goal: f64) -> Row {
        self.target = Target::AtLeast { floor, goal };
        self
    }

    const fn at_most(mut self, floor: f64, goal: f64) -> Row {
        self.target = Target::AtMost { floor, goal };
        self
    }

    /// The lane that the others are compared with: the kernel's, or the same in clear.
    pub(super) fn reference(&self) -> Option<Kind> {
        match self.kinds {
            [first @ Vxmesh, _, ..] => Some(*first),
            kinds => kinds.iter().copied().find(|kind| matches!(kind, Vxlan | Bridge)),
        }
    }

    /// The lane that the target speaks of.
    pub(super) fn subject(&self) -> Option<Kind> {
        let reference = self.reference();
        let ours = |kind: &Kind| !matches!(kind, Veth | Vxlan | Bridge);
        self.kinds.iter().copied().find(|kind| ours(kind) && Some(*kind) != reference)
    }
}

const STREAM: Load = Load::Bulk(Crowd { threads: 1, streams: 1 });
const STREAMS: Load = Load::Bulk(Crowd { threads: 1, streams: 4 });
const THREADS: Load = Load::Bulk(Crowd { threads: 4, streams: 1 });
const SMALL: Load = Load::Datagrams(Shape::Even(64));
const MIXED: Load = Load::Datagrams(Shape::Mixed(16));
/// What fits into 1450 bytes.
const FULL: Load = Load::Datagrams(Shape::Even(1422));
/// What QUIC sends.
const TRAIN: Load = Load::Datagrams(Shape::Train(1200));
const JOINED: Load = Load::Datagrams(Shape::JoinedTrain(1200));

/// Everything that can be measured.
pub static ROWS: &[Row] = &[
    Row::new("tcp-1", "TCP, 1 stream", STREAM).ratio(0.65, 1.0),
    Row::new("tcp-4", "TCP, 4 streams", STREAMS).ratio(0.42, 0.6),
    Row::new("tcp-4-threads", "TCP, 4 streams, a thread for each", THREADS),
    Row::new("tcp-1-segmenting", "TCP, 1 stream, underlay segments", STREAM)
        .segmenting()
        .ratio(0.9, 1.3),
    Row::new("tcp-4-segmenting", "TCP, 4 streams, underlay segments", STREAMS).segmenting(),
    Row::new("udp-64", "UDP, 64 bytes, one flow", SMALL).ratio(2.5, 4.0),
    Row::new("udp-64-segmenting", "UDP, 64 bytes, one flow, underlay segments", SMALL).segmenting(),
    Row::new("udp-mixed", "UDP, 16 flows of mixed sizes to two peers", MIXED).ratio(1.5, 3.0),
    Row::new("udp-mtu", "UDP, MTU-size, one flow", FULL),
    Row::new("udp-mtu-segmenting", "UDP, MTU-size, one flow, underlay segments", FULL).segmenting(),
    Row::new("udp-gso", "UDP, application with UDP_SEGMENT", TRAIN).ratio(0.65, 1.0),
    Row::new("udp-gso-segmenting", "UDP, application with UDP_SEGMENT, underlay segments", TRAIN)
        .segmenting(),
    Row::new("udp-gso-gro", "UDP, applications with UDP_SEGMENT and UDP_GRO", JOINED),
    Row::new("local-tcp-1", "TCP, 1 stream, two containers of one host", STREAM)
        .on(LOCAL)
        .ratio(1.0, 1.3),
    Row::new("local-udp-64", "UDP, 64 bytes, two containers of one host", SMALL)
        .on(LOCAL)
        .ratio(1.0, 2.0),
    Row::new("rr-tcp", "request/response, TCP, 1 byte", Load::EchoTcp).ratio(0.70, 0.9),
    Row::new("rr-udp", "request/response, UDP, 1 byte", Load::EchoUdp).ratio(0.70, 0.9),
    Row::new("aes-tcp-1", "TCP, 1 stream, AES-256-GCM beside clear", STREAM)
        .on(AES)
        .ratio(0.60, 0.80),
    Row::new("aes-udp-64", "UDP, 64 bytes, AES-256-GCM beside clear", SMALL)
        .on(AES)
        .ratio(0.80, 1.0),
    Row::new("aes-rr-tcp", "request/response, TCP, AES-256-GCM beside clear", Load::EchoTcp)
        .on(AES)
        .ratio(0.85, 1.0),
    Row::new("chacha-tcp-1", "TCP, 1 stream, ChaCha20-Poly1305 beside clear", STREAM)
        .on(CHACHA)
        .ratio(0.40, 0.60),
    Row::new("chacha-udp-64", "UDP, 64 bytes, ChaCha20-Poly1305 beside clear", SMALL)
        .on(CHACHA)
        .ratio(0.80, 1.0),
    Row::new(
        "chacha-rr-tcp",
        "request/response, TCP, ChaCha20-Poly1305 beside clear",
        Load::EchoTcp,
    )
    .on(CHACHA)
    .ratio(0.85, 1.0),
    Row::new("vip-tcp-1", "TCP, 1 stream, through a virtual IP beside direct", STREAM)
        .on(VIP)
        .ratio(0.95, 1.0),
    Row::new("vip-rr-tcp", "request/response, TCP, through a virtual IP", Load::EchoTcp).on(VIP),
    Row::new("vip-connect", "TCP connections, through a virtual IP", Load::Connections)
        .on(VIP)
        .ratio(0.90, 1.0),
    Row::new("names", "DNS answers while resolvers are away", Load::Names)
        .on(&[VxmeshCutOff])
        .at_least(30.0, 60.0),
    Row::new("names-p99", "99th percentile of the same answers' latency", Load::NamesLatency)
        .on(&[VxmeshCutOff])
        .at_most(1000.0, 500.0),
    Row::new("memory", "memory of a daemon after bulk traffic", Load::Memory).on(&[Vxmesh]),
    Row::new("idle-memory", "memory, idle with 100 endpoints", Load::IdleMemory)
        .on(&[VxmeshIdle])
        .at_most(40.0, 20.0),
    Row::new("idle-cpu", "processor, idle with 100 endpoints", Load::IdleCpu)
        .on(&[VxmeshIdle])
        .at_most(0.2, 0.05),
];

/// The rows whose id holds one of the patterns; all for none. A pattern that
/// is an id selects that row only.
pub fn select(patterns: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    let fits = |row: &Row, pattern: &str| {
        row.id == pattern || ROWS.iter().all(|r| r.id != pattern) && row.id.contains(pattern)
    };
    if let Some(bad) = patterns.iter().find(|p| !ROWS.iter().any(|row| fits(row, p))) {
        bail!("no row fits \"{bad}\": see \"vxmesh bench --list\"");
    }
    let wanted = |row: &&Row| patterns.is_empty() || patterns.iter().any(|p| fits(row, p));
    Ok(ROWS.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ids(patterns: &[&str]) -> Vec<&'static str> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        select(&patterns).unwrap().iter().map(|row| row.id).collect()
    }

    #[test]
    fn rows_are_selected_by_id_or_part_of_it() {
        assert_eq!(ids(&[]).len(), ROWS.len());
        assert_eq!(ids(&["tcp-1"]), ["tcp-1"]);
        assert_eq!(
            ids(&["rr", "udp-mixed"]),
            ["udp-mixed", "rr-tcp", "rr-udp", "aes-rr-tcp", "chacha-rr-tcp", "vip-rr-tcp"]
        );
        let error = select(&["tcp".into(), "sctp".into()]).unwrap_err().to_string();
        assert_eq!(error, "no row fits \"sctp\": see \"vxmesh bench --list\"");
    }

    #[test]
    fn rows_make_sense() {
        assert_eq!(ROWS.iter().map(|row| row.id).collect::<BTreeSet<_>>().len(), ROWS.len());
        for row in ROWS {
            assert!(row.subject().is_some(), "{}", row.id);
            if matches!(row.target, Target::Ratio { .. }) {
                assert!(row.reference().is_some(), "{}", row.id);
            }
        }
    }
}
