//! How long things take in a healthy network, and what they cost.

use std::time::Duration;

use vxmesh::core::cluster::entry::Key;
use vxmesh::core::cluster::machine::{Machine, Settings};

use super::host::Load;
use super::scenario::storm;
use super::work::Command;
use super::world::World;

/// How exact the figures are.
const STEP: Duration = Duration::from_millis(10);
/// Longer than anything may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Over how long the load is measured.
const IDLE: Duration = Duration::from_secs(60);

/// A cluster's figures.
pub(crate) struct Figures {
    pub(crate) hosts: usize,
    /// From the storm in which all join until all see each other.
    pub(crate) formed: Duration,
    /// From a host's death until the first other takes it for dead.
    pub(crate) first: Vec<Duration>,
    /// Until the last does.
    pub(crate) all: Vec<Duration>,
    /// From an endpoint's making until another host knows it, for each host.
    pub(crate) known: Vec<Duration>,
    /// From the healing of two halves until all tables are equal.
    pub(crate) healed: Vec<Duration>,
    /// Of each node in each second, when nothing happens: datagrams, their bytes,
    /// requests and responses, their bytes.
    pub(crate) load: [f64; 4],
}

impl Figures {
    /// The table's first lines.
    pub(crate) const HEAD: &str = "\
| nodes | all joined | a dead node is noticed by the first (median, p99) | by all (median, p99) | a new endpoint is known (median, p99, of all nodes) | tables equal after a partition (median, worst) | datagrams per node and second, idle | bytes of them | requests and responses | bytes of them |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

    /// The table's line of this cluster.
    pub(crate) fn row(&self) -> String {
        let pair = |times: &[Duration]| {
            format!("{:.2} s, {:.2} s", seconds(times, 50), seconds(times, 99))
        };
        let [datagrams, bytes, messages, message_bytes] = self.load;
        format!(
            "| {} | {:.1} s | {} | {} | {} | {} | {datagrams:.1} | {bytes:.0} | {messages:.2} | {message_bytes:.0} |",
            self.hosts,
            self.formed.as_secs_f64(),
            pair(&self.first),
            pair(&self.all),
            pair(&self.known),
            pair(&self.healed),
        )
    }
}

/// The time within which so many of a hundred were done.
pub(crate) fn seconds(times: &[Duration], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(f64::NAN, Duration::as_secs_f64)
}

/// Measures a cluster; each thing `times` times.
pub(crate) fn measure(hosts: usize, seed: u64, times: usize) -> Result<Figures, String> {
    let mut world = World::new(hosts, seed, Settings::default());
    let start = world.now;
    storm(&mut world)?;
    let formed = world.now - start;
    world.run(Duration::from_secs(30));
    let load = idle(&mut world);
    let known = endpoints(&mut world, times)?;
    let (first, all) = deaths(&mut world, times)?;
    let healed = partitions(&mut world, times)?;
    Ok(Figures { hosts, formed, first, all, known, healed, load })
}

fn idle(world: &mut World) -> [f64; 4] {
    world.hosts.iter_mut().for_each(|h| h.load = Load::default());
    world.run(IDLE);
    let each = |of: fn(&Load) -> u64| {
        let sum: u64 = world.hosts.iter().map(|h| of(&h.load)).sum();
        sum as f64 / world.hosts.len() as f64 / IDLE.as_secs_f64()
    };
    [
        each(|l| l.datagrams),
        each(|l| l.datagram_bytes),
        each(|l| l.messages),
        each(|l| l.message_bytes),
    ]
}

fn endpoints(world: &mut World, times: usize) -> Result<Vec<Duration>, String> {
    world.command(0, Command::Create(None, None));
    world.run(Duration::from_secs(10));
    let mut known = Vec::new();
    for _ in 0..times {
        let pause = world.dice.millis(0, 1000);
        world.run(pause);
        let host = world.dice.below(world.hosts.len());
        // Whoever has no addresses yet asks for some first: that is another matter.
        attach(world, host);
        let last = endpoints_of(world, host);
        attach(world, host);
        let Some(key) = endpoints_of(world, host).into_iter().find(|k| !last.contains(k)) else {
            return Err(format!("host {host} got no address"));
        };
        let start = world.now;
        let mut waiting: Vec<usize> = (0..world.hosts.len()).filter(|h| *h != host).collect();
        while !waiting.is_empty() {
            if world.now > start + LIMIT {
                return Err(format!("{} hosts do not hear of an endpoint", waiting.len()));
            }
            world.run(STEP);
            let hosts = &world.hosts;
            let knows = |h: &usize| {
                hosts[*h].machine.as_ref().is_some_and(|m| m.replica().get(&key).is_some())
            };
            let before = waiting.len();
            waiting.retain(|h| !knows(h));
            known.extend((waiting.len()..before).map(|_| world.now - start));
        }
    }
    Ok(known)
}

/// Attaches an endpoint, and waits until that is done.
fn attach(world: &mut World, host: usize) {
    if let Some(network) = world.some_network(host) {
        world.command(host, Command::Attach(network, None));
        while !world.jobs.is_idle() {
            world.run(Duration::from_millis(1));
        }
    }
}

fn endpoints_of(world: &World, host: usize) -> Vec<Key> {
    let Some(machine) = &world.hosts[host].machine else { return Vec::new() };
    let me = machine.me();
    let own = machine.endpoints().filter(|(node, ..)| *node == me);
    own.map(|(node, network, id, _)| Key::Endpoint(node, network, id)).collect()
}

fn deaths(world: &mut World, times: usize) -> Result<(Vec<Duration>, Vec<Duration>), String> {
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let pause = world.dice.millis(0, 2000);
        world.run(pause);
        let host = world.dice.below(world.hosts.len());
        let dead = world.hosts[host].id();
        world.kill(host);
        let up = move |m: &Machine| m.is_up(&dead);
        let some = |w: &World| w.members().any(|(_, m)| !up(m));
        let noticed = world.until(STEP, LIMIT, some).ok_or("nobody notices a dead node")?;
        let none = |w: &World| w.members().all(|(_, m)| !up(m));
        let rest = world.until(STEP, LIMIT, none).ok_or("some do not notice a dead node")?;
        first.push(noticed);
        all.push(noticed + rest);
        world.restart(host);
        let step = Duration::from_millis(100);
        let back = world.until(step, LIMIT, World::see_each_other);
        back.ok_or("a node that comes back is not seen by all")?;
        // Until nobody doubts its own health any more.
        world.run(Duration::from_secs(20));
    }
    Ok((first, all))
}

fn partitions(world: &mut World, times: usize) -> Result<Vec<Duration>, String> {
    let mut healed = Vec::new();
    for _ in 0..times.div_ceil(4) {
        let hosts = world.hosts.len();
        world.network.islands = (0..hosts).map(|h| (h % 2) as u8).collect();
        world.run(Duration::from_secs(20));
        // Something that the other half does not know.
        for host in [0, 1] {
            for _ in 0..5 {
                attach(world, host);
            }
        }
        world.run(Duration::from_secs(10));
        world.network.heal();
        let equal = world.until(STEP, LIMIT, World::agree);
        healed.push(equal.ok_or("tables stay different after a partition")?);
        let met = world.until(STEP, LIMIT, World::see_each_other);
        met.ok_or("halves do not find each other after a partition")?;
        world.run(Duration::from_secs(5));
    }
    Ok(healed)
}
