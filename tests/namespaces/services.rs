//! Services by name: created on one host, seen, resolved and changed on all. What
//! their traffic does is not asked here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};
use vxmesh::api::{BackendState, Service};

use crate::common::dns::{can, code, data, dig, wait_name};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{attach_known, one_host, wait_network};
use crate::common::netns::{Netns, Output};
use crate::common::{LONG, holds_within, root, wait_until};

/// A service as a host shows it.
fn service(host: &Host, name: &str) -> Service {
    let answer = host.api("GET", &format!("/v1/services/{name}"), &Value::Null);
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_value(answer.body).unwrap()
}

fn services(host: &Host) -> Vec<Service> {
    serde_json::from_value(host.api("GET", "/v1/services", &Value::Null).body).unwrap()
}

fn wait_service(host: &Host, name: &str, what: &str, holds: impl Fn(&Service) -> bool) {
    wait_until(&format!("{} sees {name} {what}", host.ns.name()), || {
        services(host).iter().any(|s| s.name == name && holds(s))
    });
}

/// A refusal: one sentence with this in it.
fn refused(output: &Output, says: &str) {
    assert_eq!(output.code, Some(1), "says {says:?}: {output:?}");
    assert_eq!(output.err.trim().lines().count(), 1, "one sentence: {}", output.err);
    assert!(output.err.contains(says), "says {says:?}: {}", output.err);
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

/// Three hosts with network `red`, and a container of `shop` on each.
struct Shop {
    hosts: [Host; 3],
    boxes: [Netns; 3],
    ips: Vec<String>,
    fabric: Fabric,
}

impl Shop {
    fn open(options: &str) -> Shop {
        let fabric = Fabric::new();
        let hosts = fabric.cluster::<3>();
        hosts[0].ok("network create red --subnet 10.1.0.0/24 --subnet fd01::/64");
        wait_network("red", &hosts.each_ref());
        // A host that owns none of the addresses asks for its share.
        hosts[1].ok(&format!("service create shop --network red {options}"));
        let boxes = std::array::from_fn(|_| Netns::new("box"));
        let mut ips = Vec::new();
        for (i, (host, ns)) in hosts.iter().zip(&boxes).enumerate() {
            let others: Vec<&Host> =
                hosts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, h)| h).collect();
            let endpoint = attach_known(host, "red", ns, "--service shop", &others);
            ips.push(endpoint.addresses[0].addr().to_string());
        }
        Shop { hosts, boxes, ips: sorted(ips), fabric }
    }
}

#[test]
fn a_service_has_all_its_names_everywhere() {
    need!(can());
    let shop = Shop::open("--alias front --publish 8080:80 --publish 53/udp");
    let vips = service(&shop.hosts[0], "shop").networks[0].vips.clone();
    let [v4, v6] = vips[..] else { panic!("{vips:?}") };
    assert!(v4.is_ipv4() && v6.is_ipv6(), "{vips:?}");
    let (v4, v6) = (v4.to_string(), v6.to_string());
    for ns in &shop.boxes {
        wait_name(ns, "shop", &v4);
        for name in ["shop.red", "FRONT", "front.Red"] {
            assert_eq!(data(ns, name), [v4.as_str()], "{name}");
            assert_eq!(data(ns, &format!("{name} AAAA")), [v6.as_str()], "{name}");
        }
        wait_until("all tasks are there", || data(ns, "tasks.shop") == shop.ips);
        for name in ["tasks.shop.red", "tasks.front", "+tcp Tasks.Front.Red"] {
            assert_eq!(data(ns, name), shop.ips, "{name}");
        }
        assert_eq!(data(ns, "tasks.shop AAAA").len(), 3);
        assert_eq!(data(ns, &format!("-x {v4}")), ["shop.red."]);
        assert_eq!(data(ns, &format!("-x {v6}")), ["shop.red."]);
        assert_eq!(data(ns, "_80._tcp.shop SRV"), ["0 0 80 shop.red."]);
        assert_eq!(data(ns, "_53._udp.front.red SRV"), ["0 0 53 shop.red."]);
        assert_eq!(data(ns, "_80._tcp.tasks.shop SRV").len(), 3);
        let whole = dig(ns, "_80._tcp.shop SRV");
        assert!(whole.contains("ADDITIONAL: 3") && whole.contains(&v4), "{whole}");
        assert_eq!(code(ns, "_81._tcp.shop SRV"), "NXDOMAIN");
        assert_eq!((code(ns, "shop MX"), data(ns, "shop MX").len()), ("NOERROR".into(), 0));
        assert!(dig(ns, "sHoP").contains("\nsHoP."));
    }
    // An address of its own, that nobody else has.
    let endpoints = shop.hosts[0].endpoints();
    let held: Vec<IpAddr> =
        endpoints.iter().flat_map(|e| e.addresses.iter().map(|a| a.addr())).collect();
    assert!(!vips.iter().any(|vip| held.contains(vip)), "{held:?}");
    let other = Netns::new("other");
    let line = format!("attach red --netns {} --ip {v4}", other.name());
    refused(&shop.hosts[1].try_line(&line), "taken by service shop");

    let listed = shop.hosts[2].ok("service ls");
    let row = listed.lines().nth(1).unwrap();
    for cell in ["shop", "vip", "3/3", &v4, &v6, "red", "*:8080->80/tcp,53/udp"] {
        assert!(row.contains(cell), "{cell} in {row}");
    }
    let of_endpoint = shop.hosts[0].ok("endpoint ls");
    assert_eq!(of_endpoint.matches("   shop   ").count(), 3, "{of_endpoint}");
    wait_until("there is nothing to warn of", || shop.hosts[0].status().warnings.is_empty());
}

