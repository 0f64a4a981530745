//! Services: by name and alias, their tasks, where they serve, and backwards.

use super::*;
use crate::core::tables::Protocol;

/// A service with a virtual IP, one whose names stand for its tasks, one without
/// anybody, and one of IPv6 whose only task has IPv4.
fn services() -> View {
    let all: Vec<IpAddr> = ["10.1.0.2", "fd01::2", "10.1.0.3", "10.1.0.4"].map(ip).into();
    let aliases = ["front".to_owned(), "all".to_owned()];
    let entries = [
        Entry { name: "box1", aliases: &aliases[1..], addresses: &all[..2] },
        Entry { name: "Box2", aliases: &[], addresses: &all[2..3] },
        Entry { name: "box3", aliases: &[], addresses: &all[3..] },
        // Taken by a service: there is no mixture.
        Entry { name: "shop", aliases: &[], addresses: &all[3..] },
    ];
    let task = |name, addresses, weight| Task { name, addresses, weight };
    let both = vec![task("box1", &all[..2], 1), task("Box2", &all[2..3], 3)];
    let service = |name, aliases, vips: Option<&[&str]>, tasks| Service {
        name,
        aliases,
        vips: vips.map(|vips| vips.iter().map(|v| ip(v)).collect()),
        tasks,
        ports: vec![(80, Protocol::Tcp), (53, Protocol::Udp)],
    };
    let services = [
        service("Shop", &aliases[..], Some(&["10.1.0.100", "fd01::100"]), both.clone()),
        service("peers", &aliases[1..], None, both),
        service("idle", &[], Some(&["10.1.0.101"]), vec![]),
        service("six", &[], Some(&["10.1.0.102", "fd01::102"]), vec![task("box3", &all[3..], 1)]),
        service("shop", &[], Some(&["10.1.0.103"]), vec![]),
    ];
    let zone = Zone::new("web", false, entries, services);
    View::new(vec![zone.into()], ["10.1.0.0/16".parse().unwrap()].into())
}

fn reply(name: &str, kind: RecordType) -> Message {
    answered(&services(), &question(name, kind))
}

/// The data of a positive answer, in order.
fn data(name: &str, kind: RecordType) -> Vec<String> {
    let reply = reply(name, kind);
    assert_eq!(reply.response_code, ResponseCode::NoError, "{name}");
    assert!(reply.answers.iter().all(|r| r.ttl == TTL && r.name.to_ascii() == name));
    let mut data: Vec<String> = reply.answers.iter().map(|r| r.data.to_string()).collect();
    data.sort();
    data
}

fn code(name: &str, kind: RecordType) -> ResponseCode {
    reply(name, kind).response_code
}

const TASKS: [&str; 2] = ["10.1.0.2", "10.1.0.3"];

#[test]
fn names_and_aliases_stand_for_virtual_ips() {
    for name in ["shop.", "SHOP.web.", "front.", "Front.Web."] {
        assert_eq!(data(name, RecordType::A), ["10.1.0.100"], "{name}");
        assert_eq!(data(name, RecordType::AAAA), ["fd01::100"], "{name}");
        assert_eq!(data(name, RecordType::MX), [""; 0], "{name}");
        assert_eq!(data(name, RecordType::ANY), ["RFC8482 "], "{name}");
    }
}

#[test]
fn tasks_stand_for_endpoints_and_so_do_names_without_virtual_ips() {
    for name in ["tasks.shop.", "Tasks.Shop.Web.", "tasks.front.", "peers.", "tasks.peers.web."] {
        assert_eq!(data(name, RecordType::A), TASKS, "{name}");
        assert_eq!(data(name, RecordType::AAAA), ["fd01::2"], "{name}");
    }
    let mut firsts = BTreeSet::new();
    let bytes = question("peers.", RecordType::A).to_vec().unwrap();
    for seed in 0..50 {
        let Verdict::Answer(reply) = answer(&services(), Transport::Datagram(4096), &bytes, seed)
        else {
            panic!()
        };
        firsts.insert(Message::from_vec(&reply).unwrap().answers[0].data.to_string());
    }
    assert_eq!(firsts.len(), 2, "in random order");
}

#[test]
fn an_alias_may_be_shared() {
    assert_eq!(data("all.", RecordType::A), ["10.1.0.100", "10.1.0.2", "10.1.0.2", "10.1.0.3"]);
    assert_eq!(data("tasks.all.", RecordType::AAAA), ["fd01::2"; 2]);
}

