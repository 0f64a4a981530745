//! The underlay cut and healed, frames lost, daemons killed: afterwards all
//! hosts show the same, and no address is there twice.

use nix::sys::signal::{Signal, kill};

use crate::common::cluster::{all_ping, container, wait_agreement, wait_down};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::{wait_members, wait_network};
use crate::common::netns::Netns;
use crate::common::{LONG, holds_within, root, tool, wait_until};

/// Three hosts with network `red`.
fn lab() -> (Fabric, [Host; 3]) {
    let fabric = Fabric::new();
    let hosts: [Host; 3] = fabric.cluster();
    hosts[0].ok("network create red --subnet 10.1.0.0/24");
    wait_network("red", &hosts.each_ref());
    (fabric, hosts)
}

#[test]
fn the_underlay_is_cut_and_heals() {
    need!(root().and_then(|()| tool("nft")));
    let (fabric, hosts) = lab();
    let before = hosts.each_ref().map(|host| container(host, "red", ""));
    all_ping(&before.each_ref());
    wait_agreement(&hosts.each_ref());
    for round in 0..2 {
        fabric.cut(&[3]);
        let hidden = holds_within(LONG, || {
            !hosts[0].knows(&before[2].endpoint)
                && !hosts[1].knows(&before[2].endpoint)
                && !hosts[2].knows(&before[0].endpoint)
                && !hosts[2].knows(&before[1].endpoint)
        });
        assert!(hidden, "round {round}: each side hides the other's endpoints");
        before[0].ns.ping(before[1].ip);
        // Both sides have addresses to give, none of them the same.
        let meanwhile = hosts.each_ref().map(|host| container(host, "red", ""));
        hosts[2].ok(&format!("detach {}", meanwhile[2].name()));
        let again = container(&hosts[2], "red", "");
        fabric.heal();
        wait_agreement(&hosts.each_ref());
        all_ping(&[&meanwhile[0], &meanwhile[1], &again, &before[0], &before[2]]);
        // Their namespaces go here: so do their endpoints, on all hosts.
    }
    wait_agreement(&hosts.each_ref());
    assert_eq!(hosts[1].nodes().len(), 3);
}

/// All three apart from each other, networks created on two sides meanwhile.
#[test]
fn every_host_alone_and_together_again() {
    need!(root().and_then(|()| tool("nft")));
    let (fabric, hosts) = lab();
    let kept = hosts.each_ref().map(|host| container(host, "red", ""));
    wait_agreement(&hosts.each_ref());
    fabric.silence();
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        wait_down(&hosts[a], &hosts[b]);
    }
    hosts[0].ok("network create blue --subnet 10.2.0.0/24");
    let on_blue = container(&hosts[0], "blue", "");
    let alone = hosts[1].try_line("network create green --subnet 10.3.0.0/24");
    if !alone.ok() {
        assert_eq!(alone.err.trim().lines().count(), 1, "one sentence: {}", alone.err);
    }
    hosts[2].ok(&format!("detach {}", kept[2].name()));
    fabric.heal();
    wait_agreement(&hosts.each_ref());
    let on_blue_too = container(&hosts[2], "blue", "");
    on_blue.ns.ping(on_blue_too.ip);
    kept[0].ns.ping(kept[1].ip);
}

/// Killed, while one of its containers goes away; its return shows the rest.
#[test]
fn a_killed_host_comes_back_without_stale_entries() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let [one, stays, three] = hosts.each_ref().map(|host| container(host, "red", ""));
    let goes = container(&hosts[1], "red", "");
    wait_agreement(&hosts.each_ref());
    hosts[1].kill_9();
    drop(goes);
    wait_down(&hosts[0], &hosts[1]);
    wait_until("its endpoints are hidden", || !hosts[0].knows(&stays.endpoint));
    hosts[0].ok("network create blue --subnet 10.2.0.0/24");
    hosts[1].restart();
    wait_until("the container that went is released", || hosts[1].status().endpoints == 1);
    wait_agreement(&hosts.each_ref());
    assert_eq!(hosts[2].endpoints().len(), 3);
    all_ping(&[&one, &stays, &three]);
}

