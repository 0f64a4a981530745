//! Messages to the kernel, and what to do when it refuses them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use socket2::Socket;

use super::counters::Counters;
use super::mmsg::{self, Message};
use super::paths::{Paths, Report};
use super::{Config, udp};
use crate::core::Now;
use crate::core::drops::Reason;

/// As many segments as every kernel with UDP_SEGMENT takes.
const MAX_SEGMENTS: usize = 64;
/// The most that fits one IPv4 packet beside its headers and UDP's.
const MAX_BYTES: usize = 65_507;

/// The sending half of the underlay.
pub(super) struct Sender {
    sockets: Vec<Socket>,
    port: u16,
    paths: Paths,
    counters: Arc<CachePadded<Counters>>,
}

impl Sender {
    pub(super) fn new(
        sockets: Vec<Socket>,
        config: &Config,
        report: Report,
        counters: Arc<CachePadded<Counters>>,
    ) -> Sender {
        let paths = Paths::new(config.no_udp_gso.is_some(), report);
        Sender { sockets, port: config.port, paths, counters }
    }

    /// Where a VTEP listens.
    pub(super) fn address(&self, vtep: IpAddr) -> SocketAddr {
        SocketAddr::new(vtep, self.port)
    }

    /// Counts a frame that cannot be sent.
    pub(super) fn dropped(&self, reason: Reason) {
        self.counters.dropped(reason);
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
        let mut too_big = Vec::new();
        let mut rest = messages;
        let mut forgiven = false;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|m| m.sender == first.sender).count();
            match mmsg::send(&self.sockets[first.sender], &rest[..same]) {
                Ok(sent) => {
                    rest[..sent].iter().for_each(|m| self.count(m));
                    rest = &rest[sent..];
                    forgiven = false;
                }
                // Not about this message: a signal, or an earlier one's ICMP error.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && !forgiven => {
                    forgiven = true;
                }
                Err(e) => {
                    too_big.extend(self.refused(now, first, &e));
                    rest = &rest[1..];
                    forgiven = false;
                }
            }
        }
        too_big
    }

    fn refused(&mut self, now: Now, message: &Message<'_>, error: &io::Error) -> Vec<usize> {
        if message.datagrams() > 1 && is_about_segmentation(error) {
            return self.send_alone(now, message, error);
        }
        let reason = reason(error);
        self.counters.dropped_many(reason, message.datagrams());
        let numbers = message.first..message.first + message.datagrams();
        if reason == Reason::TooBig { numbers.collect() } else { Vec::new() }
    }

    /// UDP_SEGMENT may fail for one destination only: its NIC, or its MTU.
    /// Only if the datagrams pass one by one was segmentation to blame.
    fn send_alone(&mut self, now: Now, message: &Message<'_>, error: &io::Error) -> Vec<usize> {
        self.counters.udp_gso_refused.add(1);
        let alone: Vec<Message<'_>> = message.alone().collect();
        let too_big = self.send(now, &alone);
        if too_big.is_empty() {
            self.paths.refuse(message.to.ip(), now, error);
        }
        too_big
    }

    fn count(&self, message: &Message<'_>) {
        let (bytes, datagrams) = (message.bytes(), message.datagrams());
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
