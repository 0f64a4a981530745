//! Datagrams at a rate, and those who count them at the other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};

use super::{Peer, Stop, is_timeout};
use crate::lab::bench::search::Probe;
use crate::lab::namespace::{Namespace, joined};

/// Datagrams a call.
const BATCH: usize = 32;
/// Of a receiver, in bytes: enough for the bursts of a sender on the same core.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How often a receiver looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);
/// Between batches, when nothing is due.
const NAP: Duration = Duration::from_micros(20);
/// What a sender that was kept from running may catch up on, in seconds: more
/// would be a burst that says something of the scheduler and not of the path.
const CATCH_UP: f64 = 0.002;
/// How long the last datagrams of a probe may still be on their way.
const UNDER_WAY: Duration = Duration::from_millis(60);

/// What datagrams are like.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab::bench) enum Shape {
    /// One flow of one size: bytes of payload.
    Even(usize),
    /// This many flows, spread over all peers, of sizes that change from one
    /// datagram to the next.
    Mixed(usize),
    /// One flow of an application that sends whole trains of datagrams of this
    /// payload (UDP_SEGMENT); its peer receives them one by one.
    Train(usize),
    /// The same, and the peer receives trains as well (UDP_GRO).
    JoinedTrain(usize),
}

/// Payload bytes of mixed datagrams, in turn.
const MIXED: [usize; 5] = [64, 200, 64, 600, 1200];
/// Bytes of a train at most, so that 64 KiB hold it with its headers.
const TRAIN: usize = 60_000;

/// Senders and receivers in place, to be asked at several rates.
#[derive(Debug)]
pub(in crate::lab::bench) struct Range {
    flows: Vec<UdpSocket>,
    shape: Shape,
    received: Arc<AtomicU64>,
    stop: Stop,
    receivers: Vec<JoinHandle<io::Result<()>>>,
}

impl Range {
    /// Sockets from one container to some peers.
    pub(in crate::lab::bench) fn new(
        from: &Namespace,
        to: &[Peer],
        shape: Shape,
    ) -> io::Result<Range> {
        let (count, to) = match shape {
            Shape::Mixed(flows) => (flows, to),
            Shape::Even(_) | Shape::Train(_) | Shape::JoinedTrain(_) => (1, &to[..to.len().min(1)]),
        };
        let mut range = Range {
            flows: Vec::new(),
            shape,
            received: Arc::default(),
            stop: Stop::default(),
            receivers: Vec::new(),
        };
        let mut addresses = Vec::new();
        for peer in to {
            let socket = peer.namespace.run(|| UdpSocket::bind((peer.ip, 0)))?;
            addresses.push(socket.local_addr()?);
            range.count(socket)?;
        }
        for address in addresses.iter().cycle().take(count) {
            range.flows.push(from.run(|| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect(address)?;
                Ok::<_, io::Error>(socket)
            })?);
        }
        if let (Shape::Train(size) | Shape::JoinedTrain(size), [flow]) = (shape, &range.flows[..]) {
            setsockopt(flow, sockopt::UdpGsoSegment, &(size as i32))?;
        }
        Ok(range)
    }

    /// Starts to count what arrives at a socket.
    fn count(&mut self, socket: UdpSocket) -> io::Result<()> {
        socket.set_read_timeout(Some(LOOK))?;
        // Not allowed in a user namespace; the system's limit has to do there.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let train = match self.shape {
            Shape::JoinedTrain(size) => Some(size),
            Shape::Even(_) | Shape::Mixed(_) | Shape::Train(_) => None,
        };
        if train.is_some() {
            setsockopt(&socket, sockopt::UdpGroSegment, &true)?;
        }
        let (received, ended) = (self.received.clone(), self.stop.flag());
        self.receivers.push(thread::spawn(move || receive(&socket, train, &received, &ended)));
        Ok(())
    }

    /// Offers a rate (datagrams a second) for a while, and waits for what is
    /// under way.
    pub(in crate::lab::bench) fn probe(&self, rate: f64, time: Duration) -> io::Result<Probe> {
        let before = self.received.load(Ordering::Relaxed);
        let start = Instant::now();
        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| self.send(rate, time));
            sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let arrived = || self.received.load(Ordering::Relaxed) - before;
        let waiting = Instant::now();
        while arrived() < sent && waiting.elapsed() < UNDER_WAY {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Probe { sent, received: arrived(), seconds })
    }

    /// Ends the receivers.
    pub(in crate::lab::bench) fn finish(self) -> io::Result<()> {
        self.stop.raise();
        self.receivers.into_iter().try_for_each(joined)
    }

    /// How many datagrams went out.
    fn send(&self, rate: f64, time: Duration) -> io::Result<u64> {
        // Naps of some microseconds, not of the usual fifty more.
        set_timerslack(1)?;
        let mut sender = Sender::new(&self.flows, self.shape);
        let (mut sent, start) = (0, Instant::now());
        let (mut due, mut last) = (0.0, start);
        // Room for a train or a batch in any case.
        let most = (rate * CATCH_UP).max(64.0);
        while start.elapsed() < time {
            let now = Instant::now();
            due = f64::min(due + rate * (now - last).as_secs_f64(), most);
            last = now;
            let taken = if due < 1.0 { 0 } else { sender.send(due as u64)? };
            if taken == 0 {
                thread::sleep(NAP);
            }
            due -= taken as f64;
            sent += taken;
        }
        Ok(sent)
    }
}

