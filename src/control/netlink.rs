//! Links, addresses and routes of one network namespace, over rtnetlink.
//!
//! Blocking, on a runtime of its own: it is used on the short-lived threads of
//! [`super::netns::Namespace::run`], and its socket belongs to the namespace in
//! which it was opened.

use std::fs;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::Runtime;

use super::error::{Error, failed};
use crate::wire::mac::Mac;

/// A connection to the kernel's tables.
#[derive(Debug)]
pub struct Netlink {
    runtime: Runtime,
    handle: Handle,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// An address of this namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface that has it.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// Whether it is meant to be reached from other hosts.
    pub global: bool,
}

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; of length 0 for a default route.
    pub destination: IpNet,
    /// The interface that leads there.
    pub index: Option<u32>,
    /// The address that packets are sent from, if the route says.
    pub source: Option<IpAddr>,
    /// The lower, the better.
    pub metric: u32,
}

/// Frames that an interface keeps for the worker, four times the kernel's default. Behind
/// others on its core the worker may wait for some milliseconds, in which a container
/// sends thousands of small frames. Not more, because super-frames of 64 KiB count as
/// one each, and nobody else bounds what a hostile container has waiting here.
const QUEUE: u32 = 4000;

/// How a container's interface is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its name.
    pub ifname: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// The largest super-frame that the kernel may hand over, in bytes, without
    /// Ethernet header; `None` leaves the kernel's own.
    pub gso_max_size: Option<u32>,
    /// Its addresses; none at all, not even a link-local one, if empty.
    pub addresses: Vec<IpNet>,
    /// Default routes go there, at most one for each family.
    pub gateways: Vec<IpAddr>,
}

impl Netlink {
    /// Connects in the calling thread's namespace.
    pub fn open() -> Result<Netlink, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(failed("cannot start a runtime for netlink"))?;
        let inside = runtime.enter();
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(failed("cannot open a netlink socket"))?;
        runtime.spawn(connection);
        drop(inside);
        Ok(Netlink { runtime, handle })
    }

    /// The interface of this name, if there is one.
    pub fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        let request = self.handle.link().get().match_name(name).execute();
        match self.runtime.block_on(request.try_collect::<Vec<_>>()) {
            Ok(found) => Ok(found.into_iter().next().map(link)),
            Err(e) if errno(&e) == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(refused(format!("cannot look for interface {name}"))(e)),
        }
    }

    /// All interfaces.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        let request = self.handle.link().get().execute().map_ok(link);
        self.runtime.block_on(request.try_collect()).map_err(refused("cannot list interfaces"))
    }

    /// All addresses.
    pub fn addresses(&self) -> Result<Vec<Address>, Error> {
        let request = self.handle.address().get().execute();
        let all: Vec<_> = self
            .runtime
            .block_on(request.try_collect())
            .map_err(refused("cannot list addresses"))?;
        let one = |message: rtnetlink::packet_route::address::AddressMessage| {
            let mut ip = None;
            for attribute in &message.attributes {
                match attribute {
                    // On a point-to-point link `Address` is the other end's.
                    AddressAttribute::Local(local) => ip = Some(*local),
                    AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
                    _ => {}
                }
            }
            Some(Address {
                index: message.header.index,
                net: IpNet::new(ip?, message.header.prefix_len).ok()?,
                global: message.header.scope == AddressScope::Universe,
            })
        };
        Ok(all.into_iter().filter_map(one).collect())
    }

    /// The unicast routes of the main table, both families.
    pub fn routes(&self) -> Result<Vec<Route>, Error> {
        let mut routes = Vec::new();
        let families = [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ];
        for family in families {
            let unspecified: IpAddr = match family.header.address_family {
                rtnetlink::packet_route::AddressFamily::Inet => [0; 4].into(),
                _ => [0u8; 16].into(),
            };
            let request = self.handle.route().get(family).execute();
            let all: Vec<RouteMessage> = self
                .runtime
                .block_on(request.try_collect())
                .map_err(refused("cannot list routes"))?;
            routes.extend(all.iter().filter_map(|message| route(message, unspecified)));
        }
        Ok(routes)
    }

    /// Configures an interface and sets it up. To be called on a thread in the
    /// interface's namespace, because sysctls are the thread's own.
    pub fn configure(&self, setup: &Setup) -> Result<(), Error> {
        let name = &setup.ifname;
        let Some(link) = self.link(name)? else {
            return Err(Error::Failed(format!(
                "interface {name} is gone before it was configured"
            )));
        };
        let of = |index: u32| LinkUnspec::new_with_index(index);
        self.change(
            of(link.index)
                .address(setup.mac.0.to_vec())
                .mtu(setup.mtu.into())
                .append_extra_attribute(LinkAttribute::TxQueueLen(QUEUE))
                .build(),
            format!("cannot set MAC {} and MTU {} of {name}", setup.mac, setup.mtu),
        )?;
        if let Some(size) = setup.gso_max_size {
            let attribute = LinkAttribute::GsoMaxSize(size);
            // Old kernels refuse it; then super-frames take two sends.
            let _ = self.change(of(link.index).append_extra_attribute(attribute).build(), "");
        }
        sysctls(setup);
        self.change(of(link.index).up().build(), format!("cannot set {name} up"))?;
        for address in &setup.addresses {
            self.add_address(&link, *address)?;
        }
        for gateway in &setup.gateways {
            self.add_default_route(&link, *gateway)?;
        }
        Ok(())
    }

    /// Sets an interface's MTU.
    pub fn set_mtu(&self, link: &Link, mtu: u16) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(link.index).mtu(mtu.into()).build();
        self.change(message, format!("cannot set MTU {mtu} of {}", link.name))
    }

    /// Sets an interface up.
    pub fn set_up(&self, name: &str) -> Result<(), Error> {
        self.change(LinkUnspec::new_with_name(name).up().build(), format!("cannot set {name} up"))
    }

    /// Deletes an interface.
    pub fn delete(&self, link: &Link) -> Result<(), Error> {
        let request = self.handle.link().del(link.index).execute();
        self.runtime
            .block_on(request)
            .map_err(refused(format!("cannot delete interface {}", link.name)))
    }

    fn change(&self, message: LinkMessage, what: impl std::fmt::Display) -> Result<(), Error> {
        self.runtime.block_on(self.handle.link().change(message).execute()).map_err(refused(what))
    }

    fn add_address(&self, link: &Link, address: IpNet) -> Result<(), Error> {
        let mut request =
            self.handle.address().add(link.index, address.addr(), address.prefix_len());
        if address.addr().is_ipv6() {
            // Addresses are unique by allocation; detection would only delay them.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        self.runtime
            .block_on(request.execute())
            .map_err(refused(format!("cannot give address {address} to {}", link.name)))
    }

    /// A sandbox on several networks keeps the default route of the first.
    fn add_default_route(&self, link: &Link, gateway: IpAddr) -> Result<(), Error> {
        let message = match gateway {
            IpAddr::V4(ip) => {
                let to = RouteMessageBuilder::<std::net::Ipv4Addr>::new();
                to.gateway(ip).output_interface(link.index).build()
            }
            IpAddr::V6(ip) => {
                let to = RouteMessageBuilder::<std::net::Ipv6Addr>::new();
                to.gateway(ip).output_interface(link.index).build()
            }
        };
        match self.runtime.block_on(self.handle.route().add(message).execute()) {
            Err(e) if errno(&e) != Some(libc::EEXIST) => Err(refused(format!(
                "cannot set the default route of {} to {gateway}",
                link.name
            ))(e)),
            _ => Ok(()),
        }
    }
}

