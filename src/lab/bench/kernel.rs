//! Lanes where the kernel does all the work: what vxmesh is measured against.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::lanes::{Lane, Wire, restrict};
use super::load::Peer;
use crate::lab::link::{self, End, Tunnel};
use crate::lab::namespace::Namespace;
use crate::lab::underlay::Underlay;

/// What the underlay's 1500 bytes leave inside VXLAN.
const INNER_MTU: u32 = 1450;
/// On one host nothing is taken off.
const LOCAL_MTU: u32 = 1500;
const BRIDGE: &str = "br0";
const IFNAME: &str = "eth0";

/// A veth pair from one container to each of two others.
pub(super) fn veth(wire: Wire) -> io::Result<Lane> {
    let from = Arc::new(Namespace::new()?);
    let mut to = Vec::new();
    for n in 0..2u8 {
        let name = format!("eth{n}");
        let ip = Ipv4Addr::new(10, 77, n, 2).into();
        let peer = Peer { namespace: Namespace::new()?, ip, called: ip };
        let there = End { namespace: &peer.namespace, name: IFNAME };
        link::veth(End { namespace: &from, name: &name }, there, LOCAL_MTU)?;
        restrict(&from, &name, wire)?;
        restrict(&peer.namespace, IFNAME, wire)?;
        link::add_address(&from, &name, net(Ipv4Addr::new(10, 77, n, 1).into())?)?;
        link::add_address(&peer.namespace, IFNAME, net(peer.ip)?)?;
        to.push(peer);
    }
    Ok(Lane { from, to, daemons: Vec::new(), _held: Vec::new() })
}

/// One container on the first host, two on the second.
pub(super) fn vxlan(underlay: &Underlay) -> io::Result<Lane> {
    let vteps = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
    for (n, site) in underlay.sites.iter().enumerate() {
        let (local, remote) = (vteps[n % 2], vteps[(n + 1) % 2]);
        bridged(&site.namespace, INNER_MTU)?;
        let tunnel = Tunnel { name: "vxlan0", vni: 4242, local, remote, mtu: INNER_MTU };
        link::vxlan(&site.namespace, tunnel)?;
        link::enslave(&site.namespace, "vxlan0", BRIDGE)?;
    }
    let [a, b] = [0, 1].map(|n: usize| &underlay.sites[n].namespace);
    let from = container(a, 11, INNER_MTU)?;
    let to = vec![container(b, 21, INNER_MTU)?, container(b, 22, INNER_MTU)?];
    Ok(Lane {
        from: from.namespace.into(),
        to,
        daemons: Vec::new(),
        _held: vec![a.clone(), b.clone()],
    })
}

/// Three containers on one host's bridge.
pub(super) fn bridge() -> io::Result<Lane> {
    let host = Arc::new(Namespace::new()?);
    bridged(&host, LOCAL_MTU)?;
    let from = container(&host, 11, LOCAL_MTU)?;
    let to = vec![container(&host, 21, LOCAL_MTU)?, container(&host, 22, LOCAL_MTU)?];
    Ok(Lane { from: from.namespace.into(), to, daemons: Vec::new(), _held: vec![host] })
}

/// A bridge whose frames do not take the way round through iptables: that
/// would slow the kernel down, and it is measured at its best.
fn bridged(host: &Namespace, mtu: u32) -> io::Result<()> {
    link::bridge(host, BRIDGE, mtu)?;
    host.run(|| {
        for family in ["iptables", "ip6tables", "arptables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            match fs::write(path, "0") {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    })
}

/// A container on a host's bridge, with 10.77.0.`last`.
fn container(host: &Namespace, last: u8, mtu: u32) -> io::Result<Peer> {
    let ip = Ipv4Addr::new(10, 77, 0, last).into();
    let peer = Peer { namespace: Namespace::new()?, ip, called: ip };
    let port = format!("port{last}");
    let inside = End { namespace: &peer.namespace, name: IFNAME };
    link::veth(inside, End { namespace: host, name: &port }, mtu)?;
    link::enslave(host, &port, BRIDGE)?;
    link::add_address(&peer.namespace, IFNAME, net(peer.ip)?)?;
    Ok(peer)
}

fn net(ip: IpAddr) -> io::Result<IpNet> {
    IpNet::new(ip, 24).map_err(io::Error::other)
}