#[test]
fn any_host_changes_and_removes_it() {
    need!(can());
    let shop = Shop::open("--endpoint-mode dnsrr");
    let [a, b, c] = &shop.hosts;
    let ns = &shop.boxes[0];
    wait_until("names stand for tasks", || data(ns, "shop") == shop.ips);
    assert_eq!(services(c)[0].networks[0].vips, [] as [IpAddr; 0]);

    c.ok("service update shop --endpoint-mode vip --alias-add front --scheduler maglev");
    wait_service(a, "shop", "with a virtual IP", |s| !s.networks[0].vips.is_empty());
    let vip = service(a, "shop").networks[0].vips[0].to_string();
    wait_name(ns, "front", &vip);

    // Another network, and back: its virtual IP there is the same.
    b.ok("network create blue --subnet 10.2.0.0/24");
    a.ok("service update shop --network-add blue");
    wait_service(c, "shop", "on blue", |s| s.networks.len() == 2);
    let on_blue = service(c, "shop").networks[1].vips.clone();
    assert_eq!(on_blue.len(), 1);
    refused(&c.try_line("network rm blue"), "in use by service shop");
    c.ok("service update shop --network-rm blue");
    wait_service(b, "shop", "off blue", |s| s.networks.len() == 1);
    b.ok("service update shop --network-add blue");
    assert_eq!(service(b, "shop").networks[1].vips, on_blue);
    b.ok("service update shop --network-rm blue");
    wait_service(a, "shop", "off blue", |s| s.networks.len() == 1);
    a.ok("network rm blue");

    // A weight of nothing takes an endpoint out, on whatever host it is.
    let first = shop.boxes[0].name();
    c.ok(&format!("service update shop --weight {first}=0"));
    wait_service(a, "shop", "2/3", |s| s.ready == 2);
    let backends = service(a, "shop").backends;
    let out = backends.iter().find(|b| b.name == first).unwrap();
    assert_eq!((out.weight, out.reason.as_deref()), (0, Some("its weight is 0")));
    wait_until("the name leaves it out", || data(ns, "tasks.shop").len() == 2);

    b.ok("service rm shop");
    for host in &shop.hosts {
        wait_until("it is gone", || services(host).is_empty());
    }
    wait_until("its name is gone", || code(ns, "shop") == "NXDOMAIN");
    assert!(a.endpoint(first).service.is_none(), "it stays, and belongs to none");
    assert_eq!(data(ns, first), [a.endpoint(first).addresses[0].addr().to_string()]);
}

