//! A TCP transfer of which every byte is checked.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// A transfer under way. It goes on until it is told to finish, so that it is never
/// over before what a test does meanwhile, however long that takes.
#[derive(Debug)]
pub(crate) struct Transfer {
    received: Arc<AtomicU64>,
    enough: Enough,
    sender: JoinHandle<()>,
    receiver: JoinHandle<()>,
}

/// Lets the sender end when it is dropped, also while a failed test unwinds.
#[derive(Debug, Default)]
struct Enough(Arc<AtomicBool>);

impl Drop for Enough {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Transfer {
    /// Sends from one namespace to an address in another: this many bytes at least, in
    /// whole chunks.
    pub(crate) fn start(
        from: &Netns,
        to: &Netns,
        address: impl Into<IpAddr>,
        bytes: u64,
    ) -> Transfer {
        let at = SocketAddr::new(address.into(), 0);
        let listener = to.enter(|| TcpListener::bind(at).unwrap());
        let at = listener.local_addr().unwrap();
        let (received, enough) = (Arc::new(AtomicU64::new(0)), Enough::default());
        let (progress, end) = (received.clone(), enough.0.clone());
        let receiver = std::thread::spawn(move || receive(&listener, &progress));
        let stream = from.enter(|| TcpStream::connect_timeout(&at, STALL).unwrap());
        let sender = std::thread::spawn(move || send(stream, bytes, &end));
        Transfer { received, enough, sender, receiver }
    }

    /// Bytes received and checked so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Lets it end; panics if a byte was wrong or missing.
    pub(crate) fn finish(self) {
        drop(self.enough);
        self.receiver.join().expect("every byte arrives");
        self.sender.join().expect("every byte is acknowledged");
    }
}

/// A transfer from beginning to end.
pub(crate) fn transfer(from: &Netns, to: &Netns, address: impl Into<IpAddr>, bytes: u64) {
    Transfer::start(from, to, address, bytes).finish();
}

fn send(mut stream: TcpStream, bytes: u64, enough: &AtomicBool) {
    stream.set_write_timeout(Some(STALL)).unwrap();
    stream.set_read_timeout(Some(STALL)).unwrap();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < bytes || !enough.load(Ordering::Relaxed) {
        pattern(at, &mut chunk);
        stream.write_all(&chunk).expect("the transfer goes on");
        at += CHUNK as u64;
    }
    stream.shutdown(Shutdown::Write).expect("the end can be said");
    // The receiver answers with what it has seen and checked.
    let mut seen = [0; 8];
    stream.read_exact(&mut seen).expect("the receiver has seen the end");
    assert_eq!(u64::from_be_bytes(seen), at, "bytes are missing");
}

fn receive(listener: &TcpListener, progress: &AtomicU64) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(STALL)).unwrap();
    let mut chunk = vec![0; CHUNK];
    let mut expected = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let len = fill(&mut stream, &mut chunk).expect("the transfer goes on");
        pattern(at, &mut expected);
        assert!(chunk[..len] == expected[..len], "wrong bytes after {at}");
        at += len as u64;
        progress.store(at, Ordering::Relaxed);
        if len < CHUNK {
            break;
        }
    }
    stream.write_all(&at.to_be_bytes()).unwrap();
}

/// Reads until the chunk is full or the sender has ended; how much came.
fn fill(stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match stream.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            // The machine was frozen for a moment.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
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
