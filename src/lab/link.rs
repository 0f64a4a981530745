//! Links, addresses and routes inside namespaces, by rtnetlink.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, State};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder,
};

use super::custody::until;
use super::namespace::Namespace;

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// What it is called there; at most 15 bytes.
    pub name: &'a str,
}

/// Makes a veth pair, both ends up and carrying frames. `mtu` is the largest IP packet in bytes.
/// Fails with [`io::ErrorKind::Unsupported`] if the kernel has no veth.
pub fn veth(a: End<'_>, b: End<'_>, mtu: u32) -> io::Result<()> {
    let there = LinkMessageBuilder::<LinkUnspec>::new()
        .name(b.name)
        .mtu(mtu)
        .setns_by_fd(b.namespace.as_fd().as_raw_fd())
        .build();
    let here = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(a.name)
        .mtu(mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(there)))
        .build();
    a.namespace.run(|| netlink(async |handle| handle.link().add(here).execute().await))?;
    // A veth end refuses to be up before it has its peer.
    set_up(a.namespace, a.name)?;
    set_up(b.namespace, b.name)?;
    await_carrier(a)?;
    await_carrier(b)
}

/// The kernel notices by and by that an end has its peer, and drops what is
/// sent before.
fn await_carrier(end: End<'_>) -> io::Result<()> {
    let up = until(Duration::from_secs(5), || match is_operational(end) {
        Ok(false) => None,
        looked => Some(looked.map(drop)),
    });
    up.unwrap_or_else(|| {
        let text = format!("the veth interface {} does not get a carrier", end.name);
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

fn is_operational(end: End<'_>) -> io::Result<bool> {
    end.namespace.run(|| {
        let index = index(end.name)?;
        netlink(async |handle| {
            let mut links = handle.link().get().match_index(index).execute();
            let link = links.try_next().await?;
            Ok(link.is_some_and(|l| l.attributes.contains(&LinkAttribute::OperState(State::Up))))
        })
    })
}

/// Makes a bridge that is up and has no port yet.
pub fn bridge(namespace: &Namespace, name: &str, mtu: u32) -> io::Result<()> {
    let bridge = LinkBridge::new(name).mtu(mtu).up().build();
    namespace.run(|| netlink(async |handle| handle.link().add(bridge).execute().await))
}

/// One end of a kernel VXLAN tunnel with a single peer.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel<'a> {
    /// What the device is called; at most 15 bytes.
    pub name: &'a str,
    /// Its VNI.
    pub vni: u32,
    /// The VTEP on this side.
    pub local: Ipv4Addr,
    /// The VTEP that everything goes to.
    pub remote: Ipv4Addr,
    /// Largest IP packet inside, in bytes.
    pub mtu: u32,
}

/// Makes a kernel VXLAN device on UDP port 4789, up. Fails with
/// [`io::ErrorKind::Unsupported`] if the kernel has none.
pub fn vxlan(namespace: &Namespace, tunnel: Tunnel<'_>) -> io::Result<()> {
    let device = LinkVxlan::new(tunnel.name, tunnel.vni)
        .local(tunnel.local)
        .remote(tunnel.remote)
        .port(4789)
        .mtu(tunnel.mtu)
        .up()
        .build();
    namespace.run(|| netlink(async |handle| handle.link().add(device).execute().await))
}

/// Makes an interface a port of a bridge in the same namespace.
pub fn enslave(namespace: &Namespace, port: &str, bridge: &str) -> io::Result<()> {
    namespace.run(|| {
        let change = LinkUnspec::new_with_index(index(port)?).controller(index(bridge)?).build();
        netlink(async |handle| handle.link().set(change).execute().await)
    })
}

/// Gives an interface an address, usable at once (no duplicate address detection).
pub fn add_address(namespace: &Namespace, ifname: &str, address: IpNet) -> io::Result<()> {
    namespace.run(|| {
        let index = index(ifname)?;
        netlink(async |handle| {
            let mut request = handle.address().add(index, address.addr(), address.prefix_len());
            if address.addr().is_ipv6() {
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            request.execute().await
        })
    })
}

/// Routes a prefix to an interface's own link, with no gateway.
pub fn add_link_route(namespace: &Namespace, ifname: &str, prefix: IpNet) -> io::Result<()> {
    namespace.run(|| {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(prefix.addr(), prefix.prefix_len())
            .map_err(io::Error::other)?
            .output_interface(index(ifname)?)
            .build();
        netlink(async |handle| handle.route().add(route).execute().await)
    })
}

/// Sets the largest IP packet of an interface, in bytes.
pub fn set_mtu(namespace: &Namespace, ifname: &str, mtu: u32) -> io::Result<()> {
    namespace.run(|| {
        let change = LinkUnspec::new_with_index(index(ifname)?).mtu(mtu).build();
        netlink(async |handle| handle.link().set(change).execute().await)
    })
}

/// The names of a namespace's interfaces.
pub fn interfaces(namespace: &Namespace) -> io::Result<Vec<String>> {
    namespace.run(|| {
        let all = nix::net::if_::if_nameindex()?;
        Ok(all.iter().map(|i| i.name().to_string_lossy().into_owned()).collect())
    })
}

/// Sets the calling thread's loopback interface up.
pub(super) fn loopback_up() -> io::Result<()> {
    set_up_here("lo")
}

fn set_up(namespace: &Namespace, ifname: &str) -> io::Result<()> {
    namespace.run(|| set_up_here(ifname))
}

fn set_up_here(ifname: &str) -> io::Result<()> {
    let up = LinkUnspec::new_with_index(index(ifname)?).up().build();
    netlink(async |handle| handle.link().set(up).execute().await)
}

/// The number of an interface in the calling thread's namespace.
fn index(ifname: &str) -> io::Result<u32> {
    let name = CString::new(ifname)?;
    nix::net::if_::if_nametoindex(name.as_c_str())
        .map_err(|e| io::Error::other(format!("no interface {ifname}: {e}")))
}

/// Talks to the kernel in the calling thread's namespace.
fn netlink<T>(ask: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        ask(handle).await.map_err(|e| match e {
            rtnetlink::Error::NetlinkError(e) => e.to_io(),
            e => io::Error::other(e.to_string()),
        })
    })
}
