//! What went through, and what was dropped.
//!
//! The worker is the only writer, so counting is a load and a store without a
//! locked instruction; anyone may read at any time. Bytes divided by calls
//! show whether the fast paths are taken: tens of KiB where super-frames pass,
//! one frame's length where they do not.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::core::drops::Reason;

/// A number that one thread counts up and any thread reads.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Only ever called by the worker.
    pub(super) fn add(&self, n: usize) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n as u64), Relaxed);
    }

    /// Only ever called by the worker.
    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Dropped frames by reason.
#[derive(Debug)]
struct Drops([Counter; Reason::ALL.len()]);

impl Default for Drops {
    fn default() -> Drops {
        Drops(std::array::from_fn(|_| Counter::default()))
    }
}

/// Declares the counters, their explanations and their names in one place.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Written by the worker.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($(#[doc = $doc])+ pub(super) $name: Counter,)+
            drops: Drops,
        }

        impl Counters {
            fn traffic(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

counters! {
    /// Frames read from TAPs; each is one system call.
    tap_reads,
    /// Their bytes.
    tap_read_bytes,
    /// Those among them that were super-frames.
    tap_super_reads,
    /// The super-frames' bytes.
    tap_super_read_bytes,
    /// Frames written to TAPs; each is one system call.
    tap_writes,
    /// Their bytes.
    tap_write_bytes,
    /// Those among them that were super-frames.
    tap_super_writes,
    /// The super-frames' bytes.
    tap_super_write_bytes,
    /// Super-frames that the kernel would not take through a TAP.
    tap_gso_refused,
    /// Frames that went from one TAP of this host to another.
    local_frames,
    /// Their bytes.
    local_bytes,
    /// Messages sent to the underlay, segmented or not.
    udp_sends,
    /// Their bytes.
    udp_send_bytes,
    /// The datagrams that they became.
    udp_datagrams_out,
    /// Those messages that the kernel segmented (UDP_SEGMENT).
    udp_gso_sends,
    /// The segmented messages' bytes.
    udp_gso_send_bytes,
    /// Messages that the kernel would not segment.
    udp_gso_refused,
    /// Messages received from the underlay, joined or not.
    udp_receives,
    /// Their bytes.
    udp_receive_bytes,
    /// The datagrams that they were.
    udp_datagrams_in,
    /// Those messages that the kernel had joined (UDP_GRO), or that a kernel
    /// VTEP sent as a super-frame.
    udp_gro_receives,
    /// The joined messages' bytes.
    udp_gro_receive_bytes,
    /// Flows through virtual IPs that there are.
    flows_active,
    /// Those that began.
    flows_made,
    /// Those whose time was up.
    flows_expired,
    /// Those that made room for others before that.
    flows_evicted,
    /// Those that were broken off because their backend is gone.
    flows_reset,
}

impl Counters {
    /// One frame went no further.
    pub(super) fn dropped(&self, reason: Reason) {
        self.dropped_many(reason, 1);
    }

    /// Some frames went no further.
    pub(super) fn dropped_many(&self, reason: Reason, frames: usize) {
        self.drops.0[reason as usize].add(frames);
    }

    /// The numbers as they are now. `socket_overflow` is the kernel's own count.
    pub(super) fn snapshot(&self, socket_overflow: u64) -> Snapshot {
        let mut traffic = self.traffic();
        traffic.push(("socket_overflow", socket_overflow));
        Snapshot { traffic, drops: self.drops.0.each_ref().map(Counter::get) }
    }
}

/// All counters at one moment; they start from 0 with the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    traffic: Vec<(&'static str, u64)>,
    drops: [u64; Reason::ALL.len()],
}

impl Snapshot {
    /// Every traffic counter with its name, in a fixed order. The last one,
    /// `socket_overflow`, counts datagrams that the kernel dropped because the
    /// receive socket was full.
    pub fn traffic(&self) -> &[(&'static str, u64)] {
        &self.traffic
    }

    /// One traffic counter; 0 for a name that does not exist.
    pub fn get(&self, name: &str) -> u64 {
        self.traffic.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value)
    }

    /// Frames dropped for a reason.
    pub fn drops(&self, reason: Reason) -> u64 {
        self.drops[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_every_number_under_its_name() {
        let counters = Counters::default();
        counters.tap_reads.add(2);
        counters.tap_reads.add(3);
        counters.dropped(Reason::Stranger);
        counters.dropped_many(Reason::TooBig, 7);
        let snapshot = counters.snapshot(9);
        assert_eq!(snapshot.get("tap_reads"), 5);
        assert_eq!(snapshot.traffic().last(), Some(&("socket_overflow", 9)));
        assert_eq!(snapshot.drops(Reason::Stranger), 1);
        assert_eq!(snapshot.drops(Reason::TooBig), 7);
        assert_eq!(snapshot.drops(Reason::Malformed), 0);
    }
}
