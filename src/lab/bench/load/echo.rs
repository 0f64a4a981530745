//! Requests and answers of one byte, each sent when the last was answered.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, Peer, Stop, is_timeout, tcp};
use crate::lab::bench::stats::quantile;
use crate::lab::namespace::{Namespace, joined};

/// How long an answer may take before the request goes again (UDP only).
const LOST: Duration = Duration::from_millis(200);

/// What some requests took.
#[derive(Clone, Copy, Debug)]
pub(in crate::lab::bench) struct Echoes {
    pub(in crate::lab::bench) per_second: f64,
    pub(in crate::lab::bench) p50_us: f64,
    pub(in crate::lab::bench) p99_us: f64,
}

/// Over one TCP connection without Nagle's delay.
pub(in crate::lab::bench) fn tcp(
    from: &Namespace,
    to: &Peer,
    time: Duration,
) -> io::Result<Echoes> {
    let (mut client, mut server) = tcp::connect(from, to)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let answers = thread::spawn(move || {
        let mut byte = [0];
        while server.read(&mut byte)? == 1 {
            server.write_all(&byte)?;
        }
        Ok::<_, io::Error>(())
    });
    let echoes = ask(time, || {
        client.write_all(&[1])?;
        client.read_exact(&mut [0])?;
        Ok(true)
    });
    drop(client);
    joined(answers)?;
    echoes
}

/// Over UDP; a request that is lost is not counted.
pub(in crate::lab::bench) fn udp(
    from: &Namespace,
    to: &Peer,
    time: Duration,
) -> io::Result<Echoes> {
    let server = to.namespace.run(|| UdpSocket::bind((to.ip, 0)))?;
    let client = from.run(|| {
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        client.connect(server.local_addr()?)?;
        Ok::<_, io::Error>(client)
    })?;
    client.set_read_timeout(Some(LOST))?;
    server.set_read_timeout(Some(LOST))?;
    let stop = Stop::default();
    let ended = stop.flag();
    let answers = thread::spawn(move || answer(&server, &ended));
    let echoes = ask(time, || {
        client.send(&[1])?;
        match client.recv(&mut [0]) {
            Err(e) if is_timeout(&e) => Ok(false),
            received => received.map(|_| true),
        }
    });
    stop.raise();
    joined(answers)?;
    echoes
}

fn answer(server: &UdpSocket, ended: &AtomicBool) -> io::Result<()> {
    let mut byte = [0];
    while !ended.load(Ordering::Relaxed) {
        match server.recv_from(&mut byte) {
            Err(e) if is_timeout(&e) => {}
            received => drop(server.send_to(&byte, received?.1)?),
        }
    }
    Ok(())
}

/// Sends requests for a while; `request` says whether it was answered. The
/// first few are not counted: they resolve addresses and warm caches.
fn ask(time: Duration, mut request: impl FnMut() -> io::Result<bool>) -> io::Result<Echoes> {
    for _ in 0..100 {
        request()?;
    }
    let mut latencies = Vec::new();
    let start = Instant::now();
    // On a busy machine the first answer may come after that time.
    while start.elapsed() < time || latencies.is_empty() && start.elapsed() < PATIENCE {
        let sent = Instant::now();
        if request()? {
            latencies.push(sent.elapsed().as_secs_f64() * 1e6);
        }
    }
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |share| {
        quantile(&latencies, share).ok_or_else(|| io::Error::other("no request was answered"))
    };
    Ok(Echoes { per_second, p50_us: at(0.5)?, p99_us: at(0.99)? })
}
