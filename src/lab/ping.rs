//! Echo requests out of a namespace, over IPv4 and IPv6 (RFC 792, RFC 4443).

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;
use crate::wire::checksum;

/// Bytes after the ICMP header, as many as everybody's ping sends.
const PAYLOAD: usize = 56;
const HEADER: usize = 8;

/// What came of some echo requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    /// Echo requests sent, or refused by the sender's own kernel.
    pub sent: usize,
    /// Round-trip times of those that were answered with the same bytes.
    pub answered: Vec<Duration>,
    /// Those that "destination unreachable" came back for.
    pub refused: usize,
}

impl Pings {
    /// Whether every request was answered.
    pub fn all_answered(&self) -> bool {
        self.sent > 0 && self.answered.len() == self.sent
    }

    /// Smallest, mean and largest round-trip time; `None` without an answer.
    pub fn rtt(&self) -> Option<(Duration, Duration, Duration)> {
        let min = *self.answered.iter().min()?;
        let max = *self.answered.iter().max()?;
        let count = u32::try_from(self.answered.len()).ok()?;
        Some((min, self.answered.iter().sum::<Duration>() / count, max))
    }
}

/// `5/5 answered, 0.09/0.12/0.20 ms`, the times being min, mean and max.
impl fmt::Display for Pings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} answered", self.answered.len(), self.sent)?;
        if let Some((min, mean, max)) = self.rtt() {
            let [min, mean, max] = [min, mean, max].map(|t| t.as_secs_f64() * 1e3);
            write!(f, ", {min:.2}/{mean:.2}/{max:.2} ms")?;
        }
        if self.refused > 0 {
            write!(f, ", {} refused as unreachable", self.refused)?;
        }
        Ok(())
    }
}

/// Sends `count` echo requests one after another, each when the last one was
/// answered, refused or `timeout` old.
pub fn ping(from: &Namespace, to: IpAddr, count: usize, timeout: Duration) -> io::Result<Pings> {
    static NEXT_ID: AtomicU16 = AtomicU16::new(1);
    let socket = from.run(|| match to {
        IpAddr::V4(_) => Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)),
        IpAddr::V6(_) => Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)),
    })?;
    let mut echo = Echo { socket, to, id: NEXT_ID.fetch_add(1, Ordering::Relaxed) };
    let mut pings = Pings::default();
    for sequence in 0..count {
        pings.sent += 1;
        match echo.one(sequence as u16, timeout)? {
            Outcome::Answered(rtt) => pings.answered.push(rtt),
            Outcome::Refused => pings.refused += 1,
            Outcome::Silence => {}
        }
    }
    Ok(pings)
}

enum Outcome {
    Answered(Duration),
    Refused,
    Silence,
}

struct Echo {
    socket: Socket,
    to: IpAddr,
    id: u16,
}

impl Echo {
    fn one(&mut self, sequence: u16, timeout: Duration) -> io::Result<Outcome> {
        let request = self.request(sequence);
        let start = Instant::now();
        match self.socket.send_to(&request, &SocketAddr::new(self.to, 0).into()) {
            Err(e) if is_unreachable(&e) => return Ok(Outcome::Refused),
            sent => sent?,
        };
        let mut buffer = [0; 1500];
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(Outcome::Silence);
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.read(&mut buffer) {
                Err(e) if is_again(&e) => continue,
                read => read?,
            };
            let Some(message) = self.icmp(&buffer[..length]) else { continue };
            if self.is_reply(message, &request) {
                return Ok(Outcome::Answered(start.elapsed()));
            }
            if self.is_refusal(message, &request) {
                return Ok(Outcome::Refused);
            }
        }
    }

    fn request(&self, sequence: u16) -> [u8; HEADER + PAYLOAD] {
        let mut message = [0; HEADER + PAYLOAD];
        message[0] = if self.to.is_ipv4() { 8 } else { 128 };
        message[4..6].copy_from_slice(&self.id.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        for (i, byte) in message[HEADER..].iter_mut().enumerate() {
            *byte = i as u8;
        }
        if self.to.is_ipv4() {
            // ICMPv6 sums cover addresses that the kernel picks, so it fills them in.
            let sum = !checksum::fold(checksum::sum(&message));
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// The ICMP message of what a raw socket hands out: IPv4 comes with its header.
    fn icmp<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        match self.to {
            IpAddr::V4(_) => packet.get(usize::from(packet.first()? & 0xf) * 4..),
            IpAddr::V6(_) => Some(packet),
        }
    }

    /// Everything but type and checksum is as we sent it.
    fn is_reply(&self, message: &[u8], request: &[u8]) -> bool {
        let kind = if self.to.is_ipv4() { 0 } else { 129 };
        message.first() == Some(&kind) && message.get(4..) == Some(&request[4..])
    }

    /// "Destination unreachable" about our request, which it quotes.
    fn is_refusal(&self, message: &[u8], request: &[u8]) -> bool {
        let (kind, ip_header) = if self.to.is_ipv4() { (3, 20) } else { (1, 40) };
        let quoted = message.get(HEADER + ip_header..HEADER + ip_header + HEADER);
        message.first() == Some(&kind) && quoted.is_some_and(|q| q[4..] == request[4..HEADER])
    }
}

fn is_unreachable(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable)
}

fn is_again(e: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), WouldBlock | TimedOut | Interrupted)
}
