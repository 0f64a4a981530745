//! Encrypted networks: what is different of them.

use super::*;

fn encrypted(name: &str, value: &str, subnets: &[&str]) -> NewNetwork {
    NewNetwork {
        options: [("encrypted".to_owned(), value.to_owned())].into(),
        ..named(name, subnets)
    }
}

/// Tables with the encrypted network `red` and an endpoint on it, here.
fn red() -> (Tables, Network) {
    let mut tables = tables();
    let red = create(&mut tables, 1, encrypted("red", "", &["10.1.0.0/24"])).unwrap();
    attach(&mut tables, &red, 10);
    (tables, red)
}

/// An endpoint on a network, with port `n`.
fn attach(tables: &mut Tables, network: &Network, n: u8) {
    let new = NewEndpoint {
        name: Some(format!("c{n}")),
        ips: vec![network.pools[0].net.hosts().nth(n.into()).unwrap()],
        ..endpoint("")
    };
    tables.add_endpoint(&network.id, new, id(n), SystemTime::UNIX_EPOCH).unwrap();
    tables.bind(&id(n), PortId(n.into()));
}

#[test]
fn the_option_is_dockers_and_the_id_says_the_same() {
    let mut tables = tables();
    for (value, asked) in [("", true), ("true", true), ("false", false)] {
        let network = create(&mut tables, 1, encrypted("a", value, &["10.2.0.0/24"])).unwrap();
        assert_eq!((network.encrypted(), network.id.is_encrypted()), (asked, asked), "{value}");
        assert_eq!(network.options["encrypted"], value, "as given");
        tables.remove_network(&network.id);
    }
    let plain = create(&mut tables, 1, named("a", &["10.2.0.0/24"])).unwrap();
    assert!(!plain.encrypted() && !plain.id.is_encrypted());
}

#[test]
fn the_seal_takes_its_part_of_the_mtu() {
    let (mut tables, red) = red();
    assert_eq!(tables.mtu(&red), 1424, "Docker's figure");
    assert_eq!(tables.plan().port(PortId(10)).unwrap().0.mtu, 1424);
    let asked = |mtu| NewNetwork { mtu: Some(mtu), ..encrypted("b", "", &["10.2.0.0/24"]) };
    refused(
        create(&mut tables, 2, asked(1425)),
        "the largest possible is 1424, because 192.0.2.1 has an MTU of 1500 and the encrypted tunnel takes 76",
    );
    let small = create(&mut tables, 2, asked(1400)).unwrap();
    assert_eq!(tables.mtu(&small), 1400);
    let mut ipv6 = Tables::new(7, Underlay { vtep: ip("2001:db8::1"), mtu: 1500 });
    let network = create(&mut ipv6, 1, encrypted("a", "", &["10.1.0.0/24"])).unwrap();
    assert_eq!(ipv6.mtu(&network), 1404);
    let mut narrow = Tables::new(7, Underlay { vtep: ip("2001:db8::1"), mtu: 1375 });
    refused(create(&mut narrow, 1, encrypted("a", "", &["fd00::/64"])), "leaves 1279 bytes");
    create(&mut narrow, 1, named("a", &["fd00::/64"])).unwrap();
}

#[test]
fn narrow_paths_are_as_much_narrower() {
    let (mut tables, red) = red();
    let far =
        Endpoint { network: red.id.clone(), ..remote(1, 11, "r", &["10.1.0.200"], "192.0.2.2") };
    tables.put_endpoint(far);
    tables.set_path_mtu(ip("192.0.2.2"), Some(1400));
    assert_eq!(tables.mtu(&red), 1324);
    let plan = tables.plan();
    assert_eq!(plan.port(PortId(10)).unwrap().0.mtu_to(ip("192.0.2.2")), 1324);
    tables.set_path_mtu(ip("192.0.2.2"), Some(1500));
    assert_eq!(tables.mtu(&red), 1424);
}

#[test]
fn who_is_no_member_takes_no_part() {
    let (mut tables, red) = red();
    let add = tables.add_foreign(&red.id, ip("192.0.2.9"));
    refused(add, "network red is encrypted, and what is no member of the cluster has no key");
    assert!(tables.foreign(&red.id).is_empty());
}

#[test]
fn a_ledger_is_kept_for_as_long_as_its_network() {
    let (mut tables, red) = red();
    let plain = create(&mut tables, 2, named("web", &["10.2.0.0/24"])).unwrap();
    attach(&mut tables, &plain, 11);
    assert_eq!(tables.ledger(&red.id), Some(Reading::default()), "before there is a plan");
    assert_eq!((tables.ledger(&plain.id), tables.ledger(&id(9))), (None, None));
    let plan = tables.plan();
    plan.ledger(red.vni).unwrap().count_sealed(3);
    assert!(plan.ledger(plain.vni).is_none());
    // Built anew, told anew, and gone from this host and back.
    attach(&mut tables, &red, 12);
    tables.plan().ledger(red.vni).unwrap().count_sealed(4);
    tables.put_network(Network { name: "redder".into(), ..red.clone() });
    tables.plan().ledger(red.vni).unwrap().count_sealed(5);
    let ports = [10, 12].map(|n| (n, tables.unbind(&id(n)).unwrap()));
    assert!(tables.plan().ledger(red.vni).is_none());
    ports.into_iter().for_each(|(n, port)| tables.bind(&id(n), port));
    tables.plan().ledger(red.vni).unwrap().count_sealed(6);
    assert_eq!(tables.ledger(&red.id), Some(Reading { sealed: 18, ..Reading::default() }));

    tables.remove_network(&red.id);
    assert_eq!(tables.ledger(&red.id), None);
    tables.put_network(red.clone());
    tables.plan();
    assert_eq!(tables.ledger(&red.id), Some(Reading::default()));
}

/// The data plane knows networks by their VNI. A member can give an encrypted
/// network's VNI to another one, by writing that one's entry.
#[test]
fn a_plain_network_with_its_vni_does_not_take_its_place() {
    for n in [0x00, 0xff] {
        let (mut tables, red) = red();
        let web = create(&mut tables, n, named("web", &["10.2.0.0/24"])).unwrap();
        attach(&mut tables, &web, 11);
        assert!(tables.plan().port(PortId(11)).is_some());
        assert_eq!(tables.displaced(), []);
        tables.put_network(Network { vni: red.vni, ..web.clone() });
        let displaced: Vec<_> = tables.displaced().iter().map(|(a, b)| (&a.id, &b.id)).collect();
        assert_eq!(displaced, [(&web.id, &red.id)]);
        let plan = tables.plan();
        assert!(plan.ledger(red.vni).is_some(), "still sealed");
        assert!(plan.port(PortId(10)).unwrap().0.encrypted.is_some());
        assert!(plan.port(PortId(11)).is_none(), "its frames go nowhere");
        tables.put_network(web);
        assert!(tables.plan().port(PortId(11)).is_some());
    }
}
