//! Messages to the kernel, and what to do when it refuses them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use socket2::Socket;

use super::counters::Counters;
use super::mmsg::{self, Message};
use super::paths::Paths;
use super::udp::{self, VXLAN_PORT};
use crate::core::Now;
use crate::core::drops::Reason;
use crate::wire::ecn::Ecn;

/// As many segments as every kernel with UDP_SEGMENT takes.
const MAX_SEGMENTS: usize = 64;
/// The most that fits one IPv4 packet beside its headers and UDP's.
const MAX_BYTES: usize = 65_507;

/// What became of messages.
#[derive(Default)]
struct Outcome {
    /// How many the kernel took.
    sent: usize,
    /// The numbers of datagrams that are too big for the path.
    too_big: Vec<usize>,
}

/// The sending half of the underlay.
pub(super) struct Sender {
    /// One for each source port.
    sockets: Vec<Socket>,
    /// The socket at the VXLAN port.
    receiver: Arc<Socket>,
    port: u16,
    paths: Paths,
    counters: Arc<CachePadded<Counters>>,
}

impl Sender {
    pub(super) fn new(
        sockets: Vec<Socket>,
        receiver: Arc<Socket>,
        port: u16,
        paths: Paths,
        counters: Arc<CachePadded<Counters>>,
    ) -> Sender {
        Sender { sockets, receiver, port, paths, counters }
    }

    fn socket(&self, sender: usize) -> &Socket {
        // Nobody names a socket beyond; and if, this one always exists.
        self.sockets.get(sender).unwrap_or(&self.receiver)
    }

    /// Sends a datagram from the VXLAN port.
    pub(super) fn send_one(&mut self, now: Now, to: SocketAddr, bytes: &[u8]) {
        let (sender, ecn, size) = (VXLAN_PORT, Ecn::NotEct, bytes.len().max(1));
        self.send(now, &[Message { sender, to, ecn, bytes, size, first: 0 }]);
    }

    /// Where a VTEP listens.
    pub(super) fn address(&self, vtep: IpAddr) -> SocketAddr {
        SocketAddr::new(vtep, self.port)
    }

    /// Counts frames that cannot be sent.
    pub(super) fn dropped(&self, reason: Reason, frames: usize) {
        self.counters.dropped_many(reason, frames);
    }

    /// How many datagrams of `size` bytes one message to this VTEP may hold.
    pub(super) fn most(&mut self, to: IpAddr, size: usize, now: Now) -> usize {
        if self.paths.segments(to, now) {
            (MAX_BYTES / size.max(1)).clamp(1, MAX_SEGMENTS)
        } else {
            1
        }
    }

    /// The largest inner IP packet that reaches a VTEP.
    pub(super) fn inner_mtu(&mut self, to: IpAddr, now: Now) -> Option<u16> {
        let address = self.address(to);
        self.paths.inner_mtu(to, now, || udp::path_mtu(address))
    }