#[test]
fn who_has_nobody_has_a_name_without_data() {
    for name in ["idle.", "tasks.idle.", "idle.web.", "_80._tcp.idle."] {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            assert_eq!(data(name, kind), [""; 0], "{name} {kind}");
        }
    }
    assert_eq!(data("six.", RecordType::A), ["10.1.0.102"]);
    assert_eq!(data("six.", RecordType::AAAA), [""; 0], "nobody of this family");
}

#[test]
fn ports_are_found_at_the_virtual_ip() {
    for name in ["_80._tcp.shop.", "_80._TCP.Front.web."] {
        assert_eq!(data(name, RecordType::SRV), ["0 0 80 Shop.web."], "{name}");
        let extras: Vec<String> =
            reply(name, RecordType::SRV).additionals.iter().map(ToString::to_string).collect();
        assert!(extras.len() == 2 && extras[0].contains("Shop.web."), "{extras:?}");
        assert_eq!(data(name, RecordType::A), [""; 0], "{name}");
    }
    assert_eq!(data("_53._udp.shop.", RecordType::SRV), ["0 0 53 Shop.web."]);
    assert_eq!(data("_tcp.shop.", RecordType::SRV), [""; 0], "there is something below");
}

#[test]
fn ports_are_found_at_every_task() {
    for name in ["_80._tcp.tasks.shop.", "_80._tcp.peers.", "_80._tcp.tasks.peers.web."] {
        let expected = ["0 1 80 box1.web.", "0 3 80 Box2.web."];
        assert_eq!(data(name, RecordType::SRV), expected, "{name}");
        assert_eq!(reply(name, RecordType::SRV).additionals.len(), 3, "{name}");
    }
}

#[test]
fn ports_that_are_not_served_do_not_exist_and_nothing_of_it_leaves() {
    for name in [
        "_81._tcp.shop.",
        "_80._udp.shop.",
        "_080._tcp.shop.",
        "_http._tcp.shop.",
        "_x._80._tcp.shop.",
        "_icmp.shop.",
        "_80._tcp.box1.",
        "_80._tcp.nobody.",
        "_.shop.",
    ] {
        assert_eq!(code(name, RecordType::SRV), ResponseCode::NXDomain, "{name}");
    }
    let outside = question("_ldap._tcp.example.com.", RecordType::SRV);
    assert!(matches!(verdict(&services(), &outside), Verdict::Forward(_)));
}

#[test]
fn virtual_ips_point_back() {
    assert_eq!(data("100.0.1.10.in-addr.arpa.", RecordType::PTR), ["Shop.web."]);
    assert_eq!(data("101.0.1.10.in-addr.arpa.", RecordType::PTR), ["idle.web."]);
    assert_eq!(data("2.0.1.10.in-addr.arpa.", RecordType::PTR), ["box1.web."]);
    assert_eq!(code("99.0.1.10.in-addr.arpa.", RecordType::PTR), ResponseCode::NXDomain);
}

/// Many tasks at one port: cut to nothing over UDP, whole or as many as fit over TCP;
/// addresses are left out where they do not fit.
#[test]
fn long_answers_fit_their_transport() {
    let names: Vec<String> = (0..3000).map(|n| format!("task-{n}-{}", "x".repeat(40))).collect();
    let address = [ip("10.1.0.2")];
    let crowd = |count: usize| {
        let task = |name| Task { name, addresses: &address, weight: 1 };
        let service = Service {
            name: "many",
            aliases: &[],
            vips: None,
            tasks: names[..count].iter().map(String::as_str).map(task).collect(),
            ports: vec![(80, Protocol::Tcp)],
        };
        View::new(vec![Zone::new("web", false, [], [service]).into()], [].into())
    };
    let asked = question("_80._tcp.many.", RecordType::SRV);
    let tcp = |count| {
        let view = crowd(count);
        match answer(&view, Transport::Tcp, &asked.to_vec().unwrap(), 1) {
            Verdict::Answer(reply) => Message::from_vec(&reply).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let few = answered(&crowd(6), &asked);
    assert_eq!((few.truncation, few.answers.len(), few.additionals.len()), (false, 6, 0));
    let cut = answered(&crowd(20), &asked);
    assert_eq!((cut.truncation, cut.answers.len()), (true, 0));
    let whole = tcp(20);
    assert_eq!((whole.truncation, whole.answers.len(), whole.additionals.len()), (false, 20, 20));
    let most = tcp(3000);
    assert!(!most.truncation && most.answers.len() > 500, "{}", most.answers.len());
}
