//! DNS as containers see it: `dig` inside, real daemons outside.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use vxmesh::api::Endpoint;

use crate::common::dns::{ELSEWHERE, Manner, Upstream, can, code, data, dig, host, wait_name};
use crate::common::host::Host;
use crate::common::lab::{Family, Pair};
use crate::common::netns::Netns;
use crate::common::wait_until;

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// An endpoint of its own name, in a container that may have several.
fn attach(host: &Host, network: &str, container: &Netns, name: &str, more: &str) -> Endpoint {
    host.ok(&format!("attach {network} --netns {} --name {name} {more}", container.name()));
    host.endpoint(name)
}

#[test]
fn containers_find_each_other_by_name() {
    need!(can());
    let hosts = Pair::start(Family::V4, &[], &[]);
    hosts.create("red", 4600, "--subnet 10.1.0.0/24 --subnet fd01::/64");
    let (on_a, on_b) = (Netns::new("ca"), Netns::new("cb"));
    attach(&hosts.a, "red", &on_a, "web", "--ip 10.1.0.2 --ip fd01::2 --alias www");
    attach(&hosts.b, "red", &on_b, "Store", "--ip 10.1.0.130 --ip fd01::8002 --alias db");
    for ns in [&on_a, &on_b] {
        wait_name(ns, "web", "10.1.0.2");
        wait_name(ns, "store", "10.1.0.130");
        assert_eq!(data(ns, "db"), ["10.1.0.130"], "an alias");
        assert_eq!(data(ns, "www.red"), ["10.1.0.2"], "with its network");
        assert_eq!(data(ns, "store AAAA"), ["fd01::8002"]);
        assert_eq!(data(ns, "+tcp store"), ["10.1.0.130"]);
        assert_eq!(data(ns, "-x 10.1.0.130"), ["Store.red."]);
        assert_eq!(data(ns, "-x fd01::2"), ["web.red."]);
        assert_eq!(code(ns, "-x 10.1.0.99"), "NXDOMAIN");
        assert_eq!(data(ns, "store ANY +notcp"), ["\"RFC8482\" \"\""]);
        assert_eq!((code(ns, "web MX"), data(ns, "web MX").len()), ("NOERROR".into(), 0));
    }
    let whole = dig(&on_a, "sToRe");
    assert!(whole.contains(";sToRe.") && whole.contains("\nsToRe."), "{whole}");
    assert!(whole.contains("EDNS: version: 0"), "{whole}");
    hosts.b.ok("detach Store");
    wait_until("the name is gone", || code(&on_a, "store") == "NXDOMAIN");
}

#[test]
fn a_name_of_many_is_cut_short_and_whole_over_tcp() {
    need!(can());
    let host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    for n in 0..35 {
        let more = format!("--ifname e{n} --alias all");
        attach(&host, "red", &container, &format!("n{n}"), &more);
    }
    let short = dig(&container, "+noedns +ignore all");
    assert!(short.contains("flags: qr aa tc rd ra; QUERY: 1, ANSWER: 0"), "{short}");
    assert_eq!(data(&container, "+noedns +tcp all").len(), 35);
    let retried = dig(&container, "+noedns all");
    assert!(retried.contains("Truncated, retrying in TCP mode"), "{retried}");
    let one = dig(&container, "+short all");
    wait_until("the order changes", || dig(&container, "+short all") != one);
}

#[test]
fn the_gateway_answers_too() {
    need!(can());
    let host = host(&["127.0.0.1"]);
    let _upstream = Upstream::start(&host.ns, LOCAL, Manner::Honest);
    host.ok("network create red --subnet 10.1.0.0/24 --subnet fd01::/64");
    host.ok("network create blue --subnet 10.2.0.0/24");
    let container = Netns::new("box");
    attach(&host, "red", &container, "web", "--ip 10.1.0.2 --ip fd01::2");
    attach(&host, "blue", &container, "side", "--ip 10.2.0.2 --ifname eth1");
    let asked = |at: &str, question: &str| {
        container.try_run(&format!("dig @{at} +time=5 +tries=1 +short {question}")).out
    };
    for gateway in ["10.1.0.1", "fd01::1"] {
        assert_eq!(asked(gateway, "web"), "10.1.0.2\n");
        assert_eq!(asked(gateway, "web AAAA"), "fd01::2\n");
        assert_eq!(asked(gateway, "-x 10.1.0.2"), "web.red.\n");
        assert_eq!(asked(gateway, "www.example.com").trim(), ELSEWHERE);
        assert_eq!(asked(gateway, "side"), "", "another network's");
    }
    assert_eq!(asked("10.2.0.1", "side"), "10.2.0.2\n");
}

