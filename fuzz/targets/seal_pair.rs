//! Two hosts under a script: frames both ways, packets that are lost, doubled, reordered,
//! changed and played back, hosts that start again, time that jumps. No frame is taken
//! that was not sent, none twice; and after a quiet time both can talk.
//!
//! Input: steps of two bytes, what and which.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vxmesh_fuzz::hosts::{Hosts, Packet};

fuzz_target!(|input: &[u8]| {
    let mut hosts = Hosts::new();
    for step in input.chunks_exact(2).take(60) {
        play(&mut hosts, step[0], step[1]);
    }
    // Until the last that is tried is tried again, and heard.
    hosts.run(Duration::from_secs(45));
    for from in [0, 1] {
        let number = hosts.send(from).expect("a session");
        hosts.run(Duration::from_millis(200));
        assert!(hosts.has(from, number), "it does not arrive");
    }
});

fn play(hosts: &mut Hosts, what: u8, which: u8) {
    let nth = |all: &[Packet]| usize::from(which) % all.len().max(1);
    let (next, before) = (nth(&hosts.air), nth(&hosts.past));
    match what % 10 {
        0 | 1 => {
            hosts.send(usize::from(what % 10));
        }
        // The next, one that overtakes others, one that is lost, one that comes twice.
        2 if !hosts.air.is_empty() => {
            let packet = hosts.air.remove(0);
            hosts.arrive(packet);
        }
        3 if !hosts.air.is_empty() => {
            let packet = hosts.air.remove(next);
            hosts.arrive(packet);
        }
        4 if !hosts.air.is_empty() => {
            hosts.air.remove(next);
        }
        5 if !hosts.past.is_empty() => {
            let packet = hosts.past[before].clone();
            hosts.arrive(packet);
        }
        6 if !hosts.past.is_empty() => {
            let mut packet = hosts.past[before].clone();
            let at = usize::from(which) * 7 % packet.bytes.len();
            packet.bytes[at] ^= 1 << (which % 8);
            hosts.arrive(packet);
        }
        7 => hosts.wait(Duration::from_millis(u64::from(which) * 10)),
        8 => hosts.wait(Duration::from_secs(u64::from(which))),
        9 if which % 8 == 0 => hosts.restart(usize::from(which / 8) % 2),
        _ => hosts.run(Duration::from_millis(u64::from(which))),
    }
}
