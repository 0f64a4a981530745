//! Many daemons on one machine.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::cluster::{container, memory, wait_agreement};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{wait_members, wait_network};
use crate::common::root;

/// The acceptance list's fifty; fewer where the program is not optimised.
const DAEMONS: u8 = if cfg!(debug_assertions) { 12 } else { 50 };
/// What an idle one may hold, in KiB.
const IDLE_MEMORY: u64 = 30 << 10;
/// As proc(5) counts it. The file of a program that is not optimised has 250 MB, of which
/// the kernel maps as much as it likes: that says nothing of what the program holds.
const MEMORY: &str = if cfg!(debug_assertions) { "RssAnon:" } else { "VmRSS:" };
/// Over how long its CPU time is measured.
const IDLE: Duration = Duration::from_secs(5);

/// CPU time of a process so far, in clock ticks of 10 ms (proc(5), fields 14 and 15).
fn ticks(host: &Host) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", host.pid())).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn many_daemons_converge_and_idle() {
    need!(root());
    let fabric = Fabric::new();
    let hosts: Vec<Host> = (1..=DAEMONS).map(|n| fabric.host(n)).collect();
    Fabric::introduce(&hosts, DAEMONS);
    let all: Vec<&Host> = hosts.iter().collect();
    let start = Instant::now();
    // A storm: all at once, by one member.
    std::thread::scope(|scope| {
        for host in &hosts[1..] {
            scope.spawn(|| host.join(&hosts[0]));
        }
    });
    wait_members(&all);
    let joined = start.elapsed();
    hosts[0].ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &all);
    let start = Instant::now();
    let boxes: Vec<_> = hosts.iter().map(|host| container(host, "red", "")).collect();
    wait_agreement(&all);
    let agreed = start.elapsed();
    boxes[0].ns.ping(boxes.last().expect("there are some").ip);

    let before: Vec<u64> = hosts.iter().map(ticks).collect();
    // Nothing is waited for: what is measured is what they do while nothing happens.
    sleep(IDLE);
    let used: Vec<u64> = hosts.iter().zip(before).map(|(h, b)| ticks(h) - b).collect();
    let percent = |ticks: u64| ticks as f64 / IDLE.as_secs_f64();
    let mean = percent(used.iter().sum()) / f64::from(DAEMONS);
    let most = percent(used.iter().copied().max().unwrap_or_default());
    let resident: Vec<u64> = hosts.iter().map(|h| memory(h, MEMORY)).collect();
    let largest = resident.iter().copied().max().unwrap_or_default();
    println!(
        "{DAEMONS} daemons: all joined after {joined:.1?}, {DAEMONS} endpoints known by all after \
         {agreed:.1?}; idle: CPU {mean:.2} % of a core each, {most:.2} % at most; {largest} KiB at most"
    );
    assert!(largest < IDLE_MEMORY, "resident KiB: {resident:?}");
}
