//! A whole run of one seed: hosts join in a storm, work goes on while things go
//! wrong, everything is healed, and then all must be as one again.

use std::time::Duration;

use vxmesh::core::cluster::entry::NodeId;
use vxmesh::core::cluster::machine::Settings;

use super::host::Host;
use super::network::{Dice, Weather};
use super::world::{What, World};

/// What a run was, for those who compare runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// A hash of everything that was sent, when and by whom.
    pub(crate) trace: u64,
    /// How long the tables took to become equal, after each time of healing.
    pub(crate) equal: Vec<Duration>,
    /// Networks and endpoints that were made, and commands that were refused.
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// Shares that hosts asked of each other.
    pub(crate) shares: u64,
}

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) hosts: usize,
    /// How long things go wrong, each time.
    pub(crate) trouble: Duration,
    pub(crate) rounds: usize,
}

impl Size {
    /// Small clusters, of a size that the seed chooses.
    pub(crate) fn small(seed: u64) -> Size {
        let hosts = 3 + Dice::new(!seed).below(5);
        Size { hosts, trouble: Duration::from_secs(20), rounds: 2 }
    }

    /// How soon tables must be equal after everything has been healed.
    fn patience(&self) -> Duration {
        Duration::from_secs(if self.hosts <= 7 { 10 } else { 30 })
    }
}

/// Runs a seed. Fails with what went wrong.
pub(crate) fn run(seed: u64, size: Size) -> Result<Outcome, String> {
    let mut world = World::new(size.hosts, seed, Settings::default());
    storm(&mut world)?;
    let mut equal = Vec::new();
    for _ in 0..size.rounds {
        trouble(&mut world, size.trouble)?;
        equal.push(recover(&mut world, size)?);
    }
    rest(&mut world)?;
    Ok(Outcome {
        trace: world.trace(),
        equal,
        done: world.jobs.done,
        refused: world.jobs.refused,
        shares: world.jobs.shares,
    })
}

/// All join at once, by whomever.
pub(super) fn storm(world: &mut World) -> Result<(), String> {
    for host in 1..world.hosts.len() {
        let delay = world.dice.millis(0, 300);
        world.after(host, delay, What::Join);
    }
    let all = |w: &World| w.hosts.iter().all(|h| h.joined) && w.agree() && w.see_each_other();
    world
        .until(Duration::from_millis(100), Duration::from_secs(120), all)
        .map(|_| ())
        .ok_or_else(|| format!("not all have joined and met after two minutes: {}", state(world)))
}

fn trouble(world: &mut World, time: Duration) -> Result<(), String> {
    let end = world.now + time;
    world.draw_weather();
    let fragile = world.dice.below(300) as u32;
    // Work for everybody, and the more the merrier.
    let busy = 50 + 250 / world.hosts.len() as u64;
    while world.now < end {
        let pause = world.dice.millis(10, busy);
        world.run(pause);
        if world.dice.chance(fragile) {
            world.fail_at_random();
        } else {
            world.work_at_random();
        }
        check(world)?;
    }
    Ok(())
}

fn check(world: &World) -> Result<(), String> {
    match world.truth.violations.first() {
        Some(first) => Err(first.clone()),
        None => Ok(()),
    }
}

/// Everything is healed. All tables must be equal soon, and all must see each
/// other.
fn recover(world: &mut World, size: Size) -> Result<Duration, String> {
    world.heal();
    let step = Duration::from_millis(100);
    let quiet = |w: &World| {
        let settled = |h: &Host| h.joined && h.commands == 0 && !w.truth.removed.contains(&h.id());
        w.leaving.is_empty() && w.jobs.is_idle() && w.hosts.iter().all(settled)
    };
    let limit = Duration::from_secs(90);
    let end = world.now + limit;
    while !quiet(world) {
        if world.now > end {
            return Err(format!("commands do not end, or hosts cannot join: {}", state(world)));
        }
        world.run(step);
        check(world)?;
        world.replace_removed();
    }
    let equal = world.until(step, size.patience(), World::agree);
    check(world)?;
    let Some(equal) = equal else {
        return Err(format!("tables differ after {:?}: {}", size.patience(), state(world)));
    };
    // A host that doubts its own health is up to nine times as slow to bury the dead.
    let patience = Duration::from_secs(60);
    if world.until(step, patience, World::see_each_other).is_none() {
        return Err(format!("not all see each other: {}", state(world)));
    }
    // What is gone for good is removed, or its ranges are missing from then on.
    world.remove_dead(0);
    world.run(Duration::from_secs(5));
    check(world)?;
    Ok(equal)
}

/// Nothing happens any more: nothing may be left over.
fn rest(world: &mut World) -> Result<(), String> {
    world.run(Duration::from_secs(20));
    if !world.agree() {
        return Err(format!("tables differ after a rest: {}", state(world)));
    }
    let hosts: Vec<usize> = world.members().map(|(i, _)| i).collect();
    for host in hosts {
        if let Some(machine) = &world.hosts[host].machine {
            world.truth.check_deleted(host, machine);
            world.truth.check_vips(host, machine);
        }
    }
    // A call a second and a half on average, and none that is forgotten.
    let hanging = world.hosts.iter().map(|h| h.calls).max().unwrap_or(0);
    if hanging > 4 {
        return Err(format!("a host at rest has {hanging} calls under way: {}", state(world)));
    }
    check(world)
}

/// A cluster at 5 % loss with one member that handles what it gets seconds late:
/// no healthy one may be declared dead by a healthy one.
pub(crate) fn slow_member(seed: u64, hosts: usize, time: Duration) -> Result<(), String> {
    let mut world = World::new(hosts, seed, Settings::default());
    storm(&mut world)?;
    let slow = hosts - 1;
    world.network.weather = Weather { loss: 50, ..Weather::default() };
    world.hosts[slow].lag = Duration::from_secs(4);
    let end = world.now + time;
    while world.now < end {
        world.run(Duration::from_millis(50));
        let healthy = |w: &World| -> Vec<NodeId> {
            w.members().filter(|(i, _)| *i != slow).map(|(_, m)| m.me()).collect()
        };
        let ids = healthy(&world);
        for (i, machine) in world.members().filter(|(i, _)| *i != slow) {
            if let Some(dead) = ids.iter().find(|id| **id != machine.me() && !machine.is_up(id)) {
                return Err(format!("host {i} takes {dead:?} for dead at {:?}", world.now));
            }
        }
    }
    Ok(())
}

/// For the message of a failed run.
fn state(world: &World) -> String {
    let hosts = world.hosts.iter().enumerate().map(|(i, h)| match &h.machine {
        None => format!("{i}: down"),
        Some(m) => format!(
            "{i}: {:?} {} {:?} entries={} members={} up={} health={} key={} calls={} commands={}",
            m.me(),
            if h.joined { "joined" } else { "alone" },
            m.counters(),
            m.replica().entries().count(),
            m.replica().members().count(),
            m.up().len(),
            m.health(),
            m.key_number(),
            h.calls,
            h.commands,
        ),
    });
    let hosts: Vec<String> = hosts.collect();
    format!(
        "at {:?}, {} leaving, {} jobs\n  {}",
        world.now,
        world.leaving.len(),
        world.jobs.len(),
        hosts.join("\n  ")
    )
}
