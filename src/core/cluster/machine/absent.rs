//! Endpoints of nodes that are away: nobody is shown them, but they may come back.

use std::time::Duration;

use super::Machine;
use crate::core::Now;
use crate::core::cluster::entry::{EndpointBody, NodeId};
use crate::core::tables::Id;

/// For how long a node's endpoints stand against the removal of their network
/// while it is away. Their addresses are its own until it is removed.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

impl Machine {
    /// Endpoints of a network that are hidden, because their node does not answer,
    /// and that count all the same: it has answered less than a day ago, or may
    /// have before this host's start, which is less than a day ago.
    pub fn hidden_endpoints(
        &self,
        now: Now,
        network: &Id,
    ) -> impl Iterator<Item = (NodeId, &EndpointBody)> {
        let network = network.bytes();
        let recent = move |node: &NodeId| {
            let since = self.down_since(node).unwrap_or(self.started);
            !self.is_visible(now, node) && now.saturating_sub(since) < PATIENCE
        };
        self.endpoints()
            .filter(move |(node, of, ..)| Some(*of) == network && recent(node))
            .map(|(node, _, _, body)| (node, body))
    }
}
