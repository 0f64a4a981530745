//! Hosts, a network between them, and a clock: what happens next happens at
//! once. The same seed makes the same run, byte by byte.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vxmesh::core::Now;
use vxmesh::core::cluster::entry::{Key, NodeId, Realm};
use vxmesh::core::cluster::machine::{Machine, Output, Settings};
use vxmesh::core::cluster::rpc::Request;

use super::calls::{Answer, Ask, Caller, Leaving};
use super::host::{Host, Settled};
use super::network::{Dice, Network};
use super::truth::Truth;
use super::work::Jobs;

/// How often a host brings what others wrote to its disk, as the daemon does.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Events that wait for a host that is stopped, before datagrams are lost.
const SOCKET_BUFFER: usize = 2000;

/// Something that happens to a host.
pub(crate) enum What {
    Tick,
    Save,
    Datagram(Vec<u8>),
    Request(Ask),
    Response(Answer),
    /// A command is tried again.
    Retry(u64),
    /// It tries to join by another host, and again until it is a member.
    Join,
}

struct Event {
    at: Now,
    order: u64,
    host: usize,
    /// How often it was put off.
    late: bool,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.order == other.order
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) dice: Dice,
    pub(crate) network: Network,
    pub(crate) hosts: Vec<Host>,
    pub(crate) truth: Truth,
    pub(crate) jobs: Jobs,
    pub(crate) leaving: Vec<Leaving>,
    pub(crate) settings: Settings,
    events: BinaryHeap<Reverse<Event>>,
    order: u64,
    /// Datagrams that wait for hosts that are stopped.
    waiting: usize,
    trace: DefaultHasher,
}

impl World {
    /// So many hosts, each a cluster of one; the first is the one that the others
    /// are to join.
    pub(crate) fn new(hosts: usize, seed: u64, settings: Settings) -> World {
        let mut dice = Dice::new(seed);
        let hosts = (0..hosts).map(|i| Host::new(i, &mut dice)).collect();
        let mut world = World {
            now: Duration::from_secs(1000),
            dice,
            network: Network::default(),
            hosts,
            truth: Truth::default(),
            jobs: Jobs::default(),
            leaving: Vec::new(),
            settings,
            events: BinaryHeap::new(),
            order: 0,
            waiting: 0,
            trace: DefaultHasher::new(),
        };
        world.hosts[0].joined = true;
        for host in 0..world.hosts.len() {
            world.start(host);
            let first = world.dice.between(Duration::ZERO, SAVE_INTERVAL);
            world.after(host, first, What::Save);
        }
        world
    }

