//! `vxmesh network verify`.

use anyhow::bail;
use clap::Args;

use super::output::{self, Format, FormatArg};
use crate::api::{self, Verification};
use crate::client::{Client, path};

/// Show that nobody on the underlay can read, repeat or forge an encrypted network's frames
///
/// Sends marked frames to the other hosts of the network, which send them back, and listens to the
/// underlay meanwhile. Then it sends what it heard once more, changes it, and sends
/// frames in clear, both to this host and to the others: none may get through. Ends
/// with status 1 if one does. Needs an endpoint of the network here and on another
/// host, and the right to listen (CAP_NET_RAW).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh network verify secret
  vxmesh network verify secret --node host2 --format json")]
pub(super) struct Verify {
    /// Name, id or unambiguous beginning of an id
    name: String,
    /// With this host only: name, id or unambiguous beginning of an id
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    #[command(flatten)]
    output: FormatArg,
}

impl Verify {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        let at = path(&["networks", &self.name, "verify"]);
        let request = api::Verify { node: self.node };
        let found: Verification = output::meanwhile("verifying", || client.post(&at, &request))?;
        match self.output.format {
            Format::Table => output::print(&table(&found))?,
            Format::Json => output::json(&found)?,
        }
        if !found.passed {
            bail!(
                "network {} did not pass: look at `vxmesh status`, and do not trust it until it does",
                found.network
            );
        }
        Ok(())
    }
}

fn table(found: &Verification) -> String {
    let rows = found.peers.iter().flat_map(|peer| {
        peer.checks.iter().map(|check| {
            let result = if check.passed { "ok" } else { "FAILED" };
            vec![peer.node.clone(), check.name.clone(), result.to_owned(), check.found.clone()]
        })
    });
    output::table(&["NODE", "CHECK", "RESULT", "FOUND"], rows)
}
