//! Where an interface may go, what it looks like there, and what is left when
//! it cannot be made.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};

use vxmesh::api::{Endpoint, Holder, Sandbox};

use crate::common::host::Host;
use crate::common::lab::one_host;
use crate::common::netns::{Netns, command};
use crate::common::{root, wait_until};

fn host_with_network() -> Host {
    let host = one_host();
    host.ok("network create red --subnet 10.1.0.0/24 --subnet fd01::/64");
    host
}

fn address(endpoint: &Endpoint) -> String {
    endpoint.addresses[0].addr().to_string()
}

#[test]
fn the_interface_is_as_asked() {
    need!(root());
    let host = host_with_network();
    let container = Netns::new("box");
    let endpoint = host.attach(
        "red",
        &container,
        "--ifname web0 --ip 10.1.0.77 --ip fd01::77 --mac 02:00:00:00:07:07",
    );
    let link = container.ip("link show web0");
    assert!(link.contains("mtu 1450") && link.contains("02:00:00:00:07:07"), "{link}");
    assert!(link.contains(",UP"), "{link}");
    assert!(link.contains("qlen 4000"), "{link}");
    let addresses = container.ip("addr show web0");
    assert!(addresses.contains("inet 10.1.0.77/24"), "{addresses}");
    assert!(addresses.contains("inet6 fd01::77/64"), "{addresses}");
    assert!(container.ip("route show default").starts_with("default via 10.1.0.1 dev web0"));
    assert!(container.ip("-6 route show default").starts_with("default via fd01::1 dev web0"));
    assert_eq!(endpoint.mac.to_string(), "02:00:00:00:07:07");
    container.ping(Ipv4Addr::new(10, 1, 0, 1));
}

#[test]
fn the_mac_is_dockers_unless_given() {
    need!(root());
    let host = host_with_network();
    let container = Netns::new("box");
    host.attach("red", &container, "--ip 10.1.0.77");
    assert!(container.ip("link show eth0").contains("02:42:0a:01:00:4d"));
}

/// A process that sits in a namespace; ended when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start(ns: &Netns) -> Sleeper {
        Sleeper(ns.enter(|| command("sleep 600").stdin(Stdio::null()).spawn().unwrap()))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn by_name_by_path_and_by_process() {
    need!(root());
    let host = host_with_network();
    let [by_name, by_path, by_pid] = ["name", "path", "pid"].map(Netns::new);
    let process = Sleeper::start(&by_pid);
    host.ok(&format!("attach red --netns {} --name one", by_name.name()));
    host.ok(&format!("attach red --netns {} --name two", by_path.path().display()));
    host.ok(&format!("attach red --pid {} --name three", process.0.id()));
    for (ns, name) in [(&by_name, "one"), (&by_path, "two"), (&by_pid, "three")] {
        let own = address(&host.endpoint(name));
        assert!(ns.ip("addr show eth0").contains(&own), "{name}");
        ns.ping(Ipv4Addr::new(10, 1, 0, 1));
    }
    by_name.ping(Ipv4Addr::new(10, 1, 0, 4));
}

#[test]
fn one_container_on_two_networks() {
    need!(root());
    let host = host_with_network();
    host.ok("network create blue --subnet 10.2.0.0/24 --internal");
    let (container, other) = (Netns::new("box"), Netns::new("other"));
    host.attach("red", &container, "");
    host.ok(&format!("attach blue --netns {} --name box-blue --ifname eth1", container.name()));
    host.ok(&format!("attach blue --netns {} --name other-blue", other.name()));
    container.ping(Ipv4Addr::new(10, 1, 0, 1));
    container.ping(Ipv4Addr::new(10, 2, 0, 3));
}

/// A TAP on the host, for a virtual machine. The "machine" here is the test,
/// which gives the host's own end an address as a guest would.
#[test]
fn a_tap_on_the_host() {
    need!(root());
    let mut host = host_with_network();
    let container = Netns::new("box");
    host.attach("red", &container, "--ip 10.1.0.9");
    host.ok("attach red --tap vm0 --name machine --ip 10.1.0.5");
    let machine = host.endpoint("machine");
    let holder = matches!(
        &machine.holder,
        Holder::Local { sandbox: Sandbox::Tap(name), .. } if name == "vm0"
    );
    assert!(holder, "{machine:?}");
    assert!(host.ns.has_interface("vm0"));
    host.kill_9();
    assert!(host.ns.has_interface("vm0"), "it outlives the daemon");
    host.start_again();
    wait_until("the API answers", || host.vx(&["status"]).ok());
    host.ok("detach machine");
    assert!(!host.ns.has_interface("vm0"));
}

