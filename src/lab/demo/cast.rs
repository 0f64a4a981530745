//! Who appears in the demo: hosts, networks and containers.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::lab::underlay::Underlay;

/// The hosts' names, in the order of the underlay's sites.
pub(super) const HOSTS: [&str; 3] = ["host-a", "host-b", "host-c"];

/// A network of the demo.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) name: &'static str,
    pub(super) vni: u32,
    pub(super) subnets: &'static [IpNet],
    pub(super) gateways: &'static [IpAddr],
    pub(super) encrypted: bool,
}

/// The one whose containers talk.
pub(super) static BLUE: Segment = Segment {
    name: "blue",
    vni: 4242,
    subnets: &[
        IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 88, 0, 0)), 24),
        IpNet::new_assert(blue6(0), 64),
    ],
    gateways: &[IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1)), blue6(1)],
    encrypted: false,
};

/// The one that must not reach it.
pub(super) static RED: Segment = Segment {
    name: "red",
    vni: 4343,
    subnets: &[IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 99, 0, 0)), 24)],
    gateways: &[IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1))],
    encrypted: false,
};

/// The one whose frames nobody between the hosts can read.
pub(super) static GOLD: Segment = Segment {
    name: "gold",
    vni: 4444,
    subnets: &[IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0)), 24)],
    gateways: &[IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1))],
    encrypted: true,
};

/// A container of the demo.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    /// Index into [`HOSTS`].
    pub(super) host: usize,
    pub(super) network: &'static Segment,
    pub(super) ips: &'static [IpAddr],
}

pub(super) static WEB_1: Role =
    Role { name: "web-1", host: 0, network: &BLUE, ips: &[blue4(11), blue6(0x11)] };
pub(super) static WEB_2: Role =
    Role { name: "web-2", host: 0, network: &BLUE, ips: &[blue4(12), blue6(0x12)] };
pub(super) static DB_1: Role =
    Role { name: "db-1", host: 1, network: &BLUE, ips: &[blue4(21), blue6(0x21)] };
pub(super) static DB_2: Role =
    Role { name: "db-2", host: 2, network: &BLUE, ips: &[blue4(22), blue6(0x22)] };
pub(super) static RED_1: Role = Role { name: "red-1", host: 0, network: &RED, ips: &[red4(11)] };
pub(super) static RED_2: Role = Role { name: "red-2", host: 1, network: &RED, ips: &[red4(21)] };
pub(super) static GOLD_1: Role =
    Role { name: "gold-1", host: 1, network: &GOLD, ips: &[gold4(11)] };
pub(super) static GOLD_2: Role =
    Role { name: "gold-2", host: 2, network: &GOLD, ips: &[gold4(21)] };

/// All containers, in the order in which they appear.
pub(super) fn roles() -> [&'static Role; 8] {
    [&WEB_1, &WEB_2, &DB_1, &DB_2, &RED_1, &RED_2, &GOLD_1, &GOLD_2]
}

/// `--ip 10.88.0.11 --ip fd00:88::11`.
pub(super) fn ip_flags(ips: &[IpAddr]) -> String {
    ips.iter().map(|ip| format!(" --ip {ip}")).collect::<String>().trim_start().to_owned()
}

const fn blue4(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 88, 0, n))
}

const fn blue6(n: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, n))
}

const fn red4(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 99, 0, n))
}

const fn gold4(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, n))
}

/// The lab drawn: a box for each host.
pub(super) fn picture(underlay: &Underlay) -> String {
    const WIDTH: usize = 25;
    let of_host = |host: usize| roles().into_iter().filter(move |role| role.host == host);
    let most = (0..HOSTS.len()).map(|host| of_host(host).count()).max().unwrap_or(0);
    let column = |host: usize| {
        let mut lines = vec![
            format!(" {:1$}", format!("{}, {}", HOSTS[host], underlay.sites[host].vtep), WIDTH + 1),
            format!("┌{:─<WIDTH$}┐", ""),
        ];
        lines.extend(of_host(host).map(|role| {
            let text = format!(" {:6} {:12} {}", role.name, role.ips[0], role.network.name);
            format!("│{text:WIDTH$}│")
        }));
        lines.resize(2 + most, format!("│{:WIDTH$}│", ""));
        lines.push(format!("│{:WIDTH$}│", " vxmesh daemon"));
        lines.push(format!("└{:─^WIDTH$}┘", "┬"));
        lines
    };
    let columns: Vec<Vec<String>> = (0..HOSTS.len()).map(column).collect();
    let mut out = String::new();
    for line in 0..most + 4 {
        let parts: Vec<&str> = columns.iter().map(|c| c[line].as_str()).collect();
        let _ = writeln!(out, "   {}", parts.join("  ").trim_end());
    }
    let half = WIDTH / 2 + 4;
    let wire = format!(" VXLAN on UDP 4789, MTU {} ", underlay.mtu);
    let width = (HOSTS.len() - 1) * (WIDTH + 4) - 1;
    let _ = write!(out, "{:half$}└{wire:─^width$}┘", "");
    out
}
