//! Endpoints of this host: attached in order with undo, taken up again after a
//! restart, detached.
//!
//! An attach reserves name, addresses and MAC in the tables, makes the TAP in
//! the sandbox and configures it, stores both records, and only then makes the
//! TAP persistent: until then closing its descriptor takes it away, so that
//! whatever fails leaves nothing behind. A crash in between leaves at most a
//! record without an interface, which the next start releases.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::config::Mode;
use super::error::{Error, failed};
use super::names;
use super::netlink::{Link, Netlink, Setup};
use super::netns::{self, Identity, Namespace};
use super::state::{Control, State, new_id};
use super::{store, view};
use crate::api::{self, Sandbox};
use crate::core::cluster::entry::EndpointBody;
use crate::core::tables::{Backing, Endpoint, Holder, Id, Network, NewEndpoint, check_ifname};
use crate::dataplane::tap::{Kind, Tap};

/// An endpoint's share of its service's flows unless said otherwise.
const WEIGHT: u16 = 1;

/// Where a local endpoint's interface is. Stored beside its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// As the user named it.
    pub sandbox: Sandbox,
    /// The namespace that it was then.
    pub identity: Identity,
    /// The interface's name in it.
    pub ifname: String,
    /// How its TAP was made, and must be opened again.
    pub kind: Kind,
    /// Why the TAP is not all that it could be.
    #[serde(default)]
    pub reason: Option<String>,
    /// The sandbox's resolv.conf, if it is written.
    #[serde(default)]
    pub resolv_conf: Option<PathBuf>,
}

/// An interface as it was made.
struct Made {
    tap: Tap,
    reason: Option<String>,
}

impl Control {
    /// Makes a container's interface and puts it on a network.
    pub fn attach(&self, request: api::Attach) -> Result<api::Endpoint, Error> {
        let (namespace, ifname) = self.place(&request)?;
        let resolv_conf = names::place(&request)?;
        let (endpoint, setup) = self.reserve(&request, &namespace, ifname, resolv_conf)?;
        let made = namespace.run(|| self.make(&setup));
        let attached = made.and_then(|made| self.settle(&endpoint, made));
        if let Err(e) = attached {
            let mut state = self.lock();
            state.tables.remove_endpoint(&endpoint.id);
            state.attachments.remove(&endpoint.id);
            return Err(e);
        }
        self.serve_names();
        Ok(view::endpoint(&self.lock(), &endpoint))
    }

    /// The namespace of a sandbox, and the interface's name in it.
    fn place(&self, request: &api::Attach) -> Result<(Namespace, String), Error> {
        let ifname = match (&request.sandbox, &request.ifname) {
            (Sandbox::Tap(name), None) => name.clone(),
            (Sandbox::Tap(name), Some(ifname)) if name != ifname => {
                return Err(Error::invalid(format!(
                    "the TAP is named twice, {name} and {ifname}: leave --ifname out"
                )));
            }
            (_, ifname) => ifname.clone().unwrap_or_else(|| "eth0".to_owned()),
        };
        check_ifname(&ifname)?;
        let Some(path) = netns::path(&request.sandbox)? else {
            return Ok((Namespace::own()?, ifname));
        };
        let namespace = Namespace::open(&path)?;
        if namespace.identity() == self.own.identity() {
            return Err(Error::invalid(format!(
                "{} is the daemon's own network namespace, not a container's: use --tap for an interface on the host",
                path.display()
            )));
        }
        Ok((namespace, ifname))
    }

    fn reserve(
        &self,
        request: &api::Attach,
        namespace: &Namespace,
        ifname: String,
        resolv_conf: Option<PathBuf>,
    ) -> Result<(Endpoint, Setup), Error> {
        let service = self.service_of(request)?;
        let new = NewEndpoint {
            name: request.name.clone(),
            default_name: default_name(&request.sandbox),
            ips: request.ips.clone(),
            mac: request.mac,
            aliases: request.aliases.clone(),
            service: None,
        };
        self.allocate_addresses(&request.network, &new, |state, network, new| {
            let service = service.as_ref().map(|id| backing(state, network, id, request.weight));
            let new = NewEndpoint { service: service.transpose()?, ..new };
            let attachment = self.attachment(request, namespace, &ifname, &resolv_conf);
            self.take_in(state, network, new, attachment)
        })
    }

    /// The service that an endpoint is to belong to.
    fn service_of(&self, request: &api::Attach) -> Result<Option<Id>, Error> {
        let Some(service) = &request.service else {
            return match request.weight {
                Some(weight) => Err(Error::invalid(format!(
                    "weight {weight} is a share of a service's flows: name the service with --service"
                ))),
                None => Ok(None),
            };
        };
        let network = self.find_network(&request.network)?.1.id;
        Ok(Some(self.find_service(service, Some(&network))?.1.id))
    }

