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
    /// What its serving containers are behind.
    pub(super) service: Option<&'static str>,
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
    service: None,
};

/// The one that must not reach it.
pub(super) static RED: Segment = Segment {
    name: "red",
    vni: 4343,
    subnets: &[IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 99, 0, 0)), 24)],
    gateways: &[IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1))],
    encrypted: false,
    service: None,
};

/// The one whose frames nobody between the hosts can read.
pub(super) static GOLD: Segment = Segment {
    name: "gold",
    vni: 4444,
    subnets: &[IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 0)), 24)],
    gateways: &[IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1))],
    encrypted: true,
    service: None,
};

/// The one with a service.
pub(super) static GREEN: Segment = Segment {
    name: "green",
    vni: 4545,
    subnets: &[IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 66, 0, 0)), 24)],
    gateways: &[IpAddr::V4(Ipv4Addr::new(10, 66, 0, 1))],
    encrypted: false,
    service: Some("pages"),
};

/// A container of the demo.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    /// Index into [`HOSTS`].
    pub(super) host: usize,
    pub(super) network: &'static Segment,
    pub(super) ips: &'static [IpAddr],
    /// Whether it is behind its network's service.
    pub(super) serves: bool,
}

impl Role {
    const fn new(
        name: &'static str,
        host: usize,
        network: &'static Segment,
        ips: &'static [IpAddr],
    ) -> Role {
        Role { name, host, network, ips, serves: false }
    }

    const fn serving(mut self) -> Role {
        self.serves = true;
        self
    }

    /// The service that it is behind.
    pub(super) fn service(&self) -> Option<&'static str> {
        self.network.service.filter(|_| self.serves)
    }
}

pub(super) static WEB_1: Role = Role::new("web-1", 0, &BLUE, &[blue4(11), blue6(0x11)]);
pub(super) static WEB_2: Role = Role::new("web-2", 0, &BLUE, &[blue4(12), blue6(0x12)]);
pub(super) static DB_1: Role = Role::new("db-1", 1, &BLUE, &[blue4(21), blue6(0x21)]);
pub(super) static DB_2: Role = Role::new("db-2", 2, &BLUE, &[blue4(22), blue6(0x22)]);
pub(super) static RED_1: Role = Role::new("red-1", 0, &RED, &[red4(11)]);
pub(super) static RED_2: Role = Role::new("red-2", 1, &RED, &[red4(21)]);
pub(super) static GOLD_1: Role = Role::new("gold-1", 1, &GOLD, &[gold4(11)]);
pub(super) static GOLD_2: Role = Role::new("gold-2", 2, &GOLD, &[gold4(21)]);
pub(super) static CALLER: Role = Role::new("caller", 0, &GREEN, &[green4(11)]);
pub(super) static PAGE_1: Role = Role::new("page-1", 0, &GREEN, &[green4(21)]).serving();
pub(super) static PAGE_2: Role = Role::new("page-2", 1, &GREEN, &[green4(22)]).serving();
pub(super) static PAGE_3: Role = Role::new("page-3", 2, &GREEN, &[green4(23)]).serving();

/// All containers, in the order in which they appear.
pub(super) fn roles() -> [&'static Role; 12] {
    [
        &WEB_1, &WEB_2, &DB_1, &DB_2, &RED_1, &RED_2, &GOLD_1, &GOLD_2, &CALLER, &PAGE_1, &PAGE_2,
        &PAGE_3,
    ]
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

const fn green4(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 66, 0, n))
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