    /// Sends all messages in their order, those of one socket together. What
    /// the kernel refuses is counted; the numbers ([`Message::first`]) of
    /// datagrams that are too big for the path come back.
    pub(super) fn send(&mut self, now: Now, messages: &[Message<'_>]) -> Vec<usize> {
        let mut outcome = Outcome::default();
        self.transmit(now, messages, &mut outcome);
        outcome.too_big
    }

    fn transmit(&mut self, now: Now, messages: &[Message<'_>], outcome: &mut Outcome) {
        let mut rest = messages;
        let mut forgiven = false;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|m| m.sender == first.sender).count();
            match mmsg::send(self.socket(first.sender), &rest[..same]) {
                Ok(sent) => {
                    rest[..sent].iter().for_each(|m| self.count(m));
                    outcome.sent += sent;
                    rest = &rest[sent..];
                    forgiven = false;
                }
                // Not about this message: a signal, or an earlier one's ICMP error.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && !forgiven => {
                    forgiven = true;
                }
                Err(e) => {
                    self.refused(now, first, &e, outcome);
                    rest = &rest[1..];
                    forgiven = false;
                }
            }
        }
    }

    fn refused(
        &mut self,
        now: Now,
        message: &Message<'_>,
        error: &io::Error,
        outcome: &mut Outcome,
    ) {
        if message.datagrams() > 1 && is_about_segmentation(error) {
            return self.send_alone(now, message, error, outcome);
        }
        let reason = reason(error);
        self.counters.dropped_many(reason, message.datagrams());
        if reason == Reason::TooBig {
            outcome.too_big.extend(message.first..message.first + message.datagrams());
        }
    }

    /// UDP_SEGMENT may fail for one destination only: its NIC, or its MTU.
    /// Only if the datagrams pass one by one was segmentation to blame.
    fn send_alone(
        &mut self,
        now: Now,
        message: &Message<'_>,
        error: &io::Error,
        outcome: &mut Outcome,
    ) {
        self.counters.udp_gso_refused.add(1);
        let alone: Vec<Message<'_>> = message.alone().collect();
        let mut each = Outcome::default();
        self.transmit(now, &alone, &mut each);
        if each.sent == alone.len() {
            self.paths.refuse(message.to.ip(), now, error);
        }
        outcome.sent += each.sent;
        outcome.too_big.append(&mut each.too_big);
    }

    fn count(&self, message: &Message<'_>) {
        let (bytes, datagrams) = (message.bytes.len(), message.datagrams());
        self.counters.udp_sends.add(1);
        self.counters.udp_send_bytes.add(bytes);
        self.counters.udp_datagrams_out.add(datagrams);
        if datagrams > 1 {
            self.counters.udp_gso_sends.add(1);
            self.counters.udp_gso_send_bytes.add(bytes);
        }
    }
}

fn is_about_segmentation(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

fn reason(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => Reason::TooBig,
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Reason::UnderlayFull,
        _ => Reason::UnderlayUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dataplane::paths::Report;
    use crate::dataplane::udp::{self, Underlay};

    struct Lab {
        sender: Sender,
        receiver: Arc<Socket>,
        report: Report,
        counters: Arc<CachePadded<Counters>>,
    }

    fn lab() -> Lab {
        let underlay = Underlay::bind([127, 0, 0, 1].into(), 0, 6).unwrap();
        let (report, counters) = (Report::default(), Arc::default());
        let receiver = Arc::new(underlay.receiver);
        let paths = Paths::new(false, report.clone());
        let senders = underlay.senders;
        let sender = Sender::new(senders, receiver.clone(), 0, paths, Arc::clone(&counters));
        Lab { sender, receiver, report, counters }
    }

    /// Three datagrams of 100 bytes that the kernel is to segment.
    fn send(lab: &mut Lab, to: SocketAddr) -> Vec<usize> {
        let (sender, ecn) = (0, Ecn::NotEct);
        let message = Message { sender, to, ecn, bytes: &[7; 300], size: 100, first: 0 };
        lab.sender.send(Duration::ZERO, &[message])
    }

    #[test]
    fn what_the_kernel_does_not_segment_is_sent_one_by_one() {
        let mut lab = lab();
        // A socket without checksums: EINVAL for UDP_SEGMENT, and for nothing else.
        udp::set(&lab.sender.sockets[0], libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        let to = lab.receiver.local_addr().unwrap().as_socket().unwrap();
        assert!(send(&mut lab, to).is_empty());
        let snapshot = lab.counters.snapshot(0);
        assert_eq!((snapshot.get("udp_sends"), snapshot.get("udp_gso_refused")), (3, 1));
        assert_eq!(lab.sender.most(to.ip(), 100, Duration::from_secs(1)), 1);
        assert_eq!(lab.sender.most(to.ip(), 100, Duration::from_secs(61)), MAX_SEGMENTS);
        assert!(lab.report.lock().unwrap().is_none(), "forgotten again");
    }

    #[test]
    fn what_the_kernel_does_not_send_at_all_says_nothing_about_segmentation() {
        let mut lab = lab();
        // From the loopback address there is no way out: EINVAL, whatever is sent.
        let to: SocketAddr = "192.0.2.1:4789".parse().unwrap();
        assert!(send(&mut lab, to).is_empty());
        let snapshot = lab.counters.snapshot(0);
        assert_eq!(snapshot.get("udp_sends"), 0);
        assert_eq!(snapshot.drops(Reason::UnderlayUnreachable), 3);
        assert_eq!(lab.sender.most(to.ip(), 100, Duration::ZERO), MAX_SEGMENTS);
        assert!(lab.report.lock().unwrap().is_none());
    }
}
