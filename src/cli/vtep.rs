//! `vxmesh vtep`: foreign VXLAN endpoints.

use std::net::IpAddr;

use clap::{Args, Subcommand};

use super::output::{self, FormatArg};
use super::parse;
use crate::client::{Client, path};

/// Join foreign VXLAN endpoints to a network
///
/// A foreign VTEP is a Linux vxlan device, Open vSwitch or a hardware switch that
/// sends VXLAN with the network's VNI to this host. Frames to unknown destinations,
/// ARP and broadcast go to it too, and MACs are learned from it.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  vxmesh vtep add web 192.0.2.9
  vxmesh vtep ls web
  vxmesh vtep rm web 192.0.2.9")]
pub(super) enum Vtep {
    Add(Add),
    #[command(alias = "remove")]
    Rm(Rm),
    #[command(alias = "list")]
    Ls(Ls),
}

/// Add a foreign VTEP to a network
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh vtep add web 192.0.2.9
  vxmesh vtep add web fd00::9")]
pub(super) struct Add {
    #[command(flatten)]
    which: Which,
}

/// Remove a foreign VTEP from a network, and what was learned from it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh vtep rm web 192.0.2.9")]
pub(super) struct Rm {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The network's name, id or an unambiguous beginning of its id
    network: String,
    /// The VTEP's underlay address
    #[arg(value_parser = parse::address)]
    ip: IpAddr,
    #[command(flatten)]
    output: FormatArg,
}

/// List the foreign VTEPs of a network
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh vtep ls web")]
pub(super) struct Ls {
    /// The network's name, id or an unambiguous beginning of its id
    network: String,
    #[command(flatten)]
    output: FormatArg,
}

impl Vtep {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Vtep::Add(Add { which }) => {
                client.put(&which.path())?;
                which.print()
            }
            Vtep::Rm(Rm { which }) => {
                client.delete(&which.path())?;
                which.print()
            }
            Vtep::Ls(Ls { network, output }) => {
                let vteps: Vec<IpAddr> = client.get(&path(&["networks", &network, "vteps"]))?;
                let vteps: Vec<String> = vteps.iter().map(IpAddr::to_string).collect();
                output::names(&vteps, output.format)
            }
        }
    }
}

impl Which {
    fn path(&self) -> String {
        path(&["networks", &self.network, "vteps", &self.ip.to_string()])
    }

    fn print(&self) -> anyhow::Result<()> {
        output::names(&[self.ip.to_string()], self.output.format)
    }
}
