//! `vxmesh network`: create, ls, inspect, rm, prune, verify.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::output::{self, Format, FormatArg, JsonFormatArg};
use super::parse;
use super::verify::Verify;
use crate::api;
use crate::client::{Client, path};
use crate::wire::vxlan::Vni;

/// Create, list and remove networks
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  vxmesh network create web --subnet 10.1.0.0/24
  vxmesh network ls
  vxmesh network inspect web
  vxmesh network rm web")]
pub(super) enum Network {
    Create(Create),
    #[command(alias = "list")]
    Ls(Ls),
    Inspect(Inspect),
    #[command(alias = "remove")]
    Rm(Rm),
    Prune(Prune),
    Verify(Verify),
}

/// Create a network
///
/// A network is one L2 segment with one VNI and one or more subnets, IPv4, IPv6
/// or both. All hosts of the cluster know it. Prints the new network's id.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh network create web
  vxmesh network create web --subnet 10.1.0.0/24 --subnet fd00:1::/64 --vni 4096
  vxmesh network create db --subnet 10.2.0.0/16 --ip-range 10.2.1.0/24 --internal
  vxmesh network create ledger --opt encrypted
  vxmesh network create media --opt multicast=true --label team=video")]
pub(super) struct Create {
    /// Its name: letters, digits, `_`, `.` and `-`, the first a letter or digit; at most 63
    name: String,
    /// A subnet; repeat for more [default: a free /24 of 10.0.0.0/8]
    #[arg(long, value_name = "CIDR", value_parser = parse::subnet)]
    subnet: Vec<IpNet>,
    /// The router's address in a subnet [default: the first of the subnet]
    #[arg(long, value_name = "IP", value_parser = parse::address)]
    gateway: Vec<IpAddr>,
    /// Hand out addresses from this part of a subnet only
    #[arg(long, value_name = "CIDR", value_parser = parse::subnet)]
    ip_range: Option<IpNet>,
    /// The VXLAN Network Identifier [default: a free one from 4096]
    #[arg(long, value_name = "N", value_parser = parse::vni)]
    vni: Option<Vni>,
    /// The largest IP packet inside, bytes [default: what the underlay leaves]
    #[arg(long, value_name = "N")]
    mtu: Option<u16>,
    /// Give containers no default route
    #[arg(long)]
    internal: bool,
    /// An option of the network: `encrypted` seals all that leaves a host, `multicast` sends
    /// broadcast and multicast to all its hosts
    ///
    /// Of an encrypted network nothing leaves a host in clear, and nothing that comes
    /// in clear is taken. Where two hosts have no session there is no traffic, and
    /// `vxmesh status` says why. It cannot be changed later. Keys are made by the
    /// hosts, over the VXLAN port. Containers get an MTU that is 26 bytes smaller.
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    opt: Vec<(String, String)>,
    /// A note for you and your programs
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::key_value)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    output: FormatArg,
}

/// List networks
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh network ls
  vxmesh network ls --format json
  vxmesh network ls -q --no-trunc")]
pub(super) struct Ls {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    output: FormatArg,
}

/// Show networks in full, in the JSON of `docker network inspect`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh network inspect web
  vxmesh network inspect web db --format table")]
pub(super) struct Inspect {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    output: JsonFormatArg,
}

/// Remove networks that have no endpoints
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh network rm web
  vxmesh network rm web db")]
pub(super) struct Rm {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    output: FormatArg,
}

/// Remove all networks that have no endpoints
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh network prune
  vxmesh network prune --force")]
pub(super) struct Prune {
    /// Do not ask; nobody is asked where there is no terminal
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    output: FormatArg,
}

impl Network {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Network::Create(verb) => verb.run(client),
            Network::Ls(verb) => verb.run(client),
            Network::Verify(verb) => verb.run(client),
            Network::Inspect(verb) => verb.run(client),
            Network::Rm(verb) => verb.run(client),
            Network::Prune(verb) => verb.run(client),
        }
    }
}

impl Create {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = api::NetworkCreate {
            name: self.name,
            subnets: self.subnet,
            gateways: self.gateway,
            ip_range: self.ip_range,
            vni: self.vni,
            mtu: self.mtu,
            internal: self.internal,
            options: BTreeMap::from_iter(self.opt),
            labels: BTreeMap::from_iter(self.label),
        };
        let network: api::Network = client.post(&path(&["networks"]), &request)?;
        match self.output.format {
            Format::Table => output::print(&(network.id + "\n")),
            Format::Json => output::json(&network),
        }
    }
}

impl Ls {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let networks: Vec<api::Network> = client.get(&path(&["networks"]))?;
        let id = |id: &str| if self.no_trunc { id.to_owned() } else { output::short(id) };
        if self.quiet {
            let ids: Vec<String> = networks.iter().map(|n| id(&n.id)).collect();
            return output::names(&ids, self.output.format);
        }
        if self.output.format == Format::Json {
            return output::json(&networks);
        }
        output::print(&output::table(
            &["NETWORK ID", "NAME", "DRIVER", "SCOPE", "VNI", "SUBNETS", "MTU", "ENDPOINTS"],
            networks.iter().map(|n| {
                vec![
                    id(&n.id),
                    n.name.clone(),
                    n.driver.clone(),
                    n.scope.clone(),
                    n.vni.to_string(),
                    output::list(n.ipam.config.iter().map(|c| c.subnet)),
                    n.mtu.to_string(),
                    n.containers.len().to_string(),
                ]
            }),
        ))
    }
}

impl Inspect {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let inspected = output::each(&self.names, |name| {
            client.get::<api::Network>(&path(&["networks", name]))
        });
        output::inspected(self.output.format, inspected, summary)
    }
}

/// A network on a few lines, its local endpoints below.
fn summary(n: &api::Network) -> String {
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let mut rows = vec![
        row("NAME", n.name.clone()),
        row("ID", n.id.clone()),
        row("CREATED", n.created.clone()),
        row("VNI", n.vni.to_string()),
        row("MTU", n.mtu.to_string()),
        row("SUBNETS", output::list(n.ipam.config.iter().map(|c| c.subnet))),
        row("GATEWAYS", output::list(n.ipam.config.iter().map(|c| c.gateway))),
        row("INTERNAL", n.internal.to_string()),
        row("OPTIONS", pairs(&n.options)),
        row("LABELS", pairs(&n.labels)),
        row("PEERS", output::list(n.peers.iter().map(|p| p.ip))),
    ];
    rows.extend(n.containers.values().map(|c| {
        let ips = [&c.ipv4_address, &c.ipv6_address];
        let ips = output::list(ips.into_iter().filter(|ip| !ip.is_empty()));
        row("ENDPOINT", format!("{} {} {ips}", c.name, c.mac_address))
    }));
    output::columns("", rows)
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    output::list(map.iter().map(|(k, v)| format!("{k}={v}")))
}

impl Rm {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let (removed, result) = output::each(&self.names, |name| {
            client.delete(&path(&["networks", name])).map(|()| name.to_owned())
        });
        output::names(&removed, self.output.format)?;
        result
    }
}

impl Prune {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        if !self.force && io::stdin().is_terminal() && !confirmed()? {
            return Ok(());
        }
        let pruned: api::Pruned = client.ask(&path(&["networks", "prune"]))?;
        output::names(&pruned.networks, self.output.format)
    }
}

fn confirmed() -> io::Result<bool> {
    let mut stderr = io::stderr();
    write!(stderr, "This removes all networks without endpoints. Go on? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
