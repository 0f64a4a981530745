//! Traffic through virtual IPs: who gets it, and what becomes of it when backends go.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use vxmesh::api::Service;

use crate::common::cluster::container;
use crate::common::dns::{can, code, data};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{attach_known, one_host, wait_network};
use crate::common::netns::Netns;
use crate::common::pages::{Call, Load, PORT, Page, ask_udp, calls};
use crate::common::{LONG, holds_within, root, wait_until};

/// Three hosts with network `red` and the service `shop` on it.
struct Shop {
    hosts: [Host; 3],
    /// Its virtual IPs.
    v4: IpAddr,
    v6: IpAddr,
    _fabric: Fabric,
}

fn shown(host: &Host, name: &str) -> Service {
    let answer = host.api("GET", &format!("/v1/services/{name}"), &Value::Null);
    serde_json::from_value(answer.body).unwrap()
}

/// Waits until every host sees so many backends take flows.
fn wait_ready(hosts: &[&Host], service: &str, count: usize) {
    for host in hosts {
        let what = format!("{} sees {count} backends of {service}", host.ns.name());
        wait_until(&what, || shown(host, service).ready == count);
    }
}

impl Shop {
    fn new(options: &str) -> Shop {
        let fabric = Fabric::new();
        let hosts = fabric.cluster::<3>();
        hosts[0].ok("network create red --subnet 10.1.0.0/24 --subnet fd01::/64");
        wait_network("red", &hosts.each_ref());
        hosts[0].ok(&format!("service create shop --network red {options}"));
        for host in &hosts {
            wait_until("the service is known", || host.try_line("service inspect shop").ok());
        }
        let vips = shown(&hosts[0], "shop").networks[0].vips.clone();
        let [v4, v6] = vips[..] else { panic!("{vips:?}") };
        Shop { hosts, v4, v6, _fabric: fabric }
    }

    /// So many pages on each host, known to all.
    fn stock(&self, each: usize) -> Vec<Page> {
        let hosts = self.hosts.iter().flat_map(|host| std::iter::repeat_n(host, each));
        let pages: Vec<Page> = hosts.map(|host| Page::start(host, "red", "shop")).collect();
        wait_ready(&self.hosts.each_ref(), "shop", pages.len());
        pages
    }

    /// A container on one host that the others know: who has not heard of it yet drops
    /// what it sends.
    fn client(&self, at: usize, network: &str) -> Netns {
        let ns = Netns::new("c");
        let host = &self.hosts[at];
        let others: Vec<&Host> = self.hosts.iter().filter(|h| h.vtep != host.vtep).collect();
        attach_known(host, network, &ns, "", &others);
        ns
    }
}

fn names(pages: &[Page]) -> BTreeSet<String> {
    pages.iter().map(|page| page.name().to_owned()).collect()
}

#[test]
fn sixty_calls_reach_all_nine_backends() {
    need!(root());
    let shop = Shop::new("");
    let pages = shop.stock(3);
    let clients = [0, 1, 2].map(|at| shop.client(at, "red"));
    for client in &clients {
        for vip in [shop.v4, shop.v6] {
            let answers = calls(client, vip, 60);
            assert!(answers.failures.is_empty(), "{answers:?}");
            assert_eq!(answers.by.keys().cloned().collect::<BTreeSet<_>>(), names(&pages));
        }
        client.ping(shop.v4);
        client.ping(shop.v6);
    }
    // Who serves may be a customer, and be served by itself.
    let answers = calls(&pages[0].ns, shop.v4, 27);
    assert!(answers.failures.is_empty(), "{answers:?}");
    assert!(answers.by.contains_key(pages[0].name()), "{answers:?}");
}

#[test]
fn datagrams_pass_also_in_fragments() {
    need!(root());
    let shop = Shop::new("");
    let pages = shop.stock(1);
    let client = shop.client(0, "red");
    for vip in [shop.v4, shop.v6] {
        for len in [1, 1400, 8000, 60_000] {
            let mut served = BTreeSet::new();
            for _ in 0..6 {
                let (name, got) = ask_udp(&client, vip, len).unwrap();
                assert_eq!(got, len, "by {name}, {vip}");
                served.insert(name);
            }
            assert_eq!(served, names(&pages), "{vip}, {len} bytes");
        }
    }
}

