//! Services: created, changed and removed on random hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vxmesh::core::Now;
use vxmesh::core::cluster::entry::{Body, Entry, Key, NodeId, Space};
use vxmesh::core::cluster::machine::Machine;
use vxmesh::core::cluster::replica::Replica;
use vxmesh::core::tables::{Joined, Service};

use super::host::Host;
use super::truth::Truth;
use super::work::{Act, Command, Missing, found};
use super::world::World;

type Id = [u8; 32];

/// A virtual IP: its network and the address.
type Place = (Id, IpAddr);

/// The virtual IPs of services that nobody has removed: whose they are, and who
/// chose them.
#[derive(Default)]
pub(crate) struct Vips(BTreeMap<Place, (Id, NodeId)>);

impl World {
    /// Somebody does something to a service.
    pub(crate) fn serve_at_random(&mut self, host: usize) {
        let Some(network) = self.some_network(host) else { return };
        let service = self.some_service(host);
        match (self.dice.below(10), service) {
            (0..3, _) => self.command(host, Command::Serve(None, network)),
            (3..6, Some(service)) => self.command(host, Command::Serve(Some(service), network)),
            (6..8, Some(service)) => self.leave_network(host, service, network),
            (8, Some(service)) => self.rename(host, service),
            (_, Some(service)) => self.remove_service(host, service),
            _ => {}
        }
    }

    fn some_service(&mut self, host: usize) -> Option<Id> {
        let machine = self.hosts[host].machine.as_ref()?;
        let all: Vec<Id> = machine.services().filter_map(|s| s.id.bytes()).collect();
        self.dice.pick(&all)
    }

    /// A service that is new, or the record of an old one, with an address of its own on
    /// a network: as the daemon does it.
    pub(super) fn serve(
        &self,
        host: usize,
        machine: &Machine,
        clock: Now,
        service: Option<Id>,
        network: Id,
    ) -> Result<Act, Missing> {
        let id = vxmesh::core::tables::Id::new(network);
        let known = machine.networks().find(|n| n.id == id).ok_or(Missing::Refused)?;
        let mut record = match service {
            Some(service) => of(machine, service).ok_or(Missing::Refused)?,
            None => new(),
        };
        if let Some(joined) = record.networks.iter_mut().find(|joined| joined.network == id) {
            // Its address is there still.
            joined.active = true;
            return Ok(publish(host, record));
        }
        let pool = known.pools.first().ok_or(Missing::Refused)?;
        let space = Space::Pool(network, 0);
        let ip = found(space, machine.knowledge(clock, space).view().address(pool))?;
        record.networks.push(Joined { network: id, vips: vec![ip], active: true });
        let me = machine.me();
        Ok(Box::new(move |world: &mut World| {
            if service.is_none() {
                record.id = vxmesh::core::tables::Id::new(world.dice.bytes());
                record.name = format!("svc-{}", record.id.short());
            }
            let service = record.id.bytes().expect("it was made of bytes");
            world.truth.serve(me, service, network, ip);
            publish(host, record)(world);
        }))
    }

    fn leave_network(&mut self, host: usize, service: Id, network: Id) {
        self.change(host, service, |record| {
            for joined in &mut record.networks {
                joined.active &= joined.network.bytes() != Some(network);
            }
        });
    }

    fn rename(&mut self, host: usize, service: Id) {
        let drain = self.dice.below(1000) as u32;
        self.change(host, service, |record| record.drain = drain);
    }

    fn change(&mut self, host: usize, service: Id, change: impl FnOnce(&mut Service)) {
        let h = &self.hosts[host];
        let Some(machine) = h.machine.as_ref().filter(|_| !h.disk_full) else { return };
        let Some(mut record) = of(machine, service) else { return };
        change(&mut record);
        publish(host, record)(self);
    }

    fn remove_service(&mut self, host: usize, service: Id) {
        if self.hosts[host].disk_full {
            return;
        }
        self.truth.remove_service(host, service);
        let id = vxmesh::core::tables::Id::new(service);
        self.with(host, |machine, clock| machine.withdraw_service(clock, &id));
    }

    /// Forgets virtual IPs of which nobody who stays has heard: those that removed nodes
    /// chose, or nodes whose disk is lost, which nobody may ever remove, or one that has
    /// just lost its memory, because its disk was full.
    pub(crate) fn void_vips(&mut self, restarted: Option<NodeId>) {
        let known = self.known_vips(|_| true);
        let sound = self.staying().map(|h| h.id()).filter(|id| Some(*id) != restarted).collect();
        self.truth.void_vips(&sound, &known);
    }

    /// Forgets also those that only a record names which a removal leaves behind, as its
    /// heir has stored it. Nobody who stays may have built on one.
    pub(crate) fn leave_vips(&mut self, heir: usize) {
        let Some(machine) = &self.hosts[heir].machine else { return };
        let known = self.known_vips(|entry| !machine.replica().is_left_behind(entry));
        let sound = self.staying().map(Host::id).collect();
        self.truth.void_vips(&sound, &known);
        self.truth.bequeath_vips(machine.replica());
    }

