//! Services: their names beside others', their virtual IPs, and what follows.

use super::*;
use crate::core::balance::{Scheduler, Standing};
use crate::core::names::{Transport, Verdict, View, answer};

/// A share in a service, of an endpoint that is well.
fn of(n: u8) -> Backing {
    Backing { service: id(n), weight: 1, standing: Standing::Ready }
}

/// A service on network 1 with these virtual IPs.
fn service(n: u8, name: &str, vips: &[&str]) -> Service {
    let vips = vips.iter().map(|v| ip(v)).collect();
    Service {
        id: id(n),
        name: name.into(),
        created: format!("2026-01-01T00:00:{n:02}Z"),
        mode: Mode::Vip,
        scheduler: Scheduler::RoundRobin,
        affinity: None,
        health: None,
        drain: 10,
        aliases: Vec::new(),
        published: Vec::new(),
        networks: vec![Joined { network: id(1), vips, active: true }],
        weights: BTreeMap::new(),
    }
}

/// An endpoint of a service, here.
fn join(tables: &mut Tables, n: u8, service: u8) {
    let new = NewEndpoint { service: Some(of(service)), ..endpoint(&format!("c{n}")) };
    add(tables, 1, n, new).unwrap();
    tables.bind(&id(n), PortId(n.into()));
}

fn vip(tables: &mut Tables, address: &str) -> Option<Arc<Vip>> {
    let plan = tables.plan();
    plan.network(Vni::new(4096).unwrap())?.vip(ip(address)).cloned()
}

/// The IPv4 addresses that a name has, as whoever is on all networks is answered;
/// `None` if there is no such name.
fn resolve(tables: &mut Tables, name: &str) -> Option<Vec<IpAddr>> {
    let view = View::new(tables.zones().into_values().collect(), tables.subnets());
    let labels = name.split('.').flat_map(|l| [&[l.len() as u8][..], l.as_bytes()].concat());
    let name: Vec<u8> = labels.collect();
    let question = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, &[0, 0, 1, 0, 1]].concat();
    let Verdict::Answer(reply) = answer(&view, Transport::Datagram(4096), &question, 1) else {
        return None;
    };
    let records = reply[question.len()..].chunks_exact(16);
    let address = |r: &[u8]| IpAddr::from([r[12], r[13], r[14], r[15]]);
    let mut addresses: Vec<IpAddr> = records.map(address).collect();
    addresses.sort();
    (reply[3] & 0xf == 0).then_some(addresses)
}

#[test]
fn a_virtual_ip_follows_its_endpoints_and_its_service() {
    let mut tables = web();
    tables.put_service(service(2, "shop", &["10.1.0.100"]));
    join(&mut tables, 10, 2);
    join(&mut tables, 11, 2);
    let first = vip(&mut tables, "10.1.0.100").unwrap();
    assert_eq!(first.backends.len(), 2);
    assert!(Arc::ptr_eq(&first, &vip(&mut tables, "10.1.0.100").unwrap()), "it is made once");

    // A weight of the service's own counts before the endpoint's.
    let weights = [(id(11), 0)].into();
    tables.put_service(Service { weights, ..service(2, "shop", &["10.1.0.100"]) });
    let second = vip(&mut tables, "10.1.0.100").unwrap();
    assert_eq!(second.backends.iter().map(|b| b.weight).collect::<Vec<_>>(), [1, 0]);
    assert_ne!(second.version, first.version);
    assert_eq!(resolve(&mut tables, "tasks.shop"), Some(vec![ip("10.1.0.10")]));

    tables.remove_endpoint(&id(10));
    assert!(vip(&mut tables, "10.1.0.100").unwrap().is_down());
    assert_eq!(resolve(&mut tables, "shop"), Some(vec![]), "a name without data");
    tables.put_service(Service { mode: Mode::Dnsrr, ..service(2, "shop", &["10.1.0.100"]) });
    assert!(vip(&mut tables, "10.1.0.100").is_none());
    assert_eq!(resolve(&mut tables, "shop"), Some(vec![ip("10.1.0.11")]));
    assert!(tables.remove_service(&id(2)) && !tables.remove_service(&id(2)));
    assert_eq!(resolve(&mut tables, "shop"), None);
    assert_eq!(tables.backends_of(&id(2)).count(), 1, "it may be heard of later");
}