#[test]
fn addresses_are_given_lowest_first_and_again_after_detach() {
    need!(root());
    let host = host_with_network();
    let boxes = ["one", "two", "three", "four"].map(Netns::new);
    let given: Vec<String> =
        boxes[..3].iter().map(|c| address(&host.attach("red", c, ""))).collect();
    assert_eq!(given, ["10.1.0.2", "10.1.0.3", "10.1.0.4"], "never the gateway's, .1");
    host.ok(&format!("detach {}", boxes[1].name()));
    assert_eq!(boxes[1].interfaces(), [""; 0], "detach removes the interface");
    assert_eq!(address(&host.attach("red", &boxes[3], "")), "10.1.0.3");
    assert_eq!(address(&host.attach("red", &boxes[1], "")), "10.1.0.5");
}

#[test]
fn an_attach_that_fails_leaves_nothing() {
    need!(root());
    let host = host_with_network();
    let (container, taken, fresh) = (Netns::new("box"), Netns::new("taken"), Netns::new("fresh"));
    container.ip("link add eth0 type veth peer name eth9");
    host.attach("red", &taken, "--ip 10.1.0.2 --mac 02:00:00:00:00:02");
    let before = (host.endpoints(), host.ns.interfaces());
    let name = fresh.name();
    for (line, says) in [
        (format!("attach red --netns {}", container.name()), "eth0"),
        (format!("attach red --netns {}", taken.name()), "eth0"),
        ("attach red --netns vx-no-such-namespace".to_owned(), "vx-no-such-namespace"),
        ("attach red --netns /etc/hostname".to_owned(), "/etc/hostname"),
        ("attach red --netns /run/netns".to_owned(), "/run/netns"),
        ("attach red --pid 4194304".to_owned(), "4194304"),
        (format!("attach green --netns {name}"), "green"),
        (format!("attach red --netns {name} --ip 10.1.0.2"), "10.1.0.2"),
        (format!("attach red --netns {name} --ip 10.1.0.1"), "10.1.0.1"),
        (format!("attach red --netns {name} --ip 10.9.0.2"), "10.9.0.2"),
        (format!("attach red --netns {name} --ip 10.1.0.255"), "10.1.0.255"),
        (format!("attach red --netns {name} --ip 10.1.0.7 --ip 10.1.0.8"), "10.1.0.8"),
        (format!("attach red --netns {name} --mac 02:00:00:00:00:02"), "02:00:00:00:00:02"),
        (format!("attach red --netns {name} --mac 01:00:5e:00:00:01"), "01:00:5e:00:00:01"),
        (format!("attach red --netns {name} --name {}", taken.name()), taken.name()),
        (
            format!("attach red --netns {name} --ifname a-name-too-long-for-linux"),
            "a-name-too-long",
        ),
        (format!("attach red --netns {name} --ifname lo"), "lo"),
        (format!("attach red --netns {name} --ifname a/b"), "a/b"),
        ("attach red --tap u0".to_owned(), "u0"),
        ("attach red --tap lo".to_owned(), "lo"),
    ] {
        let output = host.vx(&line.split(' ').collect::<Vec<_>>());
        assert!(matches!(output.code, Some(1 | 2)), "{line}: {output:?}");
        assert!(output.err.contains(says), "{line}: names {says}: {}", output.err);
        assert_eq!((host.endpoints(), host.ns.interfaces()), before, "after {line}");
        assert_eq!(container.interfaces(), ["eth9", "eth0"], "after {line}");
        assert_eq!(taken.interfaces(), ["eth0"], "after {line}");
        assert_eq!(fresh.interfaces(), [""; 0], "after {line}");
    }
    assert_eq!(address(&host.attach("red", &fresh, "")), "10.1.0.3", "no address was lost");
    // What failed for its surroundings succeeds when they are put right.
    container.ip("link del eth0");
    assert_eq!(address(&host.attach("red", &container, "")), "10.1.0.4");
}
