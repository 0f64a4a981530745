//! A datagram that is no VXLAN, to a host that waits for a handshake and to one that has a
//! session: a stranger's is refused and costs no key exchange, and so is a member's
//! after a change. Afterwards the two can talk.
//!
//! Input: how far the two are and what the datagram is to be like (1 byte), where it is
//! changed and how (4 bytes), then its bytes.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vxmesh::wire::sealed::INITIATION;
use vxmesh_fuzz::hosts::{Hosts, Packet};

/// Of an initiation, mac2: not looked at unless there is a flood.
const MAC2: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, a, b, len, flip], bytes)) = input.split_first_chunk() else { return };
    let mut hosts = Hosts::new();
    // One to have an initiation on its way, then its response, then a session.
    hosts.wait(Duration::from_millis(400));
    for _ in 0..mode % 4 {
        let on_its_way = std::mem::take(&mut hosts.air);
        on_its_way.into_iter().for_each(|packet| hosts.arrive(packet));
    }
    let (from, bytes) = match hosts.past.get(usize::from(a) % hosts.past.len().max(1)) {
        Some(packet) if mode & 4 == 0 => (packet.from, changed(&packet.bytes, b, len, flip)),
        _ => (usize::from(a % 2), bytes.to_vec()),
    };
    let exchanges = hosts.seals[1 - from].exchanges();
    let unchanged = |packet: &Packet| packet.from == from && is_same(&packet.bytes, &bytes);
    if !hosts.past.iter().any(unchanged) {
        hosts.arrive(Packet { from, bytes });
        assert_eq!(hosts.seals[1 - from].exchanges(), exchanges, "looked at");
    }
    hosts.run(Duration::from_secs(5));
    for from in [0, 1] {
        let number = hosts.send(from).expect("a session");
        hosts.run(Duration::from_millis(100));
        assert!(hosts.has(from, number));
    }
});

/// With a byte flipped, and cut or lengthened.
fn changed(bytes: &[u8], at: u8, len: u8, flip: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = usize::from(at) % bytes.len();
    bytes[at] ^= flip;
    if len != 0 {
        bytes.resize(usize::from(len), 0);
    }
    bytes
}

fn is_same(sent: &[u8], bytes: &[u8]) -> bool {
    let ends = |all: &[u8]| if all.first() == Some(&INITIATION) { MAC2 } else { 0 };
    let signed = |all: &[u8]| all.len().saturating_sub(ends(all));
    sent.len() == bytes.len() && sent[..signed(sent)] == bytes[..signed(bytes)]
}
