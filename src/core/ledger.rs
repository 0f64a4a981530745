//! What crosses this host's border on one encrypted network.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one encrypted network. The worker writes them, anyone reads.
///
/// Frames are counted where they pass, not where it is decided: datagrams just before
/// they are handed to the kernel, frames just before they are handed to a TAP. So
/// `clear_sent` and `clear_accepted` show whether the decision held. Both must be 0.
#[derive(Debug, Default)]
pub struct Ledger {
    sealed: AtomicU64,
    opened: AtomicU64,
    clear_refused: AtomicU64,
    clear_sent: AtomicU64,
    clear_accepted: AtomicU64,
}

/// Declares what is done to a counter and what it reads.
macro_rules! lines {
    ($($(#[doc = $doc:literal])+ $count:ident => $name:ident,)+) => {
        impl Ledger {
            $($(#[doc = $doc])+
            pub fn $count(&self, n: u64) {
                // One writer: a load and a store without a locked instruction.
                self.$name.store(self.$name.load(Relaxed).wrapping_add(n), Relaxed);
            })+

            /// The numbers as they are.
            pub fn read(&self) -> Reading {
                Reading { $($name: self.$name.load(Relaxed),)+ }
            }
        }

        /// The numbers of a [`Ledger`] at one time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Reading {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }
    };
}

lines! {
    /// Datagrams that left sealed.
    count_sealed => sealed,
    /// Frames that came sealed and went to a container.
    count_opened => opened,
    /// Plain frames of this network that came, and were dropped.
    count_clear_refused => clear_refused,
    /// Plain datagrams of this network that were about to leave. They were not sent.
    count_clear_sent => clear_sent,
    /// Plain frames of this network that were about to reach a container. They were dropped.
    count_clear_accepted => clear_accepted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_number() {
        let ledger = Ledger::default();
        ledger.count_sealed(3);
        ledger.count_sealed(4);
        ledger.count_opened(1);
        ledger.count_clear_refused(2);
        let expected = Reading { sealed: 7, opened: 1, clear_refused: 2, ..Reading::default() };
        assert_eq!(ledger.read(), expected);
        ledger.count_clear_sent(5);
        ledger.count_clear_accepted(6);
        assert_eq!(ledger.read(), Reading { clear_sent: 5, clear_accepted: 6, ..expected });
    }
}
