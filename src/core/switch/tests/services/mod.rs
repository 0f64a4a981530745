//! Virtual IPs: what reaches backends and clients, byte for byte.

mod changes;
mod errors;
mod flows;
mod fragments;
mod hairpin;
mod refusals;
mod way;

use super::*;
use crate::core::balance::{Backend, Scheduler, Standing, Vip, VipSpec};
use crate::wire::testing::{flag, ones_sum};

/// Of the first subnet.
fn service() -> Host {
    host(1, 100)
}

/// One address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    fn of(self, host: Host) -> IpAddr {
        if self == Family::V4 { host.v4 } else { host.v6 }
    }
}

/// A virtual IP of both families before these backends.
#[derive(Clone)]
struct Service {
    version: u64,
    scheduler: Scheduler,
    affinity: Option<Duration>,
    backends: Vec<(Host, u16, Standing)>,
}

impl Service {
    fn of(backends: &[Host]) -> Service {
        let backends = backends.iter().map(|host| (*host, 1, Standing::Ready)).collect();
        Service { version: 1, scheduler: Scheduler::RoundRobin, affinity: None, backends }
    }

    fn standing(mut self, host: Host, standing: Standing) -> Service {
        let known = self.backends.iter_mut().find(|(h, ..)| h.mac == host.mac);
        known.unwrap().2 = standing;
        self.version += 1;
        self
    }

    fn vips(&self) -> Vec<Arc<Vip>> {
        let vip = |family: Family| {
            let backend = |(host, weight, standing): &(Host, u16, Standing)| Backend {
                ip: family.of(*host),
                weight: *weight,
                standing: *standing,
            };
            let Service { version, scheduler, affinity, .. } = *self;
            let (ip, backends) =
                (family.of(service()), self.backends.iter().map(backend).collect());
            Arc::new(Vip::new(VipSpec { ip, version, scheduler, affinity, backends }))
        };
        FAMILIES.map(vip).to_vec()
    }

    fn spec(&self) -> Spec {
        Spec { vips: self.vips(), ..spec() }
    }

    fn lab(&self) -> Lab {
        Lab::new(self.spec())
    }
}

impl Lab {
    /// Another plan; the switch takes note of it.
    fn replan(&mut self, spec: Spec) {
        self.plan = plan(spec);
        self.switch.replan(&self.plan, self.now);
    }

    /// Ticks until there is nothing more to be done at once; what was said.
    fn settle(&mut self) -> Vec<crate::core::balance::Notice> {
        let mut said = self.switch.notices();
        for _ in 0..10_000 {
            if self.switch.due().is_none_or(|due| due > self.now + Duration::from_millis(2)) {
                break;
            }
            self.now += Duration::from_millis(1);
            self.switch.tick(&self.plan, self.now);
            said.extend(self.switch.notices());
        }
        said
    }
}

/// In which state a packet's checksum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Complete,
    Partial,
    /// UDP without one.
    Zero,
}

/// A TCP segment, by what a test cares about.
#[derive(Clone, Copy)]
struct Seg {
    flags: u8,
    sequence: u32,
    ack: u32,
    payload: &'static [u8],
}

const SYN: Seg = Seg { flags: flag::SYN, sequence: 999, ack: 0, payload: b"" };
const SYN_ACK: Seg = Seg { flags: flag::SYN | flag::ACK, sequence: 4999, ack: 1000, payload: b"" };
const DATA: Seg = Seg { flags: flag::ACK, sequence: 1000, ack: 5000, payload: b"question" };
const ANSWER: Seg = Seg { flags: flag::ACK, sequence: 5000, ack: 1008, payload: b"reply" };

fn tcp(from: (Mac, IpAddr), to: (Mac, IpAddr), ports: (u16, u16), seg: Seg) -> Vec<u8> {
    let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    segment.extend(seg.sequence.to_be_bytes());
    segment.extend(seg.ack.to_be_bytes());
    segment.extend([5 << 4, seg.flags, 2, 0, 0, 0, 0, 0]);
    segment.extend(seg.payload);
    packet(from, to, protocol::TCP, 64, &segment)
}

fn datagram(from: (Mac, IpAddr), to: (Mac, IpAddr), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut datagram = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    packet(from, to, protocol::UDP, 64, &datagram)
}

/// The sum that the checksum field holds if it is partial.
fn pseudo(frame: &[u8], view: &View) -> u16 {
    let len = ((view.end - view.l4) as u32).to_be_bytes();
    ones_sum(&[view.addresses(frame), &[0, view.protocol], &len])
}

