//! Strangers on the control port: they learn nothing, cost little, and the
//! members do not notice them.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vxmesh::api::NodeState;

use crate::common::cluster::{all_ping, container, memory, wait_agreement};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{attach_known, wait_network};
use crate::common::netns::{Netns, Output, command};
use crate::common::{SOON, root, tool, wait_until};

/// By how much a daemon may grow under any of this, in KiB.
const GROWTH: u64 = 32 << 10;
const CONNECTIONS: usize = 2000;

/// Two members, and a namespace on the same underlay.
struct Lab {
    hosts: [Host; 2],
    far: Netns,
    fabric: Fabric,
}

fn lab() -> Lab {
    let fabric = Fabric::new();
    let hosts: [Host; 2] = fabric.cluster();
    hosts[0].ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &hosts.each_ref());
    let far = fabric.plug(99);
    Lab { hosts, far, fabric }
}

impl Lab {
    fn target(&self) -> SocketAddr {
        SocketAddr::new(self.hosts[0].vtep, 7946)
    }

    /// Attaches on one member, which the other hears of; nobody stays dead.
    fn members_work(&self) {
        let boxes = self.hosts.each_ref().map(|host| {
            let ns = Netns::new("c");
            let others: Vec<&Host> = self.hosts.iter().filter(|h| h.vtep != host.vtep).collect();
            attach_known(host, "red", &ns, "", &others);
            ns
        });
        self.wait_up();
        drop(boxes);
        wait_agreement(&self.hosts.each_ref());
    }

    /// Members that have been busy see each other again.
    fn wait_up(&self) {
        for host in &self.hosts {
            wait_until("all nodes are up", || {
                host.nodes().iter().all(|n| n.state == NodeState::Up)
            });
        }
    }

    fn grown_by(&self, before: u64) -> u64 {
        memory(&self.hosts[0], "VmRSS:").saturating_sub(before)
    }
}

fn noise() -> impl FnMut() -> u64 {
    let mut random = 0x853c_49e6_748f_ea9b_u64;
    move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    }
}

#[test]
fn datagrams_of_strangers_get_no_answer() {
    need!(root());
    let lab = lab();
    lab.members_work();
    let socket = lab.far.enter(|| UdpSocket::bind((Fabric::vtep(99), 0)).unwrap());
    let before = memory(&lab.hosts[0], "VmRSS:");
    let mut next = noise();
    let mut flood = |rounds: std::ops::Range<u64>| {
        rounds.for_each(|round| {
            let length = match round % 100 {
                0 => 60_000,
                1 => 0,
                _ => next() as usize % 1400,
            };
            let mut datagram: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            // Lengths and key numbers as large, and as small, as they come.
            let edge = if round % 2 == 0 { 0xff } else { 0 };
            let start = length.min(next() as usize % 40);
            datagram[..start].fill(edge);
            // A full queue refuses some.
            let _ = socket.send_to(&datagram, lab.target());
        })
    };
    flood(0..20_000);
    // Most of them are lost where the member has no time to read them.
    wait_until("a thousand are refused", || {
        flood(0..100);
        let refused = lab.hosts[0].status().cluster.refused;
        refused.iter().any(|r| r.node.is_empty() && r.count > 1000)
    });
    lab.members_work();
    assert!(lab.grown_by(before) < GROWTH, "grown by {} KiB", lab.grown_by(before));
    socket.set_nonblocking(true).unwrap();
    let answer = socket.recv_from(&mut [0; 2048]).map_err(|e| e.kind());
    assert_eq!(answer, Err(ErrorKind::WouldBlock), "a stranger was answered");
}

/// Whatever comes back from a connection until it is closed or `limit` has passed.
fn answer(stream: &mut TcpStream, limit: Duration) -> Vec<u8> {
    stream.set_read_timeout(Some(limit)).unwrap();
    let mut bytes = Vec::new();
    // A reset and a silence are both no answer.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn connections_of_strangers_get_no_answer() {
    need!(root());
    let lab = lab();
    let mut next = noise();
    for round in 0..60_u64 {
        let length = [0, 1, 2, 48, 97, 1000, 100_000][round as usize % 7];
        let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        // What opens a handshake of either kind, and nothing known.
        if let Some(first) = bytes.first_mut() {
            *first = (round % 5) as u8;
        }
        let mut stream = lab.far.enter(|| TcpStream::connect_timeout(&lab.target(), SOON).unwrap());
        // It may be closed before all is written.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert_eq!(answer(&mut stream, SOON), [0_u8; 0], "round {round}: {length} bytes");
    }
    lab.members_work();
}

