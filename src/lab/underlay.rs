//! What joins the hosts: a veth pair for two, a bridge for more, and where the
//! kernel has neither, one loopback interface with an address for each host.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::link::{self, End};
use super::namespace::Namespace;

/// The hosts' interface to the underlay.
const IFNAME: &str = "eth0";

/// The hosts' namespaces and how they are joined.
#[derive(Debug)]
pub struct Underlay {
    /// One for each host.
    pub sites: Vec<Site>,
    /// What it is made of, in words.
    pub kind: &'static str,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Holds the bridge, if there is one.
    _wire: Option<Namespace>,
}

/// Where a host is.
#[derive(Clone, Debug)]
pub struct Site {
    /// The host's namespace; all hosts have the same one on a loopback underlay.
    pub namespace: Arc<Namespace>,
    /// Its address on the underlay.
    pub vtep: IpAddr,
    /// The interface that has this address.
    pub ifname: &'static str,
}

impl Underlay {
    /// Joins up to 200 hosts. `mtu` is the largest IP packet in bytes.
    pub fn new(hosts: u8, mtu: u32) -> io::Result<Underlay> {
        match Underlay::wired(hosts, mtu) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Underlay::loopback(hosts, mtu),
            made => made,
        }
    }

    fn wired(hosts: u8, mtu: u32) -> io::Result<Underlay> {
        let sites = (1..=hosts)
            .map(|n| {
                let vtep = Ipv4Addr::new(192, 0, 2, n);
                Ok(Site { namespace: Namespace::new()?.into(), vtep: vtep.into(), ifname: IFNAME })
            })
            .collect::<io::Result<Vec<Site>>>()?;
        let (kind, wire) = match &sites[..] {
            [a, b] => {
                link::veth(a.end(), b.end(), mtu)?;
                ("a veth pair", None)
            }
            _ => ("veth pairs and a bridge", Some(bridged(&sites, mtu)?)),
        };
        for site in &sites {
            site.add_address(site.vtep, 24)?;
        }
        Ok(Underlay { sites, kind, mtu, _wire: wire })
    }

    fn loopback(hosts: u8, mtu: u32) -> io::Result<Underlay> {
        let namespace = Arc::new(Namespace::new()?);
        link::set_mtu(&namespace, "lo", mtu)?;
        let mut sites = Vec::new();
        for n in 1..=hosts {
            let vtep = Ipv4Addr::new(127, 1, 0, n).into();
            let site = Site { namespace: namespace.clone(), vtep, ifname: "lo" };
            site.add_address(vtep, 32)?;
            sites.push(site);
        }
        let kind = "one loopback interface, since this kernel has no veth";
        Ok(Underlay { sites, kind, mtu, _wire: None })
    }
}

impl Site {
    /// Gives the host a further IPv4 address on the underlay.
    pub fn add_address(&self, ip: IpAddr, prefix_len: u8) -> io::Result<()> {
        let net = ipnet::IpNet::new(ip, prefix_len).map_err(io::Error::other)?;
        link::add_address(&self.namespace, self.ifname, net)
    }

    fn end(&self) -> End<'_> {
        End { namespace: &self.namespace, name: self.ifname }
    }
}

/// A bridge in a namespace of its own, with a port for each host.
fn bridged(sites: &[Site], mtu: u32) -> io::Result<Namespace> {
    let wire = Namespace::new()?;
    link::bridge(&wire, "wire", mtu)?;
    for (n, site) in sites.iter().enumerate() {
        let port = format!("port{n}");
        link::veth(site.end(), End { namespace: &wire, name: &port }, mtu)?;
        link::enslave(&wire, &port, "wire")?;
    }
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ping::ping;
    use super::*;

    /// A neighbour is asked for three times, a second apart.
    const PATIENCE: Duration = Duration::from_secs(5);

    fn all_reach_all(underlay: &Underlay) {
        for from in &underlay.sites {
            for to in &underlay.sites {
                let pings = ping(&from.namespace, to.vtep, 1, PATIENCE).unwrap();
                assert!(pings.all_answered(), "{} to {}: {pings}", from.vtep, to.vtep);
            }
        }
    }

    #[test]
    fn two_hosts_and_four_reach_each_other() {
        all_reach_all(&Underlay::wired(2, 1500).unwrap());
        all_reach_all(&Underlay::wired(4, 1500).unwrap());
    }

    #[test]
    fn without_veth_the_hosts_share_a_loopback_interface() {
        let underlay = Underlay::loopback(3, 1500).unwrap();
        assert!(underlay.sites.iter().all(|site| site.ifname == "lo"));
        all_reach_all(&underlay);
    }
}
