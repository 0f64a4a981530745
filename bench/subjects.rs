//! The hot functions, each with the input that is measured. What runs them
//! chooses how: `hot.rs` by the clock, `tests/instructions.rs` by instructions.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use vxmesh::core::balance::{Backend, Scheduler, Standing, Vip, VipSpec};
use vxmesh::core::plan::{Network, Plan, Port, PortId, Remote, Spec, Subnet, Target};
use vxmesh::core::switch::{Dress, Switch, Verdict};
use vxmesh::wire::checksum;
use vxmesh::wire::coalesce::{Append, Checksum, Joined};
use vxmesh::wire::frame::View;
use vxmesh::wire::gso::{MAX_HEADERS, Split};
use vxmesh::wire::mac::Mac;
use vxmesh::wire::vnet::{self, Gso, Kind, Offload};
use vxmesh::wire::vxlan::Vni;

/// One call of a hot function.
pub(crate) type Work = Box<dyn FnMut()>;

/// A hot function with its input.
pub(crate) struct Subject {
    /// `function/input`.
    pub(crate) name: &'static str,
    /// Frames that one call is for: datagrams on the wire where it cuts or joins.
    pub(crate) frames: u64,
    /// Payload bytes that one call reads; 0 if it looks at headers only.
    pub(crate) bytes: u64,
    /// Builds the input.
    pub(crate) prepare: fn() -> Work,
}

/// What a TAP read returns at most, in bytes of TCP payload.
const SUPER: usize = 60 << 10;
/// Payload of a TCP segment with timestamps, and of a datagram, in a 1450-byte
/// IPv4 packet.
const MSS: usize = 1450 - 20 - 32;
/// Segments that are joined.
const TRAIN: usize = 40;
const SMALL: usize = 64;

const fn subject(name: &'static str, prepare: fn() -> Work) -> Subject {
    Subject { name, frames: 1, bytes: 0, prepare }
}

const fn sum(name: &'static str, bytes: u64, prepare: fn() -> Work) -> Subject {
    Subject { name, frames: 1, bytes, prepare }
}

/// All of them.
pub(crate) const SUBJECTS: &[Subject] = &[
    subject("parse/udp4-64", || parse(Wire::udp4(SMALL))),
    subject("parse/udp6-64", || parse(Wire::udp6(SMALL))),
    subject("parse/tcp4-60k", || parse(Wire::tcp4(SUPER))),
    subject("parse/tcp6-60k", || parse(Wire::tcp6(SUPER))),
    Subject {
        name: "split/tcp4-60k",
        frames: SUPER.div_ceil(MSS) as u64,
        bytes: SUPER as u64,
        prepare: || split(Wire::tcp4(SUPER)),
    },
    Subject {
        name: "coalesce/tcp4-40",
        frames: TRAIN as u64,
        bytes: (TRAIN * MSS) as u64,
        prepare: || coalesce(Wire::tcp4(TRAIN * MSS), MSS),
    },
    Subject {
        name: "coalesce/udp4-40x64",
        frames: TRAIN as u64,
        bytes: (TRAIN * SMALL) as u64,
        prepare: || coalesce(Wire::udp4(TRAIN * SMALL), SMALL),
    },
    sum("checksum/64", 64, || checksum(64)),
    sum("checksum/1400", 1_400, || checksum(1_400)),
    sum("checksum/65000", 65_000, || checksum(65_000)),
    subject("fdb/10", || fdb(10)),
    subject("fdb/1000", || fdb(1_000)),
    subject("fdb/100000", || fdb(100_000)),
    subject("switch/from_port", from_port),
    subject("switch/from_vtep", from_vtep),
    subject("balance/1x2", || balance(1, 2)),
    subject("balance/1000x100", || balance(1_000, 100)),
    subject("balance/new-flow", new_flow),
];

/// A packet from 10.0.0.1 to 10.0.0.2, or fd00::1 to fd00::2, and its transport.
struct Wire {
    frame: Vec<u8>,
    kind: Kind,
}

