//! Frames on their way out to other VTEPs.
//!
//! Frames are read straight into the outbox's memory, behind room for what is
//! put in front of them, and leave from there. Small frames queue up until the
//! end of the batch, never longer; a super-frame is cut and sent at once.

use std::hash::BuildHasher;
use std::io::IoSlice;
use std::net::IpAddr;
use std::ops::Range;

use foldhash::fast::FixedState;

use super::mmsg::Message;
use super::sender::Sender;
use super::tap::Tap;
use super::udp::SENDERS;
use crate::core::Now;
use crate::core::drops::Reason;
use crate::core::plan::PortId;
use crate::wire::ecn::Ecn;
use crate::wire::frame::View;
use crate::wire::gso::Split;
use crate::wire::vnet::{self, Gso, Offload};
use crate::wire::vxlan::{self, Vni};

/// Room for one read: a virtio header, Ethernet, and the longest IP packet.
const SLOT: usize = Tap::HEADROOM + (1 << 16) + 64;
/// Room for a batch of ordinary frames, and for one more read.
const MEMORY: usize = (512 << 10) + SLOT;
/// Frames that wait for the batch's end, at most.
const QUEUE: usize = 256;

/// Whose frame goes outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Its network.
    pub(super) vni: Vni,
    /// The TAP that it came from; `None` if it came from the underlay.
    pub(super) port: Option<PortId>,
}

/// A frame that the path to its VTEP is too narrow for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooBig {
    /// Whose frame.
    pub(super) port: PortId,
    /// The frame.
    pub(super) frame: Vec<u8>,
    /// The largest inner IP packet that would fit.
    pub(super) mtu: u16,
}

/// Frames being read, and frames waiting to be sent.
pub(super) struct Outbox {
    sender: Sender,
    hash: FixedState,
    memory: Vec<u8>,
    /// Where the next read goes.
    at: usize,
    queue: Vec<Queued>,
    /// VXLAN, Ethernet, IP and transport headers of a super-frame's segments.
    headers: Vec<u8>,
    too_big: Vec<TooBig>,
}

/// A datagram, VXLAN header first, in the outbox's memory.
#[derive(Clone, Debug)]
struct Queued {
    /// Of its flow. The upper bits choose the source port.
    hash: u64,
    to: IpAddr,
    ecn: Ecn,
    bytes: Range<usize>,
    port: Option<PortId>,
}

impl Outbox {
    pub(super) fn new(sender: Sender, seed: u64) -> Outbox {
        Outbox {
            sender,
            hash: FixedState::with_seed(seed),
            memory: vec![0; MEMORY],
            at: 0,
            queue: Vec::with_capacity(QUEUE),
            headers: Vec::new(),
            too_big: Vec::new(),
        }
    }

    /// Room for [`Tap::read`]; `None` if the batch is full.
    pub(super) fn slot(&mut self) -> Option<&mut [u8]> {
        if self.queue.len() >= QUEUE {
            return None;
        }
        self.memory.get_mut(self.at..self.at + SLOT)
    }

    /// What was read into the slot: the virtio header and a frame of `len` bytes.
    pub(super) fn read(&mut self, len: usize) -> ([u8; Tap::HEADROOM], &mut [u8]) {
        let (header, frame) = self.memory[self.at..].split_at_mut(Tap::HEADROOM);
        let mut bytes = [0; Tap::HEADROOM];
        bytes.copy_from_slice(header);
        (bytes, &mut frame[..len])
    }

    /// Puts a frame that is not from a TAP into the slot, so that
    /// [`Outbox::send`] can take it. `false`: it is longer than any frame.
    pub(super) fn fill(&mut self, now: Now, frame: &[u8]) -> bool {
        if self.slot().is_none() {
            self.flush(now);
        }
        let Some(slot) = self.slot() else { return false };
        let Some(room) = slot[Tap::HEADROOM..].get_mut(..frame.len()) else { return false };
        room.copy_from_slice(frame);
        true
    }

    /// Takes the frame of `len` bytes in the slot and sends it to each VTEP.
    pub(super) fn send(
        &mut self,
        now: Now,
        len: usize,
        view: &View,
        offload: &Offload,
        origin: Origin,
        to: &[IpAddr],
    ) {
        if let Some(gso) = offload.gso {
            return self.send_super(now, len, view, gso, origin, to);
        }
        let start = self.at + Tap::HEADROOM;
        let frame = &mut self.memory[start..start + len];
        if let Some(partial) = offload.checksum {
            vnet::complete(frame, partial, view.end);
        }
        let bytes = start - vxlan::LEN..start + len;
        self.memory[bytes.start..start].copy_from_slice(&vxlan::header(origin.vni));
        self.at = bytes.end;
        let hash = self.hash.hash_one(view.flow());
        let ecn = Ecn::from_tos(view.tos);
        let port = origin.port;
        for to in to.iter().copied() {
            self.queue.push(Queued { hash, to, ecn, bytes: bytes.clone(), port });
        }
    }

