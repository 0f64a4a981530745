//! The demo's hosts and containers while they exist, and what is done to them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};

use super::cast::{self, HOSTS, Role, Segment};
use crate::api::{
    Attach, Endpoint, Network, NetworkCreate, Sandbox, Service, ServiceCreate, Status,
};
use crate::core::drops::Reason;
use crate::lab::bulk::{Bulk, Limit};
use crate::lab::custody::{Custody, until};
use crate::lab::host::Host;
use crate::lab::link;
use crate::lab::namespace::Namespace;
use crate::lab::ping::{Pings, ping};
use crate::lab::underlay::Underlay;
use crate::wire::vxlan::Vni;

/// How long an answer may take. Longer than a second, after which a neighbour is
/// asked for again if the first question was lost (RFC 4861, RETRANS_TIMER).
const PATIENCE: Duration = Duration::from_secs(2);

/// How long hosts may take to hear of each other's containers. It takes a fraction of a
/// second, on a machine that has one to spare.
const GOSSIP: Duration = Duration::from_secs(10);

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) underlay: Underlay,
    pub(super) hosts: Vec<Host>,
    containers: Vec<(&'static Role, Namespace)>,
}

impl World {
    /// Hosts and containers that are not connected to anything yet.
    pub(super) fn new(custody: &Custody) -> anyhow::Result<World> {
        let underlay = Underlay::new(HOSTS.len() as u8, 1500)
            .context("the hosts' namespaces and links cannot be made")?;
        let hosts = HOSTS
            .iter()
            .zip(&underlay.sites)
            .map(|(name, site)| Host::new(name, site.clone(), custody))
            .collect::<anyhow::Result<_>>()?;
        let containers = cast::roles()
            .into_iter()
            .map(|role| Ok((role, Namespace::new()?)))
            .collect::<std::io::Result<_>>()?;
        Ok(World { underlay, hosts, containers })
    }

    /// The namespace of a container.
    pub(super) fn sandbox(&self, role: &Role) -> anyhow::Result<&Namespace> {
        let found = self.containers.iter().find(|(r, _)| r.name == role.name);
        Ok(&found.with_context(|| format!("{} does not exist", role.name))?.1)
    }

    /// The host that a container is on.
    pub(super) fn host_of(&self, role: &Role) -> &Host {
        &self.hosts[role.host]
    }

    /// How the daemon beside a container is.
    pub(super) fn status_at(&self, role: &Role) -> anyhow::Result<Status> {
        self.host_of(role).status()
    }

    /// Makes a network by way of one host.
    pub(super) fn create_network(&self, host: &Host, segment: &Segment) -> anyhow::Result<Network> {
        let create = NetworkCreate {
            name: segment.name.to_owned(),
            subnets: segment.subnets.to_vec(),
            vni: Vni::new(segment.vni),
            options: segment
                .encrypted
                .then(|| ("encrypted".into(), String::new()))
                .into_iter()
                .collect(),
            ..NetworkCreate::default()
        };
        host.api.post("/v1/networks", &create)
    }

    /// Makes a service by way of one host, and says where it is called.
    pub(super) fn create_service(
        &self,
        host: &Host,
        segment: &Segment,
        name: &str,
    ) -> anyhow::Result<IpAddr> {
        let create = ServiceCreate {
            name: name.to_owned(),
            networks: vec![segment.name.to_owned()],
            ..ServiceCreate::default()
        };
        let service: Service = host.api.post("/v1/services", &create)?;
        let vip = service.networks.iter().flat_map(|n| &n.vips).next();
        vip.copied().context("it has no virtual IP")
    }

    /// Attaches a container on its host, and says what it got.
    pub(super) fn attach(&self, role: &Role) -> anyhow::Result<Endpoint> {
        let sandbox = self.sandbox(role)?;
        let attach = Attach {
            network: role.network.name.to_owned(),
            sandbox: Sandbox::Netns(sandbox.path().display().to_string()),
            name: Some(role.name.to_owned()),
            ifname: None,
            ips: role.ips.to_vec(),
            mac: None,
            aliases: Vec::new(),
            service: role.service().map(str::to_owned),
            weight: None,
            resolv_conf: None,
        };
        let endpoint: Endpoint = self.host_of(role).api.post("/v1/endpoints", &attach)?;
        let interfaces = link::interfaces(sandbox)?;
        ensure!(interfaces.iter().any(|i| i == "eth0"), "there is no eth0, only {interfaces:?}");
        Ok(endpoint)
    }

    /// Waits until all other hosts know where a container is.
    pub(super) fn await_known(&self, role: &Role) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let path = format!("/v1/endpoints?network={}", role.network.name);
        let knows = |host: &Host| {
            let all = host.api.get::<Vec<Endpoint>>(&path).ok()?;
            all.iter().any(|e| e.name == role.name).then_some(())
        };
        for host in &self.hosts {
            until(GOSSIP, || knows(host))
                .with_context(|| format!("{} does not hear of {}", host.name, role.name))?;
        }
        Ok(start.elapsed())
    }

    /// Detaches a container; an error if anything but loopback is left in it.
    pub(super) fn detach(&self, role: &Role) -> anyhow::Result<()> {
        self.host_of(role).api.delete(&format!("/v1/endpoints/{}", role.name))?;
        let left = link::interfaces(self.sandbox(role)?)?;
        ensure!(left == ["lo"], "{} still has {left:?}", role.name);
        Ok(())
    }

    /// Pings out of a container.
    pub(super) fn ping(&self, from: &Role, to: IpAddr, count: usize) -> anyhow::Result<Pings> {
        Ok(ping(self.sandbox(from)?, to, count, PATIENCE)?)
    }

    /// Starts a checked transfer between containers.
    pub(super) fn bulk(
        &self,
        from: &Role,
        to: &Role,
        ip: IpAddr,
        limit: Limit,
    ) -> anyhow::Result<Bulk> {
        Ok(Bulk::start(self.sandbox(from)?, self.sandbox(to)?, ip, limit)?)
    }
}

/// Frames dropped for a reason so far.
pub(super) fn drops(status: &Status, reason: Reason) -> u64 {
    status.drops.iter().find(|d| d.reason == reason.name()).map_or(0, |d| d.frames)
}

/// A traffic counter, by name.
pub(super) fn counter(status: &Status, name: &str) -> anyhow::Result<u64> {
    let value = status.counters.get(name);
    value.copied().ok_or_else(|| anyhow!("the daemon has no counter {name}"))
}
