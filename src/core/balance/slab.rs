//! Memory for flows, in chunks: more flows never move those that are there, and
//! chunks at the end that have become empty are given back.

use std::collections::BTreeSet;

use super::flow::Flow;

/// Where a flow is; given again after it is gone.
pub(super) type FlowId = u32;

/// Flows of a chunk; 256 KiB.
const CHUNK: usize = 2048;

enum Slot {
    /// And the next free one of the chunk.
    Free(Option<u16>),
    Used(Flow),
}

#[derive(Default)]
struct Chunk {
    slots: Vec<Slot>,
    free: Option<u16>,
    used: usize,
}

#[derive(Default)]
pub(super) struct Slab {
    chunks: Vec<Chunk>,
    /// Chunks with room.
    roomy: BTreeSet<u32>,
    len: usize,
}

impl Slab {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Ids are below this.
    pub(super) fn end(&self) -> FlowId {
        let Some((last, before)) = self.chunks.split_last() else { return 0 };
        (before.len() * CHUNK + last.slots.len()) as FlowId
    }

    pub(super) fn get(&self, id: FlowId) -> Option<&Flow> {
        let chunk = self.chunks.get(id as usize / CHUNK)?;
        match chunk.slots.get(id as usize % CHUNK)? {
            Slot::Used(flow) => Some(flow),
            Slot::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        let chunk = self.chunks.get_mut(id as usize / CHUNK)?;
        match chunk.slots.get_mut(id as usize % CHUNK)? {
            Slot::Used(flow) => Some(flow),
            Slot::Free(_) => None,
        }
    }

    /// Into the first chunk that has room.
    pub(super) fn insert(&mut self, flow: Flow) -> FlowId {
        let first = self.roomy.first().copied().unwrap_or_else(|| {
            let number = self.chunks.len() as u32;
            self.chunks.push(Chunk { slots: Vec::with_capacity(CHUNK), free: None, used: 0 });
            self.roomy.insert(number);
            number
        });
        let chunk = &mut self.chunks[first as usize];
        let at = chunk.insert(flow);
        if chunk.used == CHUNK {
            self.roomy.remove(&first);
        }
        self.len += 1;
        first * CHUNK as u32 + at
    }

    pub(super) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        let number = id / CHUNK as u32;
        let flow = self.chunks.get_mut(number as usize)?.remove(id as usize % CHUNK)?;
        self.len -= 1;
        self.roomy.insert(number);
        while self.chunks.last().is_some_and(|chunk| chunk.used == 0) {
            self.chunks.pop();
            self.roomy.remove(&(self.chunks.len() as u32));
        }
        Some(flow)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(|chunk| chunk.slots.capacity()).sum();
        slots * size_of::<Slot>() + self.chunks.capacity() * size_of::<Chunk>()
    }
}

impl Chunk {
    fn insert(&mut self, flow: Flow) -> u32 {
        self.used += 1;
        let Some(at) = self.free else {
            self.slots.push(Slot::Used(flow));
            return self.slots.len() as u32 - 1;
        };
        let slot = &mut self.slots[usize::from(at)];
        if let Slot::Free(next) = slot {
            self.free = *next;
        }
        *slot = Slot::Used(flow);
        at.into()
    }

    fn remove(&mut self, at: usize) -> Option<Flow> {
        let slot = self.slots.get_mut(at).filter(|slot| matches!(slot, Slot::Used(_)))?;
        let free = std::mem::replace(slot, Slot::Free(self.free));
        self.free = Some(at as u16);
        self.used -= 1;
        match free {
            Slot::Used(flow) => Some(flow),
            Slot::Free(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_takes_no_more_than_it_must() {
        assert!(size_of::<Slot>() <= 128, "{}", size_of::<Slot>());
    }
}
