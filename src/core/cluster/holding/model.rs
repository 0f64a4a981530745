//! Hosts that share a small space while everything that may go wrong does:
//! entries of any age in any order and number, answers that get lost, hosts that
//! crash, die, or are removed while they are not dead at all.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LAST: u128 = 63;

#[derive(Clone, Debug)]
enum Step {
    /// Wants something of another, who hears of it; the answer is the entry.
    Ask { who: usize, giver: usize, want: Want },
    /// Hears an entry, `age` versions old.
    Hear { who: usize, of: usize, age: usize },
    /// Uses its lowest free number.
    Allocate { who: usize },
    /// Releases one of its numbers.
    Release { who: usize, which: usize },
    /// Restarts: what it stored is there, a vote under way is not.
    Restart { who: usize },
    /// Never comes back, people say.
    Die { who: usize },
    /// Begins to remove those of the dead that `mask` selects.
    Propose { who: usize, mask: u8 },
    /// Is asked by who wants to remove others.
    Promise { who: usize, to: usize },
    /// Removes the dead when all have promised.
    Remove { who: usize },
    /// Gives up removing; some do not hear of it.
    Abandon { who: usize, mask: u8 },
}

fn steps() -> impl Strategy<Value = Step> {
    let host = || 0usize..6;
    let want = prop_oneof![
        (0..=LAST, 0u128..8)
            .prop_map(|(first, len)| Want::Exactly(Range { first, last: first + len })),
        (0..=LAST, 0u128..64, 0u8..3).prop_map(|(first, len, align)| Want::Within(
            Range { first, last: first + len },
            align
        )),
        Just(Want::Within(Range { first: 0, last: LAST }, 0)),
    ];
    let age = prop_oneof![3 => Just(0), 1 => 0usize..12];
    prop_oneof![
        6 => (host(), host(), want).prop_map(|(who, giver, want)| Step::Ask { who, giver, want }),
        12 => (host(), host(), age).prop_map(|(who, of, age)| Step::Hear { who, of, age }),
        3 => host().prop_map(|who| Step::Allocate { who }),
        1 => (host(), 0usize..64).prop_map(|(who, which)| Step::Release { who, which }),
        1 => host().prop_map(|who| Step::Restart { who }),
        1 => host().prop_map(|who| Step::Die { who }),
        2 => (host(), any::<u8>()).prop_map(|(who, mask)| Step::Propose { who, mask }),
        10 => (host(), host()).prop_map(|(who, to)| Step::Promise { who, to }),
        4 => host().prop_map(|who| Step::Remove { who }),
        1 => (host(), any::<u8>()).prop_map(|(who, mask)| Step::Abandon { who, mask }),
    ]
}

#[derive(Default)]
struct Host {
    holding: Holding,
    used: BTreeSet<u128>,
    /// The newest version that it has of others' entries.
    known: BTreeMap<usize, usize>,
    /// Of whom it takes nothing and to whom it gives nothing, and to whom it promised that.
    promised: BTreeMap<usize, BTreeSet<usize>>,
    vote: Option<Vote>,
}

struct Vote {
    dead: BTreeSet<usize>,
    answers: BTreeMap<usize, Holding>,
    /// The newest version of the entries of the dead that anyone knows.
    newest: BTreeMap<usize, usize>,
}

struct World {
    hosts: Vec<Host>,
    /// All versions of everybody's entry.
    history: Vec<Vec<Holding>>,
    /// What their authors knew of others when they wrote them.
    based_on: Vec<Vec<BTreeMap<usize, usize>>>,
    /// Said to be dead.
    dead: BTreeSet<usize>,
    /// Removed: what it holds does not count any more.
    gone: BTreeSet<usize>,
    /// Whether the dead are alive.
    undead: bool,
}

fn id(host: usize) -> NodeId {
    NodeId([host as u8; 32])
}

fn number(id: NodeId) -> usize {
    id.0[0].into()
}

impl World {
    fn new(hosts: usize, undead: bool) -> World {
        let mut all: Vec<Host> = (0..hosts).map(|_| Host::default()).collect();
        all[0].holding = Holding::whole(Range { first: 0, last: LAST });
        // Who joins is told everything.
        for host in &mut all {
            host.known = (0..hosts).map(|other| (other, 0)).collect();
        }
        World {
            history: all.iter().map(|h| vec![h.holding.clone()]).collect(),
            based_on: all.iter().map(|h| vec![h.known.clone()]).collect(),
            hosts: all,
            dead: BTreeSet::new(),
            gone: BTreeSet::new(),
            undead,
        }
    }

