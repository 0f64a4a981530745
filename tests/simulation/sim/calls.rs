//! Requests between hosts: connections that are authenticated at both ends,
//! and reliable unless the link is cut.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vxmesh::core::cluster::entry::{Entry, Key};
use vxmesh::core::cluster::machine::CallId;
use vxmesh::core::cluster::rpc::{MAX_MESSAGE, Request, Response};

use super::world::{What, World};

/// How long a connection and its handshake may take, as in the daemon.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long an answer may take.
const EXCHANGE: Duration = Duration::from_secs(10);
/// A handshake's round trips, and the request's way.
const LEGS: usize = 5;

/// Who has asked.
#[derive(Clone, Copy)]
pub(crate) enum Caller {
    /// By itself, again and again: a sync, or a probe.
    Background(CallId),
    /// For a removal.
    Removal(CallId),
    /// A command.
    Job(u64),
    Join,
    Leave,
}

impl Caller {
    /// Who has asked for it: somebody, if it is for a removal, or nobody.
    pub(crate) fn machine(id: CallId, request: &Request) -> Caller {
        match request {
            Request::Estate(..) | Request::Release(..) => Caller::Removal(id),
            _ => Caller::Background(id),
        }
    }

    fn is_command(self) -> bool {
        !matches!(self, Caller::Background(_))
    }
}

/// A request on its way.
pub(crate) struct Ask {
    from: usize,
    life: u64,
    /// The X25519 public keys that both ends have proven.
    exchange: [u8; 32],
    expected: Option<[u8; 32]>,
    caller: Caller,
    request: Request,
}

/// An answer on its way; `None` where there is none.
pub(crate) struct Answer {
    life: u64,
    caller: Caller,
    response: Option<Response>,
}

/// A host that waits for the others' agreement to its leaving.
pub(crate) struct Leaving {
    /// Who asks them.
    pub(crate) host: usize,
    to: usize,
    life: u64,
}

impl World {
    /// A host asks another, whose key is known.
    pub(crate) fn call(
        &mut self,
        from: usize,
        caller: Caller,
        expected: [u8; 32],
        at: SocketAddr,
        request: Request,
    ) {
        self.ask(from, caller, Some(expected), at, request);
    }

    fn ask(
        &mut self,
        from: usize,
        caller: Caller,
        expected: Option<[u8; 32]>,
        at: SocketAddr,
        request: Request,
    ) {
        let request = self.written(from, at, request);
        self.hosts[from].calls += 1;
        self.hosts[from].commands += usize::from(caller.is_command());
        let life = self.hosts[from].life;
        let exchange = self.hosts[from].identity().exchange_public();
        let target = self.at(at).filter(|to| self.open(from, *to));
        let way: Option<Duration> = (0..LEGS).map(|_| self.network.segment(&mut self.dice)).sum();
        match (target, way) {
            (Some(to), Some(delay)) => {
                let ask = Ask { from, life, exchange, expected, caller, request };
                self.after(to, delay, What::Request(ask));
            }
            _ => self.unanswered(from, life, caller, HANDSHAKE),
        }
    }

    /// A message as the other side reads it. Counts what it weighs, and puts it
    /// into the trace.
    fn written<M>(&mut self, from: usize, to: SocketAddr, message: M) -> M
    where
        M: Serialize + DeserializeOwned + PartialEq,
    {
        let bytes = postcard::to_allocvec(&message).expect("requests and responses are encodable");
        let len = bytes.len();
        if len > MAX_MESSAGE {
            self.truth.violated(format!("host {from} has made a message of {len} bytes"));
        }
        if postcard::from_bytes(&bytes).ok().as_ref() != Some(&message) {
            self.truth.violated(format!("host {from} has made a message that nobody can read"));
        }
        self.note(from, &to, &bytes);
        let load = &mut self.hosts[from].load;
        load.messages += 1;
        load.message_bytes += len as u64;
        message
    }

    fn open(&self, a: usize, b: usize) -> bool {
        self.network.passes(a, b) && self.network.passes(b, a)
    }

    fn unanswered(&mut self, from: usize, life: u64, caller: Caller, after: Duration) {
        self.after(from, after, What::Response(Answer { life, caller, response: None }));
    }

    /// A request has reached a host.
    pub(crate) fn requested(&mut self, host: usize, ask: Ask) {
        let Ask { from, life, exchange, expected, caller, request } = ask;
        let me = self.hosts[host].identity().exchange_public();
        let wrong = expected.is_some_and(|expected| expected != me);
        let Some(machine) = self.hosts[host].machine.as_ref().filter(|_| !wrong) else {
            return self.unanswered(from, life, caller, Duration::from_millis(1));
        };
        let joins = matches!(caller, Caller::Join);
        if let Request::Introduction(chain) = request {
            self.with(host, |machine, clock| {
                machine.introduced(clock, &exchange, chain);
            });
            return self.respond(host, from, life, caller, Response::Done);
        }
        // One that has become another host meanwhile has another token.
        if joins && !self.hosts[host].joined {
            return self.unanswered(from, life, caller, Duration::from_millis(1));
        }
        let peer = machine.replica().members().find(|(_, key)| *key == exchange).map(|(id, _)| id);
        let newcomer = match &request {
            Request::Join { entries, .. } if joins => entries.first().map(|e: &Entry| e.author),
            _ => None,
        };
        let Some(peer) = (if joins { newcomer } else { peer }) else {
            // It hangs up on strangers.
            return self.unanswered(from, life, caller, Duration::from_millis(1));
        };
        let leaves = matches!(request, Request::Leave(_));
        let mut response = Response::Done;
        if leaves {
            // Before it is asked: a removal may end in the moment that it begins.
            self.leaving.push(Leaving { host, to: from, life });
        }
        let stored = self.with(host, |machine, clock| {
            response = match joins {
                true => machine.admit(clock, peer, request),
                false => machine.request(clock, peer, request),
            };
        });
        if !stored {
            response = Response::Refused("this host cannot write its state at present".to_owned());
        }
        if leaves && response == Response::Done {
            return;
        }
        if leaves {
            let waits = |l: &Leaving| l.host == host && l.to == from && l.life == life;
            // It may have asked before: that question is still open. This one is not if
            // the removal has ended in the moment that it began.
            let Some(last) = self.leaving.iter().rposition(waits) else { return };
            self.leaving.remove(last);
        }
        self.respond(host, from, life, caller, response);
    }