/// IPv6 as a container's interface needs it: our addresses and no others.
/// Where the kernel has no IPv6 or /proc/sys is read-only, what was there stays.
fn sysctls(setup: &Setup) {
    let set = |key: &str, value: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{}/{key}", setup.ifname);
        if let Err(e) = fs::write(&path, value)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!("cannot write {value} to {path}: {e}");
        }
    };
    set("accept_ra", "0");
    set("accept_dad", "0");
    if setup.addresses.is_empty() {
        // No link-local address either: the VM behind has the one of this MAC.
        set("addr_gen_mode", "1");
    }
    if setup.addresses.iter().any(|a| a.addr().is_ipv6()) {
        // Container engines start sandboxes with IPv6 switched off.
        set("disable_ipv6", "0");
    }
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link { index: message.header.index, name: String::new(), mac: None, mtu: 0 };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) if bytes.len() == 6 => link.mac = Mac::read(&bytes),
            _ => {}
        }
    }
    link
}

fn route(message: &RouteMessage, unspecified: IpAddr) -> Option<Route> {
    let main = message.attributes.iter().all(|a| match a {
        RouteAttribute::Table(table) => *table == u32::from(RouteHeader::RT_TABLE_MAIN),
        _ => true,
    });
    if !main
        || message.header.table != RouteHeader::RT_TABLE_MAIN
        || message.header.kind != RouteType::Unicast
    {
        return None;
    }
    let (mut to, mut index, mut source, mut metric) = (unspecified, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(destination) => to = ip(destination)?,
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let destination = IpNet::new(to, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, index, source, metric })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn errno(e: &rtnetlink::Error) -> Option<i32> {
    match e {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

/// For `map_err`: the kernel's reason in words rather than in netlink's.
fn refused(what: impl std::fmt::Display) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |e| match errno(&e) {
        Some(errno) => failed(what)(io::Error::from_raw_os_error(errno)),
        None => failed(what)(e),
    }
}
