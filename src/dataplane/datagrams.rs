//! Datagrams of one batch as they leave: each frame is copied behind what goes in front
//! of it, one datagram behind the other, so that the kernel takes a whole train as one
//! piece. Gathered from many pieces it takes longer than this copy does. The frame itself
//! stays as it was, so that the container can be told if it was too big.

use std::net::IpAddr;
use std::ops::Range;

use crate::core::Now;
use crate::core::drops::Reason;
use crate::core::seal::{Route, Seal};
use crate::core::switch::Dress;
use crate::wire::gso::Split;
use crate::wire::sealed::{HEADROOM, TAG};
use crate::wire::vxlan::{self, Vni};

/// Bytes of datagrams that are to be sent before more are made; more than a TAP's turn
/// of full segments becomes.
const FULL: usize = 5 << 18;

/// The sessions, and the datagrams of one batch.
pub(super) struct Datagrams {
    /// The sessions with other hosts.
    pub(super) seal: Seal,
    memory: Vec<u8>,
    /// Where the next datagram goes.
    at: usize,
}

/// What a frame is sent as: its network, how that crosses the underlay, and whereto.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) vni: Vni,
    pub(super) dress: Dress,
    pub(super) to: IpAddr,
}

/// Where datagrams are, and the way that sealed ones take.
pub(super) struct Written {
    /// What [`Datagrams::bytes`] wants.
    pub(super) range: Range<usize>,
    /// Bytes of each datagram; the last may be shorter.
    pub(super) size: usize,
    /// `None`: in clear, to the VTEP's address.
    pub(super) route: Option<Route>,
}

impl Datagrams {
    pub(super) fn new(seal: Seal) -> Datagrams {
        Datagrams { seal, memory: Vec::new(), at: 0 }
    }

    /// Forgets the datagrams of before.
    pub(super) fn clear(&mut self) {
        self.at = 0;
    }

    /// Whether it is time to send what is there.
    pub(super) fn is_full(&self) -> bool {
        self.at >= FULL
    }

    /// The bytes of datagrams written since [`Datagrams::clear`].
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.memory[range]
    }

    /// Writes the datagram of a complete frame.
    pub(super) fn frame(
        &mut self,
        now: Now,
        label: Label,
        frame: &[u8],
    ) -> Result<Written, Reason> {
        let (head, tail) = margins(label.dress);
        let size = head + frame.len() + tail;
        let range = self.room(size);
        let datagram = &mut self.memory[range.clone()];
        datagram[head..head + frame.len()].copy_from_slice(frame);
        let route = finish(&mut self.seal, now, label, datagram)?;
        self.at = range.end;
        Ok(Written { range, size, route })
    }

    /// Writes the datagrams of all segments of a super-frame.
    pub(super) fn segments(
        &mut self,
        now: Now,
        label: Label,
        split: &Split<'_>,
    ) -> Result<Written, Reason> {
        let (head, tail) = margins(label.dress);
        let size = head + split.segment_len() + tail;
        let room = self.room(split.segments() * size);
        let mut end = room.start;
        let mut last = Err(Reason::BadOffload);
        for (i, room) in self.memory[room.clone()].chunks_exact_mut(size).enumerate() {
            let len = split.write(i, &mut room[head..]);
            let datagram = &mut room[..head + len + tail];
            last = Ok(finish(&mut self.seal, now, label, datagram)?);
            end += datagram.len();
        }
        self.at = end;
        Ok(Written { range: room.start..end, size, route: last? })
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

/// Bytes in front of a frame and behind it.
fn margins(dress: Dress) -> (usize, usize) {
    match dress {
        Dress::Clear => (vxlan::LEN, 0),
        Dress::Sealed => (HEADROOM, TAG),
    }
}

/// Puts around a frame what belongs there.
fn finish(
    seal: &mut Seal,
    now: Now,
    label: Label,
    datagram: &mut [u8],
) -> Result<Option<Route>, Reason> {
    match label.dress {
        Dress::Clear => {
            datagram[..vxlan::LEN].copy_from_slice(&vxlan::header(label.vni));
            Ok(None)
        }
        Dress::Sealed => seal.seal(now, label.to, label.vni, datagram).map(Some),
    }
}
