mod encrypted;
mod services;

use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::core::ipam::{Pool, address, number};
use crate::core::plan::Target;
use crate::wire::mac::Mac;
use crate::wire::vxlan::Vni;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Ids that count up, so that prefixes can be chosen.
fn id(n: u8) -> Id {
    let mut bytes = [0; 32];
    bytes[0] = n;
    Id::new(bytes)
}

fn tables() -> Tables {
    Tables::new(7, Underlay { vtep: ip("192.0.2.1"), mtu: 1500 })
}

fn named(name: &str, subnets: &[&str]) -> NewNetwork {
    NewNetwork {
        name: name.into(),
        subnets: subnets.iter().map(|s| net(s)).collect(),
        ..NewNetwork::default()
    }
}

fn create(tables: &mut Tables, n: u8, new: NewNetwork) -> Result<Network, Refusal> {
    let vni = new.vni.or(Vni::new(4095 + u32::from(n))).unwrap();
    let random = id(n).bytes().unwrap();
    tables.create_network(new, vni, random, SystemTime::UNIX_EPOCH, &[net("192.0.2.0/24")])
}

fn endpoint(name: &str) -> NewEndpoint {
    NewEndpoint {
        name: Some(name.into()),
        default_name: "c".into(),
        ips: Vec::new(),
        mac: None,
        aliases: Vec::new(),
        service: None,
    }
}

fn at(name: &str, ips: &[&str]) -> NewEndpoint {
    NewEndpoint { ips: ips.iter().map(|i| ip(i)).collect(), ..endpoint(name) }
}

/// Without addresses in `new` it gets number `n` of each subnet.
fn add(tables: &mut Tables, network: u8, n: u8, new: NewEndpoint) -> Result<Endpoint, Refusal> {
    let mut new = new;
    if let Some(network) = tables.get_network(&id(network)).filter(|_| new.ips.is_empty()) {
        let nth = |pool: &Pool| address(number(pool.net.network()) + u128::from(n), pool.net);
        new.ips = network.pools.iter().map(nth).collect();
    }
    tables.add_endpoint(&id(network), new, id(n), SystemTime::UNIX_EPOCH)
}

