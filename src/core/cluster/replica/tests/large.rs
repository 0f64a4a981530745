//! More than one message has room for.

use super::*;
use crate::core::cluster::rpc::Summaries;

#[test]
fn a_large_sync_ends_when_all_is_equal_or_nothing_helps() {
    let mut replicas = cluster(2);
    for n in 0..900 {
        let aliases = vec!["a".repeat(63); 60];
        let Body::Endpoint(body) = endpoint(1) else { panic!() };
        let body = Body::Endpoint(EndpointBody { aliases, ..body });
        replicas[n as usize % 2].write(endpoint_key(1 + n as u8 % 2, n), Some(body));
    }
    let (a, b) = pair(&mut replicas, 0, 1).unwrap();
    let rounds = sync(b, a);
    assert!((2..6).contains(&rounds), "{rounds}");
    assert_eq!(digests(a), digests(b));
    let same = digests(a);
    let nothing = Summaries { realms: Vec::new(), have: Vec::new(), end: None };
    assert_eq!(b.answer_digests(&same, None), nothing);
}

/// Of which both replicas have most, some only the one and some only the other.
#[test]
fn a_network_of_a_hundred_thousand_endpoints_converges() {
    let mut replicas = cluster(8);
    // Unsigned, and never handed on.
    let unsigned =
        Entry { version: Version(9), ..identity(1).sign_entry(Key::Token, Version(0), None) };
    for n in 0..100_000u32 {
        let (owner, which) = (1 + (n % 8) as u8, (n / 8) as u16);
        let mut signature = [owner; 64];
        signature[..4].copy_from_slice(&n.to_be_bytes());
        let key = endpoint_key(owner, which);
        let body = Some(endpoint(owner));
        let entry = match n % 50 {
            0 | 1 => identity(owner).sign_entry(key, Version(9), body),
            _ => Entry { key, body, author: id(owner), signature, ..unsigned.clone() },
        };
        match n % 50 {
            0 => replicas[0].insert(entry),
            1 => replicas[1].insert(entry),
            _ => [0, 1].iter().for_each(|i| replicas[*i].insert(entry.clone())),
        }
    }
    let (a, b) = pair(&mut replicas, 0, 1).unwrap();
    let rounds = sync(b, a);
    assert!(rounds >= 12, "in parts: {rounds}");
    assert_eq!(digests(a), digests(b));
    assert_eq!(a.entries().count(), b.entries().count());
    assert!(a.entries().count() > 100_000);
    assert!(a.refused().is_empty() && b.refused().is_empty());
}

#[test]
fn rumours_fit_their_datagram_and_end() {
    let mut replica = cluster(1).remove(0);
    for n in 0..40 {
        write_endpoint(&mut replica, n, true);
    }
    let mut long = vec!["a".repeat(60); 30];
    long[0] = "b".into();
    let body = match endpoint(1) {
        Body::Endpoint(body) => Body::Endpoint(EndpointBody { aliases: long, ..body }),
        _ => panic!(),
    };
    replica.write(endpoint_key(1, 99), Some(body));
    let oversize = replica.take_oversize(1200);
    assert_eq!(oversize.iter().map(|e| e.key).collect::<Vec<_>>(), [endpoint_key(1, 99)]);
    let mut told: BTreeMap<Key, usize> = BTreeMap::new();
    let mut rounds = 0;
    loop {
        let packets = replica.rumours(1200, 100, 3);
        if packets.is_empty() {
            break;
        }
        rounds += 1;
        let mut once = BTreeSet::new();
        for entries in packets {
            assert!(postcard::to_allocvec(&entries).unwrap().len() <= 1200);
            assert!(entries.iter().all(|e| once.insert(e.key)), "once to each host a round");
        }
        once.iter().for_each(|key| *told.entry(*key).or_default() += 3);
    }
    assert!(rounds < 12, "several datagrams a round");
    assert_eq!(told.len(), 42, "40 endpoints, the member and the node");
    assert!(told.values().all(|n| *n == 12), "four for each digit of 100: {told:?}");
}
