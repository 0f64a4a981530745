//! A few machines with virtual time. Whatever is sent arrives at once, but to or
//! from who is cut off.

mod absent;
mod estate;
mod introduction;
mod members;
mod parts;
mod paths;
mod removal;
mod shares;
mod vips;

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::core::cluster::entry::{Body, EndpointBody, Member, Space, Version};
use crate::core::cluster::holding::{Holding, Range, Want};
use crate::core::cluster::replica::Refusal;
use crate::core::ipam::Pool;
use crate::core::tables::{Id, Network};
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn identity(n: usize) -> Identity {
    Identity::from_seed(&[n as u8 + 1; 32])
}

fn id(n: usize) -> NodeId {
    identity(n).id()
}

fn control(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 7946))
}

/// A question for a share by who does not say what it holds.
fn share(space: Space, want: Want) -> Request {
    Request::Share { space, want, entries: Vec::new() }
}

fn node(n: usize) -> Node {
    Node {
        name: format!("n{n}"),
        vtep: control(n).ip(),
        control: control(n),
        mtu: 1500,
        program: "1".into(),
        floor: Version(0),
        exchange: [0; 32],
        renounced: Default::default(),
    }
}

fn network(n: u8) -> Network {
    let net = format!("10.{n}.0.0/24").parse().unwrap();
    Network {
        id: Id::new([n; 32]),
        name: format!("net{n}"),
        created: String::new(),
        vni: Vni::new(4096 + u32::from(n)).unwrap(),
        mtu: None,
        pools: vec![Pool { net, gateway: IpAddr::from([10, n, 0, 1]), range: None }],
        internal: false,
        options: Default::default(),
        labels: Default::default(),
    }
}

/// Hosts 0, 1, ...: those that run, and who is cut off.
struct Mesh {
    now: Now,
    /// Of everything random.
    seed: u8,
    hosts: Vec<Machine>,
    cut: BTreeSet<usize>,
    /// These and the others do not hear each other.
    apart: BTreeSet<usize>,
    /// How removals ended.
    removals: Vec<Result<(), String>>,
    /// What each host was told last of the paths from it.
    paths: BTreeMap<(usize, IpAddr), Option<u16>>,
    /// All datagrams that were delivered, and to whom.
    sent: Vec<(usize, Vec<u8>)>,
}

impl Mesh {
    /// So many hosts, of which the first has admitted the others.
    fn new(n: usize) -> Mesh {
        Mesh::seeded(n, 0)
    }

    fn seeded(n: usize, seed: u8) -> Mesh {
        let mut mesh = Mesh {
            now: ms(1000),
            seed,
            hosts: Vec::new(),
            cut: BTreeSet::new(),
            apart: BTreeSet::new(),
            removals: Vec::new(),
            paths: BTreeMap::new(),
            sent: Vec::new(),
        };
        (0..n).for_each(|n| mesh.join(0, n));
        mesh.run(3000);
        for host in &mesh.hosts {
            assert_eq!(host.up().len(), n - 1, "{host:?}");
        }
        mesh
    }

    fn machine(&self, n: usize, generation: u64, entries: Vec<Entry>) -> Machine {
        let start = Start { identity: identity(n), node: node(n), generation, entries };
        let mut session = [n as u8; 16];
        session[0] = generation as u8;
        Machine::new(self.now, start, Settings::default(), [self.seed + n as u8; 32], session)
    }

    /// The next host, which `by` admits; the first founds the cluster.
    fn join(&mut self, by: usize, n: usize) {
        let mut entries = Vec::new();
        if n > 0 {
            let alone = self.machine(n, 1, Vec::new());
            let own = alone.replica().entry(&Key::Node(id(n))).cloned();
            let exchange = identity(n).exchange_public();
            let request = Request::Join { exchange, entries: own.into_iter().collect() };
            let Response::Entries(answer) = self.hosts[by].admit(self.now, id(n), request) else {
                panic!("not admitted");
            };
            entries = answer;
        }
        let machine = self.machine(n, 2, entries);
        self.hosts.push(machine);
    }

    fn restart(&mut self, n: usize) {
        let entries = self.hosts[n].replica().entries().cloned().collect();
        self.hosts[n] = self.machine(n, 3, entries);
    }

    /// Who hears a host at an address.
    fn at(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let island = |n: &usize| self.apart.contains(n);
        let hears = |n: &usize| !self.cut.contains(n) && island(n) == island(&from);
        let found = (0..self.hosts.len()).find(|n| control(*n) == to);
        found.filter(|to| hears(to) && hears(&from))
    }