    fn respond(&mut self, host: usize, to: usize, life: u64, caller: Caller, response: Response) {
        let address = self.hosts[to].address;
        let response = self.written(host, address, response);
        let way = self.network.segment(&mut self.dice).filter(|_| self.open(host, to));
        match way {
            Some(delay) => {
                let answer = Answer { life, caller, response: Some(response) };
                self.after(to, delay, What::Response(answer));
            }
            None => self.unanswered(to, life, caller, EXCHANGE),
        }
    }

    /// An answer has reached the host that asked.
    pub(crate) fn answered(&mut self, host: usize, answer: Answer) {
        let Answer { life, caller, response } = answer;
        if self.hosts[host].life != life {
            return;
        }
        self.hosts[host].calls -= 1;
        self.hosts[host].commands -= usize::from(caller.is_command());
        match caller {
            Caller::Background(id) | Caller::Removal(id) => {
                self.with(host, |machine, clock| machine.answered(clock, id, response));
            }
            Caller::Job(job) => self.shared(job, response),
            Caller::Join => self.admitted(host, response),
            Caller::Leave => self.left(host, response),
        }
    }

    /// A removal has ended that a host asked for.
    pub(crate) fn removal_ended(&mut self, host: usize, result: Result<(), String>) {
        let Some(i) = self.leaving.iter().position(|l| l.host == host) else { return };
        let Leaving { to, life, .. } = self.leaving.remove(i);
        let response = result.map_or_else(Response::Refused, |()| Response::Done);
        self.respond(host, to, life, Caller::Leave, response);
    }

    /// Hosts that wait for one that has died hear no answer.
    pub(crate) fn abandon_leaving(&mut self, host: usize) {
        let (dead, rest) =
            std::mem::take(&mut self.leaving).into_iter().partition(|l| l.host == host);
        self.leaving = rest;
        let dead: Vec<Leaving> = dead;
        for Leaving { to, life, .. } in dead {
            self.unanswered(to, life, Caller::Leave, EXCHANGE);
        }
    }

    /// A host that belongs to no cluster asks some member to be admitted.
    pub(crate) fn try_to_join(&mut self, host: usize) {
        if self.hosts[host].joined {
            return;
        }
        let members: Vec<usize> = self.members().map(|(i, _)| i).collect();
        let contact = self.dice.pick(&members);
        let (Some(contact), Some(machine)) = (contact, &self.hosts[host].machine) else {
            return self.after(host, Duration::from_secs(1), What::Join);
        };
        let me = machine.me();
        let request = Request::Join {
            exchange: machine.replica().identity().exchange_public(),
            entries: machine.replica().entry(&Key::Node(me)).cloned().into_iter().collect(),
        };
        let at = self.hosts[contact].address;
        self.ask(host, Caller::Join, None, at, request);
    }

    fn admitted(&mut self, host: usize, response: Option<Response>) {
        let Some(Response::Entries(entries)) = response else {
            let pause = self.dice.millis(200, 1500);
            return self.after(host, pause, What::Join);
        };
        let World { dice, settings, now, .. } = self;
        self.hosts[host].become_member(*now, dice, settings, entries);
        // Who was admitted by a node that has been removed since, before anybody
        // else heard of it, does not belong.
        let h = &self.hosts[host];
        if let Some(by) = h.admitted_by() {
            self.truth.admitted.insert(h.id(), by);
            if self.truth.removed.contains(&by) {
                self.truth.bury(h.id());
            }
        }
        self.started(host);
    }

    /// A host that holds no endpoints asks another to let it leave.
    pub(crate) fn leave(&mut self, host: usize) {
        let Some(machine) = self.hosts[host].machine.as_ref() else { return };
        let me = machine.me();
        let idle = machine.endpoints().all(|(node, ..)| node != me);
        let contact = self.dice.pick(&machine.up()).and_then(|id| machine.contact(&id));
        let (true, Some((exchange, at))) = (idle, contact) else { return };
        let Ok(request) = machine.farewell() else { return };
        self.call(host, Caller::Leave, exchange, at, request);
    }

    fn left(&mut self, host: usize, response: Option<Response>) {
        if response != Some(Response::Done) {
            return;
        }
        self.with(host, |machine, clock| machine.leave(clock));
        self.start_anew(host);
    }

    /// A host becomes another one, and joins again.
    pub(crate) fn start_anew(&mut self, host: usize) {
        self.kill(host);
        self.hosts[host].forget(&mut self.dice);
        self.truth.crashed(host, &self.hosts[host].disk);
        self.void_vips(None);
        self.start(host);
        let pause = self.dice.millis(0, 2000);
        self.after(host, pause, What::Join);
    }
}