    fn acts(&self, who: usize) -> bool {
        who < self.hosts.len() && (self.undead || !self.dead.contains(&who))
    }

    fn publish(&mut self, who: usize) {
        self.history[who].push(self.hosts[who].holding.clone());
        self.based_on[who].push(self.hosts[who].known.clone());
    }

    /// Whether `who` knows that `other` has been removed.
    fn knows_gone(&self, who: usize, other: usize) -> bool {
        let host = &self.hosts[who];
        let known = host.known.iter().map(|(of, version)| &self.history[*of][*version]);
        known.chain([&host.holding]).any(|h| h.has_inherited(id(other)))
    }

    fn shuns(&self, who: usize, other: usize) -> bool {
        self.hosts[who].promised.contains_key(&other) || self.knows_gone(who, other)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Ask { who, giver, want } => self.ask(who, giver, want),
            Step::Hear { who, of, age } => self.hear(who, of, age),
            Step::Allocate { who } if self.acts(who) => {
                let host = &mut self.hosts[who];
                host.used.extend(host.holding.free(&used(&host.used)).lowest());
            }
            Step::Release { who, which } if self.acts(who) => {
                let host = &mut self.hosts[who];
                if let Some(number) = host.used.iter().nth(which % host.used.len().max(1)) {
                    host.used.remove(&number.clone());
                }
            }
            Step::Restart { who } if self.acts(who) => self.hosts[who].vote = None,
            Step::Die { who }
                if who < self.hosts.len() && self.dead.len() + 1 < self.hosts.len() =>
            {
                self.dead.insert(who);
            }
            Step::Propose { who, mask } => self.propose(who, mask),
            Step::Promise { who, to } => self.promise(who, to),
            Step::Remove { who } => self.remove(who),
            Step::Abandon { who, mask } => self.abandon(who, mask),
            _ => {}
        }
    }

    fn ask(&mut self, who: usize, giver: usize, want: Want) {
        if !self.acts(giver) || who >= self.hosts.len() || who == giver || self.shuns(giver, who) {
            return;
        }
        let host = &mut self.hosts[giver];
        let before = host.holding.last_gift;
        host.holding.grant(id(who), want, &used(&host.used));
        if host.holding.last_gift != before {
            self.publish(giver);
        }
    }

    fn hear(&mut self, who: usize, of: usize, age: usize) {
        if !self.acts(who) || of >= self.hosts.len() || who == of {
            return;
        }
        let versions = self.history[of].len();
        let version = versions - 1 - age % versions;
        let theirs = self.history[of][version].clone();
        learn(&mut self.hosts[who].known, &BTreeMap::from([(of, version)]));
        // Without this rule numbers can get lost, but still have no two owners.
        if !self.undead {
            learn(&mut self.hosts[who].known, &self.based_on[of][version]);
        }
        let shunned = self.shuns(who, of);
        let holding = &mut self.hosts[who].holding;
        let taken = !shunned && holding.take(id(who), id(of), &theirs);
        if holding.settle(id(of), &theirs, id(who)) || taken {
            self.publish(who);
        }
    }

    /// Promises `to` to shun the dead, unless that could contradict another promise.
    fn may_promise(&mut self, who: usize, to: usize, dead: &BTreeSet<usize>) -> bool {
        let free =
            !self.shuns(who, to)
                && dead.iter().flat_map(|d| self.hosts[who].promised.get(d)).flatten().all(
                    |other| *other == to || dead.contains(other) || self.knows_gone(who, *other),
                );
        if free {
            for d in dead {
                self.hosts[who].promised.entry(*d).or_default().insert(to);
            }
        }
        free
    }

    fn propose(&mut self, who: usize, mask: u8) {
        let selected = |d: &usize| *d != who && mask & (1 << d) != 0;
        let dead: BTreeSet<usize> = self.dead.iter().copied().filter(selected).collect();
        let free = self.acts(who) && !dead.is_empty() && self.hosts[who].vote.is_none();
        if free && self.may_promise(who, who, &dead) {
            let (answers, newest) = (BTreeMap::new(), self.hosts[who].known.clone());
            self.hosts[who].vote = Some(Vote { dead, answers, newest });
        }
    }

    fn promise(&mut self, who: usize, to: usize) {
        if !self.acts(who) || !self.acts(to) || who == to {
            return;
        }
        let Some(dead) = self.hosts[to].vote.as_ref().map(|v| v.dead.clone()) else { return };
        if dead.contains(&who) || !self.may_promise(who, to, &dead) {
            return;
        }
        let (answer, known) = (self.hosts[who].holding.clone(), self.hosts[who].known.clone());
        if let Some(vote) = &mut self.hosts[to].vote {
            vote.answers.insert(who, answer);
            learn(&mut vote.newest, &known);
        }
    }

    fn remove(&mut self, who: usize) {
        let Some(vote) = self.hosts.get(who).and_then(|h| h.vote.as_ref()) else { return };
        let missing = (0..self.hosts.len())
            .filter(|m| *m != who && !vote.dead.contains(m) && !vote.answers.contains_key(m));
        if !self.acts(who) || missing.into_iter().any(|m| !self.knows_gone(who, m)) {
            return;
        }
        let known = vote.dead.iter().filter_map(|d| {
            let version = vote.newest.get(d).max(self.hosts[who].known.get(d))?;
            Some((id(*d), self.history[*d][*version].clone()))
        });
        let answers = vote.answers.iter().map(|(n, h)| (id(*n), h.clone()));
        let all: BTreeMap<NodeId, Holding> = answers.chain(known).collect();
        let dead: Vec<NodeId> = vote.dead.iter().map(|d| id(*d)).collect();
        self.hosts[who].vote = None;
        if self.hosts[who].holding.inherit(id(who), &dead, &all) {
            self.publish(who);
        }
        if !self.gone.contains(&who) {
            self.gone.extend(dead.into_iter().map(number));
        }
    }

    fn abandon(&mut self, who: usize, mask: u8) {
        if !self.acts(who) || self.hosts[who].vote.take().is_none() {
            return;
        }
        for (number, host) in self.hosts.iter_mut().enumerate() {
            if number == who || mask & (1 << number) != 0 {
                host.promised.values_mut().for_each(|to| {
                    to.remove(&who);
                });
                host.promised.retain(|_, to| !to.is_empty());
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut owned = [None; LAST as usize + 1];
        for (who, host) in self.hosts.iter().enumerate().filter(|(n, _)| !self.gone.contains(n)) {
            let under_way = host.holding.given.iter().filter(|gift| {
                let taker = &self.hosts[number(gift.to)].holding;
                !self.gone.contains(&number(gift.to)) && !taker.has_taken(id(who), gift)
            });
            for range in host.holding.ranges.iter().chain(under_way.map(|g| g.range)) {
                for number in range.first..=range.last {
                    let other = owned[number as usize].replace(who);
                    prop_assert_eq!(other, None, "{} is also host {}'s", number, who);
                }
            }
            for number in &host.used {
                prop_assert!(host.holding.ranges.contains(*number), "{number} of {who} is not its");
            }
        }
        // Who gives and takes after its removal does so to nobody's good.
        if !self.undead {
            prop_assert!(owned.iter().all(Option::is_some), "something is lost");
        }
        Ok(())
    }

    /// All the dead are removed and everybody hears everything.
    fn rest(&mut self) {
        let live: Vec<usize> = (0..self.hosts.len()).filter(|n| !self.dead.contains(n)).collect();
        (0..self.hosts.len()).for_each(|who| self.abandon(who, u8::MAX));
        for host in &mut self.hosts {
            host.promised.clear();
        }
        for _ in 0..3 {
            for (who, of) in live.iter().flat_map(|who| live.iter().map(move |of| (*who, *of))) {
                self.hear(who, of, 0);
            }
            self.propose(live[0], u8::MAX);
            live.iter().for_each(|who| self.promise(*who, live[0]));
            self.remove(live[0]);
        }
    }
}

fn learn(known: &mut BTreeMap<usize, usize>, more: &BTreeMap<usize, usize>) {
    for (of, version) in more {
        let newest = known.entry(*of).or_default();
        *newest = (*newest).max(*version);
    }
}

fn used(numbers: &BTreeSet<u128>) -> Ranges {
    numbers.iter().map(|n| Range { first: *n, last: *n }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_is_owned_twice_and_nothing_is_lost(
        hosts in 2usize..=6,
        undead: bool,
        steps in prop::collection::vec(steps(), 0..250),
    ) {
        let mut world = World::new(hosts, undead);
        for step in &steps {
            world.step(step);
            world.check()?;
        }
        if !undead {
            world.rest();
            world.check()?;
            for (who, host) in world.hosts.iter().enumerate() {
                let settled = world.dead.contains(&who) || host.holding.given.is_empty();
                prop_assert!(settled, "host {} still gives {:?}", who, host.holding.given);
            }
            prop_assert_eq!(&world.gone, &world.dead);
        }
    }
}