    /// Virtual IPs that any member knows, also those that do not run, by records that
    /// count.
    fn known_vips(&self, counts: impl Fn(&Entry) -> bool) -> BTreeSet<(Place, Id)> {
        let of_host = |h: &Host| -> BTreeSet<(Place, Id)> {
            match &h.machine {
                Some(machine) => vips(machine.replica().entries().filter(|e| counts(e))),
                None => vips(h.disk.values().filter(|e| counts(e))),
            }
        };
        self.staying().flat_map(of_host).collect()
    }
}

fn publish(host: usize, record: Service) -> Act {
    Box::new(move |world: &mut World| {
        world.with(host, |machine, clock| machine.publish_service(clock, &record));
    })
}

/// The record of a service that may be changed, without networks that are known to be
/// deleted: these are forgotten with the next change, as the daemon does it.
fn of(machine: &Machine, service: Id) -> Option<Service> {
    let mut record = machine.services().find(|s| s.id.bytes() == Some(service))?.clone();
    machine.check_changeable(&record.id).ok()?;
    let deleted = |joined: &Joined| {
        let id = joined.network.bytes().unwrap_or_default();
        machine.replica().entry(&Key::Network(id)).is_some_and(|e| e.body.is_none())
    };
    record.networks.retain(|joined| !deleted(joined));
    Some(record)
}

fn new() -> Service {
    Service {
        id: vxmesh::core::tables::Id::new([0; 32]),
        name: String::new(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        mode: Default::default(),
        scheduler: Default::default(),
        affinity: None,
        health: None,
        drain: 10,
        aliases: Vec::new(),
        published: Vec::new(),
        networks: Vec::new(),
        weights: BTreeMap::new(),
    }
}

/// All virtual IPs that entries name.
fn vips<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeSet<(Place, Id)> {
    let mut all = BTreeSet::new();
    for entry in entries {
        let (Key::Service(id), Some(Body::Service(service))) = (entry.key, &entry.body) else {
            continue;
        };
        for joined in &service.networks {
            let network = joined.network.bytes().unwrap_or_default();
            all.extend(joined.vips.iter().map(|ip| ((network, *ip), id)));
        }
    }
    all
}

impl Truth {
    /// A virtual IP is chosen.
    fn serve(&mut self, node: NodeId, service: Id, network: Id, ip: IpAddr) {
        // Whoever has not heard yet that it is deleted changes nothing any more.
        if self.removed.contains(&node) || self.is_gone(&Key::Service(service)) {
            return;
        }
        if self.is_used(network, ip) {
            self.violated(format!("{node:?} chooses {ip} for a service, and an endpoint has it"));
        }
        let before = self.vips.0.insert((network, ip), (service, node));
        if let Some((_, other)) = before.filter(|(other, _)| *other != service) {
            self.violated(format!("{ip} is chosen by {node:?} and {other:?} for two services"));
        }
    }

    /// An endpoint gets an address.
    pub(crate) fn check_not_virtual(&mut self, node: NodeId, network: Id, ip: IpAddr) {
        if let Some((_, by)) = self.vips.0.get(&(network, ip)) {
            let what =
                format!("{node:?} gives {ip} to an endpoint, and {by:?} gave it to a service");
            self.violated(what);
        }
    }

    /// A service is removed, which is for good.
    pub(super) fn remove_service(&mut self, host: usize, service: Id) {
        self.vips.0.retain(|_, (of, _)| *of != service);
        self.note_deleted(host, Key::Service(service));
    }

    /// What is not among the `known` counts only as long as who chose it has its memory.
    fn void_vips(&mut self, sound: &BTreeSet<NodeId>, known: &BTreeSet<(Place, Id)>) {
        self.vips.0.retain(|place, (service, node)| {
            sound.contains(node) || known.contains(&(*place, *service))
        });
    }

    /// What a removed node chose is its heir's to keep from now on.
    fn bequeath_vips(&mut self, known: &Replica) {
        for (_, node) in self.vips.0.values_mut() {
            *node = known.heir(*node).unwrap_or(*node);
        }
    }

    pub(crate) fn forget_vips(&mut self, network: Id) {
        self.vips.0.retain(|(of, _), _| *of != network);
    }

    /// In the tables of a member at rest no virtual IP is another service's too, or an
    /// endpoint's, and those that were chosen are there.
    pub(crate) fn check_vips(&mut self, host: usize, machine: &Machine) {
        let alive = |network: &Id| machine.replica().get(&Key::Network(*network)).is_some();
        let all = vips(machine.replica().entries());
        let all: Vec<(Place, Id)> = all.into_iter().filter(|((n, _), _)| alive(n)).collect();
        let mut owners: BTreeMap<Place, Id> = BTreeMap::new();
        for (place, service) in &all {
            if owners.insert(*place, *service).is_some() {
                self.violated(format!("host {host} has {} of two services", place.1));
            }
        }
        for (_, network, _, body) in machine.endpoints() {
            for ip in body.addresses.iter().filter(|ip| owners.contains_key(&(network, **ip))) {
                self.violated(format!("host {host} has {ip} of an endpoint and of a service"));
            }
        }
        let lost =
            self.vips.0.iter().find(|(place, (service, _))| {
                alive(&place.0) && owners.get(place) != Some(service)
            });
        if let Some(((_, ip), (_, by))) = lost {
            self.violated(format!("host {host} has lost {ip} that {by:?} chose for a service"));
        }
    }
}
