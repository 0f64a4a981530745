//! Questions for DNS in a container, while the way to other resolvers is stuck.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::echo::Echoes;
use super::{PATIENCE, Stop, is_timeout};
use crate::lab::bench::stats::quantile;
use crate::lab::namespace::{Namespace, joined};

/// Where containers ask.
const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);
/// Questions on their way at once: what a busy container has.
const WINDOW: usize = 8;
/// Between questions that nobody answers.
const PACE: Duration = Duration::from_millis(2);

/// Asks for the address of `name`, which the daemon knows, always with some
/// questions under way; and all the time for names that it must forward.
pub(in crate::lab::bench) fn rate(
    from: &Namespace,
    name: &str,
    time: Duration,
) -> io::Result<Echoes> {
    let stop = Stop::default();
    let stuck = connected(from)?;
    let ended = stop.flag();
    let forwarded = thread::spawn(move || ask_outside(&stuck, &ended));
    let socket = connected(from)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let echoes = ask(&socket, &question(name), time);
    stop.raise();
    joined(forwarded)?;
    echoes
}

fn connected(from: &Namespace) -> io::Result<UdpSocket> {
    from.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(RESOLVER)?;
        Ok(socket)
    })
}

/// A question for an A record, with the id 0.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn ask(socket: &UdpSocket, question: &[u8], time: Duration) -> io::Result<Echoes> {
    let mut sent = VecDeque::with_capacity(WINDOW);
    let mut latencies = Vec::new();
    let mut answer = [0; 512];
    let start = Instant::now();
    while start.elapsed() < time {
        while sent.len() < WINDOW {
            socket.send(question)?;
            sent.push_back(Instant::now());
        }
        let len = socket.recv(&mut answer)?;
        // One answer, and no error.
        if len < 12 || answer[3] & 0x0f != 0 || answer[6..8] != [0, 1] {
            return Err(io::Error::other("a question about the cluster was not answered"));
        }
        // They are answered in their order.
        latencies.extend(sent.pop_front().map(|sent| sent.elapsed().as_secs_f64() * 1e6));
    }
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |share| {
        quantile(&latencies, share).ok_or_else(|| io::Error::other("no question was answered"))
    };
    Ok(Echoes { per_second, p50_us: at(0.5)?, p99_us: at(0.99)? })
}

/// Asks for what nobody can answer, so that all places on the way outside are taken.
fn ask_outside(socket: &UdpSocket, ended: &Arc<AtomicBool>) -> io::Result<()> {
    socket.set_read_timeout(Some(PACE))?;
    let question = question("nobody.example");
    let mut answer = [0; 512];
    while !ended.load(Ordering::Relaxed) {
        socket.send(&question)?;
        match socket.recv(&mut answer) {
            Err(e) if is_timeout(&e) => {}
            // Refused at once, as there are too many already: that is as it should be.
            answered => drop(answered?),
        }
    }
    Ok(())
}