impl Wire {
    fn udp4(payload: usize) -> Wire {
        Wire::new(Kind::Udp, v4, payload)
    }

    fn udp6(payload: usize) -> Wire {
        Wire::new(Kind::Udp, v6, payload)
    }

    fn tcp4(payload: usize) -> Wire {
        Wire::new(Kind::Tcp, v4, payload)
    }

    fn tcp6(payload: usize) -> Wire {
        Wire::new(Kind::Tcp, v6, payload)
    }

    /// The transport's checksum is partial, as it is when it comes out of a TAP.
    fn new(kind: Kind, network: fn(u8, u16) -> (Vec<u8>, u64), payload: usize) -> Wire {
        let (protocol, header) = match kind {
            Kind::Tcp => (6, 32),
            Kind::Udp => (17, 8),
        };
        let len = (header + payload) as u16;
        let (network, addresses) = network(protocol, len);
        let partial = checksum::fold(addresses + u64::from(protocol) + u64::from(len));
        let ports = [0x9c, 0x40, 0, 80];
        let transport = match kind {
            Kind::Tcp => {
                let fixed = [0, 0, 3, 232, 0, 0, 0, 5, 0x80, 0x10, 1, 245];
                let timestamps = [0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
                [&ports[..], &fixed, &partial.to_be_bytes(), &timestamps].concat()
            }
            Kind::Udp => [ports, pair(len, partial)].concat(),
        };
        let payload: Vec<u8> = (0..payload).map(|i| (i * 7 + i / 256) as u8).collect();
        Wire { frame: [network, transport, payload].concat(), kind }
    }

    fn view(&self) -> View {
        View::parse(&self.frame).expect("a whole frame")
    }

    /// The frame with its checksum complete.
    fn complete(mut self) -> Vec<u8> {
        let view = self.view();
        let partial = Offload::partial(self.kind, &view).checksum.expect("it is partial");
        vnet::complete(&mut self.frame, partial, view.end);
        self.frame
    }
}

fn pair(a: u16, b: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (a.to_be_bytes(), b.to_be_bytes());
    [a, b, c, d]
}

fn ethernet(ethertype: [u8; 2]) -> Vec<u8> {
    [&mac(2).0[..], &mac(1).0, &ethertype].concat()
}

/// Ethernet and IPv4 headers, and the sum of the addresses.
fn v4(protocol: u8, len: u16) -> (Vec<u8>, u64) {
    let addresses = [10, 0, 0, 1, 10, 0, 0, 2];
    let mut ip =
        [&[0x45, 0][..], &pair(20 + len, 7), &[0x40, 0, 64, protocol, 0, 0], &addresses].concat();
    let sum = !checksum::fold(checksum::sum(&ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ([ethernet([0x08, 0x00]), ip].concat(), checksum::sum(&addresses))
}

/// Ethernet and IPv6 headers, and the sum of the addresses.
fn v6(protocol: u8, len: u16) -> (Vec<u8>, u64) {
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let addresses = [address(1), address(2)].concat();
    let ip = [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[protocol, 64], &addresses].concat();
    ([ethernet([0x86, 0xdd]), ip].concat(), checksum::sum(&addresses))
}

fn parse(wire: Wire) -> Work {
    Box::new(move || {
        let _ = black_box(View::parse(black_box(&wire.frame)));
    })
}

/// Headers of all segments, as the outbox has them written.
fn split(wire: Wire) -> Work {
    let view = wire.view();
    let gso = Gso { kind: wire.kind, size: MSS as u16 };
    let mut headers = [0; MAX_HEADERS];
    Box::new(move || {
        let split = Split::new(black_box(&wire.frame), &view, gso).expect("it can be cut");
        for i in 0..split.segments() {
            black_box(split.segment(i, &mut headers));
        }
    })
}

/// The segments of a super-frame joined again.
fn coalesce(wire: Wire, size: usize) -> Work {
    let mut frames = segments(&wire, size);
    let views: Vec<View> = frames.iter().map(|f| View::parse(f).expect("a segment")).collect();
    let first = frames[0].clone();
    Box::new(move || {
        frames[0].copy_from_slice(&first);
        let mut joined =
            Joined::start(&frames[0], &views[0], Checksum::Complete).expect("it can be joined");
        for (frame, view) in frames.iter().zip(&views).skip(1) {
            assert_ne!(joined.append(black_box(frame), view, Checksum::Complete), Append::No);
        }
        black_box(joined.finish(&mut frames[0]));
    })
}

fn segments(wire: &Wire, size: usize) -> Vec<Vec<u8>> {
    let view = wire.view();
    let gso = Gso { kind: wire.kind, size: size as u16 };
    let split = Split::new(&wire.frame, &view, gso).expect("it can be cut");
    let mut headers = vec![0; split.headers_len()];
    let segment = |i| {
        let payload = split.segment(i, &mut headers);
        [&headers[..], &wire.frame[payload]].concat()
    };
    (0..split.segments()).map(segment).collect()
}

/// From where a transport header starts in a frame, which is no round address.
fn checksum(len: usize) -> Work {
    let frame = Wire::tcp4(65_400).frame;
    Box::new(move || {
        black_box(checksum::sum(black_box(&frame[34..34 + len])));
    })
}

fn mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 66, a, b, c, d])
}

