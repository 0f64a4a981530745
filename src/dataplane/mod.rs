//! Hot I/O: TAPs on one side, UDP sockets on the other, and one worker thread
//! that carries batches between them through the [`crate::core::switch`].
//!
//! The control side starts it ([`Dataplane::start`]), publishes plans into the
//! shared [`ArcSwap`], sends commands down and hears events.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`tap`] | TAP devices, fast and plain |
//! | udp | the underlay's sockets and their options |
//! | mmsg | recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT |
//! | worker | the thread: epoll, turns, commands and events |
//! | fabric | the way of a batch, from either side to either side |
//! | flows | the age of flows that a daemon leaves to the next |
//! | outbox | frames on their way out: memory, queue, messages |
//! | datagrams | frames as they leave, in clear or sealed |
//! | sender, paths | what the kernel refuses to send, and for how long that is remembered |
//! | ports, joiner | frames on their way into TAPs: coalescing, completion, fallbacks |
//! | [`counters`] | what went through, and what was dropped |

pub mod counters;
mod datagrams;
mod fabric;
mod flows;
mod joiner;
mod mmsg;
mod outbox;
mod paths;
mod ports;
mod sender;
pub mod tap;
mod udp;
mod vigil;
mod worker;

pub use udp::never_fragment;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use crossbeam::channel;
use crossbeam::utils::CachePadded;
use socket2::Socket;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::core::Now;
use crate::core::plan::{Plan, PortId};
use crate::core::seal::{self, Seal};
use counters::{Counters, Snapshot};
use datagrams::Datagrams;
use fabric::Fabric;
use outbox::Outbox;
use paths::{Paths, Report};
use sender::Sender;
use tap::Tap;
use udp::Underlay;
use worker::{Command, Worker};

use crate::wire::vxlan::Vni;

/// How to run the data plane.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's VTEP: VXLAN is sent from and received at this address.
    pub vtep: IpAddr,
    /// The VXLAN port, here and at every peer.
    pub port: u16,
    /// `None`: use UDP_SEGMENT where it works. `Some(why)`: never.
    pub no_udp_gso: Option<String>,
    /// Keys hash look-ups; from the operating system's randomness.
    pub seed: u64,
    /// The ciphers that encrypted networks may be sealed with.
    pub offer: seal::Offer,
    /// Higher at each start of the daemon on this host.
    pub generation: u64,
    /// Keys of sessions are made from it; from the operating system's randomness,
    /// and never used again.
    pub secret: Zeroizing<[u8; 32]>,
    /// What [`Dataplane::save_flows`] of the daemon before gave; empty if there was none.
    pub flows: Vec<u8>,
}

/// What the worker tells the control side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel took this port's interface away (its namespace or the
    /// interface itself was deleted). The worker no longer reads it.
    PortGone(PortId),
}

/// One of the fast paths and whether it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffloadState {
    /// `udp-gso` or `udp-gro`.
    pub name: &'static str,
    /// Whether it is in use.
    pub active: bool,
    /// Why not; empty if all is well.
    pub reason: String,
}

/// The only worker's lane in sessions.
const LANE: u8 = 0;
/// Commands that may wait for the worker before the control side does.
const COMMANDS: usize = 64;
/// Questions for DNS that may wait for the control side before they are lost.
const QUESTIONS: usize = 1024;
/// Events that may wait for the control side before they are lost.
const EVENTS: usize = 4096;

/// The running data plane. Dropping it stops the worker.
#[derive(Debug)]
pub struct Dataplane {
    commands: channel::Sender<Command>,
    waker: mio::Waker,
    thread: Option<JoinHandle<()>>,
    counters: Arc<CachePadded<Counters>>,
    receiver: Arc<Socket>,
    no_gso: Option<String>,
    gso_refused: Report,
    no_gro: Option<String>,
    restored: (usize, bool),
}