#[test]
fn a_change_undoes_none_that_gossip_has_not_told_of() {
    need!(can());
    let fabric = Fabric::new();
    let hosts = fabric.cluster::<3>();
    hosts[0].ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &hosts.each_ref());
    hosts[1].ok("service create shop --network red");
    for host in &hosts {
        wait_service(host, "shop", "as it was created", |_| true);
    }
    fabric.without_gossip();
    let aliases: Vec<String> = (0..12).map(|n| format!("alias{n:02}")).collect();
    for (alias, host) in aliases.iter().zip(hosts.iter().cycle()) {
        host.ok(&format!("service update shop --alias-add {alias}"));
    }
    assert_eq!(sorted(service(&hosts[2], "shop").aliases), aliases);
    // Who has used up its share of the addresses is given another.
    for (i, host) in hosts.iter().enumerate() {
        for n in 0..50 {
            host.ok(&format!("service create s{i}{n:02} --network red"));
        }
    }
    fabric.heal();
    for host in &hosts {
        let all = holds_within(LONG, || services(host).len() == 151);
        assert!(all, "{} of 151 services on {}", services(host).len(), host.ns.name());
    }
    let vips: BTreeSet<IpAddr> =
        services(&hosts[0]).iter().flat_map(|s| s.networks[0].vips.clone()).collect();
    assert_eq!(vips.len(), 151);
}

