//! Frames of one flow, joined before they go into a TAP.
//!
//! A few flows are open at a time, within one batch only, so that nothing is
//! ever held back. A frame that does not continue its flow closes it first:
//! within a flow the order stays.

use std::ops::Range;

use super::ports::Ports;
use crate::core::Now;
use crate::core::plan::PortId;
use crate::wire::coalesce::{Append, Checksum, Joined};
use crate::wire::frame::View;
use crate::wire::vnet::Offload;

/// Flows that are joined side by side.
const FLOWS: usize = 8;

/// The open flows.
#[derive(Default)]
pub(super) struct Joiner {
    open: Vec<Open>,
    /// Which of them took the last frame, if the next may follow it unseen.
    last: Option<usize>,
    /// Emptied lists, to be filled again.
    spare: Vec<Vec<Range<usize>>>,
}

struct Open {
    port: PortId,
    view: View,
    joined: Joined,
    /// The first frame up to its end, and the payloads of those that follow.
    pieces: Vec<Range<usize>>,
}

impl Joiner {
    /// The next frame is not to follow the one before unseen.
    pub(super) fn part(&mut self) {
        self.last = None;
    }

    /// Takes the frame at `range` if it continues the flow of the frame before, with the
    /// same headers: what was decided for that one holds for it too. `false`: it is left
    /// as it is, and wants a look.
    pub(super) fn follow(
        &mut self,
        now: Now,
        ports: &mut Ports,
        memory: &mut [u8],
        range: Range<usize>,
    ) -> bool {
        let Some(i) = self.last else { return false };
        let open = &mut self.open[i];
        let followed = open.joined.follow(&memory[range.clone()]);
        if followed == Append::No {
            return false;
        }
        open.pieces.push(range.start + open.view.payload..range.start + open.view.end);
        if followed == Append::Last {
            self.close(i, now, ports, memory);
        }
        true
    }

    /// Takes a frame for a TAP, which lies at `range` in `memory` and stays
    /// there until [`Joiner::flush`].
    #[expect(clippy::too_many_arguments, reason = "a frame's circumstances, passed on as they are")]
    pub(super) fn push(
        &mut self,
        now: Now,
        ports: &mut Ports,
        memory: &mut [u8],
        port: PortId,
        range: Range<usize>,
        view: &View,
        mut offload: Offload,
    ) {
        let checksum = Checksum::of(offload, view).filter(|_| ports.takes_super_frames(port, now));
        let same = |o: &Open| o.port == port && o.view.flow() == view.flow();
        if let Some(i) = self.open.iter().position(same) {
            let open = &mut self.open[i];
            let appended = match checksum {
                Some(checksum) => open.joined.append(&memory[range.clone()], view, checksum),
                None => Append::No,
            };
            if appended != Append::No {
                open.pieces.push(range.start + view.payload..range.start + view.end);
            }
            match appended {
                Append::Joined => self.last = Some(i),
                Append::Last | Append::No => self.close(i, now, ports, memory),
            }
            if appended != Append::No {
                return;
            }
        }
        let joined =
            checksum.and_then(|checksum| Joined::start(&memory[range.clone()], view, checksum));
        let Some(joined) = joined else {
            return ports.deliver(now, port, &mut memory[range], view, &mut offload);
        };
        if self.open.len() == FLOWS {
            self.close(0, now, ports, memory);
        }
        let mut pieces = self.spare.pop().unwrap_or_default();
        pieces.push(range.start..range.start + view.end);
        self.last = Some(self.open.len());
        self.open.push(Open { port, view: *view, joined, pieces });
    }

    /// Writes all that is open.
    pub(super) fn flush(&mut self, now: Now, ports: &mut Ports, memory: &mut [u8]) {
        while !self.open.is_empty() {
            self.close(0, now, ports, memory);
        }
    }

    fn close(&mut self, i: usize, now: Now, ports: &mut Ports, memory: &mut [u8]) {
        self.last = None;
        let Open { port, view, joined, mut pieces } = self.open.remove(i);
        let mut offload = joined.finish(&mut memory[pieces[0].clone()]);
        match &pieces[..] {
            [frame] => ports.deliver(now, port, &mut memory[frame.clone()], &view, &mut offload),
            _ => ports.deliver_joined(now, port, memory, &pieces, &view, &offload),
        }
        pieces.clear();
        self.spare.push(pieces);
    }
}
