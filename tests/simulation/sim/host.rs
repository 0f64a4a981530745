//! One host: a machine, and a disk that survives it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vxmesh::core::Now;
use vxmesh::core::cluster::entry::{Entry, Key, Node, NodeId, Version};
use vxmesh::core::cluster::machine::{Machine, Settings, Start};
use vxmesh::core::cluster::secret::identity::Identity;

use super::network::Dice;

/// What a host has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) datagrams: u64,
    pub(crate) datagram_bytes: u64,
    /// Requests and responses over connections.
    pub(crate) messages: u64,
    pub(crate) message_bytes: u64,
}

/// What has followed from a use of the machine.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) changed: BTreeSet<Key>,
    /// What is on the disk now and was not before; `None` where the disk did not
    /// take what had to be there.
    pub(crate) stored: Option<BTreeSet<Key>>,
}

/// Who a host is, as its disk has it.
struct Person {
    seed: [u8; 32],
    generation: u64,
}

pub(crate) struct Host {
    /// `None` while it does not run.
    pub(crate) machine: Option<Machine>,
    person: Person,
    pub(crate) disk: BTreeMap<Key, Entry>,
    /// Entries of others that are not on the disk yet.
    unsaved: BTreeSet<Key>,
    pub(crate) disk_full: bool,
    /// A member of the cluster, as far as it knows itself.
    pub(crate) joined: bool,
    /// Counts the machines that it has had: what was meant for an earlier one
    /// does not reach a later one.
    pub(crate) life: u64,
    pub(crate) address: SocketAddr,
    name: String,
    /// When its process started: its own clock counts from there.
    epoch: Now,
    /// When its next tick is due, in the world's time.
    pub(crate) wake: Option<Now>,
    /// It does nothing before.
    pub(crate) asleep: Now,
    /// How long it stops again and again.
    pub(crate) lag: Duration,
    pub(crate) load: Load,
    /// Its calls under way.
    pub(crate) calls: usize,
    /// Those of them that somebody waits for.
    pub(crate) commands: usize,
}

impl Host {
    pub(crate) fn new(index: usize, dice: &mut Dice) -> Host {
        let ip = IpAddr::from([10, 0, (index >> 8) as u8, index as u8]);
        Host {
            machine: None,
            person: Person { seed: dice.bytes(), generation: 0 },
            disk: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            disk_full: false,
            joined: false,
            life: 0,
            address: SocketAddr::new(ip, 7946),
            name: format!("host-{index}"),
            epoch: Now::ZERO,
            wake: None,
            asleep: Now::ZERO,
            lag: Duration::ZERO,
            load: Load::default(),
            calls: 0,
            commands: 0,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_seed(&self.person.seed)
    }

    pub(crate) fn id(&self) -> NodeId {
        self.identity().id()
    }

    /// Who has admitted it, as far as it knows itself.
    pub(crate) fn admitted_by(&self) -> Option<NodeId> {
        self.disk.get(&Key::Member(self.id())).map(|e| e.author)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    /// The host's own clock.
    pub(crate) fn clock(&self, now: Now) -> Now {
        now.saturating_sub(self.epoch)
    }

    /// A point of its own clock, in the world's time.
    pub(crate) fn at(&self, clock: Now) -> Now {
        self.epoch.saturating_add(clock)
    }

    /// The process starts from what the disk has.
    pub(crate) fn start(&mut self, now: Now, dice: &mut Dice, settings: &Settings) {
        self.epoch = now;
        self.begin(now, dice, settings);
    }

    /// A machine of what the disk has, in the place of any other.
    fn begin(&mut self, now: Now, dice: &mut Dice, settings: &Settings) {
        self.person.generation += 1;
        self.life += 1;
        self.wake = None;
        (self.calls, self.commands) = (0, 0);
        self.unsaved.clear();
        let node = Node {
            name: self.name.clone(),
            vtep: self.address.ip(),
            control: self.address,
            mtu: 1500,
            program: "simulated".to_owned(),
            floor: Version::default(),
            exchange: [0; 32],
            renounced: Default::default(),
        };
        let start = Start {
            identity: self.identity(),
            node,
            generation: self.person.generation,
            entries: self.disk.values().cloned().collect(),
        };
        let clock = self.clock(now);
        self.machine =
            Some(Machine::new(clock, start, settings.clone(), dice.bytes(), dice.bytes()));
    }

    /// A member by the entries that another handed over.
    pub(crate) fn become_member(
        &mut self,
        now: Now,
        dice: &mut Dice,
        settings: &Settings,
        entries: Vec<Entry>,
    ) {
        self.disk = entries.into_iter().map(|e| (e.key, e)).collect();
        self.joined = true;
        self.begin(now, dice, settings);
    }

    /// The process dies. What others wrote in the last second may be lost.
    pub(crate) fn stop(&mut self) {
        self.machine = None;
        self.life += 1;
        self.wake = None;
        (self.calls, self.commands) = (0, 0);
        self.unsaved.clear();
    }

    /// The disk is lost too: the host is another one from now on.
    pub(crate) fn forget(&mut self, dice: &mut Dice) {
        self.person = Person { seed: dice.bytes(), generation: 0 };
        self.disk.clear();
        self.joined = false;
        self.disk_full = false;
    }

    /// What the daemon does after each use of the machine: what the host has
    /// written itself is on the disk before anything is sent.
    pub(crate) fn settle(&mut self) -> Settled {
        let Some(machine) = &mut self.machine else { return Settled::default() };
        let changed = machine.take_changes();
        self.unsaved.extend(&changed);
        let me = machine.me();
        let mine = |key: &Key| machine.replica().entry(key).is_some_and(|e| e.author == me);
        let urgent = changed.iter().any(mine);
        let stored = if urgent { self.save() } else { Some(BTreeSet::new()) };
        Settled { changed, stored }
    }

    /// Brings what has changed to the disk, and says what that was; `None` where
    /// the disk does not take it.
    pub(crate) fn save(&mut self) -> Option<BTreeSet<Key>> {
        let machine = self.machine.as_mut()?;
        if self.unsaved.is_empty() {
            return Some(BTreeSet::new());
        }
        machine.set_mute(self.disk_full);
        if self.disk_full {
            return None;
        }
        let stored = std::mem::take(&mut self.unsaved);
        for key in &stored {
            match machine.replica().entry(key) {
                Some(entry) => self.disk.insert(*key, entry.clone()),
                None => self.disk.remove(key),
            };
        }
        Some(stored)
    }
}
