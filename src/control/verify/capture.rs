//! What really crosses the underlay, as the kernel shows it to a packet socket.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, sync::Arc};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, UdpPacket};
use socket2::{Domain, Protocol, Socket, Type};

/// How long the thread waits for a packet before it looks whether it is to end.
const TURN: Duration = Duration::from_millis(20);
/// How long packets are looked at that have come before the end.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes of packets that may wait for the thread.
const BUFFER: usize = 16 << 20;

/// The payload of UDP between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// It came from the other host.
    pub(super) inbound: bool,
    /// Several datagrams, if the kernel had not cut them yet or joined them already.
    pub(super) bytes: Vec<u8>,
}

/// A running capture. It ends when it is asked for what it has seen.
pub(super) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<Heard>>>,
}

impl Capture {
    /// Begins, in the calling thread's namespace: what it has seen from now on, of UDP
    /// between `here`'s and `there`'s addresses to one of their ports, is kept if `keep`
    /// says so.
    pub(super) fn start(
        here: SocketAddr,
        there: SocketAddr,
        keep: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> io::Result<Capture> {
        // Cooked packets: they begin with the IP header, whatever the link is.
        let every = i32::from((libc::ETH_P_ALL as u16).to_be());
        let mut socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(every)))?;
        socket.set_read_timeout(Some(TURN))?;
        // As much as the host allows.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let listen = move || {
            let (mut seen, mut packet) = (Vec::new(), vec![0; 1 << 17]);
            // What came before the end waits in the socket; under other traffic it never
            // runs dry.
            let mut last = None;
            while last.is_none_or(|last| Instant::now() < last) {
                if last.is_none() && stopped.load(Relaxed) {
                    last = Some(Instant::now() + DRAIN);
                }
                match socket.read(&mut packet) {
                    Ok(len) => {
                        let heard = between(&packet[..len], here, there);
                        seen.extend(heard.filter(|heard| keep(&heard.bytes)));
                    }
                    Err(e) if is_patience(e.kind()) && last.is_some() => break,
                    Err(e) if is_patience(e.kind()) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(seen)
        };
        let thread = thread::Builder::new().name("vxmesh-capture".into()).spawn(listen)?;
        Ok(Capture { stop, thread })
    }

    /// Ends, and tells what it has kept, in order.
    pub(super) fn finish(self) -> io::Result<Vec<Heard>> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the capture broke off")))
    }
}

fn is_patience(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The UDP payload of an IP packet between two hosts.
fn between(packet: &[u8], here: SocketAddr, there: SocketAddr) -> Option<Heard> {
    let (source, destination, udp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            let udp = (ip.next_header() == IpProtocol::Udp).then(|| ip.payload())?;
            (ip.src_addr().into(), ip.dst_addr().into(), udp)
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            let udp = (ip.next_header() == IpProtocol::Udp).then(|| ip.payload())?;
            (ip.src_addr().into(), ip.dst_addr().into(), udp)
        }
        _ => return None,
    };
    let udp = UdpPacket::new_checked(udp).ok()?;
    let to = SocketAddr::new(destination, udp.dst_port());
    let inbound = match (source, to) {
        (from, to) if from == here.ip() && to == there => false,
        (from, to) if from == there.ip() && to == here => true,
        _ => return None,
    };
    Some(Heard { inbound, bytes: udp.payload().to_vec() })
}
