//! The command line: one file for each verb, every one a thin client of the
//! API ([`crate::api`]) over the daemon's unix socket.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `output` | tables and JSON on stdout, failures on stderr |
//! | `parse` | values of options into the types that the API uses |
//! | `seal` | encrypted networks, in the tables of other verbs |
//! | `service_text` | what is particular to services, as users write and read it |
//! | the others | the verb of that name |
//!
//! Exit status: 0 if all went well, 1 if something failed (a sentence on stderr
//! says what), 2 if the command line itself makes no sense.

mod attach;
mod bench;
mod cluster;
mod completion;
mod daemon;
mod demo;
mod detach;
mod endpoint;
mod log;
mod man;
mod network;
mod node;
mod output;
mod parse;
mod seal;
mod service;
mod service_text;
mod status;
mod verify;
mod vtep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::api;
use crate::client::Client;

const EXAMPLES: &str = "\
Examples:
  vxmesh daemon --advertise eth0
  vxmesh cluster token
  vxmesh network create web --subnet 10.1.0.0/24
  vxmesh attach web --netns box1
  vxmesh status";

const GLOBAL: &str = "Global options";

/// Container networks across hosts, in user space
///
/// One daemon on each host carries Ethernet frames between containers through
/// TAP devices, VXLAN (RFC 7348) and UDP sockets; no kernel module takes part.
/// All other verbs talk to the daemon of this host.
#[derive(Debug, Parser)]
#[command(name = "vxmesh", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// The daemon's API socket [default: /run/vxmesh/vxmesh.sock]
    #[arg(long, global = true, env = "VXMESH_SOCKET", hide_env_values = true)]
    #[arg(value_name = "PATH", help_heading = GLOBAL)]
    socket: Option<PathBuf>,

    /// Log more to stderr; repeat for more (RUST_LOG has the last word)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GLOBAL)]
    verbose: u8,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Daemon(daemon::Daemon),
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    #[command(subcommand)]
    Node(node::Node),
    #[command(subcommand)]
    Network(network::Network),
    Attach(attach::Attach),
    Detach(detach::Detach),
    #[command(subcommand)]
    Endpoint(endpoint::Endpoint),
    #[command(subcommand)]
    Service(service::Service),
    #[command(subcommand)]
    Vtep(vtep::Vtep),
    Status(status::Status),
    Demo(demo::Demo),
    Bench(bench::Bench),
    Completion(completion::Completion),
    Man(man::Man),
}

/// Parses the process's arguments, does what they say, and reports failures.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(error);
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    fn run(self) -> anyhow::Result<()> {
        let level = if matches!(self.verb, Verb::Daemon(_)) { "info" } else { "warn" };
        log::start(self.verbose, level);
        let socket = self.socket.clone();
        let client = || Client::new(socket.unwrap_or_else(|| api::DEFAULT_SOCKET.into()));
        match self.verb {
            Verb::Daemon(verb) => verb.run(self.socket),
            Verb::Cluster(verb) => verb.run(&client()?),
            Verb::Node(verb) => verb.run(&client()?),
            Verb::Network(verb) => verb.run(&client()?),
            Verb::Attach(verb) => verb.run(&client()?),
            Verb::Detach(verb) => verb.run(&client()?),
            Verb::Endpoint(verb) => verb.run(&client()?),
            Verb::Service(verb) => verb.run(&client()?),
            Verb::Vtep(verb) => verb.run(&client()?),
            Verb::Status(verb) => verb.run(&client()?),
            Verb::Demo(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
            Verb::Completion(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
