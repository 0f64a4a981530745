//! What tests and fuzz targets share: a switch with services beside a naive model of
//! what it should do, which keeps all flows in a list and writes every packet anew.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::house::core::Now;
use super::house::core::balance::{Backend, Scheduler, Standing, Vip, VipSpec};
use super::house::core::drops::Reason;
use super::house::core::plan::{Network, Plan, Port, PortId, Remote, Spec, Subnet, Target};
use super::house::core::switch::{Dress, Switch, Verdict};
use super::house::wire::checksum;
use super::house::wire::frame::View;
use super::house::wire::mac::Mac;
use super::house::wire::vnet::{Kind, Offload};
use super::house::wire::vxlan::Vni;

/// Endpoints: two of this host, one of each of two others.
const HOSTS: u8 = 4;
const LOCAL: u8 = 2;
const PORTS: [u16; 4] = [0, 80, 1000, 1001];
const SECONDS: [u64; 6] = [0, 1, 100, 241, 301, 7441];
const FLAGS: [u8; 8] = [0x02, 0x02, 0x10, 0x12, 0x11, 0x04, 0x14, 0x00];
const GRACE: Duration = Duration::from_secs(60);

/// An address of an endpoint (below 100) or a virtual IP.
fn ip(v6: bool, n: u8) -> IpAddr {
    if v6 { [0xfd00, 0, 0, 0, 0, 0, 0, n.into()].into() } else { [10, 0, 0, n].into() }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn vtep(n: u8) -> IpAddr {
    [192, 0, 2, n].into()
}

fn home(n: u8) -> Target {
    if n < LOCAL { Target::Port(PortId(n.into())) } else { Target::Vtep(vtep(n)) }
}

fn vni() -> Vni {
    Vni::new(7).expect("it fits")
}

/// A packet between numbered addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    v6: bool,
    tcp: bool,
    from: u8,
    to: u8,
    ports: (u16, u16),
    flags: u8,
    partial: bool,
}

