mod large;
mod members;
mod services;

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::entry::{EndpointBody, Member, Pools, Secret, brief};
use super::super::holding::{Holding, Range};
use super::super::rpc::{MAX_MESSAGE, Request, Response};
use super::*;
use crate::core::ipam::Pool;
use crate::core::tables::{Id, Network};
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn id(n: u8) -> NodeId {
    identity(n).id()
}

fn node(name: &str) -> Body {
    Body::Node(Node {
        name: name.into(),
        vtep: IpAddr::from([192, 0, 2, 1]),
        control: "192.0.2.1:7946".parse().unwrap(),
        mtu: 1500,
        program: "1".into(),
        floor: Version(0),
        exchange: [0; 32],
        renounced: Default::default(),
    })
}

fn admitted(n: u8) -> Body {
    Body::Member(Member::Admitted { exchange: identity(n).exchange_public() })
}

fn removed(heir: u8) -> Body {
    Body::Member(Member::Removed { heir: id(heir), exchange: [0; 32], kept: BTreeSet::new() })
}

fn network(n: u8, name: &str) -> Body {
    let net = format!("10.{n}.0.0/24").parse().unwrap();
    Body::Network(Network {
        id: Id::new([n; 32]),
        name: name.into(),
        created: "2024-05-01T00:00:00Z".into(),
        vni: Vni::new(4096).unwrap(),
        mtu: None,
        pools: vec![Pool { net, gateway: IpAddr::from([10, n, 0, 1]), range: None }],
        internal: false,
        options: Default::default(),
        labels: Default::default(),
    })
}

fn endpoint(host: u8) -> Body {
    Body::Endpoint(EndpointBody {
        name: "c".into(),
        mac: Mac([2, 0, 0, 0, 0, host]),
        addresses: vec![IpAddr::from([10, 0, 0, host])],
        aliases: Vec::new(),
        service: None,
        created: String::new(),
    })
}

fn holding(first: u128) -> Body {
    Body::Holding(Holding::whole(Range { first, last: first + 9 }))
}

fn endpoint_key(n: u8, which: u16) -> Key {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&which.to_be_bytes());
    Key::Endpoint(id(n), [1; 32], key)
}

fn all(replica: &Replica) -> Vec<Entry> {
    replica.entries().cloned().collect()
}

fn digests(replica: &Replica) -> Vec<(Realm, u64)> {
    replica.digests().collect()
}

/// Replicas of hosts 1 to `n`, all members, that know each other.
fn cluster(n: u8) -> Vec<Replica> {
    let mut replicas: Vec<Replica> = (1..=n).map(|i| Replica::new(identity(i))).collect();
    for i in 1..=n {
        replicas[0].write(Key::Member(id(i)), Some(admitted(i)));
    }
    for i in 0..replicas.len() {
        let members = all(&replicas[0]);
        replicas[i].restore(members);
        replicas[i].write(Key::Node(id(i as u8 + 1)), Some(node("n")));
        let told = all(&replicas[i]);
        replicas[0].accept(id(i as u8 + 1), told);
    }
    let known = all(&replicas[0]);
    for replica in &mut replicas[1..] {
        replica.accept(id(1), known.clone());
    }
    replicas
}

/// One whole sync; in how many rounds something was exchanged.
fn sync(a: &mut Replica, b: &mut Replica) -> usize {
    let (me, to) = (a.me(), b.me());
    let (mut rounds, mut before, mut behind) = (0, 0, None);
    loop {
        let question = a.ask_digests(behind);
        let Request::Digests { realms, .. } = &question else { panic!() };
        let part = b.answer_digests(realms, behind);
        fits(&question);
        fits(&part);
        let at = |key: Option<Key>| key.map(|key| (key.realm(), key));
        assert!(part.end.is_none() || at(behind) < at(part.end), "it goes on");
        if let Some((question, _)) = a.ask_exchange(behind, &part) {
            fits(&question);
            let Request::Exchange { entries, want } = question else { panic!() };
            let answer = b.answer_exchange(me, entries, &want);
            fits(&answer);
            let Response::Entries(entries) = answer else { panic!() };
            a.accept(to, entries);
            rounds += 1;
            assert!(rounds < 64, "no end");
        }
        behind = part.end;
        if behind.is_none() {
            if rounds == before {
                return rounds;
            }
            before = rounds;
        }
    }
}

