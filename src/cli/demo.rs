//! `vxmesh demo`: the main job shown on one machine.

use clap::Args;

use crate::lab;

/// Show what vxmesh does, on this machine, in half a minute
///
/// Makes three hosts with a real daemon each and eight containers, all of them
/// network namespaces without a name: nothing outside of them is touched, and
/// nothing is left behind, also after Ctrl-C. Needs root, or user namespaces
/// and a /dev/net/tun that this user may open.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo vxmesh demo
  sudo vxmesh demo --keep")]
pub(super) struct Demo {
    /// Leave the lab up until Ctrl-C, and print the commands to explore it with
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(super) fn run(self) -> anyhow::Result<()> {
        lab::demo::run(self.keep)
    }
}
