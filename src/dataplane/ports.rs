//! The TAPs that the worker serves, and how frames are put into them.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::counters::Counters;
use super::paths::RETRY;
use super::tap::{self, Kind, Tap};
use crate::core::Now;
use crate::core::drops::Reason;
use crate::core::plan::PortId;
use crate::wire::coalesce;
use crate::wire::frame::View;
use crate::wire::gso::{MAX_HEADERS, Split};
use crate::wire::vnet::{self, Gso, Offload};

/// One TAP.
struct Port {
    tap: Tap,
    /// The kernel refused a super-frame; until then none is written.
    whole_until: Option<Now>,
}

/// All TAPs, by number.
pub(super) struct Ports {
    ports: Vec<Option<Port>>,
    counters: Arc<CachePadded<Counters>>,
}

impl Ports {
    pub(super) fn new(counters: Arc<CachePadded<Counters>>) -> Ports {
        Ports { ports: Vec::new(), counters }
    }

    /// Takes a TAP under a number that no other has.
    pub(super) fn insert(&mut self, id: PortId, tap: Tap) {
        let slot = id.0 as usize;
        if self.ports.len() <= slot {
            self.ports.resize_with(slot + 1, || None);
        }
        self.ports[slot] = Some(Port { tap, whole_until: None });
    }

    /// Gives the TAP back.
    pub(super) fn remove(&mut self, id: PortId) -> Option<Tap> {
        self.ports.get_mut(id.0 as usize)?.take().map(|port| port.tap)
    }

    /// The TAP of this number.
    pub(super) fn tap(&self, id: PortId) -> Option<&Tap> {
        self.ports.get(id.0 as usize)?.as_ref().map(|port| &port.tap)
    }

    fn get_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(id.0 as usize)?.as_mut()
    }

    /// Hands a complete frame to a TAP.
    pub(super) fn answer(&self, id: PortId, frame: &[u8]) {
        match self.ports.get(id.0 as usize) {
            Some(Some(port)) => {
                port.write(&self.counters, &[0; vnet::LEN], &[IoSlice::new(frame)]);
            }
            _ => self.counters.dropped(Reason::TapRefused),
        }
    }

    /// Whether frames for it are worth joining.
    pub(super) fn takes_super_frames(&mut self, id: PortId, now: Now) -> bool {
        self.get_mut(id).is_some_and(|port| port.takes_super_frames(now))
    }

    /// Hands a frame to a TAP, doing itself what the TAP does not. A checksum
    /// that it completed is no longer in `offload`.
    pub(super) fn deliver(
        &mut self,
        now: Now,
        id: PortId,
        frame: &mut [u8],
        view: &View,
        offload: &mut Offload,
    ) {
        let counters = &self.counters;
        let Some(port) = self.ports.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return counters.dropped(Reason::TapRefused);
        };
        if let Some(gso) = offload.gso {
            let whole = [IoSlice::new(frame)];
            if !port.write_super(counters, now, &whole, view, offload) {
                port.write_split(counters, frame, view, gso);
            }
            return;
        }
        if port.tap.kind() == Kind::Plain
            && let Some(partial) = offload.checksum.take()
        {
            vnet::complete(frame, partial, view.end);
        }
        port.write(counters, &offload.header(view).to_bytes(), &[IoSlice::new(frame)]);
    }

    /// Hands joined frames to a TAP: the first, and the payloads that follow.
    pub(super) fn deliver_joined(
        &mut self,
        now: Now,
        id: PortId,
        memory: &[u8],
        pieces: &[Range<usize>],
        view: &View,
        offload: &Offload,
    ) {
        let counters = &self.counters;
        let Some(port) = self.ports.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return counters.dropped(Reason::TapRefused);
        };
        let mut slices = [IoSlice::new(&[]); coalesce::MAX_SEGMENTS];
        for (to, from) in slices.iter_mut().zip(pieces) {
            *to = IoSlice::new(&memory[from.clone()]);
        }
        let slices = &slices[..pieces.len().min(coalesce::MAX_SEGMENTS)];
        if port.write_super(counters, now, slices, view, offload) {
            return;
        }
        let frame = tap::concat(slices);
        if let (Ok(view), Some(gso)) = (View::parse(&frame), offload.gso) {
            port.write_split(counters, &frame, &view, gso);
        }
    }
}

impl Port {
    fn takes_super_frames(&mut self, now: Now) -> bool {
        self.whole_until = self.whole_until.filter(|until| *until > now);
        self.tap.kind() == Kind::Fast && self.whole_until.is_none()
    }

    /// `false` if the TAP takes no such super-frame.
    fn write_super(
        &mut self,
        counters: &Counters,
        now: Now,
        frame: &[IoSlice<'_>],
        view: &View,
        offload: &Offload,
    ) -> bool {
        if !self.takes_super_frames(now) {
            return false;
        }
        let bytes = frame.iter().map(|s| s.len()).sum();
        match self.put(&offload.header(view).to_bytes(), frame) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                counters.tap_gso_refused.add(1);
                self.whole_until = Some(now + RETRY);
                return false;
            }
            result => {
                if result.is_ok() {
                    counters.tap_super_writes.add(1);
                    counters.tap_super_write_bytes.add(bytes);
                }
                count(counters, bytes, &result);
            }
        }
        true
    }

    fn write_split(&self, counters: &Counters, frame: &[u8], view: &View, gso: Gso) {
        let Some(split) = Split::new(frame, view, gso) else {
            return counters.dropped(Reason::BadOffload);
        };
        let mut headers = [0; MAX_HEADERS];
        for i in 0..split.segments() {
            let payload = split.segment(i, &mut headers);
            let pieces =
                [IoSlice::new(&headers[..split.headers_len()]), IoSlice::new(&frame[payload])];
            self.write(counters, &[0; vnet::LEN], &pieces);
        }
    }

    fn write(&self, counters: &Counters, header: &[u8; vnet::LEN], frame: &[IoSlice<'_>]) {
        count(counters, frame.iter().map(|s| s.len()).sum(), &self.put(header, frame));
    }

    fn put(&self, header: &[u8; vnet::LEN], frame: &[IoSlice<'_>]) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); coalesce::MAX_SEGMENTS + 1];
        slices[0] = IoSlice::new(header);
        slices[1..=frame.len()].copy_from_slice(frame);
        self.tap.write(&slices[..=frame.len()])
    }
}

fn count(counters: &Counters, bytes: usize, result: &io::Result<()>) {
    match result {
        Ok(()) => {
            counters.tap_writes.add(1);
            counters.tap_write_bytes.add(bytes);
        }
        Err(_) => counters.dropped(Reason::TapRefused),
    }
}
