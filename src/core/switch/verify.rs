//! Frames with which hosts show each other that an encrypted network is one: what
//! comes sealed is sent back sealed.

use super::{Arrival, Switch, Verdict};
use crate::core::drops::Reason;
use crate::wire::verify::{Kind, frame, parse};

impl Switch {
    /// The answer to such a frame; `None` for all others.
    pub(super) fn verify(&mut self, arrival: Arrival, bytes: &[u8]) -> Option<Verdict> {
        let Arrival { network, now, from, view, .. } = arrival;
        network.encrypted.as_ref()?;
        match parse(network.router_mac, view, bytes)? {
            (Kind::Answer, _) => Some(Verdict::Verified),
            // Rate-limited as everything else that the router answers.
            (Kind::Ask, _) if !self.complaints.take((network.vni, from), now, 1) => {
                Some(Verdict::Drop(Reason::VerifyRate))
            }
            (Kind::Ask, mark) => {
                self.reply = frame(network.router_mac, Kind::Answer, mark);
                Some(Verdict::Reply(None))
            }
        }
    }
}
