//! Hosts that move, leave, or are removed.

use nix::sys::signal::{Signal, kill};
use vxmesh::api::{Node, NodeState};

use crate::common::cluster::{all_ping, capacity, container, ip, wait_agreement, wait_down};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{UNDERLAY, wait_members, wait_network};
use crate::common::netns::{Netns, Output};
use crate::common::{LONG, holds_within, root, tool, wait_until};

/// Three hosts with network `red`.
fn lab() -> (Fabric, [Host; 3]) {
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    hosts[0].ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &hosts.each_ref());
    (fabric, hosts)
}

fn refused(output: &Output, says: &[&str]) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(output.err.trim().lines().count(), 1, "one sentence: {}", output.err);
    for word in says {
        assert!(output.err.contains(word), "says {word:?}: {}", output.err);
    }
}

/// All that there is of a network is owned by these hosts, and by no other, as each of
/// them knows: one that does not yet would ask somebody else for it.
fn owned_by(network: &str, hosts: &[&Host]) -> bool {
    let ours = |node: &String| hosts.iter().any(|h| h.ns.name() == node);
    hosts.iter().all(|host| {
        let red = capacity(host, network);
        let owned: u64 = red.shares.iter().map(|s| s.owned).sum();
        owned == red.total && red.shares.iter().all(|s| ours(&s.node))
    })
}

/// Restarted with another underlay address.
#[test]
fn a_host_with_another_underlay_address_is_followed() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let boxes = hosts.each_ref().map(|host| container(host, "red", ""));
    all_ping(&boxes.each_ref());
    for number in [12, 2] {
        let old = hosts[1].vtep;
        hosts[1].kill_9();
        hosts[1].ns.ip(&format!("addr del {old}/24 dev {UNDERLAY}"));
        hosts[1].vtep = Fabric::vtep(number);
        hosts[1].ns.address(&format!("{}/24", hosts[1].vtep), UNDERLAY);
        hosts[1].restart();
        wait_members(&hosts.each_ref());
        wait_agreement(&hosts.each_ref());
        all_ping(&boxes.each_ref());
    }
}

#[test]
fn a_host_that_leaves_gives_its_ranges_back() {
    need!(root());
    let (_fabric, hosts) = lab();
    let stays = container(&hosts[0], "red", "");
    let [first, second, leaver] = &hosts;
    let held = container(leaver, "red", "");
    wait_agreement(&hosts.each_ref());
    assert!(!owned_by("red", &[first, second]), "the third owns a share");
    refused(&leaver.vx(&["cluster", "leave"]), &["1 endpoint", "detach"]);
    leaver.ok(&format!("detach {}", held.name()));
    leaver.ok("cluster leave");
    assert_eq!(leaver.nodes().len(), 1);
    assert_eq!(leaver.networks(), []);
    wait_members(&[first, second]);
    wait_agreement(&[first, second]);
    wait_until("the others own all of it", || {
        owned_by("red", &[first, second]) && owned_by("vni", &[first, second])
    });
    let its = container(second, "red", &format!("--ip {}", held.ip));
    its.ns.ping(stays.ip);
    // It is a host like any other: it may come again.
    leaver.join(second);
    wait_members(&hosts.each_ref());
    wait_network("red", &[leaver]);
    container(leaver, "red", "").ns.ping(stays.ip);
}

/// The last owner of something leaves the rest to the others, also the founder.
#[test]
fn the_founder_may_leave() {
    need!(root());
    let (_fabric, hosts) = lab();
    hosts[0].ok("cluster leave");
    let rest = [&hosts[1], &hosts[2]];
    wait_members(&rest);
    wait_agreement(&rest);
    wait_until("the others own all of it", || owned_by("red", &rest) && owned_by("vni", &rest));
    hosts[1].ok("network create blue");
    wait_network("blue", &rest);
    let boxes = rest.map(|host| container(host, "red", ""));
    all_ping(&boxes.each_ref());
}

