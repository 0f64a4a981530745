//! Frames of encrypted networks as they leave: copied into memory of their own and
//! sealed there, one datagram behind the other. The frame itself stays as it was, so
//! that the container can be told if it was too big.

use std::net::IpAddr;
use std::ops::Range;

use crate::core::Now;
use crate::core::drops::Reason;
use crate::core::seal::{Route, Seal};
use crate::wire::gso::Split;
use crate::wire::sealed::{HEADROOM, TAG};
use crate::wire::vxlan::Vni;

/// The sessions, and the datagrams of one batch.
pub(super) struct Sealing {
    /// The sessions with other hosts.
    pub(super) seal: Seal,
    memory: Vec<u8>,
    /// Where the next datagram goes.
    at: usize,
}

impl Sealing {
    pub(super) fn new(seal: Seal) -> Sealing {
        Sealing { seal, memory: Vec::new(), at: 0 }
    }

    /// Forgets the datagrams of before.
    pub(super) fn clear(&mut self) {
        self.at = 0;
    }

    /// The bytes of datagrams sealed since [`Sealing::clear`].
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.memory[range]
    }

    /// Seals a frame.
    pub(super) fn frame(
        &mut self,
        now: Now,
        to: IpAddr,
        vni: Vni,
        frame: &[u8],
    ) -> Result<(Route, Range<usize>), Reason> {
        let range = self.room(HEADROOM + frame.len() + TAG);
        let datagram = &mut self.memory[range.clone()];
        datagram[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
        let route = self.seal.seal(now, to, vni, datagram)?;
        self.at = range.end;
        Ok((route, range))
    }

    /// Seals all segments of a super-frame. Returns how long each datagram is; the last
    /// may be shorter.
    pub(super) fn segments(
        &mut self,
        now: Now,
        to: IpAddr,
        vni: Vni,
        frame: &[u8],
        split: &Split<'_>,
    ) -> Result<(Route, Range<usize>, usize), Reason> {
        let size = HEADROOM + split.segment_len() + TAG;
        let room = self.room(split.segments() * size);
        let mut end = room.start;
        let mut last = Err(Reason::BadOffload);
        for (i, room) in self.memory[room.clone()].chunks_exact_mut(size).enumerate() {
            let payload = split.segment(i, &mut room[HEADROOM..]);
            let at = HEADROOM + split.headers_len();
            let datagram = &mut room[..at + payload.len() + TAG];
            datagram[at..at + payload.len()].copy_from_slice(&frame[payload]);
            last = Ok(self.seal.seal(now, to, vni, datagram)?);
            end += datagram.len();
        }
        self.at = end;
        Ok((last?, room.start..end, size))
    }

    /// Room for this many bytes behind what is there.
    fn room(&mut self, len: usize) -> Range<usize> {
        let range = self.at..self.at + len;
        if self.memory.len() < range.end {
            self.memory.resize(range.end, 0);
        }
        range
    }
}
