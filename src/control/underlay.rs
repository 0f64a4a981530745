//! The underlay: which address is this host's VTEP, and what its interface takes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::error::Error;
use super::netlink::{Address, Link, Netlink, Route};

/// This host's VTEP and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// The VTEP.
    pub vtep: IpAddr,
    /// The interface's name.
    pub interface: String,
    /// The interface's MTU in bytes.
    pub mtu: u16,
}

/// What the kernel says of this host.
#[derive(Debug)]
struct Host {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

/// Finds the VTEP: the address given, the first of the interface given, or
/// that of the default route.
pub fn discover(netlink: &Netlink, advertise: Option<&str>) -> Result<Underlay, Error> {
    let host = Host {
        links: netlink.links()?,
        addresses: netlink.addresses()?,
        routes: netlink.routes()?,
    };
    match advertise {
        None => host.by_default_route(),
        Some(text) => match text.parse() {
            Ok(ip) => host.by_address(ip),
            Err(_) => host.by_interface(text),
        },
    }
}

/// What this host reaches by routes of its own; default routes do not count.
pub fn host_routes(netlink: &Netlink) -> Result<Vec<IpNet>, Error> {
    let routes = netlink.routes()?.into_iter().map(|r| r.destination);
    Ok(routes.filter(|net| net.prefix_len() > 0).collect())
}

impl Host {
    fn by_address(&self, ip: IpAddr) -> Result<Underlay, Error> {
        let Some(address) = self.addresses.iter().find(|a| a.net.addr() == ip) else {
            let own: Vec<String> = self
                .addresses
                .iter()
                .filter(|a| a.global)
                .map(|a| a.net.addr().to_string())
                .collect();
            return Err(Error::invalid(format!(
                "this host does not have the address {ip} to advertise: it has {}",
                if own.is_empty() { "none".to_owned() } else { own.join(", ") }
            )));
        };
        self.underlay(ip, address.index)
    }

    fn by_interface(&self, name: &str) -> Result<Underlay, Error> {
        let Some(link) = self.links.iter().find(|l| l.name == name) else {
            let names: Vec<&str> = self.links.iter().map(|l| l.name.as_str()).collect();
            return Err(Error::invalid(format!(
                "{name:?} to advertise is neither an address nor an interface of this host: it has {}",
                names.join(", ")
            )));
        };
        match self.first_address(link.index, None) {
            Some(ip) => self.underlay(ip, link.index),
            None => Err(Error::invalid(format!(
                "interface {name} has no address to advertise: give it one, or advertise another"
            ))),
        }
    }

    /// The default route with the lowest metric, IPv4 before IPv6.
    fn by_default_route(&self) -> Result<Underlay, Error> {
        let mut defaults: Vec<&Route> =
            self.routes.iter().filter(|r| r.destination.prefix_len() == 0).collect();
        defaults.sort_by_key(|r| (r.destination.addr().is_ipv6(), r.metric));
        for route in defaults {
            let Some(index) = route.index else { continue };
            let ipv6 = route.destination.addr().is_ipv6();
            if let Some(ip) = route.source.or_else(|| self.first_address(index, Some(ipv6))) {
                return self.underlay(ip, index);
            }
        }
        Err(Error::invalid(
            "this host has no default route to find its underlay address by: give --advertise with an address or an interface",
        ))
    }

    fn first_address(&self, index: u32, ipv6: Option<bool>) -> Option<IpAddr> {
        let fits = |a: &&Address| {
            a.index == index && a.global && ipv6.is_none_or(|ipv6| a.net.addr().is_ipv6() == ipv6)
        };
        let candidates = self.addresses.iter().filter(fits).map(|a| a.net.addr());
        candidates.min_by_key(IpAddr::is_ipv6)
    }

    fn underlay(&self, vtep: IpAddr, index: u32) -> Result<Underlay, Error> {
        match self.links.iter().find(|l| l.index == index) {
            Some(link) => Ok(Underlay {
                vtep,
                interface: link.name.clone(),
                mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            }),
            None => Err(Error::Failed(format!("the interface of {vtep} is gone: try again"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        let link = |index, name: &str, mtu| Link { index, name: name.into(), mac: None, mtu };
        let address =
            |index, net: &str, global| Address { index, net: net.parse().unwrap(), global };
        let route = |to: &str, index, metric| Route {
            destination: to.parse().unwrap(),
            index: Some(index),
            source: None,
            metric,
        };
        Host {
            links: vec![link(1, "lo", 65536), link(2, "eth0", 1500), link(3, "eth1", 9000)],
            addresses: vec![
                address(1, "127.0.0.1/8", false),
                address(2, "fe80::1/64", false),
                address(2, "2001:db8::2/64", true),
                address(2, "192.0.2.2/24", true),
                address(3, "198.51.100.3/24", true),
            ],
            routes: vec![
                route("0.0.0.0/0", 3, 200),
                route("0.0.0.0/0", 2, 100),
                route("::/0", 2, 1),
            ],
        }
    }

    #[test]
    fn the_default_route_of_lowest_metric_names_the_vtep() {
        let found = host().by_default_route().unwrap();
        assert_eq!(
            (found.vtep.to_string().as_str(), found.interface.as_str()),
            ("192.0.2.2", "eth0")
        );
        let mut host = host();
        host.routes.retain(|r| r.destination.addr().is_ipv6());
        assert_eq!(host.by_default_route().unwrap().vtep.to_string(), "2001:db8::2");
        host.routes.clear();
        assert!(host.by_default_route().unwrap_err().to_string().contains("--advertise"));
    }

    #[test]
    fn an_address_or_an_interface_can_be_advertised() {
        let found = host().by_interface("eth1").unwrap();
        assert_eq!((found.vtep.to_string().as_str(), found.mtu), ("198.51.100.3", 9000));
        assert_eq!(host().by_address("127.0.0.1".parse().unwrap()).unwrap().mtu, u16::MAX);
        let message = host().by_address("203.0.113.1".parse().unwrap()).unwrap_err().to_string();
        assert!(message.contains("it has 2001:db8::2, 192.0.2.2, 198.51.100.3"), "{message}");
        assert!(host().by_interface("lo").is_err(), "no global address");
    }
}
