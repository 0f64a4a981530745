//! The way of a batch: read, looked at once, judged by the switch, written.
//!
//! | from | to a TAP of this host | to another VTEP |
//! | --- | --- | --- |
//! | a TAP | the same super-frame, nothing cut or summed; neighbours of a flow joined into one | cut and summed into datagrams, one message |
//! | the underlay | neighbours of a flow joined into a super-frame | – |

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use socket2::Socket;

use super::counters::Counters;
use super::joiner::Joiner;
use super::mmsg::{Arrival, Inbox, RECEIVE_BATCH};
use super::outbox::{Origin, Outbox, Parcel};
use super::ports::Ports;
use crate::core::Now;
use crate::core::balance::{Notice, Stats};
use crate::core::drops::Reason;
use crate::core::plan::{Network, Plan, PortId, Target};
use crate::core::seal::{Opened, Seal};
use crate::core::switch::{Admission, Dress, Switch, Verdict};
use crate::wire::ecn;
use crate::wire::frame::{self, View};
use crate::wire::partial::adopt;
use crate::wire::sealed;
use crate::wire::vnet::{Header, Offload};
use crate::wire::vxlan::{self, Vni};

/// Frames read from one TAP before others have their turn.
const TURN_FRAMES: usize = 256;
/// And bytes.
const TURN_BYTES: usize = 1 << 20;

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// There may be more to read.
    More,
    /// Nothing is left.
    Dry,
    /// The kernel took the interface away.
    Gone,
}

/// The switch and all that it moves frames between.
pub(super) struct Fabric {
    /// The TAPs.
    pub(super) ports: Ports,
    /// What decides where frames go.
    pub(super) switch: Switch,
    inbox: Inbox,
    joiner: Joiner,
    /// The same for frames between TAPs of this host, which lie in the outbox.
    local: Joiner,
    outbox: Outbox,
    /// Answers to frames of `network verify`.
    verified: Vec<Vec<u8>>,
    /// Questions for DNS, each with its TAP.
    questions: Vec<(PortId, Vec<u8>)>,
    counters: Arc<CachePadded<Counters>>,
}

impl Fabric {
    pub(super) fn new(outbox: Outbox, counters: Arc<CachePadded<Counters>>, seed: u64) -> Fabric {
        Fabric {
            ports: Ports::new(counters.clone()),
            switch: Switch::new(seed),
            inbox: Inbox::new(),
            joiner: Joiner::default(),
            local: Joiner::default(),
            outbox,
            verified: Vec::new(),
            questions: Vec::new(),
            counters,
        }
    }

    /// The sessions with other hosts.
    pub(super) fn seal(&mut self) -> &mut Seal {
        &mut self.outbox.datagrams.seal
    }

    /// Lets the sessions do what is due, and say what they have to say.
    pub(super) fn converse(&mut self, now: Now) {
        if self.seal().due().is_some_and(|due| due <= now) {
            self.seal().tick(now);
        }
        self.outbox.converse(now);
    }

    /// When there is something to do even if nothing comes.
    pub(super) fn due(&mut self) -> Option<Now> {
        [self.seal().due(), self.switch.due()].into_iter().flatten().min()
    }

    /// Lets the switch take note of a new plan.
    pub(super) fn replan(&mut self, plan: &Plan, now: Now) {
        self.switch.replan(plan, now);
        self.flush(plan, now);
    }

    /// Lets the switch look after flows.
    pub(super) fn look_after_flows(&mut self, plan: &Plan, now: Now) {
        if self.switch.due().is_some_and(|due| due <= now) {
            self.switch.tick(plan, now);
            self.flush(plan, now);
        }
    }

