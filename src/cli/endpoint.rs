//! `vxmesh endpoint`: ls and inspect; for developers also add-remote and rm.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::detach::Detach;
use super::output::{self, Format, FormatArg, JsonFormatArg};
use super::parse;
use crate::api::{self, Holder, Sandbox};
use crate::client::{Client, encode, path};
use crate::wire::mac::Mac;

/// List and show endpoints
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  vxmesh endpoint ls --network web
  vxmesh endpoint inspect box1")]
pub(super) enum Endpoint {
    #[command(alias = "list")]
    Ls(Ls),
    Inspect(Inspect),
    AddRemote(AddRemote),
    #[command(hide = true, alias = "remove")]
    Rm(Detach),
}

/// List endpoints, this host's and those that other hosts hold
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh endpoint ls
  vxmesh endpoint ls --network web --format json")]
pub(super) struct Ls {
    /// Only those of this network
    #[arg(long)]
    network: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    output: FormatArg,
}

/// Show endpoints in full, as a JSON array
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh endpoint inspect box1
  vxmesh endpoint inspect box1 --format table")]
pub(super) struct Inspect {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    #[command(flatten)]
    output: JsonFormatArg,
}

/// Tell this host of an endpoint that another host holds
///
/// For hosts that are joined by hand. `vxmesh detach` takes it back.
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  vxmesh endpoint add-remote web --ip 10.1.0.3 --vtep 192.0.2.2
  vxmesh endpoint add-remote web --ip 10.1.0.3 --ip fd00:1::3 --mac 02:42:0a:01:00:03 --vtep 192.0.2.2 --name box2"
)]
pub(super) struct AddRemote {
    /// The network's name, id or an unambiguous beginning of its id
    network: String,
    /// Its address; repeat for more
    #[arg(long, required = true, value_name = "IP", value_parser = parse::address)]
    ip: Vec<IpAddr>,
    /// The underlay address of the host that holds it
    #[arg(long, value_name = "IP", value_parser = parse::address)]
    vtep: IpAddr,
    /// Its MAC [default: 02:42 and the last four bytes of the first address]
    #[arg(long)]
    mac: Option<Mac>,
    /// Its name [default: made from its address]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    output: FormatArg,
}

impl Endpoint {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Endpoint::Ls(verb) => verb.run(client),
            Endpoint::Inspect(verb) => verb.run(client),
            Endpoint::AddRemote(verb) => verb.run(client),
            Endpoint::Rm(verb) => verb.run(client),
        }
    }
}

impl Ls {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut path = path(&["endpoints"]);
        if let Some(network) = &self.network {
            path += &format!("?network={}", encode(network));
        }
        let endpoints: Vec<api::Endpoint> = client.get(&path)?;
        let id = |id: &str| if self.no_trunc { id.to_owned() } else { output::short(id) };
        if self.quiet {
            let ids: Vec<String> = endpoints.iter().map(|e| id(&e.id)).collect();
            return output::names(&ids, self.output.format);
        }
        if self.output.format == Format::Json {
            return output::json(&endpoints);
        }
        output::print(&output::table(
            &["ENDPOINT ID", "NAME", "NETWORK", "MAC", "ADDRESSES", "HELD BY"],
            endpoints.iter().map(|e| {
                vec![
                    id(&e.id),
                    e.name.clone(),
                    e.network.clone(),
                    e.mac.to_string(),
                    output::list(&e.addresses),
                    place(&e.holder),
                ]
            }),
        ))
    }
}

/// Where an endpoint is, in a few words.
fn place(holder: &Holder) -> String {
    match holder {
        Holder::Local { sandbox: Sandbox::Netns(netns), ifname, .. } => {
            format!("netns {netns} {ifname}")
        }
        Holder::Local { sandbox: Sandbox::Pid(pid), ifname, .. } => format!("pid {pid} {ifname}"),
        Holder::Local { sandbox: Sandbox::Tap(tap), .. } => format!("tap {tap}"),
        Holder::Remote { vtep, node } if node.is_empty() => format!("VTEP {vtep}"),
        Holder::Remote { node, .. } => node.clone(),
    }
}

impl Inspect {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let inspected = output::each(&self.endpoints, |endpoint| {
            client.get::<api::Endpoint>(&path(&["endpoints", endpoint]))
        });
        output::inspected(self.output.format, inspected, summary)
    }
}

/// An endpoint on a few lines.
fn summary(e: &api::Endpoint) -> String {
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let mut rows = vec![
        row("NAME", e.name.clone()),
        row("ID", e.id.clone()),
        row("NETWORK", e.network.clone()),
        row("CREATED", e.created.clone()),
        row("MAC", e.mac.to_string()),
        row("ADDRESSES", output::list(&e.addresses)),
        row("GATEWAYS", output::list(&e.gateways)),
        row("ALIASES", output::list(&e.aliases)),
        row("HELD BY", place(&e.holder)),
    ];
    if let Holder::Local { tap, .. } = &e.holder {
        rows.push(row("TAP", tap.clone()));
    }
    output::columns("", rows)
}

impl AddRemote {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = api::RemoteEndpoint {
            network: self.network,
            name: self.name,
            ips: self.ip,
            mac: self.mac,
            vtep: self.vtep,
        };
        let endpoint: api::Endpoint = client.post(&path(&["remote-endpoints"]), &request)?;
        match self.output.format {
            Format::Table => output::print(&(endpoint.id + "\n")),
            Format::Json => output::json(&endpoint),
        }
    }
}