#[test]
fn the_order_in_which_things_are_heard_of_does_not_matter() {
    let mut tables = tables();
    tables.put_service(service(2, "shop", &["10.1.0.100"]));
    let mut far = remote(1, 11, "far", &["10.1.0.11"], "192.0.2.2");
    far.service = Some(of(2));
    tables.put_endpoint(far.clone());
    create(&mut tables, 1, named("web", &["10.1.0.0/24"])).unwrap();
    let web = tables.network("web").unwrap().clone();
    tables.put_network(web);
    join(&mut tables, 10, 3);
    assert_eq!(vip(&mut tables, "10.1.0.100").unwrap().backends.len(), 1);
    assert_eq!(resolve(&mut tables, "shop"), Some(vec![ip("10.1.0.100")]));
    tables.put_service(service(3, "late", &["10.1.0.101"]));
    assert_eq!(resolve(&mut tables, "tasks.late"), Some(vec![ip("10.1.0.10")]));
    // It changes its service, and its standing.
    far.service = Some(Backing { standing: Standing::Unhealthy, ..of(3) });
    tables.put_endpoint(far.clone());
    assert_eq!(vip(&mut tables, "10.1.0.100").unwrap().backends.len(), 0);
    assert_eq!(vip(&mut tables, "10.1.0.101").unwrap().backends.len(), 2);
    assert_eq!(resolve(&mut tables, "tasks.late"), Some(vec![ip("10.1.0.10")]));
    far.service = None;
    tables.put_endpoint(far);
    assert_eq!(tables.backends_of(&id(3)).count(), 1);
}

/// What a member may write, and no host would: it takes no address that has a meaning.
#[test]
fn a_virtual_ip_that_cannot_be_is_none() {
    let mut tables = web();
    let bad = ["10.1.0.1", "10.1.0.0", "10.1.0.255", "10.9.0.9", "fd00::1"];
    tables.put_service(service(2, "shop", &bad));
    join(&mut tables, 10, 2);
    for address in bad {
        assert!(vip(&mut tables, address).is_none(), "{address}");
    }
    assert_eq!(resolve(&mut tables, "shop"), Some(vec![]));
    // An endpoint's address is the endpoint's, also in DNS.
    tables.put_service(service(2, "shop", &["10.1.0.10", "10.1.0.100"]));
    assert!(vip(&mut tables, "10.1.0.10").is_none());
    assert_eq!(resolve(&mut tables, "shop"), Some(vec![ip("10.1.0.100")]));
}

/// Of two services that name one address the younger has it, in the plan and in DNS,
/// whichever was heard of first; as soon as it has not, the other does.
#[test]
fn no_two_services_have_a_virtual_ip() {
    for order in [[2, 3], [3, 2]] {
        let mut tables = web();
        join(&mut tables, 10, 2);
        join(&mut tables, 11, 3);
        let named = |n: u8| service(n, &format!("s{n}"), &["10.1.0.100"]);
        order.into_iter().for_each(|n| tables.put_service(named(n)));
        let is_of = |tables: &mut Tables, n: u8, backend: &str| {
            let vip = vip(tables, "10.1.0.100").unwrap();
            assert_eq!(vip.backends.iter().map(|b| b.ip).collect::<Vec<_>>(), [ip(backend)]);
            assert_eq!(resolve(tables, &format!("s{n}")), Some(vec![ip("10.1.0.100")]));
            let holders = tables.vip_holders(&id(1));
            assert_eq!(holders.values().map(|s| &s.id).collect::<Vec<_>>(), [&id(n)]);
        };
        is_of(&mut tables, 3, "10.1.0.11");
        assert_eq!(resolve(&mut tables, "s2"), Some(vec![]));
        let mut left = named(3);
        left.networks[0].active = false;
        tables.put_service(left);
        is_of(&mut tables, 2, "10.1.0.10");
        tables.put_service(named(3));
        is_of(&mut tables, 3, "10.1.0.11");
        tables.remove_service(&id(3));
        is_of(&mut tables, 2, "10.1.0.10");
    }
}

