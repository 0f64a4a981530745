//! The worker: one thread that reads batches from TAPs and from the underlay
//! and writes them to the other side.
//!
//! It waits in epoll until something is readable. Readiness is edge-triggered,
//! so what is ready is remembered, and each source in turn gets one batch until
//! all are dry. A batch reads what is there, never waits for more, and ends
//! with all of it written.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::Socket;
use tokio::sync::mpsc;

use super::Event;
use super::fabric::{Batch, Fabric};
use super::tap::Tap;
use super::vigil::Vigil;
use crate::core::plan::{Plan, PortId};
use crate::core::seal;
use crate::wire::vxlan::Vni;

/// The waker of the command channel.
pub(super) const COMMANDS: Token = Token(usize::MAX);
/// The receiving socket. All other tokens are the numbers of ports.
const UNDERLAY: Token = Token(usize::MAX - 1);

/// What the control side asks of the worker.
pub(super) enum Command {
    /// Serve this TAP.
    Add(PortId, Tap),
    /// Let go of the TAP, then say so.
    Remove(PortId, channel::Sender<()>),
    /// Make sessions with these hosts.
    SetPeers(Box<seal::Config>),
    /// Send a frame of a network to a VTEP.
    Send(IpAddr, Vni, Vec<u8>),
    /// Tell whoever this is of frames of `network verify` that come back.
    Hear(channel::Sender<Vec<u8>>),
    /// Tell whoever this is of questions for DNS.
    Questions(mpsc::Sender<(PortId, Vec<u8>)>),
    /// Write a frame to a TAP.
    Answer(PortId, Vec<u8>),
    /// Tell how the sessions are.
    Sessions(channel::Sender<Vec<seal::Report>>),
    /// Tell how many flows to these backends are not closed.
    Flows(Vni, Vec<IpAddr>, channel::Sender<u64>),
    /// Break off all flows to these backends.
    ResetFlows(Vni, Vec<IpAddr>),
    /// Tell all flows, for the next daemon.
    SaveFlows(channel::Sender<Vec<u8>>),
    /// End.
    Stop,
}

/// The thread's loop and what wakes it.
pub(super) struct Worker {
    fabric: Fabric,
    receiver: Arc<Socket>,
    receiver_ready: bool,
    /// Ports that may have frames, each once, in the order in which they are served.
    ready: Vec<PortId>,
    plan: Arc<ArcSwap<Plan>>,
    /// The one that the switch has taken note of.
    known: Arc<Plan>,
    poll: Poll,
    vigil: Vigil,
    commands: channel::Receiver<Command>,
    events: mpsc::Sender<Event>,
    listener: Option<channel::Sender<Vec<u8>>>,
    resolver: Option<mpsc::Sender<(PortId, Vec<u8>)>>,
    started: Instant,
}

impl Worker {
    /// Fails if the socket cannot be polled.
    pub(super) fn new(
        fabric: Fabric,
        receiver: Arc<Socket>,
        plan: Arc<ArcSwap<Plan>>,
        poll: Poll,
        commands: channel::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Worker> {
        let fd = receiver.as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), UNDERLAY, Interest::READABLE)?;
        Ok(Worker {
            fabric,
            receiver,
            receiver_ready: true,
            ready: Vec::new(),
            known: plan.load_full(),
            plan,
            poll,
            vigil: Vigil::new(),
            commands,
            events,
            listener: None,
            resolver: None,
            started: Instant::now(),
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut polled = Events::with_capacity(256);
        loop {
            let patience = self.patience();
            match self.vigil.wait(&mut self.poll, &mut polled, patience) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return tracing::error!("the data plane cannot wait for frames: {e}"),
            }
            for event in &polled {
                match event.token() {
                    COMMANDS if self.obey().is_break() => return,
                    COMMANDS => {}
                    UNDERLAY => self.receiver_ready = true,
                    Token(id) => self.mark_ready(PortId(id as u32)),
                }
            }
            self.turn();
            self.fabric.converse(self.started.elapsed());
            for answer in self.fabric.take_verified() {
                // Who no longer listens, or too slowly, does without.
                let _ = self.listener.as_ref().map(|listener| listener.try_send(answer));
            }
            for question in self.fabric.take_questions() {
                // Whose question is lost asks again.
                let _ = self.resolver.as_ref().map(|resolver| resolver.try_send(question));
            }
        }
    }

