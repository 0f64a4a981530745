//! Hosts that join, and what they share from then on.

use crate::common::cluster::{all_ping, capacity, container, ip, wait_agreement};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{attach_known, wait_members, wait_network};
use crate::common::netns::{Netns, Output};
use crate::common::{root, wait_until};

const RED: &str = "network create red --subnet 10.1.0.0/24";

/// A refusal of the command line: one sentence with these words.
fn refused(output: &Output, says: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.err.trim().lines().count(), 1, "one sentence: {}", output.err);
    for word in says {
        assert!(output.err.contains(word), "says {word:?}: {}", output.err);
    }
}

/// A host that could not join is what it was, and the member knows nothing of it.
fn nothing_learned(stranger: &Host, member: &Host) {
    assert_eq!(stranger.nodes().len(), 1, "{:?}", stranger.nodes());
    assert_eq!(stranger.networks(), []);
    assert_eq!(member.nodes().len(), 1, "{:?}", member.nodes());
}

#[test]
fn who_has_joined_creates_networks_at_once() {
    need!(root());
    let fabric = Fabric::new();
    let first = fabric.host(1);
    for number in 2..=4 {
        let host = fabric.host(number);
        host.join(&first);
        let body = serde_json::json!({ "name": format!("net{number}") });
        let answer = host.api("POST", "/v1/networks", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

/// The acceptance list's first: nothing but `daemon` and `join`.
#[test]
fn three_hosts_ping_each_others_containers() {
    need!(root());
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|n| fabric.host(n));
    hosts[0].ok(RED);
    hosts[1].join(&hosts[0]);
    // By whom a host joins makes no difference.
    hosts[2].join(&hosts[1]);
    wait_members(&hosts.each_ref());
    wait_network("red", &hosts.each_ref());
    let boxes = hosts.each_ref().map(|host| container(host, "red", ""));
    all_ping(&boxes.each_ref());
    wait_agreement(&hosts.each_ref());
    let network = &hosts[2].networks()[0];
    assert_eq!(network.peers.len(), 3, "{:?}", network.peers);
    let mut all: Vec<_> = boxes.iter().map(|b| b.ip).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3, "an address was given twice");
    // What another host holds is not detached here.
    let output = hosts[0].vx(&["detach", boxes[2].name()]);
    refused(&output, &[boxes[2].name(), hosts[2].ns.name()]);
}

#[test]
fn a_token_of_another_cluster_is_refused() {
    need!(root());
    let fabric = Fabric::new();
    let [member, other, stranger] = [1, 2, 3].map(|n| fabric.host(n));
    member.ok(RED);
    let line = format!("cluster join --token {} {}", other.token(), member.vtep);
    refused(&stranger.try_line(&line), &["token", "10.99.0.1", "cluster token"]);
    nothing_learned(&stranger, &member);
    let mut torn = member.token();
    torn.pop();
    let line = format!("cluster join --token {torn} {}", member.vtep);
    refused(&stranger.try_line(&line), &["token"]);
    nothing_learned(&stranger, &member);
}

#[test]
fn a_rotated_token_is_refused_and_the_new_one_taken() {
    need!(root());
    let fabric = Fabric::new();
    let [member, stranger] = [1, 2].map(|n| fabric.host(n));
    let old = member.token();
    member.ok("cluster token --rotate");
    assert_ne!(member.token(), old);
    let line = format!("cluster join --token {old} {}", member.vtep);
    refused(&stranger.try_line(&line), &["token", "rotated", "10.99.0.1"]);
    nothing_learned(&stranger, &member);
    stranger.join(&member);
    wait_members(&[&member, &stranger]);
}

#[test]
fn the_token_by_the_environment_and_by_stdin() {
    need!(root());
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|n| fabric.host(n));
    let at = hosts[0].vtep.to_string();
    let mut join = hosts[1].command(&["cluster", "join", &at]);
    let output = Output::of(join.env("VXMESH_TOKEN", hosts[0].token()));
    assert!(output.ok(), "{}", output.err);
    // Any member's token will do.
    wait_until("the second host has the token", || hosts[1].token() == hosts[0].token());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hosts[1].token() + "\n").unwrap();
    let mut join = hosts[2].command(&["cluster", "join", "--token", "-", &at]);
    join.stdin(std::fs::File::open(file.path()).unwrap());
    assert!(join.output().unwrap().status.success());
    wait_members(&hosts.each_ref());
    for host in &hosts {
        assert!(!host.log().contains(&hosts[0].token()), "the token is in the log");
    }
}

#[test]
fn joins_that_would_lose_something_are_refused() {
    need!(root());
    let fabric = Fabric::new();
    let [member, other, lonely] = [1, 2, 3].map(|n| fabric.host(n));
    member.ok(RED);
    other.ok("network create blue --subnet 10.2.0.0/24");
    let line = format!("cluster join --token {} {}", member.token(), member.vtep);
    refused(&other.try_line(&line), &["blue", "network rm"]);
    assert_eq!(other.networks().len(), 1);
    other.ok("network rm blue");
    other.ok(&line);
    wait_members(&[&member, &other]);
    refused(&other.try_line(&line), &["member of a cluster", "cluster leave"]);
    refused(&lonely.vx(&["cluster", "leave"]), &["no cluster"]);
    let line = format!("cluster join --token {} 10.99.0.200", member.token());
    refused(&lonely.try_line(&line), &["10.99.0.200"]);
    // By a name that two have nobody could say which is meant.
    let twin = Host::start(fabric.plug(4), Fabric::vtep(4), &["--name", member.ns.name()]);
    let line = format!("cluster join --token {} {}", member.token(), member.vtep);
    refused(&twin.try_line(&line), &[member.ns.name(), "--name"]);
    assert_eq!(member.nodes().len(), 2);
}