    /// Where an interface is to be.
    fn attachment(
        &self,
        request: &api::Attach,
        namespace: &Namespace,
        ifname: &str,
        resolv_conf: &Option<PathBuf>,
    ) -> Attachment {
        let kind = match self.options.offload {
            Mode::Auto => Kind::Fast,
            Mode::Off => Kind::Plain,
        };
        Attachment {
            sandbox: request.sandbox.clone(),
            identity: namespace.identity(),
            ifname: ifname.to_owned(),
            kind,
            reason: None,
            resolv_conf: resolv_conf.clone(),
        }
    }

    /// Puts an endpoint whose addresses are chosen into the tables.
    fn take_in(
        &self,
        state: &mut State,
        network: &Network,
        new: NewEndpoint,
        attachment: Attachment,
    ) -> Result<(Endpoint, Setup), Error> {
        let ifname = attachment.ifname.clone();
        let same = |a: &&Attachment| a.identity == attachment.identity && a.ifname == ifname;
        if state.attachments.values().any(|a| same(&a)) {
            return Err(taken(&ifname));
        }
        let endpoint = state.tables.add_endpoint(&network.id, new, new_id()?, SystemTime::now())?;
        let of_host = matches!(attachment.sandbox, Sandbox::Tap(_));
        state.attachments.insert(endpoint.id.clone(), attachment);
        let mtu = state.tables.mtu(network);
        let setup = Setup {
            ifname,
            mac: endpoint.mac,
            mtu,
            gso_max_size: Some(gso_max_size(mtu)),
            addresses: if of_host { Vec::new() } else { endpoint.prefixes(network) },
            gateways: if of_host { Vec::new() } else { one_per_family(endpoint.gateways(network)) },
        };
        Ok((endpoint, setup))
    }

    /// In the sandbox's namespace: the TAP, configured, not yet persistent.
    fn make(&self, setup: &Setup) -> Result<Made, Error> {
        let netlink = Netlink::open()?;
        if netlink.link(&setup.ifname)?.is_some() {
            return Err(taken(&setup.ifname));
        }
        let made = open_tap(&setup.ifname, self.options.offload)?;
        let fast = made.tap.kind() == Kind::Fast;
        let gso_max_size = setup.gso_max_size.filter(|_| fast);
        netlink.configure(&Setup { gso_max_size, ..setup.clone() })?;
        Ok(made)
    }

    /// Stores an endpoint whose interface is made, and gives it to the data plane.
    fn settle(&self, endpoint: &Endpoint, made: Made) -> Result<(), Error> {
        let mut state = self.lock();
        let Some(attachment) = state.attachments.get_mut(&endpoint.id) else {
            return Err(Error::Failed(
                "the endpoint was released while it was attached".to_owned(),
            ));
        };
        attachment.kind = made.tap.kind();
        attachment.reason = made.reason;
        let record = (&endpoint.id, attachment.clone());
        self.store.commit(|c| c.put(store::ATTACHMENTS, endpoint.id.as_str(), &record))?;
        self.tell(&mut state, endpoint);
        if let Err(e) = self.settle_cluster(&mut state) {
            drop(state);
            self.forget_stored(endpoint);
            return Err(e);
        }
        if let Err(e) = made.tap.persist(true) {
            drop(state);
            self.forget_stored(endpoint);
            return Err(failed(format!("cannot keep the TAP {}", record.1.ifname))(e));
        }
        let port = state.tables.free_port();
        // The plan first: what the container has already sent is then judged by it.
        state.tables.bind(&endpoint.id, port);
        self.publish(&mut state);
        self.dataplane.add_port(port, made.tap);
        tracing::info!(endpoint = endpoint.name, addresses = ?endpoint.addresses, "attached");
        Ok(())
    }

    /// Lets the cluster know of an endpoint.
    pub(super) fn tell(&self, state: &mut State, endpoint: &Endpoint) {
        let body = EndpointBody {
            name: endpoint.name.clone(),
            mac: endpoint.mac,
            addresses: endpoint.addresses.clone(),
            aliases: endpoint.aliases.clone(),
            created: endpoint.created.clone(),
            service: endpoint.service.clone(),
        };
        let now = self.now();
        state.cluster.machine.publish_endpoint(now, &endpoint.network, &endpoint.id, body);
        self.wake.notify_one();
    }

