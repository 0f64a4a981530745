//! Services as members may write them.

use super::super::rules::{MAX_ENTRY, shape};
use super::*;
use crate::core::tables::{Health, Joined, Probe, Protocol, Published, Service};

pub(super) fn service() -> Service {
    Service {
        id: Id::new([9; 32]),
        name: "shop".into(),
        created: "2024-05-01T00:00:00Z".into(),
        mode: Default::default(),
        scheduler: Default::default(),
        affinity: None,
        health: Some(Health {
            probe: Probe::Http(80, "/ready?x=1".into()),
            interval: 5000,
            timeout: 2000,
            retries: 3,
        }),
        drain: 10,
        aliases: vec!["front".into()],
        published: vec![Published { published: 0, target: 80, protocol: Protocol::Tcp }],
        networks: vec![Joined { network: Id::new([1; 32]), vips: Vec::new(), active: true }],
        weights: Default::default(),
    }
}

/// What is wrong with a service.
type Change = Box<dyn FnOnce(&mut Service)>;

const KEY: Key = Key::Service([9; 32]);

/// What host 1 makes of it when host 2 has written it.
fn told(service: Service) -> (bool, u64) {
    let mut replicas = cluster(2);
    let entry = identity(2).sign_entry(KEY, Version(50), Some(Body::Service(service)));
    replicas[0].accept(id(2), vec![entry]);
    (replicas[0].get(&KEY).is_some(), refusals(&replicas[0], 2, Refusal::Malformed))
}

#[test]
fn services_that_no_host_would_write_are_refused() {
    assert_eq!(told(service()), (true, 0));
    let probe = |probe| {
        move |s: &mut Service| {
            if let Some(health) = &mut s.health {
                health.probe = probe;
            }
        }
    };
    let health = |change: fn(&mut Health)| {
        move |s: &mut Service| {
            if let Some(health) = &mut s.health {
                change(health);
            }
        }
    };
    let joined = || Joined { network: Id::new([1; 32]), vips: Vec::new(), active: true };
    let changes: Vec<Change> = vec![
        Box::new(|s| s.id = Id::new([8; 32])),
        Box::new(|s| s.name = "a.b".into()),
        Box::new(|s| s.name = String::new()),
        Box::new(|s| s.name = "shop\u{1b}[31m".into()),
        Box::new(|s| s.name = "Tasks".into()),
        Box::new(|s| s.created = "\n".into()),
        Box::new(|s| s.aliases = vec!["tasks.shop".into()]),
        Box::new(|s| s.aliases = vec!["a".into(); 65]),
        Box::new(|s| s.published[0].target = 0),
        Box::new(|s| s.affinity = Some(0)),
        Box::new(|s| s.drain = u32::MAX),
        Box::new(move |s| s.networks = vec![joined(), joined()]),
        Box::new(|s| s.networks[0].vips = vec![[10, 1, 0, 2].into(); 97]),
        Box::new(probe(Probe::Tcp(0))),
        Box::new(probe(Probe::Http(80, "ready".into()))),
        Box::new(probe(Probe::Http(80, "/ HTTP/1.1\r\nHost: x".into()))),
        Box::new(probe(Probe::Http(80, format!("/{}", "x".repeat(256))))),
        // Nobody is made to test without end.
        Box::new(health(|h| h.interval = 0)),
        Box::new(health(|h| h.timeout = 0)),
        Box::new(health(|h| h.timeout = u32::MAX)),
        Box::new(health(|h| h.retries = 0)),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut service = service();
        change(&mut service);
        assert_eq!(told(service), (false, 1), "change {i}");
    }
    let mut replicas = cluster(2);
    let entry = identity(2).sign_entry(KEY, Version(50), Some(network(9, "shop")));
    replicas[0].accept(id(2), vec![entry]);
    assert!(replicas[0].get(&KEY).is_none(), "a network under a service's key");
}

/// A host takes a change of its user only if the others will.
#[test]
fn the_largest_service_fits_an_entry() {
    let mut large = service();
    let network = |n: u8| Joined {
        network: Id::new([n; 32]),
        vips: vec![[0xfd00, 0, 0, 0, 0, 0, 0, n.into()].into(); 3],
        active: true,
    };
    large.networks = (0..32).map(network).collect();
    large.name = "n".repeat(63);
    large.aliases = (0..64).map(|n| format!("{n:063}")).collect();
    let port =
        |n: u16| Published { published: 60_000 + n, target: 60_000 + n, protocol: Protocol::Udp };
    large.published = (0..64).map(port).collect();
    large.weights = (0..64).map(|n| (Id::new([n; 32]), u16::MAX)).collect();
    large.health = Some(Health {
        probe: Probe::Http(u16::MAX, format!("/{}", "x".repeat(255))),
        interval: 3_600_000,
        timeout: 60_000,
        retries: u8::MAX,
    });
    large.check().unwrap();
    let entry = |s: &Service| {
        identity(2).sign_entry(KEY, Version(u64::MAX), Some(Body::Service(s.clone())))
    };
    assert_eq!(shape(&entry(&large)), Ok(()));
    let len = postcard::to_allocvec(&entry(&large)).unwrap().len();
    assert!((MAX_ENTRY / 2..MAX_ENTRY).contains(&len), "{len}");
    large.weights.insert(Id::new([99; 32]), 1);
    large.check().unwrap_err();
}

#[test]
fn deletion_beats_a_later_change_in_whatever_order() {
    let deleted = identity(1).sign_entry(KEY, Version(50), None);
    let changed = identity(2).sign_entry(KEY, Version(99), Some(Body::Service(service())));
    for order in [[&deleted, &changed], [&changed, &deleted]] {
        let mut replicas = cluster(2);
        for entry in order {
            replicas[0].accept(id(2), vec![entry.clone()]);
        }
        assert_eq!(replicas[0].entry(&KEY), Some(&deleted));
    }
    // A sync brings it to who has the change, by whomever it is begun.
    for [asks, answers] in [[0, 1], [1, 0]] {
        let mut replicas = cluster(2);
        replicas[0].accept(id(1), vec![deleted.clone()]);
        replicas[1].accept(id(2), vec![changed.clone()]);
        let (a, b) = pair(&mut replicas, asks, answers).unwrap();
        sync(a, b);
        assert_eq!([a.entry(&KEY), b.entry(&KEY)], [Some(&deleted); 2]);
    }
    let again = identity(2).sign_entry(KEY, Version(60), None);
    assert!(again.beats(&deleted) && !deleted.beats(&again), "of two deletions the later one");
}
