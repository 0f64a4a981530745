//! A daemon's end and its return, and what it must not keep.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::common::host::Host;
use crate::common::lab::{Family, Pair, one_host};
use crate::common::netns::{Netns, Output};
use crate::common::transfer::{BULK, Transfer};
use crate::common::{SOON, holds_within, root, wait_until};

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);

/// Two hosts with a container each; the second has [`SECOND`].
fn pair() -> (Pair, Netns, Netns) {
    let hosts = Pair::start(Family::V4, &[], &[]);
    hosts.create("red", 4600, "--subnet 10.1.0.0/24");
    let (on_a, on_b) = (Netns::new("ca"), Netns::new("cb"));
    hosts.on_a("red", &on_a, "--ip 10.1.0.2");
    hosts.on_b("red", &on_b, &format!("--ip {SECOND}"));
    on_a.ping(SECOND);
    (hosts, on_a, on_b)
}

/// The acceptance list's kill -9.
#[test]
fn a_transfer_survives_kill_9() {
    need!(root());
    let (mut hosts, on_a, on_b) = pair();
    let transfer = Transfer::start(&on_a, &on_b, SECOND, BULK);
    for host in [&mut hosts.a, &mut hosts.b] {
        let so_far = transfer.received();
        wait_until("the transfer is under way", || transfer.received() > so_far);
        host.kill_9();
        host.start_again();
    }
    transfer.finish();
}

#[test]
fn containers_have_their_network_back_after_a_restart() {
    need!(root());
    let (mut hosts, on_a, _on_b) = pair();
    hosts.a.ok("vtep add red 10.99.0.9");
    let before = (hosts.a.networks(), hosts.a.endpoints());
    hosts.a.kill_9();
    assert!(on_a.has_interface("eth0"), "the container keeps its interface");
    hosts.a.start_again();
    let back = || on_a.try_run(&format!("ping -c 1 -W 1 {SECOND}")).ok();
    wait_until("the container has its network back", back);
    wait_until("the API answers", || hosts.a.vx(&["status"]).ok());
    // Endpoints of a host that it has not heard of yet are not shown.
    let now = || (hosts.a.networks(), hosts.a.endpoints());
    assert!(holds_within(SOON, || now() == before), "{:#?}, not {before:#?}", now());
}

#[test]
fn sigterm_ends_it_cleanly() {
    need!(root());
    let (mut hosts, on_a, _on_b) = pair();
    let status = hosts.a.terminate();
    assert!(status.success(), "{status}: {}", hosts.a.log());
    assert!(!hosts.a.socket().exists(), "the socket is gone");
    assert!(on_a.has_interface("eth0"), "the container keeps its interface");
    let refused = hosts.a.vx(&["status"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("daemon"), "says what to start: {}", refused.err);
    hosts.a.start_again();
    on_a.ping(SECOND);
}

#[test]
fn a_second_daemon_is_refused() {
    need!(root());
    let host = one_host();
    let other = tempfile::tempdir().unwrap();
    let same_data = host.second_daemon(&host.data_dir(), &other.path().join("socket"));
    refused(&same_data, &host.data_dir().display().to_string());
    let same_socket = host.second_daemon(&other.path().join("data"), &host.socket());
    refused(&same_socket, &host.socket().display().to_string());
    host.ok("status");
}

fn refused(output: &Output, names: &str) {
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.err.contains(names), "names {names}: {}", output.err);
    assert_eq!(output.err.trim().lines().count(), 1, "one sentence: {}", output.err);
}

#[test]
fn a_deleted_namespace_releases_its_endpoint() {
    need!(root());
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    let first = Netns::new("first");
    host.attach("red", &first, "");
    drop(first);
    wait_until("the endpoint is released", || host.endpoints().is_empty());
    let second = Netns::new("second");
    let endpoint = host.attach("red", &second, "");
    assert_eq!(endpoint.addresses[0].to_string(), "10.1.0.2/24", "the address is free again");
}

#[test]
fn a_namespace_deleted_while_the_daemon_is_away_is_noticed_later() {
    need!(root());
    let mut host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    let (gone, stays) = (Netns::new("gone"), Netns::new("stays"));
    host.attach("red", &gone, "");
    let kept = host.attach("red", &stays, "");
    host.kill_9();
    drop(gone);
    host.start_again();
    wait_until("the API answers", || host.vx(&["status"]).ok());
    wait_until("one endpoint is released", || host.endpoints() == [kept.clone()]);
    stays.ping(Ipv4Addr::new(10, 1, 0, 1));
}

/// An interface that somebody deletes in the container counts as gone too.
#[test]
fn a_deleted_interface_releases_its_endpoint() {
    need!(root());
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    host.attach("red", &container, "");
    container.ip("link del eth0");
    wait_until("the endpoint is released", || host.endpoints().is_empty());
}

/// What a process holds, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    resident_kib: usize,
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    fn of(host: &Host) -> Holdings {
        let proc = format!("/proc/{}", host.pid());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        Holdings {
            resident_kib: status_number(&status, "VmRSS:"),
            descriptors: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            threads: status_number(&status, "Threads:"),
        }
    }
}

fn status_number(status: &str, name: &str) -> usize {
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The acceptance list's thousand containers. The first hundred may fill what
/// is kept for reuse: buffers, the allocator's arenas, the database's pages. Idle
/// threads of a pool may take some seconds to end.
#[test]
fn a_thousand_containers_leave_nothing() {
    need!(root());
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24 --subnet fd01::/64");
    let container = Netns::new("box");
    let cycle = |name: &str| {
        let answer = host.try_attach("red", &container, name);
        assert_eq!(answer.status, 201, "{name}: {answer:?}");
        let answer = host.api("DELETE", &format!("/v1/endpoints/{name}"), &Value::Null);
        assert_eq!(answer.status, 204, "{name}: {answer:?}");
    };
    (0..100).for_each(|n| cycle(&format!("warm{n}")));
    let before = Holdings::of(&host);
    (0..1000).for_each(|n| cycle(&format!("box{n}")));
    let after = || Holdings::of(&host);
    let level = holds_within(Duration::from_secs(30), || {
        let after = after();
        after.descriptors <= before.descriptors
            && after.threads <= before.threads
            && after.resident_kib <= before.resident_kib * 11 / 10 + 1024
    });
    assert!(level, "before: {before:?}, after: {:?}", after());
    assert_eq!(container.interfaces(), [""; 0], "no interface is left");
    assert_eq!(host.status().endpoints, 0);
}