#[test]
fn addresses_and_networks_come_from_any_host() {
    need!(root());
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    hosts[1].ok(RED);
    wait_network("red", &hosts.each_ref());
    let first: Vec<_> = hosts.iter().map(|host| container(host, "red", "")).collect();
    wait_agreement(&hosts.each_ref());
    // Far off in whatever range it may be: whoever owns it gives it.
    let asked = container(&hosts[2], "red", "--ip 10.1.0.250");
    assert_eq!(asked.ip, ip(250));
    let asked_too = container(&hosts[0], "red", "--ip 10.1.0.130");
    wait_agreement(&hosts.each_ref());
    let spare = Netns::new("spare");
    for host in &hosts {
        for taken in [&first[0], &first[1], &first[2], &asked, &asked_too] {
            let line = format!("attach red --netns {} --ip {}", spare.name(), taken.ip);
            refused(&host.try_line(&line), &[&taken.ip.to_string()]);
        }
    }
    all_ping(&[&first[0], &first[1], &asked, &asked_too]);
    // Networks without any choice made, on all hosts at once.
    std::thread::scope(|scope| {
        for (n, host) in hosts.iter().enumerate() {
            scope.spawn(move || {
                for i in 0..4 {
                    host.ok(&format!("network create auto{n}{i}"));
                }
            });
        }
    });
    wait_agreement(&hosts.each_ref());
    let networks = hosts[0].networks();
    assert_eq!(networks.len(), 13);
    let distinct = |what: &dyn Fn(&vxmesh::api::Network) -> String| {
        networks.iter().map(what).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(distinct(&|n| n.vni.to_string()), 13, "a VNI was given twice");
    assert_eq!(distinct(&|n| n.ipam.config[0].subnet.to_string()), 13, "a subnet twice");
    // A subnet and a VNI that are there already are refused on every host.
    let vni = hosts[0].networks()[0].vni;
    for host in &hosts {
        refused(&host.try_line("network create late --subnet 10.1.0.0/25"), &["10.1.0.0"]);
        refused(&host.try_line(&format!("network create late --vni {vni}")), &[&vni.to_string()]);
        refused(&host.try_line("network create red"), &["red"]);
    }
    hosts[2].ok("network rm auto00");
    wait_until("a removed network goes everywhere", || {
        hosts.iter().all(|h| h.networks().iter().all(|n| n.name != "auto00"))
    });
}

/// People and scripts go from one host to the next without waiting.
#[test]
fn what_was_just_created_is_known_wherever_it_is_named() {
    need!(root());
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    let sandbox = Netns::new("box");
    for n in 0..20 {
        let [first, second, third] = [n, n + 1, n + 2].map(|i| &hosts[i % 3]);
        first.ok(&format!("network create net{n}"));
        second.ok(&format!("attach net{n} --netns {} --name e{n} --ifname e{n}", sandbox.name()));
        third.ok(&format!("network inspect net{n}"));
    }
    refused(&hosts[0].try_line("network inspect net20"), &["no network", "net20"]);
    // Who has just joined knows next to nothing yet.
    let newcomer = fabric.host(4);
    newcomer.join(&hosts[0]);
    newcomer.ok(&format!("attach net7 --netns {} --name late --ifname late", sandbox.name()));
}

/// Every address of a small network is given once, whoever asks.
#[test]
fn a_network_is_used_up_by_all_hosts_together() {
    need!(root());
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    hosts[0].ok("network create red --subnet 10.1.0.0/28");
    wait_network("red", &hosts.each_ref());
    let sandbox = Netns::new("box");
    let mut given = 0;
    let mut refusals = 0;
    while refusals < 3 {
        let host = &hosts[(given + refusals) % 3];
        let line =
            format!("attach red --netns {} --name e{given} --ifname if{given}", sandbox.name());
        let output = host.try_line(&line);
        if output.ok() {
            given += 1;
            refusals = 0;
        } else {
            refused(&output, &[]);
            refusals += 1;
        }
    }
    assert_eq!(given, 13, "16 less network, broadcast and gateway");
    wait_agreement(&hosts.each_ref());
    let red = capacity(&hosts[1], "red");
    assert_eq!(red.shares.iter().map(|s| s.free).sum::<u64>(), 0, "{red:?}");
    // One that is free again can be had by any host.
    hosts.iter().find(|h| h.vx(&["detach", "e5"]).ok()).expect("one of them holds it");
    wait_until("another host can have it", || {
        hosts[2].try_line(&format!("attach red --netns {} --name again", sandbox.name())).ok()
    });
    wait_agreement(&hosts.each_ref());
}

/// The same address on another host.
#[test]
fn a_moved_endpoint_is_followed() {
    need!(root());
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    hosts[0].ok(RED);
    wait_network("red", &hosts.each_ref());
    let watcher = container(&hosts[2], "red", "");
    for round in 0..3 {
        for host in &hosts[..2] {
            let ns = Netns::new("moved");
            let others: Vec<&Host> = hosts.iter().filter(|h| h.vtep != host.vtep).collect();
            wait_until("the address is free here too", || {
                hosts.iter().all(|h| h.endpoints().len() == 1)
            });
            let moved = attach_known(host, "red", &ns, "--ip 10.1.0.99", &others);
            watcher.ns.ping(ip(99));
            assert_eq!(moved.addresses[0].addr(), ip(99), "round {round}");
            host.ok(&format!("detach {}", ns.name()));
        }
    }
    wait_agreement(&hosts.each_ref());
}