/// Nobody had heard of it when its host left.
#[test]
fn a_network_outlives_its_host_that_leaves_at_once() {
    need!(root().and_then(|()| tool("nft")));
    let (fabric, hosts) = lab();
    fabric.without_gossip();
    hosts[2].ok("network create late");
    hosts[2].ok("cluster leave");
    fabric.heal();
    wait_network("late", &[&hosts[0], &hosts[1]]);
}

/// The host that admitted it is gone, and was the only one to tell the other. It does so by
/// stream, as where the keys of datagrams have turned.
#[test]
fn a_host_that_another_does_not_know_introduces_itself() {
    need!(root().and_then(|()| tool("nft")));
    let fabric = Fabric::new();
    let [mut first, mut second]: [Host; 2] = fabric.cluster();
    first.ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &[&second]);
    let old = container(&first, "red", "");
    first.kill_9();
    let third = fabric.host(3);
    third.join(&second);
    let up = |host: &Host, other: &Host| {
        let nodes = host.nodes();
        nodes.iter().any(|n| n.name == other.ns.name() && n.state == NodeState::Up)
    };
    wait_until("the third knows the others", || up(&third, &second) && third.nodes().len() == 3);
    wait_network("red", &[&third]);
    second.kill_9();
    fabric.without_gossip();
    first.restart();
    wait_until("the first knows the third", || {
        first.nodes().iter().any(|n| n.name == third.ns.name())
    });
    fabric.heal();
    wait_until("they see each other", || up(&first, &third) && up(&third, &first));
    let new = container(&third, "red", "");
    all_ping(&[&old, &new]);
}

#[test]
fn a_dead_node_is_removed_and_its_share_is_free() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let stays = container(&hosts[0], "red", "");
    let lost = container(&hosts[2], "red", "");
    hosts[0].ok("network create blue");
    wait_network("blue", &hosts.each_ref());
    let lost_too = container(&hosts[2], "blue", "");
    wait_agreement(&hosts.each_ref());
    let name = hosts[2].ns.name().to_owned();
    refused(&hosts[0].vx(&["node", "rm", &name]), &["is up", "cluster leave"]);
    let own = hosts[0].ns.name().to_owned();
    refused(&hosts[0].vx(&["node", "rm", &own]), &[]);
    hosts[2].kill_9();
    let spare = Netns::new("spare");
    // Hidden is not free: the address is still its owner's.
    wait_down(&hosts[0], &hosts[2]);
    wait_down(&hosts[1], &hosts[2]);
    let line = format!("attach red --netns {} --ip {}", spare.name(), lost.ip);
    refused(&hosts[0].try_line(&line), &[&lost.ip.to_string()]);
    let output = hosts[1].vx(&["network", "rm", "blue"]);
    refused(&output, &[lost_too.name(), &name, "node rm", "a day"]);
    hosts[1].ok("network prune --force");
    assert_eq!(hosts[1].networks().len(), 2);
    hosts[0].ok(&format!("node rm {name}"));
    wait_until("the network is free", || hosts[1].vx(&["network", "rm", "blue"]).ok());
    {
        let rest = [&hosts[0], &hosts[1]];
        wait_members(&rest);
        wait_agreement(&rest);
        wait_until("the others own all of it", || owned_by("red", &rest));
        let its = container(&hosts[1], "red", &format!("--ip {}", lost.ip));
        stays.ns.ping(its.ip);
    }
    // It comes back, and is told that it does not belong any more.
    hosts[2].restart();
    let notice = format!("removed from the cluster by {own}: run `vxmesh cluster leave`");
    wait_until("it is told", || {
        hosts[2].status().warnings.iter().any(|warning| warning.contains(&notice))
    });
    assert!(hosts[2].ok("status").contains(&notice));
    assert!(hosts[2].ok("node ls").contains(&notice));
    for line in [
        format!("cluster join --token {} {}", hosts[0].token(), hosts[0].vtep),
        format!("attach red --netns {}", spare.name()),
        "network create blue".to_owned(),
        "cluster token".to_owned(),
    ] {
        refused(&hosts[2].try_line(&line), &[&notice]);
    }
    let rest = [&hosts[0], &hosts[1]];
    wait_agreement(&rest);
    assert_eq!(hosts[0].nodes().len(), 2, "{:?}", hosts[0].nodes());
    assert_eq!(hosts[2].status().cluster.up, 1);
    // Nobody need agree to its leaving. Then it is a fresh host, which may join.
    hosts[2].ok(&format!("detach {}", lost.name()));
    hosts[2].ok(&format!("detach {}", lost_too.name()));
    hosts[2].ok("cluster leave");
    hosts[2].join(&hosts[1]);
    wait_members(&hosts.each_ref());
    wait_agreement(&hosts.each_ref());
}

