//! `vxmesh endpoint`: ls and inspect.

use clap::{Args, Subcommand};

use super::output::{self, Format, FormatArg, JsonFormatArg};
use crate::api::{self, Holder, Sandbox};
use crate::client::{Client, encode, path};

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

impl Endpoint {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Endpoint::Ls(verb) => verb.run(client),
            Endpoint::Inspect(verb) => verb.run(client),
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
            &["ENDPOINT ID", "NAME", "NETWORK", "SERVICE", "MAC", "ADDRESSES", "HELD BY"],
            endpoints.iter().map(|e| {
                vec![
                    id(&e.id),
                    e.name.clone(),
                    e.network.clone(),
                    output::list(e.service.iter().map(|s| &s.name)),
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
    if let Some(s) = &e.service {
        rows.push(row("SERVICE", format!("{}, weight {}, {}", s.name, s.weight, s.state.name())));
    }
    if let Holder::Local { tap, .. } = &e.holder {
        rows.push(row("TAP", tap.clone()));
    }
    rows.extend(e.warnings.iter().map(|w| row("WARNING", w.clone())));
    output::columns("", rows)
}