/// Its containers' traffic stops with it, and goes on with it.
#[test]
fn a_frozen_host_is_hidden_and_shown_again() {
    need!(root());
    let (_fabric, hosts) = lab();
    let boxes = hosts.each_ref().map(|host| container(host, "red", ""));
    wait_agreement(&hosts.each_ref());
    for _ in 0..2 {
        kill(hosts[1].pid(), Signal::SIGSTOP).unwrap();
        for host in [&hosts[0], &hosts[2]] {
            wait_down(host, &hosts[1]);
            wait_until("its endpoints are hidden", || !host.knows(&boxes[1].endpoint));
        }
        boxes[0].ns.ping(boxes[2].ip);
        kill(hosts[1].pid(), Signal::SIGCONT).unwrap();
        wait_agreement(&hosts.each_ref());
        all_ping(&boxes.each_ref());
    }
}

#[test]
fn all_hosts_are_killed_at_once_time_and_again() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let mut boxes: Vec<_> = hosts.iter().map(|host| container(host, "red", "")).collect();
    for round in 0..3 {
        // What was told last may have reached nobody yet.
        boxes.push(container(&hosts[round % 3], "red", ""));
        hosts[(round + 1) % 3].ok(&format!("network create blue{round}"));
        hosts.iter_mut().for_each(Host::kill_9);
        hosts.iter_mut().for_each(Host::start_again);
        hosts.iter_mut().for_each(Host::wait_ready);
        wait_members(&hosts.each_ref());
        wait_agreement(&hosts.each_ref());
        boxes.push(container(&hosts[(round + 2) % 3], "red", ""));
    }
    wait_agreement(&hosts.each_ref());
    assert_eq!(hosts[0].endpoints().len(), 9);
    assert_eq!(hosts[0].networks().len(), 4);
    all_ping(&[&boxes[0], &boxes[1], &boxes[2], &boxes[8]]);
}

/// A host that is killed in the midst of its work, again and again.
#[test]
fn a_host_is_killed_while_it_attaches() {
    need!(root());
    let (_fabric, mut hosts) = lab();
    let sandbox = Netns::new("box");
    for round in 0..5 {
        let [steady, victim, _] = &hosts;
        std::thread::scope(|scope| {
            let attaching = scope.spawn(|| {
                // Until it is killed, or has no address left.
                (0..).find(|i| {
                    let name = format!("r{round}e{i}");
                    let line = format!(
                        "attach red --netns {} --name {name} --ifname {name}",
                        sandbox.name()
                    );
                    !victim.try_line(&line).ok()
                })
            });
            wait_until("some are attached", || {
                let of_round = format!("r{round}e");
                victim.endpoints().iter().filter(|e| e.name.starts_with(&of_round)).count() > 2
            });
            container(steady, "red", "");
            kill(victim.pid(), Signal::SIGKILL).unwrap();
            assert!(attaching.join().unwrap() < Some(200), "it was killed too late");
        });
        hosts[1].restart();
        wait_agreement(&hosts.each_ref());
        let all = hosts[1].endpoints();
        for endpoint in all.iter().filter(|e| e.name.starts_with('r')) {
            hosts[1].ok(&format!("detach {}", endpoint.name));
        }
    }
    wait_agreement(&hosts.each_ref());
    assert_eq!(sandbox.interfaces(), [""; 0], "no interface is left");
}

#[test]
fn a_fifth_of_all_frames_is_lost() {
    need!(root().and_then(|()| tool("nft")));
    let fabric = Fabric::new();
    let hosts = [1, 2, 3].map(|n| fabric.host(n));
    fabric.lose(20);
    hosts[0].ok("network create red --subnet 10.1.0.0/24");
    for host in &hosts[1..] {
        let line = format!("cluster join --token {} {}", hosts[0].token(), hosts[0].vtep);
        let joined = holds_within(LONG, || host.try_line(&line).ok());
        assert!(joined, "{} cannot join", host.ns.name());
    }
    wait_network("red", &hosts.each_ref());
    let sandbox = Netns::new("box");
    for (n, host) in hosts.iter().enumerate() {
        for i in 0..5 {
            let name = format!("e{n}{i}");
            let line =
                format!("attach red --netns {} --name {name} --ifname {name}", sandbox.name());
            let attached = holds_within(LONG, || host.try_line(&line).ok());
            assert!(attached, "{} cannot attach", host.ns.name());
        }
    }
    wait_agreement(&hosts.each_ref());
    fabric.heal();
    wait_agreement(&hosts.each_ref());
}
