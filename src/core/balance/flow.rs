//! One flow through a virtual IP: who, to whom, and how far it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::packet::Segment;
use crate::core::Now;
use crate::core::plan::{PortId, Station};
use crate::wire::frame::protocol;
use crate::wire::vxlan::Vni;

/// An established TCP connection that is silent for so long is forgotten: two hours
/// and four minutes (RFC 5382, REQ-5), so that keepalives of two hours hold it.
const ESTABLISHED: Duration = Duration::from_secs(2 * 3600 + 4 * 60);
/// One that is opening or closing (RFC 5382, REQ-5).
const TRANSITORY: Duration = Duration::from_secs(4 * 60);
/// UDP (RFC 4787, REQ-5), and SCTP, whose heartbeats come every half minute.
const DATAGRAMS: Duration = Duration::from_secs(5 * 60);

/// An address in 16 bytes. IPv4 is put where IPv6 has multicast, which no flow has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Address(u128);

const V4: u128 = 0xff << 120;

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(ip) => Address(V4 | u128::from(ip.to_bits())),
            IpAddr::V6(ip) => Address(ip.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(Address(bits): Address) -> IpAddr {
        match u32::try_from(bits ^ V4) {
            Ok(bits) => Ipv4Addr::from_bits(bits).into(),
            Err(_) => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

/// What tells the packets of one direction of a flow from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tuple {
    source: Address,
    destination: Address,
    /// Network, protocol, source and destination port.
    rest: u64,
}

impl Tuple {
    pub(super) fn new(
        vni: Vni,
        protocol: u8,
        (source, destination): (IpAddr, IpAddr),
        ports: (u16, u16),
    ) -> Tuple {
        Tuple::of(vni, protocol, (source.into(), destination.into()), ports)
    }

    fn of(
        vni: Vni,
        protocol: u8,
        (source, destination): (Address, Address),
        ports: (u16, u16),
    ) -> Tuple {
        let rest = u64::from(vni.get()) << 40
            | u64::from(protocol) << 32
            | u64::from(ports.0) << 16
            | u64::from(ports.1);
        Tuple { source, destination, rest }
    }
}

/// How far a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Nothing has come from the backend.
    Opening,
    /// The backend has answered a SYN.
    Answered,
    /// Both sides have spoken.
    Open,
    /// Both sides have said FIN, or one RST.
    Closed,
}

/// A flow. A million of them are kept, so that every byte counts.
#[derive(Clone)]
pub(super) struct Flow {
    client: Address,
    vip: Address,
    backend: Address,
    /// The [`super::Vip::version`] with which the backend was last found to be good;
    /// 0 after a restart, before that.
    pub(super) version: u64,
    /// Where the backend was then: one look-up less for each packet.
    pub(super) station: Option<Station>,
    pub(super) vni: Vni,
    /// The client's and the service's.
    ports: (u16, u16),
    /// The client's TAP; `None` until it has spoken after a restart.
    pub(super) port: Option<PortId>,
    /// Which of all flows that ever were this is.
    pub(super) number: u32,
    /// When a packet was last seen, in seconds.
    seen: u32,
    /// What the client sends next.
    client_next: u32,
    /// What the client wants next.
    client_ack: u32,
    /// What the backend wants next.
    backend_ack: u32,
    pub(super) protocol: u8,
    pub(super) phase: Phase,
    marks: u8,
}

/// The client has said FIN.
const CLIENT_FIN: u8 = 1;
/// The backend has said FIN.
const BACKEND_FIN: u8 = 2;
/// The client is its own backend.
const HAIRPIN: u8 = 4;

/// What of a flow outlives the daemon, with its age in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) vni: Vni,
    pub(super) client: IpAddr,
    pub(super) vip: IpAddr,
    pub(super) backend: IpAddr,
    pub(super) protocol: u8,
    pub(super) ports: (u16, u16),
    pub(super) phase: Phase,
    pub(super) marks: u8,
    pub(super) sequence: (u32, u32, u32),
    pub(super) age: u32,
}

/// Who opens a flow to which service.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub(super) vni: Vni,
    pub(super) port: Option<PortId>,
    pub(super) protocol: u8,
    pub(super) client: IpAddr,
    pub(super) vip: IpAddr,
    pub(super) ports: (u16, u16),
}

impl Flow {
    /// `hairpin`: the backend is of the container that the client is, whose kernel
    /// takes no packet from an address of its own. Then the virtual IP calls it, and is
    /// answered by it.
    pub(super) fn new(
        opening: &Opening,
        backend: IpAddr,
        hairpin: bool,
        version: u64,
        now: Now,
    ) -> Flow {
        Flow {
            client: opening.client.into(),
            vip: opening.vip.into(),
            backend: backend.into(),
            version,
            station: None,
            vni: opening.vni,
            ports: opening.ports,
            port: opening.port,
            number: 0,
            seen: seconds(now),
            client_next: 0,
            client_ack: 0,
            backend_ack: 0,
            protocol: opening.protocol,
            phase: Phase::Opening,
            marks: if hairpin { HAIRPIN } else { 0 },
        }
    }

