//! Frames on their way out to other VTEPs.
//!
//! Frames are read straight into the outbox's memory, and become datagrams in memory of
//! their own ([`Datagrams`]). They leave together at the end of the batch, never later:
//! the kernel takes many messages in one go with less work for each than it has where
//! reading and sending alternate. A super-frame is cut at once, so that the next is read
//! into the memory that is still in the cache. Small frames of one size to one VTEP leave
//! as one message, also those of several flows ([`arrange`]).

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use foldhash::fast::FixedState;

use super::datagrams::{Datagrams, Label, Written};
use super::mmsg::Message;
use super::sender::Sender;
use super::tap::Tap;
use super::udp::{SENDERS, VXLAN_PORT};
use crate::core::Now;
use crate::core::drops::Reason;
use crate::core::plan::{Plan, PortId};
use crate::core::seal::Route;
use crate::core::switch::Dress;
use crate::wire::ecn::Ecn;
use crate::wire::frame::{View, protocol};
use crate::wire::gso::Split;
use crate::wire::sealed;
use crate::wire::vnet::{self, Gso, Offload};
use crate::wire::vxlan::{self, Vni};

/// Room for one read: a virtio header, Ethernet, and the longest IP packet.
const SLOT: usize = Tap::HEADROOM + (1 << 16) + 64;
/// Room for a batch of ordinary frames, and for one more read.
const MEMORY: usize = (512 << 10) + SLOT;
/// Frames that wait for the batch's end, at most.
const QUEUE: usize = 256;
/// How many of the source ports all flows but TCP's share, so that frames of one size find
/// each other.
const SHARED: usize = 2;

/// Whose frame goes outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Its network.
    pub(super) vni: Vni,
    /// How that network's frames cross the underlay.
    pub(super) dress: Dress,
    /// The TAP that it came from; `None` if it came from the underlay.
    pub(super) port: Option<PortId>,
}

/// A frame that the path to its VTEP is too narrow for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TooBig {
    /// Whose frame.
    pub(super) port: PortId,
    /// The frame; of a super-frame, its first segment.
    pub(super) frame: Vec<u8>,
    /// The largest inner IP packet that would fit.
    pub(super) mtu: u16,
}

/// Frames being read, and frames waiting to be sent.
pub(super) struct Outbox {
    sender: Sender,
    /// What leaves next, and what seals it.
    pub(super) datagrams: Datagrams,
    hash: FixedState,
    /// Of frames as they were read.
    pub(super) memory: Vec<u8>,
    /// Where the next read goes.
    at: usize,
    /// Super-frames, which came before what is in the queue.
    trains: Vec<Train>,
    queue: Vec<Queued>,
    too_big: Vec<TooBig>,
}

/// The datagrams of a super-frame, one behind the other.
#[derive(Clone, Debug)]
struct Train {
    /// Of its flow.
    hash: u64,
    vtep: IpAddr,
    sender: usize,
    to: SocketAddr,
    ecn: Ecn,
    bytes: Range<usize>,
    /// Bytes of each datagram; the last may be shorter.
    size: usize,
    /// Where its first segment is still to be read. The headers speak of the whole.
    head: Range<usize>,
    view: View,
    origin: Origin,
}

/// A frame in the outbox's memory.
#[derive(Clone, Debug)]
struct Queued {
    /// Of its flow.
    hash: u64,
    sender: usize,
    to: IpAddr,
    ecn: Ecn,
    /// Within its flow: see [`arrange`].
    step: usize,
    frame: Range<usize>,
    origin: Origin,
}

/// A datagram as it leaves.
#[derive(Clone, Debug)]
struct Ready {
    sender: usize,
    to: SocketAddr,
    ecn: Ecn,
    /// Where it is among the datagrams; those of neighbours adjoin.
    bytes: Range<usize>,
    /// The number of its frame in the queue.
    queued: usize,
}

