//! Batches sent to a socket of the test's own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;
use proptest::{prop_assert_eq, proptest};

use super::*;
use crate::core::seal::cipher::{Backend, Suite};
use crate::core::seal::{Offer, Seal};
use crate::dataplane::counters::Counters;
use crate::dataplane::mmsg::Inbox;
use crate::dataplane::paths::Paths;
use crate::dataplane::udp::Underlay;
use crate::wire::testing::{Packet, Sum};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const UDP: vnet::Kind = vnet::Kind::Udp;

/// An outbox whose datagrams come back to a socket of its own.
struct Lab {
    outbox: Outbox,
    socket: Arc<socket2::Socket>,
    inbox: Inbox,
    plan: Plan,
    counters: Arc<CachePadded<Counters>>,
}

fn lab() -> Lab {
    let underlay = Underlay::bind(HERE, 0, 7).unwrap();
    let socket = Arc::new(underlay.receiver);
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let paths = Paths::new(false, Default::default());
    let counters = Arc::default();
    let senders = underlay.senders;
    let sender = Sender::new(senders, socket.clone(), port, paths, Arc::clone(&counters));
    let offer = Offer { suites: vec![Suite::ChaCha20Poly1305], backend: Backend::Portable };
    let seal = Seal::new(Now::ZERO, 0, offer, 1, [1; 32]);
    let outbox = Outbox::new(sender, Datagrams::new(seal), 7);
    Lab { outbox, socket, inbox: Inbox::new(), plan: Plan::new(7, HERE, []), counters }
}

impl Lab {
    /// Hands the outbox a datagram that says `mark` all over. It is a super-frame of
    /// segments of 100 bytes, if it is longer.
    fn send(&mut self, mark: u8, len: usize, to: &[IpAddr]) {
        let gso = (len > 100).then_some(Gso { kind: UDP, size: 100 });
        let sum = if gso.is_some() { Sum::Partial } else { Sum::Complete };
        self.hand_over(&Packet::udp(&vec![mark; len]).build(sum), gso, to);
    }

    fn hand_over(&mut self, frame: &[u8], gso: Option<Gso>, to: &[IpAddr]) {
        let view = View::parse(frame).unwrap();
        assert!(self.outbox.fill(&self.plan, Now::ZERO, frame));
        let origin = Origin { vni: Vni::new(5).unwrap(), dress: Dress::Clear, port: None };
        let offload = Offload { gso, ..Offload::NONE };
        let parcel = Parcel { len: frame.len(), view: &view, offload: &offload, origin };
        self.outbox.send(&self.plan, Now::ZERO, &parcel, to);
    }

    /// How many messages have left.
    fn sent(&self) -> u64 {
        self.counters.snapshot(0).get("udp_sends")
    }

    /// The marks of the next datagrams, with how many bytes say so.
    fn arrived(&mut self, datagrams: usize) -> Vec<(u8, usize)> {
        let mut marks = Vec::new();
        let patience = Instant::now() + Duration::from_secs(20);
        while marks.len() < datagrams && Instant::now() < patience {
            let _ = self.inbox.receive(&self.socket);
            for arrival in self.inbox.arrivals() {
                let message = &self.inbox.memory[arrival.range.clone()];
                for datagram in message.chunks(arrival.gro_size.unwrap_or(message.len())) {
                    let frame = &datagram[vxlan::LEN..];
                    let payload = &frame[View::parse(frame).unwrap().payload..];
                    assert!(payload.iter().all(|byte| *byte == payload[0]));
                    marks.push((payload[0], payload.len()));
                }
            }
        }
        marks
    }
}

#[test]
fn a_batch_leaves_together_and_in_order() {
    let mut lab = lab();
    lab.send(1, 250, &[HERE]);
    lab.send(2, 200, &[HERE]);
    assert_eq!(lab.sent(), 0, "before the batch's end");
    lab.send(3, 90, &[HERE]);
    // What is queued goes before a super-frame.
    lab.send(4, 120, &[HERE]);
    assert_eq!(lab.sent(), 3);
    let first = [(1, 100), (1, 100), (1, 50), (2, 100), (2, 100), (3, 90)];
    assert_eq!(lab.arrived(6), first);
    lab.send(5, 80, &[HERE]);
    lab.send(6, 80, &[HERE]);
    lab.outbox.flush(&lab.plan, Now::ZERO);
    assert_eq!(lab.arrived(4), [(4, 100), (4, 20), (5, 80), (6, 80)]);
    let sent = lab.sent();
    lab.outbox.flush(&lab.plan, Now::ZERO);
    assert_eq!(lab.sent(), sent, "once");
}

#[test]
fn what_is_kept_stays_until_the_batch_ends() {
    let mut lab = lab();
    assert!(lab.outbox.fill(&lab.plan, Now::ZERO, &[7; 300]));
    let kept = lab.outbox.range(300);
    lab.outbox.keep(300);
    // A super-frame makes those in the queue leave before it, in the midst of a batch,
    // also if it cannot be cut itself.
    lab.send(1, 90, &[HERE]);
    lab.send(1, 120, &[HERE]);
    lab.send(1, 90, &[HERE]);
    let tcp = Gso { kind: vnet::Kind::Tcp, size: 100 };
    lab.hand_over(&Packet::udp(&[1; 900]).build(Sum::Partial), Some(tcp), &[HERE]);
    lab.send(1, 90, &[HERE]);
    assert_eq!(lab.sent(), 3);
    assert_eq!(lab.outbox.memory[kept.clone()], [7; 300]);
    lab.outbox.flush(&lab.plan, Now::ZERO);
    assert!(lab.outbox.fill(&lab.plan, Now::ZERO, &[8; 300]));
    assert_eq!(lab.outbox.memory[kept], [8; 300]);
}