fn vtep(n: u32) -> IpAddr {
    IpAddr::from([192, 0, 2, n as u8])
}

/// The VTEP of an endpoint's host, one of 200.
fn home(endpoint: u32) -> IpAddr {
    vtep(2 + endpoint % 200)
}

fn address(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

/// A network of one port here and `remotes` endpoints on other hosts.
fn network(remotes: u32) -> Network {
    serving(remotes, Vec::new())
}

fn serving(remotes: u32, vips: Vec<Arc<Vip>>) -> Network {
    let remote = |n| Remote { mac: mac(n), addresses: vec![address(n)], vtep: home(n) };
    let subnet = Subnet { net: "10.0.0.0/8".parse().expect("a subnet"), gateway: address(0xffff) };
    let spec = Spec {
        mtu: 1450,
        subnets: vec![subnet],
        multicast: false,
        encrypted: None,
        ports: vec![Port { id: PortId(0), mac: mac(1), addresses: vec![address(1)] }],
        remotes: (2..2 + remotes).map(remote).collect(),
        foreign: Vec::new(),
        narrow: Vec::new(),
        vips,
    };
    Network::new(1, Vni::new(7).expect("a VNI"), spec)
}

/// The virtual IP of a service.
fn virtual_ip(service: u32) -> IpAddr {
    address(0x00ff_0000 + service)
}

/// A plan with so many services of so many backends each.
fn services(services: u32, backends: u32) -> Plan {
    let backend = |n| Backend { ip: address(n), weight: 1, standing: Standing::Ready };
    let vip = |service| {
        let first = 2 + service * backends;
        Arc::new(Vip::new(VipSpec {
            ip: virtual_ip(service),
            version: 1,
            scheduler: Scheduler::RoundRobin,
            affinity: None,
            backends: (first..first + backends).map(backend).collect(),
        }))
    };
    let vips = (0..services).map(vip).collect();
    Plan::new(1, vtep(1), [serving(services * backends, vips).into()])
}

/// A small datagram of the local endpoint to a service, from this port.
fn request(service: u32, port: u16) -> (Vec<u8>, View) {
    let IpAddr::V4(to) = virtual_ip(service) else { unreachable!("it is IPv4") };
    let mut frame = Wire::udp4(SMALL).complete();
    frame[..6].copy_from_slice(&Mac::for_ip(address(0xffff)).0);
    frame[30..34].copy_from_slice(&to.octets());
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    let view = View::parse(&frame).expect("a whole frame");
    (frame, view)
}

/// A packet of an established flow through a virtual IP, of a thousand flows one after
/// the other: parsed and switched, with the copy that makes it the client's again.
fn balance(of: u32, backends: u32) -> Work {
    let plan = services(of, backends);
    let mut switch = Switch::new(1);
    let requests: Vec<Vec<u8>> = (0..1_000).map(|n| request(n % of, 1_024 + n as u16).0).collect();
    let mut frame = requests[0].clone();
    let mut at = 0;
    let mut next = move || {
        frame.copy_from_slice(&requests[at]);
        at = if at + 1 == requests.len() { 0 } else { at + 1 };
        let frame = black_box(&mut frame[..]);
        let view = View::parse(frame).expect("a whole frame");
        let verdict =
            switch.from_port(&plan, Duration::ZERO, PortId(0), frame, &view, &Offload::NONE);
        assert!(matches!(verdict, Verdict::To(Target::Vtep(_))));
    };
    (0..1_000).for_each(|_| next());
    Box::new(next)
}

/// The first packet of a flow through a virtual IP, where so many are half open that
/// another has to make way.
fn new_flow() -> Work {
    let plan = services(1_000, 100);
    let mut switch = Switch::new(1);
    let mut requests: Vec<(Vec<u8>, View)> = (0..1_000).map(|n| request(n, 1)).collect();
    let mut frame = requests[0].0.clone();
    let (mut at, mut port) = (0, 0);
    let mut next = move || {
        let len = requests.len();
        let (request, view) = &mut requests[at];
        at = if at + 1 == len { 0 } else { at + 1 };
        port = if at == 0 { port % 60_000 + 1 } else { port };
        request[34..36].copy_from_slice(&(port + 1_u16).to_be_bytes());
        frame.copy_from_slice(request);
        let frame = black_box(&mut frame[..]);
        let verdict =
            switch.from_port(&plan, Duration::ZERO, PortId(0), frame, view, &Offload::NONE);
        assert!(matches!(verdict, Verdict::To(Target::Vtep(_))));
    };
    (0..20_000).for_each(|_| next());
    Box::new(next)
}

/// Look-ups of one MAC after the other, in no order that a cache could like.
fn fdb(endpoints: u32) -> Work {
    let network = network(endpoints);
    let order: Vec<Mac> = (0..endpoints)
        .map(|i| mac(2 + (u64::from(i) * 7_919 % u64::from(endpoints)) as u32))
        .collect();
    let mut at = 0;
    Box::new(move || {
        black_box(network.lookup(black_box(order[at]))).expect("it is there");
        at = if at + 1 == order.len() { 0 } else { at + 1 };
    })
}

/// A small datagram of the local endpoint to one on another host.
fn from_port() -> Work {
    let plan = Plan::new(1, vtep(1), [network(100).into()]);
    let mut switch = Switch::new(1);
    let mut frame = Wire::udp4(SMALL).complete();
    let view = View::parse(&frame).expect("a whole frame");
    Box::new(move || {
        let frame = black_box(&mut frame[..]);
        let verdict =
            switch.from_port(&plan, Duration::ZERO, PortId(0), frame, &view, &Offload::NONE);
        assert!(matches!(verdict, Verdict::To(Target::Vtep(_))));
    })
}

/// A small datagram from another host to the local endpoint, admission included.
fn from_vtep() -> Work {
    let plan = Plan::new(1, vtep(1), [network(100).into()]);
    let mut switch = Switch::new(1);
    let mut frame = Wire::udp4(SMALL).complete();
    let (to, from) = frame.split_at_mut(6);
    to.swap_with_slice(&mut from[..6]);
    let (source, destination) = frame[26..34].split_at_mut(4);
    source.swap_with_slice(destination);
    let view = View::parse(&frame).expect("a whole frame");
    let (vni, vtep) = (Vni::new(7).expect("a VNI"), home(2));
    Box::new(move || {
        let frame = black_box(&mut frame[..]);
        let admission = Switch::admit(&plan, vtep, vni, Dress::Clear).expect("a member");
        let verdict = switch.from_vtep(&plan, Duration::ZERO, admission, frame, &view);
        assert_eq!(verdict, Verdict::To(Target::Port(PortId(0))));
    })
}
