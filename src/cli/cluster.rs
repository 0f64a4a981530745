//! `vxmesh cluster`: init, token, rotate-key, join, leave, inspect.

use std::fmt;
use std::io::{self, BufRead};
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;

use super::node;
use super::output::{self, Format, FormatArg, JsonFormatArg};
use super::parse;
use crate::api;
use crate::client::{Client, path};

/// Set up, join and leave a cluster
///
/// The hosts of a cluster find each other, share their networks and never hand
/// out an address twice. Every host is a cluster of one until it joins another's.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  vxmesh cluster token
  vxmesh cluster token -q | ssh host-b vxmesh cluster join --token - 192.0.2.1
  vxmesh cluster inspect
  vxmesh cluster leave")]
pub(super) enum Cluster {
    Init(Init),
    Token(Token),
    RotateKey(RotateKey),
    Join(Join),
    Leave(Leave),
    Inspect(Inspect),
}

/// Set a cluster up whose first node is this host
///
/// Says where subnets come from that nobody chooses, and prints the command by
/// which other hosts join.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh cluster init
  vxmesh cluster init --default-addr-pool 10.32.0.0/12 --default-addr-pool-mask-length 26")]
pub(super) struct Init {
    /// Take subnets from here that nobody chooses; repeat for more [default: 10.0.0.0/8]
    #[arg(long, value_name = "CIDR", value_parser = parse::pool)]
    default_addr_pool: Vec<Ipv4Net>,
    /// The prefix length of such subnets [default: 24]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=30))]
    default_addr_pool_mask_length: Option<u8>,
    #[command(flatten)]
    output: FormatArg,
}

/// Print the token, and the command by which other hosts join
///
/// Whoever has the token can join: keep it secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh cluster token
  vxmesh cluster token -q | ssh host-b vxmesh cluster join --token - 192.0.2.1
  vxmesh cluster token --rotate")]
pub(super) struct Token {
    /// Make a new token; the old one is worth nothing from then on
    #[arg(long)]
    rotate: bool,
    /// Print the token only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    output: FormatArg,
}

/// Seal control traffic with a new key from now on
///
/// Nothing is lost while nodes change over, and the token stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh cluster rotate-key")]
pub(super) struct RotateKey {
    #[command(flatten)]
    output: FormatArg,
}

/// Let this host join a cluster
///
/// Any member will do; of several, the first that answers. `vxmesh cluster token`
/// on a member prints the whole command.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ssh host-a vxmesh cluster token -q | vxmesh cluster join --token - 192.0.2.1
  VXMESH_TOKEN=\"$(cat token)\" vxmesh cluster join host-a host-b:7946
  vxmesh cluster join --token - '[fd00::1]:7946' < token")]
pub(super) struct Join {
    /// The cluster's token; - reads it from stdin, so that no process list shows it
    #[arg(long, env = "VXMESH_TOKEN", hide_env_values = true)]
    token: String,
    /// Names or addresses of members
    #[arg(required = true, value_name = "HOST[:PORT]", value_parser = parse::host)]
    hosts: Vec<String>,
    #[command(flatten)]
    output: FormatArg,
}

/// The token is not printed.
impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Let this host leave its cluster
///
/// Another node takes over what this host owns of addresses, subnets and VNIs.
/// This host is a cluster of one again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh cluster leave
  vxmesh cluster leave --force")]
pub(super) struct Leave {
    /// Leave also where no other node answers; then what this host owns stays
    /// lost to the cluster until `vxmesh node rm` there
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    output: FormatArg,
}

/// Show the cluster and its nodes in full, as JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh cluster inspect
  vxmesh cluster inspect --format table")]
pub(super) struct Inspect {
    #[command(flatten)]
    output: JsonFormatArg,
}

impl Cluster {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Cluster::Init(verb) => verb.run(client),
            Cluster::Token(verb) => verb.run(client),
            Cluster::RotateKey(verb) => verb.run(client),
            Cluster::Join(verb) => verb.run(client),
            Cluster::Leave(verb) => verb.run(client),
            Cluster::Inspect(verb) => verb.run(client),
        }
    }
}

/// The cluster as JSON, or `sentence` about it.
fn print(
    format: Format,
    cluster: &api::Cluster,
    sentence: impl FnOnce(&api::Cluster) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => output::print(&(sentence(cluster) + "\n")),
        Format::Json => output::json(cluster),
    }
}

impl Init {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let request = api::ClusterInit {
            default_addr_pool: self.default_addr_pool,
            default_addr_pool_mask_length: self.default_addr_pool_mask_length,
        };
        let cluster: api::Cluster = client.post(&path(&["cluster", "init"]), &request)?;
        if self.output.format == Format::Json {
            return output::json(&cluster);
        }
        let token: api::Token = client
            .get(&path(&["cluster", "token"]))
            .context("the cluster is set up, but its token cannot be shown")?;
        output::print(&format!(
            "Cluster {} is set up, and this host is its first node. Subnets that nobody chooses \
             are /{} of {}.\n\n{}",
            cluster.id,
            cluster.default_addr_pool_mask_length,
            output::list(&cluster.default_addr_pool),
            invitation(&token)
        ))
    }
}