/// Tables with network `web` (id 1, 10.1.0.0/24 and fd00::/64) and nothing on it.
fn web() -> Tables {
    let mut tables = tables();
    create(&mut tables, 1, named("web", &["10.1.0.0/24", "fd00::/64"])).unwrap();
    tables
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, part: &str) {
    let message = result.unwrap_err().to_string();
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

/// An endpoint of the host with this VTEP.
fn remote(network: u8, n: u8, name: &str, ips: &[&str], vtep: &str) -> Endpoint {
    Endpoint {
        id: id(n),
        network: id(network),
        name: name.into(),
        mac: Mac::for_ip(ip(ips[0])),
        addresses: ips.iter().map(|i| ip(i)).collect(),
        aliases: Vec::new(),
        service: None,
        created: String::new(),
        holder: Holder::Vtep(ip(vtep)),
    }
}

#[test]
fn a_network_of_little_more_than_a_name_takes_defaults() {
    let mut tables = tables();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    let vni = Vni::new(77).unwrap();
    let network =
        tables.create_network(named("a", &["10.0.0.0/24"]), vni, [1; 32], now, &[]).unwrap();
    assert_eq!(network.id, Id::new([1; 32]));
    assert_eq!(network.vni, vni);
    assert_eq!(network.pools[0].gateway, ip("10.0.0.1"));
    assert_eq!(network.created, "1970-01-02T00:00:00Z");
    assert_eq!(tables.mtu(&network), 1450);
    let same = tables.create_network(named("b", &["10.0.1.0/24"]), vni, [2; 32], now, &[]);
    refused(same, "VNI 77 is taken by network a");
}

#[test]
fn what_other_hosts_tell_is_taken_whole_and_followed() {
    let mut tables = web();
    let mut db = create(&mut tables, 2, named("db", &["10.2.0.0/24"])).unwrap();
    db.name = "database".into();
    tables.put_network(db.clone());
    assert_eq!(tables.network("database").unwrap(), &db);
    let there = remote(1, 11, "r", &["10.1.0.200"], "192.0.2.2");
    assert!(tables.put_endpoint(there.clone()));
    assert!(!tables.put_endpoint(there.clone()), "known already");
    refused(add(&mut tables, 1, 12, at("a", &["10.1.0.200"])), "taken by endpoint r");
    let moved = Endpoint { holder: Holder::Vtep(ip("192.0.2.3")), ..there };
    add(&mut tables, 1, 13, endpoint("a")).unwrap();
    tables.bind(&id(13), PortId(0));
    let vtep = |tables: &mut Tables| {
        let plan = tables.plan();
        plan.network(Vni::new(4096).unwrap()).unwrap().lookup(moved.mac)
    };
    assert_eq!(vtep(&mut tables), Some(Target::Vtep(ip("192.0.2.2"))));
    assert!(tables.put_endpoint(moved.clone()), "on another host now");
    assert_eq!(vtep(&mut tables), Some(Target::Vtep(ip("192.0.2.3"))));
    assert!(tables.remove_endpoint(&id(11)));
    assert_eq!(vtep(&mut tables), None);
}

#[test]
fn bad_networks_are_refused_and_leave_nothing() {
    let mut tables = web();
    for (new, part) in [
        (named("a/b", &[]), "\"a/b\" cannot be the name"),
        (named("", &[]), "cannot be the name"),
        (named("-a", &[]), "cannot be the name"),
        (named(&"a".repeat(64), &[]), "cannot be the name"),
        (named("web", &[]), "exists already"),
        (named("a", &["10.2.0.1/24"]), "did you mean 10.2.0.0/24?"),
        (named("a", &["10.2.0.0/31"]), "use /30 or larger"),
        (named("a", &["fd01::/127"]), "use /126 or larger"),
        (named("a", &["224.0.0.0/24"]), "overlaps 224.0.0.0/3"),
        (named("a", &["0.0.0.0/0"]), "meaning of its own"),
        (named("a", &["::/0"]), "meaning of its own"),
        (named("a", &["fe80::/64"]), "overlaps fe80::/10"),
        (named("a", &["10.2.0.0/24", "10.2.0.0/16"]), "10.2.0.0/24 and 10.2.0.0/16 overlap"),
        (named("a", &["10.1.0.128/25"]), "overlaps 10.1.0.0/24 of network web"),
        (named("a", &["192.0.0.0/16"]), "this host's route to 192.0.2.0/24"),
    ] {
        refused(create(&mut tables, 2, new), part);
    }
    let with = |change: fn(&mut NewNetwork)| {
        let mut new = named("a", &["10.2.0.0/24"]);
        change(&mut new);
        new
    };
    for (new, part) in [
        (with(|n| n.gateways = vec![ip("10.3.0.1")]), "gateway 10.3.0.1 lies outside"),
        (with(|n| n.gateways = vec![ip("10.2.0.0")]), "is the subnet's own address"),
        (with(|n| n.gateways = vec![ip("10.2.0.255")]), "is the subnet's broadcast address"),
        (with(|n| n.gateways = vec![ip("10.2.0.1"), ip("10.2.0.2")]), "two gateways"),
        (with(|n| n.ip_range = Some(net("10.3.0.0/28"))), "lies outside the network's subnets"),
        (with(|n| n.ip_range = Some(net("10.2.0.1/28"))), "did you mean 10.2.0.0/28?"),
        (with(|n| (n.subnets.clear(), n.ip_range = Some(net("10.2.0.0/28"))).1), "give --subnet"),
        (with(|n| n.vni = Vni::new(0)), "VNI 0"),
        (with(|n| n.vni = Vni::new(4096)), "VNI 4096 is taken by network web"),
        (with(|n| n.mtu = Some(575)), "IPv4 needs at least 576"),
        (with(|n| n.mtu = Some(1451)), "the largest possible is 1450"),
        (
            with(|n| (n.mtu = Some(1279), n.subnets.push(net("fd02::/64"))).1),
            "IPv6 needs at least 1280",
        ),
    ] {
        refused(create(&mut tables, 2, new), part);
    }
    assert_eq!(tables.networks().count(), 1);
}

#[test]
fn options_are_known_or_refused() {
    let mut tables = tables();
    let with = |key: &str, value: &str| NewNetwork {
        options: [(key.to_owned(), value.to_owned())].into(),
        ..named("a", &["10.2.0.0/24"])
    };
    for (key, value, part) in [
        ("encrypted", "1", "neither true nor false"),
        ("multicast", "yes", "neither true nor false"),
        ("speed", "high", "no option \"speed\""),
        ("com.docker.network.driver.mtu", "big", "is no MTU"),
        ("com.docker.network.driver.mtu", "9000", "largest possible is 1450"),
    ] {
        refused(create(&mut tables, 1, with(key, value)), part);
    }
    let mut twice = with("com.docker.network.driver.mtu", "1400");
    twice.mtu = Some(1300);
    refused(create(&mut tables, 1, twice), "given twice");
    let clear = create(&mut tables, 1, with("encrypted", "false")).unwrap();
    assert!(!clear.multicast() && !clear.encrypted());
    tables.remove_network(&id(1));
    let small = create(&mut tables, 1, with("com.docker.network.driver.mtu", "1400")).unwrap();
    assert_eq!(tables.mtu(&small), 1400);
    tables.remove_network(&id(1));
    for value in ["", "true"] {
        assert!(create(&mut tables, 1, with("multicast", value)).unwrap().multicast());
        tables.remove_network(&id(1));
    }
}

#[test]
fn an_ipv6_underlay_takes_twenty_bytes_more() {
    let mut tables = Tables::new(7, Underlay { vtep: ip("2001:db8::1"), mtu: 1500 });
    let network = create(&mut tables, 1, named("a", &["10.1.0.0/24"])).unwrap();
    assert_eq!(tables.mtu(&network), 1430);
    let mut narrow = Tables::new(7, Underlay { vtep: ip("2001:db8::1"), mtu: 1300 });
    refused(create(&mut narrow, 1, named("a", &["fd00::/64"])), "leaves 1230 bytes");
}

#[test]
fn endpoints_get_dockers_mac_and_the_prefixes_of_their_subnets() {
    let mut tables = web();
    let first = add(&mut tables, 1, 10, at("a", &["fd00::2", "10.1.0.2"])).unwrap();
    assert_eq!(first.addresses, [ip("10.1.0.2"), ip("fd00::2")], "IPv4 first");
    assert_eq!(first.mac.to_string(), "02:42:0a:01:00:02");
    let network = tables.network("web").unwrap();
    assert_eq!(first.prefixes(network), [net("10.1.0.2/24"), net("fd00::2/64")]);
    assert_eq!(first.gateways(network), [ip("10.1.0.1"), ip("fd00::1")]);
    tables.remove_endpoint(&id(10));
    let again = add(&mut tables, 1, 12, at("c", &["10.1.0.2"])).unwrap();
    assert_eq!(again.addresses, [ip("10.1.0.2")]);
}

#[test]
fn bad_endpoints_are_refused_and_leave_nothing() {
    let mut tables = web();
    add(&mut tables, 1, 10, at("a", &["10.1.0.9"])).unwrap();
    let with_mac = |mac: &str| NewEndpoint { mac: Some(mac.parse().unwrap()), ..endpoint("b") };
    for (new, part) in [
        (endpoint("a"), "endpoint a exists already on network web"),
        (endpoint("b/c"), "cannot be the name of an endpoint"),
        (NewEndpoint { aliases: vec!["".into()], ..endpoint("b") }, "name of an alias"),
        (at("b", &["10.9.0.9"]), "outside the subnets of network web (10.1.0.0/24, fd00::/64)"),
        (at("b", &["10.1.0.9"]), "taken by endpoint a"),
        (at("b", &["10.1.0.1"]), "the gateway's address"),
        (at("b", &["10.1.0.0"]), "the subnet's own address"),
        (at("b", &["10.1.0.255"]), "the subnet's broadcast address"),
        (at("b", &["10.1.0.3", "10.1.0.4"]), "in one subnet (10.1.0.0/24)"),
        (with_mac("01:00:5e:00:00:01"), "a group's address"),
        (with_mac("00:00:00:00:00:00"), "all zero"),
        (with_mac("02:42:0a:01:00:09"), "taken by endpoint a"),
        (with_mac("02:42:0a:01:00:01"), "taken by the router"),
    ] {
        refused(add(&mut tables, 1, 11, new), part);
    }
    assert_eq!(tables.endpoints().count(), 1);
}

#[test]
fn a_default_name_is_made_fit_and_free() {
    let mut tables = web();
    let from = |name: &str| NewEndpoint { name: None, default_name: name.into(), ..endpoint("") };
    assert_eq!(add(&mut tables, 1, 10, from("c1")).unwrap().name, "c1");
    assert_eq!(add(&mut tables, 1, 11, from("c1")).unwrap().name, "c1-0b0000000000");
    assert_eq!(add(&mut tables, 1, 12, from("/a b")).unwrap().name, "a-b");
    assert_eq!(add(&mut tables, 1, 13, from("☃")).unwrap().name, "0d0000000000");
}

#[test]
fn a_derived_mac_that_is_taken_gives_way_to_one_of_the_id() {
    let mut tables = web();
    let mac: Mac = "02:42:0a:01:00:03".parse().unwrap();
    add(&mut tables, 1, 10, NewEndpoint { mac: Some(mac), ..endpoint("a") }).unwrap();
    let second = add(&mut tables, 1, 0xab, at("b", &["10.1.0.3"])).unwrap();
    assert_eq!(second.mac.to_string(), "02:42:ab:00:00:00");
}

#[test]
fn references_are_names_then_ids_then_prefixes() {
    let mut tables = web();
    create(&mut tables, 2, named("02", &["10.2.0.0/24"])).unwrap();
    create(&mut tables, 0x10, named("db", &["10.3.0.0/24"])).unwrap();
    create(&mut tables, 0x11, named("mq", &["10.4.0.0/24"])).unwrap();
    assert_eq!(tables.network("web").unwrap().id, id(1));
    assert_eq!(tables.network("02").unwrap().id, id(2), "the name wins");
    assert_eq!(tables.network("01").unwrap().id, id(1));
    assert_eq!(tables.network(id(0x11).as_str()).unwrap().name, "mq");
    refused(tables.network("1"), "several networks: 100000000000, 110000000000");
    refused(tables.network("zz"), "there is no network \"zz\"");
    refused(tables.network(""), "there is no network");
    add(&mut tables, 1, 20, endpoint("a")).unwrap();
    add(&mut tables, 2, 21, endpoint("a")).unwrap();
    refused(tables.endpoint("a"), "on several networks: 02 (150000000000), web (140000000000)");
    assert_eq!(tables.endpoint("15").unwrap().network, id(2));
}

#[test]
fn a_network_in_use_names_its_endpoints() {
    let mut tables = web();
    for n in 0..7 {
        add(&mut tables, 1, 10 + n, endpoint(&format!("c{n}"))).unwrap();
    }
    let unused = tables.check_unused(tables.network("web").unwrap());
    refused(unused, "network web is in use by c0, c1, c2, c3, c4 and 2 more");
}

#[test]
fn the_plan_has_bound_endpoints_and_rebuilds_only_what_changed() {
    let mut tables = web();
    create(&mut tables, 2, named("db", &["10.2.0.0/24"])).unwrap();
    let here = add(&mut tables, 1, 10, endpoint("a")).unwrap();
    let there = remote(1, 11, "r", &["10.1.0.200"], "192.0.2.2");
    tables.put_endpoint(there.clone());
    tables.add_foreign(&id(1), ip("192.0.2.3")).unwrap();
    add(&mut tables, 2, 12, endpoint("b")).unwrap();
    let (web, db) = (Vni::new(4096).unwrap(), Vni::new(4097).unwrap());
    assert!(tables.plan().network(web).is_none(), "no endpoint is bound yet");

    assert_eq!(tables.free_port(), PortId(0));
    tables.bind(&id(10), PortId(0));
    tables.bind(&id(12), PortId(1));
    assert_eq!(tables.free_port(), PortId(2));
    let first = tables.plan();
    let network = first.network(web).unwrap();
    assert_eq!(network.lookup(here.mac), Some(Target::Port(PortId(0))));
    assert_eq!(network.lookup(there.mac), Some(Target::Vtep(ip("192.0.2.2"))));
    assert!(network.is_foreign(ip("192.0.2.3")));
    assert_eq!(network.mtu, 1450);

    assert_eq!(tables.unbind(&id(10)), Some(PortId(0)));
    assert_eq!(tables.free_port(), PortId(0));
    let second = tables.plan();
    assert!(second.network(web).is_none());
    let same = std::ptr::eq(first.network(db).unwrap(), second.network(db).unwrap());
    assert!(same, "db has not changed and is shared");

    tables.bind(&id(10), PortId(0));
    tables.remove_foreign(&id(1), ip("192.0.2.3")).unwrap();
    assert!(!tables.plan().network(web).unwrap().is_foreign(ip("192.0.2.3")));
    refused(tables.remove_foreign(&id(1), ip("192.0.2.3")), "has no foreign VTEP 192.0.2.3");
    tables.remove_endpoint(&id(10));
    assert!(tables.plan().network(web).is_none());
}

#[test]
fn records_survive_their_json() {
    let mut tables = web();
    let endpoint = add(&mut tables, 1, 10, at("a", &["fd00::9"])).unwrap();
    let network = tables.network("web").unwrap();
    let json = serde_json::to_string(&(network, &endpoint)).unwrap();
    let back: (Network, Endpoint) = serde_json::from_str(&json).unwrap();
    assert_eq!(back, (network.clone(), endpoint));
}

#[test]
fn interface_names_are_the_kernels() {
    for good in ["eth0", "a", "veth-1.2_3", "abcdefghijklmno"] {
        check_ifname(good).unwrap();
    }
    for bad in ["", ".", "..", "a/b", "a b", "abcdefghijklmnop", "eth%d", "é", "a:1"] {
        refused(check_ifname(bad), "cannot be an interface's name");
    }
}

proptest! {
    #[test]
    fn addresses_and_macs_are_never_shared(
        asked in proptest::collection::vec((0u8..16, any::<bool>()), 1..40),
    ) {
        let mut tables = tables();
        create(&mut tables, 1, named("a", &["10.2.0.0/28", "fd00::/124"])).unwrap();
        for (n, (host, both)) in asked.into_iter().enumerate() {
            let (four, six) = (format!("10.2.0.{host}"), format!("fd00::{host:x}"));
            let ips: &[&str] = if both { &[&four, &six] } else { &[&six] };
            // Refusals are part of the game.
            let _ = add(&mut tables, 1, 100 + n as u8, at(&format!("c{n}"), ips));
        }
        let all: Vec<IpAddr> = tables.endpoints().flat_map(|e| e.addresses.clone()).collect();
        let distinct: BTreeSet<IpAddr> = all.iter().copied().collect();
        prop_assert_eq!(all.len(), distinct.len());
        prop_assert!(!distinct.contains(&ip("10.2.0.1")) && !distinct.contains(&ip("fd00::1")));
        let macs: BTreeSet<Mac> = tables.endpoints().map(|e| e.mac).collect();
        prop_assert_eq!(macs.len(), tables.endpoints().count());
    }
}

#[test]
fn names_follow_what_is_on_the_networks() {
    use crate::core::names::{Transport, Verdict, View, answer};
    let mut tables = web();
    let asks = |tables: &mut Tables, name: &str| {
        let view = View::new(tables.zones().into_values().collect(), tables.subnets());
        let labels = name.split('.').flat_map(|l| [&[l.len() as u8][..], l.as_bytes()].concat());
        let name: Vec<u8> = labels.collect();
        let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let question = [&header[..], &name, &[0, 0, 1, 0, 1]].concat();
        match answer(&view, Transport::Datagram(4096), &question, 1) {
            Verdict::Answer(reply) => reply[7],
            other => panic!("{other:?}"),
        }
    };
    let here = add(&mut tables, 1, 2, endpoint("here")).unwrap();
    tables.put_endpoint(remote(1, 3, "there", &["10.1.0.3"], "192.0.2.2"));
    assert!(tables.zones().is_empty(), "nobody here can ask");
    tables.bind(&here.id, PortId(0));
    assert_eq!((asks(&mut tables, "here"), asks(&mut tables, "there")), (1, 1));
    let zone = tables.zones()[&id(1)].clone();
    assert!(Arc::ptr_eq(&zone, &tables.zones()[&id(1)]), "it is made once");
    add(&mut tables, 1, 4, endpoint("unborn")).unwrap();
    assert_eq!(asks(&mut tables, "unborn"), 0, "it has no interface yet");
    tables.remove_endpoint(&id(3));
    assert_eq!((asks(&mut tables, "here"), asks(&mut tables, "there")), (1, 0));
    let renamed = Network { name: "net".into(), ..tables.get_network(&id(1)).unwrap().clone() };
    tables.put_network(renamed);
    assert_eq!(asks(&mut tables, "here.net"), 1);
}
