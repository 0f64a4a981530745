//! `vxmesh detach`: a container interface goes away.

use std::time::Duration;

use clap::Args;

use super::output::{self, FormatArg};
use crate::client::{Client, path};

/// The daemon answers when the endpoint is gone. How long a service's drain is, only it
/// knows.
const LONGEST_DRAIN: Duration = Duration::from_secs(86_400);

/// Detach endpoints from their networks
///
/// Removes the interface from the container and gives its addresses back. A backend of
/// a service goes in good order: all hosts stop giving it new flows, and those it has
/// may end, for as long as --drain or the service allows; what is left then is reset.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vxmesh detach box1
  vxmesh detach api-3 --drain 60
  vxmesh detach api-3 --drain 0
  vxmesh detach $(vxmesh endpoint ls -q --network web)")]
pub(super) struct Detach {
    /// Names, ids or unambiguous beginnings of ids
    #[arg(required = true, value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    /// For how many seconds running flows to a backend may go on [default: the service's]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=86_400))]
    drain: Option<u32>,
    #[command(flatten)]
    output: FormatArg,
}

impl Detach {
    pub(super) fn run(self, client: &Client) -> anyhow::Result<()> {
        let (detached, result) = output::each(&self.endpoints, |endpoint| {
            let mut path = path(&["endpoints", endpoint]);
            if let Some(seconds) = self.drain {
                path += &format!("?drain={seconds}");
            }
            client.delete_in_time(&path, LONGEST_DRAIN).map(|()| endpoint.to_owned())
        });
        output::names(&detached, self.output.format)?;
        result
    }
}