#[test]
fn without_a_backend_callers_hear_so_at_once() {
    need!(can());
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    host.ok("service create shop --network red");
    let vip = shown(&host, "shop").networks[0].vips[0];
    let client = container(&host, "red", "");
    // A connection and a question that nobody answers end after five seconds, and otherwise.
    let refused = Call::new(&client.ns, vip).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let answer = client.ns.enter(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect((vip, PORT))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"?")?;
        socket.recv(&mut [0])
    });
    assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!((code(&client.ns, "shop"), data(&client.ns, "shop").len()), ("NOERROR".into(), 0));
    assert!(host.ok("service ls").contains("0/0"), "{}", host.ok("service ls"));
    // The only backend calls itself.
    let page = Page::start(&host, "red", "shop");
    let mut own = Call::new(&page.ns, vip).unwrap();
    own.echo().unwrap();
    assert_eq!(own.name, page.name());
    assert_eq!(ask_udp(&page.ns, vip, 4000).unwrap(), (page.name().to_owned(), 4000));
}

#[test]
fn a_killed_host_costs_nothing_once_it_is_known() {
    need!(root());
    let mut shop = Shop::new("");
    let pages = shop.stock(1);
    let client = shop.client(0, "red");
    let load = Load::start(&client, shop.v4);
    let mut held: Vec<Call> = Vec::new();
    while !held.iter().any(|call| call.name == pages[2].name()) {
        held.push(Call::new(&client, shop.v4).unwrap());
    }
    shop.hosts[2].kill_9();
    let known = holds_within(LONG, || shown(&shop.hosts[0], "shop").ready == 2);
    assert!(known, "{:?}", shown(&shop.hosts[0], "shop"));
    let failed = load.so_far().failures.len();
    let mark = load.made();
    wait_until("two seconds of calls more", || load.made() > mark + 200);
    let answers = load.stop();
    // Those that were on their way when it was killed may have failed later.
    let late = answers.failures.len() - failed;
    assert!(late <= 4, "after it was known, {late} of them: {answers:?}");
    let last = calls(&client, shop.v4, 60);
    assert!(last.failures.is_empty(), "{last:?}");
    assert_eq!(last.by.len(), 2);
    // Who was talking to it hears that it is gone, and need not wait for hours.
    for call in &mut held {
        match call.echo() {
            Ok(()) => assert_ne!(call.name, pages[2].name()),
            Err(e) => {
                assert_eq!(call.name, pages[2].name(), "{e}");
                assert_ne!(e.kind(), io::ErrorKind::WouldBlock, "it waited in vain: {call:?}");
            }
        }
    }
}

#[test]
fn flows_survive_a_restart_of_the_clients_daemon() {
    need!(root());
    let mut shop = Shop::new("");
    let pages = shop.stock(1);
    let client = shop.client(0, "red");
    let mut held: Vec<Call> = (0..9).map(|_| Call::new(&client, shop.v4).unwrap()).collect();
    assert!(shop.hosts[0].terminate().success());
    for killed in [false, true] {
        shop.hosts[0].restart();
        wait_ready(&shop.hosts.each_ref(), "shop", pages.len());
        for call in &mut held {
            call.echo().unwrap_or_else(|e| panic!("{e}: {call:?}"));
        }
        if !killed {
            let left = shop.hosts[0].data_dir().join("flows");
            wait_until("flows are left in case it is killed", || left.exists());
            shop.hosts[0].kill_9();
        }
    }
}

#[test]
fn a_thousand_services_across_three_hosts() {
    need!(root());
    let shop = Shop::new("");
    for (i, host) in shop.hosts.iter().enumerate() {
        let create = |n: usize| {
            let body = serde_json::json!({ "name": format!("s{n}"), "networks": ["red6"] });
            let answer = host.api("POST", "/v1/services", &body);
            assert_eq!(answer.status, 201, "{answer:?}");
        };
        if i == 0 {
            host.ok("network create red6 --subnet 10.6.0.0/16");
            wait_network("red6", &shop.hosts.each_ref());
        }
        (0..1000).filter(|n| n % 3 == i).for_each(create);
    }
    for host in &shop.hosts {
        let all = holds_within(LONG, || host.status().services == 1001);
        assert!(all, "{} of 1001", host.status().services);
    }
    let pages: Vec<Page> = [5, 500, 999]
        .iter()
        .zip(&shop.hosts)
        .map(|(n, host)| Page::start(host, "red6", &format!("s{n}")))
        .collect();
    let client = shop.client(1, "red6");
    for (n, page) in [5, 500, 999].iter().zip(&pages) {
        wait_ready(&shop.hosts.each_ref(), &format!("s{n}"), 1);
        let vip = shown(&shop.hosts[1], &format!("s{n}")).networks[0].vips[0];
        let answers = calls(&client, vip, 10);
        assert_eq!(answers.by.get(page.name()), Some(&10), "s{n}: {answers:?}");
    }
}
