//! `vxmesh node`: ls, inspect, rm.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{self, Format, FormatArg, JsonFormatArg};
use super::seal;
use crate::api::{self, NodeState};
use crate::client::{Client, encode, path};

/// List, show and remove the nodes of the cluster
///
/// A node is a host that has joined. `vxmesh cluster` lets hosts join and leave.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  vxmesh node ls
  vxmesh node inspect host-b
  vxmesh node rm host-b")]
pub(super) enum Node {
    #[command(alias = "list")]
    Ls(Ls),
    Inspect(Inspect),
    #[command(alias = "remove")]
    Rm(Rm),
}

/// List the nodes of the cluster
///
/// This host has a * after its name. SEAL is the cipher of the session with a node
/// that shares an encrypted network with this host: `none` if there is none although
/// there should be (`vxmesh status` says why), `-` if none is needed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh node ls
  vxmesh node ls --format json
  vxmesh node ls -q --no-trunc")]
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

/// Show nodes in full, as a JSON array
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh node inspect host-b
  vxmesh node inspect host-b host-c --format table")]
pub(super) struct Inspect {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    output: JsonFormatArg,
}

/// Remove nodes that are down and will not come back
///
/// Their endpoints go, and this host takes over what they owned of addresses,
/// subnets and VNIs, so that these can be given out again. Every other node has
/// to agree; name nodes that are down together in one command. A removed host
/// has to join anew. A host that is up leaves by `vxmesh cluster leave`, typed there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh node rm host-b
  vxmesh node rm host-b host-c")]
pub(super) struct Rm {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    output: FormatArg,
}

impl Node {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Node::Ls(verb) => verb.run(client),
            Node::Inspect(verb) => verb.run(client),
            Node::Rm(verb) => verb.run(client),
        }
    }
}

impl Ls {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let nodes: Vec<api::Node> = client.get(&path(&["nodes"]))?;
        let id = |id: &str| if self.no_trunc { id.to_owned() } else { output::short(id) };
        if self.quiet {
            let ids: Vec<String> = nodes.iter().map(|n| id(&n.id)).collect();
            return output::names(&ids, self.output.format);
        }
        match self.output.format {
            Format::Table => output::print(&(table(&nodes, id) + &notice(&nodes))),
            Format::Json => output::json(&nodes),
        }
    }
}

/// A line more where this host does not belong any more.
fn notice(nodes: &[api::Node]) -> String {
    let by = nodes.iter().find_map(|n| match &n.state {
        NodeState::Removed { by } => Some(by),
        _ => None,
    });
    by.map(|by| format!("\n{}\n", api::removal_notice(by))).unwrap_or_default()
}

/// Nodes, one a line; `id` says how much of an id is shown.
pub(super) fn table(nodes: &[api::Node], id: impl Fn(&str) -> String) -> String {
    output::table(
        &["NAME", "ID", "STATE", "VTEP", "CONTROL", "ENDPOINTS", "SEAL", "VERSION"],
        nodes.iter().map(|n| {
            vec![
                if n.this { format!("{} *", n.name) } else { n.name.clone() },
                id(&n.id),
                state(&n.state),
                n.vtep.to_string(),
                n.control.to_string(),
                n.endpoints.to_string(),
                seal::cipher(n.seal.as_ref()),
                n.version.clone(),
            ]
        }),
    )
}

/// How a node is, in a word or two: of a duration the largest unit only.
fn state(state: &NodeState) -> String {
    match state {
        NodeState::Up => "up".into(),
        NodeState::Unknown => "unknown".into(),
        NodeState::Down { seconds } => {
            let time = humantime::format_duration(Duration::from_secs(*seconds)).to_string();
            format!("down {}", time.split(' ').next().unwrap_or_default())
        }
        NodeState::Removed { by } => format!("removed by {by}"),
    }
}

impl Inspect {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let inspected =
            output::each(&self.nodes, |node| client.get::<api::Node>(&path(&["nodes", node])));
        output::inspected(self.output.format, inspected, summary)
    }
}

/// A node on a few lines.
fn summary(n: &api::Node) -> String {
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let path_mtu = match n.path_mtu {
        Some(bytes) => bytes.to_string(),
        None => "unknown".into(),
    };
    let rows = vec![
        row("NAME", n.name.clone()),
        row("ID", n.id.clone()),
        row("THIS HOST", if n.this { "yes" } else { "no" }.into()),
        row("STATE", state(&n.state)),
        row("VTEP", n.vtep.to_string()),
        row("CONTROL", n.control.to_string()),
        row("VERSION", n.version.clone()),
        row("ENDPOINTS", n.endpoints.to_string()),
        row("PATH MTU", path_mtu),
    ];
    output::columns("", rows.into_iter().chain(seal::summary(n.seal.as_ref())))
}

impl Rm {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        // One request: a node that is down cannot agree to the removal of another,
        // but need not if both go.
        let list = self.nodes.iter().map(|node| encode(node)).collect::<Vec<_>>().join(",");
        let list = format!("{}/{list}", path(&["nodes"]));
        let what = format!("Removing {}", self.nodes.join(", "));
        output::meanwhile(&what, || client.delete(&list))?;
        match self.output.format {
            Format::Table => output::print(&format!(
                "Removed {}; what was theirs of addresses, subnets and VNIs is this host's now.\n",
                self.nodes.join(", ")
            )),
            Format::Json => output::json(&self.nodes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_a_node_is_down_is_short() {
        let down = |seconds| state(&NodeState::Down { seconds });
        assert_eq!(down(0), "down 0s");
        assert_eq!(down(185), "down 3m");
        assert_eq!(down(90_000), "down 1day");
        assert_eq!(state(&NodeState::Up), "up");
    }
}
