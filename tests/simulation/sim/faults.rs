//! What goes wrong: a random thing at a time, of kinds that the seed chooses.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use vxmesh::core::cluster::entry::{Key, NodeId};
use vxmesh::wire::vxlan::Vni;

use super::network::Weather;
use super::work::Command;
use super::world::{What, World};

impl World {
    /// Bad weather: each run has its own.
    pub(crate) fn draw_weather(&mut self) {
        let dice = &mut self.dice;
        let mut upto = |most: usize| if dice.chance(500) { dice.below(most) as u32 } else { 0 };
        let (loss, duplicates, corruption, spikes) = (upto(401), upto(300), upto(100), upto(100));
        let jitter = Duration::from_millis(upto(50).into());
        self.network.weather = Weather { loss, duplicates, corruption, spikes, jitter };
    }

    /// Somebody does something.
    pub(crate) fn work_at_random(&mut self) {
        let running: Vec<usize> = self.members().map(|(i, _)| i).collect();
        let Some(host) = self.dice.pick(&running) else { return };
        if self.dice.chance(150) {
            return self.serve_at_random(host);
        }
        match self.dice.below(100) {
            0..12 => {
                let command = self.any_network();
                self.command(host, command);
            }
            12..55 => {
                if let Some(network) = self.some_network(host) {
                    self.command(host, Command::Attach(network, None));
                }
            }
            55..75 => {
                self.detach(host);
            }
            75..88 => self.move_endpoint(host, &running),
            88..94 => self.delete_network(host),
            94 if self.dice.chance(200) => {
                self.with(host, |machine, clock| machine.rotate_key(clock));
            }
            95..98 => {
                self.with(host, |machine, clock| machine.rotate_token(clock));
            }
            98 => self.leave(host),
            99 => self.remove_dead(host),
            _ => {}
        }
    }

    /// Few VNIs and subnets to choose from, so that hosts ask for each other's.
    fn any_network(&mut self) -> Command {
        let dice = &mut self.dice;
        let number = 4096 + dice.below(40) as u32;
        let vni = Vni::new(number).filter(|_| dice.chance(300));
        let subnet = Ipv4Net::new([10, 0, dice.below(8) as u8, 0].into(), 24);
        let subnet = subnet.ok().map(IpNet::V4).filter(|_| dice.chance(200));
        Command::Create(vni, subnet)
    }

    fn move_endpoint(&mut self, host: usize, running: &[usize]) {
        let to = self.dice.pick(running);
        if let (Some((network, ip)), Some(to)) = (self.detach(host), to) {
            self.command(to, Command::Attach(network, Some(ip)));
        }
    }

    /// Somebody removes all nodes that are gone for good; nobody removes others.
    pub(crate) fn remove_dead(&mut self, host: usize) {
        let alive: Vec<NodeId> = self.hosts.iter().filter(|h| h.joined).map(|h| h.id()).collect();
        let Some(machine) = &self.hosts[host].machine else { return };
        let gone = |id: &NodeId| !machine.is_up(id) && !alive.contains(id);
        let dead: Vec<NodeId> =
            machine.replica().members().map(|(id, _)| id).filter(gone).collect();
        if !dead.is_empty() {
            self.with(host, |machine, clock| {
                // Refused where somebody cannot be reached: tried again some time.
                let _ = machine.remove(clock, dead);
            });
        }
    }

    /// Something goes wrong, or right again.
    pub(crate) fn fail_at_random(&mut self) {
        let n = self.hosts.len();
        let host = self.dice.below(n);
        let other = self.dice.below(n);
        match self.dice.below(100) {
            0..15 => {
                self.network.islands = (0..n).map(|_| self.dice.below(2) as u8).collect();
            }
            15..35 => self.network.islands.clear(),
            35..45 => {
                self.network.cut.insert((host, other));
            }
            45..55 => self.network.cut.clear(),
            55..65 => self.flap(host),
            65..75 => self.crash(host),
            75..83 => self.restart(host),
            83..86 => self.lose_disk(host),
            86..90 => self.hosts[host].asleep = self.now + self.dice.millis(500, 8000),
            90..93 => self.hosts[host].lag = self.dice.millis(0, 3000),
            93..95 => self.hosts[host].lag = Duration::ZERO,
            95..97 => self.hosts[host].disk_full = true,
            97..99 => self.hosts[host].disk_full = false,
            _ => self.draw_weather(),
        }
    }

    /// All links of a host come or go.
    fn flap(&mut self, host: usize) {
        let n = self.hosts.len();
        let links = (0..n).flat_map(|o| [(host, o), (o, host)]);
        if self.network.cut.contains(&(host, (host + 1) % n)) {
            links.for_each(|link| {
                self.network.cut.remove(&link);
            });
        } else {
            self.network.cut.extend(links);
        }
    }

    /// A host dies; now and then all at once.
    fn crash(&mut self, host: usize) {
        if self.dice.chance(50) {
            (0..self.hosts.len()).for_each(|h| self.kill(h));
        } else {
            self.kill(host);
        }
    }

    /// A host starts from its disk, if it does not run.
    pub(crate) fn restart(&mut self, host: usize) {
        if self.hosts[host].is_up() {
            return;
        }
        self.start(host);
        if !self.hosts[host].joined {
            self.after(host, Duration::ZERO, What::Join);
        }
    }

    /// A host loses everything, and joins as another of the same name: unless some that
    /// stay would then know of each other by nobody, which nothing can heal.
    fn lose_disk(&mut self, host: usize) {
        let stay: Vec<usize> = (0..self.hosts.len())
            .filter(|other| *other != host && self.hosts[*other].joined)
            .filter(|other| !self.truth.removed.contains(&self.hosts[*other].id()))
            .collect();
        if stay.len() > 1 && self.find_each_other(stay) {
            self.start_anew(host);
        }
    }

    /// Whether these hosts are one by who has whom on the disk.
    fn find_each_other(&self, mut unknown: Vec<usize>) -> bool {
        let knows =
            |a: usize, b: usize| self.hosts[a].disk.contains_key(&Key::Member(self.hosts[b].id()));
        let mut known: Vec<usize> = unknown.pop().into_iter().collect();
        let mut next = 0;
        while let Some(a) = known.get(next).copied() {
            let found = unknown.extract_if(.., |b| knows(a, *b) || knows(*b, a));
            known.extend(found);
            next += 1;
        }
        unknown.is_empty()
    }

    /// Everything works again.
    pub(crate) fn heal(&mut self) {
        self.network.heal();
        for host in 0..self.hosts.len() {
            let h = &mut self.hosts[host];
            (h.asleep, h.lag, h.disk_full) = (self.now, Duration::ZERO, false);
            self.restart(host);
        }
        self.replace_removed();
    }

    /// Hosts that were removed while they were away, or whose joining or leaving
    /// nobody confirmed, are told by their people to begin anew.
    pub(crate) fn replace_removed(&mut self) {
        for host in 0..self.hosts.len() {
            if self.truth.removed.contains(&self.hosts[host].id()) {
                self.start_anew(host);
            }
        }
    }
}
