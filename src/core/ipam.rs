//! Subnets and the addresses in them, in 128-bit arithmetic for both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A subnet of a network and how addresses are handed out from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The subnet, without host bits.
    pub net: IpNet,
    /// The router's address in it, never handed out.
    pub gateway: IpAddr,
    /// The part that addresses are chosen from; all of the subnet if `None`.
    /// An address that is asked for may lie outside it.
    pub range: Option<IpNet>,
}

impl Pool {
    /// The subnet's [reserved](Pool::reserved) addresses; some may come twice.
    pub fn all_reserved(&self) -> impl Iterator<Item = IpAddr> {
        [self.net.network(), self.net.broadcast(), self.gateway]
            .into_iter()
            .filter(|ip| self.reserved(*ip).is_some())
    }

    /// The part that addresses are chosen from.
    pub fn part(&self) -> IpNet {
        self.range.unwrap_or(self.net)
    }

    /// Why an address of the subnet can be no endpoint's: it is the subnet's
    /// own, its broadcast address (IPv4 only) or the gateway's.
    pub fn reserved(&self, ip: IpAddr) -> Option<&'static str> {
        if ip == self.net.network() {
            Some("the subnet's own address")
        } else if ip.is_ipv4() && ip == self.net.broadcast() {
            Some("the subnet's broadcast address")
        } else if ip == self.gateway {
            Some("the gateway's address")
        } else {
            None
        }
    }
}

/// The gateway of a subnet for which none was asked: its first address.
pub fn default_gateway(net: IpNet) -> IpAddr {
    address(number(net.network()).saturating_add(1), net)
}

/// Whether two subnets share an address.
pub fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// An address as a number: its 32 or 128 bits.
pub fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// `n` as an address of `net`'s family; an IPv4 number never exceeds 32 bits,
/// because it comes from an address of `net`.
pub fn address(n: u128, net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(_) => Ipv4Addr::from_bits(n as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(n).into(),
    }
}