    pub(super) fn client(&self) -> IpAddr {
        self.client.into()
    }

    pub(super) fn vip(&self) -> IpAddr {
        self.vip.into()
    }

    pub(super) fn backend(&self) -> IpAddr {
        self.backend.into()
    }

    /// The client's and the service's port.
    pub(super) fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// Whether the client is its own backend.
    pub(super) fn is_hairpin(&self) -> bool {
        self.marks & HAIRPIN != 0
    }

    /// What the client sends.
    pub(super) fn forward(&self) -> Tuple {
        Tuple::of(self.vni, self.protocol, (self.client, self.vip), self.ports)
    }

    /// What the backend sends.
    pub(super) fn reply(&self) -> Tuple {
        let to = if self.is_hairpin() { self.vip } else { self.client };
        Tuple::of(self.vni, self.protocol, (self.backend, to), (self.ports.1, self.ports.0))
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == protocol::TCP
    }

    /// Whether one side only has been heard of for sure.
    pub(super) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Answered)
    }

    /// When it was last used, in seconds.
    pub(super) fn age(&self, now: Now) -> u32 {
        seconds(now).saturating_sub(self.seen)
    }

    pub(super) fn is_expired(&self, now: Now) -> bool {
        let patience = match (self.is_tcp(), self.phase) {
            (true, Phase::Open) => ESTABLISHED,
            (true, _) => TRANSITORY,
            (false, _) => DATAGRAMS,
        };
        u64::from(self.age(now)) > patience.as_secs()
    }

    /// Sequence and acknowledgement number of a segment that its client takes as the
    /// backend's next.
    pub(super) fn numbers_to_client(&self) -> (u32, u32) {
        (self.client_ack, self.client_next)
    }

    /// The same the other way. A backend that was never heard wants what the client
    /// would send next.
    pub(super) fn numbers_to_backend(&self) -> (u32, u32) {
        match self.phase {
            Phase::Opening => (self.client_next, 0),
            _ => (self.backend_ack, self.client_ack),
        }
    }

    /// A packet of the client.
    pub(super) fn sent_by_client(&mut self, segment: Option<&Segment>, now: Now) {
        self.seen = seconds(now);
        let Some(segment) = segment else { return };
        if self.phase == Phase::Opening || later(segment.end(), self.client_next) {
            self.client_next = segment.end();
        }
        if segment.ack() && (self.is_half_open() || later(segment.acknowledged, self.client_ack)) {
            self.client_ack = segment.acknowledged;
        }
        if self.phase == Phase::Answered && segment.ack() && !segment.syn() {
            self.phase = Phase::Open;
        }
        self.note_end(segment, CLIENT_FIN);
    }

    /// A packet of the backend.
    pub(super) fn sent_by_backend(&mut self, segment: Option<&Segment>, now: Now) {
        self.seen = seconds(now);
        let Some(segment) = segment else {
            if self.phase == Phase::Opening {
                self.phase = Phase::Open;
            }
            return;
        };
        if segment.ack() {
            self.backend_ack = segment.acknowledged;
        }
        if self.phase == Phase::Opening && segment.syn() && segment.ack() {
            self.phase = Phase::Answered;
        }
        self.note_end(segment, BACKEND_FIN);
    }

    fn note_end(&mut self, segment: &Segment, fin: u8) {
        self.marks |= if segment.fin() { fin } else { 0 };
        if segment.rst() || self.marks & (CLIENT_FIN | BACKEND_FIN) == CLIENT_FIN | BACKEND_FIN {
            self.phase = Phase::Closed;
        }
    }

    pub(super) fn save(&self, now: Now) -> Saved {
        Saved {
            vni: self.vni,
            client: self.client(),
            vip: self.vip(),
            backend: self.backend(),
            protocol: self.protocol,
            ports: self.ports,
            phase: self.phase,
            marks: self.marks,
            sequence: (self.client_next, self.client_ack, self.backend_ack),
            age: self.age(now),
        }
    }

    /// As it was, `elapsed` after it was saved; `None` if its time is up. A clock that
    /// began after its last packet cannot say when that was: then it counts as used
    /// when the clock began.
    pub(super) fn restore(saved: &Saved, elapsed: Duration, now: Now) -> Option<Flow> {
        let opening = Opening {
            vni: saved.vni,
            port: None,
            protocol: saved.protocol,
            client: saved.client,
            vip: saved.vip,
            ports: saved.ports,
        };
        let (client_next, client_ack, backend_ack) = saved.sequence;
        let (phase, marks) = (saved.phase, saved.marks);
        let flow = Flow::new(&opening, saved.backend, false, 0, Now::ZERO);
        let mut flow = Flow { phase, marks, client_next, client_ack, backend_ack, ..flow };
        let age = elapsed.saturating_add(Duration::from_secs(saved.age.into()));
        if flow.is_expired(age) {
            return None;
        }
        flow.seen = seconds(now.saturating_sub(age));
        Some(flow)
    }
}

fn seconds(now: Now) -> u32 {
    now.as_secs() as u32
}

/// Whether a sequence number comes after another (RFC 9293 section 3.4).
fn later(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}