impl Told {
    fn write(&self, src: Mac, dst: Mac) -> Vec<u8> {
        let mut transport = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        if self.tcp {
            transport.extend([0, 0, 0, 9, 0, 0, 0, 5, 0x50, self.flags, 1, 0, 0, 0, 0, 0]);
        } else {
            transport.extend([0, 11, 0, 0]);
        }
        transport.extend([self.flags, 7, 7]);
        let octets = |n| match ip(self.v6, n) {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let addresses = [octets(self.from), octets(self.to)].concat();
        let (protocol, field) = if self.tcp { (6, 16) } else { (17, 6) };
        let pseudo = checksum::pseudo_header(&addresses, protocol, transport.len());
        let sum = match self.partial {
            true => checksum::fold(pseudo),
            false => checksum::finish(pseudo + checksum::sum(&transport)),
        };
        transport[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        let len = transport.len() as u8;
        let (kind, mut header) = match self.v6 {
            true => ([0x86, 0xdd], vec![0x60, 0, 0, 0, 0, len, protocol, 64]),
            false => ([8, 0], vec![0x45, 0, 0, 20 + len, 0, 7, 0, 0, 64, protocol, 0, 0]),
        };
        header.extend(addresses);
        if !self.v6 {
            let sum = !checksum::fold(checksum::sum(&header));
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        [&dst.0[..], &src.0, &kind, &header, &transport].concat()
    }

    /// The number of the destination in a frame like this one.
    fn destination(frame: &[u8]) -> u8 {
        match View::parse(frame).expect("it was whole").destination {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Answered,
    Open,
    Closed,
}

#[derive(Clone, Debug)]
struct Flow {
    v6: bool,
    tcp: bool,
    client: u8,
    vip: u8,
    backend: u8,
    ports: (u16, u16),
    phase: Phase,
    fins: (bool, bool),
    seen: u64,
    /// It was taken over and its backend not seen since.
    restored: bool,
}

impl Flow {
    fn hairpin(&self) -> bool {
        self.client == self.backend
    }

    /// Source and destination, and ports, of either direction.
    fn forward(&self) -> (u8, u8, (u16, u16)) {
        (self.client, self.vip, self.ports)
    }

    fn reply(&self) -> (u8, u8, (u16, u16)) {
        let to = if self.hairpin() { self.vip } else { self.client };
        (self.backend, to, (self.ports.1, self.ports.0))
    }

    fn is(&self, told: &Told, way: (u8, u8, (u16, u16))) -> bool {
        (self.v6, self.tcp) == (told.v6, told.tcp) && way == (told.from, told.to, told.ports)
    }

    fn expired(&self, now: Now) -> bool {
        let patience = match (self.tcp, self.phase) {
            (true, Phase::Open) => 7440,
            (true, _) => 240,
            (false, _) => 300,
        };
        now.as_secs() - self.seen > patience
    }

    fn hear(&mut self, client: bool, told: &Told, now: Now) {
        self.seen = now.as_secs();
        let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|bit| told.flags & bit != 0);
        self.phase = match (self.phase, client) {
            (Phase::Opening, false) if !self.tcp => Phase::Open,
            (phase, _) if !self.tcp => phase,
            (Phase::Opening, false) if syn && ack => Phase::Answered,
            (Phase::Answered, true) if ack && !syn => Phase::Open,
            (phase, _) => phase,
        };
        if self.tcp {
            self.fins = (self.fins.0 || client && fin, self.fins.1 || !client && fin);
            if rst || self.fins == (true, true) {
                self.phase = Phase::Closed;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Wait,
    Anew,
    Reset,
}

/// The switch, and what should be in it.
struct World {
    switch: Switch,
    plan: Plan,
    now: Now,
    version: u64,
    /// Of two services, how each endpoint stands behind it.
    services: [[Option<(u16, Standing)>; HOSTS as usize]; 2],
    flows: Vec<Flow>,
    grace: Now,
}

/// Does what the bytes say, and panics where the switch does something else than
/// the model.
pub fn run(input: &[u8]) {
    let mut bytes = input.iter().copied();
    let Some(scheduler) = bytes.next() else { return };
    let scheduler = [Scheduler::RoundRobin, Scheduler::Maglev, Scheduler::LeastConn]
        [usize::from(scheduler % 3)];
    let mut world = World {
        switch: Switch::new(5),
        plan: Plan::new(1, vtep(1), []),
        now: Duration::from_secs(10_000),
        version: 0,
        services: [[Some((1, Standing::Ready)); HOSTS as usize]; 2],
        flows: Vec::new(),
        grace: Now::ZERO,
    };
    world.replan(scheduler);
    while let (Some(what), Some(a), Some(b)) = (bytes.next(), bytes.next(), bytes.next()) {
        let told = Told {
            v6: a & 1 != 0,
            tcp: a & 2 != 0,
            from: a >> 2 & 3,
            to: a >> 4 & 3,
            ports: (PORTS[usize::from(b & 3)], PORTS[usize::from(b >> 2 & 3)]),
            flags: FLAGS[usize::from(b >> 4 & 7)],
            partial: b & 128 != 0,
        };
        match what % 8 {
            0..=2 => world.call(Told { from: told.from % LOCAL, to: 100 + told.to % 2, ..told }),
            3 | 4 if told.from != told.to % LOCAL => {
                world.send(Told { to: told.to % LOCAL, ..told });
            }
            5 => world.now += Duration::from_secs(SECONDS[usize::from(a) % SECONDS.len()]),
            6 => {
                let standing = match b % 8 {
                    0..=3 => Some((u16::from(b >> 4), Standing::Ready)),
                    4 => Some((1, Standing::Starting)),
                    5 => Some((1, Standing::Unhealthy)),
                    6 => Some((1, Standing::Draining)),
                    _ => None,
                };
                world.services[usize::from(a & 1)][usize::from(a >> 1 & 3)] = standing;
                world.replan(scheduler);
            }
            7 if a % 4 == 0 => world.restart(),
            7 if a % 4 == 1 => world.condemn(b & 1 != 0, b >> 1 & 3),
            7 => world.settle(&[]),
            _ => {}
        }
    }
    world.settle(&[]);
}

impl World {
    fn vip(&self, v6: bool, service: u8, scheduler: Scheduler) -> Arc<Vip> {
        let standing = self.services[usize::from(service)].iter().zip(0..);
        let backend = |(standing, n): (&Option<(u16, Standing)>, u8)| {
            standing.map(|(weight, standing)| Backend { ip: ip(v6, n), weight, standing })
        };
        let (ip, version, backends) =
            (ip(v6, 100 + service), self.version, standing.filter_map(backend).collect());
        Arc::new(Vip::new(VipSpec { ip, version, scheduler, affinity: None, backends }))
    }

    fn replan(&mut self, scheduler: Scheduler) {
        self.version += 1;
        let addresses = |n| vec![ip(false, n), ip(true, n)];
        let port = |n: u8| Port { id: PortId(n.into()), mac: mac(n), addresses: addresses(n) };
        let remote = |n| Remote { mac: mac(n), addresses: addresses(n), vtep: vtep(n) };
        let subnet =
            |net: &str, v6| Subnet { net: net.parse().expect("a subnet"), gateway: ip(v6, 99) };
        let vips = [(false, 0), (false, 1), (true, 0), (true, 1)];
        let spec = Spec {
            mtu: 1450,
            subnets: vec![subnet("10.0.0.0/24", false), subnet("fd00::/64", true)],
            ports: (0..LOCAL).map(port).collect(),
            remotes: (LOCAL..HOSTS).map(remote).collect(),
            vips: vips.map(|(v6, service)| self.vip(v6, service, scheduler)).into(),
            ..Spec::default()
        };
        self.plan = Plan::new(1, vtep(1), [Arc::new(Network::new(1, vni(), spec))]);
        self.switch.replan(&self.plan, self.now);
    }

    fn router(&self) -> Mac {
        self.plan.network(vni()).expect("it is there").router_mac
    }

    fn usable(&self, vip: u8, backend: u8) -> bool {
        let standing = self.services[usize::from(vip - 100)][usize::from(backend)];
        matches!(standing, Some((1.., Standing::Ready)))
    }

    fn fate(&self, flow: &Flow, again: bool) -> Fate {
        let standing = self.services[usize::from(flow.vip - 100)][usize::from(flow.backend)];
        let down = !(0..HOSTS).any(|n| self.usable(flow.vip, n));
        let opening = flow.phase == Phase::Opening;
        match standing {
            None if flow.restored && self.now < self.grace => Fate::Wait,
            None if opening && !down => Fate::Anew,
            None if flow.tcp && flow.phase != Phase::Closed => Fate::Reset,
            None => Fate::Anew,
            Some((_, Standing::Unhealthy)) if !flow.tcp => Fate::Anew,
            Some(_) if again && opening && !self.usable(flow.vip, flow.backend) => Fate::Anew,
            Some(_) => Fate::Keep,
        }
    }

    /// Hands a packet to the switch.
    fn hand_in(&mut self, told: &Told, to: Mac) -> (Verdict, Vec<u8>) {
        let mut frame = told.write(mac(told.from), to);
        let view = View::parse(&frame).expect("it is whole");
        let kind = if told.tcp { Kind::Tcp } else { Kind::Udp };
        let offload = if told.partial { Offload::partial(kind, &view) } else { Offload::NONE };
        let (plan, now) = (&self.plan, self.now);
        let verdict = match home(told.from) {
            Target::Port(port) => {
                self.switch.from_port(plan, now, port, &mut frame, &view, &offload)
            }
            Target::Vtep(vtep) => {
                let admitted = Switch::admit(plan, vtep, vni(), Dress::Clear).expect("a member");
                self.switch.from_vtep(plan, now, admitted, &mut frame, &view)
            }
        };
        (verdict, frame)
    }

    /// A container's packet to a virtual IP.
    fn call(&mut self, told: Told) {
        let router = self.router();
        let (verdict, frame) = self.hand_in(&told, router);
        let now = self.now;
        if told.ports.0 == 0 || told.ports.1 == 0 {
            return assert_eq!(verdict, Verdict::Drop(Reason::PortZero));
        }
        self.flows
            .retain(|f| !(f.expired(now) && (f.is(&told, f.forward()) || f.is(&told, f.reply()))));
        let back = |told: &Told, to| Told { from: told.to, to, ..*told };
        let opens = told.tcp && told.flags & 0x17 == 2;
        if let Some(at) = self.flows.iter().position(|f| f.is(&told, f.reply())) {
            let flow = &mut self.flows[at];
            flow.hear(false, &told, now);
            assert_eq!(verdict, Verdict::To(home(told.from)));
            return assert_eq!(frame, back(&told, flow.client).write(router, mac(told.from)));
        }
        if let Some(at) = self.flows.iter().position(|f| f.is(&told, f.forward())) {
            let fate = match opens && self.flows[at].phase == Phase::Closed {
                true => Fate::Anew,
                false => self.fate(&self.flows[at], opens),
            };
            match fate {
                Fate::Keep => {
                    let usable = self.usable(told.to, self.flows[at].backend);
                    let flow = &mut self.flows[at];
                    flow.restored &= flow.phase == Phase::Opening && !usable;
                    flow.hear(true, &told, now);
                    return self.assert_called(&told, &self.flows[at], verdict, &frame);
                }
                Fate::Wait => return assert_eq!(verdict, Verdict::Drop(Reason::BackendGone)),
                Fate::Reset => {
                    self.flows.remove(at);
                    assert_eq!(self.switch.notices().len(), 2);
                    return assert_eq!(verdict, Verdict::Drop(Reason::BackendGone));
                }
                Fate::Anew => drop(self.flows.remove(at)),
            }
        }
        self.open(&told, verdict, &frame);
    }

    /// A packet of no flow.
    fn open(&mut self, told: &Told, verdict: Verdict, frame: &[u8]) {
        if told.tcp && told.flags & 0x17 != 2 {
            let answered = if told.flags & 4 == 0 { Some(Reason::NoFlow) } else { None };
            let want = answered.map_or(Verdict::Drop(Reason::NoFlow), |r| Verdict::Reply(Some(r)));
            return assert_eq!(verdict, want);
        }
        let new = |backend| Flow {
            v6: told.v6,
            tcp: told.tcp,
            client: told.from,
            vip: told.to,
            backend,
            ports: told.ports,
            phase: Phase::Opening,
            fins: (false, false),
            seen: self.now.as_secs(),
            restored: false,
        };
        let now = self.now;
        let same = |a: &Flow, b: &Flow| {
            let ways = [b.forward(), b.reply()];
            (a.v6, a.tcp) == (b.v6, b.tcp)
                && (ways.contains(&a.forward()) || ways.contains(&a.reply()))
        };
        let over = |flow: &Flow| flow.phase == Phase::Closed || flow.expired(now);
        let all: Vec<Flow> = (0..HOSTS).filter(|n| self.usable(told.to, *n)).map(new).collect();
        let clashes = |flow: &Flow| {
            flow.forward() == flow.reply() || self.flows.iter().any(|f| same(f, flow) && !over(f))
        };
        let good: Vec<&Flow> = all.iter().filter(|flow| !clashes(flow)).collect();
        if good.is_empty() {
            match (all.is_empty(), verdict) {
                (false, Verdict::Drop(Reason::FlowClash)) => {}
                (true, Verdict::Reply(Some(Reason::NoBackend))) => {}
                // Of ICMP errors there are only so many.
                (true, Verdict::Drop(Reason::NoBackend)) if !told.tcp => {}
                _ => panic!("{verdict:?} where there is no backend: {all:?}"),
            }
            return;
        }
        let chosen = Told::destination(frame);
        let chosen = good.into_iter().find(|flow| flow.backend == chosen);
        let mut flow = chosen.expect("a usable backend is chosen").clone();
        self.flows.retain(|f| !same(f, &flow));
        flow.hear(true, told, now);
        self.assert_called(told, &flow, verdict, frame);
        self.flows.push(flow);
    }

    fn assert_called(&self, told: &Told, flow: &Flow, verdict: Verdict, frame: &[u8]) {
        assert_eq!(verdict, Verdict::To(home(flow.backend)));
        let want = match flow.hairpin() {
            true => {
                Told { from: told.to, to: told.from, ..*told }.write(self.router(), mac(told.from))
            }
            false => Told { to: flow.backend, ..*told }.write(mac(told.from), mac(flow.backend)),
        };
        assert_eq!(frame, want);
    }

    /// An endpoint's packet to a container, a reply or not.
    fn send(&mut self, told: Told) {
        let (verdict, frame) = self.hand_in(&told, mac(told.to));
        let now = self.now;
        self.flows.retain(|f| !(f.expired(now) && f.is(&told, f.reply())));
        let mut want = told.write(mac(told.from), mac(told.to));
        if let Some(at) = self.flows.iter().position(|f| f.is(&told, f.reply())) {
            self.flows[at].hear(false, &told, now);
            want = Told { from: self.flows[at].vip, ..told }.write(self.router(), mac(told.to));
        }
        assert_eq!((verdict, frame), (Verdict::To(home(told.to)), want));
    }

    /// Lets the switch do all that is due.
    fn settle(&mut self, condemned: &[(bool, u8)]) {
        let mut said = 0;
        for _ in 0..1000 {
            if self.switch.due().is_none_or(|due| due > self.now + Duration::from_millis(1)) {
                break;
            }
            self.now += Duration::from_millis(1);
            self.switch.tick(&self.plan, self.now);
            said += self.switch.notices().len();
        }
        let mut resets = 0;
        let flows = std::mem::take(&mut self.flows);
        for mut flow in flows.into_iter().filter(|flow| !flow.expired(self.now)) {
            let fate = match condemned.contains(&(flow.v6, flow.backend)) {
                true if flow.tcp && flow.phase != Phase::Closed => Fate::Reset,
                true => Fate::Anew,
                false => self.fate(&flow, false),
            };
            resets += usize::from(fate == Fate::Reset);
            if fate == Fate::Keep {
                let usable = self.usable(flow.vip, flow.backend);
                flow.restored &= flow.phase == Phase::Opening && !usable;
            }
            if matches!(fate, Fate::Keep | Fate::Wait) {
                self.flows.push(flow);
            }
        }
        assert_eq!(said, 2 * resets, "each side is told");
    }

    fn condemn(&mut self, v6: bool, backend: u8) {
        self.settle(&[]);
        let live = |f: &&Flow| (f.v6, f.backend) == (v6, backend) && f.phase != Phase::Closed;
        let live = self.flows.iter().filter(live).count() as u64;
        assert!(self.switch.flows(vni(), &[ip(v6, backend)]) >= live, "expired ones count too");
        self.switch.reset_flows(vni(), &[ip(v6, backend)]);
        self.settle(&[(v6, backend)]);
        assert_eq!(self.switch.flows(vni(), &[ip(v6, backend)]), 0);
    }

    /// The daemon ends, and another takes over.
    fn restart(&mut self) {
        let saved = self.switch.save_flows(self.now);
        self.flows.retain(|flow| !flow.expired(self.now));
        self.switch = Switch::new(6);
        let restored = self.switch.restore_flows(&saved, Duration::ZERO, self.now);
        assert_eq!(restored, (self.flows.len(), true));
        self.grace = self.now + GRACE;
        self.flows.iter_mut().for_each(|flow| flow.restored = true);
        self.switch.replan(&self.plan, self.now);
    }
}
