//! What a container, or a resolver, may do to DNS to harm the others.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::common::dns::{ELSEWHERE, Manner, Upstream, can, code, data, host};
use crate::common::netns::Netns;
use crate::common::{SOON, wait_until};

/// An A question.
fn question(id: u16, name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|l| [&[l.len() as u8][..], l.as_bytes()].concat());
    let name: Vec<u8> = labels.collect();
    let header = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&id.to_be_bytes()[..], &header, &name, &[0, 0, 1, 0, 1]].concat()
}

fn client(ns: &Netns) -> UdpSocket {
    let socket = ns.enter(|| UdpSocket::bind(("127.0.0.1", 0)).unwrap());
    socket.connect(("127.0.0.11", 53)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// While one container floods a resolver that says nothing, others are answered: those
/// who ask for the cluster's names at once, those who ask for more within their share.
#[test]
fn a_flood_of_one_harms_no_other() {
    need!(can());
    let host = host(&["127.0.0.1"]);
    let upstream = Upstream::start(&host.ns, Ipv4Addr::LOCALHOST, Manner::Silent);
    host.ok("network create red --subnet 10.1.0.0/24");
    let (bad, good) = (Netns::new("bad"), Netns::new("good"));
    host.attach("red", &bad, "");
    host.ok(&format!("attach red --netns {} --name web --ip 10.1.0.9", good.name()));
    let (flood, asker) = (client(&bad), client(&good));
    let mut took = Vec::new();
    for round in 0..200u16 {
        for n in 0..50 {
            let _ = flood.send(&question(n, &format!("n{round}x{n}.example.com")));
        }
        let start = Instant::now();
        asker.send(&question(round, "web")).unwrap();
        let mut answer = [0; 512];
        let len = asker.recv(&mut answer).unwrap();
        assert_eq!((&answer[..2], answer[7]), (&round.to_be_bytes()[..], 1));
        assert_eq!(answer[len - 4..len], [10, 1, 0, 9]);
        took.push(start.elapsed());
    }
    // A thousandth of a second is what it takes, and seconds if it waited for the silent
    // resolver. Most of them count: a busy machine may stop for a while at any.
    took.sort_unstable();
    let most = took[took.len() * 3 / 4];
    assert!(most < Duration::from_millis(500), "{most:?}");
    wait_until("over quota is said at once", || host.counter("names_unanswered_upstream") > 1000);
    // The rest of the places is free for others.
    asker.send(&question(1, "www.example.com")).unwrap();
    wait_until("the other's question goes out", || upstream.heard(b"\x03www"));
}

#[test]
fn slow_clients_keep_nobody_out_for_long() {
    need!(can());
    let host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let (bad, good) = (Netns::new("bad"), Netns::new("good"));
    host.attach("red", &bad, "--ip 10.1.0.2 --alias bad");
    host.attach("red", &good, "");
    let connect = || TcpStream::connect(("127.0.0.11", 53)).unwrap();
    let mut slow: Vec<TcpStream> = bad.enter(|| (0..40).map(|_| connect()).collect());
    for stream in &mut slow {
        // Those who came first may have been closed already, as slow as they are.
        let _ = stream.write_all(&[0, 200, 1]);
    }
    assert_eq!(data(&good, "+tcp bad"), ["10.1.0.2"], "another container is not concerned");
    assert_eq!(data(&bad, "bad"), ["10.1.0.2"], "UDP is not concerned");
    // They are closed after some seconds, and then it is the next ones' turn.
    wait_until("TCP is back", || data(&bad, "+tcp bad") == ["10.1.0.2"]);
    // Who announces more than a question is closed at once.
    let mut large = bad.enter(connect);
    large.write_all(&[0xff, 0xff, 0, 0]).unwrap();
    large.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(matches!(large.read(&mut [0; 8]), Ok(0) | Err(_)));
}

#[test]
fn only_the_right_answer_counts() {
    need!(can());
    let host = host(&["127.0.0.1"]);
    let _noisy = Upstream::start(&host.ns, Ipv4Addr::LOCALHOST, Manner::Noisy);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    host.attach("red", &container, "");
    for n in 0..10 {
        assert_eq!(data(&container, &format!("n{n}.example.com")), [ELSEWHERE]);
    }
}

#[test]
fn bad_messages_are_survived() {
    need!(can());
    let host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    host.ok(&format!("attach red --netns {} --name web", container.name()));
    let socket = client(&container);
    let whole = question(9, "web");
    for end in 0..whole.len() {
        socket.send(&whole[..end]).unwrap();
    }
    let mut response = whole.clone();
    response[2] |= 0x80;
    let mut many = whole.clone();
    many[4..6].copy_from_slice(&[0xff, 0xff]);
    let mut looped = whole[..12].to_vec();
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    for bad in [response, many, looped, vec![0xff; 4096], vec![0; 20_000]] {
        socket.send(&bad).unwrap();
    }
    assert_eq!(data(&container, "web"), ["10.1.0.2"]);
    assert_eq!(code(&container, "+opcode=update web"), "NOTIMP");
    assert!(host.counter("names_dropped") > 0);
}
