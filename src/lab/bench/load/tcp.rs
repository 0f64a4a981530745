//! Bulk TCP as iperf3 does it: cubic, writes and reads of 128 KiB, one thread at each end
//! that waits for all its streams at once. Nothing is compared.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PATIENCE, Peer, Stop};
use crate::lab::namespace::{Namespace, joined};

const BLOCK: usize = 128 << 10;
/// Blocks written to a stream that has room before it is asked for again.
const WRITES: usize = 10;

/// What arrived in the measured part of a transfer.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab::bench) struct Bulk {
    pub(in crate::lab::bench) bytes: u64,
    pub(in crate::lab::bench) seconds: f64,
}

impl Bulk {
    pub(in crate::lab::bench) fn gbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds / 1e9
    }
}

/// Some streams at once, and who serves them.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab::bench) struct Crowd {
    /// So many threads at each end.
    pub(in crate::lab::bench) threads: usize,
    /// So many streams for each of them.
    pub(in crate::lab::bench) streams: usize,
}

/// Sends, lets the streams find their pace for a quarter of `time`, and then measures for
/// `time`; `observe` is called before and after that.
pub(in crate::lab::bench) fn bulk<T>(
    from: &Namespace,
    to: &Peer,
    crowd: Crowd,
    time: Duration,
    mut observe: impl FnMut() -> io::Result<T>,
) -> io::Result<(Bulk, T, T)> {
    let (stop, received) = (Stop::default(), Arc::new(AtomicU64::new(0)));
    let ends = (0..crowd.threads)
        .map(|_| start(from, to, crowd.streams, stop.flag(), received.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    thread::sleep(time / 4);
    let (before, first, start) = (observe()?, received.load(Ordering::Relaxed), Instant::now());
    thread::sleep(time);
    let (last, elapsed) = (received.load(Ordering::Relaxed), start.elapsed());
    let after = observe()?;
    stop.raise();
    ends.into_iter().flatten().try_for_each(joined)?;
    let bulk = Bulk { bytes: last - first, seconds: elapsed.as_secs_f64() };
    if bulk.bytes == 0 {
        return Err(io::Error::other("not a single byte arrived"));
    }
    Ok((bulk, before, after))
}

/// Connects some streams, and starts a sender and a receiver for all of them.
fn start(
    from: &Namespace,
    to: &Peer,
    streams: usize,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
) -> io::Result<[JoinHandle<io::Result<()>>; 2]> {
    let pairs = (0..streams).map(|_| connect(from, to)).collect::<io::Result<Vec<_>>>()?;
    let (clients, servers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    Ok([
        thread::spawn(move || send(clients, &stop)),
        thread::spawn(move || receive(servers, &received)),
    ])
}

/// A connection between two namespaces.
pub(super) fn connect(from: &Namespace, to: &Peer) -> io::Result<(TcpStream, TcpStream)> {
    let listener = to.namespace.run(|| listen((to.ip, 0).into()))?;
    let address = SocketAddr::new(to.called, listener.local_addr()?.port());
    let client = from.run(|| {
        let socket = socket(address)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Ok::<_, io::Error>(TcpStream::from(socket))
    })?;
    let (server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((client, server))
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(at)?;
    socket.bind(&at.into())?;
    socket.listen(1)?;
    Ok(socket.into())
}

/// What is accepted from it, or connected, is of cubic from its first packet on: one that
/// has begun with BBR, many a host's default, would go on being paced by timers.
fn socket(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    // Without the module, the system's default has to do.
    let _ = setsockopt(&socket, sockopt::TcpCongestion, &OsString::from("cubic"));
    Ok(socket)
}

/// Writes in turn to all that have room.
fn send(to: Vec<TcpStream>, stop: &AtomicBool) -> io::Result<()> {
    let blocks: Vec<_> = to.iter().map(|_| vec![0x5a; BLOCK]).collect();
    while !stop.load(Ordering::Relaxed) {
        let ready = ready(&to, PollFlags::POLLOUT)?;
        for _ in 0..WRITES {
            for i in &ready {
                (&to[*i]).write_all(&blocks[*i])?;
            }
        }
    }
    to.iter().try_for_each(|stream| stream.shutdown(Shutdown::Write))
}

/// Reads in turn from all that have something.
fn receive(mut from: Vec<TcpStream>, received: &AtomicU64) -> io::Result<()> {
    let mut blocks: Vec<_> = from.iter().map(|_| vec![0; BLOCK]).collect();
    while !from.is_empty() {
        for i in ready(&from, PollFlags::POLLIN)?.into_iter().rev() {
            match fill(&from[i], &mut blocks[i])? {
                0 => drop(from.remove(i)),
                n => drop(received.fetch_add(n as u64, Ordering::Relaxed)),
            }
        }
    }
    Ok(())
}

/// Reads until the block is full; less only at the end.
fn fill(mut from: &TcpStream, block: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < block.len() {
        match from.read(&mut block[len..])? {
            0 => break,
            n => len += n,
        }
    }
    Ok(len)
}

/// Waits for streams, and which of them have come.
fn ready(streams: &[TcpStream], what: PollFlags) -> io::Result<Vec<usize>> {
    let mut fds: Vec<_> = streams.iter().map(|s| PollFd::new(s.as_fd(), what)).collect();
    let patience = PollTimeout::try_from(PATIENCE).map_err(io::Error::other)?;
    if poll(&mut fds, patience)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    Ok((0..fds.len()).filter(|i| ready(&fds[*i])).collect())
}