/// While a member takes its time, a second removal is refused at once, and the
/// first goes on.
#[test]
fn one_removal_at_a_time() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let third = hosts[2].ns.name().to_owned();
    hosts[2].kill_9();
    wait_down(&hosts[0], &hosts[2]);
    let (asked, slow) = (&hosts[0], &hosts[1]);
    // Who is stopped for some seconds counts as down, or has not answered in time: then
    // neither removal has gone on for as long as the other, and nothing is seen.
    let seen = holds_within(LONG, || {
        wait_until("the slow one is up", || {
            let up = |n: &Node| n.name == slow.ns.name() && n.state == NodeState::Up;
            asked.nodes().iter().any(up)
        });
        kill(slow.pid(), Signal::SIGSTOP).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let [second, first] = std::thread::scope(|scope| {
            for _ in 0..2 {
                let (tell, third) = (tell.clone(), &third);
                scope.spawn(move || tell.send(asked.vx(&["node", "rm", third])).unwrap());
            }
            let second = told.recv().unwrap();
            kill(slow.pid(), Signal::SIGCONT).unwrap();
            [second, told.recv().unwrap()]
        });
        refused(&second, &[]);
        let at_once = second.err.contains("another removal is under way");
        assert!(at_once || !first.ok(), "{first:?} beside {second:?}");
        first.ok()
    });
    assert!(seen, "a second removal is not refused, or the first does not go on");
    wait_members(&[asked, slow]);
}

#[test]
fn no_node_is_removed_while_another_cannot_be_asked() {
    need!(root().and_then(|()| tool("nft")));
    let (fabric, mut hosts) = lab();
    let kept = container(&hosts[1], "red", "");
    let lost = container(&hosts[2], "red", "");
    wait_agreement(&hosts.each_ref());
    let [second, third] = [&hosts[1], &hosts[2]].map(|h| h.ns.name().to_owned());
    hosts[2].kill_9();
    fabric.cut(&[2]);
    wait_down(&hosts[0], &hosts[2]);
    wait_down(&hosts[0], &hosts[1]);
    refused(&hosts[0].vx(&["node", "rm", &third]), &[&second, "every other member"]);
    assert_eq!(hosts[0].nodes().len(), 3);
    fabric.heal();
    let removed = holds_within(LONG, || hosts[0].vx(&["node", "rm", &third]).ok());
    assert!(removed, "it can be asked again");
    let rest = [&hosts[0], &hosts[1]];
    wait_members(&rest);
    wait_agreement(&rest);
    let its = container(&hosts[0], "red", &format!("--ip {}", lost.ip));
    its.ns.ping(kept.ip);
    assert_ne!(its.ip, ip(1));
}

/// Two at once, where neither could be asked about the other.
#[test]
fn two_dead_nodes_are_removed_together() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let _boxes = hosts.each_ref().map(|host| container(host, "red", ""));
    let [second, third] = [&hosts[1], &hosts[2]].map(|h| h.ns.name().to_owned());
    hosts[1].kill_9();
    hosts[2].kill_9();
    wait_down(&hosts[0], &hosts[1]);
    wait_down(&hosts[0], &hosts[2]);
    hosts[0].ok(&format!("node rm {second} {third}"));
    assert_eq!(hosts[0].nodes().len(), 1);
    assert!(owned_by("red", &[&hosts[0]]), "{:?}", capacity(&hosts[0], "red"));
    hosts[0].ok("network create blue");
}
