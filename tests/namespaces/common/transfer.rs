//! A TCP transfer of which every byte is checked.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::netns::Netns;

/// What the acceptance list asks for, each way.
pub(crate) const BULK: u64 = 300 << 20;
/// Enough for super-frames, fallbacks and losses to show.
pub(crate) const SOME: u64 = 50 << 20;
/// No progress for this long means that the connection is dead. Longer than a
/// daemon's restart and the retransmission time-outs that follow it.
const STALL: Duration = Duration::from_secs(45);
const CHUNK: usize = 128 << 10;

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    received: Arc<AtomicU64>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<()>,
}

impl Transfer {
    /// Sends `bytes` from one namespace to an address in another.
    pub(crate) fn start(
        from: &Netns,
        to: &Netns,
        address: impl Into<IpAddr>,
        bytes: u64,
    ) -> Transfer {
        let at = SocketAddr::new(address.into(), 0);
        let listener = to.enter(|| TcpListener::bind(at).unwrap());
        let at = listener.local_addr().unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let progress = received.clone();
        let receiver = std::thread::spawn(move || receive(&listener, bytes, &progress));
        let stream = from.enter(|| TcpStream::connect_timeout(&at, STALL).unwrap());
        let sender = std::thread::spawn(move || send(stream, bytes));
        Transfer { received, sender, receiver }
    }

    /// Bytes received and checked so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits for the end; panics if a byte was wrong or missing.
    pub(crate) fn finish(self) {
        self.receiver.join().expect("every byte arrives");
        self.sender.join().expect("every byte is acknowledged");
    }
}

/// A transfer from beginning to end.
pub(crate) fn transfer(from: &Netns, to: &Netns, address: impl Into<IpAddr>, bytes: u64) {
    Transfer::start(from, to, address, bytes).finish();
}

fn send(mut stream: TcpStream, bytes: u64) {
    stream.set_write_timeout(Some(STALL)).unwrap();
    stream.set_read_timeout(Some(STALL)).unwrap();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes {
        let part = &mut chunk[..CHUNK.min((bytes - at) as usize)];
        pattern(at, part);
        stream.write_all(part).expect("the transfer goes on");
        at += part.len() as u64;
    }
    // The receiver answers with one byte when it has seen and checked them all.
    stream.read_exact(&mut [0]).expect("the receiver has seen all");
}

fn receive(listener: &TcpListener, bytes: u64, progress: &AtomicU64) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(STALL)).unwrap();
    let mut chunk = vec![0; CHUNK];
    let mut expected = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes {
        let part = CHUNK.min((bytes - at) as usize);
        stream.read_exact(&mut chunk[..part]).expect("the transfer goes on");
        pattern(at, &mut expected[..part]);
        assert!(chunk[..part] == expected[..part], "wrong bytes after {at}");
        at += part as u64;
        progress.store(at, Ordering::Relaxed);
    }
    stream.write_all(&[1]).unwrap();
}

/// Bytes that differ at every position, so that nothing can be lost, doubled
/// or moved unseen (splitmix64 of the position; `at` is a multiple of 8).
pub(crate) fn pattern(at: u64, out: &mut [u8]) {
    for (word, position) in out.chunks_mut(8).zip(at / 8..) {
        let mut z = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^= z >> 27;
        word.copy_from_slice(&z.to_le_bytes()[..word.len()]);
    }
}
