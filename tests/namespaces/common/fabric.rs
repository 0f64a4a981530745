//! An underlay of many hosts: a bridge that can be cut, and that can lose frames.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use super::host::Host;
use super::lab::{Family, UNDERLAY, wait_members};
use super::netns::Netns;

/// A namespace with a bridge in it, at which each host has a port.
#[derive(Debug)]
pub(crate) struct Fabric {
    ns: Netns,
}

impl Fabric {
    pub(crate) fn new() -> Fabric {
        let ns = Netns::new("bridge");
        ns.ip("link add br0 type bridge");
        ns.ip("link set br0 up");
        Fabric { ns }
    }

    /// The underlay address of the host with this number.
    pub(crate) fn vtep(number: u8) -> IpAddr {
        Family::V4.vtep(number)
    }

    /// A namespace that is plugged in, with its address.
    pub(crate) fn plug(&self, number: u8) -> Netns {
        let ns = Netns::new(&format!("h{number}"));
        let bridge = self.ns.name();
        ns.ip(&format!("link add {UNDERLAY} type veth peer name p{number} netns {bridge}"));
        self.ns.ip(&format!("link set p{number} master br0 up"));
        ns.ip(&format!("link set {UNDERLAY} address {} up", mac(number)));
        ns.address(&format!("{}/24", Fabric::vtep(number)), UNDERLAY);
        ns
    }

    /// A daemon of its own.
    pub(crate) fn host(&self, number: u8) -> Host {
        Host::start(self.plug(number), Fabric::vtep(number), &[])
    }

    /// Daemons 1 to `N`, all of one cluster.
    pub(crate) fn cluster<const N: usize>(&self) -> [Host; N] {
        let hosts = std::array::from_fn(|i| self.host(i as u8 + 1));
        hosts[1..].iter().for_each(|host| host.join(&hosts[0]));
        wait_members(&hosts.each_ref());
        hosts
    }

    /// Lets the hosts 1 to `count` know each other's MACs for good. The kernel's
    /// neighbour table is one for all namespaces, and too small for what so many
    /// hosts would learn: it drops packets when it is full.
    pub(crate) fn introduce(hosts: &[Host], count: u8) {
        for host in hosts {
            let line = |n| {
                let (ip, mac) = (Fabric::vtep(n), mac(n));
                format!("neigh replace {ip} lladdr {mac} dev {UNDERLAY} nud permanent\n")
            };
            let batch = tempfile::NamedTempFile::new().unwrap();
            let lines: String = (1..=count).map(line).collect();
            std::fs::write(batch.path(), lines).unwrap();
            host.ns.ip(&format!("-batch {}", batch.path().display()));
        }
    }

    /// Cuts these hosts off from all others, not from each other.
    pub(crate) fn cut(&self, numbers: &[u8]) {
        let ports: Vec<String> = numbers.iter().map(|n| format!("\"p{n}\"")).collect();
        let ports = ports.join(", ");
        self.rules(&format!(
            "iifname {{ {ports} }} oifname != {{ {ports} }} drop\n\
             iifname != {{ {ports} }} oifname {{ {ports} }} drop"
        ));
    }

    /// Loses this many of a hundred frames, at random.
    pub(crate) fn lose(&self, percent: u8) {
        self.rules(&format!("numgen random mod 100 < {percent} drop"));
    }

    /// Loses all datagrams of gossip: hosts hear of each other by connections alone.
    pub(crate) fn without_gossip(&self) {
        self.rules("udp dport 7946 drop");
    }

    /// Cuts each host off from all others.
    pub(crate) fn silence(&self) {
        self.rules("drop");
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&self) {
        self.rules("");
    }

    fn rules(&self, rules: &str) {
        let script = format!(
            "table bridge lab\ndelete table bridge lab\n\
             table bridge lab {{\nchain f {{\ntype filter hook forward priority 0\n{rules}\n}}\n}}\n"
        );
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let output = self.ns.enter(|| {
            let mut nft = nft.spawn().unwrap();
            let mut stdin = nft.stdin.take().expect("it is piped");
            std::io::Write::write_all(&mut stdin, script.as_bytes()).unwrap();
            drop(stdin);
            nft.wait_with_output().unwrap()
        });
        assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The MAC of a host's port.
fn mac(number: u8) -> String {
    format!("02:99:00:00:00:{number:02x}")
}