#[test]
fn virtual_ips_are_taken_also_where_the_service_has_left() {
    let mut tables = web();
    let mut shop = service(2, "shop", &["10.1.0.100"]);
    tables.put_service(shop.clone());
    refused(add(&mut tables, 1, 10, at("c", &["10.1.0.100"])), "taken by service shop");
    refused(
        tables.check_unused(tables.network("web").unwrap()),
        "network web is in use by service shop",
    );
    shop.networks[0].active = false;
    tables.put_service(shop);
    refused(add(&mut tables, 1, 10, at("c", &["10.1.0.100"])), "taken by service shop");
    tables.check_unused(tables.network("web").unwrap()).unwrap();
}

#[test]
fn names_that_would_be_ambiguous_are_refused() {
    let mut tables = web();
    let shop = Service { aliases: vec!["front".into()], ..service(2, "shop", &[]) };
    tables.check_service(&shop).unwrap();
    tables.put_service(shop.clone());
    let box1 = NewEndpoint { aliases: vec!["db".into(), "Front".into()], ..endpoint("box1") };
    add(&mut tables, 1, 10, box1).unwrap();
    let new = |name: &str, aliases: &[&str]| Service {
        aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
        ..service(3, name, &[])
    };
    for (new, part) in [
        (new("Shop", &[]), "service shop exists already (0200"),
        (new("FRONT", &[]), "FRONT is a name of service shop"),
        (new("new", &["shop"]), "shop is a name of service shop"),
        (new("box1", &[]), "box1 is the name of endpoint box1 on network web"),
        (new("DB", &[]), "db is the alias of endpoint box1"),
        (new("new", &["Box1"]), "box1 is the name of endpoint box1"),
    ] {
        refused(tables.check_service(&new), part);
    }
    // Aliases may be shared; and it is itself that it is compared with least.
    tables.check_service(&new("new", &["front", "db"])).unwrap();
    tables.check_service(&shop).unwrap();
    // On another network nothing of this can be confused, but the name.
    let elsewhere = |new: Service| Service {
        networks: vec![Joined { network: id(9), vips: vec![], active: true }],
        ..new
    };
    tables.check_service(&elsewhere(new("front", &["box1"]))).unwrap();
    refused(tables.check_service(&elsewhere(new("shop", &[]))), "exists already");

    for (new, part) in [
        (endpoint("SHOP"), "SHOP is a name of service shop on network web"),
        (endpoint("front"), "front is a name of service shop"),
        (endpoint("tasks.shop"), "tasks.shop is a name of service shop"),
        (NewEndpoint { aliases: vec!["shop".into()], ..endpoint("c") }, "shop is a name of"),
        (NewEndpoint { aliases: vec!["Tasks.front".into()], ..endpoint("c") }, "is a name of"),
    ] {
        refused(add(&mut tables, 1, 11, new), part);
    }
    let default = NewEndpoint { name: None, default_name: "shop".into(), ..endpoint("") };
    assert_eq!(add(&mut tables, 1, 11, default).unwrap().name, "shop-0b0000000000");
}

#[test]
fn ports_are_published_once() {
    let mut tables = web();
    let port = |published, target| Published { published, target, protocol: Protocol::Tcp };
    let with = |n, name, ports: &[Published]| Service {
        published: ports.to_vec(),
        ..service(n, name, &[])
    };
    tables.put_service(with(2, "shop", &[port(80, 8080), port(0, 90)]));
    refused(
        tables.check_service(&with(3, "new", &[port(80, 1)])),
        "port 80/tcp is published by service shop",
    );
    tables.check_service(&with(3, "new", &[port(0, 90), port(8080, 1), port(8081, 1)])).unwrap();
    for twice in [[port(1, 2), port(1, 3)], [port(0, 2), port(0, 2)]] {
        refused(tables.check_service(&with(3, "new", &twice)), "is published twice");
    }
}

#[test]
fn services_are_found_by_name_then_id_then_prefix() {
    let mut tables = web();
    tables.put_service(service(0x20, "shop", &[]));
    tables.put_service(service(0x21, "db", &[]));
    assert_eq!(tables.service("SHOP").unwrap().id, id(0x20));
    assert_eq!(tables.service("21").unwrap().name, "db");
    refused(tables.service("2"), "several services: 200000000000, 210000000000");
    refused(tables.service("x"), "there is no service \"x\": `vxmesh service ls`");
    // Two parts of a cluster, which did not see each other.
    tables.put_service(service(0x22, "Shop", &[]));
    refused(tables.service("shop"), "several services shop: 200000000000, 220000000000");
    assert_eq!(tables.service("22").unwrap().name, "Shop");
}