#[test]
fn a_super_frame_for_many_is_not_kept_for_all_of_them() {
    let mut lab = lab();
    lab.send(1, 50_000, &[HERE; 100]);
    assert!(lab.sent() > 0);
    assert!(lab.outbox.trains.len() < 40);
}

/// Datagrams of these senders and sizes, one behind the other.
fn ready<const N: usize>(datagrams: [(usize, usize); N]) -> Vec<Ready> {
    let to = SocketAddr::from(([10, 0, 0, 1], 4789));
    let mut at = 0;
    let mut next = |len: usize| {
        at += len;
        at - len..at
    };
    datagrams
        .map(|(sender, len)| {
            let bytes = next(len);
            Ready { sender, to, ecn: Ecn::NotEct, bytes, queued: 0 }
        })
        .into()
}

fn runs(queue: &[Ready], most: usize) -> Vec<usize> {
    let mut rest = queue;
    let mut runs = Vec::new();
    while !rest.is_empty() {
        runs.push(run(rest, most));
        rest = &rest[runs[runs.len() - 1]..];
    }
    runs
}

#[test]
fn a_run_is_of_one_size_and_may_end_short() {
    let sizes = [100, 100, 60, 60, 100, 100, 101, 1];
    let queue = ready(sizes.map(|len| (1, len)));
    assert_eq!(runs(&queue, 64), [3, 1, 2, 2]);
    assert_eq!(runs(&queue, 2), [2, 2, 2, 2]);
    assert_eq!(runs(&queue, 1), [1; 8]);
}

#[test]
fn a_run_has_one_socket_one_vtep_and_one_mark() {
    let mut queue = ready([1, 1, 2, 2, 2, 2].map(|sender| (sender, 80)));
    queue[4].ecn = Ecn::Ce;
    queue[5].to = SocketAddr::from(([10, 0, 0, 2], 4789));
    assert_eq!(runs(&queue, 64), [2, 2, 1, 1]);
}

#[test]
fn what_was_refused_in_between_does_not_leave() {
    let mut queue = ready([(1, 80); 5]);
    queue.remove(2);
    assert_eq!(runs(&queue, 64), [2, 2]);
}

/// A frame of `len` bytes in a queue, whose place in the memory says when it came.
fn queued(flow: u64, ecn: Ecn, at: usize, len: usize) -> Queued {
    let origin = Origin { vni: Vni::new(5).unwrap(), dress: Dress::Clear, port: None };
    Queued { hash: flow, sender: 0, to: HERE, ecn, step: 0, frame: at..at + len, origin }
}

proptest! {
    #[test]
    fn within_a_flow_the_order_stays(
        frames in proptest::collection::vec((0..4u64, 0..4u8, 1..5usize), 0..60)
    ) {
        let frames = frames.into_iter().enumerate();
        let queue = frames.map(|(i, (flow, tos, len))| queued(flow, Ecn::from_tos(tos), i, len));
        let mut queue: Vec<Queued> = queue.collect();
        let came = queue.clone();
        arrange(&mut queue);
        for flow in 0..4 {
            let of_flow = |queue: &[Queued]| -> Vec<usize> {
                queue.iter().filter(|q| q.hash == flow).map(|q| q.frame.start).collect()
            };
            prop_assert_eq!(of_flow(&queue), of_flow(&came));
        }
    }
}

#[test]
fn what_has_one_size_comes_together() {
    // Each flow's second frame is longer than its first, and the third shorter.
    let mut queue: Vec<Queued> = (0..3)
        .flat_map(|flow| [64, 200, 100].map(|len| queued(flow, Ecn::NotEct, flow as usize, len)))
        .collect();
    queue.push(queued(3, Ecn::Ce, 3, 200));
    arrange(&mut queue);
    let sizes: Vec<usize> = queue.iter().map(|q| q.frame.len()).collect();
    assert_eq!(sizes, [64, 64, 64, 200, 200, 200, 200, 100, 100, 100]);
}

#[test]
fn what_is_sealed_goes_apart() {
    let mut queue: Vec<Queued> = (0..4).map(|flow| queued(flow, Ecn::NotEct, 0, 64)).collect();
    queue[0].origin.dress = Dress::Sealed;
    queue[2].origin.dress = Dress::Sealed;
    arrange(&mut queue);
    let flows: Vec<u64> = queue.iter().map(|q| q.hash).collect();
    assert_eq!(flows, [1, 3, 0, 2]);
}

#[test]
fn datagrams_of_several_flows_share_messages() {
    let mut lab = lab();
    let datagram = |flow: u16, mark: u8, len| {
        Packet { ports: (flow, 53), ..Packet::udp(&vec![mark; len]) }.build(Sum::Complete)
    };
    for flow in 0..100 {
        for (mark, len) in [(1, 20), (2, 80)] {
            lab.hand_over(&datagram(flow, mark, len), None, &[HERE]);
        }
    }
    lab.outbox.flush(&lab.plan, Now::ZERO);
    // Two sizes from two source ports, and no message has more than 64 datagrams.
    assert!(lab.sent() <= 8, "{} messages", lab.sent());
    let mut arrived = lab.arrived(200);
    arrived.sort_unstable();
    assert_eq!(arrived, [vec![(1, 20); 100], vec![(2, 80); 100]].concat());
}

#[test]
fn streams_spread_over_all_sockets_and_datagrams_over_few() {
    let sockets = |packet: Packet| -> BTreeSet<usize> {
        let view = View::parse(&packet.build(Sum::Complete)).unwrap();
        (0..1000).map(|hash| sender_of(hash, &view)).collect()
    };
    assert_eq!(sockets(Packet::tcp(b"x")), (0..SENDERS).collect());
    assert_eq!(sockets(Packet::udp(b"x")), (0..SHARED).collect());
}