    /// How long there is nothing to do if nothing comes.
    fn patience(&mut self) -> Option<Duration> {
        if self.receiver_ready || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.fabric.due()?;
        Some(due.saturating_sub(self.started.elapsed()))
    }

    /// One batch from each source that is ready.
    fn turn(&mut self) {
        let plan = self.plan.load_full();
        if !Arc::ptr_eq(&plan, &self.known) {
            self.fabric.replan(&plan, self.started.elapsed());
            self.known = plan.clone();
        }
        self.fabric.look_after_flows(&plan, self.started.elapsed());
        if self.receiver_ready {
            let now = self.started.elapsed();
            self.receiver_ready = self.fabric.receive(&plan, now, &self.receiver) == Batch::More;
        }
        for id in std::mem::take(&mut self.ready) {
            match self.fabric.read(&plan, self.started.elapsed(), id) {
                Batch::More => self.ready.push(id),
                Batch::Dry => {}
                Batch::Gone => self.lose(id),
            }
        }
    }

    fn mark_ready(&mut self, id: PortId) {
        if !self.ready.contains(&id) {
            self.ready.push(id);
        }
    }

    fn obey(&mut self) -> ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add(id, tap) => self.add(id, tap),
                Command::Remove(id, done) => {
                    self.remove(id);
                    // A caller that no longer waits does not mind.
                    let _ = done.send(());
                }
                Command::SetPeers(config) => {
                    let now = self.started.elapsed();
                    self.fabric.seal().configure(now, *config);
                }
                Command::Send(to, vni, frame) => {
                    let plan = self.plan.load();
                    self.fabric.send(&plan, self.started.elapsed(), to, vni, &frame);
                }
                Command::Hear(listener) => self.listener = Some(listener),
                Command::Questions(resolver) => self.resolver = Some(resolver),
                Command::Answer(port, frame) => self.fabric.ports.answer(port, &frame),
                Command::Sessions(asker) => {
                    let report = self.fabric.seal().report(self.started.elapsed());
                    let _ = asker.send(report);
                }
                Command::Flows(vni, backends, asker) => {
                    let _ = asker.send(self.fabric.switch.flows(vni, &backends));
                }
                Command::ResetFlows(vni, backends) => {
                    self.fabric.switch.reset_flows(vni, &backends);
                }
                Command::SaveFlows(asker) => {
                    let _ = asker.send(self.fabric.switch.save_flows(self.started.elapsed()));
                }
                Command::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn add(&mut self, id: PortId, tap: Tap) {
        self.remove(id);
        let token = Token(id.0 as usize);
        let fd = tap.as_raw_fd();
        match self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE) {
            Ok(()) => {
                self.fabric.ports.insert(id, tap);
                self.mark_ready(id);
            }
            Err(e) => {
                tracing::error!("port {} cannot be served: {e}", id.0);
                self.tell(Event::PortGone(id));
            }
        }
    }

    /// Closes the TAP, if there is one of this number.
    fn remove(&mut self, id: PortId) {
        self.ready.retain(|ready| *ready != id);
        if let Some(tap) = self.fabric.ports.remove(id) {
            // Closing alone would leave it polled if somebody else holds a
            // duplicate; deregistering can only fail where it is not polled.
            let _ = self.poll.registry().deregister(&mut SourceFd(&tap.as_raw_fd()));
        }
    }

    fn lose(&mut self, id: PortId) {
        self.remove(id);
        self.tell(Event::PortGone(id));
    }

    fn tell(&self, event: Event) {
        if let Err(e) = self.events.try_send(event) {
            tracing::error!("nobody hears that {:?}", e.into_inner());
        }
    }
}