impl Dataplane {
    /// Binds the underlay sockets and starts the worker. Events arrive at the
    /// receiver; it is bounded, and the worker never waits for it.
    ///
    /// # Errors
    /// A sentence, if the port is taken, the address is not this host's, or the
    /// system is out of descriptors or threads.
    pub fn start(
        config: Config,
        plan: Arc<ArcSwap<Plan>>,
    ) -> io::Result<(Dataplane, mpsc::Receiver<Event>)> {
        let Underlay { receiver, senders, no_gro } =
            Underlay::bind(config.vtep, config.port, config.seed)?;
        let receiver = Arc::new(receiver);
        let counters = Arc::new(CachePadded::new(Counters::default()));
        let gso_refused = Report::default();
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), worker::COMMANDS)?;
        let (commands, orders) = channel::bounded(COMMANDS);
        let (events, heard) = mpsc::channel(EVENTS);

        let paths = Paths::new(config.no_udp_gso.is_some(), gso_refused.clone());
        let sender = Sender::new(senders, receiver.clone(), config.port, paths, counters.clone());
        let seal = Seal::new(Now::ZERO, LANE, config.offer, config.generation, *config.secret);
        let outbox = Outbox::new(sender, Datagrams::new(seal), config.seed);
        let mut fabric = Fabric::new(outbox, counters.clone(), config.seed);
        let restored = match flows::undated(&config.flows, SystemTime::now()) {
            Some((flows, elapsed)) => fabric.switch.restore_flows(flows, elapsed, Now::ZERO),
            None => (0, config.flows.is_empty()),
        };
        let worker = Worker::new(fabric, receiver.clone(), plan, poll, orders, events)?;
        let thread =
            thread::Builder::new().name("vxmesh-worker".into()).spawn(move || worker.run())?;
        let dataplane = Dataplane {
            commands,
            waker,
            thread: Some(thread),
            counters,
            receiver,
            no_gso: config.no_udp_gso,
            gso_refused,
            no_gro,
            restored,
        };
        Ok((dataplane, heard))
    }

    /// Hands a TAP to the worker. If it cannot serve it, [`Event::PortGone`] says so.
    pub fn add_port(&self, id: PortId, tap: Tap) {
        self.command(Command::Add(id, tap));
    }

    /// Takes a TAP from the worker; when this returns its descriptor is closed.
    pub fn remove_port(&self, id: PortId) {
        let (done, closed) = channel::bounded(1);
        self.command(Command::Remove(id, done));
        // An error means that the worker has ended, and closed all.
        let _ = closed.recv();
    }

    /// Says who the other hosts are: with those that are wanted there are sessions
    /// from now on.
    pub fn set_peers(&self, config: seal::Config) {
        self.command(Command::SetPeers(Box::new(config)));
    }

    /// Sends a complete frame of a network to another host's VTEP, as if a container
    /// had. What comes back to a [`verify`](crate::wire::verify) frame is
    /// [heard](Dataplane::hear).
    pub fn send(&self, to: IpAddr, vni: Vni, frame: Vec<u8>) {
        self.command(Command::Send(to, vni, frame));
    }

    /// From now on, frames of `network verify` that come back arrive here, and nowhere
    /// else. More than fit are lost.
    pub fn hear(&self) -> channel::Receiver<Vec<u8>> {
        let (tell, told) = channel::bounded(EVENTS);
        self.command(Command::Hear(tell));
        told
    }

    /// From now on, questions for DNS to a gateway arrive here, each with its port, and
    /// nowhere else. More than fit are lost.
    pub fn questions(&self) -> mpsc::Receiver<(PortId, Vec<u8>)> {
        let (tell, told) = mpsc::channel(QUESTIONS);
        self.command(Command::Questions(tell));
        told
    }

    /// Writes a complete frame to a TAP.
    pub fn answer(&self, id: PortId, frame: Vec<u8>) {
        self.command(Command::Answer(id, frame));
    }

    /// How the sessions with other hosts are; waits for the worker.
    pub fn sessions(&self) -> Vec<seal::Report> {
        let (tell, told) = channel::bounded(1);
        self.command(Command::Sessions(tell));
        // An error means that the worker has ended: then there are none.
        told.recv().unwrap_or_default()
    }

    /// How many flows through virtual IPs to any of these backends are not closed. Waits
    /// for the worker.
    pub fn flows(&self, vni: Vni, backends: &[IpAddr]) -> u64 {
        let (tell, told) = channel::bounded(1);
        self.command(Command::Flows(vni, backends.to_vec(), tell));
        // An error means that the worker has ended, and with it all flows.
        told.recv().unwrap_or_default()
    }

    /// Breaks off all flows to these backends: TCP's clients, and the backends, get a
    /// reset. Does not wait; a million flows take the worker a second or so, beside
    /// its other work.
    pub fn reset_flows(&self, vni: Vni, backends: &[IpAddr]) {
        self.command(Command::ResetFlows(vni, backends.to_vec()));
    }

    /// All flows through virtual IPs, for the [`Config::flows`] of the next daemon.
    /// Waits for the worker, which goes on.
    pub fn save_flows(&self) -> Vec<u8> {
        let (tell, told) = channel::bounded(1);
        self.command(Command::SaveFlows(tell));
        let flows = told.recv().unwrap_or_default();
        flows::dated(&flows, SystemTime::now())
    }

    /// How many flows of [`Config::flows`] were taken over, and whether all of it
    /// could be read.
    pub fn restored_flows(&self) -> (usize, bool) {
        self.restored
    }

    /// Says that there is a new plan. The worker notices by itself with the next frame;
    /// flows whose backends are gone may have none.
    pub fn replan(&self) {
        // Fails only if the worker has ended.
        let _ = self.waker.wake();
    }

    /// What went through so far.
    pub fn counters(&self) -> Snapshot {
        self.counters.snapshot(udp::overflow(&self.receiver))
    }

    /// The underlay's fast paths.
    pub fn offload(&self) -> Vec<OffloadState> {
        let refused = self.gso_refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = |name, never: Option<&String>, reason: Option<String>| OffloadState {
            name,
            active: never.is_none(),
            reason: reason.or(never.cloned()).unwrap_or_default(),
        };
        vec![
            state("udp-gso", self.no_gso.as_ref(), refused),
            state("udp-gro", self.no_gro.as_ref(), None),
        ]
    }

    fn command(&self, command: Command) {
        // Both fail only if the worker has ended; then there is nothing to do.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.command(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the worker has been reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Why UDP_SEGMENT should not be used on a kernel of this release (as
/// `uname -r` prints it): 7.0 to 7.1.4 corrupt segmented datagrams.
pub fn gso_distrust(release: &str) -> Option<String> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let version = (next(), next(), next());
    ((7, 0, 0)..=(7, 1, 4)).contains(&version).then(|| {
        format!("Linux {release} corrupts datagrams that it segments; 7.1.5 has the correction")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bad_kernels_are_distrusted() {
        for bad in ["7.0", "7.0.0-rc1", "7.0.12-1-amd64", "7.1.4"] {
            assert!(gso_distrust(bad).is_some(), "{bad}");
        }
        for good in ["6.18.44-fc-v657", "7.1.5", "7.10.2", "5.10.0", "unknown", ""] {
            assert_eq!(gso_distrust(good), None, "{good}");
        }
    }
}