#[test]
fn networks_do_not_see_each_other() {
    need!(can());
    let host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    host.ok("network create blue --subnet 10.2.0.0/24");
    let [red, blue, both] = ["red", "blue", "both"].map(Netns::new);
    attach(&host, "red", &red, "r", "--ip 10.1.0.2");
    attach(&host, "blue", &blue, "b", "--ip 10.2.0.2");
    attach(&host, "red", &both, "both-r", "--ip 10.1.0.3");
    assert_eq!(code(&both, "b"), "NXDOMAIN");
    attach(&host, "blue", &both, "both-b", "--ip 10.2.0.3 --ifname eth1");
    for (ns, name, ip) in [(&red, "b", "10.2.0.2"), (&blue, "r", "10.1.0.2")] {
        assert_eq!(code(ns, name), "NXDOMAIN");
        assert_eq!(data(ns, &format!("{name}.red")), [""; 0]);
        assert_eq!(code(ns, &format!("-x {ip}")), "NXDOMAIN");
    }
    assert_eq!(
        (data(&both, "r"), data(&both, "b")),
        (vec!["10.1.0.2".into()], vec!["10.2.0.2".into()])
    );
    // The sockets go with the last endpoint.
    host.ok("detach both-r");
    assert_eq!((code(&both, "r"), data(&both, "b")), ("NXDOMAIN".into(), vec!["10.2.0.2".into()]));
    host.ok("detach both-b");
    assert!(code(&both, "b").contains("refused"));
    both.enter(|| UdpSocket::bind(("127.0.0.11", 53))).expect("the address is free at once");
}

#[test]
fn the_rest_is_asked_upstream() {
    need!(can());
    // Nobody listens at the first one.
    let host = host(&["127.0.0.2", "127.0.0.1"]);
    let upstream = Upstream::start(&host.ns, LOCAL, Manner::Honest);
    host.ok("network create red --subnet 10.1.0.0/24");
    host.ok("network create inside --subnet 10.2.0.0/24 --internal");
    let (container, internal) = (Netns::new("box"), Netns::new("internal"));
    attach(&host, "red", &container, "web", "");
    attach(&host, "inside", &internal, "hidden", "");
    for question in ["www.example.com", "+tcp www.example.com", "+noedns wWw.eXample.org"] {
        assert_eq!(data(&container, question), [ELSEWHERE], "{question}");
    }
    // More than once, if this machine kept the resolver waiting for so long.
    assert!(upstream.asked() >= 3);
    let asked = upstream.questions();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for question in ["nobody", "-x 10.1.0.77", "-x 192.168.7.7", "-x fd77::1", "web TXT"] {
        assert_ne!(code(&container, question), "SERVFAIL", "{question}");
    }
    assert_eq!(code(&internal, "www.example.com"), "REFUSED");
    assert_eq!(code(&container, "+opcode=status www.example.com"), "NOTIMP");
    assert_eq!(code(&container, "-c CH version.bind TXT"), "REFUSED");
    assert_eq!(upstream.questions(), asked, "none of these leaves");
    for n in 0..20 {
        data(&container, &format!("n{n}.example.com"));
    }
    let mut ports = upstream.ports();
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() > 15, "ports are random: {ports:?}");
    assert!(host.counter("names_forwarded") >= 23 && host.counter("names_answered") > 5);
}

/// The first resolver is silent, the second answers; then neither is there.
#[test]
fn upstream_fails_over_and_fails_fast() {
    need!(can());
    let host = host(&["127.0.0.2", "127.0.0.1"]);
    let silent = Upstream::start(&host.ns, Ipv4Addr::new(127, 0, 0, 2), Manner::Silent);
    let honest = Upstream::start(&host.ns, LOCAL, Manner::Honest);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    attach(&host, "red", &container, "web", "");
    let ask = |n: usize| assert_eq!(data(&container, &format!("n{n}.example.com")), [ELSEWHERE]);
    (0..3).for_each(ask);
    assert!(silent.asked() >= 3, "it is the first to be asked");
    wait_until("it is left alone for a while", || {
        let before = silent.asked();
        (3..5).for_each(ask);
        silent.asked() == before
    });
    drop((silent, honest));
    let fails = || dig(&container, "gone.example.com");
    wait_until("nobody is left to ask", || fails().contains("SERVFAIL"));
    let at_once = || {
        let out = fails();
        let time = out.split("Query time: ").nth(1).and_then(|t| t.split(' ').next()).unwrap_or("");
        // Much less than a resolver's patience is waited for.
        out.contains("SERVFAIL") && time.parse().is_ok_and(|ms: u32| ms < 700)
    };
    wait_until("it is said at once", at_once);
    assert_eq!(data(&container, "web"), ["10.1.0.2"], "the cluster's names are there");
    let _back = Upstream::start(&host.ns, LOCAL, Manner::Honest);
    wait_until("it is back", || data(&container, "again.example.com") == [ELSEWHERE]);
}