    /// One batch from a TAP.
    pub(super) fn read(&mut self, plan: &Plan, now: Now, id: PortId) -> Batch {
        let (mut frames, mut bytes) = (0, 0);
        let end = loop {
            if frames == TURN_FRAMES || bytes >= TURN_BYTES {
                break Batch::More;
            }
            let Some(tap) = self.ports.tap(id) else { break Batch::Dry };
            let Some(slot) = self.outbox.slot() else { break Batch::More };
            match tap.read(slot) {
                Ok(len) => {
                    frames += 1;
                    bytes += len;
                    self.forward(plan, now, id, len);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break Batch::Dry,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break Batch::Gone,
            }
        };
        self.counters.tap_reads.add(frames);
        self.counters.tap_read_bytes.add(bytes);
        self.local.flush(now, &mut self.ports, &mut self.outbox.memory);
        self.flush(plan, now);
        end
    }

    /// The frame of `len` bytes that was read into the outbox's slot.
    fn forward(&mut self, plan: &Plan, now: Now, id: PortId, len: usize) {
        let (header, frame) = self.outbox.read(len);
        let view = match View::parse(frame) {
            Ok(view) => view,
            Err(frame::Error::Malformed) => return self.counters.dropped(Reason::Malformed),
            Err(frame::Error::NotEthernetII) => return self.counters.dropped(Reason::EtherType),
        };
        let Ok(offload) = Header::from_bytes(header).check(&view) else {
            return self.counters.dropped(Reason::BadOffload);
        };
        if offload.gso.is_some() {
            self.counters.tap_super_reads.add(1);
            self.counters.tap_super_read_bytes.add(len);
        }
        match self.switch.from_port(plan, now, id, frame, &view, &offload) {
            Verdict::Drop(reason) => self.counters.dropped(reason),
            // Only what comes from other hosts is one of the latter.
            Verdict::Consumed | Verdict::Verified => {}
            Verdict::Question => self.questions.push((id, frame.to_vec())),
            Verdict::To(Target::Port(to)) => {
                self.counters.local_frames.add(1);
                self.counters.local_bytes.add(len);
                let (range, memory) = (self.outbox.range(len), &mut self.outbox.memory);
                self.local.push(now, &mut self.ports, memory, to, range, &view, offload);
                // A super-frame is written by now; its room is for the next.
                if offload.gso.is_none() {
                    self.outbox.keep(len);
                }
            }
            Verdict::To(Target::Vtep(to)) => {
                let Some(origin) = origin(plan, id) else { return };
                let parcel = Parcel { len, view: &view, offload: &offload, origin };
                self.outbox.send(plan, now, &parcel, &[to]);
            }
            Verdict::Flood => self.flood(plan, now, id, len, &view, offload),
            Verdict::Reply(reason) => {
                reason.into_iter().for_each(|reason| self.counters.dropped(reason));
                self.ports.answer(id, self.switch.reply());
            }
        }
    }

    fn flood(
        &mut self,
        plan: &Plan,
        now: Now,
        id: PortId,
        len: usize,
        view: &View,
        mut offload: Offload,
    ) {
        let mut vteps = Vec::new();
        let (_, frame) = self.outbox.read(len);
        for target in self.switch.targets() {
            match *target {
                Target::Port(to) => self.ports.deliver(now, to, frame, view, &mut offload),
                Target::Vtep(to) => vteps.push(to),
            }
        }
        if let Some(origin) = origin(plan, id)
            && !vteps.is_empty()
        {
            let parcel = Parcel { len, view, offload: &offload, origin };
            self.outbox.send(plan, now, &parcel, &vteps);
        }
    }

    /// One batch from the underlay.
    pub(super) fn receive(&mut self, plan: &Plan, now: Now, socket: &Socket) -> Batch {
        let Ok(received) = self.inbox.receive(socket) else { return Batch::Dry };
        for i in 0..received {
            let arrival = self.inbox.arrivals()[i].clone();
            let (size, hint) = layout(&self.inbox.memory[arrival.range.clone()], arrival.gro_size);
            self.count_arrival(&arrival, size);
            if arrival.range.is_empty() {
                self.counters.dropped(Reason::VxlanTruncated);
            }
            // All datagrams of a message are from one VTEP, nearly always of one VNI.
            let mut admitted = None;
            for start in arrival.range.clone().step_by(size) {
                let datagram = start..arrival.range.end.min(start + size);
                let end = self.decapsulate(plan, now, &arrival, datagram, hint, &mut admitted);
                if let Err(reason) = end {
                    self.counters.dropped(reason);
                }
            }
        }
        self.joiner.flush(now, &mut self.ports, &mut self.inbox.memory);
        self.flush(plan, now);
        if received == RECEIVE_BATCH { Batch::More } else { Batch::Dry }
    }

    fn count_arrival(&self, arrival: &Arrival, size: usize) {
        let len = arrival.range.len();
        self.counters.udp_receives.add(1);
        self.counters.udp_receive_bytes.add(len);
        self.counters.udp_datagrams_in.add(len.div_ceil(size));
        if arrival.gro_size.is_some() {
            self.counters.udp_gro_receives.add(1);
            self.counters.udp_gro_receive_bytes.add(len);
        }
    }

    /// One datagram, or a super-frame of a kernel VTEP.
    fn decapsulate<'a>(
        &mut self,
        plan: &'a Plan,
        now: Now,
        arrival: &Arrival,
        datagram: Range<usize>,
        hint: Option<u16>,
        admitted: &mut Option<Admission<'a>>,
    ) -> Result<(), Reason> {
        let Some(Inner { vtep, vni, dress, range }) = self.undress(now, arrival, datagram)? else {
            return Ok(());
        };
        let admission = match admitted.filter(|before| before.covers(vtep, vni, dress)) {
            Some(before) => before,
            None => {
                self.joiner.part();
                *admitted.insert(admit(plan, vtep, vni, dress)?)
            }
        };
        let memory = &mut self.inbox.memory;
        if admission.network().dress() == dress
            && self.joiner.follow(now, &mut self.ports, memory, range.clone())
        {
            return count_delivery(admission.network(), dress);
        }
        let frame = &mut self.inbox.memory[range.clone()];
        let view = View::parse(frame).map_err(|_| Reason::InnerMalformed)?;
        ecn::decapsulate(arrival.ecn, frame, &view).map_err(|_| Reason::Congestion)?;
        let verdict = self.switch.from_vtep(plan, now, admission, frame, &view);
        let network = admission.network();
        match verdict {
            Verdict::Drop(reason) => return Err(reason),
            // Only containers of this host ask.
            Verdict::Consumed | Verdict::Question => {}
            Verdict::Verified => self.verified.push(frame.to_vec()),
            Verdict::To(Target::Port(id)) => {
                count_delivery(network, dress)?;
                let offload = adopt(frame, &view, network.mtu, hint).ok_or(Reason::TooBig)?;
                let rewritten = is_rewritten(frame, &view);
                let memory = &mut self.inbox.memory;
                self.joiner.push(now, &mut self.ports, memory, id, range, &view, offload);
                if rewritten {
                    self.joiner.part();
                }
            }
            // Out of one tunnel into another: the switch's split horizon.
            Verdict::To(Target::Vtep(_)) => return Err(Reason::NotHere),
            Verdict::Flood => {
                count_delivery(network, dress)?;
                let mut offload = adopt(frame, &view, network.mtu, hint).ok_or(Reason::TooBig)?;
                for target in self.switch.targets() {
                    if let Target::Port(id) = *target {
                        self.ports.deliver(now, id, frame, &view, &mut offload);
                    }
                }
            }
            Verdict::Reply(reason) => {
                self.answer(plan, now, vtep, network);
                return reason.map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    /// Takes off what is around the frame; `None` if there was none inside, but
    /// something for the sessions.
    fn undress(
        &mut self,
        now: Now,
        arrival: &Arrival,
        range: Range<usize>,
    ) -> Result<Option<Inner>, Reason> {
        let datagram = &mut self.inbox.memory[range.clone()];
        if !sealed::is_sealed(datagram) {
            let (vni, _) = vxlan::parse(datagram).map_err(|e| match e {
                vxlan::Error::Truncated => Reason::VxlanTruncated,
                vxlan::Error::NoVni => Reason::VxlanFlags,
            })?;
            let range = range.start + vxlan::LEN..range.end;
            let vtep = arrival.source.ip();
            return Ok(Some(Inner { vtep, vni, dress: Dress::Clear, range }));
        }
        let seal = &mut self.outbox.datagrams.seal;
        if datagram[0] != sealed::DATA {
            return seal.handshake(now, arrival.source, datagram).map(|()| None);
        }
        let opened = seal.open(now, arrival.source, datagram)?;
        let range = range.start + sealed::HEADROOM..range.end.saturating_sub(sealed::TAG);
        let inner = |o: Opened| Inner { vtep: o.vtep, vni: o.vni, dress: Dress::Sealed, range };
        Ok(opened.map(inner))
    }

    /// Sends the switch's reply to a VTEP.
    fn answer(&mut self, plan: &Plan, now: Now, to: IpAddr, network: &Network) {
        send_own(&mut self.outbox, plan, now, to, network, self.switch.reply());
    }

    /// Sends a frame of this host's own to a VTEP.
    pub(super) fn send(&mut self, plan: &Plan, now: Now, to: IpAddr, vni: Vni, frame: &[u8]) {
        if let Some(network) = plan.network(vni) {
            send_own(&mut self.outbox, plan, now, to, network, frame);
            self.flush(plan, now);
        }
    }

    /// Answers to frames of `network verify` since the last call.
    pub(super) fn take_verified(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.verified)
    }

    /// Questions for DNS since the last call.
    pub(super) fn take_questions(&mut self) -> Vec<(PortId, Vec<u8>)> {
        std::mem::take(&mut self.questions)
    }

    /// Sends what is queued, and tells containers what was too big.
    fn flush(&mut self, plan: &Plan, now: Now) {
        for notice in self.switch.notices() {
            self.notify(plan, now, &notice);
        }
        self.count_flows();
        self.outbox.flush(plan, now);
        for refused in self.outbox.take_too_big() {
            if let Ok(view) = View::parse(&refused.frame)
                && self.switch.too_big(plan, now, refused.port, &refused.frame, &view, refused.mtu)
            {
                self.ports.answer(refused.port, self.switch.reply());
            }
        }
    }

    fn notify(&mut self, plan: &Plan, now: Now, notice: &Notice) {
        match (notice.target, plan.network(notice.vni)) {
            (Target::Port(id), _) => self.ports.answer(id, &notice.frame),
            (Target::Vtep(to), Some(network)) => {
                send_own(&mut self.outbox, plan, now, to, network, &notice.frame);
            }
            (Target::Vtep(_), None) => {}
        }
    }

    fn count_flows(&self) {
        let Stats { active, made, expired, evicted, reset } = self.switch.flow_stats();
        self.counters.flows_active.set(active);
        self.counters.flows_made.set(made);
        self.counters.flows_expired.set(expired);
        self.counters.flows_evicted.set(evicted);
        self.counters.flows_reset.set(reset);
    }
}

/// Sends a complete frame that no container sent.
fn send_own(
    outbox: &mut Outbox,
    plan: &Plan,
    now: Now,
    to: IpAddr,
    network: &Network,
    frame: &[u8],
) {
    if let Ok(view) = View::parse(frame)
        && outbox.fill(plan, now, frame)
    {
        let origin = Origin { vni: network.vni, dress: network.dress(), port: None };
        let parcel = Parcel { len: frame.len(), view: &view, offload: &Offload::NONE, origin };
        outbox.send(plan, now, &parcel, &[to]);
    }
}

/// What was in a datagram.
struct Inner {
    /// Whose it is: a VTEP that the address says, or the seal.
    vtep: IpAddr,
    vni: Vni,
    dress: Dress,
    /// Where the frame is.
    range: Range<usize>,
}

/// The network of a TAP.
fn origin(plan: &Plan, port: PortId) -> Option<Origin> {
    let (network, _) = plan.port(port)?;
    Some(Origin { vni: network.vni, dress: network.dress(), port: Some(port) })
}

fn admit(plan: &Plan, vtep: IpAddr, vni: Vni, dress: Dress) -> Result<Admission<'_>, Reason> {
    Switch::admit(plan, vtep, vni, dress).inspect_err(|reason| {
        if *reason == Reason::ClearOnEncrypted {
            plan.ledger(vni).inspect(|ledger| ledger.count_clear_refused(1));
        }
    })
}

/// A frame is about to reach a container. Whatever was decided before, one of an
/// encrypted network must have come sealed.
fn count_delivery(network: &Network, dress: Dress) -> Result<(), Reason> {
    let Some(ledger) = &network.encrypted else { return Ok(()) };
    match dress {
        Dress::Sealed => ledger.count_opened(1),
        Dress::Clear => {
            ledger.count_clear_accepted(1);
            return Err(Reason::ClearOnEncrypted);
        }
    }
    Ok(())
}

/// Whether the switch has put another sender into the frame than it came with, as it does
/// wherever it rewrites addresses. What follows it does not look like it then.
fn is_rewritten(frame: &[u8], view: &View) -> bool {
    let addresses = view.addresses(frame);
    let same = match view.source {
        IpAddr::V4(source) => addresses.starts_with(&source.octets()),
        IpAddr::V6(source) => addresses.starts_with(&source.octets()),
    };
    !same || frame[6..12] != view.src.0
}

/// How long each datagram of a received message is, and the payload size of the
/// inner datagrams if it is a UDP super-frame of a kernel VTEP.
///
/// What the kernel says beside a message is the size of the datagrams that it
/// joined. If a kernel VTEP on this machine sent a super-frame whole, it is the
/// size of that frame's own, inner datagrams; then the frame's IP header speaks
/// of all bytes that there are.
fn layout(message: &[u8], gro_size: Option<usize>) -> (usize, Option<u16>) {
    match gro_size {
        Some(size) if !sealed::is_sealed(message) && is_one_frame(message, size) => {
            (message.len(), u16::try_from(size).ok())
        }
        Some(size) => (size, None),
        None => (message.len().max(1), None),
    }
}

fn is_one_frame(message: &[u8], size: usize) -> bool {
    const L3: usize = vxlan::LEN + View::L3;
    let field = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let packet = match field(L3 - 2) {
        Some(frame::IPV4) => field(L3 + 2).map(usize::from),
        Some(frame::IPV6) => field(L3 + 4).map(|len| 40 + usize::from(len)),
        _ => None,
    };
    packet.is_some_and(|len| L3 + len > size && L3 + len == message.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{Packet, Sum};

    /// A message whose first inner packet claims `packet` bytes.
    fn message(ethertype: u16, packet: usize, len: usize) -> Vec<u8> {
        let mut message = vec![0; len];
        message[20..22].copy_from_slice(&ethertype.to_be_bytes());
        let (at, value) = if ethertype == frame::IPV6 { (26, packet - 40) } else { (24, packet) };
        message[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
        message
    }

    #[test]
    fn another_sender_is_seen() {
        let packets = [Packet::udp(b"x"), Packet { v6: true, ..Packet::udp(b"x") }];
        for frame in packets.map(|packet| packet.build(Sum::Complete)) {
            let view = View::parse(&frame).unwrap();
            assert!(!is_rewritten(&frame, &view));
            let source = View::L3 + if view.net == frame::Net::V4 { 12 } else { 8 };
            for at in [6, 11, source, source + 3] {
                let mut frame = frame.clone();
                frame[at] ^= 1;
                assert!(is_rewritten(&frame, &view), "byte {at}");
            }
        }
        // Not IP, and as short as can be.
        let frame = [8; View::L3];
        is_rewritten(&frame, &View::parse(&frame).unwrap());
    }

    #[test]
    fn joined_datagrams_are_taken_apart() {
        let joined = message(frame::IPV4, 1450, 3 * 1472);
        assert_eq!(layout(&joined, Some(1472)), (1472, None));
        assert_eq!(layout(&joined[..100], None), (100, None));
    }

    #[test]
    fn a_kernel_vteps_super_frame_stays_whole() {
        for ethertype in [frame::IPV4, frame::IPV6] {
            let whole = message(ethertype, 30_000, 22 + 30_000);
            assert_eq!(layout(&whole, Some(1200)), (30_022, Some(1200)));
        }
    }

    #[test]
    fn a_length_that_does_not_fit_makes_no_super_frame() {
        let liar = message(frame::IPV4, 2000, 3 * 1472);
        assert_eq!(layout(&liar, Some(1472)), (1472, None));
        assert_eq!(layout(&[0; 10], Some(4)), (4, None));
        assert_eq!(layout(&[], None), (1, None));
    }
}
