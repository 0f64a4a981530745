//! Checked bulk TCP: the receiver compares every byte with what was to come.
//!
//! The stream is a window that slides over a block of noise, so that sending
//! costs one write and checking one memcmp a block, and bytes of one place are
//! never right in another.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::namespace::{Namespace, joined};

/// Bytes written, and compared, at a time.
const BLOCK: usize = 128 << 10;

/// Prime, so that the window takes every position before it takes one again.
const SLIDE: usize = 8209;

/// Longer than any pause that a living path makes.
const STALLED: Duration = Duration::from_secs(20);

/// When a sender stops, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Bytes sent; rounded up to whole blocks of 128 KiB.
    pub bytes: u64,
    /// Time since the start.
    pub time: Duration,
}

/// A finished transfer whose every byte was right.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bytes received.
    pub bytes: u64,
    /// From the connection to the last byte.
    pub elapsed: Duration,
    /// The longest that the receiver waited for the next bytes.
    pub longest_pause: Duration,
}

impl Transfer {
    /// Throughput in 10⁹ bits a second.
    pub fn gbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.elapsed.as_secs_f64().max(1e-9) / 1e9
    }
}

/// A transfer under way.
#[derive(Debug)]
pub struct Bulk {
    shared: Arc<Shared>,
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<io::Result<Transfer>>,
}

#[derive(Debug, Default)]
struct Shared {
    received: AtomicU64,
    stop: AtomicBool,
}

impl Bulk {
    /// Connects from one namespace to an address of another, and starts sending.
    pub fn start(from: &Namespace, to: &Namespace, ip: IpAddr, limit: Limit) -> io::Result<Bulk> {
        let listener = to.run(|| TcpListener::bind((ip, 0)))?;
        let address: SocketAddr = listener.local_addr()?;
        let client = from.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))?;
        let (server, _) = listener.accept()?;
        client.set_write_timeout(Some(STALLED))?;
        server.set_read_timeout(Some(STALLED))?;

        let noise: Arc<[u8]> = noise().into();
        let shared = Arc::new(Shared::default());
        let (there, here) = (shared.clone(), shared.clone());
        let pattern = noise.clone();
        Ok(Bulk {
            shared,
            sender: thread::spawn(move || send(client, &pattern, limit, &there.stop)),
            receiver: thread::spawn(move || receive(server, &noise, &here.received)),
        })
    }

    /// Bytes received and found right so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Tells the sender to end after its present block.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the end. An error if a byte was wrong or missing, or if
    /// nothing moved for 20 seconds.
    pub fn finish(self) -> io::Result<Transfer> {
        let sent = joined(self.sender);
        let transfer = joined(self.receiver)?;
        let sent = sent?;
        if sent != transfer.bytes {
            let got = transfer.bytes;
            return Err(io::Error::other(format!("{sent} bytes were sent, {got} arrived")));
        }
        Ok(transfer)
    }
}

/// Transfers until the limit and returns what came of it.
pub fn bulk(from: &Namespace, to: &Namespace, ip: IpAddr, limit: Limit) -> io::Result<Transfer> {
    Bulk::start(from, to, ip, limit)?.finish()
}

fn send(mut to: TcpStream, noise: &[u8], limit: Limit, stop: &AtomicBool) -> io::Result<u64> {
    let start = Instant::now();
    let mut sent = 0;
    while sent < limit.bytes && start.elapsed() < limit.time && !stop.load(Ordering::Relaxed) {
        to.write_all(window(noise, sent)).map_err(stalled)?;
        sent += BLOCK as u64;
    }
    Ok(sent)
}

fn receive(mut from: TcpStream, noise: &[u8], received: &AtomicU64) -> io::Result<Transfer> {
    let mut block = vec![0; BLOCK];
    let mut transfer =
        Transfer { bytes: 0, elapsed: Duration::ZERO, longest_pause: Duration::ZERO };
    let start = Instant::now();
    let mut last = start;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            let more = from.read(&mut block[filled..]).map_err(stalled)?;
            let now = Instant::now();
            transfer.longest_pause = transfer.longest_pause.max(now - last);
            transfer.elapsed = now - start;
            last = now;
            if more == 0 && filled == 0 {
                return Ok(transfer);
            }
            if more == 0 {
                let at = transfer.bytes + filled as u64;
                return Err(io::Error::other(format!("the stream was cut off after {at} bytes")));
            }
            filled += more;
        }
        compare(&block, window(noise, transfer.bytes), transfer.bytes)?;
        transfer.bytes += BLOCK as u64;
        received.store(transfer.bytes, Ordering::Relaxed);
    }
}

fn compare(got: &[u8], wanted: &[u8], offset: u64) -> io::Result<()> {
    if got == wanted {
        return Ok(());
    }
    let wrong = got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(0) as u64;
    Err(io::Error::other(format!("byte {} of the stream is wrong", offset + wrong)))
}

/// The block of the stream that begins at `offset`, a multiple of [`BLOCK`].
fn window(noise: &[u8], offset: u64) -> &[u8] {
    let position = (offset / BLOCK as u64 * SLIDE as u64 % BLOCK as u64) as usize;
    &noise[position..position + BLOCK]
}

/// Two blocks of xorshift64 output, the same every time.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(2 * BLOCK);
    while out.len() < 2 * BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out
}

fn stalled(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::other(format!("the transfer stalled for {} seconds", STALLED.as_secs()))
        }
        _ => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_neighbouring_blocks_are_alike_and_a_flipped_bit_is_found() {
        let noise = noise();
        let block = |n: u64| window(&noise, n * BLOCK as u64);
        assert!((0..100).all(|n| block(n) != block(n + 1)));

        let mut got = block(3).to_vec();
        assert!(compare(&got, block(3), 3 * BLOCK as u64).is_ok());
        got[777] ^= 1;
        let error = compare(&got, block(3), 3 * BLOCK as u64).unwrap_err();
        assert_eq!(error.to_string(), format!("byte {} of the stream is wrong", 3 * BLOCK + 777));
    }

    #[test]
    fn a_stream_that_ends_inside_a_block_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(&window(&noise(), 0)[..1000]).unwrap();
        drop(client);
        let error = receive(server, &noise(), &AtomicU64::new(0)).unwrap_err();
        assert_eq!(error.to_string(), "the stream was cut off after 1000 bytes");
    }
}