fn fits<T: serde::Serialize>(message: &T) {
    let len = postcard::experimental::serialized_size(message).unwrap();
    assert!(len < MAX_MESSAGE, "{len} bytes");
}

fn refusals(replica: &Replica, from: u8, refusal: Refusal) -> u64 {
    replica.refused().get(&(id(from), refusal)).copied().unwrap_or(0)
}

/// What can happen between replicas.
#[derive(Clone, Debug)]
enum Step {
    Write {
        who: usize,
        what: u8,
        value: Option<u8>,
    },
    /// Rumours of one to another; lost ones are not delivered, and delivered
    /// ones may come twice, last first.
    Tell {
        from: usize,
        to: usize,
        lost: bool,
        twice: bool,
    },
    Sync {
        from: usize,
        to: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0usize..3;
    prop_oneof![
        4 => (who(), 0u8..7, any::<Option<u8>>())
            .prop_map(|(who, what, value)| Step::Write { who, what, value }),
        4 => (who(), who(), any::<bool>(), any::<bool>())
            .prop_map(|(from, to, lost, twice)| Step::Tell { from, to, lost, twice }),
        1 => (who(), who()).prop_map(|(from, to)| Step::Sync { from, to }),
    ]
}

fn write(replica: &mut Replica, who: u8, what: u8, value: Option<u8>) {
    let some = value.unwrap_or(1);
    let (key, body) = match what {
        0 => (Key::Network([1; 32]), value.map(|v| network(1, &format!("n{v}")))),
        1 => (Key::Token, Some(Body::Secret(Secret([some; 32])))),
        2 => (Key::Secret(some.into()), value.map(|v| Body::Secret(Secret([v; 32])))),
        3 => (Key::Holding(id(who), Space::Pool([1; 32], 0)), value.map(|v| holding(v.into()))),
        4 => (Key::Member(id(9)), Some(if some > 200 { removed(who) } else { admitted(9) })),
        5 => (
            Key::Pools,
            Some(Body::Pools(Pools {
                pools: vec!["10.0.0.0/8".parse().unwrap()],
                length: 8 + some % 20,
            })),
        ),
        _ => (endpoint_key(who, u16::from(some % 4)), value.map(endpoint)),
    };
    // A removed member stays so, whoever admits it.
    if key == Key::Member(id(9)) && replica.is_removed(&id(9)) {
        return;
    }
    replica.write(key, body);
}

fn pair<T>(all: &mut [T], a: usize, b: usize) -> Option<(&mut T, &mut T)> {
    let [a, b] = all.get_disjoint_mut([a, b]).ok()?;
    Some((a, b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn replicas_converge_whatever_is_lost_doubled_or_late(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut replicas = cluster(3);
        for step in steps {
            match step {
                Step::Write { who, what, value } => {
                    write(&mut replicas[who], who as u8 + 1, what, value);
                }
                Step::Tell { from, to, lost, twice } => {
                    let mut told = replicas[from].rumours(1200, 2, 1).concat();
                    if lost || from == to {
                        continue;
                    }
                    told.reverse();
                    for _ in 0..1 + u8::from(twice) {
                        replicas[to].accept(id(from as u8 + 1), told.clone());
                    }
                }
                Step::Sync { from, to } => {
                    if let Some((a, b)) = pair(&mut replicas, from, to) {
                        sync(a, b);
                    }
                }
            }
        }
        for (from, to) in [(0, 1), (1, 2), (0, 1)] {
            let (a, b) = pair(&mut replicas, from, to).unwrap();
            sync(a, b);
            prop_assert_eq!(digests(a), digests(b));
        }
        prop_assert_eq!(all(&replicas[0]), all(&replicas[1]));
        prop_assert_eq!(all(&replicas[1]), all(&replicas[2]));
        for replica in &replicas {
            prop_assert!(replica.refused().is_empty(), "{:?}", replica.refused());
        }
    }

    #[test]
    fn digests_are_equal_exactly_where_contents_are(
        a in proptest::collection::vec((0u8..7, any::<Option<u8>>()), 0..12),
        undo in 0usize..12,
    ) {
        let mut base = cluster(2);
        let (first, second) = pair(&mut base, 0, 1).unwrap();
        sync(first, second);
        for (what, value) in &a {
            write(first, 1, *what, *value);
        }
        // Some of them arrive, in another order.
        let some: Vec<Entry> = all(first).into_iter().rev().skip(undo).collect();
        second.accept(id(1), some);
        prop_assert_eq!(digests(first) == digests(second), all(first) == all(second));
        let realms: BTreeSet<Realm> = all(first).iter().map(|e| e.key.realm()).collect();
        prop_assert_eq!(digests(first).into_iter().map(|(r, _)| r).collect::<BTreeSet<_>>(), realms);
    }
}

#[test]
fn every_body_can_be_read_back() {
    let me = identity(1);
    for (key, body) in [
        (Key::Member(id(2)), admitted(2)),
        (Key::Member(id(2)), removed(1)),
        (Key::Network([1; 32]), network(1, "web")),
        (Key::Node(id(1)), node("n")),
        (endpoint_key(1, 3), endpoint(7)),
        (Key::Holding(id(1), Space::Ipv6), holding(u128::MAX - 9)),
    ] {
        let entry = me.sign_entry(key, Version(7), Some(body));
        assert_eq!(rules::shape(&entry), Ok(()));
        let bytes = postcard::to_allocvec(&entry).unwrap();
        assert_eq!(postcard::from_bytes::<Entry>(&bytes).unwrap(), entry);
    }
}

#[test]
fn only_its_owner_writes_what_it_owns() {
    let mut replicas = cluster(3);
    write(&mut replicas[0], 1, 6, Some(1));
    let (victim, evil) = (endpoint_key(1, 1), identity(3));
    let before = replicas[1].entries().count();
    for key in [victim, Key::Node(id(1)), Key::Holding(id(1), Space::Vni)] {
        let body = match key {
            Key::Node(_) => node("evil"),
            Key::Holding(..) => holding(1),
            _ => endpoint(66),
        };
        let own = evil.sign_entry(key, Version(100), Some(body));
        let gone = Entry { body: None, ..own.clone() };
        let claimed = Entry { author: id(1), ..own.clone() };
        let genuine = replicas[0].entry(&victim).unwrap().signature;
        let copied = Entry { author: id(1), signature: genuine, ..own.clone() };
        replicas[1].accept(id(3), vec![own, claimed, copied, gone]);
    }
    assert_eq!(replicas[1].entries().count(), before);
    assert_eq!(
        refusals(&replicas[1], 3, Refusal::NotTheOwner),
        5,
        "a node's own entry has no tombstone"
    );
    assert_eq!(refusals(&replicas[1], 3, Refusal::Malformed), 1);
    assert_eq!(refusals(&replicas[1], 3, Refusal::Forged), 6);
    assert_eq!(replicas[1].refused().len(), 3, "nobody else is blamed");
    // The owner itself is no easier to deceive.
    let forged = Entry { author: id(1), ..evil.sign_entry(victim, Version(100), None) };
    replicas[0].accept(id(3), vec![forged]);
    assert!(replicas[0].get(&victim).is_some());
}

#[test]
fn versions_from_the_future_do_not_move_the_clock() {
    let mut replicas = cluster(2);
    let clock = replicas[0].clock;
    for version in [clock + LEAP + 1, u64::MAX] {
        let network = identity(2).sign_entry(
            Key::Network([1; 32]),
            Version(version),
            Some(network(1, "web")),
        );
        assert_eq!(replicas[0].accept(id(2), vec![network]), 0);
    }
    assert_eq!(replicas[0].clock, clock);
    assert_eq!(refusals(&replicas[0], 2, Refusal::Future), 2);
    let edge = Version(clock + LEAP);
    let network = identity(2).sign_entry(Key::Network([1; 32]), edge, None);
    assert_eq!(replicas[0].accept(id(2), vec![network]), 1);
}

#[test]
fn what_no_entry_may_be_is_refused_and_counted() {
    let mut replicas = cluster(2);
    let evil = identity(2);
    let sign = |key, body| evil.sign_entry(key, Version(50), body);
    let mut long = match network(1, "web") {
        Body::Network(network) => network,
        _ => panic!(),
    };
    long.labels.insert("l".into(), "x".repeat(MAX_ENTRY));
    let swapped = match network(2, "web") {
        Body::Network(network) => Body::Network(Network { id: Id::new([1; 32]), ..network }),
        _ => panic!(),
    };
    let control = match node("n\u{1b}[2J") {
        Body::Node(node) => Body::Node(Node { floor: Version(9), ..node }),
        _ => panic!(),
    };
    let floor = match node("n") {
        Body::Node(node) => Body::Node(Node { floor: Version(50), ..node }),
        _ => panic!(),
    };
    let entries = vec![
        sign(Key::Network([1; 32]), Some(Body::Network(long))),
        sign(Key::Network([2; 32]), Some(swapped)),
        sign(Key::Network([1; 32]), Some(endpoint(1))),
        sign(Key::Node(id(2)), Some(control)),
        sign(Key::Node(id(2)), Some(floor)),
        sign(Key::Token, None),
        sign(Key::Member(id(1)), None),
        sign(Key::Holding(id(2), Space::Vni), Some(holding(1 << 24))),
    ];
    let before = all(&replicas[0]);
    assert_eq!(replicas[0].accept(id(2), entries), 0);
    assert_eq!(all(&replicas[0]), before);
    assert_eq!(refusals(&replicas[0], 2, Refusal::Oversize), 1);
    assert_eq!(refusals(&replicas[0], 2, Refusal::Malformed), 7);
}

/// Nobody can, whoever created it and whatever was told before: the id says it.
#[test]
fn no_member_changes_whether_a_network_is_encrypted() {
    let (plain, sealed) = (Id::of_network([1; 32], false), Id::of_network([1; 32], true));
    let told = |id: &Id, options: &[&str], version| {
        let Body::Network(network) = network(1, "web") else { panic!() };
        let options = options.iter().map(|value| ("encrypted".to_owned(), (*value).to_owned()));
        let body = Network { id: id.clone(), options: options.collect(), ..network };
        let key = Key::Network(id.bytes().unwrap());
        identity(2).sign_entry(key, Version(version), Some(Body::Network(body)))
    };
    let mut replicas = cluster(2);
    let honest = vec![told(&plain, &["false"], 50), told(&sealed, &[""], 50)];
    assert_eq!(replicas[0].accept(id(2), honest), 2);
    let before = all(&replicas[0]);
    let lies = [
        told(&sealed, &[], 51),
        told(&sealed, &["false"], 51),
        told(&sealed, &["no"], 51),
        told(&plain, &[""], 51),
        told(&plain, &["true"], 51),
    ];
    for lie in lies.clone() {
        assert_eq!(replicas[0].accept(id(2), vec![lie]), 0);
    }
    assert_eq!(refusals(&replicas[0], 2, Refusal::EncryptionChanged), 5);
    assert_eq!(all(&replicas[0]), before);
    // Nor is it believed from the disk, or from who admits us.
    let mut fresh = cluster(2).swap_remove(0);
    fresh.restore(lies);
    assert_eq!(fresh.get(&Key::Network(sealed.bytes().unwrap())), None);
    let again = vec![told(&plain, &[], 51), told(&sealed, &["true"], 51)];
    assert_eq!(replicas[0].accept(id(2), again), 2, "the same in other words");
}

#[test]
fn a_networks_id_is_written_in_one_way() {
    let key = Key::Network([0xab; 32]);
    let upper: Id = serde_json::from_value("AB".repeat(32).into()).unwrap();
    let Body::Network(network) = network(0xab, "web") else { panic!() };
    let shouted = Body::Network(Network { id: upper, ..network.clone() });
    let mut replicas = cluster(2);
    let lie = identity(2).sign_entry(key, Version(50), Some(shouted));
    assert_eq!(replicas[0].accept(id(2), vec![lie]), 0);
    assert_eq!(refusals(&replicas[0], 2, Refusal::Malformed), 1);
    let honest = identity(2).sign_entry(key, Version(50), Some(Body::Network(network)));
    assert_eq!(replicas[0].accept(id(2), vec![honest]), 1);
}

#[test]
fn one_member_cannot_fill_the_tables() {
    let mut replicas = cluster(2);
    let evil = identity(2);
    // As if it had written nearly all it may.
    replicas[0].answers_for.insert(id(2), rules::ENTRIES_PER_NODE - 1);
    let entries: Vec<Entry> =
        (0..3).map(|n| evil.sign_entry(endpoint_key(2, n), Version(50), None)).collect();
    assert_eq!(replicas[0].accept(id(2), entries), 1);
    let shared = evil.sign_entry(Key::Network([1; 32]), Version(50), Some(network(1, "web")));
    assert_eq!(replicas[0].accept(id(2), vec![shared]), 0);
    assert_eq!(refusals(&replicas[0], 2, Refusal::TooMany), 3);
    let again = evil.sign_entry(endpoint_key(2, 0), Version(51), Some(endpoint(1)));
    assert_eq!(replicas[0].accept(id(2), vec![again]), 1, "what is known can change");
}

#[test]
fn two_entries_of_one_version_converge() {
    for order in [[0, 1], [1, 0]] {
        let mut replicas = cluster(3);
        let two = ["a", "b"].map(|name| {
            identity(3).sign_entry(Key::Network([1; 32]), Version(40), Some(network(1, name)))
        });
        replicas[0].accept(id(3), vec![two[order[0]].clone()]);
        replicas[1].accept(id(3), vec![two[order[1]].clone()]);
        let (a, b) = pair(&mut replicas, 0, 1).unwrap();
        assert_ne!(digests(a), digests(b));
        sync(a, b);
        assert_eq!(all(a), all(b));
        assert_eq!(digests(a), digests(b));
    }
}

#[test]
fn a_joiner_may_be_told_of_after_what_it_says() {
    let mut replicas = cluster(2);
    let mut third = Replica::new(identity(3));
    third.write(Key::Node(id(3)), Some(node("third")));
    let own = all(&third);
    assert_eq!(replicas[1].accept(id(1), own.clone()), 0);
    assert_eq!(refusals(&replicas[1], 1, Refusal::Stranger), 1);
    replicas[0].write(Key::Member(id(3)), Some(admitted(3)));
    let admission = replicas[0].entry(&Key::Member(id(3))).unwrap().clone();
    // The third admits a fourth, whose id sorts before its own or after.
    for fourth in [4, 5, 6, 7] {
        let mut replica = Replica::new(identity(2));
        replica.restore(all(&replicas[1]));
        let chained =
            identity(3).sign_entry(Key::Member(id(fourth)), Version(30), Some(admitted(fourth)));
        let name = identity(fourth).sign_entry(Key::Node(id(fourth)), Version(31), Some(node("x")));
        let batch = vec![name, chained, own[0].clone(), admission.clone()];
        assert_eq!(replica.accept(id(1), batch), 4);
        assert!(replica.refused().is_empty());
    }
}

#[test]
fn what_was_deleted_long_ago_does_not_come_back() {
    let mut replicas = cluster(3);
    let (old, kept) = (20, u16::MAX);
    write_endpoint(&mut replicas[0], kept, true);
    (0..old).for_each(|n| write_endpoint(&mut replicas[0], n, true));
    // The third host sees all of it and goes away.
    let early = all(&replicas[0]);
    replicas[1].accept(id(1), early.clone());
    replicas[2].accept(id(1), early.clone());
    for n in 0..3 * OWN_TOMBSTONES as u16 {
        if n >= old {
            write_endpoint(&mut replicas[0], n, true);
        }
        write_endpoint(&mut replicas[0], n, false);
        loop {
            let told = replicas[0].rumours(1200, 2, 1).concat();
            if told.is_empty() {
                break;
            }
            replicas[1].accept(id(1), told);
            assert!(replicas[1].get(&endpoint_key(1, kept)).is_some(), "never hidden");
        }
    }
    let own = |r: &Replica| r.entries().filter(|e| matches!(e.key, Key::Endpoint(..))).count();
    assert!(own(&replicas[0]) <= 2 * OWN_TOMBSTONES + 1, "{}", own(&replicas[0]));
    assert!(replicas[0].node(&id(1)).unwrap().floor > Version(0));
    assert_eq!(all(&replicas[0]), all(&replicas[1]));
    assert_eq!(replicas[1].accept(id(3), early), 0, "old copies are nothing new");

    for other in [0, 1] {
        let (back, other) = pair(&mut replicas, 2, other).unwrap();
        sync(back, other);
        assert_eq!(all(back), all(other));
    }
    let live = |r: &Replica| r.live(endpoint_key(1, 0)..=endpoint_key(1, u16::MAX)).count();
    assert_eq!(replicas.iter().map(live).collect::<Vec<_>>(), [1, 1, 1]);
    for replica in &replicas {
        assert!(replica.refused().is_empty(), "{:?}", replica.refused());
    }
}

fn write_endpoint(replica: &mut Replica, n: u16, there: bool) {
    replica.write(endpoint_key(1, n), there.then(|| endpoint(7)));
}

#[test]
fn a_host_with_nothing_left_still_forgets_its_tombstones() {
    let mut replica = cluster(1).remove(0);
    for n in 0..1000 {
        write_endpoint(&mut replica, n, true);
        write_endpoint(&mut replica, n, false);
        assert!(replica.entries().count() <= OWN_TOMBSTONES + 3);
    }
}

#[test]
fn a_host_takes_back_what_it_wrote_before_it_lost_its_state() {
    let mut replicas = cluster(2);
    write(&mut replicas[0], 1, 6, Some(1));
    let (first, second) = pair(&mut replicas, 0, 1).unwrap();
    sync(first, second);
    let mut again = Replica::new(identity(1));
    again.restore(all(second).into_iter().filter(|e| matches!(e.key, Key::Member(_))));
    sync(&mut again, second);
    assert_eq!(all(&again), all(first));
    again.write(endpoint_key(1, 1), None);
    assert!(again.entry(&endpoint_key(1, 1)).unwrap().version > Version(first.clock));
}

/// With another's key in its hands a member could pose as it on streams.
#[test]
fn nobody_can_give_a_member_another_key() {
    let mut replica = Replica::new(identity(1));
    let own = Node {
        exchange: [2; 32],
        ..match node("b") {
            Body::Node(node) => node,
            _ => unreachable!("it is one"),
        }
    };
    let (second, third) = (identity(2), identity(3));
    replica.restore([
        identity(1).sign_entry(Key::Member(id(1)), Version(1), Some(admitted(1))),
        identity(1).sign_entry(Key::Member(id(2)), Version(2), Some(admitted(2))),
        identity(1).sign_entry(Key::Member(id(3)), Version(3), Some(admitted(3))),
        second.sign_entry(Key::Node(id(2)), Version(4), Some(Body::Node(own))),
    ]);
    let posing = Body::Member(Member::Admitted { exchange: third.exchange_public() });
    replica.accept(id(3), vec![third.sign_entry(Key::Member(id(2)), Version(9), Some(posing))]);
    let key = replica.members().find(|(member, _)| *member == id(2)).map(|(_, key)| key);
    assert_eq!(key, Some([2; 32]));
}
