//! `vxmesh completion`: scripts that let a shell complete this command line.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(vxmesh completion bash)
  vxmesh completion zsh > ~/.zfunc/_vxmesh
  vxmesh completion fish > ~/.config/fish/completions/vxmesh.fish")]
pub(super) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "vxmesh", &mut script);
        output::print(&String::from_utf8(script)?)
    }
}
