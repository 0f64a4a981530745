//! `vxmesh detach`: a container interface goes away.

use clap::Args;

use super::output::{self, FormatArg};
use crate::client::{Client, path};

/// Detach endpoints from their networks
///
/// Removes the interface from the container and gives its addresses back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh detach box1
  vxmesh detach $(vxmesh endpoint ls -q --network web)")]
pub(super) struct Detach {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    #[command(flatten)]
    output: FormatArg,
}

impl Detach {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        let (detached, result) = output::each(&self.endpoints, |endpoint| {
            client.delete(&path(&["endpoints", endpoint])).map(|()| endpoint.to_owned())
        });
        output::names(&detached, self.output.format)?;
        result
    }
}