#[test]
fn a_service_that_is_not_well_says_so() {
    need!(can());
    let shop = Shop::open("");
    let [a, b, c] = &shop.hosts;
    wait_service(a, "shop", "3/3", |s| s.ready == 3);
    b.ok("service create idle --network red --health tcp:80");
    let late = Netns::new("late");
    b.attach("red", &late, "--service idle --weight 7");
    wait_service(a, "idle", "with one that starts", |s| s.backends.len() == 1);
    let backend = service(a, "idle").backends[0].clone();
    // Nothing listens there: it is not yet, and never will be, well.
    assert!(
        matches!(backend.state, BackendState::Starting | BackendState::Unhealthy),
        "{backend:?}"
    );
    assert_eq!((backend.weight, backend.node.as_str()), (7, b.ns.name()));
    assert!(backend.reason.unwrap().contains("health check (tcp:80)"));
    assert_eq!((code(&late, "idle"), data(&late, "idle").len()), ("NOERROR".into(), 0));
    for host in [a, b] {
        wait_until("it is warned of", || {
            let warnings = host.status().warnings;
            warnings.iter().any(|w| w.contains("no endpoint of service idle"))
        });
        assert!(host.ok("service ls").contains("   0/1   "));
    }

    // A host that is gone takes its endpoints with it, and is named.
    let gone = c.ns.name().to_owned();
    shop.fabric.cut(&[3]);
    let seen = holds_within(LONG, || service(a, "shop").ready == 2);
    assert!(seen, "{:?}", service(a, "shop"));
    let away = service(a, "shop").backends;
    let away = away.iter().find(|b| b.state == BackendState::Away).unwrap();
    assert_eq!((away.node.as_str(), away.name.as_str()), (gone.as_str(), shop.boxes[2].name()));
    assert!(away.reason.as_ref().unwrap().contains(&gone), "{away:?}");
    assert!(a.ok("service ls").contains("   2/3   "));
    assert_eq!(data(&shop.boxes[0], "tasks.shop").len(), 2);
    shop.fabric.heal();
    let back = holds_within(LONG, || service(a, "shop").ready == 3);
    assert!(back, "{:?}", service(a, "shop"));
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    need!(root());
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    host.ok("network create blue --subnet 10.2.0.0/30");
    host.ok("service create shop --network red --alias front --publish 80:80");
    let [one, two] = [Netns::new("one"), Netns::new("two")];
    host.attach("red", &one, "--alias db --alias cache");
    let name = one.name();
    let before = services(&host);
    for (line, says) in [
        ("create a.b --network red", "cannot be the name of a service"),
        ("create tasks --network red", "tasks.NAME stands for"),
        ("create ok --network red --alias tasks.x", "tasks.NAME stands for"),
        ("create ok --network red --alias a/b", "cannot be the name of an alias"),
        ("create SHOP --network blue", "service shop exists already"),
        ("create front --network red", "front is a name of service shop"),
        ("create ok --network red --alias Shop", "Shop is a name of service shop"),
        ("create db --network red", "alias of endpoint"),
        (&format!("create {name} --network red"), "name of endpoint"),
        (&format!("create ok --network red --alias {name}"), "name of endpoint"),
        ("create ok --network green", "there is no network \"green\""),
        ("create ok --network red --publish 80:81", "port 80/tcp is published by service shop"),
        ("create ok --network red --publish 81:1 --publish 81:2", "published twice"),
        ("create ok --network red --endpoint-mode dnsrr --affinity client-ip", "dnsrr"),
        ("create ok --network red --endpoint-mode dnsrr --scheduler maglev", "dnsrr"),
        ("create ok --network red --health tcp:80,interval=1ms", "from 100ms to 1h"),
        ("create ok --network red --health tcp:80,timeout=2m", "from 10ms to 60s"),
        ("create ok --network red --health tcp:80,retries=0", "at least one try"),
        ("create ok --network red --drain 86401", "86400 seconds at most"),
        ("update nobody --drain 1", "there is no service \"nobody\""),
        ("update shop --network-rm red", "would be on no network"),
        ("update shop --network-rm blue", "is not on network blue"),
        ("update shop --alias-rm x", "has no alias \"x\""),
        ("update shop --alias-add tasks.y", "tasks.NAME stands for"),
        ("update shop --publish-rm 81", "does not publish port 81/tcp"),
        ("update shop --endpoint-mode dnsrr --affinity client-ip", "dnsrr"),
        (&format!("update shop --weight {name}=2"), "has no endpoint"),
        ("rm nobody", "there is no service \"nobody\""),
    ] {
        let words: Vec<&str> = std::iter::once("service").chain(line.split(' ')).collect();
        let output = host.vx(&words);
        assert!(matches!(output.code, Some(1 | 2)), "{line}: {output:?}");
        assert!(output.err.contains(says), "{line}: says {says:?}: {}", output.err);
        assert_eq!(services(&host), before, "{line}");
    }
    for (more, says) in [
        ("--service nobody", "there is no service \"nobody\""),
        ("--name shop", "shop is a name of service shop"),
        ("--name FRONT", "FRONT is a name of service shop"),
        ("--name x --alias tasks.front", "tasks.front is a name of service shop"),
    ] {
        let line = format!("attach red --netns {} {more}", two.name());
        refused(&host.try_line(&line), says);
    }
    let line = format!("attach blue --netns {} --service shop", two.name());
    refused(&host.try_line(&line), "service shop is not on network blue");
    // An alias may be shared, and a name that is only a default gives way.
    host.ok(&format!("attach red --netns {} --alias front --ifname shop", two.name()));
    host.ok("attach red --tap shop");
    let names: Vec<String> = host.endpoints().into_iter().map(|e| e.name).collect();
    assert!(names.iter().any(|n| n.starts_with("shop-")), "{names:?}");

    // One address is free in blue: the second service finds none, and says so.
    host.ok("service create small --network blue");
    refused(&host.try_line("service create none --network blue"), "10.2.0.0/30");
    assert_eq!(services(&host).len(), 2);
    let missing = json!({"name": "x", "networks": []});
    assert_eq!(host.api("POST", "/v1/services", &missing).status, 400);
    let port = json!({"name": "x", "networks": ["red"], "published": [{"target": 0}]});
    assert_eq!(host.api("POST", "/v1/services", &port).status, 400);
    let unknown = json!({"name": "x", "networks": ["red"], "replicas": 3});
    assert_eq!(host.api("POST", "/v1/services", &unknown).status, 400);
}

#[test]
fn services_outlive_the_daemon() {
    need!(can());
    let mut host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    host.ok("service create shop --network red");
    let container = Netns::new("box");
    host.attach("red", &container, "--service shop");
    let before = services(&host);
    assert_eq!(before[0].ready, 1);
    host.kill_9();
    host.restart();
    wait_until("all is as it was", || services(&host) == before);
    wait_name(&container, "shop", &before[0].networks[0].vips[0].to_string());
}