    /// Delivers until nobody has anything more to say at this moment.
    fn drain(&mut self) {
        loop {
            let mut quiet = true;
            for n in 0..self.hosts.len() {
                while let Some(output) = self.hosts[n].output() {
                    quiet = false;
                    self.deliver(n, output);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn deliver(&mut self, from: usize, output: Output) {
        match output {
            Output::Datagram { to, bytes } => {
                if let Some(to) = self.at(from, to) {
                    self.sent.push((to, bytes.clone()));
                    self.hosts[to].datagram(self.now, &mut bytes.clone());
                }
            }
            Output::Call { id: call, at, request, .. } => {
                let to = self.at(from, at);
                let response = to.and_then(|to| self.ask(from, to, request));
                self.hosts[from].answered(self.now, call, response);
            }
            Output::Removal(result) => self.removals.push(result),
            Output::PathMtu { vtep, mtu } => {
                self.paths.insert((from, vtep), mtu);
            }
            Output::Visible => {}
        }
    }

    /// Who does not know the other hangs up.
    fn ask(&mut self, from: usize, to: usize, request: Request) -> Option<Response> {
        let exchange = identity(from).exchange_public();
        if let Request::Introduction(chain) = request {
            self.hosts[to].introduced(self.now, &exchange, chain);
            return Some(Response::Done);
        }
        self.hosts[to].peer_by_exchange(&exchange)?;
        Some(self.hosts[to].request(self.now, id(from), request))
    }

    fn run(&mut self, millis: u64) {
        let end = self.now + ms(millis);
        while self.now < end {
            self.now += ms(10);
            for n in 0..self.hosts.len() {
                if self.hosts[n].due() <= self.now {
                    self.hosts[n].tick(self.now);
                }
            }
            self.drain();
        }
    }

    fn refused(&self, n: usize) -> u64 {
        self.hosts[n].counters().refused.values().sum()
    }

    fn digests(&self, n: usize) -> Vec<(super::super::entry::Realm, u64)> {
        self.hosts[n].replica().digests().collect()
    }

    fn owned(&self, who: usize, of: usize, space: Space) -> Option<&Holding> {
        match self.hosts[who].replica().get(&Key::Holding(id(of), space))? {
            Body::Holding(holding) => Some(holding),
            _ => None,
        }
    }

    /// Nothing of a space is in the own ranges of two whom host 0 takes for members;
    /// how much there is.
    fn check(&self, space: Space) -> u128 {
        let mut all = super::super::holding::Ranges::default();
        let mut total = 0;
        for (n, host) in self.hosts.iter().enumerate() {
            let Some(own) = self.owned(n, n, space) else { continue };
            if !self.hosts[0].replica().is_member(&host.me()) {
                continue;
            }
            assert!(all.intersect(&own.ranges).is_empty(), "owned twice");
            all = all.union(&own.ranges);
            total += own.ranges.count();
        }
        total
    }
}

const POOL: Space = Space::Pool([1; 32], 0);

/// Addresses of network 1, as numbers.
fn addresses(first: u128, last: u128) -> Range {
    let base = u128::from(u32::from_be_bytes([10, 1, 0, 0]));
    Range { first: base + first, last: base + last }
}

#[test]
fn a_network_is_known_to_all_within_a_second() {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[2].publish_network(now, &network(1));
    let body = EndpointBody {
        name: "c".into(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        addresses: vec![IpAddr::from([10, 1, 0, 2])],
        aliases: Vec::new(),
        service: None,
        created: String::new(),
    };
    mesh.hosts[2].publish_endpoint(now, &network(1).id, &Id::new([5; 32]), body);
    mesh.run(1000);
    for host in &mesh.hosts {
        assert_eq!(host.networks().collect::<Vec<_>>(), [&network(1)]);
        assert_eq!(host.endpoints().count(), 1);
        assert_eq!(host.used(Space::Vni).count(), 1);
        assert_eq!(host.used(POOL).count(), 4, "the endpoint's, and three reserved");
    }
    mesh.run(10_000);
    assert_eq!(mesh.digests(0), mesh.digests(1));
    assert_eq!(mesh.digests(1), mesh.digests(2));
    let now = mesh.now;
    mesh.hosts[2].withdraw_endpoint(now, &network(1).id, &Id::new([5; 32]));
    mesh.hosts[0].withdraw_network(now, &network(1).id);
    mesh.run(1000);
    for (n, host) in mesh.hosts.iter().enumerate() {
        assert_eq!((host.networks().count(), host.endpoints().count()), (0, 0));
        assert!(mesh.owned(n, 2, POOL).is_none(), "its owner lets go of the addresses");
        assert_eq!(mesh.refused(n), 0, "{:?}", host.counters());
    }
}

/// Host 1 has all keys of the cluster, and writes what it likes.
#[test]
fn a_hostile_member_cannot_bring_an_encrypted_network_into_the_open() {
    let mut mesh = Mesh::new(2);
    let now = mesh.now;
    let options = BTreeMap::from([("encrypted".to_owned(), String::new())]);
    let sealed = Network { id: Id::of_network([1; 32], true), options, ..network(1) };
    mesh.hosts[0].publish_network(now, &sealed);
    mesh.run(1000);
    let opened = Network { options: BTreeMap::new(), ..sealed.clone() };
    mesh.hosts[1].publish_network(now, &opened);
    mesh.run(10_000);
    assert_eq!(mesh.hosts[1].networks().collect::<Vec<_>>(), [&opened], "so it was told");
    assert_eq!(mesh.hosts[0].networks().collect::<Vec<_>>(), [&sealed]);
    let refused = mesh.hosts[0].replica().refused();
    assert!(refused[&(id(1), Refusal::EncryptionChanged)] > 0, "{refused:?}");
    // Deleting it first does not help.
    let now = mesh.now;
    mesh.hosts[1].withdraw_network(now, &sealed.id);
    mesh.run(1000);
    assert_eq!(mesh.hosts[0].networks().count(), 0);
    let now = mesh.now;
    mesh.hosts[1].publish_network(now, &opened);
    mesh.run(10_000);
    assert_eq!(mesh.hosts[0].networks().count(), 0);
}

#[test]
fn keys_turn_without_a_refused_datagram() {
    let mut mesh = Mesh::new(3);
    let now = mesh.now;
    mesh.hosts[1].rotate_key(now);
    // Once more before the first is used: nobody may be two behind.
    mesh.hosts[1].rotate_key(now);
    mesh.run(8000);
    assert!(mesh.hosts.iter().all(|h| h.key_number() == 1), "known to all before it is used");
    mesh.run(10_000);
    assert!(mesh.hosts.iter().all(|h| h.key_number() == 2));
    mesh.run(17_000);
    assert!(mesh.hosts.iter().all(|h| h.key_number() == 3));
    for n in 0..3 {
        assert_eq!(mesh.refused(n), 0, "{:?}", mesh.hosts[n].counters());
        assert_eq!(mesh.hosts[n].up().len(), 2);
    }
}

#[test]
fn a_host_that_missed_two_keys_comes_back() {
    let mut mesh = Mesh::new(3);
    mesh.cut.insert(2);
    for _ in 0..4 {
        let now = mesh.now;
        mesh.hosts[0].rotate_key(now);
        mesh.run(20_000);
    }
    let keys: Vec<u32> = mesh.hosts.iter().map(Machine::key_number).collect();
    assert_eq!(keys, [5, 5, 1]);
    assert_eq!(mesh.hosts[0].up(), [id(1)]);
    mesh.cut.clear();
    mesh.run(20_000);
    for host in &mesh.hosts {
        assert_eq!(host.up().len(), 2, "{host:?}");
    }
    mesh.run(20_000);
    assert_eq!(mesh.hosts[2].key_number(), 5);
    assert_eq!(mesh.digests(0), mesh.digests(2));
}

#[test]
fn islands_whose_keys_differ_find_each_other_soon() {
    for seed in 0..4 {
        let mut mesh = Mesh::seeded(6, 10 * seed);
        mesh.apart = [3, 4, 5].into();
        for _ in 0..3 {
            let now = mesh.now;
            mesh.hosts[0].rotate_key(now);
            mesh.run(20_000);
        }
        let keys: Vec<u32> = mesh.hosts.iter().map(Machine::key_number).collect();
        assert_eq!(keys, [4, 4, 4, 1, 1, 1]);
        assert!(mesh.hosts.iter().all(|host| host.up().len() == 2));
        mesh.apart.clear();
        mesh.run(6000);
        for (n, host) in mesh.hosts.iter().enumerate() {
            assert_eq!(host.up().len(), 5, "{n}: {:?}", host.counters());
            assert_eq!(mesh.digests(n), mesh.digests(0), "{n}");
        }
    }
}

/// Most of the lost never come back, and none of them is asked twice before the others.
#[test]
fn islands_find_each_other_among_the_dead() {
    for seed in 0..4 {
        let mut mesh = Mesh::seeded(10, 10 * seed);
        mesh.cut = (6..10).collect();
        mesh.apart = [3, 4, 5].into();
        for _ in 0..3 {
            let now = mesh.now;
            mesh.hosts[0].rotate_key(now);
            mesh.run(20_000);
        }
        assert!(mesh.hosts[..6].iter().all(|host| host.up().len() == 2));
        mesh.apart.clear();
        mesh.run(9000);
        for (n, host) in mesh.hosts[..6].iter().enumerate() {
            assert_eq!(host.up().len(), 5, "{n}: {:?}", host.counters());
        }
    }
}

#[test]
fn news_is_told_on_at_once() {
    let mut mesh = Mesh::new(10);
    mesh.run(10_000);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    mesh.run(50);
    let know = mesh.hosts.iter().filter(|host| host.networks().count() == 1).count();
    assert!(know >= 8, "{know}");
}

#[test]
fn between_two_tellings_is_a_pause() {
    let mut mesh = Mesh::new(2);
    mesh.run(10_000);
    let (now, pause) = (mesh.now, Settings::default().gossip_pause);
    let host = &mut mesh.hosts[0];
    host.publish_network(now, &network(1));
    assert!(host.due() <= now);
    host.tick(now);
    host.publish_network(now, &network(2));
    assert_eq!(host.next_gossip, now + pause);
}

#[test]
fn a_new_token_is_everybodys() {
    let mut mesh = Mesh::new(2);
    let old = mesh.hosts[0].token().cloned();
    assert_eq!(mesh.hosts[1].token().cloned(), old);
    let now = mesh.now;
    mesh.hosts[1].rotate_token(now);
    mesh.run(1000);
    assert_ne!(mesh.hosts[0].token().cloned(), old);
    assert_eq!(mesh.hosts[0].token(), mesh.hosts[1].token());
}

#[test]
fn a_mute_host_tells_nothing_new() {
    let mut mesh = Mesh::new(2);
    mesh.run(10_000);
    mesh.hosts[0].set_mute(true);
    let now = mesh.now;
    mesh.hosts[0].publish_network(now, &network(1));
    mesh.run(20_000);
    assert_eq!(mesh.hosts[1].networks().count(), 0);
    assert!(mesh.hosts[1].is_up(&id(0)), "it still answers probes");
    let request = mesh.hosts[1].replica().ask_digests(None);
    let now = mesh.now;
    assert!(matches!(mesh.hosts[0].request(now, id(1), request), Response::Refused(_)));
    let own = identity(7).sign_entry(Key::Node(id(7)), Version(1), Some(Body::Node(node(7))));
    let join = Request::Join { exchange: [0; 32], entries: vec![own] };
    assert!(matches!(mesh.hosts[0].admit(now, id(7), join), Response::Refused(_)));
    assert!(mesh.hosts[0].remove(now, vec![id(1)]).is_err());
    assert!(mesh.hosts[0].farewell().is_err());
    mesh.hosts[0].set_mute(false);
    mesh.run(6000);
    assert_eq!(mesh.hosts[1].networks().count(), 1);
}

#[test]
fn a_failed_sync_is_followed_by_another_soon_but_not_by_many() {
    let mut mesh = Mesh::new(2);
    mesh.run(10_000);
    let failed = |mesh: &Mesh| mesh.hosts[0].counters().failed_syncs;
    assert_eq!(failed(&mesh), 0);
    // It is up, and refuses.
    mesh.hosts[1].set_mute(true);
    mesh.run(30_000);
    let refused = failed(&mesh);
    assert!((20..=50).contains(&refused), "{refused}");
    // It is gone: it is looked for every two seconds, besides the usual syncs.
    mesh.cut.insert(1);
    mesh.run(20_000);
    let before = failed(&mesh);
    mesh.run(60_000);
    let lost = failed(&mesh) - before;
    assert!((30..=60).contains(&lost), "{lost}");
}

#[test]
fn strangers_change_nothing_and_are_counted() {
    let mut mesh = Mesh::new(2);
    let mut other = Mesh::seeded(2, 100);
    let before = (mesh.digests(0), mesh.hosts[0].up());
    let sent: Vec<Vec<u8>> =
        mesh.sent.iter().filter(|(to, _)| *to == 0).map(|(_, bytes)| bytes.clone()).collect();
    let taken = mesh.hosts[0].counters().datagrams;
    let (now, mut tried) = (mesh.now, 0);
    let mut send = |bytes: &[u8]| {
        mesh.hosts[0].datagram(now, &mut bytes.to_vec());
        assert!(mesh.hosts[0].output().is_none(), "no answer");
        tried += 1;
    };
    sent.iter().for_each(|bytes| send(bytes));
    for bytes in sent.iter().take(20) {
        send(&bytes[..bytes.len() / 2]);
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 3] ^= 1;
        send(&flipped);
    }
    other.sent.drain(..).for_each(|(_, bytes)| send(&bytes));
    (0..200).for_each(|n| send(&vec![n as u8; n]));
    assert_eq!(mesh.refused(0), tried);
    assert_eq!(mesh.hosts[0].counters().datagrams, taken);
    assert_eq!((mesh.digests(0), mesh.hosts[0].up()), before);
    // Over a connection, a key that is no member's.
    let now = mesh.now;
    let answer = mesh.hosts[0].request(now, NodeId([9; 32]), Request::Ping);
    assert!(matches!(answer, Response::Refused(_)));
}

#[test]
fn only_who_says_who_it_is_is_admitted() {
    let mut mesh = Mesh::new(2);
    let now = mesh.now;
    // As the nodes of these tests have it.
    let (exchange, newcomer) = ([0; 32], id(7));
    let of = |n: usize, name: usize| {
        identity(n).sign_entry(Key::Node(id(n)), Version(1), Some(Body::Node(node(name))))
    };
    let forged = Entry { author: newcomer, key: Key::Node(newcomer), ..of(8, 8) };
    for (entries, part) in [
        (Vec::new(), "nothing of who asks"),
        (vec![of(8, 8)], "nothing of who asks"),
        (vec![forged], "cannot be true"),
        (vec![of(7, 1)], "n1 is a member already"),
    ] {
        let join = Request::Join { exchange, entries };
        let Response::Refused(why) = mesh.hosts[0].admit(now, newcomer, join) else { panic!() };
        assert!(why.contains(part), "{why}");
        assert!(!mesh.hosts[0].replica().is_member(&newcomer), "{part}");
    }
    let Response::Refused(_) = mesh.hosts[0].admit(now, newcomer, Request::Ping) else { panic!() };
    let member = mesh.hosts[0].request(now, id(1), Request::Join { exchange, entries: Vec::new() });
    assert!(matches!(member, Response::Refused(_)));
    let join = Request::Join { exchange, entries: vec![of(7, 7)] };
    assert!(matches!(mesh.hosts[0].admit(now, newcomer, join), Response::Entries(_)));
    let admitted = Body::Member(Member::Admitted { exchange });
    assert_eq!(mesh.hosts[0].replica().get(&Key::Member(newcomer)), Some(&admitted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn addresses_are_never_owned_twice(
        steps in proptest::collection::vec((0usize..3, 0usize..3, 0u128..256, any::<bool>()), 1..20),
    ) {
        let mut mesh = Mesh::new(3);
        let now = mesh.now;
        mesh.hosts[0].publish_network(now, &network(1));
        mesh.run(1000);
        for (giver, taker, at, lost) in steps {
            if giver == taker {
                // Cut off, or back again.
                if !mesh.cut.remove(&giver) {
                    mesh.cut.insert(giver);
                }
                mesh.run(300);
                continue;
            }
            let want = Want::Exactly(addresses(at, at));
            let now = mesh.now;
            let answer = mesh.hosts[giver].request(now, id(taker), share(POOL, want));
            if !lost {
                let _ = mesh.hosts[taker].absorb(now, id(giver), answer);
            }
            mesh.run(100);
            mesh.check(POOL);
        }
        mesh.cut.clear();
        mesh.run(20_000);
        prop_assert_eq!(mesh.check(POOL), 256);
    }
}

#[test]
fn the_same_run_is_the_same() {
    let run = || {
        let mut mesh = Mesh::new(3);
        let now = mesh.now;
        mesh.hosts[1].publish_network(now, &network(1));
        mesh.run(5000);
        mesh.sent
    };
    let sent = run();
    assert!(sent == run());
    let mut count: BTreeMap<usize, usize> = BTreeMap::new();
    sent.iter().for_each(|(to, _)| *count.entry(*to).or_default() += 1);
    assert_eq!(count.len(), 3);
}
