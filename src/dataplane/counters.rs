//! What went through, and what was dropped.

use crate::core::drops::Reason;

/// Counters of the worker. Written by it alone, read by anyone.
#[derive(Debug, Default)]
pub struct Counters {}

impl Counters {
    /// Every traffic counter with its name, in a fixed order.
    pub fn traffic(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Frames dropped for a reason.
    pub fn drops(&self, reason: Reason) -> u64 {
        let _ = reason;
        0
    }
}
