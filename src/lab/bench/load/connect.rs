//! Connections made and ended, one after the other, by several threads at once.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::{PATIENCE, Peer, Stop};
use crate::lab::namespace::{Namespace, joined};

/// Threads that connect, and as many that accept: one waits while another works.
const THREADS: usize = 4;

/// Connections a second, each made by a handshake and ended by a reset: no port is
/// kept waiting, so that the same ones come again and again.
pub(in crate::lab::bench) fn rate(from: &Namespace, to: &Peer, time: Duration) -> io::Result<f64> {
    let listener = to.namespace.run(|| TcpListener::bind((to.ip, 0)))?;
    let at = SocketAddr::new(to.called, listener.local_addr()?.port());
    let (stop, made) = (Stop::default(), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        threads.push(accept(listener.try_clone()?, stop.flag()));
        let (stop, made) = (stop.flag(), made.clone());
        threads.push(from.spawn(move || connect(at, &stop, &made))?);
    }
    thread::sleep(time / 4);
    let (first, start) = (made.load(Ordering::Relaxed), Instant::now());
    thread::sleep(time);
    let (last, elapsed) = (made.load(Ordering::Relaxed), start.elapsed());
    stop.raise();
    // Wakes those that wait for a connection.
    for _ in 0..THREADS {
        from.run(|| TcpStream::connect_timeout(&at, PATIENCE)).map(drop)?;
    }
    threads.into_iter().try_for_each(joined)?;
    Ok((last - first) as f64 / elapsed.as_secs_f64())
}

fn connect(at: SocketAddr, stop: &AtomicBool, made: &AtomicU64) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        reset(&stream)?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Its end is a reset.
fn reset(stream: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?)
}

fn accept(listener: TcpListener, stop: Arc<AtomicBool>) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok(_) => {}
                // It was reset before it was accepted.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    })
}
