//! The laboratory on its own: namespaces and plain veth, no daemon.
//!
//! Needs CAP_SYS_ADMIN and CAP_NET_ADMIN; the namespaces have no name and are
//! gone with the process.

#![allow(clippy::unwrap_used)] // the helpers of tests are tests too

use std::net::IpAddr;
use std::time::Duration;

use vxmesh::lab::bulk::{Limit, bulk};
use vxmesh::lab::link::{self, End};
use vxmesh::lab::namespace::Namespace;
use vxmesh::lab::ping::ping;

/// Two namespaces, `10.9.0.1` and `fd09::1` in the first, `.2` and `::2` in the second.
fn pair() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let end = |namespace| End { namespace, name: "eth0" };
    link::veth(end(&a), end(&b), 1500).unwrap();
    for (namespace, addresses) in
        [(&a, ["10.9.0.1/24", "fd09::1/64"]), (&b, ["10.9.0.2/24", "fd09::2/64"])]
    {
        for address in addresses {
            link::add_address(namespace, "eth0", address.parse().unwrap()).unwrap();
        }
    }
    (a, b)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn namespaces_ping_each_other_and_nobody_else() {
    let (a, b) = pair();
    // Longer than it takes to ask for a neighbour again.
    let patience = Duration::from_secs(3);
    for to in ["10.9.0.2", "fd09::2"] {
        let pings = ping(&a, ip(to), 3, patience).unwrap();
        assert!(pings.all_answered(), "{to}: {pings}");
    }
    let nobody = ping(&b, ip("10.9.0.3"), 1, Duration::from_millis(50)).unwrap();
    assert!(nobody.answered.is_empty(), "{nobody}");
    let no_route = ping(&b, ip("10.10.0.1"), 2, Duration::from_secs(1)).unwrap();
    assert_eq!(no_route.refused, 2, "{no_route}");

    let stranger = Namespace::new().unwrap();
    assert_eq!(link::interfaces(&stranger).unwrap(), ["lo"]);
    assert_eq!(ping(&stranger, ip("127.0.0.1"), 1, Duration::from_secs(1)).unwrap().sent, 1);
}

#[test]
fn bulk_moves_every_byte_and_ends_at_its_limit() {
    let (a, b) = pair();
    let limit = Limit { bytes: 64 << 20, time: Duration::from_secs(20) };
    for to in ["10.9.0.2", "fd09::2"] {
        let transfer = bulk(&a, &b, ip(to), limit).unwrap();
        assert_eq!(transfer.bytes, limit.bytes);
        assert!(transfer.longest_pause <= transfer.elapsed);
    }
    let short = Limit { bytes: u64::MAX, time: Duration::from_millis(100) };
    let transfer = bulk(&a, &b, ip("10.9.0.2"), short).unwrap();
    assert!(transfer.elapsed < Duration::from_secs(10), "{transfer:?}");
}

#[test]
fn a_namespace_is_found_by_its_path_and_gone_when_dropped() {
    let namespace = Namespace::new().unwrap();
    let path = namespace.path();
    let inside = namespace.run(|| std::fs::read_link("/proc/thread-self/ns/net")).unwrap();
    assert_eq!(std::fs::read_link(&path).unwrap(), inside);
    assert_ne!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), inside);

    let (a, b) = pair();
    assert_eq!(link::interfaces(&a).unwrap(), ["lo", "eth0"]);
    drop(b);
    // The kernel takes namespaces apart one after another, and other tests have some.
    let gone = (0..4000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        link::interfaces(&a).unwrap() == ["lo"]
    });
    assert!(gone, "the other end of the veth pair outlived its namespace");
}
