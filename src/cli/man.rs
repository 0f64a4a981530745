//! `vxmesh man`: manual pages, for those who package the program.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::Cli;

/// Write the manual pages of all verbs into a directory
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  vxmesh man /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// The directory; made if it does not exist
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let failed = || format!("cannot write manual pages to {}", self.directory.display());
        std::fs::create_dir_all(&self.directory).with_context(failed)?;
        clap_mangen::generate_to(Cli::command(), &self.directory).with_context(failed)
    }
}