/// Puts the transport's checksum into a state.
fn summed(mut frame: Vec<u8>, sum: Sum) -> (Vec<u8>, Offload) {
    let view = View::parse(&frame).unwrap();
    let kind = Kind::of(&view).unwrap();
    let field = view.l4 + kind.checksum_offset();
    let (value, offload) = match sum {
        Sum::Zero => (0, Offload::NONE),
        Sum::Partial => (pseudo(&frame, &view), Offload::partial(kind, &view)),
        Sum::Complete => {
            frame[field..field + 2].fill(0);
            let pseudo = pseudo(&frame, &view).to_be_bytes();
            let sum = !ones_sum(&[&pseudo, &frame[view.l4..view.end]]);
            (if sum == 0 { 0xffff } else { sum }, Offload::NONE)
        }
    };
    frame[field..field + 2].copy_from_slice(&value.to_be_bytes());
    (frame, offload)
}

/// All checksums are as if the frame had been written so.
fn assert_sound(frame: &[u8], sum: Sum) {
    let view = View::parse(frame).unwrap();
    if view.net == Net::V4 {
        assert_eq!(ones_sum(&[&frame[View::L3..View::L3 + 20]]), 0xffff, "IPv4 header");
    }
    let Some(kind) = Kind::of(&view) else { return };
    let field = view.l4 + kind.checksum_offset();
    let value = u16::from_be_bytes([frame[field], frame[field + 1]]);
    match sum {
        Sum::Zero => assert_eq!(value, 0),
        Sum::Partial => assert_eq!(value, pseudo(frame, &view)),
        Sum::Complete => {
            assert_ne!(value, 0);
            let pseudo = pseudo(frame, &view).to_be_bytes();
            assert_eq!(ones_sum(&[&pseudo, &frame[view.l4..view.end]]), 0xffff, "{sum:?}");
        }
    }
}

/// A client in the first subnet and the service.
fn client(family: Family) -> (Mac, IpAddr) {
    (a().mac, family.of(a()))
}

fn vip(lab: &Lab, family: Family) -> (Mac, IpAddr) {
    (lab.router_mac(), family.of(service()))
}

/// Who a frame is for, by its addresses of both layers.
fn addressed(frame: &[u8]) -> ((Mac, IpAddr), (Mac, IpAddr)) {
    let view = View::parse(frame).unwrap();
    ((view.src, view.source), (view.dst, view.destination))
}

/// A segment of A to the service; the verdict and the frame.
fn send(lab: &mut Lab, family: Family, port: u16, seg: Seg) -> (Verdict, Vec<u8>) {
    let frame = tcp(client(family), vip(lab, family), (port, 80), seg);
    let (mut frame, offload) = summed(frame, Sum::Complete);
    (lab.offloaded(A, &mut frame, offload), frame)
}

/// A datagram of A to the service.
fn ask(lab: &mut Lab, family: Family, port: u16) -> (Verdict, Vec<u8>) {
    let frame = datagram(client(family), vip(lab, family), (port, 53), b"question");
    let (mut frame, offload) = summed(frame, Sum::Complete);
    (lab.offloaded(A, &mut frame, offload), frame)
}

/// A frame from where an endpoint is.
fn from_home(lab: &mut Lab, of: Host, mut frame: Vec<u8>) -> (Verdict, Vec<u8>) {
    let verdict = match home(of) {
        Target::Port(port) => lab.port(port, &mut frame),
        Target::Vtep(vtep) => lab.vtep(vtep, &mut frame),
    };
    (verdict, frame)
}

/// Where an endpoint is.
fn home(of: Host) -> Target {
    [
        (a(), Target::Port(A)),
        (b(), Target::Port(B)),
        (c(), Target::Port(C)),
        (remote(), Target::Vtep(member())),
        (remote2(), Target::Vtep(member2())),
    ]
    .into_iter()
    .find(|(host, _)| host.mac == of.mac)
    .unwrap()
    .1
}

/// A connection of A from this port, set up with the only backend.
fn connect(lab: &mut Lab, family: Family, port: u16, backend: Host) {
    assert!(matches!(send(lab, family, port, SYN).0, Verdict::To(_)));
    let (verdict, frame) = answer(lab, family, port, backend, SYN_ACK);
    assert_eq!(verdict, Verdict::To(Target::Port(A)));
    assert_eq!(addressed(&frame).0, vip(lab, family));
    assert!(matches!(send(lab, family, port, DATA).0, Verdict::To(_)));
}

/// A segment of a backend to A.
fn answer(lab: &mut Lab, family: Family, port: u16, backend: Host, seg: Seg) -> (Verdict, Vec<u8>) {
    let from = (backend.mac, family.of(backend));
    let frame = tcp(from, client(family), (80, port), seg);
    from_home(lab, backend, summed(frame, Sum::Complete).0)
}

/// A TCP segment that is read back.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    ports: (u16, u16),
    flags: u8,
    sequence: u32,
    ack: u32,
}

fn read(frame: &[u8]) -> Read {
    assert_sound(frame, Sum::Complete);
    let view = View::parse(frame).unwrap();
    let number = |at: usize| u32::from_be_bytes(frame[view.l4 + at..][..4].try_into().unwrap());
    Read { ports: view.ports, flags: frame[view.l4 + 13], sequence: number(4), ack: number(8) }
}

const RST: u8 = flag::RST;
const RST_ACK: u8 = flag::RST | flag::ACK;