    /// Forgets what is stored of an endpoint, and lets the cluster forget it.
    fn forget_stored(&self, endpoint: &Endpoint) {
        let mut state = self.lock();
        let now = self.now();
        state.cluster.machine.withdraw_endpoint(now, &endpoint.network, &endpoint.id);
        let deleted = self
            .store
            .commit(|c| c.delete(store::ATTACHMENTS, endpoint.id.as_str()))
            .and_then(|()| self.settle_cluster(&mut state));
        self.wake.notify_one();
        if let Err(e) = deleted {
            // The next start finds no interface for it, and releases it then.
            tracing::warn!(endpoint = endpoint.name, "it stays in the state for now: {e}");
        }
    }

    /// Takes a local endpoint off its network: plan, data plane, interface,
    /// records. Goes on where a step finds nothing left to do.
    pub(super) fn detach_local(&self, id: &Id) -> Result<(), Error> {
        let (attachment, endpoint) = {
            let mut state = self.lock();
            let Some(endpoint) = state.tables.get_endpoint(id).cloned() else { return Ok(()) };
            let Some(port) = state.tables.unbind(id) else {
                return Err(Error::conflict(format!(
                    "endpoint {} is being attached or detached just now: try again",
                    endpoint.name
                )));
            };
            self.publish(&mut state);
            // Under the lock: the number is free to others from here on.
            self.dataplane.remove_port(port);
            (state.attachments.get(id).cloned(), endpoint)
        };
        if let Some(attachment) = attachment {
            delete_interface(&attachment, &endpoint);
        }
        self.forget_stored(&endpoint);
        {
            let mut state = self.lock();
            state.tables.remove_endpoint(id);
            state.attachments.remove(id);
        }
        self.serve_names();
        tracing::info!(endpoint = endpoint.name, "detached");
        Ok(())
    }

    /// After a start: every stored endpoint whose interface is still there gets
    /// its TAP back; the others are released.
    pub(super) fn restore(&self) {
        let stored: Vec<(Endpoint, Option<Attachment>, u16)> = {
            let state = self.lock();
            let local = state.tables.endpoints().filter(|e| e.holder == Holder::Here);
            local
                .map(|e| {
                    let mtu = state.tables.network_of(e).map_or(0, |n| state.tables.mtu(n));
                    (e.clone(), state.attachments.get(&e.id).cloned(), mtu)
                })
                .collect()
        };
        let threads = stored.len().clamp(1, 16);
        thread::scope(|scope| {
            for part in stored.chunks(stored.len().div_ceil(threads).max(1)) {
                scope.spawn(move || {
                    for (endpoint, attachment, mtu) in part {
                        self.take_up(endpoint, attachment.as_ref(), *mtu);
                    }
                });
            }
        });
        self.publish(&mut self.lock());
        self.serve_names();
    }

    /// Opens an endpoint's TAP and gives it to the data plane, or releases the
    /// endpoint where that cannot be. The plan is published by the caller.
    pub(super) fn take_up(&self, endpoint: &Endpoint, attachment: Option<&Attachment>, mtu: u16) {
        let opened = match attachment {
            Some(attachment) => reopen(attachment, endpoint, mtu),
            None => Err(Error::Failed("nothing is known of its interface".to_owned())),
        };
        match opened {
            Ok(Made { tap, reason }) => {
                let mut state = self.lock();
                if let Some(attachment) = state.attachments.get_mut(&endpoint.id) {
                    attachment.reason = reason.or(attachment.reason.take());
                }
                let port = state.tables.free_port();
                self.dataplane.add_port(port, tap);
                state.tables.bind(&endpoint.id, port);
                tracing::info!(endpoint = endpoint.name, "taken up again");
            }
            Err(e) => {
                tracing::info!(endpoint = endpoint.name, "released: {e}");
                if let Some(attachment) = attachment {
                    delete_interface(attachment, endpoint);
                }
                self.forget_stored(endpoint);
                let mut state = self.lock();
                state.tables.remove_endpoint(&endpoint.id);
                state.attachments.remove(&endpoint.id);
                state.released += 1;
            }
        }
    }
}

/// How a new endpoint belongs to a service, which must be there, and on its network.
fn backing(
    state: &State,
    network: &Network,
    id: &Id,
    weight: Option<u16>,
) -> Result<Backing, Error> {
    let service = state.tables.service(id.as_str())?;
    if !service.is_on(&network.id) {
        return Err(Error::conflict(format!(
            "service {0} is not on network {1}: take it there with `vxmesh service update --network-add {1} {0}`",
            service.name, network.name
        )));
    }
    let standing = service.first_standing();
    Ok(Backing { service: id.clone(), weight: weight.unwrap_or(WEIGHT), standing })
}

/// The interface of an endpoint, if it is still the one that was made.
pub(super) fn own_link(
    netlink: &Netlink,
    attachment: &Attachment,
    endpoint: &Endpoint,
) -> Result<Option<Link>, Error> {
    Ok(netlink.link(&attachment.ifname)?.filter(|l| l.mac == Some(endpoint.mac)))
}

