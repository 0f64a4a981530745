//! Bulk TCP as iperf does it: cubic, writes of 128 KiB, nothing compared.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{PATIENCE, Peer, Stop};
use crate::lab::namespace::{Namespace, joined};

const BLOCK: usize = 128 << 10;

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

/// Sends over some streams at once, lets them find their pace for a quarter of
/// `time`, and then measures for `time`. `begun` and `ended` are called around that.
pub(in crate::lab::bench) fn bulk<T>(
    from: &Namespace,
    to: &Peer,
    streams: usize,
    time: Duration,
    mut observe: impl FnMut() -> io::Result<T>,
) -> io::Result<(Bulk, T, T)> {
    let (stop, received) = (Stop::default(), Arc::new(AtomicU64::new(0)));
    let threads = (0..streams)
        .map(|_| stream(from, to, stop.flag(), received.clone()))
        .collect::<io::Result<Vec<_>>>()?;
    thread::sleep(time / 4);
    let (before, first, start) = (observe()?, received.load(Ordering::Relaxed), Instant::now());
    thread::sleep(time);
    let (last, elapsed) = (received.load(Ordering::Relaxed), start.elapsed());
    let after = observe()?;
    stop.raise();
    threads.into_iter().flatten().try_for_each(joined)?;
    let bulk = Bulk { bytes: last - first, seconds: elapsed.as_secs_f64() };
    if bulk.bytes == 0 {
        return Err(io::Error::other("not a single byte arrived"));
    }
    Ok((bulk, before, after))
}

/// Connects and starts a sender and a receiver.
fn stream(
    from: &Namespace,
    to: &Peer,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
) -> io::Result<[JoinHandle<io::Result<()>>; 2]> {
    let (client, server) = connect(from, to)?;
    Ok([
        thread::spawn(move || send(client, &stop)),
        thread::spawn(move || receive(server, &received)),
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

fn send(mut to: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    let block = vec![0x5a; BLOCK];
    while !stop.load(Ordering::Relaxed) {
        to.write_all(&block)?;
    }
    to.shutdown(Shutdown::Write)
}

fn receive(mut from: TcpStream, received: &AtomicU64) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block)? {
            0 => return Ok(()),
            n => received.fetch_add(n as u64, Ordering::Relaxed),
        };
    }
}