#[test]
fn names_are_back_after_a_restart() {
    need!(can());
    let mut host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    attach(&host, "red", &container, "web", "");
    assert_eq!(data(&container, "+tcp web"), ["10.1.0.2"]);
    host.kill_9();
    host.restart();
    wait_until("names are served", || data(&container, "web") == ["10.1.0.2"]);
    assert_eq!(data(&container, "+tcp web"), ["10.1.0.2"]);
    wait_until("nothing is to be warned of", || host.status().warnings.is_empty());
}

#[test]
fn a_loopback_that_is_down_is_set_up() {
    need!(can());
    let host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    container.ip("link set lo down");
    attach(&host, "red", &container, "web", "");
    assert_eq!(data(&container, "web"), ["10.1.0.2"]);
}

#[test]
fn a_taken_address_is_said_and_taken_up_when_it_is_free() {
    need!(can());
    let host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let container = Netns::new("box");
    let other = container.enter(|| UdpSocket::bind(("127.0.0.11", 53)).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    let name = container.name();
    let output = host.try_line(&format!(
        "attach red --netns {name} --name web --resolv-conf {}",
        file.display()
    ));
    assert!(output.ok() && output.err.contains("127.0.0.11:53"), "{output:?}");
    assert!(!file.exists(), "it would point at somebody else");
    let endpoint = host.endpoint("web");
    assert!(endpoint.warnings[0].contains("in use"), "{endpoint:?}");
    let status = host.status();
    assert!(status.warnings[0].contains("endpoint web: "), "{:?}", status.warnings);
    drop(other);
    wait_until("names are served", || data(&container, "web") == ["10.1.0.2"]);
    wait_until("the warning is gone", || host.status().warnings.is_empty());
    wait_until("the file is written", || file.exists());
}

/// A directory under /etc/netns, removed when dropped.
struct OfNamespace(PathBuf);

impl OfNamespace {
    fn new(ns: &Netns) -> OfNamespace {
        let dir = PathBuf::from("/etc/netns").join(ns.name());
        fs::create_dir_all(&dir).unwrap();
        OfNamespace(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.join("resolv.conf")
    }
}

impl Drop for OfNamespace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // Only if there is nobody else's in it.
        let _ = fs::remove_dir("/etc/netns");
    }
}

#[test]
fn resolv_conf_is_written_and_put_back() {
    need!(can());
    let mut host = host(&[]);
    host.ok("network create red --subnet 10.1.0.0/24");
    let [named, given, plain] = ["named", "given", "plain"].map(Netns::new);
    let of_named = OfNamespace::new(&named);
    let before = "search corp.example\nnameserver 192.0.2.1\n";
    fs::write(of_named.file(), before).unwrap();
    attach(&host, "red", &named, "one", "");
    attach(&host, "red", &named, "two", "--ifname eth1");
    attach(&host, "red", &plain, "three", "");
    let text = fs::read_to_string(of_named.file()).unwrap();
    assert!(
        text.contains("\nnameserver 127.0.0.11\nsearch corp.example\noptions ndots:0\n"),
        "{text}"
    );
    assert!(!PathBuf::from("/etc/netns").join(plain.name()).exists());
    // `ip netns exec` puts the file where programs look for it.
    let exec = format!("ip netns exec {} dig +short three", named.name());
    let resolved = host.ns.run(&exec);
    assert_eq!(resolved.trim(), "10.1.0.4");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    attach(&host, "red", &given, "four", &format!("--resolv-conf {}", file.display()));
    assert!(fs::read_to_string(&file).unwrap().contains("nameserver 127.0.0.11\n"));

    host.ok("detach one");
    assert_eq!(fs::read_to_string(of_named.file()).unwrap(), text, "another endpoint is there");
    host.kill_9();
    host.restart();
    host.ok("detach two");
    assert_eq!(fs::read_to_string(of_named.file()).unwrap(), before);
    host.ok("detach four");
    assert!(!file.exists(), "there was none");
    let refused = host.try_line(&format!(
        "attach red --netns {} --name five --resolv-conf {}",
        given.name(),
        dir.path().display()
    ));
    assert!(refused.code == Some(1) && refused.err.contains("no regular file"), "{refused:?}");
}