/// Sends batches from each flow in turn.
struct Sender<'a> {
    flows: &'a [UdpSocket],
    shape: Shape,
    turn: usize,
    payload: Vec<u8>,
    headers: MultiHeaders<()>,
}

impl<'a> Sender<'a> {
    fn new(flows: &'a [UdpSocket], shape: Shape) -> Sender<'a> {
        let headers = MultiHeaders::preallocate(BATCH, None);
        Sender { flows, shape, turn: 0, payload: vec![0x5a; TRAIN], headers }
    }

    /// Sends one batch of at most `due` datagrams, or one train of them, and says
    /// how many went.
    fn send(&mut self, due: u64) -> io::Result<u64> {
        let turn = self.turn;
        self.turn += 1;
        let flow = &self.flows[turn % self.flows.len()];
        match self.shape {
            Shape::Train(size) | Shape::JoinedTrain(size) => {
                let count = (TRAIN / size).min(64) as u64;
                // A train goes when it is full, as a sender of bulk does it.
                if due < count {
                    return Ok(0);
                }
                sent(flow.send(&self.payload[..count as usize * size]).map(|_| count))
            }
            Shape::Even(size) => self.batch(flow, due.min(BATCH as u64), |_| size),
            // Few at a time, so that the flows are mixed as well.
            Shape::Mixed(_) => self.batch(flow, due.min(4), |i| MIXED[(turn + i) % MIXED.len()]),
        }
    }

    fn batch(
        &mut self,
        flow: &UdpSocket,
        count: u64,
        size: impl Fn(usize) -> usize,
    ) -> io::Result<u64> {
        let slices: Vec<_> =
            (0..count as usize).map(|i| [IoSlice::new(&self.payload[..size(i)])]).collect();
        let none = vec![None; slices.len()];
        let fd = flow.as_raw_fd();
        let taken = sendmmsg(fd, &mut self.headers, &slices, none, [], MsgFlags::empty());
        sent(taken.map(|results| results.count() as u64).map_err(io::Error::from))
    }
}

/// A full queue loses datagrams, which is what the search looks for; it is no error.
fn sent(result: io::Result<u64>) -> io::Result<u64> {
    match result {
        Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
        result => result,
    }
}

/// Counts datagrams; with `train`, by the bytes of joined ones.
fn receive(
    socket: &UdpSocket,
    train: Option<usize>,
    received: &AtomicU64,
    ended: &AtomicBool,
) -> io::Result<()> {
    let (slot, slots) = if train.is_some() { (64 << 10, 8) } else { (2048, 64) };
    let mut memory = vec![0; slot * slots];
    let mut headers: MultiHeaders<()> = MultiHeaders::preallocate(slots, None);
    while !ended.load(Ordering::Relaxed) {
        let mut slices: Vec<_> = memory.chunks_mut(slot).map(|c| [IoSliceMut::new(c)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None) {
            Ok(messages) => {
                let datagrams = |bytes: usize| train.map_or(1, |size| bytes.div_ceil(size));
                let count: usize = messages.map(|m| datagrams(m.bytes)).sum();
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(e) if is_timeout(&e.into()) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
