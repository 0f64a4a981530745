//! `vxmesh daemon`: the process that carries the networks of this host.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::parse;
use crate::control::config::{Cipher, Mode, Settings};
use crate::control::daemon;

/// Run the daemon of this host
///
/// Stays in the foreground and logs to stderr; SIGTERM and SIGINT end it. The
/// containers keep their interfaces, and the next start takes them up again.
/// Options go over the configuration file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh daemon
  vxmesh daemon --advertise 192.0.2.1 --name host-a
  vxmesh daemon --config /etc/vxmesh/vxmesh.toml -v")]
pub(super) struct Daemon {
    /// Read options from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Remember networks and endpoints here [default: /var/lib/vxmesh]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The node's name [default: the host's]
    #[arg(long)]
    name: Option<String>,
    /// The VTEP, where VXLAN is sent from and received at [default: the default route's interface]
    #[arg(long, value_name = "IP|IFACE")]
    advertise: Option<String>,
    /// The UDP port of VXLAN, here and at every peer [default: 4789]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    data_port: Option<u16>,
    /// The UDP and TCP port of this host for control traffic [default: 7946]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    gossip_port: Option<u16>,
    /// Super-frames and checksum offload at the containers' TAPs [default: auto]
    #[arg(long, value_enum, value_name = "MODE")]
    offload: Option<Mode>,
    /// UDP segmentation offload on the underlay [default: auto]
    #[arg(long, value_enum, value_name = "MODE")]
    udp_gso: Option<Mode>,
    /// A resolver for names that are not the cluster's; repeat for more [default: the host's]
    #[arg(long, value_name = "IP", value_parser = parse::address)]
    dns: Vec<IpAddr>,
    /// What encrypted networks are sealed with; auto is whichever is faster [default: auto]
    #[arg(long, value_enum, value_name = "CIPHER")]
    cipher: Option<Cipher>,
}

impl Daemon {
    /// `socket` is the global option.
    pub(super) fn run(self, socket: Option<PathBuf>) -> anyhow::Result<()> {
        let flags = Settings {
            data_dir: self.data_dir,
            socket,
            name: self.name,
            advertise: self.advertise,
            data_port: self.data_port,
            gossip_port: self.gossip_port,
            offload: self.offload,
            udp_gso: self.udp_gso,
            dns: Some(self.dns).filter(|dns| !dns.is_empty()),
            cipher: self.cipher,
        };
        let file = self.config.as_deref().map(Settings::load).transpose()?.unwrap_or_default();
        Ok(daemon::run(flags.over(file).resolve()?)?)
    }
}