    /// What all hosts have sent so far, as one number.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    pub(crate) fn after(&mut self, host: usize, delay: Duration, what: What) {
        self.push(self.now + delay, host, false, what);
    }

    fn push(&mut self, at: Now, host: usize, late: bool, what: What) {
        self.order += 1;
        self.events.push(Reverse(Event { at, order: self.order, host, late, what }));
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.events.peek().is_some_and(|Reverse(e)| e.at <= end) {
            let Some(Reverse(event)) = self.events.pop() else { break };
            self.now = event.at;
            self.happen(event);
        }
        self.now = end;
    }

    /// Lets time pass until something holds, and says how much that was.
    pub(crate) fn until(
        &mut self,
        step: Duration,
        limit: Duration,
        mut done: impl FnMut(&World) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now >= start + limit {
                return None;
            }
            self.run(step);
        }
        Some(self.now - start)
    }

    fn happen(&mut self, event: Event) {
        let host = event.host;
        let datagram = matches!(event.what, What::Datagram(_));
        if event.late && datagram {
            self.waiting -= 1;
        }
        if self.hosts[host].asleep > self.now {
            if datagram && self.waiting >= SOCKET_BUFFER {
                return;
            }
            self.waiting += usize::from(datagram);
            let at = self.hosts[host].asleep;
            return self.push(at, host, true, event.what);
        }
        self.nod_off(host);
        match event.what {
            What::Tick => self.tick(host, event.at, event.late),
            What::Save => self.save(host),
            What::Datagram(mut bytes) => {
                self.with(host, |machine, clock| machine.datagram(clock, &mut bytes));
            }
            What::Request(ask) => self.requested(host, ask),
            What::Response(answer) => self.answered(host, answer),
            What::Retry(job) => self.retry(job),
            What::Join => self.try_to_join(host),
        }
    }

    /// A slow host does something now and then, and nothing in between.
    fn nod_off(&mut self, host: usize) {
        let lag = self.hosts[host].lag;
        if !lag.is_zero() && self.dice.chance(20) {
            self.hosts[host].asleep = self.now + self.dice.between(lag / 4, lag);
        }
    }

    fn tick(&mut self, host: usize, at: Now, late: bool) {
        let wake = self.hosts[host].wake;
        if wake == Some(at) || (late && wake.is_some_and(|wake| wake <= self.now)) {
            self.hosts[host].wake = None;
            self.with(host, |machine, clock| machine.tick(clock));
        }
    }

    fn save(&mut self, host: usize) {
        if let Some(stored) = self.hosts[host].save() {
            self.stored(host, &stored);
        }
        self.after(host, SAVE_INTERVAL, What::Save);
    }

    /// Lets a host's machine take something in, and everything follow from it.
    /// False if the host could not store what it wrote, or does not run.
    pub(crate) fn with(&mut self, host: usize, work: impl FnOnce(&mut Machine, Now)) -> bool {
        let clock = self.hosts[host].clock(self.now);
        let Some(machine) = &mut self.hosts[host].machine else { return false };
        work(machine, clock);
        self.settle(host)
    }

    fn settle(&mut self, host: usize) -> bool {
        let Settled { changed, stored } = self.hosts[host].settle();
        if let (true, Some(machine)) = (self.hosts[host].joined, &self.hosts[host].machine) {
            self.truth.seen(host, machine, &changed);
        }
        if let Some(stored) = &stored {
            self.stored(host, stored);
        }
        self.dispatch(host);
        stored.is_some()
    }

    /// What is on a disk counts.
    fn stored(&mut self, host: usize, keys: &BTreeSet<Key>) {
        let me = self.hosts[host].machine.as_ref().map(Machine::me);
        // What a removed node still does counts for nothing.
        let gone = me.is_some_and(|me| self.truth.removed.contains(&me));
        if gone || !self.hosts[host].joined {
            return;
        }
        if keys.iter().any(|k| matches!(k, Key::Member(_))) {
            self.note_removals(host);
        }
        if let Some(machine) = &self.hosts[host].machine {
            self.truth.stored(machine, keys);
        }
    }

    fn note_removals(&mut self, host: usize) {
        let before = self.truth.removed.len();
        let last = Key::Member(NodeId([0xff; 32]));
        let disk = &self.hosts[host].disk;
        disk.range(..=last).for_each(|(_, entry)| self.truth.remove(entry));
        if self.truth.removed.len() != before {
            self.bury_unknown(host);
            let known = self.known_networks();
            self.truth.void_networks(None, &known);
            if let Some(machine) = &self.hosts[host].machine {
                self.truth.leave_networks(machine.replica());
            }
            self.leave_vips(host);
        }
    }

    /// Whom a removed node had admitted, and its heir has never heard of, is removed
    /// with it, also where nothing is left of it: `heir` is the first that has a removal
    /// on its disk.
    fn bury_unknown(&mut self, heir: usize) {
        let Some(machine) = &self.hosts[heir].machine else { return };
        while let Some(orphan) = self.truth.orphan(|id| !machine.replica().is_member(id)) {
            self.truth.bury(orphan);
        }
    }

    /// Members that nobody has removed, also those that do not run.
    pub(crate) fn staying(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|h| h.joined && !self.truth.removed.contains(&h.id()))
    }

    /// Networks that any member knows, also those that do not run.
    fn known_networks(&self) -> BTreeSet<[u8; 32]> {
        let keys = self.staying().flat_map(|h| match &h.machine {
            Some(machine) => machine.replica().entries().map(|e| e.key).collect(),
            None => h.disk.keys().copied().collect::<Vec<Key>>(),
        });
        keys.filter_map(|k| if let Key::Network(id) = k { Some(id) } else { None }).collect()
    }

    /// Does what a machine wants done, and wakes it when it is due.
    fn dispatch(&mut self, host: usize) {
        while let Some(output) = self.hosts[host].machine.as_mut().and_then(Machine::output) {
            match output {
                Output::Datagram { to, bytes } => self.send(host, to, bytes),
                // As the daemon does.
                Output::Call { id, request, .. }
                    if self.is_mute(host) && request != Request::Ping =>
                {
                    self.with(host, |machine, clock| machine.answered(clock, id, None));
                }
                Output::Call { id, exchange, at, request, .. } => {
                    let caller = Caller::machine(id, &request);
                    self.call(host, caller, exchange, at, request);
                }
                Output::Removal(result) => self.removal_ended(host, result),
                // For tables and data plane, which are not here.
                _ => {}
            }
        }
        let h = &mut self.hosts[host];
        let Some(machine) = &h.machine else { return };
        // A timer never fires in the instant that it is set.
        let due = h.at(machine.due()).max(self.now + Duration::from_millis(1));
        if h.wake.is_none_or(|wake| due < wake) {
            h.wake = Some(due);
            self.push(due, host, false, What::Tick);
        }
    }

    fn is_mute(&self, host: usize) -> bool {
        self.hosts[host].machine.as_ref().is_some_and(Machine::is_mute)
    }

    fn send(&mut self, host: usize, to: SocketAddr, bytes: Vec<u8>) {
        self.note(host, &to, &bytes);
        let load = &mut self.hosts[host].load;
        load.datagrams += 1;
        load.datagram_bytes += bytes.len() as u64;
        let Some(target) = self.at(to) else { return };
        if !self.network.passes(host, target) {
            return;
        }
        for (delay, copy) in self.network.carry(&mut self.dice, bytes) {
            self.after(target, delay, What::Datagram(copy));
        }
    }

    /// Writes something that a host has sent into the trace.
    pub(crate) fn note(&mut self, host: usize, to: &SocketAddr, bytes: &[u8]) {
        (self.now, host, to, bytes).hash(&mut self.trace);
    }

    /// The host at an address.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<usize> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        let [_, _, high, low] = ip.octets();
        let index = usize::from(high) << 8 | usize::from(low);
        self.hosts.get(index).filter(|h| h.address == address).map(|_| index)
    }

    /// A host's process starts.
    pub(crate) fn start(&mut self, host: usize) {
        self.hosts[host].start(self.now, &mut self.dice, &self.settings);
        self.started(host);
    }

    /// A machine has been made of what is on the disk.
    pub(crate) fn started(&mut self, host: usize) {
        if self.hosts[host].joined
            && let Some(machine) = &self.hosts[host].machine
        {
            self.truth.restarted(machine);
            let me = machine.me();
            let known = self.known_networks();
            self.truth.void_networks(Some(me), &known);
            self.void_vips(Some(me));
        }
        self.settle(host);
    }

    /// A host's process dies.
    pub(crate) fn kill(&mut self, host: usize) {
        self.hosts[host].stop();
        self.truth.crashed(host, &self.hosts[host].disk);
        self.jobs.forget(host);
        self.abandon_leaving(host);
    }

    /// Hosts that run and belong to the cluster.
    pub(crate) fn members(&self) -> impl Iterator<Item = (usize, &Machine)> {
        self.hosts.iter().enumerate().filter_map(|(i, h)| {
            let machine = h.machine.as_ref().filter(|_| h.joined)?;
            (!self.truth.removed.contains(&machine.me())).then_some((i, machine))
        })
    }

    /// Whether all members that run have the same tables.
    pub(crate) fn agree(&self) -> bool {
        let digests = |m: &Machine| -> Vec<(Realm, u64)> { m.replica().digests().collect() };
        let mut all = self.members().map(|(_, m)| m);
        let Some(first) = all.next().map(digests) else { return true };
        all.all(|m| digests(m) == first)
    }

    /// Whether all members that run see exactly all members that run.
    pub(crate) fn see_each_other(&self) -> bool {
        let live: BTreeSet<NodeId> = self.members().map(|(_, m)| m.me()).collect();
        self.members().all(|(_, m)| {
            let up = m.up();
            up.len() + 1 == live.len() && up.iter().all(|id| live.contains(id))
        })
    }
}
