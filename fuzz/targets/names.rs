//! A message from a container to its resolver, and one from upstream in answer:
//! whatever it is, what follows is a message, of a size that its transport takes.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vxmesh::core::names::forward::{Forwarder, Heard, at};
use vxmesh::core::names::{Entry, Service, Task, Transport, Verdict, View, Zone, answer};
use vxmesh::core::tables::Protocol;

/// A network with two endpoints, with a hundred behind one alias, and with a service.
static VIEW: LazyLock<View> = LazyLock::new(|| {
    let addresses: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([10, 1, 0, n])).collect();
    let both = [addresses[2], IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, 2])];
    let aliases = ["api".to_owned(), "many".to_owned()];
    let zone = Zone::new(
        "web",
        false,
        [
            Entry { name: "box", aliases: &aliases, addresses: &both },
            Entry { name: "many", aliases: &[], addresses: &addresses },
        ],
        [Service {
            name: "shop",
            aliases: &aliases[..1],
            vips: None,
            tasks: [("box", &both[..]), ("many", &addresses[..])]
                .map(|(name, addresses)| Task { name, addresses, weight: 1 })
                .into(),
            ports: vec![(80, Protocol::Tcp)],
        }],
    );
    let subnet = "10.1.0.0/16".parse().expect("a subnet");
    View::new(vec![zone.into()], [subnet].into())
});

fuzz_target!(|input: &[u8]| {
    let Some((kind, message)) = input.split_first() else { return };
    let transport = if kind & 1 == 0 { Transport::Datagram(4096) } else { Transport::Tcp };
    match answer(&VIEW, transport, message, (*kind).into()) {
        Verdict::Drop => assert!(message.len() < 12 || message[2] & 0x80 != 0),
        Verdict::Answer(reply) => {
            assert_eq!(reply[..2], message[..2]);
            assert!(reply.len() >= 12 && reply[2] & 0x80 != 0);
            assert!(reply.len() <= if transport != Transport::Tcp { 4096 } else { 65_535 });
        }
        Verdict::Forward(question) => forward(question, message),
    }
});

/// Both the question itself and the client's bytes stand for a resolver's answer.
fn forward(question: Vec<u8>, answer: &[u8]) {
    let mut forwarder = Forwarder::new();
    forwarder.set_upstreams([at([192, 0, 2, 1].into())]);
    let id = u16::from_be_bytes([question[0], question[1]]);
    let mut pending =
        forwarder.begin(Duration::ZERO, (), question.clone()).expect("it is a whole question");
    forwarder.next(Duration::ZERO, &mut pending, id).expect("there is a resolver");
    for bytes in [answer, &question] {
        let mut bytes = bytes.to_vec();
        bytes[2] |= 0x80;
        if let Heard::Answer(heard) = forwarder.heard(&mut pending, bytes) {
            assert_eq!(heard[..2], question[..2]);
        }
    }
    assert!(pending.give_up().len() >= 12);
    forwarder.end(&pending);
    assert_eq!(forwarder.in_flight(), 0);
}
