//! Which address is free: lowest first, in 128-bit arithmetic for both families.

use std::collections::BTreeSet;
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

/// No address of the pool is free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no address is free in {part}: {held} are held by endpoints; detach one, or create a network with a larger subnet"
)]
pub struct Exhausted {
    /// Where addresses are chosen from.
    pub part: IpNet,
    /// How many of its addresses endpoints hold.
    pub held: usize,
}

impl Pool {
    /// The lowest address that is neither taken nor [reserved](Pool::reserved).
    pub fn lowest_free(&self, taken: &BTreeSet<IpAddr>) -> Result<IpAddr, Exhausted> {
        let part = self.part();
        let (first, last) = (number(part.network()), number(part.broadcast()));
        (first..=last)
            .map(|n| address(n, part))
            .find(|ip| self.reserved(*ip).is_none() && !taken.contains(ip))
            .ok_or_else(|| Exhausted {
                part,
                held: taken.iter().filter(|ip| part.contains(*ip)).count(),
            })
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool(net: &str, range: Option<&str>) -> Pool {
        let net = net.parse().unwrap();
        Pool { net, gateway: default_gateway(net), range: range.map(|r| r.parse().unwrap()) }
    }

    /// Takes addresses until there are none.
    fn drain(pool: &Pool) -> (Vec<IpAddr>, Exhausted) {
        let mut taken = BTreeSet::new();
        let mut order = Vec::new();
        loop {
            match pool.lowest_free(&taken) {
                Ok(ip) => {
                    assert!(taken.insert(ip), "{ip} was given twice");
                    order.push(ip);
                }
                Err(e) => return (order, e),
            }
        }
    }

    #[test]
    fn a_small_subnet_is_used_to_the_last_address() {
        let (order, full) = drain(&pool("10.0.0.0/29", None));
        let expected: Vec<IpAddr> =
            (2..=6).map(|n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n))).collect();
        assert_eq!(order, expected);
        assert!(full.to_string().contains("10.0.0.0/29: 5 are held"), "{full}");
    }

    #[test]
    fn the_range_limits_and_keeps_the_subnets_reserved_addresses() {
        let (order, full) = drain(&pool("10.0.0.0/24", Some("10.0.0.252/30")));
        assert_eq!(order.len(), 3, "252, 253, 254, but not the broadcast address");
        assert_eq!(full.held, 3);
    }

    #[test]
    fn the_end_of_the_address_space_does_not_overflow() {
        let p = pool("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", None);
        assert_eq!(drain(&p).0.len(), 2, "IPv6 has no broadcast address");
        assert_eq!(drain(&pool("255.255.255.252/30", None)).0.len(), 1);
    }

    proptest! {
        #[test]
        fn never_twice_never_reserved_and_always_the_lowest(
            bits in any::<u128>(), v6: bool, small in 0u8..7, gateway in any::<u8>(),
            taken in proptest::collection::btree_set(any::<u8>(), 0..40),
        ) {
            let net: IpNet = if v6 {
                IpNet::new(Ipv6Addr::from_bits(bits).into(), 128 - 2 - small).unwrap()
            } else {
                IpNet::new(Ipv4Addr::from_bits(bits as u32).into(), 32 - 2 - small).unwrap()
            }.trunc();
            let size = 1u128 << (2 + small);
            let nth = |n: u8| address(number(net.network()) + u128::from(n) % size, net);
            let pool = Pool { net, gateway: nth(gateway), range: None };
            let mut taken: BTreeSet<IpAddr> = taken.into_iter().map(nth).collect();
            let mut last = None;
            while let Ok(ip) = pool.lowest_free(&taken) {
                prop_assert!(net.contains(&ip));
                prop_assert_eq!(pool.reserved(ip), None);
                prop_assert!(last.is_none_or(|l| l < ip));
                for n in number(net.network())..number(ip) {
                    let lower = address(n, net);
                    prop_assert!(taken.contains(&lower) || pool.reserved(lower).is_some());
                }
                prop_assert!(taken.insert(ip));
                last = Some(ip);
            }
        }
    }
}
