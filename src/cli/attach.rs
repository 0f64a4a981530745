//! `vxmesh attach`: a container interface on a network.

use std::net::IpAddr;

use clap::Args;

use super::output::{self, Format, FormatArg};
use super::parse;
use crate::api;
use crate::client::{Client, path};
use crate::wire::mac::Mac;

/// Attach a container or a virtual machine to a network
///
/// Makes an interface inside the container's network namespace, with addresses,
/// MAC, MTU and routes, or a TAP on the host for a virtual machine. Prints the
/// new endpoint's id. Its MAC is 02:42 and the last four bytes of its first
/// address, as Docker's are, unless --mac is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh attach web --netns box1
  vxmesh attach web --netns /run/netns/box1 --ifname eth1 --ip 10.1.0.7 --name api
  vxmesh attach web --pid \"$(docker inspect -f '{{.State.Pid}}' box1)\" --alias db
  vxmesh attach web --netns box2 --service shop --weight 2
  vxmesh attach web --tap vm0")]
pub(super) struct Attach {
    /// The network's name, id or an unambiguous beginning of its id
    network: String,
    #[command(flatten)]
    sandbox: Sandbox,
    /// The endpoint's name [default: made from the namespace's, process's or TAP's]
    #[arg(long)]
    name: Option<String>,
    /// The interface's name inside the container [default: eth0]
    #[arg(long)]
    ifname: Option<String>,
    /// An address, at most one for each subnet [default: the lowest free one of each family]
    #[arg(long, value_name = "IP", value_parser = parse::address)]
    ip: Vec<IpAddr>,
    /// The interface's MAC
    #[arg(long)]
    mac: Option<Mac>,
    /// A further name; repeat for more
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The service that it belongs to, which must be on the network
    ///
    /// It takes the service's traffic at once, or after its first health check if the
    /// service has one.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Its share of the service's traffic beside the others'; 0 is none [default: 1]
    #[arg(long, value_name = "N", requires = "service")]
    weight: Option<u16>,
    /// Let this resolv.conf name 127.0.0.11, where names are served, until the
    /// detach [default: /etc/netns/NAME/resolv.conf, where that directory exists]
    #[arg(long, value_name = "PATH", value_parser = parse::path, conflicts_with = "tap")]
    resolv_conf: Option<String>,
    #[command(flatten)]
    output: FormatArg,
}

/// Where the interface goes: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Sandbox {
    /// Into a network namespace: a name under /run/netns, or a path
    #[arg(long, value_name = "NAME|PATH", value_parser = parse::netns)]
    netns: Option<String>,
    /// Into the network namespace of a process
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// Nowhere: a TAP of this name is left on the host, for a virtual machine
    #[arg(long, value_name = "IFNAME", conflicts_with = "ifname")]
    tap: Option<String>,
}

impl From<Sandbox> for Option<api::Sandbox> {
    fn from(sandbox: Sandbox) -> Option<api::Sandbox> {
        let Sandbox { netns, pid, tap } = sandbox;
        netns.map(api::Sandbox::Netns).or(pid.map(api::Sandbox::Pid)).or(tap.map(api::Sandbox::Tap))
    }
}

impl Attach {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        let sandbox: Option<api::Sandbox> = self.sandbox.into();
        let request = api::Attach {
            network: self.network,
            sandbox: sandbox.expect("clap demands one of the group"),
            name: self.name,
            ifname: self.ifname,
            ips: self.ip,
            mac: self.mac,
            aliases: self.alias,
            service: self.service,
            weight: self.weight,
            resolv_conf: self.resolv_conf,
        };
        let endpoint: api::Endpoint = client.post(&path(&["endpoints"]), &request)?;
        for warning in &endpoint.warnings {
            anstream::eprintln!("warning: {warning}");
        }
        match self.output.format {
            Format::Table => output::print(&(endpoint.id + "\n")),
            Format::Json => output::json(&endpoint),
        }
    }
}