impl Outbox {
    pub(super) fn new(sender: Sender, datagrams: Datagrams, seed: u64) -> Outbox {
        Outbox {
            sender,
            datagrams,
            hash: FixedState::with_seed(seed),
            memory: vec![0; MEMORY],
            at: 0,
            trains: Vec::new(),
            queue: Vec::with_capacity(QUEUE),
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

    /// Where in the memory the frame of `len` bytes in the slot is.
    pub(super) fn range(&self, len: usize) -> Range<usize> {
        let start = self.at + Tap::HEADROOM;
        start..start + len
    }

    /// Leaves the frame of `len` bytes in the slot where it is until [`Outbox::flush`].
    pub(super) fn keep(&mut self, len: usize) {
        self.at = self.range(len).end;
    }

    /// Puts a frame that is not from a TAP into the slot, so that
    /// [`Outbox::send`] can take it. `false`: it is longer than any frame.
    pub(super) fn fill(&mut self, plan: &Plan, now: Now, frame: &[u8]) -> bool {
        if self.slot().is_none() {
            self.flush(plan, now);
        }
        let Some(slot) = self.slot() else { return false };
        let Some(room) = slot[Tap::HEADROOM..].get_mut(..frame.len()) else { return false };
        room.copy_from_slice(frame);
        true
    }

    /// Takes the frame in the slot, for each of these VTEPs. It leaves with
    /// [`Outbox::flush`], or before.
    pub(super) fn send(&mut self, plan: &Plan, now: Now, parcel: &Parcel<'_>, to: &[IpAddr]) {
        let Parcel { len, view, offload, origin } = *parcel;
        if let Some(gso) = offload.gso {
            return self.send_super(plan, now, parcel, gso, to);
        }
        let frame = self.range(len);
        if let Some(partial) = offload.checksum {
            vnet::complete(&mut self.memory[frame.clone()], partial, view.end);
        }
        self.keep(len);
        let hash = self.hash.hash_one(view.flow());
        let (sender, ecn) = (sender_of(hash, view), Ecn::from_tos(view.tos));
        for to in to.iter().copied() {
            self.queue.push(Queued {
                hash,
                sender,
                to,
                ecn,
                step: 0,
                frame: frame.clone(),
                origin,
            });
        }
    }

    /// Sends all that was taken, and lets go of what was kept. Within a flow the order
    /// stays.
    pub(super) fn flush(&mut self, plan: &Plan, now: Now) {
        self.send_all(plan, now);
        self.at = 0;
    }

    fn send_all(&mut self, plan: &Plan, now: Now) {
        self.send_trains(now);
        self.send_queue(plan, now);
        self.datagrams.clear();
    }

    /// Sends what is queued. Neighbours of one size leave as one message.
    fn send_queue(&mut self, plan: &Plan, now: Now) {
        if self.queue.is_empty() {
            return;
        }
        arrange(&mut self.queue);
        let ready = self.dress(plan, now);
        let mut messages = Vec::with_capacity(ready.len());
        let mut at = 0;
        while let Some(first) = ready.get(at) {
            let size = first.bytes.len();
            let most = self.sender.most(first.to.ip(), size, now);
            let last = at + run(&ready[at..], most) - 1;
            messages.push(Message {
                sender: first.sender,
                to: first.to,
                ecn: first.ecn,
                bytes: self.datagrams.bytes(first.bytes.start..ready[last].bytes.end),
                size,
                first: at,
            });
            at = last + 1;
        }
        for refused in self.sender.send(now, &messages).into_iter().map(|i| &ready[i]) {
            let Queued { frame, origin, .. } = &self.queue[refused.queued];
            let mtu = inner_mtu(&mut self.sender, refused.to.ip(), origin.dress, now);
            let frame = self.memory[frame.clone()].to_vec();
            self.too_big.extend(too_big(origin.port, frame, mtu));
        }
        self.queue.clear();
    }

    /// Makes datagrams of what is queued.
    fn dress(&mut self, plan: &Plan, now: Now) -> Vec<Ready> {
        let mut ready = Vec::with_capacity(self.queue.len());
        for (queued, q) in self.queue.iter().enumerate() {
            let Origin { vni, dress, .. } = q.origin;
            let label = Label { vni, dress, to: q.to };
            let written = self.datagrams.frame(now, label, &self.memory[q.frame.clone()]);
            let checked = written.and_then(|w| check(plan, &self.datagrams, label, w, 1));
            match checked {
                Ok(Written { range, route, .. }) => {
                    let (sender, to) = way(&self.sender, route, q.sender, q.to);
                    ready.push(Ready { sender, to, ecn: q.ecn, bytes: range, queued });
                }
                Err(reason) => self.sender.dropped(reason, 1),
            }
        }
        ready
    }

    /// Cuts the super-frame in the slot, after all that was queued before it is sent.
    fn send_super(&mut self, plan: &Plan, now: Now, parcel: &Parcel<'_>, gso: Gso, to: &[IpAddr]) {
        let start = self.at + Tap::HEADROOM;
        if !self.queue.is_empty() {
            self.send_all(plan, now);
        }
        for vtep in to.iter().copied() {
            if self.datagrams.is_full() {
                self.send_trains(now);
            }
            match self.cut(plan, now, start, parcel, gso, vtep) {
                Ok(train) => {
                    self.at = train.head.end;
                    self.trains.push(train);
                }
                Err((reason, segments)) => self.sender.dropped(reason, segments),
            }
        }
    }

    /// Makes datagrams of the segments of the super-frame at `start`. What fails is
    /// so many segments, for one reason.
    fn cut(
        &mut self,
        plan: &Plan,
        now: Now,
        start: usize,
        parcel: &Parcel<'_>,
        gso: Gso,
        vtep: IpAddr,
    ) -> Result<Train, (Reason, usize)> {
        let Parcel { len, view, origin, .. } = *parcel;
        let frame = &self.memory[start..start + len];
        let split = Split::new(frame, view, gso).ok_or((Reason::BadOffload, 1))?;
        let segments = split.segments();
        let label = Label { vni: origin.vni, dress: origin.dress, to: vtep };
        let written = self.datagrams.segments(now, label, &split);
        let Written { range, size, route } = written
            .and_then(|w| check(plan, &self.datagrams, label, w, segments))
            .map_err(|reason| (reason, segments))?;
        let hash = self.hash.hash_one(view.flow());
        let (sender, to) = way(&self.sender, route, sender_of(hash, view), vtep);
        let ecn = Ecn::from_tos(view.tos);
        let head = start..start + split.segment_len();
        Ok(Train { hash, vtep, sender, to, ecn, bytes: range, size, head, view: *view, origin })
    }

    /// Sends the trains, those of a socket and of a flow one behind the other.
    fn send_trains(&mut self, now: Now) {
        self.trains.sort_by_key(|t| (t.sender, t.hash, t.vtep));
        let mut messages = Vec::with_capacity(self.trains.len());
        for &Train { sender, to, ecn, ref bytes, size, .. } in &self.trains {
            let most = self.sender.most(to.ip(), size, now) * size;
            for first in bytes.clone().step_by(most) {
                // A number for each datagram, which is within its train's range.
                let bytes = self.datagrams.bytes(first..bytes.end.min(first + most));
                messages.push(Message { sender, to, ecn, bytes, size, first });
            }
        }
        let refused = self.sender.send(now, &messages);
        for Train { to, bytes, head, view, origin, .. } in &self.trains {
            if refused.iter().any(|number| bytes.contains(number)) {
                let mtu = inner_mtu(&mut self.sender, to.ip(), origin.dress, now);
                let mut segment = self.memory[head.clone()].to_vec();
                view.put_end(&mut segment, head.len());
                self.too_big.extend(too_big(origin.port, segment, mtu));
            }
        }
        self.trains.clear();
        self.datagrams.clear();
    }

    /// Sends what the sessions have to say themselves.
    pub(super) fn converse(&mut self, now: Now) {
        while let Some(datagram) = self.datagrams.seal.output() {
            self.sender.send_one(now, datagram.to, &datagram.bytes);
        }
    }

    /// Frames that were too big since the last call.
    pub(super) fn take_too_big(&mut self) -> Vec<TooBig> {
        std::mem::take(&mut self.too_big)
    }
}

/// The frame in the slot, and all that is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel<'a> {
    /// Its length in bytes.
    pub(super) len: usize,
    /// What is in it.
    pub(super) view: &'a View,
    /// What is left to do to it.
    pub(super) offload: &'a Offload,
    /// Whose it is.
    pub(super) origin: Origin,
}

/// Counts what is about to leave for encrypted networks. Whatever was decided before,
/// the bytes must not show a frame of one in clear.
fn check(
    plan: &Plan,
    datagrams: &Datagrams,
    label: Label,
    written: Written,
    frames: usize,
) -> Result<Written, Reason> {
    let frames = frames as u64;
    match label.dress {
        Dress::Sealed => drop(plan.ledger(label.vni).inspect(|l| l.count_sealed(frames))),
        Dress::Clear => {
            let first = datagrams.bytes(written.range.clone());
            let ledger = vxlan::peek(first).and_then(|vni| plan.ledger(vni));
            if let Some(ledger) = ledger {
                ledger.count_clear_sent(frames);
                return Err(Reason::ClearLeaving);
            }
        }
    }
    Ok(written)
}

/// From which socket and where to.
fn way(sender: &Sender, route: Option<Route>, number: usize, vtep: IpAddr) -> (usize, SocketAddr) {
    match route {
        Some(Route { translated: true, to }) => (VXLAN_PORT, to),
        Some(Route { to, .. }) => (number, to),
        None => (number, sender.address(vtep)),
    }
}

/// The largest inner IP packet that reaches a VTEP.
fn inner_mtu(sender: &mut Sender, to: IpAddr, dress: Dress, now: Now) -> Option<u16> {
    let mtu = sender.inner_mtu(to, now)?;
    match dress {
        Dress::Clear => Some(mtu),
        Dress::Sealed => mtu.checked_sub(sealed::OVERHEAD),
    }
}

fn too_big(port: Option<PortId>, frame: Vec<u8>, mtu: Option<u16>) -> Option<TooBig> {
    Some(TooBig { port: port?, frame, mtu: mtu? })
}

/// The sending socket of a flow with this hash. TCP's flows spread over all source ports:
/// their data comes in super-frames, each a message of its own. Other frames are small
/// mostly, and become one message only where they have one source port.
fn sender_of(hash: u64, view: &View) -> usize {
    let ports = if view.protocol == protocol::TCP { SENDERS } else { SHARED };
    (hash % ports as u64) as usize
}

/// Brings together what can leave as one message: frames of one size to one VTEP from one
/// source port, whichever their flows. Within a flow the order stays.
///
/// A flow's frames are counted in steps: a new one begins with each that is longer than the
/// one before, or bears another mark. So all steps of one number can be sorted by size, the
/// largest first, and each flow stays as it is. That way round, because the last datagram of
/// a message may be shorter than the others. What is sealed grows by that, and goes apart.
fn arrange(queue: &mut [Queued]) {
    queue.sort_by_key(|q| (q.hash, q.to));
    for flow in queue.chunk_by_mut(|a, b| (a.hash, a.to) == (b.hash, b.to)) {
        let (mut step, mut mark, mut len) = (0, flow[0].ecn, flow[0].frame.len());
        for q in flow {
            if q.ecn != mark || q.frame.len() > len {
                step += 1;
            }
            (q.step, mark, len) = (step, q.ecn, q.frame.len());
        }
    }
    queue.sort_by_key(|q| {
        let sealed = q.origin.dress == Dress::Sealed;
        (q.sender, q.to, sealed, q.step, q.ecn as u8, Reverse(q.frame.len()))
    });
}

/// How many of the first datagrams can leave as one message: one behind the other (one
/// that was refused leaves a gap), equal ends, equal mark, equal size, of which the last
/// may fall short.
fn run(ready: &[Ready], most: usize) -> usize {
    let first = &ready[0];
    let size = first.bytes.len();
    let (mut len, mut end) = (1, first.bytes.end);
    for next in ready.iter().take(most).skip(1) {
        let same = next.to == first.to && next.ecn == first.ecn && next.sender == first.sender;
        if !same || next.bytes.start != end || next.bytes.len() > size {
            break;
        }
        (len, end) = (len + 1, next.bytes.end);
        if next.bytes.len() < size {
            break;
        }
    }
    len
}
