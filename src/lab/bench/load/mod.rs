//! The traffic generator: threads inside the containers' namespaces.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`tcp`] | bulk streams |
//! | [`udp`] | paced datagrams, and those who count them |
//! | [`echo`] | requests of one byte, and their latency |
//! | [`connect`] | connections made and ended |
//! | [`names`] | questions for DNS |

pub(super) mod connect;
pub(super) mod echo;
pub(super) mod names;
pub(super) mod tcp;
pub(super) mod udp;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::lab::namespace::Namespace;

/// Longer than anything takes on a path that works.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container that traffic goes to.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) namespace: Namespace,
    pub(super) ip: IpAddr,
    /// Where it is called: its address, or that of the service that it is behind.
    pub(super) called: IpAddr,
}

/// Raised when the threads of a measurement shall end, at the latest when it
/// is dropped.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.raise();
    }
}

/// Whether a read or write timeout was all that went wrong.
fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