/// Connections that are held open: silent ones, and ones that drip.
#[test]
fn thousands_of_connections_cost_little() {
    need!(root().and_then(|()| descriptors()));
    let lab = lab();
    lab.members_work();
    let kept = lab.hosts.each_ref().map(|host| container(host, "red", ""));
    let before = memory(&lab.hosts[0], "VmRSS:");
    let mut held: Vec<TcpStream> = lab.far.enter(|| {
        let connect = |_| TcpStream::connect_timeout(&lab.target(), SOON).ok();
        (0..CONNECTIONS).filter_map(connect).collect()
    });
    assert!(held.len() > CONNECTIONS / 2, "only {} connections", held.len());
    for drop_of_garbage in [1, 0xff, 0] {
        for stream in held.iter_mut().step_by(2) {
            // Most are closed by now.
            let _ = stream.write_all(&[drop_of_garbage]);
        }
        all_ping(&kept.each_ref());
    }
    assert!(lab.grown_by(before) < GROWTH, "grown by {} KiB", lab.grown_by(before));
    lab.wait_up();
    for stream in &mut held {
        assert_eq!(answer(stream, SOON), [0_u8; 0], "a stranger was answered");
    }
    lab.members_work();
}

/// As many silent connections as the port takes, new ones all the time: members
/// and newcomers still get their turn.
#[test]
fn a_flood_of_connections_keeps_nobody_out() {
    need!(root().and_then(|()| descriptors()));
    let lab = lab();
    let newcomer = lab.fabric.host(3);
    let target = lab.target();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| lab.far.enter(|| flood(target, &ended)));
        // Ends the flood also where an assertion fails.
        let end = End(&ended);
        let sandbox = Netns::new("box");
        // Each of a part of the network that the first host owns so far.
        for last in [250, 200, 150, 100] {
            let line = format!(
                "attach red --netns {} --ip 10.1.0.{last} --name e{last} --ifname e{last}",
                sandbox.name()
            );
            wait_until("the second host gets a share", || lab.hosts[1].try_line(&line).ok());
        }
        let line = format!("cluster join --token {} {}", lab.hosts[1].token(), target.ip());
        wait_until("another host joins", || newcomer.try_line(&line).ok());
        drop(end);
        assert!(flood.join().unwrap() > CONNECTIONS, "that was no flood");
    });
    wait_agreement(&[&lab.hosts[0], &lab.hosts[1], &newcomer]);
}

/// Sets it when dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens connections, the latest few hundred of which stay; returns how many.
fn flood(target: SocketAddr, ended: &AtomicBool) -> usize {
    let mut held = VecDeque::new();
    let mut opened = 0;
    while !ended.load(Ordering::Relaxed) || opened <= CONNECTIONS {
        if let Ok(stream) = TcpStream::connect_timeout(&target, SOON) {
            held.push_back(stream);
            opened += 1;
        }
        if held.len() > 400 {
            held.pop_front();
        }
        // The flood's pace, which is all that it waits for: some thousand a second at
        // most, since the machine is not ours alone.
        std::thread::sleep(Duration::from_micros(500));
    }
    opened
}

/// The test itself holds one for each connection.
fn descriptors() -> Result<(), String> {
    tool("prlimit")?;
    let want = CONNECTIONS + 500;
    let pid = std::process::id();
    let now =
        Output::of(&mut command(&format!("prlimit --pid {pid} --nofile -o SOFT --noheadings")));
    if now.out.trim().parse().is_ok_and(|soft: usize| soft >= want) {
        return Ok(());
    }
    let raised = Output::of(&mut command(&format!("prlimit --pid {pid} --nofile={want}:")));
    if raised.ok() { Ok(()) } else { Err(format!("it needs {want} descriptors: {}", raised.err)) }
}