/// How other hosts join.
fn invitation(token: &api::Token) -> String {
    // Shells take brackets for a pattern.
    let address = match token.address {
        SocketAddr::V4(address) => address.to_string(),
        SocketAddr::V6(address) => format!("'{address}'"),
    };
    format!(
        "To add a host to this cluster, run there:\n\n    vxmesh cluster join --token {} {address}\n",
        token.token
    )
}

impl Token {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let token: api::Token = if self.rotate {
            client.ask(&path(&["cluster", "token", "rotate"]))?
        } else {
            client.get(&path(&["cluster", "token"]))?
        };
        match self.output.format {
            format if self.quiet => output::names(&[token.token], format),
            Format::Table => output::print(&invitation(&token)),
            Format::Json => output::json(&token),
        }
    }
}

impl RotateKey {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let cluster: api::Cluster = client.ask(&path(&["cluster", "key", "rotate"]))?;
        print(self.output.format, &cluster, |c| {
            format!("Control traffic is sealed with key {} from now on.", c.key)
        })
    }
}

impl Join {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let token = if self.token == "-" { read_token(io::stdin().lock())? } else { self.token };
        let what = format!("Joining by {}", self.hosts.join(", "));
        let request = api::ClusterJoin { token, hosts: self.hosts };
        let cluster: api::Cluster =
            output::meanwhile(&what, || client.post(&path(&["cluster", "join"]), &request))?;
        print(self.output.format, &cluster, |c| {
            format!("This host is in cluster {} now, one of {} nodes.", c.id, c.nodes.len())
        })
    }
}

/// The token on the first line of a stream, without the white space around it.
fn read_token(stream: impl BufRead) -> anyhow::Result<String> {
    // Far longer than a token; a line without an end ends here.
    const LIMIT: u64 = 4096;
    let mut text = String::new();
    stream.take(LIMIT).read_line(&mut text).context("cannot read the token from stdin")?;
    let token = text.trim();
    ensure!(
        !token.is_empty(),
        "there is no token on stdin: pipe in what \"vxmesh cluster token -q\" prints on a member"
    );
    Ok(token.into())
}

impl Leave {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let cluster: api::Cluster = client.get(&path(&["cluster"]))?;
        let request = api::ClusterLeave { force: self.force };
        output::meanwhile("Leaving the cluster", || {
            client.tell(&path(&["cluster", "leave"]), &request)
        })?;
        match self.output.format {
            Format::Table => {
                output::print(&format!("This host has left cluster {}.\n", cluster.id))
            }
            Format::Json => output::names(&[cluster.id], Format::Json),
        }
    }
}

impl Inspect {
    fn run(self, client: &Client) -> anyhow::Result<()> {
        let cluster: api::Cluster = client.get(&path(&["cluster"]))?;
        match self.output.format {
            Format::Table => output::print(&summary(&cluster)),
            Format::Json => output::json(&cluster),
        }
    }
}

/// A cluster on a few lines, its nodes below.
fn summary(c: &api::Cluster) -> String {
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let rows = vec![
        row("ID", c.id.clone()),
        row("DEFAULT POOLS", output::list(&c.default_addr_pool)),
        row("SUBNETS OF THEM", format!("/{}", c.default_addr_pool_mask_length)),
        row("KEY", c.key.to_string()),
    ];
    format!("{}\n{}", output::columns("", rows), node::table(&c.nodes, output::short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_on_stdin_is_bounded_and_there() {
        assert_eq!(read_token(&b" abc-1\n"[..]).unwrap(), "abc-1");
        assert!(read_token(&b" \n"[..]).unwrap_err().to_string().contains("no token on stdin"));
        assert_eq!(read_token(io::BufReader::new(io::repeat(b'x'))).unwrap().len(), 4096);
        assert!(read_token(&b"\xff"[..]).is_err());
    }

    #[test]
    fn a_shell_takes_the_invitation_as_it_stands() {
        let invitation = |address: &str| {
            invitation(&api::Token { token: "t".into(), address: address.parse().unwrap() })
        };
        assert!(invitation("192.0.2.1:7946").ends_with("join --token t 192.0.2.1:7946\n"));
        assert!(invitation("[fd00::1]:7946").ends_with("join --token t '[fd00::1]:7946'\n"));
    }

    #[test]
    fn the_token_is_not_in_what_debug_shows() {
        let join = Join {
            token: "secret".into(),
            hosts: vec!["host-a".into()],
            output: FormatArg { format: Format::Table },
        };
        let shown = format!("{join:?}");
        assert!(shown.contains("host-a") && !shown.contains("secret"), "{shown}");
    }
}
