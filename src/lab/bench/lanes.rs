//! The ways from one container to another that are measured side by side.

use std::fmt;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;

use super::load::Peer;
use super::mesh::Secrecy::{Clear, Encrypted};
use super::{kernel, mesh};
use crate::lab::custody::Custody;
use crate::lab::ethtool;
use crate::lab::host::Host;
use crate::lab::namespace::Namespace;
use crate::lab::underlay::Underlay;

/// What carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A veth pair between the containers: no overlay at all.
    Veth,
    /// Two hosts: veth, bridge and vxlan device of the kernel.
    Vxlan,
    /// Two hosts with a vxmesh daemon each.
    Vxmesh,
    /// The same with `--offload off`: TAPs without super-frames.
    VxmeshPlain,
    /// The same on an encrypted network, with AES-256-GCM.
    VxmeshAes,
    /// The same on an encrypted network, with ChaCha20-Poly1305.
    VxmeshChacha,
    /// The same through a service's virtual IP.
    VxmeshVip,
    /// One host: two ports of a kernel bridge.
    Bridge,
    /// One host: two endpoints of a vxmesh daemon.
    VxmeshLocal,
    /// One host whose daemon cannot reach its resolvers.
    VxmeshCutOff,
    /// One host: a vxmesh daemon with 100 endpoints and nothing to do.
    VxmeshIdle,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Veth => "bare veth",
            Kind::Vxlan => "kernel VXLAN",
            Kind::Vxmesh => "vxmesh",
            Kind::VxmeshPlain => "vxmesh, offload off",
            Kind::VxmeshAes => "vxmesh, encrypted, AES-256-GCM",
            Kind::VxmeshChacha => "vxmesh, encrypted, ChaCha20-Poly1305",
            Kind::VxmeshVip => "vxmesh, through a virtual IP",
            Kind::Bridge => "kernel bridge",
            Kind::VxmeshLocal => "vxmesh, one host",
            Kind::VxmeshCutOff => "vxmesh, resolvers away",
            Kind::VxmeshIdle => "vxmesh, idle",
        })
    }
}

/// What the veth pair between the hosts lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// Super-frames cross whole, as the kernel's veth does it and no wire can.
    Whole,
    /// Nothing above the MTU crosses: the sender's kernel segments, as for a
    /// network card without tunnel offload.
    Segmenting,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wire::Whole => "super-frames cross",
            Wire::Segmenting => "underlay segments",
        })
    }
}

/// What a card without tunnel offload cannot do. Generic segmentation (GSO)
/// stays on, as it does there: the kernel's software segments just before the
/// device. So do checksums, without which UDP_SEGMENT does not work at all.
const SEGMENTATION: [&str; 11] = [
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-gre-segmentation",
    "tx-sctp-segmentation",
    "tx-gso-partial",
    "tx-gso-list",
];
/// Drivers of network cards have it on. A veth has it off, which would keep
/// UDP_GRO from joining anything at the receiver.
const RECEIVE: [&str; 1] = ["rx-gro"];

/// A lane: its ends are all that a load needs to know.
pub(super) struct Lane {
    pub(super) from: Arc<Namespace>,
    /// Two containers, or one.
    pub(super) to: Vec<Peer>,
    /// Empty where the kernel does the work.
    pub(super) daemons: Vec<Host>,
    /// Everything else that must stay: hosts and what joins them.
    pub(super) _held: Vec<Arc<Namespace>>,
}

/// Builds a lane. An error of kind [`io::ErrorKind::Unsupported`] somewhere in
/// its chain says that this kernel cannot do that.
pub(super) fn build(kind: Kind, wire: Wire, custody: &Custody) -> anyhow::Result<Lane> {
    let built = match kind {
        Kind::Veth => kernel::veth(wire).map_err(Into::into),
        Kind::Vxlan => underlay(wire).and_then(|u| kernel::vxlan(&u)).map_err(Into::into),
        Kind::Bridge => kernel::bridge().map_err(Into::into),
        Kind::Vxmesh => mesh::two_hosts(underlay(wire)?, &[], Clear, custody),
        Kind::VxmeshPlain => {
            mesh::two_hosts(underlay(wire)?, &["--offload", "off"], Clear, custody)
        }
        Kind::VxmeshAes => {
            mesh::two_hosts(underlay(wire)?, &["--cipher", "aes-256-gcm"], Encrypted, custody)
        }
        Kind::VxmeshChacha => {
            mesh::two_hosts(underlay(wire)?, &["--cipher", "chacha20-poly1305"], Encrypted, custody)
        }
        Kind::VxmeshVip => mesh::behind_a_service(underlay(wire)?, custody),
        Kind::VxmeshLocal => mesh::one_host(underlay(wire)?, custody),
        Kind::VxmeshCutOff => mesh::cut_off(underlay(wire)?, custody),
        Kind::VxmeshIdle => mesh::idle(underlay(wire)?, custody),
    };
    built.with_context(|| format!("the lab for \"{kind}\" cannot be built"))
}

/// Two hosts, joined.
fn underlay(wire: Wire) -> io::Result<Underlay> {
    let underlay = Underlay::new(2, 1500)?;
    for site in &underlay.sites {
        restrict(&site.namespace, site.ifname, wire)?;
    }
    Ok(underlay)
}

/// Makes one end of a veth pair what `wire` says.
pub(super) fn restrict(namespace: &Namespace, ifname: &str, wire: Wire) -> io::Result<()> {
    match wire {
        Wire::Whole => Ok(()),
        Wire::Segmenting => {
            ethtool::set_features(namespace, ifname, &SEGMENTATION, false)?;
            ethtool::set_features(namespace, ifname, &RECEIVE, true)
        }
    }
}
