//! A member that says anything: the content of sealed datagrams and of requests.
//! Whatever it says, the machine lives, stays the only author of its own
//! entries, and answers. And a stranger that shows who has admitted it.
//!
//! Input: which way it comes (even: a datagram, odd: a request, or an introduction as
//! a stranger's), then its bytes.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vxmesh::core::cluster::entry::{Body, Key, Member, Node, NodeId, Secret, Version};
use vxmesh::core::cluster::machine::{Machine, Settings, Start};
use vxmesh::core::cluster::rpc::Request;
use vxmesh::core::cluster::secret::envelope::Sealer;
use vxmesh::core::cluster::secret::identity::Identity;
use vxmesh::core::cluster::secret::ring::KeyRing;

const KEY: [u8; 32] = [42; 32];

fuzz_target!(|input: &[u8]| {
    let Some((way, bytes)) = input.split_first() else { return };
    let (me, peer) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let (own, other) = (me.id(), peer.id());
    let mut machine = machine(me, &peer);
    let before: Vec<_> = mine(&machine, own);
    let now = Duration::from_secs(1);
    if way % 2 == 0 {
        let ring = KeyRing::new(1, Secret(KEY));
        let sealed = Sealer::new(other, [5; 16]).seal(&ring, bytes);
        machine.datagram(now, &mut sealed.expect("counters are left"));
    } else if let Ok((request, [])) = postcard::take_from_bytes::<Request>(bytes) {
        if let Request::Introduction(chain) = request {
            machine.introduced(now, &[7; 32], chain);
            machine.tick(now + Duration::from_secs(1));
            while machine.output().is_some() {}
            return assert_eq!(mine(&machine, own), before);
        }
        // Only these make a host write anything of its own.
        let trade = matches!(
            request,
            Request::Share { .. } | Request::Estate(..) | Request::Release(..) | Request::Leave(_)
        );
        machine.request(now, other, request);
        if trade {
            return;
        }
    }
    machine.tick(now + Duration::from_secs(1));
    while machine.output().is_some() {}
    assert_eq!(mine(&machine, own), before);
});

fn machine(me: Identity, peer: &Identity) -> Machine {
    let admit = |who: &Identity| {
        let member = Member::Admitted { exchange: who.exchange_public() };
        me.sign_entry(Key::Member(who.id()), Version(1), Some(Body::Member(member)))
    };
    let entries = vec![
        admit(&me),
        admit(peer),
        me.sign_entry(Key::Secret(1), Version(2), Some(Body::Secret(Secret(KEY)))),
        peer.sign_entry(Key::Node(peer.id()), Version(2), Some(Body::Node(node("b", 2)))),
    ];
    let start = Start { identity: me, node: node("a", 1), generation: 1, entries };
    Machine::new(Duration::ZERO, start, Settings::default(), [3; 32], [4; 16])
}

fn node(name: &str, last: u8) -> Node {
    let ip = [192, 0, 2, last].into();
    Node {
        name: name.to_owned(),
        vtep: ip,
        control: (ip, 7946).into(),
        mtu: 1500,
        program: "fuzz".to_owned(),
        floor: Version::default(),
        exchange: [0; 32],
        renounced: Default::default(),
    }
}

/// What only this host may write.
fn mine(machine: &Machine, me: NodeId) -> Vec<(Key, Version)> {
    let own = machine.replica().entries().filter(|e| e.key.owner() == Some(me));
    own.map(|e| (e.key, e.version)).collect()
}