    /// Sends what is queued. Within a flow the order stays; flows are put one
    /// behind the other, so that neighbours of one size leave as one message.
    pub(super) fn flush(&mut self, now: Now) {
        self.at = 0;
        if self.queue.is_empty() {
            return;
        }
        self.queue.sort_by_key(|q| (q.hash, q.to));
        let pieces: Vec<IoSlice<'_>> =
            self.queue.iter().map(|q| IoSlice::new(&self.memory[q.bytes.clone()])).collect();
        let mut messages = Vec::with_capacity(pieces.len());
        let mut at = 0;
        while let Some(first) = self.queue.get(at) {
            let most = self.sender.most(first.to, first.bytes.len(), now);
            let len = run(&self.queue[at..], most);
            messages.push(Message {
                sender: sender_of(first.hash),
                to: self.sender.address(first.to),
                ecn: first.ecn,
                pieces: &pieces[at..at + len],
                slices: 1,
                first: at,
            });
            at += len;
        }
        for queued in self.sender.send(now, &messages).into_iter().map(|i| &self.queue[i]) {
            let frame = &self.memory[queued.bytes.start + vxlan::LEN..queued.bytes.end];
            let mtu = self.sender.inner_mtu(queued.to, now);
            self.too_big.extend(too_big(queued.port, frame, mtu));
        }
        self.queue.clear();
    }

    /// Cuts the super-frame in the slot and sends the segments, after all that
    /// was queued before it.
    fn send_super(
        &mut self,
        now: Now,
        len: usize,
        view: &View,
        gso: Gso,
        origin: Origin,
        to: &[IpAddr],
    ) {
        let start = self.at + Tap::HEADROOM;
        self.flush(now);
        let frame = &self.memory[start..start + len];
        let Some(split) = Split::new(frame, view, gso) else {
            return self.sender.dropped(Reason::BadOffload);
        };
        let header = vxlan::header(origin.vni);
        let stride = vxlan::LEN + split.headers_len();
        self.headers.resize(split.segments() * stride, 0);
        let mut pieces = Vec::with_capacity(2 * split.segments());
        for (i, headers) in self.headers.chunks_exact_mut(stride).enumerate() {
            headers[..vxlan::LEN].copy_from_slice(&header);
            let payload = split.segment(i, &mut headers[vxlan::LEN..]);
            pieces.extend([IoSlice::new(headers), IoSlice::new(&frame[payload])]);
        }
        let sender = sender_of(self.hash.hash_one(view.flow()));
        let ecn = Ecn::from_tos(view.tos);
        for to in to.iter().copied() {
            let most = self.sender.most(to, vxlan::LEN + split.segment_len(), now);
            let address = self.sender.address(to);
            let message =
                |pieces| Message { sender, to: address, ecn, pieces, slices: 2, first: 0 };
            let messages: Vec<_> = pieces.chunks(2 * most).map(message).collect();
            if !self.sender.send(now, &messages).is_empty() {
                let mtu = self.sender.inner_mtu(to, now);
                self.too_big.extend(too_big(origin.port, frame, mtu));
            }
        }
    }

    /// Frames that were too big since the last call.
    pub(super) fn take_too_big(&mut self) -> Vec<TooBig> {
        std::mem::take(&mut self.too_big)
    }
}

fn too_big(port: Option<PortId>, frame: &[u8], mtu: Option<u16>) -> Option<TooBig> {
    Some(TooBig { port: port?, frame: frame.to_vec(), mtu: mtu? })
}

/// Flows spread over the source ports by the upper bits of their hash, so that
/// sorting by hash brings a socket's datagrams together.
fn sender_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SENDERS.ilog2())) as usize
}

/// How many of the queue's first datagrams can leave as one message: equal
/// ends, equal mark, equal size, of which the last may fall short.
fn run(queue: &[Queued], most: usize) -> usize {
    let first = &queue[0];
    let size = first.bytes.len();
    let mut len = 1;
    for next in queue.iter().take(most).skip(1) {
        let same = next.to == first.to
            && next.ecn == first.ecn
            && sender_of(next.hash) == sender_of(first.hash);
        if !same || next.bytes.len() > size {
            break;
        }
        len += 1;
        if next.bytes.len() < size {
            break;
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(flow: u64, len: usize) -> Queued {
        let to = [10, 0, 0, 1].into();
        Queued { hash: flow << 60, to, ecn: Ecn::NotEct, bytes: 0..len, port: None }
    }

    fn runs(queue: &[Queued], most: usize) -> Vec<usize> {
        let mut rest = queue;
        let mut runs = Vec::new();
        while !rest.is_empty() {
            runs.push(run(rest, most));
            rest = &rest[runs[runs.len() - 1]..];
        }
        runs
    }

    #[test]
    fn a_run_is_of_one_size_and_may_end_short() {
        let sizes = [100, 100, 60, 60, 100, 100, 101, 1];
        let queue: Vec<_> = sizes.map(|len| queued(1, len)).into();
        assert_eq!(runs(&queue, 64), [3, 1, 2, 2]);
        assert_eq!(runs(&queue, 2), [2, 2, 2, 2]);
        assert_eq!(runs(&queue, 1), [1; 8]);
    }

    #[test]
    fn a_run_has_one_socket_one_vtep_and_one_mark() {
        let mut queue: Vec<_> = [1, 1, 2, 2, 2, 2].map(|flow| queued(flow, 80)).into();
        queue[4].ecn = Ecn::Ce;
        queue[5].to = [10, 0, 0, 2].into();
        assert_eq!(runs(&queue, 64), [2, 2, 1, 1]);
    }

    #[test]
    fn every_hash_has_a_socket() {
        assert_eq!(sender_of(0), 0);
        assert_eq!(sender_of(u64::MAX), SENDERS - 1);
    }
}