fn reopen(attachment: &Attachment, endpoint: &Endpoint, mtu: u16) -> Result<Made, Error> {
    let Some(namespace) = netns::find(&attachment.sandbox, attachment.identity) else {
        return Err(Error::Failed("its sandbox is gone".to_owned()));
    };
    namespace.run(|| {
        let netlink = Netlink::open()?;
        let Some(link) = own_link(&netlink, attachment, endpoint)? else {
            return Err(Error::Failed(format!("its interface {} is gone", attachment.ifname)));
        };
        if link.mtu != u32::from(mtu) {
            netlink.set_mtu(&link, mtu)?;
        }
        let (tap, reason) = reopen_tap(&attachment.ifname, attachment.kind)
            .map_err(|e| Error::Failed(e.to_string()))?;
        Ok(Made { tap, reason })
    })
}

/// A daemon that was just killed may hold its descriptors for a moment yet.
fn reopen_tap(ifname: &str, kind: Kind) -> io::Result<(Tap, Option<String>)> {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        match Tap::open(ifname, kind) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// Deletes what is left of an endpoint's interface. A namespace or an interface
/// that is gone needs nothing.
fn delete_interface(attachment: &Attachment, endpoint: &Endpoint) {
    let Some(namespace) = netns::find(&attachment.sandbox, attachment.identity) else { return };
    let deleted = namespace.run(|| {
        let netlink = Netlink::open()?;
        match own_link(&netlink, attachment, endpoint)? {
            Some(link) => netlink.delete(&link),
            None => Ok(()),
        }
    });
    if let Err(e) = deleted {
        tracing::warn!(endpoint = endpoint.name, "its interface stays: {e}");
    }
}

/// The fast kind, or the plain kind and why.
fn open_tap(ifname: &str, offload: Mode) -> Result<Made, Error> {
    let refused = match offload {
        Mode::Off => None,
        Mode::Auto => match Tap::open(ifname, Kind::Fast) {
            Ok((tap, reason)) => return Ok(Made { tap, reason }),
            Err(e) => Some(e.to_string()),
        },
    };
    match Tap::open(ifname, Kind::Plain) {
        Ok((tap, reason)) => Ok(Made { tap, reason: refused.or(reason) }),
        Err(e) => Err(Error::Failed(e.to_string())),
    }
}

fn taken(ifname: &str) -> Error {
    Error::conflict(format!(
        "the sandbox has an interface {ifname} already: choose another name with --ifname"
    ))
}

/// The largest super-frame of which all segments, encapsulated, fit one
/// datagram of UDP_SEGMENT (65507 bytes, 64 segments): then it is one send.
fn gso_max_size(mtu: u16) -> u32 {
    // Ethernet and VXLAN headers per segment; up to 60 bytes of IP and TCP
    // headers that each segment repeats.
    let segments = (65507 / (u32::from(mtu) + 22)).clamp(1, 64);
    segments * u32::from(mtu).saturating_sub(60)
}

fn one_per_family(mut gateways: Vec<std::net::IpAddr>) -> Vec<std::net::IpAddr> {
    // IPv4 comes first, so that neighbours are of one family.
    gateways.dedup_by_key(|ip| ip.is_ipv6());
    gateways
}

/// What an endpoint is called for want of a name.
fn default_name(sandbox: &Sandbox) -> String {
    match sandbox {
        Sandbox::Tap(name) => name.clone(),
        Sandbox::Pid(pid) => format!("pid-{pid}"),
        Sandbox::Netns(path) => match path.strip_prefix("/proc/") {
            Some(rest) => format!("pid-{}", rest.split('/').next().unwrap_or_default()),
            None => path.rsplit('/').next().unwrap_or_default().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_super_frame_fits_one_datagram_of_segments() {
        for mtu in [576u16, 1230, 1280, 1450, 8950, 40000, 65485] {
            let mss = u32::from(mtu) - 40;
            let segments = gso_max_size(mtu).div_ceil(mss).max(1);
            assert!(segments <= 64, "{mtu}");
            assert!(segments * (u32::from(mtu) + 22) <= 65507, "{mtu}: {segments} segments");
        }
    }

    #[test]
    fn names_are_made_from_sandboxes() {
        let named = |path: &str| default_name(&Sandbox::Netns(path.into()));
        assert_eq!(named("c1"), "c1");
        assert_eq!(named("/run/docker/netns/3f2a"), "3f2a");
        assert_eq!(named("/proc/17/ns/net"), "pid-17");
        assert_eq!(default_name(&Sandbox::Pid(17)), "pid-17");
    }
}
