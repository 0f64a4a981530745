//! Lanes through vxmesh daemons.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use ipnet::{IpNet, Ipv4Net};

use super::lanes::Lane;
use super::load::Peer;
use crate::api::{Attach, Endpoint, Network, NetworkCreate, Sandbox, Service, ServiceCreate};
use crate::lab::custody::Custody;
use crate::lab::host::Host;
use crate::lab::namespace::Namespace;
use crate::lab::underlay::Underlay;
use crate::wire::vxlan::Vni;

const NETWORK: &str = "bench";
const SERVICE: &str = "called";
/// A resolver where none is: of the underlay's subnet, so that questions wait.
const NOBODY: &str = "192.0.2.77";
/// What the container that traffic goes to is called.
pub(super) const PEER: &str = "box21";
/// How many containers an idle daemon has.
const IDLE_ENDPOINTS: u16 = 100;

/// What the network of a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Plain VXLAN.
    Clear,
    /// `--opt encrypted`.
    Encrypted,
}

/// One container on the first host, two on the second. The daemons get these flags.
pub(super) fn two_hosts(
    underlay: Underlay,
    flags: &[&str],
    secrecy: Secrecy,
    custody: &Custody,
) -> anyhow::Result<Lane> {
    let hosts =
        (0..2).map(|n| start(&underlay, n, flags, custody)).collect::<anyhow::Result<Vec<_>>>()?;
    create(&hosts[0], secrecy)?;
    hosts[1].join(&hosts[0])?;
    hosts[1].await_status(|s| s.networks == 1)?;
    let from = container(&hosts[0], 11)?;
    let to = vec![container(&hosts[1], 21)?, container(&hosts[1], 22)?];
    await_all(&hosts)?;
    lane(from, to, hosts, underlay)
}

/// The same, and the first container of the second host is called by a virtual IP.
pub(super) fn behind_a_service(underlay: Underlay, custody: &Custody) -> anyhow::Result<Lane> {
    let hosts =
        (0..2).map(|n| start(&underlay, n, &[], custody)).collect::<anyhow::Result<Vec<_>>>()?;
    create(&hosts[0], Secrecy::Clear)?;
    let request = ServiceCreate {
        name: SERVICE.to_owned(),
        networks: vec![NETWORK.to_owned()],
        ..ServiceCreate::default()
    };
    let service: Service = hosts[0].api.post("/v1/services", &request)?;
    let vip = service.networks.iter().flat_map(|n| &n.vips).next();
    let vip = *vip.context("the service has no virtual IP")?;
    hosts[1].join(&hosts[0])?;
    hosts[1].await_status(|s| s.networks == 1 && s.services == 1)?;
    let from = container(&hosts[0], 11)?;
    let backend = attach(&hosts[1], 21, Some(SERVICE))?;
    let to = vec![Peer { called: vip, ..backend }, container(&hosts[1], 22)?];
    await_all(&hosts)?;
    lane(from, to, hosts, underlay)
}

/// Waits until both hosts know of all containers.
fn await_all(hosts: &[Host]) -> anyhow::Result<()> {
    hosts[0].await_status(|s| s.remote_endpoints == 2)?;
    hosts[1].await_status(|s| s.remote_endpoints == 1).map(drop)
}

/// Three containers on one host.
pub(super) fn one_host(underlay: Underlay, custody: &Custody) -> anyhow::Result<Lane> {
    let host = start(&underlay, 0, &[], custody)?;
    create(&host, Secrecy::Clear)?;
    let from = container(&host, 11)?;
    let to = vec![container(&host, 21)?, container(&host, 22)?];
    lane(from, to, vec![host], underlay)
}

/// A container on a host that cannot reach its resolvers.
pub(super) fn cut_off(underlay: Underlay, custody: &Custody) -> anyhow::Result<Lane> {
    let host = start(&underlay, 0, &["--dns", NOBODY], custody)?;
    create(&host, Secrecy::Clear)?;
    let from = container(&host, 11)?;
    let to = vec![container(&host, 21)?];
    lane(from, to, vec![host], underlay)
}

/// A hundred containers on one host.
pub(super) fn idle(underlay: Underlay, custody: &Custody) -> anyhow::Result<Lane> {
    let host = start(&underlay, 0, &[], custody)?;
    create(&host, Secrecy::Clear)?;
    let from = container(&host, 1)?;
    let to =
        (2..=IDLE_ENDPOINTS).map(|n| container(&host, n)).collect::<anyhow::Result<Vec<_>>>()?;
    lane(from, to, vec![host], underlay)
}

fn lane(from: Peer, to: Vec<Peer>, daemons: Vec<Host>, under: Underlay) -> anyhow::Result<Lane> {
    let _held = under.sites.into_iter().map(|site| site.namespace).collect();
    Ok(Lane { from: from.namespace.into(), to, daemons, _held })
}

/// Starts the daemon of one of the underlay's hosts.
fn start(
    underlay: &Underlay,
    site: usize,
    flags: &[&str],
    custody: &Custody,
) -> anyhow::Result<Host> {
    // All hosts of all lanes share one directory.
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let name = format!("host-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut host = Host::new(&name, underlay.sites[site].clone(), custody)?;
    host.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    host.start().with_context(|| host.log_tail(5).join("\n"))?;
    Ok(host)
}

/// Makes the network that all containers of a lane are on.
fn create(host: &Host, secrecy: Secrecy) -> anyhow::Result<()> {
    let encrypted = (secrecy == Secrecy::Encrypted).then(|| ("encrypted".into(), String::new()));
    let create = NetworkCreate {
        name: NETWORK.to_owned(),
        subnets: vec![IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 77, 0, 0), 16))],
        gateways: vec![Ipv4Addr::new(10, 77, 255, 254).into()],
        vni: Vni::new(4242),
        options: encrypted.into_iter().collect(),
        ..NetworkCreate::default()
    };
    let _: Network = host.api.post("/v1/networks", &create)?;
    Ok(())
}

/// Attaches a new container with 10.77.0.`last`.
fn container(host: &Host, last: u16) -> anyhow::Result<Peer> {
    attach(host, last, None)
}

fn attach(host: &Host, last: u16, service: Option<&str>) -> anyhow::Result<Peer> {
    let [high, low] = last.to_be_bytes();
    let ip = Ipv4Addr::new(10, 77, high, low).into();
    let namespace = Namespace::new()?;
    let attach = Attach {
        network: NETWORK.to_owned(),
        sandbox: Sandbox::Netns(namespace.path().display().to_string()),
        name: Some(format!("box{last}")),
        ifname: None,
        ips: vec![ip],
        mac: None,
        aliases: Vec::new(),
        service: service.map(str::to_owned),
        weight: None,
        resolv_conf: None,
    };
    let _: Endpoint = host.api.post("/v1/endpoints", &attach)?;
    Ok(Peer { namespace, ip, called: ip })
}
